"""Updates that are accepted now and delivered later, through outages and restarts."""

import contextlib
import dataclasses
import heapq
import os
import random
import threading
from collections import deque
from collections.abc import Callable

from harborcal.clock import Clock, Timer
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    JournalError,
    LifecycleError,
    TransportError,
)
from harborcal.grammar import check_id
from harborcal.journal import Journal, Letter, LetterState
from harborcal.model import DeliveryStatus, Heartbeat, SlotKey, SlotUpdate, UpdateReceipt, check_seconds
from harborcal.policy import Refusal, asked_delay, describe, is_agent_unknown, read_refusal
from harborcal.runner import Runner, Task, ThreadRunner
from harborcal.transport import DeferredDelivery, DeliveryListener, Transport, find
from harborcal.wire import encode_update, update_path

CLOSE_WITHIN = 0.5
"""Seconds that the end waits for what is just being delivered, and for what could be delivered at once."""

OUTAGE = 3
"""How many failures in a row are an outage, and no longer one letter's trouble."""

JOURNAL_DELAY = 5.0
"""Seconds until a journal that could not be written is tried again."""


class OutboxTransport:
    """Accept updates durably and deliver them later. Wraps any transport; safe to call from many threads.

    An update is accepted once it is in the journal: the call returns then, and the update is delivered whatever happens
    to this process. Updates of one slot leave in the order in which they were accepted, those of different slots do not
    wait for each other; one background task delivers them. What fails is tried again, with exponential back-off and
    jitter, until the calendar has taken it or refuses it for good. A refused one is a dead letter: the status shows it,
    until somebody has it sent again or drops it.

    After an outage the backlog leaves no faster than the calls of steady days came, so that with the heartbeats the
    calendar has at most twice its usual load; and a calendar that asks to be left alone (``Retry-After``) is.

    Heartbeats, claims and days are not buffered: they go to the inner transport.

    Args:
        inner: The transport that does the work; closed with this one.
        journal: Where updates are kept; closed with this one.
        clock: Tells time; the journal's by default.
        runner: Runs the delivery beside the caller.
        base_delay: Seconds; the most that is waited after a first failure. It doubles with each further one.
        max_delay: Seconds; the most that is ever waited.
        seed: Fixes the jitter.

    Raises:
        ConfigurationError: An argument makes no sense.
    """

    def __init__(
        self,
        inner: Transport,
        journal: Journal,
        *,
        clock: Clock | None = None,
        runner: Runner | None = None,
        base_delay: float = 1.0,
        max_delay: float = 60.0,
        seed: int | None = None,
    ) -> None:
        _check_parts(inner, journal)
        for name, door, method in (("clock", clock, "monotonic"), ("runner", runner, "spawn")):
            if door is not None and not callable(getattr(door, method, None)):
                raise ConfigurationError(f"the {name} has no method {method}: {type(door).__name__}")
        if seed is not None and type(seed) is not int:
            raise ConfigurationError(f"seed is a whole number or None, not {seed!r}")
        for name, delay in (("base_delay", base_delay), ("max_delay", max_delay)):
            if check_seconds(name, delay) <= 0:
                raise ConfigurationError(f"{name} is more than 0 seconds, not {delay!r}")
        journal.adopt("outbox")
        self.inner = inner
        self.journal = journal
        self._process = os.getpid()  # fixed
        self._clock = clock if clock is not None else journal.clock
        self._runner = runner if runner is not None else ThreadRunner()
        self._random = random.Random(seed)  # noqa: S311 - what its draws decide is no secret
        self._base_delay = float(base_delay)
        self._max_delay = float(max_delay)
        self._listeners: list[DeliveryListener] = []  # appended to only
        self._lock = threading.Lock()
        self._lanes: dict[int, _Lane] = {}  # guarded by _lock; those with letters on their way
        self._heads: list[tuple[float, int]] = []  # guarded by _lock; a heap: when the first of each lane may leave
        self._pace = _Pace(self._clock.monotonic())  # guarded by _lock
        self._is_delivering = False  # guarded by _lock; whether the task runs, or is about to
        self._task: Task | None = None  # replaced as a whole; the latest one that delivers
        self._timer: Timer | None = None  # guarded by _lock
        self._timer_due = 0.0  # guarded by _lock; monotonic
        self._close_by: float | None = None  # guarded by _lock; None until it is closed
        self._last_error = ""  # guarded by _lock
        for letter in journal.letters(LetterState.PENDING):
            self._post(letter)
            self._pace.recover()  # who knows for how long it was down
        if self._heads:
            self._rouse()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r}, {self.journal!r})"

    # --- the transport's door ---------------------------------------------------------------------------------------

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Ask for one agent's pending slots, at once.

        Raises:
            TransportError, CalendarRefusedError: What the inner transport raises.
            LifecycleError: The transport is closed, or this is a forked child's copy.
        """
        if self._is_copy:
            raise LifecycleError(f"this outbox belongs to process {self._process}: make one of its own after the fork")
        at = self._clock.monotonic()
        with self._lock:
            self._pace.count(at, heartbeats=1)
            is_idle = not self._is_delivering and self._timer is None
            is_stalled = is_idle and (bool(self._heads) or self.journal.status().pending > 0)
        if is_stalled:
            self._go_on()
        return self.inner.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Accept an update: once this returns it is in the journal, and will be delivered.

        Raises:
            ConfigurationError: The agent's id, the slot's or the update cannot stand in a request.
            JournalError: It could not be written, and was not accepted.
            LifecycleError: The transport is closed, or this is a forked child's copy.
        """
        if self._close_by is not None:  # a lone read
            raise LifecycleError("the transport is closed")
        # What no calendar could be told is refused now, by the rules of the contract's own requests.
        check_id("agent_id", agent_id)
        update_path(slot)
        encode_update(update)
        letter = self.journal.accept(agent_id, slot, update)
        at = self._clock.monotonic()
        with self._lock:
            self._pace.count(at, updates=1)
            self._post(letter)
        self._rouse()
        return UpdateReceipt(slot=letter.address, delivered=False, number=letter.number)

    def close(self) -> None:
        """Deliver what can be delivered at once, at most for half a second, then close the inner transport.

        What is left is delivered after the journal is opened again. A forked child's copy leaves it all to its parent.
        """
        if self._is_copy:
            return
        close_by = self._clock.monotonic() + CLOSE_WITHIN
        with self._lock:
            if self._close_by is None:
                self._close_by = close_by
            timer, self._timer = self._timer, None
            task = self._task if self._is_delivering else None
        if timer is not None:
            timer.cancel()
        if task is not None:
            self._runner.wait([task], CLOSE_WITHIN)
        try:
            self.inner.close()
        finally:
            self.journal.close()

    @property
    def _is_copy(self) -> bool:
        """Whether this is a forked child's copy, whose locks may be held by threads that exist in the parent only."""
        return os.getpid() != self._process

    def _go_on(self) -> None:
        """Deliver what nobody delivers: there was no thread left, or Ctrl-C came between acceptance and posting."""
        for letter in self.journal.letters(LetterState.PENDING):
            with self._lock:
                self._post(letter)
        self._rouse()

    # --- later outcomes ---------------------------------------------------------------------------------------------

    def subscribe(self, listener: DeliveryListener) -> None:
        """Tell the listener of every later outcome."""
        self._listeners.append(listener)

    def replace(self, number: int, update: SlotUpdate) -> bool:
        """Put another update in the place of an accepted one that was never sent; tell whether that was so.

        Raises:
            JournalError: It could not be written; nothing has changed.
        """
        return self.journal.replace(number, update) is not None

    def delivery_status(self) -> DeliveryStatus:
        """Picture what was accepted and what became of it; never blocks on the calendar or the disk."""
        return dataclasses.replace(self.journal.status(), last_error=self._last_error)

    def retry_dead_letter(self, number: int) -> None:
        """Have a dead letter sent again, in its slot's order.

        Raises:
            ConfigurationError: There is no such dead letter, or its slot has gone on since.
            JournalError: It could not be written; nothing has changed.
        """
        letter = self.journal.revive(number)
        with self._lock:
            self._post(letter)
        self._rouse()

    def drop_dead_letter(self, number: int) -> None:
        """Forget a dead letter; it stays counted.

        Raises:
            ConfigurationError: There is no such dead letter.
            JournalError: It could not be written; nothing has changed.
        """
        self.journal.drop(number)

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is on its way, at most ``timeout`` seconds; tell whether that is so."""
        settled = threading.Event()
        listener = _Waiter(settled, self.journal)
        self._listeners.append(listener)
        try:
            return self.journal.status().pending == 0 or settled.wait(timeout)
        finally:
            self._listeners.remove(listener)

    # --- delivering -------------------------------------------------------------------------------------------------

    def _post(self, letter: Letter) -> None:
        """Queue a letter in its lane. Holds the lock."""
        lane = self._lanes.setdefault(letter.lane, _Lane(letter.lane))
        if letter.number not in lane.numbers:
            lane.numbers = deque(sorted((*lane.numbers, letter.number)))
        if not lane.is_listed:
            lane.is_listed = True
            heapq.heappush(self._heads, (lane.ready_at, letter.lane))

    def _rouse(self) -> None:
        """See that the task delivers."""
        with self._lock:
            timer, self._timer = self._timer, None
            is_needed = not self._is_delivering and self._close_by is None
        if timer is not None:
            timer.cancel()
        if not is_needed:
            return
        try:
            self._task = self._runner.spawn("outbox", self._deliver)
        except RuntimeError as error:
            self._last_error = describe(error)  # no thread left: the next call tries again

    def _deliver(self) -> None:
        # Taken by the task itself: whoever spawns it may be interrupted before it exists.
        with self._lock:
            if self._is_delivering:
                return  # two were spawned at once
            self._is_delivering = True
        try:
            self._deliver_all()
        except BaseException:
            self._is_delivering = False  # a lone write, and the only task there is
            raise

    def _deliver_all(self) -> None:
        while (lane := self._next()) is not None:
            delay = JOURNAL_DELAY
            try:
                delay = self._send(lane, lane.numbers[0]) if lane.numbers else 0.0
            except BaseException as error:  # noqa: BLE001 - the journal cannot be written, or worse: it must go on
                at = self._clock.monotonic()
                with self._lock:
                    self._last_error = describe(error)
                    self._pace.ready_at = at + delay  # for the others it could not be written either
            self._list_again(lane, delay)

    def _next(self) -> "_Lane | None":
        """Take the lane whose first letter may leave now; where there is none, come back when there is."""
        now = self._clock.monotonic()
        with self._lock:
            if not self._heads or (self._close_by is not None and now > self._close_by):
                self._is_delivering = False
                return None
            ready_at, number = self._heads[0]
            if ready_at > now:
                self._pace.recovered()
            due = max(ready_at, self._pace.ready_at)
            if due <= now:
                heapq.heappop(self._heads)
                lane = self._lanes[number]
                lane.is_listed = False
                return lane
            self._is_delivering = False
            if self._close_by is not None:
                return None
        self._come_back(due - now)
        return None

    def _come_back(self, delay: float) -> None:
        try:
            timer = self._clock.call_later(delay, self._rouse)
        except RuntimeError as error:
            self._last_error = describe(error)  # no thread left: the next call tries again
            return
        due = self._clock.monotonic() + delay
        with self._lock:
            is_late = self._timer is not None and self._timer_due <= due
            spare = timer if self._is_delivering or self._close_by is not None or is_late else self._timer
            if spare is not timer:
                self._timer, self._timer_due = timer, due
        if spare is not None:
            spare.cancel()

    def _list_again(self, lane: "_Lane", delay: float) -> None:
        ready_at = self._clock.monotonic() + delay
        with self._lock:
            lane.ready_at = ready_at
            if not lane.numbers and not lane.is_listed:
                del self._lanes[lane.name]
            elif not lane.is_listed:
                lane.is_listed = True
                heapq.heappush(self._heads, (lane.ready_at, lane.name))
            if not self._lanes:
                self._pace.recovered()

    def _send(self, lane: "_Lane", number: int) -> float:
        """Send the first letter of a lane; return the seconds until the lane goes on."""
        letter = self.journal.tried(number)
        if letter is None:
            self._off(lane, number)
            return 0.0
        try:
            receipt = self.inner.update_slot(letter.agent_id, letter.address, letter.update)
            real_key = receipt.slot
        except CalendarRefusedError as refusal:
            meaning = read_refusal(refusal, letter.update, tried_before=letter.tries > 1, gentle=False)
            if meaning is Refusal.PASSING:
                return self._failed(lane, letter, refusal)  # somebody may mend that: it is no word on the update
            if meaning is not Refusal.ALREADY_SO:
                words, refused = describe(refusal), refusal  # that name ends with this block
                self._end(lane, letter, lambda: self._bury(letter, words))
                self._tell(lambda listener: listener.refused(letter.key, letter.update, refused, letter.number))
                return 0.0
            real_key = letter.address
        except BaseException as error:  # noqa: BLE001 - whatever a transport raises, the letter stays on its way
            return self._failed(lane, letter, error)
        self._end(lane, letter, lambda: self.journal.delivered(letter.number, real_key))
        self._tell(lambda listener: listener.delivered(letter.key, real_key, letter.number))
        return 0.0

    def _bury(self, letter: Letter, words: str) -> None:
        try:
            self.journal.bury(letter.number, words)
        except JournalError:
            # It is asked again once the disk is well, and that refusal must not look like "already so".
            self.journal.failed(letter.number, words, may_be_there=letter.tries > 1)
            raise

    def _tell(self, outcome: Callable[[DeliveryListener], None]) -> None:
        for listener in tuple(self._listeners):
            try:
                outcome(listener)
            except Exception as error:  # noqa: BLE001 - what one listener raises must not keep the others from knowing
                with self._lock:
                    self._last_error = describe(error)

    def _end(self, lane: "_Lane", letter: Letter, write: Callable[[], None]) -> None:
        """Take a letter off its lane and write what became of it."""
        at = self._clock.monotonic()
        with self._lock:
            self._last_error = ""
            lane.failures = 0
            if self._pace.worked(at):
                self._hasten()
        # Before it is written: once it is, somebody may post it again.
        self._off(lane, letter.number)
        try:
            write()
        except BaseException:
            with self._lock:
                lane.numbers = deque(sorted({*lane.numbers, letter.number}))
            raise

    def _hasten(self) -> None:
        """Let nobody wait any more for an outage that is over; the pace keeps them from coming all at once."""
        self._heads = [(0.0, name) for _, name in self._heads]
        heapq.heapify(self._heads)
        for lane in self._lanes.values():
            lane.ready_at, lane.failures = 0.0, 0

    def _off(self, lane: "_Lane", number: int) -> None:
        with self._lock, contextlib.suppress(ValueError):
            lane.numbers.remove(number)

    def _failed(self, lane: "_Lane", letter: Letter, error: BaseException) -> float:
        now = self._clock.monotonic()
        self.journal.failed(letter.number, describe(error), may_be_there=_may_be_there(error))
        asked_for = asked_delay(error.retry_after) if isinstance(error, CalendarUnavailableError) else 0.0
        is_unknown = isinstance(error, CalendarRefusedError) and is_agent_unknown(error)
        with self._lock:
            self._last_error = describe(error)
            lane.failures += 1
            self._pace.failed(
                now,
                source=letter.agent_id if is_unknown else lane.name,
                delay=self._delay(self._pace.failures + 1),
                asked_for=asked_for,
            )
            return max(asked_for, self._delay(lane.failures))

    def _delay(self, failures: int) -> float:
        """Draw how long to wait after failures in a row: at least half of what it may be."""
        ceiling = min(self._max_delay, self._base_delay * 2.0 ** min(failures - 1, 32))
        return ceiling * self._random.uniform(0.5, 1.0)


def _check_parts(inner: object, journal: object) -> None:
    if isinstance(inner, type) or not callable(getattr(inner, "update_slot", None)):
        raise ConfigurationError(
            f"inner is a transport, not {inner if isinstance(inner, type) else type(inner).__name__}"
        )
    if find(inner, DeferredDelivery) is not None:
        raise ConfigurationError("inner delivers later already: one outbox is enough, and knows what has arrived")
    if not isinstance(journal, Journal):
        raise ConfigurationError(f"journal is a harborcal.Journal, not {type(journal).__name__}")


def _may_be_there(error: BaseException) -> bool:
    """Tell whether the calendar may have taken what failed so."""
    if isinstance(error, CalendarRefusedError):
        return error.repeated  # of a retry: the try before it may have been applied
    return not isinstance(error, TransportError) or error.is_outcome_unknown


class _Lane:
    """The letters of one slot that are on their way. Fields are guarded by the outbox's lock."""

    __slots__ = ("failures", "is_listed", "name", "numbers", "ready_at")

    def __init__(self, name: int) -> None:
        self.name = name  # fixed
        self.numbers: deque[int] = deque()
        self.failures = 0
        self.ready_at = 0.0
        self.is_listed = False  # whether it waits among the heads


