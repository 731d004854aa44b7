"""The calendar over HTTP: through ``responses``, and against real sockets for what that cannot show."""

import contextlib
import datetime as dt
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import trustme
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool

from harborcal.carrier.punctual import make_context
from harborcal.clock import SystemClock
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    LifecycleError,
    MalformedAnswerError,
    NotSentError,
    TransportError,
    TransportTimeoutError,
)
from harborcal.grammar import claw_of
from harborcal.model import AgentStatus, PluginInfo, SlotKey, SlotStatus, SlotUpdate, UpdateReceipt
from harborcal.transports.http import HttpTransport
from tests.transports.rawserver import EMPTY, PATIENCE, Connection, RawServer, answer, server_context

URL = "https://calendar.example/api"
HEARTBEAT = f"{URL}/calendar/agent/heartbeat"
DAY = f"{URL}/calendar/day"
MONDAY = dt.date(2026, 1, 5)
KEY = "canary-4711-secret"
UPDATE = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 30))


def once(script: Callable[[Connection], None]) -> Callable[[Connection, int], None]:
    """Read one request, then do as the script says."""

    def serve(connection: Connection, _: int) -> None:
        if connection.read_request():
            script(connection)

    return serve


def sending(data: bytes) -> RawServer:
    """Answer each connection's first request with these bytes and hang up."""
    return RawServer(once(lambda connection: connection.send(data)))


@pytest.fixture(name="transport")
def open_transport() -> Iterator[HttpTransport]:
    transport = HttpTransport(URL, "claw-1")
    yield transport
    transport.close()


def header_of(request: bytes, name: str) -> list[str]:
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return [value.strip() for key, _, value in (line.partition(":") for line in lines) if key.lower() == name.lower()]


# --- what is asked, what is understood


@responses.activate
def test_a_heartbeat_is_posted_as_the_contract_says(transport: HttpTransport) -> None:
    responses.post(HEARTBEAT, json={"slots": [{"id": 7, "status": "not_started"}], "agent_status": "idle"})
    heartbeat = transport.heartbeat("agent-1")
    assert [slot.id for slot in heartbeat.slots] == [7]
    assert heartbeat.agent_status is AgentStatus.IDLE
    request = responses.calls[0].request
    assert json.loads(request.body or b"") == {"claw_identifier": "claw-1", "agent_id": "agent-1"}
    assert request.headers["X-Agent-ID"] == "agent-1"
    assert request.headers["x-claw-identifier"] == "claw-1"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("harborcal")
    assert "Authorization" not in request.headers


@responses.activate
@pytest.mark.parametrize(
    ("slot", "path"),
    [(SlotKey.real(0), "0"), (SlotKey.virtual("plan-3-2026-03-01"), "virtual/plan-3-2026-03-01")],
)
def test_an_update_is_patched_to_its_slot(transport: HttpTransport, slot: SlotKey, path: str) -> None:
    responses.patch(f"{URL}/calendar/slots/{path}/agent-update", json={"id": 12})
    receipt = transport.update_slot("agent-1", slot, UPDATE)
    assert receipt.delivered
    assert json.loads(responses.calls[0].request.body or b"") == {"status": "ongoing", "started_at": "09:30:00"}


@responses.activate
@pytest.mark.parametrize(("status", "body"), [(200, b""), (204, b""), (201, b"{}"), (200, b'{"ok": true}')])
def test_an_update_succeeds_without_any_words(transport: HttpTransport, status: int, body: bytes) -> None:
    responses.patch(f"{URL}/calendar/slots/7/agent-update", status=status, body=body)
    assert transport.update_slot("a", SlotKey.real(7), UPDATE) == UpdateReceipt(slot=SlotKey.real(7))


@responses.activate
def test_an_empty_answer_to_a_heartbeat_lists_nothing_and_is_flagged(transport: HttpTransport) -> None:
    responses.post(HEARTBEAT, status=204)
    heartbeat = transport.heartbeat("a")
    assert heartbeat.slots == ()
    assert [slot.reason for slot in heartbeat.unreadable] == ["the answer is empty"]


