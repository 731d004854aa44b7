"""What happened in a rehearsal, written down by the doors and the agents, not by the code under test."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping
from types import MappingProxyType

from harborcal.clock import Clock


class EventKind(enum.StrEnum):
    """What an event speaks of; behind each the details that it carries."""

    STARTED = "started"
    """Our process began: ``on_unknown``, ``misfire_grace``."""
    CRASHED = "crashed"
    """Our process ended, without a chance to do anything: ``point``."""
    OUTAGE_BEGAN = "outage began"
    OUTAGE_ENDED = "outage ended"
    CLOCK_SET = "clock set"
    """The wall clock jumped: ``seconds``."""
    HEALED = "healed"
    """From now on nothing goes wrong any more."""
    FELL_ILL = "fell ill"
    """From now on things go wrong again."""
    WAKE_ENTERED = "wake entered"
    """The host was called: ``attempt``, ``wake_id``, ``reminder``, ``lease`` (seconds, or None), ``late`` (seconds
    since the slot's time, negative before it)."""
    WAKE_HUNG = "wake hung"
    """The host's call is about to have taken longer than it may: ``wake_id``."""
    WAKE_LEFT = "wake left"
    """The host's call ended: ``wake_id``, ``outcome`` (``returned``, ``raised``, ``cut``), ``reached`` (what the wake
    has reached by then: ``agent``, ``queue`` or ``nobody``)."""
    REPORTED = "reported"
    """An agent calls: ``what``, ``call`` (a number)."""
    ANSWERED = "answered"
    """Its call ended: ``what``, ``call``, ``outcome`` (``accepted``, ``refused``, ``failed``, ``unknown``, ``raised``:
    what no call may raise), ``why`` (the class of what was raised)."""
    UPDATED = "updated"
    """The calendar was told: ``status``, ``was``, ``outcome`` (``applied``, ``repeated``, ``refused``), ``minutes``,
    and of what ends without a finish ``late`` (seconds since its time) and ``locked``."""
    FORGOTTEN = "forgotten"
    """The calendar failed over, and is as before its last write: ``status``."""
    CHANGED = "changed"
    """A user changed the calendar: ``what``."""
    DIED = "died"
    RETURNED = "returned"
    LOOKED = "looked"
    """The sums at this moment: ``accepted``, ``delivered``, ``pending``, ``dead``, ``is_balanced``."""
    WAITED = "waited"
    """A slot has been due for long although its agent is free, and nothing goes wrong."""
    ENDED = "ended"
    """A slot at the end of a healed world: ``status``, ``is_due``, ``is_live`` (its agent), ``is_late``, ``is_dead``
    (its completion, and the status says so), ``told``."""
    OVER = "over"
    """The end of a healed world: ``active``, ``pending``."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        elapsed: Seconds since the rehearsal began, which no clock that is set can change.
        at: The wall's time.
        kind: What happened.
        agent_id: To whom; empty where it happened to all.
        slot: To which slot: its virtual id where a plan yields it, else its real id in decimal.
        details: What else there is to say (see `EventKind`).
    """

    elapsed: float
    at: dt.datetime
    kind: EventKind
    agent_id: str = ""
    slot: str = ""
    details: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        words = [f"{self.elapsed:9.1f} s", f"{self.at:%a %H:%M:%S}", str(self.kind)]
        words += [word for word in (self.agent_id, self.slot) if word]
        words += [f"{name}={value}" for name, value in self.details.items()]
        return " ".join(words)


class Recorder:
    """Writes a history."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: list[Event] = []

    def add(self, kind: EventKind, agent_id: str = "", slot: str = "", **details: object) -> None:
        """Write down that something happens now."""
        self._events.append(
            Event(
                elapsed=round(self._clock.monotonic(), 3),
                at=self._clock.now(),
                kind=kind,
                agent_id=agent_id,
                slot=slot,
                details=MappingProxyType(details),
            )
        )

    @property
    def events(self) -> tuple[Event, ...]:
        """All that happened so far, in order."""
        return tuple(self._events)
