"""The values that harborcal passes around: frozen, keyword-only, without behaviour beyond their own fields.

Instants are aware UTC datetimes and end in ``_at``; durations are float seconds unless the contract counts
minutes. Values that users serialise have ``to_dict`` and ``to_json`` (dataclasses-json); each instant, enum
and mapping in them states its own codec, because the library's defaults lose time zones and accept ``"7"`` for 7.
"""

import dataclasses
import datetime as dt
import enum
import math
from collections.abc import Mapping
from typing import Any

from dataclasses_json import DataClassJsonMixin

from harborcal.codecs import (
    DATE,
    INSTANT,
    JSON,
    LEFT_OUT,
    LEFT_OUT_IF_NONE,
    TIME,
    TIME_OR_ABSENT,
    codec,
    encode_map,
    enum_of,
    format_instant,
    items_of,
    parse_instant,
)
from harborcal.errors import ConfigurationError, MalformedAnswerError

DAY = 86_400.0
MAX_REAL_ID = 2**63 - 1
SHORTEST_INTERVAL = 0.001


class SlotStatus(enum.StrEnum):
    """Where a slot stands, in the contract's words."""

    NOT_STARTED = "not_started"
    DEFERRED = "deferred"
    ONGOING = "ongoing"
    PAUSED = "paused"
    SKIPPED = "skipped"
    FINISHED = "finished"
    ABORTED = "aborted"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing may follow this status (contract, rule 4)."""
        return self in _TERMINAL

    @property
    def is_pending(self) -> bool:
        """Whether a slot in this status waits for its agent to be woken (contract, rule 1)."""
        return self in _PENDING


_TERMINAL = frozenset({SlotStatus.SKIPPED, SlotStatus.FINISHED, SlotStatus.ABORTED})
_PENDING = frozenset({SlotStatus.NOT_STARTED, SlotStatus.DEFERRED})


class SlotType(enum.StrEnum):
    """What kind of time a slot is."""

    WORK = "work"
    ON_CALL = "on_call"
    ENTERTAINMENT = "entertainment"
    SYSTEM = "system"


class EventType(enum.StrEnum):
    """What a slot's ``event_data`` describes."""

    JOB = "job"
    ENTERTAINMENT = "entertainment"
    SYSTEM_EVENT = "system_event"


class AgentStatus(enum.StrEnum):
    """What the calendar, or the host, says of an agent."""

    IDLE = "idle"
    ON_CALL = "on_call"
    BUSY = "busy"
    EXHAUSTED = "exhausted"
    OFFLINE = "offline"


class SlotKind(enum.StrEnum):
    """Which of the two name spaces an id belongs to."""

    REAL = "real"
    VIRTUAL = "virtual"


class ActiveState(enum.StrEnum):
    """What an active slot is doing: being handed over, being worked on, or resting."""

    WAKING = "waking"
    ONGOING = "ongoing"
    PAUSED = "paused"


class VerdictReason(enum.StrEnum):
    """Why a slot was or was not dispatched; of several that hold, the first in this order is told."""

    UNREADABLE = "unreadable"
    SETTLED = "settled"
    TAKEN = "taken"
    NOT_DUE = "not_due"
    MISSED = "missed"
    BACKING_OFF = "backing_off"
    AGENT_STATE = "agent_state"
    BUSY = "busy"
    OUTRANKED = "outranked"
    DISPATCHED = "dispatched"
    TAKEN_UP = "taken_up"


class SlotFate(enum.StrEnum):
    """What became of a slot that was seen."""

    ACTIVE = "active"
    """Its agent was woken, or is being woken."""
    WAITING = "waiting"
    """Listed, and not woken for a reason that is told."""
    SETTLED = "settled"
    REFUSED = "refused"
    """It could not be read, or the calendar refused what was told of it."""
    WITHDRAWN = "withdrawn"
    """The calendar lists it no more, and nothing was begun."""


