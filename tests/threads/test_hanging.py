"""What hangs for ever: hosts, transports, listers, logs. Real threads, waiting on events; nobody else may wait."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from harborcal import (
    Agent,
    Heartbeat,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotStatus,
    Task,
    ThreadRunner,
    VerdictReason,
    WakeRequest,
)
from harborcal.policy import SHORTEST_LEASE
from harborcal.testing import RecordingHost
from tests.scheduler.test_settlement import Layer
from tests.world import World, threaded

PATIENCE = 10.0


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """An event on which threads hang until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def config(**options: float) -> SchedulerConfig:
    return SchedulerConfig(wake_wait=0.05, lister_timeout=0.05, seed=1, **options)  # type: ignore[arg-type]


def meet(barrier: threading.Barrier) -> None:
    barrier.wait()


def until(world: World, condition: Callable[[], bool]) -> None:
    """Advance the fake clock in small steps until the other threads have made something true."""
    done = threading.Event()
    for _ in range(2_000):
        if condition():
            return
        done.wait(0.005)
    raise AssertionError("it never came to be")


def test_a_host_that_hangs_for_one_agent_keeps_no_other_from_heartbeats_and_wakes(release: threading.Event) -> None:
    entered = threading.Event()

    def on_wake(wake: WakeRequest) -> None:
        if wake.agent_id == "stuck":
            entered.set()
            release.wait(PATIENCE)

    world = threaded("stuck", "a", "b", on_wake=on_wake, config=config())
    world.add("stuck", id=1)
    world.add("a", id=2)
    report = world.scheduler.tick()
    assert entered.wait(PATIENCE)
    assert report.pending_wakes == ("stuck",)
    assert report.woken == ("a",)
    world.add("b", id=3)
    assert world.scheduler.tick().woken == ("b",)
    assert world.scheduler.status().wakes_under_way == 1
    assert world.scheduler.status().active[-1].state == "waking"


def test_a_wake_that_outlasts_its_timeout_counts_as_failed_and_is_tried_again(release: threading.Event) -> None:
    attempts: list[int] = []

    def on_wake(wake: WakeRequest) -> None:
        attempts.append(wake.attempt)
        if wake.attempt == 1:
            release.wait(PATIENCE)

    world = threaded("dev", on_wake=on_wake, config=config(wake_timeout=60))
    world.add(id=1)
    world.scheduler.tick()
    world.clock.advance(59)
    assert world.scheduler.status().active
    world.clock.advance(1)
    status = world.scheduler.status()
    assert not status.active
    assert status.history[0].reason == "wake failed: wake_agent has not returned within 60 s"
    assert (status.abandoned_threads, status.max_abandoned_threads) == (1, 64)
    world.scheduler.tick()
    assert world.host.wait_for_wakes(2)
    until(world, lambda: len(world.sent) == 1)
    assert attempts == [1, 2]
    release.set()
    until(world, lambda: world.scheduler.status().abandoned_threads == 0)
    assert world.sent == [("dev", "ongoing")], "the late return of the first attempt changes nothing"
    assert world.scheduler.status().active[0].attempt == 2


def test_an_agent_that_has_reported_from_a_hanging_wake_was_woken(release: threading.Event) -> None:
    paused = threading.Event()

    def on_wake(wake: WakeRequest) -> None:
        wake.report.renew()
        paused.set()
        release.wait(PATIENCE)

    world = threaded("dev", on_wake=on_wake, config=config(wake_timeout=60))
    world.add(id=1)
    world.scheduler.tick()
    assert paused.wait(PATIENCE)
    world.clock.advance(60)
    assert world.scheduler.status().active[0].state == "ongoing"
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing")]


def test_an_agent_may_complete_from_outside_while_its_wake_hangs(release: threading.Event) -> None:
    entered = threading.Event()

    def on_wake(wake: WakeRequest) -> None:
        entered.set()
        release.wait(PATIENCE)

    world = threaded("dev", on_wake=on_wake, config=config())
    world.add(id=1)
    world.scheduler.tick()
    assert entered.wait(PATIENCE)
    world.scheduler.complete("dev", "done")
    release.set()
    until(world, lambda: world.scheduler.status().wakes_under_way == 0)
    assert world.sent == [("dev", "ongoing"), ("dev", "finished")]


