"""Mishaps that meet: each of these once cost a wake, a completion or the loop."""

import datetime as dt
import signal
import threading
from collections.abc import Callable, Iterable, Mapping

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    CalendarUnavailableError,
    Heartbeat,
    NotSentError,
    Scheduler,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    Task,
    ThreadRunner,
    TransportError,
    TransportTimeoutError,
    UpdateReceipt,
    UpdateRefusedError,
    WakeRequest,
)
from harborcal.clock import Timer
from harborcal.testing import FakeClock, RecordingHost
from tests.scheduler.test_settlement import Layer, scripted_world
from tests.world import World, threaded

PATIENCE = 10.0


def test_a_queued_wake_is_not_entered_once_its_slot_is_settled() -> None:
    entered, go = threading.Event(), threading.Event()

    def on_wake(wake: WakeRequest) -> None:
        if wake.agent_id == "a":
            entered.set()
            go.wait(PATIENCE)

    world = threaded("a", "b", on_wake=on_wake, config=SchedulerConfig(max_wakes=1, wake_wait=0.01, seed=1))
    world.add("a", id=1)
    world.scheduler.tick()
    assert entered.wait(PATIENCE)
    world.add("b", id=2)
    world.scheduler.tick()
    world.scheduler.abort("b", "changed my mind")
    world.add("b", id=3)
    world.scheduler.tick()
    go.set()
    assert world.host.wait_for_wakes(2)
    world.scheduler.stop()
    assert world.host.woken == [("a", "1"), ("b", "3")]


@pytest.mark.parametrize("applied", [True, False])
def test_a_completion_whose_answer_was_lost_inside_the_wake_is_not_followed_by_another_status(applied: bool) -> None:
    def on_wake(wake: WakeRequest) -> None:
        if wake.attempt > 1:
            return
        wake.report.renew()
        armed.append(None)
        wake.report.complete("done")  # raises, and the host lets it escape

    class Lossy(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if armed and update.status is SlotStatus.FINISHED:
                armed.clear()
                if applied:
                    super().update_slot(agent_id, slot, update)
                raise TransportTimeoutError("lost")
            return super().update_slot(agent_id, slot, update)

    armed: list[None] = []
    world = World(on_wake=on_wake, wrap=Lossy)
    key = world.add()
    for _ in range(3):
        world.clock.advance(60)
        world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert ("dev", "deferred") not in world.sent
    world.scheduler.complete("dev", "done, once more")
    assert world.state(key) is SlotStatus.FINISHED
    assert world.scheduler.status().history[-1].status == "finished"


def test_an_agent_that_left_after_a_lost_completion_has_that_sent_again_not_a_deferral() -> None:
    world = World("a", "b")
    key = world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    world.calendar.fail_next(TransportTimeoutError("lost"), on="update")
    with pytest.raises(TransportTimeoutError):
        world.scheduler.complete("a", "done")
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(200)
    assert world.state(key) is SlotStatus.FINISHED
    assert world.sent == [("a", "ongoing"), ("a", "finished")]


class Fragile(FakeClock):
    """Fails to start a timer when told to."""

    fails = 0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:  # type: ignore[override]
        if self.fails:
            self.fails -= 1
            raise RuntimeError("can't start new thread")
        return super().call_later(delay, callback)


def test_a_timer_that_could_not_be_started_leaves_the_one_that_waits_in_force() -> None:
    clock = Fragile()
    world = World(clock=clock)
    world.scheduler.start()
    clock.advance(10)
    world.agents.append(Agent(id="new"))
    world.calendar.add_agent("new")
    clock.fails = 1
    world.scheduler.tick()
    before = len(world.calendar.heartbeats)
    clock.advance(3600)
    assert len(world.calendar.heartbeats) - before >= 2 * 119


@pytest.mark.parametrize("odd", ["120", float("nan"), float("inf"), None, object()])
def test_a_retry_after_that_is_no_number_counts_as_none(odd: float) -> None:
    world = World()
    world.calendar.fail_next(CalendarUnavailableError("busy", 503, odd))
    world.scheduler.start()
    world.clock.advance(61)
    assert world.scheduler.status().last_heartbeats


def test_a_success_ends_the_wait_that_a_failure_had_begun() -> None:
    world = World()
    world.calendar.fail_next(CalendarUnavailableError("come back in an hour", 503, 3600.0))
    world.scheduler.start()
    world.clock.advance(1)
    world.scheduler.tick()
    before = len(world.calendar.heartbeats)
    world.clock.advance(120)
    assert len(world.calendar.heartbeats) - before == 4


def test_an_interrupted_wait_for_a_slots_lane_does_not_close_the_lane() -> None:
    """Ctrl-C while one call waits for another."""
    reached, go = threading.Event(), threading.Event()
    world = threaded()
    key = world.add()
    world.scheduler.tick()

    def hold(_agent: str, _slot: SlotKey, update: SlotUpdate) -> None:
        if update.status is SlotStatus.PAUSED:
            reached.set()
            go.wait(PATIENCE)

    world.calendar.before_update = hold
    pausing = threading.Thread(target=lambda: world.scheduler.pause("dev"))
    pausing.start()
    assert reached.wait(PATIENCE)

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    me = threading.get_ident()
    before = signal.signal(signal.SIGUSR2, interrupt)
    try:
        threading.Timer(0.1, lambda: signal.pthread_kill(me, signal.SIGUSR2)).start()
        with pytest.raises(KeyboardInterrupt):
            world.scheduler.complete("dev")
    finally:
        signal.signal(signal.SIGUSR2, before)
    go.set()
    pausing.join(PATIENCE)
    world.scheduler.complete("dev", "after the interruption")
    assert world.state(key) is SlotStatus.FINISHED


def test_an_agent_that_is_back_keeps_its_slot_though_its_leaving_had_begun() -> None:
    world = World("a", "b", "c")
    keys = [world.add(name) for name in ("a", "b")]
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="c")]

    def come_back(agent: str, _slot: SlotKey, update: SlotUpdate) -> None:
        if agent == "a" and update.status is SlotStatus.DEFERRED:
            world.agents[:] = [Agent(id="b"), Agent(id="c")]
            world.scheduler.tick()

    world.calendar.before_update = come_back
    world.clock.advance(180)
    assert [world.state(key) for key in keys] == [SlotStatus.DEFERRED, SlotStatus.ONGOING]
    assert [active.agent_id for active in world.scheduler.status().active] == ["b"]


