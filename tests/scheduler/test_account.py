"""The account: every slot that was ever seen has exactly one fate."""

import datetime as dt
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborcal import (
    CalendarRefusedError,
    HarborcalError,
    Heartbeat,
    NotSentError,
    SchedulerConfig,
    Slot,
    SlotFate,
    SlotStatus,
    TransportError,
    UnreadableSlot,
)
from harborcal.scheduler.book import KEPT
from harborcal.testing import FakeClock
from tests.durable import Durable
from tests.scheduler.test_settlement import scripted_world
from tests.world import World


def fates(world: World | Durable) -> dict[str, int]:
    account = world.scheduler.account()
    assert account.is_balanced
    told = {"active": account.active, "waiting": account.waiting, "refused": account.refused}
    told |= {"withdrawn": account.withdrawn, **{str(status): count for status, count in account.settled.items()}}
    assert sum(told.values()) == account.seen
    return {fate: count for fate, count in told.items() if count}


def test_nothing_seen_is_nothing_to_account_for() -> None:
    world = World()
    world.scheduler.tick()
    assert fates(world) == {}


def test_each_slot_goes_through_its_fates() -> None:
    world = World()
    for number in (1, 2, 3):
        world.add(id=number)
    world.scheduler.tick()
    assert fates(world) == {"active": 1, "waiting": 2}
    world.scheduler.complete("dev")
    assert fates(world) == {"finished": 1, "waiting": 2}
    world.scheduler.tick()
    world.scheduler.abort("dev")
    assert fates(world) == {"finished": 1, "aborted": 1, "waiting": 1}
    world.calendar.cancel(world.calendar.slots("dev")[2].key)
    world.scheduler.tick()
    assert fates(world) == {"finished": 1, "aborted": 1, "withdrawn": 1}


def test_the_lines_name_what_is_open_and_why() -> None:
    world = World()
    world.add(id=1, priority=9)
    world.add(id=2)
    world.scheduler.tick()
    lines = [(line.agent_id, line.ident, line.fate, line.reason) for line in world.scheduler.account().lines]
    assert lines == [
        ("dev", "1", SlotFate.ACTIVE, ""),
        ("dev", "2", SlotFate.WAITING, "outranked: 1 goes first"),
    ]


def test_a_slot_whose_wake_failed_waits_again() -> None:
    world = World()
    world.add()
    world.host.fail_next(RuntimeError("no"))
    world.scheduler.tick()
    assert fates(world) == {"waiting": 1}
    [line] = world.scheduler.account().lines
    assert line.reason == "wake failed: no"


def test_what_the_calendar_refuses_and_what_cannot_be_read_are_refused() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    layer.answer = Heartbeat(slots=(Slot(id=1), Slot()), unreadable=(UnreadableSlot(ident="7", reason="no priority"),))
    layer.refusal = CalendarRefusedError(422, "no")
    world.scheduler.tick()
    assert fates(world) == {"refused": 3}
    world.scheduler.tick()
    assert fates(world) == {"refused": 3}


def test_a_slot_that_comes_back_waits_again() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.add(id=2)
    both = (Slot(id=1), Slot(id=2))
    layer.listed = both
    world.scheduler.tick()
    layer.listed = ()
    world.scheduler.tick()
    assert fates(world) == {"active": 1, "withdrawn": 1}
    layer.listed = both
    world.scheduler.tick()
    assert fates(world) == {"active": 1, "waiting": 1}


def test_a_virtual_slot_that_becomes_real_is_one_slot() -> None:
    world = World()
    world.calendar.add_virtual_slot("dev", 3)
    world.host.on_wake = lambda wake: wake.report.complete()
    world.scheduler.tick()
    world.scheduler.tick()
    assert fates(world) == {"finished": 1}


def test_a_slot_that_is_opened_again_is_still_one_slot() -> None:
    world = World()
    key = world.add()
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.clock.advance(1)
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.scheduler.tick()
    assert fates(world) == {"active": 1}


def test_an_agent_that_is_gone_waits_for_nothing() -> None:
    world = World()
    world.add(id=1)
    world.add(id=2)
    world.scheduler.start()
    world.clock.advance(0)
    world.agents.clear()
    world.clock.advance(180)
    assert fates(world) == {"deferred": 1, "withdrawn": 1}


def test_a_slot_that_a_silent_agent_lost_is_accounted_for() -> None:
    world = World()
    world.add(estimated_duration=10)
    world.scheduler.start()
    world.clock.advance(3600)
    assert fates(world) == {"aborted": 1}
    world.scheduler.complete("dev", "late")
    assert fates(world) == {"aborted": 1}


def test_what_was_found_again_after_a_restart_is_accounted_for(folder: Path) -> None:
    world = Durable(folder)
    world.add()
    world.scheduler.tick()
    world.restart()
    assert fates(world) == {"active": 1}
    world.scheduler.complete("dev")
    assert fates(world) == {"finished": 1}
    world.close()


def test_why_a_slot_waits_is_told_also_of_one_that_an_earlier_process_ended(folder: Path) -> None:
    world = Durable(folder)
    key = world.add()
    before = world.slot(key).updated_at
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.memory.set_slot(key, status="not_started", updated_at=before)
    world.restart()
    world.scheduler.tick()
    assert fates(world) == {"waiting": 1}
    [line] = world.scheduler.account().lines
    assert line.reason.startswith("settled: ")
    world.close()