@responses.activate
def test_a_day_is_read_as_the_contract_says(transport: HttpTransport) -> None:
    responses.get(
        DAY,
        json={"slots": [{"id": 7, "status": "ongoing", "scheduled_at": "09:00"}, {"id": 8, "status": "finished"}]},
    )
    assert [slot.id for slot in transport.day("agent-1", MONDAY)] == [8, 7]
    request = responses.calls[0].request
    assert (request.method, request.url) == ("GET", f"{DAY}?date=2026-01-05")
    assert request.body is None
    assert request.headers["X-Agent-ID"] == "agent-1"
    assert request.headers["X-Claw-Identifier"] == "claw-1"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/json"


@responses.activate
@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"slots": null}', b'{"detail": "hello"}'])
def test_a_day_of_another_shape_is_a_malformed_answer(transport: HttpTransport, body: bytes) -> None:
    responses.get(DAY, body=body)
    with pytest.raises(MalformedAnswerError):
        transport.day("a", MONDAY)


@responses.activate
@pytest.mark.parametrize(
    ("status", "detail"), [(404, "Agent not found"), (404, "Not Found"), (405, "Method Not Allowed")]
)
def test_a_calendar_that_lists_no_days_is_heard_to_say_so(transport: HttpTransport, status: int, detail: str) -> None:
    responses.get(DAY, status=status, json={"detail": detail})
    with pytest.raises(CalendarRefusedError) as caught:
        transport.day("a", MONDAY)
    assert (caught.value.status, caught.value.detail) == (status, detail)
    assert len(responses.calls) == 1


@responses.activate
def test_a_day_is_asked_for_once(transport: HttpTransport) -> None:
    responses.get(DAY, status=503, headers={"Retry-After": "17"})
    with pytest.raises(CalendarUnavailableError) as caught:
        transport.day("a", MONDAY)
    assert (caught.value.status, caught.value.retry_after) == (503, 17.0)
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize("date", [dt.datetime(2026, 1, 5, tzinfo=dt.UTC), "2026-01-05", "2026-01-05&x=1", None])
def test_a_day_is_asked_for_by_a_date_only(transport: HttpTransport, date: Any) -> None:
    with pytest.raises(ConfigurationError, match="a day is a date"):
        transport.day("a", date)
    assert len(responses.calls) == 0


@responses.activate
def test_a_date_that_writes_itself_in_its_own_way_is_asked_for_as_the_contract_says(transport: HttpTransport) -> None:
    class Odd(dt.date):
        def isoformat(self) -> str:
            return "today#"

        __str__ = isoformat

    responses.get(DAY, json=[])
    transport.day("a", Odd(2026, 1, 5))
    assert responses.calls[0].request.url == f"{DAY}?date=2026-01-05"


@responses.activate
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 423])
def test_a_refusal_tells_the_status_and_the_calendars_words(transport: HttpTransport, status: int) -> None:
    responses.post(HEARTBEAT, status=status, json={"detail": "Agent not\nfound"})
    with pytest.raises(CalendarRefusedError) as caught:
        transport.heartbeat("a")
    assert (caught.value.status, caught.value.detail) == (status, "Agent not found")


@responses.activate
def test_an_unavailable_calendar_says_when_to_come_back(transport: HttpTransport) -> None:
    responses.post(HEARTBEAT, status=503, headers={"Retry-After": "17"}, body=b"<html>", content_type="text/html")
    with pytest.raises(CalendarUnavailableError) as caught:
        transport.heartbeat("a")
    assert (caught.value.status, caught.value.retry_after) == (503, 17.0)


@responses.activate
@pytest.mark.parametrize(
    ("raised", "translated"),
    [
        (requests.ReadTimeout("late"), TransportTimeoutError),
        (requests.ConnectTimeout("late"), TransportTimeoutError),
        (requests.ConnectionError("gone"), TransportError),
        (requests.exceptions.InvalidHeader("bad"), TransportError),
        (ValueError("odd"), TransportError),
    ],
)
def test_whatever_requests_raises_is_translated(
    transport: HttpTransport, raised: Exception, translated: type[TransportError]
) -> None:
    responses.post(HEARTBEAT, body=raised)
    with pytest.raises(TransportError) as caught:
        transport.heartbeat("a")
    assert type(caught.value) is translated
    assert caught.value.__cause__ is raised


