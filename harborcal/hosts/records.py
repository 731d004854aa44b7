"""What is written of each command that runs, so that a later process knows of those that outlived this one."""

import contextlib
import dataclasses
import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harborcal.hosts.processes import birth_of, leader_with

_SAFE = re.compile(r"[^A-Za-z0-9._:@-]")  # all that ids may have, so that no two agents share a folder
WAKE_ID = "HARBORCAL_WAKE_ID"
"""The variable by which a command that nobody wrote down is found."""

_SUFFIXES = (".json", ".draft", ".out", ".err")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    """A command that runs, and that the process which asks does not follow: most likely the one that did is gone.

    Attributes:
        agent_id: Whose.
        wake_id: For which wake it was started.
        pid: Its process, which leads a group of its own.
        birth: Tells this process from a later one with the same number.
        record: The file that tells of it.
        host: The process that started it, and its birth.
    """

    agent_id: str
    wake_id: str
    pid: int
    birth: str
    record: Path
    host: tuple[int, str]

    @property
    def is_followed(self) -> bool:
        """Whether the process that started it is still there, which then follows it."""
        pid, birth = self.host
        return bool(birth) and birth_of(pid) == birth

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
        host = os.getpid()
        self._facts: dict[str, object] = {
            "agent_id": agent_id,
            "wake_id": wake_id,
            "begun_at": stamp,
            "host": [host, birth_of(host) or ""],
        }
        self._folder = folder / _SAFE.sub("_", agent_id)
        self._stem = f"{_SAFE.sub('_', stamp)}-{_SAFE.sub('_', wake_id)}"

    def prepare(self, keep: int) -> None:
        """Make the folder, remove the oldest runs in it, and write that this one is about to begin.

        Raises:
            OSError: It cannot be made.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # By all of a run's files: of one whose process was killed in between there may be any.
        stems = sorted({path.stem for path in self._folder.iterdir() if path.suffix in _SUFFIXES})
        for stem in stems[: max(0, len(stems) - keep + 1)]:
            if _orphan_of(self._folder / f"{stem}.json") is None:
                self._remove(stem)
        self._write()

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
        if "outcome" in facts:
            return None
        pid, birth = _process_of(facts)
        host, host_birth = facts["host"]
        orphan = Orphan(
            agent_id=str(facts["agent_id"]),
            wake_id=str(facts["wake_id"]),
            pid=pid,
            birth=birth,
            record=record,
            host=(int(host), str(host_birth)),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return orphan if orphan.pid > 1 and orphan.birth and orphan.is_alive else None


def _process_of(facts: Mapping[str, Any]) -> tuple[int, str]:
    """Tell which process a record is of: where its host was killed before it could write that, by its environment."""
    if "pid" in facts:
        return int(facts["pid"]), str(facts["birth"])
    pid = leader_with(WAKE_ID, str(facts["wake_id"])) or 0
    return pid, (birth_of(pid) or "") if pid else ""
