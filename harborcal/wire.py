"""Requests and answers of the calendar contract: exact on the way out, tolerant slot by slot on the way in.

What a client says is encoded as bytes, what a calendar answers as the JSON objects that its server writes.

Whatever bytes an answer holds, a decoder returns a value or raises `MalformedAnswerError`. What is wrong with one slot
costs only that slot: it is named among the heartbeat's ``unreadable`` and its neighbours are served. Types are exact:
``true`` is no number and ``"7"`` is not 7.
"""

import datetime as dt
import enum
import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

from harborcal.codecs import format_instant, thaw
from harborcal.errors import ConfigurationError, MalformedAnswerError
from harborcal.grammar import check_id, clean, is_id
from harborcal.model import (
    MAX_REAL_ID,
    AgentStatus,
    EventType,
    Heartbeat,
    Slot,
    SlotKey,
    SlotKind,
    SlotStatus,
    SlotType,
    SlotUpdate,
    UnreadableSlot,
    UpdateReceipt,
)

HEARTBEAT_PATH = "/calendar/agent/heartbeat"
"""Where heartbeats are posted, below the calendar's base URL."""

DAY_PATH = "/calendar/day"
"""Where an agent's day is read, below the calendar's base URL; see `day_query`."""

MAX_SLOTS = 1_000
"""How many slots of one answer are read; the contract lists the most urgent first."""

MAX_EVENT_BYTES = 16 * 1024
"""How large one slot's ``event_data`` may be, roughly, as JSON in UTF-8."""

MAX_EVENT_DEPTH = 16
"""How deep objects and lists in ``event_data`` may nest, itself counted."""

MAX_PRIORITY = 99
MAX_ESTIMATE = 1_440
MAX_DURATION = 65_535

_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST_INSTANT = 40

_TOO_LONG = 10**4_300  # Python neither writes nor reads an integer of more digits

_SCALARS = frozenset({str, int, float, bool, type(None)})


# --- requests -------------------------------------------------------------------------------------------------------


def update_path(slot: SlotKey) -> str:
    """Tell where a slot's updates are patched, below the calendar's base URL.

    Raises:
        ConfigurationError: The key's id cannot stand in a path.
    """
    if slot.kind is SlotKind.VIRTUAL:
        return f"/calendar/slots/virtual/{check_id('a virtual slot id', slot.id)}/agent-update"
    if not _is_whole(slot.id, 0, MAX_REAL_ID):
        raise ConfigurationError(f"a real slot id is an integer in 0..2^63-1, not {_shown(slot.id)}")
    return f"/calendar/slots/{slot.id}/agent-update"


def encode_heartbeat(claw_identifier: str, agent_id: str) -> bytes:
    """Write the body of a heartbeat.

    Raises:
        ConfigurationError: One of the ids does not match the grammar.
    """
    claw = check_id("a claw identifier", claw_identifier)
    agent = check_id("an agent id", agent_id)
    # What matches the grammar stands in JSON as it is.
    return f'{{"claw_identifier":"{claw}","agent_id":"{agent}"}}'.encode()


def encode_update(update: SlotUpdate) -> bytes:
    """Write the body of a slot's update; what is None is left out, never sent as null (contract).

    Raises:
        ConfigurationError: A field is of the wrong type, or the duration is not in 1..65535.
    """
    if not isinstance(update.status, SlotStatus):
        raise ConfigurationError(f"an update's status is a SlotStatus, not {_shown(update.status)}")
    body: dict[str, object] = {"status": update.status.value}
    if update.started_at is not None:
        if not isinstance(update.started_at, dt.time):
            raise ConfigurationError(f"started_at is a time of day, not {_shown(update.started_at)}")
        body["started_at"] = _time_of_day(update.started_at)
    if update.actual_duration is not None:
        if not _is_whole(update.actual_duration, 1, MAX_DURATION):
            raise ConfigurationError(
                f"actual_duration is whole minutes, 1..65535, not {_shown(update.actual_duration)}"
            )
        body["actual_duration"] = update.actual_duration
    return _dump(body)


