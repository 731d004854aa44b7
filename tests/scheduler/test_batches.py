"""Asking many agents at once: what becomes of a batch, and of those in it."""

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from harborcal import (
    CalendarUnavailableError,
    Heartbeat,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotUpdate,
    Task,
    ThreadRunner,
    TransportError,
    UpdateReceipt,
)
from harborcal.errors import HarborcalError
from harborcal.ledger import STALE_FOR
from harborcal.runner import Runner
from harborcal.testing import InMemoryCalendar
from harborcal.transport import Transport
from tests.world import World

pytestmark = pytest.mark.singly  # the worlds here have batches of their own

PATIENCE = 10.0

Answers = Iterator[tuple[str, Heartbeat | HarborcalError]]
Ask = Callable[[InMemoryCalendar, Sequence[str]], Answers]


class Asked:
    """A transport whose batches a test answers."""

    def __init__(self, inner: InMemoryCalendar, ask: Ask) -> None:
        self.inner = inner
        self.batches: list[tuple[str, ...]] = []
        self.singles: list[str] = []
        self._ask = ask

    def heartbeats(self, agent_ids: Sequence[str]) -> Answers:
        self.batches.append(tuple(agent_ids))
        return self._ask(self.inner, agent_ids)

    def heartbeat(self, agent_id: str) -> Heartbeat:
        self.singles.append(agent_id)
        return self.inner.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        return self.inner.update_slot(agent_id, slot, update)

    def close(self) -> None:
        self.inner.close()


