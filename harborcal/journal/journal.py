"""The journal: what is written before it is done, and what is found again after a crash."""

import contextlib
import dataclasses
import datetime as dt
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from harborcal.clock import Clock, SystemClock
from harborcal.errors import ConfigurationError, HarborcalError, JournalError, LifecycleError
from harborcal.grammar import clean
from harborcal.journal.file import JournalFile, Place, Row
from harborcal.journal.memory import Attempts, Letters
from harborcal.journal.records import Attempt, AttemptState, Letter, LetterState
from harborcal.model import MAX_REAL_ID, DeliveryStatus, SlotKey, SlotKind, SlotStatus, SlotUpdate, check_seconds

_TABLES = {
    "attempts": ("agent_id", "slot", "state", "record"),
    "letters": ("agent_id", "slot", "state", "record"),
}
_MEASURED = ("claimed_at", "started_at", "heard_at", "reminded_at", "paused_at")
"""The instants of an attempt from which durations are measured."""

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, HarborcalError)
"""What decoding raises where a record is none."""

_BEFORE_ONGOING = frozenset({AttemptState.CLAIMING, AttemptState.WAKING})
_TOTALS = ("accepted", "delivered", "dropped", "last_attempt", "last_letter")


class Journal:
    """Remembers attempts and accepted updates in one file, through crashes, power cuts and full disks.

    What must be known after a crash is written, and synced, before it is done; a call that raises `JournalError` has
    changed nothing. The file belongs to one process at a time, and to the user who runs it (mode 0600). It is opened
    by a scheduler's `OutboxTransport`, which closes it at its end.

    Args:
        path: Where the file is; it is created where there is none. Not on a network file system.
        clock: Tells what time it is.
        patience: Seconds to wait at the opening for an earlier owner to let go of the file.
        checkpoint: Called with the name of each step of a write, ``<what>.begun``, ``<what>.written`` and
            ``<what>.committed``: for rehearsals that crash there.

    Raises:
        ConfigurationError: An argument makes no sense.
        JournalError: The file is damaged, in use, from a newer harborcal, or no journal; it is left as it is.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        patience: float = 5.0,
        checkpoint: Callable[[str], None] | None = None,
    ) -> None:
        if check_seconds("patience", patience) < 0:
            raise ConfigurationError(f"patience is 0 seconds or more, not {patience!r}")
        self._path = _path_of(path)
        self._clock = clock if clock is not None else SystemClock()
        if not callable(getattr(self._clock, "now", None)):
            raise ConfigurationError(f"clock is a Clock, not {type(clock).__name__}")
        if checkpoint is not None and not callable(checkpoint):
            raise ConfigurationError(f"checkpoint is a callable, not {type(checkpoint).__name__}")
        self._checkpoint = checkpoint
        self._process = os.getpid()  # fixed
        self._lock = threading.Lock()
        self._act = "open"  # guarded by _lock; what the write under way is for
        self._attempts = Attempts()  # guarded by _lock
        self._letters = Letters()  # guarded by _lock
        self._unsaved: dict[Place, Row | None] = {}  # guarded by _lock; of writes that may wait, and have to
        self._details: dict[int, tuple[SlotStatus, dict[str, Any]]] = {}  # guarded by _lock; see annotate
        self._is_closed = False  # guarded by _lock
        self._owners: set[str] = set()  # guarded by _lock; who has adopted it
        self._error = ""  # guarded by _lock; why the last write failed
        self._is_stale = False  # guarded by _lock; whether a write may be in the file that is not in memory
        self._file = JournalFile(self._path, _TABLES, _TOTALS, patience=patience, checkpoint=self._reach)
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise
        self._view = self._look()  # replaced as a whole; read without the lock
        _let_forks_wait(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def adopt(self, owner: Literal["outbox", "scheduler"]) -> None:
        """Become one outbox's, and one scheduler's: two would both deliver, or take up, what it holds.

        Raises:
            ConfigurationError: It is another one's already, or closed.
        """
        with self._lock:
            if owner in self._owners or self._is_closed:
                what = "closed" if self._is_closed else f"another {owner}'s"
                raise ConfigurationError(f"the journal {self._path} is {what}: each {owner} needs one of its own, open")
            self._owners.add(owner)

    @property
    def attempts_so_far(self) -> int:
        """How many attempts were ever written."""
        with self._lock:
            return self._file.totals["last_attempt"]

    @property
    def clock(self) -> Clock:
        """What tells the journal the time."""
        return self._clock

    def _reach(self, step: str) -> None:
        if self._checkpoint is not None:
            self._checkpoint(f"{self._act}.{step}")

    def _read(self) -> None:
        try:
            for row in self._file.rows["attempts"].values():
                self._attempts.put(Attempt.decode(row[-1]))
            for row in self._file.rows["letters"].values():
                self._letters.put(Letter.decode(row[-1]))
        except _UNREADABLE as error:
            words = clean(str(error), 200)
            raise JournalError(f"the journal {self._path} cannot be read: {words}", damaged=True) from error

    # --- attempts ---------------------------------------------------------------------------------------------------

    def attempts(self) -> tuple[Attempt, ...]:
        """List what is remembered of attempts, unfinished ones and the latest settled ones, oldest first."""
        with self._lock:
            return tuple(self._attempts)

    def attempt(self, attempt_id: int) -> Attempt | None:
        """Find an attempt; None where it is remembered no more."""
        with self._lock:
            return self._attempts.get(attempt_id)

    def next_number(self, agent_id: str, keys: Iterable[SlotKey]) -> int:
        """Tell which attempt at a slot would be the next."""
        with self._lock:
            return self._attempts.last_number(agent_id, keys) + 1

    def open_attempt(self, attempt: Attempt) -> Attempt:
        """Write that an attempt is about to be made; return it with its id.

        Raises:
            JournalError: It could not be written: do not make it.
        """
        now = self._ready()
        with self._lock:
            self._begin("reserve")
            totals = self._file.totals
            opened = dataclasses.replace(attempt, id=totals["last_attempt"] + 1, letters_from=totals["last_letter"] + 1)
            # An agent is at one slot at a time: whatever was not ended is ended by this.
            ended = [
                dataclasses.replace(
                    earlier,
                    state=AttemptState.SETTLED,
                    status=SlotStatus.ABORTED,
                    settled_at=now,
                    reason="its agent has begun another slot",
                )
                for earlier in self._attempts.unfinished(attempt.agent_id)
            ]
            self._save([opened, *ended], last_attempt=opened.id)
            return opened

    def enter(self, attempt_id: int, *, unless_heard: bool = False, **changes: Any) -> bool:
        """Write that a wake is about to be entered, and what else has changed; False where the attempt has ended.

        Args:
            attempt_id: Which attempt.
            unless_heard: Whether it is False, too, where its agent was heard: the wake would be its second.
            changes: Fields of `Attempt`.

        Raises:
            JournalError: It could not be written: do not enter it.
        """
        self._ready()
        with self._lock:
            self._begin("enter")
            attempt = self._known(attempt_id)
            if attempt.state is AttemptState.SETTLED or (unless_heard and attempt.heard_at is not None):
                return False
            self._save([dataclasses.replace(attempt, state=AttemptState.WAKING, **changes)])
            return True

    def remind(self, attempt_id: int) -> None:
        """Write that a silent agent is about to be reminded.

        Raises:
            JournalError: It could not be written: do not remind it.
        """
        now = self._ready()
        with self._lock:
            self._begin("remind")
            self._save([dataclasses.replace(self._known(attempt_id), reminded_at=now)])

    def _known(self, attempt_id: int) -> Attempt:
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            raise JournalError(f"the journal {self._path} remembers no attempt {attempt_id}")
        return attempt

    def change(self, attempt_id: int, *, can_wait: bool = False, **changes: Any) -> None:
        """Write what has become of an attempt. Where that fails it goes with the next write; `error` tells.

        Args:
            attempt_id: Which attempt.
            can_wait: Whether it is enough to write it with the next write.
            changes: Fields of `Attempt`.
        """
        self._check_process()
        with self._lock:
            self._refresh()
            attempt = self._attempts.get(attempt_id)
            if attempt is None:
                return
            if changes.get("state") is AttemptState.ONGOING and attempt.state not in _BEFORE_ONGOING:
                del changes["state"]  # its agent was quicker than the end of its wake: it rests, or is done
            changed = dataclasses.replace(attempt, **changes)
            if changed.state is AttemptState.SETTLED:
                self._details.pop(attempt_id, None)
            self._attempts.put(changed)
            self._unsaved[("attempts", attempt_id)] = _row_of(changed)
        if not can_wait:
            self._save_unsaved("change")

    def settle(self, attempt_id: int, status: SlotStatus, **details: Any) -> None:
        """Write that an attempt has ended, unless that was written with the update that ended it.

        Where that fails it goes with the next write.
        """
        with self._lock:
            attempt = self._attempts.get(attempt_id)
            is_written = attempt is None or attempt.state is AttemptState.SETTLED
        if not is_written:
            self.change(attempt_id, state=AttemptState.SETTLED, status=status, settled_at=self._clock.now(), **details)

    def note(self, attempt: Attempt) -> None:
        """Write down something that is over, for the history; where that fails the journal knows nothing of it."""
        with contextlib.suppress(JournalError), self._lock:
            self._begin("note")
            noted = dataclasses.replace(attempt, id=self._file.totals["last_attempt"] + 1)
            self._save([noted], last_attempt=noted.id)

    def shift(self, attempt_id: int, jump: dt.timedelta) -> None:
        """Move the instants of an attempt, because the wall clock was set; it is written with the next write."""
        attempt = self.attempt(attempt_id)
        if attempt is not None:
            instants = {name: getattr(attempt, name) for name in _MEASURED}
            moved = {name: instant + jump for name, instant in instants.items() if instant is not None}
            self.change(attempt_id, can_wait=True, **moved)

    def withdraw(self, attempt_id: int) -> None:
        """Forget an attempt whose wake was not entered. Where that fails it goes with the next write."""
        self._check_process()
        with self._lock:
            self._refresh()
            attempt = self._attempts.get(attempt_id)
            if attempt is None or attempt.state is AttemptState.SETTLED:
                return
            self._attempts.remove(attempt_id)
            self._details.pop(attempt_id, None)
            self._unsaved[("attempts", attempt_id)] = None
        self._save_unsaved("withdraw")

    def annotate(self, attempt_id: int, update: SlotStatus, /, **details: Any) -> None:
        """Keep what is to be said of an attempt: it is written together with an update of this status, if one comes."""
        with self._lock:
            if self._attempts.get(attempt_id) is not None:
                self._details[attempt_id] = (update, details)

    def _details_of(self, attempt_id: int, update: SlotUpdate) -> dict[str, Any]:
        status, details = self._details.get(attempt_id, (update.status, {}))
        return details if status is update.status else {}

    # --- letters ----------------------------------------------------------------------------------------------------

    def latest_letter(self, agent_id: str, keys: Iterable[SlotKey]) -> Letter | None:
        """Find the last letter of a slot that is remembered."""
        with self._lock:
            found = (self._letters.latest_of(agent_id, key) for key in keys)
            return max((letter for letter in found if letter is not None), key=lambda one: one.number, default=None)

    def letters(self, state: LetterState | None = None) -> tuple[Letter, ...]:
        """List letters, oldest first: all that are remembered, or those in one state."""
        with self._lock:
            return tuple(self._letters) if state is None else self._letters.in_state(state)

    def accept(self, agent_id: str, key: SlotKey, update: SlotUpdate) -> Letter:
        """Take an update for delivery: once this returns, it is on disk. One that ends its attempt settles it as well.

        Raises:
            JournalError: It could not be written, and was not accepted.
        """
        now = self._ready()
        with self._lock:
            self._begin("accept")
            number = self._file.totals["last_letter"] + 1
            latest = self._letters.latest_of(agent_id, key)
            letter = Letter(
                number=number,
                lane=number if latest is None else latest.lane,
                agent_id=agent_id,
                key=key,
                real_key=None if latest is None else latest.real_key,
                update=_keyed(update),
                accepted_at=now,
            )
            attempt = self._attempts.unfinished_of(agent_id, (letter.key, letter.address))
            followed = () if attempt is None else (self._following(attempt, update, now),)
            self._save([letter, *followed], accepted=self._file.totals["accepted"] + 1, last_letter=number)
            if attempt is not None:
                self._details.pop(attempt.id, None)
            return letter

    def _following(self, attempt: Attempt, update: SlotUpdate, now: dt.datetime) -> Attempt:
        """Picture an attempt after an update of its slot; what waits to be written of it goes with that."""
        changes: dict[str, Any] = {}
        if update.status.is_terminal:
            changes |= {"state": AttemptState.SETTLED, "status": update.status, "told": update.status}
            changes |= {"settled_at": now, "actual_duration": update.actual_duration}
        elif update.status is SlotStatus.DEFERRED:
            # Given back: it will be another attempt, and a restart must not go on with this one.
            changes |= {"state": AttemptState.SETTLED, "status": update.status, "settled_at": now}
        elif update.status is SlotStatus.PAUSED:
            # One that rests already is told so once more: its pause goes on.
            changes |= {"state": AttemptState.PAUSED, "paused_at": attempt.paused_at or now}
        elif update.status is SlotStatus.ONGOING and update.started_at is not None and attempt.paused_at is not None:
            pass  # its start is told once more, before its pause is: that is no resumption
        elif update.status is SlotStatus.ONGOING:
            pause = (now - attempt.paused_at).total_seconds() if attempt.paused_at is not None else 0.0
            changes |= {"state": AttemptState.ONGOING, "paused_at": None, "pause_reason": ""}
            changes |= {"rested": attempt.rested + max(0.0, pause)}
        return dataclasses.replace(attempt, **changes | self._details_of(attempt.id, update))

    def replace(self, number: int, update: SlotUpdate) -> Letter | None:
        """Put another update into a letter that was never sent; None where it may have been.

        The attempt that the letter has ended has ended by this one then.

        Raises:
            JournalError: It could not be written; the letter is as it was.
        """
        self._ready()
        with self._lock:
            self._begin("replace")
            letter = self._letters.get(number)
            if letter is None or letter.state is not LetterState.PENDING or letter.tries:
                return None
            replaced = dataclasses.replace(letter, update=_keyed(update))
            attempt = self._attempts.latest_of(letter.agent_id, (letter.key, letter.address))
            ended = () if attempt is None or attempt.told is None else (self._ended_anew(attempt, update),)
            self._save([replaced, *ended])
            if attempt is not None:
                self._details.pop(attempt.id, None)
            return replaced

    def _ended_anew(self, attempt: Attempt, update: SlotUpdate) -> Attempt:
        changes = {"status": update.status, "told": update.status, "actual_duration": update.actual_duration}
        return dataclasses.replace(attempt, **changes | self._details_of(attempt.id, update))

    def tried(self, number: int) -> Letter | None:
        """Write that a letter is about to be sent; None where it is pending no more.

        Returns:
            The letter to send: the first of the lane.

        Raises:
            JournalError: It could not be written.
        """
        self._ready()
        with self._lock:
            self._begin("send")
            letter = self._letters.get(number)
            if letter is None or letter.state is not LetterState.PENDING:
                return None
            letter = self._letters.first_pending(letter)  # whoever names a later one was quicker than its elder
            changed = dataclasses.replace(letter, tries=letter.tries + 1)
            self._save([changed])
            return changed

    def failed(self, number: int, error: str, *, may_be_there: bool) -> None:
        """Write that a letter could not be delivered. Where that fails it goes with the next write.

        Args:
            number: Which letter.
            error: What went wrong.
            may_be_there: Whether the calendar may have it all the same; else it counts as not sent.
        """
        self._check_process()
        with self._lock:
            self._refresh()
            letter = self._letters.get(number)
            if letter is None or letter.state is not LetterState.PENDING:
                return
            changed = dataclasses.replace(letter, error=error, tries=max(0, letter.tries - (not may_be_there)))
            self._letters.put(changed)
            self._unsaved[("letters", number)] = _row_of(changed)
        self._save_unsaved("fail")

    def delivered(self, number: int, real_key: SlotKey) -> None:
        """Write that the calendar has taken a letter, and the slot's key from now on.

        Raises:
            JournalError: It could not be written: the letter will be sent again.
        """
        now = self._ready()
        with self._lock:
            self._begin("deliver")
            letter = self._pending(number)
            known = real_key if _is_real(real_key) else letter.real_key
            done = dataclasses.replace(letter, state=LetterState.DELIVERED, real_key=known, error="", ended_at=now)
            followers = [
                dataclasses.replace(follower, real_key=known)
                for follower in self._letters.following(letter)
                if follower.real_key != known
            ]
            # Also one that has ended: its end may have been accepted before its start has made the slot real.
            attempt = self._attempts.latest_of(letter.agent_id, (done.key, done.address))
            learnt = []
            if attempt is not None and known is not None and attempt.key != known:
                learnt.append(dataclasses.replace(attempt, key=known))
            self._save([done, *followers, *learnt], delivered=self._file.totals["delivered"] + 1)

    def bury(self, number: int, error: str) -> None:
        """Write that the calendar will never take a letter.

        Raises:
            JournalError: It could not be written: the letter will be sent again.
        """
        now = self._ready()
        with self._lock:
            self._begin("bury")
            letter = self._pending(number)
            self._save([dataclasses.replace(letter, state=LetterState.DEAD, error=error, ended_at=now)])

    def _pending(self, number: int) -> Letter:
        letter = self._letters.get(number)
        if letter is None or letter.state is not LetterState.PENDING:
            raise JournalError(f"the journal {self._path} remembers no pending letter {number}")
        return letter

    def revive(self, number: int) -> Letter:
        """Have a dead letter sent again.

        Raises:
            ConfigurationError: There is no such dead letter, or a later letter or attempt of its slot has come.
            JournalError: It could not be written.
        """
        self._ready()
        with self._lock:
            self._begin("revive")
            letter = self._dead(number)
            attempt = self._attempts.latest_of(letter.agent_id, (letter.key, letter.address))
            if self._letters.has_later(letter) or (attempt is not None and attempt.letters_from > number):
                raise ConfigurationError(f"dead letter {number} cannot be sent again: its slot has gone on since")
            revived = dataclasses.replace(letter, state=LetterState.PENDING, tries=0, error="", ended_at=None)
            self._save([revived])
            return revived

    def drop(self, number: int) -> None:
        """Forget a dead letter; it stays counted as dead.

        Raises:
            ConfigurationError: There is no such dead letter.
            JournalError: It could not be written.
        """
        self._ready()
        with self._lock:
            self._begin("drop")
            self._dead(number)
            self._save([], gone=[("letters", number)], dropped=self._file.totals["dropped"] + 1)

    def _dead(self, number: int) -> Letter:
        letter = self._letters.get(number)
        if letter is None or letter.state is not LetterState.DEAD:
            raise ConfigurationError(f"there is no dead letter {number!r}")
        return letter

    # --- writing ----------------------------------------------------------------------------------------------------

    def _ready(self) -> dt.datetime:
        """Tell the time, which is read before the lock is taken, in the process that the journal belongs to."""
        self._check_process()
        return self._clock.now()

    def _begin(self, act: str) -> None:
        """Begin an act. Holds the lock, by a plain ``with``: a generator of ours may go on holding it after Ctrl-C."""
        if self._is_closed:
            raise JournalError(f"the journal {self._path} is closed")
        self._refresh()
        self._act = act

    def _refresh(self) -> None:
        """See that memory is what the file says, also after Ctrl-C between the two. Holds the lock."""
        if self._is_stale:
            self._attempts, self._letters = Attempts(), Letters()
            rows = {(table, number): row for table, rows in self._file.rows.items() for number, row in rows.items()}
            for (table, _), row in sorted((rows | self._unsaved).items()):
                if row is not None and table == "attempts":
                    self._attempts.put(Attempt.decode(row[-1]))
                elif row is not None:
                    self._letters.put(Letter.decode(row[-1]))
            self._is_stale = False

    def _save(self, records: Iterable[Attempt | Letter], gone: Iterable[Place] = (), **totals: int) -> None:
        """Write records, and what waits to be written, or nothing. Holds the lock."""
        kept = list(records)
        puts = dict(self._unsaved)
        puts |= {_place_of(record): self._row_to_write(record) for record in kept}
        after = self._file.totals | totals
        forgotten = list(gone)
        spared = {*puts, *forgotten}
        delivered, dead = self._letters.surplus()
        dead = [number for number in dead if ("letters", number) not in spared]
        surplus = [("letters", number) for number in (*delivered, *dead)]
        surplus += [("attempts", number) for number in self._attempts.surplus(self._letters)]
        forgotten += [place for place in surplus if place not in spared]
        puts |= dict.fromkeys(forgotten)
        after["dropped"] += len(dead)
        self._is_stale = True  # until all that follows is done
        try:
            self._file.write(puts, after)
        except JournalError as error:
            self._is_stale = False
            self._error = str(error)
            self._view = self._look()
            raise
        self._error = ""
        self._unsaved.clear()
        for record in kept:
            if isinstance(record, Attempt):
                self._attempts.put(record)
            else:
                self._letters.put(record)
        for table, number in forgotten:
            (self._attempts if table == "attempts" else self._letters).remove(number)
        self._is_stale = False
        self._view = self._look()

    def _row_to_write(self, record: Attempt | Letter) -> Row:
        """Encode a record, if it can be read again: one that cannot would shut the journal to its successor."""
        try:
            row = _row_of(record)
            type(record).decode(row[-1])
        except _UNREADABLE as error:
            what = f"{type(record).__name__.lower()} of {record.agent_id!r} at slot {record.key}"
            raise JournalError(f"the journal {self._path} cannot hold this {what}: {clean(str(error), 200)}") from error
        return row

    def _save_unsaved(self, act: str) -> None:
        with contextlib.suppress(JournalError), self._lock:
            self._begin(act)
            self._save([])

    # --- looking ----------------------------------------------------------------------------------------------------

    def _look(self) -> DeliveryStatus:
        oldest = self._letters.oldest_pending
        totals = self._file.totals
        return DeliveryStatus(
            accepted=totals["accepted"],
            delivered=totals["delivered"],
            pending=self._letters.count(LetterState.PENDING),
            dead=self._letters.count(LetterState.DEAD) + totals["dropped"],
            dropped=totals["dropped"],
            oldest_pending_at=None if oldest is None else oldest.accepted_at,
            dead_letters=self._letters.dead,
            journal_error=self._error,
        )

    def status(self) -> DeliveryStatus:
        """Picture what was accepted and what became of it; never blocks."""
        return self._view

    @property
    def error(self) -> str:
        """Why the last write failed; empty where it did not."""
        return self._view.journal_error

    def close(self) -> None:
        """Let go of the file, after writing what waits to be written. Once more changes nothing."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._is_closed:
                return
            if self._unsaved:
                self._act = "close"
                with contextlib.suppress(JournalError):
                    self._save([])
            self._is_closed = True
            self._file.close()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise LifecycleError(
                f"the journal {self._path} belongs to process {self._process}: open one of its own after the fork"
            )

    def _hold(self) -> bool:
        # Not for ever: a fork from inside a write, by a signal handler, must not wait for itself.
        return self._lock.acquire(timeout=5.0)

    def _let_go(self) -> None:
        self._lock.release()


