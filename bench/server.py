"""A lean calendar on loopback, in a process of its own, so that the client's CPU can be told from the server's.

It speaks just enough HTTP/1.1 to answer each heartbeat with the same answer, after a latency, over connections that
are kept alive; where it was given an agenda, with the agent's own slot instead, until an update of that slot comes. A
second, plain port takes orders (see `bench.serving`); its own connections are never dropped. Only the standard library
is imported here.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import ssl
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
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
    return _body([{"id": number + 1, **_SLOT} for number in range(slots)])


def _body(slots: Sequence[Mapping[str, object]]) -> bytes:
    return json.dumps({"slots": slots, "agent_status": "idle", "message": ""}, separators=(",", ":")).encode()


def _response(body: bytes) -> bytes:
    """Write a whole answer; the headers are those of a FastAPI service."""
    return (
        b"HTTP/1.1 200 OK\r\ndate: Mon, 05 Jan 2026 09:00:00 GMT\r\nserver: uvicorn\r\n"
        b"content-length: %d\r\ncontent-type: application/json\r\n\r\n%s" % (len(body), body)
    )


_TAKEN = _response(b"{}")
_NO_DAYS = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"


class _Calendar:
    """What the server answers, and to whom it is connected."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.answered = 0
        self.opened = 0
        self.connections: set[asyncio.Transport] = set()
        self._usual = _response(answer_body(0))
        self._agenda: dict[str, bytes] = {}  # whole answers, by agent
        self._whose: dict[bytes, str] = {}  # agents, by their slots' ids

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Answer a heartbeat; take an update, after which the agent's slot is not listed; know of no days."""
        if head.startswith(b"POST"):
            return self._agenda.get(json.loads(body)["agent_id"], self._usual) if self._agenda else self._usual
        if head.startswith(b"PATCH"):
            self._agenda.pop(self._whose.get(head.split(b"/", 4)[3], ""), None)
            return _TAKEN
        return _NO_DAYS

    def _enter(self, agent_id: str, number: int, date: str, time: str) -> None:
        slot = {"id": number, **_SLOT, "date": date, "scheduled_at": time}
        self._agenda[agent_id] = _response(_body([slot]))
        self._whose[b"%d" % number] = agent_id

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out an order; tell how many connections were dropped, and the counts so far."""
        self.latency = float(order.get("latency", self.latency))
        if "slots" in order:
            self._usual = _response(answer_body(int(order["slots"])))
        for agent_id, number, date, time in order.get("agenda", ()):
            self._enter(agent_id, number, date, time)
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
            head = self._pending[:start]
            whole = start + _content_length(head)
            if len(self._pending) < whole:
                return
            body, self._pending = self._pending[start:whole], self._pending[whole:]
            self._asked(head, body)

    def _enter(self) -> None:
        self._calendar.opened += 1
        self._calendar.connections.add(self._transport)

    def _asked(self, head: bytes, body: bytes) -> None:
        calendar = self._calendar
        calendar.answered += 1
        answer = calendar.answer(head, body)
        if calendar.latency > 0:
            self._loop.call_later(calendar.latency, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


class _Control(_Connection):
    """A connection that gives orders; it is not entered among those that can be dropped."""

    def _enter(self) -> None:
        return

    def _asked(self, head: bytes, body: bytes) -> None:
        answer = json.dumps(self._calendar.obey(json.loads(body))).encode()
        self._write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))


def _content_length(head: bytes) -> int:
    start = head.lower().find(_LENGTH)
    return int(head[start + len(_LENGTH) : head.index(b"\r\n", start + 1)]) if start >= 0 else 0


async def _serve(port: int, certificate: str | None) -> None:
    """Serve until the standard input ends, which it does at the latest when the parent does."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    calendar = _Calendar()
    calls = await loop.create_server(
        lambda: _Connection(calendar), "127.0.0.1", port, ssl=context, backlog=512, reuse_port=True
    )
    orders = await loop.create_server(lambda: _Control(calendar), "127.0.0.1", 0)
    async with calls, orders:
        ports = [server.sockets[0].getsockname()[1] for server in (calls, orders)]
        print(*ports, flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


def _main() -> None:
    parser = argparse.ArgumentParser(description="The calendar that the bench asks.")
    parser.add_argument("--port", type=int, default=0, help="share this port with others that were started so")
    parser.add_argument("--certificate", help="speak TLS with this certificate and key, a PEM file")
    with contextlib.suppress(KeyboardInterrupt):
        arguments = parser.parse_args()
        asyncio.run(_serve(arguments.port, arguments.certificate))


if __name__ == "__main__":
    _main()
