"""Who is doing what, and what was done.

State under one lock and nothing else: no input or output, no callbacks, no clock. Whoever calls says what time it is.
Between reading and writing the world may change, so every write names the claim it means and is refused when that claim
is no longer the agent's.
"""

import dataclasses
import datetime as dt
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence

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


class Claim:
    """One attempt at a slot, from its claim to its settlement. Opaque to everyone but the ledger and its callers' eyes.

    What is fixed at the claim may be read anywhere; the rest is guarded by the ledger's lock and read through it.
    """

    __slots__ = (
        "agent_id",
        "attempt",
        "born",
        "condemned",
        "first_update",
        "heard_at",
        "ident",
        "key",
        "keys",
        "last_update",
        "last_word",
        "offset",
        "owed",
        "pause_reason",
        "paused_at",
        "paused_offset",
        "rested",
        "slot",
        "started_at",
        "state",
        "taken_at",
        "taken_up",
        "uncertain",
        "wake_id",
    )

    def __init__(
        self, agent_id: str, slot: Slot, *, attempt: int, wake_id: str, now: dt.datetime, at: float, born: int
    ) -> None:
        # Fixed at the claim.
        self.agent_id = agent_id
        self.slot = slot
        self.ident = slot.ident
        self.attempt = attempt
        self.wake_id = wake_id
        self.born = born
        self.first_update = SlotUpdate(
            status=SlotStatus.ONGOING, started_at=now.astimezone(dt.UTC).time().replace(microsecond=0)
        )
        # Guarded by the ledger's lock.
        self.key = slot.key
        self.keys = set(slot.keys)
        self.state = ActiveState.WAKING
        self.started_at = now
        self.offset = _offset(now, at)
        self.heard_at: dt.datetime | None = None
        self.paused_at: dt.datetime | None = None
        self.paused_offset = 0.0
        self.pause_reason = ""
        self.rested = dt.timedelta()
        self.owed: tuple[SlotUpdate, ...] = (self.first_update,)
        self.last_update: SlotUpdate | None = None
        self.taken_at = 0
        self.uncertain: SlotUpdate | None = None  # the latest update whose outcome is unknown
        self.last_word: SlotUpdate | None = None  # a terminal one of those: the calendar may be done with the slot
        self.condemned = ""  # why the slot is to be given back as soon as the calendar answers
        self.taken_up = False


class Settled:
    """What is remembered of a settled slot. Guarded by the ledger's lock; ``claim`` and ``update`` are fixed."""

    __slots__ = ("claim", "delivered", "failed_at", "failures", "refusal", "slot", "taken_at", "update")

    def __init__(self, claim: Claim, update: SlotUpdate | None, *, delivered: bool, taken_at: int) -> None:
        self.claim = claim
        self.update = update
        self.delivered = delivered
        self.taken_at = taken_at
        self.refusal = ""
        self.slot: Slot | None = None
        self.failures = 0
        self.failed_at = 0.0


@dataclasses.dataclass(slots=True)
class _Failures:
    """How often a slot's wake failed in a row, and when last (monotonic)."""

    count: int
    failed_at: float


