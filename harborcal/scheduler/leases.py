"""Agents that fall silent: reminded once, then given up."""

import threading

from harborcal.errors import TransportTimeoutError
from harborcal.ledger import Claim
from harborcal.model import ActiveState
from harborcal.scheduler.context import Context
from harborcal.scheduler.crew import Crew
from harborcal.scheduler.dispatch import Dispatch
from harborcal.scheduler.roster import Roster

AT_ONCE = 4
"""How many silent agents are seen to side by side."""


class Expiry:
    """One lease that may have ended."""

    __slots__ = ("claim",)

    def __init__(self, claim: Claim) -> None:
        self.claim = claim

    @property
    def owner(self) -> str:
        """Who is silent."""
        return self.claim.agent_id


class Leases:
    """Looks at each active slot when its agent may have been silent for too long.

    One look is planned for each agent, not for each slot, so that what waits is bounded by the agents there are.
    """

    def __init__(self, dispatch: Dispatch, roster: Roster, context: Context) -> None:
        self._dispatch = dispatch
        self._roster = roster
        self._wheel = context.wheel
        self._clock = context.clock
        self._ledger = context.ledger
        self._lifespan = context.lifespan
        self._on_error = context.on_error
        self._crew: Crew[Expiry] = Crew(
            "lease",
            context,
            size=AT_ONCE,
            timeout=context.config.heartbeat_timeout,
            work=self._expire,
            overdue=lambda expiry, reason: self._on_error(
                "lease", TransportTimeoutError(f"giving up {expiry.owner} {reason}")
            ),
            turned_away=lambda expiry, _: self._plan(expiry.owner, self._later(expiry.claim.lease or 0.0)),
        )
        self._lock = threading.Lock()
        self._planned: dict[str, float] = {}  # guarded by _lock; by agent, when it is looked at next

    def watch(self, claim: Claim) -> None:
        """See that a slot is looked at when its lease ends."""
        if claim.lease is not None:
            expires_at = self._ledger.expires_at(claim)
            # One that rests has no end now: it is looked at again after a lease, in case it goes on.
            self._plan(claim.agent_id, expires_at if expires_at is not None else self._later(claim.lease))

    def _later(self, lease: float) -> float:
        return self._clock.monotonic() + lease

    def _plan(self, agent_id: str, due: float) -> None:
        with self._lock:
            planned = self._planned.get(agent_id)
            if planned is not None and planned <= due:
                return
            self._planned[agent_id] = due
        self._wheel.at(due, lambda: self._look(agent_id, due))

    def _look(self, agent_id: str, due: float) -> None:
        with self._lock:
            if self._planned.get(agent_id) != due:
                return  # an earlier look was planned since, and has planned the next
            del self._planned[agent_id]
        claim = self._ledger.active_of(agent_id)
        if claim is None or claim.lease is None or not self._lifespan.may_begin:
            return
        expires_at = self._ledger.expires_at(claim)
        # A wake has a timeout of its own; and one that was given up waits for the calendar.
        is_waking = self._ledger.state_of(claim) is ActiveState.WAKING or self._dispatch.is_waking(agent_id)
        if is_waking or self._ledger.condemned(claim) is not None:
            self._plan(agent_id, self._later(claim.lease))
        elif expires_at is None or expires_at > self._clock.monotonic():
            self.watch(claim)
        else:
            self._crew.submit([Expiry(claim)])

    def _expire(self, expiry: Expiry) -> None:
        claim = expiry.claim
        if not self._lifespan.may_begin:
            return
        if self._ledger.was_reminded(claim):
            self._dispatch.give_up(claim)
        elif self._ledger.remind(claim, self._clock.monotonic()) and not self._roster.is_asleep(claim.agent_id):
            self._dispatch.remind(claim)
        if self._ledger.is_active(claim):
            if self._ledger.condemned(claim) is None:
                self.watch(claim)
            else:
                self._plan(claim.agent_id, self._later(claim.lease or 0.0))

    def close(self) -> None:
        """Remind and give up nobody any more."""
        self._crew.close()

    def wait(self, timeout: float) -> float:
        """Wait until nobody is being given up, at most ``timeout`` seconds; return the seconds left."""
        return self._crew.wait(timeout)

    @property
    def abandoned(self) -> int:
        """How many threads are stuck with the transport."""
        return self._crew.abandoned
