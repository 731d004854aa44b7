"""The calendar itself: its doors for users, for agents' schedulers, and for hosts that ask what is new."""

import datetime as dt
import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from harborcal.calendar import agents, heartbeats, plans, rules, schedule, slots, sync
from harborcal.calendar.edits import EMPTY, PlanEdit, SlotEdit
from harborcal.calendar.ical.exporting import export_day_range
from harborcal.calendar.ical.importing import import_file
from harborcal.calendar.presence import Owner, Presence, Sign, gone, name_owner, see
from harborcal.calendar.recurrence import Recurrence
from harborcal.calendar.schema import meta
from harborcal.calendar.slots import Entry
from harborcal.calendar.store import Store
from harborcal.calendar.values import DayAccount, ExhaustReason, ImportReport, Plan, RegisteredAgent, Sync
from harborcal.clock import Clock, SystemClock
from harborcal.errors import CalendarRefusedError, ConfigurationError, HarborcalError
from harborcal.model import (
    AgentStatus,
    EventType,
    Heartbeat,
    Slot,
    SlotKey,
    SlotStatus,
    SlotType,
    SlotUpdate,
    check_seconds,
)
from harborcal.wire import MAX_PRIORITY

_DAY = dt.timedelta(days=1)
_DROPPED = frozenset({SlotStatus.SKIPPED, SlotStatus.ABORTED})
MAX_AGENTS_PER_SYNC = 500
"""How many agents one answer to `Calendar.sync` tells of; the rest follows with its token."""

ALL_DAY_AT = dt.time(9)
"""When an imported all-day event would like to begin."""


