"""Taking iCalendar files into the calendar, again and again, and writing them out."""

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborcal.calendar import Calendar, ImportedItem, ImportReport, Recurrence
from harborcal.calendar.ical.reading import read
from harborcal.errors import ConfigurationError, ICalendarError
from harborcal.model import SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.calendar.conftest import TODAY, Refusal

ICS = Path(__file__).parent / "ics"
TOMORROW = TODAY + dt.timedelta(days=1)


def event(uid: str, *lines: str, starts: str = "DTSTART:20260106T100000Z", lasts: str = "DURATION:PT25M") -> str:
    said = [f"UID:{uid}", "DTSTAMP:20260101T000000Z", starts, *([lasts] if lasts else []), *lines]
    return "\r\n".join(["BEGIN:VEVENT", *said, "END:VEVENT"])


def file(*events: str, head: tuple[str, ...] = ()) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//y", *head, *events, "END:VCALENDAR", ""])


def took(report: ImportReport) -> dict[str, list[tuple[str, str]]]:
    """What became of each event, and why: lists that are not empty only."""
    lists = ("added", "changed", "unchanged", "left_out", "removed")
    items = {name: getattr(report, name) for name in lists if getattr(report, name)}
    return {name: [(named(item), item.reason) for item in found] for name, found in items.items()}


def named(item: ImportedItem) -> str:
    return f"{item.uid}@{item.occurrence}" if item.occurrence else item.uid


def times(calendar: Calendar, date: dt.date = TOMORROW) -> list[tuple[str, str]]:
    return [(slot.ident, f"{slot.scheduled_at:%H:%M}") for slot in calendar.day("dev", date)]


# --- what an event becomes


def test_a_single_event_is_a_slot_and_says_what_is_to_be_done(calendar: Calendar) -> None:
    said = event(
        "1",
        "SUMMARY:Check the backups",
        "DESCRIPTION:All of them",
        "LOCATION:Room 1",
        "URL:https://x.test/1",
        "PRIORITY:2",
    )
    report = calendar.import_ics("dev", file(said))
    (item,) = report.added
    assert (item.uid, item.title, item.became, item.reason) == ("1", "Check the backups", "slot 1", "")
    slot = calendar.slot(SlotKey.real(1))
    told = slot.to_dict()
    assert told == told | {
        "date": "2026-01-06",
        "scheduled_at": "10:00:00",
        "estimated_duration": 25,
        "priority": 80,
        "slot_type": "work",
        "event_type": "job",
        "event_data": {
            "type": "Task",
            "code": "Check the backups",
            "description": "All of them",
            "location": "Room 1",
            "url": "https://x.test/1",
        },
    }


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ((), "Task"),
        (("ATTENDEE:mailto:a@x.test",), "Meeting"),
        (("CATEGORIES:blue,support", "ATTENDEE:mailto:a@x.test"), "Support"),
    ],
)
def test_the_kind_of_job_follows_from_categories_and_company(
    calendar: Calendar, lines: tuple[str, ...], kind: str
) -> None:
    calendar.import_ics("dev", file(event("1", *lines)))
    assert (calendar.slot(SlotKey.real(1)).event_data or {})["type"] == kind


def test_a_recurring_event_is_a_plan(calendar: Calendar) -> None:
    said = event(
        "1",
        "RRULE:FREQ=WEEKLY;BYDAY=TU",
        "EXDATE;TZID=Europe/Berlin:20260113T100000",
        starts="DTSTART;TZID=Europe/Berlin:20260106T100000",
    )
    report = calendar.import_ics("dev", file(said))
    assert report.added[0].became == "plan 1"
    assert times(calendar) == [("plan-1-2026-01-06", "09:00")]
    assert times(calendar, dt.date(2026, 1, 13)) == []
    assert times(calendar, dt.date(2026, 6, 2)) == [("plan-1-2026-06-02", "08:00")]


