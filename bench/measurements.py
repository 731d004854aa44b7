"""What is measured. Each function is one measurement, and returns its figures."""

import dataclasses
import gc
import json
import math
import statistics
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench.calendar.expansion import measure_expansion
from bench.calendar.hammer import measure_hammer
from bench.calendar.heartbeats import measure_doors, measure_embedded
from bench.journal import measure_journal
from bench.meter import Sample, interleave, measure, median_of, median_ratio
from bench.peers import WORKERS, Harborcal, IdleTransport, Peer, agent_ids, peers
from bench.plan import Plan, Scene
from bench.server import Server, answer_body, serving
from harborcal import Agent
from harborcal.wire import decode_heartbeat

US = "harborcal"
OTHERS = ("careful", "naive", "urllib3")


# --- heartbeats over HTTP -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerFigures:
    """One peer in one scene: medians over the rounds, and all heartbeats that failed."""

    cpu_us: float
    per_second: float
    failed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneFigures:
    """All peers in one scene; the ratios are harborcal's figure over the other's."""

    latency_ms: float
    agents: int
    slots: int
    peers: Mapping[str, PeerFigures]
    cpu_ratios: Mapping[str, float]
    rate_ratios: Mapping[str, float]


def measure_heartbeats(plan: Plan) -> list[SceneFigures]:
    """Compare all peers in each scene: CPU per heartbeat, and heartbeats per second."""
    with serving() as server:
        return [_measure_scene(server, scene, plan) for scene in plan.scenes]


def _measure_scene(server: Server, scene: Scene, plan: Plan) -> SceneFigures:
    server.set(latency=scene.latency_ms / 1e3, slots=scene.slots)
    with peers(server) as made:
        samples = _compare(made, scene, plan)
    ours = samples[US]
    return SceneFigures(
        latency_ms=scene.latency_ms,
        agents=scene.agents,
        slots=scene.slots,
        peers={name: _peer_figures(taken) for name, taken in samples.items()},
        cpu_ratios={name: median_ratio(ours, samples[name], lambda sample: sample.cpu_us) for name in OTHERS},
        rate_ratios={name: median_ratio(ours, samples[name], lambda sample: sample.per_second) for name in OTHERS},
    )


def _compare(made: Mapping[str, Peer], scene: Scene, plan: Plan) -> dict[str, list[Sample]]:
    ids = agent_ids(scene.agents)
    repeat = math.ceil(plan.heartbeats / scene.agents)
    subjects = {name: partial(measure, partial(peer.tick, ids), scene.agents, repeat) for name, peer in made.items()}
    for peer in made.values():
        peer.tick(ids)  # opens the connections
    return interleave(subjects, plan.rounds)


def _peer_figures(samples: Sequence[Sample]) -> PeerFigures:
    return PeerFigures(
        cpu_us=median_of(samples, lambda sample: sample.cpu_us),
        per_second=median_of(samples, lambda sample: sample.per_second),
        failed=sum(sample.failed for sample in samples),
    )


# --- a tick against the ideal ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class TickFigures:
    """A tick's wall time over the ideal one, in which threads do nothing but wait for the server.

    ``careful_ratio`` is what careful requests reach: the rest of the way is the machine's and the server's.
    """

    latency_ms: float
    agents: int
    ideal_s: float
    wall_s: float
    ratio: float
    best_ratio: float
    careful_ratio: float
    failed: int


def measure_tick(plan: Plan) -> TickFigures:
    """Hold a tick against ``ceil(agents / workers)`` times the latency."""
    scene = plan.tick
    ideal = math.ceil(scene.agents / WORKERS) * scene.latency_ms / 1e3
    with serving() as server:
        server.set(latency=scene.latency_ms / 1e3)
        with peers(server, ("careful", US)) as made:
            samples = _compare(made, scene, dataclasses.replace(plan, heartbeats=1))
    walls = [sample.wall for sample in samples[US]]
    return TickFigures(
        latency_ms=scene.latency_ms,
        agents=scene.agents,
        ideal_s=ideal,
        wall_s=statistics.median(walls),
        ratio=statistics.median(walls) / ideal,
        best_ratio=min(walls) / ideal,
        careful_ratio=median_of(samples["careful"], lambda sample: sample.wall) / ideal,
        failed=sum(sample.failed for sample in samples[US]),
    )


