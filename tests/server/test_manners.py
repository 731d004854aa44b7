"""What holds for every request: keys, bodies, errors, headers."""

import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa

from harborcal.calendar import Calendar
from harborcal.errors import ConfigurationError
from harborcal.server import create_app
from harborcal.server.fields import Problem
from harborcal.testing import FakeClock
from tests.server.world import CALLER, MONDAY, Answer, World

HEARTBEAT = "/calendar/agent/heartbeat"
SPEAKER = b'{"claw_identifier": "claw", "agent_id": "dev"}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def world() -> World:
    return World()


def beat(world: World, body: bytes = SPEAKER, **options: object) -> Answer:
    return world.ask("POST", HEARTBEAT, body, **options)


# --- paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/calendar",
        "/calendar/slots/",
        "/calendar//slots",
        "//calendar/slots",
        "/calendar/plans/1/",
        "/CALENDAR/day",
        "/calendar/slots/virtual/../1/cancel",
        "/calendar/slots/virtual/..%2f1/cancel",
    ],
)
def test_an_unknown_path_is_not_found_and_leads_nowhere(world: World, path: str) -> None:
    for method in "GET", "POST":
        answer = world.ask(method, path)
        assert (answer.status, answer.body) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", HEARTBEAT, "POST"),
        ("OPTIONS", HEARTBEAT, "POST"),
        ("DELETE", "/calendar/slots/1", "PATCH"),
        ("PUT", "/calendar/plans/1", "GET, HEAD, PATCH"),
        ("PATCH", "/calendar/plans", "GET, HEAD, POST"),
        ("BREW", "/calendar/slots", "POST"),
    ],
)
def test_another_method_is_told_which_ones_there_are(world: World, method: str, path: str, allowed: str) -> None:
    answer = world.ask(method, path)
    assert (answer.status, answer.body) == (405, {"detail": "Method Not Allowed"})
    assert answer.headers["Allow"] == allowed


def test_every_answer_is_json_that_nobody_keeps(world: World) -> None:
    world.calendar.close()
    answers = [
        world.ask("GET", "/nowhere"),
        world.ask("PUT", HEARTBEAT),
        beat(world),
        world.ask("GET", "/openapi.json"),
    ]
    assert [answer.status for answer in answers] == [404, 405, 503, 200]
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in answer.headers


# --- bodies


@pytest.mark.parametrize("kind", [None, "", "application/json", "Application/JSON; charset=UTF-8", "application/json;"])
def test_a_body_is_json_where_it_says_so_or_says_nothing(world: World, kind: str | None) -> None:
    assert beat(world, content_type=kind).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json-seq"},
        {"Content-Type": ";"},
        {"Content-Encoding": "gzip"},
    ],
)
def test_a_body_of_another_kind_is_not_read(world: World, headers: dict[str, str]) -> None:
    assert beat(world, headers=CALLER | headers).status == 415


@pytest.mark.parametrize("length", [None, "", "-1", "+5", "1_0", "x", "0x10", "5, 5"])
def test_a_body_without_a_length_is_not_read(world: World, length: str | None) -> None:
    answer = beat(world, environ_overrides={"CONTENT_LENGTH": length} if length is not None else {})
    without = world.ask("POST", HEARTBEAT, None)
    assert (without.status, without.body) == (411, {"detail": "Length Required"})
    assert answer.status == (200 if length is None else 411)


def test_a_body_may_be_as_long_as_the_limit_and_no_longer() -> None:
    world = World(max_body_size=100)
    assert beat(world, SPEAKER.ljust(100)).status == 200
    answer = beat(world, SPEAKER.ljust(101))
    assert (answer.status, answer.body) == (413, {"detail": "a body has at most 100 bytes"})
    assert beat(world, environ_overrides={"CONTENT_LENGTH": "9" * 19}).status == 413


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b"nonsense",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + SPEAKER,
        b'{"agent_id": "dev", "agent_id": "dev", "claw_identifier": "claw"}',
        b'{"agent_id": NaN}',
        b'{"agent_id": 1e999}',
        b'{"agent_id": ' + b"9" * 5000 + b"}",
        b"[" * 20_000,
        b'{"a":' * 9_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_strict_json_is_not_valid(world: World, body: bytes) -> None:
    answer = beat(world, body)
    assert (answer.status, answer.complaints) == (422, [("body", "json_invalid")])


@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"7", b"true"])
def test_a_body_is_an_object(world: World, body: bytes) -> None:
    answer = beat(world, body)
    assert (answer.status, answer.complaints) == (422, [("body", "value_error")])


def test_what_is_wrong_beside_the_body_is_told_with_it(world: World) -> None:
    answer = beat(world, b"{}", headers={"X-Agent-ID": "a b"})
    assert answer.complaints == [
        ("header.X-Agent-ID", "value_error"),
        ("header.X-Claw-Identifier", "missing"),
        ("body.claw_identifier", "missing"),
        ("body.agent_id", "missing"),
    ]


def test_foreign_words_are_cleaned_before_they_are_repeated(world: World) -> None:
    name = "a\r\nb\u202e\u0000" + "x" * 2000
    answer = world.ask("POST", "/calendar/slots", {name: 1, "date": name, "agent_id": "\ud800"})
    told = [text for item in answer.body["detail"] for text in (*item["loc"], item["msg"])]
    assert answer.status == 422
    assert all(text.isprintable() and len(text) <= 500 for text in told)


