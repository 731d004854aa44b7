"""Time zones as they are named and defined in iCalendar files, as the IANA zones that they are like.

A TZID is first taken for a name: an IANA name, one of Windows, or either after the path that some vendors put before
it; what the file says of such a zone is not asked. For any other TZID an IANA zone is looked for that has the same
offsets as the file's VTIMEZONE in the event's years.
"""

import bisect
import calendar
import dataclasses
import datetime as dt
import functools
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from icalendar.parser import unescape_backslash
from icalendar.prop import vUTCOffset
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from harborcal.calendar.ical.components import MAX_TITLE, MAX_UID, Component, LeftOutError
from harborcal.calendar.ical.dates import Span, Value, parse_value
from harborcal.grammar import clean

_SETTLED_YEARS = (2036, 2037)  # these tell a zone's rules as they are from now on
_MAX_OBSERVANCES = 100  # of one VTIMEZONE, and RDATEs of one of them
_MAX_SEARCHES = 200  # of zones like a VTIMEZONE, in one file

# Of zones that are equal in an event's years, these are the ones that people know.
_FAMILIAR = ("Europe/London", "Europe/Berlin", "Europe/Athens", "America/New_York", "America/Chicago", "America/Denver")

_UTC_NAMES = frozenset({"UTC", "Etc/UTC", "UCT", "Etc/UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"})


@functools.cache
def known_zones() -> Mapping[str, str]:
    """List the IANA names by themselves in small letters. What is not in this list never reaches the file system."""
    return {name.casefold(): name for name in sorted(zoneinfo.available_timezones() - {"Factory", "localtime"})}


@functools.cache
def _windows_zones() -> Mapping[str, str]:
    return {name.casefold(): key for name, key in WINDOWS_TO_OLSON.items()}


@functools.cache
def _cities() -> Mapping[str, str]:
    keys = [key for key in known_zones().values() if "/" in key and not key.startswith("Etc/")]
    return {key.rpartition("/")[2].replace("_", " ").casefold(): key for key in keys}


@functools.cache
def _candidates() -> tuple[str, ...]:
    """List zones to compare a VTIMEZONE with: fixed offsets, familiar ones, one for each zone that Windows has."""
    fixed = [key for key in known_zones().values() if key.startswith("Etc/GMT") and key[-1] != "0"]
    known = known_zones().values()
    return tuple(key for key in dict.fromkeys([*fixed, *_FAMILIAR, *WINDOWS_TO_OLSON.values()]) if key in known)


@functools.lru_cache(maxsize=1_024)
def key_named(tzid: str) -> str | None:
    """Find the IANA name that a TZID is, or stands for: that of Windows, or what ends a vendor's path."""
    parts = tzid[:MAX_UID].strip(" /").casefold().split("/")
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        key = known_zones().get(name) or known_zones().get(_windows_zones().get(name, "").casefold())
        if key is not None:
            return key
    return None


@functools.cache  # zoneinfo itself keeps eight, and would read all candidates from the disk for each search
def zone_of(key: str) -> dt.tzinfo:
    """Find a zone by its IANA name."""
    return dt.UTC if key in _UTC_NAMES else zoneinfo.ZoneInfo(key)


class Found(NamedTuple):
    """What a TZID stands for: a zone, or a VTIMEZONE that is like none; and what a person should know of that."""

    zone: dt.tzinfo | None
    definition: "_Definition | None" = None
    note: str = ""

    def place(self, wall: dt.datetime) -> dt.datetime:
        """Make a wall time aware."""
        if self.zone is None and self.definition is not None:
            return self.definition.in_utc(wall)
        return wall.replace(tzinfo=self.zone)


class Zones:
    """The time zones of one calendar.

    Attributes:
        floating: Where times are that name no zone.
    """

    def __init__(self, floating: dt.tzinfo, home: dt.tzinfo, components: Iterable[Component]) -> None:
        self.floating = floating
        self._preferred = [str(floating), str(home)]
        self._components = {_tzid_of(component): component for component in components}
        self._definitions: dict[str, _Definition | None] = {}
        self._found: dict[tuple[str, Span], Found] = {}
        self._searches = 0

    def find(self, tzid: str, span: Span) -> Found:
        """Find what a TZID stands for in some years."""
        tzid = tzid[:MAX_UID].strip()
        key = key_named(tzid)
        # An abbreviation may mean another zone in the file: EST, say, with summer time.
        if key is not None and ("/" in key or key in _UTC_NAMES or tzid not in self._components):
            return Found(zone_of(key))
        if (tzid, span) not in self._found:
            self._found[tzid, span] = self._search(tzid, span, [key] if key is not None else [])
        return self._found[tzid, span]

    def _search(self, tzid: str, span: Span, hints: Sequence[str]) -> Found:
        shown = repr(clean(tzid, 60))
        definition = self._definition(tzid)
        if definition is None:
            return Found(self.floating, None, f"unknown time zone {shown} read as {self.floating}")
        location = key_named(self._components[tzid].text("X-LIC-LOCATION", MAX_TITLE))
        cities = [_cities().get(piece.strip().casefold()) for piece in re.split(r"[,;/()]", tzid)]
        hinted = [key for key in [*hints, location, *self._preferred, *cities] if key is not None]
        keys = dict.fromkeys([*hinted, *_candidates()])
        for first, last in [(span.first, span.last), *([_SETTLED_YEARS] if span.is_recurring else [])]:
            self._searches += 1
            if self._searches > _MAX_SEARCHES:
                break
            samples = definition.samples(first, last)
            for key in keys:
                zone = zone_of(key)
                if all(instant.astimezone(zone).utcoffset() == offset for instant, offset in samples):
                    return Found(zone, definition, f"time zone {shown} read as {zone}")
        return Found(None, definition, f"time zone {shown} is known from this file alone: read as UTC")

    def _definition(self, tzid: str) -> "_Definition | None":
        if tzid not in self._definitions:
            component = self._components.get(tzid)
            self._definitions[tzid] = _read_definition(component) if component is not None else None
        return self._definitions[tzid]


def _tzid_of(component: Component) -> str:
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


def _read_definition(component: Component) -> _Definition | None:
    """Read a VTIMEZONE; None where it is damaged, or changes its clocks in other ways than once a year."""
    parts = component.of_kind("STANDARD", "DAYLIGHT")
    if not 0 < len(parts) <= _MAX_OBSERVANCES:
        return None
    try:
        return _Definition([_read_observance(part) for part in parts])
    except (LeftOutError, ValueError):
        return None


def _read_observance(component: Component) -> _Observance:
    """Read a part of a VTIMEZONE.

    Raises:
        ValueError: It has no offset, or recurs in other ways than once a year.
        LeftOutError: One of its dates is none.
    """
    start = parse_value("DTSTART", component.text("DTSTART", 40)).wall
    before, after = (_read_offset(component.text(name, 40)) for name in ("TZOFFSETFROM", "TZOFFSETTO"))
    texts = [text for line in component.properties.get("RDATE", ()) for text in (line.value or "").split(",") if text]
    if len(texts) > _MAX_OBSERVANCES:
        raise ValueError("more dates than a time zone has")
    dates = tuple(_onset(parse_value("RDATE", text.partition("/")[0]), before) for text in texts)
    rule = component.text("RRULE", 200).upper()
    parts = dict(part.partition("=")[::2] for part in rule.split(";") if part)
    end = _onset(parse_value("UNTIL", parts["UNTIL"]), before) if "UNTIL" in parts else None
    return _Observance(start, before, after, dates, _read_yearly(parts, start) if parts else None, end)


def _onset(value: Value, before: dt.timedelta) -> dt.datetime:
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
