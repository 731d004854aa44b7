"""Who is doing what, and what was done.

State under one lock and nothing else: no input or output, no callbacks, no clock. Whoever calls says what time it is.
Between reading and writing the world may change, so every write names the claim it means and is refused when that claim
is no longer the agent's.
"""

import dataclasses
import datetime as dt
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence

from harborcal.ledger.claim import Claim, Sentence, Settled, offset
from harborcal.model import (
    ActiveSlot,
    ActiveState,
    HistoryEntry,
    Slot,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    Standing,
    UpdateReceipt,
)

SETTLED_MEMORY = 4_096
"""How many settled slots are remembered beyond the history, so that a stale answer does not start one again."""


FORGET_FAILURES_AFTER = 1_200.0
"""Seconds after which the failed wakes of a slot that is no longer listed are forgotten."""


LOOKS = 16
"""How many of them are passed over at once because the calendar has not taken their last update."""

_DAY = dt.timedelta(days=1)

STALE_FOR = 120.0
"""Seconds after a slot's settlement in which a calendar that lists it as pending is believed to be behind."""


@dataclasses.dataclass(slots=True)
class _Failures:
    """How often a slot's wake failed in a row, when last (monotonic), and which attempt that was."""

    count: int
    failed_at: float
    attempt: int


class Ledger:
    """The active slots and the history, guarded by one lock. Every method is atomic and returns at once."""

    def __init__(self, history_size: int) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, Claim] = {}  # guarded by _lock; by agent
        self._held: dict[SlotKey, Claim] = {}  # guarded by _lock; by every key of every active claim
        self._history: deque[HistoryEntry] = deque(maxlen=history_size)  # guarded by _lock
        self._settled: OrderedDict[SlotKey, Settled] = OrderedDict()  # guarded by _lock; oldest first
        # Guarded by _lock; the last attempt at slots that were opened again, the latest last.
        self._numbers: OrderedDict[SlotKey, int] = OrderedDict()
        self._days: dict[str, set[dt.date]] = {}  # guarded by _lock; by agent, the dates of what was begun
        self._failures: dict[str, dict[SlotKey, _Failures]] = {}  # guarded by _lock; by agent and slot
        self._sequence = 0  # guarded by _lock; orders questions to the calendar and what it took

    # --- asking the calendar ----------------------------------------------------------------------------------------

    def ask(self) -> int:
        """Mark the moment of a question to the calendar; answers are only as new as their question."""
        with self._lock:
            self._sequence += 1
            return self._sequence

    def standings(self, agent_id: str, slots: Sequence[Slot], *, asked: int, at: float) -> list[Standing | None]:
        """Tell what is known of each listed slot, and forget what the answer has overtaken.

        Args:
            agent_id: Whose slots were listed.
            slots: What was listed.
            asked: The question's mark (see `ask`).
            at: Monotonic now.
        """
        # Without the lock where nothing is known: this is the path of every idle heartbeat.
        if agent_id not in self._failures and not self.knows_any(slots):
            return [None] * len(slots)
        with self._lock:
            standings = [self._standing(agent_id, slot, asked, at) for slot in slots]
            self._prune_failures(agent_id, slots, at)
        return standings

    def knows_any(self, slots: Sequence[Slot]) -> bool:
        """Look without the lock whether some slot is held, or remembered as settled; mostly none is.

        A slot that is just being settled may be missed: then its claim, which looks under the lock, is refused.
        """
        if not self._held and not self._settled:
            return False
        return any(key in self._held or key in self._settled for slot in slots for key in _keys(slot))

    def _standing(self, agent_id: str, slot: Slot, asked: int, at: float) -> Standing | None:
        if slot.id is None and slot.virtual_id is None:
            return None
        keys = slot.keys
        settled = self._why_settled(slot, keys, asked, at)
        holder = next((self._held[key] for key in keys if key in self._held), None)
        failures = self._failures.get(agent_id, {}).get(keys[0])
        if not settled and holder is None and failures is None:
            return None
        return Standing(
            settled=settled,
            taken=f"held by {holder.agent_id}" if holder is not None else "",
            failures=failures.count if failures is not None else 0,
            failed_at=failures.failed_at if failures is not None else 0.0,
        )

    def _why_settled(self, slot: Slot, keys: tuple[SlotKey, ...], asked: int, at: float) -> str:
        settled = next((self._settled[key] for key in keys if key in self._settled), None)
        if settled is None:
            return ""
        if not settled.delivered:
            return "its last update is still on its way"
        if asked <= settled.taken_at:
            return "the answer is older than its settlement"
        why = _why_refused(settled, slot) if settled.refusal else _why_heedless(settled, slot, at)
        if not why and not slot.status.is_terminal:
            # The calendar lists it anew, in full knowledge of our last word: it was opened again on purpose.
            self._forget_settled(settled)
        return why

    def _prune_failures(self, agent_id: str, slots: Sequence[Slot], at: float) -> None:
        """Forget old failures of slots that are no longer listed; young ones stay, as one odd answer proves nothing."""
        failures = self._failures.get(agent_id)
        if failures is None:
            return
        listed = {key for slot in slots for key in _keys(slot)}
        for key, failure in list(failures.items()):
            if key not in listed and key not in self._held and at - failure.failed_at > FORGET_FAILURES_AFTER:
                del failures[key]
        if not failures:
            del self._failures[agent_id]

    def unheeded(self, slots: Sequence[Slot], *, asked: int, at: float) -> list[Settled]:
        """Find settled slots that an answer newer than their last update lists as if that had never come."""
        found = []
        with self._lock:
            for slot in slots:
                if any(key in self._held for key in _keys(slot)):
                    continue  # another attempt is at it
                settled = next((self._settled[key] for key in _keys(slot) if key in self._settled), None)
                if settled is None or settled.update is None or not settled.update.status.is_terminal:
                    continue
                if not settled.delivered or settled.refusal or asked <= settled.taken_at:
                    continue
                is_old = at - settled.settled_at >= STALE_FOR
                is_forgotten = slot.status.is_pending and is_old and _is_as_before(slot, settled.claim.slot)
                if slot.status in {SlotStatus.ONGOING, SlotStatus.PAUSED} or is_forgotten:
                    found.append(settled)
        return found

    # --- claiming ---------------------------------------------------------------------------------------------------

    def claim(
        self,
        agent_id: str,
        slot: Slot,
        *,
        asked: int,
        now: dt.datetime,
        at: float,
        wake_id: str,
        attempt: int = 1,
        lease: float | None = None,
    ) -> Claim | None:
        """Take a slot for its agent; None where the agent or the slot is no longer free.

        Args:
            agent_id: For whom.
            slot: Which slot.
            asked: The mark of the question whose answer lists it.
            now: The wall's time.
            at: Monotonic now.
            wake_id: What will name the wake.
            attempt: Which attempt it is at least; failed wakes in a row count too.
            lease: Seconds that its agent may stay silent; None for ever.
        """
        with self._lock:
            number = self._next_number(agent_id, slot, attempt)
            claim = self._admit(agent_id, slot, asked=asked, now=now, at=at, wake_id=wake_id, attempt=number)
            if claim is not None:
                claim.lease = lease
            return claim

    def take_up(
        self,
        agent_id: str,
        slot: Slot,
        *,
        asked: int,
        now: dt.datetime,
        at: float,
        wake_id: str,
        attempt: int = 1,
        lease: float | None = None,
    ) -> Claim | None:
        """Take a slot that the calendar calls ongoing or paused, without a wake; None where that is too late.

        Arguments are those of `claim`.
        """
        with self._lock:
            number = self._next_number(agent_id, slot, attempt)
            claim = self._admit(agent_id, slot, asked=asked, now=now, at=at, wake_id=wake_id, attempt=number)
            if claim is None:
                return None
            claim.lease = lease
            claim.taken_up = True
            claim.owed = ()
            claim.started_at = _started_at(slot, now)
            claim.begun = at - (now - claim.started_at).total_seconds()
            claim.state = ActiveState.ONGOING
            if slot.status is SlotStatus.PAUSED:
                claim.state = ActiveState.PAUSED
                claim.paused_at = now
                claim.resting_since = at
                claim.paused_offset = claim.offset
            return claim

    def _next_number(self, agent_id: str, slot: Slot, least: int) -> int:
        """Count on from the last attempt that is remembered, whether its wake failed or it was settled."""
        failures = self._failures.get(agent_id, {}).get(slot.key)
        settled = [self._settled[key].claim.attempt for key in slot.keys if key in self._settled]
        opened_again = [self._numbers[key] for key in slot.keys if key in self._numbers]
        failed = [] if failures is None else [failures.attempt]
        return max([least, *(number + 1 for number in (*settled, *opened_again, *failed))])

    def _admit(
        self, agent_id: str, slot: Slot, *, asked: int, now: dt.datetime, at: float, wake_id: str, attempt: int
    ) -> Claim | None:
        keys = slot.keys
        if agent_id in self._active or any(key in self._held for key in keys):
            return None
        if self._why_settled(slot, keys, asked, at):
            return None
        self._sequence += 1
        claim = Claim(agent_id, slot, attempt=attempt, wake_id=wake_id, now=now, at=at, born=self._sequence)
        self._active[agent_id] = claim
        for key in keys:
            self._held[key] = claim
        self._begin_day(claim)
        return claim

    def _begin_day(self, claim: Claim) -> None:
        date = claim.slot.date
        if date is not None:
            days = {*self._days.get(claim.agent_id, ()), date}
            latest = max(days)
            self._days[claim.agent_id] = {day for day in days if day == date or latest - day <= _DAY}

    def unclaim(self, claim: Claim) -> bool:
        """Undo a claim whose wake was never entered; tell whether it was still active."""
        with self._lock:
            is_active = self._active.get(claim.agent_id) is claim
            if is_active:
                self._drop(claim)
            return is_active

    def _drop(self, claim: Claim) -> None:
        del self._active[claim.agent_id]
        for key in claim.keys:
            del self._held[key]

    # --- while it is active -----------------------------------------------------------------------------------------

    def active_of(self, agent_id: str) -> Claim | None:
        """Tell what an agent holds."""
        return self._active.get(agent_id)  # a lone read, which is atomic: every heartbeat makes two

    def is_active(self, claim: Claim) -> bool:
        """Tell whether the claim is still its agent's."""
        with self._lock:
            return self._active.get(claim.agent_id) is claim

    def state_of(self, claim: Claim) -> ActiveState:
        """Tell what the slot is doing."""
        with self._lock:
            return claim.state

    def key_of(self, claim: Claim) -> SlotKey:
        """Tell the key that updates go to now."""
        with self._lock:
            return claim.key

    def began(self, claim: Claim) -> dt.datetime:
        """Tell when the slot was claimed, or its work began where it was taken up."""
        with self._lock:
            return claim.started_at

    def means(self, claim: Claim, key: SlotKey) -> bool:
        """Tell whether a key names the claim's slot."""
        with self._lock:
            return key in claim.keys

    def lists(self, claim: Claim, slot: Slot) -> bool:
        """Tell whether a listed slot is the claim's, by any of their keys."""
        with self._lock:
            return not claim.keys.isdisjoint(_keys(slot))

    def owed_of(self, claim: Claim) -> tuple[SlotUpdate, ...]:
        """Tell which updates the calendar has not taken yet, in their order."""
        with self._lock:
            return claim.owed

    def owes(self, claim: Claim) -> bool:
        """Tell whether the calendar is owed an update that could go out now: not before the wake has worked."""
        with self._lock:
            return bool(claim.owed) and claim.state is not ActiveState.WAKING and claim.last_word is None

    def was_told(self, claim: Claim) -> bool:
        """Tell whether the calendar took any update of this attempt, or may have."""
        with self._lock:
            return claim.last_update is not None or claim.uncertain is not None

    def last_word(self, claim: Claim) -> SlotUpdate | None:
        """Tell the terminal update that went out with an unknown outcome, if one did.

        Nothing else may be sent behind it on the scheduler's own account: the calendar may be done with the slot.
        """
        with self._lock:
            return claim.last_word

    def condemn(self, claim: Claim, sentence: Sentence) -> None:
        """Have the slot ended as soon as the calendar answers again; not for a silence that is over by now."""
        with self._lock:
            if not sentence.is_expired or claim.reminded or claim.last_word is not None:
                claim.condemned = sentence

    def condemned(self, claim: Claim) -> Sentence | None:
        """Tell how the slot is still to be ended; None where it is not."""
        with self._lock:
            return claim.condemned

    def was_tried(self, claim: Claim, update: SlotUpdate) -> bool:
        """Tell whether the same update was sent before, with an unknown outcome."""
        with self._lock:
            return claim.uncertain is not None and claim.uncertain.status is update.status

    def hear(self, claim: Claim, now: dt.datetime, at: float) -> bool:
        """Record a sign of life of the agent, which renews the lease; tell whether the claim is still active."""
        with self._lock:
            if self._active.get(claim.agent_id) is not claim:
                return False
            if claim.heard_at is None and claim.state is ActiveState.WAKING:
                claim.written_at = -math.inf  # news however soon: after a restart it tells that the wake has arrived
            claim.heard_at = now
            claim.quiet_since = at
            claim.reminded = False
            if claim.may_be_woken:
                # Its wake has reached it before we died: to repeat it would wake it twice, and undo what it reports.
                claim.awaits_wake = claim.may_be_woken = False
                claim.is_reached = True
                claim.state = ActiveState.ONGOING
            if claim.condemned is not None and _is_lifted_by_a_sign_of_life(claim.condemned, claim):
                claim.condemned = None
            return True

    def was_heard(self, claim: Claim) -> bool:
        """Tell whether the agent has given a sign of life."""
        with self._lock:
            return claim.heard_at is not None

    def woken(self, claim: Claim) -> bool:
        """Record that the wake has worked; tell whether the claim is still active."""
        with self._lock:
            if self._active.get(claim.agent_id) is not claim:
                return False
            self._forget_failures(claim)
            if claim.state is ActiveState.WAKING:
                claim.state = ActiveState.ONGOING
            return True

    def pause(self, claim: Claim, reason: str, now: dt.datetime, at: float) -> None:
        """Record that the work rests."""
        with self._lock:
            claim.state = ActiveState.PAUSED
            claim.paused_at = now
            claim.resting_since = at
            claim.paused_offset = offset(now, at)
            claim.pause_reason = reason

    def resume(self, claim: Claim, at: float) -> None:
        """Record that the work goes on; the pause is taken out of the time worked."""
        with self._lock:
            claim.state = ActiveState.ONGOING
            if claim.paused_at is not None:
                claim.rested += at - claim.resting_since
            claim.paused_at = None
            claim.pause_reason = ""

    # --- leases -----------------------------------------------------------------------------------------------------

    def expires_at(self, claim: Claim) -> float | None:
        """Tell when an agent will have been silent for too long (monotonic); None where it may be silent for ever."""
        with self._lock:
            return _expires_at(claim) if self._active.get(claim.agent_id) is claim else None

    def was_reminded(self, claim: Claim) -> bool:
        """Tell whether its agent was reminded, and has been silent since."""
        with self._lock:
            return claim.reminded

    def remind(self, claim: Claim, at: float) -> bool:
        """Begin the second and last stretch of a lease; False where its agent was heard meanwhile, or is done."""
        with self._lock:
            expires_at = _expires_at(claim)
            is_active = self._active.get(claim.agent_id) is claim
            if not is_active or claim.reminded or expires_at is None or expires_at > at:
                return False
            claim.reminded = True
            claim.quiet_since = at
            claim.written_at = at - (claim.lease or 0.0)  # the next sign of life is news
            return True

    def put_off(self, claim: Claim) -> None:
        """Undo `remind`: the agent could not be reminded, and will be a lease later."""
        with self._lock:
            claim.reminded = False

    def is_news(self, claim: Claim, at: float) -> bool:
        """Tell whether a sign of life is worth being written down: a quarter of the lease has passed since the last."""
        with self._lock:
            if claim.lease is not None and at - claim.written_at < claim.lease / 4:
                return False
            claim.written_at = at
            return True

    def rested(self, claim: Claim) -> float:
        """Tell for how many seconds the work has rested, in pauses that are over."""
        with self._lock:
            return claim.rested

    def worked(self, claim: Claim, at: float) -> float:
        """Tell for how many seconds the agent has worked: since the claim, without pauses."""
        with self._lock:
            resting = at - claim.resting_since if claim.paused_at is not None else 0.0
            return at - claim.begun - claim.rested - resting

    def follow_clock(self, now: dt.datetime, at: float) -> list[tuple[Claim, dt.timedelta]]:
        """Carry a jump of the wall clock into the instants of active slots, each by what it has not seen yet.

        Returns:
            The active attempts, and by how much the instants of each were moved.
        """
        ahead = offset(now, at)
        with self._lock:
            moved = []
            for claim in self._active.values():
                moved.append((claim, dt.timedelta(seconds=ahead - claim.offset)))
                claim.started_at += moved[-1][1]
                claim.offset = ahead
                if claim.paused_at is not None:
                    claim.paused_at += dt.timedelta(seconds=ahead - claim.paused_offset)
                    claim.paused_offset = ahead
            return moved

    def took(self, claim: Claim, update: SlotUpdate, receipt: UpdateReceipt) -> None:
        """Record that the calendar took an update, and the slot's key from now on."""
        with self._lock:
            self._sequence += 1
            claim.taken_at = self._sequence
            claim.last_update = update
            claim.uncertain = None
            claim.last_word = None
            claim.owed = tuple(owed for owed in claim.owed if owed is not update)
            if not receipt.delivered:
                claim.accepted = receipt.number
            self._learn(claim, receipt.slot)

    def _learn(self, claim: Claim, key: SlotKey) -> None:
        """Know the slot by another key from now on, unless a confused calendar names one that somebody else holds."""
        if self._held.get(key, claim) is not claim:
            return
        claim.key = key
        claim.keys.add(key)
        if self._active.get(claim.agent_id) is claim:
            self._held[key] = claim

    def lost(self, claim: Claim, update: SlotUpdate) -> None:
        """Record that an update went out and its outcome is unknown."""
        with self._lock:
            claim.uncertain = update
            if update.status.is_terminal:
                claim.last_word = update

    def owe_again(self, claim: Claim, slots: Sequence[Slot], *, asked: int) -> None:
        """Owe the calendar again what it has forgotten: it lists as pending what we had told it is under way."""
        with self._lock:
            if claim.owed or claim.last_word or claim.last_update is None or asked <= claim.taken_at:
                return
            if claim.is_on_its_way:
                return
            if any(slot.status.is_pending and not claim.keys.isdisjoint(_keys(slot)) for slot in slots):
                first = () if claim.last_update.started_at is not None else (claim.first_update,)
                claim.owed = (*first, claim.last_update)

    # --- settling ---------------------------------------------------------------------------------------------------

    def settle(
        self,
        claim: Claim,
        status: SlotStatus,
        *,
        now: dt.datetime,
        at: float,
        reason: str = "",
        summary: str = "",
        update: SlotUpdate | None = None,
        refusal: str = "",
        is_expired: bool = False,
    ) -> HistoryEntry | None:
        """End a claim and enter it into the history; None where it had ended before.

        Args:
            claim: Which attempt.
            status: How it ended.
            now: The wall's time.
            at: Monotonic now.
            reason: Why, where it did not end well.
            summary: What the agent said of it.
            update: The update that told the calendar, if any did.
            refusal: The calendar's refusal, where that is what ended it: while the calendar lists the slot unchanged
                it is then not started again.
            is_expired: Whether its agent fell silent, and may yet report late.
        """
        with self._lock:
            if self._active.get(claim.agent_id) is not claim:
                return None
            self._drop(claim)
            self._forget_failures(claim)
            self._sequence += 1
            duration = update.actual_duration if update is not None else None
            entry = dataclasses.replace(_entry(claim, status, now, reason), summary=summary, actual_duration=duration)
            settled = Settled(
                claim,
                update,
                delivered=not claim.is_on_its_way,
                taken_at=self._sequence,
                at=at,
                entry=entry,
                is_expired=is_expired,
            )
            settled.refusal = refusal
            self._remember(settled)
            self._history.append(entry)
            return entry

    def wake_failed(self, claim: Claim, reason: str, *, now: dt.datetime, at: float) -> HistoryEntry | None:
        """End a claim whose wake failed, so that its slot is tried again later; None where it had ended before.

        Repeated failures of one slot count up in one history entry. The slot is not taken again from an answer that is
        older than this, nor while what the calendar was told of it is still on its way.
        """
        with self._lock:
            if self._active.get(claim.agent_id) is not claim:
                return None
            self._drop(claim)
            self._sequence += 1
            self._remember(Settled(claim, None, delivered=not claim.is_on_its_way, taken_at=self._sequence, at=at))
            failures = self._failures.setdefault(claim.agent_id, {})
            count = failures[claim.slot.key].count + 1 if claim.slot.key in failures else 1
            failures[claim.slot.key] = _Failures(count, at, claim.attempt)
            entry = _entry(claim, SlotStatus.ABORTED, now, reason)
            if count > 1 and (earlier := self._earlier_failure(claim)) is not None:
                self._history.remove(earlier)
                entry = dataclasses.replace(entry, count=earlier.count + 1)
            self._history.append(entry)
            return entry

    def _earlier_failure(self, claim: Claim) -> HistoryEntry | None:
        for entry in reversed(self._history):
            if entry.agent_id == claim.agent_id and entry.key in claim.keys:
                return entry
        return None

    def _forget_failures(self, claim: Claim) -> None:
        failures = self._failures.get(claim.agent_id)
        if failures is not None:
            failures.pop(claim.slot.key, None)
            if not failures:
                del self._failures[claim.agent_id]

    def _remember(self, settled: Settled) -> None:
        for key in settled.claim.keys:
            self._settled.pop(key, None)
            self._settled[key] = settled
        looks = LOOKS
        while len(self._settled) > SETTLED_MEMORY and looks:
            oldest = next(iter(self._settled))
            if self._settled[oldest].delivered:
                del self._settled[oldest]
            else:  # what the calendar has not taken yet is never forgotten
                self._settled.move_to_end(oldest)
                looks -= 1

    def _forget_settled(self, settled: Settled) -> None:
        for key in [key for key in settled.claim.keys if self._settled.get(key) is settled]:
            del self._settled[key]
            self._numbers[key] = settled.claim.attempt
            self._numbers.move_to_end(key)
        while len(self._numbers) > SETTLED_MEMORY:
            self._numbers.popitem(last=False)

    def resent(
        self,
        settled: Settled,
        *,
        at: float,
        receipt: UpdateReceipt | None = None,
        error: str = "",
        final: bool = False,
    ) -> None:
        """Record how sending a settled slot's last update again ended; what fails or does not help backs off."""
        with self._lock:
            settled.failures += 1
            settled.failed_at = at
            if final:
                settled.refusal = error
            elif not error:
                self._sequence += 1
                settled.taken_at = self._sequence
                settled.settled_at = at
                if receipt is not None and not receipt.delivered:
                    settled.claim.accepted = receipt.number
                    settled.delivered = not settled.claim.is_on_its_way

    # --- reports that come late -------------------------------------------------------------------------------------

    def expired_of(self, agent_id: str, key: SlotKey | None = None, wake_id: str = "") -> Claim | None:
        """Tell which attempt ended because its agent fell silent, and still waits for its report.

        Args:
            agent_id: Whose.
            key: At which slot; None for the agent's latest.
            wake_id: By which wake; empty for any.
        """
        with self._lock:
            if key is not None:
                settled = self._settled.get(key)
            else:
                own = (one for one in self._settled.values() if one.claim.agent_id == agent_id and one.claim.attempt)
                meant = (one for one in own if wake_id in {"", one.claim.wake_id})
                settled = max(meant, key=lambda one: one.claim.born, default=None)
            if settled is None or settled.claim.agent_id != agent_id or wake_id not in {"", settled.claim.wake_id}:
                return None
            return settled.claim if settled.is_expired and not _is_late(settled) else None

    def has_expired(self, claim: Claim) -> bool:
        """Tell whether an attempt ended because its agent fell silent, and still waits for its report."""
        with self._lock:
            settled = self._settled_of(claim)
            return settled is not None and settled.is_expired and not _is_late(settled)

    def undelivered(self, claim: Claim) -> int:
        """Tell the number of the update that ended a slot, while it is on its way; 0 once the calendar has it."""
        with self._lock:
            return claim.accepted if claim.is_on_its_way else 0

    def amend(self, claim: Claim, *, summary: str, update: SlotUpdate | None = None) -> bool:
        """Enter a late report into the history; tell whether there was something to amend.

        Args:
            claim: Which attempt.
            summary: What the agent said.
            update: What the calendar will be told after all, in the place of the update that was to end the slot.
        """
        with self._lock:
            settled = self._settled_of(claim)
            if settled is None or not settled.is_expired or settled.entry is None or _is_late(settled):
                return False
            amended = dataclasses.replace(settled.entry, late=True, summary=summary)
            if update is not None:
                amended = dataclasses.replace(amended, status=update.status, actual_duration=update.actual_duration)
                settled.update = update
            for index, entry in enumerate(self._history):
                if entry is settled.entry:
                    self._history[index] = amended
            settled.entry = amended
            return True

    def _settled_of(self, claim: Claim) -> Settled | None:
        settled = self._settled.get(claim.key)
        return settled if settled is not None and settled.claim is claim else None

    # --- outcomes that come later -----------------------------------------------------------------------------------

    def delivered(self, key: SlotKey, real_key: SlotKey, number: int, *, at: float) -> None:
        """Record that the calendar has taken what was accepted for a slot, up to a number."""
        with self._lock:
            self._sequence += 1
            claim = self._held.get(key)
            if claim is not None:
                claim.arrived = max(claim.arrived, number)
                claim.taken_at = self._sequence
                self._learn(claim, real_key)
            settled = self._settled.get(key)
            if settled is not None:
                settled.claim.arrived = max(settled.claim.arrived, number)
                settled.delivered = not settled.claim.is_on_its_way
                settled.taken_at = self._sequence
                settled.settled_at = at
                settled.claim.keys.add(real_key)
                self._settled[real_key] = settled

    def undeliverable(
        self, key: SlotKey, refusal: str, number: int, *, gentle: bool
    ) -> tuple[Claim | None, Claim | None]:
        """Record that the calendar will never take an update that was accepted for a slot.

        Args:
            key: Which slot.
            refusal: Why.
            number: Which update.
            gentle: Whether it does not end its slot (see `policy.read_refusal`).

        Returns:
            The active claim that hangs on it, and the settled one, where there is one.
        """
        with self._lock:
            self._sequence += 1
            settled = self._settled.get(key)
            if settled is not None:
                settled.claim.arrived = max(settled.claim.arrived, number)
                settled.delivered = not settled.claim.is_on_its_way
                settled.refusal = settled.refusal if gentle else refusal
                settled.taken_at = self._sequence
            claim = self._held.get(key)
            if claim is not None:
                claim.arrived = max(claim.arrived, number)
            return None if gentle else claim, None if settled is None else settled.claim

    # --- after a restart --------------------------------------------------------------------------------------------

    def restore(self, claim: Claim) -> bool:
        """Enter an attempt that was under way before a restart; False where its agent or its slot is taken."""
        with self._lock:
            if claim.agent_id in self._active or any(key in self._held for key in claim.keys):
                return False
            self._sequence += 1
            claim.born = claim.taken_at = self._sequence
            self._active[claim.agent_id] = claim
            for key in claim.keys:
                self._held[key] = claim
                self._settled.pop(key, None)  # of an earlier attempt; the slot was opened again since
            self._begin_day(claim)
            return True

    def restore_settled(self, settled: Settled) -> None:
        """Enter what was settled before a restart."""
        with self._lock:
            self._sequence += 1
            settled.taken_at = settled.claim.born = self._sequence
            if settled.update is not None or settled.refusal or not settled.delivered:
                self._remember(settled)
                self._begin_day(settled.claim)
            if settled.entry is not None:
                earlier = self._earlier_failure(settled.claim) if settled.entry.count > 1 else None
                if earlier is not None:
                    self._history.remove(earlier)
                self._history.append(settled.entry)

    def knows(self, key: SlotKey) -> bool:
        """Tell whether a slot is active, or remembered as settled."""
        with self._lock:
            return key in self._held or key in self._settled

    def take_wake(self, claim: Claim, at: float) -> bool:
        """Take it on oneself to enter the wake of an attempt that was found again; True once for each."""
        with self._lock:
            is_wanted = claim.awaits_wake and self._active.get(claim.agent_id) is claim
            claim.awaits_wake = False
            claim.quiet_since = claim.written_at = at  # its silence begins now
            claim.reminded = False
            return is_wanted

    def wants_wake(self, claim: Claim) -> bool:
        """Tell whether an attempt is still to be woken for: it has not ended, nor is its agent known to be at it."""
        with self._lock:
            return self._active.get(claim.agent_id) is claim and not claim.is_reached

    def await_wake(self, claim: Claim) -> None:
        """Have an attempt that was found again wait for its wake once more: it could not be entered."""
        with self._lock:
            claim.awaits_wake = True

    def awaits_wake(self, claim: Claim) -> bool:
        """Tell whether an attempt was found again before its wake was entered, and still waits for it."""
        with self._lock:
            return claim.awaits_wake

    def is_found(self, claim: Claim) -> bool:
        """Tell whether an attempt was found again after a restart, and its calendar was not asked for it yet."""
        with self._lock:
            return claim.is_found

    def may_be_at_work(self, claim: Claim) -> bool:
        """Tell whether an attempt was found again whose wake may have been entered before."""
        with self._lock:
            return claim.may_be_woken or claim.is_reached

    def let_be(self, claim: Claim) -> None:
        """Enter no wake again for an attempt that was found: its agent may be at it, and its lease decides."""
        with self._lock:
            claim.awaits_wake = claim.may_be_woken = False
            claim.state = ActiveState.ONGOING

    def is_missing(self, claim: Claim) -> bool:
        """Tell whether the latest look at the calendar's day did not show the slot."""
        with self._lock:
            return claim.missing > 0

    def confirm(self, claim: Claim) -> None:
        """Record that the calendar was asked for an attempt that was found again."""
        with self._lock:
            claim.is_found = False

    # --- slots that are not to be woken -----------------------------------------------------------------------------

    def set_aside(self, agent_id: str, slot: Slot, *, asked: int, now: dt.datetime, at: float) -> Claim | None:
        """Keep a slot from being taken while its calendar is told that it is not; None where it is not free.

        Its agent may hold another one meanwhile.
        """
        with self._lock:
            keys = slot.keys
            if any(key in self._held for key in keys) or self._why_settled(slot, keys, asked, at):
                return None
            self._sequence += 1
            claim = Claim(agent_id, slot, attempt=0, wake_id="", now=now, at=at, born=self._sequence)
            for key in keys:
                self._held[key] = claim
            return claim

    def put_back(self, claim: Claim) -> None:
        """Undo `set_aside`."""
        with self._lock:
            for key in claim.keys:
                self._held.pop(key, None)

    def miss(
        self, claim: Claim, update: SlotUpdate, reason: str, *, now: dt.datetime, at: float, refusal: str = ""
    ) -> None:
        """End what was set aside and enter it into the history."""
        with self._lock:
            for key in claim.keys:
                self._held.pop(key, None)
            self._sequence += 1
            entry = dataclasses.replace(_entry(claim, update.status, now, reason), started_at=None)
            delivered = not claim.is_on_its_way
            settled = Settled(claim, update, delivered=delivered, taken_at=self._sequence, at=at, entry=entry)
            settled.refusal = refusal
            self._remember(settled)
            self._history.append(entry)

    def has_days(self, agent_id: str) -> bool:
        """Tell whether an agent has begun something, on whatever date."""
        return agent_id in self._days  # a lone read

    def days_of(self, agent_id: str, *, since: dt.date) -> tuple[dt.date, ...]:
        """Tell on which dates an agent has begun something: the one it is at, and others from a date on."""
        if agent_id not in self._days:  # a lone read; the usual case costs no lock
            return ()
        with self._lock:
            claim = self._active.get(agent_id)
            now = None if claim is None else claim.slot.date
            self._days[agent_id] = {date for date in self._days[agent_id] if date >= since or date == now}
            return tuple(sorted(self._days[agent_id]))

    def looked_for(self, claim: Claim, *, is_there: bool) -> int:
        """Record a look at the calendar's day; tell how often in a row it did not show the slot."""
        with self._lock:
            claim.missing = 0 if is_there else claim.missing + 1
            return claim.missing

    def is_on_its_way(self, claim: Claim) -> bool:
        """Tell whether the calendar may learn more of the slot yet than it has answered: an update is under way."""
        with self._lock:
            return claim.is_on_its_way or claim.uncertain is not None

    def taken_at(self, claim: Claim) -> int:
        """Tell the mark of the last update that the calendar took; questions asked before it know nothing of it."""
        with self._lock:
            return claim.taken_at

    # --- looking ----------------------------------------------------------------------------------------------------

    def sole_agent(self) -> str:
        """Name the agent when exactly one slot is active, else nobody: guessing would end the wrong slot."""
        with self._lock:
            return next(iter(self._active)) if len(self._active) == 1 else ""

    def snapshot(
        self, last_heartbeats: Mapping[str, dt.datetime], *, now: dt.datetime, at: float
    ) -> tuple[tuple[ActiveSlot, ...], tuple[HistoryEntry, ...]]:
        """Copy the active slots, by agent, and the history, in order."""
        with self._lock:
            active = tuple(
                _picture(claim, last_heartbeats.get(agent_id), now, at)
                for agent_id, claim in sorted(self._active.items())
            )
            return active, tuple(self._history)

    def forget(self, agent_id: str) -> None:
        """Forget what was known of an agent that is gone and holds nothing."""
        with self._lock:
            self._failures.pop(agent_id, None)
            self._days.pop(agent_id, None)


