"""An agent's time as a whole: stored slots and what its plans yield, merged; and what users do with it."""

import dataclasses
import datetime as dt
from collections.abc import Collection

import sqlalchemy as sa

from harborcal.calendar import plans, rules, slots
from harborcal.calendar.edits import PlanEdit, SlotEdit
from harborcal.calendar.plans import Version
from harborcal.calendar.schema import agents, imports, meta
from harborcal.calendar.schema import plans as plan_rows
from harborcal.calendar.schema import slots as slot_rows
from harborcal.calendar.slots import Entry
from harborcal.calendar.values import Plan
from harborcal.errors import CalendarRefusedError
from harborcal.model import SlotKey, SlotKind, SlotStatus

_DAY = dt.timedelta(days=1)
_ADVISED_ON = 300  # of a plan's slots


def entries(connection: sa.Connection, agent_id: str, first: dt.date, last: dt.date) -> list[Entry]:
    """List an agent's slots of some dates, real and virtual, in no order.

    Costs three indexed queries, however many dates, slots and plans there are.
    """
    stored = slots.of_dates(connection, agent_id, first, last)
    return [*stored, *virtual_entries(connection, [agent_id], first, last)]


def virtual_entries(
    connection: sa.Connection, agent_ids: Collection[str], first: dt.date, last: dt.date, *, but: int | None = None
) -> list[Entry]:
    """Compute what agents' plans, all but one of them, yield on some dates and has not become real.

    Costs two indexed queries, however many agents, dates and plans there are.
    """
    versions = [version for version in plans.valid_on(connection, agent_ids, first, last) if version.plan.id != but]
    if not versions:
        return []
    taken = slots.taken_occurrences(connection, agent_ids, first, last)
    dates = [first + _DAY * number for number in range((last - first).days + 1)]
    yielded = (entry for date in dates for version in versions for entry in version.entries_on(date))
    return [entry for entry in yielded if (entry.agent_id, entry.virtual_id) not in taken]


def find(connection: sa.Connection, key: SlotKey) -> Entry:
    """Find a slot, stored or virtual; a virtual key finds its slot also after it became real.

    Raises:
        CalendarRefusedError: 404, there is no such slot.
    """
    if not isinstance(key, SlotKey):
        raise CalendarRefusedError(422, f"a slot is named by a SlotKey, not by {rules.shown(key)}")
    entry = slots.find(connection, key)
    if entry is None and key.kind is SlotKind.VIRTUAL:
        entry = _find_virtual(connection, str(key.id))
    if entry is None:
        raise CalendarRefusedError(404, "Slot not found")
    return entry


def _find_virtual(connection: sa.Connection, virtual_id: str) -> Entry | None:
    named = plans.read_name(virtual_id)
    if named is None:
        return None
    plan_id, date = named
    version = plans.version_on(connection, plan_id, date)
    if version is None:
        return None
    return next((entry for entry in version.entries_on(date) if entry.virtual_id == virtual_id), None)


def materialise(connection: sa.Connection, entry: Entry, now: dt.datetime) -> Entry:
    """Store a virtual slot; a stored one is returned as it is.

    The caller's transaction writes, so that of two at once the second finds the first one's row.
    """
    return entry if entry.slot.id is not None else slots.insert(connection, entry, now)


def check_free(
    connection: sa.Connection,
    agent_id: str,
    starts_at: dt.datetime,
    ends_at: dt.datetime,
    *,
    itself: SlotKey | None = None,
) -> None:
    """Let a stretch overlap no other slot of its agent, across midnight too (contract, rule 8).

    Raises:
        CalendarRefusedError: 409; it names the slot in the way.
    """
    listed = entries(connection, agent_id, starts_at.date() - _DAY, ends_at.date())
    others = (entry for entry in listed if entry.slot.key != itself)
    found = slots.first_overlap(others, starts_at, ends_at)
    if found is not None:
        raise rules.overlap_refusal(found.slot.key, found.starts_at, found.ends_at)


def touch(connection: sa.Connection, agent_id: str) -> None:
    """Note that an agent's schedule has changed, for who asks what is new."""
    revision = connection.execute(
        sa.update(meta).values(revision=meta.c.revision + 1).returning(meta.c.revision)
    ).scalar_one()
    connection.execute(sa.update(agents).where(agents.c.id == agent_id).values(revision=revision))


# --- what users do --------------------------------------------------------------------------------------------------


def add(connection: sa.Connection, entry: Entry, now: dt.datetime) -> Entry:
    """Store a new slot.

    Raises:
        CalendarRefusedError: 409, its date is past, or it overlaps another slot.
    """
    rules.check_plannable(entry.starts_at.date(), now)
    check_free(connection, entry.agent_id, entry.starts_at, entry.ends_at)
    added = slots.insert(connection, entry, now)
    touch(connection, entry.agent_id)
    return added


