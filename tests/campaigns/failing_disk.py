"""Each step of the disk fails in turn: what was acknowledged stays, what raised is not there, and work goes on."""

import copy
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import apsw

from harborcal.errors import JournalError
from harborcal.journal import Journal
from harborcal.model import SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.storage import Disk, Fault, StoredFile, folder, journal_on, lay_out
from tests.campaigns.storage_acts import Acts, Picture, picture, record, short_memory

_ACTS = 6
_LAST = SlotUpdate(status=SlotStatus.FINISHED, idempotency_key="last")
_TIMES = (1, 2, 5, 1_000_000)
"""How many steps fail, one after another: the last means until somebody mends the disk."""

_CODES = {
    "write": (apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_FULL),
    "truncate": (apsw.SQLITE_IOERR_TRUNCATE,),
    "sync": (apsw.SQLITE_IOERR_FSYNC,),
    "open": (apsw.SQLITE_CANTOPEN,),
    "read": (apsw.SQLITE_IOERR_READ,),
    "size": (apsw.SQLITE_IOERR_FSTAT,),
    "change": (apsw.SQLITE_FULL,),
    "any": (apsw.SQLITE_IOERR,),
}


class _WrongError(Exception):
    """Something was not as promised."""


class _Rehearsal:
    """One run of acts on a disk that fails."""

    def __init__(self, place: Path, files: dict[str, bytes], seed: str, fault: Fault, outcome: Outcome) -> None:
        self._path = place / "journal"
        self._other = place / "other"
        self._random = Random(seed)
        self._chance = Random(f"{seed} {fault}")
        self._doing = Acts(self._random)
        self._counts = outcome.counts
        self._clock = FakeClock()
        self._in_doubt: list[Picture | None] = []  # what writes that failed may have left; None where that is not known
        self.disk = Disk(files, random=self._chance, fault=fault)

    def run(self) -> None:
        """Open, act, mend the disk, act once more, and see what is there."""
        journal = self._open()
        try:
            acknowledged = picture(journal)
            for _ in range(_ACTS):
                acknowledged = self._act(journal, acknowledged)
            self.disk.fault = None
            journal.accept("a", SlotKey.real(1), _LAST)
            acknowledged = picture(journal)
            self._in_doubt.clear()
            if journal.error:
                raise _WrongError(f"it still tells of an error: {journal.error}")
            self._expect("after the disk was mended", self.disk.as_seen(), acknowledged)
            self._expect("after a power cut at the end", self.disk.after_cut(self._chance), acknowledged)
        finally:
            journal.close()

    def _open(self) -> Journal:
        for _ in range(45):
            try:
                return journal_on(self.disk, self._path, clock=self._clock)
            except JournalError:
                self._counts["openings refused"] += 1
        self.disk.fault = None
        return journal_on(self.disk, self._path, clock=self._clock)

    def _act(self, journal: Journal, acknowledged: Picture) -> Picture:
        """Do something; return what is acknowledged from then on."""
        before, image, state = picture(journal), self.disk.as_seen(), self._random.getstate()
        memory = copy.deepcopy((journal._attempts, journal._letters))
        self._clock.advance(1.0)
        try:
            self._doing.act(journal)
        except JournalError:
            self._counts["writes refused"] += 1
            if picture(journal) != before:
                raise _WrongError("a call that raised has changed what is told") from None
        if not journal.error:
            self._counts["writes acknowledged"] += 1
            self._in_doubt.clear()
            return picture(journal)
        if self._is_held():  # it has put the file back already
            self._in_doubt.clear()
        else:
            self._counts["left in doubt"] += 1
            # What waits to be written, and would have gone with it, the twin does not know.
            self._in_doubt.append(self._had_it_worked(image, state, memory) if before == acknowledged else None)
        try:
            self._expect("after a power cut", self.disk.after_cut(self._chance), acknowledged)
        except JournalError:
            if not self._lies_on():
                raise
            self._counts["refused after a power cut while syncs failed"] += 1
        if not self._is_held() and self._chance.random() < 0.5:
            self._let_another_open(acknowledged)
        return acknowledged

    def _is_held(self) -> bool:
        return max(self.disk.levels.values(), default=0) >= apsw.SQLITE_LOCK_RESERVED

    def _lies_on(self) -> bool:
        """Tell whether several syncs have failed: then nothing is promised for a power cut but that it is noticed."""
        fault = self.disk.fault
        return fault is not None and fault.times > 1 and fault.meets("sync")

    def _had_it_worked(self, image: dict[str, bytes], state: object, memory: tuple[Any, Any]) -> Picture:
        """Do the same on a disk that does not fail; what is forgotten with it depends on the order in memory."""
        random = Random()
        random.setstate(state)  # type: ignore[arg-type]  # what getstate told
        twin = journal_on(Disk(image), self._path, clock=self._clock)
        twin._attempts, twin._letters = memory
        try:
            Acts(random).act(twin)
            return picture(twin)
        finally:
            twin.close()

    def _expect(self, when: str, files: dict[str, bytes], acknowledged: Picture) -> None:
        """Open what is there as anybody would."""
        lay_out(files, self._path, self._other)
        journal = Journal(self._other, clock=self._clock, patience=0.0)
        try:
            found = picture(journal)
        finally:
            journal.close()
        if found != acknowledged and found not in self._in_doubt and None not in self._in_doubt:
            raise _WrongError(f"{when} something else is found than was acknowledged")

    def _let_another_open(self, acknowledged: Picture) -> None:
        """Have another process open the journal and close it, between two writes."""
        self._counts["opened by another process in between"] += 1
        self._expect("by another process", self.disk.as_seen(), acknowledged)
        for suffix in ("", "-journal"):
            held = self._other.with_name(self._other.name + suffix).read_bytes()
            self.disk.files[f"{self._path}{suffix}"] = StoredFile(bytearray(held), bytearray(held), is_durable=True)


