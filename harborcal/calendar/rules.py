"""The contract's rules, pure: which values a slot may have, what may follow what, and what is past.

Whatever the rules forbid is a `CalendarRefusedError` with the status that the contract gives it: 409 for what
contradicts what is, 422 for what makes no sense by itself, 423 for what an admin has locked.
"""

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any, TypeVar

from harborcal.errors import CalendarRefusedError, ConfigurationError
from harborcal.grammar import check_id, clean
from harborcal.model import MAX_REAL_ID, AgentStatus, Slot, SlotKey, SlotStatus, SlotType, SlotUpdate
from harborcal.policy import OFFLINE_AFTER
from harborcal.wire import MAX_DURATION, MAX_PRIORITY, check_event_data

MAX_MINUTES = 50
"""The longest estimate of a user's slot and of a plan (contract)."""

MAX_SPECIAL_MINUTES = 180
"""The longest estimate of a special slot: one with a ``special_slot_id``, or of type ``system`` (contract)."""

SILENCE = dt.timedelta(seconds=OFFLINE_AFTER)
"""After how long without a sign of life an agent is offline, and what an owner holds is free (contract, rule 5)."""

RECOVERY = dt.timedelta(hours=5)
"""How long an agent is exhausted where nobody says until when (contract, rule 5)."""

FIRST_YEAR, LAST_YEAR = 1970, 2200

_ALLOWED_WHEN_LOCKED = frozenset({SlotStatus.ONGOING, SlotStatus.PAUSED, SlotStatus.FINISHED, SlotStatus.ABORTED})
_FROM_IDLE_ONLY = frozenset({AgentStatus.BUSY, AgentStatus.ON_CALL})

Member = TypeVar("Member", bound=enum.StrEnum)


# --- values ---------------------------------------------------------------------------------------------------------


def agent_id_of(text: object) -> str:
    """Check an agent's id.

    Raises:
        CalendarRefusedError: 422, it does not match the grammar of ids.
    """
    return _id("agent_id", text)


def claw_identifier_of(text: object) -> str:
    """Check a claw identifier.

    Raises:
        CalendarRefusedError: 422, it does not match the grammar of ids.
    """
    return _id("claw_identifier", text)


def _id(name: str, text: object) -> str:
    try:
        return check_id(name, text)
    except ConfigurationError as error:
        raise CalendarRefusedError(422, str(error)) from error


def member_of(members: type[Member], name: str, value: object) -> Member:
    """Read an enum's member from itself or from the contract's word.

    Raises:
        CalendarRefusedError: 422, it is none of them.
    """
    if isinstance(value, str):
        try:
            return members(value)
        except ValueError:
            pass
    raise CalendarRefusedError(422, f"{name} is one of {' '.join(members)}, not {shown(value)}")


def minutes_of(value: object, *, is_special: bool = False) -> int:
    """Check an estimated duration.

    Raises:
        CalendarRefusedError: 422, it is no whole number of minutes in the contract's range.
    """
    most = MAX_SPECIAL_MINUTES if is_special else MAX_MINUTES
    return _whole("estimated_duration", value, 1, most, " minutes")


def priority_of(value: object) -> int:
    """Check a priority.

    Raises:
        CalendarRefusedError: 422, it is no whole number in 0..99.
    """
    return _whole("priority", value, 0, MAX_PRIORITY)


def number_of(name: str, value: object) -> int | None:
    """Check an optional number that names something, such as a user.

    Raises:
        CalendarRefusedError: 422, it is neither None nor a whole number in 0..2^63-1.
    """
    return None if value is None else _whole(name, value, 0, MAX_REAL_ID)


def duration_of(value: object) -> int | None:
    """Check the actual duration of an update.

    Raises:
        CalendarRefusedError: 422, it is neither None nor whole minutes in 0..65535.
    """
    return None if value is None else _whole("actual_duration", value, 0, MAX_DURATION, " minutes")


def update_of(update: object) -> tuple[SlotStatus, dt.time | None, int | None]:
    """Check an update; return its status, when it began and how long it took.

    Raises:
        CalendarRefusedError: 422, it is none, or a value is out of range.
    """
    if not isinstance(update, SlotUpdate):
        raise CalendarRefusedError(422, f"an update is a SlotUpdate, not {shown(update)}")
    if update.started_at is not None and not isinstance(update.started_at, dt.time):
        raise CalendarRefusedError(422, f"started_at is a UTC time of day, not {shown(update.started_at)}")
    status = member_of(SlotStatus, "status", update.status)
    return status, update.started_at, duration_of(update.actual_duration)


def flag_of(name: str, value: object) -> bool:
    """Check a flag.

    Raises:
        CalendarRefusedError: 422, it is neither true nor false.
    """
    if not isinstance(value, bool):
        raise CalendarRefusedError(422, f"{name} is true or false, not {shown(value)}")
    return value


def _whole(name: str, value: object, low: int, high: int, unit: str = "") -> int:
    if type(value) is not int or not low <= value <= high:
        raise CalendarRefusedError(422, f"{name} is a whole number in {low}..{high}{unit}, not {shown(value)}")
    return value


def event_data_of(value: object) -> Mapping[str, Any] | None:
    """Check event data and return it frozen.

    Raises:
        CalendarRefusedError: 422, it is no object of JSON values, too large, or nests too deep.
    """
    try:
        return check_event_data(value)
    except ValueError as error:
        raise CalendarRefusedError(422, clean(str(error))) from error


