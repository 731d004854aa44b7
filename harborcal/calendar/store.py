"""The database behind a calendar: one way to read, one way to write, and what its errors mean.

SQLite, after what was measured: a rollback journal with ``synchronous=FULL`` loses no acknowledged commit in a power
cut; every write transaction begins with ``BEGIN IMMEDIATE``, so that none finds itself locked out half-way; the file is
opened through SQLite only, because closing any other handle on it would drop SQLite's locks.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from harborcal.calendar import schema
from harborcal.errors import (
    CalendarError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    LifecycleError,
)
from harborcal.grammar import clean

_WRITES = "harborcal_writes"
_RETRY_AFTER = 1.0
_LOOK = 0.02  # seconds in which SQLite looks for a lock after 1, 2, 5 and 10 ms
_NO_TEXT = "Could not decode to UTF-8"  # said by Python of one value; it is no error of SQLite's, and has no code
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class UnreadableRowError(CalendarError):
    """A row holds what no harborcal has written; the database as such can be used."""


class Store:
    """Transactions on one database, from any number of threads; writes are one at a time.

    Within a process writers wait for their turn at a lock; between processes they wait for SQLite's.
    """

    def __init__(self, url: str, patience: float) -> None:
        """Open the database, and create or migrate it where needed.

        Args:
            url: ``sqlite:///relative/path``, ``sqlite:////absolute/path``, or ``sqlite://`` for one in memory.
            patience: Seconds to wait for other writers.

        Raises:
            ConfigurationError: The URL is none of these.
            CalendarError: The file cannot be used; it is left as it is.
        """
        self._path = _path_of(url)
        self._patience = patience
        self._turn = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False
        self._parents: list[sa.Engine] = []  # of processes that this one was forked from
        self._file: tuple[int, int] | None = None  # which file was opened; another in its place is refused
        if self._path is not None:
            _create_private(self._path)
        self._engine = self._make_engine()
        try:
            self._open()
        except BaseException:
            self._engine.dispose()
            raise

    def _make_engine(self) -> sa.Engine:
        if self._path is None:
            engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        else:
            url = sa.URL.create("sqlite", database=str(self._path))
            engine = sa.create_engine(url, pool_size=5, max_overflow=-1)
        sa.event.listen(engine, "connect", self._prepare)
        sa.event.listen(engine, "begin", self._begin)
        return engine

    def _prepare(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so, see _begin
        _wait_at_most(connection, self._patience)
        connection.execute("PRAGMA journal_mode = TRUNCATE").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")

    def _begin(self, opened: sa.Connection) -> None:
        connection = cast(sqlite3.Connection, opened.connection.dbapi_connection)
        if not opened.get_execution_options().get(_WRITES):
            connection.execute("BEGIN")
            return
        # Left to itself, SQLite looks for the lock ever less often, up to ten times a second, so that among busy
        # writers the one that has waited longest waits on. Asked anew, it begins again with every millisecond.
        _wait_at_most(connection, _LOOK)
        try:
            for last in (*[False] * int(self._patience / _LOOK), True):
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if last or not _is_busy(error):
                        raise
        finally:
            _wait_at_most(connection, self._patience)

    def _open(self) -> None:
        with self.read() as connection:
            version = schema.version_of(connection)
        if version != schema.VERSION:
            with self.write() as connection:
                schema.migrate(connection)
        if self._path is not None:
            self._file = _identity_of(self._path)

    # --- transactions -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Read within one transaction: everything it sees is of one moment.

        Raises:
            CalendarUnavailableError: Another program kept the database locked for longer than our patience.
            CalendarError: The database cannot be used.
            LifecycleError: The calendar is closed.
        """
        with self.turn() if self._path is None else contextlib.nullcontext(), self._transaction(writes=False) as opened:
            yield opened

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Write within one transaction: all of it is kept once the block ends, or nothing where it raises.

        Raises:
            CalendarUnavailableError: As `read`.
            CalendarError: The database cannot be used, or is full.
            LifecycleError: The calendar is closed.
        """
        with self.turn(), self.write_in_turn() as opened:
            yield opened

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this process's turn to write.

        Raises:
            CalendarUnavailableError: It did not come within our patience.
        """
        self._follow_fork()
        turn = self._turn
        if not turn.acquire(timeout=self._patience):
            raise _locked()
        try:
            yield
        finally:
            turn.release()

    @contextlib.contextmanager
    def write_in_turn(self) -> Iterator[sa.Connection]:
        """Write as `write` does, for who holds the `turn`."""
        with self._transaction(writes=True) as opened:
            yield opened

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[sa.Connection]:
        self._check()
        try:
            with self._engine.connect() as opened:
                connection = opened.execution_options(**{_WRITES: writes})
                with connection.begin():
                    yield connection
        except HarborcalError:
            raise
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            raise _translate(error) from error
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise UnreadableRowError(
                f"what is in the calendar's database cannot be read: {clean(str(error), 200)}"
            ) from error

    def _check(self) -> None:
        self._follow_fork()
        if self._is_closed:
            raise LifecycleError("calendar: the calendar is closed")
        if self._file is not None and self._path is not None and _identity_of(self._path) != self._file:
            raise CalendarError(f"the calendar's file {self._path} was deleted or replaced while in use")

    def _follow_fork(self) -> None:
        """Leave a parent's connections alone in its child: SQLite's locks are the parent's."""
        if os.getpid() == self._pid:
            return
        if self._path is None:
            raise LifecycleError("calendar: a calendar in memory does not outlive a fork; open one in the child")
        self._turn = threading.Lock()
        # The old one is kept, because closing its connections would touch the parent's transactions; it is not used,
        # because its locks may be held by threads that the child does not have.
        self._parents.append(self._engine)
        self._engine = self._make_engine()
        self._pid = os.getpid()

    # --- care -------------------------------------------------------------------------------------------------------

    def check(self) -> tuple[str, ...]:
        """Have the database look itself over; return what it finds wrong.

        Raises:
            CalendarUnavailableError: As `read`.
            CalendarError: It cannot be read at all.
        """
        with self.read() as connection:
            found = [str(line) for (line,) in connection.exec_driver_sql("PRAGMA integrity_check")]
        return () if found == ["ok"] else tuple(clean(line) for line in found)

    def close(self) -> None:
        """Close every connection; once more changes nothing."""
        self._is_closed = True
        if os.getpid() != self._pid:
            return
        # The one connection of a calendar in memory is shared: it is not closed under a call that uses it.
        with self._turn if self._path is None else contextlib.nullcontext():
            self._engine.dispose()


