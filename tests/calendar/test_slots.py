"""Slots of the carried calendar: what may be planned, and what the past keeps."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harborcal.calendar import Calendar, DayAccount, Recurrence
from harborcal.model import Slot, SlotKey, SlotStatus, SlotType, SlotUpdate
from harborcal.testing import FakeClock
from tests.calendar.conftest import TODAY, Refusal

MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)


def at(hour: int, minute: int = 0, date: dt.date = TODAY) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(hour, minute), dt.UTC)


def put(calendar: Calendar, status: SlotStatus, starts_at: dt.datetime) -> SlotKey:
    key = calendar.add_slot("dev", starts_at).key
    calendar.apply_update("dev", key, SlotUpdate(status=status))
    return key


# --- adding


def test_a_slot_is_as_it_was_planned(calendar: Calendar, clock: FakeClock) -> None:
    data = {"type": "Task", "code": "T-1", "nested": {"list": [1, "ä", None, 2.5, True]}}
    slot = calendar.add_slot(
        "dev", at(10, 30), 25, slot_type="on_call", priority=7, event_type="job", event_data=data, user_id=3
    )
    assert slot == calendar.slot(slot.key) == calendar.day("dev", TODAY)[0]
    told = slot.to_dict()
    assert told == told | {
        "id": 1,
        "virtual_id": None,
        "status": "not_started",
        "date": "2026-01-05",
        "scheduled_at": "10:30:00",
        "estimated_duration": 25,
        "slot_type": "on_call",
        "priority": 7,
        "event_type": "job",
        "event_data": data,
        "user_id": 3,
        "started_at": None,
        "attended": False,
        "actual_duration": None,
        "plan_id": None,
        "is_admin_locked": False,
    }
    assert slot.created_at == slot.updated_at == clock.now()


def test_any_time_zone_is_told_in_utc(calendar: Calendar) -> None:
    slot = calendar.add_slot("dev", dt.datetime(2026, 1, 6, 0, 30, 15, 999, tzinfo=ZoneInfo("Europe/Berlin")))
    assert (slot.date, slot.scheduled_at) == (TODAY, dt.time(23, 30, 15))


@pytest.mark.parametrize(
    "fields",
    [
        {"estimated_duration": 0},
        {"estimated_duration": 51},
        {"estimated_duration": True},
        {"estimated_duration": 2.5},
        {"estimated_duration": "30"},
        {"estimated_duration": 181, "special_slot_id": 1},
        {"priority": -1},
        {"priority": 100},
        {"priority": None},
        {"slot_type": "Work"},
        {"slot_type": None},
        {"event_type": "party"},
        {"event_data": ["a list"]},
        {"event_data": {"set": {1}}},
        {"event_data": {"number": float("nan")}},
        {"event_data": {1: "key"}},
        {"event_data": {"half a character": "\ud800"}},
        {"event_data": {"long": "x" * 20_000}},
        {"user_id": -1},
        {"user_id": 2**63},
        {"special_slot_id": "x"},
        {"is_admin_locked": 1},
        {"starts_at": dt.datetime(2026, 1, 5, 10)},
        {"starts_at": "2026-01-05T10:00Z"},
        {"starts_at": dt.datetime(2201, 1, 1, tzinfo=dt.UTC)},
        {"starts_at": dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.timezone(-HOUR))},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused_and_nothing_is_planned(
    calendar: Calendar, refusal: Refusal, fields: dict[str, Any]
) -> None:
    status, detail = refusal(lambda: calendar.add_slot("dev", **({"starts_at": at(10)} | fields)))
    assert status == 422
    assert detail
    assert calendar.day("dev", TODAY, everything=True) == ()


@pytest.mark.parametrize(
    ("minutes", "fields"), [(50, {}), (1, {}), (180, {"special_slot_id": 4}), (180, {"slot_type": "system"})]
)
def test_special_slots_may_be_longer(calendar: Calendar, minutes: int, fields: dict[str, Any]) -> None:
    assert calendar.add_slot("dev", at(10), minutes, **fields).estimated_duration == minutes


def test_ids_are_never_given_out_twice(calendar: Calendar, clock: FakeClock) -> None:
    first = calendar.add_slot("dev", at(10))
    clock.advance(3 * 86_400)
    assert calendar.prune(clock.now().date()) == 1
    assert calendar.add_slot("dev", clock.now()).id == (first.id or 0) + 1


# --- overlap


@pytest.mark.parametrize(
    ("starts_at", "minutes", "is_free"),
    [
        (at(9, 30), 30, True),
        (at(10, 30), 30, True),
        (at(9, 31), 30, False),
        (at(10, 29), 5, False),
        (at(10, 5), 5, False),
        (at(9, 50), 50, False),
        (at(10), 30, False),
    ],
)
def test_a_slot_that_overlaps_is_refused_and_the_other_named(
    calendar: Calendar, refusal: Refusal, starts_at: dt.datetime, minutes: int, is_free: bool
) -> None:
    calendar.add_slot("dev", at(10), 30)
    if is_free:
        calendar.add_slot("dev", starts_at, minutes)
    else:
        told = (409, "overlaps slot 1 (2026-01-05 10:00 to 2026-01-05 10:30 UTC)")
        assert refusal(lambda: calendar.add_slot("dev", starts_at, minutes)) == told


def test_slots_of_other_agents_are_in_nobodys_way(calendar: Calendar) -> None:
    calendar.register_agent("ops")
    calendar.add_slot("dev", at(10))
    calendar.add_slot("ops", at(10))


def test_overlap_is_seen_across_midnight(calendar: Calendar, refusal: Refusal) -> None:
    calendar.add_slot("dev", at(23, 50), 30)
    tomorrow = TODAY + dt.timedelta(days=1)
    assert refusal(lambda: calendar.add_slot("dev", at(0, 19, tomorrow)))[0] == 409
    calendar.add_slot("dev", at(0, 20, tomorrow))


def test_a_virtual_slot_is_in_the_way_too(calendar: Calendar, refusal: Refusal) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(10), first=TODAY), 30)
    status, detail = refusal(lambda: calendar.add_slot("dev", at(10, 15)))
    assert (status, detail) == (409, "overlaps slot plan-1-2026-01-05 (2026-01-05 10:00 to 2026-01-05 10:30 UTC)")


@pytest.mark.parametrize("status", list(SlotStatus))
def test_only_skipped_and_aborted_slots_are_out_of_the_way(
    calendar: Calendar, refusal: Refusal, status: SlotStatus
) -> None:
    if status is SlotStatus.NOT_STARTED:
        calendar.add_slot("dev", at(10))
    else:
        put(calendar, status, at(10))
    if status in {SlotStatus.SKIPPED, SlotStatus.ABORTED}:
        calendar.add_slot("dev", at(10))
    else:
        assert refusal(lambda: calendar.add_slot("dev", at(10)))[0] == 409


# --- editing


def test_an_edit_changes_what_it_names_and_nothing_else(calendar: Calendar, clock: FakeClock) -> None:
    slot = calendar.add_slot("dev", at(10), 30, priority=1, event_type="job", event_data={"code": "T-1"})
    clock.advance(5)
    edited = calendar.edit_slot(slot.key, starts_at=at(11), estimated_duration=20, priority=2)
    assert edited == calendar.slot(slot.key)
    assert edited.to_dict() == slot.to_dict() | {
        "scheduled_at": "11:00:00",
        "estimated_duration": 20,
        "priority": 2,
        "updated_at": edited.to_dict()["updated_at"],
    }
    assert edited.updated_at == clock.now()
    assert calendar.edit_slot(slot.key, event_type=None, event_data=None).event_data is None


def test_a_slot_may_move_within_its_own_stretch_but_not_onto_another(calendar: Calendar, refusal: Refusal) -> None:
    slot = calendar.add_slot("dev", at(10), 30)
    calendar.add_slot("dev", at(11), 30)
    assert calendar.edit_slot(slot.key, starts_at=at(10, 10)).scheduled_at == dt.time(10, 10)
    assert refusal(lambda: calendar.edit_slot(slot.key, starts_at=at(10, 45)))[0] == 409
    assert refusal(lambda: calendar.edit_slot(slot.key, estimated_duration=50, starts_at=at(10, 20)))[0] == 409
    assert calendar.slot(slot.key).scheduled_at == dt.time(10, 10)


@pytest.mark.parametrize(
    "changes", [{"status": "finished"}, {"id": 9}, {"is_admin_locked": True}, {"agent": "ops"}, {"priority": 100}]
)
def test_an_edit_of_what_is_no_field_is_refused(calendar: Calendar, refusal: Refusal, changes: dict[str, Any]) -> None:
    slot = calendar.add_slot("dev", at(10))
    assert refusal(lambda: calendar.edit_slot(slot.key, **changes))[0] == 422
    assert calendar.slot(slot.key) == slot


def test_a_long_special_slot_does_not_become_a_users(calendar: Calendar, refusal: Refusal) -> None:
    slot = calendar.add_slot("dev", at(10), 120, slot_type=SlotType.SYSTEM)
    assert refusal(lambda: calendar.edit_slot(slot.key, slot_type="work"))[0] == 422


def test_what_has_begun_keeps_its_time_but_can_be_changed_otherwise(calendar: Calendar, refusal: Refusal) -> None:
    key = put(calendar, SlotStatus.ONGOING, at(9))
    assert refusal(lambda: calendar.edit_slot(key, starts_at=at(12))) == (
        409,
        "slot is ongoing: what has begun keeps its time",
    )
    assert calendar.edit_slot(key, priority=50, estimated_duration=45).estimated_duration == 45


@pytest.mark.parametrize("status", [SlotStatus.FINISHED, SlotStatus.ABORTED, SlotStatus.SKIPPED])
def test_what_is_over_cannot_be_changed(calendar: Calendar, refusal: Refusal, status: SlotStatus) -> None:
    key = put(calendar, status, at(9))
    assert refusal(lambda: calendar.edit_slot(key, priority=2)) == (409, f"slot is already {status}")


def test_an_unknown_slot_is_not_found(calendar: Calendar, refusal: Refusal) -> None:
    for key in (SlotKey.real(99), SlotKey.virtual("plan-9-2026-01-05"), SlotKey.virtual("nonsense")):
        for call in (calendar.slot, calendar.cancel_slot, calendar.edit_slot, calendar.lock_slot):
            assert refusal(lambda call=call, key=key: call(key)) == (404, "Slot not found")  # type: ignore[misc]


def test_somebody_elses_slot_is_not_found(calendar: Calendar, refusal: Refusal) -> None:
    calendar.register_agent("ops")
    key = calendar.add_slot("dev", at(10)).key
    assert refusal(lambda: calendar.edit_slot(key, agent_id="ops", priority=1))[0] == 404
    assert refusal(lambda: calendar.cancel_slot(key, agent_id="ops"))[0] == 404
    assert refusal(lambda: calendar.apply_update("ops", key, SlotUpdate(status=SlotStatus.ONGOING)))[0] == 404
    assert calendar.cancel_slot(key, agent_id="dev").status is SlotStatus.SKIPPED


# --- cancelling


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        (SlotStatus.DEFERRED, SlotStatus.SKIPPED),
        (SlotStatus.ONGOING, SlotStatus.ABORTED),
        (SlotStatus.PAUSED, SlotStatus.ABORTED),
        (SlotStatus.SKIPPED, SlotStatus.SKIPPED),
        (SlotStatus.ABORTED, SlotStatus.ABORTED),
    ],
)
def test_a_cancelled_slot_is_skipped_or_aborted_where_it_has_begun(
    calendar: Calendar, status: SlotStatus, becomes: SlotStatus
) -> None:
    key = put(calendar, status, at(9))
    cancelled = calendar.cancel_slot(key)
    assert cancelled.status is becomes
    assert calendar.cancel_slot(key) == cancelled


def test_what_is_finished_cannot_be_cancelled(calendar: Calendar, refusal: Refusal) -> None:
    key = put(calendar, SlotStatus.FINISHED, at(9))
    assert refusal(lambda: calendar.cancel_slot(key)) == (409, "slot is already finished")


# --- locks


def test_a_locked_slot_is_changed_by_nobody_until_it_is_unlocked(calendar: Calendar, refusal: Refusal) -> None:
    key = calendar.add_slot("dev", at(10), is_admin_locked=True).key
    assert refusal(lambda: calendar.edit_slot(key, priority=1))[0] == 423
    assert refusal(lambda: calendar.cancel_slot(key))[0] == 423
    assert calendar.lock_slot(key).is_admin_locked
    assert not calendar.unlock_slot(key).is_admin_locked
    assert calendar.edit_slot(key, priority=1).priority == 1
    assert calendar.lock_slot(key).is_admin_locked


def test_what_is_over_cannot_be_locked(calendar: Calendar, refusal: Refusal) -> None:
    key = put(calendar, SlotStatus.FINISHED, at(9))
    assert refusal(lambda: calendar.lock_slot(key))[0] == 409


# --- the past


def test_past_dates_are_immutable(calendar: Calendar, clock: FakeClock, refusal: Refusal) -> None:
    slot = calendar.add_slot("dev", at(10))
    clock.advance(86_400)
    told = (409, "2026-01-05 is over: past dates are immutable")
    assert refusal(lambda: calendar.add_slot("dev", at(12))) == told
    assert refusal(lambda: calendar.edit_slot(slot.key, priority=1)) == told
    assert refusal(lambda: calendar.cancel_slot(slot.key)) == told
    assert refusal(lambda: calendar.lock_slot(slot.key)) == told
    assert calendar.slot(slot.key) == slot


def test_nothing_moves_into_the_past(calendar: Calendar, refusal: Refusal) -> None:
    slot = calendar.add_slot("dev", at(10))
    assert refusal(lambda: calendar.edit_slot(slot.key, starts_at=at(10, date=dt.date(2026, 1, 4))))[0] == 409
    assert calendar.slot(slot.key) == slot


def test_earlier_today_is_not_the_past(calendar: Calendar) -> None:
    assert calendar.add_slot("dev", at(0)).id is not None


# --- a day


def test_a_day_lists_real_and_virtual_slots_by_time(calendar: Calendar) -> None:
    late = calendar.add_slot("dev", at(15))
    calendar.add_plan("dev", Recurrence.contract(dt.time(12), first=TODAY))
    early = calendar.add_slot("dev", at(8))
    calendar.add_slot("dev", at(8, date=dt.date(2026, 1, 6)))
    assert [slot.ident for slot in calendar.day("dev", TODAY)] == [early.ident, "plan-1-2026-01-05", late.ident]


def test_a_day_leaves_out_skipped_and_aborted_slots_unless_everything_is_asked_for(calendar: Calendar) -> None:
    keys = {status: put(calendar, status, at(number)) for number, status in enumerate(list(SlotStatus)[1:])}
    listed = {slot.key for slot in calendar.day("dev", TODAY)}
    assert listed == set(keys.values()) - {keys[SlotStatus.SKIPPED], keys[SlotStatus.ABORTED]}
    assert {slot.key for slot in calendar.day("dev", TODAY, everything=True)} == set(keys.values())


@pytest.mark.parametrize(
    "date", ["2026-01-05", None, dt.datetime(2026, 1, 5), dt.date(1969, 12, 31), dt.date(2201, 1, 1)]
)
def test_a_day_that_is_no_date_is_refused(calendar: Calendar, refusal: Refusal, date: dt.date) -> None:
    assert refusal(lambda: calendar.day("dev", date))[0] == 422


def test_the_account_of_a_day_balances(calendar: Calendar) -> None:
    for number, status in enumerate(list(SlotStatus)[1:]):
        put(calendar, status, at(number))
    calendar.add_slot("dev", at(20))
    calendar.add_plan("dev", Recurrence.contract(dt.time(22), first=TODAY))
    account = calendar.account("dev", TODAY)
    assert account == DayAccount(agent_id="dev", date=TODAY, finished=1, aborted=1, skipped=1, open=5)
    assert account.planned == 8 == len(calendar.day("dev", TODAY, everything=True))


# --- what is kept


def test_pruning_deletes_the_past_but_not_what_is_under_way(calendar: Calendar, clock: FakeClock) -> None:
    put(calendar, SlotStatus.FINISHED, at(9))
    ongoing = put(calendar, SlotStatus.ONGOING, at(10))
    clock.advance(86_400)
    today: Slot = calendar.add_slot("dev", clock.now())
    assert calendar.prune(clock.now().date()) == 1
    assert [slot.key for slot in calendar.day("dev", TODAY)] == [ongoing]
    assert calendar.slot(today.key) == today


def test_only_the_past_is_pruned(calendar: Calendar, refusal: Refusal) -> None:
    assert refusal(lambda: calendar.prune(TODAY + dt.timedelta(days=1)))[0] == 409
    assert refusal(lambda: calendar.prune("yesterday"))[0] == 422  # type: ignore[arg-type]


def test_pruning_does_not_bring_back_what_a_plan_has_yielded(calendar: Calendar, clock: FakeClock) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(23, 50), first=TODAY), 30)
    done = SlotKey.virtual("plan-1-2026-01-05")
    calendar.apply_update("dev", done, SlotUpdate(status=SlotStatus.FINISHED))
    later = SlotKey.virtual("plan-1-2026-01-09")
    calendar.edit_slot(later, starts_at=at(12))
    calendar.apply_update("dev", later, SlotUpdate(status=SlotStatus.FINISHED))
    clock.advance(15 * 3600 + 60)  # 00:01
    assert calendar.prune(clock.now().date()) == 1
    assert [slot.ident for slot in calendar.heartbeat("dev").slots] == ["plan-1-2026-01-06"]
    assert calendar.day("dev", dt.date(2026, 1, 9)) == ()


@pytest.mark.parametrize("agent_id", [2**70, "\ud800", [], None, "a b"])
def test_what_is_no_agents_id_is_not_found(calendar: Calendar, refusal: Refusal, agent_id: Any) -> None:
    for call in (
        lambda: calendar.heartbeat(agent_id),
        lambda: calendar.add_slot(agent_id, at(10)),
        lambda: calendar.day(agent_id, TODAY),
    ):
        assert refusal(call) == (404, "Agent not found")


@pytest.mark.parametrize("plan_id", [2**70, "1", True, 1.0, None])
def test_what_is_no_plans_id_is_not_found(calendar: Calendar, refusal: Refusal, plan_id: Any) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(10), first=TODAY))
    assert refusal(lambda: calendar.plan(plan_id)) == (404, "Plan not found")
    assert refusal(lambda: calendar.overlaps_of(1, days=plan_id))[0] == 422


@pytest.mark.parametrize("key", ["1", 1, None])
def test_what_is_no_key_is_refused(calendar: Calendar, refusal: Refusal, key: Any) -> None:
    assert refusal(lambda: calendar.slot(key))[0] == 422
    assert refusal(lambda: calendar.apply_update("dev", SlotKey.real(1), key))[0] == 422


def test_a_slot_is_not_lengthened_into_its_neighbour(calendar: Calendar, refusal: Refusal) -> None:
    slot = calendar.add_slot("dev", at(10), 20)
    calendar.add_slot("dev", at(10, 30), 20)
    assert refusal(lambda: calendar.edit_slot(slot.key, estimated_duration=40))[0] == 409
    assert calendar.edit_slot(slot.key, estimated_duration=30).estimated_duration == 30


def test_a_slot_before_midnight_is_not_put_onto_one_after_it(calendar: Calendar, refusal: Refusal) -> None:
    calendar.add_slot("dev", at(0, 0, TODAY + dt.timedelta(days=1)))
    assert refusal(lambda: calendar.add_slot("dev", at(23, 50), 30))[0] == 409
