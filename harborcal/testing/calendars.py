"""A calendar in memory: a transport that answers as the contract's backend would, and fails on demand."""

import contextlib
import dataclasses
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from harborcal import wire
from harborcal.clock import Clock, SystemClock
from harborcal.codecs import freeze
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    LifecycleError,
    TransportTimeoutError,
)
from harborcal.grammar import check_id
from harborcal.model import (
    AgentStatus,
    EventType,
    Heartbeat,
    Slot,
    SlotKey,
    SlotKind,
    SlotStatus,
    SlotType,
    SlotUpdate,
    UpdateReceipt,
)

Call = Literal["heartbeat", "update", "day"]
"""Which of a transport's calls a failure is meant for."""

_FIELDS = frozenset(field.name for field in dataclasses.fields(Slot)) - {"id", "virtual_id"}
_LEFT_OUT_OF_DAYS = frozenset({SlotStatus.SKIPPED, SlotStatus.ABORTED})
_ALLOWED_WHEN_LOCKED = frozenset({SlotStatus.ONGOING, SlotStatus.PAUSED, SlotStatus.FINISHED, SlotStatus.ABORTED})


class ReceivedUpdate(NamedTuple):
    """An update that the calendar accepted, under the key it was sent to."""

    agent_id: str
    slot: SlotKey
    update: SlotUpdate


@dataclasses.dataclass(slots=True)
class _Registered:
    status: AgentStatus | None = None
    last_heartbeat_at: dt.datetime | None = None


@dataclasses.dataclass(slots=True)
class _Stored:
    agent_id: str
    slot: Slot


class _Troubles:
    """What goes wrong on demand. Not locked by itself: the calendar's lock is held around each call."""

    def __init__(self) -> None:
        self.outage: HarborcalError | None = None
        self.lost_answers = 0
        self._failures: list[tuple[Call | None, HarborcalError]] = []

    def add(self, call: Call | None, error: HarborcalError, times: int) -> None:
        self._failures.extend([(call, error)] * times)

    def strike(self, call: Call) -> None:
        """Raise what this call was to fail with."""
        for index, (meant, error) in enumerate(self._failures):
            if meant in {None, call}:
                del self._failures[index]
                raise error
        if self.outage is not None:
            raise self.outage

    def loses_answer(self) -> bool:
        if self.lost_answers == 0:
            return False
        self.lost_answers -= 1
        return True


