"""Guards that nothing else holds: each test fails when one check, one re-check or one line of tidying is dropped."""

import datetime as dt
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    CalendarUnavailableError,
    Heartbeat,
    LifecycleError,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    Task,
    ThreadRunner,
    TransportError,
    TransportTimeoutError,
    UnreadableSlot,
    UpdateReceipt,
    UpdateRefusedError,
    VerdictReason,
    WakeRequest,
)
from harborcal.grammar import clean
from harborcal.testing import FakeClock, InMemoryCalendar, RecordingHost
from tests.scheduler.test_exhaustion import Poor
from tests.scheduler.test_loop import beats_of
from tests.scheduler.test_settlement import Later, Layer, Scripted, scripted_world
from tests.threads.test_hanging import until
from tests.threads.test_interleavings import Gate, call, waits_for
from tests.world import World, threaded

DAY = dt.date(2026, 1, 5)
PATIENCE = 10.0


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """An event on which threads hang until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def patient(**options: float) -> SchedulerConfig:
    return SchedulerConfig(wake_wait=0.05, seed=1, **options)  # type: ignore[arg-type]


class Watched(ThreadRunner):
    """Remembers what was spawned, and which kind of thread waited for which kind of task."""

    def __init__(self) -> None:
        self.spawned: list[threading.Thread] = []
        self.waits: list[tuple[str, str]] = []

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        spawned = super().spawn(name, task)
        self.spawned.append(spawned.thread)  # type: ignore[attr-defined]
        return spawned

    def settle(self, world: World, hanging: list[str]) -> None:
        """Wait until every thread has ended but those that hang."""
        until(world, lambda: sum(thread.is_alive() for thread in self.spawned) == len(hanging))

    def pass_tick(self, world: World) -> None:
        """Let an interval pass, and wait until the lister's thread has done all that follows from its answer."""
        world.clock.advance(30)
        until(world, lambda: not any(thread.is_alive() for thread in self.named("lister")))

    def named(self, name: str) -> list[threading.Thread]:
        return [thread for thread in self.spawned if thread.name == f"harborcal-{name}"]

    def wait(self, tasks: Iterable[Task], timeout: float) -> float:
        awaited = list(tasks)
        me = threading.current_thread().name
        self.waits += [(me, task.thread.name) for task in awaited]  # type: ignore[attr-defined]
        return super().wait(awaited, timeout)


class Stale(Later):
    """Answers heartbeats with what was listed before something happened meanwhile; may deliver at once."""

    later = False

    def __init__(self, inner: InMemoryCalendar) -> None:
        super().__init__(inner)
        self.meanwhile: list[Callable[[], object]] = []
        self.listed: tuple[Slot, ...] | None = None

    def heartbeat(self, agent_id: str) -> Heartbeat:
        answer = super().heartbeat(agent_id) if self.listed is None else Heartbeat(slots=self.listed)
        while self.meanwhile:
            self.meanwhile.pop()()
        return answer

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        if self.later:
            return super().update_slot(agent_id, slot, update)
        return self.inner.update_slot(agent_id, slot, update)


def failures(world: World) -> list[int]:
    """How many failed wakes in a row each entry of the history tells."""
    return [entry.count for entry in world.scheduler.status().history if entry.reason.startswith("wake failed")]


def stale_world(*, later: bool = False) -> tuple[World, Stale]:
    layers: list[Stale] = []

    def wrap(calendar: InMemoryCalendar) -> Stale:
        layers.append(Stale(calendar))
        return layers[0]

    world = World(wrap=wrap)
    layers[0].later = later
    return world, layers[0]


def shared_world() -> tuple[World, Scripted]:
    """A second agent, ``ops``, and a calendar that lists to both what it is told to."""
    world, layer = scripted_world()
    world.agents.append(Agent(id="ops"))
    world.calendar.add_agent("ops")
    return world, layer


def attempts(world: World) -> list[tuple[str, int]]:
    return [(wake.slot.ident, wake.attempt) for wake in world.host.wakes]


# --- what failed before ---------------------------------------------------------------------------------------------


def test_a_failure_is_forgotten_once_its_slot_is_gone_though_others_are_listed() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"), times=2)
    key = world.add(id=1)
    world.scheduler.tick()
    world.calendar.cancel(key)
    world.add(id=2, **world.at(6000))
    world.clock.advance(1201)
    world.scheduler.tick()
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.scheduler.tick()
    assert attempts(world) == [("1", 1), ("1", 2)]
    assert failures(world) == [1, 1]


def test_failures_of_a_slot_that_is_being_woken_count_on_though_an_answer_leaves_it_out() -> None:
    def on_wake(wake: WakeRequest) -> None:
        if wake.attempt == 2:
            layer.listed = ()
            world.scheduler.tick()
            layer.listed = None
            raise RuntimeError("again")

    world, layer = scripted_world()
    world.host.on_wake = on_wake
    world.host.fail_next(RuntimeError("no"))
    world.add(id=1)
    for _ in range(3):
        world.scheduler.tick()
        world.clock.advance(60)
    assert attempts(world) == [("1", 1), ("1", 2), ("1", 3)]


def test_failures_are_forgotten_when_a_later_attempt_ends_from_inside_its_wake() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"))
    world.host.on_wake = lambda wake: wake.report.complete()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.tick()
    world.clock.advance(1)
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.host.fail_next(RuntimeError("no"))
    world.scheduler.tick()
    assert attempts(world) == [("1", 1), ("1", 2), ("1", 3)]
    assert failures(world) == [1, 1]


def test_failures_of_an_agent_that_is_gone_are_forgotten() -> None:
    world = World("a", "b")
    world.host.fail_next(RuntimeError("no"), times=2)
    world.add("a", id=1)
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(150)
    world.agents[:] = [Agent(id="a"), Agent(id="b")]
    world.clock.advance(30)
    assert attempts(world) == [("1", 1), ("1", 2)]
    assert failures(world) == [1, 1]


def test_failures_of_two_slots_are_counted_in_two_history_entries() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"), times=4)
    world.add(id=1, priority=9)
    world.add(id=2, priority=1)
    for _ in range(3):
        world.scheduler.tick()
    world.clock.advance(60)
    world.scheduler.tick()
    assert [(entry.ident, entry.count) for entry in world.scheduler.status().history] == [("2", 1), ("1", 3)]


def test_failures_of_one_slot_with_two_agents_are_counted_in_two_history_entries() -> None:
    world, layer = shared_world()
    world.host.fail_next(RuntimeError("no"), times=3)
    layer.listed = (Slot(id=1),)
    for name in ("dev", "ops", "dev"):
        world.agents[:] = [Agent(id=name)]
        world.scheduler.tick()
    history = world.scheduler.status().history
    assert [(entry.agent_id, entry.count) for entry in history] == [("ops", 1), ("dev", 2)]


def test_the_first_failure_of_a_slot_that_was_opened_again_leaves_its_earlier_end_in_the_history() -> None:
    world = World()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.clock.advance(1)
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.host.fail_next(RuntimeError("no"))
    world.scheduler.tick()
    assert [(entry.status, entry.count) for entry in world.scheduler.status().history] == [
        (SlotStatus.FINISHED, 1),
        (SlotStatus.ABORTED, 1),
    ]


