"""What agents are told when they are heard: the pending slots of many, read together.

Every question is put to the database once for all agents of a batch: what a batch costs in statements does not depend
on how many agents, slots and plans there are.
"""

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from harborcal.calendar import agents, presence, rules, schedule, slots
from harborcal.calendar.presence import Owner
from harborcal.calendar.slots import Entry
from harborcal.calendar.store import Store, UnreadableRowError
from harborcal.errors import CalendarRefusedError, ConfigurationError, HarborcalError
from harborcal.model import AgentStatus, Heartbeat
from harborcal.wire import MAX_SLOTS

MAX_AGENTS_PER_BATCH = 250
"""How many agents one statement names: databases allow a statement so many values and no more, and while one batch is
read nobody has an answer."""

_DAY = dt.timedelta(days=1)

# What reading one agent's rows may raise, also where they were written by another program, or where a plan's time zone
# is not known any more. Everything else that is raised is about the database, and so about everybody.
_OF_ONE_AGENT = (UnreadableRowError, CalendarRefusedError, ConfigurationError)


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """Who asks for agents' slots, and when.

    Attributes:
        now: When.
        claw_identifier: Which host speaks for the agents.
        owner: Which scheduler asks, where it wants to take up what others have left.
    """

    now: dt.datetime
    claw_identifier: str | None
    owner: Owner | None


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One agent's answer, and what was said of the agent and holds no longer once it is heard."""

    heartbeat: Heartbeat
    lifted: AgentStatus | None


Answers = list[tuple[str, Found | HarborcalError]]
"""Agents with what was found for each, or why nothing was, in the order in which they were asked for."""


def batches(agent_ids: Iterable[str]) -> Iterator[list[str]]:
    """Divide agents into batches, each agent once."""
    each = list(dict.fromkeys(agent_ids))
    return (each[begin : begin + MAX_AGENTS_PER_BATCH] for begin in range(0, len(each), MAX_AGENTS_PER_BATCH))


def read(store: Store, agent_ids: Sequence[str], question: Question) -> Answers:
    """Read the answers to one batch of agents, all of one moment, unless one agent's rows cannot be read.

    Then the batch is halved until that agent stands alone with its error: the others do not suffer for it.

    Raises:
        CalendarError: The database cannot be used.
        CalendarUnavailableError: Other programs keep it locked.
        LifecycleError: The calendar is closed.
    """
    try:
        with store.read() as connection:
            return _answers(connection, agent_ids, question)
    except _OF_ONE_AGENT as error:
        if len(agent_ids) == 1:
            return [(agent_ids[0], error)]
    half = len(agent_ids) // 2
    return read(store, agent_ids[:half], question) + read(store, agent_ids[half:], question)


def _answers(connection: sa.Connection, agent_ids: Sequence[str], question: Question) -> Answers:
    rows = agents.rows_of(connection, agent_ids)
    refusals = [agents.refusal_of(row, question.claw_identifier) for row in rows]
    served = {row.id: row for row, refusal in zip(rows, refusals, strict=True) if row is not None and refusal is None}
    found = _found(connection, served, question)
    return [
        (each, found[each] if refusal is None else refusal) for each, refusal in zip(agent_ids, refusals, strict=True)
    ]


def _found(connection: sa.Connection, rows: Mapping[str, sa.Row[Any]], question: Question) -> dict[str, Found]:
    if not rows:
        return {}
    now = question.now
    yesterday, today = now.date() - _DAY, now.date()
    stored = slots.near(connection, rows, yesterday, today)
    virtual = schedule.virtual_entries(connection, rows, yesterday, today)
    under_way = [entry for entry in stored if entry.slot.status in slots.UNDER_WAY]
    pending = [entry for entry in (*stored, *virtual) if entry.slot.status.is_pending and _is_open(entry, now)]
    listed = _by_agent([*pending, *_left_behind(connection, under_way, question)])
    at_work = _by_agent(under_way)
    return {each: _found_for(row, listed[each], at_work[each], now) for each, row in rows.items()}


def _found_for(row: sa.Row[Any], listed: list[Entry], at_work: list[Entry], now: dt.datetime) -> Found:
    if len(listed) > MAX_SLOTS:  # then what is due comes before what is not
        listed = sorted(listed, key=lambda entry: (entry.starts_at > now, entry.by_urgency))[:MAX_SLOTS]
    ordered = sorted(listed, key=lambda entry: entry.by_urgency)
    status = agents.status_of(row, at_work, now, is_heard=True)
    return Found(
        heartbeat=Heartbeat(slots=tuple(entry.slot for entry in ordered), agent_status=status),
        lifted=row.said if agents.said_after_heartbeat(row, now) is not row.said else None,
    )


def _left_behind(connection: sa.Connection, under_way: list[Entry], question: Question) -> list[Entry]:
    """List what is free for who asks to take up."""
    if question.owner is None:
        return []
    gone = presence.gone(connection, (entry.owner for entry in under_way), question.owner, question.now)
    return [entry for entry in under_way if entry.owner in gone]


def _is_open(entry: Entry, now: dt.datetime) -> bool:
    return rules.reaches_into(entry.ends_at, entry.starts_at.date(), now)


def _by_agent(entries: Iterable[Entry]) -> defaultdict[str, list[Entry]]:
    grouped: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        grouped[entry.agent_id].append(entry)
    return grouped
