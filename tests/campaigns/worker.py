"""A program that runs a scheduler on a calendar and a journal, and is killed: what `kills` rehearses.

``python -m tests.campaigns.worker '<order>'`` lives one life and dies as the order says. Without an order it reads them
from its input, one a line, forks a child for each, which has nothing but the imports of its parent, and answers how
each ended: to start Python anew for each would cost ten times as much.

What happens is written by the doors to an append-only file, each line by one write: that survives a SIGKILL.
"""

import dataclasses
import datetime as dt
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from harborcal import (
    Agent,
    EmbeddedTransport,
    HarborcalError,
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
from harborcal.calendar import Calendar

AGENTS = ("ada", "bob", "cyd")
CALENDAR, JOURNAL, LOG, ERRORS = "calendar.db", "journal.db", "log", "errors"
DAWN = dt.datetime(2026, 1, 5, 0, 30, tzinfo=dt.UTC)
PACE = 2_000.0
"""How much faster than the system's clock time passes: a heartbeat each 15 ms, a lease of two minutes in 60."""

LONG_LEASE = 30_000.0
LIFE = 0.6
"""Real seconds after which a life that was to be killed, and was not, ends by itself."""

HEALING = 15.0
"""Real seconds within which a life that is not killed must have ended all work."""

DOORS = ("heartbeat", "claim", "update", "wake", "complete")
ACTS = ("open", "reserve", "enter", "change", "accept", "send", "deliver", "withdraw", "remind")
POINTS = tuple(f"{when} {door}" for door in DOORS for when in ("before", "after")) + tuple(
    f"{act}.{step}" for act in ACTS for step in ("begun", "written", "committed")
)
"""Where a worker can be killed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """One life.

    Attributes:
        folder: Where its files are.
        life: Which of its rehearsal's lives it is.
        seed: What its agents are like.
        since: The system's monotonic time at `DAWN`.
        point: Where it kills itself; empty for nowhere.
        nth: Which time it comes there.
        delay: Seconds after which it is killed from outside; None for never.
        lease: Seconds.
        repeats: Whether wakes of which nobody knows are sent again.
    """

    folder: str
    life: int
    seed: int
    since: float
    point: str = ""
    nth: int = 1
    delay: float | None = None
    lease: float = LONG_LEASE
    repeats: bool = False

    @property
    def heals(self) -> bool:
        """Whether it goes on until all work has ended."""
        return not self.point and self.delay is None


class FastClock:
    """The system's clock, made faster; it goes on across lives."""

    def __init__(self, since: float) -> None:
        self._since = since

    def now(self) -> dt.datetime:
        return DAWN + dt.timedelta(seconds=(time.monotonic() - self._since) * PACE)

    def monotonic(self) -> float:
        return time.monotonic() * PACE

    def call_later(self, delay: float, callback: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(max(0.0, delay / PACE), callback)
        timer.daemon = True
        timer.start()
        return timer


class Book:
    """What the outside sees: an append-only file, and the moment of death."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._file = os.open(Path(order.folder) / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._reached: Counter[str] = Counter()  # guarded by _lock

    def write(self, what: str, **fields: object) -> None:
        """Write a line, whole or not at all."""
        line = {"life": self._order.life, "thread": threading.get_ident(), "what": what, **fields}
        os.write(self._file, (json.dumps(line) + "\n").encode())

    def reach(self, point: str) -> None:
        """Come to a point, and die there if it is the one."""
        with self._lock:
            self._reached[point] += 1
            is_last = point == self._order.point and self._reached[point] == self._order.nth
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        if point in {"enter.begun", "enter.written", "enter.committed"}:
            self.write(point)


class Doors:
    """The way to the calendar; at times another scheduler is quicker with a claim."""

    def __init__(self, calendar: Calendar, book: Book, order: Order) -> None:
        self._calendar = calendar
        self._inner = EmbeddedTransport(calendar, "claw")
        self._book = book
        self._random = Random(f"{order.seed} doors {order.life}")
        self._loses = 1.0 if order.point.startswith("withdraw") else 0.1
        self._asked: set[SlotKey] = set()

    def heartbeat(self, agent_id: str) -> Heartbeat:
        self._book.reach("before heartbeat")
        answer = self._inner.heartbeat(agent_id)
        self._book.reach("after heartbeat")
        return answer

    def claim(self, agent_id: str, slot: SlotKey, started_at: dt.datetime) -> UpdateReceipt | None:
        self._book.reach("before claim")
        is_first = slot not in self._asked
        self._asked.add(slot)
        if is_first and self._random.random() < self._loses and self._calendar.slot(slot).status.is_pending:
            return None
        receipt = self._inner.claim(agent_id, slot, started_at)
        self._book.reach("after claim")
        return receipt

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        self._book.write("update", agent=agent_id, slot=slot.id, status=str(update.status))
        self._book.reach("before update")
        receipt = self._inner.update_slot(agent_id, slot, update)
        self._book.reach("after update")
        return receipt

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        return self._inner.day(agent_id, date)

    def close(self) -> None:
        self._inner.close()


class Agents:
    """The host: its agents work in threads of their own, and report, fail or die."""

    def __init__(self, book: Book, order: Order) -> None:
        self._book = book
        self._order = order
        self._dies = 0.9 if order.point.startswith("remind") else 0.05
        self.scheduler: Scheduler

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Keep nothing: what matters is seen at the other doors."""

    def wake_agent(self, wake: WakeRequest) -> None:
        self._book.reach("before wake")
        random = Random(f"{self._order.seed} {self._order.life} {wake.wake_id} {wake.reminder}")
        named = {"agent": wake.agent_id, "slot": wake.slot.key.id, "attempt": wake.attempt, "wake_id": wake.wake_id}
        self._book.write("reminded" if wake.reminder else "entered", **named)
        kind = random.random()
        if wake.reminder:
            if kind < 0.5:
                self._begin(lambda: self._work(wake, random, named))
        elif kind < 0.1:
            self._book.write("failed", **named)
            raise RuntimeError("no such agent today")
        elif kind < 0.35:
            self._report(wake, "complete", named, by_handle=True)
        elif kind > self._dies + 0.35:
            self._begin(lambda: self._work(wake, random, named))
        self._book.reach("after wake")

    def _begin(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _work(self, wake: WakeRequest, random: Random, named: Mapping[str, object]) -> None:
        time.sleep(random.uniform(0.0, 0.04))
        if random.random() < 0.2:
            self._report(wake, "pause", named, by_handle=True)
            time.sleep(random.uniform(0.0, 0.01))
            self._report(wake, "resume", named, by_handle=True)
        verb = "complete" if random.random() < 0.9 else "abort"
        self._report(wake, verb, named, by_handle=random.random() < 0.5)

    def _report(self, wake: WakeRequest, verb: str, named: Mapping[str, object], *, by_handle: bool) -> None:
        if by_handle:
            self._tell(getattr(wake.report, verb), verb, named)
        else:
            self._tell(lambda: getattr(self.scheduler, verb)(wake.agent_id, slot=wake.slot), verb, named)

    def _tell(self, report: Callable[[], None], verb: str, named: Mapping[str, object]) -> None:
        self._book.write("called", verb=verb, **named)
        if verb == "complete":
            self._book.reach("before complete")
        try:
            report()
        except HarborcalError as error:
            self._book.write("raised", verb=verb, error=type(error).__name__, **named)
        else:
            self._book.write("returned", verb=verb, **named)
        if verb == "complete":
            self._book.reach("after complete")

    def go_on(self, lines: list[dict[str, Any]]) -> None:
        """Let those who were at work when the program was killed report to the new one; some have died too.

        Not those that rest: nobody is given up for that.
        """
        ended = {line["wake_id"] for line in lines if line["what"] in {"failed", "returned"} and _ends(line)}
        rest = {line["wake_id"] for line in lines if line["what"] == "called" and line["verb"] == "pause"}
        for line in lines:
            if line["what"] == "entered" and line["wake_id"] not in ended:
                random = Random(f"{self._order.seed} {self._order.life} again {line['wake_id']}")
                if random.random() < 0.7 or line["wake_id"] in rest:
                    named = {name: line[name] for name in ("agent", "slot", "attempt", "wake_id")}
                    self._begin(partial(self._finish, named, random))

    def _finish(self, named: Mapping[str, Any], random: Random) -> None:
        time.sleep(random.choice((0.0, random.uniform(0.0, 0.02))))
        patience = time.monotonic() + random.choice((0.0, 1.0))
        while named["agent"] not in self.scheduler.status().last_heartbeats and time.monotonic() < patience:
            time.sleep(0.01)  # as one that is slower than the scheduler
        time.sleep(random.uniform(0.0, 0.04))
        for active in self.scheduler.status().active:
            if active.wake_id == named["wake_id"]:
                verb = "complete" if random.random() < 0.9 else "abort"
                self._tell(lambda: getattr(self.scheduler, verb)(active.agent_id, slot=active.key), verb, named)  # noqa: B023 - called at once
                return


def _ends(line: Mapping[str, Any]) -> bool:
    return line["what"] == "failed" or line["verb"] in {"complete", "abort"}


def read_log(folder: str) -> list[dict[str, Any]]:
    """Read what was logged so far."""
    path = Path(folder) / LOG
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def live(order: Order) -> None:
    """Live one life, until it is killed or its work is done."""
    folder = Path(order.folder)
    lines = read_log(order.folder)
    book = Book(order)
    clock = FastClock(order.since)
    calendar = Calendar(f"sqlite:///{folder / CALENDAR}", clock=clock)
    journal = Journal(folder / JOURNAL, clock=clock, checkpoint=book.reach)
    doors = Doors(calendar, book, order)
    agents = Agents(book, order)
    agents.scheduler = scheduler = Scheduler(
        OutboxTransport(doors, journal, seed=order.seed),
        agents,
        lambda: [Agent(id=name) for name in AGENTS],
        clock=clock,
        config=SchedulerConfig(
            lease=order.lease,
            on_unknown="repeat" if order.repeats else "skip",
            heartbeat_timeout=80_000,
            wake_timeout=80_000,
            lister_timeout=80_000,
            gone_after=80_000,
            seed=order.seed * 1_000 + order.life,
        ),
    )
    agents.go_on(lines)
    scheduler.start()
    patience = HEALING if order.heals else LIFE
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not (drained := _is_drained(scheduler, calendar)) and time.monotonic() < deadline:
        pause.wait(0.005)
    if order.heals and not drained:
        book.write(
            "stuck", status=scheduler.status().to_json(), days=[repr(_day_of(calendar, name)) for name in AGENTS]
        )
    scheduler.stop()
    calendar.close()
    book.write("drained" if drained else "ended")


def _is_drained(scheduler: Scheduler, calendar: Calendar) -> bool:
    status = scheduler.status()
    if status.active or status.delivery is None or status.delivery.pending:
        return False
    return all(slot.status.is_terminal for name in AGENTS for slot in _day_of(calendar, name))


def _day_of(calendar: Calendar, agent_id: str) -> tuple[Slot, ...]:
    return calendar.day(agent_id, DAWN.date())


# --- many lives from one program ------------------------------------------------------------------------------------


def serve() -> None:
    """Fork a child for each order, and answer how it ended."""
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            _be_born(order)
        sys.stdout.write(json.dumps(_see_off(child, order)) + "\n")
        sys.stdout.flush()


def _be_born(order: Order) -> None:
    errors = os.open(Path(order.folder) / ERRORS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(errors, 2)
    signal.alarm(int(HEALING) * 3)  # nobody is left behind
    try:
        live(order)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _see_off(child: int, order: Order) -> dict[str, object]:
    began = time.monotonic()
    patience = HEALING * 2
    killed = False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return {"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status)}
        age = time.monotonic() - began
        if not killed and age > (patience if order.delay is None else order.delay):
            killed = True
            os.kill(child, signal.SIGKILL)
            if order.delay is None:
                os.waitpid(child, 0)
                return {"killed": False, "code": "hung"}
        time.sleep(0.001)


if __name__ == "__main__":
    if sys.argv[1:]:
        live(Order(**json.loads(sys.argv[1])))
    else:
        serve()
