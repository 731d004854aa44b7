"""What every transport promises, fakes included: one suite for all of them."""

import contextlib
import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Iterator

import pytest

from harborcal.errors import CalendarRefusedError, LifecycleError, TransportError
from harborcal.model import AgentStatus, Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import CalendarServer, FakeClock, InMemoryCalendar
from harborcal.transport import Transport
from harborcal.transports.http import HttpTransport
from harborcal.transports.retrying import RetryingTransport

ONGOING = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0, 7))
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=12)
ABORTED = SlotUpdate(status=SlotStatus.ABORTED)
DEFERRED = SlotUpdate(status=SlotStatus.DEFERRED)
VIRTUAL = SlotKey.virtual("plan-3-2026-01-05")


@dataclasses.dataclass(frozen=True)
class Way:
    """A transport, and the calendar at its end."""

    transport: Transport
    calendar: InMemoryCalendar
    tries: int = 1
    """How often the transport asks the calendar before it gives up."""

    def heartbeat(self, agent_id: str = "dev") -> tuple[Slot, ...]:
        return self.transport.heartbeat(agent_id).slots

    def update(self, key: SlotKey, update: SlotUpdate) -> SlotKey:
        return self.transport.update_slot("dev", key, update).slot

    def refusal_of(self, call: Callable[[], object]) -> tuple[int, str]:
        with pytest.raises(CalendarRefusedError) as caught:
            call()
        return caught.value.status, caught.value.detail


@contextlib.contextmanager
def in_memory(calendar: InMemoryCalendar) -> Iterator[Way]:
    yield Way(calendar, calendar)


@contextlib.contextmanager
def over_http(calendar: InMemoryCalendar) -> Iterator[Way]:
    with CalendarServer(calendar) as server, contextlib.closing(HttpTransport(server.url, "claw")) as transport:
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


