import dataclasses
import datetime as dt
import itertools
import json
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harborcal.calendar.recurrence import COUNT_HORIZON, MAX_DATES, Occurrence, Recurrence
from harborcal.errors import CalendarRefusedError

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
DAY = dt.timedelta(days=1)
MONDAY = dt.date(2026, 1, 5)
NINE = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)


def wall(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def starts(recurrence: Recurrence, date: dt.date | str) -> list[str]:
    """Tell the UTC times of day at which a date's occurrences begin."""
    day = dt.date.fromisoformat(date) if isinstance(date, str) else date
    return [f"{occurrence.starts_at:%H:%M}" for occurrence in recurrence.on(day)]


def between(recurrence: Recurrence, first: dt.date, last: dt.date) -> list[Occurrence]:
    """Gather the occurrences of both dates and of those between them, date by date."""
    days = (first + DAY * index for index in range((last - first).days + 1))
    return [occurrence for day in days for occurrence in recurrence.on(day)]


def dates_of(recurrence: Recurrence, first: str, last: str) -> list[str]:
    found = between(recurrence, dt.date.fromisoformat(first), dt.date.fromisoformat(last))
    return [f"{occurrence.local:%m-%d}" for occurrence in found]


def reason_of(rule: str, start: dt.datetime = NINE) -> str:
    """Tell why a rule is refused."""
    with pytest.raises(CalendarRefusedError) as caught:
        Recurrence.of(start, rule)
    assert caught.value.status == 422
    return caught.value.detail


def made_or_refused(make: Callable[[], Recurrence]) -> Recurrence | None:
    refusal: CalendarRefusedError | None = None
    try:
        return make()
    except CalendarRefusedError as error:
        refusal = error
    assert refusal.status == 422
    assert refusal.detail.isprintable()
    return None


# --- one date -------------------------------------------------------------------------------------------------------


def test_without_a_rule_the_start_and_the_dates_are_the_occurrences() -> None:
    once = Recurrence.of(NINE, dates=[utc("2026-01-05 15:30"), dt.date(2026, 2, 1)])
    assert once.on(MONDAY) == (
        Occurrence(utc("2026-01-05 09:00"), wall("2026-01-05 09:00"), 0),
        Occurrence(utc("2026-01-05 15:30"), wall("2026-01-05 15:30"), 1),
    )
    assert starts(once, "2026-02-01") == ["09:00"]
    assert starts(once, "2026-01-06") == []


def test_a_start_that_does_not_match_its_rule_is_no_occurrence() -> None:
    tuesdays = Recurrence.of(NINE, "FREQ=WEEKLY;BYDAY=TU")
    assert dates_of(tuesdays, "2026-01-01", "2026-01-20") == ["01-06", "01-13", "01-20"]


def test_nothing_begins_before_the_start_or_after_the_end() -> None:
    daily = Recurrence.of(NINE, "FREQ=DAILY;BYHOUR=8,9,10;UNTIL=20260107T090000Z")
    assert starts(daily, "2026-01-04") == []
    assert starts(daily, "2026-01-05") == ["09:00", "10:00"]
    assert starts(daily, "2026-01-07") == ["08:00", "09:00"]
    assert starts(daily, "2026-01-08") == []


def test_a_date_that_the_rule_yields_too_counts_once() -> None:
    daily = Recurrence.of(NINE, "FREQ=DAILY", dates=[utc("2026-01-06 09:00"), utc("2026-01-06 08:00")])
    assert starts(daily, "2026-01-06") == ["08:00", "09:00"]


def test_the_end_of_the_rule_is_not_the_end_of_the_dates() -> None:
    ending = Recurrence.of(NINE, "FREQ=DAILY;COUNT=2", dates=[dt.date(2026, 3, 1)])
    assert dates_of(ending, "2026-01-01", "2026-04-01") == ["01-05", "01-06", "03-01"]
    assert ending.last_date() == dt.date(2026, 3, 1)


def test_an_exception_renames_nobody() -> None:
    thrice = Recurrence.of(NINE, "FREQ=DAILY;BYHOUR=9,12,15")
    fewer = thrice.without(wall("2026-01-06 09:00"), wall("2026-01-07 12:00"))
    assert [occurrence.ordinal for occurrence in fewer.on(dt.date(2026, 1, 6))] == [1, 2]
    assert [occurrence.ordinal for occurrence in fewer.on(dt.date(2026, 1, 7))] == [0, 2]
    assert fewer.on(dt.date(2026, 1, 8)) == thrice.on(dt.date(2026, 1, 8))


def test_an_exception_of_what_never_was_changes_nothing() -> None:
    daily = Recurrence.of(NINE, "FREQ=DAILY")
    assert daily.without(wall("2026-01-06 08:00")).on(dt.date(2026, 1, 6)) == daily.on(dt.date(2026, 1, 6))


def test_dates_and_exceptions_may_be_instants_wall_times_or_days() -> None:
    start = dt.datetime(2026, 7, 1, 9, tzinfo=BERLIN)
    plain = Recurrence.of(
        start,
        "FREQ=DAILY",
        dates=[utc("2026-07-03 12:00"), wall("2026-07-03 16:00")],
        exceptions=[dt.date(2026, 7, 2), utc("2026-07-04 07:00"), dt.datetime(2026, 7, 5, 3, tzinfo=NEW_YORK)],
    )
    assert [starts(plain, f"2026-07-0{day}") for day in range(1, 7)] == [
        ["07:00"],
        [],
        ["07:00", "12:00", "14:00"],
        [],
        [],
        ["07:00"],
    ]


def test_an_occurrence_is_found_by_its_wall_time_unless_it_is_excepted() -> None:
    daily = Recurrence.of(dt.datetime(2026, 1, 5, 1, 30, tzinfo=BERLIN), "FREQ=DAILY")
    second = wall("2026-03-30 01:30")
    assert daily.occurrence_at(second) == Occurrence(utc("2026-03-29 23:30"), second, 1)
    assert daily.occurrence_at(wall("2026-03-30 01:31")) is None
    assert daily.without(second).occurrence_at(second) is None
    assert daily.occurrence_at(dt.datetime.min) is None
    assert daily.occurrence_at(dt.datetime.max) is None


@pytest.mark.parametrize("date", [dt.date.min, dt.date(1969, 12, 30), dt.date(9999, 1, 1), dt.date.max])
def test_outside_of_all_calendars_nothing_begins(date: dt.date) -> None:
    assert Recurrence.of(dt.datetime(1970, 1, 1, tzinfo=BERLIN), "FREQ=DAILY").on(date) == ()


def test_the_first_and_the_last_of_all_dates_are_answered() -> None:
    daily = Recurrence.of(dt.datetime(1970, 1, 1, tzinfo=BERLIN), "FREQ=DAILY")
    assert starts(daily, "1969-12-31") == ["23:00"]
    assert starts(daily, "9998-12-31") == ["23:00"]


def test_beside_a_numbered_day_the_others_mean_every_week() -> None:
    rule = Recurrence.of(NINE, "FREQ=MONTHLY;BYDAY=FR,1MO")
    assert dates_of(rule, "2026-02-01", "2026-02-28") == ["02-02", "02-06", "02-13", "02-20", "02-27"]
    yearly = Recurrence.of(NINE, "FREQ=YEARLY;BYDAY=FR,1MO")
    assert len(between(yearly, dt.date(2027, 1, 1), dt.date(2027, 12, 31))) == 53 + 1


def test_the_set_of_the_first_week_is_the_whole_week() -> None:
    # Wednesday is the start; Monday, before it, is still the week's first.
    rule = Recurrence.of(dt.datetime(2026, 1, 7, 9, tzinfo=dt.UTC), "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=1,2")
    assert dates_of(rule, "2026-01-01", "2026-01-16") == ["01-07", "01-12", "01-14"]


@pytest.mark.parametrize("number", [1, 2, 51, 52, 53, -1, -2, -52, -53])
def test_weeks_that_two_years_share_are_those_of_the_iso_calendar(number: int) -> None:
    rule = Recurrence.of(dt.datetime(2000, 1, 1, tzinfo=dt.UTC), f"FREQ=YEARLY;BYWEEKNO={number}")
    around_new_year = (
        dt.date(year, month, day)
        for year in range(2001, 2030)
        for month, days in ((1, range(1, 16)), (12, range(15, 32)))
        for day in days
    )
    for date in around_new_year:
        year, week, _ = date.isocalendar()
        weeks = dt.date(year, 12, 28).isocalendar().week
        assert bool(rule.on(date)) == (number in {week, week - weeks - 1})


# --- against a full replay ------------------------------------------------------------------------------------------

# dateutil replays a rule that never comes true to the year 9999. Between two centuries the calendar repeats every 28
# years, and it repeats every 400, so that its replay may as well happen shortly before: here 16 years or 44.
SUB_DAILY = {"HOURLY", "MINUTELY"}
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def on_the_second(moment: dt.datetime) -> dt.datetime:
    return moment.replace(microsecond=0, fold=0)


moments = st.datetimes(dt.datetime(2009, 1, 1), dt.datetime(2012, 12, 31)).map(on_the_second)


def replay(rule: str, start: dt.datetime, low: dt.datetime, high: dt.datetime) -> list[dt.datetime]:
    """Let dateutil expand a rule from its start, and tell what is between two moments."""
    shift = 20 * 400 - (28 if any(name in rule for name in SUB_DAILY) else 56)
    first, after, before = (moment.replace(year=moment.year + shift) for moment in (start, low, high))
    try:
        found = rrulestr(rule, dtstart=first).between(after, before, inc=True)
    except ValueError:  # dateutil's word for a rule whose steps never meet its BYxxx
        return []
    return [moment.replace(year=moment.year - shift) for moment in found]


def numbers(low: int, high: int, most: int = 3) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    if low < 0:
        number = number.filter(bool)
    return st.lists(number, min_size=1, max_size=most, unique=True).map(lambda some: ",".join(map(str, some)))


def days(highest: int) -> st.SearchStrategy[str]:
    plain = st.sampled_from(WEEKDAYS)
    some = st.lists(plain, min_size=1, max_size=5, unique=True)
    if highest == 0:
        return some.map(",".join)
    number = st.integers(-highest, highest).filter(bool)
    numbered = st.lists(st.builds("{}{}".format, number, plain), min_size=1, max_size=3, unique=True)
    return st.one_of(some, numbered).map(",".join)


@st.composite
def rules(draw: st.DrawFn, frequency: str, interval: int = 6) -> str:
    """Draw a valid rule whose meaning dateutil and RFC 5545 agree on."""
    parts = {"FREQ": frequency, "INTERVAL": str(draw(st.integers(1, interval)))}

    def may_have(name: str, value: st.SearchStrategy[str], among: int = 4) -> None:
        if draw(st.integers(1, among)) == 1:
            parts[name] = draw(value)

    may_have("BYMONTH", numbers(1, 12, 6))
    if frequency in {"YEARLY", "HOURLY", "MINUTELY"}:
        may_have("BYYEARDAY", numbers(-366, 366, 9))
    if frequency != "WEEKLY":
        may_have("BYMONTHDAY", numbers(-31, 31, 9))
    may_have("BYDAY", days({"MONTHLY": 5, "YEARLY": 5 if "BYMONTH" in parts else 53}.get(frequency, 0)), 2)
    if frequency == "YEARLY" and not any(map(str.isdigit, parts.get("BYDAY", ""))):
        may_have("BYWEEKNO", numbers(-51, 51, 9))  # dateutil loses days of weeks 52 and 53
    may_have("BYHOUR", numbers(0, 23, 8))
    may_have("BYMINUTE", numbers(0, 59, 8))
    if any(name.startswith("BY") for name in parts):
        # The sets of a rule by the hour or minute are small: dateutil looks for ever for what is beyond them.
        small = st.sampled_from(["1", "-1", "-1,1", "1,9"])
        may_have("BYSETPOS", small if frequency in SUB_DAILY else numbers(-9, 9))
    may_have("WKST", st.sampled_from(WEEKDAYS))
    order = draw(st.permutations(sorted(parts)))
    return ";".join(f"{name}={parts[name]}" for name in order)


# How far away the window may be, how long it is, and how large an interval may be: what a replay can bear.
REPLAYS = {
    "YEARLY": (40 * 365, 500, 6),
    "MONTHLY": (40 * 365, 200, 30),
    "WEEKLY": (30 * 365, 100, 60),
    "DAILY": (20 * 365, 60, 400),
    "HOURLY": (300, 5, 100),
    "MINUTELY": (5, 2, 3_000),
}


@pytest.mark.parametrize("frequency", REPLAYS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_each_date_is_what_a_replay_from_the_start_gives(frequency: str, data: st.DataObject) -> None:
    farthest, length, interval = REPLAYS[frequency]
    start, rule = data.draw(moments), data.draw(rules(frequency, interval))
    away = data.draw(st.integers(-3, farthest))
    if frequency == "WEEKLY" and "BYSETPOS" in rule:
        away = max(away, 7)  # dateutil counts the first week from the start, not from its first day
    first = start.date() + DAY * away
    last = first + DAY * length
    found = between(Recurrence.of(start.replace(tzinfo=dt.UTC), rule), first, last)
    ends = dt.datetime.combine(first, dt.time()), dt.datetime.combine(last, dt.time.max).replace(microsecond=0)
    assert [occurrence.local for occurrence in found] == replay(rule, start, *ends)
    assert all(occurrence.starts_at == occurrence.local.replace(tzinfo=dt.UTC) for occurrence in found)


@pytest.mark.parametrize("first", [dt.date(2099, 12, 1), dt.date(2199, 12, 1)])
@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;INTERVAL=7",
        "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU,TU;WKST=SU",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU,WE;BYSETPOS=-1",
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=-1FR",
        "FREQ=MONTHLY;BYMONTHDAY=-1,29",
        "FREQ=YEARLY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29,28",
        "FREQ=YEARLY;BYYEARDAY=60,-306",
    ],
)
def test_phases_and_month_ends_hold_beyond_the_centuries_without_a_leap_day(rule: str, first: dt.date) -> None:
    start = dt.datetime(2026, 1, 5, 9)
    found = between(Recurrence.of(NINE, rule), first, first + 150 * DAY)
    low = dt.datetime.combine(first, dt.time())
    expected = rrulestr(rule, dtstart=start).between(low, low + 151 * DAY)
    assert [occurrence.local for occurrence in found] == expected
    assert expected


