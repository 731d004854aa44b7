"""DESIGN 4.2, points 1, 10, 12, 13, 14, 17: the loop, its agents, failing heartbeats, time, the status, quiet."""

import datetime as dt
import gc
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    CalendarUnavailableError,
    Heartbeat,
    SchedulerConfig,
    SlotStatus,
    Status,
    TransportError,
)
from harborcal.testing import RecordingHost
from tests.scheduler.test_settlement import Layer
from tests.world import World


def beats_of(world: World) -> list[float]:
    """Record the moments of the first agent's heartbeats, in seconds from now."""
    begin, seen = world.clock.monotonic(), []
    first = world.agents[0].id
    world.calendar.before_heartbeat = lambda agent: (
        seen.append(world.clock.monotonic() - begin) if agent == first else None
    )
    return seen


# --- cadence --------------------------------------------------------------------------------------------------------


def test_an_overrun_skips_what_it_missed_and_keeps_to_the_cadence() -> None:
    world = World()
    begin = world.clock.monotonic()
    seen: list[float] = []

    def slow(_agent: str) -> None:
        seen.append(world.clock.monotonic() - begin)
        if len(seen) == 2:
            world.clock.advance(45)

    world.calendar.before_heartbeat = slow
    world.scheduler.start()
    world.clock.advance(30)
    world.clock.advance(60)
    assert seen == [0, 30, 90, 120]


def test_a_tick_by_hand_does_not_move_the_cadence() -> None:
    world = World()
    seen = beats_of(world)
    world.scheduler.start()
    world.clock.advance(10)
    world.scheduler.tick()
    world.clock.advance(20)
    assert seen == [0, 10, 30]


def test_a_tick_works_without_a_start() -> None:
    world = World()
    world.add(id=1)
    report = world.scheduler.tick()
    assert (report.agents, report.woken, report.pending_wakes) == (("dev",), ("dev",), ())
    assert json.loads(report.to_json())["woken"] == ["dev"]


