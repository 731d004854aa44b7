"""Several processes that write into one calendar file at once, and the account of what they were told beside the file.

Each process, again and again: heartbeats its own agent and one that all share; adds a slot of its own, begins and
finishes it; edits a slot that all edit; races for the plan's next virtual slot, which only one can win and finish; and
takes its turn at deferring a slot that all defer, which raises its priority by one. What was acknowledged is counted by
the processes, and afterwards counted in the file, by SQL and not by the calendar.
"""

import argparse
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import math
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bench.plan import CalendarSizes, Plan
from bench.serving import ROOT
from harborcal import CalendarRefusedError, Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.calendar import Calendar, Recurrence
from harborcal.wire import MAX_PRIORITY

T = TypeVar("T")

_EDITED, _RACED, _TURNS = "edited-by-all", "raced-for-by-all", "deferred-by-all"
_TURNS_PER_SECOND = 200  # more than any disk takes
_STEP = dt.timedelta(minutes=30)  # between slots of one agent
_LENGTH = 20
_SHOWN = 5


def _own(number: int) -> str:
    return f"of-process-{number}"


def _midnight(date: dt.date) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(), dt.UTC)


# --- figures --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessFigures:
    """What one process did. ``lost_races`` are claims that another process won: answers, not errors."""

    operations: int
    lost_races: int
    median_ms: float
    p99_ms: float
    longest_ms: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptFigures:
    """What the processes were told had been done, and what is in the file."""

    acknowledged: int
    found: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class HammerFigures:
    """The whole account.

    Attributes:
        seconds: How long the processes went on.
        processes: What each of them did.
        per_second: Operations of all of them together.
        kept: By kind, what was acknowledged and what is in the file.
        lost: How many acknowledged changes are not in the file, or are there without having been acknowledged.
        errors: How many errors reached a caller.
        shown_errors: The first different ones of them, in words.
        findings: How many faults the integrity check found.
    """

    seconds: float
    processes: Sequence[ProcessFigures]
    per_second: float
    kept: Mapping[str, KeptFigures]
    lost: int
    errors: int
    shown_errors: Sequence[str]
    findings: int


# --- one process ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True)
class Account:
    """What one process was told, to be told on as JSON.

    Attributes:
        number: Which process.
        added: Slots of its own that it added.
        begun: How many of them it began.
        finished: How many of them it finished.
        edited: How often it edited the slot that all edit.
        turns: How often it raised the priority of the slot that all defer.
        won: The virtual slots that it won and finished.
        heard_at: When it last began a heartbeat of an agent that was answered, in seconds since 1970.
        lost_races: How many claims others had won.
        waits: How long each call took, in seconds.
        errors: What reached it as an error, in words.
    """

    number: int
    added: int = 0
    begun: int = 0
    finished: int = 0
    edited: int = 0
    turns: int = 0
    won: list[str] = dataclasses.field(default_factory=list)
    heard_at: dict[str, float] = dataclasses.field(default_factory=dict)
    lost_races: int = 0
    waits: list[float] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)