@pytest.mark.parametrize("frequency", REPLAYS)
@settings(max_examples=10, deadline=None)
@given(data=st.data(), count=st.integers(1, 12))
def test_a_count_yields_so_many_occurrences_and_no_more(frequency: str, data: st.DataObject, count: int) -> None:
    start, rule = data.draw(moments), data.draw(rules(frequency, 3))
    assume(not (frequency == "WEEKLY" and "BYSETPOS" in rule))
    counted = Recurrence.of(start.replace(tzinfo=dt.UTC), f"{rule};COUNT={count}")
    endless = Recurrence.of(start.replace(tzinfo=dt.UTC), rule)
    last = counted.last_date()
    if last is None:
        # It does not run out: then it is the rule without a count, and that yields fewer in all the time it was given.
        assert counted == endless
        end = start.replace(year=start.year + (1 if frequency in SUB_DAILY else 40), day=1)
        assert len(replay(rule, start, start, end)) < count
        return
    found = between(counted, start.date(), min(last + 40 * DAY, start.date() + 2_500 * DAY))
    assume(found)
    assert [occurrence.local for occurrence in found] == replay(f"{rule};COUNT={count}", start, start, found[-1].local)
    if last <= start.date() + 2_500 * DAY:
        assert len(found) == count


@pytest.mark.parametrize(
    ("rule", "last"),
    [
        ("FREQ=DAILY;INTERVAL=9999;COUNT=3", MONDAY + 2 * 9_999 * DAY),
        ("FREQ=WEEKLY;INTERVAL=1500;COUNT=3", MONDAY + 2 * 1_500 * 7 * DAY),
        ("FREQ=MONTHLY;INTERVAL=480;COUNT=3", dt.date(2106, 1, 5)),
        ("FREQ=YEARLY;INTERVAL=90;COUNT=3", dt.date(2206, 1, 5)),
        ("FREQ=MINUTELY;BYHOUR=0;BYMINUTE=0;COUNT=1000", MONDAY + 1_000 * DAY),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;COUNT=5", dt.date(2168, 2, 29)),
        ("FREQ=MONTHLY;INTERVAL=13;BYMONTH=2;BYMONTHDAY=29;COUNT=2", dt.date(2092, 2, 29)),
    ],
)
def test_a_count_is_found_across_long_intervals(rule: str, last: dt.date) -> None:
    assert Recurrence.of(NINE, rule).last_date() == last


