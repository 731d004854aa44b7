"""A program forks in the midst of everything: the child's copies do nothing and say so, and the parent goes on."""

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from harborcal import (
    Agent,
    HarborcalError,
    Heartbeat,
    Journal,
    JournalError,
    LifecycleError,
    OutboxTransport,
    Scheduler,
    SchedulerConfig,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    UpdateReceipt,
    WakeRequest,
)
from harborcal.journal import AttemptState
from harborcal.testing import InMemoryCalendar
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.nursery import Nursery
from tests.campaigns.storage import folder

ENDS_WITHIN = 5.0
"""Seconds after which a child that does nothing any more counts as hung."""

AGENTS = ("ada", "bob", "cyd")
SLOTS = 40
FORKS = 6
"""How often each program forks."""

PLACES = ("", "", "heartbeat", "update", "wake", "lister", "report")
"""From where it forks; empty for a thread of its own, while all others are at work."""

_BATCH = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One program that forks."""

    folder: str
    seed: int


class _Program:
    """A scheduler at work, and its children."""

    def __init__(self, plan: Plan) -> None:
        self._random = Random(f"{plan.seed} forks")
        self._path = Path(plan.folder) / "journal"
        self._lock = threading.Lock()
        self._children: list[tuple[int, str]] = []  # guarded by _lock
        self._promised: list[str] = []  # appended to only
        self._turns = {place: self._random.randint(1, 12) for place in PLACES if place}  # guarded by _lock
        self._found: list[str] = []  # appended to only
        calendar = InMemoryCalendar(agents=AGENTS)
        for agent_id in AGENTS:
            for _ in range(SLOTS):
                calendar.add_slot(agent_id)
        self.journal = Journal(self._path)
        self.outbox = OutboxTransport(_Doors(calendar, self), self.journal, seed=1)
        self.scheduler = Scheduler(
            self.outbox,
            self,
            self._list,
            config=SchedulerConfig(heartbeat_interval=0.02, seed=plan.seed),
        )

    # --- the host and the lister ------------------------------------------------------------------------------------

    def come_to(self, place: str) -> None:
        """Come to a place, and fork there when its turn has come."""
        with self._lock:
            self._turns[place] -= 1
            is_now = self._turns[place] == 0
        if is_now:
            self._fork(place)

    def _list(self) -> list[Agent]:
        self.come_to("lister")
        return [Agent(id=name) for name in AGENTS]

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Keep nothing."""

    def wake_agent(self, wake: WakeRequest) -> None:
        self.come_to("wake")
        threading.Thread(target=self._report, args=(wake,), daemon=True).start()

    def _report(self, wake: WakeRequest) -> None:
        try:
            wake.report.pause()
            wake.report.resume()
            self.come_to("report")
            wake.report.complete()
            self._promised.append(wake.wake_id)
        except LifecycleError:
            return  # it is ending
        except HarborcalError as error:
            self._found.append(f"a report raised {error!r}")

    # --- the children -----------------------------------------------------------------------------------------------

    def _fork(self, place: str) -> None:
        with self._lock:
            random = Random(self._random.random())
        child = os.fork()
        if child:
            with self._lock:
                self._children.append((child, place))
            return
        code = 1
        try:
            _Copy(self, random).try_everything()
            code = 0
        except BaseException:
            traceback.print_exc()
        if not place and not code and random.random() < 0.3:
            sys.exit(0)  # as any program ends
        sys.stderr.flush()
        os._exit(code)

    def run(self) -> None:
        """Work, fork, and tell on stdout's place what was wrong."""
        self.scheduler.start()
        for _ in range(FORKS):
            time.sleep(self._random.uniform(0.0, 0.03))
            self._fork("")
        self._see_children_off()
        before = len(self._promised)
        deadline = time.monotonic() + ENDS_WITHIN
        while len(self._promised) <= before < len(AGENTS) * SLOTS - 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        if len(self._promised) <= before < len(AGENTS) * SLOTS - 5:
            self._found.append("the parent does not go on")
        self.scheduler.stop(ENDS_WITHIN)
        self._see_children_off()
        self._judge()
        counts = {"reports kept": len(self._promised)}
        for _, place in self._children:
            counts[f"forks from {place or 'the main thread'}"] = (
                counts.get(f"forks from {place or 'the main thread'}", 0) + 1
            )
        (self._path.parent / "told").write_text(json.dumps({"found": self._found, "counts": counts}))

    def _see_children_off(self) -> None:
        deadline = time.monotonic() + ENDS_WITHIN
        with self._lock:
            children = list(self._children)
        for child, place in children:
            while True:
                try:
                    ended, status = os.waitpid(child, os.WNOHANG)
                except ChildProcessError:
                    break  # seen off before
                if ended:
                    if status:
                        self._found.append(
                            f"a child forked from {place} ended with {os.waitstatus_to_exitcode(status)}"
                        )
                    break
                if time.monotonic() > deadline:
                    os.kill(child, 6)
                    os.waitpid(child, 0)
                    self._found.append(f"a child forked from {place} hung")
                    break
                time.sleep(0.002)

    def _judge(self) -> None:
        journal = Journal(self._path, patience=0.0)
        with contextlib.closing(journal):
            attempts = {attempt.wake_id: attempt for attempt in journal.attempts()}
        for wake_id in tuple(self._promised):
            attempt = attempts.get(wake_id)
            if attempt is None or attempt.state is not AttemptState.SETTLED or attempt.told is not SlotStatus.FINISHED:
                self._found.append(f"the report of wake {wake_id} is lost: {attempt}")


