"""Whatever comes in, no answer is a server's error."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harborcal.server.app import OPERATIONS
from harborcal.server.fields import Shape
from harborcal.server.operations import Operation
from tests.server.world import CALLER, MONDAY, World

DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]

WRONG: list[Any] = [
    None,
    True,
    -1,
    0,
    10**400,
    2**63,
    1.5,
    1e308,
    "",
    "\x00",
    "\ud800",
    "\r\nX: y",
    "../..",
    "x" * 30_000,
    "0001-01-01",
    "9999-12-31",
    "9999-12-31T23:59:59",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "23:59:60",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    [],
    {},
    [None] * 5_000,
    {"\ud800": {"\x00": "\udfff"}},
    {str(number): number for number in range(3_000)},
    DEEP,
]

GOOD: dict[str, Any] = {
    "claw_identifier": "claw",
    "agent_id": "dev",
    "status": "exhausted",
    "date": str(MONDAY),
    "scheduled_at": "10:00",
    "at_time": "10:00",
    "start": "2026-01-05T08:00:00",
}
PATHS = {"slot_id": "1", "virtual_id": f"plan-1-{MONDAY}", "plan_id": "1"}
QUERIES = {"date": str(MONDAY), "claw_identifier": "claw", "since": "x", "limit": "1", "after": "0", "agent_id": "dev"}


@pytest.fixture(scope="module")
def world() -> World:
    world = World()
    world.add()
    world.plan()
    return world


def names(operations: tuple[Operation, ...]) -> list[Any]:
    return [pytest.param(operation, id=operation.name) for operation in operations]


def good_body(shape: Shape) -> dict[str, Any]:
    body = {name: GOOD[name] for name, field in shape.fields.items() if field.is_required}
    if body.get("status") and "started_at" in shape.fields:
        body["status"] = "ongoing"
    if "at_time" in shape.fields:
        body["at_time"] = GOOD["at_time"]
    return body or {"priority": 1}


def wrong_bodies(shape: Shape) -> Iterator[Any]:
    """Make bodies in which each field has each wrong value, and one member too many, or is itself wrong."""
    for name in (*shape.fields, "unknown", "\ud800", "__class__"):
        for value in WRONG:
            yield good_body(shape) | {name: value}
    if "recurrence" in shape.fields:
        for name in ("start", "zone", "rule", "until", "dates", "exceptions", "unknown"):
            for value in (*WRONG, ["2026-01-05T08:00:00"] * 2_100):
                yield {"recurrence": {"start": GOOD["start"], name: value}}
    yield from WRONG


def url_of(operation: Operation) -> str:
    query = "&".join(
        f"{parameter.name}={QUERIES[parameter.name]}"
        for parameter in operation.parameters
        if parameter.place == "query"
    )
    return operation.path.format(**PATHS) + (f"?{query}" if query else "")


def check(world: World, method: str, path: str, **options: Any) -> int:
    answer = world.ask(method, path, **options)
    assert answer.status < 500, (method, path[:200], str(options)[:300], answer.body)
    return answer.status


@pytest.mark.parametrize("operation", names(tuple(found for found in OPERATIONS if found.body is not None)))
def test_every_field_of_every_body_withstands_every_kind_of_value(world: World, operation: Operation) -> None:
    assert operation.body is not None
    statuses = {
        check(world, operation.method, url_of(operation), body=json.dumps(body).encode())
        for body in wrong_bodies(operation.body)
    }
    assert 422 in statuses


def test_the_good_bodies_beside_the_wrong_values_are_good() -> None:
    for operation in OPERATIONS:
        if operation.body is not None:
            world = World()
            world.add(3)
            world.plan()
            status = check(world, operation.method, url_of(operation), body=good_body(operation.body))
            assert status in {200, 201}, operation.name


@pytest.mark.parametrize("operation", names(OPERATIONS))
def test_every_parameter_withstands_every_kind_of_text(world: World, operation: Operation) -> None:
    body = None if operation.body is None else good_body(operation.body)
    texts = [
        "",
        "%00",
        "%FF",
        "%ED%A0%80",
        "%0D%0AX:y",
        "..%2f..",
        "-1",
        "9" * 5_000,
        "1" * 19,
        "%F0%9F%98%80",
        "a" * 9_000,
    ]
    for parameter in operation.parameters:
        for text in texts:
            headers = dict(CALLER)
            path, query = dict(PATHS), dict(QUERIES)
            if parameter.place == "header":
                headers[parameter.name] = text
            elif parameter.place == "path":
                path[parameter.name] = text
            else:
                query[parameter.name] = text
            url = operation.path.format(**path) + "?" + "&".join(f"{name}={value}" for name, value in query.items())
            assert check(world, operation.method, url, body=body, headers=headers) < 500


@pytest.mark.parametrize(
    "path",
    [
        "/calendar/slots/virtual/..%2f..%2f..%2fetc%2fpasswd",
        "/calendar/slots/virtual/%2e%2e/agent-update",
        "/calendar/slots/virtual/plan-1-2026-01-05%00/agent-update",
        "/calendar/slots/virtual/plan-999999999999999999-2026-01-05/agent-update",
        "/calendar/slots/virtual/plan-1-9999-12-31/agent-update",
        "/calendar/slots/virtual/plan-1-0001-01-01/agent-update",
        "/calendar/slots/virtual/plan-1-2026-01-05T9999/agent-update",
        "/calendar/slots/9223372036854775807/agent-update",
        "/calendar/slots/1%0d%0a/agent-update",
        "/calendar/slots/%F0%9F%98%80/agent-update",
        "/calendar/slots/%ff%fe/agent-update",
        "/" + "a/" * 3_000,
        "/calendar/" + "x" * 60_000,
    ],
    ids=lambda path: path[:60],
)
def test_paths_lead_to_what_they_name_or_nowhere(world: World, path: str) -> None:
    for method in "GET", "POST", "PATCH", "DELETE":
        assert check(world, method, path, body={"status": "ongoing"}) in {404, 405, 422}


@pytest.mark.parametrize("body", [b"x" * 2**20, b'"' + b"\\u0000" * 10_000 + b'"', b"\x00" * 1_000, b"{" * 60_000])
def test_bodies_may_be_anything(world: World, body: bytes) -> None:
    for operation in OPERATIONS:
        if operation.body is not None:
            assert check(world, operation.method, url_of(operation), body=body) in {413, 422}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Host", "a b"),
        ("Host", "[::1"),
        ("Host", "x" * 5_000),
        ("Content-Type", "\xff" * 100),
        ("Content-Type", 'application/json; charset="'),
        ("Content-Type", "application/json; charset*=utf-8''x%ff"),
        ("Authorization", "Bearer \xff\xfe"),
        ("Authorization", "Basic ////"),
        ("Cookie", "session=x; " * 500),
        ("Range", "bytes=0-0"),
        ("If-None-Match", "*"),
        ("Accept", "text/html"),
        ("Transfer-Encoding", "chunked"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-HTTP-Method-Override", "DELETE"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"api_key": "sesame"}], ids=["open", "with a key"])
def test_headers_may_be_anything(header: str, value: str, options: dict[str, str]) -> None:
    world = World(**options)
    for method, path in (
        ("POST", "/calendar/agent/heartbeat"),
        ("GET", f"/calendar/day?date={MONDAY}"),
        ("GET", "/openapi.json"),
    ):
        body = {"claw_identifier": "claw", "agent_id": "dev"} if method == "POST" else None
        check(world, method, path, body=body, headers=CALLER | {header: value})


def test_what_is_required_may_not_be_null() -> None:
    shapes = [operation.body for operation in OPERATIONS if operation.body is not None]
    fields = [(name, field) for shape in shapes for name, field in shape.fields.items()]
    assert [name for name, field in fields if field.is_required and field.is_nullable] == []
    assert any(field.is_required for _, field in fields)