def test_a_count_counts_a_week_that_two_months_share_once() -> None:
    midweek = Recurrence.of(NINE, "FREQ=WEEKLY;BYDAY=MO,WE;BYSETPOS=-1;COUNT=12")
    assert midweek.until == wall("2026-03-25 09:00")


def test_a_count_that_does_not_run_out_in_the_stated_time_is_endless() -> None:
    assert Recurrence.of(NINE, f"FREQ=YEARLY;COUNT={COUNT_HORIZON}").until == wall("2225-01-05 09:00")
    assert Recurrence.of(NINE, f"FREQ=YEARLY;COUNT={COUNT_HORIZON + 2}").until is None
    assert Recurrence.of(NINE, "FREQ=DAILY;COUNT=10000").last_date() == MONDAY + 9_999 * DAY


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;BYMINUTE=7;BYSETPOS=2",
        "FREQ=HOURLY;INTERVAL=2;BYHOUR=4",
        "FREQ=MINUTELY;INTERVAL=1440;BYHOUR=3",
        "FREQ=WEEKLY;BYDAY=MO,TU;BYSETPOS=3",
    ],
)
def test_a_rule_that_never_comes_true_costs_little_and_yields_nothing(rule: str) -> None:
    never = Recurrence.of(NINE, f"{rule};COUNT=10000")
    assert never.until is None
    for month in range(1, 13):
        assert never.on(dt.date(2176, month, 28)) == ()