@pytest.mark.parametrize("interval", [30, 300])
def test_grace_counts_from_the_first_list_that_leaves_an_agent_out(interval: float) -> None:
    answers: list[object] = []

    def lister() -> list[Agent]:
        if answers:
            raise RuntimeError("no list today")
        return world.agents

    world = World(lister=lister, config=SchedulerConfig(heartbeat_interval=interval, seed=1))
    world.agents = [Agent(id="dev")]
    key = world.add()
    world.scheduler.start()
    world.clock.advance(0)
    answers.append(None)
    world.clock.advance(interval * 6)
    answers.clear()
    world.agents = []
    world.clock.advance(interval)
    assert world.state(key) is SlotStatus.ONGOING
    world.clock.advance(interval + 120)
    assert world.state(key) is SlotStatus.DEFERRED


def test_any_other_error_of_a_transport_is_a_transport_error_also_when_it_is_one_of_ours() -> None:
    class Picky(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if update.status in {SlotStatus.FINISHED, SlotStatus.DEFERRED}:
                raise ValueError("not today") from None
            return super().update_slot(agent_id, slot, update)

    world = World("a", "b", wrap=Picky)
    world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    with pytest.raises(TransportError, match="not today"):
        world.scheduler.complete("a")
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(300)
    assert world.scheduler.status().problems["a"]["update"].count > 1, "tried again, and nothing has died of it"
    assert list(world.scheduler.status().last_heartbeats) == ["a", "b"]


def test_an_answer_to_an_update_that_is_no_receipt_is_a_transport_error() -> None:
    class Mute(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            super().update_slot(agent_id, slot, update)
            return None  # type: ignore[return-value]

    world = World(wrap=Mute)
    world.add()
    world.scheduler.tick()
    with pytest.raises(TransportError, match="answered with a NoneType"):
        world.scheduler.complete("dev")


def test_work_under_way_without_an_id_costs_its_neighbours_nothing() -> None:
    world, layer = scripted_world()
    world.add(id=2)
    layer.listed = (Slot(status=SlotStatus.ONGOING), Slot(id=2))
    world.scheduler.tick()
    assert world.host.woken == [("dev", "2")]


def test_a_plans_slot_that_was_cancelled_under_its_real_id_settles_the_virtual_one_that_is_active() -> None:
    world, layer = scripted_world()
    world.calendar.add_virtual_slot("dev", 3, dt.date(2026, 1, 5))
    world.calendar.fail_next(TransportError("down"), times=5, on="update")
    world.scheduler.tick()
    layer.listed = (Slot(id=9, plan_id=3, date=dt.date(2026, 1, 5), status=SlotStatus.SKIPPED),)
    world.scheduler.tick()
    assert world.scheduler.status().history[-1].status == "skipped"


@pytest.mark.parametrize("lost", [NotSentError("refused"), CalendarUnavailableError("busy", 429)])
def test_a_conflict_after_an_update_that_surely_did_not_arrive_is_no_success(lost: TransportError) -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    world.calendar.fail_next(lost, on="update")
    with pytest.raises(TransportError):
        world.scheduler.complete("dev")
    layer.refusal = CalendarRefusedError(409, "past dates are immutable")
    with pytest.raises(UpdateRefusedError):
        world.scheduler.complete("dev")
    assert world.scheduler.status().history[-1].status == "aborted"


def test_an_agent_that_neither_the_lister_nor_the_calendar_knows_is_forgotten() -> None:
    world = World("a", "b")
    world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.calendar.remove_agent("a")
    world.clock.advance(200)
    status = world.scheduler.status()
    assert not status.active
    assert status.history[-1].reason == "agent not listed for 120 s"
    assert "a" not in status.problems


def test_a_jump_of_the_clock_does_not_touch_what_began_after_it() -> None:
    world = World()
    world.scheduler.start()
    world.clock.advance(10)
    world.clock.jump(7200)
    world.add()
    world.scheduler.tick()
    world.clock.advance(11 * 60)
    world.scheduler.complete("dev")
    assert world.calendar.updates[-1].update.actual_duration == 11


def test_a_wake_for_an_agent_that_left_during_its_heartbeat_is_not_made() -> None:
    entered, go, listed_again = threading.Event(), threading.Event(), threading.Event()

    def hold(agent: str) -> None:
        if agent == "a":
            entered.set()
            go.wait(PATIENCE)
        elif entered.is_set():
            listed_again.set()

    world = threaded("a", "b", config=SchedulerConfig(seed=1))
    world.add("a")
    world.calendar.before_heartbeat = hold
    world.scheduler.start()
    world.clock.advance(0)
    assert entered.wait(PATIENCE)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(30)
    assert listed_again.wait(PATIENCE)
    go.set()
    world.scheduler.stop()
    assert not world.host.wakes
    assert not world.scheduler.status().active


def test_a_close_that_hangs_does_not_keep_stop_from_returning() -> None:
    go = threading.Event()

    class Stuck(Layer):
        def close(self) -> None:
            go.wait(PATIENCE)

    world = threaded(wrap=Stuck)
    world.scheduler.stop(timeout=0.01)
    status = world.scheduler.status()
    go.set()
    assert status.lifecycle == "stopped"
    assert "has not returned" in status.scheduler_errors["close"].message


def test_a_close_that_stops_the_scheduler_does_not_wait_for_itself() -> None:
    class Eager(Layer):
        def close(self) -> None:
            world.scheduler.stop()
            super().close()

    world = threaded(wrap=Eager)
    world.scheduler.stop()
    assert world.calendar.closed


def test_a_stop_from_inside_an_update_ends_without_waiting_for_that_very_update() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.calendar.before_update = lambda *_: world.scheduler.stop(timeout=3600)
    world.scheduler.complete("dev")
    assert world.scheduler.status().lifecycle == "stopped"
    assert world.calendar.closed


def test_a_clock_that_asks_for_the_status_does_not_deadlock() -> None:
    class Curious(FakeClock):
        scheduler: Scheduler | None = None

        def monotonic(self) -> float:
            scheduler, self.scheduler = self.scheduler, None
            if scheduler is not None:
                scheduler.status()
                self.scheduler = scheduler
            return super().monotonic()

    clock = Curious()
    world = World(clock=clock)
    clock.scheduler = world.scheduler
    world.add()
    world.scheduler.tick()
    world.scheduler.start()
    clock.advance(60)
    world.scheduler.complete("dev")
    assert world.sent[-1] == ("dev", "finished")


def test_a_log_that_hangs_costs_a_tick_its_patience_once() -> None:
    go = threading.Event()

    class Blocked(RecordingHost):
        def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
            go.wait(PATIENCE)

    waits: list[float] = []

    class Watched(ThreadRunner):
        def wait(self, tasks: Iterable[Task], timeout: float) -> float:
            left = super().wait(tasks, timeout)
            waits.append(left)
            return left

    world = World(host=Blocked(), runner=Watched(), config=SchedulerConfig(wake_wait=0.02, seed=1))
    for _ in range(4):
        world.scheduler.tick()
    go.set()
    assert sum(left <= 0 for left in waits) == 1


def test_a_lister_that_hung_once_is_asked_again() -> None:
    go, hung = threading.Event(), threading.Event()

    def lister() -> list[Agent]:
        if not hung.is_set():
            hung.set()
            go.wait(PATIENCE)
        return [Agent(id="dev")]

    world = threaded(lister=lister, config=SchedulerConfig(lister_timeout=5.0, seed=1))
    world.scheduler.start()
    world.clock.advance(0)
    assert hung.wait(PATIENCE)
    world.clock.advance(300)
    assert world.scheduler.status().abandoned_threads == 1
    assert world.scheduler.tick().agents == ("dev",)
    go.set()


def test_an_interval_too_short_to_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        SchedulerConfig(heartbeat_interval=1e-300)


def test_a_tick_from_inside_an_update_waits_for_no_heartbeat_that_may_wait_for_the_update() -> None:
    ticked = threading.Event()

    class Knotted(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            if pausing.is_set():
                pausing.clear()
                world.scheduler.complete("dev")
            return super().heartbeat(agent_id)

        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if update.status is SlotStatus.PAUSED:
                pausing.set()
                world.scheduler.tick()
                ticked.set()
            return super().update_slot(agent_id, slot, update)

    pausing = threading.Event()
    world = threaded(wrap=Knotted)
    world.add()
    world.scheduler.tick()
    thread = threading.Thread(target=lambda: world.scheduler.pause("dev"))
    thread.start()
    assert ticked.wait(PATIENCE)
    thread.join(PATIENCE)
    world.scheduler.stop()


@pytest.mark.parametrize("error", [SystemExit("no more"), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_transport_raises_at_an_update_the_agent_goes_on(error: BaseException) -> None:
    faults: list[BaseException] = []

    class Wild(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if faults:
                raise faults[0]
            return super().update_slot(agent_id, slot, update)

    world = World(wrap=Wild)
    key = world.add(id=1)
    faults.append(error)
    for _ in range(3):  # the ongoing of the wake, then its repetitions
        world.scheduler.tick()
    assert world.scheduler.status().active[0].unsent == "ongoing"
    assert world.scheduler.status().last_heartbeats
    faults.clear()
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.ONGOING


def test_whatever_a_transport_raises_at_a_giving_back_it_is_tried_again() -> None:
    faults: list[BaseException] = []

    def on_wake(wake: WakeRequest) -> None:
        wake.report.pause()
        faults.append(SystemExit("no more"))
        raise RuntimeError("after all")

    class Wild(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if faults:
                raise faults.pop()
            return super().update_slot(agent_id, slot, update)

    world = World(on_wake=on_wake, wrap=Wild)
    key = world.add()
    world.scheduler.tick()
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.DEFERRED


def test_whatever_a_transport_raises_at_a_repetition_of_the_last_word_the_agent_gets_its_next_slot() -> None:
    class Wild(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            answer = super().heartbeat(agent_id)
            return Heartbeat(slots=(*stale, *answer.slots))

        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if stale and update.status is SlotStatus.FINISHED:
                raise SystemExit("no more")
            return super().update_slot(agent_id, slot, update)

    stale: list[Slot] = []
    world = World(wrap=Wild)
    world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    stale.append(Slot(id=1, status=SlotStatus.ONGOING))
    world.add(id=2)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "1"), ("dev", "2")]


def test_a_wake_that_fails_after_its_agent_has_reported_backs_off_like_any_other() -> None:
    def on_wake(wake: WakeRequest) -> None:
        wake.report.pause()
        raise RuntimeError("after all")

    world = World(on_wake=on_wake)
    world.add(id=1)
    for _ in range(6):
        world.scheduler.tick()
    assert [wake.attempt for wake in world.host.wakes] == [1, 2]
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.count, entry.reason) == ("aborted", 2, "wake failed: after all")


def test_a_locked_slot_that_was_given_back_is_over_also_for_an_answer_that_still_lists_it() -> None:
    class Stale(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            answer = super().heartbeat(agent_id)
            return Heartbeat(slots=tuple(listed)) if listed else answer

    def on_wake(wake: WakeRequest) -> None:
        wake.report.pause()
        raise RuntimeError("after all")

    listed: list[Slot] = []
    world = World(on_wake=on_wake, wrap=Stale)
    key = world.add(id=1, is_admin_locked=True)
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.ABORTED
    listed.append(Slot(id=1, status=SlotStatus.PAUSED, is_admin_locked=True))
    world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert not world.scheduler.status().active, "not taken up: its last update is sent again instead"
    assert world.sent == [("dev", "ongoing"), ("dev", "paused"), ("dev", "aborted"), ("dev", "aborted")]


@pytest.mark.singly
def test_heartbeats_that_no_thread_is_left_for_are_told_as_faults() -> None:
    go = threading.Event()
    entered = threading.Semaphore(0)

    def hang(_agent: str) -> None:
        entered.release()
        go.wait(PATIENCE)

    settings = SchedulerConfig(heartbeat_timeout=20, heartbeat_interval=3600, max_heartbeats=1, max_abandoned=1, seed=1)
    world = threaded("a", "b", "c", config=settings)
    world.calendar.before_heartbeat = hang
    world.scheduler.start()
    world.clock.advance(0)
    assert entered.acquire(timeout=PATIENCE)
    world.clock.advance(20)
    assert entered.acquire(timeout=PATIENCE)
    world.clock.advance(20)
    errors = {agent: problem.message for agent, problem in world.scheduler.status().last_errors.items()}
    go.set()
    assert errors["c"] == "heartbeat has no thread left to run on"
