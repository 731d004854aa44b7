"""What one would write with threads and without harborcal: each thread has a client of its own."""

import copy
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import requests
import urllib3

from bench.peers.peer import CLAW, TIMEOUT, WORKERS, is_answer
from bench.serving import Server
from harborcal.wire import HEARTBEAT_PATH


class Threads(ABC):
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

    def warm_up(self, agent_ids: Sequence[str]) -> None:
        """Open the connections."""
        self.tick(agent_ids[: 4 * WORKERS])

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
                if not is_answer(answer):
                    failed.append(ValueError("no heartbeat's answer"))

    def close(self) -> None:
        """Close each thread's client."""
        for client in self._clients:
            client.close()


class NaiveRequests(Threads):
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


class CarefulRequests(Threads):
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


class BareUrllib3(Threads):
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
