"""What those who heartbeat have in common."""

from collections.abc import Sequence
from typing import Protocol

WORKERS = 32
"""How many threads each peer has that asks with threads; the scheduler's own default."""

CONNECTIONS = 128
"""How many connections each peer has that asks on one thread; `CurlTransport`'s own default."""

CLAW = "bench-host"
TIMEOUT = 10.0


def agent_ids(count: int) -> list[str]:
    """Name some agents."""
    return [f"agent-{number:05}" for number in range(count)]


class Peer(Protocol):
    """Someone who can heartbeat a list of agents."""

    def warm_up(self, agent_ids: Sequence[str]) -> None:
        """Open all connections, and whatever else is done once only for these agents."""

    def tick(self, agent_ids: Sequence[str]) -> int:
        """Heartbeat each agent once, wait for all, and tell how many heartbeats failed."""

    def close(self) -> None:
        """Close all connections."""


def is_answer(answer: object) -> bool:
    """Tell whether decoded JSON is a heartbeat's answer."""
    return isinstance(answer, dict) and "slots" in answer
