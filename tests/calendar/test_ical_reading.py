"""Files as calendar applications export them, and as nobody should, become events or reasons."""

import codecs
import dataclasses
import datetime as dt
import itertools
import zoneinfo
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harborcal.calendar.ical.components import MAX_BYTES, MAX_EVENTS, MAX_LINES
from harborcal.calendar.ical.reading import IcsEvent, IcsFile, LeftOut, read
from harborcal.calendar.recurrence import Recurrence
from harborcal.errors import ConfigurationError, ICalendarError

FILES = Path(__file__).parent / "ics"
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
LOS_ANGELES = zoneinfo.ZoneInfo("America/Los_Angeles")
SYDNEY = zoneinfo.ZoneInfo("Australia/Sydney")
HALF_AN_HOUR = dt.timedelta(minutes=30)

CET = """\
BEGIN:VTIMEZONE
TZID:{name}
BEGIN:STANDARD
DTSTART:16011028T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010325T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE
"""


def fixture(name: str) -> bytes:
    return (FILES / f"{name}.ics").read_bytes()


def lines(text: str) -> bytes:
    return text.strip().replace("\n", "\r\n").encode() + b"\r\n"


def calendar(*blocks: str, **properties: str) -> bytes:
    """Write a VCALENDAR of blocks, each a VEVENT unless it begins another component itself."""
    head = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in properties.items())
    body = "".join(
        f"{block.strip()}\n" if block.startswith("BEGIN") else f"BEGIN:VEVENT\n{block.strip()}\nEND:VEVENT\n"
        for block in blocks
    )
    return lines(f"BEGIN:VCALENDAR\nVERSION:2.0\n{head}{body}END:VCALENDAR")


def only(file: IcsFile) -> IcsEvent:
    assert file.left_out == ()
    (event,) = file.events
    return event


def event(text: str, *more: str, zone: str = "UTC", **properties: str) -> IcsEvent:
    """Read a file of this one event, which must be taken."""
    return only(read(calendar(*more, f"UID:1\n{text}", **properties), zone=zone))


def reason(text: str, *more: str) -> str:
    """Read a file of this one event, which must be left out, and tell why it is."""
    file = read(calendar(*more, f"UID:1\n{text}"))
    assert file.events == ()
    (left_out,) = file.left_out
    assert left_out.uid == "1"
    return left_out.reason


def starts(recurrence: Recurrence | None, first: dt.date, days: int) -> list[str]:
    """List when a recurrence begins in some days, in UTC."""
    assert recurrence is not None
    dates = (first + dt.timedelta(days=day) for day in range(days))
    return [f"{occurrence.starts_at:%m-%d %H:%M}" for date in dates for occurrence in recurrence.on(date)]


def without_fingerprint(file: IcsFile) -> list[IcsEvent]:
    assert all(len(one.fingerprint) == 64 for one in file.events)
    return [dataclasses.replace(one, fingerprint="") for one in file.events]


# --- the four applications


def test_a_google_calendar_is_read() -> None:
    file = read(fixture("google"))
    uid = "3k1d8qj5m0r2t7v9@google.com"
    assert (file.name, file.is_partial, file.left_out) == ("Release crew", False, ())
    assert without_fingerprint(file) == [
        IcsEvent(
            uid=uid,
            title="Triage",
            description=(
                "Sort what came in; close what is done. <b>Bring</b> numbers, please.  "
                "-::~:~::~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~::~:~::- "
                "Join with Google Meet: https://meet.google.com/abc-defg-hij"
            ),
            location="Room 4, Hauptstraße 7",
            is_meeting=True,
            starts_at=dt.datetime(2026, 3, 2, 9, 30, tzinfo=BERLIN),
            duration=HALF_AN_HOUR,
            recurrence=Recurrence(
                start=dt.datetime(2026, 3, 2, 9, 30),
                zone="Europe/Berlin",
                rule="FREQ=WEEKLY;BYDAY=MO",
                until=dt.datetime(2026, 6, 30, 23, 59, 59),
                exceptions=(dt.datetime(2026, 3, 30, 9, 30), dt.datetime(2026, 4, 6, 9, 30)),
            ),
        ),
        IcsEvent(
            uid="60q38c1g74s30b9k@google.com",
            title="Freeze 🧊",
            starts_at=dt.datetime(2026, 5, 1, 9, tzinfo=BERLIN),
            duration=dt.timedelta(days=1),
            is_all_day=True,
        ),
        IcsEvent(
            uid="7s30b9k60q38c1g4@google.com",
            title="Cut the release",
            starts_at=dt.datetime(2026, 5, 7, 7, tzinfo=dt.UTC),
            duration=dt.timedelta(minutes=45),
        ),
        IcsEvent(
            uid=uid,
            occurrence=dt.datetime(2026, 4, 13, 7, 30, tzinfo=dt.UTC),
            occurrence_text="20260413T093000",
            title="Triage (long)",
            is_meeting=True,
            starts_at=dt.datetime(2026, 4, 13, 14, tzinfo=BERLIN),
            duration=dt.timedelta(hours=1),
            sequence=1,
        ),
        IcsEvent(
            uid=uid,
            occurrence=dt.datetime(2026, 4, 20, 7, 30, tzinfo=dt.UTC),
            occurrence_text="20260420T093000",
            title="Triage",
            starts_at=dt.datetime(2026, 4, 20, 9, 30, tzinfo=BERLIN),
            duration=HALF_AN_HOUR,
            is_cancelled=True,
            sequence=2,
        ),
    ]
    assert starts(file.events[0].recurrence, dt.date(2026, 3, 20), 30) == ["03-23 08:30", "04-13 07:30"]


def test_an_apple_calendar_is_read() -> None:
    file = read(fixture("apple"), zone="Europe/Berlin", all_day_at=dt.time(8, 15))
    assert (file.name, file.is_partial, file.left_out) == ("Night shift", False, ())
    assert without_fingerprint(file) == [
        IcsEvent(
            uid="C3E9D844-66B0-4E0F-8E63-2E7E1D9C4C44",
            title="Invoices",
            starts_at=dt.datetime(2026, 1, 1, 8, 15, tzinfo=BERLIN),
            duration=dt.timedelta(days=1),
            is_all_day=True,
            recurrence=Recurrence(
                start=dt.datetime(2026, 1, 1, 8, 15),
                zone="Europe/Berlin",
                rule="FREQ=MONTHLY",
                until=dt.datetime(2026, 6, 1, 23, 59, 59),
                exceptions=(dt.datetime(2026, 3, 1, 8, 15),),
            ),
            sequence=1,
        ),
        IcsEvent(
            uid="0B6C0F0E-2D5B-4C53-9C7B-6C5D7E9A1F10",
            title="Nightly check",
            description="Look at the dashboards. Page nobody.",
            location="Roosevelt Island 1 Main St, New York, NY 10044, United States",
            url="https://example.org/runbook?step=1&of=2",
            starts_at=dt.datetime(2026, 3, 6, 22, 15, tzinfo=NEW_YORK),
            duration=HALF_AN_HOUR,
            recurrence=Recurrence(
                start=dt.datetime(2026, 3, 6, 22, 15),
                zone="America/New_York",
                rule="FREQ=DAILY",
                until=dt.datetime(2026, 3, 10, 22, 15),
            ),
            sequence=3,
        ),
        IcsEvent(
            uid="9F1C7A33-1B1A-4B02-9A55-3D1F0C6B3B33",
            title="Stretch, wherever you are",
            starts_at=dt.datetime(2026, 3, 10, 8, 30, tzinfo=BERLIN),
            duration=dt.timedelta(minutes=45),
            notes=("floating time read as Europe/Berlin",),
        ),
        IcsEvent(
            uid="5D0A2C11-8C35-4E3C-8D7B-0F3F5B1E2A22",
            title="Long weekend",
            starts_at=dt.datetime(2026, 7, 3, 8, 15, tzinfo=BERLIN),
            duration=dt.timedelta(days=3),
            is_all_day=True,
        ),
    ]
    nightly = file.events[1].recurrence
    assert starts(nightly, dt.date(2026, 3, 7), 4) == ["03-07 03:15", "03-08 03:15", "03-09 02:15", "03-10 02:15"]


