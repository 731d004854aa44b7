"""harborcal's own transport against harborcal's own server, over loopback."""

import contextlib
import datetime as dt
from collections.abc import Iterator

import pytest

from harborcal.errors import CalendarRefusedError, CalendarUnavailableError
from harborcal.model import AgentStatus, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import CalendarServer, Fault
from harborcal.transports.http import HttpTransport
from harborcal.transports.retrying import RetryingTransport
from tests.server.world import MONDAY, TUESDAY, World

ONGOING = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0, 7))
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=12)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def server(world: World) -> Iterator[CalendarServer]:
    with CalendarServer(world.app) as server:
        yield server
    assert server.errors == []


@pytest.fixture
def transport(server: CalendarServer) -> Iterator[HttpTransport]:
    with contextlib.closing(HttpTransport(server.url, "claw")) as transport:
        yield transport


def test_a_heartbeat_brings_slots_as_the_calendar_has_them(world: World, transport: HttpTransport) -> None:
    world.add(1, priority=4, event_type="job", event_data={"code": "T-1"}, user_id=0)
    world.add(2, priority=8)
    world.plan(priority=6)
    heartbeat = transport.heartbeat("dev")
    assert heartbeat.unreadable == ()
    assert heartbeat.agent_status is AgentStatus.IDLE
    virtual = SlotKey.virtual(f"plan-1-{MONDAY}")
    assert heartbeat.slots == tuple(world.calendar.slot(key) for key in (SlotKey.real(2), virtual, SlotKey.real(1)))


def test_updates_arrive(world: World, transport: HttpTransport) -> None:
    key = world.add()
    for update in ONGOING, SlotUpdate(status=SlotStatus.PAUSED), ONGOING, FINISHED:
        assert transport.update_slot("dev", key, update).slot == key
    slot = world.calendar.slot(key)
    assert (slot.status, slot.started_at, slot.actual_duration) == (SlotStatus.FINISHED, dt.time(9, 0, 7), 12)


def test_a_virtual_slots_first_update_tells_its_real_key(world: World, transport: HttpTransport) -> None:
    world.plan()
    virtual = SlotKey.virtual(f"plan-1-{MONDAY}")
    real = transport.update_slot("dev", virtual, ONGOING).slot
    assert real == SlotKey.real(1)
    assert transport.update_slot("dev", virtual, FINISHED).slot == real


def test_a_day_is_the_calendars_day(world: World, transport: HttpTransport) -> None:
    world.add(1)
    world.plan("09:30")
    world.plan("23:00", agent_id="ops")
    assert transport.day("dev", MONDAY) == world.calendar.day("dev", MONDAY)
    assert transport.day("dev", TUESDAY) == world.calendar.day("dev", TUESDAY)


@pytest.mark.parametrize(
    ("agent_id", "key", "status", "refusal"),
    [
        ("nobody", SlotKey.real(1), SlotStatus.ONGOING, (404, "Agent not found")),
        ("dev", SlotKey.real(99), SlotStatus.ONGOING, (404, "Slot not found")),
        ("dev", SlotKey.real(1), SlotStatus.NOT_STARTED, (422, "no update makes a slot not_started")),
        ("dev", SlotKey.real(1), SlotStatus.SKIPPED, (423, "slot is locked by an admin and cannot be skipped")),
        ("dev", SlotKey.real(2), SlotStatus.ONGOING, (409, "slot is already aborted")),
    ],
)
def test_refusals_have_the_status_and_words_of_the_calendar_in_process(
    world: World, transport: HttpTransport, agent_id: str, key: SlotKey, status: SlotStatus, refusal: tuple[int, str]
) -> None:
    world.calendar.apply_update("dev", world.add(1), SlotUpdate(status=SlotStatus.DEFERRED))
    world.calendar.lock_slot(SlotKey.real(1))
    world.calendar.apply_update("dev", world.add(2), SlotUpdate(status=SlotStatus.ABORTED))
    for update_slot in transport.update_slot, world.calendar.apply_update:
        with pytest.raises(CalendarRefusedError) as caught:
            update_slot(agent_id, key, SlotUpdate(status=status))
        assert (caught.value.status, caught.value.detail) == refusal


def test_a_calendar_that_cannot_answer_is_unavailable(world: World, transport: HttpTransport) -> None:
    world.calendar.close()
    with pytest.raises(CalendarUnavailableError) as caught:
        transport.heartbeat("dev")
    assert (caught.value.status, caught.value.retry_after) == (503, 1.0)


def test_a_lost_answer_costs_nothing_once_it_is_asked_again(
    world: World, server: CalendarServer, transport: HttpTransport
) -> None:
    world.plan()
    virtual = SlotKey.virtual(f"plan-1-{MONDAY}")
    retrying = RetryingTransport(transport, attempts=3, sleep=lambda _: None)
    server.fault(Fault.reset_mid_body())
    assert retrying.update_slot("dev", virtual, ONGOING).slot == SlotKey.real(1)
    server.fault(Fault.status(503))
    assert retrying.update_slot("dev", virtual, FINISHED).slot == SlotKey.real(1)
    assert [slot.status for slot in world.calendar.day("dev", MONDAY)] == [SlotStatus.FINISHED]
