"""What a journal remembers, and what of it is there after it was closed, crashed, or forked."""

import contextlib
import dataclasses
import datetime as dt
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harborcal.errors import ConfigurationError, JournalError
from harborcal.journal import Attempt, AttemptState, Journal, Letter, LetterState, memory
from harborcal.model import EventType, Slot, SlotKey, SlotStatus, SlotType, SlotUpdate
from harborcal.testing import FakeClock
from tests.campaigns.storage import folder
from tests.campaigns.storage_acts import Acts, attempt_at, picture, short_memory

ONGOING = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0))
PAUSED = SlotUpdate(status=SlotStatus.PAUSED)
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=25)
ABORTED = SlotUpdate(status=SlotStatus.ABORTED)
REAL = SlotKey.real(7)
VIRTUAL = SlotKey.virtual("plan-1-2026-01-05")
PATIENCE = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@contextlib.contextmanager
def opened(path: Path, clock: FakeClock | None = None, **options: Any) -> Iterator[Journal]:
    journal = Journal(path, clock=clock or FakeClock(), patience=0.0, **options)
    with contextlib.closing(journal):
        yield journal


def reopened(path: Path) -> tuple[tuple[Attempt, ...], tuple[Letter, ...]]:
    """Tell what somebody finds who opens the file next."""
    with opened(path) as journal:
        return journal.attempts(), journal.letters()


class CrashError(Exception):
    """The process ends here, as far as a rehearsal can tell."""


class Crashing:
    """A checkpoint that crashes at a step, once it is told to."""

    def __init__(self) -> None:
        self.step = ""
        self.passed: list[str] = []

    def __call__(self, step: str) -> None:
        self.passed.append(step)
        if self.step and step.endswith(self.step):
            raise CrashError(step)


# --- attempts


def test_an_attempt_is_followed_from_its_claim_to_its_settlement(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        assert (attempt.id, attempt.state) == (1, AttemptState.CLAIMING)
        journal.enter(attempt.id)
        journal.change(attempt.id, state=AttemptState.ONGOING, heard_at=clock.now())
        clock.advance(60)
        journal.remind(attempt.id)
        reminded_at = clock.now()
        journal.settle(attempt.id, SlotStatus.ABORTED, reason="fell silent", is_expired=True)
        expected = dataclasses.replace(
            attempt,
            state=AttemptState.SETTLED,
            heard_at=attempt.claimed_at,
            reminded_at=reminded_at,
            settled_at=reminded_at,
            status=SlotStatus.ABORTED,
            reason="fell silent",
            is_expired=True,
        )
        assert journal.attempts() == (expected,)
    assert reopened(path) == ((expected,), ())


ATTEMPT_ACTS: list[Callable[[Journal], object]] = [
    lambda journal: journal.open_attempt(attempt_at(Slot(id=8), "dev")),
    lambda journal: journal.enter(1),
    lambda journal: journal.remind(1),
    lambda journal: journal.change(1, state=AttemptState.PAUSED, pause_reason="lunch", rested=1.5),
    lambda journal: journal.settle(1, SlotStatus.FINISHED, summary="done"),
    lambda journal: journal.withdraw(1),
]


@pytest.mark.parametrize("act", ATTEMPT_ACTS)
def test_what_was_written_of_an_attempt_is_on_disk_at_once(path: Path, act: Callable[[Journal], object]) -> None:
    crashing = Crashing()
    with opened(path, checkpoint=crashing) as journal:
        journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        before = journal.attempts()
        act(journal)
        expected = journal.attempts()
        assert expected != before
        crashing.step = "begun"
        with pytest.raises(CrashError):
            journal.accept("dev", REAL, ONGOING)
        assert reopened(path)[0] == expected


def test_a_withdrawn_attempt_does_not_count(path: Path) -> None:
    slot = Slot(id=7)
    with opened(path) as journal:
        assert journal.next_number("dev", slot.keys) == 1
        first = journal.open_attempt(attempt_at(slot, "dev", 1))
        journal.settle(first.id, SlotStatus.ABORTED)
        second = journal.open_attempt(attempt_at(slot, "dev", journal.next_number("dev", slot.keys)))
        assert (second.number, journal.next_number("dev", slot.keys)) == (2, 3)
        journal.withdraw(second.id)
        assert journal.next_number("dev", slot.keys) == 2
        journal.withdraw(second.id)
    with opened(path) as journal:
        assert journal.next_number("dev", slot.keys) == 2
        assert journal.next_number("ops", slot.keys) == 1
        assert journal.open_attempt(attempt_at(slot, "dev", 2)).id == 3


def test_an_attempt_ends_what_its_agent_has_not_ended_before(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as journal:
        for agent_id, slot_id in (("dev", 7), ("ops", 8), ("dev", 9)):
            journal.open_attempt(attempt_at(Slot(id=slot_id), agent_id))
        # What was ended by another is not withdrawn after that.
        journal.withdraw(1)
    ended, others, latest = reopened(path)[0]
    assert (ended.state, ended.status, ended.settled_at) == (AttemptState.SETTLED, "aborted", clock.now())
    assert ended.reason == "its agent has begun another slot"
    assert [others.state, latest.state] == [AttemptState.CLAIMING] * 2


def test_a_wake_is_not_entered_once_its_attempt_has_ended(path: Path) -> None:
    with opened(path) as journal:
        first = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        assert journal.enter(first.id)
        journal.accept("dev", REAL, FINISHED)
        assert not journal.enter(first.id)
    assert [attempt.state for attempt in reopened(path)[0]] == [AttemptState.SETTLED]


def test_a_wake_is_not_entered_once_more_where_its_agent_was_heard(path: Path, clock: FakeClock) -> None:
    with opened(path) as journal:
        first = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        assert journal.enter(first.id, unless_heard=True)
        journal.change(first.id, heard_at=clock.now())
        assert not journal.enter(first.id, unless_heard=True)
        assert journal.enter(first.id)


@pytest.mark.parametrize(("update", "state"), [(PAUSED, AttemptState.PAUSED), (FINISHED, AttemptState.SETTLED)])
def test_the_end_of_a_wake_undoes_nothing_that_its_agent_has_said(
    path: Path, update: SlotUpdate, state: AttemptState
) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.enter(attempt.id)
        journal.accept("dev", REAL, update)
        journal.change(attempt.id, state=AttemptState.ONGOING)
    assert [attempt.state for attempt in reopened(path)[0]] == [state]


def test_attempts_count_by_every_key_of_their_slot(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7, virtual_id=str(VIRTUAL)), "dev"))
        assert [journal.next_number("dev", [key]) for key in (REAL, VIRTUAL, SlotKey.real(8))] == [2, 2, 1]
        journal.change(attempt.id, key=SlotKey.real(8))
        assert journal.next_number("dev", [SlotKey.real(8)]) == 2
        journal.withdraw(attempt.id)
        assert [journal.next_number("dev", [key]) for key in (REAL, VIRTUAL, SlotKey.real(8))] == [1, 1, 1]


