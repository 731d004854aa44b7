import datetime as dt
import threading
from typing import Any

import pytest

from harborcal.codecs import thaw
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    LifecycleError,
    TransportError,
    TransportTimeoutError,
)
from harborcal.model import AgentStatus, EventType, SlotKey, SlotStatus, SlotType, SlotUpdate
from harborcal.testing import MONDAY_MORNING, FakeClock, InMemoryCalendar, ReceivedUpdate

ONGOING = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9))
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=5)
DEFERRED = SlotUpdate(status=SlotStatus.DEFERRED)
VIRTUAL = SlotKey.virtual("plan-3-2026-01-05")
TODAY = dt.date(2026, 1, 5)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def calendar(clock: FakeClock) -> InMemoryCalendar:
    return InMemoryCalendar(clock, agents=["dev"])


def listed(calendar: InMemoryCalendar, agent_id: str = "dev") -> list[str]:
    return [slot.ident for slot in calendar.heartbeat(agent_id).slots]


def refusal_of(calendar: InMemoryCalendar, key: SlotKey, status: SlotStatus, agent_id: str = "dev") -> tuple[int, str]:
    with pytest.raises(CalendarRefusedError) as caught:
        calendar.update_slot(agent_id, key, SlotUpdate(status=status))
    return caught.value.status, caught.value.detail


# --- what it lists


def test_by_default_a_slot_is_half_an_hour_of_work_that_begins_now(calendar: InMemoryCalendar) -> None:
    slot = calendar.slot(calendar.add_slot("dev"))
    assert (slot.id, slot.date, slot.scheduled_at) == (1, dt.date(2026, 1, 5), dt.time(9))
    assert (slot.slot_type, slot.estimated_duration, slot.status) == (SlotType.WORK, 30, SlotStatus.NOT_STARTED)
    assert slot.created_at == slot.updated_at == MONDAY_MORNING


