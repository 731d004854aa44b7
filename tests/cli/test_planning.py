"""Planning from the command line: init, agents, add, plan, plans, cancel."""

import datetime as dt
import os
import stat
from pathlib import Path

import pytest

from harborcal.calendar import Calendar
from harborcal.cli.settings import load_settings
from tests.cli.conftest import Harbor

# --- init -------------------------------------------------------------------------------------------------------------


def test_init_writes_a_configuration_that_works_as_it_stands(bare: Harbor) -> None:
    told = bare.says("--zone", "Europe/Berlin", "init", "--agent", "reviewer", "--agent", "a.b:c")
    assert f"wrote {bare.folder}/harborcal.toml" in told
    settings = load_settings({}, {}, bare.folder)
    assert settings.zone.key == "Europe/Berlin"
    assert sorted(settings.agents) == ["a.b:c", "reviewer"]
    assert (settings.agents["reviewer"].host, settings.agents["reviewer"].settings["command"]) == ("command", ["cat"])
    with bare.calendar() as calendar:
        assert [agent.id for agent in calendar.agents()] == ["a.b:c", "reviewer"]
    assert stat.S_IMODE((bare.folder / "calendar.db").stat().st_mode) == 0o600
    assert {path.name for path in bare.folder.iterdir()} >= {"harborcal.toml", "calendar.db"}
    assert not [path for path in bare.folder.iterdir() if path.name.startswith(".harborcal.toml")]


def test_every_key_that_the_commented_file_shows_is_one_that_is_known(bare: Harbor) -> None:
    bare.call("init")
    text = (bare.folder / "harborcal.toml").read_text(encoding="utf-8")
    shown = [
        line.removeprefix("# ") if line.startswith("# ") and (" = " in line or line.startswith("# [")) else line
        for line in text.splitlines()
        if not line.startswith('# backend = "')
    ]
    bare.configure("\n".join(shown))
    settings = load_settings({}, {}, bare.folder)
    assert sorted(settings.agents) == ["reviewer", "writer"]
    assert settings.claw_identifier == "desk"


def test_init_overwrites_only_when_it_is_told_to(harbor: Harbor) -> None:
    before = (harbor.folder / "harborcal.toml").read_text(encoding="utf-8")
    assert "is there already; --force writes it anew" in harbor.fails(1, "init")
    assert (harbor.folder / "harborcal.toml").read_text(encoding="utf-8") == before
    harbor.call("add", "reviewer", "tomorrow 09:30")
    harbor.call("init", "--force", "--agent", "reviewer")
    assert (harbor.folder / "harborcal.toml").read_text(encoding="utf-8") != before
    assert len(harbor.reads("day", "tomorrow")["slots"]) == 1, "the calendar is kept"


def test_init_writes_down_what_was_said_before_it(bare: Harbor) -> None:
    told = bare.says("--backend", "https://harborforge.example", "--state", "there", "init", "sub/deep", "--agent", "a")
    assert "calendar is" not in told
    settings = load_settings({}, {}, bare.folder / "sub" / "deep")
    assert settings.backend == "https://harborforge.example"
    assert settings.state == bare.folder / "sub" / "deep" / "there"
    assert not list(bare.folder.rglob("calendar.db"))


def test_init_writes_to_where_the_configuration_was_named(bare: Harbor) -> None:
    bare.call("--config", "my.toml", "init")
    assert (bare.folder / "my.toml").is_file()
    assert "not both" in bare.fails(2, "--config", "my.toml", "init", ".")


def test_init_writes_nothing_that_makes_no_sense(bare: Harbor) -> None:
    assert "did you mean Europe/Berlin?" in bare.fails(3, "--zone", "Europe/Berln", "init")
    assert "is no agent's id" in bare.fails(2, "init", "--agent", "a b")
    assert not list(bare.folder.iterdir())


def test_init_where_nothing_can_be_written_says_so(bare: Harbor) -> None:
    (bare.folder / "file").write_text("", encoding="utf-8")
    assert "file" in bare.fails(1, "init", "file/sub")


# --- agents -----------------------------------------------------------------------------------------------------------


def test_agents_of_the_file_are_registered_when_the_calendar_is_first_opened(harbor: Harbor) -> None:
    found = {one["id"]: one for one in harbor.reads("agents")}
    assert sorted(found) == ["reviewer", "writer"]
    assert found["reviewer"]["host"] == "command"
    with harbor.calendar() as calendar:
        assert [agent.id for agent in calendar.agents()] == ["reviewer", "writer"]


