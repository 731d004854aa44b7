"""How slots and plans are told to people and to programs."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from harborcal.calendar import Plan
from harborcal.grammar import clean
from harborcal.model import EventType, Slot, SlotStatus

_STYLES = {
    SlotStatus.ONGOING: "green",
    SlotStatus.PAUSED: "yellow",
    SlotStatus.FINISHED: "dim",
    SlotStatus.SKIPPED: "dim",
    SlotStatus.ABORTED: "red",
}


def what_of(event_type: EventType | None, data: Mapping[str, Any] | None) -> str:
    """Say in a few words what there is to do."""
    said = data or {}
    name = next((str(said[key]) for key in ("code", "task_code", "event", "title") if said.get(key)), "")
    kind = str(said["type"]) if name and event_type is EventType.JOB and said.get("type") else ""
    return clean(f"{kind}/{name}" if kind else name or str(said.get("description", "")), 60)


def span_of(starts_at: dt.datetime, slot: Slot) -> str:
    """Say from when to when, as ``09:30-09:55``."""
    minutes = slot.estimated_duration
    if minutes is None:
        return f"{starts_at:%H:%M}"
    # By the real clock: over a change of the clocks the wall's difference is another.
    ends_at = (starts_at.astimezone(dt.UTC) + dt.timedelta(minutes=minutes)).astimezone(starts_at.tzinfo)
    return f"{starts_at:%H:%M}-{ends_at:%H:%M}"


def style_of(slot: Slot) -> str:
    """Tell the colour of a slot's status."""
    return _STYLES.get(slot.status, "")


def slot_data(agent_id: str, starts_at: dt.datetime, slot: Slot) -> dict[str, Any]:
    """Tell a slot in plain values: its agent, its beginning in the zone, its ident, and the contract's fields."""
    return {"agent_id": agent_id, "ident": slot.ident, "starts_at": starts_at.isoformat(), **slot.to_dict()}


def often_of(plan: Plan) -> str:
    """Say how often a plan yields slots, as an RRULE."""
    return plan.recurrence.to_rrule() or "once"


def plan_data(plan: Plan, upcoming: list[dt.datetime]) -> dict[str, Any]:
    """Tell a plan in plain values, with its next moments."""
    return {**plan.to_dict(), "next": [moment.isoformat() for moment in upcoming]}
