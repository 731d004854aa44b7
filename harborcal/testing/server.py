"""A calendar on a loopback port: real HTTP, with faults on demand."""

import contextlib
import dataclasses
import datetime as dt
import email.message
import io
import json
import math
import re
import socket
import ssl
import struct
import sys
import threading
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, cast

from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    LifecycleError,
    TransportError,
)
from harborcal.grammar import is_id
from harborcal.model import MAX_REAL_ID, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing.calendars import InMemoryCalendar
from harborcal.wire import DAY_PATH, HEARTBEAT_PATH, MAX_DURATION, encode_heartbeat_answer, encode_slot

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_UPDATE_PATH = re.compile(r"/calendar/slots/(?:virtual/(?P<virtual>[^/]+)|(?P<real>[^/]+))/agent-update")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_OF_DAY = re.compile(r"[0-9]{2}:[0-9]{2}(?::[0-9]{2})?")

# How long stop() waits for a request that somebody's application is still busy with.
_PATIENCE = 2.0


# --- the contract as a WSGI application -----------------------------------------------------------------------------


class _Answer(NamedTuple):
    status: int
    body: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


class _InvalidError(Exception):
    """A request fails validation: FastAPI answers 422 with a list."""

    def __init__(self, *where: str) -> None:
        super().__init__(where)
        self.where = where


def calendar_app(calendar: InMemoryCalendar) -> "WSGIApplication":
    """Build the WSGI application that speaks the contract for a calendar in memory.

    It is stricter than a backend may be, to show what a client gets wrong: keys that are null instead of absent, a
    heartbeat whose body and headers name different agents, and a day with more or less than one date are 422.
    """

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        answer = _answer(calendar, environ)
        body = json.dumps(answer.body).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *answer.headers]
        start_response(f"{answer.status} {responses.get(answer.status, 'Said on Demand')}", headers)
        return [body]

    return app


def _answer(calendar: InMemoryCalendar, environ: "WSGIEnvironment") -> _Answer:
    try:
        return _route(calendar, environ)
    except _InvalidError as error:
        return _Answer(422, {"detail": [{"loc": list(error.where), "msg": "Field invalid", "type": "value_error"}]})
    except CalendarRefusedError as error:
        return _Answer(error.status, {"detail": error.detail})
    except CalendarUnavailableError as error:
        wait = () if error.retry_after is None else (("Retry-After", str(math.ceil(error.retry_after))),)
        return _Answer(error.status or 503, {"detail": str(error)}, wait)
    except (TransportError, LifecycleError) as error:
        return _Answer(503, {"detail": str(error)})


def _route(calendar: InMemoryCalendar, environ: "WSGIEnvironment") -> _Answer:
    path = environ.get("PATH_INFO", "")
    for pattern, method, serve in _ROUTES:
        found = pattern.fullmatch(path)
        if found is None:
            continue
        if environ["REQUEST_METHOD"] != method:
            return _Answer(405, {"detail": "Method Not Allowed"}, (("Allow", method),))
        return serve(calendar, environ, found)
    return _Answer(404, {"detail": "Not Found"})


def _heartbeat(calendar: InMemoryCalendar, environ: "WSGIEnvironment", _: re.Match[str]) -> _Answer:
    agent_id, claw_identifier = _caller(environ)
    body = _json_body(environ)
    for field, named in ("claw_identifier", claw_identifier), ("agent_id", agent_id):
        if body.get(field) != named:
            raise _InvalidError("body", field)
    return _Answer(200, encode_heartbeat_answer(calendar.heartbeat(agent_id)))


def _day(calendar: InMemoryCalendar, environ: "WSGIEnvironment", _: re.Match[str]) -> _Answer:
    agent_id, _claw_identifier = _caller(environ)
    slots = calendar.day(agent_id, _read_date(environ.get("QUERY_STRING", "")))
    return _Answer(200, {"slots": [encode_slot(slot) for slot in slots]})


def _update(calendar: InMemoryCalendar, environ: "WSGIEnvironment", path: re.Match[str]) -> _Answer:
    agent_id, _ = _caller(environ)
    key = _key(path)
    receipt = calendar.update_slot(agent_id, key, _read_update(_json_body(environ)))
    return _Answer(200, encode_slot(calendar.slot(receipt.slot)))


_ROUTES = (
    (re.compile(re.escape(HEARTBEAT_PATH)), "POST", _heartbeat),
    (re.compile(re.escape(DAY_PATH)), "GET", _day),
    (_UPDATE_PATH, "PATCH", _update),
)