def test_an_outlook_calendar_is_read() -> None:
    file = read(fixture("outlook"), zone="Europe/Berlin")
    head = "040000008200E00074C5B7101A82E00800000000"
    numbers = f"{head}10B4C2A1F7A7DC01000000000000000010000000A1B2C3D4E5F60718293A4B5C6D7E8F90"
    assert (file.name, file.is_partial, file.left_out) == ("{0000002E-CA9F-43D8-B33A-5F1B7A6C1D2E}", False, ())
    assert without_fingerprint(file) == [
        IcsEvent(
            uid=numbers,
            title="Numbers",
            description="Numbers first, then news.",
            location="Microsoft Teams Meeting",
            categories=("Red Category", "Support"),
            is_meeting=True,
            starts_at=dt.datetime(2026, 3, 3, 10, tzinfo=BERLIN),
            duration=dt.timedelta(minutes=45),
            recurrence=Recurrence(
                start=dt.datetime(2026, 3, 3, 10),
                zone="Europe/Berlin",
                rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;WKST=SU",
                until=dt.datetime(2026, 4, 30, 10),
                exceptions=(dt.datetime(2026, 3, 5, 10), dt.datetime(2026, 4, 2, 10)),
            ),
            priority=5,
        ),
        IcsEvent(
            uid=f"{head}A06B35D2F7A7DC010000000000000000100000001F2E3D4C5B6A79880796A5B4C3D2E1F0",
            title="Backups",
            starts_at=dt.datetime(2026, 3, 6, 9, tzinfo=BERLIN),
            duration=dt.timedelta(days=1),
            is_all_day=True,
            recurrence=Recurrence(
                start=dt.datetime(2026, 3, 6, 9),
                zone="Europe/Berlin",
                rule="FREQ=WEEKLY;BYDAY=FR;WKST=SU",
                until=dt.datetime(2026, 4, 3, 23, 59, 59),
                exceptions=(dt.datetime(2026, 3, 20, 9),),
            ),
            priority=5,
        ),
        IcsEvent(
            uid=numbers,
            occurrence=dt.datetime(2026, 3, 31, 8, tzinfo=dt.UTC),
            occurrence_text="20260331T100000",
            title="Numbers, at noon",
            starts_at=dt.datetime(2026, 3, 31, 12, tzinfo=BERLIN),
            duration=dt.timedelta(minutes=45),
            priority=1,
        ),
    ]
    assert starts(file.events[0].recurrence, dt.date(2026, 3, 1), 40) == [
        *("03-03 09:00", "03-17 09:00", "03-19 09:00", "03-31 08:00"),
    ]


def test_outlooks_own_time_zones_are_read_as_zones_with_the_same_offsets() -> None:
    file = read(fixture("outlook_custom_zone"))
    uid = "040000008200E00074C5B7101A82E008000000000000000"
    assert without_fingerprint(file) == [
        IcsEvent(
            uid=f"{uid}1",
            title="West coast call",
            starts_at=dt.datetime(2026, 3, 5, 9, tzinfo=LOS_ANGELES),
            duration=HALF_AN_HOUR,
            recurrence=Recurrence(
                start=dt.datetime(2026, 3, 5, 9),
                zone="America/Los_Angeles",
                rule="FREQ=WEEKLY;BYDAY=TH;WKST=SU",
                until=dt.datetime(2026, 3, 19, 9),
            ),
            priority=5,
            notes=("time zone 'Customized Time Zone' read as America/Los_Angeles",),
        ),
        IcsEvent(
            uid=f"{uid}2",
            title="Audit",
            starts_at=dt.datetime(2026, 7, 6, 10, tzinfo=zoneinfo.ZoneInfo("Europe/Amsterdam")),
            duration=dt.timedelta(hours=1),
            notes=(
                "time zone '(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna' read as Europe/Amsterdam",
            ),
        ),
        IcsEvent(
            uid=f"{uid}3",
            title="Once on site",
            starts_at=dt.datetime(2026, 7, 6, 9, tzinfo=dt.UTC),
            duration=HALF_AN_HOUR,
            notes=("time zone 'Site time' is known from this file alone: read as UTC",),
        ),
    ]
    assert file.left_out == (
        LeftOut(
            uid=f"{uid}4",
            title="Daily on site",
            reason="it recurs in a time zone of the file's own, which is like none that is known",
        ),
    )


def test_a_thunderbird_calendar_is_read() -> None:
    file = read(fixture("thunderbird"))
    uid = "b6a1f7c2-0d1e-4f3a-8b2c-00000000000"
    assert (file.name, file.is_partial, file.left_out) == ("", False, (LeftOut(reason="1 VTODO is no event"),))
    assert without_fingerprint(file) == [
        IcsEvent(
            uid=f"{uid}2",
            title="Rotate the keys",
            categories=("Essential", "Ops", "On, call"),
            starts_at=dt.datetime(2026, 3, 30, 8, tzinfo=SYDNEY),
            duration=HALF_AN_HOUR,
            recurrence=Recurrence(
                start=dt.datetime(2026, 3, 30, 8),
                zone="Australia/Sydney",
                dates=(
                    dt.datetime(2026, 4, 6, 8),
                    dt.datetime(2026, 4, 13, 8),
                    dt.datetime(2026, 4, 20, 7),
                    dt.datetime(2026, 4, 28, 8),
                ),
                exceptions=(dt.datetime(2026, 4, 13, 8),),
            ),
            priority=1,
            notes=("the lengths of periods in RDATE are ignored",),
        ),
        IcsEvent(
            uid=f"{uid}3",
            title="Move the servers",
            starts_at=dt.datetime(2026, 10, 5, 10, tzinfo=SYDNEY),
            duration=dt.timedelta(minutes=90),
            priority=9,
            is_cancelled=True,
            sequence=2,
        ),
    ]


# --- the file as a whole


@pytest.mark.parametrize(
    "data", [b"", "", b"\0", b"<html>", b"BEGIN:VCARD\r\nEND:VCARD\r\n", b"BEGIN:VEVENT\nEND:VEVENT"]
)
def test_what_has_no_calendar_in_it_is_an_error(data: bytes | str) -> None:
    with pytest.raises(ICalendarError, match="no VCALENDAR"):
        read(data)


