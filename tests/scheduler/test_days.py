"""What the calendar's own day says of an active slot: cancelled, moved, forgotten."""

import datetime as dt
from pathlib import Path

import pytest

from harborcal import ClaimingTransport, SlotStatus, TransportError, find
from harborcal.scheduler.days import LOOK_EVERY
from tests.durable import Durable
from tests.scheduler.test_settlement import later_world, scripted_world
from tests.world import World


def at_work() -> World:
    world = World()
    world.add(id=1, estimated_duration=240)
    world.scheduler.start()
    world.clock.advance(30)  # the first look was right after the first wake
    return world


def test_a_slot_that_was_cancelled_is_settled_after_two_looks_and_told_to_the_log() -> None:
    world = at_work()
    world.calendar.cancel(world.host.wakes[0].slot.key)
    world.clock.advance(LOOK_EVERY)
    assert world.scheduler.status().active, "one odd answer proves nothing"
    world.clock.advance(30)
    assert not world.scheduler.status().active
    [entry] = world.scheduler.status().history
    assert entry.reason == "the calendar no longer lists it on 2026-01-05: cancelled or moved"
    [line] = world.host.lines("calendar slot is gone")
    assert (line.level, line.fields["agent"], line.fields["slot"]) == ("warn", "dev", "1")
    assert world.sent == [("dev", "ongoing")], "the calendar knows"


def test_a_slot_that_is_missing_once_goes_on() -> None:
    world = at_work()
    key = world.host.wakes[0].slot.key
    world.calendar.set_slot(key, date=dt.date(2026, 1, 6))
    world.clock.advance(LOOK_EVERY)
    world.calendar.set_slot(key, date=dt.date(2026, 1, 5))
    world.clock.advance(30)
    world.calendar.set_slot(key, date=dt.date(2026, 1, 6))
    world.clock.advance(LOOK_EVERY)
    assert world.scheduler.status().active


def test_a_slot_that_is_in_its_day_goes_on() -> None:
    world = at_work()
    world.clock.advance(4 * LOOK_EVERY)
    assert world.scheduler.status().active
    assert world.sent == [("dev", "ongoing")]


def test_a_slot_that_somebody_else_has_finished_is_settled_so() -> None:
    world = at_work()
    world.calendar.set_slot(world.host.wakes[0].slot.key, status=SlotStatus.FINISHED)
    world.clock.advance(LOOK_EVERY)
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason) == ("finished", "the calendar lists it as finished")
    assert not world.scheduler.status().active


def test_a_slot_that_was_moved_and_waits_again_is_given_up_here_and_woken_for_at_its_new_time() -> None:
    world = at_work()
    key = world.host.wakes[0].slot.key
    # Heartbeats list it before the day does: what is told again there would undo the move.
    world.calendar.list_early = False
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED, scheduled_at="10:00")
    world.clock.advance(LOOK_EVERY)
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason) == ("deferred", "the calendar has moved it to 2026-01-05 10:00:00")
    assert len(world.host.wakes) == 1
    world.clock.advance(3600 - LOOK_EVERY + 30)
    assert len(world.host.wakes) == 2


def test_a_calendar_that_has_forgotten_what_it_was_told_is_told_again() -> None:
    world, layer = scripted_world()
    key = world.add(id=1, estimated_duration=240)
    world.scheduler.start()
    world.clock.advance(0)
    layer.listed = ()  # its heartbeats do not show it
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED, started_at=None)
    world.clock.advance(LOOK_EVERY)
    assert world.state(key) is SlotStatus.ONGOING
    assert world.calendar.slot(key).started_at == dt.time(9, 0)
    assert len(world.host.wakes) == 1


def test_an_end_that_the_calendar_has_forgotten_is_told_again() -> None:
    world = at_work()
    key = world.host.wakes[0].slot.key
    world.scheduler.complete("dev")
    world.calendar.set_slot(key, status=SlotStatus.ONGOING)  # a fail-over has lost the last write
    world.clock.advance(2 * LOOK_EVERY)
    assert world.state(key) is SlotStatus.FINISHED
    assert len(world.host.wakes) == 1


def test_nobody_looks_while_something_is_on_its_way() -> None:
    world, later = later_world()
    key = world.add(id=1, estimated_duration=240)
    world.scheduler.start()
    world.clock.advance(0)
    world.calendar.cancel(key)
    world.clock.advance(2 * LOOK_EVERY)
    assert world.scheduler.status().active
    later.kept.clear()
    later.deliver(key)
    world.clock.advance(60)
    assert not world.scheduler.status().active


def test_a_day_that_cannot_be_read_is_a_problem_of_its_own_until_it_can() -> None:
    world = at_work()
    world.calendar.fail_next(TransportError("no day today"), on="day")
    world.clock.advance(LOOK_EVERY)
    assert world.scheduler.status().problems["dev"]["day"].message == "no day today"
    assert world.scheduler.status().active
    world.clock.advance(LOOK_EVERY)
    assert not world.scheduler.status().problems


def test_a_slot_without_a_date_is_not_looked_for() -> None:
    world = World()
    key = world.add(date=None, estimated_duration=240)
    world.scheduler.start()
    world.clock.advance(0)
    world.calendar.set_slot(key, status=SlotStatus.SKIPPED)
    world.clock.advance(3 * LOOK_EVERY)
    assert world.scheduler.status().active


@pytest.mark.parametrize("is_carried", [False, True], ids=["in memory", "carried"])
def test_after_a_restart_the_day_is_looked_at_at_once(folder: Path, *, is_carried: bool) -> None:
    world = Durable(folder, carried=is_carried)
    key = world.add()
    world.scheduler.tick()
    world.kill()
    if world.carried is not None:
        world.carried.cancel_slot(key)
    else:
        world.memory.cancel(key)
    world.restart()
    world.scheduler.start()
    world.clock.advance(31)
    assert not world.scheduler.status().active
    assert "cancelled" in world.scheduler.status().history[-1].reason
    assert len(world.host.wakes) == 1
    world.close()


def test_a_slot_that_was_given_back_and_is_under_way_all_the_same_is_taken_up(folder: Path) -> None:
    world = Durable(folder, carried=True)
    assert world.carried is not None
    begins = world.clock.now() - dt.timedelta(minutes=5)
    key = world.carried.add_slot("dev", begins, 30).key
    world.host.fail_next(RuntimeError("no"), times=1)
    world.scheduler.start()
    world.clock.advance(0)
    assert world.state(key) is SlotStatus.DEFERRED
    calendar = find(world.outbox, ClaimingTransport)
    assert calendar is not None
    calendar.claim("dev", key, world.clock.now())  # as if the calendar had forgotten its last write
    world.clock.advance(LOOK_EVERY + 60)
    [active] = world.scheduler.status().active
    assert (active.key, active.taken_up) == (key, True)
    assert len(world.host.wakes) == 1
    world.clock.advance(3_600)
    assert world.host.wakes[-1].reminder, "its agent hears of it then"
    world.close()