@pytest.mark.parametrize("distance", [1, 10, 150, 1_500, 7_900])
def test_a_date_is_answered_however_far_it_is_from_the_start(distance: int) -> None:
    every = 9_973  # minutes, a prime: the phase is nowhere near that of a day
    rule = Recurrence.of(NINE, f"FREQ=MINUTELY;INTERVAL={every}")
    first = dt.date(2026 + distance, 3, 1)
    minutes = (dt.datetime.combine(first, dt.time(), dt.UTC) - NINE) // dt.timedelta(minutes=1)
    next_one = NINE + dt.timedelta(minutes=-(-minutes // every) * every)
    found = between(rule, first, first + 20 * DAY)
    assert [occurrence.starts_at for occurrence in found] == [
        next_one + dt.timedelta(minutes=every * index) for index in range(len(found))
    ]
    assert len(found) in {2, 3, 4}


# --- time zones -----------------------------------------------------------------------------------------------------


def test_one_date_may_hold_two_occurrences_of_a_daily_rule_or_none() -> None:
    nightly = Recurrence.of(dt.datetime(2026, 1, 5, 1, 30, tzinfo=BERLIN), "FREQ=DAILY")
    assert starts(nightly, "2026-03-29") == ["00:30", "23:30"]
    assert starts(nightly, "2026-10-24") == ["23:30"]
    assert starts(nightly, "2026-10-25") == []
    assert starts(nightly, "2026-10-26") == ["00:30"]


def test_a_time_that_the_clocks_skip_is_read_with_the_offset_before() -> None:
    nightly = Recurrence.of(dt.datetime(2026, 1, 5, 2, 30, tzinfo=BERLIN), "FREQ=DAILY")
    assert nightly.on(dt.date(2026, 3, 29)) == (Occurrence(utc("2026-03-29 01:30"), wall("2026-03-29 02:30"), 0),)


def test_a_time_that_comes_twice_means_the_first() -> None:
    nightly = Recurrence.of(dt.datetime(2026, 1, 5, 2, 30, tzinfo=BERLIN), "FREQ=DAILY")
    assert starts(nightly, "2026-10-25") == ["00:30"]


def test_the_second_of_two_same_hours_is_not_kept() -> None:
    second = dt.datetime(2026, 10, 25, 2, 30, fold=1)
    for once in (
        Recurrence(start=second, zone="Europe/Berlin"),
        Recurrence.of(second.replace(tzinfo=BERLIN)),
        Recurrence.of(dt.datetime(2027, 1, 1, tzinfo=BERLIN), dates=[second]),
    ):
        assert starts(once, "2026-10-25") == ["00:30"]


def test_wall_times_keep_their_hour_across_the_seasons() -> None:
    mornings = Recurrence.of(dt.datetime(2026, 1, 5, 9, tzinfo=NEW_YORK), "FREQ=WEEKLY")
    assert starts(mornings, "2026-01-12") == ["14:00"]
    assert starts(mornings, "2026-07-06") == ["13:00"]


def test_rules_by_the_hour_and_minute_are_steps_of_real_time_in_utc() -> None:
    hourly = Recurrence.of(
        dt.datetime(2026, 10, 24, 22, tzinfo=BERLIN),
        "FREQ=HOURLY;BYHOUR=20,21,22,23,0,1,2",
        exceptions=[wall("2026-10-24 23:00"), dt.datetime(2026, 10, 25, 2, tzinfo=BERLIN, fold=1)],
    )
    assert (hourly.zone, hourly.start) == ("UTC", wall("2026-10-24 20:00"))
    assert starts(hourly, "2026-10-24") == ["20:00", "22:00", "23:00"]
    assert starts(hourly, "2026-10-25")[:2] == ["00:00", "02:00"]
    assert len({o.local for o in hourly.on(dt.date(2026, 10, 25))}) == len(hourly.on(dt.date(2026, 10, 25)))


def offset(zone: zoneinfo.ZoneInfo, instant: dt.datetime) -> dt.timedelta:
    return instant.astimezone(zone).utcoffset() or dt.timedelta()


def instant_of(zone: zoneinfo.ZoneInfo, local: dt.datetime) -> dt.datetime | None:
    """Place a wall time by the offsets of the instants around it alone; None where they change more than once."""
    middle = local.replace(tzinfo=dt.UTC)
    around = [offset(zone, middle + dt.timedelta(minutes=15 * step)) for step in range(-4 * 40, 4 * 40 + 1)]
    offsets = [value for value, _ in itertools.groupby(around)]
    if len(offsets) > 2:
        return None
    fitting = [middle - value for value in offsets if offset(zone, middle - value) == value]
    return min(fitting) if fitting else middle - offsets[0]


ZONES = sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone)


@settings(max_examples=80, deadline=None)
@given(
    zone=st.sampled_from(ZONES).map(zoneinfo.ZoneInfo),
    year=st.integers(1972, 2060),
    time=st.times().map(lambda time: time.replace(second=0, microsecond=0)),
)
@example(zone=BERLIN, year=2026, time=dt.time(2, 30))
@example(zone=zoneinfo.ZoneInfo("America/Sao_Paulo"), year=2017, time=dt.time(0, 0))
@example(zone=zoneinfo.ZoneInfo("Australia/Lord_Howe"), year=2026, time=dt.time(2, 15))
@example(zone=zoneinfo.ZoneInfo("Pacific/Apia"), year=2011, time=dt.time(12, 0))
def test_each_day_of_a_zone_begins_once_and_where_the_written_rule_says(
    zone: zoneinfo.ZoneInfo, year: int, time: dt.time
) -> None:
    daily = Recurrence.of(dt.datetime.combine(dt.date(year - 1, 1, 1), time, zone), "FREQ=DAILY")
    around_changes = [
        dt.date(year, 1, 1) + DAY * index
        for index in range(365)
        if offset(zone, dt.datetime(year, 1, 1, tzinfo=dt.UTC) + DAY * (index - 1))
        != offset(zone, dt.datetime(year, 1, 1, tzinfo=dt.UTC) + DAY * (index + 2))
    ]
    for date in [*around_changes, dt.date(year, 6, 1)]:
        local = dt.datetime.combine(date, time)
        expected = instant_of(zone, local)
        if expected is not None:
            found = daily.occurrence_at(local)
            assert found is not None
            assert (found.starts_at, found.local) == (expected, local)


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from([*ZONES, "Europe/Berlin", "Pacific/Apia", "Pacific/Kiritimati", "America/Havana"]),
    rule=st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"]).flatmap(lambda name: rules(name, 3)),
    start=st.datetimes(dt.datetime(2009, 1, 1), dt.datetime(2012, 6, 1)).map(on_the_second),
)
@example(zone="Pacific/Apia", rule="FREQ=DAILY;BYHOUR=0,12,23", start=dt.datetime(2011, 11, 1))
@example(zone="Europe/Berlin", rule="FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=0,30", start=dt.datetime(2011, 10, 1))
def test_no_occurrence_is_lost_or_doubled_or_on_another_date(zone: str, rule: str, start: dt.datetime) -> None:
    assume(not ("WEEKLY" in rule and "BYSETPOS" in rule))
    home = zoneinfo.ZoneInfo(zone)
    recurrence = Recurrence.of(start.replace(tzinfo=home), rule)
    first, last = start.date() - DAY, start.date() + 250 * DAY
    walls = replay(rule, start, start, dt.datetime.combine(last + 3 * DAY, dt.time()))
    placed = sorted((local.replace(tzinfo=home).astimezone(dt.UTC), local) for local in walls)
    found = between(recurrence, first, last)
    assert [(o.starts_at, o.local) for o in found] == [pair for pair in placed if pair[0].date() <= last]
    for date, group in itertools.groupby(found, lambda occurrence: occurrence.starts_at.date()):
        listed = tuple(group)
        assert recurrence.on(date) == listed
        assert [occurrence.ordinal for occurrence in listed] == list(range(len(listed)))


