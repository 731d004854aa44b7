import contextlib
import http.client
import json
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import trustme

from harborcal.errors import CalendarUnavailableError, ConfigurationError, LifecycleError, TransportError
from harborcal.model import SlotKey, SlotStatus
from harborcal.testing import CalendarServer, FakeClock, Fault, InMemoryCalendar

CALLER = {"X-Agent-ID": "dev", "X-Claw-Identifier": "claw", "Content-Type": "application/json"}
HEARTBEAT = {"claw_identifier": "claw", "agent_id": "dev"}
VIRTUAL = "plan-3-2026-01-05"


class Answer(NamedTuple):
    status: int
    body: Any
    headers: http.client.HTTPMessage


class Client:
    """A connection that stays open, and knows nothing of harborcal."""

    def __init__(self, server: CalendarServer, context: ssl.SSLContext | None = None) -> None:
        address = urllib.parse.urlsplit(server.url)
        assert address.hostname is not None
        if context is None:
            self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=5)
        else:
            self.connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=5, context=context)

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self.connection.request(method, path, raw, CALLER if headers is None else headers)
        response = self.connection.getresponse()
        read = response.read()
        is_json = response.headers.get("Content-Type") == "application/json" and read.strip()
        return Answer(response.status, json.loads(read) if is_json else read, response.headers)

    def beat(self) -> Answer:
        return self.ask("POST", "/calendar/agent/heartbeat", HEARTBEAT)

    def day(self, query: str = "?date=2026-01-05", headers: dict[str, str] | None = None) -> Answer:
        return self.ask("GET", f"/calendar/day{query}", headers=headers)

    def update(self, slot: object, **body: object) -> Answer:
        return self.ask("PATCH", f"/calendar/slots/{slot}/agent-update", body)


@pytest.fixture
def calendar() -> InMemoryCalendar:
    return InMemoryCalendar(FakeClock(), agents=["dev"])


@pytest.fixture
def server(calendar: InMemoryCalendar) -> Iterator[CalendarServer]:
    with CalendarServer(calendar) as server:
        yield server
    assert server.errors == []


@pytest.fixture
def client(server: CalendarServer) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.connection.close()


# --- the contract over HTTP


def test_a_heartbeat_lists_slots_as_the_contract_writes_them(calendar: InMemoryCalendar, client: Client) -> None:
    calendar.add_slot("dev", id=0, priority=3, event_type="job", event_data={"code": "T-1"})
    calendar.add_virtual_slot("dev", 3, scheduled_at="10:30")
    answer = client.beat()
    assert answer.status == 200
    assert answer.body["agent_status"] == "idle"
    real, virtual = answer.body["slots"]
    assert (real["id"], real["virtual_id"], real["status"], real["priority"]) == (0, None, "not_started", 3)
    assert (real["event_type"], real["event_data"], real["date"]) == ("job", {"code": "T-1"}, "2026-01-05")
    assert (virtual["id"], virtual["virtual_id"], virtual["scheduled_at"]) == (None, VIRTUAL, "10:30:00")


def test_an_update_answers_with_the_slot(calendar: InMemoryCalendar, client: Client) -> None:
    calendar.add_slot("dev", id=7)
    answer = client.update(7, status="ongoing", started_at="09:00:00")
    assert (answer.status, answer.body["id"], answer.body["started_at"]) == (200, 7, "09:00:00")
    assert client.update(7, status="finished", actual_duration=3).body["actual_duration"] == 3


def test_a_virtual_slots_update_answers_with_the_real_slot(calendar: InMemoryCalendar, client: Client) -> None:
    calendar.add_virtual_slot("dev", 3)
    answer = client.update(f"virtual/{VIRTUAL}", status="ongoing", started_at="09:00")
    assert (answer.status, answer.body["id"], answer.body["virtual_id"]) == (200, 1, None)
    assert calendar.slot(SlotKey.real(1)).status is SlotStatus.ONGOING


