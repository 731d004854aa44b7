"""Clocks that stand still until a test moves them."""

import bisect
import datetime as dt
import math
import threading
from collections.abc import Callable

from harborcal.errors import ConfigurationError
from harborcal.model import check_seconds

MONDAY_MORNING = dt.datetime(2026, 1, 5, 9, 0, tzinfo=dt.UTC)
"""Where a `FakeClock` starts unless told otherwise."""

_FURTHEST = 1e10
# Sums of floats miss their mark by a hair; a timer this close to the end of an advance counts as due.
_HAIR = 1e-6


class _QueuedTimer:
    """A timer in a queue; dues are on the clock's monotonic scale."""

    __slots__ = ("_queue", "callback", "due", "order")

    def __init__(self, queue: "_TimerQueue", due: float, order: int, callback: Callable[[], None]) -> None:
        self._queue = queue
        self.due = due
        self.order = order
        self.callback = callback

    def cancel(self) -> None:
        self._queue.discard(self)


class _TimerQueue:
    """Waiting timers by due time; those due together stand in the order of their creation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timers: list[_QueuedTimer] = []  # guarded by _lock; sorted
        self._created = 0  # guarded by _lock

    def add(self, now: float, delay: float, callback: Callable[[], None]) -> _QueuedTimer:
        if math.isnan(delay):
            raise ConfigurationError("a timer's delay is a number of seconds, not nan")
        # However short, a delay moves time: a caller that waits for the rest of a deadline must come to its end.
        due = max(now + delay, math.nextafter(now, math.inf)) if delay > 0 else now
        with self._lock:
            self._created += 1
            timer = _QueuedTimer(self, due, self._created, callback)
            bisect.insort(self._timers, timer, key=_by_due)
        return timer

    def discard(self, timer: _QueuedTimer) -> None:
        with self._lock:
            if timer in self._timers:
                self._timers.remove(timer)

    def take_due(self, limit: float) -> _QueuedTimer | None:
        """Take the first timer out of the queue if it is due by then."""
        with self._lock:
            if self._timers and self._timers[0].due <= limit:
                return self._timers.pop(0)
            return None

    def dues(self) -> tuple[float, ...]:
        with self._lock:
            return tuple(timer.due for timer in self._timers)


def _by_due(timer: _QueuedTimer) -> tuple[float, int]:
    return timer.due, timer.order


class FakeClock:
    """A clock that moves only when `advance` or `jump` says so, and then calls its timers in the caller's thread.

    No lock is held while a timer's callback runs: it may read this clock, make and cancel timers, and advance it.
    """

    def __init__(self, start: dt.datetime = MONDAY_MORNING) -> None:
        """Stand still at an aware instant.

        Raises:
            ConfigurationError: The instant names no time zone.
        """
        if start.tzinfo is None:
            raise ConfigurationError("a clock starts at an aware instant")
        self._lock = threading.Lock()
        self._origin = start.astimezone(dt.UTC)  # guarded by _lock; the wall's time at monotonic zero
        self._monotonic = 0.0  # guarded by _lock
        self._timers = _TimerQueue()

    def now(self) -> dt.datetime:
        """Tell the wall's time, aware, UTC."""
        with self._lock:
            return self._origin + dt.timedelta(seconds=self._monotonic)

    def monotonic(self) -> float:
        """Tell how many seconds this clock was advanced so far."""
        with self._lock:
            return self._monotonic

    def call_later(self, delay: float, callback: Callable[[], None]) -> _QueuedTimer:
        """Call back from the `advance` that reaches the timer; never from here, not even without a delay.

        Raises:
            ConfigurationError: The delay is NaN.
        """
        return self._timers.add(self.monotonic(), delay, callback)

    @property
    def pending(self) -> tuple[float, ...]:
        """When the waiting timers are due, in `monotonic` seconds, the first first."""
        return self._timers.dues()

    def advance(self, seconds: float) -> None:
        """Let time pass, and call each timer that comes due at its own moment, in order.

        Timers that callbacks add are called too when they come due on the way. What a callback raises escapes: the
        clock then stands at that timer's moment, and the others still wait.

        Raises:
            ConfigurationError: The seconds are negative or not finite.
        """
        span = check_seconds("an advance", seconds, _FURTHEST)
        if span < 0:
            raise ConfigurationError(f"time is advanced forward, not by {seconds!r} seconds; jump() moves the wall")
        target = self.monotonic() + span
        while (timer := self._timers.take_due(target + _HAIR)) is not None:
            self._pass_to(timer.due)
            timer.callback()
        self._pass_to(target)

    def jump(self, seconds: float) -> None:
        """Set the wall's time forward or back; monotonic time and the timers do not notice.

        Raises:
            ConfigurationError: The seconds are not finite.
        """
        span = dt.timedelta(seconds=check_seconds("a jump", seconds, _FURTHEST))
        with self._lock:
            self._origin += span

    def _pass_to(self, moment: float) -> None:
        with self._lock:
            self._monotonic = max(self._monotonic, moment)


class FrozenClock:
    """A clock for tests under freezegun: it tells frozen time, and derives monotonic time from it.

    Moving the frozen time forward moves both; moving it back moves the wall only. Timers wait for `fire_due`, because
    nobody tells a clock that freezegun moved.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen_at = self.now()  # guarded by _lock
        self._monotonic = 0.0  # guarded by _lock
        self._timers = _TimerQueue()

    def now(self) -> dt.datetime:
        """Tell ``datetime.now(UTC)``, which freezegun freezes."""
        return dt.datetime.now(dt.UTC)

    def monotonic(self) -> float:
        """Tell how many seconds the frozen time moved forward while this clock was looked at."""
        now = self.now()
        with self._lock:
            self._monotonic += max(0.0, (now - self._seen_at).total_seconds())
            self._seen_at = now
            return self._monotonic

    def call_later(self, delay: float, callback: Callable[[], None]) -> _QueuedTimer:
        """Call back from the first `fire_due` at or after the timer's moment.

        Raises:
            ConfigurationError: The delay is NaN.
        """
        return self._timers.add(self.monotonic(), delay, callback)

    @property
    def pending(self) -> tuple[float, ...]:
        """When the waiting timers are due, in `monotonic` seconds, the first first."""
        return self._timers.dues()

    def fire_due(self) -> int:
        """Call each timer that is due by now, in order, in this thread; tell how many there were."""
        fired = 0
        while (timer := self._timers.take_due(self.monotonic())) is not None:
            fired += 1
            timer.callback()
        return fired
