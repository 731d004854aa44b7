"""What all tests share: hypothesis looks for wrong answers, not for slow machines."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import world
from tests.scratch import scratch

settings.register_profile("harborcal", deadline=None)
settings.load_profile("harborcal")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for journals."""
    with scratch() as made:
        yield Path(made)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of a scheduler twice: what it promises holds for asking one by one, and for asking in batches.

    Tests that are about the threads of single heartbeats say so by the marker ``singly``.
    """
    if "way_of_asking" in metafunc.fixturenames:
        ways = [False] if metafunc.definition.get_closest_marker("singly") else [False, True]
        metafunc.parametrize("way_of_asking", ways, ids=["singly", "batched"][: len(ways)], indirect=True)


@pytest.fixture
def way_of_asking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every `World` asked in batches, or not."""
    monkeypatch.setattr(world, "IN_BATCHES", getattr(request, "param", False))  # state machines have no parameters
