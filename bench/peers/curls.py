"""What one would write with libcurl and without harborcal: a handle for each thread, or all of them on one thread."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice

import pycurl

from bench.peers.peer import CLAW, CONNECTIONS, TIMEOUT, is_answer
from bench.peers.threads import Threads
from bench.serving import Server
from harborcal.wire import HEARTBEAT_PATH

HEADERS = (
    f"X-Claw-Identifier: {CLAW}",
    "Content-Type: application/json",
    "Accept: application/json",
    "Accept-Encoding: identity",
    "User-Agent: bench",
    "Expect:",
)
"""Those of `CurlTransport`: both send the same."""

PATIENCE = 1.0
"""Seconds that one ``select`` waits at most."""


class _Call:
    """An easy handle that is used again and again; what all its calls share is set once."""

    def __init__(self, server: Server) -> None:
        self.handle = handle = pycurl.Curl()
        self._parts: list[bytes] = []
        handle.setopt(pycurl.URL, server.url + HEARTBEAT_PATH)
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        handle.setopt(pycurl.POST, 1)
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.PROXY, "")
        handle.setopt(pycurl.TIMEOUT_MS, round(TIMEOUT * 1_000))
        handle.setopt(pycurl.WRITEFUNCTION, self._parts.append)
        if server.ca_file:
            handle.setopt(pycurl.CAINFO, server.ca_file)

    def aim(self, agent_id: str) -> None:
        """Make it ready to heartbeat an agent."""
        self._parts.clear()
        self.handle.setopt(pycurl.HTTPHEADER, [*HEADERS, "X-Agent-ID: " + agent_id])
        self.handle.setopt(pycurl.POSTFIELDS, json.dumps({"claw_identifier": CLAW, "agent_id": agent_id}))

    def close(self) -> None:
        """Close its connection, where it has one of its own."""
        self.handle.close()

    def read(self) -> object:
        """Decode the answer.

        Raises:
            ValueError: It is no success, or no JSON.
        """
        if self.handle.getinfo(pycurl.RESPONSE_CODE) != 200:
            raise ValueError("no success")
        return json.loads(b"".join(self._parts))


class CurlPerThread(Threads):
    """libcurl without its multi handle: each thread performs one exchange after another."""

    def __init__(self, server: Server) -> None:
        self._server = server
        super().__init__(server)

    def make_client(self) -> _Call:
        """Make the thread's handle."""
        return _Call(self._server)

    def ask(self, client: _Call, agent_id: str) -> object:
        """Perform, and decode."""
        client.aim(agent_id)
        client.handle.perform()
        return client.read()


class CurlMulti:
    """libcurl's multi handle on one thread, as its own examples drive it: ``perform``, ``info_read``, ``select``."""

    def __init__(self, server: Server) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, CONNECTIONS)
        self._calls = {call.handle: call for call in (_Call(server) for _ in range(CONNECTIONS))}
        self._spare = list(self._calls)

    def warm_up(self, agent_ids: Sequence[str]) -> None:
        """Open the connections."""
        self.tick(agent_ids[: 4 * CONNECTIONS])

    def tick(self, agent_ids: Sequence[str]) -> int:
        """Heartbeat each agent once: an ended call's handle takes the next agent at once."""
        left, failed = iter(agent_ids), 0
        self._fill(left)
        while len(self._spare) < CONNECTIONS:
            self._multi.perform()
            failed += self._reap()
            self._fill(left)
            if len(self._spare) < CONNECTIONS:
                self._multi.perform()
                self._multi.select(PATIENCE)
        return failed

    def _fill(self, left: Iterator[str]) -> None:
        for agent_id in islice(left, len(self._spare)):
            handle = self._spare.pop()
            self._calls[handle].aim(agent_id)
            self._multi.add_handle(handle)

    def _reap(self) -> int:
        """Read what has ended; tell how many calls failed."""
        failed, more = 0, 1
        while more:
            more, succeeded, broken = self._multi.info_read()
            for handle in succeeded:
                self._release(handle)
                try:
                    failed += not is_answer(self._calls[handle].read())
                except ValueError:
                    failed += 1
            for handle, _, _ in broken:
                self._release(handle)
                failed += 1
        return failed

    def _release(self, handle: pycurl.Curl) -> None:
        self._multi.remove_handle(handle)
        self._spare.append(handle)

    def close(self) -> None:
        """Close every connection."""
        self._multi.close()
        for handle in self._calls:
            handle.close()
