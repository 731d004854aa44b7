"""The days and times that a rule means, month by month, without a replay from its start.

A date is answered from the month (or year) that it lies in and from the phase of that month, week, day, hour or minute
in the rule's interval, so that a date costs the same however far away it is, and a rule that never comes true costs no
more than one that does. python-dateutil tells which days of one month or year the rule's BYxxx parts mean; the phase,
the times of day and BYSETPOS are worked out here.
"""

import datetime as dt
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

from dateutil import rrule

from harborcal.calendar.recurrence.rule import Rule, parse_rule

COUNT_HORIZON = 200
"""Years from the start in which a COUNT must run out; one that does not counts as endless."""

_WINDOWS = 4_096
_GENERATION = 41  # years
_ONE_WEEK = dt.timedelta(days=7)

_Days = dict[dt.date, tuple[dt.time, ...]]
"""Days of a zone, and the times on each; of a rule by the hour or minute the days alone."""


def times_on(text: str, start: dt.datetime, day: dt.date) -> Sequence[dt.time]:
    """Tell the times at which a rule comes true on a day, also those before its start."""
    times = _month(text, start, day.year, day.month).get(day)
    rule = parse_rule(text)
    if times is None or rule is None:
        return ()
    return _steps(rule, start, day) if rule.is_sub_daily else times


@functools.lru_cache(maxsize=_WINDOWS)
def _month(text: str, start: dt.datetime, year: int, month: int) -> _Days:
    rule = parse_rule(text)
    if rule is None:
        return {}
    return {day: times for day, times in _window(rule, start, year, month).items() if day.month == month}


def _window(rule: Rule, start: dt.datetime, year: int, month: int) -> _Days:
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


def _times(rule: Rule, start: dt.datetime) -> tuple[dt.time, ...]:
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


def _sets(rule: Rule, start: dt.datetime, year: int, month: int) -> list[list[dt.date]]:
    """Tell the days of each set that BYSETPOS counts in: a year, a month, or the weeks that touch the month."""
    if rule.frequency != "WEEKLY":
        return [_days(rule, start, year, month)]
    first = dt.date(year, month, 1)
    months = (first - _ONE_WEEK, first, first + 5 * _ONE_WEEK)
    days = [day for at in months for day in _days(rule, start, at.year, at.month)]
    return [list(week) for _, week in itertools.groupby(days, lambda day: _week(rule, day))]


def _days(rule: Rule, start: dt.datetime, year: int, month: int) -> list[dt.date]:
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


def _week(rule: Rule, day: dt.date) -> int:
    """Number the weeks that begin on the rule's WKST."""
    return (day.toordinal() - 1 - rule.week_start) // 7


def _days_of_period(rule: Rule, start: dt.datetime, year: int, month: int) -> list[dt.date]:
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


def _is_in_week(rule: Rule, day: dt.date, week_numbers: Sequence[int]) -> bool:
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


def _steps(rule: Rule, start: dt.datetime, day: dt.date) -> tuple[dt.time, ...]:
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
    if minutes is None:
        steps = (divmod(step, 60) for step in range(first, 1440, rule.interval))
        return tuple(dt.time(hour, minute, start.second) for hour, minute in steps if hour in hours)
    return tuple(
        dt.time(hour, minute, start.second)
        for hour in hours
        for minute in minutes
        if (hour * 60 + minute - first) % rule.interval == 0
    )


def last_of(rule: Rule, start: dt.datetime, count: int) -> dt.datetime | None:
    """Find the moment with which a COUNT runs out; None where that is beyond the horizon."""
    return next(itertools.islice(_walk(rule, start), count - 1, None), None)


def _walk(rule: Rule, start: dt.datetime) -> Iterator[dt.datetime]:
    """Yield a rule's wall times from its start to the horizon, window by window."""
    if _is_never(rule, start):
        return
    for year in range(start.year, start.year + COUNT_HORIZON + 1):
        for month in _months(rule):
            for day, times in sorted(_window(rule, start, year, month).items()):
                for time in _steps(rule, start, day) if rule.is_sub_daily else times:
                    wall = dt.datetime.combine(day, time)
                    if wall >= start:
                        yield wall


def _is_never(rule: Rule, start: dt.datetime) -> bool:
    """Tell whether a rule means no day at all, whatever its interval: any that there is comes within forty years.

    The rarest is a weekday on 29 February, which skips a generation around 2100.
    """
    years = range(start.year, start.year + _GENERATION)
    return not any(_days_of_period(rule, start, year, month) for year in years for month in _months(rule))


def _months(rule: Rule) -> Iterable[int]:
    """Tell the months of a year with which its windows begin."""
    return (1,) if rule.frequency == "YEARLY" else range(1, 13)
