"""The manners that whoever speaks HTTP to a calendar has: one suite, against real sockets."""

import datetime as dt
import gzip
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from harborcal.errors import (
    CalendarRefusedError,
    HarborcalError,
    LifecycleError,
    MalformedAnswerError,
    NotSentError,
    TransportError,
    TransportTimeoutError,
)
from harborcal.model import Heartbeat, SlotKey
from harborcal.transports.curl import CurlTransport
from harborcal.transports.http import HttpTransport
from tests.transports.rawserver import EMPTY, PATIENCE, Connection, RawServer, answer, server_context
from tests.transports.test_http import KEY, MONDAY, UPDATE, header_of, once, sending


class InBatches(CurlTransport):
    """libcurl, each heartbeat asked as a batch of one."""

    def heartbeat(self, agent_id: str) -> Heartbeat:
        ((_, outcome),) = self.heartbeats([agent_id])
        if isinstance(outcome, HarborcalError):
            raise outcome
        return outcome


Way = Callable[..., HttpTransport | CurlTransport]


@pytest.fixture(params=[HttpTransport, CurlTransport, InBatches])
def way(request: pytest.FixtureRequest) -> Way:
    made: Way = request.param
    return made


def test_a_day_is_asked_for_without_a_body_between_calls_that_have_one(way: Way) -> None:
    with RawServer.serving(answer()) as server:
        transport = way(f"{server.url}/api", "c", api_key=KEY)
        transport.heartbeat("a")
        transport.day("b", dt.date(33, 4, 3))
        transport.heartbeat("a")
        transport.close()
        before, day, after = server.requests
        assert server.connections == (2 if way is InBatches else 1)  # batches have connections of their own
    assert day.startswith(b"GET /api/calendar/day?date=0033-04-03 HTTP/1.1\r\n")
    assert day.endswith(b"\r\n\r\n"), "nothing follows the head"
    assert (header_of(day, "Content-Length"), header_of(day, "Transfer-Encoding")) == ([], [])
    assert (header_of(day, "X-Agent-ID"), header_of(day, "X-Claw-Identifier")) == (["b"], ["c"])
    assert (header_of(day, "Content-Type"), header_of(day, "Authorization")) == (
        ["application/json"],
        [f"Bearer {KEY}"],
    )
    assert before == after


def test_a_redirected_day_is_not_read_elsewhere(way: Way) -> None:
    with RawServer.serving(answer()) as elsewhere:
        with RawServer.serving(answer(b"", "302 Found", f"Location: {elsewhere.url}/x")) as server:
            transport = way(server.url)
            with pytest.raises(MalformedAnswerError, match="redirect"):
                transport.day("a", MONDAY)
            transport.close()
        assert elsewhere.connections == 0


def test_a_day_ends_by_the_deadline_and_at_the_limit(way: Way) -> None:
    with RawServer(once(lambda connection: connection.drip(answer(b" " * 1_000)))) as server:
        transport = way(server.url, timeout=0.2)
        with pytest.raises(TransportTimeoutError, match=r"within 0\.2 s"):
            transport.day("a", MONDAY)
        transport.close()
    with sending(answer(b"[" + b" " * 100 + b"]")) as server:
        transport = way(server.url, max_body_size=101)
        with pytest.raises(MalformedAnswerError, match="longer than 101 bytes"):
            transport.day("a", MONDAY)
        transport.close()


