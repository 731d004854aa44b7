"""An iCalendar file (RFC 5545) as values: whatever the bytes are, an `IcsFile` or one `ICalendarError`.

What is wrong with one event costs only that event: it is named among ``left_out`` with the reason, and the others are
read. What had to be changed to fit is told in an event's ``notes``. Files as Google Calendar, Apple Calendar, Outlook
and Thunderbird export them are the measure; what they do beyond RFC 5545 is understood.

Where no IANA zone is like the one that a TZID names, a single event is placed in UTC and a recurring one is left out;
where the file does not define it either, the time is read as a floating one. Floating times, and the beginnings of
all-day events, are those of the file's X-WR-TIMEZONE, else of the reader's zone.
"""

import dataclasses
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from icalendar.parser import split_on_unescaped_comma, unescape_backslash
from icalendar.prop import vDuration

from harborcal.calendar.ical.components import (
    MAX_TITLE,
    MAX_UID,
    Assembly,
    Component,
    LeftOutError,
    clean_text,
    lines_of,
    only,
    readable,
)
from harborcal.calendar.ical.dates import UNTIL, YEARS, parse_value
from harborcal.calendar.ical.times import Context, Times
from harborcal.calendar.ical.zones import Zones, key_named, known_zones, zone_of
from harborcal.calendar.recurrence import Recurrence
from harborcal.errors import CalendarRefusedError, ConfigurationError
from harborcal.grammar import clean

MAX_DESCRIPTION = 2_000
MAX_LOCATION = 500
MAX_URL = 2_000
MAX_CATEGORY = 100
MAX_CATEGORIES = 50