class _Process:
    """One process's work, and its account."""

    def __init__(self, calendar: Calendar, number: int, first: dt.date) -> None:
        self.account = Account(number=number)
        self._calendar = calendar
        self._owner = calendar.new_owner(f"hammer-{number}")
        self._first = first
        (self._edited,) = calendar.day(_EDITED, first)
        (self._plan,) = calendar.plans(_RACED)
        days = itertools.takewhile(bool, (calendar.day(_TURNS, self._day(number)) for number in itertools.count()))
        self._turn_keys = [slot.key for day in days for slot in day]
        self._round = 0

    def work(self, seconds: float) -> None:
        """Go round until the time is over."""
        until = time.monotonic() + seconds
        while True:
            for step in (self._beat, self._work_on_own, self._edit, self._race, self._take_turn):
                if time.monotonic() >= until:
                    return
                step()
            self._round += 1

    def _beat(self) -> None:
        for agent_id in (_own(self.account.number), _EDITED):
            at = self._calendar.clock.now()
            if self._call(lambda: self._calendar.heartbeat(agent_id, owner=self._owner)) is not None:  # noqa: B023 - called at once
                self.account.heard_at[agent_id] = at.timestamp()

    def _work_on_own(self) -> None:
        agent_id, starts_at = _own(self.account.number), _midnight(self._first) + self._round * _STEP
        slot = self._call(lambda: self._calendar.add_slot(agent_id, starts_at, _LENGTH))
        if slot is None:
            return
        self.account.added += 1
        self.account.begun += self._say(agent_id, slot, SlotUpdate(status=SlotStatus.ONGOING)) is not None
        self.account.finished += self._finish(agent_id, slot)

    def _edit(self) -> None:
        note = {"process": self.account.number, "round": self._round}
        slot = self._call(lambda: self._calendar.edit_slot(self._edited.key, event_data=note))
        self.account.edited += slot is not None

    def _race(self) -> None:
        key = SlotKey.virtual(f"plan-{self._plan.id}-{self._day(self._round)}")
        slot = self._claim(_RACED, key)
        if slot is not None and self._finish(_RACED, slot):
            self.account.won.append(str(key))

    def _take_turn(self) -> None:
        """Take the slot from all others, and give it back with its priority raised."""
        slot = self._claim(_TURNS, self._turn_keys[0])
        if slot is None:
            return
        if self._say(_TURNS, slot, SlotUpdate(status=SlotStatus.DEFERRED)) is None:
            return
        if slot.priority == MAX_PRIORITY:
            del self._turn_keys[0]  # goes no higher: on to the next
        else:
            self.account.turns += 1

    def _claim(self, agent_id: str, key: SlotKey) -> Slot | None:
        """Claim a slot; another process may have it, or may be through with it already."""
        now = self._calendar.clock.now()

        def claim() -> Slot | None:
            try:
                return self._calendar.claim(agent_id, key, now, owner=self._owner)
            except CalendarRefusedError as refusal:
                if refusal.status != 409:
                    raise
                return None

        errors = len(self.account.errors)
        slot = self._call(claim)
        self.account.lost_races += slot is None and len(self.account.errors) == errors
        return slot

    def _finish(self, agent_id: str, slot: Slot) -> bool:
        update = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=1)
        return self._say(agent_id, slot, update) is not None

    def _say(self, agent_id: str, slot: Slot, update: SlotUpdate) -> Slot | None:
        return self._call(lambda: self._calendar.apply_update(agent_id, slot.key, update, owner=self._owner))

    def _call(self, call: Callable[[], T]) -> T | None:
        """Make one call; None where an error reached us."""
        since = time.perf_counter()
        try:
            return call()
        except Exception as error:  # whatever it is: the account says so
            self.account.errors.append(f"{type(error).__name__}: {error}")
            return None
        finally:
            self.account.waits.append(time.perf_counter() - since)

    def _day(self, number: int) -> dt.date:
        return self._first + dt.timedelta(days=number)


# --- the account ----------------------------------------------------------------------------------------------------


def measure_hammer(plan: Plan) -> HammerFigures:
    """Let the processes go at one new file, then hold what they were told against what is in it."""
    sizes = plan.calendar
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hammered.db"
        with Calendar(f"sqlite:///{path}") as calendar:
            # All slots are of the day after tomorrow and later, so that the run may cross midnight.
            first = calendar.clock.now().date() + dt.timedelta(days=2)
            _prepare(calendar, sizes, first)
        accounts = _run(path, sizes, first)
        with Calendar(f"sqlite:///{path}") as calendar:
            findings = calendar.check()
        kept = hold(path, accounts)
    errors = [error for account in accounts for error in account.errors]
    return HammerFigures(
        seconds=sizes.hammer_seconds,
        processes=[_process_figures(account) for account in accounts],
        per_second=sum(len(account.waits) for account in accounts) / sizes.hammer_seconds,
        kept=kept,
        lost=sum(abs(each.acknowledged - each.found) for each in kept.values()),
        errors=len(errors),
        shown_errors=list(dict.fromkeys(errors))[:_SHOWN],
        findings=len(findings),
    )