def _keys(slot: Slot) -> tuple[SlotKey, ...]:
    return slot.keys if slot.id is not None or slot.virtual_id is not None else ()


def _why_refused(settled: Settled, slot: Slot) -> str:
    """Say why a slot that a refusal has ended stays settled; empty where it was changed since."""
    if settled.slot is None or _same_listing(settled.slot, slot):
        settled.slot = slot
        return settled.refusal
    return ""


def _why_heedless(settled: Settled, slot: Slot, at: float) -> str:
    """Say why a slot stays settled although the calendar lists it; empty where it was opened again."""
    if settled.update is None or not settled.update.status.is_terminal or slot.status.is_terminal:
        return ""
    if not slot.status.is_pending:
        return "listed all the same; its last update is sent again"
    if at - settled.settled_at < STALE_FOR and not _is_surely_new(slot, settled.claim):
        return "settled just now: the calendar may be behind"
    if _is_as_before(slot, settled.claim.slot):
        return "the calendar has forgotten its last update, which is sent again"
    return ""


def _is_as_before(listed: Slot, claimed: Slot) -> bool:
    """Tell whether a slot is surely listed as it was before its claim, as if nothing had been told of it since.

    Calendars note when a slot was changed; and a virtual one becomes real with its first update.
    """
    if listed.updated_at is not None:
        return listed.updated_at == claimed.updated_at
    return listed.id is None and claimed.id is None


