"""The agent side of the contract: what hosts ask and say for their agents."""

import dataclasses

from harborcal.calendar import Calendar, ExhaustReason, Owner, RegisteredAgent
from harborcal.calendar.calendar import MAX_AGENTS_PER_SYNC
from harborcal.errors import CalendarRefusedError
from harborcal.model import AgentStatus, SlotKey, SlotStatus, SlotUpdate
from harborcal.server import writing
from harborcal.server.fields import Field, Shape
from harborcal.server.kinds import DATE, ID, INSTANT, STRING, TIME_OF_DAY, member, whole
from harborcal.server.operations import AGENT, CLAW, Ask, Operation, Parameter, check_agrees, on_slots
from harborcal.server.writing import JsonObject
from harborcal.wire import DAY_PATH, HEARTBEAT_PATH, MAX_DURATION, encode_heartbeat_answer, encode_slot

_STATUS_PATH = "/calendar/agent/status"

# Unknown members are ignored on this side: hosts of other versions speak, too.
_SPEAKER = {"claw_identifier": Field(ID, is_required=True), "agent_id": Field(ID, is_required=True)}
_HEARTBEAT = Shape(name="HeartbeatRequest", fields=_SPEAKER, is_open=True)
_UPDATE = Shape(
    name="SlotUpdate",
    fields={
        "status": Field(member(SlotStatus), is_required=True),
        "started_at": Field(TIME_OF_DAY, is_nullable=True, told="UTC; goes with the first `ongoing`."),
        "actual_duration": Field(whole(0, MAX_DURATION), is_nullable=True, told="Minutes."),
    },
    is_open=True,
)
_STATUS = Shape(
    name="AgentStatusRequest",
    fields={
        **_SPEAKER,
        "status": Field(member(AgentStatus), is_required=True),
        "reason": Field(member(ExhaustReason), is_nullable=True, told="Why it is exhausted."),
        "recovery_at": Field(INSTANT, is_nullable=True, told="Until when it is exhausted; in five hours by default."),
    },
    is_open=True,
)


def _owner(ask: Ask) -> Owner:
    """Name the scheduler behind a call, for schedulers in process that share the calendar.

    HTTP has no word for one run of a scheduler, so that its host stands for it. The slash, which no claw identifier
    has, keeps it apart from schedulers in process on the same host.
    """
    name = f"http/{ask.values['claw']}"
    return Owner(name, name)


def _check_speaker(ask: Ask) -> None:
    """Let body and headers name the same host and agent."""
    check_agrees(ask.body["claw_identifier"], ask.values["claw"], "body", "claw_identifier")
    check_agrees(ask.body["agent_id"], ask.values["agent"], "body", "agent_id")


def _agent_of(calendar: Calendar, ask: Ask) -> RegisteredAgent:
    """Find the agent that calls, where the calendar does not ask itself which host speaks for it."""
    agent = calendar.agent(ask.values["agent"])
    if agent.claw_identifier not in {None, ask.values["claw"]}:
        raise CalendarRefusedError(403, f"agent {agent.id} is bound to another claw identifier")
    return agent


def _heartbeat(calendar: Calendar, ask: Ask) -> JsonObject:
    _check_speaker(ask)
    heartbeat = calendar.heartbeat(ask.values["agent"], claw_identifier=ask.values["claw"], owner=_owner(ask))
    # What others left behind is for those who can claim it, and over HTTP nobody can (contract, rule 1).
    pending = tuple(slot for slot in heartbeat.slots if slot.status.is_pending)
    return encode_heartbeat_answer(dataclasses.replace(heartbeat, slots=pending))


def _update(calendar: Calendar, ask: Ask, key: SlotKey) -> JsonObject:
    agent = ask.values["agent"]
    update = SlotUpdate(
        status=ask.body["status"],
        started_at=ask.body.get("started_at"),
        actual_duration=ask.body.get("actual_duration"),
    )
    told = calendar.apply_update(agent, key, update, owner=_owner(ask), claw_identifier=ask.values["claw"])
    return encode_slot(told)


def _read_status(calendar: Calendar, ask: Ask) -> JsonObject:
    return writing.agent_status(_agent_of(calendar, ask))


def _set_status(calendar: Calendar, ask: Ask) -> JsonObject:
    _check_speaker(ask)
    is_change = calendar.set_agent_status(
        ask.values["agent"],
        ask.body["status"],
        reason=ask.body.get("reason"),
        recovery_at=ask.body.get("recovery_at"),
        claw_identifier=ask.values["claw"],
    )
    return {"ok": True} if is_change else {"ok": True, "no_change": True}


def _day(calendar: Calendar, ask: Ask) -> JsonObject:
    agent_id, date = ask.values["agent"], ask.values["date"]
    slots = calendar.day(agent_id, date, claw_identifier=ask.values["claw"])
    return {"agent_id": agent_id, "date": date.isoformat(), "slots": [encode_slot(slot) for slot in slots]}


def _sync(calendar: Calendar, ask: Ask) -> JsonObject:
    claw = ask.values["host"]
    check_agrees(claw, ask.values.get("claw"), "query", "claw_identifier")
    return writing.sync(
        calendar.sync(claw, ask.values.get("since"), limit=ask.values.get("limit", MAX_AGENTS_PER_SYNC))
    )


OPERATIONS = (
    Operation(
        name="heartbeat",
        method="POST",
        path=HEARTBEAT_PATH,
        summary="Say that an agent is there; list its pending slots, the most urgent first.",
        serve=_heartbeat,
        answer="Heartbeat",
        parameters=(AGENT, CLAW),
        body=_HEARTBEAT,
    ),
    *on_slots(
        _update,
        AGENT,
        CLAW,
        name="update_slot",
        method="PATCH",
        tail="/agent-update",
        summary="Say where an agent stands with a slot; the same again changes nothing.",
        body=_UPDATE,
    ),
    Operation(
        name="read_agent_status",
        method="GET",
        path=_STATUS_PATH,
        summary="Tell what an agent does.",
        serve=_read_status,
        answer="AgentStatus",
        parameters=(AGENT, CLAW),
    ),
    Operation(
        name="set_agent_status",
        method="POST",
        path=_STATUS_PATH,
        summary="Say what an agent does; the same again changes nothing.",
        serve=_set_status,
        answer="AgentStatusChanged",
        parameters=(AGENT, CLAW),
        body=_STATUS,
    ),
    Operation(
        name="read_day",
        method="GET",
        path=DAY_PATH,
        summary="List an agent's slots of a UTC date by time, without skipped and aborted ones.",
        serve=_day,
        answer="Day",
        parameters=(AGENT, CLAW, Parameter(key="date", name="date", place="query", kind=DATE)),
    ),
    Operation(
        name="sync",
        method="GET",
        path="/calendar/sync",
        summary="List today's slots of a host's agents: all, or those of agents whose slots changed.",
        serve=_sync,
        answer="Sync",
        parameters=(
            dataclasses.replace(CLAW, is_required=False),
            Parameter(key="host", name="claw_identifier", place="query", kind=ID, told="The host that asks."),
            Parameter(
                key="since",
                name="since",
                place="query",
                kind=STRING,
                is_required=False,
                told="The `syncToken` of the last answer; one that is worth nothing any more gives the whole plan.",
            ),
            Parameter(
                key="limit",
                name="limit",
                place="query",
                kind=whole(1, MAX_AGENTS_PER_SYNC),
                is_required=False,
                told="How many agents to tell of; where there are `more`, ask again with the new token.",
            ),
        ),
    ),
)