_MAX_SEQUENCE = 2**31 - 1
_MAX_DURATION = dt.timedelta(days=3_660)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IcsEvent:
    """A VEVENT: an event, or an override of one occurrence of a recurring event.

    Attributes:
        uid: Its UID, cleaned and at most 255 characters; one made from its content where it has none.
        occurrence: Which occurrence it overrides, as the UTC instant at which that would have begun; None for the event
            itself.
        occurrence_text: Its RECURRENCE-ID as written; empty for the event itself.
        title: Its SUMMARY, cleaned, at most 200 characters; may be empty.
        description: Cleaned, on one line, at most 2,000 characters.
        location: Cleaned, at most 500 characters.
        url: Cleaned, at most 2,000 characters; not checked to be a URL.
        categories: Each once, cleaned.
        is_meeting: Whether it has attendees.
        starts_at: When it begins, or the first of its occurrences does: aware, in a `zoneinfo.ZoneInfo` with an IANA
            name or in UTC.
        duration: From DTEND or DURATION, else after RFC 5545 (3.6.1): a day for an all-day event, nothing for another.
        is_all_day: Whether DTSTART is a date; ``starts_at`` is then on that date at the reader's ``all_day_at``.
        recurrence: When it recurs, exceptions included; None for a single event and for an override.
        priority: 1 is the highest, 9 the lowest, 0 says nothing.
        is_cancelled: Whether it does not take place: STATUS:CANCELLED, or METHOD:CANCEL of its calendar.
        sequence: How often it was rescheduled, as its calendar counts.
        notes: What was changed to fit, in words for a person.
        fingerprint: SHA-256 of what the event says, in hex: equal as long as nothing that matters changes. SEQUENCE,
            the stamps of export and change, and the way in which a value is written do not matter.
    """

    uid: str
    occurrence: dt.datetime | None = None
    occurrence_text: str = ""
    title: str = ""
    description: str = ""
    location: str = ""
    url: str = ""
    categories: tuple[str, ...] = ()
    is_meeting: bool = False
    starts_at: dt.datetime
    duration: dt.timedelta
    is_all_day: bool = False
    recurrence: Recurrence | None = None
    priority: int = 0
    is_cancelled: bool = False
    sequence: int = 0
    notes: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Something in the file that is no event now, and why.

    Attributes:
        uid: The event's UID, empty where it has none or where no single event is meant.
        occurrence_text: Its RECURRENCE-ID as written, cleaned; empty for an event itself.
        title: Its SUMMARY, cleaned.
        reason: Why it was left out, in words for a person.
    """

    uid: str = ""
    occurrence_text: str = ""
    title: str = ""
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IcsFile:
    """What a file says.

    Attributes:
        name: What the calendar calls itself (X-WR-RELCALID, else X-WR-CALNAME, else NAME), cleaned; may be empty.
        is_partial: Whether the file may tell less than the whole calendar, so that what it lacks is not gone: it has a
            METHOD that is not PUBLISH, or it breaks off.
        events: Events before overrides, each by start, uid and occurrence; every pair of uid and occurrence once, and
            every pair of uid and occurrence's text.
        left_out: What is not among the events, in the order of the file.
    """

    name: str = ""
    is_partial: bool = False
    events: tuple[IcsEvent, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def read(data: bytes | str, *, zone: str = "UTC", all_day_at: dt.time = dt.time(9)) -> IcsFile:
    """Read a file: all of its VCALENDARs together.

    UTF-8 and UTF-16 are told apart by themselves; a line that is not UTF-8 is read as Windows-1252. Of two events with
    the same UID (and RECURRENCE-ID) the one with the higher SEQUENCE counts, of equal ones the later in the file.

    Args:
        data: The file's content.
        zone: An IANA name: where all-day events begin, and floating times are, unless the file names a zone for them.
        all_day_at: When all-day events begin, as wall time there.

    Raises:
        ICalendarError: There is no VCALENDAR in it, or it is larger than 10 MiB, 500,000 lines or 5,000 events.
        ConfigurationError: ``zone`` is no IANA name, or ``all_day_at`` has a time zone of its own or microseconds.
    """
    key = known_zones().get(zone.casefold())
    if key is None:
        raise ConfigurationError(f"a zone is an IANA name like Europe/Berlin, not {clean(zone, 40)!r}")
    if all_day_at.tzinfo is not None or all_day_at.microsecond:
        raise ConfigurationError("all_day_at is a wall time in zone: whole seconds, without a time zone of its own")
    assembly = Assembly()
    for line in lines_of(data):
        assembly.take(line)
    calendars, strays = assembly.finish()
    return _Reading(calendars, zone_of(key), all_day_at).file(strays)


# --- the calendars as events ----------------------------------------------------------------------------------------

_NO_EVENTS = ("VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY")
_ANSWERS = frozenset({"REPLY", "REFRESH", "COUNTER", "DECLINECOUNTER"})

_Key = TypeVar("_Key")


class _Reading:
    """Reads the events of all calendars, and settles which one counts where several have the same UID."""

    def __init__(self, calendars: Sequence[Component], home: dt.tzinfo, all_day_at: dt.time) -> None:
        self._calendars = calendars
        self._contexts = [_context(calendar, home, all_day_at) for calendar in calendars]
        self._masters: dict[str, IcsEvent] = {}
        self._overrides: dict[tuple[str, dt.datetime], IcsEvent] = {}
        self._occurrences: dict[tuple[str, str], dt.datetime] = {}
        self._left_out: dict[int, LeftOut] = {}  # by the event's place in the file

    def file(self, strays: Iterable[Component]) -> IcsFile:
        placed = [
            (context, event)
            for context, calendar in zip(self._contexts, self._calendars, strict=True)
            for event in calendar.of_kind("VEVENT")
        ]
        # Overrides are read when all the events are known: some are written in the terms of the event they belong to.
        for is_override in (False, True):
            for place, (context, event) in enumerate(placed):
                if ("RECURRENCE-ID" in event.properties) is is_override:
                    self._take(place, context, event)
        left_out = [self._left_out[place] for place in sorted(self._left_out)]
        left_out += [
            _left_out(stray, "it stands outside of any VCALENDAR") for stray in strays if stray.name == "VEVENT"
        ]
        is_whole = all(calendar.is_whole for calendar in self._calendars)
        if not is_whole:
            left_out.append(LeftOut(reason="the file breaks off: events may be missing"))
        return IcsFile(
            name=self._name(),
            is_partial=not is_whole or any(context.method not in {"", "PUBLISH"} for context in self._contexts),
            events=(*_sorted(self._masters.values()), *_sorted(self._overrides.values())),
            left_out=(*left_out, *self._no_events()),
        )

    def _take(self, place: int, context: Context, component: Component) -> None:
        try:
            event = _read_event(context, component, self._masters)
        except LeftOutError as error:
            self._left_out[place] = _left_out(component, str(error))
            return
        if event.occurrence is None:
            loser = _keep_newest(self._masters, event.uid, event)
        elif self._occurrences.setdefault((event.uid, event.occurrence_text), event.occurrence) != event.occurrence:
            self._left_out[place] = _left_out(component, "another override has its RECURRENCE-ID in another time zone")
            return
        else:
            loser = _keep_newest(self._overrides, (event.uid, event.occurrence), event)
        if loser is not None:
            self._left_out[place] = LeftOut(
                uid=loser.uid,
                occurrence_text=loser.occurrence_text,
                title=loser.title,
                reason="superseded: the file has the same event again, as new or newer",
            )

    def _name(self) -> str:
        names = ("X-WR-RELCALID", "X-WR-CALNAME", "NAME")
        texts = (calendar.text(name, MAX_TITLE) for name in names for calendar in self._calendars)
        return next((text for text in texts if text), "")

    def _no_events(self) -> Iterator[LeftOut]:
        counts = {name: sum(len(calendar.of_kind(name)) for calendar in self._calendars) for name in _NO_EVENTS}
        found = [(count, name) for name, count in counts.items() if count]
        if found:
            listed = ", ".join(f"{count} {name}" for count, name in found)
            yield LeftOut(reason=f"{listed} {'is no event' if sum(counts.values()) == 1 else 'are no events'}")


def _context(component: Component, home: dt.tzinfo, all_day_at: dt.time) -> Context:
    named = key_named(component.text("X-WR-TIMEZONE", MAX_TITLE))
    own = zone_of(named) if named is not None else home
    zones = Zones(own, home, component.of_kind("VTIMEZONE"))
    return Context(component.text("METHOD", 40).upper(), zones, own, all_day_at)


def _keep_newest(events: dict[_Key, IcsEvent], key: _Key, event: IcsEvent) -> IcsEvent | None:
    """Keep the event if it is the newest of its name, and give back the one that is not."""
    known = events.get(key)
    if known is not None and known.sequence > event.sequence:
        return event
    events[key] = event
    return known


def _sorted(events: Iterable[IcsEvent]) -> list[IcsEvent]:
    return sorted(events, key=lambda event: (event.starts_at.astimezone(dt.UTC), event.uid, event.occurrence_text))


def _left_out(component: Component, reason: str) -> LeftOut:
    return LeftOut(
        uid=_uid(component),
        occurrence_text=component.text("RECURRENCE-ID", 40),
        title=component.text("SUMMARY", MAX_TITLE),
        reason=clean(reason),
    )


# --- one event ------------------------------------------------------------------------------------------------------

_PRIORITY = re.compile(r"[0-9]")
_SEQUENCE = re.compile(r"[0-9]{1,18}", re.ASCII)


def _read_event(context: Context, component: Component, masters: Mapping[str, IcsEvent]) -> IcsEvent:
    """Read a VEVENT.

    Raises:
        LeftOutError: It cannot be taken.
    """
    if not component.is_whole:
        raise LeftOutError("it breaks off: its END, or that of a part of it, is missing")
    if context.method in _ANSWERS:
        raise LeftOutError(f"METHOD:{context.method} answers an invitation and plans nothing")
    uid = _uid(component)
    rule = _rule(component)
    times = Times(context, component, rule)
    starts_at = times.starts_at
    event = IcsEvent(
        uid=uid,
        occurrence=_occurrence(component, times, masters.get(uid)),
        occurrence_text=component.text("RECURRENCE-ID", 40),
        title=component.text("SUMMARY", MAX_TITLE),
        description=component.text("DESCRIPTION", MAX_DESCRIPTION),
        location=component.text("LOCATION", MAX_LOCATION),
        url=component.text("URL", MAX_URL),
        categories=_categories(component),
        is_meeting="ATTENDEE" in component.properties,
        starts_at=starts_at,
        duration=_duration(component, times),
        is_all_day=times.is_all_day,
        recurrence=_recurrence(component, times, rule),
        priority=int(text) if _PRIORITY.fullmatch(text := component.text("PRIORITY", 40)) else 0,
        is_cancelled=context.method == "CANCEL" or component.text("STATUS", 40).upper() == "CANCELLED",
        sequence=min(int(text), _MAX_SEQUENCE) if _SEQUENCE.fullmatch(text := component.text("SEQUENCE", 40)) else 0,
    )
    if not uid:
        event = dataclasses.replace(event, uid=f"harborcal-{_fingerprint(event)[:32]}")
        times.note("it has no UID: one was made from its content")
    return dataclasses.replace(event, notes=tuple(dict.fromkeys(times.notes)), fingerprint=_fingerprint(event))


def _uid(component: Component) -> str:
    """Tell the UID; of one that is too long the beginning, and a hash of the whole so that it stays one of its own."""
    uid = component.text("UID", MAX_UID * 8)
    if len(uid) <= MAX_UID:
        return uid
    return f"{uid[: MAX_UID - 65]}-{hashlib.sha256(uid.encode()).hexdigest()}"


def _categories(component: Component) -> tuple[str, ...]:
    values = [line.value or "" for line in component.properties.get("CATEGORIES", ())[:MAX_CATEGORIES]]
    texts = (clean_text(text, MAX_CATEGORY) for value in values for text in split_on_unescaped_comma(value[:8_000]))
    return tuple(dict.fromkeys(text for text in texts if text))[:MAX_CATEGORIES]


def _fingerprint(event: IcsEvent) -> str:
    said = {
        "uid": event.uid,
        "occurrence": event.occurrence.isoformat() if event.occurrence is not None else None,
        "texts": [event.title, event.description, event.location, event.url],
        "categories": sorted(event.categories),
        "is_meeting": event.is_meeting,
        "starts_at": event.starts_at.astimezone(dt.UTC).isoformat(),
        "zone": str(event.starts_at.tzinfo),
        "duration": event.duration.total_seconds(),
        "is_all_day": event.is_all_day,
        "recurrence": event.recurrence.to_dict() if event.recurrence is not None else None,
        "priority": event.priority,
        "is_cancelled": event.is_cancelled,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _rule(component: Component) -> str:
    """Tell the RRULE's value, empty where there is none, or where it is an override's and so means nothing."""
    if "RECURRENCE-ID" in component.properties:
        return ""
    rules = {unescape_backslash(line.value or "").strip() for line in readable(component, "RRULE")}
    rules.discard("")
    if len(rules) > 1:
        raise LeftOutError("it has more than one RRULE")
    return next(iter(rules), "")


def _recurrence(component: Component, times: "Times", rule: str) -> Recurrence | None:
    """Put RRULE, RDATE and EXDATE together.

    Raises:
        LeftOutError: The recurrence is refused, or has an EXRULE: the occurrences that it takes away would take place.
    """
    if "RECURRENCE-ID" in component.properties:
        if component.properties.keys() & {"RRULE", "RDATE"}:
            times.note("the recurrence of a single occurrence is ignored")
        return None
    if not rule and not any(line.value for line in readable(component, "RDATE")):
        return None
    if any(line.value for line in component.properties.get("EXRULE", ())):
        raise LeftOutError("EXRULE is not supported: what it takes away would take place")
    if times.is_homeless:
        raise LeftOutError("it recurs in a time zone of the file's own, which is like none that is known")
    try:
        return Recurrence.of(
            times.starts_at,
            _until_of_days(rule, times) if times.is_all_day else rule,
            dates=times.listed("RDATE"),
            exceptions=times.listed("EXDATE"),
        )
    except CalendarRefusedError as error:
        raise LeftOutError(error.detail) from error


def _until_of_days(rule: str, times: "Times") -> str:
    """Turn an all-day event's UNTIL into the date that it means; Outlook writes an instant."""

    def day(match: re.Match[str]) -> str:
        if match[3] is None or int(match[1]) not in YEARS:
            return match[0]
        value = parse_value("UNTIL", f"{match[1]}{match[2]}{match[3]}")
        return f"UNTIL={times.day_of(value):%Y%m%d}"

    return UNTIL.sub(day, rule)