def test_a_calendar_without_events_is_a_file_without_events() -> None:
    assert read(calendar(NAME="Empty")) == IcsFile(name="Empty")


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"NAME": "n", "X_WR_CALNAME": "c", "X_WR_RELCALID": "r"}, "r"),
        ({"NAME": "n", "X_WR_CALNAME": "c", "X_WR_RELCALID": " "}, "c"),
        ({"NAME": "two\\, lines\\n"}, "two, lines"),
    ],
)
def test_a_calendar_is_named_by_its_id_then_its_names(properties: dict[str, str], name: str) -> None:
    assert read(calendar(**properties)).name == name


@pytest.mark.parametrize(
    ("limit", "data"),
    [
        ("10485760 bytes", b"BEGIN:VCALENDAR\r\n" + b" " * MAX_BYTES),
        ("10485760 bytes", "BEGIN:VCALENDAR\r\n" + "ü" * (MAX_BYTES // 2)),
        ("500000 lines", b"BEGIN:VCALENDAR\r\n" + b"A\n" * MAX_LINES),
        ("5000 events", b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\nEND:VEVENT\r\n" * (MAX_EVENTS + 1)),
    ],
    ids=["bytes", "characters", "lines", "events"],
)
def test_a_file_over_a_limit_is_an_error_that_names_it(limit: str, data: bytes | str) -> None:
    with pytest.raises(ICalendarError, match=f"more than {limit}|larger than {limit}"):
        read(data)


def test_a_file_at_the_limit_of_events_is_read() -> None:
    text = "".join(f"BEGIN:VEVENT\nUID:{n}\nDTSTART:20260105T090000Z\nEND:VEVENT\n" for n in range(MAX_EVENTS))
    assert len(read(f"BEGIN:VCALENDAR\n{text}END:VCALENDAR\n").events) == MAX_EVENTS


def test_all_calendars_of_a_file_are_read() -> None:
    file = read(fixture("thunderbird") + fixture("google"))
    assert file.name == "Release crew"
    assert {one.uid for one in file.events} == {
        *(one.uid for one in read(fixture("google")).events),
        *(one.uid for one in read(fixture("thunderbird")).events),
    }
    assert list(file.events) == sorted(file.events, key=lambda one: (one.occurrence is not None, one.starts_at))


@pytest.mark.parametrize(
    ("method", "is_partial"), [("PUBLISH", False), ("publish", False), ("REQUEST", True), ("ADD", True)]
)
def test_a_file_with_another_method_than_publish_is_partial(method: str, is_partial: bool) -> None:
    file = read(calendar("UID:1\nDTSTART:20260105T090000Z", METHOD=method))
    assert (file.is_partial, len(file.events)) == (is_partial, 1)


def test_a_file_with_method_cancel_cancels_its_events() -> None:
    assert read(calendar("UID:1\nDTSTART:20260105T090000Z", METHOD="CANCEL")).events[0].is_cancelled


@pytest.mark.parametrize("method", ["REPLY", "COUNTER", "REFRESH", "DECLINECOUNTER"])
def test_answers_to_invitations_are_left_out(method: str) -> None:
    file = read(calendar("UID:1\nDTSTART:20260105T090000Z", METHOD=method))
    assert [left_out.reason for left_out in file.left_out] == [
        f"METHOD:{method} answers an invitation and plans nothing"
    ]


def test_what_is_no_event_is_counted_once() -> None:
    todo, journal = "BEGIN:VTODO\nUID:2\nEND:VTODO\n", "BEGIN:VJOURNAL\nEND:VJOURNAL\n"
    assert read(calendar(todo, journal, todo)).left_out == (LeftOut(reason="2 VTODO, 1 VJOURNAL are no events"),)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\r\r\n", "\n\n"])
def test_any_line_ends_do(end: str) -> None:
    assert read(fixture("google").replace(b"\r\n", end.encode())) == read(fixture("google"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_any_unicode_does(encoding: str) -> None:
    text = fixture("google").decode()
    assert read(text.encode(encoding)) == read(text) == read(fixture("google"))


def test_a_line_that_is_not_utf_8_is_read_as_windows_1252() -> None:
    data = calendar("UID:1\nDTSTART:20260105T090000Z\nSUMMARY:\u20ac caf\u00e9\nLOCATION:Köln")
    latin = data.replace("\u20ac caf\u00e9".encode(), b"\x80 caf\xe9")
    assert only(read(latin)) == only(read(data))


def test_a_character_that_a_fold_cuts_in_two_is_whole_again() -> None:
    data = calendar("UID:1\nDTSTART:20260105T090000Z\nSUMMARY:Köln")
    assert only(read(data.replace(b"\xc3\xb6", b"\xc3\r\n \xb6"))).title == "Köln"


def test_nuls_and_byte_order_marks_within_a_file_do_not_count() -> None:
    data = fixture("apple")
    assert read(data.replace(b"BEGIN", codecs.BOM_UTF8 + b"BE\0GIN")) == read(data)


def test_a_zone_or_time_of_day_that_is_none_is_refused() -> None:
    for zone in ("Mars/Phobos", "", "../../etc/passwd", "localtime"):
        with pytest.raises(ConfigurationError, match="IANA name"):
            read(calendar(), zone=zone)
    for time in (dt.time(9, tzinfo=dt.UTC), dt.time(9, microsecond=1)):
        with pytest.raises(ConfigurationError, match="all_day_at"):
            read(calendar(), all_day_at=time)


# --- what is broken


def test_one_broken_event_costs_only_itself() -> None:
    file = read(calendar("UID:1\nDTSTART:soon\nSUMMARY:A\\, b", "UID:2\nDTSTART:20260105T090000Z"))
    assert [one.uid for one in file.events] == ["2"]
    assert file.left_out == (LeftOut(uid="1", title="A, b", reason="DTSTART is no date or time: 'soon'"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SUMMARY:x", "it has no DTSTART"),
        ("DTSTART:20260230T090000", "DTSTART is no date or time: '20260230T090000'"),
        ("DTSTART:20260105T250000", "DTSTART is no date or time: '20260105T250000'"),
        ("DTSTART:٢٠٢٦0105T090000", "DTSTART is no date or time: '٢٠٢٦0105T090000'"),
        ('DTSTART;TZID="Europe/Berlin:20260105T090000', "its DTSTART cannot be read"),
        (f"DTSTART{';X=1' * 5_000}:20260105T090000", "its DTSTART cannot be read"),
        ("DTSTART:00010101T000000", "DTSTART is in the years 1583 to 9997, not in 1"),
        ("DTSTART:99991231", "DTSTART is in the years 1583 to 9997, not in 9999"),
        ("DTSTART:20260105\nDTSTART:20260106", "it has more than one DTSTART"),
        ("DTSTART:20260105T090000Z\nDTEND:20260105T085959Z", "it ends before it starts"),
        ("DTSTART:20260105\nDTEND:20260104", "it ends before it starts"),
        ("DTSTART:20260105T090000Z\nDURATION:-PT1M", "it ends before it starts"),
        ("DTSTART:20260105T090000Z\nDURATION:P99999999D", "it lasts longer than 3660 days"),
        (
            "DTSTART:20260105T090000Z\nDURATION:P" + "9" * 30 + "D",
            "DURATION is no length of time: 'P" + "9" * 30 + "D'",
        ),
        ("DTSTART:20260105T090000Z\nDURATION:an hour", "DURATION is no length of time: 'an hour'"),
        ("DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "it has more than one RRULE"),
        ("DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY\nEXDATE:never", "EXDATE is no date or time: 'never'"),
        (
            "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY\nEXDATE:" + ",".join(["20260105T090000Z"] * 2_001),
            "it has more than 2000 EXDATEs",
        ),
        (
            "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY",
            "EXRULE is not supported: what it takes away would take place",
        ),
        (
            "DTSTART:20260105T090000Z\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260106T090000Z",
            "an override with RANGE=THISANDFUTURE is not supported: it would change other occurrences too",
        ),
        ("DTSTART:20260105T090000Z\nRECURRENCE-ID:", "RECURRENCE-ID is no date or time: ''"),
    ],
)
def test_an_event_that_cannot_be_read_is_left_out_with_the_reason(text: str, expected: str) -> None:
    assert reason(text) == expected


@pytest.mark.parametrize("rule", ["FREQ=SECONDLY", "FREQ=DAILY;COUNT=0", "DAILY", "FREQ=DAILY;BYEASTER=1"])
def test_a_rule_that_is_refused_is_the_reason(rule: str) -> None:
    assert reason(f"DTSTART:20260105T090000Z\nRRULE:{rule}")


def test_a_file_that_breaks_off_is_partial_and_says_so() -> None:
    data = fixture("google")
    file = read(data[: data.index(b"SUMMARY:Freeze")])
    assert file.is_partial
    assert [(left_out.uid, left_out.reason) for left_out in file.left_out] == [
        ("60q38c1g74s30b9k@google.com", "it breaks off: its END, or that of a part of it, is missing"),
        ("", "the file breaks off: events may be missing"),
    ]
    assert [one.title for one in file.events] == ["Triage", "Triage (long)", "Triage"]


def test_an_event_without_its_end_does_not_swallow_the_next() -> None:
    file = read(calendar("BEGIN:VEVENT\nUID:1\nDTSTART:20260105T090000Z", "UID:2\nDTSTART:20260105T090000Z"))
    assert ([one.uid for one in file.events], [left_out.uid for left_out in file.left_out]) == (["2"], ["1"])
    assert not file.is_partial


def test_an_alarm_without_its_end_costs_its_event() -> None:
    assert reason("DTSTART:20260105T090000Z\nBEGIN:VALARM\nRRULE:FREQ=DAILY").startswith("it breaks off")


def test_what_an_alarm_says_is_not_said_of_its_event() -> None:
    alarm = "BEGIN:VALARM\nUID:2\nSUMMARY:alarm\nDURATION:PT5M\nATTENDEE:mailto:a@example.org\nEND:VALARM"
    assert event(f"DTSTART:20260105T090000Z\n{alarm}") == event("DTSTART:20260105T090000Z")


def test_an_event_outside_of_any_calendar_is_left_out() -> None:
    file = read(calendar() + lines("BEGIN:VEVENT\nUID:1\nDTSTART:20260105T090000Z\nEND:VEVENT"))
    assert file.left_out == (LeftOut(uid="1", reason="it stands outside of any VCALENDAR"),)


def test_components_without_end_in_each_other_do_not_hide_the_events_after_them() -> None:
    deep = "BEGIN:X-DEEP\n" * 10_000
    assert [one.uid for one in read(calendar(deep, "UID:1\nDTSTART:20260105T090000Z")).events] == ["1"]
    assert event("DTSTART:20260105T090000Z\n" + deep + "END:X-DEEP\n" * 10_000).uid == "1"


def test_ends_of_what_has_not_begun_are_not_looked_for_through_all_that_has() -> None:
    deep = "BEGIN:X-DEEP\n" * 100_000 + "END:X-OTHER\n" * 100_000
    assert [one.uid for one in read(calendar(deep, "UID:1\nDTSTART:20260105T090000Z")).events] == ["1"]


def test_a_text_that_is_damaged_is_empty() -> None:
    assert event('DTSTART:20260105T090000Z\nSUMMARY;LANGUAGE="en:Broken').title == ""


@pytest.mark.parametrize(
    ("text", "priority"),
    [("0", 0), ("1", 1), ("9", 9), ("10", 0), ("-1", 0), ("high", 0), ("", 0), ("٣", 0), ("9" * 5_000, 0)],
)
def test_a_priority_is_0_to_9_and_anything_else_says_nothing(text: str, priority: int) -> None:
    assert event(f"DTSTART:20260105T090000Z\nPRIORITY:{text}").priority == priority


@pytest.mark.parametrize(("text", "sequence"), [("7", 7), ("-1", 0), ("x", 0), ("9" * 18, 2**31 - 1), ("9" * 5_000, 0)])
def test_a_sequence_is_a_number_and_anything_else_is_0(text: str, sequence: int) -> None:
    assert event(f"DTSTART:20260105T090000Z\nSEQUENCE:{text}").sequence == sequence


def test_texts_are_unescaped_cleaned_and_capped() -> None:
    one = event(
        "DTSTART:20260105T090000Z\nSUMMARY:a\\, b\\; c\\\\n d\\Ne\u202e\\t"
        f"\nDESCRIPTION:{'x' * 5_000}\nLOCATION:{'y' * 5_000}\nURL:{'z' * 5_000}"
        f"\nCATEGORIES:{'w' * 500},a\\,b,,a\\,b\nCATEGORIES:c"
    )
    assert one.title == "a, b; c\\n d e\\t"
    assert (len(one.description), len(one.location), len(one.url)) == (2_000, 500, 2_000)
    assert one.categories == ("w" * 99 + "…", "a,b", "c")


# --- uids


def test_a_long_uid_keeps_its_beginning_and_stays_its_own() -> None:
    first, second = (only(read(calendar(f"UID:{'x' * 900}{end}\nDTSTART:20260105T090000Z"))).uid for end in ("1", "2"))
    assert len(first) == len(second) == 255
    assert first[:100] == second[:100] == "x" * 100
    assert first != second


def test_an_event_without_uid_gets_the_same_one_from_the_same_content() -> None:
    def made(text: str) -> IcsEvent:
        return only(read(calendar(f"DTSTART:20260105T090000Z\n{text}")))

    first = made("SUMMARY:A\nDTSTAMP:20260101T000000Z")
    assert first.uid.startswith("harborcal-")
    assert first.notes == ("it has no UID: one was made from its content",)
    assert made("SUMMARY:A\nDTSTAMP:20260102T000000Z").uid == first.uid != made("SUMMARY:B").uid


def test_an_override_without_uid_is_left_out() -> None:
    (left_out,) = read(calendar("DTSTART:20260105T090000Z\nRECURRENCE-ID:20260105T090000Z")).left_out
    assert left_out.reason == "it overrides an occurrence, but has no UID that tells of which event"


@pytest.mark.parametrize(("first", "second", "title"), [(0, 0, "second"), (0, 1, "second"), (2, 1, "first")])
@pytest.mark.parametrize("occurrence", ["", "\nRECURRENCE-ID:20260112T090000Z"])
def test_of_the_same_event_twice_the_newer_counts(first: int, second: int, title: str, occurrence: str) -> None:
    file = read(
        calendar(
            f"UID:1\nDTSTART:20260105T090000Z\nSUMMARY:first\nSEQUENCE:{first}{occurrence}",
            f"UID:1\nDTSTART:20260105T090000Z\nSUMMARY:second\nSEQUENCE:{second}{occurrence}",
        )
    )
    assert [one.title for one in file.events] == [title]
    (left_out,) = file.left_out
    assert left_out.title != title
    assert left_out.reason == "superseded: the file has the same event again, as new or newer"


# --- times


@pytest.mark.parametrize(
    ("text", "starts_at", "duration"),
    [
        ("DTSTART:20260105T090000Z", dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC), dt.timedelta()),
        ("DTSTART:20260105T090060Z", dt.datetime(2026, 1, 5, 9, 0, 59, tzinfo=dt.UTC), dt.timedelta()),
        ("DTSTART;TZID=UTC:20260105T090000", dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC), dt.timedelta()),
        ("DTSTART;TZID=Europe/Berlin:20260105T090000Z", dt.datetime(2026, 1, 5, 10, tzinfo=BERLIN), dt.timedelta()),
        (
            "DTSTART;TZID=Europe/Berlin:20260329T000000\nDTEND;TZID=Europe/Berlin:20260329T040000",
            dt.datetime(2026, 3, 29, tzinfo=BERLIN),
            dt.timedelta(hours=3),
        ),
        (
            "DTSTART;TZID=Europe/Berlin:20260105T220000\nDTEND;TZID=America/New_York:20260105T170000",
            dt.datetime(2026, 1, 5, 22, tzinfo=BERLIN),
            dt.timedelta(hours=1),
        ),
        (
            "DTSTART;TZID=Europe/Berlin:20260105T220000\nDTEND:20260105T223000",
            dt.datetime(2026, 1, 5, 22, tzinfo=BERLIN),
            HALF_AN_HOUR,
        ),
        (
            "DTSTART:20260105T090000Z\nDURATION:P1DT2H\nDTEND:20260105T093000Z",
            dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC),
            HALF_AN_HOUR,
        ),
        ("DTSTART:20260105T090000Z\nDURATION:P1W", dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC), dt.timedelta(days=7)),
    ],
)
def test_times_are_read_with_their_zones_and_lengths(text: str, starts_at: dt.datetime, duration: dt.timedelta) -> None:
    one = event(text)
    assert (one.starts_at, one.starts_at.tzinfo, one.duration) == (starts_at, starts_at.tzinfo, duration)
    assert not one.is_all_day


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("DTSTART;VALUE=DATE:20260329", 1),
        ("DTSTART:20260329", 1),
        ("DTSTART;VALUE=DATE:20260329T000000", 1),
        ("DTSTART;VALUE=DATE:20260329\nDTEND;VALUE=DATE:20260401", 3),
        ("DTSTART;VALUE=DATE:20260329\nDTEND:20260331T000000", 2),
        ("DTSTART;VALUE=DATE:20260329\nDTEND:20260330T220000Z", 2),
        ("DTSTART;VALUE=DATE:20260329\nDURATION:P2D", 2),
        ("DTSTART;VALUE=DATE:20260329\nDTEND;VALUE=DATE:20260329", 0),
    ],
)
def test_whole_days_are_counted_in_days_and_begin_when_the_reader_wants(text: str, days: int) -> None:
    one = event(text, zone="Europe/Berlin")
    assert (one.is_all_day, one.duration) == (True, dt.timedelta(days=days))
    assert one.starts_at == dt.datetime(2026, 3, 29, 9, tzinfo=BERLIN)