def _wait_at_most(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def _is_busy(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in _BUSY


# --- files ----------------------------------------------------------------------------------------------------------


def _path_of(url: object) -> Path | None:
    """Tell where a URL's file is; None for a calendar in memory.

    Raises:
        ConfigurationError: It is no SQLite URL, or has what such a URL does not need.
    """
    hint = "use 'sqlite:///calendar.db', 'sqlite:////absolute/path/calendar.db', or 'sqlite://' for one in memory"
    if not isinstance(url, str):
        raise ConfigurationError(f"a calendar's URL is a string, not {type(url).__name__}: {hint}")
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigurationError(f"not a calendar's URL: {hint}") from error
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise ConfigurationError(f"a calendar lives in SQLite, not in {clean(parsed.drivername, 40)!r}: {hint}")
    if parsed.host or parsed.username or parsed.password or parsed.port or "?" in url:
        raise ConfigurationError(f"a calendar's URL names a file and nothing else: {hint}")
    if parsed.database in {None, "", ":memory:"}:
        return None
    if "\0" in str(parsed.database):
        raise ConfigurationError(f"not a calendar's URL: {hint}")
    return Path(str(parsed.database)).absolute().resolve()


def _create_private(path: Path) -> None:
    """Create the file for its owner's eyes only, where there is none; SQLite gives its journal the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise CalendarError(f"the calendar's path {path} is no file") from None
    except OSError as error:
        raise CalendarError(f"the calendar's file {path} cannot be created: {error.strerror}") from error


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


# --- errors ---------------------------------------------------------------------------------------------------------


def _translate(error: BaseException) -> HarborcalError:
    """Turn what SQLAlchemy or sqlite3 raised into an error of harborcal's own."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    if _is_busy(cause):
        return _locked()
    if str(cause).startswith(_NO_TEXT):
        return UnreadableRowError(f"what is in the calendar's database cannot be read: {clean(str(cause), 200)}")
    return CalendarError(f"the calendar's database cannot be used: {clean(str(cause), 200)}")


def _locked() -> CalendarUnavailableError:
    """Say that the database is locked. Also a commit that finds it so is rolled back: nothing has changed."""
    return CalendarUnavailableError(
        "calendar: other programs keep the database locked", 503, _RETRY_AFTER, untouched=True
    )