def _caller(environ: "WSGIEnvironment") -> tuple[str, str]:
    """Read who calls from the two headers that every call carries."""
    named = (environ.get("HTTP_X_AGENT_ID"), environ.get("HTTP_X_CLAW_IDENTIFIER"))
    for value, header in zip(named, ("x-agent-id", "x-claw-identifier"), strict=True):
        if not is_id(value):
            raise _InvalidError("header", header)
    return cast(tuple[str, str], named)


def _json_body(environ: "WSGIEnvironment") -> dict[str, Any]:
    try:
        body = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode())
    except (ValueError, RecursionError):
        raise _InvalidError("body") from None
    if not isinstance(body, dict):
        raise _InvalidError("body")
    return body


def _key(path: re.Match[str]) -> SlotKey:
    virtual, real = path["virtual"], path["real"]
    if virtual is not None and is_id(virtual):
        return SlotKey.virtual(virtual)
    if real is not None and re.fullmatch(r"[0-9]{1,19}", real) and int(real) <= MAX_REAL_ID:
        return SlotKey.real(int(real))
    raise _InvalidError("path", "slot_id")


def _read_update(body: Mapping[str, Any]) -> SlotUpdate:
    status = body.get("status")
    if not isinstance(status, str) or status not in set(SlotStatus):
        raise _InvalidError("body", "status")
    started_at, duration = None, None
    if "started_at" in body:
        started_at = _read_time(body["started_at"])
    if "actual_duration" in body:
        duration = body["actual_duration"]
        if type(duration) is not int or not 0 <= duration <= MAX_DURATION:
            raise _InvalidError("body", "actual_duration")
    return SlotUpdate(status=SlotStatus(status), started_at=started_at, actual_duration=duration)


def _read_time(value: Any) -> dt.time:
    try:
        if isinstance(value, str) and _TIME_OF_DAY.fullmatch(value):
            return dt.time.fromisoformat(value)
    except ValueError:
        pass
    raise _InvalidError("body", "started_at")


def _read_date(query: str) -> dt.date:
    named = urllib.parse.parse_qs(query, keep_blank_values=True).get("date", [])
    try:
        if len(named) == 1 and _DATE.fullmatch(named[0]):
            return dt.date.fromisoformat(named[0])
    except ValueError:
        pass
    raise _InvalidError("query", "date")