class InMemoryCalendar:
    """A calendar that lives in this object and keeps the contract's rules; a `Transport` for tests and rehearsals.

    It is a `DayReader` as well.

    Agents must be registered before they are heard. Heartbeats list today's pending slots, the highest priority first,
    and those of one priority in the order in which they were added. A virtual slot becomes real with its first update.
    Called from any number of threads; no lock is held while a hook runs.

    Attributes:
        before_heartbeat: Called with the agent's id inside each heartbeat, before anything happens: to block, to
            interleave calls, to raise.
        before_update: Called with the agent's id, the key and the update inside each update, likewise.
        heartbeats: Whose heartbeats were answered, in order.
        updates: Which updates were accepted, repeated ones too, in order.
        list_early: Whether heartbeats list slots that are not due yet; the contract leaves it open.
    """

    def __init__(self, clock: Clock | None = None, agents: Iterable[str] = (), *, list_early: bool = True) -> None:
        """Open an empty calendar.

        Args:
            clock: Tells which day is today; the system's clock by default.
            agents: Whom to register at once.
            list_early: Whether heartbeats list slots of today that are not due yet.

        Raises:
            ConfigurationError: An agent's id does not match the grammar.
        """
        self.list_early = list_early
        self.before_heartbeat: Callable[[str], None] | None = None
        self.before_update: Callable[[str, SlotKey, SlotUpdate], None] | None = None
        self.heartbeats: list[str] = []  # guarded by _lock
        self.updates: list[ReceivedUpdate] = []  # guarded by _lock
        self._clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._agents: dict[str, _Registered] = {}  # guarded by _lock
        self._slots: dict[SlotKey, _Stored] = {}  # guarded by _lock
        self._became: dict[SlotKey, SlotKey] = {}  # guarded by _lock; virtual keys to real ones
        self._last_id = 0  # guarded by _lock
        self._troubles = _Troubles()  # guarded by _lock
        self._closed = False  # guarded by _lock
        for agent_id in agents:
            self.add_agent(agent_id)

    # --- the transport ----------------------------------------------------------------------------------------------

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """List the agent's pending slots of today, the most urgent first, and note that the agent was heard.

        Raises:
            CalendarRefusedError: 404, the agent is not registered.
            LifecycleError: The calendar is closed.
            HarborcalError: What the test asked for.
        """
        self._check_open()
        if self.before_heartbeat is not None:
            self.before_heartbeat(agent_id)
        with self._lock:
            self._troubles.strike("heartbeat")
            agent = self._registered(agent_id)
            now = self._clock.now()
            agent.last_heartbeat_at = now
            self.heartbeats.append(agent_id)
            own = [stored.slot for stored in self._slots.values() if stored.agent_id == agent_id]
        listed = sorted((slot for slot in own if self._is_listed(slot, now)), key=lambda slot: -slot.priority)
        return Heartbeat(slots=tuple(listed), agent_status=agent.status or _status_of(own))

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Apply an update by the contract's rules; the same update again changes nothing and is accepted.

        Raises:
            CalendarRefusedError: 404, the agent or the slot is unknown; 409, the slot is in another terminal state;
                422, the status is none that an update may set; 423, an admin locked the slot.
            TransportTimeoutError: The update is applied, but `lose_next_answer` was asked for.
            LifecycleError: The calendar is closed.
            HarborcalError: What the test asked for.
        """
        self._check_open()
        if self.before_update is not None:
            self.before_update(agent_id, slot, update)
        with self._lock:
            self._troubles.strike("update")
            self._registered(agent_id)
            stored = self._find(slot)
            if stored.agent_id != agent_id:
                raise CalendarRefusedError(404, "Slot not found")
            _check_allowed(stored.slot, update.status)
            self._apply(stored, update)
            self.updates.append(ReceivedUpdate(agent_id, slot, update))
            if self._troubles.loses_answer():
                raise TransportTimeoutError("calendar: the answer was lost on demand")
            return UpdateReceipt(slot=stored.slot.key)

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        """List the agent's slots of that date by ``scheduled_at``, None first, without skipped and aborted ones.

        Slots of one time stand in the order in which they were added. The agent does not count as heard.

        Raises:
            CalendarRefusedError: 404, the agent is not registered.
            ConfigurationError: ``date`` is no date.
            LifecycleError: The calendar is closed.
            HarborcalError: What the test asked for.
        """
        wire.check_date(date)
        self._check_open()
        with self._lock:
            self._troubles.strike("day")
            self._registered(agent_id)
            own = [stored.slot for stored in self._slots.values() if stored.agent_id == agent_id]
        listed = (slot for slot in own if slot.date == date and slot.status not in _LEFT_OUT_OF_DAYS)
        return tuple(sorted(listed, key=wire.day_order))

    def close(self) -> None:
        """Refuse all later calls."""
        with self._lock:
            self._closed = True

    @property
    def closed(self) -> bool:
        """Whether the calendar was closed."""
        with self._lock:
            return self._closed

    # --- what is in the calendar ------------------------------------------------------------------------------------

    def add_agent(self, agent_id: str) -> None:
        """Register an agent; once more changes nothing.

        Raises:
            ConfigurationError: The id does not match the grammar.
        """
        check_id("an agent id", agent_id)
        with self._lock:
            self._agents.setdefault(agent_id, _Registered())

    def remove_agent(self, agent_id: str) -> None:
        """Forget an agent: from now on the calendar answers 404 to it."""
        with self._lock:
            self._agents.pop(agent_id, None)

    def set_agent_status(self, agent_id: str, status: AgentStatus | None) -> None:
        """Have heartbeats tell this status, until None has them tell again what follows from the agent's slots.

        Raises:
            CalendarRefusedError: 404, the agent is not registered.
        """
        with self._lock:
            self._registered(agent_id).status = None if status is None else AgentStatus(status)

    def last_heartbeat_at(self, agent_id: str) -> dt.datetime | None:
        """Tell when the agent was last heard, None before its first heartbeat.

        Raises:
            CalendarRefusedError: 404, the agent is not registered.
        """
        with self._lock:
            return self._registered(agent_id).last_heartbeat_at

    def add_slot(self, agent_id: str, *, id: int | None = None, **fields: Any) -> SlotKey:  # noqa: A002 -- a slot's field
        """Put a real slot into the agent's calendar and return its key.

        By default it is a work slot of half an hour that begins now; any field of `Slot` may be given, and enums,
        dates and times also as the contract's strings.

        Raises:
            ConfigurationError: The agent is not registered, the id is taken, or a field is unknown or unreadable.
        """
        with self._lock:
            number = self._next_id() if id is None else id
            return self._add(agent_id, SlotKey.real(number), self._new_fields(fields))

    def add_virtual_slot(
        self, agent_id: str, plan_id: int, date: dt.date | str | None = None, **fields: Any
    ) -> SlotKey:
        """Put the slot of a plan for a date (today by default) into the agent's calendar and return its key.

        Raises:
            ConfigurationError: As `add_slot`.
        """
        with self._lock:
            chosen = self._new_fields({"plan_id": plan_id, **fields} | ({} if date is None else {"date": date}))
            return self._add(agent_id, SlotKey.virtual(f"plan-{plan_id}-{chosen['date']}"), chosen)

    def add_slots_from(self, agent_id: str, slots: Iterable[Mapping[str, Any]]) -> tuple[SlotKey, ...]:
        """Put slots into the agent's calendar that are written as the contract writes them; return their keys.

        Raises:
            ConfigurationError: The agent is not registered, an id is taken, or a slot is unreadable; then none of
                the unreadable answer's slots is added.
        """
        answer = wire.decode_heartbeat(json.dumps({"slots": list(slots)}).encode())
        for bad in answer.unreadable:
            raise ConfigurationError(f"slot {bad.ident} cannot be added: {bad.reason}")
        with self._lock:
            return tuple(
                self._add(agent_id, slot.key, {name: getattr(slot, name) for name in _FIELDS}) for slot in answer.slots
            )

    def slot(self, key: SlotKey) -> Slot:
        """Return a slot as it stands; a virtual key finds the slot also after it became real.

        Raises:
            CalendarRefusedError: 404, there is no such slot.
        """
        with self._lock:
            return self._find(key).slot

    def slots(self, agent_id: str) -> tuple[Slot, ...]:
        """Return all slots of an agent in the order in which they were added."""
        with self._lock:
            return tuple(stored.slot for stored in self._slots.values() if stored.agent_id == agent_id)

    def set_slot(self, key: SlotKey, **changes: Any) -> Slot:
        """Edit a slot as an operator would, whatever state it is in; return it as it stands then.

        Raises:
            CalendarRefusedError: 404, there is no such slot.
            ConfigurationError: A field is unknown or unreadable.
        """
        readable = _readable(changes)
        with self._lock:
            stored = self._find(key)
            stored.slot = dataclasses.replace(stored.slot, **{"updated_at": self._clock.now(), **readable})
            return stored.slot

    def cancel(self, key: SlotKey) -> Slot:
        """Cancel a slot as an operator would: it is ``skipped`` from now on."""
        return self.set_slot(key, status=SlotStatus.SKIPPED)

    # --- trouble on demand ------------------------------------------------------------------------------------------

    def fail_next(self, error: HarborcalError, times: int = 1, on: Call | None = None) -> None:
        """Let the next calls fail, before they change anything: those of one kind, or of any.

        Raises:
            ConfigurationError: ``times`` is less than 1, or ``on`` is no kind of call.
        """
        if times < 1 or on not in {*get_args(Call), None}:
            raise ConfigurationError(f"not a number of calls to fail: times={times!r}, on={on!r}")
        with self._lock:
            self._troubles.add(on, error, times)

    def start_outage(self, error: HarborcalError | None = None) -> None:
        """Let every call fail until `stop_outage`, by default with a `CalendarUnavailableError` (503)."""
        with self._lock:
            self._troubles.outage = error or CalendarUnavailableError("calendar: an outage on demand", 503)

    def stop_outage(self) -> None:
        """Answer again."""
        with self._lock:
            self._troubles.outage = None

    @contextlib.contextmanager
    def outage(self, error: HarborcalError | None = None) -> Iterator[None]:
        """Let every call fail inside a ``with`` block."""
        self.start_outage(error)
        try:
            yield
        finally:
            self.stop_outage()

    def lose_next_answer(self, times: int = 1) -> None:
        """Apply the next update that would be accepted, but let its sender see a `TransportTimeoutError`."""
        with self._lock:
            self._troubles.lost_answers += times

    # --- inside: called with the lock held, but for _check_open and _is_listed --------------------------------------

    def _check_open(self) -> None:
        if self.closed:
            raise LifecycleError("calendar: the calendar is closed")

    def _registered(self, agent_id: str) -> _Registered:
        agent = self._agents.get(agent_id)
        if agent is None:
            raise CalendarRefusedError(404, "Agent not found")
        return agent

    def _find(self, key: SlotKey) -> _Stored:
        stored = self._slots.get(self._became.get(key, key))
        if stored is None:
            raise CalendarRefusedError(404, "Slot not found")
        return stored

    def _next_id(self) -> int:
        self._last_id += 1
        while SlotKey.real(self._last_id) in self._slots:
            self._last_id += 1
        return self._last_id

    def _new_fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        now = self._clock.now()
        begins = now.time().replace(microsecond=0)
        default = {"date": now.date(), "scheduled_at": begins, "slot_type": SlotType.WORK, "estimated_duration": 30}
        return {**default, "created_at": now, "updated_at": now, **_readable(fields)}

    def _add(self, agent_id: str, key: SlotKey, fields: Mapping[str, Any]) -> SlotKey:
        if agent_id not in self._agents:
            raise ConfigurationError(f"agent {agent_id!r} is not registered: call add_agent() first")
        if key in self._slots or key in self._became:
            raise ConfigurationError(f"there is a slot {key} already")
        self._slots[key] = _Stored(agent_id, _named(Slot(**fields), key))
        return key

    def _apply(self, stored: _Stored, update: SlotUpdate) -> None:
        key = stored.slot.key
        if update.status is not stored.slot.status:
            stored.slot = _updated(stored.slot, update, self._clock.now())
        if key.kind is SlotKind.VIRTUAL:
            real = SlotKey.real(self._next_id())
            stored.slot = _named(stored.slot, real)
            self._became[key] = real
            # Rebuilt so that the slot keeps its place among those of its priority.
            self._slots = {real if old == key else old: kept for old, kept in self._slots.items()}

    def _is_listed(self, slot: Slot, now: dt.datetime) -> bool:
        if not slot.status.is_pending or slot.date not in {None, now.date()}:
            return False
        return self.list_early or slot.scheduled_at is None or slot.scheduled_at <= now.time()


def _named(slot: Slot, key: SlotKey) -> Slot:
    """Give a slot its one id: a number for a real key, a text for a virtual one."""
    real = key.kind is SlotKind.REAL
    ids: dict[str, Any] = {"id": key.id if real else None, "virtual_id": None if real else key.id}
    return dataclasses.replace(slot, **ids)


def _status_of(slots: Iterable[Slot]) -> AgentStatus:
    ongoing = [slot for slot in slots if slot.status is SlotStatus.ONGOING]
    if not ongoing:
        return AgentStatus.IDLE
    on_call = all(slot.slot_type is SlotType.ON_CALL for slot in ongoing)
    return AgentStatus.ON_CALL if on_call else AgentStatus.BUSY


def _check_allowed(slot: Slot, status: SlotStatus) -> None:
    """Refuse what the contract's rules 3 and 4 refuse."""
    if status is slot.status:
        return
    if slot.status.is_terminal:
        raise CalendarRefusedError(409, f"slot is already {slot.status}")
    if status is SlotStatus.NOT_STARTED:
        raise CalendarRefusedError(422, f"no update makes a slot {status}")
    if slot.is_admin_locked and status not in _ALLOWED_WHEN_LOCKED:
        raise CalendarRefusedError(423, f"slot is locked by an admin and cannot be {status}")