@pytest.fixture(params=[in_memory, over_http, with_retries, in_memory_with_retries], ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
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


def test_an_unknown_agent_is_refused(way: Way) -> None:
    assert way.refusal_of(lambda: way.heartbeat("ops")) == (404, "Agent not found")
    way.calendar.remove_agent("dev")
    assert way.refusal_of(lambda: way.update(SlotKey.real(1), ONGOING)) == (404, "Agent not found")


# --- updates


def test_an_update_arrives_as_it_was_sent(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    assert way.update(key, ONGOING) == key
    assert way.update(key, SlotUpdate(status=SlotStatus.PAUSED)) == key
    assert way.update(key, SlotUpdate(status=SlotStatus.ONGOING)) == key
    assert way.update(key, FINISHED) == key
    assert [update for _, _, update in way.calendar.updates] == [
        ONGOING,
        SlotUpdate(status=SlotStatus.PAUSED),
        SlotUpdate(status=SlotStatus.ONGOING),
        FINISHED,
    ]
    slot = way.calendar.slot(key)
    assert (slot.started_at, slot.actual_duration) == (dt.time(9, 0, 7), 12)


def test_id_0_is_an_id(way: Way) -> None:
    way.calendar.add_slot("dev", id=0)
    assert [slot.key for slot in way.heartbeat()] == [SlotKey.real(0)]
    assert way.update(SlotKey.real(0), ONGOING) == SlotKey.real(0)
    assert way.calendar.slot(SlotKey.real(0)).status is SlotStatus.ONGOING


def test_a_virtual_slots_first_update_tells_its_real_key(way: Way) -> None:
    way.calendar.add_virtual_slot("dev", 3)
    real = way.update(VIRTUAL, ONGOING)
    assert real == SlotKey.real(1)
    assert way.update(real, FINISHED) == real
    assert way.calendar.slot(real).status is SlotStatus.FINISHED


def test_a_virtual_key_goes_on_meaning_the_slot_that_became_real(way: Way) -> None:
    way.calendar.add_virtual_slot("dev", 3)
    assert way.update(VIRTUAL, ONGOING) == way.update(VIRTUAL, FINISHED) == SlotKey.real(1)


def test_real_7_and_virtual_7_are_different_slots(way: Way) -> None:
    way.calendar.add_slot("dev", id=7)
    way.calendar.add_slots_from("dev", [{"virtual_id": "7", "status": "not_started"}])
    way.update(SlotKey.virtual("7"), ABORTED)
    assert way.calendar.slot(SlotKey.real(7)).status is SlotStatus.NOT_STARTED


@pytest.mark.parametrize("update", [ONGOING, DEFERRED, FINISHED, ABORTED], ids=lambda update: str(update.status))
def test_the_same_update_twice_is_harmless(way: Way, update: SlotUpdate) -> None:
    key = way.calendar.add_slot("dev", priority=5)
    way.update(key, update)
    after_once = way.calendar.slot(key)
    assert way.update(key, update) == key
    assert way.calendar.slot(key) == after_once


def test_nothing_else_follows_a_terminal_update(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    way.update(key, FINISHED)
    assert way.refusal_of(lambda: way.update(key, ABORTED)) == (409, "slot is already finished")
    assert way.calendar.slot(key).status is SlotStatus.FINISHED


@pytest.mark.parametrize("key", [SlotKey.real(99), VIRTUAL], ids=str)
def test_an_unknown_slot_is_refused(way: Way, key: SlotKey) -> None:
    assert way.refusal_of(lambda: way.update(key, ONGOING)) == (404, "Slot not found")


def test_an_admin_locked_slot_is_not_deferred(way: Way) -> None:
    key = way.calendar.add_slot("dev", is_admin_locked=True)
    status, _ = way.refusal_of(lambda: way.update(key, DEFERRED))
    assert status == 423
    assert way.update(key, ABORTED) == key


def test_a_deferred_slot_is_listed_again_with_a_higher_priority(way: Way) -> None:
    key = way.calendar.add_slot("dev", priority=5)
    way.update(key, DEFERRED)
    (slot,) = way.heartbeat()
    assert (slot.key, slot.status, slot.priority) == (key, SlotStatus.DEFERRED, 6)


# --- trouble


def test_an_outage_is_a_transport_error_and_changes_nothing(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    with way.calendar.outage():
        with pytest.raises(TransportError):
            way.heartbeat()
        with pytest.raises(TransportError):
            way.update(key, ONGOING)
    assert way.calendar.slot(key).status is SlotStatus.NOT_STARTED
    assert [slot.key for slot in way.heartbeat()] == [key]


def test_after_a_lost_answer_the_same_update_is_harmless(way: Way) -> None:
    way.calendar.add_virtual_slot("dev", 3)
    way.calendar.lose_next_answer(way.tries)
    with pytest.raises(TransportError):
        way.update(VIRTUAL, FINISHED)
    assert way.calendar.slot(VIRTUAL).status is SlotStatus.FINISHED
    assert way.update(VIRTUAL, FINISHED) == SlotKey.real(1)


def test_after_a_lost_answer_another_terminal_update_is_refused(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    way.calendar.lose_next_answer(way.tries)
    with pytest.raises(TransportError):
        way.update(key, FINISHED)
    assert way.refusal_of(lambda: way.update(key, ABORTED))[0] == 409


def test_calls_from_many_threads_do_not_disturb_one_another(way: Way) -> None:
    agents = [f"agent-{number}" for number in range(8)]
    keys = {}
    for agent_id in agents:
        way.calendar.add_agent(agent_id)
        keys[agent_id] = [way.calendar.add_slot(agent_id) for _ in range(5)]
    together = threading.Barrier(len(agents))
    served: list[str] = []

    def serve(agent_id: str) -> None:
        together.wait(5)
        for key in keys[agent_id]:
            assert key in [slot.key for slot in way.heartbeat(agent_id)]
            assert way.transport.update_slot(agent_id, key, ONGOING).slot == key
            assert way.transport.update_slot(agent_id, key, FINISHED).slot == key
        assert way.heartbeat(agent_id) == ()
        served.append(agent_id)

    threads = [threading.Thread(target=serve, args=(agent_id,)) for agent_id in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(served) == agents
    assert len(way.calendar.updates) == 80


def test_nothing_goes_through_after_a_close(way: Way) -> None:
    key = way.calendar.add_slot("dev")
    way.transport.close()
    with pytest.raises(LifecycleError):
        way.heartbeat()
    with pytest.raises(LifecycleError):
        way.update(key, ONGOING)
    assert (way.calendar.heartbeats, way.calendar.updates) == ([], [])


def test_closing_twice_does_no_harm(way: Way) -> None:
    way.transport.close()
    way.transport.close()