def instant_of(name: str, value: object) -> dt.datetime:
    """Check an instant and return it in UTC, in whole seconds.

    Raises:
        CalendarRefusedError: 422, it is no aware datetime, or in a year that no calendar needs.
    """
    if not isinstance(value, dt.datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise CalendarRefusedError(422, f"{name} is an instant with a time zone, not {shown(value)}")
    try:
        instant = value.astimezone(dt.UTC).replace(microsecond=0)
    except OverflowError as error:
        raise CalendarRefusedError(422, f"{name} is out of range") from error
    date_of(name, instant.date())
    return instant


def date_of(name: str, value: object) -> dt.date:
    """Check a date.

    Raises:
        CalendarRefusedError: 422, it is no date, or in a year that no calendar needs.
    """
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise CalendarRefusedError(422, f"{name} is a date, not {shown(value)}")
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise CalendarRefusedError(422, f"{name} is in the years {FIRST_YEAR}..{LAST_YEAR}, not {value}")
    return value


def is_special(slot_type: SlotType, special_slot_id: int | None) -> bool:
    """Tell whether a slot may last as long as special ones."""
    return special_slot_id is not None or slot_type is SlotType.SYSTEM


def shown(value: object) -> str:
    """Show a value somebody gave, cleaned and short."""
    if isinstance(value, str):
        return repr(clean(value, 40))
    if type(value) is int and value.bit_length() > 128:
        return "a huge number"
    if isinstance(value, bool | int | float | dt.date | None):
        return clean(str(value), 40)
    return f"a {type(value).__name__}"


# --- time -----------------------------------------------------------------------------------------------------------


def check_plannable(date: dt.date, now: dt.datetime) -> None:
    """Let nothing be planned in the past: past dates are immutable (contract, rule 7).

    Raises:
        CalendarRefusedError: 409, the date is over.
    """
    if date < now.date():
        raise CalendarRefusedError(409, f"{date} is over: past dates are immutable")


def reaches_into(ends_at: dt.datetime, date: dt.date, now: dt.datetime, *, is_lenient: bool = False) -> bool:
    """Tell whether a slot can still begin: its date is not over, or its stretch reaches past midnight until now.

    Args:
        ends_at: When its estimate is over.
        date: Its date.
        now: The time.
        is_lenient: Whether agents that were woken just before midnight may still say so, for as long as silence is
            tolerated.
    """
    if date >= now.date():
        return True
    midnight = dt.datetime.combine(now.date(), dt.time(), dt.UTC)
    latest = max(ends_at, midnight + SILENCE) if is_lenient else ends_at
    return date == now.date() - dt.timedelta(days=1) and now < latest


def nearest(time: dt.time | None, now: dt.datetime) -> dt.datetime:
    """Find the instant near now that a bare UTC time of day means, maybe yesterday's; None means now."""
    if time is None:
        return now.replace(microsecond=0)
    instant = dt.datetime.combine(now.date(), time.replace(tzinfo=None, microsecond=0), dt.UTC)
    half = dt.timedelta(hours=12)
    if instant - now > half:
        return instant - dt.timedelta(days=1)
    return instant + dt.timedelta(days=1) if now - instant > half else instant


# --- what may follow what -------------------------------------------------------------------------------------------


def is_change(slot: Slot, status: SlotStatus) -> bool:
    """Tell whether an agent's update changes a slot; the same status again is harmless (contract, rule 4).

    Raises:
        CalendarRefusedError: 409, the slot is in another terminal state; 422, no update leads there; 423, an admin
            locked the slot (contract, rule 3).
    """
    if status is slot.status:
        return False
    if slot.status.is_terminal:
        raise CalendarRefusedError(409, f"slot is already {slot.status}")
    if status is SlotStatus.NOT_STARTED:
        raise CalendarRefusedError(422, f"no update makes a slot {status}")
    if slot.is_admin_locked and status not in _ALLOWED_WHEN_LOCKED:
        raise CalendarRefusedError(423, f"slot is locked by an admin and cannot be {status}")
    return True


def check_editable(slot: Slot) -> None:
    """Let users change only what has not ended and is not locked.

    Raises:
        CalendarRefusedError: 409, the slot is over; 423, an admin locked it.
    """
    if slot.is_admin_locked:
        raise CalendarRefusedError(423, "slot is locked by an admin and cannot be changed")
    if slot.status.is_terminal:
        raise CalendarRefusedError(409, f"slot is already {slot.status}")


def is_agent_change(old: AgentStatus, new: AgentStatus) -> bool:
    """Tell whether a status said of an agent changes it (contract, rule 6).

    Raises:
        CalendarRefusedError: 409, only an idle agent becomes busy or on_call.
    """
    if new is old:
        return False
    if new in _FROM_IDLE_ONLY and old is not AgentStatus.IDLE:
        raise CalendarRefusedError(409, f"agent is {old}: only an idle agent can become {new}")
    return True


_OVERLAPS = "overlaps slot "


def is_overlap(refusal: CalendarRefusedError) -> bool:
    """Tell whether a refusal is one of `overlap_refusal`."""
    return refusal.status == 409 and refusal.detail.startswith(_OVERLAPS)


def overlap_refusal(key: SlotKey, starts_at: dt.datetime, ends_at: dt.datetime) -> CalendarRefusedError:
    """Name the slot that stands in the way (contract, rule 8)."""
    return CalendarRefusedError(409, f"{_OVERLAPS}{key} ({starts_at:%Y-%m-%d %H:%M} to {ends_at:%Y-%m-%d %H:%M} UTC)")