# --- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "kept"),
    [
        ("20260714", wall("2026-07-14 23:59:59")),
        ("20260714T090000", wall("2026-07-14 09:00")),
        ("20260714T070000Z", wall("2026-07-14 09:00")),
        ("20260714t070000z", wall("2026-07-14 09:00")),
        ("20261025T003000Z", wall("2026-10-25 02:30")),
        ("20261025T011500Z", wall("2026-10-25 02:59:59")),  # in the second of the two hours, in which nothing begins
        ("99991231T235959Z", None),
    ],
)
def test_an_end_is_a_day_a_wall_time_or_an_instant(until: str, kept: dt.datetime | None) -> None:
    start = dt.datetime(2026, 7, 1, 9, tzinfo=BERLIN)
    assert Recurrence.of(start, f"FREQ=DAILY;UNTIL={until}").until == kept


@pytest.mark.parametrize(
    ("until", "kept"),
    [
        ("20260714", wall("2026-07-14 21:59:59")),
        ("20260714T090000", wall("2026-07-14 07:00")),
        ("20260714T070000Z", wall("2026-07-14 07:00")),
    ],
)
def test_the_end_of_an_hourly_rule_is_kept_in_utc(until: str, kept: dt.datetime) -> None:
    assert Recurrence.of(dt.datetime(2026, 7, 1, 9, tzinfo=BERLIN), f"FREQ=HOURLY;UNTIL={until}").until == kept


def test_a_day_whose_last_hour_comes_twice_ends_with_the_second() -> None:
    start = dt.datetime(2018, 2, 1, tzinfo=zoneinfo.ZoneInfo("America/Sao_Paulo"))
    assert Recurrence.of(start, "FREQ=HOURLY;UNTIL=20180217").until == wall("2018-02-18 02:59:59")


def test_a_rule_is_exported_with_its_end_in_utc() -> None:
    start = dt.datetime(2026, 7, 1, 9, tzinfo=BERLIN)
    assert Recurrence.of(start).to_rrule() == ""
    assert Recurrence.of(start, "freq=daily").to_rrule() == "FREQ=DAILY"
    counted = Recurrence.of(start, "FREQ=DAILY;COUNT=3")
    assert counted.to_rrule() == "FREQ=DAILY;UNTIL=20260703T070000Z"
    assert Recurrence.of(start, counted.to_rrule()) == counted


@pytest.mark.parametrize(
    ("recurrence", "last"),
    [
        (Recurrence.of(NINE), MONDAY),
        (Recurrence.of(NINE, dates=[dt.date(2025, 1, 1)]), MONDAY),
        (Recurrence.of(NINE, dates=[dt.date(2027, 1, 1)]), dt.date(2027, 1, 1)),
        (Recurrence.of(NINE, "FREQ=DAILY"), None),
        (Recurrence.of(NINE, "FREQ=DAILY;UNTIL=20260301"), dt.date(2026, 3, 1)),
        (
            Recurrence.of(dt.datetime(2026, 1, 5, 23, tzinfo=NEW_YORK), "FREQ=DAILY;UNTIL=20260301"),
            dt.date(2026, 3, 2),
        ),
        (Recurrence.of(dt.datetime(2026, 1, 5, 0, tzinfo=BERLIN), "FREQ=DAILY;COUNT=2"), dt.date(2026, 1, 5)),
    ],
)
def test_the_last_date_is_that_of_the_end_or_of_the_last_date_named(recurrence: Recurrence, last: dt.date) -> None:
    assert recurrence.last_date() == last


def test_what_was_skipped_just_before_the_end_is_not_after_the_last_date() -> None:
    # Samoa had no 30 December 2011: its times are read with the offset before, and so begin after the 31st's.
    skipping = Recurrence.of(
        dt.datetime(2011, 12, 1, 23, 30, tzinfo=zoneinfo.ZoneInfo("Pacific/Apia")),
        "FREQ=DAILY;UNTIL=20111231T000000",
    )
    last = skipping.last_date()
    assert last == dt.date(2011, 12, 31)
    assert starts(skipping, last) == ["09:30"]


