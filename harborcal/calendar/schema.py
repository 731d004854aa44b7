"""The tables, their versions, and how an older version becomes this one.

Only integers and texts are stored, so that SQLite's strict tables and other databases keep the same values: instants
are microseconds since 1970 in UTC, dates ``YYYY-MM-DD``, flags 0 and 1, objects JSON.
"""

import datetime as dt
import enum
import json
import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from harborcal.codecs import freeze, thaw
from harborcal.errors import CalendarError
from harborcal.model import AgentStatus, EventType, SlotStatus, SlotType

VERSION = 2
"""The schema's version. A change of the tables is a new version with a step from the one before in `_STEPS`."""

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FOR_EVER = dt.date(9999, 12, 31)
"""The ``valid_until`` of what has no end: a date, so that an index can be asked for what is still valid."""

_MICROSECOND = dt.timedelta(microseconds=1)

# --- types ----------------------------------------------------------------------------------------------------------


class _As(TypeDecorator[Any]):
    """A value that is stored as a number or a text, by two functions; None is null both ways."""

    impl = sa.Text
    cache_ok = True

    def __init__(
        self, stored: sa.types.TypeEngine[Any], encode: Callable[[Any], Any], decode: Callable[[Any], Any]
    ) -> None:
        super().__init__()
        self.stored = stored
        self.encode = encode
        self.decode = decode

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the column's type."""
        return dialect.type_descriptor(self.stored)

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:  # noqa: ARG002 - the base's name
        """Write a value."""
        return None if value is None else self.encode(value)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: ARG002 - the base's
        """Tell how a value is read back; directly, because every cell of every row goes through it."""
        decode = self.decode
        return lambda value: None if value is None else decode(value)


def _write_instant(instant: dt.datetime) -> int:
    return (instant - EPOCH) // _MICROSECOND


def _read_instant(microseconds: int) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=microseconds)


def _write_json(value: Any) -> str:
    return json.dumps(thaw(value), separators=(",", ":"), ensure_ascii=False)


def _read_json(text: str) -> Any:
    return freeze(json.loads(text))


_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INSTANT = _As(_NUMBER, _write_instant, _read_instant)
_DAY = _As(sa.Text(), dt.date.isoformat, dt.date.fromisoformat)
_FLAG = _As(sa.Integer(), int, bool)
_JSON = _As(sa.Text(), _write_json, _read_json)


def _word(members: type[enum.StrEnum]) -> _As:
    return _As(sa.Text(), str, members)


# --- tables ---------------------------------------------------------------------------------------------------------

metadata = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any] | sa.Index | sa.UniqueConstraint, counts: bool = False) -> sa.Table:
    """Make a table; ``counts`` says that its ids are never given out twice."""
    return sa.Table(name, metadata, *columns, sqlite_strict=True, sqlite_autoincrement=counts)


meta = _table(
    "harborcal",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),  # tells this calendar from every other
    sa.Column("revision", _NUMBER, nullable=False),  # counts changes of schedules
    sa.Column("forgotten", _NUMBER, nullable=False),  # what was told up to this revision must be told anew
)
"""One row: what is known of the calendar as a whole."""

agents = _table(
    "agents",
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("claw_identifier", sa.Text),
    sa.Column("said", _word(AgentStatus), nullable=False),  # what was said of it; what holds follows in agents.py
    sa.Column("exhaust_reason", sa.Text),
    sa.Column("recovery_at", _INSTANT),
    sa.Column("last_heartbeat_at", _INSTANT),
    sa.Column("registered_at", _INSTANT, nullable=False),
    sa.Column("revision", _NUMBER, nullable=False),  # of the last change of its schedule
)

owners = _table(
    "owners",
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("claw_identifier", sa.Text, nullable=False),
    sa.Column("seen_at", _INSTANT, nullable=False),
    sa.Column("is_superseded", _FLAG, nullable=False),  # a later owner began for its claw, and it was not seen since
    sa.Index("owners_of_claw", "claw_identifier"),
)
"""Schedulers that have claimed slots or heartbeaten agents."""

