"""Serving the application with waitress: where it listens, and how it ends."""

import socket
import threading
from types import TracebackType
from typing import Any, Self

import flask
import waitress
from waitress import wasyncore

from harborcal.calendar import Calendar
from harborcal.errors import ConfigurationError, LifecycleError
from harborcal.grammar import clean
from harborcal.net import is_loopback
from harborcal.server.app import MAX_BODY_SIZE, create_app

MAX_HEADERS = 32 * 1024
"""How many bytes all headers of a request may have together."""

MAX_CONNECTIONS = 1_000
"""How many connections are open at once; others wait."""

_IDLE = 60
"""Seconds after which a connection that is not used is closed."""

_POLL = 10.0  # seconds between looks after idle connections


class Listener:
    """A WSGI application on one listening socket, with waitress.

    It listens once it is made, and answers while `run` runs; `close` ends that from any other thread or from a signal
    handler. A context manager that closes itself.

    Args:
        app: The application.
        listener: The listening socket; it becomes this object's own.
        threads: How many requests are served side by side.
        max_body_size: The most bytes of a request's body.
    """

    def __init__(self, app: Any, listener: socket.socket, *, threads: int, max_body_size: int) -> None:
        self._lock = threading.RLock()  # a signal handler may close while its own thread enters or leaves `run`
        self._was_run = False  # guarded by _lock
        self._is_closed = False  # guarded by _lock
        self._map: dict[int, Any] = {}
        self._waitress = waitress.create_server(
            app,
            map=self._map,
            sockets=[listener],
            threads=threads,
            ident=None,
            max_request_header_size=MAX_HEADERS,
            max_request_body_size=2 * max_body_size,  # up to there the application itself says that it is too long
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=_IDLE,
            asyncore_use_poll=True,
        )

    def run(self) -> None:
        """Answer requests until `close`, not at all where that came first; those under way have five seconds to end.

        Raises:
            LifecycleError: It was run before.
        """
        with self._lock:
            if self._was_run:
                raise LifecycleError("a server runs once")
            self._was_run = True
        try:
            while not self._is_closed:
                wasyncore.loop(timeout=_POLL, use_poll=True, map=self._map, count=1)
        finally:
            with self._lock:
                self._is_closed = True
            self._end()

    def close(self) -> None:
        """Let `run` return; nothing listens any more after that. Once more changes nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._was_run:
                self._waitress.pull_trigger()
            else:
                self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> None:
        # Threads first: what they answer still goes out, and none of them touches what is closed then.
        self._waitress.task_dispatcher.shutdown()
        wasyncore.close_all(self._map, ignore_all=True)


class Server(Listener):
    """A calendar over HTTP on one address, with waitress.

    It listens once it is made, and answers while `run` runs; `close` ends that from any other thread or from a signal
    handler. A context manager that closes itself::

        with Server(calendar, port=0) as server:
            threading.Thread(target=server.run).start()
            ...

    Args:
        calendar: The calendar. It stays the program's own.
        host: Where to listen. An address that other machines can reach needs an ``api_key``; add TLS in front of it.
        port: Where to listen; 0 takes any free port.
        api_key: What clients must send as a bearer token.
        threads: How many requests are served side by side.
        max_body_size: The most bytes of a request's body.

    Raises:
        ConfigurationError: An argument makes no sense, other machines could reach a calendar without a key, or the
            address cannot be had.
    """

    def __init__(
        self,
        calendar: Calendar,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        api_key: str | None = None,
        threads: int = 32,
        max_body_size: int = MAX_BODY_SIZE,
    ) -> None:
        if api_key is None and not is_loopback(host):
            raise ConfigurationError(f"host {clean(host, 80)!r} is open to other machines: that needs an api_key")
        if type(threads) is not int or threads < 1:
            raise ConfigurationError(f"threads is a whole number, at least 1, not {threads!r}")
        app = create_app(calendar, api_key=api_key, max_body_size=max_body_size)
        if api_key is None:
            trust_loopback_names(app, host)
        listener = listen(host, port)
        self._url = url_of(listener)
        super().__init__(app, listener, threads=threads, max_body_size=max_body_size)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return self._url


def serve(
    calendar: Calendar, *, host: str = "127.0.0.1", port: int = 8000, api_key: str | None = None, threads: int = 32
) -> None:
    """Serve a calendar over HTTP until the program is interrupted; see `Server`.

    Raises:
        ConfigurationError: As `Server`.
    """
    with Server(calendar, host=host, port=port, api_key=api_key, threads=threads) as server:
        server.run()


def trust_loopback_names(app: flask.Flask, host: str) -> None:
    """Answer to loopback names only.

    A page in a browser can have a name of its own lead to loopback, but not another name in what it asks.
    """
    app.config["TRUSTED_HOSTS"] = [host, "localhost", "127.0.0.1", "[::1]"]


def url_of(listener: socket.socket) -> str:
    """Tell the base URL of a socket that listens, without a slash at its end."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises:
        ConfigurationError: It cannot be had.
    """
    if type(port) is not int or not 0 <= port <= 65_535:
        raise ConfigurationError(f"port is in 0..65535, not {port!r}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot listen on {clean(host, 80)} port {port}: {clean(words, 80)}") from error