def test_agents_are_added_and_removed(harbor: Harbor) -> None:
    assert "[agents.tester] in harborcal.toml says how it is woken" in harbor.call("agents", "add", "tester").stderr
    harbor.call("agents", "add", "tester", "--claw", "desk")
    told = harbor.says("agents")
    assert [line.split() for line in told.splitlines()][1:] == [
        ["reviewer", "idle", "command", "never"],
        ["tester", "idle", "(none)", "never"],
        ["writer", "idle", "command", "never"],
    ]
    assert harbor.says("agents", "remove", "tester") == "tester is removed\n"
    assert "there is no agent 'tester'" in harbor.fails(5, "agents", "remove", "tester")


def test_an_agent_of_the_file_is_not_removed_only_to_return(harbor: Harbor) -> None:
    assert "take [agents.writer] out of it first" in harbor.fails(1, "agents", "remove", "writer")


def test_agents_tell_when_they_were_heard(harbor: Harbor) -> None:
    harbor.call("agents")
    with harbor.calendar() as calendar:
        calendar.heartbeat("writer")
    assert "0 s ago" in harbor.says("agents")


def test_without_agents_it_is_said_how_to_get_some(bare: Harbor) -> None:
    bare.configure("")
    assert "no agents yet" in bare.call("agents").stderr
    assert "harborcal agents add ID" in bare.fails(5, "add", "reviewer", "in 5m")


# --- add --------------------------------------------------------------------------------------------------------------


def test_a_slot_is_added_in_the_zone_of_the_settings(harbor: Harbor) -> None:
    told = harbor.says("add", "reviewer", "tomorrow 09:30", "--for", "25m", "--job", "REVIEW-7", "--priority", "5")
    assert told == "slot 1: reviewer, Tue 2026-03-03 09:30-09:55 Europe/Berlin\n"
    with harbor.calendar() as calendar:
        (slot,) = calendar.day("reviewer", dt.date(2026, 3, 3))
    assert (slot.scheduled_at, slot.estimated_duration, slot.priority) == (dt.time(8, 30), 25, 5)
    assert (slot.event_type, slot.event_data) == ("job", {"type": "Task", "code": "REVIEW-7"})


def test_a_slot_is_told_in_json(harbor: Harbor) -> None:
    told = harbor.reads("add", "reviewer", "tomorrow 09:30", "--tz", "Asia/Tokyo")
    assert told["starts_at"] == "2026-03-03T09:30:00+09:00"
    assert (told["agent_id"], told["ident"], told["id"]) == ("reviewer", "1", 1)


@pytest.mark.parametrize(
    ("words", "kind", "data"),
    [
        (["--job", "Support/T-9"], "job", {"type": "Support", "code": "T-9"}),
        (["--job", "Support/EU/T-9"], "job", {"type": "Support", "code": "EU/T-9"}),
        (["--event", "backup"], "system_event", {"event": "backup"}),
        (["--text", "look at it"], "job", {"description": "look at it"}),
        (["--job", "R-1", "--data", '{"branch": "main"}'], "job", {"type": "Task", "code": "R-1", "branch": "main"}),
        ([], None, None),
    ],
)
def test_work_is_said_by_options(harbor: Harbor, words: list[str], kind: str | None, data: object) -> None:
    told = harbor.reads("add", "reviewer", "in 20m", *words)
    assert (told["event_type"], told["event_data"]) == (kind, data)


@pytest.mark.parametrize(
    ("code", "words", "complaint"),
    [
        (5, ["add", "revewer", "in 20m"], "there is no agent 'revewer'; did you mean reviewer?"),
        (5, ["add", "zzz", "in 20m"], "there is no agent 'zzz'; there is reviewer, writer"),
        (2, ["add", "re viewer", "in 20m"], "is no agent's id"),
        (2, ["add", "reviewer", "tomorow 9:00"], "is no time; write one as"),
        (2, ["add", "reviewer", "08:30"], "is past today"),
        (2, ["add", "reviewer", "2026-03-29 02:30"], "does not exist in Europe/Berlin"),
        (5, ["add", "reviewer", "yesterday 09:30"], "2026-03-01 is over: past dates are immutable"),
        (5, ["add", "reviewer", "in 20m", "--for", "2h"], "estimated_duration"),
        (2, ["add", "reviewer", "in 20m", "--for", "long"], "is no duration"),
        (2, ["add", "reviewer", "in 20m", "--priority", "100"], "100 is not in the range"),
        (2, ["add", "reviewer", "in 20m", "--job", "A", "--event", "b"], "name one"),
        (2, ["add", "reviewer", "in 20m", "--job", ""], "--job is a code"),
        (2, ["add", "reviewer", "in 20m", "--job", "Support/"], "--job is a code"),
        (2, ["add", "reviewer", "in -5"], "'in -5' of what?"),
        (2, ["add", "reviewer", "in 20m", "--data", "{"], "that is no JSON"),
        (2, ["add", "reviewer", "in 20m", "--data", "[]"], "a JSON object is meant"),
        (3, ["add", "reviewer", "in 20m", "--tz", "Mars"], "--tz: there is no time zone 'Mars'"),
        (2, ["add", "reviewer"], "Missing argument 'WHEN'"),
        (2, ["ad", "reviewer"], "Did you mean"),
    ],
)
def test_a_slip_is_answered_in_words(harbor: Harbor, code: int, words: list[str], complaint: str) -> None:
    assert complaint in harbor.fails(code, *words)


