"""Files that calendar applications import, and that harborcal reads as what was written."""

import dataclasses
import datetime as dt
import zoneinfo
from typing import Any

import icalendar
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harborcal.calendar.ical.reading import IcsEvent, read
from harborcal.calendar.ical.writing import IcsEntry, write
from harborcal.errors import ConfigurationError
from harborcal.grammar import clean
from harborcal.version import __version__

STAMP = dt.datetime(2026, 1, 5, 8, 0, 0, 999_999, tzinfo=dt.UTC)
NINE = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)
HALF_AN_HOUR = dt.timedelta(minutes=30)

PLAIN = IcsEntry(
    uid="slot-7@harborcal",
    title="Triage",
    starts_at=NINE,
    ends_at=NINE + HALF_AN_HOUR,
    status="CONFIRMED",
    created_at=NINE - dt.timedelta(days=2),
    updated_at=NINE - dt.timedelta(days=1),
)


def entry(**fields: Any) -> IcsEntry:
    return dataclasses.replace(PLAIN, **fields)


def written(*entries: IcsEntry, name: str = "dev") -> bytes:
    return write(entries, name=name, stamp=STAMP)


def unfolded(data: bytes) -> list[str]:
    return data.decode().replace("\r\n ", "").split("\r\n")


def read_back(one: IcsEntry) -> IcsEvent:
    file = read(written(one))
    assert (file.left_out, file.is_partial) == ((), False)
    (event,) = file.events
    return event


def test_an_entry_is_written_with_all_that_applications_want() -> None:
    one = entry(
        title="Triage, then tea",
        priority=5,
        sequence=2,
        description="Two lines;\nof text",
        categories=("Support", "a,b"),
        extras={"X-HARBORCAL-STATUS": "finished", "X-HARBORCAL-AGENT": "dev"},
    )
    assert written(one, name="dev's day").decode().split("\r\n") == [
        "BEGIN:VCALENDAR",
        f"PRODID:-//harborcal//harborcal {__version__}//EN",
        "VERSION:2.0",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        "X-WR-CALNAME:dev's day",
        "BEGIN:VEVENT",
        "UID:slot-7@harborcal",
        "DTSTAMP:20260105T080000Z",
        "DTSTART:20260105T090000Z",
        "DTEND:20260105T093000Z",
        r"SUMMARY:Triage\, then tea",
        r"DESCRIPTION:Two lines\;\nof text",
        r"CATEGORIES:Support,a\,b",
        "STATUS:CONFIRMED",
        "PRIORITY:5",
        "SEQUENCE:2",
        "CREATED:20260103T090000Z",
        "LAST-MODIFIED:20260104T090000Z",
        "TRANSP:OPAQUE",
        "X-HARBORCAL-AGENT:dev",
        "X-HARBORCAL-STATUS:finished",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ]


def test_a_file_without_entries_is_a_calendar() -> None:
    file = read(written(name="Nobody's"))
    assert (file.name, file.events, file.left_out) == ("Nobody's", (), ())


def test_times_are_written_in_utc_to_the_second() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    starts_at = dt.datetime(2026, 7, 6, 9, 0, 0, 999_999, tzinfo=berlin)
    lines = unfolded(written(entry(starts_at=starts_at, ends_at=starts_at + HALF_AN_HOUR)))
    assert {"DTSTART:20260706T070000Z", "DTEND:20260706T073000Z"} < set(lines)


def test_an_entry_that_ends_as_it_starts_has_no_end() -> None:
    one = entry(ends_at=NINE + dt.timedelta(microseconds=1))
    assert not any(line.startswith("DTEND") for line in unfolded(written(one)))
    assert read_back(one).duration == dt.timedelta()


def test_the_order_in_which_entries_come_does_not_matter() -> None:
    entries = [
        entry(uid=f"slot-{n}", starts_at=NINE + n * HALF_AN_HOUR, ends_at=NINE + 9 * HALF_AN_HOUR) for n in range(9)
    ]
    assert written(*entries) == written(*reversed(entries))
    uids = [line for line in unfolded(written(*reversed(entries))) if line.startswith("UID")]
    assert uids == [f"UID:slot-{n}" for n in range(9)]


def test_two_entries_with_one_uid_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two entries have the uid 'slot-7@harborcal'"):
        written(PLAIN, entry(starts_at=NINE - HALF_AN_HOUR))


def test_a_stamp_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stamp is an aware datetime"):
        write([], name="dev", stamp=STAMP.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"uid": ""}, "a uid is 1..255 printable characters"),
        ({"uid": "a\nb"}, "a uid is 1..255 printable characters"),
        ({"uid": "x" * 256}, "a uid is 1..255 printable characters"),
        ({"starts_at": NINE.replace(tzinfo=None)}, "starts_at is an aware datetime"),
        ({"ends_at": NINE.replace(tzinfo=None)}, "ends_at is an aware datetime"),
        ({"created_at": "2026-01-05"}, "created_at is an aware datetime"),
        ({"updated_at": None}, "updated_at is an aware datetime"),
        ({"ends_at": NINE - dt.timedelta(seconds=1)}, "an event ends after it starts"),
        ({"status": "finished"}, "a status is one of CANCELLED CONFIRMED TENTATIVE"),
        ({"priority": 10}, "priority is a whole number, 0..9, not 10"),
        ({"priority": True}, "priority is a whole number"),
        ({"sequence": -1}, "sequence is a whole number"),
        ({"sequence": 2**31}, "sequence is a whole number"),
        ({"extras": {"X-OTHER": "1"}}, "an extra is named X-HARBORCAL-"),
        ({"extras": {"X-HARBORCAL-A:B\r\nC": "1"}}, "an extra is named X-HARBORCAL-"),
    ],
)
def test_an_entry_out_of_range_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        entry(**fields)


