"""What goes wrong in a rehearsal, how agents behave, and the dice that both are drawn from."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Any, Self

from harborcal.errors import ConfigurationError


class Behaviour(enum.StrEnum):
    """What an agent does with a wake."""

    FINISH = "finish"
    """Works about as long as was estimated, and completes."""
    INSIDE = "inside"
    """Completes before the wake has returned."""
    PAUSE = "pause"
    """Pauses, resumes, and completes."""
    RENEW = "renew"
    """Works for longer than the lease, says now and then that it is alive, and completes."""
    ABORT = "abort"
    """Gives up."""
    TWICE = "twice"
    """Completes, and completes again."""
    LATE = "late"
    """Completes only when it was long given up."""
    FORGET = "forget"
    """Never says a word."""


STEADY: Mapping[Behaviour, float] = MappingProxyType({Behaviour.FINISH: 1.0})
"""Agents that do what they are there for."""

MIXED: Mapping[Behaviour, float] = MappingProxyType(
    {
        Behaviour.FINISH: 8.0,
        Behaviour.INSIDE: 2.0,
        Behaviour.PAUSE: 3.0,
        Behaviour.RENEW: 1.0,
        Behaviour.ABORT: 1.5,
        Behaviour.TWICE: 1.5,
        Behaviour.LATE: 1.5,
        Behaviour.FORGET: 1.5,
    }
)
"""Agents of every kind."""

_SHARES = (
    "failed_calls",
    "lost_answers",
    "stale_answers",
    "failed_wakes",
    "hung_wakes",
    "lost_wakes",
    "queued_wakes",
)
_COUNTS = ("crashes", "outages", "forgotten_writes", "clock_jumps", "agent_deaths", "user_changes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong; by default nothing does.

    Attributes:
        crashes: How many times a day our process ends without warning and is started again, seconds to minutes later.
        outages: How many times a day the calendar does not answer for some minutes.
        failed_calls: The share of calls to the calendar that fail before they are applied.
        lost_answers: The share of calls that are applied and whose answer is lost.
        stale_answers: The share of heartbeats that are answered with what was true at the heartbeat before.
        forgotten_writes: How many times a day the calendar fails over and forgets its last write.
        clock_jumps: How many times a day the wall clock is set, by up to ten minutes.
        failed_wakes: The share of wakes that raise; half of these have reached the agent all the same.
        hung_wakes: The share of wakes that do not return before their time is up; half of these have reached the agent.
        lost_wakes: The share of wakes that return although their agent never hears of them.
        queued_wakes: The share of wakes that return and then wait in their host's queue, up to longer than a lease. It
            holds one wake for each agent, and the newest replaces what waits there.
        agent_deaths: How many times a day an agent dies, and comes back later.
        user_changes: How many times a day a user cancels, moves or adds a slot.
        deaths: Agents that die at a UTC time of the first day and do not come back.

    Raises:
        ConfigurationError: A share is not in 0..1, a number is negative or not finite, or a time has a zone.
    """

    crashes: float = 0.0
    outages: float = 0.0
    failed_calls: float = 0.0
    lost_answers: float = 0.0
    stale_answers: float = 0.0
    forgotten_writes: float = 0.0
    clock_jumps: float = 0.0
    failed_wakes: float = 0.0
    hung_wakes: float = 0.0
    lost_wakes: float = 0.0
    queued_wakes: float = 0.0
    agent_deaths: float = 0.0
    user_changes: float = 0.0
    deaths: Mapping[str, dt.time] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*_SHARES, *_COUNTS):
            value = getattr(self, name)
            most = 1.0 if name in _SHARES else 1_000.0
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= most:
                raise ConfigurationError(f"{name} is a number in 0..{most:g}, not {value!r}")
        deaths: object = self.deaths
        if not isinstance(deaths, Mapping) or not all(isinstance(when, dt.time) for when in deaths.values()):
            raise ConfigurationError("deaths are times of day by agent: {'ada': time(12)}")
        if any(when.tzinfo is not None for when in self.deaths.values()):
            raise ConfigurationError("deaths are times of day in UTC, without a zone")

    @classmethod
    def all(cls) -> Self:
        """Return a day on which everything goes wrong now and then."""
        return cls(
            crashes=4.0,
            outages=1.5,
            failed_calls=0.03,
            lost_answers=0.03,
            stale_answers=0.03,
            forgotten_writes=1.0,
            clock_jumps=0.7,
            failed_wakes=0.06,
            hung_wakes=0.02,
            lost_wakes=0.06,
            queued_wakes=0.06,
            agent_deaths=1.5,
            user_changes=4.0,
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which kinds of faults there are."""
        return tuple(name for name in (*_SHARES, *_COUNTS) if getattr(self, name))

    def __repr__(self) -> str:
        told = [f"{kind}={getattr(self, kind)!r}" for kind in self.kinds]
        return f"Faults({', '.join([*told, *([f'deaths={dict(self.deaths)!r}'] if self.deaths else [])])})"

    def without(self, kind: str) -> Self:
        """Return the same without one kind."""
        changes: dict[str, Any] = {kind: 0.0}
        return dataclasses.replace(self, **changes)


class Dice:
    """Draws what happens. Each concern has a stream of its own, so that one changes little for the others."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._streams: dict[str, Random] = {}

    def of(self, concern: str) -> Random:
        """Return the stream of a concern."""
        if concern not in self._streams:
            self._streams[concern] = Random(f"{self._seed} {concern}")
        return self._streams[concern]

    def happens(self, concern: str, share: float) -> bool:
        """Draw whether something happens."""
        return share > 0.0 and self.of(concern).random() < share

    def times(self, concern: str, per_day: float, span: float) -> list[float]:
        """Draw at which moments of a span, in seconds, something happens."""
        stream, moments = self.of(concern), []
        at = stream.expovariate(per_day / span) if per_day > 0 else span
        while at < span:
            moments.append(at)
            at += stream.expovariate(per_day / span)
        return moments
