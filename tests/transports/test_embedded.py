"""What is particular to the carried calendar in process; what all transports promise is in test_contract."""

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from harborcal import Agent, CallbackHost, ConfigurationError, EmbeddedTransport, Scheduler, SlotStatus, SlotUpdate
from harborcal.calendar import Calendar, Recurrence
from harborcal.calendar.heartbeats import MAX_AGENTS_PER_BATCH
from harborcal.errors import CalendarError, CalendarRefusedError, CalendarUnavailableError, LifecycleError
from harborcal.model import Heartbeat
from harborcal.testing import FakeClock
from harborcal.transport import BatchTransport, find
from harborcal.transports.retrying import RetryingTransport
from tests.calendar.statements import statements


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


def furnished(*agent_ids: str) -> Calendar:
    """Make a calendar whose agents have a slot and a plan each; two of the same agents are equal."""
    calendar = Calendar("sqlite://", clock=FakeClock())
    for agent_id in agent_ids:
        calendar.register_agent(agent_id)
        calendar.add_slot(agent_id, calendar.clock.now())
        calendar.add_plan(agent_id, Recurrence.of(calendar.clock.now() + dt.timedelta(hours=2), "FREQ=DAILY"))
    return calendar


def test_it_asks_for_many_agents_at_once_also_from_inside_a_wrapper() -> None:
    with contextlib.closing(Calendar("sqlite://")) as calendar:
        transport = EmbeddedTransport(calendar, "claw")
        assert find(RetryingTransport(transport), BatchTransport) is transport


def test_many_agents_asked_for_at_once_are_told_what_each_is_told_alone() -> None:
    with (
        contextlib.closing(furnished("dev", "ops")) as one,
        contextlib.closing(furnished("dev", "ops")) as other,
    ):
        alone, together = EmbeddedTransport(one, "claw"), EmbeddedTransport(other, "claw")
        answers = dict(together.heartbeats(["ops", "dev", "ops", "nobody"]))
        assert list(answers) == ["ops", "dev", "nobody"]
        assert (answers["ops"], answers["dev"]) == (alone.heartbeat("ops"), alone.heartbeat("dev"))
        assert isinstance(answers["nobody"], CalendarRefusedError)
        assert other.agents() == one.agents()


def test_many_agents_of_another_claw_are_refused_one_by_one() -> None:
    with contextlib.closing(furnished("dev", "ops")) as calendar:
        calendar.bind_agent("dev", "claw-1")
        answers = dict(EmbeddedTransport(calendar, "claw-2").heartbeats(["dev", "ops"]))
        assert isinstance(answers["dev"], CalendarRefusedError)
        assert isinstance(answers["ops"], Heartbeat)


def test_what_another_scheduler_left_is_listed_to_who_asks_for_many() -> None:
    with contextlib.closing(furnished("dev", "ops")) as calendar:
        key = calendar.slot(EmbeddedTransport(calendar, "claw").heartbeat("dev").slots[0].key).key
        assert EmbeddedTransport(calendar, "claw").claim("dev", key, calendar.clock.now()) is not None
        answers = dict(EmbeddedTransport(calendar, "claw").heartbeats(["dev", "ops"]))
        assert isinstance(answers["dev"], Heartbeat)
        assert [slot.status for slot in answers["dev"].slots] == [SlotStatus.ONGOING, SlotStatus.NOT_STARTED]


def test_who_asks_for_nobody_is_told_nothing() -> None:
    with contextlib.closing(Calendar("sqlite://")) as calendar, statements() as seen:
        assert list(EmbeddedTransport(calendar, "claw").heartbeats([])) == []
    assert seen == []


def test_two_hundred_agents_cost_as_many_statements_as_two() -> None:
    costs = []
    for count in (2, 200):
        names = [f"agent-{number}" for number in range(count)]
        with contextlib.closing(furnished(*names)) as calendar, statements() as seen:
            answers = dict(EmbeddedTransport(calendar, "claw").heartbeats(names))
        assert list(answers) == names
        costs.append(len(seen))
    assert costs[0] == costs[1]


def test_a_closed_transport_asks_for_nobody() -> None:
    with contextlib.closing(furnished("dev")) as calendar:
        transport = EmbeddedTransport(calendar, "claw")
        transport.close()
        with pytest.raises(LifecycleError, match="closed"):
            next(transport.heartbeats(["dev"]))
        assert calendar.agent("dev").last_heartbeat_at is None


def test_a_transport_that_is_closed_while_it_asks_for_many_asks_no_further() -> None:
    with contextlib.closing(furnished("dev")) as calendar:
        transport = EmbeddedTransport(calendar, "claw")
        answers = transport.heartbeats([*(f"nobody-{number}" for number in range(MAX_AGENTS_PER_BATCH)), "dev"])
        assert next(answers)[0] == "nobody-0"
        transport.close()
        with pytest.raises(LifecycleError, match="closed"):
            list(answers)
        assert calendar.agent("dev").last_heartbeat_at is None


def test_a_database_that_cannot_be_used_is_an_outage_for_many(tmp_path: Path) -> None:
    path = tmp_path / "calendar.db"
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=FakeClock())) as calendar:
        calendar.register_agent("dev")
        transport = EmbeddedTransport(calendar, "claw")
        path.unlink()
        with pytest.raises(CalendarUnavailableError, match="deleted or replaced") as caught:
            next(transport.heartbeats(["dev"]))
        assert isinstance(caught.value.__cause__, CalendarError)


def test_what_cannot_be_read_of_one_agent_is_an_outage_for_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "calendar.db"
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=FakeClock())) as calendar:
        for agent_id in ("bad", "dev"):
            calendar.register_agent(agent_id)
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("UPDATE agents SET said = 'weird' WHERE id = 'bad'")
        answers = dict(EmbeddedTransport(calendar, "claw").heartbeats(["bad", "dev"]))
        assert isinstance(answers["bad"], CalendarUnavailableError)
        assert isinstance(answers["bad"].__cause__, CalendarError)
        assert isinstance(answers["dev"], Heartbeat)


def test_closing_the_transport_leaves_the_calendar_open() -> None:
    with contextlib.closing(Calendar("sqlite://", clock=FakeClock())) as calendar:
        calendar.register_agent("dev")
        EmbeddedTransport(calendar, "claw").close()
        assert len(calendar.agents()) == 1


def test_a_calendar_is_not_mistaken_for_a_transport() -> None:
    with contextlib.closing(Calendar("sqlite://")) as calendar, pytest.raises(ConfigurationError, match="transport"):
        Scheduler(calendar, CallbackHost(print), lambda: [Agent(id="dev")])  # type: ignore[arg-type]  # lacks update_slot
