"""When and how long: what people write."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harborcal.cli.durations import minutes_of, seconds_of
from harborcal.cli.times import WEEKDAYS, parse_day, parse_time, parse_when, place

BERLIN = ZoneInfo("Europe/Berlin")
NOW = dt.datetime(2026, 3, 4, 13, 0, 30, 500, tzinfo=dt.UTC)  # a Wednesday, 14:00 in Berlin


def when(text: str, zone: ZoneInfo = BERLIN) -> str:
    return f"{parse_when(text, NOW, zone).astimezone(zone):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-03-04 14:00:30"),
        ("in 20m", "2026-03-04 14:20:30"),
        ("in 2 hours", "2026-03-04 16:00:30"),
        ("in 1h 30m", "2026-03-04 15:30:30"),
        ("15:30", "2026-03-04 15:30:00"),
        ("at 15:30:15", "2026-03-04 15:30:15"),
        ("3:30pm", "2026-03-04 15:30:00"),
        ("today 09:30", "2026-03-04 09:30:00"),
        ("tomorrow 09:30", "2026-03-05 09:30:00"),
        ("Tomorrow at 9:30 PM", "2026-03-05 21:30:00"),
        ("9:30 tomorrow", "2026-03-05 09:30:00"),
        ("tomorrow noon", "2026-03-05 12:00:00"),
        ("tomorrow, midnight", "2026-03-05 00:00:00"),
        ("tomorrow 12am", "2026-03-05 00:00:00"),
        ("tomorrow 12pm", "2026-03-05 12:00:00"),
        ("monday 9:00", "2026-03-09 09:00:00"),
        ("on fri at 9:00", "2026-03-06 09:00:00"),
        ("wednesday 15:00", "2026-03-04 15:00:00"),
        ("wednesday 9:00", "2026-03-11 09:00:00"),
        ("next wednesday 15:00", "2026-03-11 15:00:00"),
        ("2026-03-05 09:30", "2026-03-05 09:30:00"),
        ("2026-03-05T09:30:15", "2026-03-05 09:30:15"),
        ("2026-03-05t09:30z", "2026-03-05 10:30:00"),
        ("2026-03-05T09:30+05:30", "2026-03-05 05:00:00"),
        ("2026-03-05 at 9am", "2026-03-05 09:00:00"),
    ],
)
def test_a_moment_is_read_in_its_zone(text: str, meant: str) -> None:
    assert when(text) == meant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("09:30", "is past today; write 'tomorrow 09:30', or 'today 09:30'"),
        ("tomorrow", "lacks a time of day, as in 'tomorrow 09:30'"),
        ("tomorrow 9", "lacks a time of day, as in 'tomorrow 09:30'"),
        ("monday", "lacks a time of day, as in 'monday 09:30'"),
        ("9", "is no time; write one as '09:30'"),
        ("soon", "is no time; write one as '09:30'"),
        ("", "is no time"),
        ("next week 9:00", "is no time"),
        ("t 9:00", "is no time"),
        ("25:00", "hour must be in 0..23"),
        ("9:75", "minute must be in 0..59"),
        ("13pm", "with am and pm hours are 1 to 12"),
        ("in 20", "of what? write a duration as '25m'"),
        ("in a bit", "is no duration; write one as '25m'"),
        ("in 99999999d", "is too far away"),
        ("2026-02-30 09:00", "is no date and time: day is out of range for month"),
        ("2026-02-30 at 9am", "2026-02-30 is no day"),
        ("0001-01-01T00:00+14:00", "is too far away"),
        ("9" * 200, "is too long for a time"),
    ],
)
def test_what_is_no_moment_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?").replace(".", r"\.")):
        when(text)


def test_a_time_that_the_clocks_skip_is_refused_and_its_neighbours_are_named() -> None:
    with pytest.raises(ValueError, match=r"02:30 on 2026-03-29 does not exist in Europe/Berlin") as refusal:
        when("2026-03-29 02:30")
    assert "'2026-03-29 01:30' and '2026-03-29 03:30' do" in str(refusal.value)
    assert when("2026-03-29 01:30") == "2026-03-29 01:30:00"
    assert when("2026-03-29 03:30") == "2026-03-29 03:30:00"


def test_a_time_that_comes_twice_means_the_first() -> None:
    first = parse_when("2026-10-25 02:30", NOW, BERLIN)
    assert first == dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)


def test_a_while_from_now_is_real_time_also_over_a_change_of_the_clocks() -> None:
    before = dt.datetime(2026, 3, 29, 0, 30, tzinfo=dt.UTC)  # 01:30 in Berlin
    assert parse_when("in 1h", before, BERLIN).astimezone(BERLIN).hour == 3


WALLS = st.datetimes(dt.datetime(2026, 3, 5), dt.datetime(2099, 1, 1)).map(lambda wall: wall.replace(microsecond=0))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]).map(
    ZoneInfo
)


@given(WALLS, ZONES)
@example(dt.datetime(2026, 3, 29, 2, 30), BERLIN)
@example(dt.datetime(2026, 10, 4, 2, 15), ZoneInfo("Australia/Lord_Howe"))
def test_a_date_and_time_is_what_the_clocks_will_show_or_is_refused(wall: dt.datetime, zone: ZoneInfo) -> None:
    try:
        found = parse_when(f"{wall:%Y-%m-%d %H:%M:%S}", NOW, zone)
    except ValueError as error:
        assert "does not exist" in str(error)
        # No instant around it is shown as this wall time.
        around = (wall.replace(tzinfo=dt.UTC) + dt.timedelta(minutes=minute) for minute in range(-15 * 60, 15 * 60, 15))
        assert all(instant.astimezone(zone).replace(tzinfo=None) != wall for instant in around)
    else:
        assert found.astimezone(zone).replace(tzinfo=None) == wall
        earlier = found - dt.timedelta(hours=1)
        assert earlier.astimezone(zone).replace(tzinfo=None) != wall, "of two it is the first"


@given(st.integers(0, 6), st.times(), st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2030, 1, 1)))
def test_a_weekday_is_the_coming_one(weekday: int, time: dt.time, now: dt.datetime) -> None:
    present = now.replace(tzinfo=dt.UTC, microsecond=0)
    found = parse_when(f"{WEEKDAYS[weekday]} {time:%H:%M:%S}", present, ZoneInfo("UTC"))
    assert found.weekday() == weekday
    assert dt.timedelta() <= found - present < dt.timedelta(days=7)


@given(st.text(max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for read in (
        lambda: parse_when(text, NOW, BERLIN),
        lambda: parse_day(text, NOW.date()),
        lambda: parse_time(text),
        lambda: minutes_of(text),
        lambda: seconds_of(text),
    ):
        try:
            read()
        except ValueError as error:
            assert str(error)


def test_a_day_has_names() -> None:
    today = dt.date(2026, 3, 4)
    days = {"today": 4, "tomorrow": 5, "yesterday": 3, "wednesday": 4, "thu": 5, "tues": 10, "2026-03-31": 31}
    assert {text: parse_day(text, today).day for text in days} == days
    with pytest.raises(ValueError, match="'someday' is no day; write one as 'today'"):
        parse_day("someday", today)


def test_a_date_beyond_all_calendars_is_refused() -> None:
    with pytest.raises(ValueError, match="too far away"):
        place(dt.datetime(1, 1, 1), ZoneInfo("Asia/Tokyo"))


# --- how long ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("25m", 25),
        ("25", 25),
        ("1h", 60),
        ("90s", 2),
        ("60s", 1),
        ("61 seconds", 2),
        ("1h30m", 90),
        ("1.5h", 90),
        ("0.5", 1),
    ],
)
def test_slots_last_whole_minutes_rounded_up(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["0", "0m", "-5"])
def test_a_slot_lasts_a_minute_at_least(text: str) -> None:
    with pytest.raises(ValueError, match="a slot lasts a minute at least"):
        minutes_of(text)


@pytest.mark.parametrize("text", ["", "m", "5 parsecs", "1h and a bit", "5m!", "1e3", "nan", "inf"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write one as '25m', '1h', '90s' or '1h30m'"):
        seconds_of(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    assert seconds_of(f"{hours}h{minutes}m{seconds}s") == total
    assert seconds_of(f"{hours} hours {minutes} min {seconds} sec") == total
    if total:
        assert minutes_of(f"{hours}h {minutes}m {seconds}s") == -(-total // 60)
