"""DESIGN 4.2, point 15: beginning and end."""

import os
from collections.abc import Mapping

import pytest

from harborcal import Agent, ConfigurationError, LifecycleError, TransportError, WakeRequest
from harborcal.testing import RecordingHost
from tests.scheduler.test_settlement import Layer
from tests.world import World

VERBS = ["complete", "abort", "pause", "resume", "renew"]


def test_a_second_start_is_refused() -> None:
    world = World()
    world.scheduler.start()
    with pytest.raises(LifecycleError, match="started already"):
        world.scheduler.start()
    with pytest.raises(LifecycleError, match="started already"):
        world.scheduler.run()


def test_after_stop_everything_that_would_do_something_is_refused_and_looking_on_is_not() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.stop()
    world.scheduler.stop()
    for verb in VERBS:
        with pytest.raises(LifecycleError, match="stopped"):
            getattr(world.scheduler, verb)("dev")
    for verb in ("tick", "start", "run"):
        with pytest.raises(LifecycleError, match="stopped"):
            getattr(world.scheduler, verb)()
    status = world.scheduler.status()
    assert (status.enabled, status.lifecycle, len(status.active)) == (False, "stopped", 1)
    assert world.scheduler.explain("dev")
    assert repr(world.scheduler) == "<Scheduler stopped, every 30 s>"


def test_nothing_is_logged_after_the_end() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    late = world.host.wakes[0].report
    world.scheduler.stop()
    before = len(world.host.logs)
    with pytest.raises(LifecycleError):
        late.complete()
    world.clock.advance(600)
    assert len(world.host.logs) == before


def test_a_wake_that_was_queued_when_the_stop_was_requested_is_undone() -> None:
    world = World("a", "b", on_wake=lambda wake: world.scheduler.request_stop())
    world.add("a")
    world.add("b")
    world.scheduler.tick()
    assert world.host.woken == [("a", "1")]
    assert [active.agent_id for active in world.scheduler.status().active] == ["a"]


def test_stop_before_start_closes_the_transport() -> None:
    world = World()
    world.scheduler.stop()
    assert world.calendar.closed


def test_no_timer_is_left_behind() -> None:
    world = World()
    world.scheduler.start()
    world.clock.advance(60)
    world.scheduler.stop()
    assert world.clock.pending == ()


def test_request_stop_lets_nothing_new_begin() -> None:
    world = World()
    world.scheduler.start()
    world.clock.advance(0)
    world.add()
    world.scheduler.request_stop()
    world.clock.advance(300)
    assert not world.host.wakes
    assert not world.scheduler.status().enabled
    with pytest.raises(LifecycleError, match="stopping"):
        world.scheduler.tick()
    world.scheduler.stop()
    assert world.calendar.closed


def test_agents_may_report_until_the_very_end() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.request_stop()
    world.scheduler.complete("dev", "just in time")
    assert world.sent[-1] == ("dev", "finished")


def test_stop_from_inside_a_wake_lets_the_update_of_that_wake_go_out() -> None:
    def on_wake(wake: WakeRequest) -> None:
        world.scheduler.stop()

    world = World(on_wake=on_wake)
    world.add()
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing")]
    assert world.calendar.closed
    assert world.scheduler.status().lifecycle == "stopped"


@pytest.mark.parametrize("where", ["lister", "log", "heartbeat", "update"])
def test_stop_may_be_called_from_inside_any_callback(where: str) -> None:
    world = World()

    def stop(*_args: object) -> None:
        world.scheduler.stop()

    class Stopping(RecordingHost):
        def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
            stop()

    def lister() -> list[Agent]:
        stop()
        return [Agent(id="dev")]

    if where == "lister":
        world = World(lister=lister)
    elif where == "log":
        world = World(host=Stopping())
    elif where == "heartbeat":
        world.calendar.before_heartbeat = stop
    else:
        world.calendar.before_update = stop
    world.add()
    world.scheduler.tick()
    assert world.calendar.closed
    assert world.scheduler.status().lifecycle == "stopped"


def test_a_transport_that_cannot_close_does_not_keep_the_scheduler_from_ending() -> None:
    class Stuck(Layer):
        def close(self) -> None:
            raise TransportError("stuck")

    world = World(wrap=Stuck)
    world.scheduler.stop()
    assert world.scheduler.status().lifecycle == "stopped"
    assert world.scheduler.status().scheduler_errors["close"].message == "stuck"


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), "1", None])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout: float) -> None:
    world = World()
    with pytest.raises(ConfigurationError, match="timeout"):
        world.scheduler.stop(timeout)
    world.scheduler.stop(0)


def test_heartbeats_that_the_end_cuts_short_are_no_faults() -> None:
    world = World()

    def cut(_agent: str) -> None:
        world.scheduler.request_stop()
        raise TransportError("closed under me")

    world.calendar.before_heartbeat = cut
    world.scheduler.tick()
    assert not world.scheduler.status().last_errors


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_copy_is_inert_and_says_so() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told = []
        for call in (
            lambda: world.scheduler.complete("dev"),
            world.scheduler.tick,
            world.scheduler.start,
        ):
            try:
                call()
            except LifecycleError as error:
                told.append("belongs to process" in str(error))
        world.scheduler.stop()
        told.append(world.scheduler.status().lifecycle == "forked")
        told.append(not world.scheduler.status().enabled)
        told.append(world.scheduler.explain("dev") == ())
        told.append(world.scheduler.single_active_agent_id() == "")
        told.append(not world.calendar.closed)
        os.write(writer, b"ok" if told == [True] * 8 else repr(told).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1000) == b"ok"
    os.close(reader)
    os.close(writer)
    world.scheduler.complete("dev")