def test_a_failed_wake_of_an_error_of_blanks_is_told_by_the_errors_type() -> None:
    world = World()
    world.host.fail_next(RuntimeError(" \n"))
    world.add()
    world.scheduler.tick()
    assert world.scheduler.status().history[0].reason == "wake failed: RuntimeError"


def test_a_slot_that_backs_off_is_taken_up_at_once_when_the_calendar_calls_it_ongoing() -> None:
    world, layer = scripted_world()
    world.host.fail_next(RuntimeError("no"), times=2)
    world.add(id=1)
    world.scheduler.tick()
    world.scheduler.tick()
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.TAKEN_UP


def test_a_wake_that_fails_after_a_report_whose_outcome_is_unknown_gives_the_slot_back() -> None:
    def on_wake(wake: WakeRequest) -> None:
        world.calendar.lose_next_answer()
        with pytest.raises(TransportTimeoutError):
            wake.report.pause()
        raise RuntimeError("after all")

    world = World(on_wake=on_wake)
    world.add()
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing"), ("dev", "deferred")]


# --- while a wake is under way --------------------------------------------------------------------------------------


def test_nothing_is_told_of_a_wake_before_it_has_worked() -> None:
    def on_wake(wake: WakeRequest) -> None:
        assert world.scheduler.status().active[0].unsent is None
        world.scheduler.tick()
        seen.append(list(world.sent))

    seen: list[object] = []
    world = World(on_wake=on_wake)
    world.add()
    world.scheduler.tick()
    assert seen == [[]]
    assert world.sent == [("dev", "ongoing")]


# --- settled slots --------------------------------------------------------------------------------------------------


def test_a_settled_slot_that_is_listed_as_over_is_called_over() -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.listed = (world.calendar.slot(key),)
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].detail == "the calendar calls it finished"


@pytest.mark.parametrize("listed", [SlotStatus.ONGOING, SlotStatus.PAUSED])
def test_the_terminal_update_of_a_settled_slot_that_is_listed_as_under_way_goes_out_twice(listed: SlotStatus) -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.listed = (Slot(id=1, status=listed),)
    world.scheduler.tick()
    assert [status for _, status in world.sent] == ["ongoing", "finished", "finished"]


def test_the_end_of_an_earlier_attempt_is_not_told_again_of_a_slot_that_was_opened_again() -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.clock.advance(1)
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.scheduler.tick()
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.scheduler.tick()
    assert [status for _, status in world.sent] == ["ongoing", "finished", "ongoing"]


def test_a_slot_that_was_given_back_and_is_listed_as_under_way_is_taken_up() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.start()
    world.clock.advance(0)
    gone, world.agents[:] = list(world.agents), []
    world.clock.advance(150)
    assert layer.tried == [SlotStatus.ONGOING, SlotStatus.DEFERRED]
    world.agents[:] = gone
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.clock.advance(30)
    assert layer.tried == [SlotStatus.ONGOING, SlotStatus.DEFERRED]
    assert world.scheduler.status().active[0].taken_up


def test_a_terminal_update_that_is_still_on_its_way_is_not_sent_beside_itself() -> None:
    world, layer = stale_world(later=True)
    world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    on_their_way = len(layer.kept)
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.scheduler.tick()
    assert len(layer.kept) == on_their_way


def test_an_answer_older_than_the_end_does_not_have_the_end_told_again() -> None:
    world, layer = stale_world()
    world.add(id=1)
    world.scheduler.tick()
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    layer.meanwhile.append(lambda: world.scheduler.complete("dev"))
    world.scheduler.tick()
    assert [status for _, status in world.sent] == ["ongoing", "finished"]


def test_an_answer_older_than_the_delivery_of_the_end_does_not_open_the_slot_again() -> None:
    world, layer = stale_world(later=True)
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.meanwhile.append(lambda: layer.deliver(key))
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED
    assert len(world.host.wakes) == 1


def test_an_answer_older_than_a_refusal_is_not_what_the_next_one_is_compared_with() -> None:
    def refuse() -> None:
        world.calendar.set_slot(key, priority=7)
        layer.refuse(key, CalendarRefusedError(422, "no such minute"))

    world, layer = stale_world(later=True)
    key = world.add(id=1, priority=5)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.meanwhile.append(refuse)
    for _ in range(3):
        world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert world.scheduler.explain("dev")[0].detail == "calendar refused (422): no such minute"


def test_a_virtual_slot_that_was_refused_stays_settled_when_it_becomes_real_unchanged() -> None:
    world, layer = scripted_world()
    virtual = Slot(virtual_id="plan-3-2026-01-05", plan_id=3, date=DAY)
    layer.listed = (virtual,)
    layer.refusal = CalendarRefusedError(422, "no")
    world.scheduler.tick()
    world.scheduler.tick()
    layer.listed = (Slot(id=9, plan_id=3, date=DAY),)
    world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED


# --- what the calendar is told of an active slot --------------------------------------------------------------------


def test_a_slot_that_was_taken_up_is_not_told_to_have_started() -> None:
    world, layer = scripted_world()
    world.add(id=1, status=SlotStatus.ONGOING)
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.scheduler.tick()
    world.scheduler.tick()
    world.scheduler.complete("dev")
    assert layer.tried == [SlotStatus.FINISHED]


def test_the_rest_of_a_slot_that_was_taken_up_paused_is_no_work() -> None:
    world, layer = scripted_world()
    world.add(id=1, status=SlotStatus.PAUSED)
    layer.listed = (Slot(id=1, status=SlotStatus.PAUSED, started_at=dt.time(8, 30), date=DAY),)
    world.scheduler.tick()
    assert world.scheduler.status().active[0].paused_at == world.clock.now()
    world.clock.advance(20 * 60)
    world.scheduler.resume("dev")
    world.scheduler.complete("dev")
    assert world.calendar.updates[-1].update.actual_duration == 30


def test_an_answer_older_than_an_update_does_not_have_it_told_again() -> None:
    world, layer = stale_world()
    key = world.add(id=1)
    world.scheduler.tick()
    layer.listed = (Slot(id=1),)
    layer.meanwhile.append(lambda: world.scheduler.pause("dev"))
    world.scheduler.tick()
    assert [status for _, status in world.sent] == ["ongoing", "paused"]
    assert world.state(key) is SlotStatus.PAUSED


def test_an_answer_older_than_the_delivery_of_an_update_does_not_have_it_told_again() -> None:
    world, layer = stale_world(later=True)
    key = world.add(id=1)
    world.scheduler.tick()
    layer.meanwhile.append(lambda: layer.deliver(key))
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing")]
    assert not layer.kept


def test_an_active_slot_that_is_listed_as_under_way_is_told_nothing() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.tick()
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.scheduler.tick()
    assert layer.tried == [SlotStatus.ONGOING]


def test_a_forgotten_start_is_told_again_once() -> None:
    world = World()
    key = world.add()
    world.scheduler.tick()
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing"), ("dev", "ongoing")]