def test_a_day_lists_slots_as_the_contract_writes_them(calendar: InMemoryCalendar, client: Client) -> None:
    calendar.add_slot("dev", id=0, scheduled_at="10:00", status="ongoing", started_at="10:01")
    calendar.add_virtual_slot("dev", 3, scheduled_at="09:30")
    calendar.add_slot("dev", date="2026-01-06")
    answer = client.day()
    assert (answer.status, set(answer.body)) == (200, {"slots"})
    virtual, real = answer.body["slots"]
    assert (virtual["id"], virtual["virtual_id"], virtual["date"]) == (None, VIRTUAL, "2026-01-05")
    assert (real["id"], real["status"], real["scheduled_at"], real["started_at"]) == (
        0,
        "ongoing",
        "10:00:00",
        "10:01:00",
    )
    assert client.day("?date=2026-01-07&x=1").body == {"slots": []}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?x=1",
        "?date=",
        "?date=2026-1-5",
        "?date=20260105",
        "?date=2026-02-30",
        "?date=2026-01-05T00:00",
        "?date=0000-01-01",
        "?date=%D9%A2%D9%A0%D9%A2%D9%A6-01-05",
        "?date=%FF",
        "?date=2026-01-05&date=2026-01-06",
        "?date=&date=2026-01-05",
    ],
)
def test_a_day_without_one_good_date_is_not_valid(client: Client, query: str) -> None:
    answer = client.day(query)
    assert (answer.status, answer.body["detail"][0]["loc"]) == (422, ["query", "date"])


@pytest.mark.parametrize(
    ("headers", "where"),
    [
        ({"X-Claw-Identifier": "claw"}, "x-agent-id"),
        ({"X-Agent-ID": "dev"}, "x-claw-identifier"),
    ],
)
def test_a_day_needs_the_headers_of_every_call(client: Client, headers: dict[str, str], where: str) -> None:
    answer = client.day(headers=headers)
    assert (answer.status, answer.body["detail"][0]["loc"]) == (422, ["header", where])


def test_the_day_of_an_unknown_agent_is_not_found(client: Client) -> None:
    answer = client.day(headers={**CALLER, "X-Agent-ID": "ops"})
    assert (answer.status, answer.body) == (404, {"detail": "Agent not found"})


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE", "HEAD"])
def test_a_day_can_only_be_read(client: Client, method: str) -> None:
    answer = client.ask(method, "/calendar/day?date=2026-01-05")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


def test_refusals_are_told_with_their_status_and_detail(calendar: InMemoryCalendar, client: Client) -> None:
    calendar.add_slot("dev", id=7, status="finished")
    answer = client.update(7, status="ongoing")
    assert (answer.status, answer.body) == (409, {"detail": "slot is already finished"})
    calendar.remove_agent("dev")
    answer = client.beat()
    assert (answer.status, answer.body) == (404, {"detail": "Agent not found"})


def test_an_outage_is_a_503_or_what_was_asked_for(calendar: InMemoryCalendar, client: Client) -> None:
    calendar.fail_next(CalendarUnavailableError("slow down", 429, retry_after=1.5))
    calendar.fail_next(CalendarUnavailableError("who knows"))
    calendar.fail_next(TransportError("the line is dead"))
    answers = [client.beat() for _ in range(4)]
    assert [answer.status for answer in answers] == [429, 503, 503, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["2", None, None, None]
    calendar.close()
    assert client.beat().status == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/calendar/day/", 404),
        ("GET", "/calendar/days", 404),
        ("GET", "/", 404),
        ("GET", "/calendar/slots/1", 404),
        ("GET", "/calendar/agent/heartbeat", 405),
        ("POST", "/calendar/slots/1/agent-update", 405),
    ],
)
def test_other_paths_are_404_and_other_methods_405(client: Client, method: str, path: str, status: int) -> None:
    assert client.ask(method, path).status == status