slots = _table(
    "slots",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("date", _DAY, nullable=False),
    sa.Column("starts_at", _INSTANT, nullable=False),
    sa.Column("ends_at", _INSTANT, nullable=False),
    sa.Column("estimated_duration", sa.Integer, nullable=False),
    sa.Column("status", _word(SlotStatus), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("slot_type", _word(SlotType), nullable=False),
    sa.Column("event_type", _word(EventType)),
    sa.Column("event_data", _JSON),
    sa.Column("started_at", _INSTANT),
    sa.Column("ended_at", _INSTANT),
    sa.Column("attended", _FLAG, nullable=False),
    sa.Column("actual_duration", sa.Integer),
    sa.Column("plan_id", sa.Integer),
    sa.Column("plan_date", _DAY),  # of the plan's occurrence, also where the slot was moved to another date
    sa.Column("virtual_id", sa.Text, unique=True),
    sa.Column("is_admin_locked", _FLAG, nullable=False),
    sa.Column("special_slot_id", _NUMBER),
    sa.Column("user_id", _NUMBER),
    sa.Column("owner", sa.Text),  # who made it ongoing
    sa.Column("sequence", sa.Integer, nullable=False),  # counts its changes
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
    sa.Index("slots_of_day", "agent_id", "date"),
    sa.Index("slots_of_plan", "agent_id", "plan_date"),
    sa.Index("slots_under_way", "agent_id", "status"),
    sa.Index("slots_by_date", "date"),
    counts=True,
)

plans = _table(
    "plans",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("is_cancelled", _FLAG, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Index("plans_of_agent", "agent_id"),
    counts=True,
)

plan_versions = _table(
    "plan_versions",
    sa.Column("plan_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("valid_from", _DAY, primary_key=True),
    sa.Column("valid_until", _DAY, nullable=False),  # exclusive
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("recurrence", sa.Text, nullable=False),  # JSON
    sa.Column("estimated_duration", sa.Integer, nullable=False),
    sa.Column("slot_type", _word(SlotType), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("event_type", _word(EventType)),
    sa.Column("event_data", _JSON),
    sa.Column("user_id", _NUMBER),
    sa.Column("updated_at", _INSTANT, nullable=False),
    sa.Index("plan_versions_of_agent", "agent_id", "valid_until"),
)
"""A plan from one edit to the next: what a plan yielded on past dates does not change when it is edited."""

imports = _table(
    "imports",
    sa.Column("agent_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("occurrence", sa.Text, primary_key=True),  # the occurrence of a recurring event that differs; else empty
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("slot_id", sa.Integer),
    sa.Column("plan_id", sa.Integer),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("imports_of_slot", "slot_id"),
)
"""Which events of imported files became which slots and plans."""


# --- versions -------------------------------------------------------------------------------------------------------


def _add_imports(connection: sa.Connection) -> None:
    imports.create(connection)


_STEPS: dict[int, Callable[[sa.Connection], None]] = {1: _add_imports}


def version_of(connection: sa.Connection) -> int:
    """Tell which version a database has, 0 where it is empty.

    Raises:
        CalendarError: It is another program's, or from a newer harborcal.
    """
    names = set(sa.inspect(connection).get_table_names())
    if meta.name not in names:
        if names:
            raise CalendarError("this database is another program's: it has tables, and none of them is harborcal's")
        return 0
    version = connection.execute(sa.select(meta.c.schema_version)).scalar()
    if version is None:
        raise CalendarError("this calendar is damaged: it does not say which version it has")
    if version > VERSION:
        raise CalendarError(
            f"this calendar has version {version}, and this harborcal knows versions up to {VERSION}: use a newer one"
        )
    return int(version)


def migrate(connection: sa.Connection) -> None:
    """Bring a database to this version, inside the caller's transaction.

    Raises:
        CalendarError: As `version_of`.
    """
    version = version_of(connection)
    if version == 0:
        metadata.create_all(connection)
        first = {"id": 1, "schema_version": VERSION, "identity": uuid.uuid4().hex, "revision": 0, "forgotten": 0}
        connection.execute(sa.insert(meta).values(first))
        return
    for step in range(version, VERSION):
        _STEPS[step](connection)
    connection.execute(sa.update(meta).values(schema_version=VERSION))
