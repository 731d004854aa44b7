"""What schedulers ask and tell: heartbeats and the state machine of updates (contract, rules 1, 3, 4, 7)."""

import datetime as dt
import threading

import pytest

from harborcal.calendar import Calendar, Recurrence
from harborcal.model import AgentStatus, Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.calendar.conftest import TODAY, Refusal

TERMINAL = [SlotStatus.FINISHED, SlotStatus.ABORTED, SlotStatus.SKIPPED]
LIVE = [SlotStatus.NOT_STARTED, SlotStatus.DEFERRED, SlotStatus.ONGOING, SlotStatus.PAUSED]


def at(hour: int, minute: int = 0, date: dt.date = TODAY) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(hour, minute), dt.UTC)


def tell(calendar: Calendar, key: SlotKey, status: str, **fields: object) -> Slot:
    return calendar.apply_update("dev", key, SlotUpdate(status=SlotStatus(status), **fields))  # type: ignore[arg-type]


def listed(calendar: Calendar) -> list[str]:
    return [slot.ident for slot in calendar.heartbeat("dev").slots]


# --- heartbeats


def test_a_heartbeat_lists_pending_slots_by_priority_then_time(calendar: Calendar) -> None:
    low = calendar.add_slot("dev", at(8), priority=1)
    late = calendar.add_slot("dev", at(15), priority=5)
    early = calendar.add_slot("dev", at(14), priority=5)
    calendar.add_plan("dev", Recurrence.contract(dt.time(20), first=TODAY), priority=9)
    assert listed(calendar) == ["plan-1-2026-01-05", early.ident, late.ident, low.ident]


@pytest.mark.parametrize("status", list(SlotStatus)[1:])
def test_only_pending_slots_are_listed(calendar: Calendar, status: SlotStatus) -> None:
    slot = calendar.add_slot("dev", at(9))
    tell(calendar, slot.key, status)
    assert listed(calendar) == ([slot.ident] if status is SlotStatus.DEFERRED else [])


def test_slots_of_other_days_and_agents_are_not_listed(calendar: Calendar) -> None:
    calendar.register_agent("ops")
    calendar.add_slot("ops", at(9))
    calendar.add_slot("dev", at(9, date=dt.date(2026, 1, 6)))
    calendar.add_plan("dev", Recurrence.contract(dt.time(9), first=dt.date(2026, 1, 6)))
    assert listed(calendar) == []


def test_a_slot_that_reaches_past_midnight_is_listed_until_it_is_over(calendar: Calendar, clock: FakeClock) -> None:
    late = calendar.add_slot("dev", at(23, 50), 30)
    calendar.add_slot("dev", at(22), 30)
    clock.advance((at(23, 59) - clock.now()).total_seconds())
    assert len(listed(calendar)) == 2
    clock.advance(20 * 60)  # 00:19
    assert listed(calendar) == [late.ident]
    tell(calendar, late.key, "ongoing")
    clock.advance(120)
    tell(calendar, late.key, "deferred")
    assert listed(calendar) == []


def test_an_agent_woken_just_before_midnight_may_still_say_so(
    calendar: Calendar, clock: FakeClock, refusal: Refusal
) -> None:
    first, second = calendar.add_slot("dev", at(20)), calendar.add_slot("dev", at(21))
    clock.advance((at(23, 59) - clock.now()).total_seconds() + 179)  # 00:01:59
    assert tell(calendar, first.key, "ongoing").status is SlotStatus.ONGOING
    clock.advance(1)
    told = (409, "2026-01-05 is over: past dates are immutable")
    assert refusal(lambda: tell(calendar, second.key, "ongoing")) == told
    assert refusal(lambda: tell(calendar, second.key, "deferred")) == told


def test_what_is_under_way_is_finished_whenever_it_is_done(calendar: Calendar, clock: FakeClock) -> None:
    slot = calendar.add_slot("dev", at(20))
    tell(calendar, slot.key, "ongoing", started_at=dt.time(20, 1))
    clock.advance(2 * 86_400)
    tell(calendar, slot.key, "paused")
    tell(calendar, slot.key, "ongoing")
    finished = tell(calendar, slot.key, "finished", actual_duration=2000)
    assert (finished.status, finished.actual_duration, finished.started_at) == (
        SlotStatus.FINISHED,
        2000,
        dt.time(20, 1),
    )


# --- the state machine


@pytest.mark.parametrize("old", LIVE)
@pytest.mark.parametrize("new", [*LIVE[1:], *TERMINAL])
def test_any_state_that_is_not_terminal_becomes_any_other(calendar: Calendar, old: SlotStatus, new: SlotStatus) -> None:
    key = calendar.add_slot("dev", at(9)).key
    if old is not SlotStatus.NOT_STARTED:
        tell(calendar, key, old)
    assert tell(calendar, key, new).status is new
    assert calendar.slot(key).status is new


