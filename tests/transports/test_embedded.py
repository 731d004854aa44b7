"""What is particular to the carried calendar in process; what all transports promise is in test_contract."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harborcal import Agent, CallbackHost, ConfigurationError, EmbeddedTransport, Scheduler, SlotStatus, SlotUpdate
from harborcal.calendar import Calendar
from harborcal.errors import CalendarError, CalendarRefusedError, CalendarUnavailableError
from harborcal.testing import FakeClock


@pytest.mark.parametrize("calendar", ["sqlite:///calendar.db", None, Path("calendar.db")])
def test_it_is_made_of_a_calendar(calendar: Calendar) -> None:
    with pytest.raises(ConfigurationError, match=r"harborcal\.calendar\.Calendar"):
        EmbeddedTransport(calendar)


@pytest.mark.parametrize("claw", ["", "a b", "..", "x" * 129])
def test_a_claw_identifier_that_is_no_id_is_refused(claw: str) -> None:
    with (
        contextlib.closing(Calendar("sqlite://")) as calendar,
        pytest.raises(ConfigurationError, match="claw_identifier"),
    ):
        EmbeddedTransport(calendar, claw)


def test_the_host_names_the_claw_by_default() -> None:
    with contextlib.closing(Calendar("sqlite://", clock=FakeClock())) as calendar:
        calendar.register_agent("dev")
        EmbeddedTransport(calendar).heartbeat("dev")


def test_a_bound_agent_is_served_by_its_own_claw_only() -> None:
    with contextlib.closing(Calendar("sqlite://", clock=FakeClock())) as calendar:
        calendar.register_agent("dev", "claw-1")
        EmbeddedTransport(calendar, "claw-1").heartbeat("dev")
        slot = calendar.add_slot("dev", calendar.clock.now())
        other = EmbeddedTransport(calendar, "claw-2")
        calls: list[Callable[[], object]] = [
            lambda: other.heartbeat("dev"),
            lambda: other.day("dev", calendar.clock.now().date()),
            lambda: other.claim("dev", slot.key, calendar.clock.now()),
            lambda: other.update_slot("dev", slot.key, SlotUpdate(status=SlotStatus.ONGOING)),
        ]
        for call in calls:
            with pytest.raises(CalendarRefusedError, match="bound to another claw"):
                call()
        assert calendar.slot(slot.key) == slot


def test_a_database_that_cannot_be_used_is_an_outage(tmp_path: Path) -> None:
    path = tmp_path / "calendar.db"
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=FakeClock())) as calendar:
        calendar.register_agent("dev")
        transport = EmbeddedTransport(calendar, "claw")
        path.unlink()
        with pytest.raises(CalendarUnavailableError, match="deleted or replaced") as caught:
            transport.heartbeat("dev")
        assert isinstance(caught.value.__cause__, CalendarError)


def test_closing_the_transport_leaves_the_calendar_open() -> None:
    with contextlib.closing(Calendar("sqlite://", clock=FakeClock())) as calendar:
        calendar.register_agent("dev")
        EmbeddedTransport(calendar, "claw").close()
        assert len(calendar.agents()) == 1


def test_a_calendar_is_not_mistaken_for_a_transport() -> None:
    with contextlib.closing(Calendar("sqlite://")) as calendar, pytest.raises(ConfigurationError, match="transport"):
        Scheduler(calendar, CallbackHost(print), lambda: [Agent(id="dev")])  # type: ignore[arg-type]  # lacks update_slot
