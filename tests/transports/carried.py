"""The carried calendar, spoken to in the words of the calendar in memory, so that one suite serves both."""

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harborcal.calendar import Calendar, Recurrence
from harborcal.model import AgentStatus, Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock


class CarriedCalendar:
    """A calendar in a file. Slots that name no time of their own follow one another from midnight on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calendar = Calendar(f"sqlite:///{path}", clock=FakeClock(), patience=10)
        self._placed: dict[str, int] = {}

    def add_agent(self, agent_id: str) -> None:
        self.calendar.register_agent(agent_id)

    def remove_agent(self, agent_id: str) -> None:
        self.calendar.remove_agent(agent_id)

    def set_agent_status(self, agent_id: str, status: AgentStatus) -> None:
        self.calendar.set_agent_status(agent_id, status)

    def last_heartbeat_at(self, agent_id: str) -> dt.datetime | None:
        return self.calendar.agent(agent_id).last_heartbeat_at

    def add_slot(self, agent_id: str, *, id: int | None = None, **fields: Any) -> SlotKey:  # noqa: A002 - a slot's field
        status, locked = fields.pop("status", None), fields.pop("is_admin_locked", False)
        key = self.calendar.add_slot(agent_id, self._time(agent_id, fields), **fields).key
        if status is not None:
            self.calendar.apply_update(agent_id, key, SlotUpdate(status=SlotStatus(status)))
        if locked:
            self.calendar.lock_slot(key)
        return key if id is None else self._renumber(key, id)

    def add_virtual_slot(self, agent_id: str, plan_id: int, **fields: Any) -> SlotKey:
        locked = fields.pop("is_admin_locked", False)
        recurrence = Recurrence.of(self._time(agent_id, fields))
        while (plan := self.calendar.add_plan(agent_id, recurrence, **fields)).id != plan_id:
            self.calendar.cancel_plan(plan.id)
        key = SlotKey.virtual(f"plan-{plan_id}-{recurrence.start.date()}")
        return self.calendar.lock_slot(key).key if locked else key

    def _time(self, agent_id: str, fields: dict[str, Any]) -> dt.datetime:
        date = dt.date.fromisoformat(fields.pop("date", "2026-01-05"))
        number = self._placed[agent_id] = self._placed.get(agent_id, -1) + 1
        time = dt.time.fromisoformat(fields.pop("scheduled_at", f"{number // 2:02}:{number % 2 * 30:02}"))
        return dt.datetime.combine(date, time, dt.UTC)

    def _renumber(self, key: SlotKey, number: int) -> SlotKey:
        """Give a slot an id that the calendar would not give out by itself."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("UPDATE slots SET id = ? WHERE id = ?", (number, key.id))
        return SlotKey.real(number)

    def slot(self, key: SlotKey) -> Slot:
        return self.calendar.slot(key)

    def cancel(self, key: SlotKey) -> Slot:
        return self.calendar.cancel_slot(key)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Put another file in the calendar's place, as a careless operator might."""
        aside = self.path.with_suffix(".aside")
        self.path.rename(aside)
        try:
            yield
        finally:
            aside.rename(self.path)
