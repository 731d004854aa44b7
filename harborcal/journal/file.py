"""A file of rows that outlives its process: every write is whole, on disk, and proven when the file is opened again.

SQLite, after what was measured: a rollback journal that is truncated, with ``synchronous=FULL``, loses no acknowledged
commit in a power cut; every write begins with ``BEGIN IMMEDIATE``; the file is opened through SQLite only, because
closing any other handle on it would drop SQLite's locks. What SQLite does not check is checked here: each row carries a
digest of itself, and one row the digests of all, so that no row can change, vanish or appear unnoticed.

What is in memory is what was acknowledged. After a write that failed nobody knows what is on disk: at once, or while
the disk is ill before the next write, the file is opened anew, proven, and put back to what was acknowledged.
"""

import contextlib
import hashlib
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harborcal.errors import JournalError
from harborcal.grammar import clean

VERSION = 1
APPLICATION = 0x68624A31
"""Marks a file as a journal of harborcal's (SQLite's ``application_id``): ``hbJ1``."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs"})
_MOUNTS = Path("/proc/self/mountinfo")

Row = tuple[str, ...]
"""The columns of a row, after its id."""

Place = tuple[str, int]
"""A table's name and a row's id."""


def _connect(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


class JournalFile:
    """Tables of rows in one file, held open and locked by one owner. Guarded by the lock of whoever uses it.

    Attributes:
        rows: All rows that were acknowledged, by table and id.
        totals: Numbers that are kept with them.
    """

    def __init__(
        self,
        path: Path,
        tables: Mapping[str, tuple[str, ...]],
        totals: tuple[str, ...],
        *,
        patience: float,
        checkpoint: Callable[[str], None],
        connect: Callable[[str], sqlite3.Connection] = _connect,
    ) -> None:
        """Open the file, and create it where there is none.

        Args:
            path: Where it is.
            tables: The tables' names and columns.
            totals: The names of the numbers kept with them.
            patience: Seconds to wait for another owner to let go of it.
            checkpoint: Told where a write is: ``begun``, ``written``, ``committed``.
            connect: Opens an SQLite database by its ``file:`` address; rehearsals hand in disks that fail.

        Raises:
            JournalError: It is damaged, in use, from a newer version, another program's, or cannot be read; it is left
                as it is.
        """
        self._path = path
        self._tables = dict(tables)
        self._names = totals
        self._patience = patience
        self._checkpoint = checkpoint
        self._connect = connect
        self.rows: dict[str, dict[int, Row]] = {table: {} for table in tables}
        self.totals: dict[str, int] = dict.fromkeys(totals, 0)
        self._sums = dict.fromkeys(tables, 0)
        self._doubt: tuple[Mapping[Place, Row | None], Mapping[str, int]] | None = None
        # The write that failed: whether the file holds it is not known.
        self._has_failed = False  # whether the disk, and no interrupt, was what ended it
        self._identity: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        with _translated(path):
            _check_place(path)
            if not path.exists():
                _create(path, self._schema())
            # Each time: whoever created it may not have lived to do so.
            _sync_folder(path.parent)
            self._connection = self._open(adopt=True)

    # --- opening ----------------------------------------------------------------------------------------------------

    def _schema(self) -> list[str]:
        columns = {table: "".join(f", {name} TEXT NOT NULL" for name in names) for table, names in self._tables.items()}
        numbers = "".join(f", {name} INTEGER NOT NULL" for name in self._names)
        sums = "".join(f", {table}_count INTEGER NOT NULL, {table}_sum TEXT NOT NULL" for table in self._tables)
        return [
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY{names}, digest TEXT NOT NULL) STRICT"
            for table, names in columns.items()
        ] + [f"CREATE TABLE proof (id INTEGER PRIMARY KEY CHECK (id = 1){numbers}{sums}, digest TEXT NOT NULL) STRICT"]

    def _open(self, *, adopt: bool) -> sqlite3.Connection:
        """Open and prove the file; take over what it holds, or put it back to what was acknowledged."""
        connection = self._connect(f"{self._path.absolute().as_uri()}?mode=rw")
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(self._patience * 1000)}")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("BEGIN EXCLUSIVE")
            self._prove(connection)
            _keep_private(self._path)
            rows, sums, totals = self._load(connection)
            connection.execute("COMMIT")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = TRUNCATE").fetchall()
            if adopt:
                self._identity = _identity_of(self._path)
                self.rows, self._sums, self.totals = rows, sums, totals
                # A file that cannot be written is refused at once.
                self._transact(connection, {}, totals)
            else:
                self._check_identity()
                self._put_back(connection, rows, sums, totals)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prove(self, connection: sqlite3.Connection) -> None:
        application = _number(connection, "application_id")
        version = _number(connection, "user_version")
        if application != APPLICATION:
            raise JournalError(f"{self._path} is no journal of harborcal's; it is left as it is")
        if version > VERSION:
            raise JournalError(f"the journal {self._path} is from a newer harborcal (version {version}, not {VERSION})")
        if version < VERSION:
            raise self._damaged(f"its version is {version}")
        found = [str(line) for (line,) in connection.execute("PRAGMA quick_check")]
        if found != ["ok"]:
            raise self._damaged("; ".join(found[:3]))
        schema = sorted(str(sql) for (sql,) in connection.execute("SELECT sql FROM sqlite_schema"))
        if schema != sorted(self._schema()):
            raise self._damaged("its tables are not a journal's")

    def _load(self, connection: sqlite3.Connection) -> tuple[dict[str, dict[int, Row]], dict[str, int], dict[str, int]]:
        rows: dict[str, dict[int, Row]] = {}
        sums: dict[str, int] = {}
        for table in self._tables:
            rows[table], sums[table] = {}, 0
            for number, *columns, digest in connection.execute(f"SELECT * FROM {table} ORDER BY id"):  # noqa: S608
                row = tuple(columns)
                if digest != _digest(table, number, row):
                    raise self._damaged(f"row {number} of {table} is not what was written")
                rows[table][number] = row
                sums[table] ^= int(digest, 16)
        proof = connection.execute("SELECT * FROM proof").fetchall()
        expected = [len(rows[table]) for table in self._tables], [f"{sums[table]:016x}" for table in self._tables]
        if len(proof) != 1:
            raise self._damaged("its proof is gone")
        totals = dict(zip(self._names, proof[0][1 : 1 + len(self._names)], strict=True))
        if proof[0] != self._proof_of(totals, *expected):
            raise self._damaged("rows are missing, or are not those that were written")
        return rows, sums, totals

    def _proof_of(self, totals: Mapping[str, int], counts: list[int], sums: list[str]) -> tuple[object, ...]:
        told = [value for pair in zip(counts, sums, strict=True) for value in pair]
        values = (*(totals[name] for name in self._names), *told)
        return (1, *values, _digest("proof", 1, tuple(str(value) for value in values)))

    def _damaged(self, what: str) -> JournalError:
        return JournalError(
            f"the journal {self._path} is damaged: {clean(what, 200)}. It is left as it is: move it away to begin a new"
            " one, and what was under way is then known to the calendar only",
            damaged=True,
        )

    def _put_back(
        self,
        connection: sqlite3.Connection,
        rows: dict[str, dict[int, Row]],
        sums: dict[str, int],
        totals: dict[str, int],
    ) -> None:
        """Undo what a failed write may have left behind."""
        puts: dict[Place, Row | None] = {}
        if (rows, totals) != (self.rows, self.totals):
            if self._doubt is None or (rows, totals) != _with(self.rows, *self._doubt):
                raise JournalError(f"the journal {self._path} was changed by another program while in use")
            puts = {(table, number): self.rows[table].get(number) for table, number in self._doubt[0]}
        acknowledged_rows, acknowledged_sums = self.rows, self._sums
        self.rows, self._sums = rows, sums
        try:
            self._transact(connection, puts, self.totals)
        except BaseException:
            self.rows, self._sums = acknowledged_rows, acknowledged_sums
            raise
        self._doubt = None
        self._has_failed = False

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, puts: Mapping[Place, Row | None], totals: Mapping[str, int]) -> None:
        """Write rows, or delete those that are None, and the totals with them: all of it, or nothing.

        Raises:
            JournalError: It could not be written, and nothing happened. The next call tries the file anew.
        """
        with _translated(self._path):
            if self._connection is not None and _identity_of(self._path) != self._identity:
                self._drop_connection()
            if self._connection is None:
                self._check_identity()
                self._connection = self._open(adopt=False)
            try:
                self._transact(self._connection, puts, totals)
            except BaseException as error:
                self._doubt = dict(puts), dict(totals)
                self._drop_connection()
                self._has_failed = isinstance(error, sqlite3.Error)
                # Now rather than later: until then a crash would leave what was said to have failed.
                self._try_to_put_back()
                raise

    def _try_to_put_back(self) -> None:
        if self._has_failed and self._connection is None:
            with contextlib.suppress(sqlite3.Error, OSError, JournalError):
                self._check_identity()
                self._connection = self._open(adopt=False)

    def _transact(
        self, connection: sqlite3.Connection, puts: Mapping[Place, Row | None], totals: Mapping[str, int]
    ) -> None:
        sums = dict(self._sums)
        counts = {table: len(rows) for table, rows in self.rows.items()}
        connection.execute("BEGIN IMMEDIATE")
        self._checkpoint("begun")
        for (table, number), row in puts.items():
            old = self.rows[table].get(number)
            if old is not None:
                sums[table] ^= int(_digest(table, number, old), 16)
                counts[table] -= 1
            if row is None:
                connection.execute(f"DELETE FROM {table} WHERE id = ?", (number,))  # noqa: S608
                continue
            digest = _digest(table, number, row)
            sums[table] ^= int(digest, 16)
            counts[table] += 1
            marks = ", ?" * len(row)
            connection.execute(f"REPLACE INTO {table} VALUES (?{marks}, ?)", (number, *row, digest))  # noqa: S608
        proof = self._proof_of(
            totals, [counts[table] for table in self._tables], [f"{sums[table]:016x}" for table in self._tables]
        )
        connection.execute(f"REPLACE INTO proof VALUES ({', '.join('?' * len(proof))})", proof)  # noqa: S608
        self._checkpoint("written")
        connection.execute("COMMIT")
        self._checkpoint("committed")
        rows, after = _with(self.rows, puts, totals)
        self.rows, self._sums, self.totals = rows, sums, after  # at once: an interrupt must not leave half of it

    def _drop_connection(self) -> None:
        """Let go of a connection that failed: a failed sync is not tried again in the hope that it works."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _check_identity(self) -> None:
        _check_place(self._path)
        if _identity_of(self._path) != self._identity:
            raise JournalError(f"the journal {self._path} was deleted or replaced while in use")

    def close(self) -> None:
        """Let go of the file; once more changes nothing."""
        self._try_to_put_back()
        self._drop_connection()


