"""Answers: the carried calendar's values as the contract's JSON, and what each looks like as JSON Schema."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from harborcal.calendar import ExhaustReason, Plan, RegisteredAgent, Sync
from harborcal.calendar.rules import MAX_SPECIAL_MINUTES
from harborcal.codecs import format_instant, thaw
from harborcal.errors import CalendarRefusedError
from harborcal.grammar import clean
from harborcal.model import AgentStatus, EventType, SlotStatus, SlotType
from harborcal.server.fields import InvalidError, Schema
from harborcal.server.kinds import (
    DATE,
    EVENT_DATA,
    ID,
    INSTANT,
    NUMBER,
    RECURRENCE,
    STRING,
    TIME_OF_DAY,
    WEEKDAY,
    member,
    whole,
)
from harborcal.wire import MAX_DURATION, MAX_PRIORITY, encode_slot

JsonObject = dict[str, object]

_RETRY_AFTER = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What is said back: a status, a JSON object, and headers beyond the usual."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


# --- refusals -------------------------------------------------------------------------------------------------------


def invalid(error: InvalidError) -> Answer:
    """Say what is wrong with a request, as a list (contract)."""
    return Answer(422, {"detail": [problem.to_json() for problem in error.problems]})


def refused(error: CalendarRefusedError) -> Answer:
    """Say what the calendar refused, in its own words; those of a 422 stand in a list (contract)."""
    detail = clean(error.detail)
    if error.status == 422:
        # The words name the field themselves.
        return Answer(422, {"detail": [{"loc": [], "msg": detail, "type": "value_error"}]})
    return Answer(error.status, {"detail": detail})


def unavailable(detail: str, retry_after: float | None = None) -> Answer:
    """Say that the calendar cannot answer now, and after how many seconds to ask again."""
    seconds = _RETRY_AFTER if retry_after is None else retry_after
    return Answer(503, {"detail": detail}, {"Retry-After": str(max(1, math.ceil(seconds)))})


# --- values ---------------------------------------------------------------------------------------------------------


def agent_status(agent: RegisteredAgent) -> JsonObject:
    """Write what an agent does; why and until when it is exhausted only where it is."""
    answer: JsonObject = {"agent_id": agent.id, "status": agent.status.value}
    if agent.exhaust_reason is not None:
        answer["exhaust_reason"] = agent.exhaust_reason.value
    if agent.recovery_at is not None:
        answer["recovery_at"] = format_instant(agent.recovery_at)
    return answer


def plan(value: Plan) -> JsonObject:
    """Write a plan; the contract's words are null where they cannot say when it recurs."""
    words = value.recurrence.as_contract()
    return {
        "id": value.id,
        "agent_id": value.agent_id,
        **{name: words.get(name) for name in ("at_time", "on_day", "on_week", "on_month")},
        "recurrence": value.recurrence.to_dict(),
        "estimated_duration": value.estimated_duration,
        "slot_type": value.slot_type.value,
        "priority": value.priority,
        "event_type": None if value.event_type is None else value.event_type.value,
        "event_data": thaw(value.event_data),
        "user_id": value.user_id,
        "is_active": not value.is_cancelled,
        "created_at": format_instant(value.created_at),
        "updated_at": format_instant(value.updated_at),
    }


def sync(value: Sync) -> JsonObject:
    """Write what a host asked to know of its agents."""
    return {
        "full": value.full,
        "schedules": {agent_id: [encode_slot(slot) for slot in slots] for agent_id, slots in value.schedules.items()},
        "syncToken": value.token,
        "more": value.more,
    }


# --- schemas --------------------------------------------------------------------------------------------------------


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [dict(schema), {"type": "null"}]}


def _object(properties: Mapping[str, Schema], *optional: str) -> dict[str, Any]:
    """Describe an object of an answer; more keys may come (contract)."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(schema: Schema) -> dict[str, Any]:
    return {"type": "array", "items": dict(schema)}


_FLAG = {"type": "boolean"}
_WARNINGS = _list({"type": "string"}) | {"description": "What to look at; nothing was refused."}

_SLOT: dict[str, Schema] = {
    "id": _nullable(NUMBER.schema),
    "virtual_id": _nullable(ID.schema),
    "user_id": _nullable(NUMBER.schema),
    "date": DATE.schema,
    "slot_type": member(SlotType).schema,
    "estimated_duration": whole(1, MAX_SPECIAL_MINUTES).schema,
    "scheduled_at": TIME_OF_DAY.schema,
    "started_at": _nullable(TIME_OF_DAY.schema),
    "attended": _FLAG,
    "actual_duration": _nullable(whole(0, MAX_DURATION).schema),
    "event_type": _nullable(member(EventType).schema),
    "event_data": _nullable(EVENT_DATA.schema),
    "priority": whole(0, MAX_PRIORITY).schema,
    "status": member(SlotStatus).schema,
    "plan_id": _nullable(NUMBER.schema),
    "is_admin_locked": _FLAG,
    "special_slot_id": _nullable(NUMBER.schema),
    "created_at": INSTANT.schema,
    "updated_at": INSTANT.schema,
}
_PLAN: dict[str, Schema] = {
    "id": NUMBER.schema,
    "agent_id": ID.schema,
    "at_time": _nullable(TIME_OF_DAY.schema),
    "on_day": _nullable(WEEKDAY.schema),
    "on_week": _nullable(whole(1, 4).schema),
    "on_month": _nullable(whole(1, 12).schema),
    "recurrence": RECURRENCE.schema,
    "estimated_duration": whole(1, MAX_SPECIAL_MINUTES).schema,
    "slot_type": member(SlotType).schema,
    "priority": whole(0, MAX_PRIORITY).schema,
    "event_type": _nullable(member(EventType).schema),
    "event_data": _nullable(EVENT_DATA.schema),
    "user_id": _nullable(NUMBER.schema),
    "is_active": _FLAG,
    "created_at": INSTANT.schema,
    "updated_at": INSTANT.schema,
}

SCHEMAS: dict[str, Schema] = {
    "Slot": _object(_SLOT),
    "NewSlot": _object(_SLOT | {"warnings": _WARNINGS}),
    "Plan": _object(_PLAN),
    "NewPlan": _object(_PLAN | {"warnings": _WARNINGS}),
    "Plans": _object({"plans": _list(_ref("Plan")), "more": _FLAG}),
    "Heartbeat": _object({"slots": _list(_ref("Slot")), "agent_status": member(AgentStatus).schema}),
    "AgentStatus": _object(
        {
            "agent_id": ID.schema,
            "status": member(AgentStatus).schema,
            "exhaust_reason": member(ExhaustReason).schema,
            "recovery_at": INSTANT.schema,
        },
        "exhaust_reason",
        "recovery_at",
    ),
    "AgentStatusChanged": _object({"ok": {"const": True}, "no_change": {"const": True}}, "no_change"),
    "Day": _object({"agent_id": ID.schema, "date": DATE.schema, "slots": _list(_ref("Slot"))}),
    "Sync": _object(
        {
            "full": _FLAG,
            "schedules": {"type": "object", "additionalProperties": _list(_ref("Slot"))},
            "syncToken": STRING.schema,
            "more": _FLAG,
        }
    ),
    "Error": _object({"detail": {"type": "string"}}),
    "ValidationError": _object(
        {
            "detail": _list(
                _object(
                    {
                        "loc": _list({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
                        "msg": {"type": "string"},
                        "type": {"type": "string"},
                    }
                )
            )
        }
    ),
}
"""What answers look like, by the names that operations give them."""
