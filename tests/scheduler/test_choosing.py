"""DESIGN 4.2, points 5, 6, 11: which slot, why not each other one, and when a failed wake is tried again."""

import datetime as dt
from typing import Any

import pytest

from harborcal import (
    Agent,
    AgentStatus,
    Heartbeat,
    Scheduler,
    SchedulerConfig,
    SlotStatus,
    UnreadableSlot,
    VerdictReason,
    WakeRequest,
)
from harborcal.testing import CallerRunner, RecordingHost
from tests.scheduler.test_settlement import scripted_world
from tests.world import World


def reasons(world: World, agent_id: str = "dev") -> dict[str, str]:
    return {verdict.ident: str(verdict.reason) for verdict in world.scheduler.explain(agent_id)}


def test_no_agent_is_woken_before_its_slot_is_due() -> None:
    world = World()
    world.add(id=1, priority=99, **world.at(600))
    world.add(id=2, priority=1)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "2")]
    assert reasons(world) == {"1": "not_due", "2": "dispatched"}
    assert world.scheduler.explain("dev")[0].detail == "due at 2026-01-05 09:10:00 UTC"


def test_a_slot_is_woken_at_its_time() -> None:
    world = World()
    world.add(id=1, **world.at(60))
    world.scheduler.start()
    world.clock.advance(59)
    assert not world.host.wakes
    world.clock.advance(1)
    assert world.host.woken == [("dev", "1")]


def test_a_slot_without_a_time_is_due_whenever_it_is_listed() -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    world.calendar.set_slot(key, scheduled_at=None, date=None)
    layer.listed = (world.calendar.slot(key),)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "1")]


@pytest.mark.parametrize("status", [AgentStatus.EXHAUSTED, AgentStatus.OFFLINE])
def test_an_agent_that_the_calendar_calls_unable_is_not_woken(status: AgentStatus) -> None:
    world, layer = scripted_world()
    world.add(id=1)
    slots = world.calendar.slots("dev")
    layer.answer = Heartbeat(slots=slots, agent_status=status)
    world.scheduler.tick()
    assert not world.host.wakes
    assert reasons(world) == {"1": "agent_state"}
    assert world.scheduler.explain("dev")[0].detail == f"the calendar calls the agent {status}"


@pytest.mark.parametrize("state", [AgentStatus.OFFLINE, AgentStatus.EXHAUSTED])
def test_an_agent_that_the_host_lists_as_unable_is_heartbeaten_but_not_woken(state: AgentStatus) -> None:
    world = World()
    world.agents[:] = [Agent(id="dev", state=state)]
    world.add(id=1)
    world.scheduler.tick()
    assert not world.host.wakes
    assert reasons(world) == {"1": "agent_state"}
    assert "dev" in world.scheduler.status().last_heartbeats
    world.agents[:] = [Agent(id="dev")]
    world.scheduler.tick()
    assert world.host.woken == [("dev", "1")]


def test_every_slot_gets_one_verdict_with_the_first_reason_that_holds() -> None:
    world = World()
    world.add(id=1, priority=9)
    world.add(id=2, priority=8)
    world.add(id=3, priority=7, **world.at(60))
    world.scheduler.tick()
    assert reasons(world) == {"1": "dispatched", "2": "outranked", "3": "not_due"}
    world.scheduler.tick()
    assert reasons(world) == {"2": "busy", "3": "not_due"}
    assert world.scheduler.explain("dev")[0].detail == "the agent holds slot 1"


def test_a_slot_whose_status_says_that_it_is_over_is_settled() -> None:
    world, layer = scripted_world()
    key = world.add(id=1, status=SlotStatus.SKIPPED)
    layer.listed = (world.calendar.slot(key),)
    world.scheduler.tick()
    assert reasons(world) == {"1": "settled"}


def test_nothing_is_known_of_an_unknown_agent() -> None:
    assert World().scheduler.explain("nobody") == ()


def test_a_change_of_reason_is_logged_once() -> None:
    world = World()
    world.add(id=1, **world.at(50))
    world.add(id=2, priority=5)
    for _ in range(3):
        world.scheduler.tick()
    assert not [line for line in world.host.lines("calendar slot verdict") if line.fields["slot"] == "1"]
    world.clock.advance(60)
    for _ in range(3):
        world.scheduler.tick()
    lines = [dict(line.fields) for line in world.host.lines("calendar slot verdict") if line.fields["slot"] == "1"]
    assert lines == [{"agent": "dev", "slot": "1", "reason": "busy", "detail": "the agent holds slot 2"}]


def test_a_bad_slot_is_dropped_and_named_and_the_others_go_on() -> None:
    world, layer = scripted_world()
    world.add(id=2)
    good = world.calendar.slots("dev")
    bad = (UnreadableSlot(ident="#0", reason="priority is not a number"),)
    layer.answer = Heartbeat(slots=good, unreadable=bad)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "2")]
    assert reasons(world)["#0"] == "unreadable"
    assert world.scheduler.status().problems["dev"]["slots"].message == "#0: priority is not a number"
    assert len(world.host.lines("calendar slots unreadable")) == 1
    layer.answer = Heartbeat()
    world.scheduler.tick()
    assert not world.scheduler.status().problems


