"""Programs are told to stop at any moment, or end without a word: each ends soon, quietly, and loses no report.

A program is forked off one that has imported everything, runs a scheduler with real threads, and ends as any program
does, through Python's own shutdown.
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from harborcal import (
    Agent,
    HarborcalError,
    Heartbeat,
    Journal,
    LifecycleError,
    OutboxTransport,
    Scheduler,
    SchedulerConfig,
    SlotKey,
    SlotUpdate,
    UpdateReceipt,
    WakeRequest,
)
from harborcal.journal import AttemptState
from harborcal.model import SlotStatus
from harborcal.testing import InMemoryCalendar
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.nursery import Nursery
from tests.campaigns.storage import folder

ENDS_WITHIN = 5.0
"""Seconds after which a program that was told to stop counts as hung; a stop itself may take three."""

AT_ONCE_WITHIN = 2.0
"""Seconds within which a stop from inside a callback returns, which waits for nothing."""

LATEST = 0.25
"""Seconds after which a program is told to end that has not come to its place."""

_BATCH = 60

AGENTS = ("ada", "bob", "cyd")
SLOTS = 40
PLACES = ("heartbeat", "update", "wake", "lister", "log", "report", "journal")
"""From where a program is told to stop, beside a moment of its own."""

MANNERS = (
    "run, SIGTERM requests the stop",
    "run, SIGINT raises",
    "wait, SIGTERM stops",
    "work, SIGTERM requests the stop",
    "work, SIGINT raises",
    "thread stops",
    "callback stops",
    "callback requests the stop",
    "exit without stop",
    "exit of a running scheduler from a signal",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One program's end.

    Attributes:
        folder: Where its files are.
        seed: What it does until then.
        manner: How it ends; one of `MANNERS`.
        place: Where it is then; empty for a moment of its own.
        nth: Which time it comes there.
        delay: Seconds until that moment, where it has one.
        keeps: Whether it has a journal and an outbox.
    """

    folder: str
    seed: int
    manner: str
    place: str
    nth: int
    delay: float
    keeps: bool


class _Program:
    """A scheduler, its host, its lister, and the way it ends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = Random(f"{plan.seed} program")
        self._lock = threading.Lock()
        self._is_over = False
        self._left = plan.nth  # guarded by _lock; visits to the place until the end
        self._told = os.open(Path(plan.folder) / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        calendar = InMemoryCalendar(agents=AGENTS)
        for agent_id in AGENTS:
            for _ in range(SLOTS):
                calendar.add_slot(agent_id)
        doors = _Doors(calendar, self)
        transport = (
            OutboxTransport(doors, Journal(Path(plan.folder) / "journal", checkpoint=self._write))
            if plan.keeps
            else doors
        )
        self.scheduler = Scheduler(
            transport,
            self,
            self._list,
            config=SchedulerConfig(heartbeat_interval=0.02, seed=plan.seed),
        )

    def come_to(self, place: str) -> None:
        """Come to a place; where it is the one, tell the program to end from there."""
        if place != self._plan.place:
            return
        with self._lock:
            self._left -= 1
            is_now = self._left == 0
        if is_now:
            self._tell()

    def _tell(self) -> None:
        manner = self._plan.manner
        if manner == "callback stops":
            began = time.monotonic()
            self.scheduler.stop(3.0)
            if time.monotonic() > began + AT_ONCE_WITHIN:
                sys.stderr.write(f"stop() in a callback took {time.monotonic() - began:.1f} s\n")
        elif manner == "callback requests the stop":
            self.scheduler.request_stop()
        elif "SIGINT" in manner:
            os.kill(os.getpid(), signal.SIGINT)
        elif "SIGTERM" in manner or "signal" in manner:
            os.kill(os.getpid(), signal.SIGTERM)

    def _write(self, step: str) -> None:
        if not step.startswith("open"):  # nothing runs yet
            self.come_to("journal")

    # --- the host and the lister ------------------------------------------------------------------------------------

    def _list(self) -> list[Agent]:
        self.come_to("lister")
        return [Agent(id=name) for name in AGENTS]

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        self.come_to("log")

    def wake_agent(self, wake: WakeRequest) -> None:
        self.come_to("wake")
        if self._random.random() < 0.5:
            self._report(wake)
        else:
            threading.Thread(target=self._report, args=(wake,), daemon=True).start()

    def _report(self, wake: WakeRequest) -> None:
        with contextlib.suppress(HarborcalError):  # it may be ending
            if self._random.random() < 0.2:
                wake.report.pause()
                wake.report.resume()
            self.come_to("report")
            wake.report.complete()
            os.write(self._told, f"{wake.wake_id}\n".encode())

    # --- the main thread --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Live, and end as planned."""
        plan = self._plan
        # Who was started in the background of a shell ignores it, and so would this one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if "SIGTERM requests" in plan.manner:
            signal.signal(signal.SIGTERM, lambda _number, _frame: self.scheduler.request_stop())
        elif "SIGTERM stops" in plan.manner:
            signal.signal(signal.SIGTERM, lambda _number, _frame: self._stop())
        elif "signal" in plan.manner:
            signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
        ring = threading.Timer(LATEST if plan.place else plan.delay, self._ring)
        ring.daemon = True
        try:
            self._live(ring)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.scheduler.stop(3.0)

    def _ring(self) -> None:
        with self._lock:
            is_late, self._left = self._left <= 0, 0
        if self._plan.manner == "thread stops":
            self.scheduler.stop(3.0)
        elif not is_late:
            self._tell()

    def _stop(self) -> None:
        self.scheduler.stop(3.0)
        self._is_over = True

    def _live(self, ring: threading.Timer) -> None:
        if not self._plan.manner.startswith(("exit without", "wait")):
            ring.start()
        if self._plan.manner == "thread stops":
            with contextlib.suppress(LifecycleError):  # it may be stopped before it runs
                self.scheduler.run()
            return
        if self._plan.manner.startswith(("run", "exit of", "callback")):
            self.scheduler.run()
            return
        self.scheduler.start()
        if self._plan.manner.startswith("wait"):
            # A handler may stop what its own thread is not in the middle of using: that is what request_stop is for.
            ring.start()
        deadline = time.monotonic() + 10 * ENDS_WITHIN
        if self._plan.manner == "exit without stop":
            time.sleep(self._plan.delay)
            return  # with its timers and threads alive
        while not self._is_over and time.monotonic() < deadline:
            if self._plan.manner.startswith("work"):
                self._work()
                self._is_over = not self.scheduler.status().enabled
            time.sleep(0.002)
        self.scheduler.stop(3.0)

    def _work(self) -> None:
        """Have the main thread in the midst of something when the signal comes."""
        for name in AGENTS:
            with contextlib.suppress(HarborcalError):
                verb = self._random.choice(("complete", "pause", "resume", "renew", "tick", "status"))
                if verb in {"tick", "status"}:
                    getattr(self.scheduler, verb)()
                else:
                    getattr(self.scheduler, verb)(name)


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