def _with(
    rows: Mapping[str, Mapping[int, Row]], puts: Mapping[Place, Row | None], totals: Mapping[str, int]
) -> tuple[dict[str, dict[int, Row]], dict[str, int]]:
    """Tell what there is after a write."""
    after = {table: dict(held) for table, held in rows.items()}
    for (table, number), row in puts.items():
        if row is None:
            after[table].pop(number, None)
        else:
            after[table][number] = row
    return after, dict(totals)


# --- digests --------------------------------------------------------------------------------------------------------


def _digest(table: str, number: int, row: Row) -> str:
    text = "\x00".join((table, str(number), *(str(column) for column in row)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


# --- files ----------------------------------------------------------------------------------------------------------


def _create(path: Path, schema: list[str]) -> None:
    """Make an empty journal: it appears whole, for its owner's eyes only, or not at all."""
    if (remains := _remains_of(path)).exists() and remains.stat().st_size:
        raise JournalError(f"{path} is gone, but {remains} is left of it: bring it back, or move both away")
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        for statement in schema:
            connection.execute(statement)
        columns = [str(name) for _, name, *_ in connection.execute("PRAGMA table_info(proof)")]
        values = tuple("0" * 16 if name.endswith("_sum") else "0" for name in columns[1:-1])
        marks = ", ?" * len(values)
        connection.execute(f"INSERT INTO proof VALUES (1{marks}, ?)", (*values, _digest("proof", 1, values)))  # noqa: S608
        content = connection.serialize()
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another one was quicker: its file is as good
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_place(path: Path) -> None:
    """Refuse what is no file of ours, or lies where locks cannot be trusted.

    Raises:
        JournalError: It is refused.
        OSError: It cannot be looked at.
    """
    remote = _remote_file_system(path.parent.resolve(strict=True), _MOUNTS)
    if remote:
        raise JournalError(f"the journal {path} lies on a network file system ({remote}), whose locks do not hold")
    # The second is SQLite's: what it says of a write that was under way is believed.
    for file in (path, _remains_of(path)):
        try:
            found = file.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise JournalError(f"the journal's path {file} is no regular file")
        if found.st_uid != os.geteuid():
            raise JournalError(f"the journal {file} belongs to another user")
        if file == path and not found.st_size:
            raise JournalError(
                f"the journal {path} is damaged: it is empty. Move it away to begin a new one", damaged=True
            )


def _keep_private(path: Path) -> None:
    """See that nobody else may read what is ours; called only once it is known to be."""
    for file in (path, _remains_of(path)):
        with contextlib.suppress(FileNotFoundError):
            if file.lstat().st_mode & 0o077:
                file.chmod(0o600)


def _remains_of(path: Path) -> Path:
    return path.with_name(path.name + "-journal")


def _remote_file_system(folder: Path, mounts: Path) -> str:
    """Name the kind of a network file system that a folder lies on; empty where it lies on none, or nobody knows."""
    best, kind = "", ""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        place, _, details = line.partition(" - ")
        mounted = place.split()[4:5]
        if mounted and folder.is_relative_to(mounted[0].replace("\\040", " ")) and len(mounted[0]) >= len(best):
            best, kind = mounted[0], details.split(" ")[0]
    return kind if kind in _REMOTE else ""


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


# --- errors ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) or 0
        if code & 0xFF in _BUSY:
            raise JournalError(
                f"the journal {path} is in use by another process, or another Journal of this one"
            ) from error
        words = clean(str(error), 200)
        damaged = code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
        raise JournalError(
            f"the journal {path} is damaged: {words}. It is left as it is: move it away to begin a new one"
            if damaged
            else f"the journal {path} cannot be used: {words}",
            damaged,
        ) from error
    except (OSError, UnicodeError, ValueError, OverflowError) as error:
        raise JournalError(f"the journal {path} cannot be used: {clean(str(error), 200)}") from error
