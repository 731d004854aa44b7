"""The README's code runs as it stands; its tables and trees say what the code says."""

import dataclasses
import re
import threading
from pathlib import Path
from typing import Any

import pytest

import harborcal
from harborcal import Agent, CallbackHost, Scheduler, SchedulerConfig, SlotKey, SlotUpdate
from harborcal.testing import CalendarServer, CallerRunner, InMemoryCalendar

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL))


def run(name: str, replacing: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """Run one block of the README as a module of its own."""
    space: dict[str, Any] = {"__name__": f"readme_{name}"}
    source = BLOCKS[name].replace(*replacing) if replacing[0] else BLOCKS[name]
    exec(compile(source, f"README.md ({name})", "exec", dont_inherit=True), space)
    return space


def test_every_python_block_is_run_by_a_test_of_this_file() -> None:
    assert README.count("```python") == len(BLOCKS)
    assert set(BLOCKS) == {"main", "carried", "durable", "host", "transport", "testing"}


def test_the_fifteen_lines_run_an_agent_over_real_http(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS["main"].strip().splitlines()) <= 15
    calendar = InMemoryCalendar(agents=["developer"])
    key = calendar.add_slot("developer", event_type="job", event_data={"type": "Task", "code": "TASK-42"})
    finished = threading.Event()

    def on_update(_agent: str, _slot: SlotKey, update: SlotUpdate) -> None:
        if update.status is harborcal.SlotStatus.FINISHED:
            finished.set()

    calendar.before_update = on_update
    with CalendarServer(calendar) as server:
        space: dict[str, Any] = {"__name__": "readme_main"}
        source = BLOCKS["main"].replace("http://127.0.0.1:8000", server.url)
        running = threading.Thread(target=lambda: exec(compile(source, "README.md", "exec"), space))
        running.start()
        assert finished.wait(10)
        space["scheduler"].request_stop()
        running.join(15)
    assert not running.is_alive()
    assert calendar.slot(key).status is harborcal.SlotStatus.FINISHED
    assert "developer was told: [calendar job Task/TASK-42] please handle this" in capsys.readouterr().out


def test_the_same_agents_run_by_a_calendar_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space = run("carried", replacing=("scheduler.run()", "scheduler.tick()\nscheduler.stop()"))
    calendar = space["calendar"]
    assert calendar.slot(SlotKey.real(1)).status is harborcal.SlotStatus.FINISHED
    assert len(calendar.plans("developer")) == 1
    calendar.close()
    assert "developer was told: [calendar job Task/T-1] please handle this" in capsys.readouterr().out


def test_what_was_under_way_before_a_crash_is_completed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    calendar = InMemoryCalendar(agents=["developer"])
    key = calendar.add_slot("developer", event_type="job", event_data={"type": "Task", "code": "TASK-42"})
    with CalendarServer(calendar) as server:
        first = run("durable", replacing=("http://127.0.0.1:8000", server.url))
        assert first["scheduler"].tick().woken == ("developer",)
        first["calendar"].journal.close()  # all that a dying process does for its journal
        second = run("durable", replacing=("http://127.0.0.1:8000", server.url))
        second["scheduler"].complete("developer", "done all the same")
        assert second["calendar"].flush(10)
        second["scheduler"].stop()
        first["scheduler"].stop()
    assert calendar.slot(key).status is harborcal.SlotStatus.FINISHED
    assert second["scheduler"].status().history[-1].summary == "done all the same"
    assert capsys.readouterr().out.count("developer was told") == 1


def test_the_readmes_host_takes_wakes_and_fails_when_it_is_full() -> None:
    host = run("host")["QueueHost"]()
    calendar = InMemoryCalendar(agents=["dev"])
    calendar.add_slot("dev")
    scheduler = Scheduler(calendar, host, lambda: [Agent(id="dev")], runner=CallerRunner())
    assert scheduler.tick().woken == ("dev",)
    host.wakes.get_nowait().report.complete("read from the queue")
    host.wakes.maxsize = 1
    host.wakes.put_nowait(None)
    calendar.add_slot("dev")
    assert scheduler.tick().failed_wakes == ("dev",)


def test_the_readmes_transport_serves_a_scheduler() -> None:
    transport = run("transport")["ListTransport"]({"dev": [7, 8]})
    host = CallbackHost(lambda wake: wake.report.complete("quick"))
    scheduler = Scheduler(transport, host, lambda: [Agent(id="dev")], runner=CallerRunner())
    scheduler.tick()
    scheduler.tick()
    assert transport.done == [("dev", SlotKey.real(7)), ("dev", SlotKey.real(8))]


def test_the_readmes_test_passes() -> None:
    run("testing")["test_my_agent_finishes_its_job"]()


def test_the_table_of_settings_names_them_all_with_their_defaults() -> None:
    table = re.search(r"\| setting .*?\n\n", README, re.DOTALL)
    assert table is not None
    told: dict[str, str] = {}
    for names, default in re.findall(r"^\| (`.*?) \| (.*?) \|", table.group(), re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), default)
    for field in dataclasses.fields(SchedulerConfig):
        value = field.default
        assert told.pop(field.name) in {f"{value:g} s" if isinstance(value, float) else str(value), "none"}
    assert not told


def test_the_error_tree_is_the_one_in_the_code() -> None:
    drawn = re.findall(r"^[│├└─ ]*(\w+Error)\b", README, re.MULTILINE)
    assert harborcal.errors.__doc__ is not None
    assert drawn == re.findall(r"^[│├└─ ]*(\w+Error)\b", harborcal.errors.__doc__, re.MULTILINE)
    classes = {name for name, item in vars(harborcal.errors).items() if isinstance(item, type)}
    assert set(drawn) == classes
    assert classes <= set(harborcal.__all__)


def test_what_is_supported_is_there_and_documented() -> None:
    for name in harborcal.__all__:
        item = getattr(harborcal, name)
        assert name == "__version__" or item.__doc__, name


def test_links_to_files_lead_somewhere() -> None:
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\(([^)#:]+?)(?:#[\w-]+)?\)", README)
    assert links
    assert not [link for link in links if not (root / link).exists()]