def test_what_is_still_owed_of_a_forgotten_slot_is_not_dropped_when_it_is_forgotten_again() -> None:
    class LosesPauses(Layer):
        loses = False

        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if self.loses and update.status is SlotStatus.PAUSED:
                raise TransportError("down")
            return super().update_slot(agent_id, slot, update)

    layers: list[LosesPauses] = []

    def wrap(calendar: InMemoryCalendar) -> LosesPauses:
        layers.append(LosesPauses(calendar))
        return layers[0]

    world = World(wrap=wrap)
    key = world.add()
    world.scheduler.tick()
    world.scheduler.pause("dev")
    for loses in (True, False):
        layers[0].loses = loses
        world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
        world.scheduler.tick()
    assert world.state(key) is SlotStatus.PAUSED


def test_a_real_id_that_was_learnt_is_held_against_every_other_agent() -> None:
    world, layer = shared_world()
    world.calendar.add_virtual_slot("dev", 3, DAY)
    world.scheduler.tick()
    real = world.scheduler.status().active[0].key
    assert isinstance(real.id, int)
    layer.listed = (Slot(id=real.id),)
    world.scheduler.tick()
    assert world.scheduler.explain("ops")[0].reason is VerdictReason.TAKEN
    assert len(world.host.wakes) == 1


def test_a_receipt_that_comes_after_the_end_holds_no_slot() -> None:
    class Late(Later):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if slot.kind == "virtual":
                self.refuse(slot, CalendarRefusedError(410, "gone"))
            return UpdateReceipt(slot=SlotKey.real(9))

        def heartbeat(self, agent_id: str) -> Heartbeat:
            return Heartbeat(slots=tuple(listed))

    listed = [Slot(virtual_id="plan-3-2026-01-05")]
    world = World(wrap=Late)
    world.scheduler.tick()
    assert not world.scheduler.status().active
    listed[:] = [Slot(id=9)]
    world.scheduler.tick()
    assert world.host.woken == [("dev", "plan-3-2026-01-05"), ("dev", "9")]


@pytest.mark.parametrize("lost", ["pause", "abort"])
def test_a_conflict_is_no_success_when_it_was_another_update_whose_outcome_is_unknown(lost: str) -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    world.calendar.fail_next(TransportError("down"), on="update")
    with pytest.raises(TransportError):
        getattr(world.scheduler, lost)("dev")
    layer.refusal = CalendarRefusedError(409, "conflict")
    with pytest.raises(UpdateRefusedError):
        world.scheduler.complete("dev")


def test_a_conflict_is_no_success_once_the_calendar_has_taken_something_else_since() -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    world.calendar.fail_next(TransportError("down"), on="update")
    with pytest.raises(TransportError):
        world.scheduler.complete("dev")
    world.scheduler.pause("dev")
    layer.refusal = CalendarRefusedError(409, "conflict")
    with pytest.raises(UpdateRefusedError):
        world.scheduler.complete("dev")


def test_a_clock_that_was_set_back_during_a_pause_makes_nothing_of_it_work() -> None:
    world = World()
    world.add()
    world.scheduler.start()
    world.clock.advance(605)
    world.scheduler.pause("dev")
    world.clock.jump(-7200)
    world.scheduler.resume("dev")
    world.clock.advance(600)
    world.scheduler.complete("dev")
    assert world.calendar.updates[-1].update.actual_duration == 20


# --- answers --------------------------------------------------------------------------------------------------------


def test_another_slot_that_is_listed_as_over_does_not_end_the_active_one() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.tick()
    layer.listed = (Slot(id=2, status=SlotStatus.FINISHED), Slot(id=1, status=SlotStatus.ONGOING))
    world.scheduler.tick()
    assert [active.ident for active in world.scheduler.status().active] == ["1"]


def test_a_stop_that_is_requested_during_a_heartbeat_keeps_its_answer_from_being_acted_on() -> None:
    world, layer = scripted_world()
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.calendar.before_heartbeat = lambda _agent: world.scheduler.request_stop()
    world.scheduler.tick()
    assert not world.scheduler.status().active


def test_heartbeats_that_were_queued_when_the_stop_was_requested_are_not_made() -> None:
    world = World("a", "b")
    world.calendar.before_heartbeat = lambda _agent: world.scheduler.request_stop()
    world.scheduler.tick()
    assert world.calendar.heartbeats == ["a"]
    assert world.scheduler.status().heartbeats_under_way == 0


@pytest.mark.singly
def test_heartbeats_that_were_queued_and_not_begun_are_undone_by_the_end(release: threading.Event) -> None:
    entered = threading.Event()

    def hang(_agent: str) -> None:
        entered.set()
        release.wait(PATIENCE)

    world = threaded("a", "b", config=SchedulerConfig(max_heartbeats=1, seed=1))
    world.calendar.before_heartbeat = hang
    world.scheduler.start()
    world.clock.advance(0)
    assert entered.wait(PATIENCE)
    until(world, lambda: world.scheduler.status().heartbeats_under_way == 2)
    world.scheduler.stop(timeout=0.01)
    assert world.scheduler.status().heartbeats_under_way == 1


def test_a_tick_whose_lister_stops_the_scheduler_leaves_no_heartbeat_under_way() -> None:
    def lister() -> list[Agent]:
        if stopping:
            world.scheduler.stop()
        return [Agent(id="dev")]

    stopping: list[bool] = []
    world = World(lister=lister)
    world.scheduler.tick()
    stopping.append(True)
    world.scheduler.tick()
    assert world.scheduler.status().lifecycle == "stopped"
    assert world.scheduler.status().heartbeats_under_way == 0


def test_a_success_after_a_fault_is_said() -> None:
    world = World()
    world.scheduler.tick()
    world.calendar.fail_next(TransportError("down"))
    world.scheduler.tick()
    world.scheduler.tick()
    assert len(world.host.lines("calendar heartbeat ok")) == 2


def test_heartbeats_back_off_further_with_each_failure_and_begin_anew_after_a_success() -> None:
    world = World(config=SchedulerConfig(heartbeat_interval=5, seed=1))
    seen = beats_of(world)
    world.calendar.start_outage()
    world.scheduler.start()
    world.clock.advance(600)
    gaps = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert gaps[0] <= 10
    assert max(gaps) > 40
    world.calendar.stop_outage()
    world.clock.advance(65)
    for _ in range(10):
        seen.clear()
        world.calendar.fail_next(TransportError("down"), on="heartbeat")
        world.clock.advance(25)
        assert all(later - earlier <= 10 for earlier, later in itertools.pairwise(seen))
        assert len(seen) >= 2


def test_the_late_fault_of_a_heartbeat_that_was_given_up_is_not_counted_again(release: threading.Event) -> None:
    hanging: list[str] = []

    def hang(agent_id: str) -> None:
        hanging.append(agent_id)
        release.wait(PATIENCE)
        raise TransportError("too late")

    runner = Watched()
    world = World("dev", runner=runner, config=SchedulerConfig(heartbeat_timeout=20, seed=1))
    world.calendar.before_heartbeat = hang
    world.scheduler.start()
    world.clock.advance(0)
    runner.settle(world, hanging)
    world.clock.advance(20)
    assert world.scheduler.status().abandoned_threads == 1
    release.set()
    runner.settle(world, [])
    assert world.scheduler.status().abandoned_threads == 0
    fault = world.scheduler.status().last_errors["dev"]
    assert fault.count == 1
    assert "20 s" in fault.message


