"""Who was heard when: agents by their heartbeats, and owners, the schedulers behind them.

An owner is one running scheduler, known by an id of its own and the claw identifier that it shares with its successors
after a restart. What an owner has claimed is its own; another may take it up once the owner is gone: silent for 120 s,
or followed by a later owner of the same claw and not seen since, unless its process still runs on this machine.
"""

import dataclasses
import datetime as dt
import os
import socket
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from harborcal.calendar import rules
from harborcal.calendar.schema import agents, owners
from harborcal.calendar.store import Store
from harborcal.errors import CalendarError, HarborcalError
from harborcal.model import AgentStatus

_FORGET_OWNERS_AFTER = dt.timedelta(days=7)
_OWNERS_REMEMBERED = 1_024


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """A scheduler: its own id, and the claw identifier of its host."""

    id: str
    claw_identifier: str


@dataclasses.dataclass(frozen=True, slots=True)
class Sign:
    """One sign of life, on its way into the database.

    Attributes:
        agent_id: Who was heard.
        owner: Who spoke for it.
        at: When.
        lifted: What was said of it and holds no longer, now that it is heard; it is idle then.
    """

    agent_id: str
    owner: Owner | None
    at: dt.datetime
    lifted: AgentStatus | None


class _Batch:
    """Signs that are written together, and what became of them: ``failure`` is read once they are ``done``."""

    __slots__ = ("done", "failure", "signs")

    def __init__(self) -> None:
        self.signs: list[Sign] = []  # guarded by the presence's lock while the batch is open
        self.done = threading.Event()
        self.failure: HarborcalError | None = None


class Presence:
    """Writes signs of life, many in one transaction: while one of them waits for the turn to write, others join it.

    So a tick of a thousand agents costs about a hundred commits, and each sign is on disk before the answer to it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._open: _Batch | None = None  # guarded by _lock; the batch that waits for the turn to write
        self._begun: set[str] = set()  # guarded by _lock; owners that were seen through this calendar
        self._pid = os.getpid()

    def begin(self, owner: Owner, at: dt.datetime) -> None:
        """See an owner before its first question, so that what its predecessors left is free for it.

        Raises:
            CalendarError: It cannot be written.
            CalendarUnavailableError: Other programs keep the database locked.
        """
        self._follow_fork()
        with self._lock:
            if owner.id in self._begun:
                return
        with self._store.write() as connection:
            see(connection, owner, at)
        with self._lock:
            if len(self._begun) >= _OWNERS_REMEMBERED:
                self._begun.clear()  # to see one again does no harm
            self._begun.add(owner.id)

    def heard(self, signs: Sequence[Sign]) -> None:
        """Record that agents, and the owners that spoke for them, were heard: all of it in one transaction.

        Raises:
            CalendarError: It cannot be written.
            CalendarUnavailableError: Other programs keep the database locked.
        """
        if not signs:
            return
        self._follow_fork()
        batch: _Batch | None = None
        try:
            with self._lock:
                batch, is_first = (_Batch(), True) if self._open is None else (self._open, False)
                batch.signs.extend(signs)
                self._open = batch
            if is_first:
                self._write(batch)
        except BaseException:
            if batch is not None and batch.signs[:1] == [signs[0]]:
                self._abandon(batch)
            raise
        batch.done.wait()
        if batch.failure is not None:
            raise batch.failure

    def _follow_fork(self) -> None:
        """Leave what a parent's threads were writing to the parent: in the child they are not there to end it."""
        if os.getpid() != self._pid:
            self._lock = threading.Lock()
            self._open = None
            self._pid = os.getpid()

    def _abandon(self, batch: _Batch) -> None:
        """Let nobody wait for a batch whose first was interrupted before it could write."""
        if not batch.done.is_set():
            batch.failure = CalendarError("the write was interrupted")
            self._close(batch)
            batch.done.set()

    def _write(self, batch: _Batch) -> None:
        try:
            with self._store.turn():
                self._close(batch)
                with self._store.write_in_turn() as connection:
                    _write(connection, batch.signs)
        except BaseException as error:
            batch.failure = error if isinstance(error, HarborcalError) else CalendarError("the write was interrupted")
            if batch.failure is not error:
                raise
        finally:
            self._close(batch)
            batch.done.set()

    def _close(self, batch: _Batch) -> None:
        """Let nobody join a batch any more."""
        with self._lock:
            if self._open is batch:
                self._open = None