def test_an_end_that_is_a_date_is_its_midnight() -> None:
    one = event("DTSTART;TZID=Europe/Berlin:20260105T220000\nDTEND;VALUE=DATE:20260106")
    assert one.duration == dt.timedelta(hours=2)
    assert one.notes == ("DTEND is a date, not a time: read as the midnight with which it begins",)


def test_floating_times_are_those_of_the_files_zone_and_else_of_the_readers() -> None:
    text = "DTSTART:20260105T090000\nDTEND:20260105T093000"
    assert event(text, zone="Australia/Sydney").starts_at == dt.datetime(2026, 1, 5, 9, tzinfo=SYDNEY)
    unknown = event(text, zone="Australia/Sydney", X_WR_TIMEZONE="Mars/Phobos")
    assert unknown.starts_at.tzinfo is SYDNEY
    named = event(text, zone="Australia/Sydney", X_WR_TIMEZONE="Europe/Berlin")
    assert named.starts_at == dt.datetime(2026, 1, 5, 9, tzinfo=BERLIN)
    assert named.notes == ("floating time read as Europe/Berlin",)


# --- time zones


@pytest.mark.parametrize(
    ("tzid", "key"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("Eastern Standard Time", "America/New_York"),
        ("/Europe/Berlin", "Europe/Berlin"),
        ("/freeassociation.sourceforge.net/Europe/Berlin", "Europe/Berlin"),
        ("/freeassociation.sourceforge.net/Tzfile/America/Argentina/Ushuaia", "America/Argentina/Ushuaia"),
        ("/mozilla.org/20050126_1/Europe/Berlin", "Europe/Berlin"),
        ("mozilla.org/20070129_1/America/New_York", "America/New_York"),
        ("tzone://Microsoft/Utc", "UTC"),
    ],
)
def test_a_zone_by_any_of_its_names_is_that_zone_without_a_note(tzid: str, key: str) -> None:
    one = event(f'DTSTART;TZID="{tzid}":20260705T090000')
    assert (str(one.starts_at.tzinfo), one.notes) == (key, ())


