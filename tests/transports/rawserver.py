"""A server on loopback that answers with exactly the bytes that a test dictates."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Self

import trustme

PATIENCE = 10.0
"""Seconds after which a test that waits for the impossible fails."""

EMPTY = b'{"slots":[]}'


def answer(body: bytes = EMPTY, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """Compose a whole answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Connection:
    """One accepted connection, as a script sees it."""

    def __init__(self, sock: socket.socket, stopped: threading.Event) -> None:
        self._socket = sock
        self._stopped = stopped

    def read_request(self) -> bytes:
        """Read one request with its body; empty when the client has gone."""
        data = b""
        while b"\r\n\r\n" not in data or len(data) < _length(data):
            part = self._socket.recv(65536)
            if not part:
                return b""
            data += part
        return data

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def flood(self, data: bytes) -> None:
        """Send the same again and again until the client or the test has had enough."""
        while not self._stopped.is_set():
            self._socket.sendall(data)

    def drip(self, data: bytes, every: float = 0.01) -> None:
        """Send byte by byte, then nothing more, until the client or the test has had enough."""
        for index in range(len(data)):
            if self._stopped.wait(every):
                return
            self._socket.sendall(data[index : index + 1])
        self.stall()

    def stall(self) -> None:
        """Say nothing until the client has gone or the test is over."""
        while not self._stopped.is_set() and self._socket.recv(65536):
            pass

    def reset(self) -> None:
        """End the connection with a reset instead of a goodbye."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


Script = Callable[[Connection, int], None]
"""Serves a connection; is told how many came before it."""


class RawServer:
    """Serves each connection by a script, in a thread of its own, until the end of the ``with`` block.

    ``requests`` are those that `serve` has read; ``connections`` counts all that were accepted.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script = script
        self._tls = tls
        self._stopped = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    @classmethod
    def serving(cls, *answers: bytes, tls: ssl.SSLContext | None = None) -> "RawServer":
        """Give these answers one after another over each connection, the last one again and again."""

        def script(connection: Connection, _: int) -> None:
            count = 0
            while request := connection.read_request():
                server.requests.append(request)
                connection.send(answers[min(count, len(answers) - 1)])
                count += 1

        server = cls(script, tls=tls)
        return server

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def refuse(self) -> None:
        """Accept no further connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.refuse()
        for sock in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stopped.is_set():
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(sock)
                self.connections += 1
                self._spawn(self._serve, sock, self.connections - 1)

    def _serve(self, plain: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), _closing(plain):
            sock = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with _closing(sock):
                self._open.append(sock)
                self._script(Connection(sock, self._stopped), number)


@contextlib.contextmanager
def _closing(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        sock.close()


def _length(data: bytes) -> int:
    head, _, _ = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(head) + 4 + (int(lengths[0].split(b":")[1]) if lengths else 0)


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Speak TLS with a certificate that the authority has issued."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context