@pytest.mark.parametrize(
    ("headers", "where"),
    [
        ({"X-Claw-Identifier": "claw"}, ["header", "x-agent-id"]),
        ({"X-Agent-ID": "dev"}, ["header", "x-claw-identifier"]),
        ({"X-Agent-ID": "not an id", "X-Claw-Identifier": "claw"}, ["header", "x-agent-id"]),
    ],
)
def test_who_calls_must_stand_in_the_headers(client: Client, headers: dict[str, str], where: list[str]) -> None:
    answer = client.ask("POST", "/calendar/agent/heartbeat", HEARTBEAT, headers)
    assert (answer.status, answer.body["detail"][0]["loc"]) == (422, where)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (None, ["body"]),
        (b"{", ["body"]),
        (b"\xff", ["body"]),
        (b"[]", ["body"]),
        ({"agent_id": "dev"}, ["body", "claw_identifier"]),
        ({"claw_identifier": "claw", "agent_id": "ops"}, ["body", "agent_id"]),
    ],
)
def test_a_heartbeats_body_is_validated(client: Client, body: object, where: list[str]) -> None:
    answer = client.ask("POST", "/calendar/agent/heartbeat", body)
    assert (answer.status, answer.body["detail"][0]["loc"]) == (422, where)


@pytest.mark.parametrize(
    ("slot", "body", "where"),
    [
        ("x", {"status": "ongoing"}, ["path", "slot_id"]),
        ("9223372036854775808", {"status": "ongoing"}, ["path", "slot_id"]),
        ("virtual/-", {"status": "ongoing"}, ["path", "slot_id"]),
        ("7", {}, ["body", "status"]),
        ("7", {"status": "Ongoing"}, ["body", "status"]),
        ("7", {"status": ["ongoing"]}, ["body", "status"]),
        ("7", {"status": "ongoing", "started_at": None}, ["body", "started_at"]),
        ("7", {"status": "ongoing", "started_at": "9:00"}, ["body", "started_at"]),
        ("7", {"status": "ongoing", "started_at": "99:00"}, ["body", "started_at"]),
        ("7", {"status": "finished", "actual_duration": None}, ["body", "actual_duration"]),
        ("7", {"status": "finished", "actual_duration": 65_536}, ["body", "actual_duration"]),
        ("7", {"status": "finished", "actual_duration": True}, ["body", "actual_duration"]),
    ],
)
def test_an_update_is_validated(
    calendar: InMemoryCalendar, client: Client, slot: str, body: dict[str, object], where: list[str]
) -> None:
    calendar.add_slot("dev", id=7)
    answer = client.update(slot, **body)
    assert (answer.status, answer.body["detail"][0]["loc"]) == (422, where)
    assert calendar.updates == []


# --- the server


def test_requests_are_recorded_as_they_came_in(server: CalendarServer, client: Client) -> None:
    client.ask("POST", "/calendar/agent/heartbeat?x=1", HEARTBEAT)
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("POST", "/calendar/agent/heartbeat?x=1")
    assert seen.headers["x-agent-id"] == "dev"
    assert json.loads(seen.body) == HEARTBEAT


def test_a_connection_is_kept_for_the_next_request(server: CalendarServer, client: Client) -> None:
    client.beat()
    sock = client.connection.sock
    client.beat()
    assert client.connection.sock is sock is not None


def test_any_wsgi_application_can_be_served() -> None:
    closed: list[bool] = []

    class Parts(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("X-Query", environ["QUERY_STRING"]), ("Content-Length", "ignored")])
        write(environ["PATH_INFO"].encode("iso-8859-1") + b"|")
        return Parts([environ["REQUEST_METHOD"].encode(), environ["wsgi.input"].read()])

    with CalendarServer(app) as server:
        client = Client(server)
        answer = client.ask("PUT", "/a%20b?c=d", b"body")
        assert (answer.body, answer.headers["X-Query"]) == (b"/a b|PUTbody", "c=d")
        assert client.ask("HEAD", "/a").headers["Content-Length"] == "7"
        client.connection.close()
    assert closed == [True, True]


def test_an_answer_without_content_has_no_length() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    with CalendarServer(app) as server:
        client = Client(server)
        assert [client.ask("GET", "/").headers.get("Content-Length") for _ in range(2)] == [None, None]
        client.connection.close()


