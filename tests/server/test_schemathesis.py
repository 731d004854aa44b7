"""The application keeps what its own OpenAPI document promises, whatever is sent: schemathesis tries."""

import collections
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import flask
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from harborcal.server.app import OPERATIONS
from tests.server.world import World

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Case = schemathesis.Case[Any]

KEY = "sesame"
VALUES: dict[str, list[str | int]] = {
    "agents": ["dev", "ops"],
    "claws": ["claw"],
    "dates": ["2026-01-05", "2026-01-06", "2026-02-01", "2026-01-04"],
    "ids": [0, 1, 2, 3, 4],
    "virtual": ["plan-1-2026-01-05", "plan-1-2026-01-06", "plan-2-2026-01-07", "plan-1-2026-01-04"],
    "starts": ["2026-01-05T08:00:00", "2026-01-06T23:59:59", "2026-03-29T02:30:00"],
    "zones": ["UTC", "Europe/Berlin", "America/New_York"],
    "rules": ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,WE", "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=HOURLY;INTERVAL=7", ""],
}
LIKELY = {
    "header.X-Agent-ID": "agents",
    "header.X-Claw-Identifier": "claws",
    "query.claw_identifier": "claws",
    "query.agent_id": "agents",
    "query.date": "dates",
    "path.slot_id": "ids",
    "path.plan_id": "ids",
    "path.virtual_id": "virtual",
    "body.agent_id": "agents",
    "body.claw_identifier": "claws",
    "body.date": "dates",
    "body.recurrence.start": "starts",
    "body.recurrence.zone": "zones",
    "body.recurrence.rule": "rules",
}
"""Which values are likely where, so that not all that is asked for is unknown."""

BETWEEN_FIELDS = {
    ("header", "X-Agent-ID"),
    ("query", "agent_id"),
    ("query", "claw_identifier"),
    ("body", "agent_id"),
    ("body", "claw_identifier"),
    ("body", "at_time"),
    ("body", "recurrence"),
}
"""Where a request that the document allows may still contradict itself; the calendar's own rules name no place."""


class Stage:
    """A WSGI application whose calendar is new for each operation, so that their order does not matter."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._app: flask.Flask | None = None

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if self._app is None:
            self._app = self._furnished()
        return self._app(environ, start_response)

    def clear(self) -> None:
        self._app = None

    def _furnished(self) -> flask.Flask:
        world = World(**self._options)
        for hours in 0, 1, 2:
            world.add(hours)
        world.calendar.lock_slot(world.add(3))
        for agent_id in "dev", "ops":
            world.plan(agent_id=agent_id)
        return world.app


def promises_of(stage: Stage, max_examples: int, **config: Any) -> Any:
    refusals = [400, 401, 403, 404, 405, 409, 411, 413, 415, 422]
    return schemathesis.openapi.from_wsgi(
        "/openapi.json",
        stage,
        config=SchemathesisConfig.from_dict(
            {
                "generation": {"deterministic": True, "max-examples": max_examples, "database": "none"},
                "checks": {
                    "negative_data_rejection": {"expected-statuses": refusals},
                    "positive_data_acceptance": {"enabled": False},  # see check_refusal
                },
                "dictionaries": {name: {"values": values} for name, values in VALUES.items()},
                "parameters": {name: {"dictionary": values, "probability": 0.8} for name, values in LIKELY.items()},
                **config,
            }
        ),
    )


OPEN, GUARDED = Stage(), Stage(api_key=KEY)
open_promises = promises_of(OPEN, 12)
guarded_promises = promises_of(
    GUARDED, 6, auth={"openapi": {"api_key": {"bearer": KEY}}}, phases={"coverage": {"enabled": False}}
)


@pytest.fixture(autouse=True)
def _new_calendars() -> None:
    OPEN.clear()
    GUARDED.clear()


@pytest.fixture(scope="module")
def successes() -> Iterator[collections.Counter[str]]:
    """Count the successes of each operation that was tried: were they few, little of the calendar would be reached."""
    counted = collections.Counter[str]()
    yield counted
    if len(counted) == len(OPERATIONS):
        assert len(+counted) > len(counted) / 2


def check_refusal(case: Case, answer: Any) -> None:
    """Let a request that the document allows be invalid only for what the document cannot say."""
    if case.meta is None or not case.meta.generation.mode.is_positive or answer.status_code != 422:
        return
    places = {tuple(item["loc"][:2]) for item in answer.json()["detail"]}
    assert places <= BETWEEN_FIELDS | {()}


@open_promises.parametrize()  # type: ignore[untyped-decorator]  # schemathesis does not type it
def test_the_document_is_kept(case: Case, successes: collections.Counter[str]) -> None:
    answer = case.call_and_validate()
    successes[case.operation.label] += answer.status_code < 300
    check_refusal(case, answer)


@guarded_promises.parametrize()  # type: ignore[untyped-decorator]  # likewise
def test_the_document_is_kept_with_a_key(case: Case) -> None:
    check_refusal(case, case.call_and_validate())
