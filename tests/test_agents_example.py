"""The example of three command-line agents: a shell script, one that reports over MCP, and one that dies."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "agents"
TUTORIAL = ROOT / "docs" / "tutorial.md"
PATIENCE = 60.0

pytestmark = pytest.mark.timeout(150)


class Shell:
    """A folder, and an environment in which `harborcal` is a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands = folder.parent / "bin"
        commands.mkdir()
        source = [] if os.environ.get("HARBORCAL_INSTALLED") == "1" else [str(ROOT)]
        path = os.pathsep.join([*source, *filter(None, [os.environ.get("PYTHONPATH")])])
        for name, arguments in (("harborcal", "-m harborcal"), ("python3", "")):
            command = commands / name
            command.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" {arguments} "$@"\n')
            command.chmod(0o755)
        self.environment = {
            "PATH": os.pathsep.join([str(commands), os.environ["PATH"]]),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }

    def run(self, *command: str, expect: int = 0) -> str:
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ended.returncode == expect, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stdout

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command, "--json"))

    @contextlib.contextmanager
    def daemon(self) -> Any:
        """Run the daemon until the end of the block; it is ready when that begins, and stops cleanly at its end."""
        with subprocess.Popen(
            ["harborcal", "run"],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
            executable=shutil.which("harborcal", path=self.environment["PATH"]),
        ) as process:
            try:
                lines: list[str] = []
                assert process.stderr is not None
                for line in process.stderr:
                    lines.append(line)
                    if "harborcal is ready" in line:
                        break
                reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
                reader.start()
                yield lines
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 0, "".join(lines)
                reader.join()
                assert "Traceback" not in "".join(lines)
            finally:
                process.kill()

    def settled(self, count: int) -> dict[str, Any]:
        """Wait until so many slots are settled; tell of each agent how its own was."""
        pause = threading.Event()
        for _ in range(int(PATIENCE / 0.2)):
            history = self.json("harborcal", "status")["history"]
            if len(history) == count:
                return {entry["agent_id"]: entry for entry in history}
            pause.wait(0.2)
        raise AssertionError(f"not {count} slots were settled: {history}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: that of a Unix socket in it has little over a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="hc-") as name:
        yield Path(name)


def test_three_command_line_agents_on_one_calendar(folder: Path) -> None:
    office = folder / "office"
    shutil.copytree(EXAMPLE, office)
    shell = Shell(office)
    for agent_id, job in (("writer", "DOC-1"), ("reviewer", "REVIEW-7"), ("breaker", "RISKY-3")):
        shell.run("harborcal", "add", agent_id, "now", "--for", "10m", "--job", job)
    with shell.daemon():
        told = shell.settled(3)
        assert (told["writer"]["status"], told["writer"]["summary"]) == ("finished", "wrote DOC-1")
        assert told["reviewer"]["status"] == "finished"
        assert told["reviewer"]["summary"].startswith("reviewed: [calendar job")
        assert (told["breaker"]["status"], told["breaker"]["reason"]) == (
            "aborted",
            "killed by SIGKILL: breaking on purpose",
        )
    days = shell.json("harborcal", "today")
    assert "finished" in json.dumps(days)


def blocks() -> dict[str, str]:
    text = TUTORIAL.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in text.split("<!-- run: ")[1:]:
        name, _, rest = part.partition(" -->")
        found[name] = rest.split("```sh\n", 1)[1].split("```", 1)[0]
    return found


def test_the_tutorial_goes_from_nothing_to_three_agents(folder: Path) -> None:
    start = folder / "start"
    start.mkdir()
    steps = blocks()
    shell = Shell(start)
    shell.run("sh", "-e", "-c", steps["office"])
    shell.folder = start / "office"
    for name in ("agents", "slots"):
        shell.run("sh", "-e", "-c", steps[name])
    with shell.daemon():
        told = shell.settled(3)
        assert (told["writer"]["summary"], told["reviewer"]["summary"]) == ("wrote DOC-1", "looked at REVIEW-7")
        assert told["breaker"]["reason"] == "exit code 3: no such tool"
        looked = shell.run("sh", "-e", "-c", steps["look"])
        assert "no such tool" in looked
    shell.run("sh", "-e", "-c", steps["tomorrow"])
