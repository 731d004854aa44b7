import contextlib
import datetime as dt
import http.client
import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal.calendar import Calendar
from harborcal.errors import CalendarRefusedError, ConfigurationError, LifecycleError
from harborcal.model import SlotStatus, SlotUpdate
from harborcal.server import Server, serve
from harborcal.server.serving import MAX_HEADERS
from harborcal.testing import FakeClock
from harborcal.transports.http import HttpTransport

PATIENCE = 5.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def calendar(tmp_path: Path) -> Iterator[Calendar]:
    with Calendar(f"sqlite:///{tmp_path}/calendar.db", clock=FakeClock()) as calendar:
        calendar.register_agent("dev")
        yield calendar


@contextlib.contextmanager
def running(calendar: Calendar, **options: Any) -> Iterator[Server]:
    with Server(calendar, port=0, **options) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def connect(server: Server) -> http.client.HTTPConnection:
    address = urllib.parse.urlsplit(server.url)
    return http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE)


def raw(server: Server, request: bytes) -> bytes:
    """Send bytes, and read until the server closes the connection, or cuts it because it has heard enough."""
    address = urllib.parse.urlsplit(server.url)
    read = b""
    address_and_port = (address.hostname, address.port)
    with socket.create_connection(address_and_port, PATIENCE) as line, contextlib.suppress(ConnectionError):
        line.sendall(request)
        while part := line.recv(65536):
            read += part
    return read


def test_a_transport_speaks_with_a_served_calendar(calendar: Calendar) -> None:
    calendar.add_slot("dev", calendar.clock.now())
    with running(calendar, api_key="sesame") as server:
        with contextlib.closing(HttpTransport(server.url, "claw", api_key="sesame")) as transport:
            [slot] = transport.heartbeat("dev").slots
            transport.update_slot("dev", slot.key, SlotUpdate(status=SlotStatus.ONGOING))
        assert calendar.slot(slot.key).status is SlotStatus.ONGOING
        with contextlib.closing(HttpTransport(server.url, "claw")) as stranger, pytest.raises(CalendarRefusedError):
            stranger.heartbeat("dev")