@pytest.mark.parametrize(
    "tzid", ["Mars/Phobos", "../../etc/passwd", "/etc/localtime", "Europe", "Customized Time Zone", "."]
)
def test_an_unknown_zone_without_a_definition_is_the_readers(tzid: str) -> None:
    one = event(f"DTSTART;TZID={tzid}:20260105T090000", zone="Europe/Berlin")
    assert one.starts_at == dt.datetime(2026, 1, 5, 9, tzinfo=BERLIN)
    assert one.notes == (f"unknown time zone '{tzid}' read as Europe/Berlin",)


def test_of_zones_that_fit_a_definition_the_readers_own_comes_first() -> None:
    text = "DTSTART;TZID=Mine:20260105T090000\nRRULE:FREQ=DAILY"
    for zone, key in [("UTC", "Europe/Berlin"), ("Europe/Madrid", "Europe/Madrid"), ("Asia/Tokyo", "Europe/Berlin")]:
        one = event(text, CET.format(name="Mine"), zone=zone)
        assert (str(one.starts_at.tzinfo), one.notes) == (key, (f"time zone 'Mine' read as {key}",))
    told = CET.format(name="Mine").replace("BEGIN:STANDARD", "X-LIC-LOCATION:Europe/Vienna\nBEGIN:STANDARD", 1)
    assert str(event(text, told).starts_at.tzinfo) == "Europe/Vienna"


