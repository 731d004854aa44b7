"""Taking an iCalendar file as one agent's slots and plans: which event becomes what, and what earlier imports meant."""

import dataclasses
import datetime as dt
import math
import os
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from harborcal.calendar import agents, plans, rules, schedule, slots
from harborcal.calendar.edits import EMPTY, PlanEdit, SlotEdit
from harborcal.calendar.ical.components import MAX_BYTES
from harborcal.calendar.ical.reading import IcsEvent, IcsFile, read
from harborcal.calendar.recurrence import Recurrence
from harborcal.calendar.schema import imports
from harborcal.calendar.slots import Entry
from harborcal.calendar.store import Store
from harborcal.calendar.values import ImportedItem, ImportReport
from harborcal.clock import Clock
from harborcal.errors import CalendarRefusedError, ConfigurationError, ICalendarError
from harborcal.grammar import clean
from harborcal.model import EventType, SlotKey, SlotStatus

DEFAULT_MINUTES = 30
"""The estimate of an event that has no length."""

_DAY = dt.timedelta(days=1)
_JOB_TYPES = {name.lower(): name for name in ("Task", "Support", "Meeting", "Essential")}
_UNTOUCHED = frozenset({SlotStatus.NOT_STARTED, SlotStatus.DEFERRED, SlotStatus.SKIPPED})
_SOURCE_LIMIT = 255


def import_file(
    store: Store,
    agent_id: str,
    file: bytes | str | os.PathLike[str],
    *,
    source: str | None,
    zone: str,
    all_day_at: dt.time,
    clock: Clock,
) -> ImportReport:
    """Read a file and take it into the calendar, in one transaction (see `Calendar.import_ics`)."""
    given: tuple[tuple[object, type], ...] = ((zone, str), (source or "", str), (all_day_at, dt.time))
    if not all(isinstance(value, kind) for value, kind in given):
        raise ConfigurationError("zone and source are texts, and all_day_at is a time of day")
    data, file_name = _content_of(file)
    parsed = read(data, zone=zone, all_day_at=all_day_at)
    name = clean(parsed.name or file_name if source is None else source, _SOURCE_LIMIT)
    with store.write() as connection:
        agents.find(connection, agent_id)
        return _Import(connection, agent_id, name, clock.now()).take(parsed)


def _content_of(file: bytes | str | os.PathLike[str]) -> tuple[bytes | str, str]:
    if isinstance(file, bytes | str):
        return file, ""
    if not isinstance(file, os.PathLike):
        raise ICalendarError(f"a calendar file is bytes, a text or a path, not {type(file).__name__}")
    path = Path(file)
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_BYTES + 1), path.name
    except (OSError, ValueError) as error:
        raise ICalendarError(f"{clean(str(path), 200)} cannot be read: {clean(str(error), 200)}") from error


# --- from an event to a slot or a plan ------------------------------------------------------------------------------


def _content(event: IcsEvent) -> tuple[dict[str, Any], str]:
    """Tell what an event asks of an agent, and what had to be changed to fit."""
    minutes = math.ceil(event.duration / dt.timedelta(minutes=1))
    notes = list(event.notes)
    if minutes < 1:
        minutes = DEFAULT_MINUTES
        notes.append(f"no length: {DEFAULT_MINUTES} minutes assumed")
    elif minutes > rules.MAX_MINUTES:
        notes.append(f"shortened from {minutes} to {rules.MAX_MINUTES} minutes")
        minutes = rules.MAX_MINUTES
    said = {
        "type": _job_type(event),
        "code": event.title,
        "description": event.description,
        "location": event.location,
        "url": event.url,
    }
    content = {
        "estimated_duration": minutes,
        "priority": priority_from(event.priority),
        "event_type": EventType.JOB,
        "event_data": {name: value for name, value in said.items() if value},
    }
    return content, "; ".join(notes)


def _is_gone(event: IcsEvent) -> bool:
    return event.is_cancelled and event.occurrence is None


def _has_no_hour(event: IcsEvent) -> bool:
    return event.is_all_day and event.recurrence is None


def _job_type(event: IcsEvent) -> str:
    """Tell a job's type: a category that is one of the contract's, else a meeting if others take part, else a task."""
    named = (_JOB_TYPES[category.lower()] for category in event.categories if category.lower() in _JOB_TYPES)
    return next(named, "Meeting" if event.is_meeting else "Task")


def priority_from(ical: int) -> int:
    """Turn iCalendar's priority (1 the highest, 9 the lowest, 0 undefined) into the contract's (99 the highest)."""
    return 100 - 10 * ical if 1 <= ical <= 9 else 0


