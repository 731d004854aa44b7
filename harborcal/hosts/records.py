"""What is written of each command that runs, so that a later process knows of those that outlived this one."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SAFE = re.compile(r"[^A-Za-z0-9._:@-]")  # all that ids may have, so that no two agents share a folder
_SUFFIXES = (".json", ".draft", ".out", ".err")
_DEAD = {"Z", "X"}  # what the system calls a process that has ended, and whose exit code nobody has taken yet
_HAS_PROC = Path("/proc/self/stat").exists()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    """A command that runs, and that the process which asks does not follow: most likely the one that did is gone.

    Attributes:
        agent_id: Whose.
        wake_id: For which wake it was started.
        pid: Its process, which leads a group of its own.
        birth: Tells this process from a later one with the same number.
        record: The file that tells of it.
        host: The process that started it, and its birth; ``(0, "")`` where that is not known.
    """

    agent_id: str
    wake_id: str
    pid: int
    birth: str
    record: Path
    host: tuple[int, str] = (0, "")

    @property
    def is_followed(self) -> bool:
        """Whether the process that started it is still there, which then follows it."""
        return bool(self.host[1]) and birth_of(self.host[0]) == self.host[1]

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
        # By all of a run's files: of one whose process was killed in between there may be any.
        stems = sorted({path.stem for path in self._folder.iterdir() if path.suffix in _SUFFIXES})
        for stem in stems[: max(0, len(stems) - keep + 1)]:
            if _orphan_of(self._folder / f"{stem}.json") is None:
                self._remove(stem)

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
        own = os.getpid()
        self._facts |= {"pid": pid, "birth": birth_of(pid) or "", "host": [own, birth_of(own) or ""]}
        self._write()

    def end(self, outcome: str) -> None:
        """Write that it has ended, and how."""
        self._facts["outcome"] = outcome
        self._write()

    def discard(self) -> None:
        """Remove what there is of one that never ran."""
        with contextlib.suppress(OSError):
            self._remove(self._stem)

    def _remove(self, stem: str) -> None:
        for suffix in _SUFFIXES:
            (self._folder / f"{stem}{suffix}").unlink(missing_ok=True)

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
            host=_host_of(facts),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return orphan if orphan.pid > 1 and orphan.is_alive else None


def _host_of(facts: Mapping[str, Any]) -> tuple[int, str]:
    pid, birth = facts.get("host", (0, ""))
    return int(pid), str(birth)


def has_others(group: int) -> bool:
    """Tell whether a process besides the leader is in a group, and more than its remains."""
    return any(of == group and pid != group and not is_dead for pid, of, is_dead in _processes())


def _processes() -> Iterator[tuple[int, int, bool]]:
    """List processes: number, group, whether only the remains are there."""
    if _HAS_PROC:
        for entry in Path("/proc").iterdir():
            fields = _fields_in_proc(entry.name) if entry.name.isdecimal() else None
            if fields is not None:
                yield int(entry.name), int(fields[2]), fields[0] in _DEAD
        return
    for line in _told_by_ps("-A", "-o", "pid=", "-o", "pgid=", "-o", "stat=").splitlines():
        pid, group, state = line.split()[:3]
        yield int(pid), int(group), state[0] in _DEAD


def is_there(pid: int) -> bool:
    """Tell whether a process has a number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def birth_of(pid: int) -> str | None:
    """Tell when a process began, in the system's own words; None where there is none, or only its remains."""
    if not _HAS_PROC:
        told = _told_by_ps("-o", "stat=", "-o", "lstart=", "-p", str(pid)).split()
        return " ".join(told[1:]) if told and told[0][0] not in _DEAD else None
    fields = _fields_in_proc(str(pid))
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if fields is None or fields[0] in _DEAD else f"{boot}/{fields[19]}"


def _fields_in_proc(pid: str) -> list[str] | None:
    """Read what follows a process's name: state, parent, group, ...; the name itself may hold anything."""
    try:
        return Path("/proc", pid, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _told_by_ps(*arguments: str) -> str:
    command = ["/bin/ps", *arguments]  # each column by itself: to some systems "a=,b=" is one with a heading
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - our own arguments