# --- the rule's text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("", ""),
        ("RRULE:FREQ=DAILY", "FREQ=DAILY"),
        ("rrule:freq=weekly;byday=mo,we;", "FREQ=WEEKLY;BYDAY=MO,WE"),
        (" WKST=SU ; INTERVAL=02;FREQ=WEEKLY;BYDAY=FR, TU", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,FR;WKST=SU"),
        ("FREQ=DAILY;INTERVAL=1;WKST=MO", "FREQ=DAILY"),
        ("FREQ=MONTHLY;BYDAY=+1MO,-1FR,1MO", "FREQ=MONTHLY;BYDAY=1MO,-1FR"),
        ("FREQ=YEARLY;X-LOOKS=1;BYMONTHDAY=31,-1;BYMONTH=3", "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=-1,31"),
        ("FREQ=YEARLY;BYDAY=53MO", "FREQ=YEARLY;BYDAY=53MO"),
        (
            "BYSETPOS=-1;BYMINUTE=30;BYHOUR=9;BYDAY=MO;FREQ=MONTHLY",
            "FREQ=MONTHLY;BYDAY=MO;BYHOUR=9;BYMINUTE=30;BYSETPOS=-1",
        ),
        ("FREQ=YEARLY;BYWEEKNO=53,-1;BYDAY=MO", "FREQ=YEARLY;BYWEEKNO=-1,53;BYDAY=MO"),
    ],
)
def test_a_rule_is_kept_in_its_normal_form(written: str, kept: str) -> None:
    assert Recurrence.of(NINE, written).rule == kept
    assert Recurrence(start=wall("2026-01-05 09:00"), rule=written) == Recurrence.of(NINE, written)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("INTERVAL=2", "FREQ is one of YEARLY MONTHLY WEEKLY DAILY HOURLY MINUTELY, not ''"),
        ("RRULE:", "a rule needs FREQ"),
        ("FREQ=SECONDLY", "not 'SECONDLY'"),
        ("FREQ=FORTNIGHTLY", "not 'FORTNIGHTLY'"),
        ("FREQ=DAILY;BYSECOND=0", "'BYSECOND' is not known"),
        ("FREQ=YEARLY;BYEASTER=0", "'BYEASTER' is not known"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ once, not twice"),
        ("FREQ=DAILY;INTERVAL", "'INTERVAL' is not known"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20260301", "COUNT or UNTIL, not both"),
        ("FREQ=DAILY;COUNT=0", "COUNT is a number in 1..10000, not '0'"),
        ("FREQ=DAILY;COUNT=10001", "COUNT is a number in 1..10000, not '10001'"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is a number in 1..10000, not '0'"),
        ("FREQ=DAILY;INTERVAL=10001", "INTERVAL is a number in 1..10000"),
        ("FREQ=DAILY;INTERVAL=٢", "INTERVAL is a number"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR is a number in 0..23, not '24'"),
        ("FREQ=DAILY;BYHOUR=-1", "BYHOUR is a number in 0..23, not '-1'"),
        ("FREQ=DAILY;BYMINUTE=60", "BYMINUTE is a number in 0..59"),
        ("FREQ=DAILY;BYMINUTE=", "BYMINUTE is a number in 0..59, not ''"),
        ("FREQ=DAILY;BYMINUTE=1,", "BYMINUTE is a number in 0..59, not ''"),
        ("FREQ=DAILY;BYMONTH=13", "BYMONTH is a number in 1..12"),
        ("FREQ=DAILY;BYMONTH=0", "BYMONTH is a number in 1..12"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY counts from 1"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY is a number in -31..31"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY is not allowed with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY is not allowed with FREQ=MONTHLY"),
        ("FREQ=YEARLY;BYYEARDAY=367", "BYYEARDAY is a number in -366..366"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO is not allowed with FREQ=MONTHLY"),
        ("FREQ=YEARLY;BYWEEKNO=54", "BYWEEKNO is a number in -53..53"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0", "BYSETPOS counts from 1"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=367", "BYSETPOS is a number in -366..366"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs another BY part"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY is a list of days like MO or 2TU, not 'XX'"),
        ("FREQ=WEEKLY;BYDAY=", "BYDAY is a list of days"),
        ("FREQ=MONTHLY;BYDAY=MO(+1)", "BYDAY is a list of days"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY with a number is for FREQ=MONTHLY"),
        ("FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO", "FREQ=YEARLY without BYWEEKNO"),
        ("FREQ=MONTHLY;BYDAY=6MO", "BYDAY's number is in 1..5 or negative, not 6"),
        ("FREQ=YEARLY;BYMONTH=1;BYDAY=-6MO", "BYDAY's number is in 1..5 or negative, not -6"),
        ("FREQ=YEARLY;BYDAY=0MO", "BYDAY's number is in 1..53 or negative, not 0"),
        ("FREQ=YEARLY;BYDAY=54MO", "BYDAY's number is in 1..53 or negative, not 54"),
        ("FREQ=WEEKLY;WKST=1", "WKST is one of MO TU WE TH FR SA SU, not '1'"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL is YYYYMMDD or YYYYMMDDTHHMMSS"),
        ("FREQ=DAILY;UNTIL=20260230", "UNTIL is YYYYMMDD or YYYYMMDDTHHMMSS"),
        ("FREQ=DAILY;UNTIL=00000101", "UNTIL is YYYYMMDD or YYYYMMDDTHHMMSS"),
        ("FREQ=DAILY;UNTIL=19691231", "until is in the years 1970 to 9998, not 1969"),
        ("FREQ=DAILY;" + "X-PAD=1;" * 62, "a rule has at most 500 characters, not 507"),
        ("FREQ=DAI\u202eLY\n", "MINUTELY, not 'DAILY'"),
    ],
)
def test_a_rule_that_is_none_is_refused_and_the_reason_named(rule: str, words: str) -> None:
    reason = reason_of(rule)
    assert words in reason
    assert reason.isprintable()


def test_an_end_before_all_zones_is_refused() -> None:
    start = dt.datetime(2026, 1, 5, 9, tzinfo=NEW_YORK)
    assert "UNTIL is not before 1970" in reason_of("FREQ=DAILY;UNTIL=00010101T000000Z", start)


WORDS = st.sampled_from(
    [
        "FREQ=",
        "INTERVAL=",
        "COUNT=",
        "UNTIL=",
        "BYDAY=",
        "BYMONTH=",
        "BYMONTHDAY=",
        "BYYEARDAY=",
        "BYWEEKNO=",
        "BYHOUR=",
        "BYMINUTE=",
        "BYSETPOS=",
        "WKST=",
        "DAILY",
        "WEEKLY",
        "MONTHLY",
        "YEARLY",
        "HOURLY",
        "MINUTELY",
        "MO",
        "-1FR",
        "5SU",
        "53TH",
        "1",
        "2",
        "30",
        "31",
        "-1",
        "366",
        "9999",
        "20280229",
        "20261025T013000Z",
        "RRULE:",
        ",",
        ",",
        ";",
        ";",
        ";",
        ";",
        "X-A=",
        "BYSECOND=",
    ]
)


@settings(max_examples=100, deadline=dt.timedelta(seconds=5))
@given(text=st.one_of(st.text(), st.lists(WORDS).map("".join), st.lists(WORDS).map(lambda w: "FREQ=" + "".join(w))))
@example(text="FREQ=WEEKLY;BYDAY=MO,TU;BYSETPOS=3;COUNT=1")
@example(text="FREQ=MINUTELY;BYMINUTE=1;BYSETPOS=2;COUNT=5")
@example(text="FREQ=DAILY;COUNT=" + "9" * 400)
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    recurrence = made_or_refused(lambda: Recurrence.of(NINE, text))
    if recurrence is not None:
        assert Recurrence.of(NINE, recurrence.to_rrule()) == recurrence
        recurrence.on(dt.date(2126, 2, 28))


@settings(max_examples=40, deadline=dt.timedelta(seconds=5))
@given(frequency=st.sampled_from(list(REPLAYS)), data=st.data())
def test_every_valid_rule_survives_its_normal_form(frequency: str, data: st.DataObject) -> None:
    recurrence = Recurrence.of(NINE, data.draw(rules(frequency)))
    assert Recurrence.of(NINE, recurrence.rule.lower()) == recurrence


# --- what it is made of ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        dt.datetime(2026, 1, 5, 9, tzinfo=zoneinfo.ZoneInfo("UTC")),
        dt.datetime(2026, 1, 5, 9, tzinfo=dt.timezone(dt.timedelta(0))),
        dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC),
    ],
)
def test_utc_has_one_name(start: dt.datetime) -> None:
    assert Recurrence.of(start, "FREQ=DAILY").zone == "UTC"


@pytest.mark.parametrize(
    "start",
    [
        NINE.replace(tzinfo=None),
        dt.datetime(2026, 1, 5, 9, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.datetime(2026, 1, 5, 9, 0, 0, 1, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, tzinfo=dt.UTC),
        dt.datetime(2201, 1, 1, tzinfo=dt.UTC),
        dt.date(2026, 1, 5),
        "2026-01-05T09:00:00Z",
    ],
)
def test_a_start_without_a_named_zone_or_out_of_range_is_refused(start: Any) -> None:
    with pytest.raises(CalendarRefusedError, match="start is") as caught:
        Recurrence.of(start, "FREQ=DAILY")
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "zone",
    [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "Europe",
        "Europe/Nowhere",
        "a\0b",
        "x" * 5_000,
        "zone.tab",
        "\ud800",
        None,
        7,
        [],
    ],
)
def test_a_zone_that_is_none_is_refused(zone: Any) -> None:
    with pytest.raises(CalendarRefusedError, match="zone is an IANA time zone") as caught:
        Recurrence(start=wall("2026-01-05 09:00"), zone=zone)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"start": NINE}, "start is made of wall times"),
        ({"until": wall("2026-03-01")}, "until is the end of a rule"),
        ({"rule": "FREQ=DAILY", "until": NINE}, "until is made of wall times"),
        ({"rule": "FREQ=DAILY", "until": wall("9999-12-31")}, "until is in the years"),
        ({"rule": "FREQ=DAILY;COUNT=3"}, "COUNT and UNTIL stand in"),
        ({"rule": None}, "a rule is a text"),
        ({"rule": "FREQ=HOURLY", "zone": "Europe/Berlin"}, "HOURLY rules are kept in UTC, not in Europe/Berlin"),
        ({"dates": (NINE,)}, "dates is made of wall times"),
        ({"dates": (wall("1969-01-01"),)}, "a date is in the years 1970 to 2200"),
        ({"dates": None}, "dates is a list"),
        ({"exceptions": ("2026-01-01",)}, "exceptions is made of wall times"),
    ],
)
def test_no_recurrence_is_made_of_parts_that_make_no_sense(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CalendarRefusedError, match=words):
        Recurrence(**{"start": wall("2026-01-05 09:00"), **fields})