def _faults(steps_of: Callable[[str], int], random: Random) -> list[Fault]:
    """List all that can go wrong once in a run: each step of each kind, for so many steps; kinds take turns.

    Syncs that fail once come first: after some of them a write is on disk that was said to have failed.
    """
    sorts = []
    for (kind, codes), times in itertools.product(_CODES.items(), _TIMES):
        sort = [Fault(kind, at, times, code) for at in range(steps_of(kind)) for code in codes]
        random.shuffle(sort)
        sorts.append(sort)
    first = next(sort for sort in sorts if sort and sort[0].kind == "sync" and sort[0].times == 1)
    sorts.remove(first)
    random.shuffle(sorts)
    return first + [fault for turn in itertools.zip_longest(*sorts) for fault in turn if fault is not None]


def _sweep(place: Path, files: dict[str, bytes], name: str, most: int, outcome: Outcome) -> bool:
    """Let each step of one scenario fail, but so many at most; tell whether that was all."""

    def steps_of(kind: str) -> int:
        rehearsal = _Rehearsal(place, files, name, Fault(kind, 10**9, 0, 0), Outcome())
        rehearsal.run()
        return rehearsal.disk.met

    faults = _faults(functools.cache(steps_of), Random(name))
    for fault in faults[:most]:
        outcome.counts["failing disks"] += 1
        try:
            _Rehearsal(place, files, name, fault, outcome).run()
        except Exception as error:  # whatever it is, a failing disk must not lead to it
            outcome.failures.append(f"{name}, {fault}: {error!r}")
    return most >= len(faults)


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    with folder() as place, short_memory():
        path = place / "journal"
        Journal(path, clock=FakeClock()).close()
        files = record(path, {str(path): path.read_bytes()}, Random(f"seed {seed}"), 20).seen_after()
        for number in itertools.count(1):
            name = f"seed {seed}, scenario {number}"
            try:
                is_whole = _sweep(place, files, name, count - outcome.counts["failing disks"], outcome)
            except Exception as error:  # without any failure of the disk
                outcome.failures.append(f"{name}, nothing failed: {error!r}")
                return outcome
            outcome.counts["scenarios in which each step failed"] += is_whole
            if outcome.counts["failing disks"] >= count:
                return outcome
    return outcome


CAMPAIGN = Campaign(
    name="failing-disk",
    promise="whichever step of the disk fails, what was acknowledged is there and what raised is not, and work goes on",
    small=100,
    full=40_000,
    run=_run,
)
