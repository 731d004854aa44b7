"""Tasks in turns: each runs by itself, also while another one hangs."""

from collections import deque
from collections.abc import Callable, Iterable

from harborcal.clock import Clock
from harborcal.runner import Task


class _Turn:
    __slots__ = ("_task", "is_done")

    def __init__(self, task: Callable[[], None]) -> None:
        self._task = task
        self.is_done = False

    def done(self) -> bool:
        return self.is_done

    def run(self) -> None:
        try:
            self._task()
        finally:
            self.is_done = True


class TurnRunner:
    """Runs tasks one after another, in the order of their spawning, each from a timer of its own.

    So no task runs inside the code that spawns it, and one that lets time pass lets the others go on meanwhile, as
    threads do: that is how a call hangs in a rehearsal.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turns: deque[_Turn] = deque()

    def spawn(self, _name: str, task: Callable[[], None]) -> Task:
        """Run the task in its turn, at this instant of the clock."""
        turn = _Turn(task)
        self._turns.append(turn)
        self._clock.call_later(0.0, self._go_on)
        return turn

    def _go_on(self) -> None:
        if self._turns:
            self._turns.popleft().run()

    def wait(self, tasks: Iterable[Task], timeout: float) -> float:
        """Let the others have their turns; none of them takes time, but those that one stands on do not end here."""
        while self._turns:
            self._turns.popleft().run()
        return timeout if all(task.done() for task in tasks) else 0.0
