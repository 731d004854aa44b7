"""When a plan's slots begin: RFC 5545 recurrence, by the day.

A date is answered from the month (or year) that it lies in and from the phase of that month, week, day, hour or minute
in the rule's interval; nothing is replayed from the start, so that a date costs the same however far away it is, and a
rule that never comes true costs no more than one that does. python-dateutil tells which days of one month or year the
rule's BYxxx parts mean; the phase, the times of day and BYSETPOS are worked out here.

**Time zones.** YEARLY to DAILY rules are expanded in wall time, and each wall time is then placed in the zone: one that
the clocks skip is read with the offset from before they change (02:30 becomes 03:30), one that comes twice means the
first. HOURLY and MINUTELY rules are steps of real time: all their parts and their phase are in UTC.

**Where RFC 5545 leaves a choice.** A start that does not match its rule is no occurrence. BYSETPOS counts within whole
weeks, months and years, also in the one in which the rule starts. COUNT counts what the rule yields, excepted ones too
and RDATEs not; UNTIL ends the rule, not the RDATEs. Pure: no clock, no lock, no input or output.
"""

import bisect
import dataclasses
import datetime as dt
import functools
import itertools
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from dateutil import rrule

from harborcal.errors import CalendarRefusedError
from harborcal.grammar import clean

MAX_RULE_LENGTH = 500
"""Characters of an RRULE's value."""

MAX_COUNT = 10_000
"""The highest COUNT of a rule."""

MAX_DATES = 2_000
"""How many RDATEs one recurrence has at most, and how many EXDATEs."""

COUNT_HORIZON = 200
"""Years from the start in which a COUNT must run out; one that does not counts as endless."""

_YEARS = range(1970, 2201)  # of a start and of RDATEs
_LAST_YEAR = 9998  # of any occurrence: one less than Python's last, so that neighbouring days and zones exist too
_WINDOWS = 4_096

_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
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

_ONE_DAY = dt.timedelta(days=1)
_ONE_WEEK = dt.timedelta(days=7)