def one_by_one(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
    for agent_id in agent_ids:
        yield agent_id, calendar.heartbeat(agent_id)


def world_of(
    *agents: str, ask: Ask = one_by_one, runner: Runner | None = None, config: SchedulerConfig | None = None
) -> tuple[World, Asked]:
    made: list[Asked] = []

    def wrap(calendar: InMemoryCalendar) -> Transport:
        made.append(Asked(calendar, ask))
        return made[0]

    return World(*agents, wrap=wrap, runner=runner, config=config), made[0]


class Counting(ThreadRunner):
    """Counts the threads of each name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        self.names.append(name)
        return super().spawn(name, task)


def until(condition: Callable[[], bool]) -> None:
    """Wait until the other threads have made something true."""
    done = threading.Event()
    for _ in range(2_000):
        if condition():
            return
        done.wait(0.005)
    raise AssertionError("it never came to be")


def test_all_who_are_due_are_asked_at_once_on_one_thread() -> None:
    runner = Counting()
    names = [f"a{number:03}" for number in range(200)]
    world, asked = world_of(*names, runner=runner)
    report = world.scheduler.tick()
    assert report.agents == tuple(names)
    assert not report.failed_heartbeats
    assert asked.batches == [tuple(names)]
    assert asked.singles == []
    assert [name for name in runner.names if name != "log"] == ["lister", "batch"]


def test_each_answer_is_followed_up_when_it_comes() -> None:
    woken, rest = threading.Event(), threading.Event()

    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        yield "a", calendar.heartbeat("a")
        rest.wait(PATIENCE)
        yield "b", calendar.heartbeat("b")

    world, _ = world_of("a", "b", ask=ask, runner=ThreadRunner())
    world.host.on_wake = lambda _: woken.set()
    world.add("a")
    ticking = threading.Thread(target=world.scheduler.tick)
    ticking.start()
    assert woken.wait(PATIENCE), "its agent is woken while the batch goes on"
    rest.set()
    ticking.join(PATIENCE)
    assert world.scheduler.status().last_heartbeats.keys() == {"a", "b"}


def test_what_a_batch_raises_counts_for_all_who_have_no_answer_yet() -> None:
    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        yield "b", calendar.heartbeat("b")
        raise RuntimeError("gone")

    world, _ = world_of("a", "b", "c", ask=ask)
    assert world.scheduler.tick().failed_heartbeats == ("a", "c")
    assert {name: problem.message for name, problem in world.scheduler.status().last_errors.items()} == {
        "a": "gone",
        "c": "gone",
    }


def test_who_is_left_out_of_a_batch_has_failed() -> None:
    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        yield "a", calendar.heartbeat("a")

    world, _ = world_of("a", "b", ask=ask)
    assert world.scheduler.tick().failed_heartbeats == ("b",)
    assert world.scheduler.status().last_errors["b"].message == "the batch has ended without an answer"


def test_answers_for_nobody_and_second_answers_are_passed_over() -> None:
    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        yield "stranger", Heartbeat()
        yield "a", Heartbeat()
        yield "a", CalendarUnavailableError("busy", 503)

    world, _ = world_of("a", ask=ask)
    assert not world.scheduler.tick().failed_heartbeats
    assert not world.scheduler.status().last_errors


@pytest.mark.parametrize("odd", [None, "an answer", RuntimeError("no error of ours")])
def test_what_is_no_answer_is_its_agents_failure_and_nobody_elses(odd: object) -> None:
    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        yield "a", odd  # type: ignore[misc]
        yield "b", calendar.heartbeat("b")

    world, _ = world_of("a", "b", ask=ask)
    assert world.scheduler.tick().failed_heartbeats == ("a",)
    assert world.scheduler.status().last_errors["a"].message.startswith("the transport answered with a ")


def test_an_answer_may_ask_to_be_left_alone_for_longer() -> None:
    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        yield from ((agent_id, CalendarUnavailableError("busy", 503, retry_after=100.0)) for agent_id in agent_ids)

    world, asked = world_of("a", ask=ask)
    world.scheduler.start()
    world.clock.advance(99)
    assert len(asked.batches) == 1
    world.clock.advance(2)
    assert len(asked.batches) == 2


def test_a_batch_that_hangs_is_given_up_and_its_agents_are_asked_singly_until_it_has_returned() -> None:
    hanging, release = threading.Event(), threading.Event()

    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        yield "a", calendar.heartbeat("a")
        if not release.is_set():
            hanging.set()
            release.wait(PATIENCE)
        yield "b", TransportError("too late")

    config = SchedulerConfig(wake_wait=0.05, heartbeat_timeout=20, lister_timeout=0.05, seed=1)
    world, asked = world_of("a", "b", ask=ask, runner=ThreadRunner(), config=config)
    world.scheduler.start()
    world.clock.advance(0)
    assert hanging.wait(PATIENCE)
    world.clock.advance(20)
    status = world.scheduler.status()
    assert status.last_errors["b"].message == "heartbeat has not returned within 20 s"
    assert "a" not in status.last_errors
    assert status.abandoned_threads == 1
    report = world.scheduler.tick()
    assert not report.failed_heartbeats
    assert sorted(asked.singles) == ["a", "b"]
    assert len(asked.batches) == 1
    release.set()
    until(lambda: world.scheduler.status().abandoned_threads == 0)
    assert "b" not in world.scheduler.status().last_errors, "its late answer changes nothing"
    world.scheduler.tick()
    assert len(asked.batches) == 2
    assert len(asked.singles) == 2
    world.scheduler.stop()


def test_a_batch_that_goes_on_answering_has_its_time_from_its_last_answer() -> None:
    steps = [threading.Event() for _ in range(3)]
    reached = [threading.Event() for _ in range(3)]

    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        for number, agent_id in enumerate(agent_ids):
            reached[number].set()
            steps[number].wait(PATIENCE)
            yield agent_id, calendar.heartbeat(agent_id)

    config = SchedulerConfig(wake_wait=0.05, heartbeat_timeout=20, lister_timeout=0.05, seed=1)
    world, _ = world_of("a", "b", "c", ask=ask, runner=ThreadRunner(), config=config)
    world.scheduler.start()
    world.clock.advance(0)
    for number in range(3):
        assert reached[number].wait(PATIENCE)
        world.clock.advance(15)
        steps[number].set()
    until(lambda: world.scheduler.status().heartbeats_under_way == 0)
    status = world.scheduler.status()
    assert (status.abandoned_threads, status.last_errors) == (0, {})
    world.scheduler.stop()


def test_who_is_due_before_a_batch_has_begun_joins_it() -> None:
    begun, release = threading.Event(), threading.Event()

    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        if agent_ids[0] == "a":
            begun.set()
            release.wait(PATIENCE)
        return one_by_one(calendar, agent_ids)

    config = SchedulerConfig(max_heartbeats=1, wake_wait=0.05, lister_timeout=0.05, seed=1)
    world, asked = world_of("a", ask=ask, runner=ThreadRunner(), config=config)
    ticks = [threading.Thread(target=world.scheduler.tick)]
    ticks[0].start()
    assert begun.wait(PATIENCE)
    for name in ("b", "c"):
        world.calendar.add_agent(name)
        world.agents.append(type(world.agents[0])(id=name))
        ticks.append(threading.Thread(target=world.scheduler.tick))
        ticks[-1].start()
        until(lambda: world.scheduler.status().heartbeats_under_way == len(world.agents))
    release.set()
    for tick in ticks:
        tick.join(PATIENCE)
    assert asked.batches == [("a",), ("b", "c")]


def test_a_stop_ends_a_batch_and_undoes_the_rest_of_it() -> None:
    closed = threading.Event()

    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        try:
            for agent_id in agent_ids:
                yield agent_id, calendar.heartbeat(agent_id)
                world.scheduler.request_stop()
        finally:
            closed.set()

    world, _ = world_of("a", "b", "c", ask=ask)
    report = world.scheduler.tick()
    assert world.calendar.heartbeats == ["a", "b"]
    assert closed.is_set()
    assert not report.failed_heartbeats
    assert not report.pending_heartbeats
    assert not world.scheduler.status().last_errors


def test_batches_that_were_not_begun_are_undone_by_the_end() -> None:
    begun, release = threading.Event(), threading.Event()

    def ask(calendar: InMemoryCalendar, agent_ids: Sequence[str]) -> Answers:
        begun.set()
        release.wait(PATIENCE)
        return one_by_one(calendar, agent_ids)

    config = SchedulerConfig(max_heartbeats=1, wake_wait=0.05, lister_timeout=0.05, seed=1)
    world, asked = world_of("a", ask=ask, runner=ThreadRunner(), config=config)
    first = threading.Thread(target=world.scheduler.tick)
    first.start()
    assert begun.wait(PATIENCE)
    world.calendar.add_agent("b")
    world.agents.append(type(world.agents[0])(id="b"))
    second = threading.Thread(target=world.scheduler.tick)
    second.start()
    until(lambda: world.scheduler.status().heartbeats_under_way == 2)
    world.scheduler.stop(timeout=0)
    assert world.scheduler.status().heartbeats_under_way == 1
    release.set()
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert asked.batches == [("a",)]
    assert world.scheduler.status().heartbeats_under_way == 0


def lose_the_start(world: World) -> None:
    """Its start is still owed to the calendar."""
    world.calendar.fail_next(CalendarUnavailableError("down", 503), on="update")
    world.scheduler.tick()


def forget_the_end(world: World) -> None:
    """Its end is to be told once more: the calendar lists it as it was."""
    before = world.calendar.slots("a")[0]
    world.scheduler.tick()
    until(lambda: len(world.sent) == 1)
    world.scheduler.complete("a")
    world.calendar.set_slot(before.key, status="not_started", updated_at=before.updated_at)
    world.clock.advance(STALE_FOR)


def begin_and_wait(world: World) -> None:
    """It is time to compare its day."""
    world.scheduler.tick()
    until(lambda: len(world.sent) == 1)
    world.scheduler.complete("a")
    world.clock.advance(1_000)


@pytest.mark.parametrize("arrange", [lose_the_start, forget_the_end, begin_and_wait])
def test_an_answer_that_needs_the_calendar_again_is_in_nobodys_way(arrange: Callable[[World], None]) -> None:
    entered, release = threading.Event(), threading.Event()

    def hang(agent_id: str, *_: object) -> tuple[Slot, ...]:
        if agent_id == "a" and not release.is_set():
            entered.set()
            release.wait(PATIENCE)
        return ()

    config = SchedulerConfig(wake_wait=0.05, heartbeat_timeout=20, seed=1)
    world, _ = world_of("a", "b", runner=ThreadRunner(), config=config)
    world.add("a")
    arrange(world)
    world.calendar.before_update = hang  # type: ignore[assignment]
    world.calendar.day = hang  # type: ignore[method-assign, assignment]
    world.add("b")
    tick = threading.Thread(target=world.scheduler.tick)
    tick.start()
    assert entered.wait(PATIENCE)
    until(lambda: ("b", "2") in world.host.woken)
    assert world.scheduler.status().heartbeats_under_way == 1
    release.set()
    tick.join(PATIENCE)