def test_dates_and_exceptions_have_an_end() -> None:
    many = [MONDAY + DAY * index for index in range(MAX_DATES + 1)]
    assert len(Recurrence.of(NINE, exceptions=many[1:]).exceptions) == MAX_DATES
    with pytest.raises(CalendarRefusedError, match="exceptions has at most 2000 entries"):
        Recurrence.of(NINE, exceptions=many)
    with pytest.raises(CalendarRefusedError, match="dates has at most 2000 entries"):
        Recurrence.of(NINE, dates=itertools.chain(many, itertools.repeat(MONDAY)))
    with pytest.raises(CalendarRefusedError, match="exceptions has at most 2000 entries"):
        Recurrence.of(NINE, exceptions=many[1:]).without(wall("2026-01-05 09:00"))


def test_a_date_that_is_none_or_that_utc_does_not_have_is_refused() -> None:
    with pytest.raises(CalendarRefusedError, match="exceptions is made of dates, not of '2026'"):
        Recurrence.of(NINE, exceptions=["2026"])  # type: ignore[list-item]  # what a caller without mypy may do
    with pytest.raises(CalendarRefusedError, match="no date in UTC"):
        Recurrence.of(NINE, exceptions=[dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=1)))])


def test_equal_recurrences_are_equal_values() -> None:
    first, second = wall("2026-01-06 09:00"), wall("2026-01-07 09:00")
    one = Recurrence(start=wall("2026-01-05 09:00"), rule="freq=daily", exceptions=(second, first, first))
    other = Recurrence.of(NINE, "FREQ=DAILY").without(first, second)
    assert one == other
    assert len({one, other}) == 1
    assert other.without(first) == other


# --- the contract's words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "rule", "dates"),
    [
        ({}, "FREQ=DAILY", ["03-01", "03-02", "03-03"]),
        ({"on_day": "mon"}, "FREQ=WEEKLY;BYDAY=MO", ["03-02", "03-09", "03-16"]),
        ({"on_day": "sun", "on_week": 1}, "FREQ=MONTHLY;BYDAY=1SU", ["03-01", "04-05", "05-03"]),
        ({"on_day": "mon", "on_week": 2}, "FREQ=MONTHLY;BYDAY=2MO", ["03-09", "04-13", "05-11"]),
        ({"on_day": "fri", "on_week": 4, "on_month": 3}, "FREQ=YEARLY;BYMONTH=3;BYDAY=4FR", ["03-27", "03-26"]),
    ],
)
def test_a_plan_in_the_contracts_words_is_a_rule_and_comes_back(
    words: dict[str, Any], rule: str, dates: list[str]
) -> None:
    plan = Recurrence.contract(dt.time(9, 30), **words, first=dt.date(2026, 3, 1))
    assert (plan.rule, plan.start, plan.zone) == (rule, wall("2026-03-01 09:30"), "UTC")
    assert dates_of(plan, "2026-02-01", "2027-12-31")[: len(dates)] == dates
    nothing = {"on_day": None, "on_week": None, "on_month": None}
    assert plan.as_contract() == {"at_time": "09:30", **nothing, **words}


