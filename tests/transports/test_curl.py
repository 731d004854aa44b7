"""libcurl's own: batches on one thread, and what only concerns them. The manners are in `test_manners`."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    LifecycleError,
    NotSentError,
    TransportError,
    TransportTimeoutError,
)
from harborcal.model import Heartbeat
from harborcal.transport import BatchTransport, find
from harborcal.transports import readiness
from harborcal.transports.curl import CurlTransport
from harborcal.transports.retrying import RetryingTransport
from tests.transports.rawserver import PATIENCE, Connection, RawServer, answer, server_context
from tests.transports.test_http import KEY, URL, once

Answers = dict[str, Heartbeat | HarborcalError]


def agent_of(request: bytes) -> str:
    agent: str = json.loads(request.partition(b"\r\n\r\n")[2])["agent_id"]
    return agent


def by_agent(respond: Callable[[str], bytes]) -> RawServer:
    """Answer every request by the agent that it is for; empty means to say nothing more on that connection."""

    def serve(connection: Connection, _: int) -> None:
        while request := connection.read_request():
            if not (data := respond(agent_of(request))):
                connection.stall()
                return
            connection.send(data)

    return RawServer(serve)


def test_a_batch_is_asked_over_few_connections_that_are_used_again() -> None:
    with by_agent(lambda agent: answer(b'{"slots":[{"id":%s,"status":"not_started"}]}' % agent[1:].encode())) as server:
        transport = CurlTransport(server.url, max_connections=3)
        agent_ids = [f"a{number}" for number in range(40)]
        for _ in range(2):
            told = [
                (agent_id, heartbeat.slots[0].id)
                for agent_id, heartbeat in transport.heartbeats(agent_ids)
                if isinstance(heartbeat, Heartbeat)
            ]
            assert sorted(told) == sorted((agent_id, int(agent_id[1:])) for agent_id in agent_ids)
        transport.heartbeat("a7")
        assert server.connections <= 3 + 1
        transport.close()


def test_no_more_are_under_way_at_once_than_there_may_be_connections() -> None:
    lock = threading.Lock()
    under_way, most = 0, 0
    full = threading.Event()

    def respond(_agent: str) -> bytes:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == 4:
                full.set()
        full.wait(PATIENCE)
        with lock:
            under_way -= 1
        return answer()

    with by_agent(respond) as server:
        transport = CurlTransport(server.url, max_connections=4)
        assert len(dict(transport.heartbeats([f"a{number}" for number in range(20)]))) == 20
        transport.close()
    assert most == 4


def test_each_answer_is_given_as_it_comes() -> None:
    others_were_told = threading.Event()

    def respond(agent: str) -> bytes:
        if agent == "slow":
            others_were_told.wait(PATIENCE)
        return answer()

    with by_agent(respond) as server:
        transport = CurlTransport(server.url)
        told = []
        for agent_id, _ in transport.heartbeats(["slow", "a", "b", "c"]):
            told.append(agent_id)
            if len(told) == 3:
                others_were_told.set()
        assert told[3] == "slow"
        transport.close()


def test_what_goes_wrong_for_one_agent_is_its_answer_and_nobody_elses() -> None:
    wrong = {
        "refused": answer(b'{"detail":"Agent not found"}', "404 Not Found"),
        "busy": answer(b"", "503 Busy", "Retry-After: 7"),
        "silent": b"",
        "odd": answer(b"[]"),
    }
    with by_agent(lambda agent: wrong.get(agent, answer())) as server:
        transport = CurlTransport(server.url, timeout=0.5)
        answers: Answers = dict(transport.heartbeats(["a", *wrong, "../x", "b"]))
        transport.close()
    assert isinstance(answers["a"], Heartbeat)
    assert isinstance(answers["b"], Heartbeat)
    assert isinstance(answers["refused"], CalendarRefusedError)
    assert isinstance(answers["busy"], CalendarUnavailableError)
    assert answers["busy"].retry_after == 7
    assert isinstance(answers["silent"], TransportTimeoutError)
    assert isinstance(answers["odd"], TransportError)
    assert isinstance(answers["../x"], ConfigurationError)


def test_who_waits_for_a_connection_loses_no_time_by_it() -> None:
    """The deadline counts from when an agent is asked: one silent agent leaves the one behind it its whole time."""
    with by_agent(lambda agent: b"" if agent == "silent" else answer()) as server:
        transport = CurlTransport(server.url, timeout=0.3, max_connections=1)
        answers: Answers = dict(transport.heartbeats(["silent", "next"]))
        transport.close()
    assert isinstance(answers["silent"], TransportTimeoutError)
    assert isinstance(answers["next"], Heartbeat)


def test_an_agent_that_is_named_twice_is_asked_once_and_nobody_is_no_batch() -> None:
    asked: list[str] = []

    def respond(agent: str) -> bytes:
        asked.append(agent)
        return answer()

    with by_agent(respond) as server:
        transport = CurlTransport(server.url)
        assert [agent_id for agent_id, _ in transport.heartbeats(["a", "a"])] == ["a"]
        assert list(transport.heartbeats([])) == []
        assert asked == ["a"]
        transport.close()


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("how", [Connection.reset, lambda _: None], ids=["reset", "closed"])
def test_connections_that_were_closed_while_they_were_idle_cost_no_heartbeat(
    how: Callable[[Connection], None], *, is_secure: bool, authority: trustme.CA, ca_file: str
) -> None:
    served = threading.Semaphore(0)
    drop = threading.Event()
    dropped = threading.Semaphore(0)

    def script(connection: Connection, number: int) -> None:
        while connection.read_request():
            connection.send(answer())
            served.release()
            if number < 20:
                drop.wait(PATIENCE)
                how(connection)
                dropped.release()
                return

    names = [f"a{number}" for number in range(20)]
    with RawServer(script, tls=server_context(authority) if is_secure else None) as server:
        transport = CurlTransport(server.url, max_connections=20, ca_file=ca_file)
        ready: Answers = dict(transport.heartbeats(names))
        assert all(isinstance(outcome, Heartbeat) for outcome in ready.values())
        first = server.connections
        drop.set()
        for _ in range(first):
            assert dropped.acquire(timeout=PATIENCE)
        again: Answers = dict(transport.heartbeats(names))
        assert {str(outcome) for outcome in again.values() if not isinstance(outcome, Heartbeat)} == set()
        transport.close()


def test_the_connections_of_a_batch_are_kept_for_the_next_one_whatever_is_called_in_between() -> None:
    with by_agent(lambda _: answer()) as server:
        transport = CurlTransport(server.url, max_connections=8)
        names = [f"a{number}" for number in range(8)]
        for _ in range(4):
            dict(transport.heartbeats(names))
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(transport.heartbeat, names))
        assert server.connections <= 8 + 3
        transport.close()


def test_a_calendar_that_is_not_there_was_sent_nothing() -> None:
    with RawServer.serving(answer()) as server:
        url = server.url
    transport = CurlTransport(url)
    answers: Answers = dict(transport.heartbeats(["a", "b"]))
    assert [type(outcome) for outcome in answers.values()] == [NotSentError, NotSentError]
    transport.close()


def test_a_batch_that_is_given_up_leaves_the_transport_as_good_as_new() -> None:
    with by_agent(lambda agent: b"" if agent == "silent" else answer()) as server:
        transport = CurlTransport(server.url, timeout=60.0)
        answers = transport.heartbeats(["silent", "a"])
        assert next(answers)[0] == "a"
        answers.close()  # type: ignore[attr-defined]
        assert transport.heartbeat("a").slots == ()
        transport.close()


@pytest.mark.parametrize("is_secure", [False, True], ids=["answer", "handshake"])
@pytest.mark.parametrize("is_batch", [False, True], ids=["single", "batch"])
def test_closing_cuts_short_what_is_under_way(*, is_secure: bool, is_batch: bool) -> None:
    arrived = threading.Event()

    def script(connection: Connection, _: int) -> None:
        connection._socket.recv(1)
        arrived.set()
        connection.stall()

    def ask(transport: CurlTransport) -> object:
        return dict(transport.heartbeats(["a", "b"])) if is_batch else transport.heartbeat("a")

    with RawServer(script) as server, ThreadPoolExecutor(1) as pool:
        transport = CurlTransport(server.url.replace("http", "https") if is_secure else server.url, timeout=60.0)
        call = pool.submit(ask, transport)
        assert arrived.wait(PATIENCE)
        transport.close()
        if is_batch:
            answers = call.result(PATIENCE)
            assert isinstance(answers, dict)
            assert {str(error) for error in answers.values()} == {"the transport was closed during the exchange"}
        else:
            with pytest.raises(TransportError, match="closed during the exchange"):
                call.result(PATIENCE)
        with pytest.raises(LifecycleError):
            list(transport.heartbeats(["a"]))


def test_nobody_who_still_waits_is_asked_after_the_end() -> None:
    arrived = threading.Event()

    def script(connection: Connection, _: int) -> None:
        connection.read_request()
        arrived.set()
        connection.stall()

    with RawServer(script) as server, ThreadPoolExecutor(1) as pool:
        transport = CurlTransport(server.url, timeout=60.0, max_connections=1)
        call = pool.submit(lambda: dict(transport.heartbeats(["a", "b", "c"])))
        assert arrived.wait(PATIENCE)
        transport.close()
        answers: Answers = dict(call.result(PATIENCE))
        assert [str(answers[name]) for name in "abc"] == ["the transport was closed during the exchange"] * 3
        assert server.connections == 1


def test_batches_of_several_threads_do_not_meet() -> None:
    both = threading.Barrier(2)

    def respond(agent: str) -> bytes:
        if agent in {"a0", "b0"}:
            both.wait(PATIENCE)
        return answer()

    with by_agent(respond) as server, ThreadPoolExecutor(2) as pool:
        transport = CurlTransport(server.url)
        calls = [
            pool.submit(lambda name: sorted(dict(transport.heartbeats([f"{name}{n}" for n in range(9)]))), name)
            for name in "ab"
        ]
        assert [call.result(PATIENCE) for call in calls] == [[f"{name}{n}" for n in range(9)] for name in "ab"]
        transport.close()


def test_it_works_where_the_system_has_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "make_readiness", readiness.Selected)
    with by_agent(lambda agent: b"" if agent == "silent" else answer()) as server:
        transport = CurlTransport(server.url, timeout=0.5)
        for _ in range(2):
            answers: Answers = dict(transport.heartbeats(["a", "silent", *(f"b{number}" for number in range(20))]))
            assert [name for name, outcome in answers.items() if not isinstance(outcome, Heartbeat)] == ["silent"]
        transport.close()


def test_it_is_found_behind_wrappers() -> None:
    transport = CurlTransport(URL)
    assert find(RetryingTransport(transport), BatchTransport) is transport
    transport.close()


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 0},
        {"max_connections": 1025},
        {"max_connections": True},
        {"timeout": 0},
        {"max_body_size": 0},
        {"base_url": "ftp://calendar.example"},
        {"base_url": "http://calendar.example", "api_key": KEY},
        {"api_key": "with\nnewline"},
        {"claw_identifier": "../x"},
        {"ca_file": "/nowhere"},
        {"ca_file": 7.5},
    ],
)
def test_an_argument_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CurlTransport(**{"base_url": URL, **options})


def test_a_ca_file_without_authorities_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nobody\n")
    for path in (tmp_path / "empty.pem", tmp_path):
        with pytest.raises(ConfigurationError, match="holds no authorities"):
            CurlTransport(URL, ca_file=path)


def test_the_key_shows_nowhere() -> None:
    with RawServer(
        once(lambda connection: connection.send(answer(b'{"detail":"%s"}' % KEY.encode(), "403 No")))
    ) as server:
        transport = CurlTransport(server.url, api_key=KEY)
        with pytest.raises(CalendarRefusedError) as caught:
            transport.heartbeat("a")
        transport.close()
    assert KEY not in f"{transport!r} {caught.value} {caught.value.detail}"


def test_without_its_extra_it_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['pycurl'] = None; import harborcal; import harborcal.transports.curl"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'harborcal[curl]'" in done.stderr
