"""Recurrences as values, and which of their occurrences begin on a date.

**Time zones.** YEARLY to DAILY rules are expanded in wall time, and each wall time is then placed in the zone: one that
the clocks skip is read with the offset from before they change (02:30 becomes 03:30), one that comes twice means the
first. HOURLY and MINUTELY rules are steps of real time: all their parts and their phase are in UTC.

**Where RFC 5545 leaves a choice.** A start that does not match its rule is no occurrence. BYSETPOS counts within whole
weeks, months and years, also in the one in which the rule starts. COUNT counts what the rule yields, excepted ones too
and RDATEs not; UNTIL ends the rule, not the RDATEs.
"""

import bisect
import dataclasses
import datetime as dt
import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Self

from harborcal.calendar.recurrence.expansion import last_of, times_on
from harborcal.calendar.recurrence.rule import (
    MAX_COUNT,
    WEEKDAYS,
    number_of,
    parts_of,
    read_rule,
    read_until,
    rule_of,
)
from harborcal.calendar.recurrence.walls import (
    LAST_YEAR,
    MAX_DATES,
    YEARS,
    checked_year,
    home_of,
    is_in,
    parse_wall,
    parse_walls,
    place,
    refused,
    shown,
    to_wall,
    wall_time,
    wall_times,
    zone_named,
)
from harborcal.errors import CalendarRefusedError

_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ONE_DAY = dt.timedelta(days=1)


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
        zone_named(self.zone)
        rule = read_rule(self.rule)
        fields: dict[str, object] = {
            "start": checked_year("start", wall_time("start", self.start)),
            "rule": rule.text if rule is not None else "",
            "dates": tuple(checked_year("a date", wall) for wall in wall_times("dates", self.dates)),
            "exceptions": wall_times("exceptions", self.exceptions),
        }
        if rule is not None and rule.is_sub_daily and self.zone != "UTC":
            raise refused(f"{rule.frequency} rules are kept in UTC, not in {self.zone}")
        if self.until is not None:
            fields["until"] = wall_time("until", self.until)
            if rule is None:
                raise refused("until is the end of a rule, and there is none")
            if not YEARS.start <= self.until.year <= LAST_YEAR:
                raise refused(f"until is in the years {YEARS.start} to {LAST_YEAR}, not {self.until.year}")
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
        home = home_of(start)
        parts = parts_of(rule)
        count, until = parts.pop("COUNT", None), parts.pop("UNTIL", None)
        if count is not None and until is not None:
            raise refused("a rule has COUNT or UNTIL, not both")
        read = rule_of(parts) if parts else None
        zone = dt.UTC if home == "UTC" or (read is not None and read.is_sub_daily) else start.tzinfo

        def walls(what: str, values: Iterable[dt.date]) -> tuple[dt.datetime, ...]:
            few = tuple(itertools.islice(values, MAX_DATES + 1))
            return tuple(to_wall(what, value, start, zone) for value in few)

        made = cls(
            start=to_wall("start", start, start, zone),
            zone="UTC" if zone is dt.UTC else home,
            rule=read.text if read is not None else "",
            dates=walls("dates", dates),
            exceptions=walls("exceptions", exceptions),
        )
        if read is None:
            return made
        if count is not None:
            return dataclasses.replace(made, until=last_of(read, made.start, number_of("COUNT", count, 1, MAX_COUNT)))
        return dataclasses.replace(made, until=read_until(until, start, zone)) if until is not None else made

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
            raise refused("on_week needs on_day")
        if on_month is not None and on_week is None:
            raise refused("on_month needs on_week")
        rule = "FREQ=DAILY"
        if on_day is not None:
            rule = f"FREQ=WEEKLY;BYDAY={_weekday_named(on_day)}"
        if on_week is not None:
            rule = rule.replace("WEEKLY;BYDAY=", f"MONTHLY;BYDAY={_in_range('on_week', on_week, 4)}")
        if on_month is not None:
            rule = rule.replace("MONTHLY", f"YEARLY;BYMONTH={_in_range('on_month', on_month, 12)}")
        if at_time.tzinfo not in {None, dt.UTC}:
            raise refused("at_time is in UTC")
        return cls(start=dt.datetime.combine(first, at_time.replace(tzinfo=None)), rule=rule)

    def as_contract(self) -> dict[str, object]:
        """Tell the recurrence in the contract's words, empty where they cannot say it.

        Returns:
            ``at_time`` (``HH:MM`` or ``HH:MM:SS``, UTC), ``on_day``, ``on_week`` and ``on_month``, None for what does
            not narrow it.
        """
        rule = read_rule(self.rule)
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
        rule = read_rule(self.rule)
        find = _remembered_occurrences if rule is not None and rule.is_sub_daily else _occurrences
        return find(self, date)

    def occurrence_at(self, local: dt.datetime) -> Occurrence | None:
        """Find the occurrence that a wall time in the recurrence's zone names; excepted ones are not found."""
        if not YEARS.start <= local.year <= LAST_YEAR:
            return None
        date = place(local.replace(tzinfo=None, fold=0), zone_named(self.zone)).date()
        return next((occurrence for occurrence in self.on(date) if occurrence.local == local), None)

    def last_date(self) -> dt.date | None:
        """Tell a UTC date after which there is surely no occurrence, None where the recurrence is endless."""
        if self.rule and self.until is None:
            return None
        ends = [self.until if self.until is not None else self.start, *self.dates[-1:]]
        last, zone = max(ends), zone_named(self.zone)
        # A wall time that the clocks have skipped within the day before is read with the offset of that time.
        skipped = last - ((last - _ONE_DAY).replace(tzinfo=zone).utcoffset() or dt.timedelta())
        return max(place(last, zone).date(), skipped.date())

    def to_rrule(self) -> str:
        """Write the RRULE's value for a calendar file, with its UNTIL in UTC; empty where there is no rule."""
        if self.until is None:
            return self.rule
        return f"{self.rule};UNTIL={place(self.until, zone_named(self.zone)):%Y%m%dT%H%M%SZ}"

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
            raise refused("a recurrence is an object")
        until = data.get("until")
        return cls(
            start=parse_wall("start", data.get("start")),
            zone=data.get("zone", "UTC"),
            rule=data.get("rule", ""),
            until=parse_wall("until", until) if until is not None else None,
            dates=parse_walls("dates", data.get("dates", ())),
            exceptions=parse_walls("exceptions", data.get("exceptions", ())),
        )