def test_an_overlap_is_refused_and_the_other_slot_is_named(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "tomorrow 09:30", "--for", "25")
    assert "overlaps slot 1" in harbor.fails(5, "add", "reviewer", "tomorrow 09:40")
    harbor.call("add", "reviewer", "tomorrow 09:55")


# --- plan -------------------------------------------------------------------------------------------------------------


def test_a_plan_is_made_of_words_and_tells_its_first_slots(harbor: Harbor) -> None:
    told = harbor.says("plan", "reviewer", "every weekday", "--at", "09:00", "--for", "20m", "--job", "STANDUP")
    assert told.splitlines() == [
        "plan 1: reviewer, FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR, 20 minutes, Europe/Berlin",
        "  Mon 2026-03-02 09:00",
        "  Tue 2026-03-03 09:00",
        "  Wed 2026-03-04 09:00",
    ]
    slots = harbor.reads("day", "2026-03-30", "reviewer")["slots"]
    assert [slot["starts_at"] for slot in slots] == ["2026-03-30T09:00:00+02:00"], "in wall time, over the change"


def test_a_plan_is_made_of_a_rule_in_a_zone_of_its_own(harbor: Harbor) -> None:
    told = harbor.reads("plan", "reviewer", "FREQ=WEEKLY;BYDAY=MO,WE", "--at", "09:00", "--tz", "America/New_York")
    assert told["recurrence"]["zone"] == "America/New_York"
    assert told["next"][0] == "2026-03-02T09:00:00-05:00"


def test_the_time_may_stand_among_the_words(harbor: Harbor) -> None:
    assert harbor.reads("plan", "reviewer", "every friday at 4pm")["next"][0] == "2026-03-06T16:00:00+01:00"


def test_nothing_of_a_plan_is_due_before_it_was_made(harbor: Harbor) -> None:
    harbor.call("plan", "reviewer", "every day", "--at", "08:00")
    harbor.call("plan", "writer", "every 3 hours", "--at", "06:00")
    slots = harbor.reads("today")["slots"]
    assert [slot["starts_at"] for slot in slots if slot["agent_id"] == "reviewer"] == []
    hours = [slot["starts_at"][11:16] for slot in slots if slot["agent_id"] == "writer"]
    assert hours == ["09:00", "12:00", "15:00", "18:00", "21:00"]


def test_a_plan_has_a_first_and_a_last_day(harbor: Harbor) -> None:
    told = harbor.reads("plan", "reviewer", "every day", "--at", "9:00", "--from", "thursday", "--until", "2026-03-06")
    assert [moment[:10] for moment in told["next"]] == ["2026-03-05", "2026-03-06"]


def test_a_plan_from_a_past_day_on_begins_with_what_is_still_to_come(harbor: Harbor) -> None:
    told = harbor.reads("plan", "reviewer", "every day", "--at", "9:30", "--from", "2020-01-01")
    assert told["next"][0][:10] == "2026-03-02"


@pytest.mark.parametrize("words", [("day", "2300-01-01"), ("simulate", "--from", "2300-01-01")])
def test_days_of_no_calendar_are_refused(harbor: Harbor, words: tuple[str, ...]) -> None:
    assert "is too far away" in harbor.fails(2, *words)


def test_init_with_a_path_that_is_no_text_writes_nothing(bare: Harbor) -> None:
    assert "no UTF-8" in bare.fails(3, "--state", os.fsdecode(b"s\xff"), "init")
    assert list(bare.folder.iterdir()) == []


def test_what_a_plan_overlaps_is_noted(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "tomorrow 09:30")
    result = harbor.call("plan", "reviewer", "every day", "--at", "9:40")
    assert "overlap: " in result.stderr
    assert harbor.reads("plan", "reviewer", "every day", "--at", "9:35")["overlaps"]


