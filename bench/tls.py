"""What it costs that a server drops every connection, over TLS."""

import dataclasses
import statistics
from collections.abc import Mapping
from functools import partial

from bench.meter import measure, median_of, median_ratio
from bench.peers import agent_ids, peers
from bench.plan import Plan, Scene
from bench.serving import Server, serving

COMPARED = ("harborcal", "careful", "harborcal-curl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropFigures:
    """A peer's ticks over TLS: with warm connections, and after the server had dropped every one of them."""

    warm_cpu_us: float
    dropped_cpu_us: float
    cpu_ratio: float
    connections: int
    failed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TlsFigures:
    """All compared peers in one scene over TLS."""

    latency_ms: float
    agents: int
    peers: Mapping[str, DropFigures]


def measure_tls(plan: Plan) -> list[TlsFigures]:
    """Drop every connection between two ticks, by turns with a FIN and with a reset."""
    with serving(tls=True) as server:
        return [
            TlsFigures(
                latency_ms=scene.latency_ms,
                agents=scene.agents,
                peers={name: _measure_drops(server, name, scene, plan.rounds) for name in COMPARED},
            )
            for scene in plan.tls
        ]


def _measure_drops(server: Server, name: str, scene: Scene, rounds: int) -> DropFigures:
    server.set(latency=scene.latency_ms / 1e3)
    ids = agent_ids(scene.agents)
    warm, dropped, connections = [], [], []
    with peers(server, (name,)) as made:
        tick = partial(made[name].tick, ids)
        tick()
        for number in range(rounds):
            warm.append(measure(tick, scene.agents))
            connections.append(server.drop(reset=number % 2 == 1))
            dropped.append(measure(tick, scene.agents))
    return DropFigures(
        warm_cpu_us=median_of(warm, lambda sample: sample.cpu_us),
        dropped_cpu_us=median_of(dropped, lambda sample: sample.cpu_us),
        cpu_ratio=median_ratio(dropped, warm, lambda sample: sample.cpu_us),
        connections=round(statistics.median(connections)),
        failed=sum(sample.failed for sample in warm + dropped),
    )
