"""An iCalendar file (RFC 5545) as values: whatever the bytes are, an `IcsFile` or one `ICalendarError`.

What is wrong with one event costs only that event: it is named among ``left_out`` with the reason, and the others are
read. What had to be changed to fit is told in an event's ``notes``. Files as Google Calendar, Apple Calendar, Outlook
and Thunderbird export them are the measure; what they do beyond RFC 5545 is understood.

The lines are put together here and not by `icalendar.Calendar.from_ical`, which gives up the whole file for one broken
line, keeps the time zones of one file for the next and warns about names of zones. Its tables and its readers of single
values do the rest.

**Time zones.** A TZID is first taken for a name: an IANA name, one of Windows, or either after the path that some
vendors put before it; what the file says of such a zone is not asked. For any other TZID an IANA zone is looked for
that has the same offsets as the file's VTIMEZONE in the event's years. Where there is none, a single event is placed in
UTC and a recurring one is left out; where there is no VTIMEZONE either, the time is read as a floating one. Floating
times are those of the file's X-WR-TIMEZONE, else of the reader's zone.
"""

import bisect
import calendar
import codecs
import dataclasses
import datetime as dt
import functools
import hashlib
import json
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from icalendar.parser import rfc_6868_unescape, split_on_unescaped_comma, unescape_backslash
from icalendar.prop import vDuration, vUTCOffset
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from harborcal.calendar.recurrence import MAX_DATES, Recurrence
from harborcal.errors import CalendarRefusedError, ConfigurationError, ICalendarError
from harborcal.grammar import clean

MAX_BYTES = 10 * 1024 * 1024
"""How large a file may be."""

MAX_EVENTS = 5_000
"""How many VEVENTs a file may have, overrides of single occurrences counted."""

MAX_LINES = 500_000
"""How many lines a file may have, after unfolding."""

MAX_UID = 255
MAX_TITLE = 200
MAX_DESCRIPTION = 2_000
MAX_LOCATION = 500
MAX_URL = 2_000
MAX_CATEGORY = 100
MAX_CATEGORIES = 50

_MAX_DEPTH = 8  # of components in each other; RFC 5545 needs three
_MAX_PARAMETERS = 16_384  # characters of a line's parameters together
_MAX_SEQUENCE = 2**31 - 1
_MAX_DURATION = dt.timedelta(days=3_660)
_YEARS = range(1583, 9_998)  # Gregorian ones, with room for any offset and length before Python's last year

# How far ahead a recurring event's zone is compared, and the years that tell a zone's rules as they are from now on.
_YEARS_AHEAD = 10
_SETTLED_YEARS = (2036, 2037)


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
        zone: An IANA name: where all-day events begin, and floating times where the file names no zone for them.
        all_day_at: When all-day events begin, as wall time in ``zone``.

    Raises:
        ICalendarError: There is no VCALENDAR in it, or it is larger than 10 MiB, 500,000 lines or 5,000 events.
        ConfigurationError: ``zone`` is no IANA name, or ``all_day_at`` has a time zone of its own or microseconds.
    """
    key = _known_zones().get(zone.casefold())
    if key is None:
        raise ConfigurationError(f"a zone is an IANA name like Europe/Berlin, not {clean(zone, 40)!r}")
    if all_day_at.tzinfo is not None or all_day_at.microsecond:
        raise ConfigurationError("all_day_at is a wall time in zone: whole seconds, without a time zone of its own")
    assembly = _Assembly()
    for line in _lines(data):
        assembly.take(line)
    calendars, strays = assembly.finish()
    return _Reading(calendars, _zone(key), all_day_at).file(strays)


class _LeftOutError(Exception):
    """One event cannot be taken; the text is the reason that is told."""


# --- the file as lines ----------------------------------------------------------------------------------------------


def _lines(data: bytes | str) -> list[str]:
    """Unfold before decoding, because some applications fold in the middle of a character."""
    octets = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if len(octets) > MAX_BYTES:
        raise ICalendarError(f"the file is larger than {MAX_BYTES} bytes")
    octets = _utf8(octets)
    octets = octets.replace(codecs.BOM_UTF8, b"").replace(b"\0", b"")
    octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    octets = re.sub(rb"\n\n+", b"\n", octets).replace(b"\n ", b"").replace(b"\n\t", b"")
    if octets.count(b"\n") > MAX_LINES:
        raise ICalendarError(f"the file has more than {MAX_LINES} lines")
    try:
        return octets.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return [_decode(line) for line in octets.split(b"\n")]


def _utf8(octets: bytes) -> bytes:
    """Turn UTF-16 into UTF-8; what is neither stays as it is."""
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return octets.decode("utf-16", "replace").encode("utf-8", "replace")
    if octets.startswith((b"B\0", b"b\0")):
        return octets.decode("utf-16-le", "replace").encode("utf-8", "replace")
    if octets.startswith((b"\0B", b"\0b")):
        return octets.decode("utf-16-be", "replace").encode("utf-8", "replace")
    return octets


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")


_NAME = re.compile(r"([A-Za-z0-9-]+)\s*[;:]")
_LINE = re.compile(r'[A-Za-z0-9-]+\s*((?:;\s*[A-Za-z0-9-]+=(?:"[^"]*"|[^":;])*+)*+):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';\s*([A-Za-z0-9-]+)=((?:"[^"]*"|[^":;])*+)')


class _Property(NamedTuple):
    """One line of a component: its parameters and its value as written; the value is None where it has no such form."""

    name: str
    parameters: str
    value: str | None

    @classmethod
    def of(cls, name: str, line: str) -> "_Property":
        match = _LINE.fullmatch(line)
        if match is None or len(match[1]) > _MAX_PARAMETERS:
            return cls(name, "", None)
        return cls(name, match[1], match[2])

    def parameter(self, name: str) -> str:
        """Tell a parameter's value without its quotes, empty where it is missing."""
        for match in _PARAMETER.finditer(self.parameters):
            if match[1].upper() == name:
                return rfc_6868_unescape(match[2].replace('"', "")).strip()
        return ""

    def text(self, limit: int) -> str:
        """Unescape and clean the value; what is surely beyond the limit is not looked at."""
        return _clean(unescape_backslash((self.value or "")[: limit * 8]), limit)