def test_proxies_and_netrc_of_the_environment_do_not_count(
    way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password netrc-secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with RawServer.serving(answer()) as proxy, RawServer.serving(answer()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        transport = way(server.url)
        transport.heartbeat("a")
        transport.close()
        assert proxy.connections == 0
        assert header_of(server.requests[0], "Authorization") == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_named_and_never_followed(way: Way, status: str) -> None:
    with RawServer.serving(answer()) as elsewhere:
        with RawServer.serving(answer(b"", status, f"Location: {elsewhere.url}/x")) as server:
            transport = way(server.url, api_key=KEY)
            with pytest.raises(MalformedAnswerError, match=re.escape(f"({status[:3]}) to {elsewhere.url}/x")):
                transport.update_slot("a", SlotKey.real(7), UPDATE)
            transport.close()
        assert elsewhere.connections == 0


def test_the_body_of_a_redirect_is_not_read(way: Way) -> None:
    def flood(connection: Connection) -> None:
        connection.send(answer(b"", "302 Found", "Location: /x", length=2**40))
        connection.flood(b"x" * 65536)

    with RawServer(once(flood)) as server:
        transport = way(server.url, timeout=PATIENCE)
        with pytest.raises(MalformedAnswerError, match="redirect"):
            transport.heartbeat("a")
        transport.close()


def timed_out(way: Way, server: RawServer, timeout: float = 0.3) -> float:
    """Run into the deadline and tell how long that took."""
    transport = way(server.url, timeout=timeout)
    begun = time.monotonic()
    with pytest.raises(TransportTimeoutError, match=f"within {timeout} s"):
        transport.heartbeat("a")
    transport.close()
    return time.monotonic() - begun


def drip(data: bytes, before: bytes = b"") -> RawServer:
    def script(connection: Connection) -> None:
        connection.send(before)
        connection.drip(data)

    return RawServer(once(script))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RawServer(once(Connection.stall)),
        lambda: drip(b"HTTP/1.1 200 OK\r\n" * 100),
        lambda: drip(b"X-Filler: 1\r\n" * 100, before=b"HTTP/1.1 200 OK\r\n"),
        lambda: drip(b" " * 1000, before=answer(b"", length=1000)),
        lambda: drip(b"1\r\n \r\n" * 1000, before=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        lambda: drip(b"x" * 1000, before=answer(b"", "503 Busy", length=1000)),
        lambda: RawServer(lambda connection, _: connection.stall()),
    ],
    ids=[
        "stalled",
        "status dripped",
        "headers dripped",
        "body dripped",
        "chunks dripped",
        "error dripped",
        "deaf",
    ],
)
def test_an_exchange_ends_by_its_deadline_whatever_the_calendar_does(way: Way, make: Callable[[], RawServer]) -> None:
    with make() as server:
        assert timed_out(way, server) < 3.0


def test_interim_answers_do_not_put_off_the_end(way: Way) -> None:
    with RawServer(once(lambda connection: connection.flood(b"HTTP/1.1 100 Continue\r\n\r\n"))) as server:
        transport = way(server.url, timeout=0.3)
        with pytest.raises((TransportTimeoutError, MalformedAnswerError)):  # libcurl counts them
            transport.heartbeat("a")
        transport.close()


def test_a_tls_handshake_ends_by_the_deadline(way: Way, tmp_path: Path) -> None:
    with RawServer(lambda connection, _: connection.stall()) as server:
        transport = way(server.url.replace("http:", "https:"), timeout=0.2)
        with pytest.raises(TransportTimeoutError):
            transport.heartbeat("a")
        transport.close()


@pytest.mark.parametrize(
    "data",
    [
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 13\r\n\r\n" + EMPTY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 12, 13\r\n\r\n" + EMPTY,
        b"HTTP/1.1 200 OK\r\nContent-Length: -12\r\n\r\n" + EMPTY,
        b"HTTP/1.1 200 OK\r\nContent-Length: +12\r\n\r\n" + EMPTY,
        b"HTTP/1.1 200 OK\r\nContent-Length: twelve\r\n\r\n" + EMPTY,
        b"HTTP/1.1 200 OK\r\n\r\n" + EMPTY,
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + EMPTY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 12, 13\r\n\r\n" + EMPTY,
        answer(b"<html>login</html>", "200 OK", "Content-Type: text/html"),
        answer(gzip.compress(b" " * 10_000_000), "200 OK", "Content-Encoding: gzip"),
        answer(EMPTY, "103 Early Hints"),
        answer(b"\xff\xfe{}"),
    ],
)
def test_an_answer_that_is_not_of_the_contract_is_malformed(way: Way, data: bytes) -> None:
    with sending(data) as server:
        transport = way(server.url)
        with pytest.raises(MalformedAnswerError):
            transport.heartbeat("a")
        transport.close()


@pytest.mark.parametrize(
    "data",
    [
        answer(EMPTY, length=100),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno chunk",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n" + EMPTY[:4],
        b"HTTP/1.1 200 OK\r\nConte",
        b"",
    ],
)
def test_an_answer_that_was_cut_short_may_be_tried_again(way: Way, data: bytes) -> None:
    with sending(data) as server:
        transport = way(server.url)
        with pytest.raises(TransportError) as caught:
            transport.heartbeat("a")
        assert not isinstance(caught.value, NotSentError)
        transport.close()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 12\n\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-LENGTH:12\r\nX-Long: " + b"x" * 5_000 + b"\r\n\r\n",
    ],
    ids=["bare line feeds", "after an interim answer", "odd spelling, long"],
)
def test_a_head_may_be_written_in_other_ways(way: Way, head: bytes) -> None:
    with RawServer.serving(head + EMPTY) as server:
        transport = way(server.url)
        assert [transport.heartbeat("a").slots for _ in range(3)] == [(), (), ()]
        transport.close()


