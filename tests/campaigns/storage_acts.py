"""What schedulers do to a journal, at random, and what it then tells."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from unittest import mock

from harborcal.journal import Attempt, AttemptState, Journal, LetterState, memory
from harborcal.model import Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import MONDAY_MORNING, FakeClock
from tests.campaigns.storage import Disk, Step, journal_on

Picture = tuple[tuple[str, ...], tuple[str, ...], str]
"""Everything that a journal tells: attempts, letters, and the numbers of its status."""

_ENDS = (SlotStatus.FINISHED, SlotStatus.ABORTED, SlotStatus.DEFERRED)


def picture(journal: Journal) -> Picture:
    """Take down everything that a journal tells."""
    status = journal.status()
    return (
        tuple(attempt.encode() for attempt in journal.attempts()),
        tuple(letter.encode() for letter in journal.letters()),
        repr((status.accepted, status.delivered, status.pending, status.dead, status.dropped, status.dead_letters)),
    )


@contextlib.contextmanager
def short_memory() -> Iterator[None]:
    """Let journals forget soon, so that forgetting is rehearsed too."""
    with mock.patch.multiple(memory, ATTEMPTS_KEPT=4, LETTERS_KEPT=4, DEAD_LETTERS_KEPT=2):
        yield


def attempt_at(slot: Slot, agent_id: str, number: int = 1) -> Attempt:
    """Make an attempt at a slot."""
    return Attempt(
        id=0,
        agent_id=agent_id,
        slot=slot,
        key=slot.key,
        number=number,
        wake_id=f"wake-{agent_id}-{slot.ident}-{number}",
        state=AttemptState.CLAIMING,
        claimed_at=MONDAY_MORNING,
        started_at=MONDAY_MORNING,
    )


class Acts:
    """Does one thing after another to a journal."""

    def __init__(self, random: Random, *, length: int = 40) -> None:
        self.random = random
        self._length = length  # of texts: some need pages of their own

    def act(self, journal: Journal) -> str:
        """Do something; tell what.

        Raises:
            JournalError: It could not be written.
        """
        doings: tuple[tuple[int, Callable[[Journal], str]], ...] = (
            (4, self._begin),
            (4, self._accept),
            (3, self._deliver),
            (2, self._send),
            (1, self._fail),
            (2, self._enter),
            (1, self._settle),
            (1, self._withdraw),
            (2, self._bury),
            (1, self._drop),
            (1, self._revive),
            (1, self._replace),
            (1, self._change),
        )
        (doing,) = self.random.choices([one for _, one in doings], [weight for weight, _ in doings])
        return doing(journal)

    def _text(self) -> str:
        return "x" * self.random.choice((0, 5, self._length, self.random.randrange(self._length * 60)))

    def _slot(self) -> Slot:
        number = self.random.randrange(1, 6)
        return Slot(id=number) if self.random.random() < 0.5 else Slot(virtual_id=f"plan-{number}-2026-01-05")

    def _update(self) -> SlotUpdate:
        key = f"key-{self.random.getrandbits(64):x}"
        if self.random.random() < 0.4:
            return SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0), idempotency_key=key)
        status = self.random.choice(_ENDS)
        return SlotUpdate(status=status, actual_duration=self.random.randrange(100), idempotency_key=key)

    def _begin(self, journal: Journal) -> str:
        agent_id = self.random.choice("abc")
        slot = self._slot()
        journal.open_attempt(attempt_at(slot, agent_id, journal.next_number(agent_id, slot.keys)))
        return "open_attempt"

    def _unfinished(self, journal: Journal) -> Attempt | None:
        unfinished = [attempt for attempt in journal.attempts() if attempt.state is not AttemptState.SETTLED]
        return self.random.choice(unfinished) if unfinished else None

    def _enter(self, journal: Journal) -> str:
        attempt = self._unfinished(journal)
        if attempt is None:
            return self._begin(journal)
        (journal.enter if self.random.random() < 0.6 else journal.remind)(attempt.id)
        return "enter or remind"

    def _settle(self, journal: Journal) -> str:
        attempt = self._unfinished(journal)
        if attempt is None:
            return self._begin(journal)
        journal.settle(attempt.id, SlotStatus.ABORTED, reason=self._text())
        return "settle"

    def _withdraw(self, journal: Journal) -> str:
        attempt = self._unfinished(journal)
        if attempt is None:
            return self._begin(journal)
        journal.withdraw(attempt.id)
        return "withdraw"

    def _change(self, journal: Journal) -> str:
        attempt = self._unfinished(journal)
        if attempt is None:
            return self._begin(journal)
        journal.change(attempt.id, state=AttemptState.PAUSED, pause_reason=self._text())
        return "change"

    def _accept(self, journal: Journal) -> str:
        attempt = self._unfinished(journal)
        if attempt is None or self.random.random() < 0.3:
            journal.accept(self.random.choice("abc"), self._slot().key, self._update())
        else:
            update = self._update()
            journal.annotate(attempt.id, update.status, reason=self._text(), summary=self._text())
            journal.accept(attempt.agent_id, attempt.key, update)
        return "accept"

    def _letter(self, journal: Journal, state: LetterState) -> int | None:
        letters = journal.letters(state)
        return self.random.choice(letters).number if letters else None

    def _deliver(self, journal: Journal) -> str:
        number = self._letter(journal, LetterState.PENDING)
        if number is None:
            return self._accept(journal)
        journal.delivered(number, SlotKey.real(self.random.randrange(1, 6)))
        return "delivered"

    def _send(self, journal: Journal) -> str:
        number = self._letter(journal, LetterState.PENDING)
        if number is None:
            return self._accept(journal)
        journal.tried(number)
        return "tried"

    def _fail(self, journal: Journal) -> str:
        number = self._letter(journal, LetterState.PENDING)
        if number is None:
            return self._accept(journal)
        journal.failed(number, self._text(), may_be_there=self.random.random() < 0.5)
        return "failed"

    def _bury(self, journal: Journal) -> str:
        number = self._letter(journal, LetterState.PENDING)
        if number is None:
            return self._accept(journal)
        journal.bury(number, self._text())
        return "bury"

    def _drop(self, journal: Journal) -> str:
        number = self._letter(journal, LetterState.DEAD)
        if number is None:
            return self._bury(journal)
        journal.drop(number)
        return "drop"

    def _revive(self, journal: Journal) -> str:
        later = {letter.lane: letter.number for letter in journal.letters() if letter.state is not LetterState.DEAD}
        for letter in journal.letters(LetterState.DEAD):
            own = {letter.key, letter.address}
            begun = [
                one.letters_from for one in journal.attempts() if one.agent_id == letter.agent_id and own & one.keys
            ]
            if max(later.get(letter.lane, 0), *begun[-1:], 0) <= letter.number:
                journal.revive(letter.number)
                return "revive"
        return self._bury(journal)

    def _replace(self, journal: Journal) -> str:
        for letter in journal.letters(LetterState.PENDING):
            if not letter.tries:
                journal.replace(letter.number, self._update())
                return "replace"
        return self._accept(journal)


# --- recordings -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Recording:
    """Some acts, everything they did to the disk, and what was told after each."""

    files: dict[str, bytes]  # before
    steps: list[Step]
    told: list[tuple[int, str, Picture]]  # how many steps had happened, which act, what the journal told

    def _disk_after(self, cut: int) -> Disk:
        disk = Disk(self.files)
        for step in self.steps[:cut]:
            disk.do(step)
        return disk

    def seen_after(self, cut: int | None = None) -> dict[str, bytes]:
        """Tell what programs see after so many steps, or all."""
        return self._disk_after(len(self.steps) if cut is None else cut).as_seen()

    def left_after(self, cut: int, random: Random) -> dict[str, bytes]:
        """Tell what a power cut after so many steps leaves."""
        return self._disk_after(cut).after_cut(random)

    def allowed_after(self, cut: int) -> dict[str, Picture]:
        """Tell what may be found then: the last acknowledged state, or the one under way."""
        acknowledged = [number for number, (steps, _, _) in enumerate(self.told) if steps <= cut]
        last = max(acknowledged, default=0)
        return {act: pictured for _, act, pictured in self.told[last : last + 2]}


def record(path: Path, files: dict[str, bytes], random: Random, acts: int) -> Recording:
    """Do so many things to a journal, and take down what happens."""
    clock = FakeClock()
    disk = Disk(files, random=random)
    journal = journal_on(disk, path, clock=clock)
    told = [(0, "before", picture(journal))]
    doing = Acts(random)
    for number in range(acts):
        clock.advance(1.0)
        act = doing.act(journal)
        told.append((len(disk.steps), f"{number}: {act}", picture(journal)))
    steps = list(disk.steps)
    journal.close()
    return Recording(files, steps, told)