@pytest.mark.singly
def test_an_agent_whose_heartbeats_hang_holds_three_threads_captive_and_no_more(release: threading.Event) -> None:
    hanging: list[str] = []

    def hang(agent_id: str) -> None:
        if agent_id == "stuck":
            hanging.append(agent_id)
            release.wait(PATIENCE)

    def pass_an_interval() -> int:
        world.clock.advance(30)
        runner.settle(world, hanging)
        return world.scheduler.status().abandoned_threads

    runner = Watched()
    world = World("dev", "stuck", runner=runner, config=SchedulerConfig(heartbeat_timeout=20, seed=1))
    world.calendar.before_heartbeat = hang
    world.scheduler.start()
    world.clock.advance(0)
    runner.settle(world, hanging)
    until(world, lambda: pass_an_interval() == 3)
    assert [pass_an_interval() for _ in range(12)] == [3] * 12
    assert world.scheduler.status().last_errors["stuck"].message == "3 earlier heartbeats have not returned"


# --- the lister -----------------------------------------------------------------------------------------------------


def test_those_who_are_due_wait_for_the_lister_though_not_for_ever(release: threading.Event) -> None:
    asked: list[None] = []

    def lister() -> list[Agent]:
        asked.append(None)
        if len(asked) > 1:
            release.wait(PATIENCE)
        return [Agent(id="dev")]

    world = threaded("dev", lister=lister, config=SchedulerConfig(lister_timeout=5, heartbeat_timeout=3600, seed=1))
    seen = beats_of(world)
    world.calendar.fail_next(CalendarUnavailableError("slow down", 429, retry_after=31))
    world.scheduler.start()
    world.clock.advance(0)
    until(world, lambda: "dev" in world.scheduler.status().last_errors)
    world.clock.advance(30)
    until(world, lambda: len(asked) == 2)
    world.clock.advance(4.9)
    assert seen == [0]
    world.clock.advance(0.2)
    until(world, lambda: len(seen) == 2)
    assert 35 <= seen[1] <= 35.2


def test_those_who_are_due_wait_for_a_lister_that_a_tick_by_hand_has_asked(release: threading.Event) -> None:
    hanging: list[str] = []

    def lister() -> list[Agent]:
        if world.clock.monotonic() == 62:
            hanging.append("lister")
            release.wait(PATIENCE)
        return [Agent(id="dev")]

    runner = Watched()
    settings = SchedulerConfig(seed=1, heartbeat_interval=60, heartbeat_timeout=3600)
    world = World("dev", lister=lister, runner=runner, config=settings)
    seen = beats_of(world)
    world.calendar.fail_next(CalendarUnavailableError("slow down", 429, retry_after=65))
    world.scheduler.start()
    for seconds in (0, 60, 2):
        world.clock.advance(seconds)
        runner.settle(world, hanging)
    ticking, _ = call(world.scheduler.tick)
    until(world, lambda: bool(hanging))
    world.clock.advance(8)
    assert seen == [0]
    release.set()
    ticking.join(PATIENCE)


def test_a_lister_that_hangs_for_longer_than_an_interval_holds_up_one_heartbeat_only(release: threading.Event) -> None:
    asked: list[None] = []

    def lister() -> list[Agent]:
        asked.append(None)
        if len(asked) > 1:
            release.wait(PATIENCE)
        return [Agent(id="dev")]

    runner = Watched()
    world = World(
        "dev", lister=lister, runner=runner, config=SchedulerConfig(lister_timeout=3600, heartbeat_timeout=3600, seed=1)
    )
    seen = beats_of(world)
    world.scheduler.start()
    world.clock.advance(0)
    runner.named("lister")[0].join(PATIENCE)
    until(world, lambda: world.scheduler.status().heartbeats_under_way == 0)
    for _ in range(3):
        world.clock.advance(30)
        until(world, lambda: world.scheduler.status().heartbeats_under_way == 0)
    assert seen == [0, 60, 90]
    assert not world.scheduler.status().scheduler_errors, "it is slow, and not yet overdue"
    assert world.scheduler.status().last_tick_at == world.clock.now()


def test_without_a_thread_to_list_agents_with_they_are_listed_once_there_is_one() -> None:
    runner = Poor("lister")
    world = World(runner=runner)
    world.scheduler.start()
    world.clock.advance(0)
    assert not world.calendar.heartbeats
    runner.without = set()
    world.clock.advance(30)
    assert world.calendar.heartbeats == ["dev"]


def test_the_lister_is_not_asked_after_a_stop_was_requested() -> None:
    def lister() -> list[Agent]:
        asked.append(None)
        return []

    asked: list[None] = []
    world = World(lister=lister)
    world.scheduler.start()
    world.clock.advance(0)
    world.scheduler.request_stop()
    world.clock.advance(300)
    assert len(asked) == 1


def test_a_thread_that_is_held_up_between_its_looks_at_two_clocks_has_not_seen_one_set() -> None:
    class Slow(FakeClock):
        slow = False

        def now(self) -> dt.datetime:
            told = super().now()
            if self.slow:
                self.slow = False
                self.advance(3)
            return told

    clock = Slow()
    world = World(clock=clock)
    world.scheduler.start()
    clock.advance(29)
    clock.slow = True
    clock.advance(120)
    assert not clock.slow
    assert not world.host.lines("calendar clock was set")


# --- who waits for whom ---------------------------------------------------------------------------------------------


@pytest.mark.singly
@pytest.mark.parametrize("where", ["before_heartbeat", "lister"])
def test_nothing_is_waited_for_from_inside_a_heartbeat_or_the_lister(where: str) -> None:
    def tick(*_args: object) -> None:
        if not ticked:
            ticked.append(None)
            world.add("ops")
            world.scheduler.tick()

    def lister() -> list[Agent]:
        if where == "lister" and world.scheduler.status().last_tick_at is not None:
            tick()
        return [Agent(id="dev"), Agent(id="ops")]

    ticked: list[None] = []
    runner = Watched()
    world = World("dev", "ops", lister=lister, runner=runner)
    world.scheduler.tick()
    if where == "before_heartbeat":
        world.calendar.before_heartbeat = tick
    world.scheduler.tick()
    assert ticked
    assert {me for me, _ in runner.waits} == {threading.current_thread().name}


@pytest.mark.singly
def test_no_wake_is_waited_for_from_inside_a_wake(release: threading.Event) -> None:
    def on_wake(wake: WakeRequest) -> None:
        if wake.agent_id == "b":
            release.wait(PATIENCE)
        else:
            world.add("b")
            world.scheduler.tick()
            ticked.set()

    ticked = threading.Event()
    runner = Watched()
    world = World("a", "b", runner=runner, on_wake=on_wake, config=patient())
    world.add("a")
    world.scheduler.tick()
    assert ticked.wait(PATIENCE)
    awaited = {task for me, task in runner.waits if me == "harborcal-wake"}
    assert awaited <= {"harborcal-lister", "harborcal-heartbeat"}