def day_query(date: dt.date) -> str:
    """Write the query of a day; it needs no quoting.

    Raises:
        ConfigurationError: It is no date, or an instant.
    """
    return f"date={dt.date.isoformat(check_date(date))}"


def check_date(date: object) -> dt.date:
    """Return a date unchanged; an instant is none, because its date depends on a zone.

    Raises:
        ConfigurationError: It is anything else.
    """
    if not isinstance(date, dt.date) or isinstance(date, dt.datetime):
        raise ConfigurationError(f"a day is a date, not {clean(type(date).__name__, 40)}")
    return date


def _dump(body: Mapping[str, object]) -> bytes:
    return _ENCODER.encode(body).encode("ascii")


_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once; json.dumps would make one for every body


# --- answers --------------------------------------------------------------------------------------------------------


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Read the answer to a heartbeat.

    An unknown ``agent_status`` is None and a ``message`` that is no text is empty; unknown keys are ignored.

    An empty body lists no slots; that it was empty is told as something unreadable.

    Raises:
        MalformedAnswerError: The body is no strict JSON, no object, or has no list of ``slots``.
    """
    if not body.strip():
        return Heartbeat(unreadable=(UnreadableSlot(ident="#", reason="the answer is empty"),))
    answer = load(body)
    slots, unreadable = _read_slots(_listed(answer, "a heartbeat"))
    status, message = answer.get("agent_status"), answer.get("message")
    return Heartbeat(
        slots=slots,
        agent_status=_AGENT_STATUSES.get(status) if type(status) is str else None,
        message=clean(message) if type(message) is str else "",
        unreadable=unreadable,
    )


def decode_update(body: bytes, sent: SlotKey) -> UpdateReceipt:
    """Read the answer to an update that was sent for the key ``sent``.

    The contract leaves the answer open, so that any JSON says success, and so does an empty body. A valid ``id`` in
    it is the real id that a virtual slot has from now on; a real slot keeps its key.

    Raises:
        MalformedAnswerError: The body is neither empty nor strict JSON: this was not the calendar speaking.
    """
    answer = load(body) if body.strip() else None
    if sent.kind is SlotKind.VIRTUAL and type(answer) is dict and _is_whole(answer.get("id"), 0, MAX_REAL_ID):
        return UpdateReceipt(slot=SlotKey(SlotKind.REAL, answer["id"]))
    return UpdateReceipt(slot=sent)


def decode_day(body: bytes) -> tuple[Slot, ...]:
    """Read the answer to a day: its readable slots in order of `day_order`.

    The contract leaves the answer's shape open: a list of slots, or an object with a list of ``slots``. Slots that
    cannot be read, or on which the answer contradicts itself, are left out, as are those beyond the first `MAX_SLOTS`.

    Raises:
        MalformedAnswerError: The body is no strict JSON, or of another shape; an empty one is no day without slots.
    """
    answer = load(body)
    slots, _ = _read_slots(answer if type(answer) is list else _listed(answer, "a day"))
    return tuple(sorted(slots, key=day_order))


def day_order(slot: Slot) -> tuple[bool, dt.date, bool, dt.time]:
    """Tell a slot's place in a day, for sorting: by date, then by ``scheduled_at`` (contract); None comes first."""
    date, time = slot.date, slot.scheduled_at
    return date is not None, date or dt.date.min, time is not None, time or dt.time.min


def _listed(answer: Any, what: str) -> list[Any]:
    """Take the list of slots out of an answer's object."""
    if type(answer) is not dict:
        raise MalformedAnswerError(f"calendar: {what}'s answer is an object, not {_kind(answer)}")
    slots = answer.get("slots")
    if type(slots) is not list:
        found = _kind(slots) if "slots" in answer else "missing"
        raise MalformedAnswerError(f"calendar: {what}'s slots are a list, not {found}")
    return slots


def load(body: bytes) -> Any:
    """Read strict JSON in strict UTF-8, as either end of the contract should send it.

    No byte order mark, no NaN, no number beyond a float's range, no key twice in one object, no depth without end.
    Lone surrogates, which JSON can escape, pass.

    Raises:
        MalformedAnswerError: The body is anything else; the text says what is wrong where.
    """
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except RecursionError as error:
        raise MalformedAnswerError("calendar: the body nests too deep") from error
    except ValueError as error:
        raise MalformedAnswerError(f"calendar: the body is no JSON: {_told(error)}") from error


