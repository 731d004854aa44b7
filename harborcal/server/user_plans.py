"""The user side of the contract: plans."""

import dataclasses
import datetime as dt
from typing import Any

from harborcal.calendar import Calendar, Plan, Recurrence
from harborcal.calendar.rules import MAX_MINUTES
from harborcal.errors import CalendarRefusedError, HarborcalError
from harborcal.server import writing
from harborcal.server.fields import Field, InvalidError, Shape
from harborcal.server.kinds import ID, NUMBER, RECURRENCE, TIME_OF_DAY, WEEKDAY, whole
from harborcal.server.operations import AGENT, PLAN, Ask, Operation, Parameter
from harborcal.server.user_side import AGENT_ID, CONTENT, CREATES_FOR, WHOSE, agent_of, missing
from harborcal.server.writing import JsonObject

MAX_PLANS = 500
"""How many plans one answer tells of."""

_PLANS, _PLANS_PATH = 100, "/calendar/plans"

_PLAN = {
    "at_time": Field(TIME_OF_DAY, told="In UTC: every day at this time."),
    "on_day": Field(WEEKDAY, is_nullable=True, told="Only on this day of the week."),
    "on_week": Field(whole(1, 4), is_nullable=True, told="Only the month's first to fourth; needs `on_day`."),
    "on_month": Field(whole(1, 12), is_nullable=True, told="Only in this month; needs `on_week`."),
    "recurrence": Field(RECURRENCE, told="RFC 5545, instead of `at_time` and the others."),
    "estimated_duration": Field(whole(1, MAX_MINUTES), told="Minutes."),
    **CONTENT,
}
_NEW_PLAN = Shape(name="NewPlanRequest", fields={**AGENT_ID, **_PLAN})
_PLAN_EDIT = Shape(name="PlanEdit", fields=_PLAN, is_empty_allowed=False)


def _read_words(fields: dict[str, Any], first: dt.date, old: Recurrence | None = None) -> None:
    """Replace the contract's words among a plan's fields by the recurrence that they mean; what is not said stays."""
    words = {name: fields.pop(name) for name in ("at_time", "on_day", "on_week", "on_month") if name in fields}
    if not words:
        return
    if "recurrence" in fields:
        raise InvalidError.at("body", "recurrence", message="a plan has at_time or a recurrence, not both")
    known = old.as_contract() if old is not None else {}
    if known:
        known["at_time"] = dt.time.fromisoformat(str(known["at_time"]))
    merged: dict[str, Any] = known | words
    if "at_time" not in merged:
        raise missing("body", "at_time")
    fields["recurrence"] = Recurrence.contract(**merged, first=first)


def _add_plan(calendar: Calendar, ask: Ask) -> JsonObject:
    fields = dict(ask.body)
    agent_id = agent_of(ask, fields.pop("agent_id", None), "body")
    _read_words(fields, calendar.clock.now().date())
    if "recurrence" not in fields:
        raise missing("body", "at_time")
    plan = calendar.add_plan(agent_id, **fields)
    return {**writing.plan(plan), "warnings": _warnings_of(calendar, plan)}


def _warnings_of(calendar: Calendar, plan: Plan) -> list[str]:
    try:
        return list(calendar.overlaps_of(plan.id))
    except HarborcalError:  # the plan is there: whoever heard of a failure would make it twice
        return ["what it overlaps could not be found out"]


def _list_plans(calendar: Calendar, ask: Ask) -> JsonObject:
    agent_id = agent_of(ask, ask.values.get("owner"), "query")
    after, limit = ask.values.get("after", -1), ask.values.get("limit", _PLANS)
    plans = [plan for plan in calendar.plans(agent_id) if plan.id > after]
    return {"plans": [writing.plan(plan) for plan in plans[:limit]], "more": len(plans) > limit}


def _plan_of(calendar: Calendar, ask: Ask) -> Plan:
    plan = calendar.plan(ask.values["plan"])
    if ask.values.get("agent", plan.agent_id) != plan.agent_id:
        raise CalendarRefusedError(404, "Plan not found")
    return plan


def _read_plan(calendar: Calendar, ask: Ask) -> JsonObject:
    return writing.plan(_plan_of(calendar, ask))


def _edit_plan(calendar: Calendar, ask: Ask) -> JsonObject:
    fields, plan = dict(ask.body), _plan_of(calendar, ask)
    _read_words(fields, plan.recurrence.start.date(), plan.recurrence)
    return writing.plan(calendar.edit_plan(plan.id, agent_id=plan.agent_id, **fields))


def _cancel_plan(calendar: Calendar, ask: Ask) -> JsonObject:
    return writing.plan(calendar.cancel_plan(ask.values["plan"], agent_id=ask.values.get("agent")))


OPERATIONS = (
    Operation(
        name="add_plan",
        method="POST",
        path=_PLANS_PATH,
        summary="Let a recurrence yield virtual slots from today on.",
        serve=_add_plan,
        answer="NewPlan",
        status=201,
        parameters=(CREATES_FOR,),
        body=_NEW_PLAN,
    ),
    Operation(
        name="list_plans",
        method="GET",
        path=_PLANS_PATH,
        summary="List an agent's plans, cancelled ones too, by id.",
        serve=_list_plans,
        answer="Plans",
        parameters=(
            dataclasses.replace(AGENT, is_required=False, told="Whose plans."),
            Parameter(
                key="owner",
                name="agent_id",
                place="query",
                kind=ID,
                is_required=False,
                told="Whose plans, where no `X-Agent-ID` says so.",
            ),
            Parameter(
                key="limit",
                name="limit",
                place="query",
                kind=whole(1, MAX_PLANS),
                is_required=False,
                told=f"How many to list at most, {_PLANS} by default.",
            ),
            Parameter(
                key="after",
                name="after",
                place="query",
                kind=NUMBER,
                is_required=False,
                told="The last plan of the page before; where there are `more`, ask again.",
            ),
        ),
    ),
    Operation(
        name="read_plan",
        method="GET",
        path=f"{_PLANS_PATH}/{{plan_id}}",
        summary="Tell of a plan.",
        serve=_read_plan,
        answer="Plan",
        parameters=(PLAN, WHOSE),
    ),
    Operation(
        name="edit_plan",
        method="PATCH",
        path=f"{_PLANS_PATH}/{{plan_id}}",
        summary="Change a plan from today on.",
        serve=_edit_plan,
        answer="Plan",
        parameters=(PLAN, WHOSE),
        body=_PLAN_EDIT,
    ),
    Operation(
        name="cancel_plan",
        method="POST",
        path=f"{_PLANS_PATH}/{{plan_id}}/cancel",
        summary="Let a plan yield no more slots from today on.",
        serve=_cancel_plan,
        answer="Plan",
        parameters=(PLAN, WHOSE),
    ),
)
