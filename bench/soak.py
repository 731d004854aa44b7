"""An hour of ticks, compressed: what grows, and how much is said, over libcurl to a calendar on loopback."""

import contextlib
import dataclasses
import gc
import os
import resource
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench.peers import CLAW, TIMEOUT, agent_ids
from bench.plan import Plan, SoakSizes
from bench.serving import Server, serving
from harborcal import Agent, Scheduler, WakeRequest
from harborcal.testing import FakeClock
from harborcal.transports.curl import CurlTransport

INTERVAL = 30.0
"""Seconds between two ticks, on a clock that is moved by hand."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoakFigures:
    """What was there more at the end of the hour than after its warm-up, and what was done in the whole of it."""

    ticks: int
    agents: int
    warm_up: int
    wakes: int
    missing_wakes: int
    traced_grown_kib: float
    resident_grown_mib: float
    threads_grown: int
    descriptors_grown: int
    lines: int
    lines_per_agent: float
    failed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Look:
    """What the process holds at one moment."""

    traced: int
    resident: int
    threads: int
    descriptors: int


class _Chatty:
    """A host whose agents are done at once, and who counts what is said."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.wakes = 0  # guarded by _lock
        self.lines: Counter[str] = Counter()  # guarded by _lock

    def wake_agent(self, wake: WakeRequest) -> None:
        with self._lock:
            self.wakes += 1
        wake.report.complete()

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        with self._lock:
            self.lines[message] += 1


def measure_soak(plan: Plan) -> SoakFigures:
    """Tick through an hour; before each tick some agents are given a slot, each in its turn."""
    with serving() as server:
        return _soak(server, plan.soak)


def _soak(server: Server, sizes: SoakSizes) -> SoakFigures:
    ids = agent_ids(sizes.agents)
    agents = [Agent(id=agent_id) for agent_id in ids]
    clock, host = FakeClock(), _Chatty()
    scheduler = Scheduler(CurlTransport(server.url, CLAW, timeout=TIMEOUT), host, lambda: agents, clock=clock)
    failed = given = 0
    looks: list[_Look] = []
    tracemalloc.start()
    try:
        for tick in range(sizes.ticks):
            if tick == sizes.warm_up:
                looks.append(_look())
            now = clock.now()
            server.enter([(ids[number % len(ids)], number + 1, now) for number in range(given, given + sizes.slots)])
            given += sizes.slots
            report = scheduler.tick()
            failed += len(report.failed_heartbeats) + len(report.pending_heartbeats)
            clock.advance(INTERVAL)
        looks.append(_look())
    finally:
        tracemalloc.stop()
        scheduler.stop()
    first, last = looks
    return SoakFigures(
        ticks=sizes.ticks,
        agents=sizes.agents,
        warm_up=sizes.warm_up,
        wakes=host.wakes,
        missing_wakes=given - host.wakes,
        traced_grown_kib=(last.traced - first.traced) / 1024,
        resident_grown_mib=(last.resident - first.resident) / 1024**2,
        threads_grown=last.threads - first.threads,
        descriptors_grown=last.descriptors - first.descriptors,
        lines=host.lines.total(),
        lines_per_agent=host.lines.total() / sizes.agents,
        failed=failed,
    )


def _look() -> _Look:
    gc.collect()
    traced, _ = tracemalloc.get_traced_memory()
    return _Look(
        traced=traced,
        resident=_resident(),
        threads=threading.active_count(),
        descriptors=_descriptors(),
    )


def _resident() -> int:
    """Tell the bytes that are in memory; where that is not told, the most that ever were."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _descriptors() -> int:
    """Tell how many files and sockets are open."""
    for folder in (Path("/proc/self/fd"), Path("/dev/fd")):
        with contextlib.suppress(OSError):
            return len(list(folder.iterdir()))
    return 0