def test_a_definition_without_changes_is_a_fixed_offset() -> None:
    fixed = (
        "BEGIN:VTIMEZONE\nTZID:Mine\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0300\nTZOFFSETTO:+0300\n"
    )
    one = event("DTSTART;TZID=Mine:20260105T090000\nRRULE:FREQ=DAILY", f"{fixed}END:STANDARD\nEND:VTIMEZONE")
    assert (str(one.starts_at.tzinfo), one.starts_at.utcoffset()) == ("Etc/GMT-3", dt.timedelta(hours=3))


def test_an_abbreviation_is_what_the_file_defines() -> None:
    definition = CET.format(name="EST")
    assert str(event("DTSTART;TZID=EST:20260705T090000", definition).starts_at.tzinfo) == "Europe/Berlin"
    assert str(event("DTSTART;TZID=EST:20260705T090000").starts_at.tzinfo) == "EST"


def test_a_definition_of_todays_rules_does_for_a_recurrence_that_began_under_older_ones() -> None:
    definition = (
        CET.format(name="Mine").replace("-1SU;BYMONTH=10", "1SU;BYMONTH=11").replace("-1SU;BYMONTH=3", "2SU;BYMONTH=3")
    )
    definition = definition.replace("T030000", "T020000")
    for offset, american in [("+0200", "-0400"), ("+0100", "-0500")]:
        definition = definition.replace(offset, american)
    one = event("DTSTART;TZID=Mine:20050105T090000\nRRULE:FREQ=WEEKLY", definition)
    assert one.starts_at.tzinfo is NEW_YORK


def test_single_times_of_a_definition_like_no_zone_follow_it_through_both_changes() -> None:
    odd = CET.format(name="Odd").replace("+0100", "+0117").replace("+0200", "+0217")
    expected = {
        "20260329T015959": "00:42:59",
        "20260329T023000": "01:13:00",  # skipped: the offset before the change
        "20260329T030000": "00:43:00",
        "20261025T023000": "00:13:00",  # twice: the first
        "20261025T030000": "01:43:00",
    }
    for wall, utc in expected.items():
        one = event(f"DTSTART;TZID=Odd:{wall}", odd)
        assert (one.starts_at.tzinfo, f"{one.starts_at:%H:%M:%S}") == (dt.UTC, utc)
        assert one.notes == ("time zone 'Odd' is known from this file alone: read as UTC",)


@pytest.mark.parametrize(("year", "winter", "summer"), [(2026, "20260307", "20260309"), (1999, "19990403", "19990405")])
def test_a_definition_with_a_history_is_a_zone_in_each_of_its_ages(year: int, winter: str, summer: str) -> None:
    text = fixture("apple").decode().replace("\r\n", "\n")
    history = text[text.index("BEGIN:VTIMEZONE") : text.index("BEGIN:VEVENT")].replace("America/New_York", "Mine")
    one = event(f"DTSTART;TZID=Mine:{winter}T090000\nDTEND;TZID=Mine:{summer}T090000", history)
    assert (one.starts_at.tzinfo, one.starts_at.year) == (NEW_YORK, year)
    assert one.duration == dt.timedelta(hours=47)


def test_a_definition_may_change_its_clocks_on_a_day_of_the_month_and_end() -> None:
    odd = """\
BEGIN:VTIMEZONE
TZID:Odd
BEGIN:DAYLIGHT
DTSTART:20100401T000000
RRULE:FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=1;UNTIL=20240331T224300Z
TZOFFSETFROM:+0117
TZOFFSETTO:+0217
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:20101001T000000
RRULE:FREQ=YEARLY;UNTIL=20230601T000000Z
TZOFFSETFROM:+0217
TZOFFSETTO:+0117
END:STANDARD
END:VTIMEZONE"""
    hours = {
        "20230331T120000": "10:43",
        "20240331T120000": "09:43",
        "20240401T120000": "09:43",
        "20260105T120000": "09:43",
        "20090705T120000": "10:43",
    }
    for wall, utc in hours.items():
        assert f"{event(f'DTSTART;TZID=Odd:{wall}', odd).starts_at:%H:%M}" == utc


def test_dates_of_a_recurrence_in_a_zone_like_none_leave_it_out() -> None:
    odd = CET.format(name="Odd").replace("+0100", "+0117").replace("+0200", "+0217")
    text = "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY\nEXDATE;TZID=Odd:20260106T101700"
    assert reason(text, odd) == "its EXDATE is in a time zone of the file's own, which is like none that is known"


def test_zones_that_are_like_none_are_looked_for_only_so_often() -> None:
    odd = CET.format(name="Odd").replace("+0100", "+0117").replace("+0200", "+0217")
    texts = [f"UID:{year}\nDTSTART;TZID=Odd:{year}0105T101700" for year in range(1700, 2100)]
    late = "UID:late\nDTSTART;TZID=Mine:21000105T100000"
    file = read(calendar(odd, CET.format(name="Mine"), *texts, late))
    assert [one.uid for one in file.events] == [*map(str, range(1700, 2100)), "late"]
    assert {(one.starts_at.tzinfo, f"{one.starts_at:%H:%M}") for one in file.events} == {(dt.UTC, "09:00")}


def test_a_zone_that_changes_its_clocks_a_week_apart_is_another() -> None:
    early = CET.format(name="Early").replace("BYDAY=-1SU;BYMONTH=3", "BYDAY=4SU;BYMONTH=3")
    one = event("DTSTART;TZID=Early:20260325T090000", early, zone="Europe/Berlin")
    assert one.starts_at.astimezone(dt.UTC) == dt.datetime(2026, 3, 25, 7, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "damage",
    [
        ("TZOFFSETTO:+0100", "TZOFFSETTO:+9900"),
        ("TZOFFSETTO:+0100", "TZOFFSETTO:east"),
        ("TZOFFSETTO:+0100", "TZOFFSETTO:--99"),
        ("TZOFFSETTO:+0100", "TZOFFSETTO:+0100\nRDATE:" + ",".join(["20260101T000000"] * 101)),
        ("FREQ=YEARLY", "FREQ=SECONDLY"),
        ("BYDAY=-1SU", "BYDAY=9SU"),
        ("BYMONTH=10", "BYMONTH=13"),
        ("DTSTART:16011028T030000", "DTSTART:once"),
        ("BEGIN:", "BEGIN:X-"),
    ],
)
def test_a_damaged_definition_is_none(damage: tuple[str, str]) -> None:
    one = event("DTSTART;TZID=Mine:20260705T090000", CET.format(name="Mine").replace(*damage), zone="Europe/Berlin")
    assert one.starts_at == dt.datetime(2026, 7, 5, 9, tzinfo=BERLIN)
    assert one.notes == ("unknown time zone 'Mine' read as Europe/Berlin",)