@dataclasses.dataclass(frozen=True, slots=True)
class Occurrence:
    """One of a recurrence's moments.

    Attributes:
        starts_at: When it is, in UTC.
        local: The wall time that it was made from, in the recurrence's zone. It names the occurrence, as in
            RECURRENCE-ID and EXDATE; where the clocks skip it, it is not the wall time of ``starts_at``.
        ordinal: Which of the occurrences of its UTC date it is, from 0. Excepted ones are counted too, so that an
            exception renames nobody.
    """

    starts_at: dt.datetime
    local: dt.datetime
    ordinal: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recurrence:
    """When something recurs, after RFC 5545.

    Whatever it is made from, the rule is put into its normal form and the dates are sorted, so that equal recurrences
    are equal values.

    Attributes:
        start: DTSTART: naive wall time in ``zone``, whole seconds, in the years 1970 to 2200.
        zone: An IANA name; ``UTC`` for HOURLY and MINUTELY rules.
        rule: The RRULE's value without COUNT and UNTIL; empty where there is none: the start and ``dates`` only.
        until: The last wall time in ``zone`` that the rule may yield, None where it is endless.
        dates: RDATE: more wall times in ``zone``.
        exceptions: EXDATE: wall times in ``zone`` that are left out.

    Raises:
        CalendarRefusedError: 422, it is no recurrence, or one with parts that harborcal does not know.
    """

    start: dt.datetime
    zone: str = "UTC"
    rule: str = ""
    until: dt.datetime | None = None
    dates: tuple[dt.datetime, ...] = ()
    exceptions: tuple[dt.datetime, ...] = ()

    def __post_init__(self) -> None:
        _zone(self.zone)
        rule = _read_rule(self.rule)
        fields: dict[str, object] = {
            "start": _checked_year("start", _wall_time("start", self.start)),
            "rule": rule.text if rule is not None else "",
            "dates": tuple(_checked_year("a date", wall) for wall in _wall_times("dates", self.dates)),
            "exceptions": _wall_times("exceptions", self.exceptions),
        }
        if rule is not None and rule.is_sub_daily and self.zone != "UTC":
            raise _refusal(f"{rule.frequency} rules are kept in UTC, not in {self.zone}")
        if self.until is not None:
            fields["until"] = _wall_time("until", self.until)
            if rule is None:
                raise _refusal("until is the end of a rule, and there is none")
            if not _YEARS.start <= self.until.year <= _LAST_YEAR:
                raise _refusal(f"until is in the years {_YEARS.start} to {_LAST_YEAR}, not {self.until.year}")
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    # --- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        start: dt.datetime,
        rule: str = "",
        *,
        dates: Iterable[dt.date] = (),
        exceptions: Iterable[dt.date] = (),
    ) -> Self:
        """Make a recurrence from a calendar's own parts.

        A recurrence by the hour or minute is converted to UTC with all its dates.

        Args:
            start: DTSTART: aware, in UTC or in a `zoneinfo.ZoneInfo` that has a name.
            rule: The RRULE, with or without ``RRULE:`` before it. Its UNTIL may be a date (the end of that day), a wall
                time or in UTC. Its COUNT is resolved once; one that does not run out in the 200 years after the start
                counts as endless.
            dates: RDATE: aware, or naive for wall time in the start's zone; a date means that day at the start's time.
            exceptions: EXDATE, likewise.

        Raises:
            CalendarRefusedError: 422, see the class.
        """
        home = _home_of(start)
        parts = _parts_of(rule)
        count, until = parts.pop("COUNT", None), parts.pop("UNTIL", None)
        if count is not None and until is not None:
            raise _refusal("a rule has COUNT or UNTIL, not both")
        read = _rule_of(parts) if parts else None
        zone = dt.UTC if home == "UTC" or (read is not None and read.is_sub_daily) else start.tzinfo

        def walls(what: str, values: Iterable[dt.date]) -> tuple[dt.datetime, ...]:
            few = tuple(itertools.islice(values, MAX_DATES + 1))
            return tuple(_to_wall(what, value, start, zone) for value in few)

        made = cls(
            start=_to_wall("start", start, start, zone),
            zone="UTC" if zone is dt.UTC else home,
            rule=read.text if read is not None else "",
            dates=walls("dates", dates),
            exceptions=walls("exceptions", exceptions),
        )
        if read is None:
            return made
        if count is not None:
            return dataclasses.replace(made, until=_last_of(read, made.start, _number("COUNT", count, 1, MAX_COUNT)))
        return dataclasses.replace(made, until=_read_until(until, start, zone)) if until is not None else made

    @classmethod
    def contract(
        cls,
        at_time: dt.time,
        on_day: str | None = None,
        on_week: int | None = None,
        on_month: int | None = None,
        *,
        first: dt.date,
    ) -> Self:
        """Make a recurrence from a plan in the contract's words (rule 9).

        Args:
            at_time: The time of day in UTC, whole seconds.
            on_day: The weekday, ``mon`` or ``Monday``; None for every day.
            on_week: 1..4, which of the month's such weekdays; None for every week.
            on_month: 1..12; None for every month.
            first: The UTC date before which nothing begins.

        Raises:
            CalendarRefusedError: 422, a value is out of range, or lacks the one that it narrows.
        """
        if on_week is not None and on_day is None:
            raise _refusal("on_week needs on_day")
        if on_month is not None and on_week is None:
            raise _refusal("on_month needs on_week")
        rule = "FREQ=DAILY"
        if on_day is not None:
            rule = f"FREQ=WEEKLY;BYDAY={_weekday_named(on_day)}"
        if on_week is not None:
            rule = rule.replace("WEEKLY;BYDAY=", f"MONTHLY;BYDAY={_in_range('on_week', on_week, 4)}")
        if on_month is not None:
            rule = rule.replace("MONTHLY", f"YEARLY;BYMONTH={_in_range('on_month', on_month, 12)}")
        if at_time.tzinfo not in {None, dt.UTC}:
            raise _refusal("at_time is in UTC")
        return cls(start=dt.datetime.combine(first, at_time.replace(tzinfo=None)), rule=rule)

    def as_contract(self) -> dict[str, object]:
        """Tell the recurrence in the contract's words, empty where they cannot say it.

        Returns:
            ``at_time`` (``HH:MM`` or ``HH:MM:SS``, UTC), ``on_day``, ``on_week`` and ``on_month``, None for what does
            not narrow it.
        """
        rule = _read_rule(self.rule)
        if rule is None or self.zone != "UTC" or self.until or self.dates or self.exceptions:
            return {}
        time, (ordinal, weekday) = self.start.time(), (*rule.weekdays, (0, -1))[0]
        on_day = _DAY_NAMES[weekday][:3] if weekday >= 0 else None
        on_week, on_month = ordinal or None, (*rule.numbers.get("BYMONTH", ()), None)[0]
        try:
            if self != Recurrence.contract(time, on_day, on_week, on_month, first=self.start.date()):
                return {}
        except CalendarRefusedError:
            return {}
        at_time = time.isoformat("seconds" if time.second else "minutes")
        return {"at_time": at_time, "on_day": on_day, "on_week": on_week, "on_month": on_month}

    def without(self, *locals_: dt.datetime) -> Self:
        """Leave out more occurrences, named by their wall times (`Occurrence.local`).

        Raises:
            CalendarRefusedError: 422, these would be more than 2,000 exceptions.
        """
        return dataclasses.replace(self, exceptions=(*self.exceptions, *locals_))

    # --- reading it -------------------------------------------------------------------------------------------------

    def on(self, date: dt.date) -> tuple[Occurrence, ...]:
        """Tell which occurrences begin on a UTC date, by time, without the excepted ones."""
        rule = _read_rule(self.rule)
        find = _remembered_occurrences if rule is not None and rule.is_sub_daily else _occurrences
        return find(self, date)

    def occurrence_at(self, local: dt.datetime) -> Occurrence | None:
        """Find the occurrence that a wall time in the recurrence's zone names; excepted ones are not found."""
        if not _YEARS.start <= local.year <= _LAST_YEAR:
            return None
        date = _place(local.replace(tzinfo=None, fold=0), _zone(self.zone)).date()
        return next((occurrence for occurrence in self.on(date) if occurrence.local == local), None)

    def last_date(self) -> dt.date | None:
        """Tell a UTC date after which there is surely no occurrence, None where the recurrence is endless."""
        if self.rule and self.until is None:
            return None
        ends = [self.until if self.until is not None else self.start, *self.dates[-1:]]
        last, zone = max(ends), _zone(self.zone)
        # A wall time that the clocks have skipped within the day before is read with the offset of that time.
        skipped = last - ((last - _ONE_DAY).replace(tzinfo=zone).utcoffset() or dt.timedelta())
        return max(_place(last, zone).date(), skipped.date())

    def to_rrule(self) -> str:
        """Write the RRULE's value for a calendar file, with its UNTIL in UTC; empty where there is no rule."""
        if self.until is None:
            return self.rule
        return f"{self.rule};UNTIL={_place(self.until, _zone(self.zone)):%Y%m%dT%H%M%SZ}"

    def to_dict(self) -> dict[str, object]:
        """Write the recurrence as plain JSON."""
        return {
            "start": self.start.isoformat(),
            "zone": self.zone,
            "rule": self.rule,
            "until": self.until.isoformat() if self.until is not None else None,
            "dates": [wall.isoformat() for wall in self.dates],
            "exceptions": [wall.isoformat() for wall in self.exceptions],
        }

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` has written; keys that it does not know are left alone.

        Raises:
            CalendarRefusedError: 422, it is not of that shape, or no recurrence.
        """
        if not isinstance(data, Mapping):
            raise _refusal("a recurrence is an object")
        until = data.get("until")
        return cls(
            start=_parse_wall("start", data.get("start")),
            zone=data.get("zone", "UTC"),
            rule=data.get("rule", ""),
            until=_parse_wall("until", until) if until is not None else None,
            dates=_parse_walls("dates", data.get("dates", ())),
            exceptions=_parse_walls("exceptions", data.get("exceptions", ())),
        )


# --- a date's occurrences -------------------------------------------------------------------------------------------


def _occurrences(recurrence: Recurrence, date: dt.date) -> tuple[Occurrence, ...]:
    if not _YEARS.start - 1 <= date.year <= _LAST_YEAR:
        return ()
    zone = _zone(recurrence.zone)
    # No zone is a whole day from UTC.
    days = (date,) if zone is dt.UTC else (date - _ONE_DAY, date, date + _ONE_DAY)
    placed = ((_place(wall, zone), wall) for day in days for wall in _walls(recurrence, day))
    found = sorted((starts_at, wall) for starts_at, wall in placed if starts_at.date() == date)
    return tuple(
        Occurrence(starts_at, wall, ordinal)
        for ordinal, (starts_at, wall) in enumerate(found)
        if not _is_in(wall, recurrence.exceptions)
    )


# For rules by the hour or minute: up to 1,440 moments a day, which is why few are kept.
_remembered_occurrences = functools.lru_cache(maxsize=128)(_occurrences)


def _walls(recurrence: Recurrence, day: dt.date) -> set[dt.datetime]:
    """Tell the wall times of one day of the recurrence's zone, with the excepted ones."""
    start, until, dates = recurrence.start, recurrence.until, recurrence.dates
    low, high = dt.datetime.combine(day, dt.time()), dt.datetime.combine(day, dt.time.max)
    walls = set(dates[bisect.bisect_left(dates, low) : bisect.bisect_right(dates, high)])
    if not recurrence.rule:
        return walls | ({start} if low <= start <= high else set())
    if start <= high and (until is None or low <= until):
        first, last = max(start, low), min(until or high, high)
        ruled = (dt.datetime.combine(day, time) for time in _times_on(recurrence.rule, start, day))
        walls.update(wall for wall in ruled if first <= wall <= last)
    return walls


# --- the rule's text ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Rule:
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
        return self.frequency in _SUB_DAILY

    @property
    def text(self) -> str:
        days = [f"{ordinal or ''}{_WEEKDAYS[weekday]}" for ordinal, weekday in self.weekdays]
        parts: dict[str, Iterable[object]] = {
            "FREQ": [self.frequency],
            "INTERVAL": [self.interval] if self.interval > 1 else [],
            **{name: self.numbers.get(name, ()) for name in ("BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY")},
            "BYDAY": days,
            **{name: self.numbers.get(name, ()) for name in ("BYHOUR", "BYMINUTE", "BYSETPOS")},
            "WKST": [_WEEKDAYS[self.week_start]] if self.week_start else [],
        }
        return ";".join(f"{name}={','.join(map(str, values))}" for name, values in parts.items() if values)


def _read_rule(text: object) -> _Rule | None:
    """Read a rule that has neither COUNT nor UNTIL; None where it is empty."""
    if not isinstance(text, str):
        raise _refusal("a rule is a text")
    return _parse(text) if text else None


@functools.lru_cache(maxsize=1_024)
def _parse(text: str) -> _Rule | None:
    parts = _parts_of(text)
    if parts.keys() & {"COUNT", "UNTIL"}:
        raise _refusal("COUNT and UNTIL stand in the recurrence's until, not in its rule")
    return _rule_of(parts) if parts else None


def _parts_of(text: object) -> dict[str, str]:
    """Split a rule into its parts, in capitals; empty where there is no rule at all."""
    if not isinstance(text, str):
        raise _refusal("a rule is a text")
    if len(text) > MAX_RULE_LENGTH:
        raise _refusal(f"a rule has at most {MAX_RULE_LENGTH} characters, not {len(text)}")
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        if not part.strip():
            continue  # a semicolon at the end, as some applications write
        name, equals, value = (word.strip() for word in part.partition("="))
        if name.startswith("X-"):
            continue
        if not equals or name not in _PARTS:
            raise _refusal(f"a rule's part {_shown(name)} is not known")
        if name in parts:
            raise _refusal(f"a rule has {name} once, not twice")
        parts[name] = value
    if text.strip() and not parts:
        raise _refusal("a rule needs FREQ")
    return parts


def _rule_of(parts: Mapping[str, str]) -> _Rule:
    frequency = parts.get("FREQ", "")
    if frequency not in _FREQUENCIES:
        raise _refusal(f"FREQ is one of {' '.join(_FREQUENCIES)}, not {_shown(frequency)}")
    week_start = parts.get("WKST", "MO")
    if week_start not in _WEEKDAYS:
        raise _refusal(f"WKST is one of {' '.join(_WEEKDAYS)}, not {_shown(week_start)}")
    for name, allowed in _ALLOWED_WITH.items():
        if name in parts and frequency not in allowed:
            raise _refusal(f"{name} is not allowed with FREQ={frequency}")
    if "BYSETPOS" in parts and not any(name.startswith("BY") and name != "BYSETPOS" for name in parts):
        raise _refusal("BYSETPOS needs another BY part")
    return _Rule(
        frequency=frequency,
        interval=_number("INTERVAL", parts.get("INTERVAL", "1"), 1, 10_000),
        week_start=_WEEKDAYS.index(week_start),
        weekdays=_weekdays(parts, frequency),
        numbers={name: _numbers(name, parts[name], *ends) for name, ends in _RANGES.items() if name in parts},
    )


def _numbers(name: str, value: str, low: int, high: int) -> tuple[int, ...]:
    numbers = {_number(name, item, low, high) for item in value.split(",")}
    if low < 0 and 0 in numbers:
        raise _refusal(f"{name} counts from 1, or from -1 backwards, not from 0")
    return tuple(sorted(numbers))


def _number(name: str, text: str, low: int, high: int) -> int:
    text = text.strip()
    if _NUMBER.fullmatch(text) is None or not low <= int(text) <= high:
        raise _refusal(f"{name} is a number in {low}..{high}, not {_shown(text)}")
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
            raise _refusal(f"BYDAY is a list of days like MO or 2TU, not {_shown(item)}")
        ordinal = int(match[1] or 0)
        if match[1] is not None and (frequency not in {"MONTHLY", "YEARLY"} or "BYWEEKNO" in parts):
            raise _refusal("BYDAY with a number is for FREQ=MONTHLY and for FREQ=YEARLY without BYWEEKNO")
        if match[1] is not None and not 1 <= abs(ordinal) <= highest:
            raise _refusal(f"BYDAY's number is in 1..{highest} or negative, not {ordinal}")
        days.add((_WEEKDAYS.index(match[2]), ordinal))
    return tuple((ordinal, weekday) for weekday, ordinal in sorted(days))


def _read_until(text: str, start: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime | None:
    """Read UNTIL as wall time in the zone; None where it is after the end of all time."""
    refusal = _refusal(f"UNTIL is YYYYMMDD or YYYYMMDDTHHMMSS with or without Z, not {_shown(text)}")
    match = _UNTIL.fullmatch(text)
    if match is None:
        raise refusal
    try:
        moment = dt.datetime.strptime(match[1] + (match[2] or "235959"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - placed below
    except ValueError as error:
        raise refusal from error
    if moment.year > _LAST_YEAR:
        return None
    # A day's end is that of its last hour, should the clocks go through it twice.
    placed = moment.replace(tzinfo=dt.UTC if match[3] else start.tzinfo, fold=0 if match[2] else 1)
    if placed.tzinfo is zone:
        return moment
    try:
        return _end_of_double_time(placed.astimezone(zone))
    except OverflowError as error:
        raise _refusal(f"UNTIL is not before {_YEARS.start}, as {_shown(text)} is") from error


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


# --- the rule's days and times --------------------------------------------------------------------------------------

_Days = dict[dt.date, tuple[dt.time, ...]]
"""Days of a zone, and the times on each; of a rule by the hour or minute the days alone."""


def _times_on(text: str, start: dt.datetime, day: dt.date) -> Sequence[dt.time]:
    """Tell the times at which a rule comes true on a day, also those before its start."""
    times = _month(text, start, day.year, day.month).get(day)
    rule = _parse(text)
    if times is None or rule is None:
        return ()
    return _steps(rule, start, day) if rule.is_sub_daily else times


@functools.lru_cache(maxsize=_WINDOWS)
def _month(text: str, start: dt.datetime, year: int, month: int) -> _Days:
    rule = _parse(text)
    if rule is None:
        return {}
    return {day: times for day, times in _window(rule, start, year, month).items() if day.month == month}


def _window(rule: _Rule, start: dt.datetime, year: int, month: int) -> _Days:
    """Expand a rule over one month, or over the whole year where it is YEARLY."""
    times = _times(rule, start)
    positions = rule.numbers.get("BYSETPOS", ())
    if rule.frequency == "DAILY" and positions:
        times = tuple(times[index] for index in _indices(len(times), positions))
    if not positions or rule.frequency not in {"YEARLY", "MONTHLY", "WEEKLY"}:
        return dict.fromkeys(_days(rule, start, year, month), times)
    chosen: dict[dt.date, list[dt.time]] = {}
    for days in _sets(rule, start, year, month):
        for index in _indices(len(days) * len(times), positions):
            chosen.setdefault(days[index // len(times)], []).append(times[index % len(times)])
    in_window = (day for day in chosen if rule.frequency == "YEARLY" or day.month == month)
    return {day: tuple(chosen[day]) for day in in_window}


def _times(rule: _Rule, start: dt.datetime) -> tuple[dt.time, ...]:
    if rule.is_sub_daily:
        return ()
    return _times_of(
        rule.numbers.get("BYHOUR", (start.hour,)), rule.numbers.get("BYMINUTE", (start.minute,)), start.second
    )


@functools.lru_cache(maxsize=256)  # so that the windows of one rule share their times
def _times_of(hours: Sequence[int], minutes: Sequence[int], second: int) -> tuple[dt.time, ...]:
    return tuple(dt.time(hour, minute, second) for hour in hours for minute in minutes)


def _indices(size: int, positions: Iterable[int]) -> list[int]:
    """Turn BYSETPOS into indices of a set of that size."""
    indices = {position - 1 if position > 0 else size + position for position in positions}
    return sorted(index for index in indices if 0 <= index < size)


def _sets(rule: _Rule, start: dt.datetime, year: int, month: int) -> list[list[dt.date]]:
    """Tell the days of each set that BYSETPOS counts in: a year, a month, or the weeks that touch the month."""
    if rule.frequency != "WEEKLY":
        return [_days(rule, start, year, month)]
    first = dt.date(year, month, 1)
    months = (first - _ONE_WEEK, first, first + 5 * _ONE_WEEK)
    days = [day for at in months for day in _days(rule, start, at.year, at.month)]
    return [list(week) for _, week in itertools.groupby(days, lambda day: _week(rule, day))]


def _days(rule: _Rule, start: dt.datetime, year: int, month: int) -> list[dt.date]:
    """Tell the days of one month, or of one year where the rule is YEARLY, that the rule means, in order."""
    if rule.frequency == "YEARLY":
        return _days_of_period(rule, start, year, 1) if (year - start.year) % rule.interval == 0 else []
    if rule.frequency == "MONTHLY":
        apart = (year - start.year) * 12 + month - start.month
        return _days_of_period(rule, start, year, month) if apart % rule.interval == 0 else []
    days = _days_of_period(rule, start, year, month)
    if rule.frequency == "WEEKLY":
        return [day for day in days if (_week(rule, day) - _week(rule, start.date())) % rule.interval == 0]
    if rule.frequency == "DAILY":
        return [day for day in days if (day - start.date()).days % rule.interval == 0]
    return days


def _week(rule: _Rule, day: dt.date) -> int:
    """Number the weeks that begin on the rule's WKST."""
    return (day.toordinal() - 1 - rule.week_start) // 7


def _days_of_period(rule: _Rule, start: dt.datetime, year: int, month: int) -> list[dt.date]:
    """Ask dateutil for the days of one year or month; what the rule leaves to its start is made explicit."""
    months, month_days = rule.numbers.get("BYMONTH"), rule.numbers.get("BYMONTHDAY")
    weekdays, week_numbers = rule.weekdays, rule.numbers.get("BYWEEKNO")
    if rule.frequency in {"YEARLY", "MONTHLY"} and not week_numbers:
        if not weekdays and not rule.numbers.keys() & {"BYYEARDAY", "BYMONTHDAY"}:
            month_days = (start.day,)
            months = months or ((start.month,) if rule.frequency == "YEARLY" else None)
    else:
        month_days = month_days or tuple(range(1, 32))
        if rule.frequency == "WEEKLY":
            weekdays = weekdays or ((0, start.weekday()),)
    yearly = rule.frequency == "YEARLY"
    # The next period is after the last year that there is: dateutil looks for the end of a rule only when it finds a
    # moment, so that an UNTIL would not stop one that never comes true.
    moments = rrule.rrule(
        rrule.YEARLY if yearly else rrule.MONTHLY,
        dtstart=dt.datetime(year, month, 1),  # noqa: DTZ001 - a wall time
        interval=10_000 if yearly else 120_000,
        wkst=rule.week_start,
        bymonth=months,
        bymonthday=month_days,
        byyearday=rule.numbers.get("BYYEARDAY"),
        byweekday=_dateutil_weekdays(weekdays, 53 if yearly and not months else 5) or None,
    )
    days = [moment.date() for moment in moments]
    return [day for day in days if _is_in_week(rule, day, week_numbers)] if week_numbers else days


def _is_in_week(rule: _Rule, day: dt.date, week_numbers: Sequence[int]) -> bool:
    """Tell whether a day is in one of those weeks of a year; dateutil loses some that two years share."""
    fourth = dt.date.fromordinal(_week(rule, day) * 7 + rule.week_start + 4)  # a week is its fourth day's year's
    number = (fourth.timetuple().tm_yday + 6) // 7
    weeks = number + (dt.date(fourth.year, 12, 31) - fourth).days // 7
    return number in week_numbers or number - weeks - 1 in week_numbers


def _dateutil_weekdays(weekdays: Sequence[tuple[int, int]], weeks: int) -> list[rrule.weekday]:
    """Write BYDAY for dateutil, which takes MO,1TU for days that are both: beside a numbered day all are numbered."""
    if not any(ordinal for ordinal, _ in weekdays):
        return [rrule.weekday(weekday) for _, weekday in weekdays]
    return [
        rrule.weekday(weekday, number)
        for ordinal, weekday in weekdays
        for number in ((ordinal,) if ordinal else range(1, weeks + 1))
    ]


def _steps(rule: _Rule, start: dt.datetime, day: dt.date) -> tuple[dt.time, ...]:
    """Tell the times of a rule by the hour or minute on one of its days."""
    days = (day - start.date()).days
    hours, minutes = rule.numbers.get("BYHOUR", range(24)), rule.numbers.get("BYMINUTE")
    positions = rule.numbers.get("BYSETPOS")
    if rule.frequency == "HOURLY":
        first = (start.hour - 24 * days) % rule.interval
        on_minutes: Sequence[int] = minutes or (start.minute,)
        if positions:
            on_minutes = [on_minutes[index] for index in _indices(len(on_minutes), positions)]
        return tuple(
            dt.time(hour, minute, start.second)
            for hour in range(first, 24, rule.interval)
            if hour in hours
            for minute in on_minutes
        )
    if positions and not _indices(1, positions):
        return ()
    first = (start.hour * 60 + start.minute - 1440 * days) % rule.interval
    steps = (divmod(step, 60) for step in range(first, 1440, rule.interval))
    return tuple(
        dt.time(hour, minute, start.second)
        for hour, minute in steps
        if hour in hours and (minutes is None or minute in minutes)
    )


def _last_of(rule: _Rule, start: dt.datetime, count: int) -> dt.datetime | None:
    """Find the moment with which a COUNT runs out; None where that is beyond the horizon."""
    return next(itertools.islice(_walk(rule, start), count - 1, None), None)


def _walk(rule: _Rule, start: dt.datetime) -> Iterator[dt.datetime]:
    """Yield a rule's wall times from its start to the horizon, window by window."""
    for year in range(start.year, start.year + COUNT_HORIZON + 1):
        for month in (1,) if rule.frequency == "YEARLY" else range(1, 13):
            for day, times in sorted(_window(rule, start, year, month).items()):
                for time in _steps(rule, start, day) if rule.is_sub_daily else times:
                    wall = dt.datetime.combine(day, time)
                    if wall >= start:
                        yield wall


# --- wall times and zones -------------------------------------------------------------------------------------------


def _place(wall: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Turn wall time into the instant that it means in the zone: one that comes twice is the first (``fold=0``)."""
    return wall.replace(tzinfo=zone).astimezone(dt.UTC)


def _zone(name: object) -> dt.tzinfo:
    if name == "UTC":
        return dt.UTC
    refusal = _refusal(f"zone is an IANA time zone, not {_shown(name)}")
    if not isinstance(name, str):
        raise refusal
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise refusal from error


def _home_of(start: object) -> str:
    """Name the zone of a recurrence that starts then."""
    zone = start.tzinfo if isinstance(start, dt.datetime) else None
    if isinstance(zone, dt.timezone) and not zone.utcoffset(None):
        return "UTC"
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return zone.key
    raise _refusal("start is a date and time in UTC or in a zoneinfo.ZoneInfo with a name")


def _to_wall(what: str, value: object, start: dt.datetime, zone: dt.tzinfo | None) -> dt.datetime:
    """Turn a date, a wall time in the start's zone or an instant into wall time in the given zone."""
    if isinstance(value, dt.datetime):
        moment = value if value.utcoffset() is not None else value.replace(tzinfo=start.tzinfo)
    elif isinstance(value, dt.date):
        moment = dt.datetime.combine(value, start.time(), start.tzinfo)
    else:
        raise _refusal(f"{what} is made of dates, not of {_shown(value)}")
    try:
        return moment.astimezone(zone).replace(tzinfo=None, fold=0)
    except OverflowError as error:
        raise _refusal(f"{what} has a date that is no date in UTC") from error


def _wall_time(what: str, value: object) -> dt.datetime:
    if not isinstance(value, dt.datetime) or value.tzinfo is not None or value.microsecond:
        raise _refusal(f"{what} is made of wall times in whole seconds, not of {_shown(value)}")
    return value.replace(fold=0)


def _wall_times(what: str, values: object) -> tuple[dt.datetime, ...]:
    if not isinstance(values, tuple | list):
        raise _refusal(f"{what} is a list, not {_shown(values)}")
    walls = {_wall_time(what, value) for value in values}
    if len(walls) > MAX_DATES:
        raise _refusal(f"{what} has at most {MAX_DATES} entries, not {len(walls)}")
    return tuple(sorted(walls))


def _parse_wall(what: str, text: object) -> dt.datetime:
    refusal = _refusal(f"{what} is YYYY-MM-DDTHH:MM:SS, not {_shown(text)}")
    if not isinstance(text, str):
        raise refusal
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise refusal from error


def _parse_walls(what: str, texts: object) -> tuple[dt.datetime, ...]:
    if not isinstance(texts, tuple | list):
        raise _refusal(f"{what} is a list, not {_shown(texts)}")
    return tuple(_parse_wall(what, text) for text in texts)


def _checked_year(what: str, wall: dt.datetime) -> dt.datetime:
    if wall.year not in _YEARS:
        raise _refusal(f"{what} is in the years {_YEARS[0]} to {_YEARS[-1]}, not {wall.year}")
    return wall


def _is_in(wall: dt.datetime, walls: Sequence[dt.datetime]) -> bool:
    index = bisect.bisect_left(walls, wall)
    return index < len(walls) and walls[index] == wall


# --- the contract's words, and refusals -----------------------------------------------------------------------------


def _weekday_named(name: object) -> str:
    for full, short in zip(_DAY_NAMES, _WEEKDAYS, strict=True):
        if isinstance(name, str) and name.strip().lower() in {full, full[:3]}:
            return short
    raise _refusal(f"on_day is one of {' '.join(day[:3] for day in _DAY_NAMES)}, not {_shown(name)}")


def _in_range(name: str, value: object, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise _refusal(f"{name} is a whole number in 1..{high}, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(clean(value, 40))
    return str(value) if isinstance(value, dt.date | bool | float | None) else f"of type {type(value).__name__}"


def _refusal(detail: str) -> CalendarRefusedError:
    return CalendarRefusedError(422, clean(detail))
