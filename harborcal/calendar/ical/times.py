"""The dates and times of one event, each in its zone."""

import dataclasses
import datetime as dt

from harborcal.calendar.ical.components import Component, LeftOutError, Property, only, readable
from harborcal.calendar.ical.dates import Span, Value, parse_value
from harborcal.calendar.ical.zones import Found, Zones
from harborcal.calendar.recurrence import MAX_DATES


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What an event needs to know of its calendar and of who reads it."""

    method: str
    zones: "Zones"
    home: dt.tzinfo
    all_day_at: dt.time


class Times:
    """Reads the dates and times of one event, each beside DTSTART.

    Attributes:
        starts_at: DTSTART, aware.
        is_all_day: Whether DTSTART is a date.
        is_homeless: Whether DTSTART's zone is none but the file's own VTIMEZONE; ``starts_at`` is then in UTC.
        notes: What had to be changed so far.
    """

    def __init__(self, context: Context, component: Component, rule: str) -> None:
        line = only(component, "DTSTART")
        if line is None:
            raise LeftOutError("it has no DTSTART")
        value = parse_value(line.name, line.value or "", line.parameter("VALUE"))
        self.notes: list[str] = []
        self._context = context
        self._component = component
        self._span = Span.of(component, value.wall.year, rule)
        self._day = value.wall.date()
        self._tzid = line.parameter("TZID")
        self.is_all_day = value.is_date
        self.is_homeless = not value.is_date and bool(self._tzid) and self._find(self._tzid).zone is None
        self.starts_at = self.at_start_of(self._day) if value.is_date else self.moment(value, line)

    def note(self, text: str) -> None:
        """Note what had to be changed."""
        self.notes.append(text)

    def at_start_of(self, day: dt.date) -> dt.datetime:
        """Place a whole day at the time at which the reader wants it to begin."""
        return dt.datetime.combine(day, self._context.all_day_at, self._context.home)

    def moment(self, value: Value, line: Property, home: dt.tzinfo | None = None) -> dt.datetime:
        """Place a time in its own zone, else in ``home``, else in that of DTSTART, else in that of floating times."""
        tzid = line.parameter("TZID") or ("" if home is not None else self._tzid)
        if not tzid:
            zone = dt.UTC if value.is_utc else home
            if zone is None:
                zone = self._context.zones.floating
                self.note(f"floating time read as {zone}")
            return value.wall.replace(tzinfo=zone)
        found = self._find(tzid)
        if found.note:
            self.note(found.note)
        if value.is_utc:
            return value.wall.replace(tzinfo=dt.UTC).astimezone(found.zone or dt.UTC)
        return found.place(value.wall)

    def day_of(self, value: Value) -> dt.date:
        """Tell the whole day that is meant, also by applications that write it as the instant of its midnight."""
        if value.is_utc and value.wall.time() != dt.time():
            return value.wall.replace(tzinfo=dt.UTC).astimezone(self._context.zones.floating).date()
        return value.wall.date()

    def until(self, end: Property) -> dt.timedelta:
        """Tell the time from DTSTART to DTEND: whole days between days, else real time."""
        value = parse_value(end.name, end.value or "", end.parameter("VALUE"))
        if self.is_all_day:
            return self.day_of(value) - self._day
        if value.is_date:
            self.note("DTEND is a date, not a time: read as the midnight with which it begins")
        return self.moment(value, end).astimezone(dt.UTC) - self.starts_at.astimezone(dt.UTC)

    def listed(self, name: str) -> list[dt.date]:
        """Read all of RDATE or EXDATE: dates where they are dates or the event is of whole days, else aware times."""
        items = [
            (line, item)
            for line in readable(self._component, name)
            for text in (line.value or "").split(",")
            if (item := text.strip())
        ]
        if len(items) > MAX_DATES:
            raise LeftOutError(f"it has more than {MAX_DATES} {name}s")
        return [self._listed(line, item) for line, item in items]

    def _listed(self, line: Property, item: str) -> dt.date:
        text, period, _ = item.partition("/")
        if period:
            self.note(f"the lengths of periods in {line.name} are ignored")
        value = parse_value(line.name, text, line.parameter("VALUE"))
        if self.is_all_day or value.is_date:
            return self.day_of(value)
        if (tzid := line.parameter("TZID")) and self._find(tzid).zone is None:
            raise LeftOutError(f"its {line.name} is in a time zone of the file's own, which is like none that is known")
        return self.moment(value, line)

    def _find(self, tzid: str) -> "Found":
        return self._context.zones.find(tzid, self._span)
