"""The scheduler itself: it puts the rooms together and opens their doors."""

import random
from types import TracebackType
from typing import Self

from harborcal.clock import Clock, SystemClock
from harborcal.errors import (
    ConfigurationError,
    HarborcalError,
    NoActiveSlotError,
    SlotMismatchError,
)
from harborcal.grammar import clean
from harborcal.host import Host, WakeWriter
from harborcal.journal import Journal, JournalKeeper
from harborcal.ledger import Claim, Ledger
from harborcal.model import (
    Account,
    Agent,
    Lifecycle,
    PluginInfo,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotUpdate,
    Status,
    TickReport,
    Verdict,
    check_seconds,
)
from harborcal.policy import OFFLINE_AFTER, describe
from harborcal.prompt import build_wake_message
from harborcal.runner import Runner, ThreadRunner
from harborcal.scheduler.answers import Answers
from harborcal.scheduler.attempts import Attempts
from harborcal.scheduler.beats import Beats
from harborcal.scheduler.book import Book
from harborcal.scheduler.context import Context
from harborcal.scheduler.days import Days
from harborcal.scheduler.departures import Departures
from harborcal.scheduler.dispatch import Dispatch, MessageBuilder
from harborcal.scheduler.lanes import Lanes
from harborcal.scheduler.leases import Leases
from harborcal.scheduler.lifecycle import Lifespan
from harborcal.scheduler.listing import Lister, Listing
from harborcal.scheduler.misses import Misses
from harborcal.scheduler.outlook import Outlook
from harborcal.scheduler.place import Place
from harborcal.scheduler.reports import Reports
from harborcal.scheduler.roster import Roster
from harborcal.scheduler.troubles import Troubles
from harborcal.scheduler.updates import Updates
from harborcal.scheduler.voice import Voice
from harborcal.scheduler.wheel import Wheel
from harborcal.transport import DeferredDelivery, Transport, find

CLOSE_WITHIN = 1.0
"""Seconds that the end waits for the transport to close, and again for the log to be written."""


