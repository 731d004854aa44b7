"""What durability costs: `complete()` with an outbox and a journal, without, and bare commits on the same disk."""

import dataclasses
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.meter import Sample, interleave, median_of, median_ratio
from bench.plan import Plan
from harborcal import (
    Agent,
    CallbackHost,
    Heartbeat,
    Journal,
    OutboxTransport,
    Scheduler,
    Slot,
    SlotKey,
    SlotUpdate,
    Transport,
    UpdateReceipt,
)
from harborcal.testing import CallerRunner

COMPARED = "Scheduler.complete() over OutboxTransport and Journal, beside the same without, and one bare sqlite3 commit"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JournalFigures:
    """Milliseconds of wall time; ``slot_ms`` is a whole slot: wake, ``ongoing``, ``finished``, both delivered."""

    completions: int
    complete_ms: float
    bare_ms: float
    commit_ms: float
    slot_ms: float
    complete_to_commit: float
    slot_to_commit: float


def measure_journal(plan: Plan) -> JournalFigures:
    """Complete slots one after another, in a fresh directory of the disk that temporary files are on."""
    with tempfile.TemporaryDirectory() as folder:
        durable = _Desk(lambda inner: OutboxTransport(inner, Journal(Path(folder) / "journal"), runner=CallerRunner()))
        plain = _Desk(lambda inner: inner)
        peer = sqlite3.connect(Path(folder) / "peer", isolation_level=None)
        peer.executescript("PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL; CREATE TABLE t (x)")
        try:
            samples = interleave(
                {
                    "durable": lambda: durable.complete(plan.completions),
                    "slot": lambda: durable.live(plan.completions),
                    "plain": lambda: plain.complete(plan.completions),
                    "commit": lambda: _commit(peer, plan.completions),
                },
                plan.rounds,
            )
        finally:
            durable.close()
            plain.close()
            peer.close()
    return JournalFigures(
        completions=plan.completions,
        complete_ms=median_of(samples["durable"], _each),
        bare_ms=median_of(samples["plain"], _each),
        commit_ms=median_of(samples["commit"], _each),
        slot_ms=median_of(samples["slot"], _each),
        complete_to_commit=median_ratio(samples["durable"], samples["commit"], _each),
        slot_to_commit=median_ratio(samples["slot"], samples["commit"], _each),
    )


def _each(sample: Sample) -> float:
    return 1e3 / sample.per_second


class _Desk:
    """A scheduler with one agent, whose calendar always has one more slot."""

    def __init__(self, wrap: Callable[[Transport], Transport]) -> None:
        self._calendar = _Endless()
        self._scheduler = Scheduler(
            wrap(self._calendar),
            CallbackHost(lambda _: None),
            lambda: [Agent(id="one")],
            runner=CallerRunner(),
        )

    def complete(self, count: int) -> Sample:
        """Take the time of the completions only."""
        wall = 0.0
        for _ in range(count):
            self._wake()
            began = time.perf_counter()
            self._scheduler.complete("one")
            wall += time.perf_counter() - began
        return _sample(count, wall)

    def live(self, count: int) -> Sample:
        """Take the time of whole slots."""
        began = time.perf_counter()
        for _ in range(count):
            self._wake()
            self._scheduler.complete("one")
        return _sample(count, time.perf_counter() - began)

    def _wake(self) -> None:
        self._calendar.next += 1
        self._scheduler.tick()

    def close(self) -> None:
        self._scheduler.stop()


class _Endless:
    """A calendar that takes everything and lists one slot."""

    def __init__(self) -> None:
        self.next = 0

    def heartbeat(self, agent_id: str) -> Heartbeat:
        return Heartbeat(slots=(Slot(id=self.next),))

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        return UpdateReceipt(slot=slot)

    def close(self) -> None:
        """Keep nothing."""


def _commit(peer: sqlite3.Connection, count: int) -> Sample:
    began = time.perf_counter()
    for number in range(count):
        peer.execute("BEGIN IMMEDIATE")
        peer.execute("INSERT INTO t VALUES (?)", (number,))
        peer.execute("COMMIT")
    return _sample(count, time.perf_counter() - began)


def _sample(count: int, wall: float) -> Sample:
    return Sample(heartbeats=count, wall=wall, cpu=0.0, failed=0)
