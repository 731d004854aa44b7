"""When the system has no thread left: skip, count, try later."""

import threading
from collections.abc import Callable

import pytest

from harborcal.clock import Timer
from harborcal.runner import Task
from harborcal.testing import CallerRunner, FakeClock
from tests.world import World


class Poor(CallerRunner):
    """Has no thread for tasks of some names."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.without = set(names)

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        if name in self.without:
            raise RuntimeError("can't start new thread")
        return super().spawn(name, task)


@pytest.mark.parametrize("name", ["heartbeat", "wake", "lister", "log"])
def test_without_threads_work_waits_and_goes_on_once_there_are_some(name: str) -> None:
    runner = Poor()
    world = World(runner=runner)
    world.scheduler.tick()
    runner.without = {name}
    world.add(id=1)
    world.scheduler.start()
    world.clock.advance(60)
    assert world.scheduler.status().scheduler_errors["threads"].message == "can't start new thread"
    assert world.host.woken == ([] if name in {"heartbeat", "wake"} else [("dev", "1")])
    runner.without = set()
    world.clock.advance(60)
    assert ("dev", "1") in world.host.woken


def test_without_a_thread_to_see_agents_off_this_is_tried_again() -> None:
    runner = Poor("release")
    world = World("a", "b", runner=runner)
    world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    del world.agents[0]
    world.clock.advance(200)
    assert world.scheduler.status().active
    runner.without = set()
    world.clock.advance(60)
    assert not world.scheduler.status().active


def test_without_a_thread_to_stop_with_the_end_comes_at_once() -> None:
    runner = Poor("stop")
    world = World(runner=runner, on_wake=lambda wake: world.scheduler.stop())
    world.add()
    world.scheduler.tick()
    assert world.calendar.closed


class PoorClock(FakeClock):
    """Cannot start the next so many timers."""

    refusals = 0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:  # type: ignore[override]
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("can't start new thread")
        return super().call_later(delay, callback)


def test_a_timer_that_cannot_be_started_is_tried_again_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harborcal.scheduler.wheel.RETRY_AFTER", 0.001)
    clock = PoorClock()
    world = World(clock=clock)
    world.scheduler.start()
    clock.advance(0)
    clock.refusals = 3
    clock.advance(30)
    assert world.scheduler.status().scheduler_errors["threads"].count >= 1
    before = world.scheduler.status().last_heartbeats["dev"]
    clock.advance(30)
    assert world.scheduler.status().last_heartbeats["dev"] > before


def test_a_start_without_a_thread_for_the_timer_fails_and_the_scheduler_can_still_be_stopped() -> None:
    clock = PoorClock()
    world = World(clock=clock)
    clock.refusals = 1
    with pytest.raises(RuntimeError, match="no thread left for the timer"):
        world.scheduler.start()
    assert world.scheduler.status().scheduler_errors["threads"].count == 1
    world.scheduler.stop()


@pytest.mark.singly
def test_threads_of_the_scheduler_are_daemons_with_telling_names() -> None:
    seen: list[threading.Thread] = []
    from tests.world import threaded

    world = threaded(on_wake=lambda wake: seen.append(threading.current_thread()))
    world.calendar.before_heartbeat = lambda _agent: seen.append(threading.current_thread())
    world.add()
    world.scheduler.tick()
    assert all(thread.daemon for thread in seen)
    assert [thread.name for thread in seen] == ["harborcal-heartbeat", "harborcal-wake"]