@pytest.mark.parametrize(
    ("lasts", "minutes", "reason"),
    [
        ("DURATION:PT90M", 50, "shortened from 90 to 50 minutes"),
        ("DTEND:20260106T100000Z", 30, "no length: 30 minutes assumed"),
        ("", 30, "no length: 30 minutes assumed"),
        ("DURATION:PT45S", 1, ""),
    ],
)
def test_a_length_that_no_slot_may_have_is_changed_and_told(
    calendar: Calendar, lasts: str, minutes: int, reason: str
) -> None:
    report = calendar.import_ics("dev", file(event("1", lasts=lasts)))
    assert took(report) == {"added": [("1", reason)]}
    assert calendar.slot(SlotKey.real(1)).estimated_duration == minutes


def test_floating_times_are_of_the_zone_that_is_named(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("1", starts="DTSTART:20260106T100000")), zone="Europe/Berlin")
    assert times(calendar) == [("1", "09:00")]


def test_an_all_day_event_takes_the_first_free_stretch_of_its_day(calendar: Calendar) -> None:
    calendar.add_slot("dev", dt.datetime(2026, 1, 6, 8, 30, tzinfo=dt.UTC), 40)
    calendar.add_plan("dev", Recurrence.contract(dt.time(9, 10), first=TODAY), 20)
    days = [event(uid, starts="DTSTART;VALUE=DATE:20260106", lasts="") for uid in ("1", "2")]
    calendar.import_ics("dev", file(*days), zone="Europe/Berlin", all_day_at=dt.time(9, 45))
    assert times(calendar) == [
        ("1", "08:30"),
        ("plan-1-2026-01-06", "09:10"),
        ("2", "09:30"),
        ("3", "10:20"),
    ]
    again = calendar.import_ics("dev", file(*days), zone="Europe/Berlin", all_day_at=dt.time(9, 45))
    assert len(again.unchanged) == 2


def test_an_all_day_event_is_in_no_other_events_way(calendar: Calendar) -> None:
    day = event("day", starts="DTSTART;VALUE=DATE:20260106", lasts="")
    timed = event("timed", starts="DTSTART:20260106T090500Z")
    report = calendar.import_ics("dev", file(day, timed))
    assert [item.uid for item in report.added] == ["timed", "day"]
    assert times(calendar) == [("1", "09:05"), ("2", "09:30")]


def test_an_all_day_event_without_room_is_left_out(calendar: Calendar) -> None:
    day = event("1", starts="DTSTART;VALUE=DATE:20260106", lasts="")
    calendar.add_slot("dev", dt.datetime(2026, 1, 6, 23, 0, tzinfo=dt.UTC), 50)
    report = calendar.import_ics("dev", file(day), all_day_at=dt.time(23, 5))
    assert took(report) == {"left_out": [("1", "overlaps slot 1 (2026-01-06 23:00 to 2026-01-06 23:50 UTC)")]}


def test_what_does_not_fit_is_left_out_and_told_why(calendar: Calendar) -> None:
    calendar.add_slot("dev", dt.datetime(2026, 1, 6, 10, 10, tzinfo=dt.UTC), 10)
    report = calendar.import_ics(
        "dev",
        file(
            event("overlaps"),
            event("past", starts="DTSTART:20260104T100000Z"),
            event("over", "RRULE:FREQ=DAILY;UNTIL=20251231T000000Z", starts="DTSTART:20251201T100000Z"),
            event("cancelled", "STATUS:CANCELLED"),
            event("never", "RRULE:FREQ=SECONDLY"),
            event("fits", starts="DTSTART:20260106T120000Z"),
        ),
    )
    left_out = dict(took(report)["left_out"])
    assert left_out["overlaps"] == "overlaps slot 1 (2026-01-06 10:10 to 2026-01-06 10:20 UTC)"
    assert left_out["past"] == "2026-01-04 is over: past dates are immutable"
    assert left_out["over"].startswith("its last occurrence was on 2025-12-")
    assert left_out["cancelled"] == "cancelled"
    assert "SECONDLY" in left_out["never"]
    assert [item.uid for item in report.added] == ["fits"]


# --- occurrences that differ