HOSTILE = [
    "",
    "a;b,c\\d:e\"f'g",
    "C:\\New\\new",
    "\\",
    "\\n\\N\\,\\;",
    "two\nlines\r\nand\rmore\tand\x0bmore\u2028end",
    "control \x00\x07\x1b\x7f\x85 bidi \u202e\u2066 half \ud800",
    "END:VEVENT\r\nEND:VCALENDAR\r\n",
    "👩‍🚀🧊" * 60,
    "ü" * 199,
    " leading and trailing ",
    "x" * 5_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_is_read_as_it_is_cleaned(text: str) -> None:
    one = entry(title=text, description=text, categories=(text,), extras={"X-HARBORCAL-TEXT": text})
    event = read_back(one)
    assert event.title == clean(text, 200).strip()
    assert event.categories == ((category,) if (category := clean(text, 100).strip()) else ())
    assert len(event.description) <= 2_000
    assert event.uid == one.uid


def test_lines_of_a_description_stay_lines() -> None:
    (line,) = (
        line for line in unfolded(written(entry(description="a\r\nb\u202e\n\nc\\n"))) if line[:11] == "DESCRIPTION"
    )
    assert line == r"DESCRIPTION:a\nb\n\nc\\n"


def test_a_description_is_at_most_2000_characters_long() -> None:
    text = "line\n" * 1_000
    assert len(icalendar.Event.from_ical(event_of(entry(description=text))).decoded("DESCRIPTION")) == 2_000


def event_of(one: IcsEntry) -> bytes:
    data = written(one)
    return data[data.index(b"BEGIN:VEVENT") : data.index(b"END:VCALENDAR")]


texts = st.text(max_size=120) | st.sampled_from(HOSTILE)
instants = st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1)).map(lambda wall: wall.replace(tzinfo=dt.UTC))
entries_of_a_day = st.builds(
    lambda starts_at, minutes, **fields: entry(
        starts_at=starts_at, ends_at=starts_at + dt.timedelta(minutes=minutes), **fields
    ),
    starts_at=instants,
    minutes=st.integers(0, 1_440),
    uid=st.text(min_size=1, max_size=200).map(lambda text: clean(text, 255).strip() or "uid"),
    title=texts,
    status=st.sampled_from(["TENTATIVE", "CONFIRMED", "CANCELLED"]),
    priority=st.integers(0, 9),
    sequence=st.integers(0, 2**31 - 1),
    created_at=instants,
    updated_at=instants,
    description=texts,
    categories=st.lists(texts, max_size=3).map(tuple),
    extras=st.dictionaries(st.from_regex(r"X-HARBORCAL-[A-Z0-9-]{1,20}", fullmatch=True), texts, max_size=2),
)


@settings(deadline=None)
@given(st.lists(entries_of_a_day, max_size=5, unique_by=lambda one: one.uid), texts)
def test_what_is_written_is_read_as_it_was(entries: list[IcsEntry], name: str) -> None:
    data = write(entries, name=name, stamp=STAMP)
    file = read(data)
    assert (file.left_out, file.name) == ((), clean(name, 200).strip())
    assert sorted(
        (event.uid, event.title, event.starts_at, event.starts_at + event.duration, event.priority, event.sequence)
        for event in file.events
    ) == sorted(
        (
            one.uid,
            clean(one.title, 200).strip(),
            one.starts_at.replace(microsecond=0),
            one.ends_at.replace(microsecond=0),
            one.priority,
            one.sequence,
        )
        for one in entries
    )
    assert {event.uid for event in file.events if event.is_cancelled} == {
        one.uid for one in entries if one.status == "CANCELLED"
    }
    assert not any(event.notes or event.recurrence for event in file.events)


@settings(deadline=None)
@given(st.lists(entries_of_a_day, max_size=3, unique_by=lambda one: one.uid), texts)
def test_every_line_is_short_ended_and_of_whole_characters(entries: list[IcsEntry], name: str) -> None:
    data = write(entries, name=name, stamp=STAMP)
    lines = data.split(b"\r\n")
    assert lines.pop() == b""
    assert max(map(len, lines)) <= 75
    for line in lines:
        assert line.decode().isprintable()
    assert (
        sum(line == b"BEGIN:VEVENT" for line in lines) == sum(line == b"END:VEVENT" for line in lines) == len(entries)
    )


@settings(deadline=None)
@given(st.lists(entries_of_a_day, max_size=3, unique_by=lambda one: one.uid))
def test_another_reader_reads_the_same(entries: list[IcsEntry]) -> None:
    calendar = icalendar.Calendar.from_ical(write(entries, name="dev", stamp=STAMP))
    assert {
        (str(event["UID"]), event.decoded("DTSTART"), str(event["STATUS"])) for event in calendar.walk("VEVENT")
    } == {(one.uid, one.starts_at.replace(microsecond=0), one.status) for one in entries}