@pytest.mark.parametrize("name", ["mon", "MON", "Monday", " monday "])
def test_a_weekday_has_a_short_and_a_long_name_in_any_case(name: str) -> None:
    assert Recurrence.contract(dt.time(9), name, first=MONDAY).rule == "FREQ=WEEKLY;BYDAY=MO"


def test_a_time_with_seconds_keeps_them() -> None:
    plan = Recurrence.contract(dt.time(9, 0, 5, tzinfo=dt.UTC), first=MONDAY)
    assert plan.as_contract()["at_time"] == "09:00:05"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"on_day": "someday"}, "on_day is one of mon tue wed thu fri sat sun, not 'someday'"),
        ({"on_day": 1}, "on_day is one of"),
        ({"on_week": 1}, "on_week needs on_day"),
        ({"on_day": "mon", "on_month": 1}, "on_month needs on_week"),
        ({"on_day": "mon", "on_week": 0}, "on_week is a whole number in 1..4"),
        ({"on_day": "mon", "on_week": 5}, "on_week is a whole number in 1..4"),
        ({"on_day": "mon", "on_week": True}, "on_week is a whole number in 1..4, not True"),
        ({"on_day": "mon", "on_week": "2"}, "on_week is a whole number in 1..4, not '2'"),
        ({"on_day": "mon", "on_week": 1, "on_month": 13}, "on_month is a whole number in 1..12"),
        ({"at_time": dt.time(9, tzinfo=BERLIN)}, "at_time is in UTC"),
    ],
)
def test_words_that_are_not_the_contracts_are_refused(words: dict[str, Any], reason: str) -> None:
    with pytest.raises(CalendarRefusedError, match=reason) as caught:
        Recurrence.contract(**{"at_time": dt.time(9), **words, "first": MONDAY})
    assert caught.value.status == 422


@pytest.mark.parametrize(
    "recurrence",
    [
        Recurrence.of(NINE),
        Recurrence.of(dt.datetime(2026, 1, 5, 9, tzinfo=BERLIN), "FREQ=DAILY"),
        Recurrence.of(NINE, "FREQ=DAILY;COUNT=3"),
        Recurrence.of(NINE, "FREQ=DAILY", dates=[dt.date(2026, 3, 1)]),
        Recurrence.of(NINE, "FREQ=DAILY", exceptions=[dt.date(2026, 3, 1)]),
        Recurrence.of(NINE, "FREQ=DAILY;INTERVAL=2"),
        Recurrence.of(NINE, "FREQ=DAILY;BYDAY=MO"),
        Recurrence.of(NINE, "FREQ=DAILY;BYMONTH=3"),
        Recurrence.of(NINE, "FREQ=WEEKLY"),
        Recurrence.of(NINE, "FREQ=WEEKLY;BYDAY=MO,TU"),
        Recurrence.of(NINE, "FREQ=MONTHLY;BYDAY=5MO"),
        Recurrence.of(NINE, "FREQ=MONTHLY;BYDAY=-1MO"),
        Recurrence.of(NINE, "FREQ=YEARLY;BYMONTH=3,4;BYDAY=1MO"),
        Recurrence.of(NINE, "FREQ=YEARLY;BYDAY=1MO"),
        Recurrence.of(NINE, "FREQ=HOURLY"),
    ],
)
def test_what_the_contracts_words_cannot_say_is_not_said(recurrence: Recurrence) -> None:
    assert recurrence.as_contract() == {}


# --- as JSON --------------------------------------------------------------------------------------------------------


def test_a_recurrence_is_plain_json() -> None:
    recurrence = Recurrence.of(
        dt.datetime(2026, 1, 5, 9, tzinfo=BERLIN),
        "FREQ=DAILY;UNTIL=20260301",
        dates=[dt.date(2026, 4, 1)],
        exceptions=[dt.date(2026, 1, 6)],
    )
    assert recurrence.to_dict() == {
        "start": "2026-01-05T09:00:00",
        "zone": "Europe/Berlin",
        "rule": "FREQ=DAILY",
        "until": "2026-03-01T23:59:59",
        "dates": ["2026-04-01T09:00:00"],
        "exceptions": ["2026-01-06T09:00:00"],
    }
    assert Recurrence.from_dict({"start": "2026-01-05T09:00:00"}) == Recurrence.of(NINE)


@settings(max_examples=40, deadline=None)
@given(
    start=moments,
    zone=st.sampled_from(ZONES),
    rule=st.one_of(st.just(""), st.sampled_from(list(REPLAYS)).flatmap(lambda name: rules(name))),
    end=st.sampled_from(["", ";COUNT=3", ";UNTIL=22000101", ";UNTIL=22000101T000000Z"]),
    dates=st.lists(moments, max_size=3),
    exceptions=st.lists(st.datetimes().map(lambda moment: moment.replace(microsecond=0)), max_size=3),
)
def test_json_is_read_back_exactly(
    *, start: dt.datetime, zone: str, rule: str, end: str, dates: list[dt.datetime], exceptions: list[dt.datetime]
) -> None:
    assume(not exceptions or not ("HOURLY" in rule or "MINUTELY" in rule))
    home = zoneinfo.ZoneInfo(zone)
    made = Recurrence.of(start.replace(tzinfo=home), rule + (end if rule else ""), dates=dates, exceptions=exceptions)
    assert Recurrence.from_dict(json.loads(json.dumps(made.to_dict()))) == made


GARBAGE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)
GOOD = dataclasses.replace(Recurrence.of(NINE, "FREQ=DAILY;COUNT=9"), exceptions=(wall("2026-01-06 09:00"),)).to_dict()


@settings(max_examples=80, deadline=None)
@given(data=st.one_of(GARBAGE, st.dictionaries(st.sampled_from(sorted(GOOD)), GARBAGE).map(lambda bad: GOOD | bad)))
@example(data={})
@example(data=GOOD | {"start": "2026-01-05T09:00:00Z"})
@example(data=GOOD | {"rule": "FREQ=DAILY;COUNT=3"})
@example(data=GOOD | {"zone": ["Europe/Berlin"]})
@example(data=GOOD | {"exceptions": "2026-01-06T09:00:00"})
@example(data=GOOD | {"exceptions": [None]})
def test_json_of_another_shape_is_refused(data: Any) -> None:
    read = made_or_refused(lambda: Recurrence.from_dict(data))
    assert read is None or Recurrence.from_dict(read.to_dict()) == read