class Calendar:
    """A calendar of agents, slots and plans in one database, after the HarborForge contract's rules.

    Every method is atomic and may be called from any thread; several processes may use one file. What the contract
    refuses is a `CalendarRefusedError` with its status (404, 409, 422, 423); a database that cannot be used is a
    `CalendarError`; one that others keep locked for longer than ``patience`` is a `CalendarUnavailableError`, and then
    nothing was changed. All times are UTC, whatever zone an argument names.

    Args:
        url: ``sqlite:///calendar.db``, ``sqlite:////absolute/path.db``, or ``sqlite://`` for a calendar in memory. A
            file is created on first use, readable by its owner only.
        clock: Tells what time it is.
        patience: Seconds to wait while other programs write.

    Raises:
        ConfigurationError: The URL or the patience makes no sense.
        CalendarError: The file is damaged, another program's, or from a newer harborcal; it is left untouched.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, patience: float = 30.0) -> None:
        seconds = check_seconds("patience", patience)
        if seconds <= 0:
            raise ConfigurationError(f"patience is more than 0 seconds, not {patience!r}")
        self._clock = clock if clock is not None else SystemClock()
        self._store = Store(url, seconds)
        self._presence = Presence(self._store)

    def close(self) -> None:
        """Let go of the database; later calls are a `LifecycleError`. Once more changes nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def clock(self) -> Clock:
        """What tells the calendar the time."""
        return self._clock

    # --- agents -----------------------------------------------------------------------------------------------------

    def register_agent(self, agent_id: str, claw_identifier: str | None = None) -> RegisteredAgent:
        """Make an agent known; once more changes nothing, but binds it where a claw identifier is given.

        Args:
            agent_id: Who it is.
            claw_identifier: The only host that may speak for it; None leaves it to any.

        Raises:
            CalendarRefusedError: 422, an id does not match the grammar of ids.
        """
        rules.agent_id_of(agent_id)
        if claw_identifier is not None:
            rules.claw_identifier_of(claw_identifier)
        with self._store.write() as connection:
            now = self._clock.now()
            try:
                agents.find(connection, agent_id)
            except CalendarRefusedError:
                agents.insert(connection, agent_id, claw_identifier, now)
                schedule.touch(connection, agent_id)
            else:
                if claw_identifier not in (None, agents.find(connection, agent_id).claw_identifier):
                    agents.bind(connection, agent_id, claw_identifier)
                    agents.forget_what_was_told(connection)
            return agents.picture(connection, agents.find(connection, agent_id), now)

    def bind_agent(self, agent_id: str, claw_identifier: str | None) -> RegisteredAgent:
        """Say which host alone may speak for an agent; None leaves it to any.

        Raises:
            CalendarRefusedError: 404, the agent is not registered; 422, an id does not match the grammar of ids.
        """
        if claw_identifier is not None:
            rules.claw_identifier_of(claw_identifier)
        with self._store.write() as connection:
            agents.find(connection, agent_id)
            agents.bind(connection, agent_id, claw_identifier)
            agents.forget_what_was_told(connection)
            return agents.picture(connection, agents.find(connection, agent_id), self._clock.now())

    def remove_agent(self, agent_id: str) -> None:
        """Forget an agent: its heartbeats are refused. Its slots and plans wait for its return (see `prune`).

        Raises:
            CalendarRefusedError: 404, the agent is not registered.
        """
        with self._store.write() as connection:
            agents.find(connection, agent_id)
            agents.delete(connection, agent_id)
            agents.forget_what_was_told(connection)

    def agents(self) -> tuple[RegisteredAgent, ...]:
        """List all agents, by id."""
        now = self._clock.now()
        with self._store.read() as connection:
            return tuple(agents.picture(connection, row, now) for row in agents.every(connection))

    def agent(self, agent_id: str) -> RegisteredAgent:
        """Tell what is known of one agent; looking changes nothing.

        Raises:
            CalendarRefusedError: 404, the agent is not registered.
        """
        with self._store.read() as connection:
            return agents.picture(connection, agents.find(connection, agent_id), self._clock.now())

    def set_agent_status(
        self,
        agent_id: str,
        status: AgentStatus | str,
        *,
        reason: ExhaustReason | str | None = None,
        recovery_at: dt.datetime | None = None,
        claw_identifier: str | None = None,
    ) -> bool:
        """Say what an agent does, after the contract's rule 6; tell whether that changed anything.

        Args:
            agent_id: Who.
            status: ``busy`` and ``on_call`` only from ``idle``; the others from any.
            reason: Why it is exhausted.
            recovery_at: Until when it is exhausted; five hours from now by default.
            claw_identifier: Which host says so.

        Raises:
            CalendarRefusedError: 403, the agent is bound to another host; 404, it is not registered; 409, the change is
                forbidden; 422, an argument makes no sense.
        """
        new = rules.member_of(AgentStatus, "status", status)
        why = None if reason is None else rules.member_of(ExhaustReason, "reason", reason)
        until = None if recovery_at is None else rules.instant_of("recovery_at", recovery_at)
        if new is not AgentStatus.EXHAUSTED and (why is not None or until is not None):
            raise CalendarRefusedError(422, "reason and recovery_at are for exhausted agents")
        with self._store.write() as connection:
            now = self._clock.now()
            row = agents.find(connection, agent_id)
            agents.check_claw(row, claw_identifier)
            old = agents.status_of(row, slots.under_way(connection, agent_id), now)
            is_change = rules.is_agent_change(old, new)
            if new is AgentStatus.EXHAUSTED:
                if is_change or until is not None or why is not None:
                    until = until or (now + rules.RECOVERY if is_change else row.recovery_at)
                    agents.say(
                        connection,
                        agent_id,
                        new,
                        reason=why or (None if is_change else row.exhaust_reason),
                        recovery_at=until,
                    )
            elif is_change:
                agents.say(connection, agent_id, new)
            return is_change

    # --- slots ------------------------------------------------------------------------------------------------------

    def add_slot(
        self,
        agent_id: str,
        starts_at: dt.datetime,
        estimated_duration: int = 30,
        *,
        slot_type: SlotType | str = SlotType.WORK,
        priority: int = 0,
        event_type: EventType | str | None = None,
        event_data: Mapping[str, Any] | None = None,
        user_id: int | None = None,
        special_slot_id: int | None = None,
        is_admin_locked: bool = False,
    ) -> Slot:
        """Put a slot into an agent's calendar.

        Args:
            agent_id: Whose slot.
            starts_at: When it begins: an aware datetime, of today (UTC) or later.
            estimated_duration: Minutes, 1..50; up to 180 for special slots and those of type ``system``.
            slot_type: What kind of time it is.
            priority: 0..99; of the slots that are due the highest comes first.
            event_type: What ``event_data`` describes.
            event_data: What the agent is to do: JSON values, at most 16 KiB.
            user_id: Who planned it.
            special_slot_id: Which special slot it belongs to.
            is_admin_locked: Whether users cannot change it, nor schedulers defer it (contract, rule 3).

        Raises:
            CalendarRefusedError: 404, the agent is not registered; 409, the slot overlaps another, which is named, or
                its date is past; 422, a value is out of the contract's range.
        """
        edit = SlotEdit.of(
            starts_at=starts_at,
            estimated_duration=estimated_duration,
            slot_type=slot_type,
            priority=priority,
            event_type=event_type,
            event_data=event_data,
            user_id=user_id,
            special_slot_id=special_slot_id,
            is_admin_locked=is_admin_locked,
        )
        with self._store.write() as connection:
            now = self._clock.now()
            agents.find(connection, agent_id)
            return schedule.add(connection, edit.apply(EMPTY, agent_id), now).slot

    def edit_slot(self, key: SlotKey, *, agent_id: str | None = None, **changes: Any) -> Slot:
        """Change a slot's fields, those of `add_slot` but ``is_admin_locked``; a virtual slot becomes real.

        What has begun keeps its time. A slot that is over, past or locked cannot be changed.

        Args:
            key: Which slot.
            agent_id: Whose slot it must be; None for anybody's.
            changes: The fields to change.

        Raises:
            CalendarRefusedError: As `add_slot`; 404, there is no such slot; 409, it is over, past or has begun; 423, it
                is locked.
        """
        if "is_admin_locked" in changes:
            raise CalendarRefusedError(422, "a slot is locked and unlocked by lock_slot and unlock_slot")
        edit = SlotEdit.of(**changes)
        with self._store.write() as connection:
            now = self._clock.now()
            entry = _owned(schedule.find(connection, key), agent_id)
            return schedule.edit(connection, entry, edit, now).slot

    def cancel_slot(self, key: SlotKey, *, agent_id: str | None = None) -> Slot:
        """Cancel a slot: it is skipped, or aborted where it has begun. Cancelling again changes nothing.

        Raises:
            CalendarRefusedError: 404, there is no such slot; 409, it is finished or past; 423, it is locked.
        """
        with self._store.write() as connection:
            now = self._clock.now()
            return schedule.cancel(connection, _owned(schedule.find(connection, key), agent_id), now).slot

    def lock_slot(self, key: SlotKey) -> Slot:
        """Lock a slot as an admin: users cannot change it, and it is not deferred or skipped (contract, rule 3).

        Raises:
            CalendarRefusedError: 404, there is no such slot; 409, it is over or past.
        """
        return self._set_lock(key, is_locked=True)

    def unlock_slot(self, key: SlotKey) -> Slot:
        """Undo `lock_slot`.

        Raises:
            CalendarRefusedError: As `lock_slot`.
        """
        return self._set_lock(key, is_locked=False)

    def _set_lock(self, key: SlotKey, *, is_locked: bool) -> Slot:
        with self._store.write() as connection:
            now = self._clock.now()
            return schedule.set_lock(connection, schedule.find(connection, key), now, is_locked=is_locked).slot

    def slot(self, key: SlotKey) -> Slot:
        """Return a slot as it stands; a virtual key finds its slot also after it became real.

        Raises:
            CalendarRefusedError: 404, there is no such slot.
        """
        with self._store.read() as connection:
            return schedule.find(connection, key).slot

    def day(
        self, agent_id: str, date: dt.date, *, everything: bool = False, claw_identifier: str | None = None
    ) -> tuple[Slot, ...]:
        """List an agent's slots of a UTC date, real and virtual, by time.

        Args:
            agent_id: Whose day.
            date: Which.
            everything: Whether to list skipped and aborted ones too; the contract's day leaves them out.
            claw_identifier: Which host asks.

        Raises:
            CalendarRefusedError: 403, the agent is bound to another host; 404, it is not registered; 422, the date
                makes no sense.
        """
        rules.date_of("date", date)
        with self._store.read() as connection:
            agents.check_claw(agents.find(connection, agent_id), claw_identifier)
            listed = schedule.entries(connection, agent_id, date, date)
        return tuple(
            entry.slot
            for entry in sorted(listed, key=lambda entry: entry.in_order)
            if everything or entry.slot.status not in _DROPPED
        )

    def account(self, agent_id: str, date: dt.date) -> DayAccount:
        """Tell what became of an agent's day: planned = finished + aborted + skipped + open.

        Raises:
            CalendarRefusedError: As `day`.
        """
        return DayAccount.of(agent_id, date, self.day(agent_id, date, everything=True))

    # --- plans ------------------------------------------------------------------------------------------------------

    def add_plan(
        self,
        agent_id: str,
        recurrence: Recurrence,
        estimated_duration: int = 30,
        *,
        slot_type: SlotType | str = SlotType.WORK,
        priority: int = 0,
        event_type: EventType | str | None = None,
        event_data: Mapping[str, Any] | None = None,
        user_id: int | None = None,
    ) -> Plan:
        """Let a recurrence yield virtual slots from today on. What they may overlap is told by `overlaps_of`.

        Args:
            agent_id: Whose plan.
            recurrence: When its slots begin.
            estimated_duration: Minutes, 1..50 (contract).
            slot_type: What kind of time they are.
            priority: 0..99.
            event_type: What ``event_data`` describes.
            event_data: What the agent is to do: JSON values, at most 16 KiB.
            user_id: Who planned it.

        Raises:
            CalendarRefusedError: 404, the agent is not registered; 422, a value is out of the contract's range.
        """
        edit = PlanEdit.of(
            recurrence=recurrence,
            estimated_duration=estimated_duration,
            slot_type=slot_type,
            priority=priority,
            event_type=event_type,
            event_data=event_data,
            user_id=user_id,
        )
        with self._store.write() as connection:
            now = self._clock.now()
            agents.find(connection, agent_id)
            return schedule.add_plan(connection, agent_id, edit, now)

    def edit_plan(self, plan_id: int, *, agent_id: str | None = None, **changes: Any) -> Plan:
        """Change a plan from today on, any field of `add_plan`. Past dates, and slots that became real, stay.

        Raises:
            CalendarRefusedError: 404, there is no such plan; 409, it is cancelled; 422, a value is out of range.
        """
        edit = PlanEdit.of(**changes)
        with self._store.write() as connection:
            now = self._clock.now()
            version = _owned_plan(plans.latest(connection, plan_id), agent_id)
            return schedule.edit_plan(connection, version, edit, now)

    def cancel_plan(self, plan_id: int, *, agent_id: str | None = None) -> Plan:
        """Let a plan yield nothing from today on; its slots that became real but have not begun are skipped.

        Cancelling again changes nothing.

        Raises:
            CalendarRefusedError: 404, there is no such plan.
        """
        with self._store.write() as connection:
            now = self._clock.now()
            version = _owned_plan(plans.latest(connection, plan_id), agent_id)
            return schedule.cancel_plan(connection, version, now)

    def plan(self, plan_id: int) -> Plan:
        """Return a plan as it stands.

        Raises:
            CalendarRefusedError: 404, there is no such plan.
        """
        with self._store.read() as connection:
            return plans.latest(connection, plan_id).plan

    def plans(self, agent_id: str) -> tuple[Plan, ...]:
        """List an agent's plans, cancelled ones too, by id.

        Raises:
            CalendarRefusedError: 404, the agent is not registered.
        """
        with self._store.read() as connection:
            agents.find(connection, agent_id)
            return tuple(plans.of_agent(connection, agent_id))

    def overlaps_of(self, plan_id: int, days: int = 28) -> tuple[str, ...]:
        """Tell which slots of its agent a plan overlaps in its first days: advice, since plans may.

        Raises:
            CalendarRefusedError: 404, there is no such plan; 422, the days are none of 1..366.
        """
        if type(days) is not int or not 1 <= days <= 366:
            raise CalendarRefusedError(422, f"days is a whole number in 1..366, not {rules.shown(days)}")
        with self._store.read() as connection:
            return schedule.overlaps_of(connection, plans.latest(connection, plan_id), days)

    # --- what schedulers ask and tell -------------------------------------------------------------------------------

    def new_owner(self, claw_identifier: str) -> Owner:
        """Name a scheduler that is about to begin; it follows earlier ones of its claw once it is heard.

        Raises:
            CalendarRefusedError: 422, the claw identifier does not match the grammar of ids.
        """
        return Owner(name_owner(), rules.claw_identifier_of(claw_identifier))

    def heartbeat(self, agent_id: str, *, claw_identifier: str | None = None, owner: Owner | None = None) -> Heartbeat:
        """Note that an agent was heard, and list its pending slots, the most urgent first (contract, rule 1).

        Listed are today's, due or not, and those of yesterday that reach past midnight until now; for an owner also
        what is ongoing or paused and free for it to take up. Costs a fixed number of indexed queries.

        Args:
            agent_id: Who.
            claw_identifier: Which host speaks for it.
            owner: Which scheduler asks, where it wants to take up what others have left.

        Raises:
            CalendarRefusedError: 403, the agent is bound to another host; 404, it is not registered.
        """
        [(_, answer)] = self._hear([agent_id], claw_identifier, owner)
        if isinstance(answer, HarborcalError):
            raise answer
        return answer

    def heartbeats(
        self, agent_ids: Sequence[str], *, claw_identifier: str | None = None, owner: Owner | None = None
    ) -> Iterator[tuple[str, Heartbeat | HarborcalError]]:
        """Note that many agents were heard, and list the pending slots of each, as `heartbeat` does.

        They are read in batches of some hundred, as the iterator is: each batch is of one moment, and noted in one
        transaction before the first of its answers is given. A batch costs a fixed number of indexed queries, however
        many agents, slots and plans there are.

        Args:
            agent_ids: Who. An agent that is named twice is answered once.
            claw_identifier: Which host speaks for them.
            owner: Which scheduler asks, where it wants to take up what others have left.

        Yields:
            Each agent with its answer. What `heartbeat` would raise about the agent itself is its answer: it is not
            registered, it is bound to another host, or what the database holds of it cannot be read. Others have
            theirs all the same.

        Raises:
            CalendarError: The database cannot be used; agents without an answer were perhaps noted, perhaps not.
            CalendarUnavailableError: Other programs keep it locked; agents without an answer were not noted.
        """
        for batch in heartbeats.batches(agent_ids):
            yield from self._hear(batch, claw_identifier, owner)

    def _hear(
        self, agent_ids: list[str], claw_identifier: str | None, owner: Owner | None
    ) -> list[tuple[str, Heartbeat | HarborcalError]]:
        """Hear one batch of agents: their signs of life are on disk before anybody has an answer."""
        now = self._clock.now()
        if owner is not None:
            self._presence.begin(owner, now)
        answers = heartbeats.read(self._store, agent_ids, heartbeats.Question(now, claw_identifier, owner))
        found = [(agent_id, answer) for agent_id, answer in answers if isinstance(answer, heartbeats.Found)]
        self._presence.heard([Sign(agent_id, owner, now, answer.lifted) for agent_id, answer in found])
        return [
            (each, answer.heartbeat if isinstance(answer, heartbeats.Found) else answer) for each, answer in answers
        ]

    def apply_update(
        self,
        agent_id: str,
        key: SlotKey,
        update: SlotUpdate,
        *,
        owner: Owner | None = None,
        claw_identifier: str | None = None,
    ) -> Slot:
        """Apply what an agent's scheduler says of a slot; the same again changes nothing (contract, rules 3, 4 and 7).

        The first update of a virtual slot makes it real. What is under way may still be reported after its date is
        over.

        Args:
            agent_id: Whose slot.
            key: Which.
            update: What to apply.
            owner: Which scheduler says so; a slot that it makes ongoing is its own. What another one holds it may only
                call finished: work that was done is done, whoever followed it.
            claw_identifier: Which host says so.

        Raises:
            CalendarRefusedError: 403, the agent is bound to another host; 404, the agent or the slot is unknown; 409,
                the slot is in another terminal state, past, or held by another scheduler; 422, no update leads there,
                or a value is out of range; 423, an admin locked the slot.
        """
        status, began, duration = rules.update_of(update)
        with self._store.write() as connection:
            now = self._clock.now()
            agents.check_claw(agents.find(connection, agent_id), claw_identifier)
            entry = _of_agent(schedule.find(connection, key), agent_id)
            if owner is not None:
                see(connection, owner, now)  # first: what its predecessors have left behind is free for it
            if status is not SlotStatus.FINISHED:
                _check_held(connection, entry, owner, now)
            if not rules.is_change(entry.slot, status):
                return entry.slot
            _check_open(entry, now, is_lenient=True)
            changes: dict[str, Any] = {"status": status}
            if status is SlotStatus.DEFERRED:
                changes |= {"priority": min(MAX_PRIORITY, entry.slot.priority + 1)}
                changes |= {"owner": None, "started_at": None, "attended": False}  # it was not begun after all
            if status is SlotStatus.ONGOING:
                said = now.replace(microsecond=0) if update.started_at is None else rules.nearest(began, now)
                changes |= {"attended": True, "started_at": entry.started_at or said}
            if status in slots.UNDER_WAY and owner is not None:
                changes |= {"owner": owner.id}
            if status.is_terminal:
                changes |= {"ended_at": now}
            if duration is not None:
                changes |= {"actual_duration": duration}
            changed = slots.change(connection, schedule.materialise(connection, entry, now), now, **changes)
            schedule.touch(connection, agent_id)
            return changed.slot

    def claim(
        self,
        agent_id: str,
        key: SlotKey,
        started_at: dt.datetime,
        *,
        owner: Owner,
        claw_identifier: str | None = None,
    ) -> Slot | None:
        """Give a slot to one of several schedulers, atomically; None where another one has it, or has the agent.

        A pending slot becomes ongoing and the owner's. One that is ongoing or paused is handed over as it is, where its
        owner is gone: silent for 120 s, or followed by a later one of the same claw. An owner's own is its own again.

        Raises:
            CalendarRefusedError: 403, the agent is bound to another host; 404, the agent or the slot is unknown; 409,
                the slot is over or past.
        """
        begun_at = rules.instant_of("started_at", started_at)
        with self._store.write() as connection:
            now = self._clock.now()
            agents.check_claw(agents.find(connection, agent_id), claw_identifier)
            entry = _of_agent(schedule.find(connection, key), agent_id)
            see(connection, owner, now)
            if entry.slot.status.is_terminal:
                raise CalendarRefusedError(409, f"slot is already {entry.slot.status}")
            if not entry.slot.status.is_pending:
                if entry.owner == owner.id:
                    return entry.slot
                if entry.owner not in gone(connection, [entry.owner], owner, now):
                    return None
                return slots.change(connection, entry, now, owner=owner.id).slot
            _check_open(entry, now)
            if _works_for_another(connection, agent_id, owner, now):
                return None
            claimed = slots.change(
                connection,
                schedule.materialise(connection, entry, now),
                now,
                status=SlotStatus.ONGOING,
                attended=True,
                started_at=entry.started_at or begun_at,
                owner=owner.id,
            )
            schedule.touch(connection, agent_id)
            return claimed.slot

    def sync(self, claw_identifier: str, since: str | None = None, *, limit: int = MAX_AGENTS_PER_SYNC) -> Sync:
        """Tell a host today's slots of its agents: all, or of those whose slots changed since it asked last.

        Agents that are bound to no host are everybody's.

        Args:
            claw_identifier: Which host asks.
            since: The token of its last answer; one that is worth nothing any more gives the whole plan.
            limit: How many agents to tell of, at most 500; where there are more, ask again with the new token.

        Raises:
            CalendarRefusedError: 422, the claw identifier does not match the grammar of ids, or the limit is none.
        """
        rules.claw_identifier_of(claw_identifier)
        if since is not None and not isinstance(since, str):
            raise CalendarRefusedError(422, f"since is a token, not {rules.shown(since)}")
        if type(limit) is not int or not 1 <= limit <= MAX_AGENTS_PER_SYNC:
            raise CalendarRefusedError(422, f"limit is a whole number in 1..{MAX_AGENTS_PER_SYNC}")
        today = self._clock.now().date()
        with self._store.read() as connection:
            whole = connection.execute(sa.select(meta)).one()
            token = sync.read(since, whole.identity, today, whole.revision, whole.forgotten)
            rows = agents.of_claw(connection, claw_identifier, since=token.since, after=token.after, limit=limit + 1)
            told = rows[:limit]
            schedules = {row.id: _day_of(connection, row.id, today) for row in told}
        more = len(rows) > limit
        return Sync(
            full=sync.is_full(token),
            schedules=schedules,
            token=str(sync.next_of(token, told[-1].id if more else "")),
            more=more,
        )

    # --- other calendars --------------------------------------------------------------------------------------------

    def import_ics(
        self,
        agent_id: str,
        file: bytes | str | os.PathLike[str],
        *,
        source: str | None = None,
        zone: str = "UTC",
        all_day_at: dt.time = ALL_DAY_AT,
    ) -> ImportReport:
        """Take an iCalendar file (RFC 5545) as an agent's slots and plans, all or nothing.

        Events are known by their UID: importing the same file again changes nothing, a newer one changes what differs
        and cancels what is gone from it.

        Args:
            agent_id: Whose slots they become.
            file: The file's bytes or text, or its path (as a `pathlib.Path`).
            source: What the file replaces: earlier imports of the same source. By default the calendar's own name for
                itself, or else the path's name.
            zone: The time zone of times that name none.
            all_day_at: When an all-day event would like to begin; it takes the first free stretch from then on.

        Raises:
            ICalendarError: The file is no calendar, or larger than what is read.
            ConfigurationError: The zone is unknown, or ``all_day_at`` is no time of day.
            CalendarRefusedError: 404, the agent is not registered.
        """
        return import_file(
            self._store, agent_id, file, source=source, zone=zone, all_day_at=all_day_at, clock=self._clock
        )

    def export_ics(self, agent_id: str, first: dt.date, last: dt.date | None = None) -> bytes:
        """Write an agent's slots of some UTC dates as an iCalendar file for other calendars to read.

        Args:
            agent_id: Whose slots.
            first: The first date.
            last: The last date, by default the first; at most 366 days later.

        Raises:
            CalendarRefusedError: 404, the agent is not registered; 422, the dates make no sense.
        """
        return export_day_range(self._store, agent_id, first, first if last is None else last, self._clock.now())

    # --- care -------------------------------------------------------------------------------------------------------

    def check(self) -> tuple[str, ...]:
        """Have the database look itself over; return what it finds wrong, nothing for a sound one."""
        return self._store.check()

    def prune(self, before: dt.date) -> int:
        """Delete what is past before a date, but for what is under way; return how many slots that were.

        Raises:
            CalendarRefusedError: 422, the date is none; 409, it is not past.
        """
        rules.date_of("before", before)
        if before > self._clock.now().date():
            raise CalendarRefusedError(409, f"{before} is to come: only what is past can be deleted")
        with self._store.write() as connection:
            deleted = slots.delete_before(connection, before)
            plans.delete_before(connection, before)
            schedule.forget_imports(connection)
            return deleted


