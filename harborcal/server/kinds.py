"""The kinds of values that the contract knows, and makers of such kinds."""

import dataclasses
import datetime as dt
import enum
import re
from collections.abc import Callable
from typing import Any

from harborcal.calendar import Recurrence
from harborcal.calendar.recurrence import MAX_DATES, MAX_RULE_LENGTH
from harborcal.codecs import parse_instant
from harborcal.errors import CalendarRefusedError
from harborcal.model import MAX_REAL_ID
from harborcal.server.fields import Field, InvalidError, Kind, Shape, shown, type_of
from harborcal.wire import MAX_EVENT_BYTES, MAX_EVENT_DEPTH, check_event_data

# --- makers of kinds ------------------------------------------------------------------------------------------------


def whole(low: int, high: int) -> Kind:
    """Make the kind of whole numbers in a range; 9.0 is one, as JSON Schema has it."""

    def read(value: Any) -> int:
        number = int(value) if type(value) is float and value.is_integer() else value
        if type(number) is not int or not low <= number <= high:
            raise InvalidError.at(message=f"a whole number in {low}..{high} is needed, not {shown(value)}")
        return number

    return Kind({"type": "integer", "minimum": low, "maximum": high}, read)


def word(*members: str) -> Kind:
    """Make the kind of words out of a few."""
    allowed = frozenset(members)

    def read(value: Any) -> str:
        if type(value) is not str or value not in allowed:
            raise InvalidError.at(message=f"one of {' '.join(members)} is needed, not {shown(value)}")
        return value

    return Kind({"type": "string", "enum": [str(member) for member in members]}, read)


def member(members: type[enum.StrEnum]) -> Kind:
    """Make the kind of an enum's members."""
    words = word(*members)
    return Kind(words.schema, lambda value: members(words.read(value)))


def text(pattern: str, told: str, parse: Callable[[str], Any] = str, **schema: Any) -> Kind:
    """Make the kind of strings that match a pattern.

    Args:
        pattern: What the whole string looks like, in the words that Python and ECMA-262 share.
        told: The same for people.
        parse: Makes a value of a string that matches; raises ValueError or OverflowError where it means nothing.
        schema: More that the document says.
    """
    compiled = re.compile(pattern)

    def read(value: Any) -> Any:
        if type(value) is str and compiled.fullmatch(value):
            try:
                return parse(value)
            except (ValueError, OverflowError):
                pass
        raise InvalidError.at(message=f"{told} is needed, not {shown(value)}")

    return Kind({"type": "string", "pattern": f"^(?:{pattern})$", **schema}, read)


def items(kind: Kind, most: int) -> Kind:
    """Make the kind of lists."""

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > most:
            raise InvalidError.at(message=f"a list of at most {most} entries is needed, not {shown(value)}")
        return tuple(_read_item(kind, index, item) for index, item in enumerate(value))

    return Kind({"type": "array", "items": dict(kind.schema), "maxItems": most}, read)


def _read_item(kind: Kind, index: int, item: Any) -> Any:
    try:
        return kind.read(item)
    except InvalidError as error:
        raise InvalidError(
            *(dataclasses.replace(found, path=(index, *found.path)) for found in error.problems)
        ) from error


# --- kinds ----------------------------------------------------------------------------------------------------------

ID = text("[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}", "a letter or digit, then up to 127 of letters, digits and ._:@-")
NUMBER = whole(0, MAX_REAL_ID)
TIME_OF_DAY = text(
    "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?", "a time in UTC, HH:MM or HH:MM:SS,", dt.time.fromisoformat
)
DATE = text("[0-9]{4}-[0-9]{2}-[0-9]{2}", "a date, YYYY-MM-DD,", dt.date.fromisoformat, format="date")
INSTANT = text(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})",
    "an instant with its zone (RFC 3339)",
    parse_instant,
    format="date-time",
)
WALL_TIME = text(
    "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]",
    "a wall time, YYYY-MM-DDTHH:MM:SS,",
    dt.datetime.fromisoformat,
)
WEEKDAY = word(
    *("mon", "tue", "wed", "thu", "fri", "sat", "sun"),
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
)


def _read_string(value: Any) -> str:
    if type(value) is not str:
        raise InvalidError.at(message=f"a text is needed, not {type_of(value)}")
    return value


def _read_event_data(value: Any) -> Any:
    if type(value) is not dict:
        raise InvalidError.at(message=f"an object is needed, not {type_of(value)}")
    try:
        return check_event_data(value)
    except ValueError as error:
        raise InvalidError.at(message=str(error)) from error


STRING = Kind({"type": "string"}, _read_string)
EVENT_DATA = Kind(
    {
        "type": "object",
        "description": f"JSON, at most {MAX_EVENT_BYTES} bytes and {MAX_EVENT_DEPTH} levels deep.",
    },
    _read_event_data,
)

_RECURRENCE = Shape(
    name="Recurrence",
    fields={
        "start": Field(WALL_TIME, is_required=True, told="DTSTART: wall time in `zone`."),
        "zone": Field(STRING, told="An IANA name, `UTC` by default."),
        "rule": Field(
            Kind({"type": "string", "maxLength": MAX_RULE_LENGTH}, _read_string),
            told="An RRULE's value (RFC 5545) without COUNT and UNTIL; empty for the start and `dates` only.",
        ),
        "until": Field(WALL_TIME, is_nullable=True, told="The last wall time that the rule may yield."),
        "dates": Field(items(WALL_TIME, MAX_DATES), told="RDATE: more wall times."),
        "exceptions": Field(items(WALL_TIME, MAX_DATES), told="EXDATE: wall times that are left out."),
    },
)


def _read_recurrence(value: Any) -> Recurrence:
    members = _RECURRENCE.read(value)
    try:
        return Recurrence(**members)
    except CalendarRefusedError as error:
        raise InvalidError.at(message=error.detail) from error


RECURRENCE = Kind(_RECURRENCE.schema, _read_recurrence)