# --- a date's occurrences -------------------------------------------------------------------------------------------


def _occurrences(recurrence: Recurrence, date: dt.date) -> tuple[Occurrence, ...]:
    if not YEARS.start - 1 <= date.year <= LAST_YEAR:
        return ()
    zone = zone_named(recurrence.zone)
    # No zone is a whole day from UTC.
    days = (date,) if zone is dt.UTC else (date - _ONE_DAY, date, date + _ONE_DAY)
    placed = ((place(wall, zone), wall) for day in days for wall in _walls(recurrence, day))
    found = sorted((starts_at, wall) for starts_at, wall in placed if starts_at.date() == date)
    return tuple(
        Occurrence(starts_at, wall, ordinal)
        for ordinal, (starts_at, wall) in enumerate(found)
        if not is_in(wall, recurrence.exceptions)
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
        ruled = (dt.datetime.combine(day, time) for time in times_on(recurrence.rule, start, day))
        walls.update(wall for wall in ruled if first <= wall <= last)
    return walls


# --- the contract's words -------------------------------------------------------------------------------------------


def _weekday_named(name: object) -> str:
    for full, short in zip(_DAY_NAMES, WEEKDAYS, strict=True):
        if isinstance(name, str) and name.strip().lower() in {full, full[:3]}:
            return short
    raise refused(f"on_day is one of {' '.join(day[:3] for day in _DAY_NAMES)}, not {shown(name)}")


def _in_range(name: str, value: object, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise refused(f"{name} is a whole number in 1..{high}, not {shown(value)}")
    return value