@pytest.mark.parametrize(
    ("code", "words", "complaint"),
    [
        (2, ["every blue moon", "--at", "9:00"], "'every day', 'every weekday'"),
        (2, ["every day"], "say it with --at 09:00"),
        (2, ["every day at 9:00", "--at", "9:00"], "said twice"),
        (2, ["every day", "--at", "9"], "is no time of day"),
        (2, ["FREQ=BLAH", "--at", "9:00"], "FREQ is one of"),
        (2, ["every day", "--at", "9:00", "--until", "yesterday"], "over before it begins"),
        (2, ["every day", "--at", "9:00", "--from", "whenever"], "is no day"),
        (2, ["every day", "--at", "9:00", "--from", "0001-01-01"], "is too far away"),
        (2, ["every day", "--at", "9:00", "--from", "2020-01-01", "--until", "2021-01-01"], "over before it begins"),
        (5, ["every day", "--at", "9:00", "--for", "51"], "estimated_duration"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_words(
    harbor: Harbor, code: int, words: list[str], complaint: str
) -> None:
    assert complaint in harbor.fails(code, "plan", "reviewer", *words)


def test_plans_are_listed_with_what_comes_next(harbor: Harbor) -> None:
    assert "no plans" in harbor.call("plans").stderr
    harbor.call("plan", "reviewer", "every friday", "--at", "16:00", "--job", "Support/T-9")
    harbor.call("plan", "writer", "every day", "--at", "9:00")
    line = harbor.says("plans").splitlines()[1]
    assert line.split("  ")[0] == "1"
    assert line.endswith("Fri 2026-03-06 16:00")
    assert "Support/T-9" in line
    assert [one["id"] for one in harbor.reads("plans", "writer")] == [2]
    harbor.call("cancel", "plan-1")
    assert [one["id"] for one in harbor.reads("plans")] == [2]
    assert "cancelled" in harbor.says("plans", "--all")


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_slot_a_day_of_a_plan_and_a_whole_plan_are_cancelled(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "tomorrow 09:30")
    harbor.call("plan", "reviewer", "every day", "--at", "11:00")
    assert harbor.says("cancel", "1") == "slot 1 is skipped\n"
    assert harbor.says("cancel", "1") == "slot 1 is skipped\n", "again changes nothing"
    assert harbor.says("cancel", "plan-1-2026-03-03") == "slot plan-1-2026-03-03 is skipped\n"
    assert harbor.reads("day", "tomorrow")["slots"] == []
    assert len(harbor.reads("day", "wednesday")["slots"]) == 1
    assert harbor.says("cancel", "plan 1") == "plan 1 is cancelled\n"
    assert harbor.reads("day", "wednesday")["slots"] == []


@pytest.mark.parametrize(
    ("code", "what", "complaint"),
    [
        (5, "99", "there is no slot 99"),
        (5, "plan-99", "there is no plan 99"),
        (5, "plan-9-2026-03-05", "there is no slot plan-9-2026-03-05"),
        (2, "reviewer", "is neither a slot (12, plan-3-2026-03-05) nor a plan (plan-3)"),
        (2, "9" * 40, "is neither a slot"),
        (2, "²", "is neither a slot"),
    ],
)
def test_what_is_not_there_is_not_cancelled(harbor: Harbor, code: int, what: str, complaint: str) -> None:
    assert complaint in harbor.fails(code, "cancel", what)


# --- which calendar ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("today",), ("agents",), ("plans",), ("simulate",), ("add", "a", "in 5m")])
def test_in_a_folder_without_anything_nothing_is_made_up(bare: Harbor, words: tuple[str, ...]) -> None:
    assert "`harborcal init` makes both" in bare.fails(3, *words)
    assert not list(bare.folder.iterdir())


def test_a_calendar_that_is_named_needs_no_file(bare: Harbor) -> None:
    bare.call("--calendar", "mine.db", "agents", "add", "solo")
    assert [one["id"] for one in bare.reads("--calendar", "sqlite:///mine.db", "agents")] == ["solo"]
    with Calendar(f"sqlite:///{bare.folder}/mine.db") as calendar:
        assert calendar.agent("solo").id == "solo"


@pytest.mark.parametrize(
    "words",
    [
        ("add", "reviewer", "in 5m"),
        ("plan", "reviewer", "every day", "--at", "9:00"),
        ("plans",),
        ("cancel", "1"),
        ("agents", "add", "tester"),
        ("export",),
        ("simulate",),
    ],
)
def test_at_a_backend_nothing_is_planned_from_here(harbor: Harbor, words: tuple[str, ...]) -> None:
    complaint = harbor.fails(1, "--backend", "https://me:hush@harborforge.example", *words)
    assert "slots are planned at the backend, https://(set)@harborforge.example" in complaint


def test_a_damaged_calendar_is_told_and_left_alone(harbor: Harbor) -> None:
    (harbor.folder / "calendar.db").write_bytes(b"no database" * 1000)
    assert "calendar.db" in harbor.fails(6, "today")
    assert (harbor.folder / "calendar.db").read_bytes() == b"no database" * 1000


def test_a_calendar_in_a_folder_that_is_not_there_is_told(harbor: Harbor) -> None:
    assert "absent" in harbor.fails(6, "--calendar", str(Path("absent") / "calendar.db"), "today")
