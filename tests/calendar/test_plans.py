"""Plans of the carried calendar: the virtual slots they yield, and what an edit leaves alone."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harborcal.calendar import Calendar, Plan, Recurrence
from harborcal.model import SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.calendar.conftest import TODAY, Refusal

BERLIN = ZoneInfo("Europe/Berlin")
DAY = dt.timedelta(days=1)


def daily(hour: int, minute: int = 0) -> Recurrence:
    return Recurrence.contract(dt.time(hour, minute), first=TODAY)


def times(calendar: Calendar, date: dt.date) -> list[tuple[str, str]]:
    return [(slot.ident, f"{slot.scheduled_at:%H:%M}") for slot in calendar.day("dev", date)]


# --- what a plan yields


def test_a_plans_slot_is_named_by_plan_and_date_and_is_like_its_plan(calendar: Calendar) -> None:
    plan = calendar.add_plan(
        "dev",
        daily(10),
        25,
        slot_type="on_call",
        priority=4,
        event_type="job",
        event_data={"type": "Support", "code": "S-1"},
        user_id=9,
    )
    (slot,) = calendar.day("dev", TODAY)
    told = slot.to_dict()
    assert told == told | {
        "id": None,
        "virtual_id": "plan-1-2026-01-05",
        "status": "not_started",
        "date": "2026-01-05",
        "scheduled_at": "10:00:00",
        "estimated_duration": 25,
        "slot_type": "on_call",
        "priority": 4,
        "event_type": "job",
        "event_data": {"type": "Support", "code": "S-1"},
        "plan_id": plan.id,
        "user_id": 9,
    }
    assert calendar.slot(SlotKey.virtual("plan-1-2026-01-05")) == slot


def test_a_plan_follows_its_zone_into_summer(calendar: Calendar) -> None:
    calendar.add_plan("dev", Recurrence.of(dt.datetime(2026, 1, 5, 9, tzinfo=BERLIN), "FREQ=WEEKLY;BYDAY=MO,FR"))
    assert times(calendar, dt.date(2026, 3, 27)) == [("plan-1-2026-03-27", "08:00")]
    assert times(calendar, dt.date(2026, 3, 28)) == []
    assert times(calendar, dt.date(2026, 3, 30)) == [("plan-1-2026-03-30", "07:00")]


def test_two_occurrences_on_one_utc_date_are_two_slots(calendar: Calendar) -> None:
    calendar.add_plan("dev", Recurrence.of(dt.datetime(2026, 3, 1, 1, 30, tzinfo=BERLIN), "FREQ=DAILY"))
    date = dt.date(2026, 3, 29)
    assert times(calendar, date) == [("plan-1-2026-03-29", "00:30"), ("plan-1-2026-03-29T2330", "23:30")]
    second = SlotKey.virtual("plan-1-2026-03-29T2330")
    real = calendar.apply_update("dev", second, SlotUpdate(status=SlotStatus.DEFERRED))
    assert real.keys == (SlotKey.real(1), second)
    assert times(calendar, date) == [("plan-1-2026-03-29", "00:30"), ("1", "23:30")]
    assert calendar.slot(second) == real


def test_a_plan_of_every_two_hours_yields_many_slots_a_day(calendar: Calendar) -> None:
    calendar.add_plan("dev", Recurrence.of(dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC), "FREQ=HOURLY;INTERVAL=2"))
    listed = calendar.day("dev", TODAY + DAY)
    assert [slot.ident for slot in listed] == [
        "plan-1-2026-01-06",
        *(f"plan-1-2026-01-06T{hour:02}00" for hour in range(2, 24, 2)),
    ]
    keys = [calendar.apply_update("dev", slot.key, SlotUpdate(status=SlotStatus.SKIPPED)).keys for slot in listed]
    assert len({key for slot_keys in keys for key in slot_keys}) == 24


def test_a_plan_yields_nothing_before_it_was_planned(calendar: Calendar) -> None:
    calendar.add_plan("dev", Recurrence.of(dt.datetime(2020, 1, 1, 9, tzinfo=dt.UTC), "FREQ=DAILY"))
    assert times(calendar, TODAY - DAY) == []
    assert times(calendar, TODAY) == [("plan-1-2026-01-05", "09:00")]


def test_a_date_with_a_real_slot_of_the_plan_has_no_virtual_one(calendar: Calendar) -> None:
    calendar.add_plan("dev", daily(10))
    real = calendar.edit_slot(SlotKey.virtual("plan-1-2026-01-05"), priority=1)
    assert times(calendar, TODAY) == [(real.ident, "10:00")]
    calendar.cancel_slot(real.key)
    assert times(calendar, TODAY) == []


def test_an_occurrence_that_moved_to_another_date_leaves_that_dates_own_one_alone(calendar: Calendar) -> None:
    calendar.add_plan("dev", daily(10))
    key = SlotKey.virtual("plan-1-2026-01-06")
    moved = calendar.edit_slot(key, starts_at=dt.datetime(2026, 1, 7, 12, tzinfo=dt.UTC))
    assert moved.keys == (SlotKey.real(1), key)
    assert times(calendar, dt.date(2026, 1, 6)) == []
    assert times(calendar, dt.date(2026, 1, 7)) == [("plan-1-2026-01-07", "10:00"), ("1", "12:00")]


def test_a_cancelled_virtual_slot_becomes_a_real_skipped_one(calendar: Calendar) -> None:
    calendar.add_plan("dev", daily(10))
    slot = calendar.cancel_slot(SlotKey.virtual("plan-1-2026-01-06"))
    assert (slot.id, slot.status, slot.date) == (1, SlotStatus.SKIPPED, dt.date(2026, 1, 6))
    assert calendar.cancel_slot(SlotKey.virtual("plan-1-2026-01-06")) == slot


# --- plans themselves


@pytest.mark.parametrize(
    "fields",
    [
        {"recurrence": "FREQ=DAILY"},
        {"estimated_duration": 51},
        {"estimated_duration": 51, "slot_type": "system"},
        {"priority": 100},
        {"event_data": 3},
        {"slot_type": "x"},
    ],
    ids=str,
)
def test_a_plan_out_of_range_is_refused(calendar: Calendar, refusal: Refusal, fields: dict[str, Any]) -> None:
    assert refusal(lambda: calendar.add_plan("dev", **({"recurrence": daily(9)} | fields)))[0] == 422
    plan = calendar.add_plan("dev", daily(9))
    assert refusal(lambda: calendar.edit_plan(plan.id, **fields))[0] == 422
    assert calendar.plans("dev") == (plan,)


def test_plans_are_listed_each_as_it_is_now(calendar: Calendar) -> None:
    calendar.register_agent("ops")
    first, _, third = (calendar.add_plan(agent, daily(9)) for agent in ("dev", "ops", "dev"))
    edited = calendar.edit_plan(first.id, priority=2)
    cancelled = calendar.cancel_plan(third.id)
    assert calendar.plans("dev") == (edited, cancelled)
    assert calendar.plan(third.id).is_cancelled


def test_an_unknown_plan_is_not_found(calendar: Calendar, refusal: Refusal) -> None:
    calendar.register_agent("ops")
    mine = calendar.add_plan("dev", daily(9)).id
    for call in (
        lambda: calendar.plan(9),
        lambda: calendar.edit_plan(9, priority=1),
        lambda: calendar.cancel_plan(9),
        lambda: calendar.edit_plan(mine, agent_id="ops", priority=1),
        lambda: calendar.cancel_plan(mine, agent_id="ops"),
    ):
        assert refusal(call) == (404, "Plan not found")


def test_a_plan_survives_being_written_and_read(calendar: Calendar) -> None:
    start = dt.datetime(2026, 1, 5, 9, tzinfo=BERLIN)
    recurrence = Recurrence.of(
        start, "FREQ=DAILY;COUNT=9", dates=[start + dt.timedelta(hours=3)], exceptions=[start + DAY]
    )
    plan = calendar.add_plan("dev", recurrence, event_data={"code": "ü"})
    assert calendar.plan(plan.id) == plan
    assert Plan.from_json(plan.to_json()) == plan


# --- editing plans


def test_an_edit_counts_from_today_on_and_leaves_past_dates_alone(calendar: Calendar, clock: FakeClock) -> None:
    plan = calendar.add_plan("dev", daily(10))
    calendar.apply_update("dev", SlotKey.virtual("plan-1-2026-01-05"), SlotUpdate(status=SlotStatus.FINISHED))
    clock.advance(2 * 86_400)
    before = calendar.day("dev", TODAY), calendar.day("dev", TODAY + DAY)
    calendar.edit_plan(plan.id, recurrence=daily(15), priority=7)
    assert (calendar.day("dev", TODAY), calendar.day("dev", TODAY + DAY)) == before
    assert times(calendar, TODAY + 2 * DAY) == [("plan-1-2026-01-07", "15:00")]
    calendar.edit_plan(plan.id, recurrence=daily(16))
    assert times(calendar, TODAY + 2 * DAY) == [("plan-1-2026-01-07", "16:00")]
    assert calendar.plan(plan.id).priority == 7


def test_an_edit_leaves_slots_alone_that_became_real(calendar: Calendar) -> None:
    plan = calendar.add_plan("dev", daily(10))
    calendar.edit_slot(SlotKey.virtual("plan-1-2026-01-06"), priority=9)
    calendar.edit_plan(plan.id, recurrence=daily(15))
    assert times(calendar, TODAY + DAY) == [("1", "10:00")]


def test_a_plan_that_ended_can_be_taken_up_again(calendar: Calendar, clock: FakeClock) -> None:
    once = Recurrence.of(dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC))
    plan = calendar.add_plan("dev", once)
    clock.advance(5 * 86_400)
    calendar.edit_plan(plan.id, recurrence=daily(11))
    assert times(calendar, TODAY) == [("plan-1-2026-01-05", "10:00")]
    assert times(calendar, TODAY + DAY) == []
    assert times(calendar, TODAY + 5 * DAY) == [("plan-1-2026-01-10", "11:00")]


def test_a_cancelled_plan_yields_nothing_from_today_on(calendar: Calendar, clock: FakeClock, refusal: Refusal) -> None:
    plan = calendar.add_plan("dev", daily(10))
    pending = calendar.edit_slot(SlotKey.virtual("plan-1-2026-01-08"), priority=1)
    ongoing = calendar.apply_update("dev", SlotKey.virtual("plan-1-2026-01-07"), SlotUpdate(status=SlotStatus.ONGOING))
    clock.advance(86_400)
    cancelled = calendar.cancel_plan(plan.id)
    assert cancelled.is_cancelled
    assert times(calendar, TODAY) == [("plan-1-2026-01-05", "10:00")]
    assert times(calendar, TODAY + DAY) == times(calendar, TODAY + 30 * DAY) == []
    assert calendar.slot(pending.key).status is SlotStatus.SKIPPED
    assert calendar.slot(ongoing.key).status is SlotStatus.ONGOING
    assert calendar.cancel_plan(plan.id) == cancelled
    assert refusal(lambda: calendar.edit_plan(plan.id, priority=1)) == (409, "plan is cancelled")


def test_a_plan_tells_what_it_overlaps(calendar: Calendar) -> None:
    calendar.add_slot("dev", dt.datetime(2026, 1, 7, 10, 15, tzinfo=dt.UTC), 30)
    plan = calendar.add_plan("dev", daily(10), 30)
    assert calendar.overlaps_of(plan.id) == (
        "plan-1-2026-01-07 overlaps slot 1 (2026-01-07 10:15 to 2026-01-07 10:45 UTC)",
    )
    assert calendar.overlaps_of(calendar.add_plan("dev", daily(12)).id) == ()


def test_pruning_forgets_plans_of_which_nothing_is_left(calendar: Calendar, clock: FakeClock, refusal: Refusal) -> None:
    once = calendar.add_plan("dev", Recurrence.of(dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC)))
    lasting = calendar.add_plan("dev", daily(12))
    clock.advance(3 * 86_400)
    calendar.prune(TODAY + DAY)
    assert refusal(lambda: calendar.plan(once.id))[0] == 404
    assert [plan.id for plan in calendar.plans("dev")] == [lasting.id]


def test_cancelling_a_plan_skips_what_is_pending_today_and_leaves_what_is_locked(calendar: Calendar) -> None:
    plan = calendar.add_plan("dev", daily(10))
    today = calendar.edit_slot(SlotKey.virtual("plan-1-2026-01-05"), priority=1)
    deferred = calendar.apply_update(
        "dev", SlotKey.virtual("plan-1-2026-01-06"), SlotUpdate(status=SlotStatus.DEFERRED)
    )
    locked = calendar.lock_slot(SlotKey.virtual("plan-1-2026-01-07"))
    calendar.cancel_plan(plan.id)
    assert [calendar.slot(slot.key).status for slot in (today, deferred, locked)] == [
        SlotStatus.SKIPPED,
        SlotStatus.SKIPPED,
        SlotStatus.NOT_STARTED,
    ]


def test_a_plan_tells_overlaps_across_midnight(calendar: Calendar) -> None:
    calendar.add_slot("dev", dt.datetime(2026, 1, 7, 0, 5, tzinfo=dt.UTC), 30)
    plan = calendar.add_plan("dev", daily(23, 50), 30)
    assert calendar.overlaps_of(plan.id) == (
        "plan-1-2026-01-06 overlaps slot 1 (2026-01-07 00:05 to 2026-01-07 00:35 UTC)",
    )