class Scheduler:
    """Heartbeats agents against a calendar, wakes them for their slots, and follows each slot until it is settled.

    Every public method may be called from any thread, and from inside any callback (host, lister, transport, log).
    After `stop` those that would do something raise `LifecycleError`; `status` and `explain` go on telling.

    Args:
        transport: The way to the calendar. The scheduler owns it and closes it at its end. Where an `OutboxTransport`
            is among its layers, attempts are kept in its journal too, and what was under way before a restart is active
            again from the start.
        host: The way to the agents.
        agents: Lists the agents there are now; called at every tick, from one thread at a time.
        config: Intervals, limits and sizes.
        plugin: Who drives the agents; shown in the status.
        clock: Where time comes from.
        runner: Who runs heartbeats, wakes and log lines.
        message: Writes the text that wakes an agent: a function of the slot, or a `WakeWriter` such as
            `build_wake_envelope`, which is told all of the wake.

    Raises:
        ConfigurationError: There is no lister, or an argument is not what its door asks for.
    """

    def __init__(
        self,
        transport: Transport,
        host: Host,
        agents: Lister,
        *,
        config: SchedulerConfig | None = None,
        plugin: PluginInfo | None = None,
        clock: Clock | None = None,
        runner: Runner | None = None,
        message: MessageBuilder = build_wake_message,
    ) -> None:
        _check_doors(transport, host, agents, message)
        self._transport = transport
        self._config = config if config is not None else SchedulerConfig()
        self._plugin = plugin if plugin is not None else PluginInfo()
        self._clock = clock if clock is not None else SystemClock()
        self._runner = runner if runner is not None else ThreadRunner()
        self._lifespan = Lifespan()
        self._place = Place()
        self._troubles = Troubles(self._clock)
        self._voice = Voice(host, self._runner, self._place, self._troubles, self._clock)
        self._ledger = Ledger(self._config.history_size)
        self._roster = Roster(self._config.heartbeat_interval, spread=self._config.spread)
        self._wheel = Wheel(self._clock, self._on_error)
        self._book = Book()
        keeper = find(transport, JournalKeeper)
        if keeper is not None and not isinstance(keeper.journal, Journal):
            raise ConfigurationError(f"a transport's journal is a harborcal.Journal, not {keeper.journal!r}")
        attempts = Attempts(
            self._ledger,
            self._book,
            None if keeper is None else keeper.journal,
            self._clock,
            lease=self._config.lease,
            on_unknown=self._config.on_unknown,
        )
        randomness = _randomness(self._config.seed, attempts)
        context = Context(
            config=self._config,
            clock=self._clock,
            runner=self._runner,
            wheel=self._wheel,
            ledger=self._ledger,
            attempts=attempts,
            book=self._book,
            lanes=Lanes(),
            lifespan=self._lifespan,
            place=self._place,
            troubles=self._troubles,
            voice=self._voice,
            on_error=self._on_error,
        )
        updates = Updates(transport, context)
        self._reports = Reports(updates, context)
        self._dispatch = Dispatch(
            host,
            updates,
            self._reports,
            context,
            message=message,
            randomness=randomness,
            watch=self._watch,
        )
        self._leases = Leases(self._dispatch, self._roster, context)
        self._beats = Beats(
            transport,
            context,
            listing=Listing(agents, self._place, self._troubles, self._voice),
            roster=self._roster,
            answers=Answers(
                context,
                roster=self._roster,
                dispatch=self._dispatch,
                updates=updates,
                misses=Misses(updates, context),
                days=Days(transport, self._dispatch, updates, context),
                outlook=Outlook(transport, context),
            ),
            dispatch=self._dispatch,
            departures=Departures(self._roster, self._dispatch, context),
            randomness=randomness,
        )
        self._deferred = find(transport, DeferredDelivery)
        if self._deferred is not None:
            self._deferred.subscribe(_Outcomes(self._ledger, attempts, self._troubles, self._clock))
        for claim in attempts.restore():
            self._roster.expect(Agent(id=claim.agent_id), self._clock.monotonic())
            self._leases.watch(claim)

    def _watch(self, claim: Claim) -> None:
        self._leases.watch(claim)

    def _on_error(self, source: str, error: BaseException) -> None:
        self._voice.fault("", source, error, "calendar scheduler fault", part=source, err=describe(error))

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to run beside the caller: the first tick at once, then one at every interval.

        Raises:
            LifecycleError: It was started or stopped before.
            RuntimeError: The system has no thread left for the timer.
        """
        self._lifespan.start()
        if self._config.heartbeat_interval >= OFFLINE_AFTER:
            self._voice.warn(
                "calendar heartbeat interval is so long that agents look offline in between",
                seconds=self._config.heartbeat_interval,
                offline_after=OFFLINE_AFTER,
            )
        self._beats.start()

    def run(self) -> None:
        """Run until someone asks to stop, then stop: for a program that has nothing else to do.

        Ctrl-C stops it too, and is raised as `KeyboardInterrupt` once it has stopped.

        Raises:
            LifecycleError: It was started or stopped before.
        """
        self.start()
        try:
            self._lifespan.await_stop_request()
        finally:
            self.stop()

    def request_stop(self) -> None:
        """Let nothing new begin, and let `run` stop. Takes no lock: this is the one for signal handlers."""
        self._lifespan.request_stop()

    def stop(self, timeout: float = 10.0) -> None:
        """Stop: nothing new begins, what is under way may end, then the transport is closed.

        Callable from any thread, from inside any callback (there it returns at once, and the end is waited for
        beside), and more than once. Not from a signal handler, which may have interrupted this very scheduler at a
        lock: that is what `request_stop` is for.

        Args:
            timeout: Seconds that heartbeats, wakes and calls under way are waited for. After that the transport is
                closed under them, which cuts their retries short.

        Raises:
            ConfigurationError: The timeout is no number of seconds, or over a day.
        """
        seconds = max(0.0, check_seconds("timeout", timeout))
        if self._lifespan.is_copy:
            return
        first = self._lifespan.begin_stop()
        if not self._place.may_wait:
            if first:
                self._finish_beside(seconds)
        elif first:
            self._finish(seconds)
        else:
            self._lifespan.wait_for_end(seconds)

    def _finish_beside(self, timeout: float) -> None:
        try:
            self._runner.spawn("stop", lambda: self._finish(timeout))
        except RuntimeError:
            self._finish(0.0)  # no thread left to wait on: end now

    def _finish(self, timeout: float) -> None:
        try:
            self._wheel.close()
            self._beats.close()
            self._leases.close()
            self._dispatch.close()
            left = self._leases.wait(self._dispatch.wait(self._beats.wait(timeout)))
            self._lifespan.wait_for_calls(max(0.0, left))
        finally:
            self._end()

    def _end(self) -> None:
        try:
            closing = self._runner.spawn("close", self._close_transport)
            self._runner.wait([closing], CLOSE_WITHIN)
            if not closing.done():
                self._troubles.note("", "close", "the transport's close() has not returned")
        except RuntimeError:
            self._close_transport()  # no thread left to do it beside us
        finally:
            self._voice.flush(CLOSE_WITHIN)
            self._voice.close()
            self._lifespan.end_stop()

    def _close_transport(self) -> None:
        try:
            with self._place.inside("close"):
                self._transport.close()
        except Exception as error:  # noqa: BLE001 - a transport that cannot close must not keep us from ending
            self._voice.fault("", "close", error, "calendar transport cannot close", err=describe(error))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def tick(self) -> TickReport:
        """Heartbeat every agent now, whatever its own time, and dispatch what is due.

        Waits for the heartbeats, also for those already under way, and for the wakes they cause at most
        ``wake_wait`` seconds. From inside a callback it waits for no wake, and from inside a heartbeat or the lister
        for nothing. Works with and without `start`.

        Raises:
            LifecycleError: The scheduler is stopping or has stopped.
        """
        self._lifespan.check_beginning()
        return self._beats.tick()

    # --- what agents report -----------------------------------------------------------------------------------------

    def complete(
        self, agent_id: str, summary: str = "", *, slot: SlotKey | Slot | None = None, wake_id: str = ""
    ) -> None:
        """Report that an agent's work is done: the calendar is told ``finished``, then the slot is settled.

        Of two terminal calls at once the second waits for the first and is told `NoActiveSlotError`. A call that began
        while one slot was active never settles another. Over an outbox the call returns once the report is on disk.

        The report of an agent that was given up for silent is honoured: while the calendar has not been told that, it
        is told ``finished`` instead; else the report is noted in the history (``late``), and nothing is sent. Without
        ``slot`` it counts for whatever its agent holds by then: who may be late names the slot, or uses its wake's
        ``report``.

        Args:
            agent_id: Whose slot.
            summary: What was done; kept in the history.
            slot: A fence: the slot that is meant, refused if the agent holds another by now.
            wake_id: A stricter one: the wake that is meant, refused if another attempt has begun by now, of this slot
                too.

        Raises:
            NoActiveSlotError: The agent holds no slot.
            SlotMismatchError: It holds another one than ``slot``, or by another wake than ``wake_id``.
            UpdateRefusedError: The calendar refused for good; the slot is settled.
            CalendarRefusedError: The calendar refused for now; the slot stays active.
            TransportError: The calendar gave no answer; the slot stays active, and the call may be repeated.
            JournalError: The journal cannot be written; nothing happened, and the call may be repeated.
            LifecycleError: The scheduler has stopped, or an update of this very slot is under way in this thread.
        """
        self._reports.complete(self._claim_of(agent_id, slot, wake_id, or_expired=True), summary)

    def abort(self, agent_id: str, reason: str = "", *, slot: SlotKey | Slot | None = None, wake_id: str = "") -> None:
        """Report that an agent's work will not be done: the calendar is told ``aborted``, then the slot is settled.

        Arguments and errors are those of `complete`; the reason is kept in the history.
        """
        self._reports.abort(self._claim_of(agent_id, slot, wake_id, or_expired=True), reason)

    def pause(self, agent_id: str, reason: str = "", *, slot: SlotKey | Slot | None = None, wake_id: str = "") -> None:
        """Report that an agent's work rests; pauses do not count as work. Pausing what is paused changes nothing.

        Arguments and errors are those of `complete`; the slot stays active.
        """
        self._reports.pause(self._claim_of(agent_id, slot, wake_id), reason)

    def resume(self, agent_id: str, *, slot: SlotKey | Slot | None = None, wake_id: str = "") -> None:
        """Report that an agent's work goes on. Resuming what runs changes nothing.

        Arguments and errors are those of `complete`; the slot stays active.
        """
        self._reports.resume(self._claim_of(agent_id, slot, wake_id))

    def renew(self, agent_id: str, *, slot: SlotKey | Slot | None = None, wake_id: str = "") -> None:
        """Report that an agent is alive, and nothing else: that renews its lease, as every other call does.

        Raises:
            NoActiveSlotError: The agent holds no slot.
            SlotMismatchError: It holds another one than ``slot``, or by another wake than ``wake_id``.
            LifecycleError: The scheduler has stopped.
        """
        self._reports.renew(self._claim_of(agent_id, slot, wake_id))

    def _claim_of(
        self, agent_id: str, fence: SlotKey | Slot | None, wake_id: str, *, or_expired: bool = False
    ) -> Claim:
        """Find the attempt that a report is about: the active one, or the one that ended because nobody reported."""
        self._lifespan.check()
        if not isinstance(agent_id, str):
            raise ConfigurationError(f"an agent id is a string, not {agent_id!r}")
        if fence is not None and not isinstance(fence, SlotKey | Slot):
            raise ConfigurationError(f"slot is a SlotKey or a Slot, not {fence!r}")
        if not isinstance(wake_id, str):
            raise ConfigurationError(f"wake_id is a string, not {wake_id!r}")
        claim = self._ledger.active_of(agent_id)
        key = fence.key if isinstance(fence, Slot) else fence
        is_meant = claim is not None and self._is_meant(claim, key, wake_id)
        if or_expired and not is_meant:
            expired = self._ledger.expired_of(agent_id, key, wake_id)
            if expired is not None:
                return expired
        if claim is None:
            raise NoActiveSlotError(agent_id)
        if not is_meant:
            parts = ("" if key is None else f"{key.kind} {key}", wake_id and f"wake {clean(wake_id, 100)}")
            raise SlotMismatchError(agent_id, " of ".join(filter(None, parts)), claim.ident)
        return claim

    def _is_meant(self, claim: Claim, key: SlotKey | None, wake_id: str) -> bool:
        return (key is None or self._ledger.means(claim, key)) and wake_id in {"", claim.wake_id}

    def single_active_agent_id(self) -> str:
        """Name the agent when exactly one slot is active, else ``""``: with several, guessing ends the wrong slot."""
        return "" if self._lifespan.is_copy else self._ledger.sole_agent()

    # --- looking on -------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Picture the scheduler at this moment. Never blocks and never raises; a forked copy says that it is one."""
        state = self._lifespan.state
        if state is Lifecycle.FORKED:
            return Status(
                enabled=False, lifecycle=state, heartbeat_every=self._config.heartbeat_interval, plugin=self._plugin
            )
        last_heartbeats = self._roster.last_heartbeats()
        now, at = self._clock.now(), self._clock.monotonic()
        active, history = self._ledger.snapshot(last_heartbeats, now=now, at=at)
        last_errors, problems, own = self._troubles.snapshot()
        agents, heartbeats_under_way = self._roster.counts()
        return Status(
            enabled=state is Lifecycle.RUNNING and self._lifespan.may_begin,
            lifecycle=state,
            heartbeat_every=self._config.heartbeat_interval,
            agents=agents,
            last_tick_at=self._beats.last_tick_at,
            last_heartbeats=last_heartbeats,
            last_errors=last_errors,
            problems=problems,
            scheduler_errors=own,
            active=active,
            history=history,
            heartbeats_under_way=heartbeats_under_way,
            wakes_under_way=self._dispatch.under_way,
            abandoned_threads=self._beats.abandoned + self._dispatch.abandoned + self._leases.abandoned,
            max_abandoned_threads=self._config.max_abandoned,
            delivery=None if self._deferred is None else self._deferred.delivery_status(),
            plugin=self._plugin,
        )

    def account(self) -> Account:
        """Tell what became of every slot seen since this scheduler was made; the sums always agree."""
        return Account() if self._lifespan.is_copy else self._book.account()

    def explain(self, agent_id: str) -> tuple[Verdict, ...]:
        """Tell of every slot in an agent's last answer why it was or was not dispatched; empty for unknown agents."""
        return () if self._lifespan.is_copy else self._roster.verdicts_of(agent_id)

    def __repr__(self) -> str:
        return f"<Scheduler {self._lifespan.state}, every {self._config.heartbeat_interval:g} s>"