def test_one_agent_cannot_hold_more_than_three_threads_captive(release: threading.Event) -> None:
    def on_wake(wake: WakeRequest) -> None:
        if wake.agent_id == "stuck":
            release.wait(PATIENCE)

    world = threaded("stuck", "dev", on_wake=on_wake, config=config(wake_timeout=60))
    world.add("stuck", id=1)
    for _ in range(30):
        world.scheduler.tick()
        world.clock.advance(61)
    assert world.scheduler.status().abandoned_threads == 3
    [verdict] = world.scheduler.explain("stuck")
    assert (verdict.reason, verdict.detail) == (VerdictReason.BUSY, "3 earlier wakes have not returned")
    world.add("dev", id=2)
    world.scheduler.tick()
    until(world, lambda: ("dev", "ongoing") in world.sent)


def test_when_no_thread_is_left_to_wake_with_this_is_said_and_heartbeats_go_on(release: threading.Event) -> None:
    def hang(wake: WakeRequest) -> None:
        release.wait(PATIENCE)

    names = [f"agent{number}" for number in range(6)]
    settings = SchedulerConfig(wake_wait=0.05, wake_timeout=60, max_wakes=2, max_abandoned=2, seed=1)
    world = threaded(*names, on_wake=hang, config=settings)
    for name in names[:5]:
        world.add(name)
    world.scheduler.tick()
    while world.scheduler.status().abandoned_threads < 4:
        until(world, lambda: world.scheduler.status().wakes_under_way > 0)
        world.clock.advance(60)
    world.add("agent5", id=99)
    report = world.scheduler.tick()
    assert "agent5" not in report.woken
    assert world.scheduler.explain("agent5")[0].detail == "no thread is left: 4 wakes have not returned"
    assert not report.failed_heartbeats
    release.set()
    until(world, lambda: world.scheduler.status().abandoned_threads == 0)
    world.scheduler.tick()
    until(world, lambda: any(active.agent_id == "agent5" for active in world.scheduler.status().active))


