"""From a chosen slot to an agent at work: claim, wake, tell the calendar."""

import dataclasses
import datetime as dt
import inspect
import random
from collections.abc import Callable, Iterable

from harborcal.errors import CalendarRefusedError, HostError, JournalError
from harborcal.host import Host, WakeRequest, WakeWriter
from harborcal.journal import AttemptState
from harborcal.ledger import Claim, Sentence
from harborcal.model import ActiveState, Slot, SlotStatus, SlotUpdate
from harborcal.policy import describe, due_at, is_agent_unknown, missed_by, release, skip
from harborcal.prompt import build_wake_message
from harborcal.scheduler.context import Context
from harborcal.scheduler.crew import Crew
from harborcal.scheduler.reports import AttemptReport, Reports
from harborcal.scheduler.updates import Updates

_TAKEN_UP = {
    ActiveState.WAKING: AttemptState.ONGOING,
    ActiveState.ONGOING: AttemptState.ONGOING,
    ActiveState.PAUSED: AttemptState.PAUSED,
}

ANOTHER_HAS_IT = "another scheduler has taken it"

MessageBuilder = Callable[[Slot], str] | WakeWriter
"""Who writes what an agent is told: a function of its slot, or a `WakeWriter`, which is told more."""


class Wake:
    """One wake on its way to the host. ``outcome`` is ``woken``, ``failed`` or ``undone`` at its end, empty before."""

    __slots__ = ("claim", "is_reminder", "outcome")

    def __init__(self, claim: Claim, *, is_reminder: bool = False) -> None:
        self.claim = claim
        self.is_reminder = is_reminder
        self.outcome = ""

    @property
    def owner(self) -> str:
        """Whom it wakes."""
        return self.claim.agent_id