class _Doors:
    """The way to the calendar."""

    def __init__(self, inner: InMemoryCalendar, program: _Program) -> None:
        self._inner = inner
        self._program = program

    def heartbeat(self, agent_id: str) -> Heartbeat:
        self._program.come_to("heartbeat")
        return self._inner.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        self._program.come_to("update")
        return self._inner.update_slot(agent_id, slot, update)

    def close(self) -> None:
        self._inner.close()


class _Copy:
    """What a child has of its parent's: every call must be refused, at once."""

    def __init__(self, program: _Program, random: Random) -> None:
        self._program = program
        self._random = random

    def try_everything(self) -> None:
        """Try it all, in any order.

        Raises:
            AssertionError: Something was not refused.
        """
        program = self._program
        scheduler, outbox, journal = program.scheduler, program.outbox, program.journal
        update = SlotUpdate(status=SlotStatus.FINISHED)
        refused: dict[str, Callable[[], object]] = {
            "start": scheduler.start,
            "run": scheduler.run,
            "tick": scheduler.tick,
            "complete": lambda: scheduler.complete("ada"),
            "abort": lambda: scheduler.abort("bob"),
            "pause": lambda: scheduler.pause("cyd"),
            "resume": lambda: scheduler.resume("ada"),
            "renew": lambda: scheduler.renew("ada"),
            "outbox.heartbeat": lambda: outbox.heartbeat("ada"),
            "outbox.update_slot": lambda: outbox.update_slot("ada", SlotKey.real(1), update),
            "outbox.replace": lambda: outbox.replace(1, update),
            "outbox.retry_dead_letter": lambda: outbox.retry_dead_letter(1),
            "outbox.drop_dead_letter": lambda: outbox.drop_dead_letter(1),
            "journal.accept": lambda: journal.accept("ada", SlotKey.real(1), update),
            "journal.tried": lambda: journal.tried(1),
            "journal.change": lambda: journal.change(1, reason="no"),
            "journal.withdraw": lambda: journal.withdraw(1),
        }
        harmless: dict[str, Callable[[], object]] = {
            "status": scheduler.status,
            "account": scheduler.account,
            "single_active_agent_id": scheduler.single_active_agent_id,
            "explain": lambda: scheduler.explain("ada"),
            "request_stop": scheduler.request_stop,
            "stop": lambda: scheduler.stop(1.0),
            "outbox.delivery_status": outbox.delivery_status,
            "outbox.flush": lambda: outbox.flush(0.01),
            "outbox.close": outbox.close,
            "journal.status": journal.status,
            "journal.close": journal.close,
        }
        for name in self._random.sample(sorted(harmless), len(harmless)):
            harmless[name]()
        assert scheduler.status().lifecycle == "forked"
        for name in self._random.sample(sorted(refused), len(refused)):
            try:
                refused[name]()
            except LifecycleError:
                continue
            raise AssertionError(f"the child's copy did it: {name}")
        try:
            Journal(program.journal.path, patience=0.0)
        except JournalError:
            return
        raise AssertionError("the child could open its parent's journal")


def live(**order: Any) -> None:
    """Live one program's life."""
    _Program(Plan(**order)).run()


def _plans(place: Path, count: int, seed: int) -> Iterator[Plan]:
    for number in itertools.islice(itertools.count(), count):
        yield Plan(folder=tempfile.mkdtemp(dir=place), seed=seed * 100_000 + number)


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    programs = -(-count // FORKS)
    with folder() as place, Nursery("tests.campaigns.forks", patience=4 * ENDS_WITHIN) as nursery:
        plans = list(_plans(place, programs, seed))
        for first in range(0, programs, _BATCH):
            batch = plans[first : first + _BATCH]
            for plan, ended in zip(batch, nursery.have([dataclasses.asdict(plan) for plan in batch]), strict=True):
                told_at = Path(plan.folder) / "told"
                told = (
                    json.loads(told_at.read_text("utf-8"))
                    if told_at.exists()
                    else {"counts": {}, "found": ["all lost"]}
                )
                outcome.counts["programs"] += 1
                outcome.counts += Counter(told["counts"])
                found = [*told["found"], *([ended["errors"]] if ended["errors"] else [])]
                if ended["code"] != 0:
                    found.append(f"it ended with {ended['code']}")
                outcome.failures += [f"seed {plan.seed}: {what}" for what in found]
                shutil.rmtree(plan.folder)
    return outcome


CAMPAIGN = Campaign(
    name="forks",
    promise="a child that is forked in the midst of anything does nothing by itself, and its parent goes on",
    small=18,
    full=10_000,
    run=_run,
)
