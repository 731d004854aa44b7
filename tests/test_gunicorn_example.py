"""The example under gunicorn, with real workers: exactly one schedules, and all of them answer."""

import contextlib
import datetime as dt
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
import requests

from harborcal.calendar import Calendar

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "gunicorn"
ROOT = EXAMPLE.parents[1]
WORKERS = 4
PATIENCE = 30.0

pytestmark = pytest.mark.timeout(120)


class Service:
    """The running example, and what it prints."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)

    def await_line(self, pattern: str) -> re.Match[str]:
        """Wait for the next line that matches."""
        seen: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except Empty:
                raise AssertionError(f"no {pattern!r} in {''.join(seen)}") from None
            seen.append(line)
            if found := re.search(pattern, line):
                return found

    def lines_so_far(self, pattern: str) -> int:
        """Count the lines printed and not yet read that match."""
        lines = []
        with contextlib.suppress(Empty):
            while True:
                lines.append(self._lines.get_nowait())
        return sum(bool(re.search(pattern, line)) for line in lines)

    def end(self) -> None:
        """Stop it as its operator does, and wait for its end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)


def a_slot(path: Path, agent_id: str) -> int:
    with Calendar(f"sqlite:///{path / 'calendar.db'}") as calendar:
        calendar.register_agent(agent_id)
        slot = calendar.add_slot(agent_id, dt.datetime.now(dt.UTC), 25, event_type="job", event_data={"code": "T-1"})
    return int(slot.key.id)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    for agent_id in ("developer", "reviewer"):
        a_slot(tmp_path, agent_id)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{port}"]
    environment = os.environ | {"SERVICE_STATE": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    if os.environ.get("HARBORCAL_INSTALLED") != "1":
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [*command, "service:app"], cwd=EXAMPLE, env=environment, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        running = Service(process, f"http://127.0.0.1:{port}")
        try:
            yield running
            running.end()
        finally:
            process.kill()


def until(look: Callable[[], Any]) -> Any:
    """Look again until there is something; connections refused count as nothing."""
    for _ in range(int(PATIENCE / 0.1)):
        with contextlib.suppress(requests.ConnectionError):
            if found := look():
                return found
        threading.Event().wait(0.1)
    raise AssertionError("it never came")


def status(service: Service) -> dict[str, Any] | None:
    answer = requests.get(f"{service.url}/status", timeout=10)
    return answer.json() if answer.status_code == 200 else None


def test_exactly_one_worker_schedules_and_all_of_them_answer(service: Service) -> None:
    told = {service.await_line(r"(\w+) was told").group(1) for _ in range(2)}
    assert told == {"developer", "reviewer"}

    answered_by: set[int] = set()

    def all_answered() -> bool:
        found = status(service)
        if found is not None:
            answered_by.add(found["worker"])
            assert {active["agent_id"] for active in found["scheduler"]["active"]} == told
        return len(answered_by) == WORKERS

    until(all_answered)
    assert service.lines_so_far(r"schedules|was told") == 0, "nobody else schedules, and nobody is woken again"

    done = requests.post(f"{service.url}/agents/developer/complete", json={"summary": "merged"}, timeout=10)
    assert done.status_code == 200, done.text
    assert done.json()["status"] == "finished"
    unknown = requests.post(f"{service.url}/agents/developer/abort", json={}, timeout=10)
    assert unknown.status_code == 409
    assert json.loads(unknown.text)["error"]


def test_when_the_scheduling_worker_is_killed_another_goes_on(service: Service) -> None:
    first = int(service.await_line(r"worker (\d+) schedules").group(1))
    for _ in range(2):
        service.await_line("was told")

    os.kill(first, signal.SIGKILL)
    second = int(service.await_line(r"worker (\d+) schedules").group(1))
    assert second != first

    def found_again() -> set[str] | None:
        found = status(service)
        return {active["agent_id"] for active in found["scheduler"]["active"]} if found else None

    assert until(found_again) == {"developer", "reviewer"}
    for agent_id in ("developer", "reviewer"):
        done = requests.post(f"{service.url}/agents/{agent_id}/complete", json={"summary": "merged"}, timeout=10)
        assert done.status_code == 200, done.text
    assert service.lines_so_far("was told") == 0, "nobody is woken twice"
