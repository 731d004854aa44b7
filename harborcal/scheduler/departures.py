"""Agents that are gone: what they hold is given back, and what was known of them forgotten."""

import threading

from harborcal.errors import TransportTimeoutError
from harborcal.scheduler.context import Context
from harborcal.scheduler.crew import Crew
from harborcal.scheduler.dispatch import Dispatch
from harborcal.scheduler.roster import Record, Roster

AT_ONCE = 4
"""How many agents are seen off side by side."""


class Departure:
    """One agent's leaving."""

    __slots__ = ("record",)

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def owner(self) -> str:
        """Who leaves."""
        return self.record.agent.id


class Departures:
    """Releases the slots of agents that have not been listed for long, beside the loop."""

    def __init__(self, roster: Roster, dispatch: Dispatch, context: Context) -> None:
        self._roster = roster
        self._dispatch = dispatch
        self._after = context.config.gone_after
        self._clock = context.clock
        self._ledger = context.ledger
        self._book = context.book
        self._lifespan = context.lifespan
        self._troubles = context.troubles
        self._on_error = context.on_error
        self._crew: Crew[Departure] = Crew(
            "release",
            context,
            size=AT_ONCE,
            timeout=context.config.heartbeat_timeout,
            work=self._release,
            overdue=self._overdue,
        )
        self._lock = threading.Lock()
        self._leaving: set[str] = set()  # guarded by _lock; whose departure is queued or under way

    def see_off(self) -> None:
        """Release and forget whoever has been gone for long."""
        if not self._lifespan.may_begin:
            return
        gone = self._roster.gone(self._clock.monotonic(), self._after)
        departures = [Departure(record) for record in gone if not self._crew.hindrance(record.agent.id)]
        with self._lock:
            departures = [departure for departure in departures if departure.owner not in self._leaving]
            self._leaving.update(departure.owner for departure in departures)
        self._crew.submit(departures)

    def _release(self, departure: Departure) -> None:
        record, agent_id = departure.record, departure.owner
        try:
            if record.listed:
                return  # back again while it waited for its turn
            claim = self._ledger.active_of(agent_id)
            settled = claim is None or self._dispatch.release(claim, f"agent not listed for {self._after:g} s")
            if settled and self._roster.forget(record):
                self._ledger.forget(agent_id)
                self._book.forget(agent_id)
                self._troubles.forget(agent_id)
        finally:
            self._ended(agent_id)

    def _overdue(self, departure: Departure, reason: str) -> None:
        self._ended(departure.owner)
        self._on_error("release", TransportTimeoutError(f"release of {departure.owner} {reason}"))

    def _ended(self, agent_id: str) -> None:
        with self._lock:
            self._leaving.discard(agent_id)

    def close(self) -> None:
        """See nobody off any more."""
        self._crew.close()

    @property
    def abandoned(self) -> int:
        """How many threads are stuck with the transport."""
        return self._crew.abandoned