MASTER = event("m", "RRULE:FREQ=DAILY", starts="DTSTART:20260105T100000Z")
MOVED = event("m", "RECURRENCE-ID:20260106T100000Z", "SUMMARY:Later", starts="DTSTART:20260106T150000Z")
DROPPED = event("m", "RECURRENCE-ID:20260106T100000Z", "STATUS:CANCELLED")


def test_an_occurrence_that_moved_is_a_slot_of_its_own(calendar: Calendar) -> None:
    report = calendar.import_ics("dev", file(MOVED, MASTER))
    assert [(item.uid, item.occurrence, item.became) for item in report.added] == [
        ("m", "", "plan 1"),
        ("m", "20260106T100000Z", "slot 1"),
    ]
    assert times(calendar) == [("1", "15:00")]
    assert times(calendar, TODAY) == [("plan-1-2026-01-05", "10:00")]


def test_a_cancelled_occurrence_is_skipped_once(calendar: Calendar) -> None:
    report = calendar.import_ics("dev", file(MASTER, DROPPED))
    assert took(report)["removed"] == [("m@20260106T100000Z", "this occurrence is cancelled")]
    assert times(calendar) == []
    assert len(calendar.import_ics("dev", file(MASTER, DROPPED)).unchanged) == 2


def test_an_occurrence_that_no_longer_differs_is_its_plans_again(calendar: Calendar) -> None:
    for changed in (MOVED, DROPPED):
        calendar.import_ics("dev", file(MASTER, changed))
        report = calendar.import_ics("dev", file(MASTER))
        assert [item.occurrence for item in report.removed] == ["20260106T100000Z"]
        assert times(calendar) == [("plan-1-2026-01-06", "10:00")]


def test_an_occurrence_of_nothing_is_told(calendar: Calendar) -> None:
    odd = event("m", "RECURRENCE-ID:20260106T113000Z", starts="DTSTART:20260106T150000Z")
    report = calendar.import_ics("dev", file(MASTER, odd))
    assert took(report)["left_out"] == [
        ("m@20260106T113000Z", "its recurring event has no such occurrence from today on")
    ]


def test_an_occurrence_whose_event_is_not_in_the_file_is_a_slot(calendar: Calendar) -> None:
    report = calendar.import_ics("dev", file(MOVED))
    assert took(report) == {"added": [("m@20260106T100000Z", "")]}
    assert times(calendar) == [("1", "15:00")]


# --- again


def test_the_same_file_again_changes_nothing(calendar: Calendar) -> None:
    content = file(event("1"), MASTER, event("2", starts="DTSTART:20260107T100000Z"))
    calendar.import_ics("dev", content)
    before = [calendar.day("dev", TODAY + dt.timedelta(days=number), everything=True) for number in range(5)]
    report = calendar.import_ics("dev", content)
    assert set(took(report)) == {"unchanged", "left_out"} - ({"left_out"} if not report.left_out else set())
    assert before == [calendar.day("dev", TODAY + dt.timedelta(days=number), everything=True) for number in range(5)]


@pytest.mark.parametrize("exported", sorted(ICS.glob("*.ics")), ids=lambda path: path.stem)
def test_files_of_the_known_applications_are_taken_and_taken_again(calendar: Calendar, exported: Path) -> None:
    first = calendar.import_ics("dev", exported)
    assert first.added
    again = calendar.import_ics("dev", exported)
    assert (again.added, again.changed, again.removed) == ((), (), ())
    assert again.left_out == first.left_out
    assert len(again.unchanged) == len(first.added) + len(first.removed)
    assert again.source == first.source