def test_a_tick_does_not_wait_again_for_a_lister_that_is_overdue(release: threading.Event) -> None:
    asked: list[None] = []

    def lister() -> list[Agent]:
        asked.append(None)
        if len(asked) > 1:
            release.wait(PATIENCE)
        return [Agent(id="dev")]

    runner = Watched()
    world = World("dev", lister=lister, runner=runner, config=SchedulerConfig(lister_timeout=0.05, seed=1))
    world.scheduler.tick()
    world.scheduler.tick()
    world.clock.advance(1)
    runner.waits.clear()
    world.scheduler.tick()
    assert "harborcal-lister" not in {task for _, task in runner.waits}


# --- crews ----------------------------------------------------------------------------------------------------------


@pytest.mark.singly
def test_a_thread_that_could_not_be_started_takes_no_ones_place() -> None:
    runner = Poor("heartbeat")
    world = World(runner=runner, config=SchedulerConfig(max_heartbeats=1, seed=1))
    world.scheduler.tick()
    runner.without = set()
    world.scheduler.tick()
    assert world.calendar.heartbeats == ["dev"]


def test_an_agent_whose_stuck_wakes_have_returned_is_woken_though_anothers_are_stuck(release: threading.Event) -> None:
    other = threading.Event()

    def on_wake(wake: WakeRequest) -> None:
        if wake.agent_id == "other":
            other.wait(PATIENCE)
        else:
            release.wait(PATIENCE)

    world = threaded("stuck", "other", on_wake=on_wake, config=patient(wake_timeout=60))
    world.add("stuck", id=1)
    world.add("other", id=2)
    for _ in range(30):
        world.scheduler.tick()
        world.clock.advance(61)
    assert world.scheduler.status().abandoned_threads == 6
    release.set()
    until(world, lambda: world.scheduler.status().abandoned_threads == 3)
    world.clock.advance(600)
    world.scheduler.tick()
    until(world, lambda: ("stuck", "ongoing") in world.sent)
    other.set()


def test_a_wake_that_waits_for_a_thread_is_entered_when_a_stuck_one_returns(release: threading.Event) -> None:
    def on_wake(wake: WakeRequest) -> None:
        if wake.agent_id == "a":
            release.wait(PATIENCE)

    world = threaded("a", "b", on_wake=on_wake, config=patient(wake_timeout=60, max_wakes=1, max_abandoned=1))
    world.add("a")
    world.scheduler.tick()
    assert world.host.wait_for_wakes(1)
    world.clock.advance(60)
    world.scheduler.tick()
    assert world.host.wait_for_wakes(2)
    world.add("b")
    world.scheduler.tick()
    world.clock.advance(60)
    assert world.scheduler.status().abandoned_threads == 2
    assert world.host.woken == [("a", "1"), ("a", "1")]
    release.set()
    until(world, lambda: world.scheduler.status().abandoned_threads == 0)
    world.scheduler.tick()
    assert world.host.wait_for_wakes(3)
    assert world.host.woken[-1] == ("b", "2")


def test_each_stuck_wake_is_given_up_at_its_own_time(release: threading.Event) -> None:
    def on_wake(_wake: WakeRequest) -> None:
        release.wait(PATIENCE)

    world = threaded("a", "b", "c", on_wake=on_wake, config=patient(wake_timeout=60))
    for count, (name, pause) in enumerate((("a", 30), ("b", 20), ("c", 10)), 1):
        world.add(name)
        world.scheduler.tick()
        assert world.host.wait_for_wakes(count)
        world.clock.advance(pause)
    stuck = []
    for pause in (29, 1, 19, 1):
        stuck.append(world.scheduler.status().abandoned_threads)
        world.clock.advance(pause)
    stuck.append(world.scheduler.status().abandoned_threads)
    assert stuck == [1, 1, 2, 2, 3]


# --- wakes and updates that meet ------------------------------------------------------------------------------------


def test_nothing_is_tried_after_the_end_when_a_wake_raises_that_has_completed() -> None:
    def on_wake(wake: WakeRequest) -> None:
        wake.report.complete()
        raise RuntimeError("too late to complain")

    world, layer = scripted_world()
    world.host.on_wake = on_wake
    world.add()
    world.scheduler.tick()
    assert layer.tried == [SlotStatus.ONGOING, SlotStatus.FINISHED]


def test_a_wake_whose_update_outlasts_the_timeout_has_not_failed() -> None:
    world = threaded(config=patient(wake_timeout=60))
    gate = Gate(world, SlotStatus.ONGOING)
    world.add()
    world.scheduler.tick()
    assert gate.reached.wait(PATIENCE)
    world.clock.advance(60)
    assert world.scheduler.status().abandoned_threads == 1
    gate.open.set()
    until(world, lambda: world.scheduler.status().abandoned_threads == 0)
    assert world.scheduler.status().active[0].state == "ongoing"
    assert not world.scheduler.status().history


def test_a_stuck_wake_of_a_slot_that_is_settled_is_no_fault_of_its_agent(release: threading.Event) -> None:
    class Over(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            return Heartbeat(slots=(Slot(id=1, status=listed[-1]),))

    entered = threading.Event()

    def on_wake(_wake: WakeRequest) -> None:
        entered.set()
        release.wait(PATIENCE)

    listed = [SlotStatus.NOT_STARTED]
    world = threaded(on_wake=on_wake, wrap=Over, config=patient(wake_timeout=60))
    world.scheduler.tick()
    assert entered.wait(PATIENCE)
    listed.append(SlotStatus.SKIPPED)
    world.scheduler.tick()
    assert world.scheduler.status().history[0].status is SlotStatus.SKIPPED
    world.clock.advance(60)
    assert world.scheduler.status().abandoned_threads == 1
    assert not world.scheduler.status().problems


def test_a_slot_that_is_listed_as_over_while_its_end_is_being_told_ends_as_its_agent_says() -> None:
    class Over(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            answer = super().heartbeat(agent_id)
            return Heartbeat(slots=(Slot(id=1, status=SlotStatus.FINISHED),)) if over else answer

    over: list[bool] = []
    world = threaded(wrap=Over)
    world.add(id=1)
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.FINISHED)
    complete, ends = call(lambda: world.scheduler.complete("dev", "in my words"))
    assert gate.reached.wait(PATIENCE)
    over.append(True)
    world.scheduler.tick()
    gate.open.set()
    complete.join(PATIENCE)
    assert ends == [None]
    assert [entry.summary for entry in world.scheduler.status().history] == ["in my words"]


# --- agents that are gone -------------------------------------------------------------------------------------------


def test_no_slot_is_given_back_once_a_stop_was_requested() -> None:
    def lister() -> list[Agent]:
        if world.clock.monotonic() >= 150:
            world.scheduler.request_stop()
        return world.agents

    world = World(lister=lister, config=SchedulerConfig(gone_after=140, seed=1))
    world.agents = [Agent(id="dev")]
    key = world.add()
    world.scheduler.start()
    world.clock.advance(0)
    world.agents = []
    world.clock.advance(600)
    assert world.state(key) is SlotStatus.ONGOING


def test_a_slot_is_given_back_by_one_thread_however_long_that_takes() -> None:
    runner = Watched()
    world = World("dev", runner=runner, config=SchedulerConfig(heartbeat_timeout=3600, seed=1))
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.DEFERRED)
    world.agents = []
    world.scheduler.start()
    for _ in range(12):
        runner.pass_tick(world)
    assert gate.reached.wait(PATIENCE)
    assert len(runner.named("release")) == 1
    gate.open.set()


