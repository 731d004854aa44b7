"""The loop: whose heartbeat is due, what its answer means, and what follows from it."""

import datetime as dt
import random
import threading
from functools import partial

from harborcal.errors import CalendarUnavailableError, HarborcalError, TransportError, TransportTimeoutError
from harborcal.model import Heartbeat, TickReport
from harborcal.policy import describe, heartbeat_delay, next_beat
from harborcal.scheduler.answers import Answers
from harborcal.scheduler.batches import Batch, Batches
from harborcal.scheduler.context import Context
from harborcal.scheduler.crew import Crew
from harborcal.scheduler.departures import Departures
from harborcal.scheduler.dispatch import Dispatch
from harborcal.scheduler.listing import Listing
from harborcal.scheduler.roster import Beat, Roster
from harborcal.scheduler.troubles import HEARTBEAT, QUIET_EVERY
from harborcal.transport import BatchTransport, Transport, find

JUMP = 1.0
"""Seconds by which the wall clock must run away from the monotonic one within a turn to count as having been set."""

GRAIN = 0.25
"""Seconds within which heartbeats are made together; less where the interval is short."""

LISTER_GIVEN_UP_AFTER = 300.0
"""Seconds after which a call of the lister is given up, so that it is asked again."""


class _Question:
    """One asking of the lister."""

    __slots__ = ("impatient", "serve", "since")

    owner = "the lister"

    def __init__(self, since: float, *, serve: bool, impatient: bool) -> None:
        self.since = since
        self.serve = serve
        self.impatient = impatient