def test_a_reset_in_mid_body_may_be_tried_again(way: Way) -> None:
    def script(connection: Connection) -> None:
        connection.send(answer(b"{", length=100))
        connection.reset()

    with RawServer(once(script)) as server:
        transport = way(server.url)
        with pytest.raises(TransportError, match="no answer from"):
            transport.heartbeat("a")
        transport.close()
        assert server.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\n<html>",
        answer(b"{", "404 Not Found", length=100),
        answer(b"x" * 200_000, "404 Not Found"),
    ],
)
def test_a_refusal_stands_whatever_becomes_of_its_body(way: Way, data: bytes) -> None:
    with sending(data) as server:
        transport = way(server.url)
        with pytest.raises(CalendarRefusedError) as caught:
            transport.heartbeat("a")
        assert (caught.value.status, caught.value.detail) == (404, "")
        transport.close()


def test_an_encoding_that_nobody_asked_for_is_named(way: Way) -> None:
    with sending(answer(gzip.compress(EMPTY), "200 OK", "Content-Encoding: gzip")) as server:
        transport = way(server.url)
        with pytest.raises(MalformedAnswerError, match="encoded"):
            transport.heartbeat("a")
        transport.close()


def test_a_body_that_is_said_to_be_too_long_is_not_read(way: Way) -> None:
    def script(connection: Connection) -> None:
        connection.send(answer(b"", length=2**30))
        connection.stall()

    with RawServer(once(script)) as server:
        transport = way(server.url)
        with pytest.raises(MalformedAnswerError, match="longer than 1048576 bytes"):
            transport.heartbeat("a")
        transport.close()


def test_a_body_that_does_not_end_is_given_up_at_the_limit(way: Way) -> None:
    def script(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.flood(b"1000\r\n" + b" " * 4096 + b"\r\n")

    with RawServer(once(script)) as server:
        transport = way(server.url, max_body_size=100_000)
        with pytest.raises(MalformedAnswerError, match="longer than 100000 bytes"):
            transport.heartbeat("a")
        transport.close()


@pytest.mark.parametrize("slack", [0, -1])
def test_a_body_may_be_just_as_long_as_the_limit(way: Way, slack: int) -> None:
    padded = EMPTY + b" " * 200_000
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(padded), padded)
    for data in (answer(padded), chunked):
        with RawServer.serving(data) as server:
            transport = way(server.url, max_body_size=len(padded) + slack)
            if slack:
                with pytest.raises(MalformedAnswerError):
                    transport.heartbeat("a")
            else:
                assert [transport.heartbeat("a").slots for _ in range(2)] == [(), ()]
                assert server.connections == 1
            transport.close()


def test_a_connection_is_used_again_also_by_other_threads(way: Way) -> None:
    with RawServer.serving(answer()) as server:
        transport = way(server.url)
        for _ in range(5):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(transport.heartbeat, "a").result(PATIENCE)
        assert (server.connections, len(server.requests)) == (1, 5)
        transport.close()


def test_head_and_body_leave_together(way: Way) -> None:
    first: list[bytes] = []

    def script(connection: Connection, _: int) -> None:
        first.append(connection._socket.recv(65536))
        connection.send(answer())

    with RawServer(script) as server:
        transport = way(server.url, "c")
        transport.heartbeat("a")
        transport.close()
    assert first[0].endswith(b'{"claw_identifier":"c","agent_id":"a"}')