def test_an_application_that_raises_is_a_500_and_is_remembered() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise ZeroDivisionError

    with CalendarServer(app) as server:
        client = Client(server)
        assert client.ask("GET", "/").status == 500
        assert client.ask("GET", "/").status == 500
        client.connection.close()
    assert [type(error) for error in server.errors] == [ZeroDivisionError, ZeroDivisionError]


def test_many_clients_are_served_at_once(calendar: InMemoryCalendar, server: CalendarServer) -> None:
    together = threading.Barrier(8)

    def meet(agent_id: str) -> None:
        together.wait(5)

    calendar.before_heartbeat = meet
    statuses: list[int] = []

    def beat() -> None:
        client = Client(server)
        statuses.append(client.beat().status)
        client.connection.close()

    threads = [threading.Thread(target=beat) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8


def test_a_server_starts_again_on_its_port(calendar: InMemoryCalendar) -> None:
    server = CalendarServer(calendar)
    with pytest.raises(LifecycleError, match="before its start"):
        _ = server.url
    server.stop()
    server.drop_connections()
    with server:
        url = server.url
        with pytest.raises(LifecycleError, match="already"):
            server.start()
    server.stop()
    with server:
        assert server.url == url
        client = Client(server)
        assert client.beat().status == 200
        client.connection.close()


def test_nobody_answers_after_a_stop(calendar: InMemoryCalendar) -> None:
    with CalendarServer(calendar) as server:
        client = Client(server)
        client.beat()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        client.beat()
    client.connection.close()
    with pytest.raises(ConnectionRefusedError):
        Client(server).beat()


def test_it_speaks_tls(calendar: InMemoryCalendar) -> None:
    authority = trustme.CA()
    own, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(own)
    with CalendarServer(calendar, tls=own) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(server, theirs).beat()
        authority.configure_trust(theirs)
        client = Client(server, theirs)
        assert client.beat().status == 200
        assert server.url.startswith("https://127.0.0.1:")
        client.connection.close()


def test_a_client_that_stalls_in_the_handshake_stalls_nobody_else(calendar: InMemoryCalendar) -> None:
    authority = trustme.CA()
    own, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(own)
    authority.configure_trust(theirs)
    with CalendarServer(calendar, tls=own) as server:
        client = Client(server, theirs)
        with socket.create_connection((client.connection.host, client.connection.port)):
            assert client.beat().status == 200
            client.connection.close()


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "Content-Length: many", "Content-Length: -1"])
def test_a_request_without_a_length_is_refused(server: CalendarServer, header: str) -> None:
    address = urllib.parse.urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as sock:
        sock.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 411 ")
    assert server.requests == []


def test_a_request_that_is_cut_short_is_no_request(server: CalendarServer) -> None:
    address = urllib.parse.urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort")
        sock.shutdown(socket.SHUT_WR)
        assert sock.makefile("rb").read() == b""
    assert server.requests == []


# --- faults


def test_a_status_is_answered_without_asking_the_calendar(
    calendar: InMemoryCalendar, server: CalendarServer, client: Client
) -> None:
    server.fault(Fault.status(418, b"tea", {"X-Tea": "yes"}), times=2)
    answers = [client.beat() for _ in range(3)]
    assert [(answer.status, answer.headers.get("X-Tea")) for answer in answers] == [
        (418, "yes"),
        (418, "yes"),
        (200, None),
    ]
    assert calendar.heartbeats == ["dev"]


