"""Those who heartbeat with harborcal: a scheduler over one of its transports, or over one that does nothing."""

from collections.abc import Iterator, Mapping, Sequence

from bench.peers.peer import CLAW, CONNECTIONS, TIMEOUT
from bench.serving import Server
from harborcal import Agent, HarborcalError, Heartbeat, Scheduler, SlotKey, SlotUpdate, UpdateReceipt, WakeRequest
from harborcal.transport import Transport
from harborcal.transports.curl import CurlTransport
from harborcal.transports.http import HttpTransport


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


class IdleBatchTransport(IdleTransport):
    """The same in batches."""

    def heartbeats(self, agent_ids: Sequence[str]) -> Iterator[tuple[str, Heartbeat | HarborcalError]]:
        """Answer at once for each."""
        answer = self._answer
        for agent_id in agent_ids:
            yield agent_id, answer


class Harborcal:
    """A scheduler with its defaults: system clock, thread runner, 32 heartbeats or as many batches at once."""

    def __init__(self, transport: Transport) -> None:
        self._agents: list[Agent] = []
        self._ids: Sequence[str] = ()
        self._scheduler = Scheduler(transport, SilentHost(), lambda: self._agents)

    @classmethod
    def over_http(cls, server: Server) -> "Harborcal":
        """Heartbeat over `HttpTransport`."""
        return cls(HttpTransport(server.url, CLAW, timeout=TIMEOUT, ca_file=server.ca_file))

    @classmethod
    def over_curl(cls, server: Server) -> "Harborcal":
        """Heartbeat over `CurlTransport`, all agents in one batch."""
        return cls(
            CurlTransport(server.url, CLAW, timeout=TIMEOUT, ca_file=server.ca_file, max_connections=CONNECTIONS)
        )

    def adopt(self, agent_ids: Sequence[str], agents: list[Agent]) -> None:
        """List these agents from now on."""
        self._ids = agent_ids
        self._agents = agents

    def warm_up(self, agent_ids: Sequence[str]) -> None:
        """Tick once: that opens the connections and makes the agents' records."""
        self.tick(agent_ids)

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
