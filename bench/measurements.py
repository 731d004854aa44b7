"""What is measured. Each function is one measurement, and returns its figures."""

import dataclasses
import datetime as dt
import gc
import json
import math
import statistics
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from bench.calendar.expansion import measure_expansion
from bench.calendar.hammer import measure_hammer
from bench.calendar.heartbeats import measure_doors, measure_embedded
from bench.handwritten import read_slots
from bench.journal import measure_journal
from bench.meter import Sample, interleave, measure, median_of, median_ratio
from bench.peers import CLAW, WORKERS, Harborcal, IdleTransport, Peer, agent_ids, peers
from bench.plan import Plan, Scene
from bench.server import Server, answer_body, serving
from harborcal import Agent, SlotStatus, SlotUpdate
from harborcal.wire import decode_heartbeat, encode_heartbeat, encode_update

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


# --- decoding and encoding ------------------------------------------------------------------------------------------

READERS: Mapping[str, Callable[[bytes], object]] = {
    "json": json.loads,
    "handwritten": read_slots,
    "harborcal": decode_heartbeat,
}
"""Those who read an answer: as bare JSON, as unchecked slots, and as a heartbeat."""

_FRESH_SLOTS = 5_000  # more than the dates and times that harborcal remembers


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadFigures:
    """What it costs to read one slot; the ratios are harborcal's figure over the other's."""

    json_us: float
    handwritten_us: float
    decode_us: float
    json_ratio: float
    handwritten_ratio: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeFigures:
    """What it costs to read an answer, per slot.

    ``again`` reads the same answer again and again, as most heartbeats do; ``fresh`` reads answers whose dates and
    times were not read lately, so that nothing that is remembered of them helps.
    """

    slots: int
    again: ReadFigures
    fresh: ReadFigures


def measure_decode(plan: Plan) -> DecodeFigures:
    """Read answers as bare JSON, by hand, and as heartbeats."""
    return DecodeFigures(
        slots=plan.decode,
        again=_measure_reading([answer_body(plan.decode)], plan),
        fresh=_measure_reading(fresh_answers(plan.decode, _FRESH_SLOTS // plan.decode), plan),
    )


def fresh_answers(slots: int, count: int) -> list[bytes]:
    """Write some answers with so many slots each, no two of which share a date, a time or an instant."""
    answers = [json.loads(answer_body(slots)) for _ in range(count)]
    start = dt.datetime(2020, 1, 1, 8, tzinfo=dt.UTC)
    for number, slot in enumerate(slot for answer in answers for slot in answer["slots"]):
        slot["date"] = f"{start + dt.timedelta(days=number):%Y-%m-%d}"
        slot["scheduled_at"] = f"{start + dt.timedelta(seconds=number):%H:%M:%S}"
        slot["created_at"] = f"{start + dt.timedelta(hours=number, microseconds=123_456):%Y-%m-%dT%H:%M:%S.%f}"
        slot["updated_at"] = f"{start + dt.timedelta(hours=number):%Y-%m-%dT%H:%M:%S}"
    return [json.dumps(answer, separators=(",", ":")).encode() for answer in answers]


def _measure_reading(bodies: Sequence[bytes], plan: Plan) -> ReadFigures:
    slots = plan.decode * len(bodies)
    repeat = max(1, 20_000 // slots)
    samples = interleave(
        {name: partial(measure, partial(_call, reader, bodies), slots, repeat) for name, reader in READERS.items()},
        plan.rounds,
    )
    ours = samples[US]
    return ReadFigures(
        json_us=median_of(samples["json"], lambda sample: sample.cpu_us),
        handwritten_us=median_of(samples["handwritten"], lambda sample: sample.cpu_us),
        decode_us=median_of(ours, lambda sample: sample.cpu_us),
        json_ratio=median_ratio(ours, samples["json"], lambda sample: sample.cpu_us),
        handwritten_ratio=median_ratio(ours, samples["handwritten"], lambda sample: sample.cpu_us),
    )


def _call(work: Callable[[Any], object], values: Sequence[Any]) -> int:
    """Work on each value; none of it can fail."""
    for value in values:
        work(value)
    return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteFigures:
    """What it costs to write one request's body, and to write the same dict with bare ``json.dumps``."""

    json_us: float
    encode_us: float
    ratio: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodeFigures:
    """What it costs to write the bodies of requests; an update is by turns an ``ongoing`` and a ``finished``."""

    heartbeat: WriteFigures
    update: WriteFigures


HEARTBEAT = {"claw_identifier": CLAW, "agent_id": "agent-00001"}
UPDATES: Mapping[SlotUpdate, Mapping[str, object]] = {
    SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 5, 7)): {"status": "ongoing", "started_at": "09:05:07"},
    SlotUpdate(status=SlotStatus.FINISHED, actual_duration=17): {"status": "finished", "actual_duration": 17},
}
"""Updates, and the same as plain values."""


def measure_encode(plan: Plan) -> EncodeFigures:
    """Write requests with harborcal's checks, and the same dicts without."""
    return EncodeFigures(
        heartbeat=_measure_writing(lambda body: encode_heartbeat(**body), [HEARTBEAT], [HEARTBEAT], plan),
        update=_measure_writing(encode_update, list(UPDATES), list(UPDATES.values()), plan),
    )


def _measure_writing(
    write: Callable[[Any], bytes], values: Sequence[Any], bodies: Sequence[Mapping[str, object]], plan: Plan
) -> WriteFigures:
    repeat = max(1, plan.encode // len(values))
    samples = interleave(
        {
            "json": partial(measure, partial(_call, json.dumps, bodies), len(bodies), repeat),
            US: partial(measure, partial(_call, write, values), len(values), repeat),
        },
        plan.rounds,
    )
    return WriteFigures(
        json_us=median_of(samples["json"], lambda sample: sample.cpu_us),
        encode_us=median_of(samples[US], lambda sample: sample.cpu_us),
        ratio=median_ratio(samples[US], samples["json"], lambda sample: sample.cpu_us),
    )


MEASUREMENTS: Mapping[str, Callable[[Plan], object]] = {
    "decode": measure_decode,
    "encode": measure_encode,
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