@pytest.mark.parametrize("terminal", TERMINAL)
@pytest.mark.parametrize("new", list(SlotStatus))
def test_nothing_else_follows_a_terminal_state(
    calendar: Calendar, refusal: Refusal, terminal: SlotStatus, new: SlotStatus
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    after = tell(calendar, key, terminal)
    if new is terminal:
        assert tell(calendar, key, new) == after
    else:
        assert refusal(lambda: tell(calendar, key, new)) == (409, f"slot is already {terminal}")
    assert calendar.slot(key) == after


def test_no_update_makes_a_slot_not_started(calendar: Calendar, refusal: Refusal) -> None:
    key = calendar.add_slot("dev", at(9)).key
    tell(calendar, key, "ongoing")
    assert refusal(lambda: tell(calendar, key, "not_started")) == (422, "no update makes a slot not_started")


@pytest.mark.parametrize("status", list(SlotStatus)[1:])
def test_the_same_update_again_changes_nothing(calendar: Calendar, clock: FakeClock, status: SlotStatus) -> None:
    key = calendar.add_slot("dev", at(9), priority=5).key
    once = tell(calendar, key, status)
    clock.advance(60)
    assert tell(calendar, key, status, started_at=dt.time(9, 9), actual_duration=9) == once == calendar.slot(key)


@pytest.mark.parametrize("status", ["deferred", "skipped"])
def test_a_locked_slot_is_neither_deferred_nor_skipped(calendar: Calendar, refusal: Refusal, status: str) -> None:
    key = calendar.add_slot("dev", at(9), is_admin_locked=True).key
    assert refusal(lambda: tell(calendar, key, status)) == (
        423,
        f"slot is locked by an admin and cannot be {status}",
    )
    for allowed in ("ongoing", "paused", "finished"):
        assert tell(calendar, key, allowed).status == allowed


@pytest.mark.parametrize(("before", "after"), [(0, 1), (98, 99), (99, 99)])
def test_a_deferred_slot_is_more_urgent_by_one_at_most_99(calendar: Calendar, before: int, after: int) -> None:
    key = calendar.add_slot("dev", at(9), priority=before).key
    assert tell(calendar, key, "deferred").priority == after
    assert tell(calendar, key, "deferred").priority == after


def test_the_first_ongoing_says_when_it_began(calendar: Calendar, clock: FakeClock) -> None:
    key = calendar.add_slot("dev", at(9)).key
    slot = tell(calendar, key, "ongoing", started_at=dt.time(8, 59, 59))
    assert (slot.attended, slot.started_at) == (True, dt.time(8, 59, 59))
    tell(calendar, key, "paused")
    clock.advance(60)
    assert tell(calendar, key, "ongoing", started_at=dt.time(9, 1)).started_at == dt.time(8, 59, 59)


def test_an_ongoing_without_a_time_began_now(calendar: Calendar, clock: FakeClock) -> None:
    key = calendar.add_slot("dev", at(9)).key
    clock.advance(61.5)
    assert tell(calendar, key, "ongoing").started_at == dt.time(9, 1, 1)


def test_a_slot_that_was_deferred_after_all_was_not_begun(calendar: Calendar, clock: FakeClock) -> None:
    key = calendar.add_slot("dev", at(9)).key
    tell(calendar, key, "ongoing", started_at=dt.time(9))
    slot = tell(calendar, key, "deferred")
    assert (slot.attended, slot.started_at) == (False, None)
    clock.advance(300)
    assert tell(calendar, key, "ongoing").started_at == dt.time(9, 5)


@pytest.mark.parametrize("duration", [-1, 65_536, True, "5", 2.5])
def test_a_duration_out_of_range_is_refused(calendar: Calendar, refusal: Refusal, duration: object) -> None:
    key = calendar.add_slot("dev", at(9)).key
    assert refusal(lambda: tell(calendar, key, "finished", actual_duration=duration))[0] == 422
    assert calendar.slot(key).status is SlotStatus.NOT_STARTED


def test_an_unknown_slot_is_not_found(calendar: Calendar, refusal: Refusal) -> None:
    for key in (SlotKey.real(99), SlotKey.virtual("plan-9-2026-01-05")):
        assert refusal(lambda key=key: tell(calendar, key, "ongoing")) == (404, "Slot not found")  # type: ignore[misc]


# --- virtual slots


def test_the_first_update_of_a_virtual_slot_makes_it_real_once(calendar: Calendar) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(9), first=TODAY), 20, priority=3)
    key = SlotKey.virtual("plan-1-2026-01-05")
    real = tell(calendar, key, "ongoing")
    assert (real.id, real.virtual_id, real.plan_id, real.priority) == (1, None, 1, 3)
    assert real.keys == (SlotKey.real(1), key)
    assert tell(calendar, key, "paused").id == tell(calendar, real.key, "ongoing").id == 1
    assert [slot.key for slot in calendar.day("dev", TODAY)] == [real.key]


def test_of_many_first_updates_at_once_one_makes_it_real(calendar: Calendar) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(9), first=TODAY))
    key = SlotKey.virtual("plan-1-2026-01-05")
    together = threading.Barrier(8)
    became: list[int | None] = []

    def update(status: str) -> None:
        together.wait(10)
        became.append(tell(calendar, key, status).id)

    threads = [
        threading.Thread(target=update, args=(status,)) for status in ["ongoing", "paused", "deferred", "ongoing"] * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert became == [1] * 8
    assert len(calendar.day("dev", TODAY, everything=True)) == 1


def test_a_repeated_not_started_is_no_update_of_a_virtual_slot(calendar: Calendar) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(9), first=TODAY))
    assert tell(calendar, SlotKey.virtual("plan-1-2026-01-05"), "not_started").id is None


def test_an_update_of_a_virtual_slot_of_another_day_is_an_update_of_that_day(
    calendar: Calendar, refusal: Refusal
) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(9), first=TODAY))
    assert tell(calendar, SlotKey.virtual("plan-1-2026-01-07"), "skipped").date == dt.date(2026, 1, 7)
    assert refusal(lambda: tell(calendar, SlotKey.virtual("plan-1-2026-01-04"), "ongoing"))[0] == 404


def test_heartbeats_tell_what_the_agent_is_at(calendar: Calendar) -> None:
    key = calendar.add_slot("dev", at(9)).key
    assert calendar.heartbeat("dev").agent_status is AgentStatus.IDLE
    tell(calendar, key, "ongoing")
    assert calendar.heartbeat("dev").agent_status is AgentStatus.BUSY
