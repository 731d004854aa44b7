"""Wall times and the zones that they are in; and what is said of those that make no sense."""

import bisect
import datetime as dt
import zoneinfo
from collections.abc import Sequence

from harborcal.errors import CalendarRefusedError
from harborcal.grammar import clean

MAX_DATES = 2_000
"""How many RDATEs one recurrence has at most, and how many EXDATEs."""

YEARS = range(1970, 2201)
"""The years of a start and of RDATEs."""

LAST_YEAR = 9998
"""The last year of any occurrence: one less than Python's last, so that neighbouring days and zones exist too."""


def place(wall: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Turn wall time into the instant that it means in the zone: one that comes twice is the first (``fold=0``)."""
    return wall.replace(tzinfo=zone).astimezone(dt.UTC)


def zone_named(name: object) -> dt.tzinfo:
    """Find a zone by its IANA name."""
    if name == "UTC":
        return dt.UTC
    refusal = refused(f"zone is an IANA time zone, not {shown(name)}")
    if not isinstance(name, str):
        raise refusal
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise refusal from error


def home_of(start: object) -> str:
    """Name the zone of a recurrence that starts then."""
    zone = start.tzinfo if isinstance(start, dt.datetime) else None
    if isinstance(zone, dt.timezone) and not zone.utcoffset(None):
        return "UTC"
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return zone.key
    raise refused("start is a date and time in UTC or in a zoneinfo.ZoneInfo with a name")


def to_wall(what: str, value: object, start: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime:
    """Turn a date, a wall time in the start's zone or an instant into wall time in the given zone."""
    if isinstance(value, dt.datetime):
        moment = value if value.utcoffset() is not None else value.replace(tzinfo=start.tzinfo)
    elif isinstance(value, dt.date):
        moment = dt.datetime.combine(value, start.time(), start.tzinfo)
    else:
        raise refused(f"{what} is made of dates, not of {shown(value)}")
    try:
        return moment.astimezone(zone).replace(tzinfo=None, fold=0)
    except OverflowError as error:
        raise refused(f"{what} has a date that is no date in UTC") from error


def wall_time(what: str, value: object) -> dt.datetime:
    """Check a wall time: naive, in whole seconds."""
    if not isinstance(value, dt.datetime) or value.tzinfo is not None or value.microsecond:
        raise refused(f"{what} is made of wall times in whole seconds, not of {shown(value)}")
    return value.replace(fold=0)


def wall_times(what: str, values: object) -> tuple[dt.datetime, ...]:
    """Check wall times; return them sorted, each once."""
    if not isinstance(values, tuple | list):
        raise refused(f"{what} is a list, not {shown(values)}")
    walls = {wall_time(what, value) for value in values}
    if len(walls) > MAX_DATES:
        raise refused(f"{what} has at most {MAX_DATES} entries, not {len(walls)}")
    return tuple(sorted(walls))


def parse_wall(what: str, text: object) -> dt.datetime:
    """Read a wall time."""
    refusal = refused(f"{what} is YYYY-MM-DDTHH:MM:SS, not {shown(text)}")
    if not isinstance(text, str):
        raise refusal
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise refusal from error


def parse_walls(what: str, texts: object) -> tuple[dt.datetime, ...]:
    """Read wall times."""
    if not isinstance(texts, tuple | list):
        raise refused(f"{what} is a list, not {shown(texts)}")
    return tuple(parse_wall(what, text) for text in texts)


def checked_year(what: str, wall: dt.datetime) -> dt.datetime:
    """Let nothing begin in a year that no calendar needs."""
    if wall.year not in YEARS:
        raise refused(f"{what} is in the years {YEARS[0]} to {YEARS[-1]}, not {wall.year}")
    return wall


def is_in(wall: dt.datetime, walls: Sequence[dt.datetime]) -> bool:
    """Tell whether a wall time is among sorted ones."""
    index = bisect.bisect_left(walls, wall)
    return index < len(walls) and walls[index] == wall


def shown(value: object) -> str:
    """Show a value somebody gave, cleaned and short."""
    if isinstance(value, str):
        return repr(clean(value, 40))
    return str(value) if isinstance(value, dt.date | bool | float | None) else f"of type {type(value).__name__}"


def refused(detail: str) -> CalendarRefusedError:
    """Make the refusal of a recurrence that makes no sense."""
    return CalendarRefusedError(422, clean(detail))
