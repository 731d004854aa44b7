"""The pages under docs: their code runs as it stands."""

import contextlib
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from harborcal import Agent, HttpTransport, Scheduler
from harborcal.server import Server
from harborcal.testing import InMemoryCalendar

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(name: str) -> dict[str, str]:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    found = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", text, re.DOTALL))
    assert text.count("```python") == len(found), "every block of Python is run"
    return found


def run(name: str, block: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": f"docs_{block}"}
    exec(compile(blocks(name)[block], f"docs/{name} ({block})", "exec", dont_inherit=True), space)
    return space


@pytest.mark.parametrize(
    "page", [*PAGES, *(ROOT / "docs" / "howto").glob("*.md"), ROOT / "llms.txt"], ids=lambda page: page.stem
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_calendars_first_program_wakes_its_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space = run("calendar.md", "first")
    calendar, scheduler = space["calendar"], space["scheduler"]
    assert isinstance(scheduler, Scheduler)
    with contextlib.closing(calendar):
        (slot,) = [slot for slot in scheduler_slots(calendar) if slot.event_data]
        begun = calendar.edit_slot(slot.key, starts_at=space["in_a_minute"] - space["dt"].timedelta(minutes=1))
        scheduler.tick()
        scheduler.stop()
        assert calendar.slot(begun.key).status == "finished"
    assert "reviewer was told: [calendar job Task/REVIEW-7] please handle this" in capsys.readouterr().out


def scheduler_slots(calendar: Any) -> list[Any]:
    today = calendar.clock.now().date()
    return [
        slot for date in (today, today.fromordinal(today.toordinal() + 1)) for slot in calendar.day("reviewer", date)
    ]


def test_the_recurrences_are_what_they_are_called() -> None:
    space = run("calendar.md", "plans")
    date = space["dt"].date
    assert [len(space["every_other_friday"].on(date(2026, 1, day))) for day in (9, 16, 23)] == [1, 0, 1]
    assert space["ten_times"].last_date() == date(2026, 1, 14)
    assert [len(space["second_monday"].on(date(2026, 1, day))) for day in (5, 12, 19)] == [0, 1, 0]


def test_an_import_tells_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    past = "BEGIN:VEVENT\r\nUID:1\r\nDTSTART:20200101T100000\r\nSUMMARY:Long ago\r\nEND:VEVENT\r\n"
    Path("team.ics").write_text(f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{past}END:VCALENDAR\r\n", encoding="utf-8")
    run("calendar.md", "ics")["calendar"].close()
    assert capsys.readouterr().out == "left out: Long ago (2020-01-01 is over: past dates are immutable)\n"


def test_the_server_of_the_page_serves_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    served: list[Any] = []
    monkeypatch.setattr("harborcal.server.serve", lambda calendar, **where: served.append((calendar, where)))
    calendar = run("serving.md", "serve")["calendar"]
    assert served == [(calendar, {"host": "127.0.0.1", "port": 8000})]
    with Server(calendar, port=0) as server:
        serving = threading.Thread(target=server.run)
        serving.start()
        with contextlib.closing(HttpTransport(server.url, "claw")) as transport:
            assert transport.heartbeat("developer").slots == ()
        server.close()
        serving.join()
    calendar.close()


def test_the_application_of_the_page_needs_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    client = run("serving.md", "app")["app"].test_client()
    assert client.get("/calendar/plans").status_code == 401
    key = {"Authorization": "Bearer a long random text", "X-Agent-ID": "nobody"}
    assert client.get("/calendar/plans", headers=key).status_code == 404


def test_tomorrow_is_rehearsed_in_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space = run("rehearsals.md", "tomorrow")
    with contextlib.closing(space["calendar"]) as calendar:
        told = {story.agent_id: story for story in space["tomorrow"].agents}
        assert len(told["ada"].slots) == 4
        assert told["ben"].is_overbooked
        ended = [slot for slot in told["ada"].slots if slot.status == "finished"]
        fewer = next(story for story in space["without_ada"].agents if story.agent_id == "ada")
        assert len(ended) == 4 > len([slot for slot in fewer.slots if slot.status == "finished"])
        assert all(slot.status == "not_started" for slot in calendar.day("ada", space["midnight"].date()))
    assert "ben" in capsys.readouterr().out


def test_a_drawn_day_breaks_no_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rehearsals.md", "drawn")["day"].violations == ()
    assert capsys.readouterr().out


def test_the_hosts_of_the_page_wake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("hosts.md", "envelope")["scheduler"].stop()
    run("hosts.md", "webhook")["host"].close()
    assert run("hosts.md", "verify")["is_ours"](b"{}", {}) is False
    host = run("hosts.md", "command")["host"]
    calendar = InMemoryCalendar(agents=["ada"])
    calendar.add_slot("ada", event_type="job", event_data={"code": "T-1"})
    with contextlib.closing(host), Scheduler(calendar, host, lambda: [Agent(id="ada")]) as scheduler:
        scheduler.tick()
        for _ in range(1_000):
            if scheduler.status().history:
                break
            threading.Event().wait(0.02)
        assert scheduler.status().history[0].summary == "handled T-1"


def test_the_control_api_of_the_page_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space = run("control.md", "serve")
    assert capsys.readouterr().out == "new\n{'agent_id': 'reviewer', 'last_heartbeat_at': None, 'verdicts': []}\n"
    space["scheduler"].stop()
    space["server"].close()


def test_the_tools_of_the_page_answer(capsys: pytest.CaptureFixture[str]) -> None:
    space = run("tools.md", "host")
    assert space["result"].is_error, "nobody was woken"
    assert "harborcal_calendar_why" in capsys.readouterr().out
    space["scheduler"].stop()
