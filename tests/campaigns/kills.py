"""A program is killed at every point, over and over: what its successor makes of what it finds is seen from outside."""

import contextlib
import datetime as dt
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from random import Random
from typing import Any

from harborcal import HarborcalError, Journal, SlotStatus
from harborcal.calendar import Calendar, Recurrence
from harborcal.journal import Attempt, AttemptState, LetterState
from harborcal.testing import FakeClock
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.storage import folder
from tests.campaigns.worker import AGENTS, CALENDAR, DAWN, ERRORS, HEALING, JOURNAL, LONG_LEASE, POINTS, Order, read_log

ROOT = Path(__file__).parents[2]
SHORT_LEASE = 1.0
"""Seconds; the slots' estimates make it two minutes."""

TELLING = (
    "after wake",
    "accept.committed",
    "after claim",
    "enter.committed",
    "before complete",
    "after update",
    "reserve.committed",
    "before update",
    "change.committed",
    "accept.written",
    "before wake",
)
"""The points that are tried first, so that a few deaths tell much."""

_LINES = 40
"""How many lines of a log are shown with a failure."""

Line = dict[str, Any]


class Workers:
    """A program that forks the workers, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def live(self, order: Order) -> dict[str, Any]:
        """Have a worker live one life, and tell how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order.__dict__) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=3 * HEALING)


def _make_calendar(path: Path) -> int:
    """Make the calendar that each rehearsal begins with; return how many slots there are to be done."""
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=FakeClock(DAWN))) as calendar:
        for name in AGENTS:
            calendar.register_agent(name)
            for number in range(3):
                calendar.add_slot(name, DAWN + dt.timedelta(minutes=2 * number - 20), 1, priority=number)
        start = DAWN.replace(tzinfo=None) - dt.timedelta(minutes=29)
        calendar.add_plan(AGENTS[1], Recurrence(start=start, zone="UTC", rule="FREQ=DAILY"), 1)
    return 3 * len(AGENTS) + 1


# --- rehearsals -----------------------------------------------------------------------------------------------------


def _deaths(random: Random) -> Iterator[tuple[str, int, float | None]]:
    """Tell where to be killed next: each point in its turn, and between them at any instant."""
    for number in itertools.count():
        if not number:
            points = [*TELLING, *random.sample(sorted({*POINTS} - {*TELLING}), len(POINTS) - len(TELLING))]
        elif not number % len(POINTS):
            points = random.sample(POINTS, len(POINTS))
        nth = (
            1
            if points[number % len(POINTS)].startswith(("open", "remind", "withdraw"))
            else random.choice((1, 1, 2, 3))
        )
        yield points[number % len(POINTS)], nth, None
        if not number % 4:
            yield "", 0, random.uniform(0.005, 0.2)