def test_a_newer_file_changes_what_differs_and_removes_what_is_gone(calendar: Calendar) -> None:
    stays = event("stays", starts="DTSTART:20260106T080000Z")
    goes = event("goes", starts="DTSTART:20260106T120000Z")
    plan = event("plan", "RRULE:FREQ=DAILY", starts="DTSTART:20260105T200000Z")
    calendar.import_ics("dev", file(stays, event("moves"), goes, plan))
    moves = event("moves", starts="DTSTART:20260106T110000Z")
    report = calendar.import_ics("dev", file(stays, moves, event("new", starts="DTSTART:20260106T140000Z")))
    assert took(report) == {
        "added": [("new", "")],
        "changed": [("moves", "")],
        "unchanged": [("stays", "")],
        "removed": [("goes", ""), ("plan", "")],
    }
    assert times(calendar) == [("1", "08:00"), ("2", "11:00"), ("4", "14:00")]
    assert calendar.slot(SlotKey.real(3)).status is SlotStatus.SKIPPED
    assert calendar.plan(1).is_cancelled


def test_an_event_that_comes_back_is_new(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("1")))
    calendar.import_ics("dev", file())
    assert took(calendar.import_ics("dev", file(event("1")))) == {"added": [("1", "")]}
    assert times(calendar) == [("2", "10:00")]


def test_a_single_event_that_begins_to_recur_becomes_a_plan_and_back(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("1")))
    report = calendar.import_ics("dev", file(event("1", "RRULE:FREQ=DAILY")))
    assert [item.became for item in report.changed] == ["plan 1"]
    assert times(calendar) == [("plan-1-2026-01-06", "10:00")]
    report = calendar.import_ics("dev", file(event("1")))
    assert [item.became for item in report.changed] == ["slot 2"]
    assert calendar.plan(1).is_cancelled
    assert times(calendar) == [("2", "10:00")]


def test_what_has_begun_or_is_over_stays_as_it_was(calendar: Calendar, clock: FakeClock) -> None:
    begun = [event(str(number), starts=f"DTSTART:20260105T1{number}0000Z") for number in (1, 2, 3)]
    calendar.import_ics("dev", file(*begun))
    calendar.apply_update("dev", SlotKey.real(1), SlotUpdate(status=SlotStatus.ONGOING))
    calendar.apply_update("dev", SlotKey.real(2), SlotUpdate(status=SlotStatus.FINISHED))
    later = [event(uid, starts=f"DTSTART:20260105T{hour}0000Z") for uid, hour in (("1", "14"), ("2", "15"))]
    report = calendar.import_ics("dev", file(*later))
    assert took(report) == {
        "unchanged": [
            ("1", "stays as it was: slot is ongoing: what has begun keeps its time"),
            ("2", "stays as it was: slot is already finished"),
        ],
        "removed": [("3", "")],
    }
    clock.advance(86_400)
    assert took(calendar.import_ics("dev", file())) == {
        "removed": [("1", "stays as it was: slot is ongoing: what has begun stays"), ("2", "")]
    }
    assert calendar.slot(SlotKey.real(2)).status is SlotStatus.FINISHED


def test_what_was_changed_by_hand_stays_until_the_file_changes(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("1")))
    calendar.edit_slot(SlotKey.real(1), starts_at=dt.datetime(2026, 1, 6, 20, tzinfo=dt.UTC))
    calendar.import_ics("dev", file(event("1")))
    assert times(calendar) == [("1", "20:00")]
    calendar.import_ics("dev", file(event("1", "SUMMARY:new")))
    assert times(calendar) == [("1", "10:00")]


def test_a_series_that_was_ended_yesterday_yields_nothing_more(calendar: Calendar) -> None:
    endless = event("m", "RRULE:FREQ=DAILY", starts="DTSTART:20260101T100000Z")
    calendar.import_ics("dev", file(endless))
    ended = event("m", "RRULE:FREQ=DAILY;UNTIL=20260104T235959Z", starts="DTSTART:20260101T100000Z")
    assert took(calendar.import_ics("dev", file(ended))) == {
        "removed": [("m", "its last occurrence was on 2026-01-04")]
    }
    assert times(calendar) == []


def test_an_event_that_was_moved_into_the_past_is_no_longer_to_come(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("1")))
    report = calendar.import_ics("dev", file(event("1", starts="DTSTART:20260103T100000Z")))
    assert took(report) == {"removed": [("1", "it was moved to 2026-01-03, which is over")]}
    assert times(calendar) == []