class Beats:
    """Serves whoever is due. The timer's thread only deals out work; it never waits for any of it."""

    def __init__(
        self,
        transport: Transport,
        context: Context,
        *,
        listing: Listing,
        roster: Roster,
        answers: Answers,
        dispatch: Dispatch,
        departures: Departures,
        randomness: random.Random,
    ) -> None:
        self._transport = transport
        self._listing = listing
        self._roster = roster
        self._answers = answers
        self._dispatch = dispatch
        self._departures = departures
        self._randomness = randomness
        self._config = context.config
        self._interval = context.config.heartbeat_interval
        self._grain = min(GRAIN, self._interval / 120)
        self._clock = clock = context.clock
        self._runner = context.runner
        self._wheel = context.wheel
        self._ledger = context.ledger
        self._attempts = context.attempts
        self._place = context.place
        self._voice = context.voice
        self._lifespan = context.lifespan
        self._on_error = context.on_error
        self._crew: Crew[Beat] = Crew(
            "heartbeat",
            context,
            size=context.config.max_heartbeats,
            timeout=context.config.heartbeat_timeout,
            work=self._serve_one,
            overdue=self._overdue,
        )
        batching = find(transport, BatchTransport)
        self._batches = (
            None if batching is None else Batches(batching, context, answered=self._answered, failed=self._failed)
        )
        self._listers: Crew[_Question] = Crew(
            "lister",
            context,
            size=1,
            timeout=max(LISTER_GIVEN_UP_AFTER, context.config.lister_timeout),
            work=self._list,
            overdue=self._lister_overdue,
        )
        self._lock = threading.Lock()
        self._cadence_at: float | None = None  # guarded by _lock; when the lister is asked next, None before start
        self._planned: float | None = None  # guarded by _lock; for when the wheel was last asked to turn
        self._question: _Question | None = None  # guarded by _lock; the one that the lister is to answer now
        self._walls: tuple[dt.datetime, float] = (clock.now(), clock.monotonic())  # guarded by _lock; last look at both
        self._said: tuple[int, float] | None = None  # guarded by _lock; the last tick that was logged
        self._last_tick_at: dt.datetime | None = None  # guarded by _lock

    # --- the timer --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Tick at once, then at every interval.

        Raises:
            RuntimeError: The system has no thread left for the timer.
        """
        now = self._clock.monotonic()
        with self._lock:
            self._cadence_at = now
        if not self._plan():
            raise RuntimeError("the system has no thread left for the timer")

    def _plan(self) -> bool:
        """Have the wheel turn when next something is due; tell whether it will."""
        now = self._clock.monotonic()
        next_due = self._roster.next_due()
        with self._lock:
            if self._cadence_at is None:
                return True
            due = self._cadence_at
            if next_due is not None:
                # While the lister is being asked, those who are due wait for it, though not for ever.
                due = min(due, max(next_due, self._patience_until(now)))
            if self._planned is not None and self._planned <= due:
                return True
            self._planned = due
        return self._wheel.at(due, partial(self._turn, due))

    def _patience_until(self, now: float) -> float:
        """Tell until when to wait for the lister; past where it is not being asked."""
        if self._question is None or self._question.impatient:
            return now
        return self._question.since + self._config.lister_timeout

    def _turn(self, planned: float) -> None:
        if not self._lifespan.may_begin:
            return
        now = self._clock.monotonic()
        with self._lock:
            if self._planned == planned:
                self._planned = None
            cadence = self._cadence_at is not None and now >= self._cadence_at
            if self._cadence_at is not None and cadence:
                self._cadence_at = next_beat(self._cadence_at, self._interval, now)
            patient = self._patience_until(now) > now
        try:
            self._notice_jump()
            if cadence:
                self._tick_by_timer()
            elif not patient:
                self._serve_due()
        finally:
            self._plan()

    def _tick_by_timer(self) -> None:
        if not self._ask_lister(serve=True) or self._listers.abandoned:
            # It still has not answered the last time, or has hung before: nobody waits for it.
            self._serve_due()
            self._say_tick()

    def _notice_jump(self) -> None:
        """Carry a jump of the wall clock, seen against the monotonic one, into what is under way."""
        before, now, at = self._clock.monotonic(), self._clock.now(), self._clock.monotonic()
        if at - before > JUMP / 2:
            return  # this thread was held up between the two clocks: the next look will tell
        with self._lock:
            then_now, then_at = self._walls
            self._walls = (now, at)
        jump = (now - then_now).total_seconds() - (at - then_at)
        if abs(jump) > JUMP:
            self._attempts.follow_clock(now, at)
            self._voice.warn("calendar clock was set", seconds=round(jump, 3))

    # --- who there is -----------------------------------------------------------------------------------------------

    def _ask_lister(self, *, serve: bool) -> bool:
        """Have the lister asked beside us, and, if so wished, whoever is due served then; False where it is busy."""
        now = self._clock.monotonic()
        question = _Question(now, serve=serve, impatient=self._listers.abandoned > 0)
        with self._lock:
            pending = self._question
            if pending is None:
                self._question = question
        if pending is not None:
            self._listers.staff()
            if now - pending.since >= self._config.lister_timeout:
                self._on_error("agents", TransportTimeoutError("the lister has not answered: the last list stands"))
            return False
        if hindrance := self._listers.hindrance(question.owner):
            self._lister_overdue(question, f"is not asked: {hindrance}")
            return False
        return self._listers.submit([question])

    def _list(self, question: "_Question") -> None:
        agents = self._listing.ask()
        if not self._is_answered(question):
            return  # it was given up, and this is its late end
        if agents is not None:
            self._roster.update(agents, self._clock.monotonic())
        self._say_tick()
        if question.serve:
            self._serve_due()
        self._departures.see_off()
        self._plan()

    def _lister_overdue(self, question: "_Question", reason: str) -> None:
        self._is_answered(question)
        self._on_error("agents", TransportTimeoutError(f"the lister {reason}: the last list stands"))

    def _is_answered(self, question: "_Question") -> bool:
        """End a question; tell whether it was still open."""
        with self._lock:
            is_open = self._question is question
            if is_open:
                self._question = None
            return is_open

    def _say_tick(self) -> None:
        """Log a tick when the number of agents has changed, and at a slow pace otherwise; and what was not logged."""
        self._voice.tell_folded()
        agents, _ = self._roster.counts()
        now, at = self._clock.now(), self._clock.monotonic()
        with self._lock:
            self._last_tick_at = now
            quiet = self._said is not None and self._said[0] == agents and at - self._said[1] < QUIET_EVERY
            if not quiet:
                self._said = (agents, at)
        if not quiet:
            self._voice.info("calendar tick", agents=agents)

    # --- one agent's heartbeat --------------------------------------------------------------------------------------

    def _serve_due(self) -> None:
        self._submit(self._roster.take_due(self._clock.monotonic(), self._grain))

    def _submit(self, beats: list[Beat]) -> None:
        """Have heartbeats made: all at once where the transport can, else each on a thread of its own."""
        self._dispatch.staff()
        if self._batches is not None and self._batches.is_fit:
            self._crew.staff()  # an answer may be waiting for a thread
            if not self._batches.submit(beats):
                for beat in beats:
                    self._done(beat)
            return
        free = []
        for beat in beats:
            if hindrance := self._crew.hindrance(beat.owner):
                self._failed(beat, TransportTimeoutError(hindrance))
            else:
                free.append(beat)
        if not self._crew.submit(free):
            for beat in free:
                self._done(beat)

    def _serve_one(self, beat: Beat) -> None:
        if not self._lifespan.may_begin:
            self._done(beat)
            return
        with self._place.inside("heartbeat"):
            if beat.answer is None:
                asked = self._ledger.ask()
                try:
                    heartbeat = _checked(self._transport.heartbeat(beat.owner))
                except BaseException as error:  # noqa: BLE001 - whatever a transport raises, only this agent waits
                    self._failed(beat, error)
                    return
            else:
                heartbeat, asked = beat.answer
            try:
                if self._roster.is_current(beat):
                    self._answers.handle(beat, heartbeat, asked)
            finally:
                self._done(beat)

    def _answered(self, beat: Beat, answer: object, asked: int) -> None:
        """Follow up on an answer of a batch: here where nobody is to be called for it, else on a thread of its own."""
        try:
            if isinstance(answer, HarborcalError):
                self._failed(beat, answer)
                return
            heartbeat = _checked(answer)
            if self._roster.is_current(beat) and not self._answers.handle_at_once(beat, heartbeat, asked):
                beat.answer = (heartbeat, asked)
                if hindrance := self._crew.hindrance(beat.owner):
                    self._failed(beat, TransportTimeoutError(hindrance))
                elif not self._crew.submit([beat]):
                    self._done(beat)
                return
            self._done(beat)
        except TransportError as error:
            self._failed(beat, error)
        except BaseException as error:  # noqa: BLE001 - the others of the batch must not be harmed
            self._done(beat)
            self._on_error("loop", error)

    def _overdue(self, beat: Beat, reason: str) -> None:
        self._failed(beat, TransportTimeoutError(f"heartbeat {reason}"))

    def _failed(self, beat: Beat, error: BaseException) -> None:
        record = beat.record
        if not self._lifespan.may_begin:
            self._done(beat)  # cut short by the end, which is no fault
            return
        retry_after = error.retry_after if isinstance(error, CalendarUnavailableError) else None
        failures = record.failures + 1
        delay = heartbeat_delay(failures, self._interval, retry_after, self._randomness.random())
        if self._roster.done(beat, self._clock.monotonic(), delay) is None:
            return  # it was given up before, and this is its late end
        beat.failed = True
        record.failures = failures
        record.said = None
        err = describe(error)
        self._voice.fault(beat.owner, HEARTBEAT, err, "calendar heartbeat failed", agent=beat.owner, err=err)
        self._plan()

    def _done(self, beat: Beat) -> None:
        due = self._roster.done(beat, self._clock.monotonic())
        # Lone reads: whoever has changed them since plans after us.
        if due is not None and self._cadence_at is not None and (self._planned is None or due < self._planned):
            self._plan()

    # --- tick -------------------------------------------------------------------------------------------------------

    def tick(self) -> TickReport:
        """Heartbeat every agent now and follow up, waiting for as much as may be waited for here."""
        if self._place.may_wait_for_heartbeats:
            self._await_lister()
        new, under_way = self._roster.take_all()
        self._submit(new)
        beats = new + under_way
        if self._place.may_wait_for_heartbeats:
            self._await_heartbeats(beats)
        if self._place.may_wait:
            wakes = [beat.wake for beat in beats if beat.wake is not None]
            self._dispatch.wait_for(wakes, self._config.wake_wait)
            self._voice.flush(self._config.wake_wait)
        return self._tick_report(beats)

    def _await_lister(self) -> None:
        asked = self._ask_lister(serve=False)
        now = self._clock.monotonic()
        with self._lock:
            young = self._question is not None and now - self._question.since < self._config.lister_timeout
        if asked or young:
            self._runner.wait(self._listers.tasks(), self._config.lister_timeout)
        else:
            self._say_tick()

    def _await_heartbeats(self, beats: list[Beat]) -> None:
        left = self._config.heartbeat_timeout
        while left > 0 and any(self._roster.is_current(beat) for beat in beats):
            tasks = [task for crew in self._crews for task in crew.tasks()]
            if not tasks:
                return
            left = self._runner.wait(tasks, left)

    def _tick_report(self, beats: list[Beat]) -> TickReport:
        beats = sorted(beats, key=lambda beat: beat.owner)
        return TickReport(
            agents=tuple(beat.owner for beat in beats),
            failed_heartbeats=tuple(beat.owner for beat in beats if beat.failed),
            woken=_wakes_of(beats, "woken"),
            failed_wakes=_wakes_of(beats, "failed"),
            pending_heartbeats=tuple(beat.owner for beat in beats if self._roster.is_current(beat)),
            pending_wakes=_wakes_of(beats, ""),
        )

    # --- the end, and looking on ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Begin no more heartbeats; those that were queued are undone."""
        self._listers.close()
        self._departures.close()
        for beat in [*self._crew.close(), *(self._batches.close() if self._batches is not None else ())]:
            self._done(beat)

    def wait(self, timeout: float) -> float:
        """Wait until no heartbeat is under way, at most ``timeout`` seconds; return the seconds left."""
        left = timeout
        for crew in self._crews:
            left = crew.wait(left)
        return left

    @property
    def _crews(self) -> "tuple[Crew[Batch] | Crew[Beat], ...]":
        """Who makes heartbeats; batches first, since they hand on to the others."""
        return (self._crew,) if self._batches is None else (self._batches.crew, self._crew)

    @property
    def last_tick_at(self) -> dt.datetime | None:
        """When the last tick was."""
        with self._lock:
            return self._last_tick_at

    @property
    def abandoned(self) -> int:
        """How many threads are stuck with the transport or the lister."""
        return sum(crew.abandoned for crew in self._crews) + self._listers.abandoned + self._departures.abandoned


def _checked(heartbeat: object) -> Heartbeat:
    if not isinstance(heartbeat, Heartbeat):
        raise TransportError(f"the transport answered with a {type(heartbeat).__name__}")
    return heartbeat


def _wakes_of(beats: list[Beat], outcome: str) -> tuple[str, ...]:
    return tuple(beat.owner for beat in beats if beat.wake is not None and beat.wake.outcome == outcome)
