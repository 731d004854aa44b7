"""Slots as rows: reading them, finding them, changing them. Which changes are allowed is not decided here."""

import dataclasses
import datetime as dt
from collections.abc import Collection, Iterable
from typing import Any

import sqlalchemy as sa

from harborcal.calendar.schema import slots
from harborcal.calendar.statements import OfAgents
from harborcal.model import Slot, SlotKey, SlotKind, SlotStatus

UNDER_WAY = (SlotStatus.ONGOING, SlotStatus.PAUSED)
NOT_IN_THE_WAY = (SlotStatus.SKIPPED, SlotStatus.ABORTED)
"""Slots that overlap nothing any more (contract, rule 8)."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A slot with what the contract does not tell of it; a virtual one has no row yet.

    Attributes:
        slot: The slot, as the contract tells it.
        agent_id: Whose it is.
        starts_at: When it begins.
        ends_at: When its estimate is over.
        virtual_id: What names it where a plan yields it, also after it became real.
        plan_date: The UTC date of the plan's occurrence, also where the slot was moved to another.
        started_at: When its agent began.
        ended_at: When it was finished, aborted or skipped.
        owner: Which scheduler made it ongoing.
        sequence: How often it was changed.
    """

    slot: Slot
    agent_id: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    virtual_id: str | None = None
    plan_date: dt.date | None = None
    started_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    owner: str | None = None
    sequence: int = 0

    @property
    def in_order(self) -> tuple[dt.datetime, int, bool, int | str]:
        """What a day is ordered by: when it begins, then the more urgent, then the older."""
        key = self.slot.key
        return self.starts_at, -self.slot.priority, key.kind is SlotKind.VIRTUAL, key.id

    @property
    def by_urgency(self) -> tuple[int, dt.datetime, bool, int | str]:
        """What a heartbeat is ordered by: the more urgent, then the earlier (contract, rule 1)."""
        starts_at, urgency, is_virtual, number = self.in_order
        return urgency, starts_at, is_virtual, number