def test_many_speak_at_once(calendar: Calendar) -> None:
    for number in range(20):
        calendar.register_agent(f"agent-{number}")
    with running(calendar, threads=4) as server, contextlib.closing(HttpTransport(server.url, "claw")) as transport:
        threads = [threading.Thread(target=transport.heartbeat, args=(f"agent-{number}",)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert all(calendar.agent(f"agent-{number}").last_heartbeat_at for number in range(20))


def test_a_server_ends_promptly_with_connections_open(calendar: Calendar) -> None:
    server = Server(calendar, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    connection = connect(server)
    connection.request("GET", "/openapi.json")
    assert json.loads(connection.getresponse().read())["openapi"] == "3.1.0"
    begun = time.monotonic()
    server.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert time.monotonic() - begun < 2
    server.close()
    with pytest.raises(OSError):
        connect(server).request("GET", "/openapi.json")
    connection.close()
    with pytest.raises(LifecycleError):
        server.run()


class HeldClock(FakeClock):
    """A clock that somebody holds: who asks the time waits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.free = threading.Event()

    def now(self) -> dt.datetime:
        self.asked.set()
        assert self.free.wait(PATIENCE)
        return super().now()


def test_a_request_under_way_is_still_answered() -> None:
    clock = HeldClock()
    clock.free.set()
    with Calendar("sqlite://", clock=clock) as calendar:
        calendar.register_agent("dev")
        clock.asked.clear()
        clock.free.clear()
        with running(calendar) as server:
            connection = connect(server)
            connection.request("GET", "/calendar/sync?claw_identifier=claw")
            assert clock.asked.wait(PATIENCE)
            server.close()
            clock.free.set()
            assert connection.getresponse().status == 200
    connection.close()


def test_a_server_that_never_ran_lets_its_address_go(calendar: Calendar) -> None:
    with Server(calendar, port=0) as server:
        port = urllib.parse.urlsplit(server.url).port
    assert port is not None
    server.run()  # it was closed first: a program may end before its server has begun
    with Server(calendar, port=port) as other:
        assert other.url == server.url


def test_a_chunked_body_is_read_and_a_long_one_is_not(calendar: Calendar) -> None:
    body = b'{"claw_identifier": "claw", "agent_id": "dev"}'
    names = b"Host: localhost\r\nConnection: close\r\nX-Agent-ID: dev\r\nX-Claw-Identifier: claw\r\n"
    head = b"POST /calendar/agent/heartbeat HTTP/1.1\r\n" + names
    with running(calendar, max_body_size=100) as server:
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        assert raw(server, chunked).startswith(b"HTTP/1.1 200")
        long = head + b"Content-Length: 101\r\n\r\n" + b" " * 101
        assert raw(server, long).startswith(b"HTTP/1.1 413")
        endless = head + b"Content-Length: 10000000\r\n\r\n" + b" " * 10_000_000
        cut = raw(server, endless)  # without the application, which would have to wait for all of it
        assert cut[:12] in {b"HTTP/1.1 413", b""}
        assert b"detail" not in cut
        none = raw(server, head + b"\r\n")
        assert none.startswith(b"HTTP/1.1 411")
        assert b"\r\nServer:" not in none


@pytest.mark.parametrize(
    "request_line",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.0\r\n\r\n",
        b"GET " + b"/x" * 40_000 + b" HTTP/1.0\r\n\r\n",
    ],
    ids=["nonsense", "version", "nul", "long"],
)
def test_what_is_no_http_is_a_clients_error(calendar: Calendar, request_line: bytes) -> None:
    with running(calendar) as server:
        answer = raw(server, request_line)
        if len(request_line) > MAX_HEADERS:
            assert b"detail" not in answer  # it did not come as far as the application
        else:
            assert answer[9:10] == b"4"
        assert raw(server, b"GET /openapi.json HTTP/1.0\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.0 200")


def test_the_address_may_be_of_version_6(calendar: Calendar) -> None:
    try:
        server = Server(calendar, host="::1", port=0)
    except ConfigurationError:
        pytest.skip("this machine has no IPv6")
    assert server.url.startswith("http://[::1]:")
    server.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.org"])
def test_nobody_else_reaches_a_calendar_without_a_key(calendar: Calendar, host: str) -> None:
    with pytest.raises(ConfigurationError, match="api_key"):
        Server(calendar, host=host, port=0)
    with pytest.raises(ConfigurationError, match="api_key"):
        serve(calendar, host=host, port=0)


def test_a_page_that_leads_its_own_name_to_loopback_is_refused(calendar: Calendar) -> None:
    with running(calendar) as server:
        port = urllib.parse.urlsplit(server.url).port
        for name, status in (("evil.test", b"400"), (f"evil.test:{port}", b"400"), (f"localhost:{port}", b"404")):
            request = f"GET /calendar/plans HTTP/1.1\r\nHost: {name}\r\nX-Agent-ID: nobody\r\nConnection: close\r\n\r\n"
            assert raw(server, request.encode()).split(b" ", 2)[1] == status


def test_with_a_key_other_machines_may_reach_it(calendar: Calendar) -> None:
    with Server(calendar, host="0.0.0.0", port=0, api_key="sesame") as server:
        assert server.url.startswith("http://0.0.0.0:")


@pytest.mark.parametrize("options", [{"port": -1}, {"port": 65536}, {"port": "x"}, {"threads": 0}, {"threads": True}])
def test_arguments_that_make_no_sense_are_refused(calendar: Calendar, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Server(calendar, **options)


def test_an_address_in_use_is_refused(calendar: Calendar) -> None:
    with Server(calendar, port=0) as server:
        port = urllib.parse.urlsplit(server.url).port
        assert port is not None
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1 port {port}"):
            serve(calendar, port=port)


# --- programs


def program(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a program with a calendar in memory."""
    head = "import signal, sys\nfrom harborcal.calendar import Calendar\nfrom harborcal.server import Server, serve\n"
    command = [sys.executable, "-c", head + textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_signal_handler_may_close_a_server() -> None:
    with program(
        """
        with Server(Calendar("sqlite://"), port=0) as server:
            signal.signal(signal.SIGTERM, lambda *_: server.close())
            print(server.url, flush=True)
            server.run()
            print("over")
        """
    ) as running_program:
        assert running_program.stdout is not None
        assert running_program.stdout.readline().startswith("http://127.0.0.1:")
        running_program.send_signal(signal.SIGTERM)
        told, complaints = running_program.communicate(timeout=PATIENCE)
    assert (running_program.returncode, told, complaints) == (0, "over\n", "")


def test_a_calendar_is_served_until_the_program_is_interrupted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    # Whoever starts the tests in the background may have had Ctrl-C ignored, and children inherit that.
    heeding = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    with program(f'{heeding}; serve(Calendar("sqlite://"), port=int(sys.argv[1]))', str(port)) as running_program:
        deadline = time.monotonic() + 4 * PATIENCE
        while not _answers(port):
            assert time.monotonic() < deadline
            assert running_program.poll() is None
        running_program.send_signal(signal.SIGINT)
        _, complaints = running_program.communicate(timeout=PATIENCE)
    assert complaints.splitlines()[-1] == "KeyboardInterrupt"


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/openapi.json")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_without_its_packages_the_server_names_the_command_that_installs_them() -> None:
    with program(
        """
        for name in [name for name in sys.modules if name.startswith(("harborcal.server", "waitress"))]:
            del sys.modules[name]
        sys.modules["waitress"] = None
        try:
            import harborcal.server
        except ImportError as error:
            print(type(error).__name__, error)
        """
    ) as running_program:
        told, _ = running_program.communicate(timeout=4 * PATIENCE)
    assert told == (
        "MissingExtraError harborcal.server needs packages that are not installed: pip install 'harborcal[server]'\n"
    )
