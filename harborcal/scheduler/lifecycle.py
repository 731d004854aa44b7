"""From construction to the end: what may still begin, and what the end waits for."""

import contextlib
import os
import queue
import threading
from collections import Counter
from collections.abc import Iterator

from harborcal.errors import LifecycleError
from harborcal.model import Lifecycle

LOOK_UP_EVERY = 0.5
"""Seconds between two looks of a waiting `run` at the signals that may have come."""


class Lifespan:
    """Where a scheduler is in its life. Methods are atomic; `request_stop` takes no lock at all."""

    def __init__(self) -> None:
        self._process = os.getpid()  # fixed
        self._stop_requested = False  # written once, to True; read without a lock
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # reentrant: may be rung from a signal handler
        self._changed = threading.Condition()
        self._state = Lifecycle.NEW  # guarded by _changed
        self._calls: Counter[int] = Counter()  # guarded by _changed; reports that are under way, by thread

    @property
    def state(self) -> Lifecycle:
        """Where the scheduler is; a child after a fork holds a copy that never does anything."""
        return Lifecycle.FORKED if self.is_copy else self._state

    @property
    def is_copy(self) -> bool:
        """Whether this is a forked child's copy: its threads exist in the parent only."""
        return os.getpid() != self._process

    @property
    def may_begin(self) -> bool:
        """Whether new heartbeats and wakes may begin."""
        return not self._stop_requested and self._state in {Lifecycle.NEW, Lifecycle.RUNNING} and not self.is_copy

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was requested: the cheap question, for those who ask often."""
        return self._stop_requested

    def request_stop(self) -> None:
        """Let nothing new begin. Takes no lock, so that it may be called from a signal handler."""
        self._stop_requested = True
        self._bell.put(None)

    def await_stop_request(self) -> None:
        """Return once a stop was requested."""
        while not self._stop_requested:
            # The system may deliver a signal to any thread, and then does not wake this one, though Python runs the
            # handler here: so look up now and then.
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=LOOK_UP_EVERY)

    def start(self) -> None:
        """Begin to run.

        Raises:
            LifecycleError: It has been started or stopped before, or this is a forked child's copy.
        """
        self.check()
        with self._changed:
            if self._state is not Lifecycle.NEW:
                raise LifecycleError("the scheduler has been started already: each runs once")
            self._state = Lifecycle.RUNNING

    def begin_stop(self) -> bool:
        """Begin to stop; tell whether this call is the first to do so."""
        with self._changed:
            if self._state in {Lifecycle.STOPPING, Lifecycle.STOPPED}:
                return False
            self._state = Lifecycle.STOPPING
        self.request_stop()
        return True

    def end_stop(self) -> None:
        """Have stopped."""
        with self._changed:
            self._state = Lifecycle.STOPPED
            self._changed.notify_all()

    def wait_for_end(self, timeout: float) -> None:
        """Wait until another call's stop has ended, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is Lifecycle.STOPPED, timeout)

    def wait_for_calls(self, timeout: float) -> None:
        """Wait until no report is under way, at most ``timeout`` seconds; not for those of the calling thread."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._calls.keys() <= {me}, timeout)

    def check(self) -> None:
        """Let a call of a user pass.

        Raises:
            LifecycleError: The scheduler has stopped, or this is a forked child's copy.
        """
        if self.is_copy:
            raise LifecycleError(
                f"this scheduler belongs to process {self._process}: make one of its own after the fork"
            )
        if self._state is Lifecycle.STOPPED:
            raise LifecycleError("the scheduler has stopped")

    def check_beginning(self) -> None:
        """Let a call of a user pass that begins something new, which a stop forbids at once.

        Raises:
            LifecycleError: As `check`, or the scheduler is stopping.
        """
        self.check()
        if not self.may_begin:
            raise LifecycleError("the scheduler is stopping")

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Have the end wait for a report of an agent; reports are taken until the very end.

        Raises:
            LifecycleError: As `check`.
        """
        self.check()
        me = threading.get_ident()
        with self._changed:
            self._calls[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls[me] -= 1
                if not self._calls[me]:
                    del self._calls[me]
                self._changed.notify_all()
