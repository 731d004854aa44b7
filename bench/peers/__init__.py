"""Those who heartbeat many agents: harborcal over its transports, and what one would write without it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.peers.curls import CurlMulti, CurlPerThread
from bench.peers.ours import Harborcal, IdleBatchTransport, IdleTransport, SilentHost
from bench.peers.peer import CLAW, CONNECTIONS, TIMEOUT, WORKERS, Peer, agent_ids
from bench.peers.threads import BareUrllib3, CarefulRequests, NaiveRequests
from bench.serving import Server

__all__ = [
    "BARE",
    "CLAW",
    "CONNECTIONS",
    "PEERS",
    "TIMEOUT",
    "WORKERS",
    "Harborcal",
    "IdleBatchTransport",
    "IdleTransport",
    "Peer",
    "SilentHost",
    "agent_ids",
    "peers",
]

PEERS: Mapping[str, Callable[[Server], Peer]] = {
    "naive": NaiveRequests,
    "careful": CarefulRequests,
    "urllib3": BareUrllib3,
    "harborcal": Harborcal.over_http,
    "curl-threads": CurlPerThread,
    "multi": CurlMulti,
    "harborcal-curl": Harborcal.over_curl,
}
"""All that can be compared, by name."""

BARE: Mapping[str, tuple[str, ...]] = {
    "harborcal": ("careful", "naive", "urllib3"),
    "harborcal-curl": ("multi", "curl-threads", "naive"),
}
"""With whom each of ours is compared: first its own bare client."""


@contextlib.contextmanager
def peers(server: Server, names: Sequence[str] = tuple(PEERS)) -> Iterator[dict[str, Peer]]:
    """Make some peers, and close them at the end of the block."""
    with contextlib.ExitStack() as stack:
        made = {}
        for name in names:
            made[name] = peer = PEERS[name](server)
            stack.callback(peer.close)
        yield made
