"""The door to time. Inside the library nobody else reads a clock."""

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that waits for its moment."""

    def cancel(self) -> None:
        """Let the callback not be called any more. One that has begun goes on; nothing waits for it."""


class Clock(Protocol):
    """The source of all time. Called from several threads."""

    def now(self) -> dt.datetime:
        """Tell the wall's time, aware, UTC: what is recorded, compared with slots and told as a duration."""

    def monotonic(self) -> float:
        """Tell seconds that never run backwards: cadence, deadlines, leases."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back once, ``delay`` monotonic seconds from now, from a thread of the clock's choosing.

        Raises:
            RuntimeError: The system has no thread left.
        """


class SystemClock:
    """The system's clocks; its timers are daemon `threading.Timer`s, so that they keep no process from ending.

    Under freezegun the wall's time is the frozen one, while the monotonic time and the timers stay real: a cadence must
    not stand still in one thread and go on in another. `harborcal.testing.FrozenClock` freezes them all.
    """

    # Kept here, where freezegun does not look for functions to replace.
    _monotonic = staticmethod(time.monotonic)

    def now(self) -> dt.datetime:
        """Tell the wall's time, aware, UTC."""
        return dt.datetime.now(dt.UTC)

    def monotonic(self) -> float:
        """Tell `time.monotonic`."""
        return self._monotonic()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back from a daemon thread of its own."""
        timer = threading.Timer(max(0.0, delay), callback)
        timer.daemon = True
        timer.name = "harborcal-timer"
        timer.start()
        return timer