def live(**order: Any) -> None:
    """Live one program's life; it ends through Python's own shutdown."""
    _Program(Plan(**order)).run()


# --- rehearsals -----------------------------------------------------------------------------------------------------


def _plans(random: Random) -> Iterator[tuple[str, str]]:
    """Tell how to end next, and where: each manner in its turn."""
    for number in itertools.count():
        manner = MANNERS[number % len(MANNERS)]
        if manner.startswith(("thread", "exit without", "wait")):
            place = ""
        elif manner == "callback stops":
            place = random.choice(
                [place for place in PLACES if place != "journal"]
            )  # its rehearsals' door is no callback
        elif manner.startswith("callback"):
            place = random.choice(PLACES)
        else:
            place = random.choice(("", "", "", *PLACES))
        yield manner, place


def _judge(plan: Plan, ended: Mapping[str, object]) -> Iterator[str]:
    if ended["code"] != 0:
        yield f"it ended with {ended['code']}"
    if ended["errors"]:
        yield f"it said {ended['errors']}"
    if not plan.keeps:
        return
    told = Path(plan.folder) / "told"
    promised = set(told.read_text("utf-8").split())
    journal = Journal(Path(plan.folder) / "journal", patience=0.0)
    with contextlib.closing(journal):
        attempts = {attempt.wake_id: attempt for attempt in journal.attempts()}
        for wake_id in promised:
            attempt = attempts.get(wake_id)
            if attempt is None or attempt.state is not AttemptState.SETTLED or attempt.told is not SlotStatus.FINISHED:
                yield f"the report of wake {wake_id} is lost: {attempt}"
                continue
            letter = journal.latest_letter(attempt.agent_id, attempt.keys)
            if letter is None or letter.update.status is not SlotStatus.FINISHED:
                yield f"the update of wake {wake_id} is lost: {letter}"


def _draw(place: Path, number: int, seed: int, random: Random, manner: str, where: str) -> Plan:
    own = tempfile.mkdtemp(dir=place)
    Path(own, "told").touch()
    return Plan(
        folder=own,
        seed=seed * 100_000 + number,
        manner=manner,
        place=where,
        nth=random.choice((1, 2, 3, 5)),
        delay=random.uniform(0.0, 0.08),
        keeps=where == "journal" or random.random() < 0.6,
    )


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    random = Random(f"{seed} signals")
    plans = _plans(random)
    slowest = 0
    with folder() as place, Nursery("tests.campaigns.signals", patience=3 * ENDS_WITHIN) as nursery:
        for first in range(0, count, _BATCH):
            batch = [
                _draw(place, number, seed, random, *next(plans)) for number in range(first, min(count, first + _BATCH))
            ]
            for plan, ended in zip(batch, nursery.have([dataclasses.asdict(plan) for plan in batch]), strict=True):
                outcome.counts[f"{plan.manner}{' with a journal' if plan.keeps else ''}"] += 1
                slowest = max(slowest, int(ended["seconds"] * 1000))
                found = list(_judge(plan, ended))
                if ended["seconds"] > LATEST + ENDS_WITHIN:
                    found.append(f"it took {ended['seconds']:.1f} s to end")
                outcome.counts["reports kept"] += len(Path(plan.folder, "told").read_text("utf-8").split())
                outcome.failures += [f"{plan}: {what}" for what in found]
                shutil.rmtree(plan.folder)
    outcome.most["slowest end, in ms"] = slowest
    return outcome


CAMPAIGN = Campaign(
    name="signals",
    promise="a program that is told to stop at any moment, or ends without, ends soon, quietly, and loses no report",
    small=18,
    full=10_000,
    run=_run,
)
