"""The user side of the contract: what people, and programs for them, do with slots and plans."""

import dataclasses
import datetime as dt

from harborcal.calendar import Calendar
from harborcal.calendar.rules import MAX_MINUTES, MAX_SPECIAL_MINUTES
from harborcal.model import EventType, SlotKey, SlotType
from harborcal.server.fields import Field, InvalidError, Shape
from harborcal.server.kinds import DATE, EVENT_DATA, ID, NUMBER, TIME_OF_DAY, member, whole
from harborcal.server.operations import AGENT, Ask, Operation, check_agrees, on_slots
from harborcal.server.writing import JsonObject
from harborcal.wire import MAX_PRIORITY, encode_slot

WHOSE = dataclasses.replace(AGENT, is_required=False, told="The agent that must own it; else it is not found.")
CREATES_FOR = dataclasses.replace(AGENT, is_required=False, told="Whose it becomes.")

AGENT_ID = {"agent_id": Field(ID, told="Whose it becomes, where no `X-Agent-ID` says so.")}
CONTENT = {
    "slot_type": Field(member(SlotType)),
    "priority": Field(whole(0, MAX_PRIORITY)),
    "event_type": Field(member(EventType), is_nullable=True),
    "event_data": Field(EVENT_DATA, is_nullable=True),
    "user_id": Field(NUMBER, is_nullable=True),
}
_SLOT = {
    "estimated_duration": Field(
        whole(1, MAX_SPECIAL_MINUTES), told=f"Minutes; more than {MAX_MINUTES} only for slots of type `system`."
    ),
    **CONTENT,
}
_NEW_SLOT = Shape(
    name="NewSlotRequest",
    fields={
        **AGENT_ID,
        "date": Field(DATE, is_required=True, told="In UTC."),
        "scheduled_at": Field(TIME_OF_DAY, is_required=True, told="In UTC."),
        **_SLOT,
    },
)
_SLOT_EDIT = Shape(
    name="SlotEdit", fields={"date": Field(DATE), "scheduled_at": Field(TIME_OF_DAY), **_SLOT}, is_empty_allowed=False
)


def missing(*place: str) -> InvalidError:
    """Make the error of a field that should be there."""
    return InvalidError.at(*place, message="Field required", type="missing")


def agent_of(ask: Ask, named: str | None, place: str) -> str:
    """Tell whose a slot or plan is to be: headers, and body or query, may say so, and must agree."""
    called: str | None = ask.values.get("agent")
    if named is None:
        if called is None:
            raise missing(place, "agent_id")
        return called
    check_agrees(named, called, place, "agent_id")
    return named


# --- slots ----------------------------------------------------------------------------------------------------------


def _instant(date: dt.date, time: dt.time) -> dt.datetime:
    return dt.datetime.combine(date, time, dt.UTC)


def _add_slot(calendar: Calendar, ask: Ask) -> JsonObject:
    fields = dict(ask.body)
    agent_id = agent_of(ask, fields.pop("agent_id", None), "body")
    starts_at = _instant(fields.pop("date"), fields.pop("scheduled_at"))
    return {**encode_slot(calendar.add_slot(agent_id, starts_at, **fields)), "warnings": []}


def _edit_slot(calendar: Calendar, ask: Ask, key: SlotKey) -> JsonObject:
    changes = dict(ask.body)
    if "date" in changes or "scheduled_at" in changes:
        slot = calendar.slot(key)  # whoever names only one of the two keeps the other
        date, time = changes.pop("date", slot.date), changes.pop("scheduled_at", slot.scheduled_at)
        changes["starts_at"] = _instant(date, time)
    return encode_slot(calendar.edit_slot(key, agent_id=ask.values.get("agent"), **changes))


def _cancel_slot(calendar: Calendar, ask: Ask, key: SlotKey) -> JsonObject:
    return encode_slot(calendar.cancel_slot(key, agent_id=ask.values.get("agent")))


OPERATIONS = (
    Operation(
        name="add_slot",
        method="POST",
        path="/calendar/slots",
        summary="Put a slot into an agent's calendar.",
        serve=_add_slot,
        answer="NewSlot",
        status=201,
        parameters=(CREATES_FOR,),
        body=_NEW_SLOT,
    ),
    *on_slots(_edit_slot, WHOSE, name="edit_slot", method="PATCH", tail="", summary="Change a slot.", body=_SLOT_EDIT),
    *on_slots(
        _cancel_slot,
        WHOSE,
        name="cancel_slot",
        method="POST",
        tail="/cancel",
        summary="Cancel a slot: it is skipped, or aborted where it has begun.",
    ),
)
