"""What all tests share: hypothesis looks for wrong answers, not for slow machines."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.scratch import scratch

settings.register_profile("harborcal", deadline=None)
settings.load_profile("harborcal")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for journals."""
    with scratch() as made:
        yield Path(made)