class _Rehearsal:
    """Some lives that are killed, one that heals, and what the outside sees of them."""

    def __init__(self, place: Path, number: int, seed: int, slots: int, workers: Workers, outcome: Outcome) -> None:
        self._name = f"seed {seed}, rehearsal {number}"
        self._place = place
        self._seed = seed * 100_000 + number
        self._slots = slots
        self._workers = workers
        self._outcome = outcome
        self._counts = outcome.counts
        self._since = time.monotonic()
        self._life = 0
        self._deaths: list[str] = []
        random = Random(f"{self._seed} lives")
        self._repeats = random.random() < 0.2
        self._lease = SHORT_LEASE if random.random() < 0.2 else LONG_LEASE

    def _fail(self, what: str) -> None:
        where = f"{self._name} (killed: {'; '.join(self._deaths)}; repeats {self._repeats}, lease {self._lease:g})"
        self._outcome.failures.append(f"{where}: {what}")

    def _live(self, **fields: Any) -> dict[str, Any]:
        order = Order(
            folder=str(self._place),
            life=self._life,
            seed=self._seed,
            since=self._since,
            repeats=self._repeats,
            **fields,
        )
        self._life += 1
        return self._workers.live(order)

    def kill(self, point: str, nth: int, delay: float | None) -> None:
        """Let it live until it is killed."""
        is_silent = point.startswith("remind")
        lease = SHORT_LEASE if is_silent else self._lease
        self._deaths.append(f"{point} {nth}" if point else f"after {delay:.3f} s")
        ended = self._live(point=point, nth=nth, delay=delay, lease=lease)
        self._counts["lives"] += 1
        if ended["killed"]:
            self._counts[f"killed {point or 'at any instant'}"] += 1
        elif ended["code"] == 0:
            self._counts["ended before that"] += 1
        else:
            self._fail(f"a life ended with {ended['code']}: {self._errors()}")

    def heal(self) -> None:
        """Let it come to its end, and look at what was left."""
        ended = self._live(lease=SHORT_LEASE)
        if ended["code"] != 0:
            self._fail(f"the healing life ended with {ended['code']}: {self._errors()}")
            return
        if errors := self._errors():
            self._fail(f"said on stderr: {errors}")
        lines = read_log(str(self._place))
        found = list(self._judge(lines))
        if found:
            shown = [line for line in lines if line["what"] != "stuck"][-_LINES:]
            self._fail("; ".join(found) + "".join(f"\n    {line}" for line in shown))

    def _errors(self) -> str:
        path = self._place / ERRORS
        return path.read_text("utf-8", "replace")[-2_000:] if path.exists() else ""

    # --- what the outside sees --------------------------------------------------------------------------------------

    def _judge(self, lines: list[Line]) -> Iterator[str]:
        yield from (f"stuck: {line['status']} {line['days']}" for line in lines if line["what"] == "stuck")
        statuses, real = self._calendar()
        for line in lines:
            if "slot" in line:
                line["slot"] = real.get(line["slot"], line["slot"])
        if len(statuses) != self._slots:
            yield f"{self._slots - len(statuses)} slots were never begun"
        yield from (f"slot {slot} is left {status}" for slot, status in statuses.items() if not status.is_terminal)
        attempts = yield from self._journal()
        yield from self._judge_wakes(lines)
        for slot, status in statuses.items():
            yield from self._judge_slot(slot, status, [line for line in lines if line.get("slot") == slot], attempts)
        yield from self._judge_unknown(lines, statuses)

    def _calendar(self) -> tuple[dict[int, SlotStatus], dict[object, int]]:
        with contextlib.closing(sqlite3.connect(self._place / CALENDAR)) as connection:
            rows = connection.execute("SELECT id, virtual_id, status FROM slots").fetchall()
        statuses = {number: SlotStatus(status) for number, _, status in rows}
        return statuses, {virtual: number for number, virtual, _ in rows if virtual is not None}

    def _journal(self) -> Generator[str, None, tuple[Attempt, ...]]:
        """Have calendar and journal look themselves over; return the attempts that are remembered."""
        with contextlib.closing(Calendar(f"sqlite:///{self._place / CALENDAR}")) as calendar:
            yield from (f"the calendar: {line}" for line in calendar.check())
        try:
            journal = Journal(self._place / JOURNAL, patience=0.0)
        except HarborcalError as error:
            yield f"the journal: {error}"
            return ()
        with contextlib.closing(journal):
            for attempt in journal.attempts():
                if attempt.state is not AttemptState.SETTLED:
                    yield f"an attempt is left {attempt.state}: {attempt}"
            for letter in journal.letters():
                if letter.state is not LetterState.DELIVERED:
                    yield f"a letter is left {letter.state}: {letter}"
            return journal.attempts()

    def _judge_wakes(self, lines: list[Line]) -> Iterator[str]:
        """See that no wake was entered twice; where unknown ones are repeated, only by another life."""
        entered = Counter((line["wake_id"], line["life"]) for line in lines if line["what"] == "entered")
        lives = Counter(wake_id for wake_id, _ in entered)
        self._counts["wakes"] += len(lives)
        for (wake_id, life), times in entered.items():
            if times > 1:
                yield f"wake {wake_id} was entered {times} times in life {life}"
        for wake_id, times in lives.items():
            if times > 1 and not self._repeats:
                yield f"wake {wake_id} was entered in {times} lives"
            self._counts["repeated wakes"] += times > 1 and self._repeats

    def _judge_slot(
        self, slot: int, status: SlotStatus, lines: list[Line], attempts: tuple[Attempt, ...]
    ) -> Iterator[str]:
        """See that one attempt followed the other's end, and that what an agent was promised came to be."""
        at_work, ended = "", True
        words: list[str] = []
        for line in lines:
            if line["what"] == "entered":
                if not ended and line["wake_id"] != at_work:
                    yield f"slot {slot} was woken again ({line['wake_id']}) before {at_work} had ended"
                if words:
                    yield f"slot {slot} was woken again after its agent's {words[-1]}"
                at_work, ended = line["wake_id"], False
            elif line["what"] == "update" and line["status"] == SlotStatus.DEFERRED:
                ended = True
            elif line["what"] == "returned" and line["verb"] in {"complete", "abort"}:
                words.append(str(line["verb"]))
                self._counts[f"{line['verb']}s that returned"] += 1
        if len(words) > 1:
            yield f"slot {slot} was ended {len(words)} times: {words}"
        is_late = any(attempt.is_late for attempt in attempts if any(key.id == slot for key in attempt.keys))
        self._counts["late reports"] += is_late
        due = {"complete": SlotStatus.FINISHED, "abort": SlotStatus.ABORTED}
        if words and due[words[0]] is not status and not is_late:
            yield f"slot {slot} is {status} after a {words[0]} that returned"

    def _judge_unknown(self, lines: list[Line], statuses: dict[int, SlotStatus]) -> Iterator[str]:
        """See that a slot ended without any wake only where a wake had just been written down and not been entered."""
        woken = {line["slot"] for line in lines if line["what"] == "entered"}
        unknown = statuses.keys() - woken
        last: dict[tuple[int, int], str] = {}  # what each thread of each life did last
        for line in lines:
            if line["what"] in {"enter.written", "enter.committed", "entered"}:
                last[line["life"], line["thread"]] = line["what"]
        written = sum(what != "entered" for what in last.values())
        self._counts["wakes of which nobody knows"] += len(unknown)
        if len(unknown) > written:
            yield f"slots {sorted(unknown)} were ended, never woken, and {written} wakes were cut off"


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    random = Random(f"{seed} kills")
    deaths = _deaths(random)
    workers = Workers()
    try:
        with folder() as place:
            slots = _make_calendar(place / CALENDAR)
            left = count
            for number in itertools.count():
                if left <= 0:
                    break
                own = Path(tempfile.mkdtemp(dir=place))
                shutil.copy(place / CALENDAR, own / CALENDAR)
                rehearsal = _Rehearsal(own, number, seed, slots, workers, outcome)
                for _ in range(min(left, random.randint(1, 5))):
                    rehearsal.kill(*next(deaths))
                    left -= 1
                rehearsal.heal()
                shutil.rmtree(own)
    finally:
        workers.close()
    return outcome


CAMPAIGN = Campaign(
    name="kills",
    promise="a program that is killed at any point, over and over, wakes no attempt twice and loses no report",
    small=12,
    full=10_000,
    run=_run,
)
