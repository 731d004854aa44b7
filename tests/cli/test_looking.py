"""Looking: today, day, import, export, simulate; from the carried calendar and from a backend."""

import datetime as dt
import json
from collections.abc import Iterator

import pytest

from harborcal.model import SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import CalendarServer, FakeClock, Fault, InMemoryCalendar, calendar_app
from tests.cli.conftest import MONDAY, Harbor

TEAM = """\
BEGIN:VCALENDAR
VERSION:2.0
X-WR-CALNAME:Team
BEGIN:VEVENT
UID:1
DTSTART:20260303T100000
DURATION:PT25M
SUMMARY:Review
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART:20200101T100000
SUMMARY:Long ago
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART:20260304T100000
DURATION:PT2H
SUMMARY:Long talk
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


# --- days -------------------------------------------------------------------------------------------------------------


def test_a_day_is_a_table_by_time(harbor: Harbor) -> None:
    harbor.call("add", "writer", "tomorrow 10:00", "--for", "20", "--event", "backup")
    harbor.call("add", "reviewer", "tomorrow 09:30", "--for", "25m", "--job", "REVIEW-7", "--priority", "5")
    result = harbor.call("day", "tomorrow")
    assert result.stderr == "Tuesday 2026-03-03, Europe/Berlin\n"
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["time", "agent", "what", "status", "priority", "slot"],
        ["09:30-09:55", "reviewer", "Task/REVIEW-7", "not_started", "5", "2"],
        ["10:00-10:20", "writer", "backup", "not_started", "0", "1"],
    ]
    assert [line.rstrip() for line in result.stdout.splitlines()] == result.stdout.splitlines()
    assert [slot["ident"] for slot in harbor.reads("day", "tomorrow", "writer")["slots"]] == ["1"]


def test_a_day_is_one_of_the_zone_not_of_utc(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "2026-03-03 00:10", "--for", "20")  # 23:10 of the 2nd, in UTC
    harbor.call("add", "reviewer", "2026-03-03 23:30", "--for", "20")
    harbor.call("add", "reviewer", "2026-03-04 00:00", "--for", "20")
    assert [slot["ident"] for slot in harbor.reads("day", "2026-03-03")["slots"]] == ["1", "2"]
    assert [slot["ident"] for slot in harbor.reads("--zone", "UTC", "day", "2026-03-03")["slots"]] == ["2", "3"]
    told = harbor.reads("--zone", "America/New_York", "day", "2026-03-02")
    assert [slot["starts_at"] for slot in told["slots"]] == ["2026-03-02T18:10:00-05:00"]


def test_a_slot_over_the_change_of_the_clocks_ends_by_the_wall(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "2026-03-29 01:50", "--for", "20")
    assert "01:50-03:10" in harbor.says("day", "2026-03-29")


def test_what_is_dropped_is_shown_only_when_asked_for(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "in 1h")
    harbor.call("cancel", "1")
    assert "no slots" in harbor.call("today").stderr
    assert harbor.says("today", "--all").splitlines()[1].split()[-3:] == ["skipped", "0", "1"]


def test_what_the_calendar_says_of_a_slot_is_shown_cleaned(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "in 1h", "--text", "[red]evil[/]\x1b[2J\nhere")
    told = harbor.says("today")
    assert "\x1b" not in told
    assert "[red]evil[/][2J here" in told


@pytest.mark.parametrize(
    ("code", "words", "complaint"),
    [
        (2, ["day", "someday"], "'someday' is no day; write one as"),
        (2, ["day", "0001-01-01"], "is too far away"),
        (2, ["day", "9999-12-31"], "is too far away"),
        (2, ["day"], "Missing argument 'DATE'"),
        (5, ["today", "revewer"], "did you mean reviewer?"),
        (2, ["today", "--jsn"], "No such option"),
    ],
)
def test_a_slip_is_answered_in_words(harbor: Harbor, code: int, words: list[str], complaint: str) -> None:
    assert complaint in harbor.fails(code, *words)


# --- a backend --------------------------------------------------------------------------------------------------------


@pytest.fixture
def backend() -> Iterator[tuple[CalendarServer, InMemoryCalendar]]:
    calendar = InMemoryCalendar(FakeClock(dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC)), agents=["reviewer", "writer"])
    with CalendarServer(calendar_app(calendar)) as server:
        yield server, calendar


def test_a_backends_days_are_read_over_http(harbor: Harbor, backend: tuple[CalendarServer, InMemoryCalendar]) -> None:
    server, calendar = backend
    calendar.add_slot(
        "reviewer", date=dt.date(2026, 3, 2), scheduled_at=dt.time(23, 30), event_type="job", event_data={"code": "R-1"}
    )
    told = harbor.reads("--backend", server.url, "day", "2026-03-03", "reviewer")
    assert [slot["starts_at"] for slot in told["slots"]] == ["2026-03-03T00:30:00+01:00"]
    assert "R-1" in harbor.says("--backend", server.url, "day", "tomorrow")
    assert "no slots" in harbor.call("--backend", server.url, "today").stderr
    assert harbor.says("--backend", server.url, "agents").splitlines()[1].split()[0] == "reviewer"
    assert not (harbor.folder / "calendar.db").exists()


def test_a_backend_that_refuses_or_fails_ends_with_the_code_for_it(
    harbor: Harbor, backend: tuple[CalendarServer, InMemoryCalendar]
) -> None:
    server, _ = backend
    assert "404" in harbor.fails(5, "--backend", server.url, "today", "stranger")
    server.fault(Fault.status(503))
    assert harbor.fails(6, "--backend", server.url, "today", "reviewer")
    assert "no answer" in harbor.fails(6, "--backend", "http://127.0.0.1:1", "today")
    harbor.configure("")
    assert "does not list its agents" in harbor.fails(2, "--backend", server.url, "today")


def test_a_backends_key_goes_over_loopback_or_tls_only(harbor: Harbor) -> None:
    complaint = harbor.fails(3, "--backend", "http://harborforge.example", "today", HARBORCAL_API_KEY="kanarienvogel")
    assert "kanarienvogel" not in complaint


# --- other calendars --------------------------------------------------------------------------------------------------


def test_a_file_is_imported_and_what_was_left_out_is_told(harbor: Harbor) -> None:
    (harbor.folder / "team.ics").write_text(TEAM, encoding="utf-8")
    result = harbor.call("import", "team.ics", "--agent", "reviewer")
    assert result.stdout == "reviewer: 2 added, 1 left out\n"
    assert "left out: Long ago (2020-01-01 is over: past dates are immutable)" in result.stderr
    assert "changed to fit: Long talk, slot 2" in result.stderr
    slots = harbor.reads("day", "tomorrow")["slots"]
    assert [slot["starts_at"] for slot in slots] == ["2026-03-03T10:00:00+01:00"], "in the zone of the settings"
    assert harbor.reads("import", "team.ics", "--agent", "reviewer")["agent_id"] == "reviewer"


def test_a_file_is_read_from_standard_input(harbor: Harbor) -> None:
    result = harbor.call("import", "-", "--agent", "writer", "--json", stdin=TEAM)
    assert len(json.loads(result.stdout)["added"]) == 2


def test_an_only_agent_need_not_be_named(harbor: Harbor) -> None:
    harbor.configure("[agents.solo]\n")
    (harbor.folder / "team.ics").write_text(TEAM, encoding="utf-8")
    assert harbor.says("import", "team.ics").startswith("solo: ")
    assert "SUMMARY:Review" in harbor.says("export", "--from", "2026-03-03")


@pytest.mark.parametrize(
    ("code", "words", "complaint"),
    [
        (1, ["import", "absent.ics", "--agent", "reviewer"], "absent.ics: No such file or directory"),
        (1, ["import", ".", "--agent", "reviewer"], "Is a directory"),
        (1, ["import", "harborcal.toml", "--agent", "reviewer"], "it is no iCalendar file"),
        (2, ["import", "harborcal.toml"], "whose? name one with --agent: reviewer, writer"),
        (5, ["import", "harborcal.toml", "--agent", "revewer"], "did you mean reviewer?"),
        (2, ["import", "harborcal.toml", "--agent", "reviewer", "--all-day-at", "9"], "is no time of day"),
        (2, ["export"], "whose? name one with --agent"),
        (5, ["export", "--agent", "writer", "--from", "2026-03-05", "--to", "2026-03-01"], "last"),
        (1, ["export", "--agent", "writer", "-o", "absent/out.ics"], "absent/out.ics: No such file or directory"),
        (1, ["export", "--agent", "writer", "-o", "."], "Is a directory"),
    ],
)
def test_a_slip_with_files_is_answered_in_words(harbor: Harbor, code: int, words: list[str], complaint: str) -> None:
    assert complaint in harbor.fails(code, *words)


def test_slots_are_exported_to_a_file(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "tomorrow 09:30", "--job", "REVIEW-7")
    result = harbor.call("export", "--agent", "reviewer", "--output", "out.ics")
    assert result.stdout == ""
    assert "out.ics: reviewer, 2026-03-02 to 2026-04-01" in result.stderr
    assert b"SUMMARY:REVIEW-7\r\n" in (harbor.folder / "out.ics").read_bytes()
    harbor.configure('[calendar]\nurl = "other.db"\n[agents.copy]\n')
    assert harbor.says("import", "out.ics") == "copy: 1 added\n"


# --- tomorrow in seconds ----------------------------------------------------------------------------------------------


def test_tomorrow_is_rehearsed_and_nothing_is_changed(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "tomorrow 09:30", "--for", "25m", "--job", "REVIEW-7")
    told = harbor.says("simulate")
    assert told.startswith("1 day(s) from 2026-03-03 00:00 UTC, seed 0\n")
    assert "reviewer: 1 slots, 25 minutes of work, has time" in told
    assert "violations: none" in told
    with harbor.calendar() as calendar:
        assert calendar.slot(SlotKey.real(1)).status is SlotStatus.NOT_STARTED


def test_a_rehearsal_tells_who_is_overbooked(harbor: Harbor) -> None:
    harbor.call("plan", "reviewer", "every day", "--at", "10:00", "--for", "50m", "--job", "A")
    harbor.call("plan", "reviewer", "every day", "--at", "10:05", "--for", "50m", "--job", "B")
    told = harbor.reads("simulate", "reviewer", "--from", "wednesday", "--days", "2", "--seed", "3")
    assert (told["days"], told["seed"], told["violations"]) == (2, 3, [])
    (story,) = told["agents"]
    assert story["is_overbooked"]
    assert len(story["late"]) == 2
    assert {slot["status"] for slot in story["slots"]} == {"finished"}


def test_what_cannot_be_rehearsed_is_told(harbor: Harbor) -> None:
    assert "did you mean reviewer?" in harbor.fails(5, "simulate", "revewer")
    harbor.configure("")
    harbor.call("--calendar", "empty.db", "agents")
    assert "there is nothing to rehearse" in harbor.fails(3, "--calendar", "empty.db", "simulate")


def test_a_slot_under_way_is_shown_as_such(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "now", "--for", "10")
    with harbor.calendar() as calendar:
        calendar.apply_update("reviewer", SlotKey.real(1), SlotUpdate(status=SlotStatus.ONGOING))
    assert MONDAY.startswith(harbor.reads("today")["date"])
    assert "ongoing" in harbor.says("today")
