"""A disk in memory, for rehearsals: it forgets in a power cut what was not synced, and fails when it is told to.

SQLite reaches it through a VFS of apsw's; `Disk.connect` hands a journal what Python's own ``sqlite3`` would.
"""

import contextlib
import dataclasses
import functools
import itertools
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, cast
from unittest import mock

import apsw

from harborcal.clock import Clock
from harborcal.journal import Journal
from harborcal.journal import journal as journal_module
from harborcal.journal.file import JournalFile

SECTOR = 512
_READ_ONLY_KINDS = frozenset({"read", "size"})
_numbers = itertools.count(1)  # names of VFSs are the process'


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One thing that SQLite did to a file: ``write``, ``truncate``, ``sync``, ``create``, ``delete``."""

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""


@dataclasses.dataclass
class StoredFile:
    """A file: what programs see of it, what the platters hold, and the steps between the two."""

    content: bytearray
    durable: bytearray
    is_durable: bool
    pending: list[Step] = dataclasses.field(default_factory=list)

    def do(self, step: Step) -> None:
        """Let programs see a step."""
        _apply(self.content, step)
        self.pending.append(step)

    def sync(self) -> None:
        """Bring everything to the platters."""
        for step in self.pending:
            _apply(self.durable, step)
        self.pending.clear()
        self.is_durable = True

    def sync_badly(self, random: Random) -> None:
        """Fail to sync: some of it is on the platters, the rest never will be, and no program sees the difference."""
        self.durable = self.after_cut(random)
        self.pending.clear()
        self.is_durable = True

    def after_cut(self, random: Random) -> bytearray:
        """Tell what is left of it: any part of what was not synced may be there."""
        left = bytearray(self.durable)
        share = random.choice((0.0, 1.0, 0.5, random.random()))
        for step in self.pending:
            fate = random.random()
            if step.kind == "write" and fate < 0.3 and 0.0 < share < 1.0:
                _tear(left, step, random)
            elif random.random() < share:
                _apply(left, step)
            elif step.kind == "write" and random.random() < 0.3:
                _extend_with_rubbish(left, step, random)
        return left


def _apply(content: bytearray, step: Step) -> None:
    if step.kind == "truncate":
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    content.extend(bytes(max(0, step.offset - len(content))))
    content[step.offset : step.offset + len(step.data)] = step.data


def _tear(content: bytearray, step: Step, random: Random) -> None:
    """Write some of its sectors only."""
    end = step.offset + len(step.data)
    start = step.offset
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        part = Step("write", step.name, start, step.data[start - step.offset : stop - step.offset])
        if random.random() < 0.5:
            _apply(content, part)
        elif random.random() < 0.3:
            _extend_with_rubbish(content, part, random)
        start = stop


def _extend_with_rubbish(content: bytearray, step: Step, random: Random) -> None:
    """Make room for what was not written: whatever was there before is in it."""
    end = step.offset + len(step.data)
    if len(content) < end:
        content.extend(random.randbytes(end - len(content)))


@dataclasses.dataclass(frozen=True)
class Fault:
    """A disk that fails: the n-th step of a kind, and so many after it; ``any`` kind means every step.

    Attributes:
        kind: ``read``, ``write``, ``truncate``, ``sync``, ``open``, ``size``, ``delete``, ``any``, or ``change``: all
            but reading.
        at: Which one fails first, counted from 0.
        times: How many fail, one after another.
        code: SQLite's code of the failure.
    """

    kind: str
    at: int
    times: int
    code: int

    def meets(self, kind: str) -> bool:
        """Tell whether it is about such a step."""
        return self.kind in {"any", kind} or (self.kind == "change" and kind not in _READ_ONLY_KINDS)


class FaultError(apsw.Error):
    """The disk failed."""

    def __init__(self, code: int) -> None:
        super().__init__("the disk failed")
        self.result = code & 0xFF
        self.extendedresult = code


class Disk(apsw.VFS):
    """A disk with files on it."""

    def __init__(self, files: dict[str, bytes], *, random: Random | None = None, fault: Fault | None = None) -> None:
        self.name = f"rehearsal-{next(_numbers)}"
        super().__init__(self.name, base="")
        self.random = random if random is not None else Random(0)
        self.fault = fault
        self.met = 0
        self.steps: list[Step] = []
        self.files = {name: StoredFile(bytearray(held), bytearray(held), True) for name, held in files.items()}
        self.levels: dict[int, int] = {}
        self._undead: dict[str, bytes] = {}  # deleted, which the folder was not synced after

    # --- what SQLite asks -------------------------------------------------------------------------------------------

    def excepthook(self, *_: object) -> bool:
        """Say nothing where SQLite goes on after a failure."""
        return False

    def xFullPathname(self, name: str) -> str:
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:
        return pathname in self.files and bool(self.files[pathname].content)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self.check("open")
        if path not in self.files:
            if not flags[0] & apsw.SQLITE_OPEN_CREATE:
                raise FaultError(apsw.SQLITE_CANTOPEN)
            self.do(Step("create", path))
        flags[1] = flags[0]
        return cast("apsw.VFSFile", _OpenFile(self, path))  # any object with a VFSFile's methods serves

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.check("delete")
        if filename not in self.files:
            raise FaultError(apsw.SQLITE_IOERR_DELETE_NOENT)
        self.do(Step("delete", filename, int(syncdir)))

    # --- what happens -----------------------------------------------------------------------------------------------

    def check(self, kind: str) -> None:
        """Fail if it is time to.

        Raises:
            FaultError: It is.
        """
        if self.fault is None or not self.fault.meets(kind):
            return
        self.met += 1
        if self.fault.at < self.met <= self.fault.at + self.fault.times:
            raise FaultError(self.fault.code)

    def do(self, step: Step) -> None:
        """Let a step happen."""
        self.steps.append(step)
        if step.kind == "create":
            self.files[step.name] = StoredFile(bytearray(), bytearray(), False)
        elif step.kind == "delete":
            gone = self.files.pop(step.name)
            if gone.is_durable and not step.offset:
                self._undead[step.name] = bytes(gone.durable)
        elif step.kind == "sync":
            self.files[step.name].sync()
            self._undead.pop(step.name, None)
        else:
            self.files[step.name].do(step)

    def after_cut(self, random: Random) -> dict[str, bytes]:
        """Tell what is left after a power cut."""
        undead = {name: held for name, held in self._undead.items() if random.random() < 0.5}
        left = {
            name: bytes(file.after_cut(random))
            for name, file in self.files.items()
            if file.is_durable or random.random() < 0.5
        }
        return undead | left

    def as_seen(self) -> dict[str, bytes]:
        """Tell what programs see."""
        return {name: bytes(file.content) for name, file in self.files.items()}

    def connect(self, address: str) -> sqlite3.Connection:
        """Open a database on this disk, as ``sqlite3.connect`` would."""
        return cast("sqlite3.Connection", _Connection(address, self.name))  # as far as a journal uses one


class _OpenFile:
    """A file that SQLite has open."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name

    def excepthook(self, *_: object) -> bool:
        return False

    def _file(self) -> StoredFile:
        try:
            return self._disk.files[self._name]
        except KeyError:
            raise FaultError(apsw.SQLITE_IOERR) from None

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.check("read")
        return bytes(self._file().content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        step = Step("write", self._name, offset, bytes(data))
        try:
            self._disk.check("write")
        except FaultError:
            # A disk that is full takes what fits.
            part = self._disk.random.randrange(len(step.data) + 1)
            if part and self._disk.random.random() < 0.5:
                self._disk.do(dataclasses.replace(step, data=step.data[:part]))
            raise
        self._file()
        self._disk.do(step)

    def xTruncate(self, newsize: int) -> None:
        self._disk.check("truncate")
        self._file()
        self._disk.do(Step("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:
        try:
            self._disk.check("sync")
        except FaultError:
            self._file().sync_badly(self._disk.random)
            raise
        self._file()
        self._disk.do(Step("sync", self._name))

    def xFileSize(self) -> int:
        self._disk.check("size")
        return len(self._file().content)

    def xLock(self, level: int) -> None:
        others = [held for owner, held in self._disk.levels.items() if owner != id(self)]
        most = max(others, default=0)
        bound = {
            apsw.SQLITE_LOCK_SHARED: apsw.SQLITE_LOCK_PENDING,
            apsw.SQLITE_LOCK_RESERVED: apsw.SQLITE_LOCK_RESERVED,
        }
        if most >= bound.get(level, apsw.SQLITE_LOCK_SHARED):
            raise FaultError(apsw.SQLITE_BUSY)
        self._disk.levels[id(self)] = level

    def xUnlock(self, level: int) -> None:
        self._disk.levels[id(self)] = level

    def xCheckReservedLock(self) -> bool:
        return any(held >= apsw.SQLITE_LOCK_RESERVED for held in self._disk.levels.values())

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096  # as SQLite says of every disk

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE  # as SQLite says of every disk

    def xClose(self) -> None:
        self._disk.levels.pop(id(self), None)


class _Answer:
    """The rows of a statement."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None


class _Connection:
    """A connection of apsw's that raises what Python's own would."""

    def __init__(self, address: str, vfs: str) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
        with _as_sqlite3():
            self._connection = apsw.Connection(address, flags=flags, vfs=vfs)

    def execute(self, statement: str, values: Sequence[Any] = ()) -> _Answer:
        with _as_sqlite3():
            return _Answer([tuple(row) for row in self._connection.execute(statement, tuple(values))])

    def close(self) -> None:
        with _as_sqlite3():
            self._connection.close()


@contextlib.contextmanager
def _as_sqlite3() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        translated = sqlite3.OperationalError(str(error))
        translated.sqlite_errorcode = getattr(error, "extendedresult", None) or apsw.SQLITE_IOERR
        raise translated from error


# --- journals on disks ----------------------------------------------------------------------------------------------


def journal_on(disk: Disk, path: Path, *, clock: Clock) -> Journal:
    """Open a journal whose file lies on a disk; at its path lies a stand-in."""
    with mock.patch.object(journal_module, "JournalFile", functools.partial(JournalFile, connect=disk.connect)):
        return Journal(path, clock=clock, patience=0.0)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for files, in memory where the machine has one for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def lay_out(files: dict[str, bytes], old: Path, new: Path) -> None:
    """Write what lay at one path, and beside it, to another."""
    for suffix in ("", "-journal"):
        place = new.with_name(new.name + suffix)
        held = files.get(f"{old}{suffix}")
        if held is None:
            place.unlink(missing_ok=True)
        else:
            place.write_bytes(held)
