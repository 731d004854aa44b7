"""Plans as rows, and the virtual slots they yield. A virtual slot is computed for a date and never stored.

A plan is stored as versions: an edit ends one version today and begins the next, so that past dates stay as they were.
"""

import dataclasses
import datetime as dt
import functools
import json
import re
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from harborcal.calendar.recurrence import Occurrence, Recurrence
from harborcal.calendar.schema import FOR_EVER, plan_versions, plans
from harborcal.calendar.slots import Entry
from harborcal.calendar.statements import OfAgents
from harborcal.calendar.values import Plan
from harborcal.errors import CalendarRefusedError
from harborcal.model import MAX_REAL_ID, Slot

_VIRTUAL_ID = re.compile(r"plan-([0-9]{1,18})-([0-9]{4}-[0-9]{2}-[0-9]{2})(T[0-9]{4}(?:[0-9]{2})?)?")
_DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A plan as it was between two edits."""

    plan: Plan
    valid_until: dt.date

    def entries_on(self, date: dt.date) -> list[Entry]:
        """Compute the plan's virtual slots of a UTC date, also of those that have become real since."""
        if not self.plan.valid_from <= date < self.valid_until:
            return []
        return [self._entry(date, occurrence) for occurrence in self.plan.recurrence.on(date)]

    def entry_at(self, local: dt.datetime) -> Entry | None:
        """Compute the virtual slot of the occurrence at a wall time of the plan's zone."""
        occurrence = self.plan.recurrence.occurrence_at(local)
        if occurrence is None:
            return None
        date = occurrence.starts_at.date()
        if not self.plan.valid_from <= date < self.valid_until:
            return None
        return self._entry(date, occurrence)

    def _entry(self, date: dt.date, occurrence: Occurrence) -> Entry:
        plan, starts_at = self.plan, occurrence.starts_at
        virtual_id = name_of(plan.id, date, occurrence)
        slot = Slot(
            virtual_id=virtual_id,
            priority=plan.priority,
            date=date,
            scheduled_at=starts_at.time(),
            estimated_duration=plan.estimated_duration,
            slot_type=plan.slot_type,
            event_type=plan.event_type,
            event_data=plan.event_data,
            plan_id=plan.id,
            user_id=plan.user_id,
            created_at=plan.created_at,
            updated_at=plan.updated_at,
        )
        return Entry(
            slot=slot,
            agent_id=plan.agent_id,
            starts_at=starts_at,
            ends_at=starts_at + dt.timedelta(minutes=plan.estimated_duration),
            virtual_id=virtual_id,
            plan_date=date,
        )


def name_of(plan_id: int, date: dt.date, occurrence: Occurrence) -> str:
    """Name a plan's slot: ``plan-{id}-{date}`` (contract); a second one on the same UTC date has its time added."""
    name = f"plan-{plan_id}-{date.isoformat()}"
    if occurrence.ordinal == 0:
        return name
    time = occurrence.starts_at.time()
    return f"{name}T{time:%H%M%S}" if time.second else f"{name}T{time:%H%M}"


def read_name(virtual_id: str) -> tuple[int, dt.date] | None:
    """Tell which plan and date a virtual id names; None where it names none."""
    found = _VIRTUAL_ID.fullmatch(virtual_id)
    if found is None:
        return None
    try:
        return int(found[1]), dt.date.fromisoformat(found[2])
    except ValueError:
        return None


# --- rows -----------------------------------------------------------------------------------------------------------

_COLUMNS = (plan_versions, plans.c.is_cancelled, plans.c.created_at)
_JOINED = plan_versions.join(plans, plans.c.id == plan_versions.c.plan_id)


# Every heartbeat reads the same plans again, and checking a recurrence costs more than reading its row.
@functools.lru_cache(maxsize=4096)
def _read_recurrence(text: str) -> Recurrence:
    return Recurrence.from_dict(json.loads(text))