class Dispatch:
    """Claims slots and enters their wakes. A wake is entered once per claim, by a thread of the wake crew."""

    def __init__(
        self,
        host: Host,
        updates: Updates,
        reports: Reports,
        context: Context,
        *,
        message: MessageBuilder,
        randomness: random.Random,
        watch: Callable[[Claim], None],
    ) -> None:
        self._watch = watch
        self._host = host
        self._updates = updates
        self._reports = reports
        self._writer = message if isinstance(message, WakeWriter) else None
        self._plain_message = build_wake_message if isinstance(message, WakeWriter) else message
        self._randomness = randomness
        self._grace = context.config.misfire_grace
        self._runner = context.runner
        self._ledger = context.ledger
        self._attempts = context.attempts
        self._lanes = context.lanes
        self._clock = context.clock
        self._place = context.place
        self._troubles = context.troubles
        self._lifespan = context.lifespan
        self._voice = context.voice
        self._crew: Crew[Wake] = Crew(
            "wake",
            context,
            size=context.config.max_wakes,
            timeout=context.config.wake_timeout,
            work=self._enter,
            overdue=self._overdue,
            turned_away=lambda wake, _reason: self._undo(wake),
        )

    def dispatch(self, agent_id: str, slot: Slot, *, asked: int) -> Wake | None:
        """Claim a slot, at this instant, and have its agent woken; None where another was quicker."""
        claim = self._attempts.claim(agent_id, slot, asked=asked, wake_id=self._new_id())
        return None if claim is None else self._submit(claim)

    def _submit(self, claim: Claim) -> Wake | None:
        wake = Wake(claim)
        if not self._crew.submit([wake]):
            self._attempts.unclaim(claim)
            return None
        self._watch(claim)
        return wake

    def take_up(self, agent_id: str, slot: Slot, *, asked: int) -> bool:
        """Follow a slot that the calendar calls ongoing or paused, without a wake; tell whether it was free."""
        claim = self._attempts.take_up(agent_id, slot, asked=asked, wake_id=self._new_id())
        if claim is None:
            return False
        with self._lanes.enter_if_free(claim) as free:
            if not free or self._is_ours(claim):
                self._note_taken_up(claim)
                return True  # where it is not free, its agent is reporting already
            self._attempts.unclaim(claim)
            return False

    def _note_taken_up(self, claim: Claim) -> None:
        self._watch(claim)
        try:
            self._attempts.reserve(claim, _TAKEN_UP[self._ledger.state_of(claim)])
        except JournalError as error:
            self._journal_failed(claim, error)  # a restart finds it at the calendar again

    def _journal_failed(self, claim: Claim, error: JournalError) -> None:
        err = describe(error)
        self._voice.fault(claim.agent_id, "journal", err, "calendar journal failed", agent=claim.agent_id, err=err)

    def _is_ours(self, claim: Claim) -> bool:
        """Ask a calendar that several schedulers share for a slot that is under way."""
        try:
            return self._updates.claim(claim, wakes=False)
        except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
            return False  # the next heartbeat lists it again

    def _new_id(self) -> str:
        return f"{self._randomness.getrandbits(128):032x}"

    def _enter(self, wake: Wake) -> None:
        outcome = self._remind(wake.claim) if wake.is_reminder else self._attempt(wake)
        # Only now, with everything told: whoever waits for the wake waits for its update too.
        wake.outcome = wake.outcome or outcome

    def _attempt(self, wake: Wake) -> str:
        """Wake the agent, then tell the calendar that the slot is ongoing; return the wake's outcome."""
        claim = wake.claim
        if not self._lifespan.may_begin or not self._ledger.is_active(claim):
            self._unclaim(claim)  # or it was settled while the wake was queued
            return "undone"
        if not self._reserve(claim) or not self._claim(claim) or not self._ledger.is_active(claim):
            return "undone"  # another one has it; or its agent was quicker
        if self._updates.asks_for_slots and not self._write_wake(claim):
            return "undone"
        self._ledger.confirm(claim)
        try:
            is_entered = self._wake_agent(claim)
        except BaseException as error:  # noqa: BLE001 - whatever a host raises, the wake has failed
            self._failed(wake, error)
            return "failed"
        self._woken(claim)
        return "woken" if is_entered else "undone"

    def _unclaim(self, claim: Claim) -> None:
        """Undo a claim whose wake was not entered; what a restart has found goes on waiting for its wake."""
        if self._ledger.is_found(claim):
            self._ledger.await_wake(claim)
        else:
            self._attempts.unclaim(claim)

    def _give_up_the_wake(self, claim: Claim, reason: str) -> None:
        """Give back a slot whose wake is not entered, where the calendar may know of it.

        Not where a wake may have been entered before a restart: its agent may be at it, and is woken later.
        """
        if self._ledger.was_told(claim) and not self._ledger.may_be_at_work(claim):
            self._give_back_or_condemn(claim, reason)
        else:
            self._unclaim(claim)

    def _lose(self, claim: Claim, reason: str) -> None:
        """End a claim whose slot is not ours; of what a restart has found, a wake may have been entered before."""
        if self._ledger.is_found(claim):
            self._attempts.settle(claim, SlotStatus.ABORTED, reason=reason)
        else:
            self._attempts.unclaim(claim)

    def _reserve(self, claim: Claim) -> bool:
        """Write the attempt before anything of it happens: without a journal nothing new begins."""
        state = AttemptState.CLAIMING if self._updates.asks_for_slots else AttemptState.WAKING
        try:
            if claim.record and state is AttemptState.WAKING and not self._attempts.enter(claim, is_claimed=False):
                return False
            self._attempts.reserve(claim, state)
        except JournalError as error:
            self._journal_failed(claim, error)
            self._unclaim(claim)
            return False
        self._troubles.clear(claim.agent_id, "journal")
        return True

    def _write_wake(self, claim: Claim) -> bool:
        """Write, after the calendar has given us the slot, that its wake is entered."""
        try:
            return self._attempts.enter(claim, is_claimed=True)
        except JournalError as error:
            self._journal_failed(claim, error)
            with self._lanes.enter(claim):
                if self._ledger.is_active(claim):
                    self._give_up_the_wake(claim, f"wake not entered: {describe(error)}")
            return False

    def _claim(self, claim: Claim) -> bool:
        """Take the slot at a calendar that several schedulers share, before its wake; tell whether it is ours.

        Where it is not, nothing is left to be told. Where nobody knows, it is given back as after a failed wake.
        """
        with self._lanes.enter(claim):
            if not self._ledger.is_active(claim):
                return False
            try:
                if self._updates.claim(claim, wakes=True):
                    return True
            except CalendarRefusedError as refusal:
                self._lose(claim, describe(refusal))
                return False
            except BaseException as error:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
                self._give_up_the_wake(claim, f"claim failed: {describe(error)}")
                return False
            self._lose(claim, ANOTHER_HAS_IT)
            return False

    def _wake_agent(self, claim: Claim, *, reminder: bool = False) -> bool:
        """Hand a wake to the host; False where its agent was quicker, up to the last moment, and needs it no more."""
        with self._place.inside("wake"):
            request = self._request(claim, reminder=reminder)
            is_wanted = self._ledger.was_reminded(claim) if reminder else self._ledger.wants_wake(claim)
            if not is_wanted:
                return False
            returned = self._host.wake_agent(request)
        if inspect.iscoroutine(returned):
            returned.close()
            raise HostError("wake_agent is a coroutine function: harborcal's hosts are synchronous")
        return True

    def _request(self, claim: Claim, *, reminder: bool) -> WakeRequest:
        """Put together what a host is given; the message is written from the slot, or from all of it."""
        now, at = self._clock.now(), self._clock.monotonic()
        expires_at = self._ledger.expires_at(claim)
        request = WakeRequest(
            agent_id=claim.agent_id,
            message=_text(self._plain_message(claim.slot)),
            source=f"calendar:{claim.ident}",
            slot=claim.slot,
            attempt=claim.attempt,
            wake_id=claim.wake_id,
            reminder=reminder,
            woken_at=now,
            due_at=due_at(claim.slot, now),
            deadline_at=None if expires_at is None else now + dt.timedelta(seconds=expires_at - at),
            report=AttemptReport(claim, self._reports),
        )
        if self._writer is None:
            return request
        return dataclasses.replace(request, message=_text(self._writer.write(request)))

    def _woken(self, claim: Claim) -> None:
        with self._lanes.enter(claim):
            if not self._attempts.woken(claim):
                return
            self._troubles.clear(claim.agent_id, "wake")
            try:
                self._updates.push_owed(claim)
            except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
                return  # the next heartbeat sends it again

    def _failed(self, wake: Wake, error: BaseException) -> None:
        claim = wake.claim
        reason = f"wake failed: {describe(error)}"
        with self._lanes.enter(claim):
            if not self._ledger.is_active(claim):
                return  # its agent has settled it, or it was given up: nothing hangs on this wake any more
            self._troubles.note(claim.agent_id, "wake", reason)
            if wake.outcome and self._ledger.was_heard(claim):
                return  # it was overdue, and is no news: its agent is at it
            if self._ledger.last_word(claim) is not None:
                self._attempts.woken(claim)  # it has reached its agent, whose last word may be with the calendar
            elif not self._ledger.was_told(claim):
                self._attempts.fail(claim, reason)
            else:
                self._give_back_or_condemn(claim, reason, was_woken=True)

    def _overdue(self, wake: Wake, reason: str) -> None:
        """Count a wake that has not returned as failed, unless its agent has reported: then it has reached it.

        Called on the timer's thread, so it neither waits nor sends: what is owed goes out with the next heartbeat.
        """
        claim = wake.claim
        if wake.is_reminder:
            wake.outcome = "failed"
            self._troubles.note(wake.owner, "wake", f"reminder failed: wake_agent {reason}")
            return
        if self._ledger.was_heard(claim):
            wake.outcome = "woken"
            self._attempts.woken(claim, can_wait=True)
            return
        with self._lanes.enter_if_free(claim) as free:
            if free and self._ledger.is_active(claim) and self._ledger.state_of(claim) is ActiveState.WAKING:
                wake.outcome = "failed"
                words = f"wake failed: wake_agent {reason}"
                self._troubles.note(wake.owner, "wake", words)
                if self._ledger.was_told(claim):  # claimed at the calendar: it is given back with the next heartbeat
                    self._ledger.woken(claim)
                    self._ledger.condemn(claim, Sentence(release(claim.slot), words, was_woken=True))
                else:
                    self._attempts.fail(claim, words, can_wait=True)

    # --- silence ----------------------------------------------------------------------------------------------------

    def remind(self, claim: Claim) -> None:
        """Have a silent agent woken once more, for the same attempt."""
        self._crew.submit([Wake(claim, is_reminder=True)])

    def _remind(self, claim: Claim) -> str:
        if not self._lifespan.may_begin or not self._ledger.is_active(claim):
            return "undone"
        if not self._ledger.was_reminded(claim):
            return "undone"  # heard while this was queued
        try:
            self._attempts.remind(claim)
            self._voice.warn("calendar agent is silent", agent=claim.agent_id, slot=claim.ident, reminded=True)
            is_entered = self._wake_agent(claim, reminder=True)
        except JournalError as error:
            self._journal_failed(claim, error)
            self._ledger.put_off(claim)  # nobody is given up who was not reminded
            return "failed"
        except BaseException as error:  # noqa: BLE001 - whatever a host raises, the lease goes on
            self._troubles.note(claim.agent_id, "wake", f"reminder failed: {describe(error)}")
            return "failed"
        self._troubles.clear(claim.agent_id, "wake")
        return "woken" if is_entered else "undone"

    def give_up(self, claim: Claim) -> None:
        """Abort a slot whose agent stayed silent after its reminder too."""
        reason = f"no report within {claim.lease:g} s"
        sentence = Sentence(SlotUpdate(status=SlotStatus.ABORTED), reason, is_expired=True)
        with self._lanes.enter(claim):
            expires_at = self._ledger.expires_at(claim)
            if expires_at is None or expires_at > self._clock.monotonic() or not self._ledger.was_reminded(claim):
                return  # heard at the last moment
            self._voice.warn("calendar slot given up", agent=claim.agent_id, slot=claim.ident, err=sentence.reason)
            if not self._end_by(claim, sentence):
                self._ledger.condemn(claim, sentence)

    # --- giving back ------------------------------------------------------------------------------------------------

    def release(self, claim: Claim, reason: str) -> bool:
        """Give back the slot of an agent that is gone; tell whether it is settled."""
        with self._lanes.enter(claim):
            return not self._ledger.is_active(claim) or self._end_by(claim, Sentence(release(claim.slot), reason))

    def release_if_condemned(self, claim: Claim) -> None:
        """End a slot whose ending has failed before, unless an update of it is under way just now."""
        if self._ledger.condemned(claim) is not None:
            with self._lanes.enter_if_free(claim) as free:
                sentence = self._ledger.condemned(claim)  # its agent may have been heard just now
                if free and sentence is not None and self._ledger.is_active(claim):
                    self._end_by(claim, sentence, is_failed_wake=not sentence.is_expired)

    def _give_back_or_condemn(self, claim: Claim, reason: str, *, was_woken: bool = False) -> None:
        sentence = Sentence(release(claim.slot), reason, was_woken=was_woken)
        if not self._end_by(claim, sentence, is_failed_wake=True):
            self._ledger.woken(claim)
            self._ledger.condemn(claim, sentence)

    def _end_by(self, claim: Claim, sentence: Sentence, *, is_failed_wake: bool = False) -> bool:
        """End a slot by an update of our own, in its lane; tell whether it is settled.

        Where the agent's last word may be with the calendar already, that word is sent again instead. A calendar that
        does not know the agent has nothing to be told.

        Args:
            claim: Which attempt.
            sentence: By which update, and why.
            is_failed_wake: Whether it is tried again after a rest, once the slot is deferred.
        """
        last_word = self._ledger.last_word(claim)
        update = last_word or sentence.update
        is_expired = sentence.is_expired and last_word is None
        told: SlotUpdate | None = update
        is_tried_again = is_failed_wake and not update.status.is_terminal
        ended = {"status": SlotStatus.ABORTED} if is_tried_again else {}  # this attempt is over, its slot is not
        self._attempts.annotate(claim, update.status, reason=sentence.reason, is_expired=is_expired, **ended)
        try:
            self._updates.push(claim, update)
        except CalendarRefusedError as refusal:
            if not is_agent_unknown(refusal):
                return not self._ledger.is_active(claim)
            told = None
        except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
            return False
        if is_tried_again:
            self._attempts.fail(claim, sentence.reason)
        else:
            self._attempts.settle(claim, update.status, reason=sentence.reason, update=told, is_expired=is_expired)
        return True

    def settle_as_listed(self, claim: Claim, status: SlotStatus, reason: str = "") -> bool:
        """Settle an active slot by what the calendar says, unless an update of it is under way; tell whether it did."""
        with self._lanes.enter_if_free(claim) as free:
            if not free:
                return False
            reason = reason or f"the calendar lists it as {status}"
            return self._attempts.settle(claim, status, reason=reason) is not None

    # --- after a restart --------------------------------------------------------------------------------------------

    def find_again(self, claim: Claim, *, asleep: str) -> Wake | None:
        """Go on with an attempt that was found again, with the first answer of its agent's calendar.

        One whose wake was not entered is woken, as soon as its agent may be. Any other is followed, if the calendar
        still gives it to us.
        """
        missed = missed_by(claim.slot, self._clock.now(), self._grace) if self._ledger.awaits_wake(claim) else ""
        if missed and self._ledger.may_be_at_work(claim):
            self._ledger.let_be(claim)  # it is too late to wake, and not too late for a report
        elif missed:
            self._end_found(claim, f"missed: {missed}")
            return None
        if self._ledger.awaits_wake(claim):
            may_wake = not asleep and not self.hindrance(claim.agent_id) and not self._ledger.is_missing(claim)
            if may_wake and self._ledger.take_wake(claim, self._clock.monotonic()):
                return self._submit(claim)
            return None
        if self._ledger.is_found(claim):
            self._confirm(claim)
        return None

    def _end_found(self, claim: Claim, reason: str) -> None:
        with self._lanes.enter_if_free(claim) as free:
            if free and self._ledger.is_active(claim):
                self._end_by(claim, Sentence(skip(claim.slot), reason))

    def _confirm(self, claim: Claim) -> None:
        with self._lanes.enter_if_free(claim) as free:
            if not free or not self._ledger.is_active(claim):
                return
            try:
                is_ours = self._updates.claim(claim, wakes=False)
            except CalendarRefusedError as refusal:
                self._ledger.confirm(claim)  # it is over, or gone: the next update, or the day, tells which
                self._troubles.note(claim.agent_id, "update", refusal)
                return
            except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
                return  # the next heartbeat asks again
            self._ledger.confirm(claim)
            self._voice.info("calendar attempt found again", agent=claim.agent_id, slot=claim.ident, ours=is_ours)
            if not is_ours:
                self._attempts.settle(claim, SlotStatus.ABORTED, reason=ANOTHER_HAS_IT)

    # --- the crew's doors -------------------------------------------------------------------------------------------

    def staff(self) -> None:
        """Look again for threads for wakes that wait for one."""
        self._crew.staff()

    def hindrance(self, agent_id: str) -> str:
        """Say why an agent should not be woken now; empty where nothing is against it."""
        if self.is_waking(agent_id):
            return "its last wake has not returned"
        return self._crew.hindrance(agent_id)

    def is_waking(self, agent_id: str) -> bool:
        """Tell whether an agent's wake has not returned, and has time to: no other is entered beside it."""
        return self._crew.is_at_work_for(agent_id)

    def wait_for(self, wakes: Iterable[Wake], timeout: float) -> None:
        """Wait until some wakes have ended, at most ``timeout`` seconds."""
        left = timeout
        while left > 0 and (owners := {wake.owner for wake in wakes if not wake.outcome}):
            # A wake that is still queued has no thread: then any that ends brings it closer.
            tasks = self._crew.tasks(owners) or self._crew.tasks()
            if not tasks:
                return
            left = self._runner.wait(tasks, left)

    def wait(self, timeout: float) -> float:
        """Wait until nothing is under way, at most ``timeout`` seconds; return the seconds left."""
        return self._crew.wait(timeout)

    def close(self) -> None:
        """Enter no more wakes; those that were queued are undone."""
        for wake in self._crew.close():
            self._undo(wake)

    def _undo(self, wake: Wake) -> None:
        if not wake.is_reminder:
            self._unclaim(wake.claim)
        wake.outcome = "undone"

    @property
    def under_way(self) -> int:
        """How many wakes are with the host."""
        return self._crew.busy

    @property
    def abandoned(self) -> int:
        """How many threads are stuck with the host."""
        return self._crew.abandoned


def _text(message: object) -> str:
    if not isinstance(message, str):
        raise HostError(f"the message for a wake is a string, not {type(message).__name__}")
    return message