def test_what_is_remembered_one_by_one_is_bounded_and_what_is_counted_is_not_lost() -> None:
    world, layer = scripted_world()
    for first in range(0, KEPT + 500, 500):
        odd = tuple(UnreadableSlot(ident=f"x{first + number}", reason="odd") for number in range(500))
        layer.answer = Heartbeat(unreadable=odd)
        world.scheduler.tick()
    assert fates(world) == {"refused": 5000}
    assert len(world.scheduler.account().lines) <= KEPT


WORLDS_DOING = ["add", "cancel", "reopen", "advance", "leave", "return", "fail_wake", "refuse", "lose", "unsent"]
OURS = ["tick", "complete", "abort", "pause"]
ACTS = st.lists(st.tuples(st.sampled_from([*WORLDS_DOING, *OURS]), st.integers(0, 3)), max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_it_is_balanced_at_every_moment_whatever_happens(acts: list[tuple[str, int]]) -> None:
    world = World("dev", "ops", config=SchedulerConfig(seed=1, misfire_grace=300.0))
    world.scheduler.start()
    for verb, number in acts:
        _act(world, verb, number)
        account = world.scheduler.account()
        assert account.is_balanced
        assert account.active == len(world.scheduler.status().active)
        assert all(line.reason for line in account.lines if line.fate is SlotFate.WAITING)


def _act(world: World, verb: str, number: int) -> None:
    agent_id = ("dev", "ops")[number % 2]
    slots = world.calendar.slots(agent_id)
    acts: dict[str, Any] = {
        "add": lambda: world.add(agent_id, priority=number),
        "tick": world.scheduler.tick,
        "complete": lambda: world.scheduler.complete(agent_id),
        "abort": lambda: world.scheduler.abort(agent_id),
        "pause": lambda: world.scheduler.pause(agent_id),
        "fail_wake": lambda: world.host.fail_next(RuntimeError("no")),
        "refuse": lambda: world.calendar.fail_next(CalendarRefusedError(422, "no"), on="update"),
        "lose": world.calendar.lose_next_answer,
        "unsent": lambda: world.calendar.fail_next(NotSentError("no"), on="update"),
        "cancel": lambda: slots and world.calendar.cancel(slots[-1].key),
        "reopen": lambda: slots and world.calendar.set_slot(slots[0].key, status="not_started"),
        "advance": lambda: world.clock.advance((1, 30, 300, 1900)[number]),
        "leave": world.agents.clear,
        "return": lambda: world.agents.extend([] if world.agents else World("dev", "ops").agents),
    }
    try:
        acts[verb]()
    except HarborcalError as error:
        assert isinstance(error, TransportError | CalendarRefusedError | LookupError)


@pytest.mark.parametrize("agents", [0, 3])
def test_a_copy_of_the_account_can_be_told_to_others(agents: int) -> None:
    world = World(*[f"agent-{number}" for number in range(agents)] or ["dev"])
    for agent in world.agents:
        world.add(agent.id)
    world.scheduler.tick()
    account = world.scheduler.account()
    assert type(account).from_dict(account.to_dict()) == account


def test_an_end_that_the_calendar_refused_later_is_refused(folder: Path) -> None:
    world = Durable(folder)
    world.add()
    world.scheduler.tick()
    with world.memory.outage():
        world.scheduler.complete("dev")
        assert fates(world) == {"finished": 1}
    world.memory.fail_next(CalendarRefusedError(404, "Slot not found"), on="update")
    world.clock.advance(100)
    assert fates(world) == {"refused": 1}
    [line] = world.scheduler.account().lines
    assert line.reason == "calendar refused (404): Slot not found"
    world.close()


def test_a_slot_that_could_not_be_read_at_first_is_one_slot() -> None:
    world, layer = scripted_world()
    layer.answer = Heartbeat(unreadable=(UnreadableSlot(ident="7", reason="priority is odd"),))
    world.scheduler.tick()
    assert fates(world) == {"refused": 1}
    layer.answer = None
    world.add(id=7)
    world.scheduler.tick()
    assert fates(world) == {"active": 1}


def test_slots_without_any_id_are_counted_one_by_one() -> None:
    world, layer = scripted_world()
    nameless = tuple(UnreadableSlot(ident="", reason=reason) for reason in ("no id", "bad date"))
    layer.answer = Heartbeat(unreadable=nameless)
    world.scheduler.tick()
    world.scheduler.tick()
    assert fates(world) == {"refused": 2}


def test_a_report_during_the_reading_of_an_older_answer_is_not_undone_by_it() -> None:
    class Meanwhile(FakeClock):
        """Something happens between the look at the ledger and the entry of what the answer lists."""

        meanwhile: Callable[[], None] | None = None

        def now(self) -> dt.datetime:
            is_there = sys._getframe(1).f_code.co_name == "_choose"
            if is_there and self.meanwhile is not None:
                happens, self.meanwhile = self.meanwhile, None
                happens()
            return super().now()

    clock = Meanwhile()
    world = World(clock=clock)
    world.add()
    world.calendar.fail_next(NotSentError("not now"), times=2, on="update")
    world.scheduler.tick()
    clock.meanwhile = lambda: world.scheduler.complete("dev")
    world.scheduler.tick()
    assert world.scheduler.status().history, "it has happened"
    assert fates(world) == {"finished": 1}
    world.scheduler.tick()
    assert fates(world) == {"finished": 1}
