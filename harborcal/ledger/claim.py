"""What the ledger is made of: claims, and what is remembered of those that are settled."""

import datetime as dt
from typing import NamedTuple

from harborcal.model import ActiveState, HistoryEntry, Slot, SlotStatus, SlotUpdate


class Sentence(NamedTuple):
    """By which update a slot is to be ended as soon as the calendar answers, and why."""

    update: SlotUpdate
    reason: str
    is_expired: bool = False
    was_woken: bool = False
    """Whether its agent was called, and may be at it although its wake has failed."""


class Claim:
    """One attempt at a slot, from its claim to its settlement. Opaque to everyone but the ledger and its callers' eyes.

    What is fixed at the claim may be read anywhere; the rest is guarded by the ledger's lock and read through it.
    """

    __slots__ = (
        "accepted",
        "agent_id",
        "arrived",
        "attempt",
        "awaits_wake",
        "begun",
        "born",
        "condemned",
        "first_update",
        "heard_at",
        "ident",
        "is_found",
        "is_reached",
        "is_restored",
        "key",
        "keys",
        "last_update",
        "last_word",
        "lease",
        "made_at",
        "may_be_woken",
        "missing",
        "offset",
        "owed",
        "pause_reason",
        "paused_at",
        "paused_offset",
        "quiet_since",
        "record",
        "reminded",
        "rested",
        "resting_since",
        "slot",
        "started_at",
        "state",
        "taken_at",
        "taken_up",
        "uncertain",
        "wake_id",
        "written_at",
    )

    def __init__(
        self,
        agent_id: str,
        slot: Slot,
        *,
        attempt: int,
        wake_id: str,
        now: dt.datetime,
        at: float,
        born: int,
        lease: float | None = None,
    ) -> None:
        # Fixed at the claim.
        self.agent_id = agent_id
        self.slot = slot
        self.ident = slot.ident
        self.attempt = attempt
        self.wake_id = wake_id
        self.born = born
        self.made_at = now  # when it was taken, or taken up: later than its start in the latter case
        self.lease = lease  # seconds that it may stay silent; None where that is for ever
        self.first_update = SlotUpdate(
            status=SlotStatus.ONGOING, started_at=now.astimezone(dt.UTC).time().replace(microsecond=0)
        )
        # Written by whoever makes the attempt, before it is made.
        self.record = 0  # its id in the journal; 0 where it has none
        # Guarded by the ledger's lock.
        self.key = slot.key
        self.keys = set(slot.keys)
        self.state = ActiveState.WAKING
        self.started_at = now
        self.begun = at  # monotonic; when the work began: what it took does not depend on what the wall clock is set to
        self.offset = offset(now, at)
        self.heard_at: dt.datetime | None = None
        self.quiet_since = at  # monotonic; since when nothing was heard of its agent
        self.written_at = at  # monotonic; when the journal last learnt that it was heard
        self.reminded = False
        self.missing = 0  # how many looks at the calendar's day in a row did not show it
        self.paused_at: dt.datetime | None = None
        self.resting_since = 0.0  # monotonic; the same moment
        self.paused_offset = 0.0
        self.pause_reason = ""
        self.rested = 0.0  # seconds of pauses that are over
        self.owed: tuple[SlotUpdate, ...] = (self.first_update,)
        self.last_update: SlotUpdate | None = None
        self.taken_at = 0
        self.accepted = 0  # the number of the last update that was accepted for later delivery
        self.arrived = 0  # up to which number the calendar has them
        self.uncertain: SlotUpdate | None = None  # the latest update whose outcome is unknown
        self.last_word: SlotUpdate | None = None  # a terminal one of those: the calendar may be done with the slot
        self.condemned: Sentence | None = None
        self.taken_up = False
        self.is_restored = False  # made from what the journal remembers
        self.is_found = False  # found again after a restart, and the calendar has not been asked for it yet
        self.awaits_wake = False  # found again before its wake was entered
        self.may_be_woken = False  # found again, and its wake, which may have been entered, is to be entered once more
        self.is_reached = False  # found again so, and heard before that: its wake had reached it

    @property
    def is_on_its_way(self) -> bool:
        """Whether an accepted update has not reached the calendar. Guarded by the ledger's lock."""
        return self.accepted > self.arrived


class Settled:
    """What is remembered of a settled slot. Guarded by the ledger's lock; ``claim`` and ``is_expired`` are fixed."""

    __slots__ = (
        "claim",
        "delivered",
        "entry",
        "failed_at",
        "failures",
        "is_expired",
        "refusal",
        "settled_at",
        "slot",
        "taken_at",
        "update",
    )

    def __init__(
        self,
        claim: Claim,
        update: SlotUpdate | None,
        *,
        delivered: bool,
        taken_at: int,
        at: float,
        entry: HistoryEntry | None = None,
        is_expired: bool = False,
    ) -> None:
        self.claim = claim
        self.is_expired = is_expired  # its agent fell silent
        self.update = update
        self.delivered = delivered
        self.taken_at = taken_at
        self.settled_at = at  # monotonic; when the calendar took its last update
        self.entry = entry  # in the history
        self.refusal = ""
        self.slot: Slot | None = None
        self.failures = 0
        self.failed_at = 0.0


def offset(now: dt.datetime, at: float) -> float:
    """Tell how far the wall clock is ahead of the monotonic one."""
    return now.timestamp() - at
