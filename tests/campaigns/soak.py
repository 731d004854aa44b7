"""One scheduler lives through very many slots: what it holds, memory, threads, files, stays what it was."""

import contextlib
import dataclasses
import gc
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest import mock

from harborcal import (
    Agent,
    Heartbeat,
    Journal,
    OutboxTransport,
    Scheduler,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotUpdate,
    UpdateReceipt,
    WakeRequest,
)
from harborcal.ledger import ledger
from harborcal.scheduler import book
from harborcal.testing import CallerRunner, FakeClock
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.storage import folder
from tests.campaigns.storage_acts import short_memory

AGENTS = tuple(f"agent-{number}" for number in range(20))
BEAT = 30.0
WARM = 8_000
"""Slots after which everything that is bounded has been filled."""

GROWTH = 20 * 2**20
FILE_GROWTH = 2 * 2**20
"""Bytes by which memory, and the journal's file, may grow after that."""

SHORT_FILE_GROWTH = 128 * 1024

JOURNAL_SHARE = 50
"""The journal syncs four times for each slot: with it one in so many slots is lived through."""


SHORT = 20_000
"""Slots up to which everything is made to forget sooner, and single objects are counted instead of bytes."""


@contextlib.contextmanager
def _short_memory() -> Iterator[None]:
    with short_memory(), mock.patch.object(book, "KEPT", 64), mock.patch.object(ledger, "SETTLED_MEMORY", 64):
        yield


