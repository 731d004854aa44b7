"""Those who heartbeat many agents with the same number of threads: harborcal, and what one would write without it."""

import contextlib
import copy
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import requests
import urllib3

from bench.server import Server
from harborcal import Agent, Heartbeat, Scheduler, SlotKey, SlotUpdate, UpdateReceipt, WakeRequest
from harborcal.transport import Transport
from harborcal.transports.http import HttpTransport
from harborcal.wire import HEARTBEAT_PATH

WORKERS = 32
"""How many threads each peer has; the scheduler's own default."""

CLAW = "bench-host"
TIMEOUT = 10.0


def agent_ids(count: int) -> list[str]:
    """Name some agents."""
    return [f"agent-{number:05}" for number in range(count)]


class Peer(Protocol):
    """Someone who can heartbeat a list of agents."""

    def tick(self, agent_ids: Sequence[str]) -> int:
        """Heartbeat each agent once, wait for all, and tell how many heartbeats failed."""

    def close(self) -> None:
        """Close all connections."""


# --- without harborcal ----------------------------------------------------------------------------------------------


class _Threads(ABC):
    """Threads that pull agents off one iterator. Each tick starts them, as the scheduler does; clients are kept."""

    def __init__(self, server: Server) -> None:
        self.url = server.url + HEARTBEAT_PATH
        self.ca_file = server.ca_file
        self._clients: list[Any] = [self.make_client() for _ in range(WORKERS)]

    @abstractmethod
    def make_client(self) -> Any:
        """Make what one thread asks with."""

    @abstractmethod
    def ask(self, client: Any, agent_id: str) -> object:
        """Heartbeat one agent; return the decoded answer."""

    def tick(self, agent_ids: Sequence[str]) -> int:
        """Heartbeat each agent once."""
        left = iter(agent_ids)
        failed: list[Exception] = []
        threads = [threading.Thread(target=self._work, args=(client, left, failed)) for client in self._clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(failed)

    def _work(self, client: Any, left: Iterator[str], failed: list[Exception]) -> None:
        for agent_id in left:
            try:
                answer = self.ask(client, agent_id)
            except Exception as error:
                failed.append(error)
            else:
                if not isinstance(answer, dict) or "slots" not in answer:
                    failed.append(ValueError("no heartbeat's answer"))

    def close(self) -> None:
        """Close each thread's client."""
        for client in self._clients:
            client.close()


class NaiveRequests(_Threads):
    """Requests as its front page shows it: a session for each thread, ``post`` with ``json``."""

    def make_client(self) -> requests.Session:
        """Make a session with requests' defaults."""
        return requests.Session()

    def ask(self, client: requests.Session, agent_id: str) -> object:
        """Post, and let requests decode."""
        response = client.post(
            self.url,
            json={"claw_identifier": CLAW, "agent_id": agent_id},
            headers={"X-Agent-ID": agent_id, "X-Claw-Identifier": CLAW},
            timeout=TIMEOUT,
            verify=self.ca_file,
        )
        response.raise_for_status()
        return response.json()


class CarefulRequests(_Threads):
    """Requests by someone who has profiled it: nothing of the environment, each request a copy of a prepared one.

    The copy is shallow with headers of its own; `PreparedRequest.copy` would copy a cookie jar each time.
    """

    def make_client(self) -> requests.Session:
        """Make a session that asks the environment nothing, and prepare its request."""
        session = requests.Session()
        session.trust_env = False
        session.headers.update({"X-Claw-Identifier": CLAW, "Content-Type": "application/json"})
        return session

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._template = self._clients[0].prepare_request(requests.Request("POST", self.url))

    def ask(self, client: requests.Session, agent_id: str) -> object:
        """Send a copy, and decode."""
        body = json.dumps({"claw_identifier": CLAW, "agent_id": agent_id}).encode()
        request = copy.copy(self._template)
        request.body = body
        request.headers = self._template.headers.copy()
        request.headers["X-Agent-ID"] = agent_id
        request.headers["Content-Length"] = str(len(body))
        response = client.send(
            request,
            stream=False,
            allow_redirects=False,
            timeout=TIMEOUT,
            proxies={},
            verify=self.ca_file or True,
            cert=None,
        )
        response.raise_for_status()
        return json.loads(response.content)


class BareUrllib3(_Threads):
    """urllib3 without requests: a pool of one connection for each thread."""

    def make_client(self) -> urllib3.HTTPConnectionPool:
        """Make a pool for the server's origin."""
        settings: dict[str, Any] = {"ca_certs": self.ca_file} if self.ca_file else {}
        return urllib3.connection_from_url(self.url, maxsize=1, retries=False, timeout=TIMEOUT, **settings)

    def ask(self, client: urllib3.HTTPConnectionPool, agent_id: str) -> object:
        """Open the path with the least that urllib3 needs, and decode."""
        response = client.urlopen(
            "POST",
            HEARTBEAT_PATH,
            body=json.dumps({"claw_identifier": CLAW, "agent_id": agent_id}).encode(),
            headers={"X-Agent-ID": agent_id, "X-Claw-Identifier": CLAW, "Content-Type": "application/json"},
        )
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        return json.loads(response.data)


# --- with harborcal -------------------------------------------------------------------------------------------------


class SilentHost:
    """A host that does nothing."""

    def wake_agent(self, wake: WakeRequest) -> None:
        """Do nothing."""

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Say nothing."""


class IdleTransport:
    """A transport that does nothing: what remains is the scheduler's own cost. Its answer never changes."""

    def __init__(self, answer: Heartbeat | None = None) -> None:
        self._answer = Heartbeat() if answer is None else answer

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Answer at once."""
        return self._answer

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Take any update."""
        return UpdateReceipt(slot=slot)

    def close(self) -> None:
        """Do nothing."""


class Harborcal:
    """A scheduler with its defaults: system clock, thread runner, 32 heartbeats at once."""

    def __init__(self, transport: Transport) -> None:
        self._agents: list[Agent] = []
        self._ids: Sequence[str] = ()
        self._scheduler = Scheduler(transport, SilentHost(), lambda: self._agents)

    @classmethod
    def over_http(cls, server: Server) -> "Harborcal":
        """Heartbeat over `HttpTransport`."""
        return cls(HttpTransport(server.url, CLAW, timeout=TIMEOUT, ca_file=server.ca_file))

    def adopt(self, agent_ids: Sequence[str], agents: list[Agent]) -> None:
        """List these agents from now on."""
        self._ids = agent_ids
        self._agents = agents

    def tick(self, agent_ids: Sequence[str]) -> int:
        """Tick; a heartbeat that failed or is still under way counts as failed."""
        if agent_ids is not self._ids:
            self.adopt(agent_ids, [Agent(id=agent_id) for agent_id in agent_ids])
        report = self._scheduler.tick()
        missing = len(agent_ids) - len(report.agents)
        return len(report.failed_heartbeats) + len(report.pending_heartbeats) + max(0, missing)

    def close(self) -> None:
        """Stop the scheduler, which closes its transport."""
        self._scheduler.stop()


PEERS: Mapping[str, Callable[[Server], Peer]] = {
    "naive": NaiveRequests,
    "careful": CarefulRequests,
    "urllib3": BareUrllib3,
    "harborcal": Harborcal.over_http,
}
"""All that can be compared, by name."""


@contextlib.contextmanager
def peers(server: Server, names: Sequence[str] = tuple(PEERS)) -> Iterator[dict[str, Peer]]:
    """Make some peers, and close them at the end of the block."""
    with contextlib.ExitStack() as stack:
        made = {}
        for name in names:
            made[name] = peer = PEERS[name](server)
            stack.callback(peer.close)
        yield made
