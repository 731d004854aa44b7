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


@pytest.mark.timeout(55)
def test_standalone_lives_through_its_day() -> None:
    output = run("standalone.py")

    lines = output.splitlines()
    assert lines[-1] == "the day went as expected"
    for account in (
        "ada     5 planned = 5 finished + 0 aborted + 0 skipped + 0 open",
        "linus   3 planned = 1 finished + 1 aborted + 1 skipped + 0 open",
        "grace   2 planned = 1 finished + 0 aborted + 0 skipped + 1 open",
        "10 events exported for other calendars; the file is sound",
    ):
        assert account in lines
    for told in (
        "ada     took 'Check the backups' as plan 2",
        "ada     LEFT OUT 'Coffee with Paul': overlaps slot 1 (2026-03-02 08:00 to 2026-03-02 08:45 UTC)",
        "ada     LEFT OUT 'Write the release notes': cancelled",
        "woken: [calendar job Task/Plan the day] please handle this",
        "woken: [calendar job Meeting/Review of the parser] please handle this",
        "CANNOT BE WOKEN: no shell on host web-3",
        "woken: [calendar job Essential/DEPLOY-8] please handle this (attempt 2)",
        "pauses for ten minutes",
        "aborts: the disk is full",
        "an operator cancels 'Clean up the old servers'",
        "woken: [calendar slot 8] scheduled work — please proceed",
    ):
        assert told in output
    woken = [line for line in lines if " woken: " in line]
    assert len(woken) == 9 + 1, "nine slots are woken, and one of them twice because its first wake failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_standalone_stops_cleanly_when_interrupted(number: signal.Signals) -> None:
    with start("standalone.py") as process:
        assert process.stdout is not None
        try:
            seen = next(line for line in process.stdout if " woken: " in line)
            process.send_signal(number)
            rest = process.stdout.read()
            process.wait(timeout=20)
        finally:
            process.kill()
    assert "[calendar " in seen
    assert process.returncode == 0, rest
    assert rest.endswith(f"interrupted ({number.name}): stopped before the day was over\n")
    assert "ada     5 planned = " in rest
    assert "Traceback" not in rest


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


def test_durable_goes_on_after_it_was_killed() -> None:
    assert run("durable.py").splitlines() == [
        "first run: ada is woken: [calendar job Task/T-1] please handle this",
        "first run: killed by signal 9",
        "second run: ada is at slot 1, attempt 1; it is not woken again",
        "second run: the calendar says finished",
    ]


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
