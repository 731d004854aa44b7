"""The line to the control API: where it may be, who may reach it, and what is no answer."""

import contextlib
import http.client
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal import Agent, ConfigurationError, ControlError, OutboxTransport, Scheduler
from harborcal.control import Address, ControlClient, Tokens
from harborcal.journal import Journal
from harborcal.server import ControlServer, create_control_app
from harborcal.server.serving import Listener
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost

TOKENS = Tokens(b"s" * 32)


class Serving:
    """A control API that listens."""

    def __init__(self, address: str) -> None:
        calendar = InMemoryCalendar(FakeClock(), agents=["ada"])
        self.scheduler = Scheduler(calendar, RecordingHost(), lambda: [Agent(id="ada")], runner=CallerRunner())
        self.server = ControlServer(create_control_app(self.scheduler, TOKENS), address)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> tuple[int, Any]:
        port = int(self.server.address.rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Authorization": f"Bearer {TOKENS.operator}", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")

    def close(self) -> None:
        self.scheduler.stop()
        self.server.close()
        self._thread.join()


@pytest.fixture
def serving() -> Iterator[Serving]:
    with contextlib.closing(Serving("http://127.0.0.1:0")) as one:
        yield one


def test_the_socket_is_its_owners_and_goes_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with contextlib.closing(Serving(f"unix:{path}")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="only Linux can")
def test_a_socket_may_lie_deep(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("ü" * 50)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with contextlib.closing(Serving(f"unix:{path}")) as one:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ControlClient(one.server.address, "x").health()["ok"]
        with pytest.raises(ConfigurationError, match="somebody answers"):
            Serving(f"unix:{path}")
    assert list(folder.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
    with pytest.raises(ControlError, match="nobody answers"):
        ControlClient(f"unix:{folder / 'gone' / 'control.sock'}", "x").health()


def test_what_a_dead_process_left_is_replaced_and_what_lives_is_not(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with contextlib.closing(Serving(f"unix:{path}")) as first:
        with pytest.raises(ConfigurationError, match="somebody answers"):
            Serving(f"unix:{path}")
        assert ControlClient(first.server.address, "x").health()["ok"]
    path.write_text("a letter")
    with pytest.raises(ConfigurationError, match="no socket"):
        Serving(f"unix:{path}")
    assert path.read_text() == "a letter"


def test_a_server_that_cannot_serve_leaves_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Listener, "__init__", refuse)
    with pytest.raises(RuntimeError):
        Serving(f"unix:{tmp_path / 'control.sock'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "unix:",
        "/tmp/x",
        "http://0.0.0.0:80",
        "http://example.org:80",
        "http://127.0.0.1",
        "https://127.0.0.1:1",
        "http://127.0.0.1:1/x",
        "http://user@127.0.0.1:1",
        "http://127.0.0.1:99999",
        "unix:" + "x" * 200,
        "unix:/" + "x/" * 60 + "y" * 70,
        7,
    ],
)
def test_addresses_that_are_none_or_that_others_reach_are_refused(address: Any) -> None:
    with pytest.raises(ConfigurationError):
        Address.of(address)
    with pytest.raises(ConfigurationError):
        ControlClient(address, "token")


def test_requests_that_are_none_are_refused_in_words(serving: Serving) -> None:
    path = "/v1/agents/ada/complete"
    long = b'{"summary": "' + b"x" * 70_000 + b'"}'
    for body, status, words in (
        (b"no json", 400, "no JSON"),
        (b"[" * 100_000, 413, "bytes"),
        (b"[]", 422, "object"),
        (b'{"agent": "ben"}', 422, "unknown: agent"),
        (b'{"summary": 7}', 422, "text"),
        (b'{"slot": "7", "slot": "8"}', 422, "twice"),
        (long, 413, "bytes"),
    ):
        told, answer = serving.ask("POST", path, body)
        assert (told, words in answer["detail"]) == (status, True), answer
    pieces = iter([b'{"summary": "', *[b"x" * 8_000] * 9, b'"}'])
    told, answer = serving.ask("POST", path, pieces)
    assert (told, "bytes" in answer["detail"]) == (413, True), "no body is longer for not saying how long it is"
    assert serving.ask("GET", path)[0] == 405
    assert serving.ask("GET", "/v1/nowhere")[0] == 404
    assert serving.ask("POST", "/v1/agents/../status")[0] in {403, 404, 405}
    assert serving.ask("POST", path, b"{}")[1]["error"] == "NoActiveSlotError"


def test_pages_in_a_browser_are_refused(serving: Serving) -> None:
    assert serving.ask("GET", "/v1/status", Origin="http://evil.example")[0] == 403
    assert serving.ask("GET", "/v1/status", Host="evil.example")[0] == 400
    assert serving.ask("GET", "/v1/status")[0] == 200


def test_tokens_are_compared_whole_and_told_to_nobody(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    for header in (TOKENS.operator, f"Basic {TOKENS.operator}", "Bearer ", f"Bearer {TOKENS.operator[:-1]}"):
        status, answer = serving.ask("GET", "/v1/status", Authorization=header)
        assert status == 401
        assert TOKENS.operator[:20] not in json.dumps(answer)
    assert TOKENS.operator[:20] not in caplog.text
    assert TOKENS.operator not in repr(ControlClient("http://127.0.0.1:1", TOKENS.operator))


def test_nobody_there_is_told_as_that(tmp_path: Path) -> None:
    for address in (f"unix:{tmp_path / 'none.sock'}", "http://127.0.0.1:1"):
        with pytest.raises(ControlError, match="nobody answers") as told:
            ControlClient(address, "token").status()
        assert told.value.status == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "none of harborcal's"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "none of harborcal's"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.example\r\nContent-Length: 0\r\n\r\n", "no reason"),
        (b"garbage\r\n\r\n", "no whole answer"),
        (b"", "no whole answer"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"ok": true}', "no whole answer"),
        (
            b"HTTP/1.1 409 X\r\nContent-Length: 70\r\n\r\n"
            + b'{"detail":"d","error":"NoActiveSlotError","arguments":[1,2,3,4,5,6,7]}',
            "d",
        ),
    ],
)
def test_answers_that_are_none_are_errors(answer: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(4_096)
                line.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        with pytest.raises(ControlError, match=words):
            ControlClient(f"http://127.0.0.1:{listener.getsockname()[1]}", "token").status()
        thread.join()


@pytest.mark.parametrize("end_of_head", [b"Content-Length: 100\r\n\r\n", b"Content-Length: "])
def test_a_server_that_drips_is_waited_for_no_longer_than_the_timeout(end_of_head: bytes) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            line, _ = listener.accept()
            with line, contextlib.suppress(OSError):
                line.recv(4_096)
                line.sendall(b"HTTP/1.1 200 OK\r\n" + end_of_head)
                for _ in range(100):
                    if not over.wait(0.05):
                        line.sendall(b"1")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            begun = time.monotonic()
            with pytest.raises(ControlError, match=r"within 0\.3 s"):
                ControlClient(f"http://localhost:{listener.getsockname()[1]}", "token", timeout=0.3).status()
            assert time.monotonic() - begun < 3.0
        finally:
            over.set()
            thread.join()


def test_the_environment_of_a_woken_command_is_all_that_a_report_needs(serving: Serving) -> None:
    environment = {"HARBORCAL_CONTROL": serving.server.address, "HARBORCAL_TOKEN": TOKENS.for_agent("ada")}
    client = ControlClient.from_environment(environment | {"HARBORCAL_WAKE_ID": "w", "HARBORCAL_SLOT": "7"})
    assert client.agent("ada").status()["agent_id"] == "ada"
    for missing in environment:
        with pytest.raises(ConfigurationError, match=missing):
            ControlClient.from_environment({**environment, missing: ""})


def test_the_operator_deals_with_dead_letters(tmp_path: Path) -> None:
    clock = FakeClock()
    calendar = InMemoryCalendar(clock, agents=["ada"])
    outbox = OutboxTransport(calendar, Journal(tmp_path / "journal", clock=clock), clock=clock, runner=CallerRunner())
    scheduler = Scheduler(outbox, RecordingHost(), lambda: [Agent(id="ada")], clock=clock, runner=CallerRunner())
    with ControlServer(create_control_app(scheduler, TOKENS, outbox=outbox), f"unix:{tmp_path / 'c'}") as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        client = ControlClient(server.address, TOKENS.operator)
        with pytest.raises(ConfigurationError, match="7"):
            client.retry_dead_letter(7)
        with pytest.raises(ControlError):
            ControlClient(server.address, TOKENS.for_agent("ada")).drop_dead_letter(7)
        server.close()
        thread.join()
    scheduler.stop()