class OneSlotCalendar:
    """A calendar that holds the one open slot of each agent and nothing else."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._open: dict[str, Slot] = {}
        self._number = 0
        self.ended = 0

    def add(self, agent_id: str) -> None:
        """Put a slot in, every second one virtual."""
        self._number += 1
        now = self._clock.now()
        is_real = self._number % 2
        self._open[agent_id] = Slot(
            id=self._number if is_real else None,
            virtual_id=None if is_real else f"plan-{self._number}-{now.date()}",
            date=now.date(),
            scheduled_at=now.time().replace(microsecond=0),
            updated_at=now,
        )

    def holds(self, agent_id: str) -> bool:
        """Tell whether an agent has a slot that is not over."""
        return agent_id in self._open

    def heartbeat(self, agent_id: str) -> Heartbeat:
        slot = self._open.get(agent_id)
        return Heartbeat(slots=() if slot is None or not slot.status.is_pending else (slot,))

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        held = self._open[agent_id]
        real = held.id if held.id is not None else int(str(held.virtual_id).split("-")[1])
        if update.status.is_terminal:
            del self._open[agent_id]
            self.ended += 1
        else:
            self._open[agent_id] = dataclasses.replace(held, id=real, virtual_id=None, status=update.status)
        return UpdateReceipt(slot=SlotKey.real(real))

    def close(self) -> None:
        self._open.clear()


class _Host:
    """Agents that are done, in one way or another, before their wake returns or with the next beat."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []
        self._count = 0

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Keep nothing."""

    def wake_agent(self, wake: WakeRequest) -> None:
        self._count += 1
        kind = self._count % 7
        if kind == 0:
            raise RuntimeError(f"no agent for {self._count}")
        if kind == 1:
            wake.report.complete(f"done at once: {self._count}")
        elif kind == 2:
            wake.report.pause("for a while")
            self.later += [wake.report.resume, wake.report.complete]
        elif kind == 3:
            self.later.append(lambda: wake.report.abort(f"not today: {self._count}"))
        else:
            self.later.append(wake.report.complete)


@dataclasses.dataclass(frozen=True)
class _Held:
    """What the process holds."""

    slots: int
    memory: int
    objects: int
    timers: int
    threads: int
    files: int
    journal: int

    @classmethod
    def now(cls, life: "_Life", path: Path) -> "_Held":
        gc.collect()
        files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208 - a count
        return cls(
            slots=life.calendar.ended,
            memory=_resident(),
            objects=sys.getallocatedblocks(),
            timers=len(life.clock.pending),
            threads=threading.active_count(),
            files=files,
            journal=path.stat().st_size if path.exists() else 0,
        )


def _resident() -> int:
    """Tell how many bytes of memory this process has; tracing every allocation would take ten times as long."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text("ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Life:
    """A scheduler, its calendar and its days."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self.clock = FakeClock()
        self.calendar = OneSlotCalendar(self.clock)
        self.host = _Host()
        runner = CallerRunner()
        transport = (
            self.calendar
            if path is None
            else OutboxTransport(self.calendar, Journal(path, clock=self.clock), runner=runner, seed=seed)
        )
        self.scheduler = Scheduler(
            transport,
            self.host,
            lambda: [Agent(id=name) for name in AGENTS],
            clock=self.clock,
            runner=runner,
            config=SchedulerConfig(heartbeat_interval=BEAT, seed=seed),
        )

    def live(self, slots: int) -> None:
        """Go on until so many slots have ended."""
        beats, patience = 0, 100 + 10 * slots // len(AGENTS)
        while self.calendar.ended < slots:
            beats += 1
            if beats > patience:
                raise AssertionError(f"only {self.calendar.ended} of {slots} slots ended in {beats} beats")
            for name in AGENTS:
                if not self.calendar.holds(name):
                    self.calendar.add(name)
            self.clock.advance(BEAT)
            later, self.host.later = self.host.later, []
            for report in later:
                report()


def _rehearse(count: int, seed: int, path: Path | None, outcome: Outcome, *, is_short: bool) -> None:
    what = "without a journal" if path is None else "with a journal"
    place = path if path is not None else Path(os.devnull)
    life = _Life(path, seed)
    life.scheduler.start()
    warm = min(WARM, count // 2)
    life.live(warm)
    before = _Held.now(life, place)
    life.live(count)
    after = _Held.now(life, place)
    account = life.scheduler.account()
    life.scheduler.stop()
    outcome.counts[f"slots {what}"] += life.calendar.ended
    outcome.most[f"memory growth {what}, in KiB"] = max(0, after.memory - before.memory) // 1024
    outcome.most[f"journal growth {what}, in KiB"] = max(0, after.journal - before.journal) // 1024
    outcome.failures += [f"seed {seed}, {what}: {line}" for line in _judge(before, after, is_short=is_short)]
    if not account.is_balanced or sum(account.settled.values()) < life.calendar.ended:
        outcome.failures.append(f"seed {seed}, {what}: the account tells of {account.seen} slots: {account}")


def _judge(before: _Held, after: _Held, *, is_short: bool) -> list[str]:
    found = []
    if is_short and after.objects - before.objects > after.slots - before.slots:
        found.append(f"{after.objects - before.objects} objects more after {after.slots - before.slots} slots more")
    if after.timers > before.timers + len(AGENTS):
        found.append(f"there were {before.timers} timers, then {after.timers}")
    if after.memory - before.memory > GROWTH:
        found.append(f"memory grew by {(after.memory - before.memory) / 2**20:.1f} MiB")
    if after.threads > before.threads:
        found.append(f"there were {before.threads} threads, then {after.threads}")
    if after.files > before.files:
        found.append(f"there were {before.files} files open, then {after.files}")
    if after.journal - before.journal > (SHORT_FILE_GROWTH if is_short else FILE_GROWTH):
        found.append(f"the journal grew by {(after.journal - before.journal) / 2**20:.1f} MiB")
    return found


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    is_short = count <= SHORT
    with folder() as place, _short_memory() if is_short else contextlib.nullcontext():
        _rehearse(count, seed, None, outcome, is_short=is_short)
        _rehearse(max(1_200, count // JOURNAL_SHARE), seed, place / "journal", outcome, is_short=is_short)
    return outcome


CAMPAIGN = Campaign(
    name="soak",
    promise="a scheduler that has lived through very many slots holds no more than one that has lived through few",
    small=2_000,
    full=1_000_000,
    is_one_run=True,
    run=_run,
)