@responses.activate
@pytest.mark.parametrize("status", [202, 206, 299, 304])
def test_a_status_outside_the_contract_is_a_malformed_answer(transport: HttpTransport, status: int) -> None:
    responses.post(HEARTBEAT, status=status, json={"slots": []})
    with pytest.raises(MalformedAnswerError, match=str(status)):
        transport.heartbeat("a")


@responses.activate
@pytest.mark.parametrize("kind", ["text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml"])
def test_a_web_page_is_no_answer(transport: HttpTransport, kind: str) -> None:
    responses.patch(f"{URL}/calendar/slots/7/agent-update", body=b"", content_type=kind)
    with pytest.raises(MalformedAnswerError, match="web page"):
        transport.update_slot("a", SlotKey.real(7), UPDATE)


@responses.activate
def test_json_under_another_name_is_an_answer(transport: HttpTransport) -> None:
    responses.post(HEARTBEAT, body=EMPTY, content_type="text/plain")
    assert transport.heartbeat("a").slots == ()


@responses.activate
@pytest.mark.parametrize("agent_id", ["", "..", "a/b", "a\r\nX-Evil: 1", "é", "a" * 129])
def test_no_id_breaks_out_of_its_header(transport: HttpTransport, agent_id: str) -> None:
    with pytest.raises(ConfigurationError):
        transport.heartbeat(agent_id)
    with pytest.raises(ConfigurationError):
        transport.update_slot(agent_id, SlotKey.real(7), UPDATE)
    with pytest.raises(ConfigurationError):
        transport.day(agent_id, MONDAY)
    assert len(responses.calls) == 0


@responses.activate
@pytest.mark.parametrize("slot_id", ["../../admin", "..", ".", "%2e%2e/x", "a?x=1", "a#f", "//evil.example", "a b"])
def test_no_id_breaks_out_of_its_path(transport: HttpTransport, slot_id: str) -> None:
    with pytest.raises(ConfigurationError):
        transport.update_slot("a", SlotKey.virtual(slot_id), UPDATE)
    assert len(responses.calls) == 0


# --- secrets and settings


@responses.activate
def test_the_key_is_a_bearer_token_and_shows_nowhere_else() -> None:
    transport = HttpTransport(URL, "claw-1", api_key=KEY)
    responses.post(HEARTBEAT, status=401, json={"detail": f"key {KEY} is not valid"})
    with pytest.raises(CalendarRefusedError) as caught:
        transport.heartbeat("a")
    assert responses.calls[0].request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(caught.value) + caught.value.detail + repr(caught.value) + repr(transport)
    assert "calendar.example" in repr(transport)
    transport.close()


def test_a_foreign_error_that_repeats_the_key_does_not_tell_it() -> None:
    def failing(*_: object, **__: object) -> requests.Response:
        raise requests.ConnectionError(f"Authorization: Bearer {KEY}")

    class Leaky(HTTPAdapter):
        send = failing

    def session() -> requests.Session:
        session = requests.Session()
        session.mount("https://", Leaky())
        return session

    transport = HttpTransport(URL, "claw-1", api_key=KEY, session_factory=session)
    with pytest.raises(TransportError) as caught:
        transport.heartbeat("a")
    assert KEY not in str(caught.value)
    assert isinstance(caught.value.__cause__, requests.ConnectionError)
    transport.close()


def test_the_key_goes_in_the_clear_to_this_machine_only() -> None:
    with pytest.raises(ConfigurationError, match="https"):
        HttpTransport("http://calendar.example", "claw-1", api_key=KEY)
    HttpTransport("http://127.0.0.1:1", "claw-1", api_key=KEY).close()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": float("nan")},
        {"timeout": True},
        {"max_body_size": 0},
        {"max_body_size": 1.5},
        {"max_body_size": True},
        {"claw_identifier": "two words"},
        {"claw_identifier": ""},
        {"api_key": "two\r\nlines"},
        {"api_key": ""},
        {"ca_file": "/nowhere/ca.pem"},
        {"base_url": "ftp://calendar.example"},
    ],
)
def test_an_argument_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        HttpTransport(**{"base_url": URL, **options})  # type: ignore[arg-type]


