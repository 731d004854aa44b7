"""A folder with a configuration and a calendar in it, on a Monday morning, and a command line to use there."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from freezegun import freeze_time

from harborcal.calendar import Calendar
from harborcal.cli.main import main

MONDAY = "2026-03-02 08:00:00"
"""09:00 in Berlin, where the clocks go forward on the 29th."""

TOML = """\
zone = "Europe/Berlin"

[agents.reviewer]
host = "command"
command = ["cat"]

[agents.writer]
host = "command"
command = ["cat"]
"""


class Harbor:
    """A folder, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(
        self, *words: str, code: int = 0, stdin: str | None = None, environ: Mapping[str, str] | None = None
    ) -> Result:
        """Run a command and see that it ends with this code, and never with a traceback."""
        result = CliRunner().invoke(main, list(words), input=stdin, env=environ)
        assert "Traceback" not in result.stderr
        assert result.exit_code == code, f"{result.exit_code}: {result.output}"
        return result

    def says(self, *words: str, **environ: str) -> str:
        """Run a command and return what it answers."""
        return self.call(*words, environ=environ).stdout

    def reads(self, *words: str) -> Any:
        """Run a command with --json and return its answer."""
        return json.loads(self.call(*words, "--json").stdout)

    def fails(self, code: int, *words: str, **environ: str) -> str:
        """Run a command that cannot succeed, see that nothing is answered, and return what it complains of."""
        result = self.call(*words, code=code, environ=environ)
        assert result.stdout == ""
        return result.stderr

    def calendar(self) -> Calendar:
        """Open the calendar of the folder."""
        return Calendar(f"sqlite:///{self.folder / 'calendar.db'}")

    def configure(self, text: str) -> None:
        """Write the configuration."""
        (self.folder / "harborcal.toml").write_text(text, encoding="utf-8")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("HARBORCAL_", "_HARBORCAL_", "NO_COLOR", "FORCE_COLOR")):
            monkeypatch.delenv(name)


@pytest.fixture
def bare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Harbor:
    """An empty folder."""
    monkeypatch.chdir(folder)
    return Harbor(folder)


@pytest.fixture
def harbor(bare: Harbor) -> Iterator[Harbor]:
    """A configured folder, on a Monday morning at nine."""
    bare.configure(TOML)
    with freeze_time(MONDAY):
        yield bare
