"""A lean calendar on loopback, in a process of its own, so that the client's CPU can be told from the server's.

It speaks just enough HTTP/1.1 to answer each heartbeat with the same answer, after a latency, over connections that
are kept alive. A second, plain port takes orders (`Server.set`, `Server.drop`); its own connections are never dropped.
Only the standard library is imported here, save that `Server` makes its certificates with trustme.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

_HEAD_END = b"\r\n\r\n"
ROOT = Path(__file__).resolve().parent.parent
_SLOT = {
    "virtual_id": None,
    "user_id": 3,
    "date": "2999-01-05",
    "slot_type": "work",
    "estimated_duration": 30,
    "scheduled_at": "09:00:00",
    "started_at": None,
    "attended": False,
    "actual_duration": None,
    "event_type": "job",
    "event_data": {"type": "Task", "code": "TASK-42", "working_sessions": ["s1", "s2"]},
    "priority": 50,
    "status": "not_started",
    "plan_id": None,
    "is_admin_locked": False,
    "special_slot_id": None,
    "created_at": "2026-01-04T08:00:00.123456",
    "updated_at": "2026-01-04T10:00:00",
}


def answer_body(slots: int) -> bytes:
    """Write a heartbeat's answer that lists some slots, none of them due in our lifetime."""
    listed = [{"id": number + 1, **_SLOT} for number in range(slots)]
    return json.dumps({"slots": listed, "agent_status": "idle", "message": ""}, separators=(",", ":")).encode()


# --- the child ------------------------------------------------------------------------------------------------------


class _Calendar:
    """What the server answers, and to whom it is connected."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.answered = 0
        self.opened = 0
        self.connections: set[asyncio.Transport] = set()
        self.answer = b""
        self.list_slots(0)

    def list_slots(self, count: int) -> None:
        """Answer with so many slots from now on; the headers are those of a FastAPI service."""
        body = answer_body(count)
        self.answer = (
            b"HTTP/1.1 200 OK\r\ndate: Mon, 05 Jan 2026 09:00:00 GMT\r\nserver: uvicorn\r\n"
            b"content-length: %d\r\ncontent-type: application/json\r\n\r\n%s" % (len(body), body)
        )

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out an order; tell how many connections were dropped, and the counts so far."""
        self.latency = float(order.get("latency", self.latency))
        if "slots" in order:
            self.list_slots(int(order["slots"]))
        dropped = self._drop(reset=bool(order.get("reset"))) if order.get("drop") else 0
        return {"dropped": dropped, "answered": self.answered, "opened": self.opened}

    def _drop(self, *, reset: bool) -> int:
        """End every connection as a server that restarts does: at once, with a FIN or with a reset."""
        doomed = list(self.connections)
        for transport in doomed:
            if reset:
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return len(doomed)


class _Connection(asyncio.Protocol):
    """One client's connection; it asks one thing at a time."""

    def __init__(self, calendar: _Calendar) -> None:
        self._calendar = calendar
        self._loop = asyncio.get_running_loop()
        self._pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._enter()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calendar.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(_HEAD_END)) >= 0:
            start = end + len(_HEAD_END)
            whole = start + _content_length(self._pending[:start])
            if len(self._pending) < whole:
                return
            body, self._pending = self._pending[start:whole], self._pending[whole:]
            self._asked(body)

    def _enter(self) -> None:
        self._calendar.opened += 1
        self._calendar.connections.add(self._transport)

    def _asked(self, body: bytes) -> None:
        calendar = self._calendar
        calendar.answered += 1
        if calendar.latency > 0:
            self._loop.call_later(calendar.latency, self._write, calendar.answer)
        else:
            self._write(calendar.answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


class _Control(_Connection):
    """A connection that gives orders; it is not entered among those that can be dropped."""

    def _enter(self) -> None:
        return

    def _asked(self, body: bytes) -> None:
        answer = json.dumps(self._calendar.obey(json.loads(body))).encode()
        self._write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve(certificate: str | None) -> None:
    """Serve until the standard input ends, which it does at the latest when the parent does."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    calendar = _Calendar()
    calls = await loop.create_server(lambda: _Connection(calendar), "127.0.0.1", 0, ssl=context, backlog=512)
    orders = await loop.create_server(lambda: _Control(calendar), "127.0.0.1", 0)
    async with calls, orders:
        ports = [server.sockets[0].getsockname()[1] for server in (calls, orders)]
        print(*ports, flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


# --- the parent -----------------------------------------------------------------------------------------------------


class Server:
    """A handle on a running server.

    Attributes:
        url: The calendar's base URL.
        ca_file: The authority that signed its certificate, a PEM file; None without TLS.
    """

    def __init__(self, url: str, ca_file: str | None, control_port: int) -> None:
        self.url = url
        self.ca_file = ca_file
        self._control_port = control_port

    def set(self, *, latency: float = 0.0, slots: int = 0) -> None:
        """Answer after ``latency`` seconds, with so many slots that are not due."""
        self._order(latency=latency, slots=slots)

    def drop(self, *, reset: bool = False) -> int:
        """Drop every connection, with a FIN or a reset; tell how many there were."""
        return self._order(drop=True, reset=reset)["dropped"]

    def answered(self) -> int:
        """Tell how many heartbeats have been answered so far."""
        return self._order()["answered"]

    def opened(self) -> int:
        """Tell how many connections have been opened so far."""
        return self._order()["opened"]

    def _order(self, **order: object) -> dict[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self._control_port, timeout=10)
        try:
            connection.request("POST", "/control", json.dumps(order))
            return cast(dict[str, int], json.loads(connection.getresponse().read()))
        finally:
            connection.close()


@contextlib.contextmanager
def serving(*, tls: bool = False) -> Iterator[Server]:
    """Run a server in a process of its own until the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        ca_file, certificate = _make_certificates(Path(folder)) if tls else (None, None)
        command = [sys.executable, "-m", "bench.server", *(("--certificate", certificate) if certificate else ())]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                port, control_port = map(int, process.stdout.readline().split())
                yield Server(f"{'https' if tls else 'http'}://127.0.0.1:{port}", ca_file, control_port)
            finally:
                process.stdin.close()
                process.wait(10)


def _make_certificates(folder: Path) -> tuple[str, str]:
    """Write an authority's certificate, and one for loopback with its key that the authority has signed."""
    import trustme  # noqa: PLC0415 - only TLS needs it

    authority = trustme.CA()
    ca_file, certificate = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    return str(ca_file), str(certificate)


def _main() -> None:
    parser = argparse.ArgumentParser(description="The calendar that the bench asks.")
    parser.add_argument("--certificate", help="speak TLS with this certificate and key, a PEM file")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().certificate))


if __name__ == "__main__":
    _main()