def _told(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "its bytes are not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return clean(str(error), 120)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object. Readers differ in which of two equal keys they take, so that a repeated one is an error.

    Comparing what was read with a count of the keys in the text, white space before colons minded, costs as much.
    """
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has a key twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)


# --- answers, as a calendar writes them -----------------------------------------------------------------------------


def encode_heartbeat_answer(heartbeat: Heartbeat) -> dict[str, object]:
    """Write the answer to a heartbeat as the contract's JSON; an empty ``message`` is left out.

    What was ``unreadable`` concerns who read it, and is not written.
    """
    answer: dict[str, object] = {
        "slots": [encode_slot(slot) for slot in heartbeat.slots],
        "agent_status": _word(heartbeat.agent_status),
    }
    if heartbeat.message:
        answer["message"] = heartbeat.message
    return answer


def encode_slot(slot: Slot) -> dict[str, object]:
    """Write a slot as the contract's JSON: every key is there, null where the slot has no value.

    Times of day are ``HH:MM:SS`` without fractions, instants RFC 3339 in UTC.
    """
    return {
        "id": slot.id,
        "virtual_id": slot.virtual_id,
        "user_id": slot.user_id,
        "date": None if slot.date is None else slot.date.isoformat(),
        "slot_type": _word(slot.slot_type),
        "estimated_duration": slot.estimated_duration,
        "scheduled_at": _time_of_day(slot.scheduled_at),
        "started_at": _time_of_day(slot.started_at),
        "attended": slot.attended,
        "actual_duration": slot.actual_duration,
        "event_type": _word(slot.event_type),
        "event_data": thaw(slot.event_data),
        "priority": slot.priority,
        "status": _word(slot.status),
        "plan_id": slot.plan_id,
        "is_admin_locked": slot.is_admin_locked,
        "special_slot_id": slot.special_slot_id,
        "created_at": _instant(slot.created_at),
        "updated_at": _instant(slot.updated_at),
    }


def decode_slot(raw: object) -> Slot:
    """Read one slot.

    Raises:
        MalformedAnswerError: It is none, or a value is not the contract's.
    """
    try:
        return _read_slot(raw)
    except _UnreadableError as error:
        raise MalformedAnswerError(f"not a slot: {error}") from error


def _word(member: enum.StrEnum | None) -> str | None:
    return None if member is None else member.value


def _time_of_day(time: dt.time | None) -> str | None:
    return None if time is None else time.replace(tzinfo=None).isoformat("seconds")


def _instant(instant: dt.datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


# --- slots ----------------------------------------------------------------------------------------------------------


class _UnreadableError(Exception):
    """One slot cannot be read; the text is the reason that is told."""


_DISPUTED = "listed twice with different content"


def _read_slots(listed: list[Any]) -> tuple[tuple[Slot, ...], tuple[UnreadableSlot, ...]]:
    """Read each slot by itself, then drop those on which the answer contradicts itself."""
    slots: dict[int | str, Slot] = {}  # real and virtual ids together: an int never equals a str
    unreadable: list[UnreadableSlot] = []
    disputed: set[int | str] = set()
    for index, raw in enumerate(listed[:MAX_SLOTS]):
        try:
            slot = _read_slot(raw)
        except _UnreadableError as error:
            claimed = _claimed_id(raw)
            unreadable.append(_unreadable(f"#{index}" if claimed is None else claimed, str(error)))
            if claimed is not None:
                disputed.add(claimed)
            continue
        name: Any = slot.virtual_id if slot.id is None else slot.id
        first = slots.setdefault(name, slot)
        if first is not slot and first == slot:
            unreadable.append(_unreadable(name, "listed twice"))
        elif first is not slot:
            unreadable.append(_unreadable(name, _DISPUTED))
            disputed.add(name)
    for name in [name for name in slots if name in disputed]:
        del slots[name]
        unreadable.append(_unreadable(name, _DISPUTED))
    if len(listed) > MAX_SLOTS:
        left = len(listed) - MAX_SLOTS
        unreadable.append(_unreadable(f"#{MAX_SLOTS}", f"{left} slots beyond the first {MAX_SLOTS} were not read"))
    return tuple(slots.values()), tuple(unreadable)


def _unreadable(ident: int | str, reason: str) -> UnreadableSlot:
    return UnreadableSlot(ident=str(ident), reason=reason)


def _claimed_id(raw: Any) -> int | str | None:
    """Tell which slot an unreadable one claims to be, where that much can be read."""
    if type(raw) is not dict:
        return None
    slot_id, virtual_id = raw.get("id"), raw.get("virtual_id")
    if _is_whole(slot_id, 0, MAX_REAL_ID):
        return slot_id
    return str(virtual_id) if slot_id is None and is_id(virtual_id) else None


def _read_slot(raw: Any) -> Slot:
    if type(raw) is not dict:
        raise _UnreadableError(f"a slot is an object, not {_kind(raw)}")
    draft = object.__new__(_Draft)
    try:
        _read_fields(draft, raw.get)
    except (LookupError, TypeError, ValueError):
        name = next(name for name in _EXPECTED if not hasattr(draft, name))
        raise _UnreadableError(f"{name} is {_EXPECTED[name]}, not {_shown(raw.get(name))}") from None
    if draft.id is None and draft.virtual_id is None:
        raise _UnreadableError("calendar: slot has neither real id nor virtual id")
    return _finished(draft)


class _Draft(Slot):
    """A slot that is being read: its fields can be written, and those that were not read yet are missing.

    A frozen dataclass's own ``__init__`` writes each field by a call of ``object.__setattr__``, which for a slot takes
    as long as parsing its JSON; assignments take a tenth of that. Nobody but its reader sees a draft.
    """

    __slots__ = ()

    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__  # CPython keeps the two in one place, and is fast only where both are its own


def _finished(draft: Any) -> Slot:
    """Make the draft the frozen slot that it has become. A draft adds no field, so that Python lets it change."""
    draft.__class__ = Slot
    return draft  # type: ignore[no-any-return]  # by now it is one


def _read_fields(draft: Any, get: Callable[[str], Any]) -> None:
    """Read each field; a missing one is read as null. What stops this is the first field that the draft then lacks.

    Raises:
        LookupError, TypeError, ValueError: The value is not what `_EXPECTED` says.
    """
    draft.id = _read_whole(get("id"), 0, MAX_REAL_ID)
    draft.virtual_id = _read_virtual_id(get("virtual_id"))
    draft.status = _STATUSES[get("status")]
    draft.priority = _read_whole(get("priority"), 0, MAX_PRIORITY) or 0
    draft.date = _read_date(get("date"))
    draft.scheduled_at = _read_time(get("scheduled_at"))
    draft.estimated_duration = _read_whole(get("estimated_duration"), 1, MAX_ESTIMATE)
    draft.slot_type = _SLOT_TYPES[get("slot_type")]
    draft.event_type = _EVENT_TYPES[get("event_type")]
    draft.event_data = _read_event_data(get("event_data"))
    draft.started_at = _read_time(get("started_at"))
    draft.attended = _read_flag(get("attended"))
    draft.actual_duration = _read_whole(get("actual_duration"), 0, MAX_DURATION)
    draft.plan_id = _read_whole(get("plan_id"), 0, MAX_REAL_ID)
    draft.is_admin_locked = _read_flag(get("is_admin_locked"))
    draft.special_slot_id = _read_whole(get("special_slot_id"), 0, MAX_REAL_ID)
    draft.user_id = _read_whole(get("user_id"), 0, MAX_REAL_ID)
    draft.created_at = _read_instant(get("created_at"))
    draft.updated_at = _read_instant(get("updated_at"))


_A_REAL_ID = f"a whole number in 0..{MAX_REAL_ID}"
_A_TIME_OF_DAY = "HH:MM or HH:MM:SS"
_A_FLAG = "true or false"

# What each field that can be refused is, in the order in which they are read.
_EXPECTED = {
    "id": _A_REAL_ID,
    "virtual_id": "a letter or digit followed by up to 127 of letters, digits and ._:@-",
    "status": f"one of {' '.join(SlotStatus)}",
    "priority": f"a whole number in 0..{MAX_PRIORITY}",
    "date": "YYYY-MM-DD",
    "scheduled_at": _A_TIME_OF_DAY,
    "estimated_duration": f"a whole number in 1..{MAX_ESTIMATE}",
    "slot_type": f"one of {' '.join(SlotType)}",
    "event_type": f"one of {' '.join(EventType)}",
    "event_data": "an object",
    "started_at": _A_TIME_OF_DAY,
    "attended": _A_FLAG,
    "actual_duration": f"a whole number in 0..{MAX_DURATION}",
    "plan_id": _A_REAL_ID,
    "is_admin_locked": _A_FLAG,
    "special_slot_id": _A_REAL_ID,
    "user_id": _A_REAL_ID,
}


# --- fields ---------------------------------------------------------------------------------------------------------

# Looking a member up by its value in a plain dict costs a fraction of calling the enum.
_AGENT_STATUSES = {member.value: member for member in AgentStatus}
_STATUSES = {member.value: member for member in SlotStatus}
_SLOT_TYPES = {None: None} | {member.value: member for member in SlotType}
_EVENT_TYPES = {None: None} | {member.value: member for member in EventType}


def _is_whole(value: Any, low: int, high: int) -> TypeGuard[int]:
    return type(value) is int and low <= value <= high


def _read_whole(value: Any, low: int, high: int) -> int | None:
    if value is None or (type(value) is int and low <= value <= high):
        return value
    raise ValueError


def _read_flag(value: Any) -> bool:
    if value is True:
        return True
    if value is False or value is None:
        return False
    raise ValueError


def _read_virtual_id(value: Any) -> str | None:
    if value is None or is_id(value):
        return value  # type: ignore[no-any-return]  # None, or a str that matches the grammar
    raise ValueError


def _read_instant(value: Any) -> dt.datetime | None:
    """Read an advisory instant; what cannot be read is None. One without a zone is UTC, as the backend writes it."""
    if type(value) is not str or len(value) > _LONGEST_INSTANT:
        return None
    try:
        instant = dt.datetime.fromisoformat(value)
        if instant.tzinfo is None:
            return dt.datetime.combine(instant, instant.time(), dt.UTC)  # replace() takes four times as long
        return instant.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


# These two remember what they read, because every heartbeat lists the same few dates and times of day again. Instants
# are many, and quickly read.


@functools.lru_cache(maxsize=512)
def _read_date(value: Any) -> dt.date | None:
    if value is None:
        return None
    if _DATE.fullmatch(value) is None:
        raise ValueError
    return dt.date.fromisoformat(value)


@functools.lru_cache(maxsize=2048)
def _read_time(value: Any) -> dt.time | None:
    if value is None:
        return None
    if _TIME.fullmatch(value) is None:
        raise ValueError
    return dt.time.fromisoformat(value)


_TOO_DEEP = f"event_data nests deeper than {MAX_EVENT_DEPTH}"
_TOO_LARGE = f"event_data is larger than {MAX_EVENT_BYTES} bytes"


def _read_event_data(value: Any) -> Mapping[str, Any] | None:
    """Freeze event data while measuring it.

    The result is that of `harborcal.codecs.freeze`; the decoded dicts belong to nobody else, so that they need no copy.
    """
    if value is None:
        return None
    if type(value) is not dict:
        raise TypeError
    try:
        size = _freeze_object(value, 1)
    except UnicodeEncodeError:
        raise _UnreadableError("event_data holds half a character (a lone surrogate)") from None
    if size > MAX_EVENT_BYTES:
        raise _UnreadableError(_TOO_LARGE)
    return MappingProxyType(value)


def _freeze_object(members: dict[str, Any], depth: int) -> int:
    """Freeze what an object holds, in place; return about how many bytes it takes as JSON."""
    if depth > MAX_EVENT_DEPTH:
        raise _UnreadableError(_TOO_DEEP)
    size = 2
    for key, item in members.items():
        size += 4 + (len(key) if key.isascii() else len(key.encode()))
        if type(item) is str:
            size += 2 + (len(item) if item.isascii() else len(item.encode()))
        else:
            members[key], taken = _freeze(item, depth + 1)
            size += taken
    return size


def _freeze_list(items: list[Any], depth: int) -> int:
    """Freeze what a list holds, in place; return about how many bytes it takes as JSON."""
    if depth > MAX_EVENT_DEPTH:
        raise _UnreadableError(_TOO_DEEP)
    size = 2
    for place, item in enumerate(items):
        if type(item) is str:
            size += 4 + (len(item) if item.isascii() else len(item.encode()))
        else:
            items[place], taken = _freeze(item, depth + 1)
            size += 2 + taken
    return size


def _freeze(value: Any, depth: int) -> tuple[Any, int]:
    """Freeze what is no text; texts are measured where they are met, because most of event data is."""
    kind = type(value)
    if kind is dict:
        size = _freeze_object(value, depth)
        return MappingProxyType(value), size
    if kind is list:
        size = _freeze_list(value, depth)
        return tuple(value), size
    return value, 2 + value.bit_length() // 3 if kind is int else 8


def check_event_data(value: object) -> Mapping[str, Any] | None:
    """Return a frozen copy of event data that came from elsewhere than an answer, and None for None.

    The limits are those of reading, so that what passes can be written as JSON and is read back as it is. Mappings
    count as objects and tuples as lists: frozen event data passes again. ``value`` itself is left as it is.

    Raises:
        ValueError: It is no object, too large or too deep, or holds something that is no JSON: a set, NaN, a key that
            is no string, half a character. The text says what is wrong.
    """
    try:
        return _read_event_data(_copied(value))
    except _UnreadableError as error:
        raise ValueError(str(error)) from None


def _copied(value: object) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise _UnreadableError(f"event_data is an object, not {_type_of(value)}")
    return _Copier().copy(value, 1)


class _Copier:
    """Copies foreign values into plain dicts and lists, as far as event data may go.

    It ends with cycles, and with the few objects that share one another into billions of values.
    """

    def __init__(self) -> None:
        self._left = MAX_EVENT_BYTES  # values, each of which takes a byte at least

    def copy(self, value: object, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _UnreadableError(_TOO_LARGE)
        if not isinstance(value, Mapping | list | tuple):
            return _checked(value)
        if depth > MAX_EVENT_DEPTH:
            raise _UnreadableError(_TOO_DEEP)
        if isinstance(value, Mapping):
            return {_checked_key(key): self.copy(item, depth + 1) for key, item in value.items()}
        return [self.copy(item, depth + 1) for item in value]


def _checked_key(key: object) -> str:
    if type(key) is not str:
        raise _UnreadableError(f"event_data has a key that is {_type_of(key)}, not a string")
    return key


def _checked(value: object) -> object:
    """Pass a text, number, flag or null on: types are exact here, too."""
    kind = type(value)
    if kind not in _SCALARS:
        raise _UnreadableError(f"event_data holds {_type_of(value)}, which is no JSON")
    if isinstance(value, float) and not math.isfinite(value):
        raise _UnreadableError("event_data holds a number that is not finite")
    if isinstance(value, int) and abs(value) >= _TOO_LONG:
        raise _UnreadableError("event_data holds a number of more than 4300 digits")
    return value


# --- words for errors -----------------------------------------------------------------------------------------------


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    type(None): "null",
}


def _kind(value: Any) -> str:
    """Name a JSON value's kind."""
    return _KINDS.get(type(value), "a number")


def _type_of(value: object) -> str:
    """Name the kind of a value that need not be JSON."""
    kind = type(value)
    if kind in _KINDS or kind in _SCALARS:
        return _kind(value)
    return f"a Python {clean(kind.__name__, 40)}"


def _shown(value: Any) -> str:
    """Show a foreign value, cleaned and short."""
    if isinstance(value, str):
        return repr(clean(value, 40))
    if type(value) is int and value.bit_length() > 128:
        return "a huge number"  # writing out thousands of digits is an error of its own
    return str(value) if type(value) in {bool, int, float} else _kind(value)
