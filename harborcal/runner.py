"""The door to threads: who runs heartbeats, wakes and log lines."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol


class Task(Protocol):
    """Something that a runner was given to run."""

    def done(self) -> bool:
        """Tell whether it has ended."""


class Runner(Protocol):
    """Who runs tasks beside the caller. Called from several threads."""

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        """Have the task run, once, soon, without waiting for it. The task raises nothing.

        Raises:
            RuntimeError: The system has no thread left.
        """

    def wait(self, tasks: Iterable[Task], timeout: float) -> float:
        """Wait until all have ended, at most ``timeout`` real seconds; a task does not wait for itself.

        Returns:
            The seconds left of the timeout; 0.0 or less once it has passed.
        """


class _ThreadTask:
    __slots__ = ("thread",)

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread

    def done(self) -> bool:
        return not self.thread.is_alive()


class ThreadRunner:
    """Gives each task a daemon thread of its own.

    Threads are not kept: starting one costs some 50 microseconds, and nothing in harborcal belongs to a thread.
    """

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        """Start a thread named ``harborcal-<name>``."""
        thread = threading.Thread(target=task, name=f"harborcal-{name}", daemon=True)
        thread.start()
        return _ThreadTask(thread)

    def wait(self, tasks: Iterable[Task], timeout: float) -> float:
        """Join the tasks' threads, all of them within one timeout."""
        deadline = time.monotonic() + timeout
        for task in tasks:
            if isinstance(task, _ThreadTask) and task.thread is not threading.current_thread():
                task.thread.join(max(0.0, deadline - time.monotonic()))
        return deadline - time.monotonic()
