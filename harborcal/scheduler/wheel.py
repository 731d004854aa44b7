"""One timer for everything that happens at an instant."""

import heapq
import threading
from collections.abc import Callable

from harborcal.clock import Clock, Timer

RETRY_AFTER = 1.0
"""Seconds until a timer that could not be started is tried again."""


class Wheel:
    """Calls back at monotonic instants, with one of the clock's timers at a time.

    Callbacks run on the timer's thread, so they must not block. What they raise is reported and changes nothing for
    the others: the next timer is started whatever happened.
    """

    def __init__(self, clock: Clock, on_error: Callable[[str, BaseException], None]) -> None:
        self._clock = clock
        self._on_error = on_error
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._entries: list[tuple[float, int, Callable[[], None]]] = []  # guarded by _lock; a heap
        self._count = 0  # guarded by _lock; keeps entries of one instant in order
        self._armed_for: float | None = None  # guarded by _lock; None while no timer waits
        self._timer: Timer | None = None  # guarded by _lock
        self._generation = 0  # guarded by _lock; a timer of an earlier one does nothing

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
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _arm(self) -> None:
        """Have a timer wait for the earliest entry.

        Raises:
            RuntimeError: The system has no thread left.
        """
        with self._lock:
            if self._closed.is_set() or not self._entries:
                return
            due = self._entries[0][0]
            if self._armed_for is not None and self._armed_for <= due:
                return
            self._armed_for = due
            self._generation += 1
            generation = self._generation
            stale = self._timer
        try:
            timer = self._clock.call_later(max(0.0, due - self._clock.monotonic()), lambda: self._fire(generation))
        except RuntimeError:
            with self._lock:
                if self._generation == generation:
                    self._armed_for = None
            raise
        if stale is not None:
            stale.cancel()
        with self._lock:
            if self._generation == generation and not self._closed.is_set():
                self._timer = timer
                return
        timer.cancel()

    def _fire(self, generation: int) -> None:
        with self._lock:
            if generation != self._generation or self._closed.is_set():
                return
            self._armed_for = None
            self._timer = None
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
