"""Heartbeats over HTTP: each transport beside its own bare client making the same calls."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench.meter import Sample, interleave, measure, median_of, median_ratio
from bench.peers import BARE, CONNECTIONS, WORKERS, Peer, agent_ids, peers
from bench.plan import Plan, Scene
from bench.serving import SERVERS, Server, serving

Ratios = Mapping[str, Mapping[str, float]]
"""The figure of one of ours over that of another, by both names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerFigures:
    """One peer in one scene: medians over the rounds, and all heartbeats that failed."""

    cpu_us: float
    per_second: float
    failed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneFigures:
    """Some peers in one scene."""

    latency_ms: float
    agents: int
    slots: int
    rounds: int
    peers: Mapping[str, PeerFigures]
    cpu_ratios: Ratios
    rate_ratios: Ratios


def measure_heartbeats(plan: Plan) -> list[SceneFigures]:
    """Compare peers in each scene: CPU per heartbeat, and heartbeats per second."""
    with serving(processes=SERVERS) as server:
        return [_measure_scene(server, scene, plan) for scene in plan.scenes]


def _measure_scene(server: Server, scene: Scene, plan: Plan) -> SceneFigures:
    rounds = scene.rounds or plan.rounds
    samples = _compare(server, scene, plan.heartbeats, rounds)
    return SceneFigures(
        latency_ms=scene.latency_ms,
        agents=scene.agents,
        slots=scene.slots,
        rounds=rounds,
        peers={name: _peer_figures(taken) for name, taken in samples.items()},
        cpu_ratios=_ratios(samples, lambda sample: sample.cpu_us),
        rate_ratios=_ratios(samples, lambda sample: sample.per_second),
    )


def _compare(server: Server, scene: Scene, heartbeats: int, rounds: int) -> dict[str, list[Sample]]:
    """Measure a scene's peers by turns; a sample has at least so many heartbeats."""
    ids = agent_ids(scene.agents)
    repeat = math.ceil(heartbeats / scene.agents)
    server.set(slots=scene.slots)
    with peers(server, scene.peers) as made:
        for peer in made.values():
            peer.warm_up(ids)
        server.set(latency=scene.latency_ms / 1e3, slots=scene.slots)
        return interleave({name: _subject(peer, ids, repeat) for name, peer in made.items()}, rounds)


def _subject(peer: Peer, ids: Sequence[str], repeat: int) -> Callable[[], Sample]:
    return partial(measure, partial(peer.tick, ids), len(ids), repeat)


def _ratios(samples: Mapping[str, Sequence[Sample]], value: Callable[[Sample], float]) -> Ratios:
    return {
        ours: {name: median_ratio(samples[ours], samples[name], value) for name in others if name in samples}
        for ours, others in BARE.items()
        if ours in samples
    }


def _peer_figures(samples: Sequence[Sample]) -> PeerFigures:
    return PeerFigures(
        cpu_us=median_of(samples, lambda sample: sample.cpu_us),
        per_second=median_of(samples, lambda sample: sample.per_second),
        failed=sum(sample.failed for sample in samples),
    )


# --- a tick against the ideal ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class TickFigures:
    """A tick's wall time over the ideal one, in which whoever asks does nothing but wait for the server.

    ``bare_ratio`` is what the bare client reaches: the rest of the way is the machine's and the server's.
    """

    name: str
    bare: str
    side_by_side: int
    latency_ms: float
    agents: int
    ideal_s: float
    wall_s: float
    ratio: float
    best_ratio: float
    bare_ratio: float
    failed: int


def measure_tick(plan: Plan) -> list[TickFigures]:
    """Hold ticks against ``ceil(agents / side by side)`` times the latency."""
    with serving(processes=SERVERS) as server:
        return [
            _measure_tick(server, "harborcal", WORKERS, plan.tick, plan.rounds),
            _measure_tick(server, "harborcal-curl", CONNECTIONS, plan.batch_tick, plan.rounds),
        ]


def _measure_tick(server: Server, name: str, side_by_side: int, scene: Scene, rounds: int) -> TickFigures:
    bare = BARE[name][0]
    ideal = math.ceil(scene.agents / side_by_side) * scene.latency_ms / 1e3
    samples = _compare(server, dataclasses.replace(scene, peers=(bare, name)), 1, rounds)
    walls = [sample.wall for sample in samples[name]]
    return TickFigures(
        name=name,
        bare=bare,
        side_by_side=side_by_side,
        latency_ms=scene.latency_ms,
        agents=scene.agents,
        ideal_s=ideal,
        wall_s=statistics.median(walls),
        ratio=statistics.median(walls) / ideal,
        best_ratio=min(walls) / ideal,
        bare_ratio=median_of(samples[bare], lambda sample: sample.wall) / ideal,
        failed=sum(sample.failed for sample in samples[name]),
    )
