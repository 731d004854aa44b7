"""Calendar files with many agents, filled in one go: through the calendar's own doors it would take minutes.

Every agent has 20 slots, two on each of ten days: the five before today, when they were finished, today, and the four
days after it. Every other agent has a plan, each of them another one.
"""

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from harborcal import AgentStatus, SlotStatus, SlotType
from harborcal.calendar import Calendar, Recurrence
from harborcal.calendar.schema import FOR_EVER, agents, plan_versions, plans, slots

_DAYS = range(-5, 5)
_STARTS = (dt.time(9), dt.time(14))
SLOTS_PER_AGENT = len(_DAYS) * len(_STARTS)

_DURATION = 30
_PLAN_DURATION = 15
_DATA = {"type": "Task", "code": "TASK-42", "working_sessions": ["s1", "s2"]}


def make_file(path: Path, agent_ids: list[str], *, of_today: SlotStatus) -> str:
    """Make a calendar file and return its URL.

    Args:
        path: Where.
        agent_ids: Who is registered.
        of_today: How far the slots of today are: pending ones are listed by heartbeats, finished ones are not.
    """
    url = f"sqlite:///{path}"
    Calendar(url).close()
    now = dt.datetime.now(dt.UTC)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.insert(agents), list(_agent_rows(agent_ids, now)))
        connection.execute(sa.insert(slots), list(_slot_rows(agent_ids[0], now, of_today)))
        connection.execute(_give_all_the_slots_of(agent_ids[0]))
        connection.execute(sa.insert(plans), list(_plan_rows(agent_ids, now)))
        connection.execute(sa.insert(plan_versions), list(_version_rows(agent_ids, now)))
    engine.dispose()
    return url


def _give_all_the_slots_of(agent_id: str) -> sa.Insert:
    """Copy one agent's slots to every other, in the database, where that takes a second or two.

    They come in slot by slot, not agent by agent: those of one agent are then scattered over the whole file.
    """
    copied = [column for column in slots.c if column.name not in {"id", "agent_id"}]
    all_pairs = slots.join(agents, sa.true())
    chosen = sa.select(agents.c.id, *copied).select_from(all_pairs)
    chosen = chosen.where(slots.c.agent_id == agent_id, agents.c.id != agent_id)
    names = ["agent_id", *(column.name for column in copied)]
    return sa.insert(slots).from_select(names, chosen.order_by(slots.c.starts_at, agents.c.id))


def _agent_rows(agent_ids: list[str], now: dt.datetime) -> Iterator[dict[str, Any]]:
    for agent_id in agent_ids:
        yield {"id": agent_id, "said": AgentStatus.IDLE, "registered_at": now, "revision": 0}


def _slot_rows(agent_id: str, now: dt.datetime, of_today: SlotStatus) -> Iterator[dict[str, Any]]:
    for day, time in itertools.product(_DAYS, _STARTS):
        date = now.date() + dt.timedelta(days=day)
        status = SlotStatus.FINISHED if day < 0 else of_today if day == 0 else SlotStatus.NOT_STARTED
        is_over = status is SlotStatus.FINISHED
        starts_at = dt.datetime.combine(date, time, dt.UTC)
        ends_at = starts_at + dt.timedelta(minutes=_DURATION)
        yield {
            "agent_id": agent_id,
            "date": date,
            "starts_at": starts_at,
            "ends_at": ends_at,
            "estimated_duration": _DURATION,
            "status": status,
            "priority": 50,
            "slot_type": SlotType.WORK,
            "event_data": _DATA,
            "started_at": starts_at if is_over else None,
            "ended_at": ends_at if is_over else None,
            "attended": is_over,
            "actual_duration": _DURATION if is_over else None,
            "is_admin_locked": False,
            "sequence": 2 if is_over else 0,
            "created_at": now,
            "updated_at": now,
        }


def _plan_rows(agent_ids: list[str], now: dt.datetime) -> Iterator[dict[str, Any]]:
    for number, agent_id in enumerate(agent_ids[::2], start=1):
        yield {"id": number, "agent_id": agent_id, "is_cancelled": False, "created_at": now}


def _version_rows(agent_ids: list[str], now: dt.datetime) -> Iterator[dict[str, Any]]:
    """Let the plans be of four kinds; only that of every fourth could yield a slot on any day that heartbeats list.

    All of them must be expanded to find that out.
    """
    first = now.date() - dt.timedelta(days=40)
    today, rules = now.date(), ("FREQ=DAILY", "FREQ=WEEKLY;INTERVAL=2", "FREQ=MONTHLY;BYDAY=-1SU", "FREQ=YEARLY")
    for number, agent_id in enumerate(agent_ids[::2], start=1):
        start = dt.datetime.combine(first, dt.time(18)) + dt.timedelta(seconds=number % 10_000)
        yield {
            "plan_id": number,
            "valid_from": today + dt.timedelta(days=min(_DAYS)),
            "valid_until": FOR_EVER,
            "agent_id": agent_id,
            "recurrence": json.dumps(Recurrence(start=start, rule=rules[number % len(rules)]).to_dict()),
            "estimated_duration": _PLAN_DURATION,
            "slot_type": SlotType.WORK,
            "priority": 10,
            "updated_at": now,
        }