def test_what_can_wait_goes_with_the_next_write(path: Path) -> None:
    crashing = Crashing()
    with opened(path, checkpoint=crashing) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.change(attempt.id, can_wait=True, rested=3.0)
        assert journal.attempts()[0].rested == 3.0
        crashing.step = "begun"
        with pytest.raises(CrashError):
            journal.enter(attempt.id)
        assert reopened(path)[0][0].rested == 0.0
        crashing.step = ""
        journal.accept("ops", SlotKey.real(9), ONGOING)
    assert reopened(path)[0][0].rested == 3.0


def test_what_waits_is_written_at_the_end(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.change(attempt.id, can_wait=True, rested=3.0)
    assert reopened(path)[0][0].rested == 3.0


def test_attempts_that_nobody_knows_are_neither_entered_nor_changed(path: Path) -> None:
    with opened(path) as journal:
        for act in (journal.enter, journal.remind):
            with pytest.raises(JournalError, match="no attempt 5"):
                act(5)
        journal.change(5, rested=1.0)
        journal.settle(5, SlotStatus.FINISHED)
        assert journal.attempts() == ()


def test_an_update_that_ends_its_slot_settles_the_attempt_in_one_write(path: Path, clock: FakeClock) -> None:
    crashing = Crashing()
    with opened(path, clock, checkpoint=crashing) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.accept("dev", REAL, ONGOING)
        journal.annotate(attempt.id, SlotStatus.FINISHED, summary="all done")
        clock.advance(60)
        before = len(crashing.passed)
        journal.accept("dev", REAL, FINISHED)
        assert crashing.passed[before:] == ["accept.begun", "accept.written", "accept.committed"]
        settled = journal.attempts()[0]
    assert (settled.state, settled.status) == (AttemptState.SETTLED, SlotStatus.FINISHED)
    assert (settled.summary, settled.actual_duration, settled.settled_at) == ("all done", 25, clock.now())
    assert reopened(path)[0] == (settled,)


def test_a_slot_that_is_given_back_is_no_unfinished_attempt_after_a_restart(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.annotate(attempt.id, SlotStatus.DEFERRED, reason="wake failed: no", status=SlotStatus.ABORTED)
        journal.accept("dev", REAL, SlotUpdate(status=SlotStatus.DEFERRED))
    (settled,) = reopened(path)[0]
    assert (settled.state, settled.status, settled.reason) == (
        AttemptState.SETTLED,
        SlotStatus.ABORTED,
        "wake failed: no",
    )
    assert settled.told is None


def test_what_is_said_of_an_end_does_not_go_with_another_update(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.annotate(attempt.id, SlotStatus.ABORTED, reason="no report within 1800 s", is_expired=True)
        journal.accept("dev", REAL, ONGOING)  # its end could not be accepted; its start is, once more
        assert not journal.attempts()[0].is_expired
        assert journal.attempts()[0].reason == ""


def test_an_end_that_is_replaced_before_it_was_sent_is_the_attempts_end(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.annotate(attempt.id, SlotStatus.ABORTED, reason="no report within 1800 s", is_expired=True)
        letter = journal.accept("dev", REAL, SlotUpdate(status=SlotStatus.ABORTED))
        journal.annotate(attempt.id, SlotStatus.FINISHED, is_late=True, summary="late, but done")
        assert journal.replace(letter.number, FINISHED) is not None
    attempts, letters = reopened(path)[:2]
    (ended,) = attempts
    assert (ended.status, ended.told, ended.is_late) == (SlotStatus.FINISHED, SlotStatus.FINISHED, True)
    assert (ended.summary, ended.actual_duration) == ("late, but done", 25)
    assert [letter.update.status for letter in letters] == [SlotStatus.FINISHED]


def test_a_slot_keeps_its_lane_when_its_latest_letter_is_dropped(path: Path) -> None:
    with opened(path) as journal:
        first, second = journal.accept("dev", REAL, ONGOING), journal.accept("dev", REAL, FINISHED)
        journal.bury(second.number, "no")
        journal.drop(second.number)
        assert journal.accept("dev", REAL, FINISHED).lane == first.lane


def test_the_updates_of_another_agent_or_slot_settle_nothing(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.accept("ops", REAL, FINISHED)
        journal.accept("dev", SlotKey.virtual("7"), FINISHED)
        assert journal.attempts() == (attempt,)


def test_pauses_are_followed_by_their_updates(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.accept("dev", REAL, ONGOING)
        journal.annotate(attempt.id, SlotStatus.PAUSED, pause_reason="lunch")
        journal.accept("dev", REAL, SlotUpdate(status=SlotStatus.PAUSED))
        (paused,) = journal.attempts()
        assert (paused.state, paused.paused_at, paused.pause_reason) == (AttemptState.PAUSED, clock.now(), "lunch")
        clock.advance(60)
        journal.accept("dev", REAL, ONGOING)
        assert journal.attempts() == (paused,), "its start told once more is no resumption"
        clock.advance(10)
        journal.accept("dev", REAL, SlotUpdate(status=SlotStatus.PAUSED))
        assert journal.attempts() == (paused,), "and its pause told once more is the same pause"
        clock.advance(20)
        journal.accept("dev", REAL, SlotUpdate(status=SlotStatus.ONGOING))
        (resumed,) = journal.attempts()
        assert (resumed.state, resumed.paused_at, resumed.rested) == (AttemptState.ONGOING, None, 90.0)
    assert reopened(path)[0] == (resumed,)


def test_an_attempt_that_was_settled_by_its_update_is_not_settled_again(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        journal.accept("dev", REAL, FINISHED)
        expected = journal.attempts()
        journal.settle(attempt.id, SlotStatus.ABORTED, reason="late")
        assert journal.attempts() == expected


def test_the_latest_letter_of_a_slot_is_found_by_any_of_its_keys(path: Path) -> None:
    with opened(path) as journal:
        assert journal.latest_letter("dev", [REAL, VIRTUAL]) is None
        journal.delivered(journal.accept("dev", VIRTUAL, ONGOING).number, REAL)
        last = journal.accept("dev", REAL, FINISHED)
        journal.accept("ops", REAL, ONGOING)
        assert journal.latest_letter("dev", [REAL, SlotKey.real(99)]) == last
        assert journal.latest_letter("dev", [SlotKey.real(99)]) is None


def test_what_was_to_be_said_of_an_end_is_not_kept_beyond_the_attempt(path: Path) -> None:
    with opened(path) as journal:
        ends: list[Callable[[int], object]] = [
            lambda number: journal.settle(number, SlotStatus.ABORTED),
            journal.withdraw,
            lambda _: journal.accept("dev", REAL, FINISHED),
        ]
        for end in ends:
            attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
            journal.annotate(attempt.id, SlotStatus.FINISHED, summary="s")
            end(attempt.id)
        journal.annotate(99, SlotStatus.FINISHED, summary="s")
        assert journal._details == {}


# --- letters


def test_an_accepted_update_is_a_pending_letter(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as journal:
        letter = journal.accept("dev", REAL, ONGOING)
        assert (letter.number, letter.lane, letter.address) == (1, 1, REAL)
        assert (letter.state, letter.tries, letter.accepted_at) == (LetterState.PENDING, 0, clock.now())
        status = journal.status()
        assert (status.accepted, status.delivered, status.pending, status.dead) == (1, 0, 1, 0)
        assert status.oldest_pending_at == clock.now()
    assert reopened(path) == ((), (letter,))


def test_idempotency_keys_are_unique_and_stay(path: Path) -> None:
    with opened(path) as journal:
        keys = [journal.accept("dev", REAL, ONGOING).update.idempotency_key for _ in range(50)]
        own = journal.accept("dev", REAL, dataclasses.replace(ONGOING, idempotency_key="mine"))
        for letter in journal.letters():
            journal.tried(letter.number)
    assert len(set(keys)) == 50
    assert all(keys)
    assert own.update.idempotency_key == "mine"
    assert [letter.update.idempotency_key for letter in reopened(path)[1]] == [*keys, "mine"]


def test_a_letter_that_was_never_sent_may_be_replaced(path: Path) -> None:
    with opened(path) as journal:
        first = journal.accept("dev", REAL, ONGOING)
        replaced = journal.replace(first.number, FINISHED)
        assert replaced is not None
        assert (replaced.update, replaced.number) == (FINISHED, first.number)
        assert replaced.update.idempotency_key != first.update.idempotency_key
        journal.tried(first.number)
        assert journal.replace(first.number, ONGOING) is None
        journal.delivered(first.number, REAL)
        assert journal.replace(first.number, ONGOING) is None
        assert journal.replace(99, ONGOING) is None
    assert reopened(path)[1][0].update == FINISHED


def test_tries_are_counted_before_a_letter_is_sent(path: Path) -> None:
    with opened(path) as journal:
        number = journal.accept("dev", REAL, ONGOING).number
        tried = journal.tried(number)
        assert tried is not None
        assert (tried.tries, tried.error) == (1, "")
        assert reopened_while_open(path) == [(1, "")]
        journal.failed(number, "no answer", may_be_there=True)
        again = journal.tried(number)
        assert again is not None
        assert (again.tries, again.error) == (2, "no answer")
        assert reopened_while_open(path) == [(2, "no answer")]
        journal.delivered(number, REAL)
        assert journal.tried(number) is None
        assert journal.tried(99) is None
        journal.failed(number, "too late", may_be_there=False)
        assert journal.letters()[0].tries == 2


def test_a_letter_that_was_surely_not_sent_may_still_be_replaced(path: Path) -> None:
    with opened(path) as journal:
        number = journal.accept("dev", REAL, ABORTED).number
        for _ in range(2):
            journal.tried(number)
            assert journal.replace(number, FINISHED) is None, "it may be there by now"
            journal.failed(number, "refused to connect", may_be_there=False)
        assert journal.replace(number, FINISHED) is not None
        journal.tried(number)
        journal.failed(number, "no answer", may_be_there=True)
        assert journal.replace(number, ABORTED) is None
    assert reopened(path)[1][0].update == FINISHED


def reopened_while_open(path: Path) -> list[tuple[int, str]]:
    copy = path.with_name("copy")
    # Reading the file by another handle would drop its locks; a copy through a child process does not.
    import subprocess
    import sys

    program = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", program, str(path), str(copy)], check=True, timeout=30)
    return [(letter.tries, letter.error) for letter in reopened(copy)[1]]


def test_a_delivered_letter_teaches_its_followers_and_its_attempt_the_real_key(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(virtual_id=str(VIRTUAL)), "dev"))
        first, second = journal.accept("dev", VIRTUAL, ONGOING), journal.accept("dev", VIRTUAL, ONGOING)
        other = journal.accept("ops", VIRTUAL, ONGOING)
        clock.advance(5)
        journal.delivered(first.number, REAL)
        by_alias, by_name = journal.accept("dev", REAL, ONGOING), journal.accept("dev", VIRTUAL, FINISHED)
        letters = {letter.number: letter for letter in journal.letters()}
        assert {letters[one.number].lane for one in (first, second, by_alias, by_name)} == {first.lane}
        assert {letters[one.number].address for one in (first, second, by_alias, by_name)} == {REAL}
        assert letters[other.number].address == VIRTUAL
        assert letters[first.number].ended_at == clock.now()
        assert journal.attempts()[0].keys == {REAL, VIRTUAL}
        assert journal.attempts()[0].state is AttemptState.SETTLED
        expected = journal.attempts(), journal.letters()
    assert attempt.key == VIRTUAL
    assert reopened(path) == expected


def test_a_calendar_that_answers_with_a_virtual_key_teaches_nothing(path: Path) -> None:
    with opened(path) as journal:
        journal.open_attempt(attempt_at(Slot(virtual_id=str(VIRTUAL)), "dev"))
        first, second = journal.accept("dev", VIRTUAL, ONGOING), journal.accept("dev", VIRTUAL, ONGOING)
        journal.delivered(first.number, VIRTUAL)
        assert [letter.address for letter in journal.letters()] == [VIRTUAL, VIRTUAL]
        assert journal.attempts()[0].key == VIRTUAL
        journal.delivered(second.number, REAL)
        assert journal.attempts()[0].key == REAL


def test_a_refused_letter_is_dead_until_somebody_decides(path: Path) -> None:
    with opened(path) as journal:
        first, second = journal.accept("dev", REAL, ONGOING), journal.accept("ops", VIRTUAL, FINISHED)
        journal.bury(first.number, "409")
        journal.bury(second.number, "422")
        assert [(dead.number, dead.key, dead.error) for dead in journal.status().dead_letters] == [
            (1, REAL, "409"),
            (2, VIRTUAL, "422"),
        ]
        revived = journal.revive(first.number)
        assert (revived.state, revived.tries, revived.error, revived.ended_at) == (LetterState.PENDING, 0, "", None)
        journal.drop(second.number)
        status = journal.status()
        assert (status.accepted, status.pending, status.dead, status.dropped) == (2, 1, 1, 1)
        assert status.dead_letters == ()
    assert reopened(path)[1] == (revived,)
    with opened(path) as journal:
        assert journal.status() == status


def test_a_dead_letter_is_not_sent_after_a_later_one_of_its_slot(path: Path) -> None:
    with opened(path) as journal:
        first = journal.accept("dev", REAL, ONGOING)
        journal.bury(first.number, "409")
        later = journal.accept("dev", REAL, FINISHED)
        with pytest.raises(ConfigurationError, match="gone on since"):
            journal.revive(first.number)
        journal.delivered(later.number, REAL)
        with pytest.raises(ConfigurationError, match="gone on since"):
            journal.revive(first.number)


@pytest.mark.parametrize("number", [0, 1, 2, 99, "1", None])
def test_only_dead_letters_are_revived_or_dropped(path: Path, number: int) -> None:
    with opened(path) as journal:
        journal.accept("dev", REAL, ONGOING)
        journal.delivered(journal.accept("ops", REAL, ONGOING).number, REAL)
        for act in (journal.revive, journal.drop):
            with pytest.raises(ConfigurationError, match=re.escape(f"no dead letter {number!r}")):
                act(number)


def test_only_pending_letters_are_delivered_or_buried(path: Path) -> None:
    with opened(path) as journal:
        number = journal.accept("dev", REAL, ONGOING).number
        journal.delivered(number, REAL)
        for unknown in (number, 99):
            with pytest.raises(JournalError, match=f"no pending letter {unknown}"):
                journal.delivered(unknown, REAL)
            with pytest.raises(JournalError, match=f"no pending letter {unknown}"):
                journal.bury(unknown, "409")
        assert journal.status().delivered == 1


def test_letters_are_listed_by_state_oldest_first(path: Path) -> None:
    with opened(path) as journal:
        for number in range(6):
            journal.accept("dev", SlotKey.real(number), ONGOING)
        journal.bury(5, "409")
        journal.bury(2, "409")
        journal.delivered(4, REAL)
        journal.revive(5)
        listed = {state: [letter.number for letter in journal.letters(state)] for state in LetterState}
        assert listed == {LetterState.PENDING: [1, 3, 5, 6], LetterState.DELIVERED: [4], LetterState.DEAD: [2]}
        assert [letter.number for letter in journal.letters()] == [1, 2, 3, 4, 5, 6]


# --- forgetting


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ATTEMPTS_KEPT", "LETTERS_KEPT", "DEAD_LETTERS_KEPT"):
        monkeypatch.setattr(memory, name, 2)


@pytest.mark.usefixtures("forgetful")
def test_old_delivered_letters_are_forgotten_but_stay_counted(path: Path) -> None:
    with opened(path) as journal:
        for _ in range(6):
            journal.delivered(journal.accept("dev", REAL, ONGOING).number, REAL)
        journal.accept("dev", REAL, ONGOING)
        status = journal.status()
    assert (status.accepted, status.delivered, status.pending) == (7, 6, 1)
    assert [letter.number for letter in reopened(path)[1]] == [5, 6, 7]


@pytest.mark.usefixtures("forgetful")
def test_old_dead_letters_are_dropped_and_counted(path: Path) -> None:
    with opened(path) as journal:
        for number in range(5):
            journal.bury(journal.accept("dev", SlotKey.real(number), ONGOING).number, "409")
        journal.accept("ops", REAL, ONGOING)
        status = journal.status()
    assert (status.accepted, status.pending, status.dead, status.dropped) == (6, 1, 5, 3)
    assert [letter.number for letter in reopened(path)[1]] == [4, 5, 6]


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("act", ["drop", "revive"])
def test_a_dead_letter_that_somebody_decides_on_is_not_forgotten_as_well(path: Path, act: str) -> None:
    with opened(path) as journal:
        for number in range(3):
            journal.bury(journal.accept("dev", SlotKey.real(number), ONGOING).number, "409")
        getattr(journal, act)(1)
        status = journal.status()
        assert status.accepted == status.delivered + status.pending + status.dead == 3
        assert (status.pending, status.dropped) == ((0, 1) if act == "drop" else (1, 0))


@pytest.mark.usefixtures("forgetful")
def test_what_keeps_a_dead_letter_from_being_sent_late_is_not_forgotten(path: Path) -> None:
    with opened(path) as journal:
        journal.bury(journal.accept("dev", REAL, ONGOING).number, "409")
        for _ in range(2):
            journal.delivered(journal.accept("dev", REAL, FINISHED).number, REAL)
        for number in range(100, 105):
            journal.delivered(journal.accept("dev", SlotKey.real(number), ONGOING).number, SlotKey.real(number))
        assert [letter.number for letter in journal.letters(LetterState.DELIVERED)] == [3, 6, 7, 8]
        with pytest.raises(ConfigurationError, match="gone on since"):
            journal.revive(1)


@pytest.mark.usefixtures("forgetful")
def test_settled_attempts_are_forgotten_but_not_while_their_letters_are_on_their_way(path: Path) -> None:
    with opened(path) as journal:
        for number in range(1, 7):
            attempt = journal.open_attempt(attempt_at(Slot(id=number), "dev"))
            if number == 2:
                journal.accept("dev", attempt.key, FINISHED)
            else:
                journal.settle(attempt.id, SlotStatus.ABORTED)
        journal.open_attempt(attempt_at(Slot(id=9), "dev"))
        assert [attempt.id for attempt in journal.attempts()] == [2, 6, 7]
        assert journal.next_number("dev", [SlotKey.real(1)]) == 1
        journal.delivered(1, SlotKey.real(2))
        journal.open_attempt(attempt_at(Slot(id=10), "dev"))
    assert [attempt.id for attempt in reopened(path)[0]] == [2, 6, 7, 8]


@pytest.mark.usefixtures("forgetful")
def test_a_long_outage_makes_no_write_slower(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    look = memory.Letters.is_pending

    def count(letters: memory.Letters, agent_id: str, key: SlotKey) -> bool:
        next(looks)
        return look(letters, agent_id, key)

    def cost_of_a_write() -> int:
        begun = next(looks)
        journal.accept("ops", REAL, ONGOING)
        return next(looks) - begun - 1

    monkeypatch.setattr(memory.Letters, "is_pending", count)
    costs = []
    with opened(path) as journal:
        for number in range(100, 160):
            journal.open_attempt(attempt_at(Slot(id=number), "dev"))
            journal.accept("dev", SlotKey.real(number), FINISHED)
            if number in {129, 159}:
                costs.append(cost_of_a_write())
        assert len(journal.attempts()) == 60
    assert costs[1] == costs[0] <= memory.LOOKS


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_whatever_happens_every_accepted_update_is_accounted_for(seed: int) -> None:
    with folder() as place, short_memory():
        acts, journal = Acts(Random(seed)), Journal(place / "journal", clock=FakeClock())
        for _ in range(40):
            acts.act(journal)
            status = journal.status()
            assert status.accepted == status.delivered + status.pending + status.dead
            assert status.pending == len(journal.letters(LetterState.PENDING))
            assert status.dead - status.dropped == len(status.dead_letters) == len(journal.letters(LetterState.DEAD))
        told = picture(journal)
        journal.close()
        journal = Journal(place / "journal", clock=FakeClock())
        assert picture(journal) == told
        journal.close()


class JournalMachine(RuleBasedStateMachine):
    """A journal beside a plain account of what was acknowledged."""

    @initialize()
    def begin(self) -> None:
        self.places = contextlib.ExitStack()
        self.path = self.places.enter_context(folder()) / "journal"
        self.crashing = Crashing()
        self.states: dict[int, LetterState] = {}
        self.slots: dict[int, SlotKey] = {}
        self.keys: dict[int, str] = {}
        self.delivered = self.dropped = 0
        self.open()

    def open(self) -> None:
        self.crashing.step = ""
        self.journal = Journal(self.path, clock=FakeClock(), patience=0.0, checkpoint=self.crashing)

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.places.close()

    def _in(self, state: LetterState) -> list[int]:
        return [number for number, held in self.states.items() if held is state]

    def _accepted(self, letter: Letter, key: SlotKey) -> None:
        self.states[letter.number] = LetterState.PENDING
        self.slots[letter.number] = key
        self.keys[letter.number] = letter.update.idempotency_key

    @rule(slot=st.integers(1, 3), update=st.sampled_from([ONGOING, FINISHED]))
    def accept(self, slot: int, update: SlotUpdate) -> None:
        self._accepted(self.journal.accept("dev", SlotKey.real(slot), update), SlotKey.real(slot))

    @precondition(lambda self: self._in(LetterState.PENDING))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self._in(LetterState.PENDING)))
        self.journal.delivered(number, self.slots[number])
        self.states[number] = LetterState.DELIVERED
        self.delivered += 1

    @precondition(lambda self: self._in(LetterState.PENDING))
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self._in(LetterState.PENDING)))
        self.journal.bury(number, "409")
        self.states[number] = LetterState.DEAD

    @precondition(lambda self: self._in(LetterState.DEAD))
    @rule(data=st.data())
    def revive(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self._in(LetterState.DEAD)))
        is_overtaken = any(
            self.slots[other] == self.slots[number] and other > number and state is not LetterState.DEAD
            for other, state in self.states.items()
        )
        if is_overtaken:
            with pytest.raises(ConfigurationError, match="gone on since"):
                self.journal.revive(number)
            return
        self.journal.revive(number)
        self.states[number] = LetterState.PENDING

    @precondition(lambda self: self._in(LetterState.DEAD))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self._in(LetterState.DEAD)))
        self.journal.drop(number)
        del self.states[number]
        self.dropped += 1

    @rule(step=st.sampled_from(["begun", "written", "committed"]))
    def crash_in_an_acceptance_and_reopen(self, step: str) -> None:
        self.crashing.step = f"accept.{step}"
        with pytest.raises(CrashError):
            self.journal.accept("dev", REAL, ONGOING)
        self.journal.close()
        self.open()
        if step == "committed":
            self._accepted(self.journal.letters()[-1], REAL)

    @rule(step=st.sampled_from(["begun", "written", "committed"]))
    def be_interrupted_in_an_acceptance_and_go_on(self, step: str) -> None:
        self.crashing.step = f"accept.{step}"
        with pytest.raises(CrashError):
            self.journal.accept("dev", REAL, ONGOING)
        self.crashing.step = ""
        self._accepted(self.journal.accept("dev", REAL, FINISHED), REAL)

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.open()

    @invariant()
    def it_tells_what_was_acknowledged(self) -> None:
        status = self.journal.status()
        dead = self._in(LetterState.DEAD)
        assert status.accepted == status.delivered + status.pending + status.dead
        assert (status.delivered, status.dropped) == (self.delivered, self.dropped)
        assert status.pending == len(self._in(LetterState.PENDING))
        assert [letter.number for letter in status.dead_letters] == sorted(dead)
        assert {letter.number: letter.state for letter in self.journal.letters()} == self.states
        told = {letter.number: letter.update.idempotency_key for letter in self.journal.letters()}
        assert told == {number: self.keys[number] for number in self.states}


TestWhateverHappens = JournalMachine.TestCase
TestWhateverHappens.settings = settings(max_examples=25, stateful_step_count=25)


# --- threads


def test_several_threads_accept_at_once(path: Path) -> None:
    with opened(path) as journal:
        numbers: list[int] = []

        def accept(agent_id: str) -> None:
            for number in range(10):
                numbers.append(journal.accept(agent_id, SlotKey.real(number), ONGOING).number)

        threads = [threading.Thread(target=accept, args=(f"agent-{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(numbers) == list(range(1, 61))
        assert journal.status().accepted == 60
    assert [letter.number for letter in reopened(path)[1]] == list(range(1, 61))


def test_the_status_is_told_while_a_write_hangs(path: Path) -> None:
    reached, free = threading.Event(), threading.Event()

    def hang(step: str) -> None:
        if step == "accept.written":
            reached.set()
            assert free.wait(PATIENCE)

    with opened(path, checkpoint=hang) as journal:
        writer = threading.Thread(target=journal.accept, args=("dev", REAL, ONGOING))
        writer.start()
        assert reached.wait(PATIENCE)
        told: list[int] = []
        reader = threading.Thread(target=lambda: told.append(journal.status().accepted + len(journal.error)))
        reader.start()
        reader.join(PATIENCE / 2)
        assert told == [0]
        free.set()
        writer.join(PATIENCE)
        assert journal.status().accepted == 1


# --- what is written is read


texts = st.text(max_size=20)
instants = st.datetimes(min_value=dt.datetime(1970, 1, 1), max_value=dt.datetime(2900, 1, 1), timezones=st.just(dt.UTC))
slots = st.builds(
    Slot,
    id=st.integers(0, 2**63 - 1),
    virtual_id=st.none() | st.from_regex(r"plan-[1-9]-2026-01-0[1-9]", fullmatch=True),
    status=st.sampled_from(SlotStatus),
    priority=st.integers(0, 99),
    date=st.none() | st.dates(min_value=dt.date(1970, 1, 1)),
    slot_type=st.none() | st.sampled_from(SlotType),
    event_type=st.none() | st.sampled_from(EventType),
    event_data=st.none() | st.dictionaries(texts, texts | st.integers(-(2**40), 2**40) | st.none(), max_size=3),
    attended=st.booleans(),
    is_admin_locked=st.booleans(),
)
attempts = st.builds(
    Attempt,
    id=st.just(1),
    agent_id=st.just("dev"),
    slot=slots,
    key=st.just(REAL) | st.just(VIRTUAL),
    number=st.integers(1, 9),
    wake_id=texts,
    state=st.sampled_from(AttemptState),
    claimed_at=instants,
    started_at=instants,
    is_claimed=st.booleans(),
    heard_at=st.none() | instants,
    paused_at=st.none() | instants,
    pause_reason=texts,
    rested=st.floats(0, 1e9),
    settled_at=st.none() | instants,
    status=st.none() | st.sampled_from(SlotStatus),
    summary=texts,
    actual_duration=st.none() | st.integers(0, 10**6),
)


@settings(max_examples=50)
@given(attempts)
def test_an_attempt_is_read_as_it_was_written(attempt: Attempt) -> None:
    assert Attempt.decode(attempt.encode()) == attempt


@settings(max_examples=50)
@given(
    st.builds(
        Letter,
        number=st.integers(1, 2**60),
        lane=st.integers(1, 2**60),
        agent_id=st.just("dev"),
        key=st.just(REAL) | st.just(VIRTUAL),
        real_key=st.none() | st.just(REAL),
        update=st.builds(
            SlotUpdate,
            status=st.sampled_from(SlotStatus),
            started_at=st.none() | st.times(),
            actual_duration=st.none() | st.integers(0, 10**6),
            idempotency_key=texts,
        ),
        accepted_at=instants,
        state=st.sampled_from(LetterState),
        tries=st.integers(0, 99),
        error=texts,
        ended_at=st.none() | instants,
    )
)
def test_a_letter_is_read_as_it_was_written(letter: Letter) -> None:
    read = Letter.decode(letter.encode())
    assert read == letter
    assert read.update.idempotency_key == letter.update.idempotency_key


# --- interrupts


@pytest.mark.parametrize("step", ["begun", "written", "committed"])
def test_a_call_that_was_interrupted_has_changed_nothing(path: Path, step: str) -> None:
    steps = itertools.count()

    def interrupt(reached: str) -> None:
        if reached == f"accept.{step}" and next(steps) == 0:
            raise KeyboardInterrupt

    with opened(path, checkpoint=interrupt) as journal:
        journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        before = picture(journal)
        with pytest.raises(KeyboardInterrupt):
            journal.accept("dev", REAL, FINISHED)
        assert picture(journal) == before
        journal.remind(1)
        expected = journal.attempts(), ()
        assert journal.status().accepted == 0
    assert reopened(path) == expected


@pytest.mark.parametrize("act", ["accept", "reserve"])
def test_ctrl_c_after_a_commit_splits_nothing(path: Path, act: str) -> None:
    steps: list[str] = []

    def interrupt(step: str) -> None:
        steps.append(step)
        if steps.count(f"{act}.committed") == 2 and step == f"{act}.committed":
            raise KeyboardInterrupt

    def do(journal: Journal, number: int) -> None:
        if act == "accept":
            journal.accept("dev", SlotKey.real(number), ONGOING)
        else:
            journal.open_attempt(attempt_at(Slot(id=number), f"dev{number}"))

    with contextlib.closing(Journal(path, checkpoint=interrupt)) as journal:
        do(journal, 1)
        with pytest.raises(KeyboardInterrupt):
            do(journal, 2)
        do(journal, 3)
        status = journal.status()
        assert status.accepted == status.delivered + status.pending + status.dead
        told = journal.attempts(), journal.letters()
    assert reopened(path) == told


def test_what_could_not_be_read_again_is_not_written(path: Path) -> None:
    with opened(path) as journal:
        with pytest.raises(JournalError, match="cannot hold this attempt of 'dev' at slot 7"):
            journal.open_attempt(attempt_at(Slot(id=7, priority=500), "dev"))
        journal.open_attempt(attempt_at(Slot(id=7, priority=99), "dev"))
    assert len(reopened(path)[0]) == 1


def test_a_path_in_memory_is_no_journal() -> None:
    with pytest.raises(ConfigurationError, match="names a file"):
        Journal(":memory:")
