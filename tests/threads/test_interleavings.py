"""Calls that meet: complete twice, complete against abort, callbacks that call back, stops at bad moments."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harborcal import (
    Agent,
    HarborcalError,
    Journal,
    LifecycleError,
    NoActiveSlotError,
    OutboxTransport,
    Scheduler,
    SchedulerConfig,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    TransportTimeoutError,
    UpdateReceipt,
    WakeRequest,
)
from harborcal.journal import AttemptState
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost
from harborcal.transport import Transport
from tests.campaigns.storage_acts import attempt_at
from tests.scheduler.test_settlement import Layer
from tests.world import World, threaded

PATIENCE = 10.0


class Gate:
    """Holds up updates of one status until it is opened."""

    def __init__(self, world: World, status: SlotStatus) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self._status = status
        world.calendar.before_update = self._pass

    def _pass(self, _agent: str, _slot: SlotKey, update: SlotUpdate) -> None:
        if update.status is self._status:
            self.reached.set()
            assert self.open.wait(PATIENCE)


def call(function: Callable[[], object]) -> tuple[threading.Thread, list[BaseException | None]]:
    """Run something in a thread of its own; its end is told in the list."""
    ends: list[BaseException | None] = []

    def run() -> None:
        try:
            function()
        except HarborcalError as error:
            ends.append(error)
        else:
            ends.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends


def waits_for(thread: threading.Thread) -> None:
    """Give a thread the time to come to its waiting point; it must not end before."""
    thread.join(0.05)
    assert thread.is_alive()


@pytest.mark.parametrize("second", ["complete", "abort"])
def test_of_two_terminal_calls_at_once_the_second_waits_and_finds_no_slot(second: str) -> None:
    world = threaded()
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.FINISHED)
    first, first_ends = call(lambda: world.scheduler.complete("dev", "first"))
    assert gate.reached.wait(PATIENCE)
    other, other_ends = call(lambda: getattr(world.scheduler, second)("dev", "second"))
    waits_for(other)
    gate.open.set()
    first.join(PATIENCE)
    other.join(PATIENCE)
    assert first_ends == [None]
    assert isinstance(other_ends[0], NoActiveSlotError)
    assert [status for _, status in world.sent] == ["ongoing", "finished"]
    [entry] = world.scheduler.status().history
    assert entry.summary == "first"


def test_the_second_of_two_terminal_calls_takes_over_when_the_first_fails() -> None:
    world = threaded()
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.FINISHED)
    world.calendar.fail_next(TransportTimeoutError("lost"), on="update")
    first, first_ends = call(lambda: world.scheduler.complete("dev"))
    assert gate.reached.wait(PATIENCE)
    second, second_ends = call(lambda: world.scheduler.abort("dev", "plan b"))
    waits_for(second)
    gate.open.set()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert isinstance(first_ends[0], TransportTimeoutError)
    assert second_ends == [None]
    assert world.scheduler.status().history[0].status == "aborted"


def test_a_call_that_began_while_one_slot_was_active_never_settles_the_next() -> None:
    world = threaded()
    world.add(id=1)
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.FINISHED)
    first, _ = call(lambda: world.scheduler.complete("dev"))
    assert gate.reached.wait(PATIENCE)
    late, late_ends = call(lambda: world.scheduler.complete("dev", "late"))
    waits_for(late)
    world.add(id=2)
    gate.open.set()
    first.join(PATIENCE)
    world.scheduler.tick()
    late.join(PATIENCE)
    assert isinstance(late_ends[0], NoActiveSlotError)
    assert [active.ident for active in world.scheduler.status().active] == ["2"]


def test_updates_of_one_slot_leave_in_the_order_in_which_they_were_accepted() -> None:
    world = threaded()
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.PAUSED)
    pause, _ = call(lambda: world.scheduler.pause("dev"))
    assert gate.reached.wait(PATIENCE)
    resume, _ = call(lambda: world.scheduler.resume("dev"))
    waits_for(resume)
    complete, _ = call(lambda: world.scheduler.complete("dev"))
    waits_for(complete)
    gate.open.set()
    for thread in (pause, resume, complete):
        thread.join(PATIENCE)
    assert [status for _, status in world.sent] == ["ongoing", "paused", "ongoing", "finished"]


def test_a_complete_that_meets_the_ongoing_of_its_wake_goes_out_after_it() -> None:
    world = threaded(config=SchedulerConfig(wake_wait=0.01))
    gate = Gate(world, SlotStatus.ONGOING)
    world.add()
    world.scheduler.tick()
    assert gate.reached.wait(PATIENCE)
    complete, ends = call(lambda: world.scheduler.complete("dev"))
    waits_for(complete)
    gate.open.set()
    complete.join(PATIENCE)
    assert ends == [None]
    assert [status for _, status in world.sent] == ["ongoing", "finished"]


def test_two_slots_whose_updates_call_for_each_other_end_in_an_error_not_in_a_deadlock() -> None:
    errors: list[HarborcalError] = []
    both = threading.Barrier(2, timeout=PATIENCE)
    other = {"a": "b", "b": "a"}

    class Crossing(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if update.status is SlotStatus.PAUSED:
                both.wait()
                try:
                    world.scheduler.renew(other[agent_id])
                    world.scheduler.complete(other[agent_id])
                except HarborcalError as error:
                    errors.append(error)
            return super().update_slot(agent_id, slot, update)

    world = threaded("a", "b", wrap=Crossing)
    world.add("a")
    world.add("b")
    world.scheduler.tick()
    threads = [call(lambda name=name: world.scheduler.pause(name))[0] for name in ("a", "b")]  # type: ignore[misc]
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert any(isinstance(error, LifecycleError) for error in errors)


@pytest.mark.parametrize("verb", ["complete", "abort", "pause", "status", "tick", "stop"])
def test_a_wake_may_call_back_anything_and_the_other_agents_go_on(verb: str) -> None:
    def on_wake(wake: WakeRequest) -> None:
        if wake.agent_id == "a":
            if verb in {"status", "tick", "stop"}:
                getattr(world.scheduler, verb)()
            else:
                getattr(world.scheduler, verb)("a")
            called.set()

    called = threading.Event()
    world = threaded("a", "b", on_wake=on_wake)
    world.add("a")
    world.add("b")
    world.scheduler.tick()
    assert called.wait(PATIENCE)
    if verb == "stop":
        world.scheduler.stop()
        assert world.scheduler.status().lifecycle == "stopped"
    else:
        assert ("b", "ongoing") in world.sent
    terminal = [index for index, item in enumerate(world.sent) if item[0] == "a" and item[1] in {"finished", "aborted"}]
    assert all(item[0] != "a" for index in terminal for item in world.sent[index + 1 :])


@pytest.mark.singly
@pytest.mark.parametrize("where", ["before_heartbeat", "lister"])
def test_a_tick_from_inside_a_heartbeat_or_the_lister_waits_for_nothing(where: str) -> None:
    reports: list[object] = []

    def tick(*_args: object) -> None:
        if not reports:
            reports.append(None)
            reports[0] = world.scheduler.tick()

    def lister() -> list[Agent]:
        if where == "lister":
            tick()
        return [Agent(id="dev")]

    world = threaded("dev", lister=lister)
    if where == "before_heartbeat":
        world.calendar.before_heartbeat = tick
    world.scheduler.tick()
    assert reports[0] is not None


def test_thousands_of_calls_from_many_threads_settle_each_slot_once() -> None:
    world = threaded("a", "b", "c", config=SchedulerConfig(history_size=10_000, seed=1))
    rounds = 60
    stop = threading.Event()
    surprises: list[BaseException] = []

    def hammer(agent_id: str, verb: str) -> None:
        while not stop.is_set():
            try:
                getattr(world.scheduler, verb)(agent_id)
            except NoActiveSlotError:
                stop.wait(0.0005)
            except BaseException as error:
                surprises.append(error)
                return

    threads = [
        threading.Thread(target=hammer, args=(agent_id, verb))
        for agent_id in ("a", "b", "c")
        for verb in ("complete", "abort", "pause", "resume")
    ]
    for thread in threads:
        thread.start()
    for _ in range(rounds):
        for agent_id in ("a", "b", "c"):
            world.add(agent_id)
        world.scheduler.tick()
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not surprises
    settled = [entry.key for entry in world.scheduler.status().history]
    assert len(settled) == len(set(settled))
    by_slot: dict[SlotKey, list[SlotStatus]] = {}
    for _, key, update in world.calendar.updates:
        by_slot.setdefault(key, []).append(update.status)
    for statuses in by_slot.values():
        assert not any(status.is_terminal for status in statuses[:-1])
        assert len(world.host.wakes) == len({wake.slot.key for wake in world.host.wakes})


# --- the end --------------------------------------------------------------------------------------------------------


def test_stop_waits_for_what_is_under_way_and_then_closes() -> None:
    world = threaded(config=SchedulerConfig(wake_wait=0.01))
    gate = Gate(world, SlotStatus.ONGOING)
    world.add()
    world.scheduler.tick()
    assert gate.reached.wait(PATIENCE)
    stopping, _ = call(world.scheduler.stop)
    again, _ = call(world.scheduler.stop)
    waits_for(stopping)
    waits_for(again)
    assert world.scheduler.status().lifecycle == "stopping"
    gate.open.set()
    stopping.join(PATIENCE)
    again.join(PATIENCE)
    assert world.calendar.closed
    assert world.sent == [("dev", "ongoing")]


def test_stop_waits_for_a_report_that_is_under_way() -> None:
    world = threaded()
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.FINISHED)
    complete, ends = call(lambda: world.scheduler.complete("dev"))
    assert gate.reached.wait(PATIENCE)
    stopping, _ = call(world.scheduler.stop)
    waits_for(stopping)
    gate.open.set()
    complete.join(PATIENCE)
    stopping.join(PATIENCE)
    assert ends == [None]
    assert world.scheduler.status().history[0].status == "finished"


def test_stop_does_not_wait_longer_than_it_was_told() -> None:
    world = threaded(config=SchedulerConfig(wake_wait=0.01))
    gate = Gate(world, SlotStatus.ONGOING)
    world.add()
    world.scheduler.tick()
    assert gate.reached.wait(PATIENCE)
    world.scheduler.stop(timeout=0.05)
    assert world.calendar.closed
    gate.open.set()


def test_wakes_that_were_queued_and_not_entered_are_undone_by_the_end() -> None:
    entered, leave = threading.Event(), threading.Event()

    def on_wake(wake: WakeRequest) -> None:
        entered.set()
        leave.wait(PATIENCE)

    world = threaded("a", "b", on_wake=on_wake, config=SchedulerConfig(max_wakes=1, wake_wait=0.01))
    world.add("a")
    world.add("b")
    world.scheduler.tick()
    assert entered.wait(PATIENCE)
    assert len(world.scheduler.status().active) == 2
    world.scheduler.stop(timeout=0.01)
    assert len(world.scheduler.status().active) == 1
    leave.set()


def test_a_report_stops_a_repeated_wake_that_is_queued(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "journal"
    entered, leave, last = threading.Event(), threading.Event(), threading.Event()

    def left_behind(calendar: InMemoryCalendar) -> Transport:
        """Make what a process left that was killed while it woke two agents."""
        with contextlib.closing(Journal(path, clock=clock)) as journal:
            for name in ("a", "b"):
                slot = calendar.slot(calendar.add_slot(name))
                assert journal.enter(journal.open_attempt(attempt_at(slot, name)).id)
        return OutboxTransport(calendar, Journal(path, clock=clock), clock=clock, runner=CallerRunner())

    def on_wake(wake: WakeRequest) -> None:
        entered.set()
        leave.wait(PATIENCE)
        if wake.agent_id == "c":
            last.set()

    config = SchedulerConfig(max_wakes=1, wake_wait=0.01, on_unknown="repeat")
    world = threaded("a", "b", "c", on_wake=on_wake, wrap=left_behind, clock=clock, config=config)
    world.scheduler.tick()
    assert entered.wait(PATIENCE)
    (woken,) = world.host.wakes
    queued = "a" if woken.agent_id == "b" else "b"
    world.scheduler.pause(queued, "lunch")
    world.add("c")
    world.scheduler.tick()  # its wake queues behind the other one
    leave.set()
    assert last.wait(PATIENCE)
    world.scheduler.stop()
    assert [wake.agent_id for wake in world.host.wakes] == [woken.agent_id, "c"]
    with contextlib.closing(Journal(path, clock=clock)) as journal:
        states = {attempt.agent_id: attempt.state for attempt in journal.attempts()}
    assert states == {woken.agent_id: AttemptState.ONGOING, queued: AttemptState.PAUSED, "c": AttemptState.ONGOING}


def test_run_returns_after_a_stop_was_requested_from_another_thread() -> None:
    calendar, host = InMemoryCalendar(agents=["dev"]), RecordingHost()
    scheduler = Scheduler(calendar, host, lambda: [Agent(id="dev")])
    running, ends = call(scheduler.run)
    assert host.wait_for_lines("calendar tick")
    scheduler.request_stop()
    running.join(PATIENCE)
    assert ends == [None]
    assert calendar.closed


def test_a_signal_handler_may_request_the_stop() -> None:
    calendar, host = InMemoryCalendar(agents=["dev"]), RecordingHost()
    scheduler = Scheduler(calendar, host, lambda: [Agent(id="dev")])
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: scheduler.request_stop())
    try:
        calendar.before_heartbeat = lambda _agent: os.kill(os.getpid(), signal.SIGUSR1)
        scheduler.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert scheduler.status().lifecycle == "stopped"


def test_a_process_that_never_stops_its_scheduler_still_exits() -> None:
    program = """
import harborcal, harborcal.testing as t
calendar = t.InMemoryCalendar(agents=["dev"])
host = t.RecordingHost()
scheduler = harborcal.Scheduler(calendar, host, lambda: [harborcal.Agent(id="dev")])
scheduler.start()
assert host.wait_for_lines("calendar heartbeat ok")
print("end of main")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        cwd=root,
    )
    assert done.stdout == "end of main\n"
    assert done.stderr == ""


def test_importing_starts_no_thread_and_opens_no_file() -> None:
    program = """
import sys, threading
opened = []
sys.addaudithook(lambda event, args: opened.append(args) if event == "open" and "w" in str(args[1]) else None)
import harborcal, harborcal.testing
assert threading.active_count() == 1, threading.enumerate()
assert not opened, opened
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-B", "-c", program], check=True, timeout=20, cwd=root)
