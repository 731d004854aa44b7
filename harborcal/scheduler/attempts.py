"""The ledger's claims with the journal behind them: what is about to be done is written first, what was done after it.

Without a journal only the ledger knows, and a restart forgets.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Any

from harborcal.clock import Clock
from harborcal.errors import CalendarRefusedError, HarborcalError
from harborcal.journal import Attempt, AttemptState, Journal, Letter, LetterState
from harborcal.ledger import Claim, Ledger, Settled
from harborcal.model import ActiveState, HistoryEntry, Slot, SlotKey, SlotKind, SlotStatus, SlotUpdate
from harborcal.policy import describe, is_gentle, lease_of
from harborcal.scheduler.book import Book

GRACE = 60.0
"""Seconds that an agent has after a restart at least, before its silence counts."""

_STATES = {
    AttemptState.CLAIMING: ActiveState.WAKING,
    AttemptState.WAKING: ActiveState.ONGOING,
    AttemptState.ONGOING: ActiveState.ONGOING,
    AttemptState.PAUSED: ActiveState.PAUSED,
}


class Attempts:
    """Begins, follows and ends attempts, in the ledger and in the journal."""

    def __init__(
        self,
        ledger: Ledger,
        book: Book,
        journal: Journal | None,
        clock: Clock,
        *,
        lease: float | None,
        on_unknown: str,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._journal = journal
        self._clock = clock
        self._lease = lease
        self._repeats_unknown = on_unknown == "repeat"

    @property
    def journal(self) -> Journal | None:
        """The journal, where there is one."""
        return self._journal

    # --- beginning --------------------------------------------------------------------------------------------------

    def claim(self, agent_id: str, slot: Slot, *, asked: int, wake_id: str) -> Claim | None:
        """Take a slot for its agent, at this instant; None where the agent or the slot is no longer free."""
        now, at = self._clock.now(), self._clock.monotonic()
        claim = self._ledger.claim(
            agent_id,
            slot,
            asked=asked,
            now=now,
            at=at,
            wake_id=wake_id,
            attempt=self._next_number(agent_id, slot),
            lease=lease_of(slot, self._lease),
        )
        return self._began(claim)

    def _began(self, claim: Claim | None) -> Claim | None:
        if claim is not None:
            self._book.began(claim.agent_id, claim.slot.keys, claim.ident)
        return claim

    def take_up(self, agent_id: str, slot: Slot, *, asked: int, wake_id: str) -> Claim | None:
        """Take a slot that is under way; None where the agent or the slot is no longer free."""
        now, at = self._clock.now(), self._clock.monotonic()
        claim = self._ledger.take_up(
            agent_id,
            slot,
            asked=asked,
            now=now,
            at=at,
            wake_id=wake_id,
            attempt=self._next_number(agent_id, slot),
            lease=lease_of(slot, self._lease),
        )
        return self._began(claim)

    def _next_number(self, agent_id: str, slot: Slot) -> int:
        return 1 if self._journal is None else self._journal.next_number(agent_id, slot.keys)

    def reserve(self, claim: Claim, state: AttemptState) -> None:
        """Write that an attempt is about to be made; once is enough.

        Args:
            claim: Which attempt.
            state: What is about to be done: ``CLAIMING``, or what follows where no calendar has to be asked.

        Raises:
            JournalError: It could not be written: do not make it.
        """
        if self._journal is None or claim.record:
            return
        began = self._ledger.began(claim)
        attempt = Attempt(
            id=0,
            agent_id=claim.agent_id,
            slot=claim.slot,
            key=self._ledger.key_of(claim),
            number=claim.attempt,
            wake_id=claim.wake_id,
            state=state,
            claimed_at=self._clock.now() if claim.taken_up else began,
            started_at=began,
            is_taken_up=claim.taken_up,
        )
        claim.record = self._journal.open_attempt(attempt).id
        if not self._ledger.is_active(claim):  # its agent was quicker than the disk
            self._journal.withdraw(claim.record)

    def enter(self, claim: Claim, *, is_claimed: bool) -> bool:
        """Write that a wake is about to be entered; False where its agent was quicker, and has ended it, or is at it.

        Raises:
            JournalError: It could not be written: do not enter it.
        """
        if self._journal is None:
            return True
        changes: dict[str, Any] = {"key": self._ledger.key_of(claim), "is_claimed": is_claimed}
        if claim.is_restored:
            changes["claimed_at"] = self._clock.now()  # its silence begins now, also for the next restart
        return self._journal.enter(claim.record, unless_heard=self._ledger.may_be_at_work(claim), **changes)

    def remind(self, claim: Claim) -> None:
        """Write that an agent is about to be reminded.

        Raises:
            JournalError: It could not be written: do not remind it.
        """
        if self._journal is not None and claim.record:
            self._journal.remind(claim.record)

    def unclaim(self, claim: Claim) -> None:
        """Undo a claim whose wake was never entered."""
        if not self._ledger.unclaim(claim):
            return
        self._book.waits_again(claim.agent_id, claim.slot.keys, claim.ident, "its wake was not entered")
        if self._journal is not None:
            self._journal.withdraw(claim.record)

    # --- while it is active -----------------------------------------------------------------------------------------

    def woken(self, claim: Claim, *, can_wait: bool = False) -> bool:
        """Record that the wake has worked; tell whether the claim is still active.

        Args:
            claim: Which attempt.
            can_wait: Whether it is enough to write it with the next write.
        """
        if not self._ledger.woken(claim):
            return False
        # An update that is owed is written in a moment, and this with it.
        self._change(claim, can_wait=can_wait or bool(self._ledger.owed_of(claim)), state=AttemptState.ONGOING)
        return True

    def hear(self, claim: Claim, *, can_wait: bool = False) -> bool:
        """Record a sign of life of the agent; tell whether the claim is still active.

        Args:
            claim: Which attempt.
            can_wait: Whether something else is written of it in a moment.
        """
        now, at = self._clock.now(), self._clock.monotonic()
        if not self._ledger.hear(claim, now, at):
            return False
        if self._journal is not None and self._ledger.is_news(claim, at):
            self._change(claim, can_wait=can_wait, heard_at=now, reminded_at=None)
        return True

    def annotate(self, claim: Claim, update: SlotStatus, /, **details: Any) -> None:
        """Say what the journal is to keep of an attempt, together with its update of this status."""
        if self._journal is not None:
            self._journal.annotate(claim.record, update, **details)

    def pause(self, claim: Claim, reason: str) -> None:
        """Record that the work rests; that it does was written with its update."""
        now = self._clock.now()
        self._ledger.pause(claim, reason, now, self._clock.monotonic())
        self._change(claim, can_wait=True, paused_at=now, heard_at=now)

    def resume(self, claim: Claim) -> None:
        """Record that the work goes on; that it does was written with its update."""
        now = self._clock.now()
        self._ledger.resume(claim, self._clock.monotonic())
        self._change(claim, can_wait=True, rested=self._ledger.rested(claim), heard_at=now)

    def follow_clock(self, now: dt.datetime, at: float) -> None:
        """Carry a jump of the wall clock into what is active, so that a restart measures by the new time too."""
        for claim, jump in self._ledger.follow_clock(now, at):
            if self._journal is not None and jump:
                self._journal.shift(claim.record, jump)

    def _change(self, claim: Claim, *, can_wait: bool = False, **changes: Any) -> None:
        if self._journal is not None:
            self._journal.change(claim.record, can_wait=can_wait, **changes)

    # --- ending -----------------------------------------------------------------------------------------------------

    def settle(
        self,
        claim: Claim,
        status: SlotStatus,
        *,
        reason: str = "",
        summary: str = "",
        update: SlotUpdate | None = None,
        refusal: str = "",
        is_expired: bool = False,
    ) -> HistoryEntry | None:
        """End a claim and enter it into the history (see `Ledger.settle`); None where it had ended before."""
        entry = self._ledger.settle(
            claim,
            status,
            now=self._clock.now(),
            at=self._clock.monotonic(),
            reason=reason,
            summary=summary,
            update=update,
            refusal=refusal,
            is_expired=is_expired,
        )
        if entry is None:
            return None
        self._settled_in_book(claim, status, reason=reason, refused=bool(refusal))
        if self._journal is not None:
            self._journal.settle(
                claim.record,
                status,
                reason=reason,
                summary=summary,
                told=None if update is None else update.status,
                actual_duration=entry.actual_duration,
                refusal=refusal,
                is_expired=is_expired,
            )
        return entry

    def _settled_in_book(self, claim: Claim, status: SlotStatus, *, reason: str, refused: bool = False) -> None:
        self._book.settled(
            claim.agent_id,
            claim.slot.keys,
            claim.ident,
            status,
            reason=reason,
            refused=refused,
            asked=self._ledger.ask(),
        )

    def fail(self, claim: Claim, reason: str, *, can_wait: bool = False) -> None:
        """End a claim whose wake failed, so that its slot is tried again later."""
        entry = self._ledger.wake_failed(claim, reason, now=self._clock.now(), at=self._clock.monotonic())
        if entry is None:
            return
        self._book.waits_again(claim.agent_id, claim.slot.keys, claim.ident, reason)
        if self._journal is not None:
            self._journal.change(claim.record, can_wait=True, count=entry.count)
            self._journal.settle(claim.record, SlotStatus.ABORTED, reason=reason, can_wait=can_wait)

    def miss(self, claim: Claim, update: SlotUpdate, reason: str, *, refusal: str = "") -> None:
        """Enter into the history that a slot was not woken for (see `Ledger.miss`)."""
        now = self._clock.now()
        self._ledger.miss(claim, update, reason, now=now, at=self._clock.monotonic(), refusal=refusal)
        self._settled_in_book(claim, update.status, reason=reason, refused=bool(refusal))
        if self._journal is not None:
            self._journal.note(
                Attempt(
                    id=0,
                    agent_id=claim.agent_id,
                    slot=claim.slot,
                    key=self._ledger.key_of(claim),
                    number=claim.attempt,
                    wake_id="",
                    state=AttemptState.SETTLED,
                    claimed_at=now,
                    started_at=now,
                    settled_at=now,
                    status=update.status,
                    reason=reason,
                    told=update.status,
                    refusal=refusal,
                )
            )

    def refused_later(self, key: SlotKey, update: SlotUpdate, error: HarborcalError, number: int) -> Claim | None:
        """Enter that the calendar will never take an update that was accepted; return the claim that this has ended.

        It ends its slot, unless it was only to rest.
        """
        reason = describe(error)
        passes = isinstance(error, CalendarRefusedError) and error.status in {409, 423}
        gentle = is_gentle(update) and passes
        claim, settled = self._ledger.undeliverable(key, reason, number, gentle=gentle)
        if settled is not None and not gentle:
            self._settled_in_book(settled, SlotStatus.ABORTED, reason=reason, refused=True)
        if claim is not None:
            self.settle(claim, SlotStatus.ABORTED, reason=reason, refusal=reason)
        return claim

    def amend(self, claim: Claim, *, summary: str, update: SlotUpdate | None) -> bool:
        """Enter a late report (see `Ledger.amend`); tell whether there was something to amend."""
        if not self._ledger.amend(claim, summary=summary, update=update):
            return False
        changes: dict[str, Any] = {"is_late": True, "summary": summary}
        if update is not None:
            self._settled_in_book(claim, update.status, reason="")
            changes |= {"status": update.status, "told": update.status, "actual_duration": update.actual_duration}
        self._change(claim, **changes)
        return True

    # --- after a restart --------------------------------------------------------------------------------------------

    def restore(self) -> list[Claim]:
        """Find again what the journal remembers; return the attempts that have not ended."""
        if self._journal is None:
            return []
        self._journal.adopt("scheduler")
        found = []
        on_their_way = self._journal.letters(LetterState.PENDING)
        every = self._journal.attempts()
        for attempt in sorted(filter(_is_settled, every), key=lambda one: (one.settled_at or one.claimed_at, one.id)):
            self._restore_settled(attempt)
        # The newest first: should an agent have two, the newer one is what it is at.
        for attempt in reversed([one for one in every if not _is_settled(one)]):
            claim = self._claim_of(attempt)
            if self._ledger.restore(claim):
                self._began(claim)
                found.append(claim)
            else:
                self._journal.settle(attempt.id, SlotStatus.ABORTED, reason="its agent is at another slot")
        self._restore_letters(on_their_way)
        return [claim for claim in found if not self._has_died(claim)]

    def _has_died(self, claim: Claim) -> bool:
        """Settle an attempt whose update was refused for good while nobody was there to be told."""
        letter = self._journal and self._journal.latest_letter(claim.agent_id, claim.keys)
        attempt = self._journal and self._journal.attempt(claim.record)
        if not letter or not attempt or letter.state is not LetterState.DEAD or letter.number < attempt.letters_from:
            return False
        if is_gentle(letter.update):
            return False  # perhaps it was only too early to rest: the next update tells
        self.settle(claim, SlotStatus.ABORTED, reason=letter.error, refusal=letter.error)
        return True

    def _claim_of(self, attempt: Attempt) -> Claim:
        now, at = self._clock.now(), self._clock.monotonic()
        claim = Claim(
            attempt.agent_id,
            attempt.slot,
            attempt=attempt.number,
            wake_id=attempt.wake_id,
            now=now,
            at=at,
            born=0,
            lease=lease_of(attempt.slot, self._lease),
        )
        claim.record = attempt.id
        claim.key = attempt.key
        claim.keys |= attempt.keys
        claim.started_at = min(attempt.started_at, now)
        claim.begun = at - (now - claim.started_at).total_seconds()
        began = attempt.claimed_at.time().replace(microsecond=0)
        claim.first_update = SlotUpdate(status=SlotStatus.ONGOING, started_at=began)
        claim.taken_up = attempt.is_taken_up
        claim.is_restored = claim.is_found = True
        claim.state = _STATES[attempt.state]
        claim.awaits_wake = attempt.state is AttemptState.CLAIMING
        is_unknown = attempt.state is AttemptState.WAKING and attempt.heard_at is None
        if is_unknown and self._repeats_unknown:
            claim.state, claim.awaits_wake, claim.may_be_woken = ActiveState.WAKING, True, True
        claim.rested = attempt.rested
        if attempt.state is AttemptState.PAUSED:
            claim.paused_at = min(attempt.paused_at or now, now)
            claim.resting_since = at - (now - claim.paused_at).total_seconds()
            claim.paused_offset = claim.offset
            claim.pause_reason = attempt.pause_reason
        self._restore_lease(claim, attempt, now, at)
        self._restore_delivery(claim, attempt)
        return claim

    @staticmethod
    def _restore_lease(claim: Claim, attempt: Attempt, now: dt.datetime, at: float) -> None:
        """Go on with a lease by the wall's time, which may have been set: silence counts from a minute after now."""
        signs = [sign for sign in (attempt.claimed_at, attempt.heard_at, attempt.reminded_at) if sign is not None]
        silent = max(0.0, (now - max(signs)).total_seconds())
        claim.written_at = at - silent
        claim.heard_at = attempt.heard_at
        claim.reminded = attempt.reminded_at is not None and attempt.reminded_at == max(signs)
        if claim.reminded:
            claim.written_at = at - (claim.lease or 0.0)  # the next sign of life is news
        if claim.lease is not None:
            claim.quiet_since = at - min(silent, max(0.0, claim.lease - GRACE))

    def _restore_delivery(self, claim: Claim, attempt: Attempt) -> None:
        letter = self._letter_of(attempt)
        if letter is not None:
            claim.accepted = letter.number
            claim.arrived = 0 if letter.state is LetterState.PENDING else letter.number
        if letter is not None and letter.number >= attempt.letters_from:
            claim.owed = ()
            claim.last_update = letter.update
        elif attempt.is_claimed or attempt.is_taken_up:
            claim.owed = ()
            claim.last_update = claim.first_update if attempt.is_claimed else None
        else:
            claim.owed = (claim.first_update,)

    def _letter_of(self, attempt: Attempt) -> Letter | None:
        return None if self._journal is None else self._journal.latest_letter(attempt.agent_id, attempt.keys)

    def _restore_settled(self, attempt: Attempt) -> None:
        claim = self._claim_of(_under_way(attempt))
        status = attempt.status or SlotStatus.ABORTED
        entry = HistoryEntry(
            ident=attempt.slot.ident,
            agent_id=attempt.agent_id,
            status=status,
            resolved_at=attempt.settled_at or attempt.claimed_at,
            reason=attempt.reason,
            summary=attempt.summary,
            key=attempt.key,
            attempt=attempt.number,
            started_at=attempt.started_at if attempt.number else None,
            actual_duration=attempt.actual_duration,
            late=attempt.is_late,
            count=attempt.count,
            wake_id=attempt.wake_id,
        )
        told = attempt.told
        settled = Settled(
            claim,
            None if told is None else SlotUpdate(status=told, actual_duration=attempt.actual_duration),
            delivered=not claim.is_on_its_way,
            taken_at=0,
            at=self._clock.monotonic(),
            entry=entry,
            is_expired=attempt.is_expired,
        )
        letter = self._letter_of(attempt)
        is_dead = letter is not None and letter.state is LetterState.DEAD and letter.number >= attempt.letters_from
        settled.refusal = letter.error if letter is not None and is_dead else attempt.refusal
        self._ledger.restore_settled(settled)

    def _restore_letters(self, letters: Iterable[Letter]) -> None:
        """Let no slot be taken while an update of it is on its way, also where its attempt is forgotten."""
        for letter in letters:
            self._restore_letter(letter)
            latest = self._journal and self._journal.latest_letter(letter.agent_id, (letter.key, letter.address))
            # It may have arrived, or died, while this was being restored.
            if latest and latest.state is LetterState.DELIVERED:
                self._ledger.delivered(letter.key, latest.address, latest.number, at=self._clock.monotonic())
            elif latest and latest.state is LetterState.DEAD and not is_gentle(latest.update):
                self._ledger.undeliverable(letter.key, latest.error, latest.number, gentle=False)

    def _restore_letter(self, letter: Letter) -> None:
        key = letter.address
        if not self._ledger.knows(key):
            slot = Slot(id=int(key.id)) if key.kind is SlotKind.REAL else Slot(virtual_id=str(key.id))
            now, at = self._clock.now(), self._clock.monotonic()
            claim = Claim(letter.agent_id, slot, attempt=0, wake_id="", now=now, at=at, born=0)
            claim.keys |= {letter.key, key}
            claim.accepted = letter.number
            # Of what has ended so, an answer that is behind starts no new attempt once the letter has arrived.
            ended = letter.update if letter.update.status.is_terminal else None
            self._ledger.restore_settled(Settled(claim, ended, delivered=False, taken_at=0, at=at))


def _is_settled(attempt: Attempt) -> bool:
    return attempt.state is AttemptState.SETTLED


def _under_way(attempt: Attempt) -> Attempt:
    """Picture a settled attempt as it was before its end."""
    return dataclasses.replace(attempt, state=AttemptState.ONGOING)