def _later_of(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    at = sa.bindparam("at", type_=column.type)
    return sa.case((column > at, column), else_=at)


# Who has waited longer for the turn to write may come with an earlier time: no time goes back.
_HEARD = (
    sa.update(agents)
    .where(agents.c.id == sa.bindparam("which"))
    .values(last_heartbeat_at=_later_of(agents.c.last_heartbeat_at))
)
_LIFTED = (
    sa.update(agents)
    .where(
        agents.c.id == sa.bindparam("which"),
        agents.c.said == sa.bindparam("lifted"),
        sa.or_(
            agents.c.recovery_at.is_(None), agents.c.recovery_at <= sa.bindparam("at", type_=agents.c.recovery_at.type)
        ),
    )
    .values(said=AgentStatus.IDLE, exhaust_reason=None, recovery_at=None)
)


def _write(connection: sa.Connection, signs: list[Sign]) -> None:
    connection.execute(_HEARD, [{"which": sign.agent_id, "at": sign.at} for sign in signs])
    lifted = [
        {"which": sign.agent_id, "lifted": sign.lifted, "at": sign.at} for sign in signs if sign.lifted is not None
    ]
    if lifted:
        connection.execute(_LIFTED, lifted)
    for owner, at in {sign.owner: sign.at for sign in signs if sign.owner is not None}.items():
        see(connection, owner, at)


# --- owners ---------------------------------------------------------------------------------------------------------


_SEEN = (
    sa.update(owners)
    .where(owners.c.id == sa.bindparam("which"))
    .values(seen_at=_later_of(owners.c.seen_at), is_superseded=False)
)


def see(connection: sa.Connection, owner: Owner, at: dt.datetime) -> None:
    """Record that an owner is alive; a new one follows those of its claw that came before."""
    if connection.execute(_SEEN, {"which": owner.id, "at": at}).rowcount:
        return
    connection.execute(
        sa.update(owners).where(owners.c.claw_identifier == owner.claw_identifier).values(is_superseded=True)
    )
    values = {"id": owner.id, "claw_identifier": owner.claw_identifier, "seen_at": at, "is_superseded": False}
    connection.execute(sa.insert(owners).values(values))
    connection.execute(sa.delete(owners).where(owners.c.seen_at < at - _FORGET_OWNERS_AFTER))


_OWNERS = sa.select(owners).where(owners.c.id.in_(sa.bindparam("owner_ids", expanding=True)))


def gone(connection: sa.Connection, owner_ids: Iterable[str | None], by: Owner, now: dt.datetime) -> set[str]:
    """Tell which owners are gone, so that what they have left behind is free for another one to take up.

    That one itself is not; nor is who has no owner: it is looked after by nobody we know. Costs one query at most.
    """
    others = {owner_id for owner_id in owner_ids if owner_id is not None and owner_id != by.id}
    if not others:
        return set()
    rows = {row.id: row for row in connection.execute(_OWNERS, {"owner_ids": sorted(others)})}
    return {owner_id for owner_id in others if _is_gone(owner_id, rows.get(owner_id), by, now)}


def _is_gone(owner_id: str, row: sa.Row[Any] | None, by: Owner, now: dt.datetime) -> bool:
    if row is None:
        return True  # not seen for days
    if now - row.seen_at > rules.SILENCE:
        return True
    return bool(row.is_superseded and row.claw_identifier == by.claw_identifier) and not _is_running(owner_id)


def name_owner() -> str:
    """Name an owner, so that other processes of this machine can tell whether its process still runs."""
    return f"{uuid.uuid4().hex}@{socket.gethostname()}/{os.getpid()}"


def _is_running(owner_id: str) -> bool:
    """Tell whether an owner is of another process of this machine that still runs."""
    place, _, number = owner_id.partition("@")[2].rpartition("/")
    if place != socket.gethostname() or not number.isdecimal() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's, but there it is
    return True
