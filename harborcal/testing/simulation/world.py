"""Worlds to rehearse in: a drawn one, or a copy of a calendar that there is."""

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from harborcal.calendar import Calendar, Recurrence
from harborcal.clock import Clock
from harborcal.errors import CalendarError, CalendarRefusedError, ConfigurationError
from harborcal.grammar import clean
from harborcal.model import Slot, SlotStatus
from harborcal.testing.simulation.backend import late_by, name_of
from harborcal.testing.simulation.faults import Dice

NAMES = ("ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hana", "ivo", "june")
HOURS = 6.0
"""Working hours of a drawn day; they begin at eight."""

_EVENTS: tuple[dict[str, Any], ...] = (
    {"event_type": "job", "event_data": {"type": "Task", "code": "TASK-42"}},
    {"event_type": "system_event", "event_data": {"event": "SummaryToday"}},
    {},
)


def draw(clock: Clock, dice: Dice, agents: int, days: int) -> Calendar:
    """Draw a calendar: real slots, plans that may overlap them, priorities, locked slots."""
    calendar = Calendar("sqlite://", clock=clock)
    random = dice.of("world")
    today = clock.now().replace(hour=8, minute=0, second=0, microsecond=0)
    for number in range(agents):
        agent_id = NAMES[number] if number < len(NAMES) else f"agent-{number}"
        calendar.register_agent(agent_id)
        for day in range(days):
            for _ in range(random.randint(4, 8)):
                add_slot(calendar, dice, agent_id, today + dt.timedelta(days=day))
        for _ in range(random.randint(0, 2)):
            minute = random.randrange(int(HOURS * 60) - 30)
            start = (today + dt.timedelta(minutes=minute)).replace(tzinfo=None)
            calendar.add_plan(
                agent_id,
                Recurrence(start=start, rule="FREQ=DAILY"),
                random.randint(3, 20),
                priority=random.choice([0, 0, 10, 50, 99]),
                **random.choice(_EVENTS),
            )
    return calendar


def add_slot(calendar: Calendar, dice: Dice, agent_id: str, morning: dt.datetime) -> Slot | None:
    """Add a drawn slot to a day; None where it would overlap."""
    random = dice.of("world")
    starts_at = morning + dt.timedelta(minutes=random.randrange(int(HOURS * 60) - 30))
    with contextlib.suppress(CalendarRefusedError):
        return calendar.add_slot(
            agent_id,
            starts_at,
            random.choice([3, 5, 8, 10, 15, 20]),
            slot_type=random.choice(["work", "work", "on_call", "system"]),
            priority=random.choice([0, 0, 0, 1, 10, 50, 99]),
            is_admin_locked=random.random() < 0.15,
            **random.choice(_EVENTS),
        )
    return None


def change(
    calendar: Calendar, dice: Dice, agent_ids: list[str], now: dt.datetime
) -> tuple[str, str, Mapping[str, object]]:
    """Do what a user does: cancel, move or add a slot; return whose, which, and what; of a move, how late it was."""
    random = dice.of("user")
    agent_id = random.choice(agent_ids)
    day = [slot for slot in calendar.day(agent_id, now.date()) if not slot.status.is_terminal]
    act = random.choice(["cancelled", "moved", "added", "urgent"])
    with contextlib.suppress(CalendarRefusedError):
        if day and act == "cancelled":
            slot = random.choice(day)
            calendar.cancel_slot(slot.key)
            return agent_id, name_of(slot), {"what": act}
        if day and act == "moved":
            slot = random.choice(day)
            calendar.edit_slot(slot.key, starts_at=now + dt.timedelta(minutes=random.randint(1, 60)))
            return agent_id, name_of(slot), {"what": act, "late": late_by(slot, now)}
        if day and act == "urgent":
            slot = random.choice(day)
            calendar.edit_slot(slot.key, priority=99)
            return agent_id, name_of(slot), {"what": act}
        slot = calendar.add_slot(agent_id, now + dt.timedelta(minutes=random.randint(0, 60)), random.randint(3, 15))
        return agent_id, name_of(slot), {"what": "added"}
    return agent_id, "", {"what": "refused"}


def is_over(slot: Slot) -> bool:
    """Tell whether a slot has ended."""
    return slot.status in {SlotStatus.FINISHED, SlotStatus.ABORTED, SlotStatus.SKIPPED}


# --- copies ---------------------------------------------------------------------------------------------------------


def copy_of(source: "Calendar | Path | str", clock: Clock) -> Calendar:
    """Copy a calendar into memory, and leave the original alone: it is only read.

    Raises:
        ConfigurationError: It is neither a calendar, nor a path or URL of one.
        CalendarError: It cannot be read, or is no calendar of harborcal's.
    """
    copy = Calendar("sqlite://", clock=clock)
    try:
        with _connection_of(source) as opened, _connection_in(copy) as target:
            opened.backup(target)
        copy._store._open()  # noqa: SLF001 - an older version of the schema becomes this one, in the copy
        for agent in copy.agents():
            copy.bind_agent(agent.id, None)  # to the rehearsal's own processes
    except sqlite3.Error as error:
        copy.close()
        raise CalendarError(f"the calendar cannot be copied: {clean(str(error), 200)}") from error
    except BaseException:
        copy.close()
        raise
    return copy


@contextlib.contextmanager
def _connection_of(source: "Calendar | Path | str") -> Iterator[sqlite3.Connection]:
    if isinstance(source, Calendar):
        with _connection_in(source) as connection:
            yield connection
        return
    with contextlib.closing(sqlite3.connect(f"{_file_of(source).as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


@contextlib.contextmanager
def _connection_in(calendar: Calendar) -> Iterator[sqlite3.Connection]:
    """Lend the SQLite connection below a calendar, outside of any transaction, while nobody else uses it."""
    store = calendar._store  # noqa: SLF001 - SQLite's backup is between its own connections
    with store.turn(), store._engine.connect() as opened:  # noqa: SLF001 - likewise
        yield cast(sqlite3.Connection, opened.connection.dbapi_connection)


def _file_of(source: Path | str) -> Path:
    if isinstance(source, str) and source.startswith("sqlite:"):
        from harborcal.calendar.store import _path_of

        path = _path_of(source)
        if path is None:
            raise ConfigurationError("a calendar in memory is handed in as the Calendar itself, not by its URL")
        return path
    given: object = source
    if not isinstance(given, str | Path) or "://" in str(given):
        # Never the whole of an address: it may hold a password.
        shown = str(given).partition("://")[0] if isinstance(given, str | Path) else type(given).__name__
        raise ConfigurationError(f"a rehearsal takes a Calendar, or the path or URL of one in SQLite, not {shown}")
    return Path(source).absolute()