# --- TLS ------------------------------------------------------------------------------------------------------------


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
                peers={name: _measure_drops(server, name, scene, plan.rounds) for name in (US, "careful")},
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


# --- the scheduler alone --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnFigures:
    """What the scheduler spends on each agent in each tick when its transport does nothing.

    A thread that loses the processor while it holds a lock makes the 31 others queue for it: that is why a loaded
    machine shows in ``cpu_us``, and hardly in ``best_cpu_us``.
    """

    agents: int
    slots: int
    cpu_us: float
    best_cpu_us: float
    first_cpu_us: float
    """Of the first tick, which makes the agents' records and logs each one's first success."""
    failed: int


def measure_own(plan: Plan) -> list[OwnFigures]:
    """Tick over a transport that answers at once, with the same slots each time."""
    return [_measure_own(agents, slots, plan) for agents, slots in plan.own]


def _measure_own(agents: int, slots: int, plan: Plan) -> OwnFigures:
    ids = agent_ids(agents)
    harborcal = Harborcal(IdleTransport(decode_heartbeat(answer_body(slots))))
    try:
        tick = partial(harborcal.tick, ids)
        first = measure(tick, agents)
        samples = [measure(tick, agents) for _ in range(plan.own_ticks)]
    finally:
        harborcal.close()
    return OwnFigures(
        agents=agents,
        slots=slots,
        cpu_us=median_of(samples, lambda sample: sample.cpu_us),
        best_cpu_us=min(sample.cpu_us for sample in samples),
        first_cpu_us=first.cpu_us,
        failed=sum(sample.failed for sample in [first, *samples]),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryFigures:
    """What the scheduler keeps for each agent that has nothing to do; the list of agents itself is not counted."""

    agents: int
    bytes_per_agent: float


def measure_memory(plan: Plan) -> MemoryFigures:
    """Trace what is allocated from before the scheduler is made until after its second tick, garbage collected."""
    ids = agent_ids(plan.memory)
    agents = [Agent(id=agent_id) for agent_id in ids]
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        harborcal = Harborcal(IdleTransport())
        harborcal.adopt(ids, agents)
        for _ in range(2):
            harborcal.tick(ids)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    harborcal.close()
    return MemoryFigures(agents=plan.memory, bytes_per_agent=(after - before) / plan.memory)


# --- decoding -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeFigures:
    """What it costs to read an answer, per slot."""

    slots: int
    json_us: float
    decode_us: float
    ratio: float


def measure_decode(plan: Plan) -> DecodeFigures:
    """Read the same answer as bare JSON and as a heartbeat."""
    body = answer_body(plan.decode)
    repeat = max(1, 20_000 // plan.decode)
    readers: dict[str, Callable[[bytes], object]] = {"json": json.loads, "decode": decode_heartbeat}
    subjects = {
        name: partial(measure, partial(_read, reader, body), plan.decode, repeat) for name, reader in readers.items()
    }
    samples = interleave(subjects, plan.rounds)
    return DecodeFigures(
        slots=plan.decode,
        json_us=median_of(samples["json"], lambda sample: sample.cpu_us),
        decode_us=median_of(samples["decode"], lambda sample: sample.cpu_us),
        ratio=median_ratio(samples["decode"], samples["json"], lambda sample: sample.cpu_us),
    )


def _read(reader: Callable[[bytes], object], body: bytes) -> int:
    reader(body)
    return 0


MEASUREMENTS: Mapping[str, Callable[[Plan], object]] = {
    "decode": measure_decode,
    "own": measure_own,
    "memory": measure_memory,
    "heartbeats": measure_heartbeats,
    "tick": measure_tick,
    "tls": measure_tls,
    "journal": measure_journal,
    "embedded": measure_embedded,
    "doors": measure_doors,
    "expansion": measure_expansion,
    "hammer": measure_hammer,
}
"""All of them, by name, in the order in which they run."""