def test_a_ca_file_without_authorities_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    for ca_file in (path, str(path), tmp_path, "", "\x00", 5):
        with pytest.raises(ConfigurationError, match="ca_file"):
            HttpTransport(URL, ca_file=ca_file)  # type: ignore[arg-type]


@responses.activate
def test_the_claw_is_the_host_unless_it_is_named() -> None:
    responses.post(HEARTBEAT, json={"slots": []})
    transport = HttpTransport(URL)
    transport.heartbeat("a")
    assert responses.calls[0].request.headers["X-Claw-Identifier"] == claw_of(socket.gethostname())
    transport.close()


@pytest.mark.parametrize(
    ("host", "claw"),
    [
        ("box-1.lan", "box-1.lan"),
        ("_my box!", "my-box-"),
        ("", "localhost"),
        ("-é-", "localhost"),
        ("x" * 300, "x" * 128),
    ],
)
def test_a_host_name_becomes_a_claw_identifier(host: str, claw: str) -> None:
    assert claw_of(host) == claw


@responses.activate
def test_the_program_is_named_in_the_user_agent() -> None:
    responses.post(HEARTBEAT, json={"slots": []})
    transport = HttpTransport(URL, plugin=PluginInfo(name="my claw\r\n", version="1.0"))
    transport.heartbeat("a")
    assert responses.calls[0].request.headers["User-Agent"].endswith(" my-claw/1.0")
    transport.close()


# --- sessions of the user's own


@responses.activate
def test_what_a_session_brings_is_honoured() -> None:
    seen: list[int] = []

    def factory() -> requests.Session:
        session = requests.Session()
        session.headers["X-Tenant"] = "blue"
        session.headers["User-Agent"] = "theirs"
        session.auth = ("user", "password")
        session.cookies.set("pin", "1")
        session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
        return session

    responses.post(HEARTBEAT, json={"slots": []})
    transport = HttpTransport(URL, session_factory=factory)
    for _ in range(2):
        transport.heartbeat("a")
    for call in responses.calls:
        assert call.request.headers["X-Tenant"] == "blue"
        assert call.request.headers["User-Agent"].startswith("harborcal")
        assert call.request.headers["Authorization"] == "Basic dXNlcjpwYXNzd29yZA=="
        assert SimpleCookie(call.request.headers["Cookie"])["pin"].value == "1"
    assert seen == [200, 200]
    transport.close()


@responses.activate
def test_an_auth_that_signs_bodies_sees_each_body() -> None:
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Signature"] = str(len(request.body or b""))
        request.hooks["response"].append(lambda *_, **__: heard.append(request.headers["X-Agent-ID"]))
        return request

    heard: list[str] = []

    def factory() -> requests.Session:
        session = requests.Session()
        session.auth = sign
        return session

    responses.post(HEARTBEAT, json={"slots": []})
    transport = HttpTransport(URL, "c", session_factory=factory)
    for agent_id in ("a", "a" * 20):
        transport.heartbeat(agent_id)
    lengths = [int(call.request.headers["X-Signature"]) for call in responses.calls]
    assert lengths[1] - lengths[0] == 19
    assert heard == ["a", "a" * 20], "each answer is heard by the hook of its own request only"
    transport.close()


def test_an_adapter_of_the_users_own_is_kept() -> None:
    class Counting(HTTPAdapter):
        count = 0

        def send(self, *args: object, **kwargs: object) -> requests.Response:
            Counting.count += 1
            return super().send(*args, **kwargs)  # type: ignore[arg-type]

    def factory() -> requests.Session:
        session = requests.Session()
        session.mount("http://", Counting())
        return session

    with RawServer.serving(answer()) as server:
        transport = HttpTransport(server.url, session_factory=factory)
        transport.heartbeat("a")
        assert Counting.count == 1
        transport.close()


