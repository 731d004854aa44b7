"""How often: RRULEs and words, and where a recurrence begins."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborcal.cli.recurrences import PHRASES, coming, recurrence_of, rule_of, split_time

BERLIN = ZoneInfo("Europe/Berlin")
NOW = dt.datetime(2026, 3, 4, 13, tzinfo=dt.UTC)  # a Wednesday, 14:00 in Berlin
NINE = dt.time(9)


def begins(rule: str, at: dt.time = NINE, zone: ZoneInfo = BERLIN, until: dt.date | None = None) -> list[str]:
    made = recurrence_of(rule, at, zone, earliest=NOW, until=until)
    return [f"{moment.astimezone(zone):%a %m-%d %H:%M}" for moment in coming(made, NOW, 3)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("every day", "FREQ=DAILY"),
        ("daily", "FREQ=DAILY"),
        ("every 3 days", "FREQ=DAILY;INTERVAL=3"),
        ("every other day", "FREQ=DAILY;INTERVAL=2"),
        ("Every Weekday", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
        ("weekdays", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
        ("every working day", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
        ("every weekend", "FREQ=WEEKLY;BYDAY=SA,SU"),
        ("every monday", "FREQ=WEEKLY;BYDAY=MO"),
        ("mondays", "FREQ=WEEKLY;BYDAY=MO"),
        ("every wednesday and monday", "FREQ=WEEKLY;BYDAY=MO,WE"),
        ("every mon, wed, and fri", "FREQ=WEEKLY;BYDAY=MO,WE,FR"),
        ("every other friday", "FREQ=WEEKLY;INTERVAL=2;BYDAY=FR"),
        ("every week", "FREQ=WEEKLY"),
        ("weekly on tuesday", "FREQ=WEEKLY;BYDAY=TU"),
        ("every 2 weeks on friday", "FREQ=WEEKLY;INTERVAL=2;BYDAY=FR"),
        ("first monday of the month", "FREQ=MONTHLY;BYDAY=1MO"),
        ("every third friday of the month", "FREQ=MONTHLY;BYDAY=3FR"),
        ("the last day of the month", "FREQ=MONTHLY;BYMONTHDAY=-1"),
        ("last weekday of every month", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
        ("2nd tuesday of each month", "FREQ=MONTHLY;BYDAY=2TU"),
        ("every month on the 15th", "FREQ=MONTHLY;BYMONTHDAY=15"),
        ("every 3 months on day 1", "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=1"),
        ("the 1st of every month", "FREQ=MONTHLY;BYMONTHDAY=1"),
        ("every year on march 5", "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=5"),
        ("yearly on the 5th of march", "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=5"),
        ("every hour", "FREQ=HOURLY"),
        ("every 45 minutes", "FREQ=MINUTELY;INTERVAL=45"),
        ("RRULE:FREQ=DAILY;COUNT=3", "FREQ=DAILY;COUNT=3"),
        (" freq=daily ", "freq=daily"),
    ],
)
def test_words_mean_rules(text: str, rule: str) -> None:
    assert rule_of(text) == rule


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.example)
def test_every_example_is_understood_by_its_own_line_of_the_table(phrase: object) -> None:
    example = phrase.example  # type: ignore[attr-defined]
    assert next(one for one in PHRASES if one.pattern.fullmatch(example)) is phrase
    assert begins(rule_of(example))


def test_what_is_not_understood_is_answered_with_examples() -> None:
    with pytest.raises(ValueError, match="'every blue moon' is not understood") as refusal:
        rule_of("every blue moon")
    assert all(f"'{phrase.example}'" in str(refusal.value) for phrase in PHRASES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("every mondat", "'mondat' is no weekday"),
        ("first mondat of the month", "'mondat' is no weekday"),
        ("every 0 days", "no such thing as every 0"),
        ("every month on the 32nd", "not understood"),
        ("every month on the 32th", "a month has days 1 to 31"),
        ("fifth monday of the month", "not every month has one"),
        ("every year on 5", "not understood"),
        ("x" * 500, "not understood"),
    ],
)
def test_parts_that_make_no_sense_are_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rule_of(text.replace("32nd", "thirty-second"))


@given(st.text(alphabet="abcdefghimnoprstuvwy0123456789 ,=;", max_size=60))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        recurrence_of(rule_of(text), NINE, BERLIN, earliest=NOW)
    except ValueError as error:
        assert str(error)


def test_a_time_of_day_may_follow() -> None:
    assert split_time("every weekday at 9:30") == ("every weekday", dt.time(9, 30))
    assert split_time("every saturday") == ("every saturday", None)
    with pytest.raises(ValueError, match="no time of day"):
        split_time("every day at some time")


# --- where it begins --------------------------------------------------------------------------------------------------


def test_the_first_occurrence_is_the_first_that_is_still_to_come() -> None:
    assert begins("FREQ=DAILY") == ["Thu 03-05 09:00", "Fri 03-06 09:00", "Sat 03-07 09:00"]
    assert begins("FREQ=DAILY", dt.time(15)) == ["Wed 03-04 15:00", "Thu 03-05 15:00", "Fri 03-06 15:00"]


def test_weeks_are_counted_from_the_first_occurrence_not_from_today() -> None:
    assert begins("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO") == ["Mon 03-09 09:00", "Mon 03-23 09:00", "Mon 04-06 09:00"]


def test_steps_of_hours_keep_their_phase_and_nothing_begins_in_the_past() -> None:
    assert begins("FREQ=HOURLY;INTERVAL=2") == ["Wed 03-04 15:00", "Wed 03-04 17:00", "Wed 03-04 19:00"]


def test_a_count_is_counted_from_the_first_occurrence() -> None:
    made = recurrence_of("FREQ=DAILY;COUNT=2", NINE, BERLIN, earliest=NOW)
    assert len(coming(made, NOW, 10)) == 2


def test_a_last_day_counts_in_the_zone() -> None:
    assert begins("FREQ=DAILY", until=dt.date(2026, 3, 6)) == ["Thu 03-05 09:00", "Fri 03-06 09:00"]


def test_a_first_occurrence_that_the_clocks_skip_does_not_move_all_others() -> None:
    before = dt.datetime(2026, 3, 29, 0, 0, tzinfo=dt.UTC)
    made = recurrence_of("FREQ=DAILY", dt.time(2, 30), BERLIN, earliest=before)
    shown = [f"{moment.astimezone(BERLIN):%d %H:%M}" for moment in coming(made, before, 2)]
    assert shown == ["29 03:30", "30 02:30"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=BLAH", "FREQ is one of"),
        ("FREQ=DAILY;BLAH=1", "BLAH"),
        ("FREQ=DAILY;UNTIL=20200101", "is over before it begins"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never occurs"),
        ("FREQ=SECONDLY", "FREQ is one of"),
    ],
)
def test_a_rule_that_yields_nothing_is_refused_in_words(rule: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        begins(rule)


@given(
    st.sampled_from(
        ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TH", "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU", "FREQ=MONTHLY;BYDAY=-1FR"]
    ),
    st.times().map(lambda time: time.replace(microsecond=0, second=0)),
    st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2030, 1, 1)),
)
def test_a_recurrence_begins_soon_and_never_in_the_past(rule: str, at: dt.time, now: dt.datetime) -> None:
    present = now.replace(tzinfo=dt.UTC, microsecond=0)
    first, *_ = coming(recurrence_of(rule, at, BERLIN, earliest=present), present - dt.timedelta(days=400), 1)
    assert present <= first <= present + dt.timedelta(days=36), "no interval is waited for before it begins"
