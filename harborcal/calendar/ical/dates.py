"""Dates and times as they are written, without their zones."""

import datetime as dt
import re
from typing import NamedTuple

from harborcal.calendar.ical.components import Component, LeftOutError
from harborcal.grammar import clean

YEARS = range(1583, 9_998)  # Gregorian ones, with room for any offset and length before Python's last year
"""The years that are read: Gregorian ones, with room for any offset and length before Python's last."""

UNTIL = re.compile(r"UNTIL=([0-9]{4})([0-9]{4})(T[0-9]{6}Z?)?", re.ASCII | re.IGNORECASE)
"""Finds the year, the day and the time of a rule's UNTIL."""

_YEARS_AHEAD = 10  # how far ahead a recurring event's zone is compared
_DATE_TIME = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?", re.ASCII | re.IGNORECASE)


class Value(NamedTuple):
    """A date or time as written, without a zone."""

    wall: dt.datetime
    is_date: bool
    is_utc: bool


def parse_value(name: str, text: str, kind: str = "") -> Value:
    """Read a DATE or a DATE-TIME; which of the two is told by its form, as some applications leave VALUE out.

    Raises:
        LeftOutError: It is neither, or out of the years that are read.
    """
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        raise LeftOutError(f"{name} is no date or time: {clean(text, 40)!r}")
    is_date = match[2] is None or kind.upper() == "DATE"
    time = "000000" if is_date else match[2]
    try:
        # RFC 5545 (3.3.12) counts leap seconds, Python does not.
        wall = dt.datetime.fromisoformat(f"{match[1]}T{time[:4]}{min(time[4:], '59')}")
    except ValueError as error:
        raise LeftOutError(f"{name} is no date or time: {clean(text, 40)!r}") from error
    if wall.year not in YEARS:
        raise LeftOutError(f"{name} is in the years {YEARS.start} to {YEARS.stop - 1}, not in {wall.year}")
    return Value(wall, is_date, not is_date and bool(match[3]))


class Span(NamedTuple):
    """The years in which a zone has to be right for an event."""

    first: int
    last: int
    is_recurring: bool

    @classmethod
    def of(cls, component: Component, first: int, rule: str) -> "Span":
        """Tell the span of an event that begins in a year."""
        if not rule and not component.properties.get("RDATE"):
            return cls(first, first + 1, is_recurring=False)
        end = UNTIL.search(rule)
        last = first + _YEARS_AHEAD if end is None else min(first + _YEARS_AHEAD, int(end[1]))
        return cls(first, max(first + 1, last), is_recurring=True)
