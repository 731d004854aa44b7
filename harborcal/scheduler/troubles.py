"""What goes wrong, counted, and told without a flood."""

import datetime as dt
import threading
from collections.abc import Mapping

from harborcal.clock import Clock
from harborcal.model import Problem
from harborcal.policy import describe

QUIET_EVERY = 900.0
"""Seconds between two log lines that say the same."""

HEARTBEAT = "heartbeat"


class _Trouble:
    """A fault that stands. Fields are guarded by the troubles' lock."""

    __slots__ = ("count", "first_at", "last_at", "message", "told_at")

    def __init__(self, message: str, now: dt.datetime, told_at: float) -> None:
        self.message = message
        self.count = 0
        self.first_at = now
        self.last_at = now
        self.told_at = told_at

    def picture(self) -> Problem:
        return Problem(message=self.message, count=self.count, first_at=self.first_at, last_at=self.last_at)


class Troubles:
    """The faults that stand now: each agent's by source, and the loop's own under no agent."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._troubles: dict[tuple[str, str], _Trouble] = {}  # guarded by _lock; by agent and source

    def note(self, agent_id: str, source: str, error: BaseException | str) -> int:
        """Count a fault; tell its count when it is worth a log line, else 0.

        It is worth one when it is new, says something else than before, or was last told long ago.
        """
        message = error if isinstance(error, str) else describe(error)
        now, at = self._clock.now(), self._clock.monotonic()
        with self._lock:
            trouble = self._troubles.get((agent_id, source))
            news = trouble is None or trouble.message != message or at - trouble.told_at >= QUIET_EVERY
            if trouble is None:
                trouble = self._troubles[agent_id, source] = _Trouble(message, now, at)
            trouble.message = message
            trouble.count += 1
            trouble.last_at = now
            if news:
                trouble.told_at = at
            return trouble.count if news else 0

    def clear(self, agent_id: str, source: str) -> bool:
        """Forget a fault that is over; tell whether there was one."""
        if (agent_id, source) not in self._troubles:  # the usual case costs no lock
            return False
        with self._lock:
            return self._troubles.pop((agent_id, source), None) is not None

    def forget(self, agent_id: str) -> None:
        """Forget an agent that is gone."""
        with self._lock:
            for key in [key for key in self._troubles if key[0] == agent_id]:
                del self._troubles[key]

    def snapshot(self) -> tuple[dict[str, Problem], dict[str, Mapping[str, Problem]], dict[str, Problem]]:
        """Copy them all: heartbeats' by agent, other ones by agent and source, the loop's own by source."""
        heartbeats: dict[str, Problem] = {}
        others: dict[str, dict[str, Problem]] = {}
        own: dict[str, Problem] = {}
        with self._lock:
            for (agent_id, source), trouble in sorted(self._troubles.items()):
                if not agent_id:
                    own[source] = trouble.picture()
                elif source == HEARTBEAT:
                    heartbeats[agent_id] = trouble.picture()
                else:
                    others.setdefault(agent_id, {})[source] = trouble.picture()
        return heartbeats, dict(others), own
