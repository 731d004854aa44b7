"""Slots whose time is over: skipped at the calendar and recorded, where that is wished."""

from typing import Any

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    SchedulerConfig,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    TransportError,
    VerdictReason,
)
from tests.scheduler.test_settlement import later_world
from tests.world import World

GRACE = 600.0


def graceful(*agents: str, **options: Any) -> World:
    return World(*agents, config=SchedulerConfig(seed=1, misfire_grace=GRACE), **options)


def test_by_default_a_slot_is_woken_for_however_late() -> None:
    world = World()
    world.add(**world.at(-8 * 3600))
    world.scheduler.tick()
    assert len(world.host.wakes) == 1


def test_a_slot_within_its_grace_is_woken_for() -> None:
    world = graceful()
    world.add(**world.at(-GRACE))
    world.scheduler.tick()
    assert len(world.host.wakes) == 1


def test_a_slot_beyond_its_grace_is_skipped_at_the_calendar_and_recorded() -> None:
    world = graceful()
    key = world.add(**world.at(-GRACE - 1))
    world.scheduler.tick()
    assert not world.host.wakes
    assert world.sent == [("dev", "skipped")]
    assert world.state(key) is SlotStatus.SKIPPED
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.key, entry.started_at) == ("skipped", key, None)
    assert entry.reason == "missed: due at 2026-01-05 08:49:59 UTC, more than 600 s ago"
    [verdict] = world.scheduler.explain("dev")
    assert verdict.reason is VerdictReason.MISSED
    [line] = world.host.lines("calendar slot missed")
    assert (line.level, line.fields["agent"], line.fields["slot"]) == ("warn", "dev", str(key))
    assert world.scheduler.account().settled == {"skipped": 1}


def test_a_missed_slot_is_told_once() -> None:
    world = graceful()
    world.add(**world.at(-GRACE - 1))
    for _ in range(3):
        world.scheduler.tick()
        world.clock.advance(60)
    assert world.sent == [("dev", "skipped")]
    assert len(world.scheduler.status().history) == 1


def test_a_missed_slot_that_an_admin_locked_is_aborted() -> None:
    world = graceful()
    key = world.add(is_admin_locked=True, **world.at(-GRACE - 1))
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.ABORTED
    assert world.scheduler.status().history[-1].status == "aborted"


def test_the_next_slot_is_woken_for_in_the_same_beat_and_the_missed_one_is_none_of_its_business() -> None:
    world = graceful()
    missed = world.add(priority=99, **world.at(-GRACE - 1))
    world.add(id=7)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "7")]
    assert world.state(missed) is SlotStatus.SKIPPED
    world.scheduler.complete("dev")
    assert [entry.status for entry in world.scheduler.status().history] == ["skipped", "finished"]


def test_what_a_busy_agent_misses_is_skipped_too() -> None:
    world = graceful()
    world.add(id=1)
    world.scheduler.tick()
    late = world.add(id=2)
    world.clock.advance(GRACE + 1)
    world.scheduler.tick()
    assert world.state(late) is SlotStatus.SKIPPED
    assert [active.ident for active in world.scheduler.status().active] == ["1"]
    world.scheduler.complete("dev")
    assert [entry.ident for entry in world.scheduler.status().history] == ["2", "1"]


def test_an_agents_own_slot_is_not_missed_while_it_is_at_it() -> None:
    world = graceful()
    key = world.add()
    world.scheduler.tick()
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.clock.advance(GRACE + 1)
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.ONGOING
    assert not world.scheduler.status().history


def test_where_the_calendar_is_down_it_is_told_with_the_next_beat() -> None:
    world = graceful()
    key = world.add(**world.at(-GRACE - 1))
    world.calendar.fail_next(TransportError("down"), on="update")
    world.scheduler.tick()
    assert not world.scheduler.status().history
    assert world.scheduler.status().problems["dev"]["update"].message == "down"
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.SKIPPED
    assert len(world.scheduler.status().history) == 1
    assert world.scheduler.account().is_balanced


def test_whatever_a_transport_raises_the_slot_is_free_again() -> None:
    def leave(_agent_id: str, _key: SlotKey, _update: SlotUpdate) -> None:
        raise SystemExit("no more updates")

    world = graceful()
    key = world.add(**world.at(-GRACE - 1))
    world.calendar.before_update = leave
    world.scheduler.tick()
    world.calendar.before_update = None
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.SKIPPED


def test_a_refusal_is_recorded_and_the_slot_left_alone() -> None:
    world = graceful()
    world.add(**world.at(-GRACE - 1))
    world.calendar.fail_next(CalendarRefusedError(422, "not this one"), on="update")
    for _ in range(3):
        world.scheduler.tick()
    [entry] = world.scheduler.status().history
    assert entry.status == "skipped"
    assert world.sent == []
    assert world.scheduler.explain("dev")[0].detail == "calendar refused (422): not this one"
    account = world.scheduler.account()
    assert (account.refused, account.settled) == (1, {})


@pytest.mark.parametrize("fields", [{"scheduled_at": None, "date": None}, {"scheduled_at": "23:00"}])
def test_what_names_no_time_or_a_later_one_is_never_missed(fields: dict[str, Any]) -> None:
    world = graceful()
    key = world.add(**fields)
    world.clock.advance(3600)
    world.scheduler.tick()
    assert world.state(key) is not SlotStatus.SKIPPED


@pytest.mark.parametrize("fields", [{"scheduled_at": None}, {"date": None}], ids=["no time", "no date"])
def test_what_names_no_time_or_no_date_is_woken_for_however_late(fields: dict[str, Any]) -> None:
    world = graceful()
    world.add(**world.at(-8 * 3600) | fields)
    world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert world.sent == [("dev", "ongoing")]


def test_many_missed_slots_are_seen_to_a_few_with_each_beat() -> None:
    world = graceful()
    for _ in range(25):
        world.add(**world.at(-GRACE - 1))
    world.scheduler.tick()
    assert len(world.sent) == 10
    world.scheduler.tick()
    world.scheduler.tick()
    assert len(world.sent) == 25


def test_an_agent_that_sleeps_misses_its_slots_too() -> None:
    world = graceful()
    key = world.add(**world.at(-GRACE - 1))
    world.agents = [Agent(id="dev", state="offline")]  # type: ignore[arg-type] # as its word
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.SKIPPED


def test_a_missed_slot_waits_for_an_outbox_like_any_other() -> None:
    world, later = later_world(config=SchedulerConfig(seed=1, misfire_grace=GRACE))
    key = world.add(**world.at(-GRACE - 1))
    world.scheduler.tick()
    world.scheduler.tick()
    assert later.accepted == 1
    assert world.scheduler.explain("dev")[0].detail == "its last update is still on its way"
    later.deliver(key)
    assert world.state(key) is SlotStatus.SKIPPED
    assert len(world.scheduler.status().history) == 1
