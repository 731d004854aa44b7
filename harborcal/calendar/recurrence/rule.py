"""The text of an RRULE: read strictly by RFC 5545's grammar and ranges, written in one normal form."""

import bisect
import dataclasses
import datetime as dt
import functools
import re
from collections.abc import Iterable, Mapping

from harborcal.calendar.recurrence.walls import LAST_YEAR, YEARS, refused, shown

MAX_RULE_LENGTH = 500
"""Characters of an RRULE's value."""

MAX_COUNT = 10_000
"""The highest COUNT of a rule."""

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY")
_SUB_DAILY = frozenset({"HOURLY", "MINUTELY"})

_RANGES = {
    "BYMONTH": (1, 12),
    "BYWEEKNO": (-53, 53),
    "BYYEARDAY": (-366, 366),
    "BYMONTHDAY": (-31, 31),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
    "BYSETPOS": (-366, 366),
}
_PARTS = frozenset({"FREQ", "INTERVAL", "BYDAY", "WKST", "COUNT", "UNTIL", *_RANGES})

# RFC 5545, section 3.3.10: which frequencies a part is allowed with, where not with all.
_ALLOWED_WITH = {
    "BYWEEKNO": frozenset({"YEARLY"}),
    "BYYEARDAY": frozenset({"YEARLY"}) | _SUB_DAILY,
    "BYMONTHDAY": frozenset(_FREQUENCIES) - {"WEEKLY"},
}

_NUMBER = re.compile(r"[+-]?[0-9]{1,5}", re.ASCII)
_DAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """An RRULE in its normal form.

    Attributes:
        frequency: FREQ.
        interval: INTERVAL.
        week_start: WKST, 0 for Monday.
        weekdays: BYDAY: pairs of an ordinal, 0 for none, and a weekday.
        numbers: The other parts that the rule has, by name, each sorted.
    """

    frequency: str
    interval: int
    week_start: int
    weekdays: tuple[tuple[int, int], ...]
    numbers: Mapping[str, tuple[int, ...]]

    @property
    def is_sub_daily(self) -> bool:
        """Whether it is by the hour or minute."""
        return self.frequency in _SUB_DAILY

    @property
    def text(self) -> str:
        """The RRULE's value in its normal form, without COUNT and UNTIL."""
        days = [f"{ordinal or ''}{WEEKDAYS[weekday]}" for ordinal, weekday in self.weekdays]
        parts: dict[str, Iterable[object]] = {
            "FREQ": [self.frequency],
            "INTERVAL": [self.interval] if self.interval > 1 else [],
            **{name: self.numbers.get(name, ()) for name in ("BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY")},
            "BYDAY": days,
            **{name: self.numbers.get(name, ()) for name in ("BYHOUR", "BYMINUTE", "BYSETPOS")},
            "WKST": [WEEKDAYS[self.week_start]] if self.week_start else [],
        }
        return ";".join(f"{name}={','.join(map(str, values))}" for name, values in parts.items() if values)


def read_rule(text: object) -> Rule | None:
    """Read a rule that has neither COUNT nor UNTIL; None where it is empty."""
    if not isinstance(text, str):
        raise refused("a rule is a text")
    return parse_rule(text) if text else None


@functools.lru_cache(maxsize=1_024)
def parse_rule(text: str) -> Rule | None:
    """Read a rule that is a text (see `read_rule`); remembered, because every date asks for it again."""
    parts = parts_of(text)
    if parts.keys() & {"COUNT", "UNTIL"}:
        raise refused("COUNT and UNTIL stand in the recurrence's until, not in its rule")
    return rule_of(parts) if parts else None


def parts_of(text: object) -> dict[str, str]:
    """Split a rule into its parts, in capitals; empty where there is no rule at all."""
    if not isinstance(text, str):
        raise refused("a rule is a text")
    if len(text) > MAX_RULE_LENGTH:
        raise refused(f"a rule has at most {MAX_RULE_LENGTH} characters, not {len(text)}")
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        if not part.strip():
            continue  # a semicolon at the end, as some applications write
        name, equals, value = (word.strip() for word in part.partition("="))
        if name.startswith("X-"):
            continue
        if not equals or name not in _PARTS:
            raise refused(f"a rule's part {shown(name)} is not known")
        if name in parts:
            raise refused(f"a rule has {name} once, not twice")
        parts[name] = value
    if text.strip() and not parts:
        raise refused("a rule needs FREQ")
    return parts