class Lifecycle(enum.StrEnum):
    """Where a scheduler is between its construction and its end."""

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FORKED = "forked"


# --- slots ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, eq=True)
class SlotKey(DataClassJsonMixin):
    """Name one slot: real 7 and virtual ``"7"`` are different slots.

    Make one with `real` or `virtual`. ``str(key)`` is the bare id, as it stands in a wake's ``source``.
    """

    kind: SlotKind = dataclasses.field(metadata=enum_of(SlotKind))
    id: int | str

    @classmethod
    def real(cls, slot_id: int) -> "SlotKey":
        """Name a stored slot.

        Raises:
            ConfigurationError: The id is no integer in 0..2^63-1.
        """
        if type(slot_id) is not int or not 0 <= slot_id <= MAX_REAL_ID:
            shown = repr(slot_id)[:40] if type(slot_id) is not int else "a number beyond"
            raise ConfigurationError(f"a real slot id is an integer in 0..2^63-1, not {shown}")
        return cls(SlotKind.REAL, slot_id)

    @classmethod
    def virtual(cls, slot_id: str) -> "SlotKey":
        """Name a slot that a plan yields for a date, ``plan-{plan_id}-{YYYY-MM-DD}``.

        Raises:
            ConfigurationError: The id is no string, or empty.
        """
        if type(slot_id) is not str or not slot_id:
            raise ConfigurationError(f"a virtual slot id is a string, not {slot_id!r}")
        return cls(SlotKind.VIRTUAL, slot_id)

    def __str__(self) -> str:
        return str(self.id)

    def __hash__(self) -> int:
        # Every listed slot is looked up by its key; a real id is an int and a virtual one a str, so this tells enough.
        return hash(self.id)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Slot(DataClassJsonMixin):
    """A stretch of an agent's calendar, as a heartbeat lists it. Fields are the contract's."""

    id: int | None = None
    virtual_id: str | None = None
    status: SlotStatus = dataclasses.field(default=SlotStatus.NOT_STARTED, metadata=enum_of(SlotStatus))
    priority: int = 0
    date: dt.date | None = dataclasses.field(default=None, metadata=DATE)
    scheduled_at: dt.time | None = dataclasses.field(default=None, metadata=TIME)
    """UTC time of day."""
    estimated_duration: int | None = None
    """Minutes."""
    slot_type: SlotType | None = dataclasses.field(default=None, metadata=enum_of(SlotType))
    event_type: EventType | None = dataclasses.field(default=None, metadata=enum_of(EventType))
    event_data: Mapping[str, Any] | None = dataclasses.field(default=None, metadata=JSON)
    started_at: dt.time | None = dataclasses.field(default=None, metadata=TIME)
    """UTC time of day, None until started."""
    attended: bool = False
    actual_duration: int | None = None
    """Minutes."""
    plan_id: int | None = None
    is_admin_locked: bool = False
    special_slot_id: int | None = None
    user_id: int | None = None
    created_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    updated_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)

    @property
    def key(self) -> SlotKey:
        """The key that updates go to; where both ids are set, the real one counts.

        Raises:
            MalformedAnswerError: The slot has neither id.
        """
        if self.id is not None:
            return SlotKey(SlotKind.REAL, self.id)
        if self.virtual_id is not None:
            return SlotKey(SlotKind.VIRTUAL, self.virtual_id)
        raise MalformedAnswerError("calendar: slot has neither real id nor virtual id")

    @property
    def keys(self) -> tuple[SlotKey, ...]:
        """All keys that mean this slot: a stored slot of a plan is also one of that plan's virtual slots.

        Which one, its ``virtual_id`` tells. Where it names none, it is the plan's slot of its date (contract:
        ``plan-{plan_id}-{YYYY-MM-DD}``). A name of its own is never joined by that one: an occurrence that was moved to
        another date, or a plan's second one on a date, would take the key of another slot.

        Raises:
            MalformedAnswerError: The slot has neither id.
        """
        if self.id is None:
            return (self.key,)
        if self.virtual_id is not None:
            return (self.key, SlotKey(SlotKind.VIRTUAL, self.virtual_id))
        if self.plan_id is not None and self.date is not None:
            return (self.key, SlotKey(SlotKind.VIRTUAL, f"plan-{self.plan_id}-{self.date.isoformat()}"))
        return (self.key,)

    @property
    def ident(self) -> str:
        """The id in a wake's ``source``: the real id in decimal, else the virtual id."""
        return str(self.id) if self.id is not None else str(self.key)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UnreadableSlot:
    """A slot of an answer that could not be read, and why; its neighbours are served all the same."""

    ident: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The calendar's answer to one agent's heartbeat.

    ``agent_status`` is None where the calendar sent none, or one that this version does not know.
    """

    slots: tuple[Slot, ...] = ()
    agent_status: AgentStatus | None = None
    message: str = ""
    unreadable: tuple[UnreadableSlot, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SlotUpdate(DataClassJsonMixin):
    """What harborcal tells the calendar of a slot (contract: ``agent-update``; ``to_dict`` is that request's body).

    ``started_at`` goes with the first ``ongoing`` only, ``actual_duration`` (whole minutes, at least 1) with
    ``finished`` only. What is None is left out of the request, never sent as null.
    """

    status: SlotStatus = dataclasses.field(metadata=enum_of(SlotStatus))
    started_at: dt.time | None = dataclasses.field(default=None, metadata=TIME_OR_ABSENT)
    actual_duration: int | None = dataclasses.field(default=None, metadata=LEFT_OUT_IF_NONE)
    idempotency_key: str = dataclasses.field(default="", compare=False, metadata=LEFT_OUT)
    """The same whenever the same update is sent again. No part of the body: over HTTP it is a header."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UpdateReceipt:
    """The fate of an update: the slot's key from now on, and whether the calendar has the update yet.

    A virtual slot becomes real with its first update, so ``slot`` may differ from the key that was sent.
    ``delivered=False`` comes from transports that accept updates durably and deliver them later; ``number`` then tells
    which accepted update it is, later ones having higher numbers.
    """

    slot: SlotKey
    delivered: bool = True
    number: int = 0


# --- agents and the program around them -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Agent(DataClassJsonMixin):
    """Someone who can be woken, as the program's lister names it.

    ``model`` is for the program's own use. An agent whose ``state`` is ``offline`` or ``exhausted`` is heartbeaten
    but not woken.
    """

    id: str
    model: str = ""
    state: AgentStatus = dataclasses.field(default=AgentStatus.IDLE, metadata=enum_of(AgentStatus))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PluginInfo(DataClassJsonMixin):
    """Who drives the agents: the program's name and version, and the agents' runtime."""

    name: str = "harborcal"
    version: str = ""
    backend: str = ""


_LIMITED = {
    "heartbeat_interval": DAY,
    "heartbeat_timeout": DAY,
    "wake_timeout": DAY,
    "wake_wait": DAY,
    "lister_timeout": DAY,
    "gone_after": DAY,
    "lease": DAY,
    "misfire_grace": DAY,
}
_OPTIONAL = frozenset({"lease", "misfire_grace"})
_ON_UNKNOWN = ("skip", "repeat")
_COUNTS = {"history_size": 1_000_000, "max_heartbeats": 1_024, "max_wakes": 1_024, "max_abandoned": 4_096}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig(DataClassJsonMixin):
    """Settings of a scheduler. Zero or less means the default; NaN, infinite or over a day is refused.

    Attributes:
        heartbeat_interval: Seconds between an agent's heartbeats. From 120 s on the calendar calls agents
            offline in between (contract, rule 5); the scheduler then warns.
        heartbeat_timeout: Seconds after which a heartbeat that has not returned counts as failed and its
            thread is abandoned. Transports have deadlines of their own; this is for those that break theirs.
        history_size: How many settled slots the history keeps.
        max_heartbeats: How many heartbeats may be under way at once; over a `BatchTransport`, how many batches: how
            much of a batch is under way at once is the transport's affair.
        max_wakes: How many wakes may be under way at once.
        max_abandoned: How many threads may be abandoned in callouts that never return before no more are
            replaced.
        wake_timeout: Seconds after which ``wake_agent`` counts as failed and its thread is abandoned.
        wake_wait: Seconds that ``tick()`` waits for the wakes it caused.
        lister_timeout: Seconds that those who are due, and ``tick()``, wait for the lister before they go by the
            last list. A call of the lister that takes five minutes is given up, and the lister asked anew.
        gone_after: Seconds after which an agent that is no longer listed is forgotten and its slot released.
        lease: Seconds that an active slot may stay silent at least; where twice its estimate is longer, that counts.
            Then its agent is reminded once, and after as long again the slot is aborted. None lets it be silent for
            ever.
        misfire_grace: Seconds after its time at which a slot that was not woken is skipped; None, the default, lets
            it be late for ever.
        on_unknown: What to do after a crash with a wake of which nobody knows whether it reached its agent: ``skip``
            does not repeat it, and the lease decides; ``repeat`` sends it again with the same ``wake_id``.
        spread: Whether the first heartbeats of more than a handful of new agents are spread over the interval, so that
            a fleet that starts together does not ask its calendar together ever after. ``tick()`` asks everybody all
            the same.
        seed: Fixes jitter and wake ids, so that a rehearsal can be replayed. None, the default, draws them from
            the system's entropy.

    Raises:
        ConfigurationError: A value is of the wrong type or out of range.
    """

    heartbeat_interval: float = 30.0
    heartbeat_timeout: float = 60.0
    history_size: int = 32
    max_heartbeats: int = 32
    max_wakes: int = 32
    max_abandoned: int = 64
    wake_timeout: float = 300.0
    wake_wait: float = 10.0
    lister_timeout: float = 10.0
    gone_after: float = 120.0
    lease: float | None = 1_800.0
    misfire_grace: float | None = None
    on_unknown: str = "skip"
    spread: bool = True
    seed: int | None = None

    def __post_init__(self) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, limit in _LIMITED.items():
            if getattr(self, name) is None and name in _OPTIONAL:
                continue
            seconds = check_seconds(name, getattr(self, name), limit)
            object.__setattr__(self, name, seconds if seconds > 0 else defaults[name])
        if self.heartbeat_interval < SHORTEST_INTERVAL:
            raise ConfigurationError(f"heartbeat_interval is at least {SHORTEST_INTERVAL:g} seconds")
        for name, most in _COUNTS.items():
            count = getattr(self, name)
            if type(count) is not int or count > most:
                raise ConfigurationError(f"{name} is a whole number up to {most}, not {count!r}")
            if count <= 0:
                object.__setattr__(self, name, defaults[name])
        if self.on_unknown not in _ON_UNKNOWN:
            raise ConfigurationError(f"on_unknown is one of {', '.join(_ON_UNKNOWN)}, not {self.on_unknown!r}")
        if type(self.spread) is not bool:
            raise ConfigurationError(f"spread is True or False, not {self.spread!r}")
        if self.seed is not None and type(self.seed) is not int:
            raise ConfigurationError(f"seed is a whole number or None, not {self.seed!r}")


def check_seconds(name: str, value: object, limit: float = DAY) -> float:
    """Return a duration as float seconds.

    Raises:
        ConfigurationError: It is no number, not finite, or over the limit.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} is a number of seconds, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError as error:
        raise ConfigurationError(f"{name} is far too large") from error
    if not math.isfinite(seconds) or seconds > limit:
        raise ConfigurationError(f"{name} is finite and at most {limit:g} seconds, not {value!r}")
    return seconds


# --- what the scheduler tells ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ActiveSlot(DataClassJsonMixin):
    """A slot between its claim and its settlement.

    ``started_at`` is the instant of the claim, moved along when the wall clock was set meanwhile; ``heard_at`` is
    when the agent last called, None before its first call; ``unsent`` names an update that is still owed to the
    calendar, and ``undelivered`` says whether one was accepted that has not reached it yet.

    ``lease_until`` is when the agent will have been silent for too long; None while the slot rests, or where it may be
    silent for ever. ``overdue`` says that it was reminded once: by then it is given up.
    """

    agent_id: str
    ident: str
    """Fixed at the claim, also when a virtual slot has become real since (see ``key``)."""
    key: SlotKey
    state: ActiveState = dataclasses.field(metadata=enum_of(ActiveState))
    attempt: int
    wake_id: str
    started_at: dt.datetime = dataclasses.field(metadata=INSTANT)
    last_heartbeat_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    heard_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    paused_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    pause_reason: str = ""
    unsent: SlotStatus | None = dataclasses.field(default=None, metadata=enum_of(SlotStatus))
    taken_up: bool = False
    lease_until: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    overdue: bool = False
    undelivered: bool = False
    slot: Slot


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry(DataClassJsonMixin):
    """A settled slot. Repeated failures of one slot's wake count up in one entry, whose ``wake_id`` is the latest's."""

    ident: str
    agent_id: str
    status: SlotStatus = dataclasses.field(metadata=enum_of(SlotStatus))
    resolved_at: dt.datetime = dataclasses.field(metadata=INSTANT)
    reason: str = ""
    summary: str = ""
    key: SlotKey
    attempt: int = 1
    started_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    actual_duration: int | None = None
    """Minutes, as told to the calendar with ``finished``."""
    count: int = 1
    late: bool = False
    wake_id: str = ""
    """The attempt's, as in `ActiveSlot`; empty where there was no wake."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Problem(DataClassJsonMixin):
    """A fault that stands, or that repeats: its latest words and how often it has come since it began."""

    message: str
    count: int
    first_at: dt.datetime = dataclasses.field(metadata=INSTANT)
    last_at: dt.datetime = dataclasses.field(metadata=INSTANT)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter(DataClassJsonMixin):
    """An accepted update that the calendar refused for good; somebody should look at it.

    ``number`` names it to ``retry_dead_letter`` and ``drop_dead_letter``; ``error`` is the refusal.
    """

    number: int
    agent_id: str
    key: SlotKey
    status: SlotStatus = dataclasses.field(metadata=enum_of(SlotStatus))
    accepted_at: dt.datetime = dataclasses.field(metadata=INSTANT)
    error: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryStatus(DataClassJsonMixin):
    """What became of the updates that an outbox has accepted, ever since its journal began.

    At every moment ``accepted == delivered + pending + dead``; ``dropped`` counts those of the dead that nobody keeps
    any more. ``journal_error`` says why the journal could not be written the last time, ``last_error`` why an update
    could not be delivered; empty where they could.
    """

    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    dropped: int = 0
    oldest_pending_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    dead_letters: tuple[DeadLetter, ...] = dataclasses.field(default=(), metadata=items_of(DeadLetter.from_dict))
    journal_error: str = ""
    last_error: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What the ledger knows of a listed slot: each text is empty, or says how it came to be so.

    ``failures`` counts failed wakes in a row, the last of them at the monotonic instant ``failed_at``.
    """

    settled: str = ""
    taken: str = ""
    failures: int = 0
    failed_at: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict(DataClassJsonMixin):
    """Why a slot of an agent's last heartbeat was or was not dispatched."""

    ident: str
    reason: VerdictReason = dataclasses.field(metadata=enum_of(VerdictReason))
    detail: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AccountLine(DataClassJsonMixin):
    """One slot of an account, and why it has the fate it has."""

    agent_id: str
    ident: str
    fate: SlotFate = dataclasses.field(metadata=enum_of(SlotFate))
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Account(DataClassJsonMixin):
    """What became of every slot that a scheduler has seen since it was made.

    ``seen == active + waiting + sum(settled.values()) + refused + withdrawn``, always. ``settled`` counts by status;
    ``lines`` names the slots that are active, waiting or refused, each with its reason.
    """

    seen: int = 0
    active: int = 0
    waiting: int = 0
    settled: Mapping[str, int] = dataclasses.field(default_factory=dict)
    refused: int = 0
    withdrawn: int = 0
    lines: tuple[AccountLine, ...] = dataclasses.field(default=(), metadata=items_of(AccountLine.from_dict))

    @property
    def is_balanced(self) -> bool:
        """Whether every slot seen has exactly one fate."""
        return self.seen == self.active + self.waiting + sum(self.settled.values()) + self.refused + self.withdrawn


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TickReport(DataClassJsonMixin):
    """What one ``tick()`` did, agent by agent: who was served, whose wake worked, and what had not ended by its end."""

    agents: tuple[str, ...] = ()
    failed_heartbeats: tuple[str, ...] = ()
    woken: tuple[str, ...] = ()
    failed_wakes: tuple[str, ...] = ()
    pending_heartbeats: tuple[str, ...] = ()
    pending_wakes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Status(DataClassJsonMixin):
    """A picture of a scheduler at one moment: snake_case, seconds, RFC 3339 once serialised; agents in order of id."""

    enabled: bool
    """Whether heartbeats go out by themselves: started, and not asked to stop."""
    lifecycle: Lifecycle = dataclasses.field(metadata=enum_of(Lifecycle))
    heartbeat_every: float
    agents: int = 0
    last_tick_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    last_heartbeats: Mapping[str, dt.datetime] = dataclasses.field(
        default_factory=dict,
        metadata=codec(
            encode_map(format_instant), lambda values: {key: parse_instant(value) for key, value in values.items()}
        ),
    )
    """Successes only."""
    last_errors: Mapping[str, Problem] = dataclasses.field(
        default_factory=dict,
        metadata=codec(
            encode_map(lambda problem: problem.to_dict()),
            lambda values: {key: Problem.from_dict(value) for key, value in values.items()},
        ),
    )
    """Heartbeats that fail now."""
    problems: Mapping[str, Mapping[str, Problem]] = dataclasses.field(
        default_factory=dict,
        metadata=codec(
            encode_map(encode_map(lambda problem: problem.to_dict())),
            lambda values: {
                agent_id: {source: Problem.from_dict(value) for source, value in sources.items()}
                for agent_id, sources in values.items()
            },
        ),
    )
    """Each agent's other faults by source: ``update``, ``slots``, ``wake``."""
    scheduler_errors: Mapping[str, Problem] = dataclasses.field(
        default_factory=dict,
        metadata=codec(
            encode_map(lambda problem: problem.to_dict()),
            lambda values: {key: Problem.from_dict(value) for key, value in values.items()},
        ),
    )
    """The loop's own faults by source: ``agents`` (the lister fails), ``listed`` (it names what is no agent), ``log``,
    ``threads``, ``release``, ``close``, ``loop``."""
    active: tuple[ActiveSlot, ...] = dataclasses.field(default=(), metadata=items_of(ActiveSlot.from_dict))
    history: tuple[HistoryEntry, ...] = dataclasses.field(default=(), metadata=items_of(HistoryEntry.from_dict))
    heartbeats_under_way: int = 0
    wakes_under_way: int = 0
    abandoned_threads: int = 0
    """Threads stuck in a callout that outlasted its timeout; at most ``max_abandoned_threads`` are replaced."""
    max_abandoned_threads: int = 0
    delivery: DeliveryStatus | None = None
    """What became of accepted updates; None without an outbox."""
    plugin: PluginInfo = dataclasses.field(default_factory=PluginInfo)