class Ledger:
    """The active slots and the history, guarded by one lock. Every method is atomic and returns at once."""

    def __init__(self, history_size: int) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, Claim] = {}  # guarded by _lock; by agent
        self._held: dict[SlotKey, Claim] = {}  # guarded by _lock; by every key of every active claim
        self._history: deque[HistoryEntry] = deque(maxlen=history_size)  # guarded by _lock
        self._settled: OrderedDict[SlotKey, Settled] = OrderedDict()  # guarded by _lock; oldest first
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
        if not self._knows_any(agent_id, slots):
            return [None] * len(slots)
        with self._lock:
            standings = [self._standing(agent_id, slot, asked) for slot in slots]
            self._prune_failures(agent_id, slots, at)
        return standings

    def _knows_any(self, agent_id: str, slots: Sequence[Slot]) -> bool:
        """Look without the lock whether there is anything to tell of the slots; mostly there is not.

        A slot that is just being settled may be missed: then its claim, which looks under the lock, is refused.
        """
        if agent_id in self._failures:
            return True
        if not self._held and not self._settled:
            return False
        return any(key in self._held or key in self._settled for slot in slots for key in _keys(slot))

    def _standing(self, agent_id: str, slot: Slot, asked: int) -> Standing | None:
        if slot.id is None and slot.virtual_id is None:
            return None
        keys = slot.keys
        settled = self._why_settled(slot, keys, asked)
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

    def _why_settled(self, slot: Slot, keys: tuple[SlotKey, ...], asked: int) -> str:
        settled = next((self._settled[key] for key in keys if key in self._settled), None)
        if settled is None:
            return ""
        if not settled.delivered:
            return "its last update is still on its way"
        if asked <= settled.taken_at:
            return "the answer is older than its settlement"
        if settled.refusal:
            if settled.slot is None or _same_listing(settled.slot, slot):
                settled.slot = slot
                return settled.refusal
        elif settled.update is not None and settled.update.status.is_terminal and not slot.status.is_pending:
            return "" if slot.status.is_terminal else "listed all the same; its last update is sent again"
        # The calendar lists it anew, in full knowledge of our last word: it was opened again on purpose.
        self._forget_settled(settled)
        return ""

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

    def unheeded(self, slots: Sequence[Slot], *, asked: int) -> list[Settled]:
        """Find settled slots that an answer newer than their last update still calls ongoing or paused."""
        found = []
        with self._lock:
            for slot in slots:
                if slot.status not in {SlotStatus.ONGOING, SlotStatus.PAUSED}:
                    continue
                settled = next((self._settled[key] for key in _keys(slot) if key in self._settled), None)
                if settled is None or settled.update is None or not settled.update.status.is_terminal:
                    continue
                if settled.delivered and not settled.refusal and asked > settled.taken_at:
                    found.append(settled)
        return found

    # --- claiming ---------------------------------------------------------------------------------------------------

    def claim(
        self, agent_id: str, slot: Slot, *, asked: int, now: dt.datetime, at: float, wake_id: str
    ) -> Claim | None:
        """Take a slot for its agent; None where the agent or the slot is no longer free."""
        with self._lock:
            failures = self._failures.get(agent_id, {}).get(slot.key)
            attempt = 1 if failures is None else failures.count + 1
            return self._admit(agent_id, slot, asked=asked, now=now, at=at, wake_id=wake_id, attempt=attempt)

    def take_up(
        self, agent_id: str, slot: Slot, *, asked: int, now: dt.datetime, at: float, wake_id: str
    ) -> Claim | None:
        """Take a slot that the calendar calls ongoing or paused, without a wake; None where that is too late."""
        with self._lock:
            claim = self._admit(agent_id, slot, asked=asked, now=now, at=at, wake_id=wake_id, attempt=1)
            if claim is None:
                return None
            claim.taken_up = True
            claim.owed = ()
            claim.started_at = _started_at(slot, now)
            claim.state = ActiveState.ONGOING
            if slot.status is SlotStatus.PAUSED:
                claim.state = ActiveState.PAUSED
                claim.paused_at = now
                claim.paused_offset = claim.offset
            return claim

    def _admit(
        self, agent_id: str, slot: Slot, *, asked: int, now: dt.datetime, at: float, wake_id: str, attempt: int
    ) -> Claim | None:
        keys = slot.keys
        if agent_id in self._active or any(key in self._held for key in keys):
            return None
        if self._why_settled(slot, keys, asked):
            return None
        self._sequence += 1
        claim = Claim(agent_id, slot, attempt=attempt, wake_id=wake_id, now=now, at=at, born=self._sequence)
        self._active[agent_id] = claim
        for key in keys:
            self._held[key] = claim
        return claim

    def unclaim(self, claim: Claim) -> None:
        """Undo a claim whose wake was never entered."""
        with self._lock:
            if self._active.get(claim.agent_id) is claim:
                self._drop(claim)

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

    def condemn(self, claim: Claim, reason: str) -> None:
        """Have the slot given back as soon as the calendar answers again."""
        with self._lock:
            claim.condemned = reason

    def condemned(self, claim: Claim) -> str:
        """Tell why the slot is still to be given back; empty where it is not."""
        with self._lock:
            return claim.condemned

    def was_tried(self, claim: Claim, update: SlotUpdate) -> bool:
        """Tell whether the same update was sent before, with an unknown outcome."""
        with self._lock:
            return claim.uncertain is not None and claim.uncertain.status is update.status

    def hear(self, claim: Claim, now: dt.datetime) -> bool:
        """Record a sign of life of the agent; tell whether the claim is still active."""
        with self._lock:
            if self._active.get(claim.agent_id) is not claim:
                return False
            claim.heard_at = now
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
            claim.paused_offset = _offset(now, at)
            claim.pause_reason = reason

    def resume(self, claim: Claim, now: dt.datetime) -> None:
        """Record that the work goes on; the pause is taken out of the time worked."""
        with self._lock:
            claim.state = ActiveState.ONGOING
            claim.rested += max(dt.timedelta(), now - (claim.paused_at or now))
            claim.paused_at = None
            claim.pause_reason = ""

    def worked(self, claim: Claim, now: dt.datetime) -> dt.timedelta:
        """Tell how long the agent has worked: since the claim, without pauses."""
        with self._lock:
            resting = now - claim.paused_at if claim.paused_at is not None else dt.timedelta()
            return now - claim.started_at - claim.rested - max(dt.timedelta(), resting)

    def follow_clock(self, now: dt.datetime, at: float) -> None:
        """Carry a jump of the wall clock into active slots, each by what it has not seen yet: durations stay true."""
        offset = _offset(now, at)
        with self._lock:
            for claim in self._active.values():
                claim.started_at += dt.timedelta(seconds=offset - claim.offset)
                claim.offset = offset
                if claim.paused_at is not None:
                    claim.paused_at += dt.timedelta(seconds=offset - claim.paused_offset)
                    claim.paused_offset = offset

    def took(self, claim: Claim, update: SlotUpdate, receipt: UpdateReceipt) -> None:
        """Record that the calendar took an update, and the slot's key from now on."""
        with self._lock:
            self._sequence += 1
            claim.taken_at = self._sequence
            claim.last_update = update
            claim.uncertain = None
            claim.last_word = None
            claim.owed = tuple(owed for owed in claim.owed if owed is not update)
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
        reason: str = "",
        summary: str = "",
        update: SlotUpdate | None = None,
        delivered: bool = True,
        refusal: str = "",
    ) -> HistoryEntry | None:
        """End a claim and enter it into the history; None where it had ended before.

        Args:
            claim: Which attempt.
            status: How it ended.
            now: The wall's time.
            reason: Why, where it did not end well.
            summary: What the agent said of it.
            update: The update that told the calendar, if any did.
            delivered: Whether the calendar has that update yet.
            refusal: The calendar's refusal, where that is what ended it: while the calendar lists the slot unchanged
                it is then not started again.
        """
        with self._lock:
            if self._active.get(claim.agent_id) is not claim:
                return None
            self._drop(claim)
            self._forget_failures(claim)
            self._sequence += 1
            settled = Settled(claim, update, delivered=delivered, taken_at=self._sequence)
            settled.refusal = refusal
            self._remember(settled)
            entry = _entry(claim, status, now, reason)
            duration = update.actual_duration if update is not None else None
            entry = dataclasses.replace(entry, summary=summary, actual_duration=duration)
            self._history.append(entry)
            return entry

    def wake_failed(self, claim: Claim, reason: str, *, now: dt.datetime, at: float) -> bool:
        """End a claim whose wake failed, so that its slot is tried again later; tell whether it was still active.

        Repeated failures of one slot count up in one history entry.
        """
        with self._lock:
            if self._active.get(claim.agent_id) is not claim:
                return False
            self._drop(claim)
            failures = self._failures.setdefault(claim.agent_id, {})
            count = failures[claim.slot.key].count + 1 if claim.slot.key in failures else 1
            failures[claim.slot.key] = _Failures(count, at)
            entry = _entry(claim, SlotStatus.ABORTED, now, reason)
            if count > 1 and (earlier := self._earlier_failure(claim)) is not None:
                self._history.remove(earlier)
                entry = dataclasses.replace(entry, count=earlier.count + 1)
            self._history.append(entry)
            return True

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
        while len(self._settled) > SETTLED_MEMORY:
            # What the calendar has not taken yet is never forgotten.
            oldest = next((key for key, old in self._settled.items() if old.delivered), None)
            if oldest is None:
                return
            del self._settled[oldest]

    def _forget_settled(self, settled: Settled) -> None:
        for key in [key for key in settled.claim.keys if self._settled.get(key) is settled]:
            del self._settled[key]

    def resent(self, settled: Settled, *, at: float, error: str = "", final: bool = False) -> None:
        """Record how sending a settled slot's last update again ended; what fails or does not help backs off."""
        with self._lock:
            settled.failures += 1
            settled.failed_at = at
            if final:
                settled.refusal = error
            elif not error:
                self._sequence += 1
                settled.taken_at = self._sequence

    # --- outcomes that come later -----------------------------------------------------------------------------------

    def delivered(self, key: SlotKey, real_key: SlotKey) -> None:
        """Record that the calendar has taken the last update that was accepted for a slot."""
        with self._lock:
            self._sequence += 1
            claim = self._held.get(key)
            if claim is not None:
                claim.taken_at = self._sequence
                self._learn(claim, real_key)
            settled = self._settled.get(key)
            if settled is not None:
                settled.delivered = True
                settled.taken_at = self._sequence
                settled.claim.keys.add(real_key)
                self._settled[real_key] = settled

    def undeliverable(self, key: SlotKey, refusal: str) -> Claim | None:
        """Record that the calendar will never take a slot's last update; tell the claim that still hangs on it."""
        with self._lock:
            settled = self._settled.get(key)
            if settled is not None:
                self._sequence += 1
                settled.delivered = True
                settled.refusal = refusal
                settled.taken_at = self._sequence
            return self._held.get(key)

    # --- looking ----------------------------------------------------------------------------------------------------

    def sole_agent(self) -> str:
        """Name the agent when exactly one slot is active, else nobody: guessing would end the wrong slot."""
        with self._lock:
            return next(iter(self._active)) if len(self._active) == 1 else ""

    def snapshot(
        self, last_heartbeats: Mapping[str, dt.datetime]
    ) -> tuple[tuple[ActiveSlot, ...], tuple[HistoryEntry, ...]]:
        """Copy the active slots, by agent, and the history, in order."""
        with self._lock:
            active = tuple(
                _picture(claim, last_heartbeats.get(agent_id)) for agent_id, claim in sorted(self._active.items())
            )
            return active, tuple(self._history)

    def forget(self, agent_id: str) -> None:
        """Forget what was known of an agent that is gone and holds nothing."""
        with self._lock:
            self._failures.pop(agent_id, None)


def _offset(now: dt.datetime, at: float) -> float:
    """Tell how far the wall clock is ahead of the monotonic one."""
    return now.timestamp() - at


def _keys(slot: Slot) -> tuple[SlotKey, ...]:
    return slot.keys if slot.id is not None or slot.virtual_id is not None else ()


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
    )


def _picture(claim: Claim, last_heartbeat_at: dt.datetime | None) -> ActiveSlot:
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
        slot=claim.slot,
    )