def test_a_definition_without_parts_is_none() -> None:
    empty = "BEGIN:VTIMEZONE\nTZID:Mine\nEND:VTIMEZONE"
    assert event("DTSTART;TZID=Mine:20260705T090000", empty).notes == ("unknown time zone 'Mine' read as UTC",)


def test_clocks_are_not_changed_in_a_year_that_lacks_the_day() -> None:
    fifth = CET.format(name="Odd").replace("BYDAY=-1SU;BYMONTH=10", "BYDAY=5SU;BYMONTH=10")
    for wall, utc in {"20251105T090000": "07:00", "20231105T090000": "08:00"}.items():
        one = event(f"DTSTART;TZID=Odd:{wall}", fifth)
        assert f"{one.starts_at.astimezone(dt.UTC):%H:%M}" == utc


def test_a_zone_of_one_file_is_not_known_to_the_next() -> None:
    event("DTSTART;TZID=Mine:20260105T090000", CET.format(name="Mine"))
    assert event("DTSTART;TZID=Mine:20260105T090000").notes == ("unknown time zone 'Mine' read as UTC",)


# --- recurrence


@pytest.mark.parametrize(
    ("text", "exceptions"),
    [
        ("EXDATE:20260106T080000Z,20260107T080000Z", ["01-06", "01-07"]),
        ("EXDATE;TZID=America/New_York:20260106T030000\nEXDATE:20260107T090000", ["01-06", "01-07"]),
        ("EXDATE;VALUE=DATE:20260106,20260107", ["01-06", "01-07"]),
        ("EXDATE:", []),
    ],
)
def test_exceptions_are_dates_and_times_in_any_zone(text: str, exceptions: list[str]) -> None:
    one = event(f"DTSTART;TZID=Europe/Berlin:20260105T090000\nRRULE:FREQ=DAILY;COUNT=4\n{text}")
    days = {"01-05", "01-06", "01-07", "01-08"} - set(exceptions)
    assert starts(one.recurrence, dt.date(2026, 1, 1), 20) == [f"{day} 08:00" for day in sorted(days)]


@pytest.mark.parametrize(
    "text",
    [
        "RRULE:FREQ=DAILY;UNTIL=20260330\nEXDATE;VALUE=DATE:20260329",
        "RRULE:FREQ=DAILY;UNTIL=20260330T000000Z\nEXDATE:20260329T000000Z",
        "RRULE:FREQ=DAILY;UNTIL=20260329T220000Z\nEXDATE:20260328T230000Z",
        "RRULE:FREQ=DAILY;UNTIL=20260330T000000\nEXDATE;TZID=Europe/Berlin:20260329T000000",
        "RDATE;VALUE=DATE:20260330",
    ],
)
def test_an_all_day_recurrence_counts_in_days_however_its_dates_are_written(text: str) -> None:
    one = event(f"DTSTART;VALUE=DATE:20260328\n{text}", zone="Europe/Berlin")
    assert starts(one.recurrence, dt.date(2026, 3, 1), 60) == ["03-28 08:00", "03-30 07:00"]


def test_the_midnight_of_a_day_in_utc_means_that_day_also_west_of_it() -> None:
    text = "DTSTART;VALUE=DATE:20260328\nDTEND:20260329T000000Z\nRRULE:FREQ=DAILY;UNTIL=20260330T000000Z"
    one = event(f"{text}\nEXDATE:20260329T000000Z", zone="America/New_York")
    assert one.duration == dt.timedelta(days=1)
    assert starts(one.recurrence, dt.date(2026, 3, 1), 60) == ["03-28 13:00", "03-30 13:00"]


def test_an_until_at_the_end_of_all_time_is_none() -> None:
    one = event("DTSTART;VALUE=DATE:20260328\nRRULE:FREQ=DAILY;UNTIL=99991231T235959Z")
    assert one.recurrence == Recurrence(start=dt.datetime(2026, 3, 28, 9), rule="FREQ=DAILY")


def test_an_exrule_of_an_event_that_does_not_recur_takes_nothing_away() -> None:
    assert event("DTSTART:20260105T090000Z\nEXRULE:FREQ=DAILY").recurrence is None


def test_an_empty_rule_is_none() -> None:
    assert event("DTSTART:20260105T090000Z\nRRULE:").recurrence is None


# --- overrides


@pytest.mark.parametrize(
    ("start", "recurrence_id"),
    [
        (";TZID=Europe/Berlin:20260105T090000", ";TZID=Europe/Berlin:20260107T090000"),
        (";TZID=Europe/Berlin:20260105T090000", ":20260107T080000Z"),
        (";TZID=Europe/Berlin:20260105T090000", ";TZID=America/New_York:20260107T030000"),
        (";TZID=Europe/Berlin:20260105T090000", ":20260107T090000"),
        (";TZID=Europe/Berlin:20260105T090000", ";VALUE=DATE:20260107"),
        (";VALUE=DATE:20260105", ";VALUE=DATE:20260107"),
        (";VALUE=DATE:20260105", ":20260107T000000Z"),
        (";VALUE=DATE:20260105", ";TZID=Europe/Berlin:20260107T000000"),
        (";VALUE=DATE:20260105", ":20260106T230000Z"),
    ],
)
def test_an_override_names_its_occurrence_in_the_terms_of_its_event(start: str, recurrence_id: str) -> None:
    override = f"UID:1\nRECURRENCE-ID{recurrence_id}\nDTSTART:20260110T120000Z"
    file = read(calendar(override, f"UID:1\nDTSTART{start}\nRRULE:FREQ=DAILY"), zone="Europe/Berlin")
    assert file.left_out == ()
    assert [one.occurrence for one in file.events] == [None, dt.datetime(2026, 1, 7, 8, tzinfo=dt.UTC)]
    assert file.events[1].occurrence_text == recurrence_id.rpartition(":")[2]
    assert file.events[0].recurrence is not None
    assert file.events[0].recurrence.occurrence_at(dt.datetime(2026, 1, 7, 9)) is not None


def test_an_override_without_a_zone_is_for_a_time_in_that_of_its_event() -> None:
    override = "UID:1\nRECURRENCE-ID:20260107T090000\nDTSTART;TZID=Australia/Sydney:20260110T120000"
    file = read(calendar(override, "UID:1\nDTSTART;TZID=Europe/Berlin:20260105T090000\nRRULE:FREQ=DAILY"))
    assert [one.occurrence for one in file.events] == [None, dt.datetime(2026, 1, 7, 8, tzinfo=dt.UTC)]


def test_an_override_does_not_recur() -> None:
    one = event("RECURRENCE-ID:20260107T090000Z\nDTSTART:20260110T120000Z\nRRULE:FREQ=DAILY")
    assert (one.recurrence, one.notes) == (None, ("the recurrence of a single occurrence is ignored",))


def test_overrides_stand_for_themselves_when_their_event_is_missing() -> None:
    one = event("RECURRENCE-ID;VALUE=DATE:20260107\nDTSTART;VALUE=DATE:20260108", zone="Europe/Berlin")
    assert one.occurrence == dt.datetime(2026, 1, 7, 8, tzinfo=dt.UTC)
    assert one.occurrence_text == "20260107"