def test_whatever_a_complaint_says_is_one_clean_line() -> None:
    told = Problem(("a\nb", 7), "c\u202e\nd").to_json()
    assert (told["loc"], told["msg"]) == (["a b", 7], "c d")


# --- keys


def test_without_the_key_only_the_document_is_told() -> None:
    world = World(api_key="sesame")
    assert world.ask("GET", "/openapi.json").status == 200
    for method, path in ("POST", HEARTBEAT), ("GET", f"/calendar/day?date={MONDAY}"), ("GET", "/nowhere"):
        answer = world.ask(method, path, SPEAKER if method == "POST" else None)
        assert (answer.status, answer.body) == (401, {"detail": "an API key is needed"})
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.calendar.agent("dev").last_heartbeat_at is None


@pytest.mark.parametrize(
    "value", ["sesame", "Basic sesame", "Bearer", "Bearer sesam", "Bearer sesamé", "Bearer sesame x"]
)
def test_another_key_is_no_key(value: str) -> None:
    headers = CALLER | {"Authorization": value}
    assert beat(World(api_key="sesame"), headers=headers).status == 401


def test_half_a_character_is_no_key() -> None:
    environ = {"HTTP_AUTHORIZATION": "Bearer \udcff"}
    assert beat(World(api_key="sesame"), environ_overrides=environ).status == 401


@pytest.mark.parametrize("value", ["Bearer sesame", "bearer sesame", "BEARER  sesame"])
def test_the_key_opens(value: str) -> None:
    headers = CALLER | {"Authorization": value}
    assert beat(World(api_key="sesame"), headers=headers).status == 200


@pytest.mark.parametrize("key", ["", " padded", "line\nbreak", "schlüssel", 7])
def test_a_key_that_could_not_be_sent_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="api_key"):
        World(api_key=key)


@pytest.mark.parametrize("size", [0, -1, True, 1.5])
def test_a_limit_that_makes_no_sense_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match="max_body_size"):
        World(max_body_size=size)


def test_pages_in_a_browser_change_nothing_without_a_key(world: World) -> None:
    key = world.add()
    from_page = {"Origin": "http://evil.example"}
    for origin in "http://evil.example", "null":
        assert world.ask("POST", f"/calendar/slots/{key}/cancel", headers={"Origin": origin}).status == 403
    assert world.ask("GET", f"/calendar/day?date={MONDAY}", headers=CALLER | from_page).status == 200
    guarded = World(api_key="sesame")
    assert beat(guarded, headers=CALLER | from_page | {"Authorization": "Bearer sesame"}).status == 200


# --- trouble


def test_a_calendar_that_is_busy_says_when_to_come_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calendar.db"
    with Calendar(url, clock=FakeClock(), patience=0.01) as calendar, Calendar(url) as other:
        calendar.register_agent("dev")
        with other._store.write():  # another program, in the middle of something
            response = create_app(calendar).test_client().post(HEARTBEAT, data=SPEAKER, headers=CALLER)
    assert (response.status_code, response.json) == (503, {"detail": "the calendar is busy"})
    assert response.headers["Retry-After"] == "1"


def test_a_plan_that_was_made_is_answered_although_its_overlaps_cannot_be_found_out(tmp_path: Path) -> None:
    path = tmp_path / "calendar.db"
    with Calendar(f"sqlite:///{path}", clock=FakeClock(), patience=0.01) as calendar:
        calendar.register_agent("dev")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            # Another program locks the file as soon as the plan is in it.
            sa.event.listen(
                calendar._store._engine, "checkin", lambda *_: other.in_transaction or other.execute("BEGIN EXCLUSIVE")
            )
            body = {"agent_id": "dev", "at_time": "10:00"}
            response = create_app(calendar).test_client().post("/calendar/plans", json=body)
            other.execute("ROLLBACK")
        assert (response.status_code, response.get_json()["id"]) == (201, 1)
        assert response.get_json()["warnings"] == ["what it overlaps could not be found out"]


def test_a_calendar_that_is_gone_is_told_without_its_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "calendar.db"
    with Calendar(f"sqlite:///{path}", clock=FakeClock()) as calendar:
        path.unlink()
        response = create_app(calendar).test_client().post(HEARTBEAT, data=SPEAKER, headers=CALLER)
    assert (response.status_code, response.json) == (503, {"detail": "the calendar cannot be used"})
    assert [record.name for record in caplog.records] == ["harborcal.server"]
    assert str(path) in caplog.text


def test_a_calendar_that_is_closed_is_told_as_such(world: World) -> None:
    world.calendar.close()
    answer = beat(world)
    assert (answer.status, answer.body) == (503, {"detail": "the calendar is closed"})


class Broken(FakeClock):
    """A clock that fails in a way that nobody foresaw."""

    def now(self) -> NoReturn:
        raise ZeroDivisionError("secret of the house")


def test_what_nobody_foresaw_is_told_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    with Calendar("sqlite://", clock=Broken()) as calendar:
        response = create_app(calendar).test_client().post(HEARTBEAT, data=SPEAKER, headers=CALLER)
    assert (response.status_code, response.json) == (500, {"detail": "Internal Server Error"})
    [record] = caplog.records
    assert (record.name, record.levelno) == ("harborcal.server", logging.ERROR)
    assert "secret of the house" in caplog.text