# --- faults ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something that a server does instead of answering as it should. Make one with a class method."""

    kind: Literal["status", "drop", "stall", "garbage", "huge", "reset_mid_body", "drip", "close_after"]
    code: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    interval: float = 0.0
    size: int = 0

    @classmethod
    def status(cls, code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> "Fault":
        """Answer with this status, body and headers; the calendar is not asked."""
        return cls(kind="status", code=code, body=body, headers=tuple((headers or {}).items()))

    @classmethod
    def redirect(cls, location: str, code: int = 307) -> "Fault":
        """Point the client elsewhere; the calendar is not asked."""
        return cls.status(code, headers={"Location": location})

    @classmethod
    def drop(cls) -> "Fault":
        """Close the connection without an answer; the calendar is not asked."""
        return cls(kind="drop")

    @classmethod
    def stall(cls) -> "Fault":
        """Say nothing until the client goes away or the server stops; the calendar is not asked."""
        return cls(kind="stall")

    @classmethod
    def garbage(cls) -> "Fault":
        """Answer with bytes that are no HTTP; the calendar is not asked."""
        return cls(kind="garbage")

    @classmethod
    def huge(cls, size: int) -> "Fault":
        """Answer 200 with a body of ``size`` blanks; the calendar is not asked."""
        return cls(kind="huge", size=size)

    @classmethod
    def reset_mid_body(cls) -> "Fault":
        """Let the calendar answer, but reset the connection after half of the answer: the outcome is unknown."""
        return cls(kind="reset_mid_body")

    @classmethod
    def drip(cls, interval: float) -> "Fault":
        """Let the calendar answer, but send the body one byte each ``interval`` seconds."""
        return cls(kind="drip", interval=interval)

    @classmethod
    def close_after(cls) -> "Fault":
        """Answer, then close the connection without having said so, as a server does with one that was idle."""
        return cls(kind="close_after")


# --- the server -----------------------------------------------------------------------------------------------------


class SeenRequest(NamedTuple):
    """A request as it came in; ``path`` with its query, ``headers`` without regard to case."""

    method: str
    path: str
    headers: email.message.Message
    body: bytes


class _Reply(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


class CalendarServer:
    """Serves a calendar in memory, or any WSGI application, on a real loopback port over HTTP/1.1 with keep-alive.

    A context manager. Each connection has a thread; answers are sent whole, so that applications which stream are not
    for it. `stop` ends promptly, whatever connections are still open.

    Attributes:
        latency: Seconds to wait before each answer.
        requests: All requests so far.
        errors: What escaped from the application; its client saw a 500.
    """

    def __init__(
        self,
        calendar: "InMemoryCalendar | WSGIApplication",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare to serve; nothing listens before `start`.

        Args:
            calendar: What to serve.
            host: Where to listen.
            port: Where to listen; 0 takes any free port, and keeps it for later starts.
            tls: A server's context, to speak HTTPS.
        """
        self.latency = 0.0
        self.requests: list[SeenRequest] = []  # guarded by _changed
        self.errors: list[Exception] = []  # appended to by connections' threads
        self.app = calendar_app(calendar) if isinstance(calendar, InMemoryCalendar) else calendar
        self._address = (host, port)
        self._tls = tls
        self._faults: deque[Fault] = deque()  # guarded by _changed
        self._changed = threading.Condition()
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end.

        Raises:
            LifecycleError: The server was never started.
        """
        host, port = self._address
        if port == 0:
            raise LifecycleError("the server has no address before its start")
        return f"{'https' if self._tls else 'http'}://{host}:{port}"

    def start(self) -> Self:
        """Listen, and serve in the background.

        Raises:
            LifecycleError: The server runs already.
        """
        if self._listener is not None:
            raise LifecycleError("the server runs already")
        self._listener = _Listener(self._address, self, self._tls)
        self._address = (self._address[0], self._listener.server_address[1])
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.02,), name="harborcal-calendar-server", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and close every connection; once more changes nothing."""
        listener, thread = self._listener, self._thread
        if listener is None or thread is None:
            return
        self._listener = self._thread = None
        listener.shutdown()
        thread.join()
        listener.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def fault(self, fault: Fault, times: int = 1) -> None:
        """Let the next requests meet this fault, after those that were asked for before.

        Raises:
            ConfigurationError: ``times`` is less than 1.
        """
        if times < 1:
            raise ConfigurationError(f"times is at least 1, not {times!r}")
        with self._changed:
            self._faults.extend([fault] * times)

    def drop_connections(self) -> None:
        """Close all connections that wait for a request, now, as a server does with idle ones."""
        if self._listener is not None:
            self._listener.cut(idle_only=True)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until there were that many requests, at most ``timeout`` real seconds; tell whether there were."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.requests) >= count, timeout)

    def meet(self, request: SeenRequest) -> Fault | None:
        """Record a request and take the fault that it is to meet. For the server's own threads."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            return self._faults.popleft() if self._faults else None


class _Listener(ThreadingHTTPServer):
    """Knows its open connections and their threads, so that it can end them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], owner: CalendarServer, tls: ssl.SSLContext | None) -> None:
        self.owner = owner
        self.stopping = threading.Event()
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, bool] = {}  # guarded by _lock; whether it is idle
        self._serving: set[threading.Thread] = set()  # guarded by _lock
        super().__init__(address, _Connection)

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            # The handshake waits for the connection's own thread: a client that stalls in it must stall nobody else.
            request = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._connections[request] = True
        return request, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        thread = threading.current_thread()
        with self._lock:
            self._serving.add(thread)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._serving.discard(thread)
                self._connections.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- the base's names
        """Keep quiet: a connection that breaks is what this server is for. Anything else is a bug of its own."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.owner.errors.append(error)

    @contextlib.contextmanager
    def busy(self, request: socket.socket) -> Iterator[None]:
        """Mark a connection as being served, so that it does not count as idle."""
        with self._lock:
            self._connections[request] = False
        try:
            yield
        finally:
            with self._lock:
                self._connections[request] = True

    def cut(self, *, idle_only: bool) -> None:
        """Shut connections down; their threads notice and close them."""
        with self._lock:
            requests = [request for request, idle in self._connections.items() if idle or not idle_only]
        for request in requests:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(request, socket.SHUT_RDWR)

    def stop(self) -> None:
        self.stopping.set()
        self.server_close()
        self.cut(idle_only=False)
        with self._lock:
            threads = list(self._serving)
        for thread in threads:
            thread.join(_PATIENCE)


class _Connection(BaseHTTPRequestHandler):
    """One connection: reads requests, has the application answer them, and misbehaves when asked to."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def _serve(self) -> None:
        owner = self.server.owner
        with self.server.busy(self.connection):
            body = self._read_body()
            if body is None:
                return
            fault = owner.meet(SeenRequest(self.command, self.path, self.headers, body))
            if owner.latency > 0:
                self.server.stopping.wait(owner.latency)
            if fault is None:
                self._send(self._ask(body))
            else:
                self._FAULTS[fault.kind](self, fault, body)

    def _read_body(self) -> bytes | None:
        """Read the request's body; None, once the connection is given up, where it has no length or is cut short."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            self.close_connection = True
            self._send(_Reply("411 Length Required", [("Connection", "close")], b""))
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_OPTIONS = _serve  # noqa: N815 -- the base's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base's name
        """Keep quiet."""

    # --- the application --------------------------------------------------------------------------------------------

    def _ask(self, body: bytes) -> _Reply:
        try:
            return _call(self.server.owner.app, self._environ(body))
        except Exception as error:  # noqa: BLE001 -- a server survives its application
            self.server.owner.errors.append(error)
            return _Reply("500 Internal Server Error", [], b'{"detail": "Internal Server Error"}')

    def _environ(self, body: bytes) -> "WSGIEnvironment":
        path, _, query = self.path.partition("?")
        host, port = self.server.server_address[:2]
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": urllib.parse.unquote(path, "iso-8859-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if isinstance(self.connection, ssl.SSLSocket) else "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            environ.setdefault(f"HTTP_{name.upper().replace('-', '_')}", value)
        return environ

    # --- answers ----------------------------------------------------------------------------------------------------

    def _head(self, reply: _Reply, length: int) -> bytes:
        lines = [f"HTTP/1.1 {reply.status}"]
        lines += [f"{name}: {value}" for name, value in reply.headers if name.lower() != "content-length"]
        if not reply.status.startswith(("204", "304")):
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("iso-8859-1")

    def _send(self, reply: _Reply) -> None:
        body = b"" if self.command == "HEAD" else reply.body
        self.wfile.write(self._head(reply, len(reply.body)) + body)

    def _status(self, fault: Fault, _body: bytes) -> None:
        self._send(
            _Reply(f"{fault.code} {responses.get(fault.code, 'Said on Demand')}", list(fault.headers), fault.body)
        )

    def _drop(self, _fault: Fault, _body: bytes) -> None:
        self._hang_up()

    def _stall(self, _fault: Fault, _body: bytes) -> None:
        self.close_connection = True
        # Ends with an empty read, or an error, once either side closes the connection.
        self.rfile.read(1)

    def _garbage(self, _fault: Fault, _body: bytes) -> None:
        self.wfile.write(b"\x00\x16\x03 this is no HTTP at all\r\n\r\n")
        self._hang_up()

    def _huge(self, fault: Fault, _body: bytes) -> None:
        reply = _Reply("200 OK", [("Content-Type", "application/json")], b"")
        self.wfile.write(self._head(reply, fault.size))
        block = b" " * 65_536
        for sent in range(0, fault.size, len(block)):
            self.wfile.write(block[: fault.size - sent])

    def _reset_mid_body(self, _fault: Fault, body: bytes) -> None:
        reply = self._ask(body)
        self.wfile.write(self._head(reply, len(reply.body)) + reply.body[: len(reply.body) // 2])
        # Without lingering, closing the socket sends a reset instead of an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def _drip(self, fault: Fault, body: bytes) -> None:
        reply = self._ask(body)
        self.wfile.write(self._head(reply, len(reply.body)))
        for index in range(len(reply.body)):
            if self.server.stopping.wait(fault.interval):
                return
            self.wfile.write(reply.body[index : index + 1])

    def _close_after(self, _fault: Fault, body: bytes) -> None:
        self._send(self._ask(body))
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)

    _FAULTS: ClassVar[dict[str, Callable[["_Connection", Fault, bytes], None]]] = {
        "status": _status,
        "drop": _drop,
        "stall": _stall,
        "garbage": _garbage,
        "huge": _huge,
        "reset_mid_body": _reset_mid_body,
        "drip": _drip,
        "close_after": _close_after,
    }


def _call(app: "WSGIApplication", environ: "WSGIEnvironment") -> _Reply:
    """Have a WSGI application answer one request, whole."""
    head: list[tuple[str, list[tuple[str, str]]]] = []
    parts: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], _trace: Any = None, /) -> Callable[[bytes], object]:
        head[:] = [(status, headers)]
        return parts.append

    result = app(environ, start_response)
    try:
        parts.extend(result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    status, headers = head[0]
    return _Reply(status, headers, b"".join(parts))