def _version_of(row: sa.Row[Any]) -> Version:
    plan = Plan(
        id=row.plan_id,
        agent_id=row.agent_id,
        recurrence=_read_recurrence(row.recurrence),
        estimated_duration=row.estimated_duration,
        slot_type=row.slot_type,
        priority=row.priority,
        event_type=row.event_type,
        event_data=row.event_data,
        user_id=row.user_id,
        valid_from=row.valid_from,
        is_cancelled=row.is_cancelled,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
    return Version(plan=plan, valid_until=row.valid_until)


_VALID_ON = OfAgents(
    plan_versions.c.agent_id,
    lambda of_agents: (
        sa.select(*_COLUMNS)
        .select_from(_JOINED)
        .where(
            of_agents,
            plan_versions.c.valid_until > sa.bindparam("first"),
            plan_versions.c.valid_from <= sa.bindparam("last"),
        )
        .order_by(plan_versions.c.plan_id)
    ),
)
_VERSION_ON = (
    sa.select(*_COLUMNS)
    .select_from(_JOINED)
    .where(
        plan_versions.c.plan_id == sa.bindparam("plan_id"),
        plan_versions.c.valid_from <= sa.bindparam("date"),
        plan_versions.c.valid_until > sa.bindparam("date"),
    )
)


def valid_on(connection: sa.Connection, agent_ids: Collection[str], first: dt.date, last: dt.date) -> list[Version]:
    """List the versions of agents' plans that count on any of some dates."""
    return [_version_of(row) for row in _VALID_ON.execute(connection, agent_ids, first=first, last=last)]


def version_on(connection: sa.Connection, plan_id: int, date: dt.date) -> Version | None:
    """Find the version of a plan that counts on a date."""
    row = connection.execute(_VERSION_ON, {"plan_id": plan_id, "date": date}).one_or_none()
    return None if row is None else _version_of(row)


def latest(connection: sa.Connection, plan_id: int) -> Version:
    """Find a plan's last version.

    Raises:
        CalendarRefusedError: 404, there is no such plan.
    """
    chosen = (
        sa.select(*_COLUMNS)
        .select_from(_JOINED)
        .where(plan_versions.c.plan_id == plan_id)
        .order_by(plan_versions.c.valid_from.desc())
        .limit(1)
    )
    is_number = type(plan_id) is int and 0 <= plan_id <= MAX_REAL_ID
    row = connection.execute(chosen).one_or_none() if is_number else None
    if row is None:
        raise CalendarRefusedError(404, "Plan not found")
    return _version_of(row)


def of_agent(connection: sa.Connection, agent_id: str) -> list[Plan]:
    """List an agent's plans, each in its last version, cancelled ones too."""
    newest = (
        sa.select(plan_versions.c.plan_id, sa.func.max(plan_versions.c.valid_from).label("valid_from"))
        .join(plans, plans.c.id == plan_versions.c.plan_id)
        .where(plans.c.agent_id == agent_id)
        .group_by(plan_versions.c.plan_id)
        .subquery()
    )
    chosen = (
        sa.select(*_COLUMNS)
        .select_from(
            _JOINED.join(
                newest,
                sa.and_(newest.c.plan_id == plan_versions.c.plan_id, newest.c.valid_from == plan_versions.c.valid_from),
            )
        )
        .order_by(plan_versions.c.plan_id)
    )
    return [_version_of(row).plan for row in connection.execute(chosen)]


def insert(connection: sa.Connection, plan: Plan) -> Plan:
    """Store a new plan and return it with its id."""
    values = {"agent_id": plan.agent_id, "is_cancelled": False, "created_at": plan.created_at}
    plan_id = connection.execute(sa.insert(plans).values(values).returning(plans.c.id)).scalar_one()
    plan = dataclasses.replace(plan, id=plan_id)
    _insert_version(connection, plan)
    return plan


def revise(connection: sa.Connection, old: Version, plan: Plan) -> Plan:
    """Let a plan be different from its ``valid_from`` on; what it yielded before stays, also if the clock went back."""
    plan = dataclasses.replace(plan, valid_from=max(plan.valid_from, old.plan.valid_from))
    if old.plan.valid_from >= plan.valid_from:
        _delete_version(connection, old)
    elif old.valid_until > plan.valid_from:
        _end_version(connection, old, plan.valid_from)
    _insert_version(connection, plan)
    return plan


def cancel(connection: sa.Connection, old: Version, date: dt.date) -> None:
    """Let a plan yield nothing from a date on."""
    connection.execute(sa.update(plans).where(plans.c.id == old.plan.id).values(is_cancelled=True))
    if old.valid_until > date:
        _end_version(connection, old, max(date, old.plan.valid_from))


def delete_before(connection: sa.Connection, date: dt.date) -> None:
    """Delete versions that have counted only before a date, and plans of which nothing is left.

    What is left counts from that date on: of the deleted slots nobody could tell any more that they were real.
    """
    connection.execute(sa.delete(plan_versions).where(plan_versions.c.valid_until <= date))
    connection.execute(sa.update(plan_versions).where(plan_versions.c.valid_from < date).values(valid_from=date))
    left = sa.select(plan_versions.c.plan_id)
    connection.execute(sa.delete(plans).where(plans.c.id.not_in(left)))


def _insert_version(connection: sa.Connection, plan: Plan) -> None:
    last = plan.recurrence.last_date()
    values = {
        "plan_id": plan.id,
        "valid_from": plan.valid_from,
        "valid_until": FOR_EVER if last is None else max(last + _DAY, plan.valid_from),
        "agent_id": plan.agent_id,
        "recurrence": json.dumps(plan.recurrence.to_dict()),
        "estimated_duration": plan.estimated_duration,
        "slot_type": plan.slot_type,
        "priority": plan.priority,
        "event_type": plan.event_type,
        "event_data": plan.event_data,
        "user_id": plan.user_id,
        "updated_at": plan.updated_at,
    }
    connection.execute(sa.insert(plan_versions).values(values))


def _which(version: Version) -> sa.ColumnElement[bool]:
    plan = version.plan
    return sa.and_(plan_versions.c.plan_id == plan.id, plan_versions.c.valid_from == plan.valid_from)


def _end_version(connection: sa.Connection, version: Version, date: dt.date) -> None:
    connection.execute(sa.update(plan_versions).where(_which(version)).values(valid_until=date))


def _delete_version(connection: sa.Connection, version: Version) -> None:
    connection.execute(sa.delete(plan_versions).where(_which(version)))