def test_a_giving_back_that_hangs_holds_three_threads_captive_and_no_more() -> None:
    runner = Watched()
    world = World("dev", runner=runner)
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.DEFERRED)
    world.agents = []
    world.scheduler.start()
    for _ in range(12):
        runner.pass_tick(world)
    assert gate.reached.wait(PATIENCE)
    assert 1 <= len(runner.named("release")) <= 3
    gate.open.set()
    for thread in runner.named("release"):
        thread.join(PATIENCE)
    assert [status for _, status in world.sent] == ["ongoing", "deferred"]


def test_a_slot_that_ends_while_it_is_about_to_be_given_back_is_not_given_back() -> None:
    tried: list[SlotStatus] = []

    class Noting(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            tried.append(update.status)
            return super().update_slot(agent_id, slot, update)

    runner = Watched()
    world = World("dev", runner=runner, wrap=Noting, config=SchedulerConfig(heartbeat_timeout=3600, seed=1))
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.FINISHED)
    complete, ends = call(lambda: world.scheduler.complete("dev"))
    assert gate.reached.wait(PATIENCE)
    world.agents = []
    world.scheduler.start()
    for _ in range(6):
        runner.pass_tick(world)
    until(world, lambda: bool(runner.named("release")))
    [giving_back] = runner.named("release")
    waits_for(giving_back)
    gate.open.set()
    complete.join(PATIENCE)
    giving_back.join(PATIENCE)
    assert ends == [None]
    assert tried == [SlotStatus.ONGOING, SlotStatus.FINISHED]


def test_a_slot_whose_giving_back_is_undelivered_is_not_taken_again() -> None:
    world, _ = stale_world(later=True)
    world.add(id=1)
    world.scheduler.start()
    world.clock.advance(0)
    gone, world.agents = world.agents, []
    world.clock.advance(150)
    world.agents = gone
    world.clock.advance(30)
    assert world.scheduler.explain("dev")[0].detail == "its last update is still on its way"
    assert len(world.host.wakes) == 1


# --- the end --------------------------------------------------------------------------------------------------------


def test_the_transport_is_closed_once_however_often_the_scheduler_is_stopped() -> None:
    closed: list[None] = []

    class Counting(Layer):
        def close(self) -> None:
            closed.append(None)
            super().close()

    world = World(wrap=Counting)
    world.scheduler.stop()
    world.scheduler.stop()
    assert len(closed) == 1


def test_whoever_stops_second_returns_as_soon_as_the_first_has_ended() -> None:
    world = threaded(config=patient())
    gate = Gate(world, SlotStatus.ONGOING)
    world.add()
    world.scheduler.tick()
    assert gate.reached.wait(PATIENCE)
    first, _ = call(lambda: world.scheduler.stop(3600))
    until(world, lambda: world.scheduler.status().lifecycle == "stopping")
    second, ends = call(lambda: world.scheduler.stop(3600))
    waits_for(second)
    gate.open.set()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert ends == [None]


def test_no_more_agents_are_served_than_one_list_may_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harborcal.scheduler.listing.MAX_AGENTS", 3)
    world = World(*"abcde")
    assert world.scheduler.tick().agents == ("a", "b", "c")
    assert world.scheduler.status().scheduler_errors["listed"].message == "more than 3 agents: the rest is left out"


def test_nothing_is_waited_for_from_inside_an_update_that_a_heartbeat_sends() -> None:
    def tick(*_args: object) -> None:
        if not ticked:
            ticked.append(None)
            world.scheduler.tick()

    ticked: list[None] = []
    runner = Watched()
    world = World("dev", "ops", runner=runner)
    world.add()
    world.calendar.fail_next(TransportError("down"), on="update")
    world.scheduler.tick()
    until(world, lambda: "dev" in world.scheduler.status().problems)
    world.calendar.before_update = tick
    world.scheduler.tick()
    assert ticked
    assert "harborcal-heartbeat" not in {me for me, _ in runner.waits}


def test_a_report_that_the_calendar_does_not_take_is_a_sign_of_life_all_the_same() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.calendar.fail_next(TransportError("down"), on="update")
    with pytest.raises(TransportError):
        world.scheduler.complete("dev")
    assert world.scheduler.status().active[0].heard_at == world.clock.now()


def test_run_returns_when_another_thread_stops_the_scheduler() -> None:
    world = threaded()
    running, ends = call(world.scheduler.run)
    until(world, lambda: world.scheduler.status().lifecycle == "running")
    world.scheduler.stop()
    running.join(PATIENCE)
    assert ends == [None]


def test_a_late_sign_of_life_is_refused_after_the_end() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.stop()
    with pytest.raises(LifecycleError, match="stopped"):
        world.host.wakes[0].report.renew()


# --- reports --------------------------------------------------------------------------------------------------------


def test_what_is_owed_goes_out_before_a_resume_and_not_after_it() -> None:
    world = World()
    key = world.add()
    world.scheduler.tick()
    world.scheduler.pause("dev")
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.calendar.fail_next(TransportError("down"), on="update")
    world.scheduler.tick()
    world.scheduler.resume("dev")
    world.scheduler.tick()
    assert [status for _, status in world.sent[2:]] == ["ongoing", "paused", "ongoing"]
    assert world.state(key) is SlotStatus.ONGOING


def test_the_reason_of_a_pause_is_cleaned_and_capped() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.pause("dev", "lunch\x00\n\u202e" + "x" * 10_000)
    reason = world.scheduler.status().active[0].pause_reason
    assert reason.startswith("lunch xxx")
    assert len(reason) == 2_000


# --- the roster -----------------------------------------------------------------------------------------------------


def test_an_agent_that_is_no_longer_listed_is_not_heartbeaten_once_more() -> None:
    world = World("a", "b")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(60)
    assert world.calendar.heartbeats == ["a", "b", "b", "b"]


def test_an_agent_that_comes_back_is_heartbeaten_at_once_and_goes_on() -> None:
    world = World("a", "b")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(60)
    world.agents[:] = [Agent(id="a"), Agent(id="b")]
    world.clock.advance(60)
    assert world.calendar.heartbeats.count("a") == 3


def test_an_agent_that_is_gone_for_exactly_so_long_is_gone() -> None:
    world = World("a", "b")
    key = world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(149)  # first left out at 30 s, and 119 s have passed since
    assert world.state(key) is SlotStatus.ONGOING
    world.clock.advance(1)
    assert world.state(key) is SlotStatus.DEFERRED