@pytest.mark.parametrize("end", [Connection.reset, lambda connection: None], ids=["reset", "closed"])
def test_a_kept_connection_that_ends_under_a_request_is_replaced_without_a_word(
    way: Way,
    end: Callable[[Connection], None],
) -> None:
    def script(connection: Connection, number: int) -> None:
        connection.read_request()
        connection.send(answer())
        connection.read_request()  # and leaves it unanswered on the first connection
        if number == 0:
            end(connection)
        else:
            connection.send(answer())

    with RawServer(script) as server:
        transport = way(server.url)
        for _ in range(2):
            transport.heartbeat("a")
        assert server.connections == 2
        transport.close()


def test_a_kept_connection_that_ended_between_requests_is_replaced(way: Way) -> None:
    with sending(answer()) as server:
        transport = way(server.url)
        for _ in range(3):
            transport.heartbeat("a")
        assert server.connections == 3
        transport.close()


def test_a_fresh_connection_that_ends_under_a_request_is_not_tried_again(way: Way) -> None:
    with sending(b"") as server:
        transport = way(server.url)
        with pytest.raises(TransportError) as caught:
            transport.heartbeat("a")
        assert type(caught.value) is TransportError
        assert server.connections == 1
        transport.close()


def test_a_request_that_a_kept_connection_took_with_it_counts_as_sent(way: Way) -> None:
    def script(connection: Connection, _: int) -> None:
        connection.read_request()
        connection.send(answer())
        connection.read_request()
        server.refuse()

    with RawServer(script) as server:
        transport = way(server.url)
        transport.heartbeat("a")
        with pytest.raises(TransportError, match="no answer") as caught:
            transport.heartbeat("a")
        assert not isinstance(caught.value, NotSentError)
        transport.close()


def test_a_refused_connection_is_known_not_to_have_carried_anything(way: Way) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    transport = way(f"http://127.0.0.1:{port}")
    words = set()
    for _ in range(2):
        with pytest.raises(NotSentError, match=f"no answer from http://127.0.0.1:{port}") as caught:
            transport.heartbeat("a")
        words.add(str(caught.value))
    assert len(words) == 1, "a repeating fault reads the same each time"
    transport.close()


def test_a_closed_transport_refuses_calls_and_hangs_up(way: Way) -> None:
    hung_up = threading.Event()

    def script(connection: Connection, _: int) -> None:
        while connection.read_request():
            connection.send(answer())
        hung_up.set()

    with RawServer(script) as server:
        transport = way(server.url)
        transport.heartbeat("a")
        transport.close()
        transport.close()
        assert hung_up.wait(PATIENCE)
        with pytest.raises(LifecycleError):
            transport.heartbeat("a")
        with pytest.raises(LifecycleError):
            transport.update_slot("a", SlotKey.real(7), UPDATE)


def test_a_calendar_of_a_trusted_authority_is_spoken_to(way: Way, authority: trustme.CA, ca_file: str) -> None:
    with RawServer.serving(answer(), tls=server_context(authority)) as server:
        transport = way(server.url, ca_file=Path(ca_file), api_key=KEY)
        for _ in range(2):
            assert transport.heartbeat("a").slots == ()
        assert server.connections == 1
        assert header_of(server.requests[0], "Authorization") == [f"Bearer {KEY}"]
        transport.close()


@pytest.mark.parametrize("trouble", ["unknown authority", "wrong host", "too old", "no TLS"])
def test_a_calendar_that_cannot_prove_itself_is_not_spoken_to(
    way: Way, authority: trustme.CA, ca_file: str, trouble: str
) -> None:
    context = server_context(authority, "elsewhere.example" if trouble == "wrong host" else "127.0.0.1")
    if trouble == "too old":
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    def plain() -> RawServer:
        return RawServer(lambda connection, _: connection.send(b"HTTP/1.1 400 Speak up\r\n\r\n"))

    with plain() if trouble == "no TLS" else RawServer.serving(answer(), tls=context) as server:
        transport = way(
            server.url.replace("http:", "https:"), ca_file=None if trouble == "unknown authority" else ca_file
        )
        with pytest.raises(NotSentError, match="TLS with https://127"):
            transport.heartbeat("a")
        assert server.requests == []
        transport.close()
