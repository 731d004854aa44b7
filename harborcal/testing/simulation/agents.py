"""Modelled agents. They are other processes: they outlive ours, and go on reporting to whatever takes its place."""

import dataclasses
from collections.abc import Callable, Mapping
from random import Random

from harborcal.clock import Clock
from harborcal.errors import (
    CalendarRefusedError,
    HarborcalError,
    JournalError,
    LifecycleError,
    NoActiveSlotError,
    SlotMismatchError,
    TransportError,
)
from harborcal.host import WakeRequest
from harborcal.model import SlotKey
from harborcal.scheduler import Scheduler
from harborcal.testing.simulation.backend import name_of
from harborcal.testing.simulation.faults import Behaviour, Dice
from harborcal.testing.simulation.history import EventKind, Recorder
from harborcal.testing.simulation.power import PowerCutError

_PATIENCE = 400
"""How often an agent repeats a report that failed."""


@dataclasses.dataclass(slots=True)
class _Job:
    """What an agent makes of one wake."""

    agent_id: str
    slot: str
    key: SlotKey
    behaviour: Behaviour
    work: float
    lease: float
    is_over: bool = False
    rests: bool = False  # what rests has no lease: an agent that comes back remembers it
    pending: int = 0  # timers that will go on with it


class Agents:
    """All agents: who is alive, what each was woken for, and what it says of it."""

    def __init__(
        self,
        clock: Clock,
        dice: Dice,
        history: Recorder,
        *,
        behaviours: Mapping[Behaviour, float],
        pace: tuple[float, float],
        scheduler: Callable[[], Scheduler | None],
    ) -> None:
        self.is_healthy = False
        self._clock = clock
        self._dice = dice
        self._history = history
        self._behaviours = behaviours
        self._pace = pace  # between which shares of its estimate work takes
        self._scheduler = scheduler
        self._dead: set[str] = set()
        self._gone: set[str] = set()
        self._jobs: dict[str, _Job] = {}  # by wake_id
        self._queues: dict[str, WakeRequest] = {}  # by agent: each holds one
        self.replaced = 0
        self._calls = 0

    @property
    def is_quiet(self) -> bool:
        """Whether nobody will say anything more of what it was woken for."""
        waiting = any(agent_id not in self._gone for agent_id in self._queues)
        return not waiting and not any(job.pending for job in self._jobs.values() if job.agent_id not in self._gone)

    def is_alive(self, agent_id: str) -> bool:
        """Tell whether an agent can hear."""
        return agent_id not in self._dead

    # --- dying ------------------------------------------------------------------------------------------------------

    def die(self, agent_id: str, *, for_good: bool = False) -> None:
        """Let an agent die: it neither hears nor speaks, and forgets what it was at."""
        if for_good:
            self._gone.add(agent_id)
        if agent_id in self._dead:
            return
        self._dead.add(agent_id)
        self._history.add(EventKind.DIED, agent_id, for_good=for_good)
        for job in self._jobs.values():
            if job.agent_id == agent_id and not job.rests and self._dice.of("dying").random() < 0.7:
                job.is_over = True

    def come_back(self, agent_id: str) -> None:
        """Let an agent live again, unless it died for good."""
        if agent_id in self._dead and agent_id not in self._gone:
            self._dead.discard(agent_id)
            self._history.add(EventKind.RETURNED, agent_id)

    def come_back_all(self) -> None:
        """Let all live again who may."""
        for agent_id in sorted(self._dead):
            self.come_back(agent_id)

    # --- being woken ------------------------------------------------------------------------------------------------

    def queue(self, wake: WakeRequest, lease: float | None, delay: float) -> None:
        """Let a wake wait in its agent's queue, in the place of the one that waits there."""
        self._replace(wake.agent_id)
        self._queues[wake.agent_id] = wake
        process = self._scheduler()

        def take() -> None:
            if self._queues.get(wake.agent_id) is wake:
                del self._queues[wake.agent_id]
                if self.is_alive(wake.agent_id):
                    self._take(wake, lease, process)

        self._clock.call_later(delay, take)

    def _replace(self, agent_id: str) -> None:
        if self._queues.pop(agent_id, None) is not None:
            self.replaced += 1

    def hear(self, wake: WakeRequest, lease: float | None) -> None:
        """Take a wake on; one that waits in the queue is replaced by it."""
        self._replace(wake.agent_id)
        self._take(wake, lease, self._scheduler())

    def _take(self, wake: WakeRequest, lease: float | None, process: Scheduler | None) -> None:
        job = self._jobs.get(wake.wake_id)
        random = self._stream(wake)
        if job is not None:
            self._hear_again(job, random)
            return
        behaviour = Behaviour.FINISH if self.is_healthy else self._draw(random)
        minutes = wake.slot.estimated_duration or 30
        work = random.uniform(40.0, 160.0) if self.is_healthy else minutes * 60 * random.uniform(*self._pace)
        job = _Job(wake.agent_id, name_of(wake.slot), wake.slot.key, behaviour, work, lease or 3_600.0)
        self._jobs[wake.wake_id] = job
        if behaviour is Behaviour.INSIDE and process is self._scheduler():
            self._say(job, "complete", lambda _scheduler: wake.report.complete("done at once"))
        elif behaviour is Behaviour.INSIDE:
            self._complete(job)  # the wake's report has gone with the process that made it
        else:
            self._BEGIN[behaviour](self, job, random)

    def _hear_again(self, job: _Job, random: Random) -> None:
        """Be reminded; it may help."""
        if job.is_over or job.behaviour is Behaviour.FORGET:
            job.is_over = False
            if self.is_healthy or random.random() < 0.5:
                self._later(job, random.uniform(5.0, 60.0), lambda: self._complete(job))

    def _stream(self, wake: WakeRequest) -> Random:
        return Random(f"{self._dice.of('agents').random()} {wake.agent_id}")

    def _draw(self, random: Random) -> Behaviour:
        kinds = list(self._behaviours)
        return random.choices(kinds, [self._behaviours[kind] for kind in kinds])[0]

    # --- behaviours -------------------------------------------------------------------------------------------------

    def _finish(self, job: _Job, _random: Random) -> None:
        self._later(job, job.work, lambda: self._complete(job))

    def _pause(self, job: _Job, random: Random) -> None:
        def resume() -> None:
            self._say(job, "resume", lambda scheduler: scheduler.resume(job.agent_id, slot=job.key))
            self._later(job, job.work / 2, lambda: self._complete(job))

        def pause() -> None:
            job.rests = True
            self._say(job, "pause", lambda scheduler: scheduler.pause(job.agent_id, "a rest", slot=job.key))
            self._later(job, random.uniform(0.1, 1.2) * min(job.lease, 2_400.0), resume)

        self._later(job, random.choice([0.0, job.work / 2]), pause)

    def _renew(self, job: _Job, random: Random) -> None:
        rounds = random.randint(2, 4)

        def renew(left: int) -> None:
            if left:
                self._say(job, "renew", lambda scheduler: scheduler.renew(job.agent_id, slot=job.key))
                self._later(job, job.lease * 0.7, lambda: renew(left - 1))
            else:
                self._complete(job)

        self._later(job, job.lease * 0.5, lambda: renew(rounds))

    def _abort(self, job: _Job, _random: Random) -> None:
        self._later(
            job,
            job.work / 2,
            lambda: self._say(
                job, "abort", lambda scheduler: scheduler.abort(job.agent_id, "cannot", slot=job.key), repeats=True
            ),
        )

    def _twice(self, job: _Job, random: Random) -> None:
        def both() -> None:
            self._complete(job)
            self._later(job, random.uniform(0.0, 30.0), lambda: self._complete(job))

        self._later(job, job.work, both)

    def _late(self, job: _Job, random: Random) -> None:
        self._later(job, job.lease * random.uniform(1.9, 2.4), lambda: self._complete(job))

    def _forget(self, job: _Job, _random: Random) -> None:
        job.is_over = True

    _BEGIN: Mapping[Behaviour, Callable[["Agents", _Job, Random], None]] = {
        Behaviour.FINISH: _finish,
        Behaviour.PAUSE: _pause,
        Behaviour.RENEW: _renew,
        Behaviour.ABORT: _abort,
        Behaviour.TWICE: _twice,
        Behaviour.LATE: _late,
        Behaviour.FORGET: _forget,
    }

    def _later(self, job: _Job, delay: float, act: Callable[[], None]) -> None:
        job.pending += 1

        def go_on() -> None:
            job.pending -= 1
            if not job.is_over and self.is_alive(job.agent_id):
                act()
            elif not job.is_over and job.agent_id not in self._gone:
                self._later(job, 120.0, act)

        self._clock.call_later(delay, go_on)

    # --- reporting --------------------------------------------------------------------------------------------------

    def _complete(self, job: _Job) -> None:
        self._say(
            job, "complete", lambda scheduler: scheduler.complete(job.agent_id, "done", slot=job.key), repeats=True
        )

    def _say(
        self,
        job: _Job,
        what: str,
        call: Callable[[Scheduler], None],
        *,
        repeats: bool = False,
        tries: int = 0,
    ) -> None:
        """Report, and report again as long as nobody is there to take it."""
        outcome = self._try(job, what, call)
        if what == "resume" and outcome in {"accepted", "refused"}:
            job.rests = False  # not before: whoever dies until then remembers, once it is back
        if outcome in {"failed", "unknown"} and tries < _PATIENCE and (repeats or what != "renew"):
            delay = self._dice.of("agents").uniform(15.0, 60.0)
            if what == "complete" and not repeats:  # from inside a wake that is over by then
                self._later(job, delay, lambda: self._complete(job))
            else:
                self._later(job, delay, lambda: self._say(job, what, call, repeats=repeats, tries=tries + 1))

    def _try(self, job: _Job, what: str, call: Callable[[Scheduler], None]) -> str:
        scheduler = self._scheduler()
        if scheduler is None:
            return "failed"
        self._calls += 1
        number = self._calls
        self._history.add(EventKind.REPORTED, job.agent_id, job.slot, what=what, call=number)
        error: BaseException | None = None
        try:
            call(scheduler)
            # A call that comes back to a process that is gone comes back to nobody.
            outcome = "accepted" if self._scheduler() is scheduler else "unknown"
        except PowerCutError:
            outcome = "unknown"
        except (JournalError, TransportError, LifecycleError) as failure:
            outcome, error = "failed", failure
        except (NoActiveSlotError, SlotMismatchError, CalendarRefusedError) as refusal:
            outcome, error = "refused", refusal
        except HarborcalError as failure:
            outcome, error = "failed", failure
        except Exception as surprise:  # noqa: BLE001 - that is a finding, and no reason to end the rehearsal
            outcome, error = "raised", surprise
        if self._scheduler() is not scheduler:
            outcome = "unknown"
        details = {} if error is None else {"why": type(error).__name__, "error": str(error)}
        self._history.add(
            EventKind.ANSWERED, job.agent_id, job.slot, what=what, call=number, outcome=outcome, **details
        )
        return outcome