def _randomness(seed: int | None, attempts: Attempts) -> random.Random:
    """Draw from the system, or from a seed: another stream after each restart, so that no wake id comes twice."""
    if seed is None:
        return random.SystemRandom()
    so_far = 0 if attempts.journal is None else attempts.journal.attempts_so_far
    return random.Random(seed if not so_far else f"{seed}/{so_far}")  # noqa: S311 - a rehearsal's draws are no secret


class _Outcomes:
    """Hears from a transport that delivers later what became of its updates."""

    def __init__(self, ledger: Ledger, attempts: Attempts, troubles: Troubles, clock: Clock) -> None:
        self._ledger = ledger
        self._attempts = attempts
        self._troubles = troubles
        self._clock = clock

    def delivered(self, key: SlotKey, real_key: SlotKey, number: int) -> None:
        """Enter that the calendar has taken what was accepted for a slot."""
        self._ledger.delivered(key, real_key, number, at=self._clock.monotonic())

    def refused(self, key: SlotKey, update: SlotUpdate, error: HarborcalError, number: int) -> None:
        """Enter that the calendar will never take an update."""
        claim = self._attempts.refused_later(key, update, error, number)
        if claim is not None:
            self._troubles.note(claim.agent_id, "update", error)


def _check_doors(transport: object, host: object, agents: object, message: object) -> None:
    for name, value, methods in (
        ("transport", transport, ("heartbeat", "update_slot", "close")),
        ("host", host, ("wake_agent", "log")),
    ):
        if isinstance(value, type):
            raise ConfigurationError(f"the {name} is an object, not a class: {value.__name__}")
        missing = [method for method in methods if not callable(getattr(value, method, None))]
        if missing:
            raise ConfigurationError(f"the {name} has no method {' or '.join(missing)}: {type(value).__name__}")
    if not callable(agents):
        raise ConfigurationError(f"agents is a callable that lists the agents, not {type(agents).__name__}")
    if isinstance(message, type) or not (callable(message) or isinstance(message, WakeWriter)):
        raise ConfigurationError("message is a callable that turns a slot into text, or a WakeWriter")
