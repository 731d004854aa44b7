"""What an operation is: one entry of the table from which requests are served and the OpenAPI document is written."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from harborcal.calendar import Calendar
from harborcal.model import SlotKey
from harborcal.server.fields import InvalidError, Kind, Shape
from harborcal.server.kinds import ID, NUMBER
from harborcal.server.writing import JsonObject

Place = Literal["path", "header", "query"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A value beside the body: in the path, a header or the query.

    Attributes:
        key: What it is called in `Ask.values`.
        name: What it is called on the wire.
        place: Where it stands.
        kind: What it is.
        is_required: Whether it must be there.
        told: What it means, for the document.
    """

    key: str
    name: str
    place: Place
    kind: Kind
    is_required: bool = True
    told: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """A request as it was read: by their names the parameters and the body's members that were there."""

    values: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One thing that can be asked.

    Attributes:
        name: Its ``operationId``.
        method: GET, POST or PATCH.
        path: Where, with path parameters in braces.
        summary: What it does, in a line.
        serve: Does it.
        answer: Which of `writing.SCHEMAS` it answers with.
        status: The status of success.
        parameters: What it reads beside the body.
        body: What it reads from the body; None where it reads none.
    """

    name: str
    method: str
    path: str
    summary: str
    serve: Callable[[Calendar, Ask], JsonObject]
    answer: str
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    body: Shape | None = None


AGENT = Parameter(key="agent", name="X-Agent-ID", place="header", kind=ID, told="The agent that calls.")
CLAW = Parameter(key="claw", name="X-Claw-Identifier", place="header", kind=ID, told="The host that speaks for it.")
PLAN = Parameter(key="plan", name="plan_id", place="path", kind=NUMBER)
_REAL = Parameter(key="slot", name="slot_id", place="path", kind=NUMBER)
_VIRTUAL = Parameter(key="slot", name="virtual_id", place="path", kind=ID, told="`plan-{plan_id}-{YYYY-MM-DD}`.")


def check_agrees(named: str, called: str | None, *place: str) -> None:
    """Let what a body or query names be what the headers name, where they name something.

    Raises:
        InvalidError: They differ.
    """
    if called is not None and named != called:
        raise InvalidError.at(*place, message="the headers name another one")


def on_slots(
    serve: Callable[[Calendar, Ask, SlotKey], JsonObject],
    *parameters: Parameter,
    name: str,
    method: str,
    tail: str,
    summary: str,
    body: Shape | None = None,
) -> tuple[Operation, Operation]:
    """Make the two operations of what is done to slots: to a real one and to a virtual one.

    Args:
        serve: Does it to a slot.
        parameters: What it reads beside the body and the slot's key.
        name: The name of the first; that of the other ends with ``_virtual``.
        method: As `Operation`'s.
        tail: What follows the slot in the path.
        summary: As `Operation`'s.
        body: As `Operation`'s.
    """

    def on_real(calendar: Calendar, ask: Ask) -> JsonObject:
        return serve(calendar, ask, SlotKey.real(ask.values["slot"]))

    def on_virtual(calendar: Calendar, ask: Ask) -> JsonObject:
        return serve(calendar, ask, SlotKey.virtual(ask.values["slot"]))

    real = Operation(
        name=name,
        method=method,
        path=f"/calendar/slots/{{slot_id}}{tail}",
        summary=summary,
        serve=on_real,
        answer="Slot",
        parameters=(_REAL, *parameters),
        body=body,
    )
    return real, dataclasses.replace(
        real,
        name=f"{name}_virtual",
        path=f"/calendar/slots/virtual/{{virtual_id}}{tail}",
        summary=f"{summary} The virtual slot becomes real.",
        serve=on_virtual,
        parameters=(_VIRTUAL, *parameters),
    )