def test_an_agent_that_comes_back_while_its_heartbeat_hangs_is_not_heartbeaten_beside_it(
    release: threading.Event,
) -> None:
    hanging: list[None] = []

    def hang(agent_id: str) -> None:
        if agent_id == "a":
            hanging.append(None)
            release.wait(PATIENCE)

    world = threaded("a", "b", config=SchedulerConfig(heartbeat_timeout=3600, seed=1))
    world.calendar.before_heartbeat = hang
    world.scheduler.start()
    world.clock.advance(0)
    until(world, lambda: len(hanging) == 1)
    for listed in (["b"], ["a", "b"]):
        world.agents[:] = [Agent(id=name) for name in listed]
        for _ in range(6):
            world.clock.advance(30)
            until(world, lambda: world.scheduler.status().last_heartbeats.get("b") == world.clock.now())
    assert len(hanging) == 1


def test_what_was_refused_of_a_list_is_no_fault_any_more_once_the_list_is_clean() -> None:
    world = World()
    world.agents *= 2
    world.scheduler.tick()
    assert "listed" in world.scheduler.status().scheduler_errors
    del world.agents[1]
    world.scheduler.tick()
    assert not world.scheduler.status().scheduler_errors


def test_a_stop_returns_as_soon_as_the_last_report_has_ended() -> None:
    world = threaded()
    world.add()
    world.scheduler.tick()
    gate = Gate(world, SlotStatus.FINISHED)
    complete, _ = call(lambda: world.scheduler.complete("dev"))
    assert gate.reached.wait(PATIENCE)
    stopping, ends = call(lambda: world.scheduler.stop(3600))
    waits_for(stopping)
    gate.open.set()
    complete.join(PATIENCE)
    stopping.join(PATIENCE)
    assert ends == [None]


def test_stop_waits_for_a_heartbeat_that_is_under_way(release: threading.Event) -> None:
    entered = threading.Event()

    def hang(_agent: str) -> None:
        entered.set()
        release.wait(PATIENCE)

    runner = Watched()
    world = World("dev", runner=runner)
    world.calendar.before_heartbeat = hang
    world.scheduler.start()
    world.clock.advance(0)
    assert entered.wait(PATIENCE)
    runner.named("lister")[0].join(PATIENCE)
    stopping, ends = call(lambda: world.scheduler.stop(3600))
    waits_for(stopping)
    assert not world.calendar.closed
    release.set()
    stopping.join(PATIENCE)
    assert ends == [None]
    assert world.calendar.closed


def test_a_wake_that_stops_the_scheduler_after_a_report_waits_for_nothing() -> None:
    def on_wake(wake: WakeRequest) -> None:
        wake.report.complete()
        world.scheduler.stop()

    runner = Watched()
    world = World("dev", runner=runner, on_wake=on_wake)
    world.add()
    world.scheduler.tick()
    until(world, lambda: world.scheduler.status().lifecycle == "stopped")
    assert "harborcal-wake" not in {me for me, _ in runner.waits}


def test_after_the_end_a_report_is_refused_as_late_also_where_there_is_no_slot() -> None:
    world = World()
    world.scheduler.stop()
    with pytest.raises(LifecycleError, match="stopped"):
        world.scheduler.complete("nobody")


def test_an_undeliverable_update_of_an_active_slot_is_a_fault_of_its_agent() -> None:
    world, layer = stale_world(later=True)
    key = world.add(id=1)
    world.scheduler.tick()
    layer.refuse(key, CalendarRefusedError(410, "gone"))
    assert world.scheduler.status().problems["dev"]["update"].message == "calendar refused (410): gone"


def test_an_agent_counts_as_gone_from_its_last_listing_not_from_its_first() -> None:
    world = World("a", "b")
    key = world.add("a")
    world.scheduler.start()
    world.clock.advance(300)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(90)
    assert world.state(key) is SlotStatus.ONGOING
    world.clock.advance(60)
    assert world.state(key) is SlotStatus.DEFERRED


def test_a_retry_after_that_a_tick_by_hand_was_told_holds_against_the_cadence() -> None:
    world = World()
    seen = beats_of(world)
    world.scheduler.start()
    world.clock.advance(10)
    world.calendar.fail_next(CalendarUnavailableError("slow down", 429, retry_after=200))
    world.scheduler.tick()
    world.clock.advance(199)
    assert seen == [0, 10]


def test_an_agent_whose_heartbeat_by_hand_outlasts_its_time_is_not_heartbeaten_beside_it(
    release: threading.Event,
) -> None:
    asked: list[str] = []

    def hang(agent_id: str) -> None:
        asked.append(agent_id)
        if len(asked) == 3:
            release.wait(PATIENCE)

    world = threaded("a", "b")
    world.calendar.before_heartbeat = hang
    world.scheduler.start()
    world.clock.advance(0)
    until(world, lambda: set(world.scheduler.status().last_heartbeats) == {"a", "b"})
    until(world, lambda: world.scheduler.status().heartbeats_under_way == 0)
    world.agents[:] = [Agent(id="a")]
    world.clock.advance(10)
    ticking, _ = call(world.scheduler.tick)
    until(world, lambda: len(asked) == 3)
    world.agents.append(Agent(id="b"))
    world.clock.advance(20)
    until(world, lambda: len(asked) == 4)
    world.clock.advance(20)
    assert asked[2:] == ["a", "b"]
    release.set()
    ticking.join(PATIENCE)


def test_an_agent_that_is_no_longer_listed_is_left_out_of_a_tick_by_hand() -> None:
    world = World("a", "b")
    world.scheduler.tick()
    del world.agents[0]
    assert world.scheduler.tick().agents == ("b",)


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_fault_that_says_something_else_is_logged_at_once() -> None:
    world = World()
    for words in ("down", "down", "upside down", "down"):
        world.calendar.fail_next(TransportError(words))
        world.scheduler.tick()
    assert [line.fields["err"] for line in world.host.lines("calendar heartbeat failed")] == [
        "down",
        "upside down",
        "down",
    ]


def test_an_update_that_finds_the_transport_closed_is_no_fault() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.calendar.fail_next(LifecycleError("closed"), on="update")
    with pytest.raises(LifecycleError, match="closed"):
        world.scheduler.complete("dev")
    assert not world.scheduler.status().problems


def test_what_is_owed_of_a_slot_that_is_listed_as_over_is_not_sent() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.calendar.fail_next(TransportError("down"), on="update")
    world.scheduler.tick()
    layer.listed = (Slot(id=1, status=SlotStatus.SKIPPED),)
    world.scheduler.tick()
    assert not world.sent
    assert world.scheduler.status().history[0].status is SlotStatus.SKIPPED


def test_an_answer_is_acted_on_though_what_is_owed_finds_the_transport_closed() -> None:
    world = World()
    world.add(id=1)
    world.calendar.fail_next(LifecycleError("closed"), times=2, on="update")
    world.scheduler.tick()
    world.add(id=2)
    world.scheduler.tick()
    assert {verdict.ident for verdict in world.scheduler.explain("dev")} == {"1", "2"}
    assert not world.scheduler.status().scheduler_errors


