"""Calls that meet at one slot, in every order: who passes which door next is decided, not left to chance."""

import contextlib
import dataclasses
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType

from harborcal import (
    Agent,
    HarborcalError,
    Heartbeat,
    Journal,
    LifecycleError,
    NoActiveSlotError,
    OutboxTransport,
    Scheduler,
    SchedulerConfig,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    Task,
    ThreadRunner,
    UpdateReceipt,
    WakeRequest,
)
from harborcal.testing import FakeClock, InMemoryCalendar
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.storage import folder

PATIENCE = 5.0
"""Seconds without any progress that count as a hang."""

LOOK = 0.0003
"""Seconds after which a thread that has not moved counts as waiting for another one."""

LEASE = 1_800.0
_AGENT = "dev"
_REPORTS = ("complete", "abort", "pause", "resume")

_HANGS = 3
"""After how many hangs a campaign gives up: each costs seconds."""

# --- the stage ------------------------------------------------------------------------------------------------------


class _Actor:
    """A thread on the stage. Fields are guarded by the stage's lock."""

    __slots__ = ("asleep", "gate", "ident", "name", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ident = 0
        self.gate = ""  # where it waits to be let through
        self.turn = threading.Event()
        self.asleep: tuple[int, int] | None = None  # where it last stood still without being at a gate


class HungError(Exception):
    """Nothing moves any more."""


class Stage:
    """Holds threads up at gates and lets one through at a time, drawn by lot."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._changed = threading.Condition()
        self._actors: dict[int, _Actor] = {}  # guarded by _changed; by thread
        self._starting = 0  # guarded by _changed
        self._open = True  # guarded by _changed
        self.schedule: list[str] = []

    def start(self, name: str, task: Callable[[], None]) -> threading.Thread:
        """Have a thread enter the stage."""
        actor = _Actor(name)

        def run() -> None:
            with self._changed:
                actor.ident = threading.get_ident()
                self._actors[actor.ident] = actor
                self._starting -= 1
                self._changed.notify_all()
            try:
                self.gate("start")
                task()
            finally:
                with self._changed:
                    del self._actors[actor.ident]
                    self._changed.notify_all()

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._changed:
            self._starting += 1
        thread.start()
        return thread

    def gate(self, name: str) -> None:
        """Wait to be let through."""
        with self._changed:
            actor = self._actors.get(threading.get_ident())
            if actor is None or self._open:
                return
            actor.gate = name
            actor.turn.clear()
            self._changed.notify_all()
        actor.turn.wait()

    def close(self) -> None:
        """From now on hold up whoever comes to a gate."""
        with self._changed:
            self._open = False

    def open(self) -> None:
        """Let everybody through from now on."""
        with self._changed:
            self._open = True
            for actor in self._actors.values():
                actor.gate = ""
                actor.turn.set()

    def direct(self) -> None:
        """Let one after another through, until all have left the stage.

        Raises:
            HungError: Some are left, and none of them moves.
        """
        moved_at = time.monotonic()
        with self._changed:
            while self._actors or self._starting:
                self._settle()
                waiting = [actor for actor in self._actors.values() if actor.gate]
                if waiting:
                    chosen = self._random.choice(sorted(waiting, key=lambda actor: (actor.name, actor.gate)))
                    self.schedule.append(f"{chosen.name}@{chosen.gate}")
                    chosen.gate, chosen.asleep = "", None
                    chosen.turn.set()
                    moved_at = time.monotonic()
                elif time.monotonic() > moved_at + PATIENCE:
                    raise HungError(", ".join(f"{actor.name} {_where(actor.ident)}" for actor in self._actors.values()))
                else:
                    before = len(self._actors), self._starting
                    self._changed.wait(LOOK)
                    if before != (len(self._actors), self._starting):
                        moved_at = time.monotonic()

    def _settle(self) -> None:
        """Wait until nobody runs: each is at a gate, or has gone, or waits for another one. Holds the lock."""
        while self._starting or any(not actor.gate and not self._stands(actor) for actor in self._actors.values()):
            self._changed.wait(LOOK)

    @staticmethod
    def _stands(actor: _Actor) -> bool:
        frame = _frames().get(actor.ident)
        place = (0, 0) if frame is None else (id(frame), frame.f_lasti)
        stands = actor.asleep == place
        actor.asleep = place
        return stands


def _frames() -> dict[int, FrameType]:
    """Tell where each thread is. Python 3.11 may lock up for ever when garbage is collected in there."""
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        gc.enable()


def _where(ident: int) -> str:
    frame = _frames().get(ident)
    told: list[str] = []
    while frame is not None and len(told) < 6:
        if "harborcal" in frame.f_code.co_filename:
            told.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        frame = frame.f_back
    return "<".join(told)


class StageRunner(ThreadRunner):
    """Gives each task a thread on the stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        if name == "log":
            return super().spawn(name, task)
        return _Spawned(self._stage.start(name, task))

    def wait(self, tasks: Iterable[Task], timeout: float) -> float:
        deadline = time.monotonic() + timeout
        for task in tasks:
            if isinstance(task, _Spawned):
                if task.thread is not threading.current_thread():
                    task.thread.join(max(0.0, deadline - time.monotonic()))
            else:
                super().wait([task], max(0.0, deadline - time.monotonic()))
        return deadline - time.monotonic()


class _Spawned:
    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread

    def done(self) -> bool:
        return not self.thread.is_alive()


# --- the world ------------------------------------------------------------------------------------------------------


class Doors:
    """The way to a calendar, with a gate before and after each call."""

    def __init__(self, inner: InMemoryCalendar, gate: Callable[[str], None]) -> None:
        self._inner = inner
        self._gate = gate

    def heartbeat(self, agent_id: str) -> Heartbeat:
        self._gate("heartbeat")
        answer = self._inner.heartbeat(agent_id)
        self._gate("its answer")
        return answer

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        self._gate(str(update.status))
        receipt = self._inner.update_slot(agent_id, slot, update)
        self._gate(f"{update.status} taken")
        return receipt

    def close(self) -> None:
        self._gate("close")
        self._inner.close()


class ClaimingDoors(Doors):
    """A calendar that is asked for each slot before its wake."""

    def claim(self, agent_id: str, slot: SlotKey, started_at: object) -> UpdateReceipt | None:
        self._gate("claim")
        listed = self._inner.slot(slot)
        if listed.status.is_pending:
            receipt = self._inner.update_slot(agent_id, slot, SlotUpdate(status=SlotStatus.ONGOING))
        else:
            receipt = UpdateReceipt(slot=listed.key)
        self._gate("claimed")
        return receipt


@dataclasses.dataclass
class _Call:
    """A call of an actor, and what came of it."""

    verb: str
    error: BaseException | None = None
    ended: bool = False
    is_inside: bool = False
    """Whether it has come to a door."""
    must_be_awaited: bool = False
    """Whether it was inside when the first stop began."""


class Rehearsal:
    """One slot, some threads that call, and an order in which they do."""

    def __init__(self, random: Random, place: Path) -> None:
        self._random = random
        self._ends = False  # whether a stop has begun
        self._here = threading.local()  # the call that each thread makes
        self.clock = FakeClock()
        self.stage = Stage(random)
        self.calendar = InMemoryCalendar(self.clock, [_AGENT])
        self.key = self.calendar.add_slot(_AGENT, estimated_duration=5)
        self.wakes: list[WakeRequest] = []
        self.calls: list[_Call] = []
        self.kind = random.choice(("bare", "claiming", "journal", "claiming journal"))
        doors = (
            ClaimingDoors(self.calendar, self._pass) if "claiming" in self.kind else Doors(self.calendar, self._pass)
        )
        runner = StageRunner(self.stage)
        self.journal: Journal | None = None
        steps = random.sample(("begun", "written", "committed"), random.choice((0, 0, 1)))
        if "journal" in self.kind:
            self.journal = Journal(place, clock=self.clock, checkpoint=lambda step: self._step(step, steps))
        self.wake_kind = random.choice(("quiet", "quiet", "complete", "abort", "fail", "pause"))
        self.scheduler = Scheduler(
            doors if self.journal is None else OutboxTransport(doors, self.journal, runner=runner, seed=1),
            self,
            lambda: [Agent(id=_AGENT)],
            clock=self.clock,
            runner=runner,
            config=SchedulerConfig(lease=LEASE, seed=1, wake_wait=PATIENCE),
        )
        self.verbs: list[str] = []

    def _pass(self, gate: str) -> None:
        call = getattr(self._here, "call", None)
        if call is not None:
            call.is_inside = True
        self.stage.gate(gate)

    def _step(self, step: str, steps: list[str]) -> None:
        if step.rpartition(".")[2] in steps:
            self._pass(step)

    # --- the host ---------------------------------------------------------------------------------------------------

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Keep nothing."""

    def wake_agent(self, wake: WakeRequest) -> None:
        self.wakes.append(wake)
        self.stage.gate("wake")
        if wake.reminder or len(self.wakes) > 1:
            return
        if self.wake_kind == "fail":
            raise RuntimeError("no")
        if self.wake_kind != "quiet":
            self._carry_out(self.wake_kind, wake)
        self.stage.gate("woken")

    # --- the calls --------------------------------------------------------------------------------------------------

    def _carry_out(self, verb: str, wake: WakeRequest | None = None) -> None:
        call = _Call(verb if wake is None else f"wake's {verb}")
        self.calls.append(call)
        outer, self._here.call = getattr(self._here, "call", None), call
        if verb == "stop" and not self._ends:
            self._ends = True
            for other in self.calls:
                other.must_be_awaited |= other.is_inside and not other.ended and other.verb.endswith(_REPORTS)
        try:
            if verb == "expire":
                self.clock.advance(LEASE + 1)
            elif verb == "stop":
                self.scheduler.stop(3.0)
            elif verb == "tick":
                self.scheduler.tick()
            elif wake is not None:
                getattr(wake.report, verb)()
            else:
                getattr(self.scheduler, verb)(_AGENT)
        except HarborcalError as error:
            call.error = error
        call.ended = True
        self._here.call = outer

    def _carry_out_all(self, verbs: Iterable[str]) -> None:
        for verb in verbs:
            self._carry_out(verb)

    def run(self) -> None:
        """Bring the slot to where it begins, then let the calls meet.

        Raises:
            HungError: They wait for each other for ever.
        """
        begins = self._random.choice(("pending", "pending", "ongoing", "ongoing", "paused", "reminded"))
        if begins != "pending":
            self.wake_kind = "quiet"
            self.scheduler.tick()
        if begins == "paused":
            self.scheduler.pause(_AGENT)
        if begins == "reminded":
            self.clock.advance(LEASE + 1)
        self.stage.direct()  # what was begun so far ends
        ends = ("complete", "complete", "abort", "abort", *_REPORTS, "renew", "tick", "stop", "expire")
        first = "tick" if begins == "pending" else self._random.choice(ends)
        self.verbs = [first, *(self._random.choice(ends) for _ in range(self._random.choice((1, 1, 2))))]
        self.stage.close()
        for number, verb in enumerate(self.verbs):
            then = (verb, self._random.choice(ends)) if self._random.random() < 0.3 else (verb,)
            self.stage.start(f"{number}:{'+'.join(then)}", partial(self._carry_out_all, then))
        self.stage.direct()

    def finish(self) -> None:
        """Let everything that is left end."""
        self.stage.open()
        self.scheduler.stop(1.0)
        if self.journal is not None:
            self.journal.close()


# --- what must hold -------------------------------------------------------------------------------------------------

_NEXT: dict[SlotStatus, set[SlotStatus]] = {
    SlotStatus.NOT_STARTED: {SlotStatus.ONGOING},
    SlotStatus.DEFERRED: {SlotStatus.ONGOING},
    SlotStatus.ONGOING: {SlotStatus.PAUSED, SlotStatus.FINISHED, SlotStatus.ABORTED, SlotStatus.DEFERRED},
    SlotStatus.PAUSED: {SlotStatus.ONGOING, SlotStatus.FINISHED, SlotStatus.ABORTED},
}


def _judge(rehearsal: Rehearsal) -> Iterator[str]:
    scheduler, calls = rehearsal.scheduler, rehearsal.calls
    stopped = any(call.verb == "stop" for call in calls)
    state = SlotStatus.NOT_STARTED
    for _, _, update in rehearsal.calendar.updates:
        if update.status not in _NEXT.get(state, set()):
            yield f"the calendar was told {update.status} after {state}"
        state = update.status
    allowed: tuple[type[HarborcalError], ...] = (NoActiveSlotError, *((LifecycleError,) if stopped else ()))
    for call in calls:
        if not call.ended:
            yield f"{call.verb} has not ended"
        elif call.error is not None and not isinstance(call.error, allowed):
            yield f"{call.verb} raised {call.error!r}"
        elif call.must_be_awaited and isinstance(call.error, LifecycleError):
            yield f"the end did not wait for {call.verb}: {call.error}"
    status = scheduler.status()
    history = [entry for entry in status.history if not entry.reason.startswith("wake failed")]
    won = [call.verb for call in calls if call.ended and call.error is None and _is_end(call)]
    if len(won) > 1 + sum(entry.late for entry in history):
        yield f"{len(won)} terminal calls won: {won}"
    if len(history) > 1:
        yield f"the history has {len(history)} ends"
    pending = rehearsal.journal is not None and rehearsal.journal.status().pending > 0
    if pending and not stopped:
        yield "letters are left"
    listed = rehearsal.calendar.slot(rehearsal.key).status
    if not scheduler.account().is_balanced:
        yield f"the account does not add up: {scheduler.account()}"
    if won and not history:
        yield f"{won[0]} won, and the history does not tell"
    if history and not pending and history[0].status != listed:
        yield f"the history says {history[0].status}, the calendar {listed}"
    if history and not history[0].late and won and not won[0].endswith(_VERBS.get(history[0].status, "?")):
        yield f"{won[0]} won, and the history says {history[0].status}"
    if bool(status.active) == bool(history) and (history or not _may_be_free(rehearsal)):
        yield f"active {status.active}, history {status.history}"
    if status.active and not pending and not stopped and str(status.active[0].state) != str(listed):
        yield f"the status says {status.active[0].state}, the calendar {listed}"
    if len({wake.wake_id for wake in rehearsal.wakes if not wake.reminder}) > 1 + (rehearsal.wake_kind == "fail"):
        yield f"it was woken {len(rehearsal.wakes)} times"


_VERBS = {SlotStatus.FINISHED: "complete", SlotStatus.ABORTED: "abort"}


def _is_end(call: _Call) -> bool:
    return call.verb.endswith(("complete", "abort"))


def _may_be_free(rehearsal: Rehearsal) -> bool:
    """Tell whether the slot may be nobody's: its wake failed, took too long, or was not entered because of the end."""
    has_failed = any(entry.reason.startswith("wake failed") for entry in rehearsal.scheduler.status().history)
    return has_failed or not rehearsal.wakes


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    with folder() as place:
        for number in range(count):
            if outcome.counts["hung"] >= _HANGS:
                break
            path = place / f"journal-{number}"
            rehearsal = Rehearsal(Random(f"{seed} interleaving {number}"), path)
            found: list[str] = []
            try:
                rehearsal.run()
            except HungError as error:
                found.append(f"hung: {error}")
                outcome.counts["hung"] += 1
            if not found:
                found += _judge(rehearsal)
            rehearsal.finish()
            _count(rehearsal, outcome)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            if found:
                told = [(call.verb, repr(call.error)) for call in rehearsal.calls]
                outcome.failures.append(
                    f"seed {seed}, rehearsal {number} ({rehearsal.kind}, wake {rehearsal.wake_kind},"
                    f" {rehearsal.verbs}): {'; '.join(found)}\n    {told}\n    {' '.join(rehearsal.stage.schedule)}"
                )
    return outcome


def _count(rehearsal: Rehearsal, outcome: Outcome) -> None:
    outcome.counts["rehearsals"] += 1
    outcome.counts[f"with {rehearsal.kind}"] += 1
    outcome.counts["gates passed"] += len(rehearsal.stage.schedule)
    for call in rehearsal.calls:
        outcome.counts[f"{call.verb} {'returned' if call.error is None else 'was refused'}"] += 1


CAMPAIGN = Campaign(
    name="interleavings",
    promise="of calls that meet at a slot one ends it, whatever their order, and nobody waits for ever",
    small=200,
    full=20_000,
    run=_run,
)