def test_with_an_adapter_of_the_users_own_a_dripping_body_is_cut_between_reads() -> None:
    session = requests.Session()
    session.mount("http://", own := HTTPAdapter(max_retries=1))

    def drip(connection: Connection) -> None:
        connection.send(answer(b"", length=1000))
        connection.drip(b" " * 1000)

    with RawServer(once(drip)) as server:
        transport = HttpTransport(server.url, timeout=0.2, session_factory=lambda: session)
        begun = time.monotonic()
        with pytest.raises(TransportTimeoutError, match=r"within 0\.2 s"):
            transport.heartbeat("a")
        assert time.monotonic() - begun < 3.0
        assert session.get_adapter(server.url) is own
        transport.close()


def test_a_pool_that_dials_in_its_own_way_is_left_to_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tunnel(HTTPConnectionPool):
        pass

    monkeypatch.setitem(urllib3.poolmanager.pool_classes_by_scheme, "http", Tunnel)
    with RawServer(once(lambda connection: connection.send(answer()))) as server:
        transport = HttpTransport(server.url)
        assert transport.heartbeat("a").slots == ()
        transport.close()
    with pytest.raises(TransportError) as caught:
        HttpTransport(server.url).heartbeat("a")
    assert type(caught.value) is TransportError, "nothing is known of what such a pool sent"


def test_a_session_that_cannot_make_requests_is_a_configuration_error() -> None:
    def factory() -> requests.Session:
        session = requests.Session()
        session.headers["X-Bad"] = "two\r\nlines"
        return session

    with pytest.raises(ConfigurationError, match="session"):
        HttpTransport(URL, session_factory=factory).heartbeat("a")


def test_a_session_that_does_not_verify_is_refused() -> None:
    def factory() -> requests.Session:
        session = requests.Session()
        session.verify = False
        return session

    with pytest.raises(ConfigurationError, match="ca_file"):
        HttpTransport(URL, session_factory=factory).heartbeat("a")


# --- environment


