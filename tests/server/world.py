"""A calendar behind its WSGI application, and a client that speaks JSON with it and holds it to its document."""

import datetime as dt
import functools
import json
import re
from typing import Any, NamedTuple

import jsonschema_rs
from werkzeug.datastructures import Headers

from harborcal.calendar import Calendar, Recurrence
from harborcal.model import SlotKey
from harborcal.server import create_app, openapi
from harborcal.server.app import OPERATIONS
from harborcal.testing import MONDAY_MORNING, FakeClock

MONDAY = MONDAY_MORNING.date()
TUESDAY = MONDAY + dt.timedelta(days=1)
CALLER = {"X-Agent-ID": "dev", "X-Claw-Identifier": "claw"}


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Headers

    @property
    def complaints(self) -> list[tuple[str, str]]:
        """Where a 422 says that something is wrong, and of which type that is."""
        return [(".".join(map(str, item["loc"])), item["type"]) for item in self.body["detail"]]


class World:
    """A calendar with the agents dev and ops, on Monday 2026-01-05 at 9:00, and its application.

    Every answer is checked against the OpenAPI document.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.calendar = Calendar("sqlite://", clock=self.clock)
        self.calendar.register_agent("dev")
        self.calendar.register_agent("ops")
        self.app = create_app(self.calendar, **options)

    def ask(self, method: str, path: str, body: object = None, headers: object = CALLER, **options: Any) -> Answer:
        """Send one request; a body that is not bytes is written as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        response = self.app.test_client().open(path, method=method, data=data, headers=headers, **options)
        text = response.get_data(as_text=True)
        answer = Answer(response.status_code, json.loads(text) if text else None, response.headers)
        self._check(method, response.request.path, answer)
        return answer

    def _check(self, method: str, path: str, answer: Answer) -> None:
        for pattern, checks in documented().get(method, ()):
            if pattern.fullmatch(path):
                assert answer.status in checks, (method, path, answer)
                checks[answer.status].validate(answer.body)

    def beat(self, agent_id: str = "dev", claw: str = "claw") -> Answer:
        return self.ask(
            "POST",
            "/calendar/agent/heartbeat",
            {"claw_identifier": claw, "agent_id": agent_id},
            {"X-Agent-ID": agent_id, "X-Claw-Identifier": claw},
        )

    def update(self, slot: object, **body: object) -> Answer:
        return self.ask("PATCH", f"/calendar/slots/{slot}/agent-update", body)

    def add(self, hours: float = 1, agent_id: str = "dev", **fields: Any) -> SlotKey:
        """Put a slot into the calendar, some hours from Monday 9:00."""
        return self.calendar.add_slot(agent_id, MONDAY_MORNING + dt.timedelta(hours=hours), **fields).key

    def plan(self, at: str = "20:00", agent_id: str = "dev", **fields: Any) -> int:
        """Put a daily plan into the calendar."""
        recurrence = Recurrence.contract(dt.time.fromisoformat(at), first=MONDAY)
        return self.calendar.add_plan(agent_id, recurrence, **fields).id


@functools.cache
def documented() -> dict[str, list[tuple[re.Pattern[str], dict[int, Any]]]]:
    """What each method answers where, after the document: who checks the bodies, by status."""
    document: Any = openapi.document(OPERATIONS, has_key=False)
    components = document["components"]
    found: dict[str, list[tuple[re.Pattern[str], dict[int, Any]]]] = {}
    for path, methods in document["paths"].items():
        pattern = re.compile(re.sub("{[a-z_]+}", "[^/]+", path))
        for method, operation in methods.items():
            checks = {}
            for status, told in operation["responses"].items():
                response = components["responses"][told["$ref"].rpartition("/")[2]] if "$ref" in told else told
                schema = response["content"]["application/json"]["schema"] | {"components": components}
                checks[int(status)] = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
            found.setdefault(method.upper(), []).append((pattern, checks))
    return found
