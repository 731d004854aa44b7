"""What is coming up for an agent, where its answers tell only what is due already: its day does."""

import datetime as dt

from harborcal.errors import CalendarRefusedError
from harborcal.model import Heartbeat
from harborcal.policy import due_at, is_agent_unknown
from harborcal.scheduler.context import Context
from harborcal.scheduler.roster import Record
from harborcal.transport import DayReader, Transport, find

ASK_EVERY = 900.0
"""Seconds between two questions for one agent's day, and before midnight at which the next day is asked for."""

REFUSED_FOR = 3_600.0
"""Seconds for which a calendar that can list no days is not asked for one."""

SECOND_LOOK = dt.timedelta(seconds=2)
"""How long after a slot's time it is looked for once more, where the calendar did not list it: clocks differ."""


class Outlook:
    """Asks for days, at a slow pace, so that agents can be looked at when their slots are due.

    A calendar may list slots of today that are not due yet (contract, rule 1). One that does is asked for the day that
    follows only, just before midnight.
    """

    def __init__(self, transport: Transport, context: Context) -> None:
        self._reader = find(transport, DayReader)
        self._clock = context.clock
        self._place = context.place
        self._pause = context.config.heartbeat_interval / 2
        self._lists_ahead = False  # written once, to True, by whoever sees it first
        self._refused_until = 0.0  # monotonic; written by whoever was refused last

    def saw(self, heartbeat: Heartbeat, now: dt.datetime) -> None:
        """Learn from an answer whether the calendar lists what is not due yet."""
        if not self._lists_ahead and any((due_at(slot, now) or now) > now for slot in heartbeat.slots):
            self._lists_ahead = True

    def may_ask(self, record: Record) -> bool:
        """Tell whether an agent's day is to be asked for now."""
        if self._reader is None:
            return False
        at = self._clock.monotonic()
        if record.ask_day_at is None:  # not with its first heartbeat: an answer may show that there is no need
            record.ask_day_at = at + self._pause
        return record.ask_day_at <= at and at >= self._refused_until

    def ask(self, record: Record) -> None:
        """Ask for what is left of an agent's day, and before midnight for the next; what fails is asked for later."""
        now, at = self._clock.now(), self._clock.monotonic()
        dates = self._dates(now)
        record.ask_day_at = at + (ASK_EVERY if dates else self._until_evening(now))
        if dates:
            record.coming = tuple(sorted(due for date in dates for due in self._dues(record, date) if due > now))

    def _dates(self, now: dt.datetime) -> list[dt.date]:
        today, soon = now.date(), (now + dt.timedelta(seconds=ASK_EVERY)).date()
        return ([] if self._lists_ahead else [today]) + ([soon] if soon != today else [])

    @staticmethod
    def _until_evening(now: dt.datetime) -> float:
        midnight = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time(), dt.UTC)
        return max(1.0, (midnight - now).total_seconds() - ASK_EVERY + 1.0)

    def _dues(self, record: Record, date: dt.date) -> list[dt.datetime]:
        if self._reader is None:
            return []
        try:
            with self._place.inside("day"):
                day = self._reader.day(record.agent.id, date)
        except CalendarRefusedError as refusal:
            if refusal.status in {404, 405} and not is_agent_unknown(refusal):  # not this agent's affair alone
                self._refused_until = self._clock.monotonic() + REFUSED_FOR
            return []
        except BaseException:  # noqa: BLE001 - whatever a transport raises: its slots are woken a little later
            return []
        dues = [due_at(slot, dt.datetime.combine(date, dt.time(), dt.UTC)) for slot in day if slot.status.is_pending]
        return [due for due in dues if due is not None]

    @staticmethod
    def next_due(record: Record, now: dt.datetime, *, is_served: bool) -> dt.datetime | None:
        """Tell when to look at an agent for a slot of its day; None where nothing is known to come.

        Args:
            record: Which agent's.
            now: The wall's time.
            is_served: Whether the answer at hand has brought something to do.
        """
        if not record.coming:
            return None
        record.coming = tuple(due for due in record.coming if due + SECOND_LOOK > now)
        looks = (due if due > now else due + SECOND_LOOK for due in record.coming if due > now or not is_served)
        return min(looks, default=None)
