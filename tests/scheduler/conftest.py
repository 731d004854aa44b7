"""What a scheduler promises holds for both ways of asking."""

import pytest


@pytest.fixture(autouse=True)
def both_ways(way_of_asking: None) -> None:
    """Have every test here run twice (see `tests.conftest`)."""