# --- failed wakes ---------------------------------------------------------------------------------------------------


def test_failed_wakes_back_off_next_tick_then_one_two_four_intervals_up_to_ten_minutes() -> None:
    world = World(config=SchedulerConfig(seed=1, heartbeat_interval=30))
    world.host.fail_next(RuntimeError("no"), times=99)
    world.add(id=1)
    begin = world.clock.monotonic()
    tried: list[float] = []
    for _ in range(70):
        before = len(world.host.wakes)
        world.scheduler.tick()
        if len(world.host.wakes) > before:
            tried.append(world.clock.monotonic() - begin)
        world.clock.advance(30)
    assert tried == [0, 30, 60, 120, 240, 480, 960, 1560]
    assert reasons(world) == {"1": "backing_off"}


def test_a_failed_wake_may_be_tried_with_the_very_next_tick() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"), times=2)
    world.add(id=1)
    for _ in range(4):
        world.scheduler.tick()
    assert len(world.host.wakes) == 2
    assert world.scheduler.explain("dev")[0].detail == "failed wakes in a row: 2"


def test_failures_count_up_in_one_history_entry_and_in_the_attempts() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"), times=2)
    world.host.fail_next(RuntimeError("no, again"))
    world.add(id=1)
    for _ in range(4):
        world.scheduler.tick()
        world.clock.advance(60)
    [entry] = world.scheduler.status().history
    assert (entry.count, entry.attempt, entry.reason) == (3, 3, "wake failed: no, again")
    assert [wake.attempt for wake in world.host.wakes] == [1, 2, 3, 4]
    assert len({wake.wake_id for wake in world.host.wakes}) == 4
    assert world.scheduler.status().active[0].attempt == 4
    assert not world.scheduler.status().problems, "a success clears the fault"


def test_one_empty_answer_does_not_end_the_rest_of_a_slot_whose_wakes_fail() -> None:
    world, layer = scripted_world()
    world.host.fail_next(RuntimeError("no"), times=99)
    world.add(id=1)
    for _ in range(6):
        layer.answer = None
        world.scheduler.tick()
        layer.answer = Heartbeat()
        world.scheduler.tick()
    assert [wake.attempt for wake in world.host.wakes] == [1, 2]


def test_a_wake_that_fails_leaves_room_for_the_agents_other_slots() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"), times=2)
    world.add(id=1, priority=9)
    world.add(id=2, priority=1)
    for _ in range(3):
        world.scheduler.tick()
    assert world.host.woken == [("dev", "1"), ("dev", "1"), ("dev", "2")]


def test_a_failure_is_forgotten_once_the_slot_has_not_been_listed_for_long() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"), times=3)
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.tick()
    world.calendar.cancel(key)
    world.clock.advance(1201)
    world.scheduler.tick()
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.scheduler.tick()
    assert [wake.attempt for wake in world.host.wakes] == [1, 2, 3]
    assert [entry.count for entry in world.scheduler.status().history] == [2, 1]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError("x")])
def test_it_does_not_matter_what_a_wake_raises(error: BaseException) -> None:
    world = World("a", "b")
    world.host.fail_next(error)
    world.add("a", id=1)
    world.add("b", id=2)
    report = world.scheduler.tick()
    assert (report.failed_wakes, report.woken) == (("a",), ("b",))
    words = str(error) or type(error).__name__
    assert world.scheduler.status().history[0].reason == f"wake failed: {words}"
    assert world.scheduler.status().problems["a"]["wake"].message == f"wake failed: {words}"


def test_a_coroutine_function_as_a_host_is_a_failed_wake_that_says_so() -> None:
    class AsyncHost(RecordingHost):
        async def wake_agent(self, wake: WakeRequest) -> None:  # type: ignore[override] # the mistake in question
            raise AssertionError("never awaited")

    world = World(host=AsyncHost())
    world.add(id=1)
    world.scheduler.tick()
    assert "coroutine function" in world.scheduler.status().history[0].reason


@pytest.mark.parametrize("returned", [None, False, 0, "queued", object()])
def test_what_a_wake_returns_is_ignored(returned: Any) -> None:
    class Talkative(RecordingHost):
        def wake_agent(self, wake: WakeRequest) -> None:
            return returned  # type: ignore[no-any-return]

    world = World(host=Talkative())
    world.add(id=1)
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing")]


def test_a_message_builder_that_fails_is_a_failed_wake() -> None:
    for message, words in ((lambda slot: 1 / 0, "division by zero"), (lambda slot: None, "a string, not NoneType")):
        world = World()
        world.add(id=1)
        scheduler = Scheduler(
            world.calendar,
            world.host,
            lambda: [Agent(id="dev")],
            clock=world.clock,
            runner=CallerRunner(),
            message=message,  # type: ignore[arg-type]
        )
        scheduler.tick()
        assert words in scheduler.status().history[0].reason
        assert not world.host.wakes


def test_slots_of_another_day_wait_for_their_date() -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    world.calendar.set_slot(key, date=dt.date(2026, 1, 6), scheduled_at=dt.time(8, 0))
    layer.listed = (world.calendar.slot(key),)
    world.scheduler.tick()
    assert reasons(world) == {"1": VerdictReason.NOT_DUE}