def test_a_series_that_moves_takes_its_override_along(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(MASTER, MOVED))
    later = event("m", "RRULE:FREQ=DAILY", starts="DTSTART:20260105T110000Z")
    override = event("m", "RECURRENCE-ID:20260106T110000Z", starts="DTSTART:20260106T150000Z")
    calendar.import_ics("dev", file(later, override))
    assert [time for _, time in times(calendar)] == ["15:00"]
    again = calendar.import_ics("dev", file(later, override))
    assert len(again.unchanged) == 2
    assert [time for _, time in times(calendar)] == ["15:00"]


def test_an_event_that_was_made_anew_takes_the_place_of_the_old_one(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("old")))
    assert took(calendar.import_ics("dev", file(event("new")))) == {"added": [("new", "")], "removed": [("old", "")]}
    assert times(calendar) == [("2", "10:00")]


def test_a_day_that_moves_as_a_whole_is_taken_as_a_whole(calendar: Calendar) -> None:
    def day(minute: str) -> str:
        starts = {number: f"DTSTART:20260106T1{number}{minute}00Z" for number in "123"}
        return file(*(event(number, starts=start, lasts="DURATION:PT50M") for number, start in starts.items()))

    calendar.import_ics("dev", day("00"))
    assert [item.uid for item in calendar.import_ics("dev", day("30")).changed] == ["3", "2", "1"]
    assert [time for _, time in times(calendar)] == ["11:30", "12:30", "13:30"]


@pytest.mark.parametrize("status", [SlotStatus.ONGOING, SlotStatus.PAUSED])
def test_work_that_is_under_way_is_not_aborted_by_an_import(calendar: Calendar, status: SlotStatus) -> None:
    today = event("1", starts="DTSTART:20260105T090000Z")
    calendar.import_ics("dev", file(today))
    calendar.apply_update("dev", SlotKey.real(1), SlotUpdate(status=status))
    recurring = event("1", "RRULE:FREQ=DAILY", starts="DTSTART:20260105T090000Z")
    for content in (recurring, event("1", "STATUS:CANCELLED", starts="DTSTART:20260105T090000Z")):
        calendar.import_ics("dev", file(content))
        assert times(calendar, TODAY) == [("1", "09:00")]
        assert calendar.slot(SlotKey.real(1)).status is status


def test_work_that_was_done_today_is_not_asked_for_again_by_its_series(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("1", starts="DTSTART:20260105T090000Z")))
    calendar.apply_update("dev", SlotKey.real(1), SlotUpdate(status=SlotStatus.FINISHED))
    calendar.import_ics("dev", file(event("1", "RRULE:FREQ=DAILY", starts="DTSTART:20260105T090000Z")))
    assert times(calendar, TODAY) == [("1", "09:00")]
    assert times(calendar) == [("plan-1-2026-01-06", "09:00")]


def test_a_locked_slot_is_removed_by_no_import(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(MASTER, MOVED))
    calendar.lock_slot(SlotKey.real(1))
    report = calendar.import_ics("dev", file(MASTER))
    assert [item.reason for item in report.removed] == [
        "stays as it was: slot is locked by an admin and cannot be changed"
    ]
    assert times(calendar) == [("1", "15:00")]
    calendar.unlock_slot(SlotKey.real(1))
    calendar.import_ics("dev", file(MASTER))
    assert times(calendar) == [("plan-1-2026-01-06", "10:00")]


# --- sources


def test_files_of_two_calendars_leave_each_other_alone(calendar: Calendar) -> None:
    work = file(event("1"), head=("X-WR-CALNAME:Work",))
    home = file(event("1", starts="DTSTART:20260106T150000Z"), head=("X-WR-CALNAME:Home",))
    assert [calendar.import_ics("dev", content).source for content in (work, home)] == ["Work", "Home"]
    assert times(calendar) == [("1", "10:00"), ("2", "15:00")]
    assert took(calendar.import_ics("dev", file(head=("X-WR-CALNAME:Home",)))) == {"removed": [("1", "")]}
    assert times(calendar) == [("1", "10:00")]