def rule_of(parts: Mapping[str, str]) -> Rule:
    """Check a rule's parts against RFC 5545's grammar and ranges."""
    frequency = parts.get("FREQ", "")
    if frequency not in _FREQUENCIES:
        raise refused(f"FREQ is one of {' '.join(_FREQUENCIES)}, not {shown(frequency)}")
    week_start = parts.get("WKST", "MO")
    if week_start not in WEEKDAYS:
        raise refused(f"WKST is one of {' '.join(WEEKDAYS)}, not {shown(week_start)}")
    for name, allowed in _ALLOWED_WITH.items():
        if name in parts and frequency not in allowed:
            raise refused(f"{name} is not allowed with FREQ={frequency}")
    if "BYSETPOS" in parts and not any(name.startswith("BY") and name != "BYSETPOS" for name in parts):
        raise refused("BYSETPOS needs another BY part")
    return Rule(
        frequency=frequency,
        interval=number_of("INTERVAL", parts.get("INTERVAL", "1"), 1, 10_000),
        week_start=WEEKDAYS.index(week_start),
        weekdays=_weekdays(parts, frequency),
        numbers={name: _numbers(name, parts[name], *ends) for name, ends in _RANGES.items() if name in parts},
    )


def _numbers(name: str, value: str, low: int, high: int) -> tuple[int, ...]:
    numbers = {number_of(name, item, low, high) for item in value.split(",")}
    if low < 0 and 0 in numbers:
        raise refused(f"{name} counts from 1, or from -1 backwards, not from 0")
    return tuple(sorted(numbers))


def number_of(name: str, text: str, low: int, high: int) -> int:
    """Read one number of a part."""
    text = text.strip()
    if _NUMBER.fullmatch(text) is None or not low <= int(text) <= high:
        raise refused(f"{name} is a number in {low}..{high}, not {shown(text)}")
    return int(text)


def _weekdays(parts: Mapping[str, str], frequency: str) -> tuple[tuple[int, int], ...]:
    if "BYDAY" not in parts:
        return ()
    # The n-th of a month, or of a year. What is beyond it can never be.
    highest = 5 if frequency == "MONTHLY" or "BYMONTH" in parts else 53
    days = set()
    for item in parts["BYDAY"].split(","):
        match = _DAY.fullmatch(item.strip())
        if match is None:
            raise refused(f"BYDAY is a list of days like MO or 2TU, not {shown(item)}")
        ordinal = int(match[1] or 0)
        if match[1] is not None and (frequency not in {"MONTHLY", "YEARLY"} or "BYWEEKNO" in parts):
            raise refused("BYDAY with a number is for FREQ=MONTHLY and for FREQ=YEARLY without BYWEEKNO")
        if match[1] is not None and not 1 <= abs(ordinal) <= highest:
            raise refused(f"BYDAY's number is in 1..{highest} or negative, not {ordinal}")
        days.add((WEEKDAYS.index(match[2]), ordinal))
    return tuple((ordinal, weekday) for weekday, ordinal in sorted(days))


def read_until(text: str, start: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime | None:
    """Read UNTIL as wall time in the zone; None where it is after the end of all time."""
    refusal = refused(f"UNTIL is YYYYMMDD or YYYYMMDDTHHMMSS with or without Z, not {shown(text)}")
    match = _UNTIL.fullmatch(text)
    if match is None:
        raise refusal
    try:
        moment = dt.datetime.strptime(match[1] + (match[2] or "235959"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - placed below
    except ValueError as error:
        raise refusal from error
    if moment.year > LAST_YEAR:
        return None
    # A day's end is that of its last hour, should the clocks go through it twice.
    placed = moment.replace(tzinfo=dt.UTC if match[3] else start.tzinfo, fold=0 if match[2] else 1)
    if placed.tzinfo is zone:
        return moment
    try:
        return _end_of_double_time(placed.astimezone(zone))
    except OverflowError as error:
        raise refused(f"UNTIL is not before {YEARS.start}, as {shown(text)} is") from error


def _end_of_double_time(moment: dt.datetime) -> dt.datetime:
    """Turn an end into wall time; in the second of two same hours, into the end of the first: no rule begins later."""
    wall = moment.replace(tzinfo=None, fold=0)
    first, second = moment.replace(fold=0).utcoffset(), moment.replace(fold=1).utcoffset()
    if not moment.fold or first is None or second is None or first <= second:
        return wall

    def is_single(seconds: int) -> bool:
        later = wall.replace(tzinfo=moment.tzinfo) + dt.timedelta(seconds=seconds)
        return later.utcoffset() == later.replace(fold=1).utcoffset()

    span = range(int((first - second).total_seconds()))
    return wall + dt.timedelta(seconds=bisect.bisect_left(span, x=True, key=is_single) - 1)