def test_proxies_and_netrc_of_the_environment_count_when_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine calendar.invalid login user password netrc-secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with RawServer.serving(answer()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        transport = HttpTransport("http://calendar.invalid", trust_env=True)
        transport.heartbeat("a")
        transport.close()
        assert proxy.requests[0].startswith(b"POST http://calendar.invalid/calendar/agent/heartbeat ")
        assert header_of(proxy.requests[0], "Authorization")[0].startswith("Basic ")


def test_a_proxy_that_stalls_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(once(Connection.stall)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        transport = HttpTransport("https://calendar.invalid", trust_env=True, timeout=0.2)
        with pytest.raises(TransportTimeoutError):
            transport.heartbeat("a")
        transport.close()


# --- redirects


def test_cookies_are_neither_sent_back_nor_kept() -> None:
    session = requests.Session()
    with RawServer.serving(answer(EMPTY, "200 OK", "Set-Cookie: track=1; Path=/")) as server:
        transport = HttpTransport(server.url, session_factory=lambda: session)
        for _ in range(2):
            transport.heartbeat("a")
        transport.close()
        assert [header_of(request, "Cookie") for request in server.requests] == [[], []]
    assert len(session.cookies) == 0


# --- the total deadline


@pytest.mark.parametrize("data", [answer(), answer(b"{}", "404 Not Found")], ids=["success", "refusal"])
def test_a_passed_deadline_overrules_a_whole_answer(data: bytes) -> None:
    class Skipping(SystemClock):
        skipped = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.skipped

    clock = Skipping()

    def factory() -> requests.Session:
        session = requests.Session()
        session.hooks["response"].append(lambda _, **__: setattr(clock, "skipped", 60.0))
        return session

    with RawServer.serving(data) as server:
        transport = HttpTransport(server.url, timeout=30.0, clock=clock, session_factory=factory)
        with pytest.raises(TransportTimeoutError, match="within 30 s"):
            transport.heartbeat("a")
        transport.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Let every host have these addresses."""
    targets = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: targets)


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that neither accepts nor refuses: the queue of a listener that never accepts is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_host_that_refuses_at_its_first_address_is_reached_at_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        refusing = unused.getsockname()
    with RawServer.serving(answer()) as server:
        resolve_to(monkeypatch, refusing, ("127.0.0.1", server.port))
        transport = HttpTransport("http://calendar.invalid:8000")
        assert transport.heartbeat("a").slots == ()
        transport.close()


def test_a_silent_first_address_does_not_use_up_the_time_of_the_second(
    monkeypatch: pytest.MonkeyPatch, silent: tuple[str, int]
) -> None:
    with RawServer.serving(answer()) as server:
        resolve_to(monkeypatch, silent, ("127.0.0.1", server.port))
        transport = HttpTransport("http://calendar.invalid:8000", timeout=1.0)
        assert transport.heartbeat("a").slots == ()
        transport.close()


def test_all_addresses_of_a_host_share_one_deadline(monkeypatch: pytest.MonkeyPatch, silent: tuple[str, int]) -> None:
    resolve_to(monkeypatch, *[silent] * 4)
    transport = HttpTransport("http://calendar.invalid:8000", timeout=0.4)
    begun = time.monotonic()
    with pytest.raises(TransportTimeoutError):
        transport.heartbeat("a")
    assert time.monotonic() - begun < 1.5
    transport.close()


def test_a_host_without_addresses_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    transport = HttpTransport("http://calendar.invalid")
    with pytest.raises(NotSentError, match="no address"):
        transport.heartbeat("a")
    transport.close()


# --- answers that break the rules


# --- connections


def test_at_most_as_many_sessions_are_made_as_calls_were_concurrent() -> None:
    barrier = threading.Barrier(4)
    made: list[requests.Session] = []

    def factory() -> requests.Session:
        made.append(requests.Session())
        return made[-1]

    def script(connection: Connection, _: int) -> None:
        while connection.read_request():
            barrier.wait(PATIENCE)
            connection.send(answer())

    with RawServer(script) as server:
        transport = HttpTransport(server.url, session_factory=factory)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                for future in [pool.submit(transport.heartbeat, "a") for _ in range(4)]:
                    future.result(PATIENCE)
        transport.close()
        assert (len(made), server.connections) == (4, 4)


def test_a_kept_connection_that_ends_within_an_answer_is_not_tried_again() -> None:
    def script(connection: Connection, _: int) -> None:
        connection.read_request()
        connection.send(answer())
        connection.read_request()
        connection.send(b"HTTP/1.1 2")

    with RawServer(script) as server:
        transport = HttpTransport(server.url)
        transport.heartbeat("a")
        with pytest.raises(TransportError):
            transport.heartbeat("a")
        assert server.connections == 1
        transport.close()


def test_an_error_that_the_caller_is_handling_is_not_mixed_up_with_the_calls_own() -> None:
    with sending(b"") as server:
        transport = HttpTransport(server.url)
        try:
            raise ssl.SSLError("the caller's own trouble")
        except ssl.SSLError:
            with pytest.raises(TransportError) as caught:
                transport.heartbeat("a")
        assert "RemoteDisconnected" in str(caught.value)
        assert "TLS" not in str(caught.value)
        transport.close()


def test_without_a_free_file_descriptor_the_call_fails_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer.serving(answer()) as server:
        transport = HttpTransport(server.url)
        with monkeypatch.context() as patch:

            def exhausted(*_: object, **__: object) -> None:
                raise OSError(24, "Too many open files")

            patch.setattr(socket, "getaddrinfo", exhausted)
            with pytest.raises(TransportError, match="Too many open files"):
                transport.heartbeat("a")
        assert transport.heartbeat("a").slots == ()
        transport.close()


# --- closing


@pytest.mark.parametrize("is_secure", [False, True], ids=["answer", "handshake"])
def test_closing_cuts_short_what_is_under_way(is_secure: bool) -> None:
    arrived = threading.Event()
    closed: list[bool] = []

    class Watched(requests.Session):
        def close(self) -> None:
            closed.append(True)
            super().close()

    def script(connection: Connection, _: int) -> None:
        connection._socket.recv(1)
        arrived.set()
        connection.stall()

    with RawServer(script) as server, ThreadPoolExecutor(1) as pool:
        url = server.url.replace("http", "https") if is_secure else server.url
        transport = HttpTransport(url, timeout=60.0, session_factory=Watched)
        call = pool.submit(transport.heartbeat, "a")
        assert arrived.wait(PATIENCE)
        transport.close()
        with pytest.raises(TransportError, match="closed during the exchange"):
            call.result(PATIENCE)
        assert closed == [True]


def test_a_session_that_is_made_while_closing_is_closed_at_once() -> None:
    closed: list[bool] = []

    class Watched(requests.Session):
        def close(self) -> None:
            closed.append(True)
            super().close()

    def factory() -> requests.Session:
        transport.close()
        return Watched()

    transport = HttpTransport(URL, session_factory=factory)
    with pytest.raises(LifecycleError):
        transport.heartbeat("a")
    assert closed == [True]


def test_a_connection_that_is_opened_while_closing_carries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer.serving(answer()) as server:
        real = socket.getaddrinfo

        def closing(host: str, port: int, **options: int) -> object:
            transport.close()
            return real(host, port, **options)

        transport = HttpTransport(server.url)
        monkeypatch.setattr(socket, "getaddrinfo", closing)
        with pytest.raises(TransportError, match="closed during the exchange"):
            transport.heartbeat("a")
        assert server.requests == []


def test_closing_between_two_connections_lets_no_other_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer.serving(answer(EMPTY, "200 OK", "Connection: close")) as server:
        real = socket.getaddrinfo
        transport = HttpTransport(server.url)
        transport.heartbeat("a")

        def closing(host: str, port: int, **options: int) -> object:
            transport.close()
            return real(host, port, **options)

        monkeypatch.setattr(socket, "getaddrinfo", closing)
        with pytest.raises(TransportError, match="closed during the exchange"):
            transport.heartbeat("a")
        assert server.connections == 1


# --- TLS


def test_a_directory_of_authorities_and_a_clients_certificate_are_honoured(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    client = authority.issue_cert("client.example")
    chain, pair = tmp_path / "client.pem", (tmp_path / "cert.pem", tmp_path / "key.pem")
    client.private_key_and_cert_chain_pem.write_to_path(str(chain))
    client.cert_chain_pems[0].write_to_path(str(pair[0]))
    client.private_key_pem.write_to_path(str(pair[1]))
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    for certificate in (str(chain), (str(pair[0]), str(pair[1]))):

        def factory(certificate: str | tuple[str, str] = certificate) -> requests.Session:
            session = requests.Session()
            session.cert = certificate
            return session

        with RawServer.serving(answer(), tls=context) as server:
            transport = HttpTransport(server.url, ca_file=ca_file, session_factory=factory)
            assert transport.heartbeat("a").slots == ()
            transport.close()


def test_a_directory_of_authorities_may_be_empty_and_then_trusts_nobody(authority: trustme.CA, tmp_path: Path) -> None:
    def factory() -> requests.Session:
        session = requests.Session()
        session.verify = str(tmp_path)
        return session

    with RawServer.serving(answer(), tls=server_context(authority)) as server:
        transport = HttpTransport(server.url, session_factory=factory)
        with pytest.raises(NotSentError, match="TLS"):
            transport.heartbeat("a")
        transport.close()


def test_a_connection_that_reports_to_no_deadline_is_secured_all_the_same(authority: trustme.CA, ca_file: str) -> None:
    context = make_context(ca_file, None)
    buffer = bytearray(4)
    with (
        RawServer.serving(answer(), tls=server_context(authority)) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(b"POST / HTTP/1.1\r\n\r\n")
        secured.recv_into(buffer)
    assert buffer == b"HTTP"


def test_the_authorities_are_loaded_once(authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    real = ssl.SSLContext.load_verify_locations

    def load(context: ssl.SSLContext, **options: str) -> None:
        loaded.append(options)
        real(context, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    barrier = threading.Barrier(3)

    def script(connection: Connection, _: int) -> None:
        while connection.read_request():
            barrier.wait(PATIENCE)
            connection.send(answer())

    with RawServer(script, tls=server_context(authority)) as server, ThreadPoolExecutor(3) as pool:
        transport = HttpTransport(server.url, ca_file=ca_file)
        for future in [pool.submit(transport.heartbeat, "a") for _ in range(3)]:
            future.result(PATIENCE)
        transport.close()
        assert server.connections == 3
    assert loaded == [{"cafile": ca_file}]
