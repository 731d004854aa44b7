"""What the carried calendar knows and tells besides slots: agents, plans, accounts, reports."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any

from dataclasses_json import DataClassJsonMixin

from harborcal.calendar.recurrence import Recurrence
from harborcal.codecs import DATE, INSTANT, JSON, codec, enum_of, items_of
from harborcal.model import AgentStatus, EventType, Slot, SlotStatus, SlotType


class ExhaustReason(enum.StrEnum):
    """Why an agent is exhausted, in the contract's words."""

    RATE_LIMIT = "rate_limit"
    BILLING = "billing"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredAgent(DataClassJsonMixin):
    """An agent as the calendar knows it.

    Attributes:
        id: Who it is.
        claw_identifier: The only host that may speak for it; None where any may.
        status: What it does now: ``offline`` after 120 s without a heartbeat (contract, rule 5), ``exhausted`` until
            ``recovery_at``, else what was said of it or what follows from the slots under way.
        exhaust_reason: Why it is exhausted, if it is and a reason was given.
        recovery_at: When it stops being exhausted.
        last_heartbeat_at: When it was last heard, None before its first heartbeat.
        registered_at: Since when it is known.
    """

    id: str
    claw_identifier: str | None = None
    status: AgentStatus = dataclasses.field(metadata=enum_of(AgentStatus))
    exhaust_reason: ExhaustReason | None = dataclasses.field(default=None, metadata=enum_of(ExhaustReason))
    recovery_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    last_heartbeat_at: dt.datetime | None = dataclasses.field(default=None, metadata=INSTANT)
    registered_at: dt.datetime = dataclasses.field(metadata=INSTANT)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan(DataClassJsonMixin):
    """A recurrence that yields one agent's virtual slots, and what those slots are like.

    Attributes:
        id: Names the plan; its virtual slots are ``plan-{id}-{YYYY-MM-DD}``.
        agent_id: Whose plan it is.
        recurrence: When its slots begin.
        estimated_duration: Minutes, 1..50 (contract).
        slot_type: What kind of time its slots are.
        priority: 0..99.
        event_type: What ``event_data`` describes.
        event_data: What the agent is to do.
        user_id: Who planned it.
        valid_from: The first UTC date this version of the plan counts for: that of its creation or of its last edit.
        is_cancelled: Whether it yields no more slots.
        created_at: When it was planned first.
        updated_at: When it was changed last.
    """

    id: int
    agent_id: str
    recurrence: Recurrence = dataclasses.field(metadata=codec(Recurrence.to_dict, Recurrence.from_dict))
    estimated_duration: int
    slot_type: SlotType = dataclasses.field(default=SlotType.WORK, metadata=enum_of(SlotType))
    priority: int = 0
    event_type: EventType | None = dataclasses.field(default=None, metadata=enum_of(EventType))
    event_data: Mapping[str, Any] | None = dataclasses.field(default=None, metadata=JSON)
    user_id: int | None = None
    valid_from: dt.date = dataclasses.field(metadata=DATE)
    is_cancelled: bool = False
    created_at: dt.datetime = dataclasses.field(metadata=INSTANT)
    updated_at: dt.datetime = dataclasses.field(metadata=INSTANT)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DayAccount(DataClassJsonMixin):
    """What became of one agent's day: planned = finished + aborted + skipped + open."""

    agent_id: str
    date: dt.date = dataclasses.field(metadata=DATE)
    finished: int = 0
    aborted: int = 0
    skipped: int = 0
    open: int = 0
    """Not started, deferred, ongoing or paused."""

    @property
    def planned(self) -> int:
        """All slots of the day, real and virtual."""
        return self.finished + self.aborted + self.skipped + self.open

    @classmethod
    def of(cls, agent_id: str, date: dt.date, slots: tuple[Slot, ...]) -> "DayAccount":
        """Count a day's slots."""
        ended = [slot.status for slot in slots if slot.status.is_terminal]
        return cls(
            agent_id=agent_id,
            date=date,
            finished=ended.count(SlotStatus.FINISHED),
            aborted=ended.count(SlotStatus.ABORTED),
            skipped=ended.count(SlotStatus.SKIPPED),
            open=len(slots) - len(ended),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sync(DataClassJsonMixin):
    """What a host needs to know of its agents' day, whole or since it asked last (contract: ``/calendar/sync``).

    Attributes:
        full: Whether this is the whole plan, which replaces what the host knew; else only what has changed.
        schedules: The day's slots of each agent that is listed.
        token: What to ask with next time.
        more: Whether agents were left out to keep the answer short: ask again at once, with ``token``.
    """

    full: bool
    schedules: Mapping[str, tuple[Slot, ...]] = dataclasses.field(
        metadata=codec(
            lambda schedules: {agent_id: [slot.to_dict() for slot in slots] for agent_id, slots in schedules.items()},
            lambda schedules: {
                agent_id: tuple(Slot.from_dict(slot) for slot in slots) for agent_id, slots in schedules.items()
            },
        )
    )
    token: str
    more: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImportedItem(DataClassJsonMixin):
    """One event of an imported file, or one occurrence of it, and what became of it.

    Attributes:
        uid: The event's UID; empty where it has none.
        occurrence: Which occurrence of a recurring event, as written in its RECURRENCE-ID; empty for the event itself.
        title: Its SUMMARY, cleaned.
        became: The slot or plan it is in the calendar (``slot 12``, ``plan 3``), empty where it is none.
        reason: What was changed to fit, or why it was left out; empty where there is nothing to say.
    """

    uid: str
    occurrence: str = ""
    title: str = ""
    became: str = ""
    reason: str = ""


def _items() -> dict[str, Any]:
    return items_of(ImportedItem.from_dict)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport(DataClassJsonMixin):
    """What an import did: every event of the file is in exactly one of the first four lists.

    Attributes:
        added: New in the calendar.
        changed: In the calendar before, and different now.
        unchanged: In the calendar before, as they are in the file.
        left_out: Not in the calendar, and why.
        removed: In the calendar before, and no longer in the file (or cancelled there): cancelled now.
        source: Which earlier imports this one replaces: those with the same source.
    """

    added: tuple[ImportedItem, ...] = dataclasses.field(default=(), metadata=_items())
    changed: tuple[ImportedItem, ...] = dataclasses.field(default=(), metadata=_items())
    unchanged: tuple[ImportedItem, ...] = dataclasses.field(default=(), metadata=_items())
    left_out: tuple[ImportedItem, ...] = dataclasses.field(default=(), metadata=_items())
    removed: tuple[ImportedItem, ...] = dataclasses.field(default=(), metadata=_items())
    source: str = ""