def test_a_file_without_a_name_is_known_by_its_own(calendar: Calendar, tmp_path: Path) -> None:
    path = tmp_path / "day.ics"
    path.write_text(file(event("1")), encoding="utf-8")
    assert calendar.import_ics("dev", path).source == "day.ics"
    assert calendar.import_ics("dev", path.read_bytes(), source="other").source == "other"


def test_agents_have_imports_of_their_own(calendar: Calendar) -> None:
    calendar.register_agent("ops")
    calendar.import_ics("dev", file(event("1")))
    assert took(calendar.import_ics("ops", file(event("1")))) == {"added": [("1", "")]}
    calendar.import_ics("ops", file())
    assert times(calendar) == [("1", "10:00")]


@pytest.mark.parametrize("method", ["REQUEST", "CANCEL"])
def test_a_message_about_one_event_removes_no_other(calendar: Calendar, method: str) -> None:
    calendar.import_ics("dev", file(event("1"), event("2", starts="DTSTART:20260106T150000Z")))
    newer = event("2", "SUMMARY:new", starts="DTSTART:20260106T150000Z")
    report = calendar.import_ics("dev", file(newer, head=(f"METHOD:{method}",)))
    assert times(calendar)[0] == ("1", "10:00")
    assert [item.uid for item in (*report.changed, *report.removed)] == ["2"]


# --- all or nothing


@pytest.mark.parametrize("content", ["", "no calendar", b"\xff\xfe\x00", file()[5:]])
def test_what_is_no_calendar_is_refused(calendar: Calendar, content: bytes | str) -> None:
    with pytest.raises(ICalendarError):
        calendar.import_ics("dev", content)


def test_a_file_that_cannot_be_read_is_told(calendar: Calendar, tmp_path: Path) -> None:
    with pytest.raises(ICalendarError, match="cannot be read"):
        calendar.import_ics("dev", tmp_path / "nowhere.ics")
    with pytest.raises(ICalendarError, match="bytes, a text or a path"):
        calendar.import_ics("dev", 7)  # type: ignore[arg-type]


def test_an_unknown_agent_or_zone_is_refused(calendar: Calendar, refusal: Refusal) -> None:
    assert refusal(lambda: calendar.import_ics("ops", file(event("1"))))[0] == 404
    with pytest.raises(ConfigurationError, match="Nowhere/Land"):
        calendar.import_ics("dev", file(event("1")), zone="Nowhere/Land")


FIXTURES = [path.read_bytes() for path in sorted(ICS.glob("*.ics"))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_bytes_there_is_a_report_or_one_error(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(FIXTURES)))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "double", "insert"])):
            case "flip":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 60))]
            case "double":
                content[at:at] = content[at : at + data.draw(st.integers(1, 200))]
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=8))
        if not content:
            break
    calendar = Calendar("sqlite://", clock=FakeClock())
    calendar.register_agent("dev")
    try:
        report = calendar.import_ics("dev", bytes(content))
    except ICalendarError:
        assert calendar.plans("dev") == ()
    else:
        assert ImportReport.from_json(report.to_json()) == report
    calendar.close()


# --- export