def test_a_log_that_had_no_thread_is_written_once_there_is_one() -> None:
    runner = Poor("log")
    world = World(runner=runner)
    world.scheduler.tick()
    assert not world.host.logs
    runner.without = set()
    world.agents.append(Agent(id="ops"))
    world.scheduler.tick()
    assert len(world.host.lines("calendar tick")) == 2


# --- what is said of slots ------------------------------------------------------------------------------------------


def test_an_answer_of_nothing_but_unreadable_slots_is_explained_and_logged() -> None:
    world, layer = scripted_world()
    layer.answer = Heartbeat(unreadable=(UnreadableSlot(ident="#0", reason="no status"),))
    for _ in range(2):
        world.scheduler.tick()
    assert [(verdict.ident, verdict.detail) for verdict in world.scheduler.explain("dev")] == [("#0", "no status")]
    [line] = world.host.lines("calendar slot verdict")
    assert (line.fields["slot"], line.fields["reason"]) == ("#0", "unreadable")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\u3164b\u2800c", "abc"),
        ("a\U000e0100b\U000e01efc", "abc"),
        ("a\ufe00b", "ab"),
        ("12345", "12345"),
        ("123456", "1234…"),
    ],
)
def test_text_that_is_printable_by_unicodes_word_is_cleaned_too_and_cut_only_beyond_the_limit(
    text: str, kept: str
) -> None:
    assert clean(text, 5) == kept


# --- telling an end again -------------------------------------------------------------------------------------------


def test_an_end_that_cannot_be_told_again_backs_off() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    layer.tried.clear()
    world.calendar.fail_next(TransportError("down"), times=99, on="update")
    for _ in range(5):
        world.scheduler.tick()
    assert len(layer.tried) == 2
    world.clock.advance(31)
    world.scheduler.tick()
    assert len(layer.tried) == 3


def test_a_conflict_over_an_end_that_is_told_again_does_not_open_the_slot() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.refusal = CalendarRefusedError(409, "conflict")
    for priority in (5, 6, 7):
        layer.listed = (Slot(id=1, status=SlotStatus.ONGOING, priority=priority),)
        world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED
    assert not world.scheduler.status().active


# --- gone and back --------------------------------------------------------------------------------------------------


def test_nobody_is_gone_while_the_lister_fails() -> None:
    def lister() -> list[Agent]:
        if failing:
            raise RuntimeError("no list today")
        return [Agent(id="dev")]

    failing: list[bool] = []
    world = World(lister=lister)
    key = world.add()
    world.scheduler.start()
    world.clock.advance(0)
    failing.append(True)
    world.clock.advance(600)
    assert world.state(key) is SlotStatus.ONGOING
    assert world.scheduler.status().agents == 1


def test_an_agent_that_comes_back_while_its_slot_is_given_back_is_not_forgotten() -> None:
    def come_back(_agent: str, _slot: SlotKey, update: SlotUpdate) -> None:
        if update.status is SlotStatus.DEFERRED:
            world.agents[:] = [Agent(id="a"), Agent(id="b")]
            world.scheduler.tick()

    world = World("a", "b")
    world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.calendar.before_update = come_back
    world.clock.advance(120)
    assert set(world.scheduler.status().last_heartbeats) == {"a", "b"}


# --- logs and timers ------------------------------------------------------------------------------------------------


def test_a_log_that_stops_the_scheduler_waits_for_nothing() -> None:
    entered, left = threading.Event(), threading.Event()

    def hold(_agent: str) -> None:
        entered.set()
        left.wait(PATIENCE)

    class Stopping(RecordingHost):
        def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
            entered.wait(PATIENCE)
            world.scheduler.stop()
            left.set()

    runner = Watched()
    world = World("dev", runner=runner, host=Stopping())
    world.calendar.before_heartbeat = hold
    world.scheduler.tick()
    until(world, lambda: world.scheduler.status().lifecycle == "stopped")
    assert "harborcal-log" not in {me for me, _ in runner.waits}


def test_a_timer_that_an_earlier_one_replaces_is_cancelled() -> None:
    world = World(config=SchedulerConfig(heartbeat_timeout=10, seed=1))
    world.scheduler.start()
    world.clock.advance(12)
    world.scheduler.tick()
    assert [moment - world.clock.monotonic() for moment in world.clock.pending] == [10]


# --- faults, again --------------------------------------------------------------------------------------------------


def test_faults_of_the_others_stand_when_an_agent_is_gone() -> None:
    world = World("a", "b")
    world.calendar.remove_agent("b")
    world.scheduler.start()
    world.clock.advance(0)
    world.agents[:] = [Agent(id="b")]
    world.clock.advance(30)
    first = world.scheduler.status().last_errors["b"].first_at
    world.clock.advance(300)
    assert world.scheduler.status().last_errors["b"].first_at == first


def test_a_refused_report_is_a_fault_of_its_agent_until_an_update_is_taken() -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    layer.refusal = CalendarRefusedError(403, "not you")
    with pytest.raises(CalendarRefusedError):
        world.scheduler.complete("dev")
    assert world.scheduler.status().problems["dev"]["update"].message == "calendar refused (403): not you"
    layer.refusal = None
    world.scheduler.complete("dev")
    assert not world.scheduler.status().problems


def test_an_interrupt_of_a_report_is_raised_as_it_is() -> None:
    class Interrupted(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if update.status is SlotStatus.FINISHED:
                raise KeyboardInterrupt
            return super().update_slot(agent_id, slot, update)

    world = World(wrap=Interrupted)
    world.add()
    world.scheduler.tick()
    with pytest.raises(KeyboardInterrupt):
        world.scheduler.complete("dev")
    assert len(world.scheduler.status().active) == 1


def test_a_stop_from_inside_an_update_of_a_report_returns_before_the_end() -> None:
    def stop(_agent: str, _slot: SlotKey, update: SlotUpdate) -> None:
        if update.status is SlotStatus.FINISHED:
            world.scheduler.stop()
            seen.append(world.scheduler.status().lifecycle)

    seen: list[str] = []
    world = threaded()
    world.add()
    world.scheduler.tick()
    world.calendar.before_update = stop
    world.scheduler.complete("dev")
    assert seen == ["stopping"]
    assert world.scheduler.status().history[0].status is SlotStatus.FINISHED
    until(world, lambda: world.scheduler.status().lifecycle == "stopped")


def test_an_update_that_fails_after_the_end_is_not_logged(release: threading.Event) -> None:
    hanging: list[str] = []

    def hang(agent_id: str, _slot: SlotKey, _update: SlotUpdate) -> None:
        hanging.append(agent_id)
        release.wait(PATIENCE)
        raise TransportError("too late")

    runner = Watched()
    world = World("dev", runner=runner, config=patient())
    world.calendar.before_update = hang
    world.add()
    world.scheduler.tick()
    runner.settle(world, hanging)
    world.scheduler.stop(0.01)
    before = len(world.host.logs)
    release.set()
    runner.settle(world, [])
    assert len(world.host.logs) == before
