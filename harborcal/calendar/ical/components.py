"""An iCalendar file as components: its lines put together, however damaged they are.

This is not left to `icalendar.Calendar.from_ical`, which gives up the whole file for one broken line, keeps the time
zones of one file for the next, and warns about names of zones. Its readers of single values are used.
"""

import codecs
import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

from icalendar.parser import rfc_6868_unescape, unescape_backslash

from harborcal.errors import ICalendarError
from harborcal.grammar import clean

MAX_BYTES = 10 * 1024 * 1024
"""How large a file may be."""

MAX_EVENTS = 5_000
"""How many VEVENTs a file may have, overrides of single occurrences counted."""

MAX_LINES = 500_000
"""How many lines a file may have, after unfolding."""

MAX_UID = 255
MAX_TITLE = 200

_MAX_DEPTH = 8  # of components in each other; RFC 5545 needs three
_MAX_PARAMETERS = 16_384  # characters of a line's parameters together


class LeftOutError(Exception):
    """One event cannot be taken; the text is the reason that is told."""


# --- the file as lines ----------------------------------------------------------------------------------------------


def lines_of(data: bytes | str) -> list[str]:
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


class Property(NamedTuple):
    """One line of a component: its parameters and its value as written; the value is None where it has no such form."""

    name: str
    parameters: str
    value: str | None

    @classmethod
    def of(cls, name: str, line: str) -> "Property":
        """Read a line."""
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
        return clean_text(unescape_backslash((self.value or "")[: limit * 8]), limit)


def clean_text(text: str, limit: int) -> str:
    """Clean a text that may be far longer than what is kept of it."""
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
class Component:
    """What stands between a BEGIN and its END.

    Attributes:
        is_whole: Whether it has its END, and so have all components in it.
    """

    name: str
    properties: dict[str, list[Property]] = dataclasses.field(default_factory=dict)
    parts: "list[Component]" = dataclasses.field(default_factory=list)
    is_whole: bool = False

    def of_kind(self, *names: str) -> "list[Component]":
        """List the components of some kinds that stand in it."""
        return [part for part in self.parts if part.name in names]

    def text(self, name: str, limit: int) -> str:
        """Give the first of the texts of that name that is not empty."""
        return next((text for line in self.properties.get(name, ()) if (text := line.text(limit))), "")


class Assembly:
    """Puts lines together into components, and holds on to what is whole when an END is missing."""

    def __init__(self) -> None:
        self._calendars: list[Component] = []
        self._strays: list[Component] = []
        self._stack: list[Component] = []
        self._beyond = 0  # how many components are open below the deepest that is looked into
        self._events = 0

    def take(self, line: str) -> None:
        """Take the next line."""
        match = _NAME.match(line)
        if match is None:
            return
        name = match[1].upper()
        if name == "BEGIN":
            self._begin(line[match.end() :].strip().upper())
        elif name == "END":
            self._end(line[match.end() :].strip().upper())
        elif self._stack and not self._beyond and name in _KEPT.get(self._stack[-1].name, ()):
            self._stack[-1].properties.setdefault(name, []).append(Property.of(name, line))

    def finish(self) -> tuple[list[Component], list[Component]]:
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
        component = Component(name)
        self._home_of(name).append(component)
        self._stack.append(component)

    def _home_of(self, name: str) -> list[Component]:
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


def readable(component: Component, name: str) -> list[Property]:
    """Give the lines of a name on which a recurrence or a time depends.

    Raises:
        LeftOutError: One of them is damaged.
    """
    lines = component.properties.get(name, [])
    if any(line.value is None for line in lines):
        raise LeftOutError(f"its {name} cannot be read")
    return lines


def only(component: Component, name: str) -> Property | None:
    """Give the only line of a name.

    Raises:
        LeftOutError: There are several, which differ, or it is damaged.
    """
    lines = readable(component, name)
    if len(set(lines)) > 1:
        raise LeftOutError(f"it has more than one {name}")
    return lines[0] if lines else None