def test_an_export_tells_of_the_plan_before_and_of_what_happened_after(calendar: Calendar, clock: FakeClock) -> None:
    task = {"code": "T-1", "type": "Task"}
    calendar.add_slot("dev", clock.now(), 30, priority=90, event_type="job", event_data=task)
    calendar.add_slot(
        "dev", clock.now() + dt.timedelta(hours=1), event_type="system_event", event_data={"event": "Summary"}
    )
    calendar.add_slot("dev", clock.now() + dt.timedelta(hours=2))
    calendar.add_plan("dev", Recurrence.contract(dt.time(20), first=TODAY), 10)
    before = {entry.uid: entry for entry in read(calendar.export_ics("dev", TODAY)).events}
    clock.advance(120)
    calendar.apply_update("dev", SlotKey.real(1), SlotUpdate(status=SlotStatus.ONGOING))
    clock.advance(17 * 60)
    calendar.apply_update("dev", SlotKey.real(1), SlotUpdate(status=SlotStatus.FINISHED, actual_duration=17))
    calendar.cancel_slot(SlotKey.real(3))
    calendar.apply_update("dev", SlotKey.virtual("plan-1-2026-01-05"), SlotUpdate(status=SlotStatus.ONGOING))
    content = calendar.export_ics("dev", TODAY)
    after = {entry.uid: entry for entry in read(content).events}
    assert set(before) == set(after), "every slot keeps its UID, also one that became real"
    one, two, three, plan = sorted(after.values(), key=lambda entry: (entry.uid.startswith("plan"), entry.uid))
    assert [entry.title for entry in (one, two, three, plan)] == ["T-1", "Summary", "work slot", "work slot"]
    assert (one.starts_at, one.duration, one.priority) == (
        dt.datetime(2026, 1, 5, 9, 2, tzinfo=dt.UTC),
        dt.timedelta(minutes=17),
        1,
    )
    assert (two.starts_at, two.duration, two.is_cancelled) == (
        dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC),
        dt.timedelta(minutes=30),
        False,
    )
    assert (three.is_cancelled, plan.is_cancelled) == (True, False)
    assert plan.starts_at == dt.datetime(2026, 1, 5, 9, 19, tzinfo=dt.UTC)
    assert b"X-HARBORCAL-STATUS:finished" in content
    assert b"X-HARBORCAL-SCHEDULED:2026-01-05T09:00:00Z" in content


def test_imported_events_keep_their_uid_when_they_are_exported(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("me@x.test")))
    assert [entry.uid for entry in read(calendar.export_ics("dev", TODAY, TOMORROW)).events] == ["me@x.test"]


def test_an_event_of_two_sources_is_exported_twice(calendar: Calendar) -> None:
    calendar.import_ics("dev", file(event("1")), source="a")
    calendar.import_ics("dev", file(event("1", starts="DTSTART:20260106T150000Z")), source="b")
    uids = [entry.uid for entry in read(calendar.export_ics("dev", TOMORROW)).events]
    assert len(uids) == 2
    assert uids[0] == "1"


def test_two_exports_of_one_state_are_the_same_but_for_their_date(calendar: Calendar) -> None:
    calendar.add_slot("dev", calendar.clock.now())
    assert calendar.export_ics("dev", TODAY) == calendar.export_ics("dev", TODAY)


def test_an_exported_day_can_be_taken_by_another_calendar(calendar: Calendar, clock: FakeClock) -> None:
    task = {"code": "ü, x; \\ y", "type": "Task"}
    calendar.add_slot("dev", clock.now() + dt.timedelta(hours=1), 20, priority=40, event_type="job", event_data=task)
    other = Calendar("sqlite://", clock=clock)
    other.register_agent("dev")
    other.import_ics("dev", calendar.export_ics("dev", TODAY))
    (ours,), (theirs,) = calendar.day("dev", TODAY), other.day("dev", TODAY)
    for name in ("date", "scheduled_at", "estimated_duration", "priority", "event_data"):
        assert getattr(ours, name) == getattr(theirs, name)
    other.close()


@pytest.mark.parametrize(
    ("first", "last"),
    [(TODAY, TODAY - dt.timedelta(days=1)), (TODAY, TODAY + dt.timedelta(days=367)), ("x", TODAY), (TODAY, "x")],
)
def test_an_export_of_no_range_is_refused(calendar: Calendar, refusal: Refusal, first: dt.date, last: dt.date) -> None:
    assert refusal(lambda: calendar.export_ics("dev", first, last))[0] == 422
    assert refusal(lambda: calendar.export_ics("ops", TODAY))[0] == 404


def test_a_year_is_exported_at_once(calendar: Calendar) -> None:
    start = dt.datetime(2026, 1, 5, 9, tzinfo=ZoneInfo("America/New_York"))
    calendar.add_plan("dev", Recurrence.of(start, "FREQ=WEEKLY"))
    assert len(read(calendar.export_ics("dev", TODAY, TODAY + dt.timedelta(days=366))).events) == 53
