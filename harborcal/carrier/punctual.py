"""Connections whose every wait ends by one deadline.

requests and urllib3 know a timeout per wait, so that a server that drips can hold a call for ever. Here a socket asks,
before each of its calls and from the connecting on, how much of the exchange's time is left.
"""

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from harborcal import net
from harborcal.carrier.manners import check_framing

Verify = bool | str | None
Cert = str | tuple[str, str] | None


class Line:
    """The wire of one session: which socket it uses, by when, and what has passed over it in this exchange.

    Only the thread that uses the session touches it, except for `cut`.
    """

    def __init__(self) -> None:
        self.deadline = net.Deadline(0.0, lambda: 0.0)
        self.is_wired = False
        """Whether the connections report to this line at all; otherwise nothing is known of them."""
        self.is_fresh = self.is_sent = self.is_answered = self.is_cut = False
        self._socket: socket.socket | None = None

    def begin(self, deadline: net.Deadline) -> None:
        """Start an exchange."""
        self.deadline = deadline
        self.is_fresh = self.is_sent = self.is_answered = False

    def arm(self, sock: socket.socket, share: int = 1) -> None:
        """Let the socket's next call take what remains of the deadline, or one of several shares of it."""
        remaining = self.deadline.remaining()
        if remaining <= 0.0:
            raise TimeoutError("the deadline of the exchange passed")
        sock.settimeout(remaining / share)

    def attach(self, sock: socket.socket) -> None:
        """Go over this socket from now on."""
        self._socket = sock
        # After the assignment, so that a concurrent cut either sees this socket or is seen here.
        if self.is_cut:
            raise ConnectionAbortedError("the transport was closed")

    def cut(self) -> None:
        """End whatever the socket is doing, from another thread, and let it do nothing more."""
        self.is_cut = True
        sock = self._socket
        if sock is not None:
            try:
                # Not SSLSocket's own: that takes the TLS object away from under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # it has ended already

    @property
    def is_stale(self) -> bool:
        """Whether a failure means no more than that an idle connection had been closed at the other end."""
        return self.is_wired and not (self.is_fresh or self.is_answered or self.is_cut or self.deadline.expired)


class _PunctualSocket(socket.socket):
    """A socket each of whose calls ends by the deadline of its line."""

    line: Line | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._arm()
        count = super().recv_into(*args, **kwargs)
        if self.line is not None and count > 0:
            self.line.is_answered = True
        return count

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._arm(sending=True)
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._arm(sending=True)
        super().sendall(*args, **kwargs)

    def _arm(self, sending: bool = False) -> None:
        if self.line is not None:
            self.line.arm(self)
            self.line.is_sent |= sending


class _PunctualTLSSocket(_PunctualSocket, ssl.SSLSocket):
    pass


class _Context(ssl.SSLContext):
    """A client's TLS settings whose sockets stay on the line of the socket that they wrap."""

    sslsocket_class = _PunctualTLSSocket

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        line = getattr(sock, "line", None)
        wrapped = super().wrap_socket(sock, *args, **{**kwargs, "do_handshake_on_connect": False})
        try:
            if line is not None:
                cast(_PunctualTLSSocket, wrapped).line = line
                line.attach(wrapped)
                line.arm(wrapped)
            wrapped.do_handshake()  # ends within the socket's timeout as a whole
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def make_context(verify: Verify, cert: Cert) -> ssl.SSLContext:
    """Load the authorities once; urllib3 would load them again for each connection."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authorities = verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
    if Path(authorities).is_dir():
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    if cert:
        certificate, key = (cert, None) if isinstance(cert, str) else cert
        context.load_cert_chain(certificate, key)
    return context


def _dial(line: Line, address: tuple[str, int], options: list[Any]) -> socket.socket:
    """Connect to the first address of a host that answers; each gets a fair share of the time that is left."""
    targets = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for tried, (family, kind, protocol, _, target) in enumerate(targets):
        sock = _PunctualSocket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.line = line
            line.attach(sock)
            line.arm(sock, share=len(targets) - tried)
            sock.connect(target)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure or OSError("the host has no address")


class _FramedResponse(http.client.HTTPResponse):
    """An answer that says where it ends: one that ends with its connection may have been cut short (RFC 9112, 6.3)."""

    def begin(self) -> None:
        super().begin()
        if not 200 <= self.status < 300 or self.status == 204 or self.chunked:
            return
        check_framing(set(self.msg.get_all("Content-Length", ())))


class _Wired(HTTPConnection):
    """A connection whose sockets are on a line."""

    def __init__(self, *args: Any, line: Line, must_be_framed: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.response_class = _FramedResponse if must_be_framed else http.client.HTTPResponse
        self._line = line
        self._held: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send head and body as one: two packets and two system calls would cost more than anything else here."""
        self._held = []
        try:
            super().request(*args, **kwargs)
        finally:
            held, self._held = self._held, None
        self.send(b"".join(held))

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)

    def _new_conn(self) -> socket.socket:
        self._line.is_fresh = True
        try:
            return _dial(self._line, (self._dns_host, self.port), list(self.socket_options or ()))
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error


class _WiredTLS(_Wired, HTTPSConnection):
    pass


class PunctualAdapter(HTTPAdapter):
    """The way of one session to one origin: a pool of one connection, its sockets on the session's line.

    Args:
        line: The session's.
        context: Tells the TLS settings.
        must_be_framed: Whether an answer has to say where it ends.
    """

    def __init__(
        self, line: Line, context: Callable[[Verify, Cert], ssl.SSLContext], *, must_be_framed: bool = True
    ) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._line = line
        self._must_be_framed = must_be_framed
        self._context = context
        self._pool: ConnectionPool | None = None

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ConnectionPool:
        """Give the one pool of this adapter, its connections on the line."""
        # A session of ours has one origin and one set of proxies for life, so one pool will do.
        if self._pool is None:
            pool = super().get_connection_with_tls_context(*args, **kwargs)
            # A pool of another class (SOCKS) dials in its own way; its deadline is then watched between reads.
            if type(pool) is HTTPConnectionPool or type(pool) is HTTPSConnectionPool:
                pool.ConnectionCls = _WiredTLS if pool.scheme == "https" else _Wired
                pool.conn_kw |= {"line": self._line, "must_be_framed": self._must_be_framed}
                self._line.is_wired = True
            self._pool = pool
        return self._pool

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Verify, cert: Cert = None
    ) -> tuple[Any, Any]:
        """Have the pool use the one context that all connections share."""
        host, _ = super().build_connection_pool_key_attributes(request, verify or True, cert)
        return host, {"ssl_context": self._context(verify, cert)} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: str, verify: Verify, cert: Cert) -> None:
        """Leave the pool as it is: its context holds the authorities."""