def _clean(text: str, limit: int) -> str:
    return clean(text[: limit * 4 + 4], limit).strip()


# --- the lines as components ----------------------------------------------------------------------------------------

_OBSERVANCE = frozenset({"DTSTART", "TZOFFSETFROM", "TZOFFSETTO", "RRULE", "RDATE"})
_KEPT: Mapping[str, frozenset[str]] = {
    "VCALENDAR": frozenset({"METHOD", "NAME", "X-WR-CALNAME", "X-WR-RELCALID", "X-WR-TIMEZONE"}),
    "VEVENT": frozenset(
        {"UID", "RECURRENCE-ID", "SUMMARY", "DESCRIPTION", "LOCATION", "URL", "CATEGORIES", "ATTENDEE", "STATUS"}
        | {"DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "PRIORITY", "SEQUENCE"}
    ),
    "VTIMEZONE": frozenset({"TZID", "X-LIC-LOCATION"}),
    "STANDARD": _OBSERVANCE,
    "DAYLIGHT": _OBSERVANCE,
}
"""Which properties are read of which component; all others cost next to nothing."""


@dataclasses.dataclass(slots=True)
class _Component:
    """What stands between a BEGIN and its END.

    Attributes:
        is_whole: Whether it has its END, and so have all components in it.
    """

    name: str
    properties: dict[str, list[_Property]] = dataclasses.field(default_factory=dict)
    parts: "list[_Component]" = dataclasses.field(default_factory=list)
    is_whole: bool = False

    def of_kind(self, *names: str) -> "list[_Component]":
        return [part for part in self.parts if part.name in names]

    def text(self, name: str, limit: int) -> str:
        """Give the first of the texts of that name that is not empty."""
        return next((text for line in self.properties.get(name, ()) if (text := line.text(limit))), "")


class _Assembly:
    """Puts lines together into components, and holds on to what is whole when an END is missing."""

    def __init__(self) -> None:
        self._calendars: list[_Component] = []
        self._strays: list[_Component] = []
        self._stack: list[_Component] = []
        self._beyond = 0  # how many components are open below the deepest that is looked into
        self._events = 0

    def take(self, line: str) -> None:
        match = _NAME.match(line)
        if match is None:
            return
        name = match[1].upper()
        if name == "BEGIN":
            self._begin(line[match.end() :].strip().upper())
        elif name == "END":
            self._end(line[match.end() :].strip().upper())
        elif self._stack and not self._beyond and name in _KEPT.get(self._stack[-1].name, ()):
            self._stack[-1].properties.setdefault(name, []).append(_Property.of(name, line))

    def finish(self) -> tuple[list[_Component], list[_Component]]:
        """Give the calendars, and the events that stand in none."""
        if not self._calendars:
            raise ICalendarError("the file has no VCALENDAR: it is no iCalendar file")
        return self._calendars, self._strays

    def _begin(self, name: str) -> None:
        if name in {"VCALENDAR", "VEVENT"}:
            # These never stand in an event: what is open has lost its END.
            self._unwind(1 if name == "VEVENT" and self._stack and self._stack[0].name == "VCALENDAR" else 0)
        if len(self._stack) >= _MAX_DEPTH:
            self._beyond += 1
            return
        component = _Component(name)
        self._home_of(name).append(component)
        self._stack.append(component)

    def _home_of(self, name: str) -> list[_Component]:
        if name == "VEVENT":
            self._events += 1
            if self._events > MAX_EVENTS:
                raise ICalendarError(f"the file has more than {MAX_EVENTS} events")
        if name == "VCALENDAR":
            return self._calendars
        return self._stack[-1].parts if self._stack else self._strays

    def _end(self, name: str) -> None:
        if self._beyond:
            self._beyond -= 1
            return
        for depth in range(len(self._stack) - 1, -1, -1):
            if self._stack[depth].name == name:
                self._stack[depth].is_whole = depth == len(self._stack) - 1
                self._unwind(depth)
                return

    def _unwind(self, depth: int) -> None:
        del self._stack[depth:]
        self._beyond = 0


# --- the calendars as events ----------------------------------------------------------------------------------------

_NO_EVENTS = ("VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY")
_ANSWERS = frozenset({"REPLY", "REFRESH", "COUNTER", "DECLINECOUNTER"})

_Key = TypeVar("_Key")


@dataclasses.dataclass(frozen=True, slots=True)
class _Context:
    """What an event needs to know of its calendar and of who reads it."""

    method: str
    zones: "_Zones"
    home: dt.tzinfo
    all_day_at: dt.time


class _Reading:
    """Reads the events of all calendars, and settles which one counts where several have the same UID."""

    def __init__(self, calendars: Sequence[_Component], home: dt.tzinfo, all_day_at: dt.time) -> None:
        self._calendars = calendars
        self._contexts = [_context(calendar, home, all_day_at) for calendar in calendars]
        self._masters: dict[str, IcsEvent] = {}
        self._overrides: dict[tuple[str, dt.datetime], IcsEvent] = {}
        self._occurrences: dict[tuple[str, str], dt.datetime] = {}
        self._left_out: dict[int, LeftOut] = {}  # by the event's place in the file

    def file(self, strays: Iterable[_Component]) -> IcsFile:
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

    def _take(self, place: int, context: _Context, component: _Component) -> None:
        try:
            event = _read_event(context, component, self._masters)
        except _LeftOutError as error:
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


def _context(component: _Component, home: dt.tzinfo, all_day_at: dt.time) -> _Context:
    named = _key_named(component.text("X-WR-TIMEZONE", MAX_TITLE))
    zones = _Zones(_zone(named) if named is not None else home, home, component.of_kind("VTIMEZONE"))
    return _Context(component.text("METHOD", 40).upper(), zones, home, all_day_at)


def _keep_newest(events: dict[_Key, IcsEvent], key: _Key, event: IcsEvent) -> IcsEvent | None:
    """Keep the event if it is the newest of its name, and give back the one that is not."""
    known = events.get(key)
    if known is not None and known.sequence > event.sequence:
        return event
    events[key] = event
    return known


def _sorted(events: Iterable[IcsEvent]) -> list[IcsEvent]:
    return sorted(events, key=lambda event: (event.starts_at.astimezone(dt.UTC), event.uid, event.occurrence_text))


def _left_out(component: _Component, reason: str) -> LeftOut:
    return LeftOut(
        uid=_uid(component),
        occurrence_text=component.text("RECURRENCE-ID", 40),
        title=component.text("SUMMARY", MAX_TITLE),
        reason=clean(reason),
    )


# --- one event ------------------------------------------------------------------------------------------------------

_PRIORITY = re.compile(r"[0-9]")
_SEQUENCE = re.compile(r"[0-9]{1,18}", re.ASCII)
_UNTIL = re.compile(r"UNTIL=([0-9]{4})([0-9]{4})(T[0-9]{6}Z?)?", re.ASCII | re.IGNORECASE)


def _read_event(context: _Context, component: _Component, masters: Mapping[str, IcsEvent]) -> IcsEvent:
    """Read a VEVENT.

    Raises:
        _LeftOutError: It cannot be taken.
    """
    if not component.is_whole:
        raise _LeftOutError("it breaks off: its END, or that of a part of it, is missing")
    if context.method in _ANSWERS:
        raise _LeftOutError(f"METHOD:{context.method} answers an invitation and plans nothing")
    uid = _uid(component)
    rule = _rule(component)
    times = _Times(context, component, rule)
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


def _uid(component: _Component) -> str:
    """Tell the UID; of one that is too long the beginning, and a hash of the whole so that it stays one of its own."""
    uid = component.text("UID", MAX_UID * 8)
    if len(uid) <= MAX_UID:
        return uid
    return f"{uid[: MAX_UID - 65]}-{hashlib.sha256(uid.encode()).hexdigest()}"


def _categories(component: _Component) -> tuple[str, ...]:
    values = [line.value or "" for line in component.properties.get("CATEGORIES", ())[:MAX_CATEGORIES]]
    texts = (_clean(text, MAX_CATEGORY) for value in values for text in split_on_unescaped_comma(value[:8_000]))
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


def _rule(component: _Component) -> str:
    """Tell the RRULE's value, empty where there is none, or where it is an override's and so means nothing."""
    if "RECURRENCE-ID" in component.properties:
        return ""
    rules = {unescape_backslash(line.value or "").strip() for line in _readable(component, "RRULE")}
    rules.discard("")
    if len(rules) > 1:
        raise _LeftOutError("it has more than one RRULE")
    return next(iter(rules), "")


def _recurrence(component: _Component, times: "_Times", rule: str) -> Recurrence | None:
    """Put RRULE, RDATE and EXDATE together.

    Raises:
        _LeftOutError: The recurrence is refused, or has an EXRULE: the occurrences that it takes away would take place.
    """
    if "RECURRENCE-ID" in component.properties:
        if component.properties.keys() & {"RRULE", "RDATE"}:
            times.note("the recurrence of a single occurrence is ignored")
        return None
    if not rule and not any(line.value for line in _readable(component, "RDATE")):
        return None
    if any(line.value for line in component.properties.get("EXRULE", ())):
        raise _LeftOutError("EXRULE is not supported: what it takes away would take place")
    if times.is_homeless:
        raise _LeftOutError("it recurs in a time zone of the file's own, which is like none that is known")
    try:
        return Recurrence.of(
            times.starts_at,
            _until_of_days(rule, times) if times.is_all_day else rule,
            dates=times.listed("RDATE"),
            exceptions=times.listed("EXDATE"),
        )
    except CalendarRefusedError as error:
        raise _LeftOutError(error.detail) from error


def _until_of_days(rule: str, times: "_Times") -> str:
    """Turn an all-day event's UNTIL into the date that it means; Outlook writes an instant."""

    def day(match: re.Match[str]) -> str:
        if match[3] is None or int(match[1]) not in _YEARS:
            return match[0]
        value = _parse("UNTIL", f"{match[1]}{match[2]}{match[3]}")
        return f"UNTIL={times.day_of(value):%Y%m%d}"

    return _UNTIL.sub(day, rule)


def _occurrence(component: _Component, times: "_Times", master: IcsEvent | None) -> dt.datetime | None:
    """Tell which occurrence an override is for, in the terms of the event it belongs to.

    Raises:
        _LeftOutError: It is for more than one, or does not say of which event.
    """
    line = _one(component, "RECURRENCE-ID")
    if line is None:
        return None
    if not _uid(component):
        raise _LeftOutError("it overrides an occurrence, but has no UID that tells of which event")
    if span := line.parameter("RANGE"):
        raise _LeftOutError(f"an override with RANGE={span} is not supported: it would change other occurrences too")
    value = _parse(line.name, line.value or "", line.parameter("VALUE"))
    if master is not None and (master.is_all_day or value.is_date):
        # A whole day names the occurrence on it, at the time of day at which its event begins.
        return dt.datetime.combine(times.day_of(value), master.starts_at.timetz()).astimezone(dt.UTC)
    if value.is_date:
        return times.at_start_of(value.wall.date()).astimezone(dt.UTC)
    return times.moment(value, line, master.starts_at.tzinfo if master is not None else None).astimezone(dt.UTC)


def _duration(component: _Component, times: "_Times") -> dt.timedelta:
    """Tell how long the event lasts.

    Raises:
        _LeftOutError: It ends before it starts, or is longer than ten years.
    """
    end, length = _one(component, "DTEND"), _one(component, "DURATION")
    if end is not None and end.value:
        duration = times.until(end)
    elif length is not None and length.value:
        duration = _parse_duration(length.value)
    else:
        duration = dt.timedelta(days=1 if times.is_all_day else 0)
    if duration < dt.timedelta():
        raise _LeftOutError("it ends before it starts")
    if duration > _MAX_DURATION:
        raise _LeftOutError(f"it lasts longer than {_MAX_DURATION.days} days")
    return duration


def _parse_duration(text: str) -> dt.timedelta:
    try:
        return vDuration.from_ical(text.strip().upper()[:40])  # type: ignore[no-any-return, no-untyped-call]  # untyped
    except (ValueError, OverflowError) as error:
        raise _LeftOutError(f"DURATION is no length of time: {clean(text, 40)!r}") from error


def _readable(component: _Component, name: str) -> list[_Property]:
    """Give the lines of a name on which a recurrence or a time depends.

    Raises:
        _LeftOutError: One of them is damaged.
    """
    lines = component.properties.get(name, [])
    if any(line.value is None for line in lines):
        raise _LeftOutError(f"its {name} cannot be read")
    return lines


def _one(component: _Component, name: str) -> _Property | None:
    """Give the only line of a name.

    Raises:
        _LeftOutError: There are several, which differ, or it is damaged.
    """
    lines = _readable(component, name)
    if len(set(lines)) > 1:
        raise _LeftOutError(f"it has more than one {name}")
    return lines[0] if lines else None


# --- dates and times ------------------------------------------------------------------------------------------------

_DATE_TIME = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?", re.ASCII | re.IGNORECASE)


class _Value(NamedTuple):
    """A date or time as written, without a zone."""

    wall: dt.datetime
    is_date: bool
    is_utc: bool


def _parse(name: str, text: str, kind: str = "") -> _Value:
    """Read a DATE or a DATE-TIME; which of the two is told by its form, as some applications leave VALUE out.

    Raises:
        _LeftOutError: It is neither, or out of the years that are read.
    """
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        raise _LeftOutError(f"{name} is no date or time: {clean(text, 40)!r}")
    is_date = match[2] is None or kind.upper() == "DATE"
    time = "000000" if is_date else match[2]
    try:
        # RFC 5545 (3.3.12) counts leap seconds, Python does not.
        wall = dt.datetime.fromisoformat(f"{match[1]}T{time[:4]}{min(time[4:], '59')}")
    except ValueError as error:
        raise _LeftOutError(f"{name} is no date or time: {clean(text, 40)!r}") from error
    if wall.year not in _YEARS:
        raise _LeftOutError(f"{name} is in the years {_YEARS.start} to {_YEARS.stop - 1}, not in {wall.year}")
    return _Value(wall, is_date, not is_date and bool(match[3]))


class _Span(NamedTuple):
    """The years in which a zone has to be right for an event."""

    first: int
    last: int
    is_recurring: bool

    @classmethod
    def of(cls, component: _Component, first: int, rule: str) -> "_Span":
        if not rule and not component.properties.get("RDATE"):
            return cls(first, first + 1, is_recurring=False)
        end = _UNTIL.search(rule)
        last = first + _YEARS_AHEAD if end is None else min(first + _YEARS_AHEAD, int(end[1]))
        return cls(first, max(first + 1, last), is_recurring=True)


class _Times:
    """Reads the dates and times of one event, each beside DTSTART.

    Attributes:
        starts_at: DTSTART, aware.
        is_all_day: Whether DTSTART is a date.
        is_homeless: Whether DTSTART's zone is none but the file's own VTIMEZONE; ``starts_at`` is then in UTC.
        notes: What had to be changed so far.
    """

    def __init__(self, context: _Context, component: _Component, rule: str) -> None:
        line = _one(component, "DTSTART")
        if line is None:
            raise _LeftOutError("it has no DTSTART")
        value = _parse(line.name, line.value or "", line.parameter("VALUE"))
        self.notes: list[str] = []
        self._context = context
        self._component = component
        self._span = _Span.of(component, value.wall.year, rule)
        self._day = value.wall.date()
        self._tzid = line.parameter("TZID")
        self.is_all_day = value.is_date
        self.is_homeless = not value.is_date and bool(self._tzid) and self._find(self._tzid).zone is None
        self.starts_at = self.at_start_of(self._day) if value.is_date else self.moment(value, line)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def at_start_of(self, day: dt.date) -> dt.datetime:
        """Place a whole day at the time at which the reader wants it to begin."""
        return dt.datetime.combine(day, self._context.all_day_at, self._context.home)

    def moment(self, value: _Value, line: _Property, home: dt.tzinfo | None = None) -> dt.datetime:
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

    def day_of(self, value: _Value) -> dt.date:
        """Tell the whole day that is meant, also by applications that write it as the instant of its midnight."""
        if value.is_utc and value.wall.time() != dt.time():
            return value.wall.replace(tzinfo=dt.UTC).astimezone(self._context.zones.floating).date()
        return value.wall.date()

    def until(self, end: _Property) -> dt.timedelta:
        """Tell the time from DTSTART to DTEND: whole days between days, else real time."""
        value = _parse(end.name, end.value or "", end.parameter("VALUE"))
        if self.is_all_day:
            return self.day_of(value) - self._day
        if value.is_date:
            self.note("DTEND is a date, not a time: read as the midnight with which it begins")
        return self.moment(value, end).astimezone(dt.UTC) - self.starts_at.astimezone(dt.UTC)

    def listed(self, name: str) -> list[dt.date]:
        """Read all of RDATE or EXDATE: dates where they are dates or the event is of whole days, else aware times."""
        items = [
            (line, item)
            for line in _readable(self._component, name)
            for text in (line.value or "").split(",")
            if (item := text.strip())
        ]
        if len(items) > MAX_DATES:
            raise _LeftOutError(f"it has more than {MAX_DATES} {name}s")
        return [self._listed(line, item) for line, item in items]

    def _listed(self, line: _Property, item: str) -> dt.date:
        text, period, _ = item.partition("/")
        if period:
            self.note(f"the lengths of periods in {line.name} are ignored")
        value = _parse(line.name, text, line.parameter("VALUE"))
        if self.is_all_day or value.is_date:
            return self.day_of(value)
        if (tzid := line.parameter("TZID")) and self._find(tzid).zone is None:
            raise _LeftOutError(
                f"its {line.name} is in a time zone of the file's own, which is like none that is known"
            )
        return self.moment(value, line)

    def _find(self, tzid: str) -> "_Found":
        return self._context.zones.find(tzid, self._span)


# --- time zones -----------------------------------------------------------------------------------------------------

_MAX_OBSERVANCES = 100  # of one VTIMEZONE, and RDATEs of one of them
_MAX_SEARCHES = 200  # of zones like a VTIMEZONE, in one file

# Of zones that are equal in an event's years, these are the ones that people know.
_FAMILIAR = ("Europe/London", "Europe/Berlin", "Europe/Athens", "America/New_York", "America/Chicago", "America/Denver")

_UTC_NAMES = frozenset({"UTC", "Etc/UTC", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"})


@functools.cache
def _known_zones() -> Mapping[str, str]:
    """List the IANA names by themselves in small letters. What is not in this list never reaches the file system."""
    return {name.casefold(): name for name in sorted(zoneinfo.available_timezones() - {"Factory", "localtime"})}


@functools.cache
def _windows_zones() -> Mapping[str, str]:
    return {name.casefold(): key for name, key in WINDOWS_TO_OLSON.items()}


@functools.cache
def _cities() -> Mapping[str, str]:
    keys = [key for key in _known_zones().values() if "/" in key and not key.startswith("Etc/")]
    return {key.rpartition("/")[2].replace("_", " ").casefold(): key for key in keys}


@functools.cache
def _candidates() -> tuple[str, ...]:
    """List zones to compare a VTIMEZONE with: fixed offsets, familiar ones, one for each zone that Windows has."""
    fixed = [key for key in _known_zones().values() if key.startswith("Etc/GMT") and key[-1] != "0"]
    known = _known_zones().values()
    return tuple(key for key in dict.fromkeys([*fixed, *_FAMILIAR, *WINDOWS_TO_OLSON.values()]) if key in known)


@functools.lru_cache(maxsize=1_024)
def _key_named(tzid: str) -> str | None:
    """Find the IANA name that a TZID is, or stands for: that of Windows, or what ends a vendor's path."""
    parts = tzid[:MAX_UID].strip(" /").casefold().split("/")
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        key = _known_zones().get(name) or _known_zones().get(_windows_zones().get(name, "").casefold())
        if key is not None:
            return key
    return None


@functools.cache  # zoneinfo itself keeps eight, and would read all candidates from the disk for each search
def _zone(key: str) -> dt.tzinfo:
    return dt.UTC if key in _UTC_NAMES else zoneinfo.ZoneInfo(key)


class _Found(NamedTuple):
    """What a TZID stands for: a zone, or a VTIMEZONE that is like none; and what a person should know of that."""

    zone: dt.tzinfo | None
    definition: "_Definition | None" = None
    note: str = ""

    def place(self, wall: dt.datetime) -> dt.datetime:
        """Make a wall time aware."""
        if self.zone is None and self.definition is not None:
            return self.definition.in_utc(wall)
        return wall.replace(tzinfo=self.zone)


class _Zones:
    """The time zones of one calendar.

    Attributes:
        floating: Where times are that name no zone.
    """

    def __init__(self, floating: dt.tzinfo, home: dt.tzinfo, components: Iterable[_Component]) -> None:
        self.floating = floating
        self._preferred = [str(floating), str(home)]
        self._components = {_tzid_of(component): component for component in components}
        self._definitions: dict[str, _Definition | None] = {}
        self._found: dict[tuple[str, _Span], _Found] = {}
        self._searches = 0

    def find(self, tzid: str, span: _Span) -> _Found:
        tzid = tzid[:MAX_UID].strip()
        key = _key_named(tzid)
        # An abbreviation may mean another zone in the file: EST, say, with summer time.
        if key is not None and ("/" in key or key in _UTC_NAMES or tzid not in self._components):
            return _Found(_zone(key))
        if (tzid, span) not in self._found:
            self._found[tzid, span] = self._search(tzid, span, [key] if key is not None else [])
        return self._found[tzid, span]

    def _search(self, tzid: str, span: _Span, hints: Sequence[str]) -> _Found:
        shown = repr(clean(tzid, 60))
        definition = self._definition(tzid)
        if definition is None:
            return _Found(self.floating, None, f"unknown time zone {shown} read as {self.floating}")
        location = _key_named(self._components[tzid].text("X-LIC-LOCATION", MAX_TITLE))
        cities = [_cities().get(piece.strip().casefold()) for piece in re.split(r"[,;/()]", tzid)]
        hinted = [key for key in [*hints, location, *self._preferred, *cities] if key is not None]
        keys = dict.fromkeys([*hinted, *_candidates()])
        for first, last in [(span.first, span.last), *([_SETTLED_YEARS] if span.is_recurring else [])]:
            self._searches += 1
            if self._searches > _MAX_SEARCHES:
                break
            samples = definition.samples(first, last)
            for key in keys:
                zone = _zone(key)
                if all(instant.astimezone(zone).utcoffset() == offset for instant, offset in samples):
                    return _Found(zone, definition, f"time zone {shown} read as {zone}")
        return _Found(None, definition, f"time zone {shown} is known from this file alone: read as UTC")

    def _definition(self, tzid: str) -> "_Definition | None":
        if tzid not in self._definitions:
            component = self._components.get(tzid)
            self._definitions[tzid] = _read_definition(component) if component is not None else None
        return self._definitions[tzid]


def _tzid_of(component: _Component) -> str:
    lines = component.properties.get("TZID", [])
    return unescape_backslash((lines[0].value or "")[:MAX_UID]).strip() if lines else ""


class _Yearly(NamedTuple):
    """The day of a year on which clocks are changed: of the month's days that fit, the n-th."""

    month: int
    weekday: int | None
    days: frozenset[int]
    position: int  # as an index: 0 is the first, -1 the last

    def onset(self, year: int, time: dt.time) -> dt.datetime | None:
        fitting = [
            day
            for day in range(1, calendar.monthrange(year, self.month)[1] + 1)
            if (self.weekday is None or calendar.weekday(year, self.month, day) == self.weekday)
            and (not self.days or day in self.days)
        ]
        try:
            return dt.datetime.combine(dt.date(year, self.month, fitting[self.position]), time)
        except IndexError:
            return None


@dataclasses.dataclass(frozen=True, slots=True)
class _Observance:
    """A STANDARD or DAYLIGHT: from when on which offset holds. Onsets are in the wall time before the change."""

    start: dt.datetime
    before: dt.timedelta
    after: dt.timedelta
    dates: tuple[dt.datetime, ...]
    yearly: _Yearly | None
    end: dt.datetime | None

    def changes(self, first: int, last: int) -> Iterator[dt.datetime]:
        """Yield the onsets of some years in UTC, and of those before that tell what holds when they begin."""
        onsets = [self.start, *self.dates]
        if self.yearly is not None:
            final = last if self.end is None else min(last, self.end.year)
            for year in range(max(self.start.year, min(first, final) - 2), final + 1):
                onset = self.yearly.onset(year, self.start.time())
                if onset is not None and self.start < onset and (self.end is None or onset <= self.end):
                    onsets.append(onset)
        for onset in onsets:
            yield (onset - self.before).replace(tzinfo=dt.UTC)


class _Definition:
    """A VTIMEZONE that can be asked for its offsets."""

    def __init__(self, observances: Sequence[_Observance]) -> None:
        self._observances = observances
        self._initial = min(observances, key=lambda observance: observance.start).before

    def in_utc(self, wall: dt.datetime) -> dt.datetime:
        """Place a wall time: with the offset before the change where clocks skip it, as the first where it is twice."""
        offset = self._initial
        moment = wall.replace(tzinfo=dt.UTC)
        for change, after in self._changes(wall.year, wall.year):
            if moment < change + max(offset, after):
                break
            offset = after
        return moment - offset

    def samples(self, first: int, last: int) -> list[tuple[dt.datetime, dt.timedelta]]:
        """Give instants of some years, and the offsets then: around each change, and often enough between them."""
        changes = self._changes(first, last)
        instants = [change for change, _ in changes]
        offsets = [self._initial, *(after for _, after in changes)]
        sampled = [change - moment for change in instants for moment in (dt.timedelta(seconds=1), dt.timedelta())]
        for year in range(first, last + 1):
            sampled += [dt.datetime(year, month, day, tzinfo=dt.UTC) for month in range(1, 13) for day in (1, 15)]
        return [
            (moment, offsets[bisect.bisect_right(instants, moment)])
            for moment in sampled
            if first <= moment.year <= last
        ]

    def _changes(self, first: int, last: int) -> list[tuple[dt.datetime, dt.timedelta]]:
        """Tell when the offset changes, and to what."""
        return sorted(
            (change, observance.after)
            for observance in self._observances
            for change in observance.changes(first - 1, last + 1)
        )


def _read_definition(component: _Component) -> _Definition | None:
    """Read a VTIMEZONE; None where it is damaged, or changes its clocks in other ways than once a year."""
    parts = component.of_kind("STANDARD", "DAYLIGHT")
    if not 0 < len(parts) <= _MAX_OBSERVANCES:
        return None
    try:
        return _Definition([_read_observance(part) for part in parts])
    except (_LeftOutError, ValueError):
        return None


def _read_observance(component: _Component) -> _Observance:
    """Read a part of a VTIMEZONE.

    Raises:
        ValueError: It has no offset, or recurs in other ways than once a year.
        _LeftOutError: One of its dates is none.
    """
    start = _parse("DTSTART", component.text("DTSTART", 40)).wall
    before, after = (_read_offset(component.text(name, 40)) for name in ("TZOFFSETFROM", "TZOFFSETTO"))
    texts = [text for line in component.properties.get("RDATE", ()) for text in (line.value or "").split(",") if text]
    if len(texts) > _MAX_OBSERVANCES:
        raise ValueError("more dates than a time zone has")
    dates = tuple(_onset(_parse("RDATE", text.partition("/")[0]), before) for text in texts)
    rule = component.text("RRULE", 200).upper()
    parts = dict(part.partition("=")[::2] for part in rule.split(";") if part)
    end = _onset(_parse("UNTIL", parts["UNTIL"]), before) if "UNTIL" in parts else None
    return _Observance(start, before, after, dates, _read_yearly(parts, start) if parts else None, end)


def _onset(value: _Value, before: dt.timedelta) -> dt.datetime:
    return value.wall + before if value.is_utc else value.wall


_OFFSET = re.compile(r"[+-][0-9]{4}(?:[0-9]{2})?", re.ASCII)


def _read_offset(text: str) -> dt.timedelta:
    if _OFFSET.fullmatch(text) is None:
        raise ValueError(text)
    return vUTCOffset.from_ical(text)  # type: ignore[no-any-return, no-untyped-call]  # icalendar's are untyped


_YEARLY_DAY = re.compile(r"([+-]?[1-5])?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_YEARLY_PARTS = frozenset({"FREQ", "INTERVAL", "BYMONTH", "BYDAY", "BYMONTHDAY", "UNTIL", "WKST"})


def _read_yearly(parts: Mapping[str, str], start: dt.datetime) -> _Yearly:
    if parts.get("FREQ") != "YEARLY" or parts.get("INTERVAL", "1") != "1" or not parts.keys() <= _YEARLY_PARTS:
        raise ValueError("clocks change once a year")
    month = int(parts.get("BYMONTH", start.month))
    days = frozenset(int(day) for day in parts["BYMONTHDAY"].split(",")) if "BYMONTHDAY" in parts else frozenset()
    if not 1 <= month <= 12 or not days <= set(range(1, 32)):
        raise ValueError("no such day")
    if "BYDAY" not in parts:
        return _Yearly(month, None, days or frozenset({start.day}), 0)
    match = _YEARLY_DAY.fullmatch(parts["BYDAY"])
    if match is None:
        raise ValueError("clocks change on one day")
    number = int(match[1] or 1)
    return _Yearly(month, ("MO", "TU", "WE", "TH", "FR", "SA", "SU").index(match[2]), days, number - (number > 0))
