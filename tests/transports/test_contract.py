"""What every transport promises, fakes included: one suite for all of them."""

import contextlib
import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal.errors import CalendarRefusedError, ConfigurationError, LifecycleError, TransportError
from harborcal.journal import Journal
from harborcal.model import AgentStatus, Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import CalendarServer, CallerRunner, FakeClock, InMemoryCalendar
from harborcal.transport import DayReader, Transport, find
from harborcal.transports.curl import CurlTransport
from harborcal.transports.embedded import EmbeddedTransport
from harborcal.transports.http import HttpTransport
from harborcal.transports.outbox import OutboxTransport
from harborcal.transports.retrying import RetryingTransport
from tests.transports.carried import CarriedCalendar

ONGOING = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0, 7))
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=12)
ABORTED = SlotUpdate(status=SlotStatus.ABORTED)
DEFERRED = SlotUpdate(status=SlotStatus.DEFERRED)
VIRTUAL = SlotKey.virtual("plan-3-2026-01-05")
TODAY, TOMORROW = dt.date(2026, 1, 5), dt.date(2026, 1, 6)


@dataclasses.dataclass(frozen=True)
class Way:
    """A transport, and the calendar at its end."""

    transport: Transport
    calendar: InMemoryCalendar | CarriedCalendar
    tries: int = 1
    """How often the transport asks the calendar before it gives up."""

    def heartbeat(self, agent_id: str = "dev") -> tuple[Slot, ...]:
        return self.transport.heartbeat(agent_id).slots

    def day(self, date: dt.date = TODAY, agent_id: str = "dev") -> tuple[Slot, ...]:
        reader = find(self.transport, DayReader)
        assert reader is not None, "every way can read days"
        return reader.day(agent_id, date)

    def update(self, key: SlotKey, update: SlotUpdate) -> SlotKey:
        return self.transport.update_slot("dev", key, update).slot

    def refusal_of(self, call: Callable[[], object]) -> tuple[int, str]:
        with pytest.raises(CalendarRefusedError) as caught:
            call()
        return caught.value.status, caught.value.detail

    @property
    def fake(self) -> InMemoryCalendar:
        """The calendar in memory, where a test needs what only that can do."""
        assert isinstance(self.calendar, InMemoryCalendar)
        return self.calendar


@contextlib.contextmanager
def in_memory(calendar: InMemoryCalendar) -> Iterator[Way]:
    yield Way(calendar, calendar)


@contextlib.contextmanager
def over_http(calendar: InMemoryCalendar) -> Iterator[Way]:
    with CalendarServer(calendar) as server, contextlib.closing(HttpTransport(server.url, "claw")) as transport:
        yield Way(transport, calendar)
    assert server.errors == []


@contextlib.contextmanager
def over_curl(calendar: InMemoryCalendar) -> Iterator[Way]:
    with CalendarServer(calendar) as server, contextlib.closing(CurlTransport(server.url, "claw")) as transport:
        yield Way(transport, calendar)
    assert server.errors == []


@contextlib.contextmanager
def with_retries(calendar: InMemoryCalendar) -> Iterator[Way]:
    with over_http(calendar) as way:
        transport = RetryingTransport(way.transport, attempts=3, sleep=lambda _: None)
        yield Way(transport, calendar, tries=3)


@contextlib.contextmanager
def in_memory_with_retries(calendar: InMemoryCalendar) -> Iterator[Way]:
    yield Way(RetryingTransport(calendar, attempts=3, sleep=lambda _: None), calendar, tries=3)


@contextlib.contextmanager
def embedded(calendar: CarriedCalendar) -> Iterator[Way]:
    yield Way(EmbeddedTransport(calendar.calendar, "claw"), calendar)


@contextlib.contextmanager
def embedded_with_retries(calendar: CarriedCalendar) -> Iterator[Way]:
    transport = RetryingTransport(EmbeddedTransport(calendar.calendar, "claw"), attempts=3, sleep=lambda _: None)
    yield Way(transport, calendar, tries=3)


@contextlib.contextmanager
def through_an_outbox(calendar: InMemoryCalendar, folder: Path) -> Iterator[Way]:
    journal = Journal(folder / "journal.db")
    with contextlib.closing(OutboxTransport(calendar, journal, runner=CallerRunner())) as transport:
        yield Way(transport, calendar)


TO_A_FAKE = [in_memory, over_http, over_curl, with_retries, in_memory_with_retries]
TO_THE_CARRIED_ONE = [embedded, embedded_with_retries]


