"""Ways to a calendar."""