def test_a_heartbeat_that_raises_anything_costs_nobody_else_theirs() -> None:
    class Broken(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            if agent_id == "a":
                raise SystemExit("not my day")
            if agent_id == "b":
                return None  # type: ignore[return-value]
            return super().heartbeat(agent_id)

    world = World("a", "b", "c", wrap=Broken)
    report = world.scheduler.tick()
    assert report.failed_heartbeats == ("a", "b")
    errors = world.scheduler.status().last_errors
    assert errors["a"].message == "not my day"
    assert errors["b"].message == "the transport answered with a NoneType"
    assert list(world.scheduler.status().last_heartbeats) == ["c"]


# --- failing heartbeats ---------------------------------------------------------------------------------------------


def test_failing_heartbeats_back_off_with_jitter_between_the_interval_and_a_minute() -> None:
    world = World()
    seen = beats_of(world)
    world.calendar.start_outage()
    world.scheduler.start()
    world.clock.advance(1800)
    gaps = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert all(30 <= gap <= 60 for gap in gaps)
    assert len(set(gaps)) > 10, "jittered"
    world.calendar.stop_outage()
    world.clock.advance(60)
    assert not world.scheduler.status().last_errors


def test_a_longer_retry_after_wins() -> None:
    world = World()
    seen = beats_of(world)
    world.calendar.fail_next(CalendarUnavailableError("slow down", 429, retry_after=200))
    world.scheduler.start()
    world.clock.advance(199)
    assert seen == [0]
    world.clock.advance(2)
    assert len(seen) == 2


def test_an_interval_that_makes_agents_look_offline_is_allowed_with_a_warning() -> None:
    world = World(config=SchedulerConfig(heartbeat_interval=120))
    world.scheduler.start()
    [line] = [line for line in world.host.logs if line.level == "warn"]
    assert "offline" in line.message
    calm = World(config=SchedulerConfig(heartbeat_interval=119))
    calm.scheduler.start()
    assert not [line for line in calm.host.logs if line.level == "warn"]


def test_last_heartbeats_holds_successes_only() -> None:
    world = World()
    world.scheduler.tick()
    first = world.scheduler.status().last_heartbeats["dev"]
    world.clock.advance(30)
    world.calendar.fail_next(CalendarRefusedError(403, "who are you"))
    world.scheduler.tick()
    assert world.scheduler.status().last_heartbeats["dev"] == first


# --- the lister -----------------------------------------------------------------------------------------------------


def test_a_lister_that_raises_leaves_the_last_list_standing_and_says_so() -> None:
    world = World()
    faults: list[BaseException] = []

    def lister() -> list[Agent]:
        if faults:
            raise faults[0]
        return world.agents

    world = World(lister=lister)
    world.agents = [Agent(id="dev")]
    world.scheduler.tick()
    faults.append(SystemExit("no list today"))
    report = world.scheduler.tick()
    assert report.agents == ("dev",)
    assert world.scheduler.status().scheduler_errors["agents"].message == "no list today"
    assert len(world.host.lines("calendar agents cannot be listed")) == 1
    world.scheduler.tick()
    assert world.scheduler.status().scheduler_errors["agents"].count == 2
    assert len(world.host.lines("calendar agents cannot be listed")) == 1
    faults.clear()
    world.scheduler.tick()
    assert not world.scheduler.status().scheduler_errors


def test_a_generator_will_do_as_a_lister() -> None:
    def lister() -> Iterator[Agent]:
        yield Agent(id="a")
        yield Agent(id="b")

    assert World("a", "b", lister=lister).scheduler.tick().agents == ("a", "b")


def test_a_generator_that_raises_half_way_leaves_the_last_list_standing() -> None:
    calls: list[None] = []

    def lister() -> Iterator[Agent]:
        calls.append(None)
        yield Agent(id="a")
        if len(calls) > 1:
            raise RuntimeError("lost count")
        yield Agent(id="b")

    world = World("a", "b", lister=lister)
    world.scheduler.tick()
    assert world.scheduler.tick().agents == ("a", "b")


def test_an_agent_that_is_listed_twice_is_served_once_and_this_is_said() -> None:
    world = World(lister=lambda: [Agent(id="dev"), Agent(id="dev")])
    seen = beats_of(world)
    world.scheduler.tick()
    world.scheduler.tick()
    assert len(seen) == 2
    assert world.scheduler.status().scheduler_errors["listed"].message == "listed twice: dev"
    assert len(world.host.lines("calendar agents refused")) == 1


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ("dev", "not an Agent: str"),
        (None, "not an Agent: NoneType"),
        (Agent(id="../x"), "not an agent id: '../x'"),
        (Agent(id=7), "not an agent id: 7"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_agent_is_refused_and_the_others_are_served(odd: Any, words: str) -> None:
    world = World(lister=lambda: [odd, Agent(id="dev"), object()])
    assert world.scheduler.tick().agents == ("dev",)
    assert world.scheduler.status().scheduler_errors["listed"].message == f"{words} (and 1 more)"


@pytest.mark.parametrize("listed", [None, 7, object()])
def test_a_lister_that_lists_nothing_iterable_leaves_the_last_list_standing(listed: Any) -> None:
    answers: list[Iterable[Agent]] = [[Agent(id="dev")]]
    world = World(lister=lambda: answers.pop() if answers else listed)
    world.scheduler.tick()
    assert world.scheduler.tick().agents == ("dev",)
    assert "agents" in world.scheduler.status().scheduler_errors


def test_a_lister_without_end_is_cut() -> None:
    def lister() -> Iterator[Agent]:
        while True:
            yield Agent(id="dev")

    world = World(lister=lister)
    world.scheduler.tick()
    assert world.scheduler.status().scheduler_errors["listed"].message.startswith("listed twice: dev (and ")


def test_an_agent_that_is_no_longer_listed_is_heartbeaten_no_more_and_a_new_one_at_once() -> None:
    world = World("a", "b")
    world.agents[:] = [Agent(id="a")]
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(30)
    assert list(world.scheduler.status().last_heartbeats) == ["a", "b"]
    seen: list[str] = []
    world.calendar.before_heartbeat = seen.append
    world.clock.advance(30)
    assert seen == ["b"]


@pytest.mark.parametrize(("locked", "status"), [(False, SlotStatus.DEFERRED), (True, SlotStatus.ABORTED)])
def test_the_slot_of_an_agent_that_is_gone_is_given_back_after_two_minutes(locked: bool, status: SlotStatus) -> None:
    world = World("a", "b")
    key = world.add("a", is_admin_locked=locked)
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(119)
    assert world.state(key) is SlotStatus.ONGOING
    world.clock.advance(31)
    assert world.state(key) is status
    [entry] = world.scheduler.status().history
    assert (entry.agent_id, entry.status, entry.reason) == ("a", status, "agent not listed for 120 s")
    assert list(world.scheduler.status().last_heartbeats) == ["b"], "what was known of it is forgotten"
    assert world.scheduler.explain("a") == ()


def test_an_agent_that_comes_back_in_time_keeps_its_slot() -> None:
    world = World("a", "b")
    world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(90)
    world.agents[:] = [Agent(id="a"), Agent(id="b")]
    world.clock.advance(300)
    world.scheduler.complete("a", "back again")
    assert world.scheduler.status().history[-1].status == "finished"


def test_giving_back_is_tried_again_until_the_calendar_takes_it() -> None:
    world = World("a", "b")
    key = world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.calendar.fail_next(TransportError("down"), times=2, on="update")
    world.clock.advance(150)
    assert world.state(key) is SlotStatus.ONGOING
    assert world.scheduler.status().problems["a"]["update"].message == "down"
    world.clock.advance(60)
    assert world.state(key) is SlotStatus.DEFERRED
    assert "a" not in world.scheduler.status().problems


def test_faults_of_an_agent_that_is_gone_are_forgotten() -> None:
    world = World("a", "b")
    world.calendar.remove_agent("a")
    world.scheduler.start()
    world.clock.advance(0)
    assert "a" in world.scheduler.status().last_errors
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(150)
    assert not world.scheduler.status().last_errors
    assert world.scheduler.status().agents == 1


# --- time -----------------------------------------------------------------------------------------------------------


def test_pauses_are_not_work() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.clock.advance(10 * 60)
    world.scheduler.pause("dev", "lunch")
    world.clock.advance(45 * 60)
    world.scheduler.resume("dev")
    world.clock.advance(5 * 60)
    world.scheduler.pause("dev")
    world.clock.advance(20 * 60)
    world.scheduler.complete("dev")
    assert world.calendar.updates[-1].update.actual_duration == 15


def test_pausing_what_is_paused_and_resuming_what_runs_changes_nothing_and_sends_nothing() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.resume("dev")
    world.scheduler.pause("dev", "lunch")
    paused_at = world.scheduler.status().active[0].paused_at
    world.clock.advance(60)
    world.scheduler.pause("dev", "still lunch")
    [active] = world.scheduler.status().active
    assert (active.pause_reason, active.paused_at) == ("lunch", paused_at)
    assert [status for _, status in world.sent] == ["ongoing", "paused"]
    world.scheduler.resume("dev")
    assert world.scheduler.status().active[0].pause_reason == ""


@pytest.mark.parametrize("jump", [-3600, 7200])
def test_durations_stay_true_when_the_wall_clock_is_set(jump: float) -> None:
    world = World()
    world.add()
    world.scheduler.start()
    world.clock.advance(600)
    world.clock.jump(jump)
    world.clock.advance(600)
    world.scheduler.complete("dev")
    assert world.calendar.updates[-1].update.actual_duration == 20
    [line] = world.host.lines("calendar clock was set")
    assert line.fields["seconds"] == jump


def test_pauses_stay_true_when_the_wall_clock_is_set() -> None:
    world = World()
    world.add()
    world.scheduler.start()
    world.clock.advance(600)
    world.scheduler.pause("dev")
    world.clock.jump(-7200)
    world.clock.advance(600)
    world.scheduler.resume("dev")
    world.clock.advance(300)
    world.scheduler.complete("dev")
    assert world.calendar.updates[-1].update.actual_duration == 15


def test_a_little_drift_is_no_jump() -> None:
    world = World()
    world.scheduler.start()
    world.clock.advance(10)
    world.clock.jump(0.4)
    world.clock.advance(60)
    assert not world.host.lines("calendar clock was set")


# --- status ---------------------------------------------------------------------------------------------------------


def test_the_status_serialises_in_one_style_and_comes_back_whole() -> None:
    world = World("a", "b")
    world.add("b", id=1, event_type="job", event_data={"code": "X-1"})
    world.host.fail_next(RuntimeError("busy line"))
    world.add("a", id=2)
    world.scheduler.tick()
    world.calendar.remove_agent("a")
    world.scheduler.tick()
    status = world.scheduler.status()
    told = json.loads(status.to_json())
    assert told["heartbeat_every"] == 30.0
    assert told["last_heartbeats"]["b"] == "2026-01-05T09:00:00Z"
    assert told["last_errors"]["a"]["count"] == 1
    assert told["problems"]["a"]["wake"]["message"] == "wake failed: busy line"
    [active] = told["active"]
    assert (active["agent_id"], active["attempt"], active["state"]) == ("b", 1, "ongoing")
    assert active["last_heartbeat_at"] == "2026-01-05T09:00:00Z"
    assert active["slot"]["event_data"] == {"code": "X-1"}
    assert Status.from_dict(told) == status


def test_active_slots_and_agents_are_told_in_a_stable_order() -> None:
    world = World("zoe", "amy", "kim")
    for name in ("zoe", "amy", "kim"):
        world.add(name)
    world.scheduler.tick()
    status = world.scheduler.status()
    assert [active.agent_id for active in status.active] == ["amy", "kim", "zoe"]
    assert list(status.last_heartbeats) == ["amy", "kim", "zoe"]


def test_a_sign_of_life_is_shown_and_sends_nothing() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    assert world.scheduler.status().active[0].heard_at is None
    world.clock.advance(40)
    world.scheduler.renew("dev")
    assert world.scheduler.status().active[0].heard_at == dt.datetime(2026, 1, 5, 9, 0, 40, tzinfo=dt.UTC)
    assert world.sent == [("dev", "ongoing")]


def test_long_and_odd_words_of_agents_are_cleaned_and_capped_in_the_history() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.complete("dev", "done\x00\n\u202e" + "x" * 10_000)
    summary = world.scheduler.status().history[-1].summary
    assert summary.startswith("done xxx")
    assert len(summary) == 2_000


# --- quiet ----------------------------------------------------------------------------------------------------------


def test_a_steady_day_says_little() -> None:
    world = World("a", "b")
    world.scheduler.start()
    world.clock.advance(3600)
    assert 4 <= len(world.host.lines("calendar tick")) <= 5
    assert 8 <= len(world.host.lines("calendar heartbeat ok")) <= 10


def test_a_change_is_said_at_once() -> None:
    world = World()
    world.scheduler.start()
    world.clock.advance(60)
    world.agents.append(Agent(id="ops"))
    world.calendar.add_agent("ops")
    world.add("dev", **world.at(3000))
    world.clock.advance(30)
    assert [line.fields["agents"] for line in world.host.lines("calendar tick")] == [1, 2]
    assert [
        line.fields["slots"] for line in world.host.lines("calendar heartbeat ok") if line.fields["agent"] == "dev"
    ] == [
        0,
        1,
    ]


def test_a_repeating_fault_is_logged_once_then_now_and_then_with_its_count() -> None:
    world = World()
    world.calendar.start_outage(TransportError("down"))
    world.scheduler.start()
    world.clock.advance(3600)
    lines = world.host.lines("calendar heartbeat failed")
    assert "count" not in lines[0].fields
    assert 2 <= len(lines) <= 5
    counts = [line.fields["count"] for line in lines[1:]]
    assert all(isinstance(count, int) and count > 10 for count in counts)
    total = world.scheduler.status().last_errors["dev"].count
    assert total >= 60


def test_a_log_that_raises_harms_nothing_and_is_counted() -> None:
    class Mute(RecordingHost):
        def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
            raise SystemExit("disk full")

    world = World(host=Mute())
    world.add()
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing")]
    assert world.scheduler.status().scheduler_errors["log"].message == "disk full"


def test_a_program_that_only_ticks_by_hand_does_not_grow() -> None:
    names = [f"agent{number}" for number in range(50)]
    world = World(*names)

    def size() -> int:
        gc.collect()
        return len(gc.get_objects())

    for _ in range(5):
        world.clock.advance(31)
        world.scheduler.tick()
    world.calendar.heartbeats.clear()
    before = size()
    for _ in range(100):
        world.clock.advance(31)
        world.scheduler.tick()
    world.calendar.heartbeats.clear()
    world.host.logs.clear()
    assert size() - before < 1_000, "fewer than one object for five heartbeats"


def test_what_befalls_a_whole_fleet_is_said_of_some_and_of_how_many_more() -> None:
    world = World(*[f"a{number:04}" for number in range(1_000)], config=SchedulerConfig(spread=False))
    world.scheduler.start()
    world.clock.advance(0)
    assert len(world.host.lines("calendar heartbeat ok")) == 100
    assert len(world.host.logs) <= 102
    world.clock.advance(60)
    [folded] = world.host.lines("calendar lines folded")
    assert folded.fields == {"line": "calendar heartbeat ok", "count": 900}
    world.calendar.fail_next(CalendarUnavailableError("down", 503), times=1_000_000, on="heartbeat")
    world.clock.advance(130)
    assert len(world.host.lines("calendar heartbeat failed")) <= 115
    assert sum(int(str(line.fields["count"])) for line in world.host.lines("calendar lines folded")) >= 1_700
    assert len(world.scheduler.status().last_errors) == 1_000, "the status names each"


def test_the_steady_state_of_a_large_fleet_says_next_to_nothing() -> None:
    world = World(*[f"a{number:04}" for number in range(500)])
    world.scheduler.start()
    world.clock.advance(120)
    before = len(world.host.logs)
    world.clock.advance(3_600)
    assert len(world.host.logs) - before <= 3_600 // 900 + 1


def test_a_line_that_was_folded_is_said_again_once_there_is_room() -> None:
    world = World(*[f"a{number:03}" for number in range(150)], config=SchedulerConfig(spread=False))
    world.scheduler.tick()
    assert len(world.host.lines("calendar heartbeat ok")) == 100
    world.clock.advance(900)
    world.add("a000", **world.at(3_600))
    world.scheduler.tick()
    assert world.host.lines("calendar heartbeat ok")[-1].fields["agent"] == "a000"
