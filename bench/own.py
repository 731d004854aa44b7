"""What the scheduler itself costs over a transport that does nothing: CPU per agent and tick, memory, threads."""

import dataclasses
import gc
import threading
import time
import tracemalloc
from collections.abc import Mapping
from functools import partial

from bench.meter import measure, median_of
from bench.peers import Harborcal, IdleBatchTransport, IdleTransport, agent_ids
from bench.plan import Plan
from bench.server import answer_body
from harborcal import Agent
from harborcal.wire import decode_heartbeat

WAYS: Mapping[str, type[IdleTransport]] = {"threads": IdleTransport, "batch": IdleBatchTransport}
"""How a scheduler asks: each agent on a thread of its own, or all of them in one batch."""

TICKS = 4
"""So many ticks with threads counted before and after them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnFigures:
    """What the scheduler spends on each agent in each tick when its transport does nothing.

    A thread that loses the processor while it holds a lock makes the 31 others queue for it: that is why a loaded
    machine shows in ``cpu_us`` of the way with threads, and hardly in ``best_cpu_us``.
    """

    way: str
    agents: int
    slots: int
    cpu_us: float
    best_cpu_us: float
    first_cpu_us: float
    """Of the first tick, which makes the agents' records and logs each one's first success."""
    failed: int


def measure_own(plan: Plan) -> list[OwnFigures]:
    """Tick over a transport that answers at once, with the same slots each time."""
    return [_measure_own(way, agents, slots, plan) for way in WAYS for agents, slots in plan.own]


def _measure_own(way: str, agents: int, slots: int, plan: Plan) -> OwnFigures:
    ids = agent_ids(agents)
    harborcal = Harborcal(WAYS[way](decode_heartbeat(answer_body(slots))))
    try:
        tick = partial(harborcal.tick, ids)
        first = measure(tick, agents)
        samples = [measure(tick, agents) for _ in range(plan.own_ticks)]
    finally:
        harborcal.close()
    return OwnFigures(
        way=way,
        agents=agents,
        slots=slots,
        cpu_us=median_of(samples, lambda sample: sample.cpu_us),
        best_cpu_us=min(sample.cpu_us for sample in samples),
        first_cpu_us=first.cpu_us,
        failed=sum(sample.failed for sample in [first, *samples]),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryFigures:
    """What the scheduler keeps for each agent that has nothing to do; the list of agents itself is not counted.

    ``threads_grown`` is how many more threads there are after some further ticks.
    """

    way: str
    agents: int
    bytes_per_agent: float
    threads_grown: int


def measure_memory(plan: Plan) -> list[MemoryFigures]:
    """Trace what is allocated from before the scheduler is made until after its second tick, garbage collected."""
    return [_measure_memory(way, plan.memory) for way in WAYS]


def _measure_memory(way: str, count: int) -> MemoryFigures:
    ids = agent_ids(count)
    agents = [Agent(id=agent_id) for agent_id in ids]
    alone = threading.active_count()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        harborcal = Harborcal(WAYS[way]())
        harborcal.adopt(ids, agents)
        for _ in range(2):
            harborcal.tick(ids)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    threads = _settled(alone + 1)  # its timer
    for _ in range(TICKS):
        harborcal.tick(ids)
    threads_grown = _settled(threads) - threads
    harborcal.close()
    return MemoryFigures(way=way, agents=count, bytes_per_agent=(after - before) / count, threads_grown=threads_grown)


def _settled(wanted: int) -> int:
    """Count threads; those that are about to end are given a second for it."""
    since = time.monotonic()
    while threading.active_count() > wanted and time.monotonic() - since < 1.0:
        time.sleep(0.01)
    return threading.active_count()
