"""Signals that ask the daemon to stop: the first one kindly, the second one at once."""

import contextlib
import os
import queue
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_LOOK_UP_EVERY = 0.25
"""Seconds between two looks at what may have come: the system may deliver a signal to any thread."""

_ASKING = ("SIGTERM", "SIGINT", "SIGHUP")


class Bell:
    """Rings once, and stays rung. Ringing takes no lock, so that signal handlers may."""

    def __init__(self) -> None:
        self._is_rung = False  # written once, to True; read without a lock
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()  # reentrant

    @property
    def is_rung(self) -> bool:
        """Whether somebody has rung."""
        return self._is_rung

    def ring(self) -> None:
        """Let those who wait go on."""
        self._is_rung = True
        self._queue.put(None)

    def wait(self, timeout: float) -> bool:
        """Wait until it rings, at most ``timeout`` seconds or a quarter of one; tell whether it has."""
        if not self._is_rung:
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=max(0.0, min(timeout, _LOOK_UP_EVERY)))
        return self._is_rung


class StopSignals:
    """What asked to stop, if something did."""

    def __init__(self) -> None:
        self.number = 0
        """The first signal that came; 0 while none has."""

    @property
    def name(self) -> str:
        """Its name, such as ``SIGTERM``; empty while none has come."""
        return signal.Signals(self.number).name if self.number else ""


@contextlib.contextmanager
def stop_signals(ask: Callable[[], None]) -> Iterator[StopSignals]:
    """Take SIGTERM, SIGINT and SIGHUP as asking to stop: the first calls ``ask``, the next ends the process at once.

    A SIGHUP that is ignored already (``nohup``) stays so. Only for the main thread.

    Args:
        ask: Called from the signal handler: takes no lock, does not block.
    """
    seen = StopSignals()

    def take(number: int, _frame: FrameType | None) -> None:
        if seen.number:
            # No goodbye: buffers, threads and atexit handlers may be what hangs.
            os._exit(128 + number)
        seen.number = number
        ask()

    numbers = [getattr(signal, name) for name in _ASKING if hasattr(signal, name)]
    taken = [number for number in numbers if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, take) for number in taken}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
