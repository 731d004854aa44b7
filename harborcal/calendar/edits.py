"""What users set on slots and plans: checked once, when it is said; applied to what is there."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Self

from harborcal.calendar import rules
from harborcal.calendar.recurrence import Recurrence
from harborcal.calendar.schema import EPOCH
from harborcal.calendar.slots import Entry
from harborcal.calendar.values import Plan
from harborcal.errors import CalendarRefusedError
from harborcal.model import EventType, Slot, SlotType

_Reader = Callable[[Any], Any]


def _optional(read: _Reader) -> _Reader:
    return lambda value: None if value is None else read(value)


def _recurrence_of(value: object) -> Recurrence:
    if not isinstance(value, Recurrence):
        raise CalendarRefusedError(422, f"recurrence is a Recurrence, not {rules.shown(value)}")
    return value


_CONTENT: dict[str, _Reader] = {
    "slot_type": lambda value: rules.member_of(SlotType, "slot_type", value),
    "priority": rules.priority_of,
    "event_type": _optional(lambda value: rules.member_of(EventType, "event_type", value)),
    "event_data": rules.event_data_of,
    "user_id": lambda value: rules.number_of("user_id", value),
}
_SLOT: dict[str, _Reader] = _CONTENT | {
    "starts_at": lambda value: rules.instant_of("starts_at", value),
    "estimated_duration": lambda value: rules.minutes_of(value, is_special=True),  # what is special shows in the whole
    "special_slot_id": lambda value: rules.number_of("special_slot_id", value),
    "is_admin_locked": lambda value: rules.flag_of("is_admin_locked", value),
}
_PLAN: dict[str, _Reader] = _CONTENT | {"recurrence": _recurrence_of, "estimated_duration": rules.minutes_of}

EMPTY = Entry(slot=Slot(slot_type=SlotType.WORK), agent_id="", starts_at=EPOCH, ends_at=EPOCH)
"""What a new slot's fields are applied to."""


def _read(readers: Mapping[str, _Reader], what: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(changes) - set(readers))
    if unknown:
        raise CalendarRefusedError(422, f"a {what} has no field {', '.join(unknown)}")
    return {name: readers[name](value) for name, value in changes.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class SlotEdit:
    """Some fields of a slot and their new values."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, **changes: Any) -> Self:
        """Check fields.

        Raises:
            CalendarRefusedError: 422, a slot has no such field, or a value is out of the contract's range.
        """
        return cls(_read(_SLOT, "slot", changes))

    def apply(self, entry: Entry, agent_id: str) -> Entry:
        """Return the agent's slot as it would be.

        Raises:
            CalendarRefusedError: 422, it is longer than a slot of its kind may be (contract).
        """
        content = {name: value for name, value in self.values.items() if name != "starts_at"}
        starts_at: dt.datetime = self.values.get("starts_at", entry.starts_at)
        slot = dataclasses.replace(entry.slot, **content, date=starts_at.date(), scheduled_at=starts_at.time())
        is_special = rules.is_special(slot.slot_type or SlotType.WORK, slot.special_slot_id)
        minutes = rules.minutes_of(slot.estimated_duration, is_special=is_special)
        return dataclasses.replace(
            entry,
            slot=slot,
            agent_id=agent_id,
            starts_at=starts_at,
            ends_at=starts_at + dt.timedelta(minutes=minutes),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class PlanEdit:
    """Some fields of a plan and their new values."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, **changes: Any) -> Self:
        """Check fields.

        Raises:
            CalendarRefusedError: 422, a plan has no such field, or a value is out of the contract's range.
        """
        return cls(_read(_PLAN, "plan", changes))

    def begin(self, agent_id: str, now: dt.datetime) -> Plan:
        """Return a new plan, which has no id yet."""
        return Plan(id=0, agent_id=agent_id, valid_from=now.date(), created_at=now, updated_at=now, **dict(self.values))

    def apply(self, plan: Plan, now: dt.datetime) -> Plan:
        """Return the plan as it would be from today on."""
        return dataclasses.replace(plan, **dict(self.values), valid_from=now.date(), updated_at=now)