class _Pace:
    """How fast letters may leave. Fields are guarded by the outbox's lock.

    In steady days at once. A slot whose letter fails waits for itself; where those of several slots fail in a row it is
    the calendar that fails, and letters leave ever less often. Afterwards, until the backlog is gone, they leave so
    fast that heartbeats and letters together are at most twice what heartbeats and accepted updates were in steady
    days, though at least one each five minutes. After a restart steady days are not known until a minute has passed.
    """

    _WINDOW = 60.0
    _SHARE = 0.3  # what the latest window counts for
    _SLOWEST = 300.0
    _UNKNOWN = 15.0
    _FREE = 2  # letters that do not wait after a restart: mostly those are all

    def __init__(self, now: float) -> None:
        self.failures = 0  # in a row
        self._failing: set[int | str] = set()  # where these came from
        self._is_recovering = False
        self._free = self._FREE
        self.ready_at = now
        self._since = now
        self._counts = [0, 0]  # heartbeats and accepted updates in this window
        self._rates: list[float] | None = None  # of both per second, in windows without failures

    def count(self, now: float, *, heartbeats: int = 0, updates: int = 0) -> None:
        """Count what the calendar is asked for, and learn from windows in which nothing failed."""
        if self.failures:
            self._since, self._counts = now, [0, 0]
            return
        self._counts[0] += heartbeats
        self._counts[1] += updates
        span = now - self._since
        if span >= self._WINDOW:
            latest = [count / span for count in self._counts]
            known = self._rates if self._rates is not None else latest
            self._rates = [old + (new - old) * self._SHARE for old, new in zip(known, latest, strict=True)]
            self._since, self._counts = now, [0, 0]

    def worked(self, now: float) -> bool:
        """Enter that a letter ended; tell whether that was the end of an outage."""
        is_over = self.failures >= OUTAGE
        self.failures = 0
        self._failing.clear()
        if self._is_recovering:
            is_free = self._rates is None and self._free > 0
            self._free -= is_free
            self.ready_at = now if is_free else now + self._gap()
        return is_over

    def failed(self, now: float, *, source: int | str, delay: float, asked_for: float) -> None:
        """Enter that a letter failed.

        Args:
            now: Monotonic now.
            source: Whose trouble that is if nobody else has it: the number of a lane, or the id of an agent that the
                calendar does not know.
            delay: Seconds that the failures in a row ask for, where they are everybody's.
            asked_for: Seconds for which the calendar asks to be left alone.
        """
        self.failures += 1
        self._failing.add(source)
        if len(self._failing) > 1:
            self._is_recovering = True
            self.ready_at = now + max(delay, asked_for, self._gap())
        elif self._is_recovering or (isinstance(source, str) and self.failures >= OUTAGE):
            self.ready_at = now + max(asked_for, self._gap())
        else:
            self.ready_at = max(self.ready_at, now + asked_for)

    def recover(self) -> None:
        """Enter that there is a backlog."""
        self._is_recovering = True

    def recovered(self) -> None:
        """Enter that the backlog is gone, or that what is left of it waits for itself, not for anybody's outage."""
        if self._is_recovering and len(self._failing) <= 1:
            self._is_recovering = False
            self.ready_at = 0.0

    def _gap(self) -> float:
        heartbeats, updates = self._rates or (0.0, 0.0)
        rate = heartbeats + 2 * updates
        # A little slower than that: what was counted may have been a call or two too many.
        return min(self._SLOWEST, 1.1 / rate) if rate else self._UNKNOWN


class _Waiter:
    """Waits until nothing is on its way."""

    def __init__(self, settled: threading.Event, journal: Journal) -> None:
        self._settled = settled
        self._journal = journal

    def delivered(self, _key: SlotKey, _real_key: SlotKey, _number: int) -> None:
        """Look whether that was the last."""
        if not self._journal.status().pending:
            self._settled.set()

    def refused(self, key: SlotKey, _update: SlotUpdate, _error: HarborcalError, number: int) -> None:
        """Look whether that was the last."""
        self.delivered(key, key, number)