def priority_to(priority: int) -> int:
    """Turn the contract's priority into iCalendar's; undoes `priority_from`."""
    return 0 if priority <= 0 else min(9, max(1, 10 - round(priority / 10)))


# --- one import -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """What an earlier import made of an event."""

    fingerprint: str
    slot_id: int | None
    plan_id: int | None
    title: str
    reason: str

    @property
    def became(self) -> str:
        return f"slot {self.slot_id}" if self.slot_id is not None else f"plan {self.plan_id}"


class _Import:
    """One file on its way into the calendar, inside one transaction."""

    def __init__(self, connection: sa.Connection, agent_id: str, source: str, now: dt.datetime) -> None:
        self._connection = connection
        self._agent_id = agent_id
        self._source = source
        self._now = now
        self._added: list[ImportedItem] = []
        self._changed: list[ImportedItem] = []
        self._unchanged: list[ImportedItem] = []
        self._left_out: list[ImportedItem] = []
        self._removed: list[ImportedItem] = []
        self._known = self._load()
        self._seen: set[tuple[str, str]] = set()

    def take(self, parsed: IcsFile) -> ImportReport:
        """Remove what earlier imports brought and this file no longer has, then take every event."""
        for bad in parsed.left_out:
            item = ImportedItem(uid=bad.uid, occurrence=bad.occurrence_text, title=bad.title, reason=bad.reason)
            self._left_out.append(item)
            self._seen.add((bad.uid, bad.occurrence_text))
        self._seen |= {(event.uid, event.occurrence_text) for event in parsed.events}
        if not parsed.is_partial:
            # Occurrences before their plans: what becomes of them depends on whether the plan stays.
            for uid, occurrence in sorted(set(self._known) - self._seen, key=lambda name: (not name[1], name)):
                self._remove(uid, occurrence)
        # What is cancelled makes room first; all-day events take what the others leave free.
        waiting = sorted(parsed.events, key=lambda event: (not _is_gone(event), _has_no_hour(event)))
        while waiting:
            in_the_way = [event for event in waiting if not self._take(event, is_last=False)]
            if len(in_the_way) == len(waiting):  # nobody has made room for another
                for event in in_the_way:
                    self._take(event, is_last=True)
                break
            waiting = in_the_way
        return ImportReport(
            added=tuple(self._added),
            changed=tuple(self._changed),
            unchanged=tuple(self._unchanged),
            left_out=tuple(self._left_out),
            removed=tuple(self._removed),
            source=self._source,
        )

    def _take(self, event: IcsEvent, *, is_last: bool) -> bool:
        """Take an event and report it; tell False where a slot is in its way that another event may still move."""
        known = self._known.get((event.uid, event.occurrence_text))
        item = ImportedItem(uid=event.uid, occurrence=event.occurrence_text, title=event.title)
        if known is not None and known.fingerprint == event.fingerprint:
            self._unchanged.append(dataclasses.replace(item, became=known.became, reason=known.reason))
            return True
        try:
            with self._connection.begin_nested():  # an event is taken whole or not at all
                self._apply(event, item, known)
        except CalendarRefusedError as refusal:
            if not is_last and rules.is_overlap(refusal):
                return False
            if known is None:
                self._left_out.append(dataclasses.replace(item, reason=refusal.detail))
            else:
                reason = f"stays as it was: {refusal.detail}"
                self._unchanged.append(dataclasses.replace(item, became=known.became, reason=reason))
        return True

    def _apply(self, event: IcsEvent, item: ImportedItem, known: _Known | None) -> None:
        if event.occurrence is not None and (plan_id := self._plan_of(event.uid)) is not None:
            self._take_occurrence(event, plan_id, item, known)
        elif event.is_cancelled:
            self._take_cancelled(event, item, known)
        elif event.recurrence is not None:
            self._take_plan(event, event.recurrence, item, known)
        else:
            self._take_slot(event, item, known)

    def _keep(self, event: IcsEvent, item: ImportedItem, known: _Known | None, **target: int) -> None:
        """Remember what an event became, and report it."""
        became = " ".join(f"{name.removesuffix('_id')} {number}" for name, number in target.items())
        item = dataclasses.replace(item, became=became)
        fresh = _Known(event.fingerprint, target.get("slot_id"), target.get("plan_id"), item.title, item.reason)
        self._save((event.uid, event.occurrence_text), fresh)
        (self._added if known is None else self._changed).append(item)

    # --- slots ------------------------------------------------------------------------------------------------------

    def _take_slot(self, event: IcsEvent, item: ImportedItem, known: _Known | None) -> None:
        content, reason = _content(event)
        item = dataclasses.replace(item, reason=reason)
        old = self._stored(known)
        if old is None or old.slot.status is SlotStatus.SKIPPED:
            edit = SlotEdit.of(starts_at=event.starts_at, **content)
            new = edit.apply(EMPTY, self._agent_id)
            if known is not None and known.plan_id is not None:
                if new.starts_at.date() < self._now.date():
                    self._remove(event.uid, event.occurrence_text, f"{new.starts_at.date()} is over")
                    return
                self._cancel_plan(known.plan_id)
            rules.check_plannable(new.starts_at.date(), self._now)
            added = schedule.add(self._connection, self._placed(new, event), self._now)
            self._keep(event, item, known, slot_id=_id_of(added))
            return
        starts_at = event.starts_at
        date = starts_at.astimezone(dt.UTC).date()
        if date < self._now.date() <= old.starts_at.date() and old.slot.status.is_pending:
            self._remove(event.uid, event.occurrence_text, f"it was moved to {date}, which is over")
            return
        if event.is_all_day:
            wanted = SlotEdit.of(starts_at=starts_at, **content).apply(old, self._agent_id)
            starts_at = self._placed(wanted, event, itself=old.slot.key).starts_at
        changed = schedule.edit(self._connection, old, SlotEdit.of(starts_at=starts_at, **content), self._now)
        self._keep(event, item, known, slot_id=_id_of(changed))

    def _stored(self, known: _Known | None) -> Entry | None:
        if known is None or known.slot_id is None:
            return None
        return slots.find(self._connection, SlotKey.real(known.slot_id))

    def _placed(self, entry: Entry, event: IcsEvent, itself: SlotKey | None = None) -> Entry:
        """Move an all-day event to the first free stretch of its day; others keep their time."""
        if not event.is_all_day:
            return entry
        local = event.starts_at
        until = (local.replace(hour=0, minute=0, second=0, tzinfo=None) + _DAY).replace(tzinfo=local.tzinfo)
        listed = schedule.entries(
            self._connection, self._agent_id, entry.starts_at.date() - _DAY, until.astimezone(dt.UTC).date()
        )
        others = [other for other in listed if other.slot.key != itself]
        length = entry.ends_at - entry.starts_at
        starts_at = entry.starts_at
        while (other := slots.first_overlap(others, starts_at, starts_at + length)) is not None:
            starts_at = other.ends_at
            if starts_at + length > until:
                return entry  # no room: the calendar says which slot is in the way
        return SlotEdit.of(starts_at=starts_at).apply(entry, self._agent_id)

    # --- plans ------------------------------------------------------------------------------------------------------

    def _take_plan(self, event: IcsEvent, recurrence: Recurrence, item: ImportedItem, known: _Known | None) -> None:
        last = recurrence.last_date()
        if last is not None and last < self._now.date():
            if known is not None:
                self._remove(event.uid, event.occurrence_text, f"its last occurrence was on {last}")
                return
            raise CalendarRefusedError(409, f"its last occurrence was on {last}: past dates are immutable")
        content, reason = _content(event)
        item = dataclasses.replace(item, reason=reason)
        entry = self._stored(known)
        if entry is not None:
            self._cancel_slot(entry)
            recurrence = self._without_what_is_done(recurrence, entry)
        edit = PlanEdit.of(recurrence=recurrence, **content)
        old = None if known is None or known.plan_id is None else plans.latest(self._connection, known.plan_id)
        if old is not None and not old.plan.is_cancelled:
            plan = schedule.edit_plan(self._connection, old, edit, self._now)
        else:
            plan = schedule.add_plan(self._connection, self._agent_id, edit, self._now)
        self._keep(event, item, known, plan_id=plan.id)

    def _without_what_is_done(self, recurrence: Recurrence, entry: Entry) -> Recurrence:
        """Let a plan not yield again what its event was as a single one, and has ended today."""
        if entry.slot.status in _UNTOUCHED or entry.starts_at.date() < self._now.date():
            return recurrence
        return recurrence.without(*(occurrence.local for occurrence in recurrence.on(entry.starts_at.date())))

    def _plan_of(self, uid: str) -> int | None:
        known = self._known.get((uid, ""))
        return None if known is None else known.plan_id

    # --- occurrences that differ from their plan --------------------------------------------------------------------

    def _take_occurrence(self, event: IcsEvent, plan_id: int, item: ImportedItem, known: _Known | None) -> None:
        entry = self._occurrence(event, plan_id)
        rules.check_plannable(entry.starts_at.date(), self._now)
        if event.is_cancelled:
            cancelled = schedule.cancel(self._connection, entry, self._now)
            self._remember(event, item, cancelled)
            self._removed.append(
                dataclasses.replace(item, became=f"slot {cancelled.slot.id}", reason="this occurrence is cancelled")
            )
            return
        content, reason = _content(event)
        edit = SlotEdit.of(starts_at=event.starts_at, **content)
        changed = schedule.edit(self._connection, entry, edit, self._now)
        self._keep(event, dataclasses.replace(item, reason=reason), known, slot_id=_id_of(changed))

    def _occurrence(self, event: IcsEvent, plan_id: int) -> Entry:
        """Find the slot of the occurrence that an event is about, by the time it had in its plan."""
        version = plans.latest(self._connection, plan_id)
        zone = ZoneInfo(version.plan.recurrence.zone)
        at = event.occurrence or event.starts_at
        virtual = version.entry_at(at.astimezone(zone).replace(tzinfo=None))
        if virtual is None:
            raise CalendarRefusedError(404, "its recurring event has no such occurrence from today on")
        return schedule.find(self._connection, virtual.slot.key)

    def _remember(self, event: IcsEvent, item: ImportedItem, entry: Entry) -> None:
        fresh = _Known(event.fingerprint, _id_of(entry), None, item.title, "this occurrence is cancelled")
        self._save((event.uid, event.occurrence_text), fresh)

    # --- what is gone -----------------------------------------------------------------------------------------------

    def _take_cancelled(self, event: IcsEvent, item: ImportedItem, known: _Known | None) -> None:
        if known is None:
            self._left_out.append(dataclasses.replace(item, reason="cancelled"))
        else:
            self._remove(event.uid, event.occurrence_text)

    def _remove(self, uid: str, occurrence: str, reason: str = "") -> None:
        known = self._known[uid, occurrence]
        item = ImportedItem(uid=uid, occurrence=occurrence, title=known.title, became=known.became, reason=reason)
        try:
            with self._connection.begin_nested():
                self._undo(uid, occurrence, known)
        except CalendarRefusedError as refusal:
            item = dataclasses.replace(item, reason=f"stays as it was: {refusal.detail}")
            if refusal.status == 423:  # once it is unlocked, the next import removes it
                self._removed.append(item)
                return
        self._forget((uid, occurrence))
        self._removed.append(item)

    def _undo(self, uid: str, occurrence: str, known: _Known) -> None:
        if known.plan_id is not None:
            self._cancel_plan(known.plan_id)
        entry = self._stored(known)
        if entry is None or any(
            other.slot_id == known.slot_id for name, other in self._known.items() if name != (uid, occurrence)
        ):
            return
        plan_stays = occurrence and self._plan_of(uid) is not None and (uid, "") in self._seen
        if plan_stays and entry.slot.status in _UNTOUCHED and entry.starts_at.date() >= self._now.date():
            if entry.slot.is_admin_locked:
                rules.check_editable(entry.slot)
            slots.delete(self._connection, entry)  # then the plan's own occurrence is back
            schedule.touch(self._connection, self._agent_id)
        elif not plan_stays:
            self._cancel_slot(entry)

    def _cancel_slot(self, entry: Entry) -> None:
        """Cancel what has not begun; what is over or past is let be.

        Raises:
            CalendarRefusedError: 409, it is under way; 423, it is locked.
        """
        if entry.slot.status in slots.UNDER_WAY:
            raise CalendarRefusedError(409, f"slot is {entry.slot.status}: what has begun stays")
        if entry.slot.status.is_terminal or entry.starts_at.date() < self._now.date():
            return
        schedule.cancel(self._connection, entry, self._now)

    def _cancel_plan(self, plan_id: int) -> None:
        schedule.cancel_plan(self._connection, plans.latest(self._connection, plan_id), self._now)

    # --- memory -----------------------------------------------------------------------------------------------------

    def _load(self) -> dict[tuple[str, str], _Known]:
        chosen = sa.select(imports).where(imports.c.agent_id == self._agent_id, imports.c.source == self._source)
        return {
            (row.uid, row.occurrence): _Known(row.fingerprint, row.slot_id, row.plan_id, row.title, row.reason)
            for row in self._connection.execute(chosen)
        }

    def _save(self, name: tuple[str, str], known: _Known) -> None:
        self._forget(name)
        values = {"agent_id": self._agent_id, "source": self._source, "uid": name[0], "occurrence": name[1]}
        self._connection.execute(sa.insert(imports).values(values | dataclasses.asdict(known)))
        self._known[name] = known

    def _forget(self, name: tuple[str, str]) -> None:
        self._connection.execute(
            sa.delete(imports).where(
                imports.c.agent_id == self._agent_id,
                imports.c.source == self._source,
                imports.c.uid == name[0],
                imports.c.occurrence == name[1],
            )
        )
        self._known.pop(name, None)


def _id_of(entry: Entry) -> int:
    return int(str(entry.slot.key))
