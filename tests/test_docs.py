"""The pages under docs: their code runs as it stands."""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from harborcal import Scheduler

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
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