def edit(connection: sa.Connection, old: Entry, changes: SlotEdit, now: dt.datetime) -> Entry:
    """Change a slot; a virtual one becomes real, and goes on being its plan's of that date.

    Raises:
        CalendarRefusedError: 409, it is over, past, has begun and would move, or would overlap another slot; 422, a
            value is out of range; 423, it is locked.
    """
    rules.check_editable(old.slot)
    rules.check_plannable(old.starts_at.date(), now)
    new = changes.apply(old, old.agent_id)
    if new.starts_at != old.starts_at:
        if not old.slot.status.is_pending:
            raise CalendarRefusedError(409, f"slot is {old.slot.status}: what has begun keeps its time")
        rules.check_plannable(new.starts_at.date(), now)
    if (new.starts_at, new.ends_at) != (old.starts_at, old.ends_at):
        check_free(connection, old.agent_id, new.starts_at, new.ends_at, itself=old.slot.key)
    content = {name: value for name, value in changes.values.items() if name != "starts_at"}
    times = {"date": new.starts_at.date(), "starts_at": new.starts_at, "ends_at": new.ends_at}
    changed = slots.change(connection, materialise(connection, old, now), now, **content, **times)
    touch(connection, old.agent_id)
    return changed


def cancel(connection: sa.Connection, entry: Entry, now: dt.datetime) -> Entry:
    """Cancel a slot: skip it, or abort it where it has begun. One that is cancelled already stays as it is.

    Raises:
        CalendarRefusedError: 409, it is finished or past; 423, it is locked.
    """
    if entry.slot.status in slots.NOT_IN_THE_WAY:
        return entry
    rules.check_editable(entry.slot)
    rules.check_plannable(entry.starts_at.date(), now)
    status = SlotStatus.SKIPPED if entry.slot.status.is_pending else SlotStatus.ABORTED
    changed = slots.change(connection, materialise(connection, entry, now), now, status=status, ended_at=now)
    touch(connection, entry.agent_id)
    return changed


def set_lock(connection: sa.Connection, entry: Entry, now: dt.datetime, *, is_locked: bool) -> Entry:
    """Lock or unlock a slot as an admin.

    Raises:
        CalendarRefusedError: 409, it is over or past.
    """
    if entry.slot.is_admin_locked == is_locked:
        return entry
    rules.check_editable(dataclasses.replace(entry.slot, is_admin_locked=False))
    rules.check_plannable(entry.starts_at.date(), now)
    changed = slots.change(connection, materialise(connection, entry, now), now, is_admin_locked=is_locked)
    touch(connection, entry.agent_id)
    return changed


def add_plan(connection: sa.Connection, agent_id: str, changes: PlanEdit, now: dt.datetime) -> Plan:
    """Store a new plan."""
    plan = plans.insert(connection, changes.begin(agent_id, now))
    touch(connection, agent_id)
    return plan


def edit_plan(connection: sa.Connection, old: Version, changes: PlanEdit, now: dt.datetime) -> Plan:
    """Change a plan from today on.

    Raises:
        CalendarRefusedError: 409, it is cancelled.
    """
    if old.plan.is_cancelled:
        raise CalendarRefusedError(409, "plan is cancelled")
    plan = plans.revise(connection, old, changes.apply(old.plan, now))
    touch(connection, plan.agent_id)
    return plan


def cancel_plan(connection: sa.Connection, old: Version, now: dt.datetime) -> Plan:
    """Cancel a plan from today on, and what it has put into the calendar since that has not begun."""
    plan = old.plan
    if plan.is_cancelled:
        return plan
    plans.cancel(connection, old, now.date())
    for entry in slots.pending_of_plan(connection, plan.agent_id, plan.id, now.date()):
        if not entry.slot.is_admin_locked:
            slots.change(connection, entry, now, status=SlotStatus.SKIPPED, ended_at=now)
    touch(connection, plan.agent_id)
    return dataclasses.replace(plan, is_cancelled=True)


def overlaps_of(connection: sa.Connection, version: Version, days: int) -> tuple[str, ...]:
    """Say where a plan's first slots overlap others, one line a day; not all of a plan by the minute are looked at."""
    first = max(version.plan.valid_from, version.plan.recurrence.start.date() - _DAY)
    found: list[str] = []
    seen = 0
    for date in (first + _DAY * number for number in range(days)):
        own = version.entries_on(date)
        seen += len(own)
        if own and (refusal := _first_overlap_of(connection, version.plan, own, date)):
            found.append(refusal)
        if seen > _ADVISED_ON:
            break
    return tuple(found)


def _first_overlap_of(connection: sa.Connection, plan: Plan, own: list[Entry], date: dt.date) -> str:
    near = slots.of_dates(connection, plan.agent_id, date - _DAY, date + _DAY)
    stored = [entry for entry in near if entry.slot.plan_id != plan.id]
    virtual = virtual_entries(connection, [plan.agent_id], date - _DAY, date + _DAY, but=plan.id)
    for entry in own:
        other = slots.first_overlap([*stored, *virtual], entry.starts_at, entry.ends_at)
        if other is not None:
            refusal = rules.overlap_refusal(other.slot.key, other.starts_at, other.ends_at)
            return f"{entry.virtual_id} {refusal.detail}"
    return ""


def forget_imports(connection: sa.Connection) -> None:
    """Forget where deleted slots and plans came from."""
    slot_is_gone = sa.and_(imports.c.slot_id.is_not(None), imports.c.slot_id.not_in(sa.select(slot_rows.c.id)))
    plan_is_gone = sa.and_(imports.c.plan_id.is_not(None), imports.c.plan_id.not_in(sa.select(plan_rows.c.id)))
    connection.execute(sa.delete(imports).where(sa.or_(slot_is_gone, plan_is_gone)))
