"""One timer for everything that happens at an instant."""

import heapq
import threading
from collections.abc import Callable

from harborcal.clock import Clock, Timer

RETRY_AFTER = 1.0
"""Seconds until a timer that could not be started is tried again."""


class _Alarm:
    """One of the clock's timers. ``fired`` is guarded by the wheel's lock."""

    __slots__ = ("due", "fired", "timer")

    def __init__(self, due: float) -> None:
        self.due = due
        self.fired = False
        self.timer: Timer | None = None

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Wheel:
    """Calls back at monotonic instants, with one of the clock's timers at a time.

    Callbacks run on the timer's thread, so they must not block. What they raise is reported and changes nothing for
    the others: the next timer is started whatever happened. A timer that fires without need looks, finds nothing, and
    does no harm; what must never be is that none waits.
    """

    def __init__(self, clock: Clock, on_error: Callable[[str, BaseException], None]) -> None:
        self._clock = clock
        self._on_error = on_error
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._entries: list[tuple[float, int, Callable[[], None]]] = []  # guarded by _lock; a heap
        self._count = 0  # guarded by _lock; keeps entries of one instant in order
        self._alarm: _Alarm | None = None  # guarded by _lock; the timer that waits and was started

    def at(self, due: float, callback: Callable[[], None]) -> bool:
        """Call back at ``due``, or at once when that is past; False where no timer could be started for it."""
        with self._lock:
            if self._closed.is_set():
                return True
            self._count += 1
            heapq.heappush(self._entries, (due, self._count, callback))
        try:
            self._arm()
        except RuntimeError as error:
            # While the loop runs, the timer that waits, or the thread that is firing, arms again.
            self._on_error("threads", error)
            return False
        return True

    def close(self) -> None:
        """Call back no more. A callback that has begun goes on."""
        with self._lock:
            self._closed.set()
            self._entries.clear()
            alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()

    def _arm(self) -> None:
        """Have a timer wait for the earliest entry.

        Raises:
            RuntimeError: The system has no thread left; a timer that waited before still does.
        """
        with self._lock:
            if self._closed.is_set() or not self._entries or self._is_in_time(self._entries[0][0]):
                return
            alarm = _Alarm(self._entries[0][0])
        delay = max(0.0, alarm.due - self._clock.monotonic())
        alarm.timer = self._clock.call_later(delay, lambda: self._fire(alarm))
        with self._lock:
            # Meanwhile it may have fired, or somebody else may have armed as well.
            if self._closed.is_set() or alarm.fired or self._is_in_time(alarm.due):
                spare: _Alarm | None = alarm
            else:
                spare, self._alarm = self._alarm, alarm
        if spare is not None:
            spare.cancel()

    def _is_in_time(self, due: float) -> bool:
        return self._alarm is not None and self._alarm.due <= due

    def _fire(self, alarm: _Alarm) -> None:
        with self._lock:
            alarm.fired = True
            if self._alarm is alarm:
                self._alarm = None
            if self._closed.is_set():
                return
        try:
            for callback in self._due():
                try:
                    callback()
                except BaseException as error:  # noqa: BLE001 - the chain of timers must not break
                    self._on_error("loop", error)
        finally:
            self._arm_surely()

    def _due(self) -> list[Callable[[], None]]:
        now = self._clock.monotonic()
        due = []
        with self._lock:
            while self._entries and self._entries[0][0] <= now:
                due.append(heapq.heappop(self._entries)[2])
        return due

    def _arm_surely(self) -> None:
        """Arm, and where the system has no thread left, stay on this one and try again until it has."""
        while not self._closed.is_set():
            try:
                self._arm()
            except RuntimeError as error:
                self._on_error("threads", error)
                self._closed.wait(RETRY_AFTER)
            else:
                return