def _occurrence(component: Component, times: "Times", master: IcsEvent | None) -> dt.datetime | None:
    """Tell which occurrence an override is for, in the terms of the event it belongs to.

    Raises:
        LeftOutError: It is for more than one, or does not say of which event.
    """
    line = only(component, "RECURRENCE-ID")
    if line is None:
        return None
    if not _uid(component):
        raise LeftOutError("it overrides an occurrence, but has no UID that tells of which event")
    if span := line.parameter("RANGE"):
        raise LeftOutError(f"an override with RANGE={span} is not supported: it would change other occurrences too")
    value = parse_value(line.name, line.value or "", line.parameter("VALUE"))
    if master is not None and (master.is_all_day or value.is_date):
        # A whole day names the occurrence on it, at the time of day at which its event begins.
        return dt.datetime.combine(times.day_of(value), master.starts_at.timetz()).astimezone(dt.UTC)
    if value.is_date:
        return times.at_start_of(value.wall.date()).astimezone(dt.UTC)
    return times.moment(value, line, master.starts_at.tzinfo if master is not None else None).astimezone(dt.UTC)


def _duration(component: Component, times: "Times") -> dt.timedelta:
    """Tell how long the event lasts.

    Raises:
        LeftOutError: It ends before it starts, or is longer than ten years.
    """
    end, length = only(component, "DTEND"), only(component, "DURATION")
    if end is not None and end.value:
        duration = times.until(end)
    elif length is not None and length.value:
        duration = _parse_duration(length.value)
    else:
        duration = dt.timedelta(days=1 if times.is_all_day else 0)
    if duration < dt.timedelta():
        raise LeftOutError("it ends before it starts")
    if duration > _MAX_DURATION:
        raise LeftOutError(f"it lasts longer than {_MAX_DURATION.days} days")
    return duration


def _parse_duration(text: str) -> dt.timedelta:
    try:
        return vDuration.from_ical(text.strip().upper()[:40])  # type: ignore[no-any-return, no-untyped-call]  # untyped
    except (ValueError, OverflowError) as error:
        raise LeftOutError(f"DURATION is no length of time: {clean(text, 40)!r}") from error
