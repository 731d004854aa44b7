"""Who was heard when: agents by their heartbeats, and owners, the schedulers behind them.

An owner is one running scheduler, known by an id of its own and the claw identifier that it shares with its successors
after a restart. What an owner has claimed is its own; another may take it up once the owner is gone: silent for 120 s,
or followed by a later owner of the same claw and not seen since.
"""

import dataclasses
import datetime as dt
import threading

import sqlalchemy as sa

from harborcal.calendar import agents as agent_rows
from harborcal.calendar import rules
from harborcal.calendar.schema import agents, owners
from harborcal.calendar.store import Store
from harborcal.errors import CalendarError, HarborcalError
from harborcal.model import AgentStatus

_FORGET_OWNERS_AFTER = dt.timedelta(days=7)


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """A scheduler: its own id, and the claw identifier of its host."""

    id: str
    claw_identifier: str


class _Sign:
    """One sign of life, on its way into the database."""

    __slots__ = ("agent_id", "at", "claw_identifier", "failure", "is_written", "owner")

    def __init__(self, agent_id: str, claw_identifier: str | None, owner: Owner | None, at: dt.datetime) -> None:
        self.agent_id = agent_id
        self.claw_identifier = claw_identifier
        self.owner = owner
        self.at = at
        self.is_written = False
        self.failure: HarborcalError | None = None


class Presence:
    """Writes signs of life, many in one transaction: whoever gets the turn to write takes along all that wait for it.

    So a tick of a thousand agents costs a few dozen commits, and each heartbeat's sign is on disk before its answer.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: list[_Sign] = []  # guarded by _lock

    def heard(
        self, agent_id: str, at: dt.datetime, *, claw_identifier: str | None = None, owner: Owner | None = None
    ) -> None:
        """Record that an agent, and the owner that spoke for it, were heard.

        Raises:
            CalendarRefusedError: 404, the agent is not registered; 403, it is bound to another claw.
            CalendarError: It cannot be written.
            CalendarUnavailableError: Other programs keep the database locked.
        """
        sign = _Sign(agent_id, claw_identifier, owner, at)
        with self._lock:
            self._waiting.append(sign)
        try:
            with self._store.turn():
                if not sign.is_written:
                    self._write_waiting()
        finally:
            with self._lock:
                if sign in self._waiting:
                    self._waiting.remove(sign)
        if sign.failure is not None:
            raise sign.failure

    def _write_waiting(self) -> None:
        with self._lock:
            signs, self._waiting = self._waiting, []
        try:
            with self._store.write_in_turn() as connection:
                for sign in signs:
                    _write_agent(connection, sign)
                for owner, at in {sign.owner: sign.at for sign in signs if sign.owner is not None}.items():
                    see(connection, owner, at)
        except BaseException as error:
            failure = error if isinstance(error, HarborcalError) else CalendarError("the write was interrupted")
            for sign in signs:
                sign.failure = sign.failure or failure
            if failure is not error:
                raise
        finally:
            for sign in signs:
                sign.is_written = True


_HEARD = (
    sa.update(agents)
    .where(agents.c.id == sa.bindparam("which"))
    .values(
        last_heartbeat_at=sa.bindparam("at"),
        said=sa.bindparam("now_said"),
        exhaust_reason=sa.bindparam("reason"),
        recovery_at=sa.bindparam("until"),
    )
)


def _write_agent(connection: sa.Connection, sign: _Sign) -> None:
    try:
        row = agent_rows.find(connection, sign.agent_id)
        agent_rows.check_claw(row, sign.claw_identifier)
    except HarborcalError as refusal:
        sign.failure = refusal
        return
    said = agent_rows.said_after_heartbeat(row, sign.at)
    is_exhausted = said is AgentStatus.EXHAUSTED
    values = {
        "which": sign.agent_id,
        "at": sign.at,
        "now_said": said,
        "reason": row.exhaust_reason if is_exhausted else None,
        "until": row.recovery_at if is_exhausted else None,
    }
    connection.execute(_HEARD, values)


# --- owners ---------------------------------------------------------------------------------------------------------


_SEEN = (
    sa.update(owners)
    .where(owners.c.id == sa.bindparam("which"))
    .values(seen_at=sa.bindparam("at"), is_superseded=False)
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


def is_gone(connection: sa.Connection, owner_id: str, by: Owner, now: dt.datetime) -> bool:
    """Tell whether what an owner has left behind is free for another one to take up."""
    row = connection.execute(sa.select(owners).where(owners.c.id == owner_id)).one_or_none()
    if row is None:
        return True  # not seen for days
    if now - row.seen_at > rules.SILENCE:
        return True
    return bool(row.is_superseded and row.claw_identifier == by.claw_identifier)
