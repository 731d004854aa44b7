"""What the calendar's own day says of the slots that were begun here: cancelled, moved, or forgotten."""

import datetime as dt
from collections.abc import Sequence

from harborcal.ledger import Claim
from harborcal.model import ActiveState, Slot, SlotStatus
from harborcal.policy import describe
from harborcal.scheduler.context import Context
from harborcal.scheduler.dispatch import Dispatch
from harborcal.scheduler.roster import Record
from harborcal.scheduler.updates import Updates
from harborcal.transport import DayReader, Transport, find

LOOK_EVERY = 900.0
"""Seconds between two looks at the days of one agent that has begun something."""

SURE_AFTER = 2
"""How many days in a row must not show a slot before it counts as cancelled: one odd answer proves nothing."""


_DAY = dt.timedelta(days=1)


class Days:
    """Compares what was begun with the day that the calendar tells, where it can: at the start, then now and then.

    Once a slot is ongoing, or over, heartbeats list it no more: this is how a cancelled slot, or a calendar that has
    forgotten what it had taken, is noticed at all.
    """

    def __init__(self, transport: Transport, dispatch: Dispatch, updates: Updates, context: Context) -> None:
        self._reader = find(transport, DayReader)
        self._dispatch = dispatch
        self._updates = updates
        self._clock = context.clock
        self._ledger = context.ledger
        self._lifespan = context.lifespan
        self._place = context.place
        self._troubles = context.troubles
        self._voice = context.voice

    def may_look(self, record: Record) -> bool:
        """Tell whether `look` may have something to ask for."""
        return self._reader is not None and self._ledger.has_days(record.agent.id)

    def look(self, record: Record) -> None:
        """Compare an agent's slots, active and settled ones, with its days, if it is time to: first at once.

        Args:
            record: Which agent's; its heartbeat is under way.
        """
        if self._reader is None:
            return
        at = self._clock.monotonic()
        dates = self._ledger.days_of(record.agent.id, since=self._clock.now().date() - _DAY)
        if not dates or at < record.look_at:
            return
        record.look_at = at + LOOK_EVERY
        for date in dates:
            self._compare(record, date, self._reader)

    def notice_move(self, claim: Claim, slots: Sequence[Slot]) -> None:
        """Settle what was found again after a restart, where its slot is listed as pending at another time."""
        if self._ledger.is_on_its_way(claim):
            return
        for slot in slots:
            if self._ledger.lists(claim, slot) and _is_moved(slot, claim):
                self._settle(claim, SlotStatus.DEFERRED, _moved(slot))

    def _compare(self, record: Record, date: dt.date, reader: DayReader) -> None:
        agent_id = record.agent.id
        asked = self._ledger.ask()
        try:
            with self._place.inside("day"):
                day = reader.day(agent_id, date)
        except BaseException as error:  # noqa: BLE001 - whatever a transport raises, the next look tells more
            self._troubles.note(agent_id, "day", describe(error))
            return
        self._troubles.clear(agent_id, "day")
        claim = self._ledger.active_of(agent_id)
        if claim is not None and claim.slot.date == date:
            self._follow(claim, day, asked, record)
        for settled in self._ledger.unheeded(day, asked=asked, at=self._clock.monotonic()):
            self._updates.resend(settled)
        if self._lifespan.may_begin and record.listed:
            self._take_up(agent_id, day, asked)

    def _take_up(self, agent_id: str, day: tuple[Slot, ...], asked: int) -> None:
        """Follow what the calendar calls under way and nobody here is at: it has forgotten that it was given back."""
        under_way = [slot for slot in day if slot.status in {SlotStatus.ONGOING, SlotStatus.PAUSED}]
        if under_way and self._ledger.active_of(agent_id) is None:
            self._dispatch.take_up(agent_id, max(under_way, key=lambda slot: slot.priority), asked=asked)

    def _follow(self, claim: Claim, day: tuple[Slot, ...], asked: int, record: Record) -> None:
        if self._ledger.is_on_its_way(claim) or self._ledger.taken_at(claim) >= asked:
            return  # the day was written before we changed it
        if self._ledger.state_of(claim) is ActiveState.WAKING and not self._ledger.awaits_wake(claim):
            return  # its wake is under way, and the calendar is told when it has worked
        listed = next((slot for slot in day if self._ledger.lists(claim, slot)), None)
        times = self._ledger.looked_for(claim, is_there=listed is not None)
        if listed is not None:
            self._reconcile(claim, listed, asked)
        elif times < SURE_AFTER:
            record.look_at = self._clock.monotonic()  # the next heartbeat looks again
        else:
            reason = f"the calendar no longer lists it on {claim.slot.date}: cancelled or moved"
            self._settle(claim, SlotStatus.ABORTED, reason)

    def _reconcile(self, claim: Claim, listed: Slot, asked: int) -> None:
        if listed.status.is_terminal:
            self._settle(claim, listed.status, f"the calendar lists it as {listed.status}")
        elif _is_moved(listed, claim):
            self._settle(claim, SlotStatus.DEFERRED, _moved(listed))
        elif listed.status.is_pending:
            self._ledger.owe_again(claim, (listed,), asked=asked)
            if self._ledger.owes(claim):
                self._updates.flush(claim)

    def _settle(self, claim: Claim, status: SlotStatus, reason: str) -> None:
        if self._dispatch.settle_as_listed(claim, status, reason):
            self._voice.warn("calendar slot is gone", agent=claim.agent_id, slot=claim.ident, err=reason)


def _is_moved(listed: Slot, claim: Claim) -> bool:
    was = claim.slot
    return listed.status.is_pending and (listed.date, listed.scheduled_at) != (was.date, was.scheduled_at)


def _moved(slot: Slot) -> str:
    return f"the calendar has moved it to {slot.date} {slot.scheduled_at}"
