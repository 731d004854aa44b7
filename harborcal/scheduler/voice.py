"""The way to the host's log: in order, from one thread at a time, and in nobody's way."""

import threading
from collections import deque
from collections.abc import Mapping

from harborcal.clock import Clock
from harborcal.host import Host
from harborcal.runner import Runner, Task
from harborcal.scheduler.place import Place
from harborcal.scheduler.troubles import QUIET_EVERY, Troubles

BACKLOG = 1_000
"""How many lines wait for a log that blocks before further ones are dropped and counted."""

BURST = 100
"""How many lines of one message are said at once, and how many more in `QUIET_EVERY` seconds; others are counted."""

FOLDED_EVERY = 60.0
"""Seconds between two lines that tell how many of one message were not said."""


class _Budget:
    """How many lines of one message may still be said. Guarded by the voice's lock."""

    __slots__ = ("at", "folded", "left", "told_at")

    def __init__(self, at: float) -> None:
        self.left = float(BURST)
        self.at = at
        self.folded = 0
        self.told_at = at

    def take(self, at: float) -> bool:
        """Take one line's worth, or count it as folded."""
        self.left = min(float(BURST), self.left + max(0.0, at - self.at) * BURST / QUIET_EVERY)
        self.at = at
        if self.left < 1.0:
            self.folded += 1
            return False
        self.left -= 1.0
        return True


class Voice:
    """Hands log lines to the host on a task of its own, so that a log that raises or blocks harms nothing.

    What befalls a whole fleet at once is said of some of its agents, and of how many more: the status knows them all.
    """

    def __init__(self, host: Host, runner: Runner, place: Place, troubles: Troubles, clock: Clock) -> None:
        self._clock = clock
        self._budgets: dict[str, _Budget] = {}  # guarded by _lock; by message, of which there are a few dozen
        self._host = host
        self._runner = runner
        self._place = place
        self._troubles = troubles
        self._lock = threading.Lock()
        self._lines: deque[tuple[str, str, Mapping[str, object]]] = deque()  # guarded by _lock
        self._speaking = False  # guarded by _lock
        self._closed = False  # guarded by _lock
        self._task: Task | None = None  # guarded by _lock
        self._stuck: Task | None = None  # guarded by _lock; a task that was waited for in vain

    def info(self, message: str, **fields: object) -> None:
        """Log something that is as it should be."""
        self._say("info", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        """Log something that someone should know of."""
        self._say("warn", message, fields)

    def fault(self, agent_id: str, source: str, error: BaseException | str, message: str, **fields: object) -> None:
        """Count a fault and log it, once, then now and then with its count."""
        if count := self._troubles.note(agent_id, source, error):
            repeated = {"count": count} if count > 1 else {}
            self.warn(message, **fields, **repeated)

    def flush(self, timeout: float) -> float:
        """Wait until all is said, at most ``timeout`` seconds; return the seconds left."""
        with self._lock:
            task = self._task if self._speaking and self._task is not self._stuck else None
        if task is None:
            return timeout
        left = self._runner.wait([task], timeout)
        if not task.done():
            with self._lock:
                self._stuck = task  # nobody waits a second time for a log that blocks
        return left

    def close(self) -> None:
        """Say no more: no thread starts after the end."""
        with self._lock:
            self._closed = True

    def tell_folded(self) -> None:
        """Say how many lines were not said lately, of each message."""
        at = self._clock.monotonic()
        with self._lock:
            due = [
                (message, budget)
                for message, budget in self._budgets.items()
                if budget.folded and at - budget.told_at >= FOLDED_EVERY
            ]
            folded = [(message, budget.folded) for message, budget in due]
            for _, budget in due:
                budget.folded, budget.told_at = 0, at
        for message, count in folded:
            self._say("info", "calendar lines folded", {"line": message, "count": count})

    def _say(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        at = self._clock.monotonic()
        with self._lock:
            if self._closed:
                return
            budget = self._budgets.get(message)
            if budget is None:
                budget = self._budgets[message] = _Budget(at)
            if not budget.take(at):
                return
            full = len(self._lines) >= BACKLOG
            if not full:
                self._lines.append((level, message, fields))
            start = not self._speaking
            self._speaking = True
        if full:
            self._troubles.note("", "log", "the log does not keep up: lines were dropped")
        if start:
            self._start()

    def _start(self) -> None:
        try:
            task = self._runner.spawn("log", self._speak)
        except RuntimeError as error:
            with self._lock:
                self._speaking = False  # the next line tries again
            self._troubles.note("", "threads", error)
        else:
            with self._lock:
                self._task = task

    def _speak(self) -> None:
        with self._place.inside("log"):
            while True:
                with self._lock:
                    if not self._lines:
                        self._speaking = False
                        return
                    level, message, fields = self._lines.popleft()
                try:
                    self._host.log(level, message, fields)
                except BaseException as error:  # noqa: BLE001 - a log that fails must not stop anything
                    self._troubles.note("", "log", error)
