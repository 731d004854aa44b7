"""The examples do what they say: each is run as its reader would run it."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from freezegun import freeze_time

from examples import standalone
from examples.flask_host import create_app
from harborcal import Agent, Scheduler, SlotStatus
from harborcal.testing import InMemoryCalendar

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SMALL = ["custom_transport.py", "flask_host.py", "thread_host.py"]


def start(name: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONUTF8": "1"}
    if os.environ.get("HARBORCAL_INSTALLED") != "1":
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def run(name: str) -> str:
    with start(name) as process:
        try:
            output, _ = process.communicate(timeout=40)
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    return output


# --- standalone -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(50)
def test_standalone_lives_through_its_day() -> None:
    output = run("standalone.py")

    assert "9 planned = 8 finished + 1 aborted + 0 open" in output
    assert "every slot ended as expected" in output.splitlines()
    for woken in (
        "ada     woken     for slot 1: [calendar system_event] ScheduleToday",
        "ada     woken     for slot 2: [calendar job Task/TASK-142] please handle this",
        "ada     woken     for slot 3: [calendar slot 3] scheduled work — please proceed",
        "ada     woken     for slot plan-7-",
        "linus   FAILED    cannot be woken: no shell on host web-3",
        "linus   woken     for slot 6: [calendar job Essential/DEPLOY-8] please handle this (attempt 2)",
    ):
        assert woken in output
    for sent in (
        'PATCH     /calendar/slots/1/agent-update {"status":"ongoing","started_at":"',
        'PATCH     /calendar/slots/2/agent-update {"status":"paused"} -> 200',
        'PATCH     /calendar/slots/2/agent-update {"status":"ongoing"} -> 200',
        'PATCH     /calendar/slots/2/agent-update {"status":"finished","actual_duration":1} -> 200',
        'PATCH     /calendar/slots/5/agent-update {"status":"aborted"} -> 200',
        "PATCH     /calendar/slots/virtual/plan-7-",
    ):
        assert sent in output
    assert "calendar heartbeat failed: err=calendar unavailable (503)" in output
    assert output.index("woken     for slot 2:") < output.index("woken     for slot 3:"), (
        "the higher priority goes first"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_standalone_stops_cleanly_when_interrupted(number: signal.Signals) -> None:
    with start("standalone.py") as process:
        assert process.stdout is not None
        try:
            seen = next(line for line in process.stdout if " woken " in line)
            process.send_signal(number)
            rest = process.stdout.read()
            process.wait(timeout=20)
        finally:
            process.kill()
    assert "[calendar " in seen
    assert process.returncode == 0, rest
    assert rest.endswith(f"interrupted ({number.name}): stopped before the day was over\n")
    assert "9 planned = " in rest
    assert "Traceback" not in rest


def test_standalone_carries_its_day_over_midnight() -> None:
    with freeze_time("2026-05-04 23:59:58") as frozen:
        calendar = InMemoryCalendar(agents=["ada"])
        entries = [standalone.Entry(agent="ada", after=after, slot={}, does=[["finish", "done"]]) for after in (1, 4)]
        plan = standalone.write_down(calendar, entries)
        assert [(slot.date, slot.scheduled_at) for slot in calendar.slots("ada")] == [
            (dt.date(2026, 5, 4), dt.time(23, 59, 59)),
            (dt.date(2026, 5, 5), dt.time(0, 0, 2)),
        ]

        frozen.move_to("2026-05-05 00:00:01")
        standalone.carry_over(calendar, plan)

        assert [(slot.date, slot.scheduled_at) for slot in calendar.heartbeat("ada").slots] == [
            (dt.date(2026, 5, 5), dt.time()),
            (dt.date(2026, 5, 5), dt.time(0, 0, 2)),
        ]


# --- the small ones -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_small_examples_are_small_and_say_what_they_show(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert text.startswith('"""')