def _path_of(path: object) -> Path:
    if not isinstance(path, str | Path) or str(path) in {"", ":memory:"} or "\0" in str(path):
        raise ConfigurationError(f"a journal's path names a file, not {path!r}")
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link that we refuse


def _is_real(key: SlotKey) -> bool:
    """Tell whether a calendar has named a real slot, and not just anything."""
    return key.kind is SlotKind.REAL and type(key.id) is int and 0 <= key.id <= MAX_REAL_ID


def _keyed(update: SlotUpdate) -> SlotUpdate:
    return update if update.idempotency_key else dataclasses.replace(update, idempotency_key=uuid.uuid4().hex)


@runtime_checkable
class JournalKeeper(Protocol):
    """A transport that keeps a journal; the scheduler above it keeps its attempts there too."""

    @property
    def journal(self) -> Journal:
        """The journal."""


def _place_of(record: Attempt | Letter) -> Place:
    return ("attempts", record.id) if isinstance(record, Attempt) else ("letters", record.number)


def _row_of(record: Attempt | Letter) -> Row:
    return record.agent_id, str(record.key), str(record.state), record.encode()


# --- forks ----------------------------------------------------------------------------------------------------------

_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()
_hooked: list[int] = []


def _let_forks_wait(journal: Journal) -> None:
    """Have forks wait for a write under way: a child that inherits half of one would roll it back at its own end."""
    _journals.add(journal)
    if not _hooked:
        _hooked.append(os.getpid())
        forking = threading.local()  # two threads may fork at once: each lets go of what it holds

        def before() -> None:
            # In one order, so that two that fork do not wait for each other.
            forking.held = [one for one in sorted(_journals, key=id) if one._hold()]  # noqa: SLF001 - of one module

        def after() -> None:
            for one in reversed(forking.held):
                one._let_go()  # noqa: SLF001
            forking.held = []

        os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)
