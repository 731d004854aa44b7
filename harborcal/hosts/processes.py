"""What the system tells of processes: when one began, what is in its group, and for which wake it was started."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_DEAD = {"Z", "X"}  # what the system calls a process that has ended, and whose exit code nobody has taken yet
_HAS_PROC = Path("/proc/self/stat").exists()


def has_others(group: int) -> bool:
    """Tell whether a process besides the leader is in a group, and more than its remains; True where none can tell."""
    try:
        return any(of == group and pid != group and not is_dead for pid, of, is_dead in _processes())
    except OSError:  # there are no descriptors, or no processes, to be had
        return True


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


def leader_with(variable: str, value: str) -> int | None:
    """Find the process that leads a group of its own and was started with a variable; only Linux can tell."""
    if not _HAS_PROC:
        return None
    entry = os.fsencode(f"{variable}={value}")
    with contextlib.suppress(OSError):
        for pid, group, is_dead in _processes():
            if pid == group and not is_dead and entry in _environment_of(pid):
                return pid
    return None


def _environment_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


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
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - our own words
    except OSError:
        return ""