def test_a_redirect_points_elsewhere(server: CalendarServer, client: Client) -> None:
    server.fault(Fault.redirect("http://127.0.0.1:1/"))
    answer = client.beat()
    assert (answer.status, answer.headers["Location"]) == (307, "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.drop(), http.client.RemoteDisconnected),
        (Fault.garbage(), http.client.BadStatusLine),
        (Fault.reset_mid_body(), (ConnectionResetError, http.client.IncompleteRead)),
    ],
    ids=["drop", "garbage", "reset"],
)
def test_a_broken_answer_breaks_the_connection_and_the_next_one_is_whole(
    calendar: InMemoryCalendar, server: CalendarServer, client: Client, fault: Fault, error: Any
) -> None:
    server.fault(fault)
    with pytest.raises(error):
        client.beat()
    assert calendar.heartbeats == (["dev"] if fault.kind == "reset_mid_body" else [])
    client.connection.close()
    assert client.beat().status == 200


def test_a_huge_answer_is_as_large_as_was_asked_for(server: CalendarServer, client: Client) -> None:
    server.fault(Fault.huge(100_000))
    assert client.beat().body == b" " * 100_000


def test_a_dripping_answer_is_whole_in_the_end(server: CalendarServer, client: Client) -> None:
    server.fault(Fault.drip(0.0))
    assert client.beat().body == {"slots": [], "agent_status": "idle"}


def test_a_stop_ends_a_drip_and_a_stall(calendar: InMemoryCalendar) -> None:
    with CalendarServer(calendar) as server:
        server.fault(Fault.drip(60.0))
        server.fault(Fault.stall())
        clients = [Client(server), Client(server)]
        for client in clients:
            client.connection.request("POST", "/calendar/agent/heartbeat", json.dumps(HEARTBEAT), CALLER)
        assert server.wait_for_requests(2)
    for client in clients:
        client.connection.close()


def test_a_client_that_gives_up_ends_a_stall(server: CalendarServer, client: Client) -> None:
    server.fault(Fault.stall())
    client.connection.timeout = 0.05
    with pytest.raises(TimeoutError):
        client.beat()
    client.connection.close()
    client.connection.timeout = 5
    assert client.beat().status == 200


def test_a_connection_can_be_closed_after_an_answer_that_did_not_say_so(server: CalendarServer, client: Client) -> None:
    server.fault(Fault.close_after())
    answer = client.beat()
    assert (answer.status, answer.headers.get("Connection")) == (200, None)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        client.beat()


def test_idle_connections_can_be_dropped_while_busy_ones_go_on(
    calendar: InMemoryCalendar, server: CalendarServer, client: Client
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    client.beat()
    busy = Client(server)
    statuses: list[int] = []

    def hold(agent_id: str) -> None:
        entered.set()
        assert go_on.wait(5)

    calendar.before_heartbeat = hold
    thread = threading.Thread(target=lambda: statuses.append(busy.beat().status))
    thread.start()
    assert entered.wait(5)
    server.drop_connections()
    calendar.before_heartbeat = None
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        client.beat()
    go_on.set()
    thread.join()
    assert statuses == [200]
    busy.connection.close()


def test_answers_can_be_late_and_a_stop_does_not_wait_for_them(calendar: InMemoryCalendar) -> None:
    with CalendarServer(calendar) as server:
        client = Client(server)
        server.latency = 0.02
        assert client.beat().status == 200
        server.latency = 60.0
        client.connection.request("POST", "/calendar/agent/heartbeat", json.dumps(HEARTBEAT), CALLER)
        assert server.wait_for_requests(2)
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        client.connection.getresponse().read()
    client.connection.close()


def test_a_number_of_faults_is_at_least_one(calendar: InMemoryCalendar) -> None:
    with pytest.raises(ConfigurationError):
        CalendarServer(calendar).fault(Fault.drop(), times=0)


def test_waiting_for_a_request_that_does_not_come_ends_with_the_timeout(server: CalendarServer) -> None:
    assert not server.wait_for_requests(1, timeout=0.0)


def test_a_fault_that_cannot_be_sent_is_remembered(calendar: InMemoryCalendar) -> None:
    with CalendarServer(calendar) as server:
        server.fault(Fault.status(200, headers={"X-Name": "日本"}))
        client = Client(server)
        with pytest.raises(http.client.RemoteDisconnected):
            client.beat()
        client.connection.close()
    assert [type(error) for error in server.errors] == [UnicodeEncodeError]
