"""A small known bug, and who must notice it."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import harborcal

ROOT = Path(__file__).resolve().parents[2]
CODE = Path(harborcal.__file__).resolve().parent
"""The code as it is here, in its source or installed."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One change of one place in the code.

    Attributes:
        name: What the bug is.
        file: Where, under ``harborcal/``.
        right: The code as it should be; it stands there exactly once.
        wrong: What it is replaced by.
        caught_by: The campaigns that must fail on it.
    """

    name: str
    file: str
    right: str
    wrong: str
    caught_by: tuple[str, ...]

    def plant(self, house: Path) -> None:
        """Put the bug into a copy of the code."""
        path = house / "harborcal" / self.file
        text = path.read_text("utf-8")
        if text.count(self.right) != 1:
            raise ValueError(f"{self.name}: its place stands {text.count(self.right)} times in {self.file}")
        path.write_text(text.replace(self.right, self.wrong), "utf-8")


def is_caught(fault: Fault, timeout: float = 150.0) -> tuple[bool, str]:
    """Run the campaigns on a copy of the code that has the bug; tell whether one of them failed, and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        house = Path(folder)
        shutil.copytree(CODE, house / "harborcal", ignore=shutil.ignore_patterns("__pycache__"))
        (house / "tests").symlink_to(ROOT / "tests")
        fault.plant(house)
        environment = {"PYTHONPATH": str(house), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        sound = _run(["-c", "import harborcal.testing; print(harborcal.__file__)"], house, environment, timeout)
        if str(house) not in sound.stdout:
            raise ValueError(f"{fault.name}: the copy does not run: {sound.stderr[-500:]}")
        said = ""
        for campaign in fault.caught_by:
            ran = _run(["-m", "tests.campaigns", campaign, "--small", "--processes", "1"], house, environment, timeout)
            said = (ran.stdout + ran.stderr)[-2_000:]
            if ran.returncode != 0:
                return True, said
        return False, said


def _run(
    arguments: list[str], house: Path, environment: dict[str, str], timeout: float
) -> "subprocess.CompletedProcess[str]":
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=house,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, complained = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as expired:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
            return subprocess.CompletedProcess(arguments, 1, "", f"it did not end within {expired.timeout:g} s")
    return subprocess.CompletedProcess(arguments, process.returncode, said, complained)