def _prepare(calendar: Calendar, sizes: CalendarSizes, first: dt.date) -> None:
    for agent_id in (_EDITED, _RACED, _TURNS, *map(_own, range(sizes.processes))):
        calendar.register_agent(agent_id)
    start = _midnight(first)
    calendar.add_slot(_EDITED, start, _LENGTH)
    calendar.add_plan(_RACED, Recurrence.of(start, "FREQ=DAILY"), _LENGTH)
    for number in range(math.ceil(sizes.hammer_seconds * _TURNS_PER_SECOND / MAX_PRIORITY) + 1):
        calendar.add_slot(_TURNS, start + number * _STEP, _LENGTH)


def _run(path: Path, sizes: CalendarSizes, first: dt.date) -> list[Account]:
    """Start the processes, let them begin together once all are ready, and read their accounts.

    Raises:
        ChildProcessError: A process ended without an account.
    """
    command = [sys.executable, "-m", "bench.calendar.hammer", f"sqlite:///{path}", first.isoformat()]
    command += ["--seconds", str(sizes.hammer_seconds)]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(_child([*command, "--number", str(number)])) for number in range(sizes.processes)
        ]
        for child in children:
            _line_of(child)
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        return [Account(**json.loads(_line_of(child))) for child in children]


@contextlib.contextmanager
def _child(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _line_of(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise ChildProcessError(f"a hammering process ended with {child.wait()} and without an account")
    return line


def hold(path: Path, accounts: Sequence[Account]) -> dict[str, KeptFigures]:
    """Count in the file what was acknowledged, by kind."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:

        def count(query: str, *values: object) -> int:
            return int(connection.execute(query, values).fetchone()[0] or 0)

        own = "SELECT count(*) FROM slots WHERE agent_id LIKE 'of-process-%'"
        edits = "SELECT sum(sequence) FROM slots WHERE agent_id = ?"
        raced = "SELECT count(*) FROM slots WHERE agent_id = ? AND status = 'finished'"
        turns = "SELECT sum(priority) FROM slots WHERE agent_id = ?"
        heard = "SELECT last_heartbeat_at FROM agents WHERE id = ?"
        latest: dict[str, float] = {}
        for account in accounts:
            for agent_id, at in account.heard_at.items():
                latest[agent_id] = max(at, latest.get(agent_id, 0.0))
        remembered = sum(count(heard, agent_id) >= math.floor(at * 1e6) for agent_id, at in latest.items())
        found = {
            "slots added": (sum(account.added for account in accounts), count(own)),
            "slots begun": (sum(account.begun for account in accounts), count(f"{own} AND attended = 1")),
            "slots finished": (
                sum(account.finished for account in accounts),
                count(f"{own} AND status = 'finished' AND actual_duration = 1"),
            ),
            "edits of one slot by all": (sum(account.edited for account in accounts), count(edits, _EDITED)),
            "virtual slots won by one": (sum(len(account.won) for account in accounts), count(raced, _RACED)),
            "turns at deferring": (sum(account.turns for account in accounts), count(turns, _TURNS)),
            "agents last heard": (len(latest), remembered),
        }
    return {name: KeptFigures(acknowledged=told, found=there) for name, (told, there) in found.items()}


def _process_figures(account: Account) -> ProcessFigures:
    waits = sorted(account.waits) or [0.0]
    return ProcessFigures(
        operations=len(account.waits),
        lost_races=account.lost_races,
        median_ms=waits[len(waits) // 2] * 1e3,
        p99_ms=waits[int(len(waits) * 0.99)] * 1e3,
        longest_ms=waits[-1] * 1e3,
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description="One of the processes that hammer a calendar.")
    parser.add_argument("url", help="the calendar's")
    parser.add_argument("first", type=dt.date.fromisoformat, help="the date of the first slots")
    parser.add_argument("--number", type=int, required=True, help="which of the processes it is")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    with Calendar(arguments.url) as calendar:
        process = _Process(calendar, arguments.number, arguments.first)
        print("ready", flush=True)
        if sys.stdin.readline():
            process.work(arguments.seconds)
            print(json.dumps(dataclasses.asdict(process.account)), flush=True)


if __name__ == "__main__":
    _main()
