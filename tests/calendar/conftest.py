"""A calendar in a real file, under a clock that stands still: Monday 2026-01-05, 09:00 UTC."""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harborcal.calendar import Calendar
from harborcal.errors import CalendarRefusedError
from harborcal.testing import FakeClock

TODAY = dt.date(2026, 1, 5)
Refusal = Callable[[Callable[[], object]], tuple[int, str]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calendar.db"


@pytest.fixture
def calendar(path: Path, clock: FakeClock) -> Iterator[Calendar]:
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=clock)) as calendar:
        calendar.register_agent("dev")
        yield calendar


@pytest.fixture
def refusal() -> Refusal:
    """Call something that must be refused, and tell how."""

    def of(call: Callable[[], object]) -> tuple[int, str]:
        with pytest.raises(CalendarRefusedError) as caught:
            call()
        return caught.value.status, caught.value.detail

    return of
