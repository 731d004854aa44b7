"""The one way by which updates reach the calendar, and what their refusal means."""

from harborcal.errors import CalendarRefusedError, JournalError, LifecycleError, TransportError, UpdateRefusedError
from harborcal.ledger import Claim, Settled
from harborcal.model import SlotStatus, SlotUpdate, UpdateReceipt
from harborcal.policy import Refusal, describe, read_refusal
from harborcal.scheduler.context import Context
from harborcal.transport import ClaimingTransport, DeferredDelivery, Transport, find


class Updates:
    """Sends updates and enters what became of them into the ledger. The caller is in the slot's lane."""

    def __init__(self, transport: Transport, context: Context) -> None:
        self._transport = transport
        self._claiming = find(transport, ClaimingTransport)
        self._deferred = find(transport, DeferredDelivery)
        self._ledger = context.ledger
        self._attempts = context.attempts
        self._lanes = context.lanes
        self._clock = context.clock
        self._place = context.place
        self._troubles = context.troubles
        self._voice = context.voice

    @property
    def asks_for_slots(self) -> bool:
        """Whether the calendar is asked for a slot before its wake."""
        return self._claiming is not None

    def claim(self, claim: Claim, *, wakes: bool) -> bool:
        """Have the calendar give the slot to this scheduler alone, where it can; tell whether it is ours.

        Args:
            claim: Whose slot.
            wakes: Whether its agent is to be woken: then this is the slot's first ``ongoing``; else it is taken up as
                it is.

        Raises:
            CalendarRefusedError: The slot is gone or over.
            TransportError: The outcome is unknown, unless it says otherwise.
        """
        if self._claiming is None:
            return True
        try:
            with self._place.inside("update"):
                receipt = self._claiming.claim(claim.agent_id, self._ledger.key_of(claim), self._ledger.began(claim))
        except LifecycleError:
            raise
        except BaseException as error:
            if wakes and _is_outcome_unknown(error):
                self._ledger.lost(claim, claim.first_update)
            self._complain(claim, claim.first_update, error)
            raise
        self._troubles.clear(claim.agent_id, "update")
        if receipt is None:
            return False
        if wakes:
            self._ledger.took(claim, claim.first_update, _checked(receipt))
        return True

    def push(self, claim: Claim, update: SlotUpdate, *, gentle: bool = False, summary: str = "") -> UpdateReceipt:
        """Send one update of an active slot.

        Args:
            claim: Whose slot.
            update: What to send.
            gentle: Whether this is a pause or a resume, whose 409 and 423 leave the slot active.
            summary: What the agent said of its work, kept in the history also when the calendar refuses.

        Raises:
            UpdateRefusedError: Refused for good; the slot is settled.
            CalendarRefusedError: Refused for now; the slot is as it was.
            JournalError: It could not be accepted for later delivery; nothing happened.
            TransportError: The outcome is unknown; the slot is as it was.
        """
        tried_before = self._ledger.was_tried(claim, update)
        key = self._ledger.key_of(claim)
        try:
            with self._place.inside("update"):
                receipt = _checked(self._transport.update_slot(claim.agent_id, key, update))
        except CalendarRefusedError as refusal:
            meaning = read_refusal(refusal, update, tried_before=tried_before, gentle=gentle)
            if meaning is not Refusal.ALREADY_SO:
                self._complain(claim, update, refusal)
                self._settle_if_final(claim, meaning, refusal, summary)
                raise
            receipt = UpdateReceipt(slot=key)
        except LifecycleError:
            raise
        except BaseException as error:
            if _is_outcome_unknown(error):
                self._ledger.lost(claim, update)
            self._complain(claim, update, error)
            if isinstance(error, TransportError | JournalError) or not isinstance(error, Exception):
                raise
            raise TransportError(f"the transport failed: {describe(error)}") from error
        self._ledger.took(claim, update, receipt)
        self._troubles.clear(claim.agent_id, "update")
        return receipt

    def _complain(self, claim: Claim, update: SlotUpdate, error: BaseException) -> None:
        self._voice.fault(
            claim.agent_id,
            "update",
            error,
            "calendar update failed",
            agent=claim.agent_id,
            slot=claim.ident,
            status=str(update.status),
            err=describe(error),
        )

    def _settle_if_final(self, claim: Claim, meaning: Refusal, refusal: CalendarRefusedError, summary: str) -> None:
        if meaning is not Refusal.FINAL:
            return
        reason = describe(refusal)
        self._attempts.settle(claim, SlotStatus.ABORTED, reason=reason, summary=summary, refusal=reason)
        raise UpdateRefusedError(refusal.status, refusal.detail, refusal.repeated) from refusal

    def push_owed(self, claim: Claim, *, summary: str = "") -> None:
        """Send what the calendar has not taken yet, in order.

        Args:
            claim: Whose slot.
            summary: As in `push`.

        Raises:
            CalendarRefusedError: As `push`.
            TransportError: As `push`.
        """
        for update in self._ledger.owed_of(claim):
            self.push(claim, update, summary=summary)

    def flush(self, claim: Claim) -> None:
        """Send what is owed if nobody is sending for this slot just now; a failure is noted, and tried again later."""
        with self._lanes.enter_if_free(claim) as free:
            if free and self._ledger.is_active(claim):
                try:
                    self.push_owed(claim)
                except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
                    return

    def replace(self, number: int, update: SlotUpdate) -> bool:
        """Put another update in the place of an accepted one that was never sent; tell whether that was so.

        Raises:
            JournalError: It could not be written; nothing has changed.
        """
        return self._deferred is not None and self._deferred.replace(number, update)

    def resend(self, settled: Settled) -> None:
        """Send a settled slot's last update again: the calendar goes on as if it had not taken it."""
        claim, update = settled.claim, settled.update
        with self._lanes.enter_if_free(claim) as free:
            if not free or update is None:
                return
            at = self._clock.monotonic()
            try:
                with self._place.inside("update"):
                    receipt = _checked(self._transport.update_slot(claim.agent_id, self._ledger.key_of(claim), update))
            except CalendarRefusedError as refusal:
                final = read_refusal(refusal, update, tried_before=True, gentle=False) is Refusal.FINAL
                self._complain(claim, update, refusal)
                self._ledger.resent(settled, at=at, error=describe(refusal), final=final)
            except BaseException as error:  # noqa: BLE001 - whatever a transport raises, the slot is settled here
                self._complain(claim, update, error)
                self._ledger.resent(settled, at=at, error=describe(error))
            else:
                self._ledger.resent(settled, at=at, receipt=receipt)


def _checked(receipt: object) -> UpdateReceipt:
    if not isinstance(receipt, UpdateReceipt):
        raise TransportError(f"the transport answered with a {type(receipt).__name__}")
    return receipt


def _is_outcome_unknown(error: BaseException) -> bool:
    """Tell whether the calendar may have applied what failed so; a refusal says that it has not."""
    if isinstance(error, TransportError):
        return error.is_outcome_unknown
    return not isinstance(error, CalendarRefusedError | JournalError)
