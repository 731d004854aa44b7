"""What agents report of their slots: complete, abort, pause, resume, renew."""

import datetime as dt

from harborcal.errors import NoActiveSlotError
from harborcal.grammar import clean
from harborcal.ledger import Claim
from harborcal.model import ActiveState, SlotStatus, SlotUpdate
from harborcal.policy import actual_duration
from harborcal.scheduler.context import Context
from harborcal.scheduler.updates import Updates

TEXT_LIMIT = 2_000
"""How many characters of a summary or a reason are kept."""


class Reports:
    """Carries out reports, each on the very attempt it was made for, one after another per slot."""

    def __init__(self, updates: Updates, context: Context) -> None:
        self._updates = updates
        self._ledger = context.ledger
        self._attempts = context.attempts
        self._lanes = context.lanes
        self._clock = context.clock
        self._lifespan = context.lifespan

    def is_active(self, claim: Claim) -> bool:
        """Tell whether an attempt is still under way."""
        return self._ledger.is_active(claim)

    def complete(self, claim: Claim, summary: str) -> None:
        """Tell the calendar that the slot is finished, then settle it."""
        minutes = actual_duration(dt.timedelta(seconds=self._ledger.worked(claim, self._clock.monotonic())))
        update = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=minutes)
        self._end(claim, update, summary=_kept(summary))

    def abort(self, claim: Claim, reason: str) -> None:
        """Tell the calendar that the slot is aborted, then settle it."""
        self._end(claim, SlotUpdate(status=SlotStatus.ABORTED), reason=_kept(reason))

    def _end(self, claim: Claim, update: SlotUpdate, *, summary: str = "", reason: str = "") -> None:
        with self._lifespan.call():
            is_heard = self._attempts.hear(claim, can_wait=True)
            if not is_heard and not self._ledger.has_expired(claim):
                raise NoActiveSlotError(claim.agent_id)
            with self._lanes.enter(claim):
                if not self._ledger.is_active(claim):
                    self._end_late(claim, update, summary or reason)
                    return
                # From inside the wake too, the calendar learns of the start before it learns of the end.
                self._updates.push_owed(claim, summary=summary)
                self._attempts.annotate(claim, update.status, reason=reason, summary=summary)
                self._updates.push(claim, update, summary=summary)
                self._attempts.settle(claim, update.status, reason=reason, summary=summary, update=update)

    def _end_late(self, claim: Claim, update: SlotUpdate, words: str) -> None:
        """Take the report of an agent that was given up for silent.

        While the calendar has not been told, it is told this instead; else the history is amended, and nothing sent.
        """
        if not self._ledger.has_expired(claim):
            raise NoActiveSlotError(claim.agent_id)
        number = self._ledger.undelivered(claim)
        self._attempts.annotate(claim, update.status, is_late=True, summary=words)
        is_replaced = bool(number) and self._updates.replace(number, update)
        if not self._attempts.amend(claim, summary=words, update=update if is_replaced else None):
            raise NoActiveSlotError(claim.agent_id)

    def pause(self, claim: Claim, reason: str) -> None:
        """Tell the calendar that the slot rests; a slot that rests already is left alone."""
        with self._lifespan.call():
            self._hear(claim)
            with self._lanes.enter(claim):
                self._must_be_active(claim)
                if self._ledger.state_of(claim) is ActiveState.PAUSED:
                    return
                # Also from inside the wake: the calendar learns of the start before it learns of the pause.
                self._updates.push_owed(claim)
                self._attempts.annotate(claim, SlotStatus.PAUSED, pause_reason=_kept(reason))
                self._updates.push(claim, SlotUpdate(status=SlotStatus.PAUSED), gentle=True)
                self._attempts.pause(claim, _kept(reason))

    def resume(self, claim: Claim) -> None:
        """Tell the calendar that the slot goes on; a slot that runs is left alone."""
        with self._lifespan.call():
            self._hear(claim)
            with self._lanes.enter(claim):
                self._must_be_active(claim)
                if self._ledger.state_of(claim) is not ActiveState.PAUSED:
                    return
                self._updates.push_owed(claim)
                self._updates.push(claim, SlotUpdate(status=SlotStatus.ONGOING), gentle=True)
                self._attempts.resume(claim)

    def renew(self, claim: Claim) -> None:
        """Take note that the agent is alive."""
        with self._lifespan.call():
            self._hear(claim)

    def _hear(self, claim: Claim) -> None:
        if not self._attempts.hear(claim):
            raise NoActiveSlotError(claim.agent_id)

    def _must_be_active(self, claim: Claim) -> None:
        if not self._ledger.is_active(claim):
            raise NoActiveSlotError(claim.agent_id)


class AttemptReport:
    """A handle on one attempt, for its host (see `harborcal.host.Report`)."""

    __slots__ = ("_claim", "_reports")

    def __init__(self, claim: Claim, reports: Reports) -> None:
        self._claim = claim
        self._reports = reports

    def __repr__(self) -> str:
        return f"<report of {self._claim.agent_id} on slot {self._claim.ident}, attempt {self._claim.attempt}>"

    @property
    def is_active(self) -> bool:
        """Whether the attempt is still under way."""
        return self._reports.is_active(self._claim)

    def complete(self, summary: str = "") -> None:
        """Say that the work is done."""
        self._reports.complete(self._claim, summary)

    def abort(self, reason: str = "") -> None:
        """Say that the work will not be done."""
        self._reports.abort(self._claim, reason)

    def pause(self, reason: str = "") -> None:
        """Say that the work rests; pauses do not count as work."""
        self._reports.pause(self._claim, reason)

    def resume(self) -> None:
        """Say that the work goes on."""
        self._reports.resume(self._claim)

    def renew(self) -> None:
        """Say that the agent is alive, and nothing else."""
        self._reports.renew(self._claim)


def _kept(text: object) -> str:
    return clean(text if isinstance(text, str) else str(text), TEXT_LIMIT)
