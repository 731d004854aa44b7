"""From a chosen slot to an agent at work: claim, wake, tell the calendar."""

import inspect
import random
from collections.abc import Callable, Iterable

from harborcal.errors import CalendarRefusedError, HostError
from harborcal.host import Host, WakeRequest
from harborcal.ledger import Claim
from harborcal.model import ActiveState, Slot, SlotStatus, SlotUpdate
from harborcal.policy import describe, is_agent_unknown, release
from harborcal.scheduler.context import Context
from harborcal.scheduler.crew import Crew
from harborcal.scheduler.reports import AttemptReport, Reports
from harborcal.scheduler.updates import Updates

MessageBuilder = Callable[[Slot], str]


class Wake:
    """One wake on its way to the host. ``outcome`` is ``woken``, ``failed`` or ``undone`` at its end, empty before."""

    __slots__ = ("claim", "outcome")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
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
    ) -> None:
        self._host = host
        self._updates = updates
        self._reports = reports
        self._message = message
        self._randomness = randomness
        self._runner = context.runner
        self._ledger = context.ledger
        self._lanes = context.lanes
        self._clock = context.clock
        self._place = context.place
        self._troubles = context.troubles
        self._lifespan = context.lifespan
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
        now, at = self._clock.now(), self._clock.monotonic()
        claim = self._ledger.claim(agent_id, slot, asked=asked, now=now, at=at, wake_id=self._new_id())
        if claim is None:
            return None
        wake = Wake(claim)
        if not self._crew.submit([wake]):
            self._ledger.unclaim(claim)
            return None
        return wake

    def take_up(self, agent_id: str, slot: Slot, *, asked: int) -> bool:
        """Follow a slot that the calendar calls ongoing or paused, without a wake; tell whether it was free."""
        now, at = self._clock.now(), self._clock.monotonic()
        claim = self._ledger.take_up(agent_id, slot, asked=asked, now=now, at=at, wake_id=self._new_id())
        if claim is None:
            return False
        with self._lanes.enter_if_free(claim) as free:
            if not free or self._is_ours(claim):
                return True  # where it is not free, its agent is reporting already
            self._ledger.unclaim(claim)
            return False

    def _is_ours(self, claim: Claim) -> bool:
        """Ask a calendar that several schedulers share for a slot that is under way."""
        try:
            return self._updates.claim(claim, wakes=False)
        except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
            return False  # the next heartbeat lists it again

    def _new_id(self) -> str:
        return f"{self._randomness.getrandbits(128):032x}"

    def _enter(self, wake: Wake) -> None:
        outcome = self._attempt(wake.claim)
        # Only now, with everything told: whoever waits for the wake waits for its update too.
        wake.outcome = wake.outcome or outcome

    def _attempt(self, claim: Claim) -> str:
        """Wake the agent, then tell the calendar that the slot is ongoing; return the wake's outcome."""
        if not self._lifespan.may_begin or not self._ledger.is_active(claim):
            self._ledger.unclaim(claim)  # or it was settled while the wake was queued
            return "undone"
        if not self._claim(claim) or not self._ledger.is_active(claim):
            return "undone"  # another one has it; or its agent was quicker and has settled it
        try:
            self._wake_agent(claim)
        except BaseException as error:  # noqa: BLE001 - whatever a host raises, the wake has failed
            self._failed(claim, error)
            return "failed"
        self._woken(claim)
        return "woken"

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
            except BaseException as error:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
                if self._ledger.was_told(claim):
                    self._give_back_or_condemn(claim, f"claim failed: {describe(error)}")
                    return False
            self._ledger.unclaim(claim)
            return False

    def _wake_agent(self, claim: Claim) -> None:
        with self._place.inside("wake"):
            message = self._message(claim.slot)
            if not isinstance(message, str):
                raise HostError(f"the message for a wake is a string, not {type(message).__name__}")
            request = WakeRequest(
                agent_id=claim.agent_id,
                message=message,
                source=f"calendar:{claim.ident}",
                slot=claim.slot,
                attempt=claim.attempt,
                wake_id=claim.wake_id,
                report=AttemptReport(claim, self._reports),
            )
            returned = self._host.wake_agent(request)
        if inspect.iscoroutine(returned):
            returned.close()
            raise HostError("wake_agent is a coroutine function: harborcal's hosts are synchronous")

    def _woken(self, claim: Claim) -> None:
        with self._lanes.enter(claim):
            if not self._ledger.woken(claim):
                return
            self._troubles.clear(claim.agent_id, "wake")
            try:
                self._updates.push_owed(claim)
            except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
                return  # the next heartbeat sends it again

    def _failed(self, claim: Claim, error: BaseException) -> None:
        reason = f"wake failed: {describe(error)}"
        with self._lanes.enter(claim):
            if not self._ledger.is_active(claim):
                return  # its agent has settled it, or it was given up: nothing hangs on this wake any more
            self._troubles.note(claim.agent_id, "wake", reason)
            if self._ledger.last_word(claim) is not None:
                self._ledger.woken(claim)  # it has reached its agent, whose last word may be with the calendar
            elif not self._ledger.was_told(claim):
                self._settle_failed(claim, reason)
            else:
                self._give_back_or_condemn(claim, reason)

    def _settle_failed(self, claim: Claim, reason: str) -> None:
        self._ledger.wake_failed(claim, reason, now=self._clock.now(), at=self._clock.monotonic())

    def _overdue(self, wake: Wake, reason: str) -> None:
        """Count a wake that has not returned as failed, unless its agent has reported: then it has reached it.

        Called on the timer's thread, so it neither waits nor sends: what is owed goes out with the next heartbeat.
        """
        claim = wake.claim
        if self._ledger.was_heard(claim):
            wake.outcome = "woken"
            self._ledger.woken(claim)
            return
        with self._lanes.enter_if_free(claim) as free:
            if free and self._ledger.is_active(claim) and self._ledger.state_of(claim) is ActiveState.WAKING:
                wake.outcome = "failed"
                words = f"wake failed: wake_agent {reason}"
                self._troubles.note(wake.owner, "wake", words)
                if self._ledger.was_told(claim):  # claimed at the calendar: it is given back with the next heartbeat
                    self._ledger.woken(claim)
                    self._ledger.condemn(claim, words)
                else:
                    self._settle_failed(claim, words)

    # --- giving back ------------------------------------------------------------------------------------------------

    def release(self, claim: Claim, reason: str) -> bool:
        """Give back the slot of an agent that is gone; tell whether it is settled."""
        with self._lanes.enter(claim):
            return not self._ledger.is_active(claim) or self._give_back(claim, reason, retry=False)

    def release_if_condemned(self, claim: Claim) -> None:
        """Give back a slot whose giving back has failed before, unless an update of it is under way just now."""
        reason = self._ledger.condemned(claim)
        if reason:
            with self._lanes.enter_if_free(claim) as free:
                if free and self._ledger.is_active(claim):
                    self._give_back(claim, reason, retry=True)

    def _give_back_or_condemn(self, claim: Claim, reason: str) -> None:
        if not self._give_back(claim, reason, retry=True):
            self._ledger.woken(claim)
            self._ledger.condemn(claim, reason)

    def _give_back(self, claim: Claim, reason: str, *, retry: bool) -> bool:
        """Undo what the calendar was told of a slot, in its lane; tell whether it is settled.

        Where the agent's last word may be with the calendar already, that word is sent again instead. A calendar that
        does not know the agent has nothing to be told.

        Args:
            claim: Which attempt.
            reason: Why it is given back.
            retry: Whether this is a failed wake, which is tried again after a rest once the slot is deferred.
        """
        update = self._ledger.last_word(claim) or release(claim.slot)
        told: SlotUpdate | None = update
        delivered = True
        try:
            delivered = self._updates.push(claim, update).delivered
        except CalendarRefusedError as refusal:
            if not is_agent_unknown(refusal):
                return not self._ledger.is_active(claim)
            told = None
        except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
            return False
        if retry and not update.status.is_terminal:
            self._settle_failed(claim, reason)
        else:
            now = self._clock.now()
            self._ledger.settle(claim, update.status, now=now, reason=reason, update=told, delivered=delivered)
        return True

    def settle_as_listed(self, claim: Claim, status: SlotStatus) -> None:
        """Settle an active slot that the calendar lists as over, unless an update of it is under way just now."""
        with self._lanes.enter_if_free(claim) as free:
            if free:
                reason = f"the calendar lists it as {status}"
                self._ledger.settle(claim, status, now=self._clock.now(), reason=reason)

    # --- the crew's doors -------------------------------------------------------------------------------------------

    def staff(self) -> None:
        """Look again for threads for wakes that wait for one."""
        self._crew.staff()

    def hindrance(self, agent_id: str) -> str:
        """Say why an agent should not be woken now; empty where nothing is against it."""
        return self._crew.hindrance(agent_id)

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
        self._ledger.unclaim(wake.claim)
        wake.outcome = "undone"

    @property
    def under_way(self) -> int:
        """How many wakes are with the host."""
        return self._crew.busy

    @property
    def abandoned(self) -> int:
        """How many threads are stuck with the host."""
        return self._crew.abandoned