def test_fields_may_be_written_as_the_contract_writes_them(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot(
        "dev",
        id=0,
        date="2026-01-06",
        scheduled_at="10:30",
        started_at=dt.time(10, 31),
        status="paused",
        event_type="job",
        event_data={"code": ["T-1"]},
        slot_type=None,
    )
    slot = calendar.slot(key)
    assert (key, slot.date, slot.scheduled_at) == (SlotKey.real(0), dt.date(2026, 1, 6), dt.time(10, 30))
    assert (slot.status, slot.event_type, slot.slot_type) == (SlotStatus.PAUSED, EventType.JOB, None)
    assert thaw(slot.event_data) == {"code": ["T-1"]}


@pytest.mark.parametrize(
    "fields", [{"colour": "red"}, {"status": "Ongoing"}, {"scheduled_at": "9"}, {"date": 5}, {"virtual_id": "x"}]
)
def test_unknown_and_unreadable_fields_are_refused(calendar: InMemoryCalendar, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        calendar.add_slot("dev", **fields)
    key = calendar.add_slot("dev")
    with pytest.raises(ConfigurationError):
        calendar.set_slot(key, **fields)


def test_slots_are_added_to_registered_agents_under_free_ids_only(calendar: InMemoryCalendar) -> None:
    with pytest.raises(ConfigurationError, match="add_agent"):
        calendar.add_slot("ops", id=9)
    with pytest.raises(ConfigurationError, match="letter"):
        calendar.add_agent("not an id")
    calendar.add_slot("dev", id=2)
    with pytest.raises(ConfigurationError, match="already"):
        calendar.add_slot("dev", id=2)
    assert [calendar.add_slot("dev") for _ in range(2)] == [SlotKey.real(1), SlotKey.real(3)]


def test_slots_can_be_taken_from_the_contracts_json(calendar: InMemoryCalendar) -> None:
    keys = calendar.add_slots_from(
        "dev",
        [
            {"id": 41, "status": "deferred", "priority": 3, "date": "2026-01-05"},
            {"virtual_id": VIRTUAL.id, "status": "not_started", "event_data": {"event": "ScheduleToday"}},
        ],
    )
    assert keys == (SlotKey.real(41), VIRTUAL)
    assert listed(calendar) == ["41", VIRTUAL.id]
    assert [slot.key for slot in calendar.slots("dev")] == list(keys)


def test_of_unreadable_json_nothing_is_added(calendar: InMemoryCalendar) -> None:
    with pytest.raises(ConfigurationError, match="slot 2 cannot be added: status is one of"):
        calendar.add_slots_from("dev", [{"id": 1, "status": "deferred"}, {"id": 2, "status": "Deferred"}])
    assert calendar.slots("dev") == ()


def test_todays_pending_slots_are_listed_by_priority_then_in_the_order_of_their_adding(
    calendar: InMemoryCalendar,
) -> None:
    calendar.add_slot("dev", id=1, priority=5)
    calendar.add_slot("dev", id=2, priority=50, status="deferred")
    calendar.add_slot("dev", id=3, priority=5)
    calendar.add_slot("dev", id=4, date="2026-01-04")
    calendar.add_slot("dev", id=5, date=None)
    for number, status in enumerate(["ongoing", "paused", "skipped", "finished", "aborted"], start=10):
        calendar.add_slot("dev", id=number, status=status)
    assert listed(calendar) == ["2", "1", "3", "5"]


def test_other_agents_slots_are_not_listed(calendar: InMemoryCalendar) -> None:
    calendar.add_agent("ops")
    calendar.add_slot("ops")
    assert listed(calendar) == []
    assert listed(calendar, "ops") == ["1"]


def test_slots_that_are_not_due_are_listed_unless_the_calendar_keeps_them_back(
    calendar: InMemoryCalendar, clock: FakeClock
) -> None:
    calendar.add_slot("dev", id=1, scheduled_at="10:00")
    calendar.add_slot("dev", id=2, scheduled_at=None)
    assert listed(calendar) == ["1", "2"]
    calendar.list_early = False
    assert listed(calendar) == ["2"]
    clock.advance(3_600)
    assert listed(calendar) == ["1", "2"]


def test_heartbeats_are_noted(calendar: InMemoryCalendar, clock: FakeClock) -> None:
    assert calendar.last_heartbeat_at("dev") is None
    clock.advance(60)
    calendar.heartbeat("dev")
    assert calendar.last_heartbeat_at("dev") == MONDAY_MORNING + dt.timedelta(seconds=60)
    assert calendar.heartbeats == ["dev"]


def test_an_agents_status_follows_from_its_ongoing_slot_unless_it_was_set(calendar: InMemoryCalendar) -> None:
    assert calendar.heartbeat("dev").agent_status is AgentStatus.IDLE
    calendar.add_slot("dev", status="ongoing", slot_type="on_call")
    assert calendar.heartbeat("dev").agent_status is AgentStatus.ON_CALL
    calendar.add_slot("dev", status="ongoing")
    assert calendar.heartbeat("dev").agent_status is AgentStatus.BUSY
    calendar.set_agent_status("dev", AgentStatus.EXHAUSTED)
    assert calendar.heartbeat("dev").agent_status is AgentStatus.EXHAUSTED
    calendar.set_agent_status("dev", None)
    assert calendar.heartbeat("dev").agent_status is AgentStatus.BUSY


def test_an_agent_that_is_not_registered_is_not_found(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev")
    calendar.remove_agent("dev")
    calendar.remove_agent("dev")
    with pytest.raises(CalendarRefusedError, match="Agent not found"):
        calendar.heartbeat("dev")
    assert refusal_of(calendar, key, SlotStatus.ONGOING) == (404, "Agent not found")


def test_the_system_clock_is_the_default() -> None:
    calendar = InMemoryCalendar(agents=["dev"])
    calendar.heartbeat("dev")
    assert calendar.last_heartbeat_at("dev") is not None


def test_a_day_is_listed_by_time_and_within_one_time_in_the_order_of_adding(calendar: InMemoryCalendar) -> None:
    calendar.add_slot("dev", id=1, scheduled_at="10:00")
    calendar.add_slot("dev", id=2, scheduled_at="00:00", priority=3)
    calendar.add_slot("dev", id=3, scheduled_at=None)
    calendar.add_slot("dev", id=4, scheduled_at="09:30:01")
    calendar.add_slot("dev", id=5, scheduled_at="00:00", priority=99)
    calendar.add_slot("dev", id=6, scheduled_at="09:30")
    assert [slot.id for slot in calendar.day("dev", TODAY)] == [3, 2, 5, 6, 4, 1]


def test_a_day_lists_whatever_was_neither_skipped_nor_aborted(calendar: InMemoryCalendar) -> None:
    for status in SlotStatus:
        calendar.add_slot("dev", status=status)
    calendar.add_slot("dev", date=None)
    calendar.add_slot("dev", date="2026-01-04")
    calendar.list_early = False
    assert {slot.status for slot in calendar.day("dev", TODAY)} == set(SlotStatus) - {
        SlotStatus.SKIPPED,
        SlotStatus.ABORTED,
    }
    assert [slot.date for slot in calendar.day("dev", TODAY)] == [TODAY] * 5


# --- what it takes


def test_an_accepted_update_is_applied_and_logged(calendar: InMemoryCalendar, clock: FakeClock) -> None:
    key = calendar.add_slot("dev")
    clock.advance(60)
    assert calendar.update_slot("dev", key, ONGOING).slot == key
    slot = calendar.slot(key)
    assert (slot.status, slot.started_at, slot.attended) == (SlotStatus.ONGOING, dt.time(9), True)
    assert slot.updated_at == clock.now()
    calendar.update_slot("dev", key, FINISHED)
    assert calendar.slot(key).actual_duration == 5
    assert calendar.updates == [ReceivedUpdate("dev", key, ONGOING), ReceivedUpdate("dev", key, FINISHED)]


def test_a_deferral_raises_the_priority_by_one_once_and_never_over_99(calendar: InMemoryCalendar) -> None:
    low, high = calendar.add_slot("dev", priority=5), calendar.add_slot("dev", priority=99)
    for _ in range(2):
        calendar.update_slot("dev", low, DEFERRED)
    calendar.update_slot("dev", high, DEFERRED)
    assert (calendar.slot(low).priority, calendar.slot(high).priority) == (6, 99)


@pytest.mark.parametrize("terminal", ["finished", "aborted", "skipped"])
def test_nothing_else_follows_a_terminal_state(calendar: InMemoryCalendar, terminal: str) -> None:
    key = calendar.add_slot("dev", status=terminal)
    before = calendar.slot(key)
    calendar.update_slot("dev", key, SlotUpdate(status=SlotStatus(terminal)))
    assert refusal_of(calendar, key, SlotStatus.ONGOING) == (409, f"slot is already {terminal}")
    assert calendar.slot(key) == before
    assert len(calendar.updates) == 1


def test_an_admins_lock_allows_work_but_neither_deferral_nor_skipping(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev", is_admin_locked=True)
    for status in (SlotStatus.DEFERRED, SlotStatus.SKIPPED):
        assert refusal_of(calendar, key, status)[0] == 423
    for status in (SlotStatus.ONGOING, SlotStatus.PAUSED, SlotStatus.FINISHED):
        calendar.update_slot("dev", key, SlotUpdate(status=status))


def test_no_update_makes_a_slot_not_started(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev", status="ongoing")
    assert refusal_of(calendar, key, SlotStatus.NOT_STARTED)[0] == 422


def test_a_slot_that_is_not_there_or_is_anothers_is_not_found(calendar: InMemoryCalendar) -> None:
    calendar.add_agent("ops")
    key = calendar.add_slot("ops")
    assert refusal_of(calendar, key, SlotStatus.ONGOING) == (404, "Slot not found")
    assert refusal_of(calendar, SlotKey.virtual("1"), SlotStatus.ONGOING) == (404, "Slot not found")
    with pytest.raises(CalendarRefusedError, match="Slot not found"):
        calendar.slot(SlotKey.real(99))


def test_a_virtual_slot_becomes_real_once_and_is_still_found_by_its_virtual_id(calendar: InMemoryCalendar) -> None:
    assert calendar.add_virtual_slot("dev", 3, priority=7) == VIRTUAL
    calendar.add_slot("dev", id=1, priority=7)
    real = calendar.update_slot("dev", VIRTUAL, DEFERRED).slot
    assert real == SlotKey.real(2)
    assert calendar.update_slot("dev", VIRTUAL, DEFERRED).slot == real
    slot = calendar.slot(VIRTUAL)
    assert slot == calendar.slot(real)
    assert (slot.id, slot.virtual_id, slot.plan_id, slot.priority) == (2, None, 3, 8)
    assert VIRTUAL in slot.keys
    assert listed(calendar) == ["2", "1"]
    with pytest.raises(ConfigurationError, match="already"):
        calendar.add_virtual_slot("dev", 3)


def test_a_virtual_slot_keeps_its_place_when_it_becomes_real(calendar: InMemoryCalendar) -> None:
    calendar.add_virtual_slot("dev", 3, date=dt.date(2026, 1, 5), priority=6)
    calendar.add_slot("dev", id=7, priority=7)
    calendar.update_slot("dev", VIRTUAL, DEFERRED)
    assert listed(calendar) == ["1", "7"]


def test_a_refused_update_leaves_a_virtual_slot_virtual(calendar: InMemoryCalendar) -> None:
    calendar.add_virtual_slot("dev", 3, is_admin_locked=True)
    assert refusal_of(calendar, VIRTUAL, SlotStatus.DEFERRED)[0] == 423
    assert calendar.slot(VIRTUAL).key == VIRTUAL


def test_an_operator_may_edit_and_cancel_whatever_state_a_slot_is_in(
    calendar: InMemoryCalendar, clock: FakeClock
) -> None:
    key = calendar.add_slot("dev", status="finished")
    clock.advance(60)
    assert calendar.set_slot(key, status="not_started", priority=9).updated_at == clock.now()
    assert listed(calendar) == ["1"]
    assert calendar.cancel(key).status is SlotStatus.SKIPPED
    assert listed(calendar) == []


# --- trouble on demand


def test_an_outage_fails_every_call_until_it_ends(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev")
    with calendar.outage():
        for _ in range(2):
            with pytest.raises(CalendarUnavailableError, match="outage"):
                calendar.heartbeat("dev")
        with pytest.raises(CalendarUnavailableError):
            calendar.update_slot("dev", key, ONGOING)
        with pytest.raises(CalendarUnavailableError):
            calendar.day("dev", TODAY)
    assert len(calendar.day("dev", TODAY)) == 1
    calendar.heartbeat("dev")
    assert (calendar.heartbeats, calendar.updates) == (["dev"], [])
    assert calendar.slot(key).status is SlotStatus.NOT_STARTED


def test_an_outage_has_the_error_that_was_asked_for(calendar: InMemoryCalendar) -> None:
    calendar.start_outage(TransportError("the line is dead"))
    with pytest.raises(TransportError, match="the line is dead"):
        calendar.heartbeat("dev")
    calendar.stop_outage()
    calendar.heartbeat("dev")


def test_the_next_calls_of_a_kind_fail_on_demand(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev")
    calendar.fail_next(TransportError("update"), times=2, on="update")
    calendar.fail_next(TransportError("any"))
    failures: list[str] = []
    for call in (
        lambda: calendar.heartbeat("dev"),
        lambda: calendar.heartbeat("dev"),
        lambda: calendar.update_slot("dev", key, ONGOING),
        lambda: calendar.update_slot("dev", key, ONGOING),
        lambda: calendar.update_slot("dev", key, ONGOING),
    ):
        try:
            call()
            failures.append("")
        except HarborcalError as error:
            failures.append(str(error))
    assert failures == ["any", "", "update", "update", ""]


def test_days_fail_on_demand_and_leave_the_failures_of_other_calls_to_them(calendar: InMemoryCalendar) -> None:
    calendar.fail_next(TransportError("heartbeat"), on="heartbeat")
    calendar.fail_next(TransportError("day"), on="day")
    calendar.fail_next(TransportError("any"))
    for words in ("day", "any"):
        with pytest.raises(TransportError, match=words):
            calendar.day("dev", TODAY)
    assert calendar.day("dev", TODAY) == ()
    with pytest.raises(TransportError, match="heartbeat"):
        calendar.heartbeat("dev")


@pytest.mark.parametrize("arguments", [{"times": 0}, {"on": "close"}])
def test_what_is_to_fail_is_checked(calendar: InMemoryCalendar, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        calendar.fail_next(TransportError("no"), **arguments)


def test_a_lost_answer_leaves_the_update_applied(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev")
    calendar.lose_next_answer()
    with pytest.raises(TransportTimeoutError):
        calendar.update_slot("dev", key, ONGOING)
    assert calendar.slot(key).status is SlotStatus.ONGOING
    assert calendar.update_slot("dev", key, ONGOING).slot == key
    assert len(calendar.updates) == 2


def test_hooks_run_inside_the_call_before_anything_happens_and_without_a_lock(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev")
    seen: list[object] = []
    calendar.before_heartbeat = lambda agent_id: seen.append((agent_id, calendar.last_heartbeat_at(agent_id)))
    calendar.before_update = lambda agent_id, slot, update: seen.append((agent_id, calendar.slot(slot).status, update))
    calendar.heartbeat("dev")
    calendar.update_slot("dev", key, ONGOING)
    assert seen == [("dev", None), ("dev", SlotStatus.NOT_STARTED, ONGOING)]


def test_a_hook_can_hold_one_call_up_while_others_pass(calendar: InMemoryCalendar) -> None:
    calendar.add_agent("ops")
    entered, go_on = threading.Event(), threading.Event()

    def hold(agent_id: str) -> None:
        if agent_id == "dev":
            entered.set()
            assert go_on.wait(5)

    calendar.before_heartbeat = hold
    thread = threading.Thread(target=calendar.heartbeat, args=("dev",))
    thread.start()
    assert entered.wait(5)
    calendar.heartbeat("ops")
    assert calendar.heartbeats == ["ops"]
    go_on.set()
    thread.join()
    assert calendar.heartbeats == ["ops", "dev"]


def test_a_closed_calendar_says_so(calendar: InMemoryCalendar) -> None:
    key = calendar.add_slot("dev")
    seen = [calendar.closed]
    for _ in range(2):
        calendar.close()
        seen.append(calendar.closed)
    assert seen == [False, True, True]
    with pytest.raises(LifecycleError):
        calendar.heartbeat("dev")
    with pytest.raises(LifecycleError):
        calendar.update_slot("dev", key, ONGOING)
