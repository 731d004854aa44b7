"""Real daemons in folders of their own: processes whose lines of log are what a test waits for."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harborcal.hosts import orphans_in

ROOT = Path(__file__).parent.parent.parent
PROGRAM = [sys.executable, "-m", "harborcal"]
HARBORCAL = f"'{sys.executable}' -m harborcal"

HEAD = """\
zone = "UTC"

[scheduler]
heartbeat_interval = 1.0

[defaults]
host = "command"
inherit = ["PYTHONPATH"]
grace = 0.5
"""


def environment(**more: str) -> dict[str, str]:
    """Make an environment without anything of harborcal's own."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}}
    path = {} if os.environ.get("HARBORCAL_INSTALLED") == "1" else {"PYTHONPATH": str(ROOT)}
    return {**kept, **path, **more}


class Office:
    """A folder with a configuration and scripts of agents in it."""

    def __init__(self, folder: Path, head: str = HEAD) -> None:
        self.folder = folder
        self._head = head
        self._agents: dict[str, str] = {}
        self._write()

    def _write(self) -> None:
        (self.folder / "harborcal.toml").write_text(self._head + "".join(self._agents.values()), encoding="utf-8")

    def employ(self, agent_id: str, script: str, more: str = "") -> None:
        """Give an agent a shell script; ``@harborcal`` in it calls the command line."""
        name = f"{agent_id}.sh"
        text = textwrap.dedent(script).replace("@harborcal", HARBORCAL)
        (self.folder / name).write_text(text, encoding="utf-8")
        self._agents[agent_id] = f'\n[agents.{agent_id}]\ncommand = ["/bin/sh", "{name}"]\n{more}\n'
        self._write()

    def close(self) -> None:
        """See that no command is left that outlived its daemon."""
        for orphan in orphans_in(self.folder / ".harborcal" / "runs"):
            orphan.end(at_once=True)

    def pipe(self, name: str) -> Path:
        """Make a named pipe, at which scripts and tests wait for each other."""
        path = self.folder / name
        os.mkfifo(path)
        return path

    def call(self, *words: str, code: int = 0, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the folder, and see that it ends with this code and without a traceback."""
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=self.folder,
            env=environment(**environ),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def reads(self, *words: str, code: int = 0, **environ: str) -> Any:
        """Run a command with --json and return its answer."""
        return json.loads(self.call(*words, "--json", code=code, **environ).stdout)

    def add(self, agent_id: str, when: str = "now") -> str:
        """Plan a slot; return its ident."""
        return str(self.reads("add", agent_id, when, "--for", "10m", "--job", "T-1")["ident"])

    def fate_of(self, agent_id: str) -> list[str]:
        """Tell what the calendar says of an agent's slots of today."""
        from harborcal import SystemClock
        from harborcal.calendar import Calendar

        with Calendar(f"sqlite:///{self.folder / 'calendar.db'}") as calendar:
            today = SystemClock().now().date()
            return [str(slot.status) for slot in calendar.day(agent_id, today, everything=True)]

    @contextlib.contextmanager
    def running(self, *words: str, program: str = "run", **environ: str) -> Iterator["Running"]:
        """Start a daemon, and see that nothing of it is left in the end."""
        running = Running(self.folder, [program, *words], environment(**environ))
        try:
            yield running
        finally:
            running.end()


class Running:
    """A daemon's process."""

    def __init__(self, folder: Path, words: list[str], environ: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*PROGRAM, *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def wait_for(self, *words: str) -> str:
        """Read its log until a line has all these words; return that line."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if all(word in line for word in words):
                return self.lines[-1]
        raise AssertionError(f"no line with {words} in:\n" + "\n".join(self.lines))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def code(self) -> int:
        """Read the rest of its log, wait for its end, and tell its exit code."""
        assert self._process.stdout is not None
        self.lines += [line.rstrip("\n") for line in self._process.stdout]
        code = self._process.wait(timeout=30)
        assert not [line for line in self.lines if "Traceback" in line]
        return code

    def stop(self) -> None:
        """Ask it to stop, and see that it does so cleanly."""
        self.send(signal.SIGTERM)
        assert self.code() == 0, "\n".join(self.lines)

    def end(self) -> None:
        """See that it is gone."""
        self._process.kill()
        self._process.wait(timeout=30)
        if self._process.stdout is not None:
            self._process.stdout.close()
