"""Agents as rows, and what holds of them now: what was said, what time has made of it, what they are at."""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from harborcal.calendar import rules, slots
from harborcal.calendar.schema import agents, meta
from harborcal.calendar.statements import OfAgents
from harborcal.calendar.values import ExhaustReason, RegisteredAgent
from harborcal.errors import CalendarRefusedError
from harborcal.grammar import is_id
from harborcal.model import AgentStatus, SlotStatus, SlotType

_LASTING = frozenset({AgentStatus.BUSY, AgentStatus.ON_CALL})


_BY_ID = sa.select(agents).where(agents.c.id == sa.bindparam("agent_id"))
_BY_IDS = OfAgents(agents.c.id, lambda of_agents: sa.select(agents).where(of_agents))


def find(connection: sa.Connection, agent_id: str) -> sa.Row[Any]:
    """Find an agent's row.

    Raises:
        CalendarRefusedError: 404, it is not registered (contract).
    """
    row = connection.execute(_BY_ID, {"agent_id": agent_id}).one_or_none() if is_id(agent_id) else None
    if row is None:
        raise _not_found()
    return row


def rows_of(connection: sa.Connection, agent_ids: Sequence[str]) -> list[sa.Row[Any] | None]:
    """Find agents' rows, in the order in which they are asked for; None for each that is not registered."""
    rows = {row.id: row for row in _BY_IDS.execute(connection, [each for each in agent_ids if is_id(each)])}
    return [rows.get(each) if is_id(each) else None for each in agent_ids]


def refusal_of(row: sa.Row[Any] | None, claw_identifier: str | None) -> CalendarRefusedError | None:
    """Tell why a host may not speak for an agent, by the agent's row; None where it may.

    404, it is not registered; 403, it is bound to another host (contract).
    """
    if row is None:
        return _not_found()
    if claw_identifier is not None and row.claw_identifier not in (None, claw_identifier):
        return CalendarRefusedError(403, f"agent {row.id} is bound to another claw identifier")
    return None


def check_claw(row: sa.Row[Any], claw_identifier: str | None) -> None:
    """Let only the host to which an agent is bound speak for it.

    Raises:
        CalendarRefusedError: 403, it is bound to another one.
    """
    refusal = refusal_of(row, claw_identifier)
    if refusal is not None:
        raise refusal


def _not_found() -> CalendarRefusedError:
    return CalendarRefusedError(404, "Agent not found")


def every(connection: sa.Connection) -> list[sa.Row[Any]]:
    """List all agents' rows, by id."""
    return list(connection.execute(sa.select(agents).order_by(agents.c.id)))


def of_claw(
    connection: sa.Connection, claw_identifier: str, *, since: int, after: str, limit: int
) -> list[sa.Row[Any]]:
    """List agents that a host may speak for and whose schedules changed after a revision, by id, after one of them."""
    ours = sa.or_(agents.c.claw_identifier.is_(None), agents.c.claw_identifier == claw_identifier)
    chosen = sa.select(agents).where(ours, agents.c.revision > since, agents.c.id > after)
    return list(connection.execute(chosen.order_by(agents.c.id).limit(limit)))


def insert(connection: sa.Connection, agent_id: str, claw_identifier: str | None, now: dt.datetime) -> None:
    """Register an agent."""
    values = {
        "id": agent_id,
        "claw_identifier": claw_identifier,
        "said": AgentStatus.IDLE,
        "registered_at": now,
        "revision": 0,
    }
    connection.execute(sa.insert(agents).values(values))


def bind(connection: sa.Connection, agent_id: str, claw_identifier: str | None) -> None:
    """Say which host speaks for an agent."""
    connection.execute(sa.update(agents).where(agents.c.id == agent_id).values(claw_identifier=claw_identifier))


def delete(connection: sa.Connection, agent_id: str) -> None:
    """Forget an agent; its slots and plans stay, for when it comes back."""
    connection.execute(sa.delete(agents).where(agents.c.id == agent_id))


def forget_what_was_told(connection: sa.Connection) -> None:
    """Have everybody who asks what is new be told everything: agents have gone, or changed their host."""
    connection.execute(sa.update(meta).values(revision=meta.c.revision + 1))
    connection.execute(sa.update(meta).values(forgotten=meta.c.revision))


def say(
    connection: sa.Connection,
    agent_id: str,
    status: AgentStatus,
    *,
    reason: ExhaustReason | None = None,
    recovery_at: dt.datetime | None = None,
) -> None:
    """Record what was said of an agent."""
    values = {"said": status, "exhaust_reason": reason, "recovery_at": recovery_at}
    connection.execute(sa.update(agents).where(agents.c.id == agent_id).values(values))


# --- what holds now -------------------------------------------------------------------------------------------------


def status_of(
    row: sa.Row[Any], at_work: Iterable[slots.Entry], now: dt.datetime, *, is_heard: bool = False
) -> AgentStatus:
    """Tell what an agent does now.

    Exhausted until it recovers; offline when it has not been heard for 120 s (contract, rule 5); else what was said of
    it, and where it was called idle what follows from the slots that are ongoing: on call, or busy.

    Args:
        row: The agent's.
        at_work: Its slots that are ongoing or paused.
        now: The time.
        is_heard: Whether it is heard just now, which ends its silence.
    """
    said = said_after_heartbeat(row, now) if is_heard else row.said
    if said is AgentStatus.EXHAUSTED and (row.recovery_at is None or now < row.recovery_at):
        return AgentStatus.EXHAUSTED
    if said is AgentStatus.OFFLINE or (not is_heard and _is_silent(row, now)):
        return AgentStatus.OFFLINE
    if said in _LASTING:
        return AgentStatus(said)
    ongoing = [entry.slot.slot_type for entry in at_work if entry.slot.status is SlotStatus.ONGOING]
    if not ongoing:
        return AgentStatus.IDLE
    return AgentStatus.ON_CALL if set(ongoing) == {SlotType.ON_CALL} else AgentStatus.BUSY


def _is_silent(row: sa.Row[Any], now: dt.datetime) -> bool:
    heard_at = row.last_heartbeat_at if row.last_heartbeat_at is not None else row.registered_at
    return bool(now - heard_at > rules.SILENCE)


def said_after_heartbeat(row: sa.Row[Any], now: dt.datetime) -> AgentStatus:
    """Tell what stands of what was said, once an agent is heard: a heartbeat ends offline, and time ends exhaustion."""
    if row.said is AgentStatus.EXHAUSTED:
        return AgentStatus.IDLE if row.recovery_at is not None and row.recovery_at <= now else AgentStatus.EXHAUSTED
    is_over = row.said is AgentStatus.OFFLINE or _is_silent(row, now)
    return AgentStatus.IDLE if is_over else AgentStatus(row.said)


def picture(connection: sa.Connection, row: sa.Row[Any], now: dt.datetime) -> RegisteredAgent:
    """Tell what is known of an agent."""
    status = status_of(row, slots.under_way(connection, row.id), now)
    is_exhausted = status is AgentStatus.EXHAUSTED
    reason = row.exhaust_reason if is_exhausted else None
    return RegisteredAgent(
        id=row.id,
        claw_identifier=row.claw_identifier,
        status=status,
        exhaust_reason=None if reason is None else ExhaustReason(reason),
        recovery_at=row.recovery_at if is_exhausted else None,
        last_heartbeat_at=row.last_heartbeat_at,
        registered_at=row.registered_at,
    )