def test_two_overrides_with_one_text_for_two_moments_are_not_both_taken() -> None:
    texts = [
        f"UID:1\nRECURRENCE-ID;TZID={zone}:20260107T090000\nDTSTART:20260110T120000Z" for zone in ("UTC", "Asia/Tokyo")
    ]
    file = read(calendar(*texts))
    assert [one.occurrence for one in file.events] == [dt.datetime(2026, 1, 7, 9, tzinfo=dt.UTC)]
    assert [left_out.reason for left_out in file.left_out] == [
        "another override has its RECURRENCE-ID in another time zone"
    ]


# --- fingerprints

PLAIN = (
    "DTSTART;TZID=Europe/Berlin:20260105T090000\nDTEND;TZID=Europe/Berlin:20260105T093000\nSUMMARY:A\nCATEGORIES:a,b"
)
RECURRING = f"{PLAIN}\nRRULE:FREQ=DAILY;BYDAY=MO,TU\nEXDATE:20260106T080000Z,20260112T080000Z"


@pytest.mark.parametrize(
    "same",
    [
        f"{RECURRING}\nDTSTAMP:20260301T000000Z\nLAST-MODIFIED:20260301T000000Z\nSEQUENCE:4\nX-THING:1",
        RECURRING.replace("DTEND;TZID=Europe/Berlin:20260105T093000", "DURATION:PT30M"),
        RECURRING.replace("a,b", "b,a").replace("MO,TU", "TU,MO"),
        RECURRING.replace("20260106T080000Z,20260112T080000Z", "20260112T080000Z\nEXDATE:20260106T090000"),
        RECURRING.replace("Europe/Berlin", "W. Europe Standard Time"),
    ],
)
def test_an_event_that_says_the_same_has_the_same_fingerprint(same: str) -> None:
    assert event(same).fingerprint == event(RECURRING).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        RECURRING.replace("SUMMARY:A", "SUMMARY:B"),
        RECURRING.replace("Europe/Berlin", "Europe/Madrid"),
        RECURRING.replace("093000", "094500"),
        RECURRING.replace("MO,TU", "MO"),
        RECURRING.replace(",20260112T080000Z", ""),
        f"{RECURRING}\nPRIORITY:1",
        f"{RECURRING}\nSTATUS:CANCELLED",
        f"{RECURRING}\nLOCATION:here",
        f"{RECURRING}\nATTENDEE:mailto:a@example.org",
    ],
)
def test_an_event_that_says_something_else_has_another_fingerprint(other: str) -> None:
    assert event(other).fingerprint != event(RECURRING).fingerprint


# --- whatever comes

HOSTILE = [
    *("BEGIN:VEVENT", "END:VEVENT", "BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VALARM", "BEGIN:X", "BEGIN:VTIMEZONE"),
    *("DTSTART:00010101T000000", "DTSTART;VALUE=DATE:99991231", "DTSTART;TZID=../../etc/passwd:20260101T000000"),
    *("DTSTART;TZID=Europe:20260101T000000", 'DTSTART;TZID="a:20260101T000000', "DTEND:99991231T235959Z"),
    *("DURATION:P99999999D", "DURATION:-P1D", f"DURATION:P{'9' * 5_000}D", f"SEQUENCE:{'9' * 5_000}", "PRIORITY:-1"),
    *("RRULE:FREQ=SECONDLY", "RRULE:FREQ=YEARLY;BYDAY=99MO", "RRULE:\\;;=;", "RRULE:FREQ=DAILY;UNTIL=99999999T999999Z"),
    *(
        "RRULE:FREQ=MINUTELY;COUNT=100",
        f"RRULE:FREQ=DAILY;COUNT={'9' * 50}",
        "RDATE:20260101,",
        "RDATE:18831118T120358",
    ),
    *("RDATE;VALUE=PERIOD:20260101T000000Z/P1D", "EXDATE:x", "EXRULE:FREQ=DAILY", "RECURRENCE-ID:20260302"),
    *(
        "RECURRENCE-ID;RANGE=THISANDFUTURE:20260302T093000",
        "RECURRENCE-ID:",
        "UID:",
        f"UID:{'x' * 999}",
        "METHOD:CANCEL",
    ),
    *(
        "TZOFFSETTO:+9999",
        "TZOFFSETFROM:x",
        "TZID:Customized Time Zone",
        "X-WR-TIMEZONE:/etc/passwd",
        '"',
        "\0",
        " fold",
    ),
]

FIXTURES = [path.read_bytes() for path in sorted(FILES.glob("*.ics"))]


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    """Damage a real file: by the octet, by the line, by its end, by its encoding, by a second file."""
    data = draw(st.sampled_from(FIXTURES))
    parts = data.split(b"\r\n")
    for kind in draw(st.lists(st.sampled_from(["drop", "double", "swap", "hostile", "hostile"]), max_size=5)):
        place, other = (draw(st.integers(0, len(parts) - 1)) for _ in range(2))
        if kind == "drop":
            parts[place : place + 1] = [b""]
        elif kind == "double":
            parts.insert(place, parts[other])
        elif kind == "swap":
            parts[place], parts[other] = parts[other], parts[place]
        else:
            parts.insert(place, draw(st.sampled_from(HOSTILE)).encode())
    data = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r"])).join(parts)
    octets = bytearray(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    for place, octet in draw(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8)):
        if octets:
            octets[place % len(octets)] = octet
    data = bytes(octets) + (draw(st.sampled_from(FIXTURES)) if draw(st.integers(0, 4)) == 0 else b"")
    return data.decode("latin-1").encode("utf-16") if draw(st.integers(0, 9)) == 0 else data


def check(data: bytes | str) -> None:
    try:
        file = read(data, zone="Europe/Berlin")
    except ICalendarError:
        return
    keys = [(one.uid, one.occurrence) for one in file.events]
    assert len(keys) == len(set(keys))
    assert len({(one.uid, one.occurrence_text) for one in file.events}) == len(keys)
    for one in file.events:
        assert 1 <= len(one.uid) <= 255
        assert one.starts_at.tzinfo is dt.UTC or isinstance(one.starts_at.tzinfo, zoneinfo.ZoneInfo)
        assert dt.timedelta() <= one.duration
        assert one.occurrence is None or (one.occurrence.tzinfo is dt.UTC and one.recurrence is None)
    assert all(left_out.reason for left_out in file.left_out)


@settings(deadline=None)  # the first search for a zone reads them all
@given(mutilated())
def test_any_damaged_file_is_a_value_or_an_error(data: bytes) -> None:
    check(data)


@settings(deadline=None)
@given(st.binary() | st.text())
def test_any_bytes_and_any_text_are_a_value_or_an_error(data: bytes | str) -> None:
    check(data)
    check(b"BEGIN:VCALENDAR\n" + (data if isinstance(data, bytes) else data.encode("utf-8", "replace")))


@pytest.mark.parametrize("name", ["google", "apple", "outlook", "thunderbird"])
def test_every_event_of_a_file_is_accounted_for_when_a_line_is_missing(name: str) -> None:
    parts = fixture(name).split(b"\r\n")
    for missing in range(len(parts)):
        check(b"\r\n".join(itertools.chain(parts[:missing], parts[missing + 1 :])))