def test_a_heartbeat_that_hangs_holds_up_its_agent_only(release: threading.Event) -> None:
    class Hanging(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            if agent_id == "stuck":
                entered.set()
                release.wait(PATIENCE)
            return super().heartbeat(agent_id)

    entered = threading.Event()
    world = threaded("dev", "stuck", wrap=Hanging, config=config(heartbeat_timeout=20))
    world.scheduler.start()
    world.clock.advance(0)
    assert entered.wait(PATIENCE)
    until(world, lambda: "dev" in world.scheduler.status().last_heartbeats)
    world.add("dev", id=1)
    world.clock.advance(20)
    assert "heartbeat has not returned within 20 s" in world.scheduler.status().last_errors["stuck"].message
    world.clock.advance(10)
    assert world.host.wait_for_wakes(1)
    assert world.host.woken == [("dev", "1")]
    assert world.scheduler.status().abandoned_threads == 1


def test_the_late_answer_of_a_heartbeat_that_was_given_up_is_not_acted_on(release: threading.Event) -> None:
    entered, left = threading.Event(), threading.Event()

    class Hanging(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            if not entered.is_set():
                entered.set()
                release.wait(PATIENCE)
                left.set()
                return Heartbeat(slots=(Slot(id=1),))
            return Heartbeat()

    world = threaded("dev", wrap=Hanging, config=config(heartbeat_timeout=20))
    world.scheduler.start()
    world.clock.advance(0)
    assert entered.wait(PATIENCE)
    world.clock.advance(20)
    assert world.scheduler.status().abandoned_threads == 1
    release.set()
    assert left.wait(PATIENCE)
    until(world, lambda: world.scheduler.status().abandoned_threads == 0)
    assert not world.host.wakes
    assert world.scheduler.explain("dev") == ()


def test_a_tick_joins_a_heartbeat_that_is_under_way(release: threading.Event) -> None:
    entered = threading.Event()
    asked: list[str] = []

    def hold(agent_id: str) -> None:
        asked.append(agent_id)
        entered.set()
        release.wait(PATIENCE)

    class Watched(ThreadRunner):
        """Tells when somebody waits for a second time: first for the lister, then for heartbeats."""

        waits = threading.Semaphore(0)

        def wait(self, tasks: Iterable[Task], timeout: float) -> float:
            self.waits.release()
            return super().wait(tasks, timeout)

    runner = Watched()
    world = World("dev", config=config(), runner=runner)
    world.calendar.before_heartbeat = hold
    world.scheduler.start()
    world.clock.advance(0)
    assert entered.wait(PATIENCE)
    joined: list[object] = []
    ticking = threading.Thread(target=lambda: joined.append(world.scheduler.tick()))
    ticking.start()
    assert all(runner.waits.acquire(timeout=PATIENCE) for _ in range(2))
    release.set()
    ticking.join(PATIENCE)
    assert [report.agents for report in joined] == [("dev",)]  # type: ignore[attr-defined]
    assert asked == ["dev"]


def test_a_lister_that_hangs_leaves_the_last_list_standing_and_says_so(release: threading.Event) -> None:
    hanging = threading.Event()

    def lister() -> list[Agent]:
        if hanging.is_set():
            release.wait(PATIENCE)
        return [Agent(id="dev")]

    world = threaded("dev", lister=lister, config=config())
    world.scheduler.tick()
    hanging.set()
    first = world.scheduler.status().last_heartbeats["dev"]
    world.scheduler.start()
    for _ in range(3):
        world.clock.advance(30)
    until(world, lambda: world.scheduler.status().last_heartbeats["dev"] > first)
    assert "has not answered" in world.scheduler.status().scheduler_errors["agents"].message
    assert world.scheduler.tick().agents == ("dev",)


def test_a_log_that_blocks_holds_up_nobody_and_what_it_misses_is_counted(release: threading.Event) -> None:
    names = [f"agent{number}" for number in range(100)]

    class Blocked(RecordingHost):
        def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
            release.wait(PATIENCE)

    world = threaded(*names, host=Blocked(), config=config())
    for _ in range(12):
        world.clock.advance(900)  # no more lines than a log can bear are said at once
        for name in names[:100]:
            world.add(name, **world.at(60_000))
        world.scheduler.tick()
    assert len(world.scheduler.status().last_heartbeats) == 100
    assert "dropped" in world.scheduler.status().scheduler_errors["log"].message


def test_heartbeats_of_many_agents_go_on_side_by_side() -> None:
    """Four heartbeats meet at a barrier: one after the other they would never get past it."""
    barrier = threading.Barrier(4, timeout=PATIENCE)
    world = threaded("a", "b", "c", "d", config=config())
    world.calendar.before_heartbeat = lambda _agent: meet(barrier)
    assert not world.scheduler.tick().failed_heartbeats


@pytest.mark.singly
def test_no_more_heartbeats_go_out_at_once_than_were_allowed() -> None:
    lock = threading.Lock()
    now, most = 0, 0
    both = threading.Barrier(2, timeout=PATIENCE)

    def count(_agent: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        both.wait()
        with lock:
            now -= 1

    settings = SchedulerConfig(max_heartbeats=2, seed=1)
    world = threaded(*"abcdef", config=settings)
    world.calendar.before_heartbeat = count
    assert not world.scheduler.tick().failed_heartbeats
    assert most == 2


def test_no_reminder_is_entered_while_the_wake_has_not_returned(release: threading.Event) -> None:
    entered = threading.Event()

    def work_inside(wake: WakeRequest) -> None:
        wake.report.pause("thinking")
        wake.report.resume()
        entered.set()
        release.wait(PATIENCE)

    world = threaded(on_wake=work_inside, config=SchedulerConfig(wake_wait=0.05, wake_timeout=86_000, seed=1))
    world.add(estimated_duration=10)
    world.scheduler.tick()
    assert entered.wait(PATIENCE)
    world.clock.advance(3 * SHORTEST_LEASE)
    [wake] = world.host.wakes
    assert not wake.reminder
    world.scheduler.stop(0)


def test_an_agent_that_is_done_inside_its_wake_gets_the_next_one_once_that_has_returned(
    release: threading.Event,
) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work_inside(wake: WakeRequest) -> None:
        inside.append(1)
        most.append(len(inside))
        wake.report.complete("done, and still busy putting things away")
        release.wait(PATIENCE)
        inside.pop()

    world = threaded(on_wake=work_inside, config=SchedulerConfig(wake_wait=0.05, seed=1))
    world.add(id=1)
    world.add(id=2)
    world.scheduler.tick()
    until(world, lambda: world.state(SlotKey.real(1)) is SlotStatus.FINISHED)
    world.scheduler.tick()
    [verdict] = world.scheduler.explain("dev")
    assert (verdict.reason, verdict.detail) == (VerdictReason.BUSY, "its last wake has not returned")
    release.set()
    until(world, lambda: world.scheduler.status().wakes_under_way == 0)
    world.scheduler.tick()
    until(world, lambda: world.state(SlotKey.real(2)) is SlotStatus.FINISHED)
    assert most == [1, 1]
    world.scheduler.stop(0)