def test_thread_host_works_its_calendar_off_and_ends() -> None:
    assert sorted(run("thread_host.py").splitlines()) == [
        "ada, slot 1: finished, 20 minutes a page",
        "ada, slot 2: aborted, integer division or modulo by zero",
        "grace, slot 3: finished, 12 minutes a page",
    ]


def test_custom_transport_writes_back_what_became_of_each_slot() -> None:
    first, second, *file = run("custom_transport.py").splitlines()
    assert first == "[calendar job TASK-42] please handle this"
    assert second == "[calendar slot 1] scheduled work — please proceed"
    for slot in json.loads("\n".join(file))["dev"]:
        assert (slot["status"], slot["actual_duration"]) == ("finished", 1)
        assert dt.time.fromisoformat(slot["started_at"]).microsecond == 0


# --- flask ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def calendar() -> InMemoryCalendar:
    return InMemoryCalendar(agents=["dev"])


@pytest.fixture
def app(calendar: InMemoryCalendar) -> Iterator[Flask]:
    app = create_app(calendar, [Agent(id="dev")])
    yield app
    app.extensions["harborcal"].stop()


@pytest.fixture
def scheduler(app: Flask) -> Scheduler:
    scheduler = app.extensions["harborcal"]
    assert isinstance(scheduler, Scheduler)
    return scheduler


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_flask_host_takes_an_agent_through_a_slot(
    calendar: InMemoryCalendar, scheduler: Scheduler, client: FlaskClient
) -> None:
    key = calendar.add_slot("dev", event_type="job", event_data={"type": "Task", "code": "TASK-42"})
    assert client.get("/agents/dev/inbox").json == []

    scheduler.tick()

    (wake,) = client.get("/agents/dev/inbox").json or []
    assert wake["message"] == "[calendar job Task/TASK-42] please handle this"
    assert wake["source"] == f"calendar:{key}"
    assert client.get("/agents/dev/inbox").json == []

    assert client.post("/agents/dev/pause", json={"reason": "lunch"}).status_code == 204
    (active,) = client.get("/status").get_json()["active"]
    assert (active["state"], active["pause_reason"]) == ("paused", "lunch")
    assert client.post("/agents/dev/resume", json={}).status_code == 204
    assert client.post("/agents/dev/complete", json={"summary": "merged"}).status_code == 204

    status = client.get("/status").get_json()
    assert status["active"] == []
    assert [(entry["status"], entry["summary"]) for entry in status["history"]] == [("finished", "merged")]
    assert [update.status for _, _, update in calendar.updates] == ["ongoing", "paused", "ongoing", "finished"]


def test_flask_host_passes_on_what_an_agent_gives_up(
    calendar: InMemoryCalendar, scheduler: Scheduler, client: FlaskClient
) -> None:
    key = calendar.add_slot("dev")
    scheduler.tick()
    assert client.post("/agents/dev/abort", json={"reason": "no access"}).status_code == 204
    assert calendar.slot(key).status is SlotStatus.ABORTED
    assert [entry.reason for entry in scheduler.status().history] == ["no access"]


def test_flask_host_maps_errors(calendar: InMemoryCalendar, scheduler: Scheduler, client: FlaskClient) -> None:
    idle = client.post("/agents/dev/complete", json={})
    assert (idle.status_code, idle.json) == (409, {"error": "calendar: no active slot for agent dev"})
    assert client.get("/agents/nobody/inbox").status_code == 404
    assert client.post("/agents/dev/dance", json={}).status_code == 404
    assert client.post("/agents/dev/complete", json=["not an object"]).status_code == 400
    assert client.post("/agents/dev/complete", data="no JSON").status_code == 415

    key = calendar.add_slot("dev")
    scheduler.tick()
    with calendar.outage():
        assert client.post("/agents/dev/complete", json={}).status_code == 503
    calendar.cancel(key)
    refused = client.post("/agents/dev/complete", json={})
    assert (refused.status_code, refused.json) == (409, {"error": "calendar refused (409): slot is already skipped"})

    scheduler.stop()
    assert client.post("/agents/dev/complete", json={}).status_code == 503
