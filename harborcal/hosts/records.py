"""What is written of each command that runs, so that a later process knows of those that outlived this one."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SAFE = re.compile(r"[^A-Za-z0-9._@-]")
_SUFFIXES = (".json", ".out", ".err")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    """A command that runs although the process that started it is gone, or no longer knows it.

    Attributes:
        agent_id: Whose.
        wake_id: For which wake it was started.
        pid: Its process, which leads a group of its own.
        birth: Tells this process from a later one with the same number.
        record: The file that tells of it.
    """

    agent_id: str
    wake_id: str
    pid: int
    birth: str
    record: Path

    @property
    def is_alive(self) -> bool:
        """Whether this very process is still there."""
        return birth_of(self.pid) == self.birth

    def end(self, *, at_once: bool = False) -> None:
        """Ask its whole group to end (SIGTERM), or end it at once (SIGKILL)."""
        if self.is_alive:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL if at_once else signal.SIGTERM)


class RunRecord:
    """One command's files: ``<agent>/<stamp>-<wake id>.json`` and, beside it, ``.out`` and ``.err``.

    Args:
        folder: Where all agents' files are.
        agent_id: Whose command.
        wake_id: For which wake.
        stamp: When, sortable as text.
    """

    def __init__(self, folder: Path, agent_id: str, wake_id: str, stamp: str) -> None:
        self._facts: dict[str, object] = {"agent_id": agent_id, "wake_id": wake_id, "begun_at": stamp}
        self._folder = folder / _SAFE.sub("_", agent_id)
        self._stem = f"{_SAFE.sub('_', stamp)}-{_SAFE.sub('_', wake_id)}"

    def prepare(self, keep: int) -> None:
        """Make the folder, and remove the oldest runs in it.

        Raises:
            OSError: It cannot be made.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        records = sorted(self._folder.glob("*.json"))
        for old in records[: max(0, len(records) - keep + 1)]:
            if _orphan_of(old) is None:
                for suffix in _SUFFIXES:
                    old.with_suffix(suffix).unlink(missing_ok=True)

    @property
    def out(self) -> Path:
        """Where its standard output goes."""
        return self._folder / f"{self._stem}.out"

    @property
    def err(self) -> Path:
        """Where its standard error goes."""
        return self._folder / f"{self._stem}.err"

    def begin(self, pid: int) -> None:
        """Write that it runs."""
        self._facts |= {"pid": pid, "birth": birth_of(pid) or ""}
        self._write()

    def end(self, outcome: str) -> None:
        """Write that it has ended, and how."""
        self._facts["outcome"] = outcome
        self._write()

    def discard(self) -> None:
        """Remove what there is of one that never ran."""
        for suffix in _SUFFIXES:
            with contextlib.suppress(OSError):
                (self._folder / f"{self._stem}{suffix}").unlink(missing_ok=True)

    def _write(self) -> None:
        path = self._folder / f"{self._stem}.json"
        draft = path.with_suffix(".draft")
        with contextlib.suppress(OSError):  # without it nothing is lost but knowledge of orphans
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                json.dump(self._facts, file)
            draft.replace(path)


def orphans_in(folder: str | Path) -> tuple[Orphan, ...]:
    """List the commands that are recorded as running in a folder of outputs, and do run.

    While their host lives they are its own and no orphans; ask when it is gone.
    """
    records = sorted(Path(folder).glob("*/*.json"))
    return tuple(orphan for record in records if (orphan := _orphan_of(record)) is not None)


def orphans_of(folder: Path, agent_id: str) -> Iterator[Orphan]:
    """List one agent's."""
    for record in sorted((folder / _SAFE.sub("_", agent_id)).glob("*.json")):
        orphan = _orphan_of(record)
        if orphan is not None and orphan.agent_id == agent_id:
            yield orphan


def _orphan_of(record: Path) -> Orphan | None:
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        if "outcome" in facts or not facts["birth"]:
            return None
        orphan = Orphan(
            agent_id=str(facts["agent_id"]),
            wake_id=str(facts["wake_id"]),
            pid=int(facts["pid"]),
            birth=str(facts["birth"]),
            record=record,
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return orphan if orphan.pid > 1 and orphan.is_alive else None


def birth_of(pid: int) -> str | None:
    """Tell when a process began, in the system's own words; None where there is none, or only its remains."""
    if Path("/proc/self/stat").exists():
        return _birth_in_proc(pid)
    told = subprocess.run(  # noqa: S603 - our own arguments
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return " ".join(told[1:]) if told and not told[0].startswith("Z") else None


def _birth_in_proc(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else f"{boot}/{fields[19]}"