def _is_surely_new(listed: Slot, claim: Claim) -> bool:
    """Tell whether a slot surely was changed after its claim.

    A change before it may be news all the same: the claim may itself have come from an answer that was behind.
    """
    changed_at = listed.updated_at
    return changed_at is not None and changed_at != claim.slot.updated_at and changed_at >= claim.made_at


def _same_listing(old: Slot, new: Slot) -> bool:
    """Tell whether the calendar lists a slot unchanged; a virtual slot that became real since is the same."""
    return dataclasses.replace(new, id=old.id, virtual_id=old.virtual_id) == old


def _started_at(slot: Slot, now: dt.datetime) -> dt.datetime:
    if slot.started_at is None:
        return now
    started_at = dt.datetime.combine(slot.date or now.date(), slot.started_at, dt.UTC)
    return min(started_at, now)


def _entry(claim: Claim, status: SlotStatus, now: dt.datetime, reason: str) -> HistoryEntry:
    return HistoryEntry(
        ident=claim.ident,
        agent_id=claim.agent_id,
        status=status,
        resolved_at=now,
        reason=reason,
        key=claim.key,
        attempt=claim.attempt,
        started_at=claim.started_at,
        wake_id=claim.wake_id,
    )


def _is_late(settled: Settled) -> bool:
    return settled.entry is not None and settled.entry.late


