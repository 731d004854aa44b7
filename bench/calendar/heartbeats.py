"""Heartbeats of the carried calendar: in a large file beside a small one, and in process beside HTTP."""

import contextlib
import dataclasses
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.calendar.files import SLOTS_PER_AGENT, make_file
from bench.calendar.server import serving_calendar
from bench.meter import Sample, interleave, measure, median_of, median_ratio
from bench.peers import CLAW, TIMEOUT, Harborcal, agent_ids
from bench.plan import Plan
from harborcal import HarborcalError, SlotStatus
from harborcal.calendar import Calendar
from harborcal.transport import Transport
from harborcal.transports.embedded import EmbeddedTransport
from harborcal.transports.http import HttpTransport

FEW = 10
"""How many agents the small file has."""

_STRIDE = 7_919  # a prime: walks through all agents of a file, and every two neighbours are far apart in it
_WARM_UP = 10

# --- a large file beside a small one --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatencyFigures:
    """One agent's heartbeat, asked alone."""

    agents: int
    slots: int
    megabytes: float
    median_ms: float
    p95_ms: float
    cpu_us: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddedFigures:
    """Heartbeats in a large file beside heartbeats in a small one; the ratios are of medians, large over small.

    ``commit_ms`` is the part that the disk has in each of them: one row changed and committed by bare sqlite3, in a
    file of its own with the same journal.
    """

    large: LatencyFigures
    small: LatencyFigures
    commit_ms: float
    ratio: float
    cpu_ratio: float
    failed: int


@dataclasses.dataclass(frozen=True)
class _Timed:
    """How long one call took, and how much CPU its thread needed."""

    wall: float
    cpu: float


def measure_embedded(plan: Plan) -> EmbeddedFigures:
    """Ask by turns in both files; in the large one another agent each time, so that nothing of it is remembered."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        counts = {"large": plan.calendar.agents, "small": FEW}
        paths = {size: folder / f"{size}.db" for size in counts}
        beats = {
            size: _beats(stack.enter_context(_embedded(paths[size], agent_ids(count), SlotStatus.NOT_STARTED)), count)
            for size, count in counts.items()
        }
        commits = stack.enter_context(_bare_commits(folder / "bare.db"))
        timed, failed = _by_turns({**beats, "bare": commits}, plan.calendar.heartbeats)
        figures = {size: _latency(timed[size], counts[size], paths[size]) for size in counts}
    large, small = figures["large"], figures["small"]
    return EmbeddedFigures(
        large=large,
        small=small,
        commit_ms=statistics.median(each.wall for each in timed["bare"]) * 1e3,
        ratio=large.median_ms / small.median_ms,
        cpu_ratio=large.cpu_us / small.cpu_us,
        failed=failed,
    )


@contextlib.contextmanager
def _embedded(path: Path, ids: list[str], of_today: SlotStatus) -> Iterator[EmbeddedTransport]:
    with Calendar(make_file(path, ids, of_today=of_today)) as calendar:
        yield EmbeddedTransport(calendar, CLAW)


def _beats(transport: Transport, agents: int) -> Callable[[int], object]:
    """Heartbeat the agent whose turn it is; agents with and without a plan take turns in files of every size."""
    ids = agent_ids(agents)
    return lambda turn: transport.heartbeat(ids[turn * _STRIDE % agents])


@contextlib.contextmanager
def _bare_commits(path: Path) -> Iterator[Callable[[int], object]]:
    """Change one row, as a heartbeat does, with nothing of ours around it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE beats (id INTEGER PRIMARY KEY, at INTEGER)")
        connection.execute("INSERT INTO beats VALUES (1, 0)")

        def commit(turn: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE beats SET at = ? WHERE id = 1", (turn + 1,))
            connection.execute("COMMIT")

        yield commit


def _by_turns(subjects: Mapping[str, Callable[[int], object]], turns: int) -> tuple[dict[str, list[_Timed]], int]:
    """Call each once per turn, beginning with another one each time; also tell how many calls failed."""
    names = list(subjects)
    timed: dict[str, list[_Timed]] = {name: [] for name in names}
    failed = 0
    for turn in range(turns + _WARM_UP):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            cpu, wall = time.thread_time(), time.perf_counter()
            try:
                subjects[name](turn)
            except HarborcalError:
                failed += 1
            taken = _Timed(time.perf_counter() - wall, time.thread_time() - cpu)
            if turn >= _WARM_UP:
                timed[name].append(taken)
    return timed, failed


def _latency(timed: Sequence[_Timed], agents: int, path: Path) -> LatencyFigures:
    walls = sorted(each.wall for each in timed)
    return LatencyFigures(
        agents=agents,
        slots=agents * SLOTS_PER_AGENT,
        megabytes=path.stat().st_size / 1e6,
        median_ms=statistics.median(walls) * 1e3,
        p95_ms=walls[int(len(walls) * 0.95)] * 1e3,
        cpu_us=statistics.median(each.cpu for each in timed) * 1e6,
    )


# --- in process beside HTTP -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoorFigures:
    """A scheduler's tick through one door to the calendar; over HTTP the CPU is the client's alone."""

    wall_s: float
    per_second: float
    cpu_us: float
    failed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoorsFigures:
    """The same tick through both doors, each to a file of its own; the ratios are embedded over HTTP."""

    agents: int
    slots: int
    embedded: DoorFigures
    http: DoorFigures
    wall_ratio: float
    cpu_ratio: float


def measure_doors(plan: Plan) -> DoorsFigures:
    """Tick in process and over loopback HTTP by turns; no slot is listed, so that no agent is woken."""
    ids = agent_ids(plan.calendar.tick)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        transports: dict[str, Transport] = {
            "embedded": stack.enter_context(_embedded(folder / "embedded.db", ids, SlotStatus.FINISHED)),
            "http": stack.enter_context(_served(folder / "http.db", ids)),
        }
        ticks: dict[str, Callable[[], int]] = {}
        for door, transport in transports.items():
            harborcal = Harborcal(transport)
            stack.callback(harborcal.close)
            ticks[door] = partial(harborcal.tick, ids)
            ticks[door]()  # opens the connections
        subjects = {door: partial(measure, tick, len(ids)) for door, tick in ticks.items()}
        samples = interleave(subjects, plan.rounds)
    embedded, http = samples["embedded"], samples["http"]
    return DoorsFigures(
        agents=len(ids),
        slots=len(ids) * SLOTS_PER_AGENT,
        embedded=_door_figures(embedded),
        http=_door_figures(http),
        wall_ratio=median_ratio(embedded, http, lambda sample: sample.wall),
        cpu_ratio=median_ratio(embedded, http, lambda sample: sample.cpu),
    )


@contextlib.contextmanager
def _served(path: Path, ids: list[str]) -> Iterator[HttpTransport]:
    with serving_calendar(make_file(path, ids, of_today=SlotStatus.FINISHED)) as url:
        yield HttpTransport(url, CLAW, timeout=TIMEOUT)


def _door_figures(samples: Sequence[Sample]) -> DoorFigures:
    return DoorFigures(
        wall_s=median_of(samples, lambda sample: sample.wall),
        per_second=median_of(samples, lambda sample: sample.per_second),
        cpu_us=median_of(samples, lambda sample: sample.cpu_us),
        failed=sum(sample.failed for sample in samples),
    )