def _updated(slot: Slot, update: SlotUpdate, now: dt.datetime) -> Slot:
    changes: dict[str, Any] = {"status": update.status, "updated_at": now}
    if update.status is SlotStatus.DEFERRED:
        changes["priority"] = min(wire.MAX_PRIORITY, slot.priority + 1)
    if update.status is SlotStatus.ONGOING:
        changes["attended"] = True
    if update.started_at is not None:
        changes["started_at"] = update.started_at
    if update.actual_duration is not None:
        changes["actual_duration"] = update.actual_duration
    return dataclasses.replace(slot, **changes)


def _date(value: Any) -> dt.date:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)


def _time(value: Any) -> dt.time:
    return value if isinstance(value, dt.time) else dt.time.fromisoformat(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "status": SlotStatus,
    "slot_type": SlotType,
    "event_type": EventType,
    "date": _date,
    "scheduled_at": _time,
    "started_at": _time,
    "event_data": freeze,
}


def _readable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a test's loose fields into a slot's: strings into enums, dates and times."""
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise ConfigurationError(f"a slot has no field {', '.join(unknown)}")
    read: dict[str, Any] = {}
    for name, value in fields.items():
        reader = _READERS.get(name)
        try:
            read[name] = value if reader is None or value is None else reader(value)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"a slot's {name} cannot be {value!r}") from error
    return read