def _is_lifted_by_a_sign_of_life(sentence: Sentence, claim: Claim) -> bool:
    """Tell whether a slot is not to be ended after all: its agent is at it, and nobody can have been told otherwise."""
    if sentence.is_expired:
        return claim.last_word is None
    return sentence.was_woken and claim.uncertain is None


def _expires_at(claim: Claim) -> float | None:
    if claim.lease is None or claim.state is ActiveState.PAUSED:
        return None
    return claim.quiet_since + claim.lease


def _picture(claim: Claim, last_heartbeat_at: dt.datetime | None, now: dt.datetime, at: float) -> ActiveSlot:
    expires_at = _expires_at(claim)
    return ActiveSlot(
        agent_id=claim.agent_id,
        ident=claim.ident,
        key=claim.key,
        state=claim.state,
        attempt=claim.attempt,
        wake_id=claim.wake_id,
        started_at=claim.started_at,
        last_heartbeat_at=last_heartbeat_at,
        heard_at=claim.heard_at,
        paused_at=claim.paused_at,
        pause_reason=claim.pause_reason,
        unsent=claim.owed[-1].status if claim.owed and claim.state is not ActiveState.WAKING else None,
        taken_up=claim.taken_up,
        lease_until=None if expires_at is None else now + dt.timedelta(seconds=expires_at - at),
        overdue=claim.reminded,
        undelivered=claim.is_on_its_way,
        slot=claim.slot,
    )
