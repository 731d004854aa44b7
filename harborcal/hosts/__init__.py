"""Ways to wake agents."""
