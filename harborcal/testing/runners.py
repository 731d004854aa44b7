"""A runner without threads."""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from harborcal.runner import Task


class _CallerTask:
    __slots__ = ("_ended", "_task", "name")

    def __init__(self, name: str, task: Callable[[], None]) -> None:
        self.name = name
        self._task = task
        self._ended = False

    def done(self) -> bool:
        return self._ended

    def run(self) -> None:
        try:
            self._task()
        finally:
            self._ended = True


class _Line(threading.local):
    """One thread's tasks in the order of their spawning, and whether the thread is at work on them."""

    def __init__(self) -> None:
        self.tasks: deque[_CallerTask] = deque()
        self.draining = False


class CallerRunner:
    """Runs each task in the thread that spawns it, before `spawn` returns.

    A task that is spawned by a task waits until that one has ended: tasks never run inside one another, except when
    one waits, and their order is always that of their spawning. Meant for one thread; each further one has a line of
    its own, which no other thread touches.
    """

    def __init__(self) -> None:
        self._line = _Line()

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        """Run the task now, or after the task that spawns it.

        What a task raises, against the rules, escapes from the outermost spawn; tasks behind it run with the next
        call.
        """
        line = self._line
        queued = _CallerTask(name, task)
        line.tasks.append(queued)
        if not line.draining:
            self._drain(line)
        return queued

    def wait(self, tasks: Iterable[Task], timeout: float) -> float:
        """Run what is still queued in this thread.

        Nothing here takes real time, so the whole timeout is left when all the tasks have ended, and nothing when some
        have not: from inside a task one cannot end the tasks that it stands on.
        """
        self._drain(self._line)
        return timeout if all(task.done() for task in tasks) else 0.0

    @staticmethod
    def _drain(line: _Line) -> None:
        nested, line.draining = line.draining, True
        try:
            while line.tasks:
                line.tasks.popleft().run()
        finally:
            line.draining = nested