def entry_of(row: sa.Row[Any]) -> Entry:
    """Read a row.

    A slot that a plan yields names its virtual id only where nobody could tell it from the plan and the date.
    """
    told = row.virtual_id if row.virtual_id != f"plan-{row.plan_id}-{row.date}" else None
    slot = Slot(
        id=row.id,
        virtual_id=told,
        status=row.status,
        priority=row.priority,
        date=row.date,
        scheduled_at=row.starts_at.time(),
        estimated_duration=row.estimated_duration,
        slot_type=row.slot_type,
        event_type=row.event_type,
        event_data=row.event_data,
        started_at=None if row.started_at is None else row.started_at.time(),
        attended=row.attended,
        actual_duration=row.actual_duration,
        plan_id=row.plan_id,
        is_admin_locked=row.is_admin_locked,
        special_slot_id=row.special_slot_id,
        user_id=row.user_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
    return Entry(
        slot=slot,
        agent_id=row.agent_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        virtual_id=row.virtual_id,
        plan_date=row.plan_date,
        started_at=row.started_at,
        ended_at=row.ended_at,
        owner=row.owner,
        sequence=row.sequence,
    )


# Built once: to put a statement together costs as much as to run it.
_AGENT = slots.c.agent_id == sa.bindparam("agent_id")
_BY_ID = sa.select(slots).where(slots.c.id == sa.bindparam("slot_id"))
_BY_VIRTUAL_ID = sa.select(slots).where(slots.c.virtual_id == sa.bindparam("slot_id"))
_ON_DATES = slots.c.date.between(sa.bindparam("first"), sa.bindparam("last"))
_OF_DATES = sa.select(slots).where(_AGENT, _ON_DATES)
_IS_UNDER_WAY = slots.c.status.in_(UNDER_WAY)
_UNDER_WAY = sa.select(slots).where(_AGENT, _IS_UNDER_WAY)
_NEAR = OfAgents(
    slots.c.agent_id,
    lambda of_agents: sa.union_all(
        sa.select(slots).where(of_agents, _ON_DATES),
        sa.select(slots).where(of_agents, _IS_UNDER_WAY, sa.not_(_ON_DATES)),
    ),
)
_TAKEN = OfAgents(
    slots.c.agent_id,
    lambda of_agents: sa.select(slots.c.agent_id, slots.c.virtual_id).where(
        of_agents, slots.c.plan_date.between(sa.bindparam("first"), sa.bindparam("last"))
    ),
)
_OF_PLAN = sa.select(slots).where(
    _AGENT,
    slots.c.plan_id == sa.bindparam("plan_id"),
    slots.c.date >= sa.bindparam("since"),
    slots.c.status.in_((SlotStatus.NOT_STARTED, SlotStatus.DEFERRED)),
)


def _select(connection: sa.Connection, statement: sa.Executable, **values: Any) -> list[Entry]:
    return [entry_of(row) for row in connection.execute(statement, values)]


def find(connection: sa.Connection, key: SlotKey) -> Entry | None:
    """Find a stored slot by its id, or by the virtual id it had before it was stored."""
    statement = _BY_ID if key.kind is SlotKind.REAL else _BY_VIRTUAL_ID
    return next(iter(_select(connection, statement, slot_id=key.id)), None)


def of_dates(connection: sa.Connection, agent_id: str, first: dt.date, last: dt.date) -> list[Entry]:
    """List an agent's stored slots of some dates."""
    return _select(connection, _OF_DATES, agent_id=agent_id, first=first, last=last)


def under_way(connection: sa.Connection, agent_id: str) -> list[Entry]:
    """List what an agent is at, whatever its date."""
    return _select(connection, _UNDER_WAY, agent_id=agent_id)


def near(connection: sa.Connection, agent_ids: Collection[str], first: dt.date, last: dt.date) -> list[Entry]:
    """List agents' stored slots of some dates, and what they are at whatever its date: all that heartbeats need."""
    return [entry_of(row) for row in _NEAR.execute(connection, agent_ids, first=first, last=last)]


def pending_of_plan(connection: sa.Connection, agent_id: str, plan_id: int, since: dt.date) -> list[Entry]:
    """List the stored slots of a plan that have not begun, from a date on."""
    return _select(connection, _OF_PLAN, agent_id=agent_id, plan_id=plan_id, since=since)


def taken_occurrences(
    connection: sa.Connection, agent_ids: Collection[str], first: dt.date, last: dt.date
) -> set[tuple[str, str | None]]:
    """Tell which of the plans' occurrences on some dates have become real (contract, rule 9): agent and virtual id."""
    rows = _TAKEN.execute(connection, agent_ids, first=first, last=last)
    return {(row.agent_id, row.virtual_id) for row in rows}


def insert(connection: sa.Connection, entry: Entry, now: dt.datetime) -> Entry:
    """Store a slot; it is real from now on."""
    slot = entry.slot
    values = {
        "agent_id": entry.agent_id,
        "date": slot.date,
        "starts_at": entry.starts_at,
        "ends_at": entry.ends_at,
        "estimated_duration": slot.estimated_duration,
        "status": slot.status,
        "priority": slot.priority,
        "slot_type": slot.slot_type,
        "event_type": slot.event_type,
        "event_data": slot.event_data,
        "attended": False,
        "plan_id": slot.plan_id,
        "plan_date": entry.plan_date,
        "virtual_id": entry.virtual_id,
        "is_admin_locked": slot.is_admin_locked,
        "special_slot_id": slot.special_slot_id,
        "user_id": slot.user_id,
        "sequence": 0,
        "created_at": now,
        "updated_at": now,
    }
    row = connection.execute(sa.insert(slots).values(values).returning(slots)).one()
    return entry_of(row)


def change(connection: sa.Connection, entry: Entry, now: dt.datetime, **changes: Any) -> Entry:
    """Change columns of a stored slot."""
    values = {**changes, "sequence": slots.c.sequence + 1, "updated_at": now}
    row = connection.execute(sa.update(slots).where(slots.c.id == entry.slot.id).values(values).returning(slots)).one()
    return entry_of(row)


def delete(connection: sa.Connection, entry: Entry) -> None:
    """Delete a stored slot."""
    connection.execute(sa.delete(slots).where(slots.c.id == entry.slot.id))


def delete_before(connection: sa.Connection, date: dt.date) -> int:
    """Delete what is past and not under way; return how many slots that were.

    A plan's slot that was moved into the past stays while its own date is to come: it stands for that one.
    """
    is_past = sa.and_(slots.c.date < date, sa.or_(slots.c.plan_date.is_(None), slots.c.plan_date < date))
    chosen = sa.delete(slots).where(is_past, slots.c.status.not_in(UNDER_WAY))
    return connection.execute(chosen).rowcount


def first_overlap(entries: Iterable[Entry], starts_at: dt.datetime, ends_at: dt.datetime) -> Entry | None:
    """Find the earliest slot in the way of a stretch; both are half open (contract, rule 8)."""
    in_the_way = (
        entry
        for entry in entries
        if entry.slot.status not in NOT_IN_THE_WAY and entry.starts_at < ends_at and starts_at < entry.ends_at
    )
    return min(in_the_way, key=lambda entry: entry.in_order, default=None)