# --- inside ---------------------------------------------------------------------------------------------------------


def _day_of(connection: sa.Connection, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
    listed = sorted(schedule.entries(connection, agent_id, date, date), key=lambda entry: entry.in_order)
    return tuple(entry.slot for entry in listed if entry.slot.status not in _DROPPED)


def _of_agent(entry: Entry, agent_id: str) -> Entry:
    if entry.agent_id != agent_id:
        raise CalendarRefusedError(404, "Slot not found")
    return entry


def _owned(entry: Entry, agent_id: str | None) -> Entry:
    return entry if agent_id is None else _of_agent(entry, agent_id)


def _owned_plan(version: plans.Version, agent_id: str | None) -> plans.Version:
    if agent_id is not None and version.plan.agent_id != agent_id:
        raise CalendarRefusedError(404, "Plan not found")
    return version


def _is_open(entry: Entry, now: dt.datetime, *, is_lenient: bool = False) -> bool:
    return rules.reaches_into(entry.ends_at, entry.starts_at.date(), now, is_lenient=is_lenient)


def _check_open(entry: Entry, now: dt.datetime, *, is_lenient: bool = False) -> None:
    """Let nothing begin whose date is over; what is under way may end whenever it does (contract, rule 7)."""
    if entry.slot.status.is_pending and not _is_open(entry, now, is_lenient=is_lenient):
        raise CalendarRefusedError(409, f"{entry.starts_at.date()} is over: past dates are immutable")


def _check_held(connection: sa.Connection, entry: Entry, owner: Owner | None, now: dt.datetime) -> None:
    """Let one scheduler not change what another, living one holds; who names no owner speaks for the user.

    Raises:
        CalendarRefusedError: 409, another one holds it.
    """
    if owner is None or entry.slot.status.is_pending or entry.owner in {None, owner.id}:
        return
    if entry.owner not in gone(connection, [entry.owner], owner, now):
        raise CalendarRefusedError(409, "slot is held by another scheduler")


def _works_for_another(connection: sa.Connection, agent_id: str, owner: Owner, now: dt.datetime) -> bool:
    """Tell whether the agent is at something that another scheduler follows: it is woken for one slot at a time."""
    others = {entry.owner for entry in slots.under_way(connection, agent_id)} - {None, owner.id}
    return bool(others - gone(connection, others, owner, now))
