"""Slots whose time is over: skipped at the calendar, and recorded."""

from harborcal.errors import UpdateRefusedError
from harborcal.model import Slot
from harborcal.policy import describe, skip
from harborcal.scheduler.context import Context
from harborcal.scheduler.updates import Updates

AT_ONCE = 10
"""How many missed slots one heartbeat sees to; the others follow with the next."""


class Misses:
    """Tells the calendar that a slot will not be woken for any more."""

    def __init__(self, updates: Updates, context: Context) -> None:
        self._updates = updates
        self._attempts = context.attempts
        self._ledger = context.ledger
        self._lanes = context.lanes
        self._clock = context.clock
        self._voice = context.voice

    def skip(self, agent_id: str, slot: Slot, reason: str, *, asked: int) -> None:
        """Have a slot skipped, and enter it into the history; where that fails the next heartbeat tries again."""
        claim = self._ledger.set_aside(agent_id, slot, asked=asked, now=self._clock.now(), at=self._clock.monotonic())
        if claim is None:
            return
        update, refusal = skip(slot), ""
        with self._lanes.enter(claim):
            try:
                self._updates.push(claim, update)
            except UpdateRefusedError as error:
                refusal = describe(error)
            except BaseException:  # noqa: BLE001 - whatever a transport raises; it is noted where it happened
                self._ledger.put_back(claim)
                return
            reason = f"missed: {reason}" + (f"; the calendar: {refusal}" if refusal else "")
            self._attempts.miss(claim, update, reason, refusal=refusal)
        self._voice.warn("calendar slot missed", agent=agent_id, slot=slot.ident, err=reason)
