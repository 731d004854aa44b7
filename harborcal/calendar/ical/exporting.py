"""An agent's slots as an iCalendar file: planned times before they begin, actual ones after."""

import datetime as dt

import sqlalchemy as sa

from harborcal.calendar import agents, rules, schedule
from harborcal.calendar.ical.importing import priority_to
from harborcal.calendar.ical.writing import IcsEntry, write
from harborcal.calendar.schema import imports, meta
from harborcal.calendar.slots import NOT_IN_THE_WAY, Entry
from harborcal.calendar.store import Store
from harborcal.codecs import format_instant
from harborcal.errors import CalendarRefusedError
from harborcal.model import SlotStatus

MAX_DAYS = 366
"""How many days one export may cover."""

_SHORTEST = dt.timedelta(minutes=1)


def export_day_range(store: Store, agent_id: str, first: dt.date, last: dt.date, now: dt.datetime) -> bytes:
    """Write the slots of some UTC dates (see `Calendar.export_ics`)."""
    rules.date_of("first", first)
    rules.date_of("last", last)
    if not 0 <= (last - first).days <= MAX_DAYS:
        raise CalendarRefusedError(422, f"an export covers at most {MAX_DAYS} days, from the first to the last")
    with store.read() as connection:
        agents.find(connection, agent_id)
        identity = connection.execute(sa.select(meta.c.identity)).scalar_one()
        listed = sorted(schedule.entries(connection, agent_id, first, last), key=lambda entry: entry.in_order)
        uids = _uids(connection, agent_id)
    written = {entry.uid: entry for entry in (_entry(entry, uids, identity, now) for entry in listed)}
    return write(written.values(), name=agent_id, stamp=now)


def _uids(connection: sa.Connection, agent_id: str) -> dict[int, str]:
    """Tell the UIDs of imported events that are slots of their own: they keep them, so that nobody sees them twice."""
    chosen = sa.select(imports.c.slot_id, imports.c.uid).where(
        imports.c.agent_id == agent_id, imports.c.slot_id.is_not(None), imports.c.occurrence == ""
    )
    found = [(row.slot_id, row.uid) for row in connection.execute(chosen.order_by(imports.c.slot_id))]
    first = {uid: slot_id for slot_id, uid in reversed(found)}  # the same event may have come from two files
    return {slot_id: uid for slot_id, uid in found if first[uid] == slot_id}


def _entry(entry: Entry, uids: dict[int, str], identity: str, now: dt.datetime) -> IcsEntry:
    slot = entry.slot
    name = entry.virtual_id if entry.virtual_id is not None else f"slot-{slot.id}"
    uid = uids.get(slot.id) if slot.id is not None else None
    starts_at, ends_at = _times(entry, now)
    return IcsEntry(
        uid=uid if uid is not None else f"{name}@{identity}.harborcal",
        title=_title(entry),
        starts_at=starts_at,
        ends_at=ends_at,
        status="CANCELLED" if slot.status in NOT_IN_THE_WAY else "CONFIRMED",
        priority=priority_to(slot.priority),
        sequence=entry.sequence,
        created_at=slot.created_at or now,
        updated_at=slot.updated_at or now,
        description=_description(entry),
        categories=(str(slot.slot_type),) if slot.slot_type is not None else (),
        extras=_extras(entry),
    )


def _times(entry: Entry, now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Tell when a slot is: as planned before it begins, then as it went."""
    if entry.started_at is None:
        return entry.starts_at, entry.ends_at
    length = entry.ends_at - entry.starts_at
    if entry.slot.status is SlotStatus.FINISHED and entry.slot.actual_duration is not None:
        ends_at = entry.started_at + dt.timedelta(minutes=entry.slot.actual_duration)
    elif entry.ended_at is not None:
        ends_at = entry.ended_at.replace(microsecond=0)
    else:
        ends_at = max(entry.started_at + length, now.replace(microsecond=0))
    return entry.started_at, max(ends_at, entry.started_at + _SHORTEST)


def _title(entry: Entry) -> str:
    data = entry.slot.event_data or {}
    for name in ("code", "task_code", "event"):
        text = data.get(name)
        if isinstance(text, str) and text:
            return text
    return f"{entry.slot.slot_type} slot"


def _description(entry: Entry) -> str:
    data = entry.slot.event_data or {}
    said = data.get("description")
    return said if isinstance(said, str) else ""


def _extras(entry: Entry) -> dict[str, str]:
    slot = entry.slot
    told = {
        "X-HARBORCAL-AGENT": entry.agent_id,
        "X-HARBORCAL-SLOT": slot.ident,
        "X-HARBORCAL-STATUS": str(slot.status),
        "X-HARBORCAL-SCHEDULED": format_instant(entry.starts_at),
        "X-HARBORCAL-ESTIMATED-MINUTES": str(slot.estimated_duration),
        "X-HARBORCAL-STARTED": "" if entry.started_at is None else format_instant(entry.started_at),
        "X-HARBORCAL-ENDED": "" if entry.ended_at is None else format_instant(entry.ended_at.replace(microsecond=0)),
        "X-HARBORCAL-ACTUAL-MINUTES": "" if slot.actual_duration is None else str(slot.actual_duration),
        "X-HARBORCAL-PLAN": "" if slot.plan_id is None else str(slot.plan_id),
    }
    return {name: value for name, value in told.items() if value}