@pytest.fixture(params=[*TO_A_FAKE, *TO_THE_CARRIED_ONE, through_an_outbox], ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> Iterator[Way]:
    with _open(request.param, tmp_path, folder) as way:
        yield way


@pytest.fixture(params=[*TO_A_FAKE, *TO_THE_CARRIED_ONE], ids=lambda way: way.__name__)
def answering_way(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> Iterator[Way]:
    """A way by which the calendar's answer to an update comes with the call."""
    with _open(request.param, tmp_path, folder) as way:
        yield way


@contextlib.contextmanager
def _open(kind: Callable[..., Any], tmp_path: Path, folder: Path) -> Iterator[Way]:
    if kind in TO_THE_CARRIED_ONE:
        carried = CarriedCalendar(tmp_path / "calendar.db")
        carried.add_agent("dev")
        with contextlib.closing(carried.calendar), kind(carried) as way:
            yield way
        return
    calendar = InMemoryCalendar(FakeClock(), agents=["dev"])
    with through_an_outbox(calendar, folder) if kind is through_an_outbox else kind(calendar) as way:
        yield way


@pytest.fixture(params=TO_A_FAKE, ids=lambda way: way.__name__)
def way_to_a_fake(request: pytest.FixtureRequest) -> Iterator[Way]:
    with request.param(InMemoryCalendar(FakeClock(), agents=["dev"])) as way:
        yield way


# --- heartbeats


def test_a_heartbeat_lists_pending_slots_by_priority_as_the_calendar_has_them(way: Way) -> None:
    low = way.calendar.add_slot("dev", priority=1, event_type="job", event_data={"type": "Task", "code": "T-1"})
    high = way.calendar.add_slot("dev", priority=99, status="deferred", is_admin_locked=True, scheduled_at="10:30")
    virtual = way.calendar.add_virtual_slot("dev", 3, priority=50, slot_type="on_call")
    assert way.heartbeat() == tuple(way.calendar.slot(key) for key in (high, virtual, low))


def test_a_heartbeat_tells_the_agents_status(way: Way) -> None:
    way.calendar.set_agent_status("dev", AgentStatus.EXHAUSTED)
    assert way.transport.heartbeat("dev").agent_status is AgentStatus.EXHAUSTED


def test_a_heartbeat_without_slots_is_an_answer(way: Way) -> None:
    assert way.heartbeat() == ()
    assert way.calendar.last_heartbeat_at("dev") is not None


def test_a_slot_that_is_ongoing_is_no_longer_listed(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    way.update(key, ONGOING)
    assert way.heartbeat() == ()


def test_an_unknown_agent_is_refused(answering_way: Way) -> None:
    assert answering_way.refusal_of(lambda: answering_way.heartbeat("ops")) == (404, "Agent not found")
    answering_way.calendar.remove_agent("dev")
    assert answering_way.refusal_of(lambda: answering_way.update(SlotKey.real(1), ONGOING)) == (404, "Agent not found")


# --- updates


def test_an_update_arrives_as_it_was_sent(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    assert way.update(key, ONGOING) == key
    assert way.update(key, SlotUpdate(status=SlotStatus.PAUSED)) == key
    assert way.calendar.slot(key).status is SlotStatus.PAUSED
    assert way.update(key, SlotUpdate(status=SlotStatus.ONGOING)) == key
    assert way.calendar.slot(key).status is SlotStatus.ONGOING
    assert way.update(key, FINISHED) == key
    slot = way.calendar.slot(key)
    assert (slot.status, slot.started_at, slot.actual_duration) == (SlotStatus.FINISHED, dt.time(9, 0, 7), 12)


def test_every_update_arrives_once_and_in_order(way_to_a_fake: Way) -> None:
    way = way_to_a_fake
    key = way.calendar.add_slot("dev")
    sent = [ONGOING, SlotUpdate(status=SlotStatus.PAUSED), SlotUpdate(status=SlotStatus.ONGOING), FINISHED]
    for update in sent:
        way.update(key, update)
    assert [update for _, _, update in way.fake.updates] == sent


def test_id_0_is_an_id(way: Way) -> None:
    way.calendar.add_slot("dev", id=0)
    assert [slot.key for slot in way.heartbeat()] == [SlotKey.real(0)]
    assert way.update(SlotKey.real(0), ONGOING) == SlotKey.real(0)
    assert way.calendar.slot(SlotKey.real(0)).status is SlotStatus.ONGOING


def test_a_virtual_slots_first_update_tells_its_real_key(answering_way: Way) -> None:
    answering_way.calendar.add_virtual_slot("dev", 3)
    real = answering_way.update(VIRTUAL, ONGOING)
    assert real == SlotKey.real(1)
    assert answering_way.update(real, FINISHED) == real
    assert answering_way.calendar.slot(real).status is SlotStatus.FINISHED


def test_a_virtual_key_goes_on_meaning_the_slot_that_became_real(answering_way: Way) -> None:
    answering_way.calendar.add_virtual_slot("dev", 3)
    assert answering_way.update(VIRTUAL, ONGOING) == answering_way.update(VIRTUAL, FINISHED) == SlotKey.real(1)


def test_real_7_and_virtual_7_are_different_slots(way_to_a_fake: Way) -> None:
    way = way_to_a_fake
    way.calendar.add_slot("dev", id=7)
    way.fake.add_slots_from("dev", [{"virtual_id": "7", "status": "not_started"}])
    way.update(SlotKey.virtual("7"), ABORTED)
    assert way.calendar.slot(SlotKey.real(7)).status is SlotStatus.NOT_STARTED


@pytest.mark.parametrize("update", [ONGOING, DEFERRED, FINISHED, ABORTED], ids=lambda update: str(update.status))
def test_the_same_update_twice_is_harmless(way: Way, update: SlotUpdate) -> None:
    key = way.calendar.add_slot("dev", priority=5)
    way.update(key, update)
    after_once = way.calendar.slot(key)
    assert way.update(key, update) == key
    assert way.calendar.slot(key) == after_once


def test_nothing_else_follows_a_terminal_update(answering_way: Way) -> None:
    key = answering_way.calendar.add_slot("dev")
    answering_way.update(key, FINISHED)
    assert answering_way.refusal_of(lambda: answering_way.update(key, ABORTED)) == (409, "slot is already finished")
    assert answering_way.calendar.slot(key).status is SlotStatus.FINISHED


@pytest.mark.parametrize("key", [SlotKey.real(99), VIRTUAL], ids=str)
def test_an_unknown_slot_is_refused(answering_way: Way, key: SlotKey) -> None:
    assert answering_way.refusal_of(lambda: answering_way.update(key, ONGOING)) == (404, "Slot not found")


def test_an_admin_locked_slot_is_not_deferred(answering_way: Way) -> None:
    key = answering_way.calendar.add_slot("dev", is_admin_locked=True)
    status, _ = answering_way.refusal_of(lambda: answering_way.update(key, DEFERRED))
    assert status == 423
    assert answering_way.update(key, ABORTED) == key


def test_a_deferred_slot_is_listed_again_with_a_higher_priority(way: Way) -> None:
    key = way.calendar.add_slot("dev", priority=5)
    way.update(key, DEFERRED)
    (slot,) = way.heartbeat()
    assert (slot.key, slot.status, slot.priority) == (key, SlotStatus.DEFERRED, 6)


# --- days


def test_a_day_lists_real_and_virtual_slots_as_the_calendar_has_them(way: Way) -> None:
    job = {"type": "Task", "code": "T-1"}
    real = way.calendar.add_slot("dev", scheduled_at="10:00", event_type="job", event_data=job)
    virtual = way.calendar.add_virtual_slot("dev", 3, scheduled_at="11:00", slot_type="on_call", is_admin_locked=True)
    assert way.day() == (way.calendar.slot(real), way.calendar.slot(virtual))


def test_a_day_lists_work_that_is_under_way_or_done(way: Way) -> None:
    keys = [way.calendar.add_slot("dev", scheduled_at=f"{hour}:00") for hour in (10, 11, 12, 13)]
    way.update(keys[1], SlotUpdate(status=SlotStatus.PAUSED))
    way.update(keys[2], FINISHED)
    way.update(keys[3], ONGOING)
    assert [(slot.key, slot.status) for slot in way.day()] == [
        (keys[0], SlotStatus.NOT_STARTED),
        (keys[1], SlotStatus.PAUSED),
        (keys[2], SlotStatus.FINISHED),
        (keys[3], SlotStatus.ONGOING),
    ]
    assert way.day()[3].started_at == ONGOING.started_at


def test_a_day_lists_a_virtual_slot_that_became_real_once(answering_way: Way) -> None:
    answering_way.calendar.add_virtual_slot("dev", 3)
    real = answering_way.update(VIRTUAL, ONGOING)
    (slot,) = answering_way.day()
    assert slot.key == real
    assert VIRTUAL in slot.keys


def test_a_day_leaves_out_what_was_skipped_or_aborted(way: Way) -> None:
    skipped, aborted, kept = (way.calendar.add_slot("dev", scheduled_at=f"{hour}:00") for hour in (10, 11, 12))
    way.calendar.cancel(skipped)
    way.update(aborted, ABORTED)
    assert [slot.key for slot in way.day()] == [kept]


def test_a_day_is_in_order_of_time_whatever_the_priorities(way: Way) -> None:
    noon = way.calendar.add_slot("dev", scheduled_at="12:00", priority=99)
    ten = way.calendar.add_slot("dev", scheduled_at="10:00")
    eleven = way.calendar.add_virtual_slot("dev", 3, scheduled_at="11:00", priority=50)
    assert [slot.key for slot in way.day()] == [ten, eleven, noon]


def test_a_day_lists_its_own_slots_of_its_own_agent_only(way: Way) -> None:
    way.calendar.add_agent("ops")
    today = way.calendar.add_slot("dev")
    tomorrow = way.calendar.add_slot("dev", date="2026-01-06")
    theirs = way.calendar.add_slot("ops")
    assert [[slot.key for slot in way.day(date)] for date in (TODAY, TOMORROW)] == [[today], [tomorrow]]
    assert [slot.key for slot in way.day(agent_id="ops")] == [theirs]
    assert way.day(dt.date(2026, 1, 7)) == ()


def test_reading_a_day_does_not_count_as_a_heartbeat(way: Way) -> None:
    way.day()
    assert way.calendar.last_heartbeat_at("dev") is None


def test_the_day_of_an_unknown_agent_is_refused(way: Way) -> None:
    assert way.refusal_of(lambda: way.day(agent_id="ops")) == (404, "Agent not found")


@pytest.mark.parametrize("date", [dt.datetime(2026, 1, 5, tzinfo=dt.UTC), "2026-01-05"], ids=["instant", "text"])
def test_a_day_is_asked_for_by_a_date_and_nothing_else(way: Way, date: Any) -> None:
    with pytest.raises(ConfigurationError, match="date"):
        way.day(date)


# --- trouble


def test_an_outage_is_a_transport_error_and_changes_nothing(answering_way: Way) -> None:
    key = answering_way.calendar.add_slot("dev")
    with answering_way.calendar.outage():
        with pytest.raises(TransportError):
            answering_way.heartbeat()
        with pytest.raises(TransportError):
            answering_way.update(key, ONGOING)
        with pytest.raises(TransportError):
            answering_way.day()
    assert answering_way.calendar.slot(key).status is SlotStatus.NOT_STARTED
    assert [slot.key for slot in answering_way.heartbeat()] == [slot.key for slot in answering_way.day()] == [key]


def test_after_a_lost_answer_the_same_update_is_harmless(way_to_a_fake: Way) -> None:
    way = way_to_a_fake
    way.calendar.add_virtual_slot("dev", 3)
    way.fake.lose_next_answer(way.tries)
    with pytest.raises(TransportError):
        way.update(VIRTUAL, FINISHED)
    assert way.calendar.slot(VIRTUAL).status is SlotStatus.FINISHED
    assert way.update(VIRTUAL, FINISHED) == SlotKey.real(1)


def test_after_a_lost_answer_another_terminal_update_is_refused(way_to_a_fake: Way) -> None:
    way = way_to_a_fake
    key = way.calendar.add_slot("dev")
    way.fake.lose_next_answer(way.tries)
    with pytest.raises(TransportError):
        way.update(key, FINISHED)
    assert way.refusal_of(lambda: way.update(key, ABORTED))[0] == 409


def test_calls_from_many_threads_do_not_disturb_one_another(answering_way: Way) -> None:
    agents = [f"agent-{number}" for number in range(8)]
    keys = {}
    for agent_id in agents:
        answering_way.calendar.add_agent(agent_id)
        keys[agent_id] = [answering_way.calendar.add_slot(agent_id) for _ in range(5)]
    together = threading.Barrier(len(agents))
    served: list[str] = []

    def serve(agent_id: str) -> None:
        together.wait(5)
        for key in keys[agent_id]:
            assert key in [slot.key for slot in answering_way.heartbeat(agent_id)]
            assert answering_way.transport.update_slot(agent_id, key, ONGOING).slot == key
            assert answering_way.transport.update_slot(agent_id, key, FINISHED).slot == key
        assert answering_way.heartbeat(agent_id) == ()
        served.append(agent_id)

    threads = [threading.Thread(target=serve, args=(agent_id,)) for agent_id in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(served) == agents
    done = [answering_way.calendar.slot(key).status for agent_id in agents for key in keys[agent_id]]
    assert done == [SlotStatus.FINISHED] * 40


def test_nothing_goes_through_after_a_close(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    way.transport.close()
    with pytest.raises(LifecycleError):
        way.heartbeat()
    with pytest.raises(LifecycleError):
        way.update(key, ONGOING)
    with pytest.raises(LifecycleError):
        way.day()
    assert way.calendar.last_heartbeat_at("dev") is None
    assert way.calendar.slot(key).status is SlotStatus.NOT_STARTED


def test_closing_twice_does_no_harm(way: Way) -> None:
    way.transport.close()
    way.transport.close()
