"""Agents that are gone: what they hold is given back, and what was known of them forgotten."""

import threading
from collections.abc import Collection
from functools import partial

from harborcal.scheduler.context import Context
from harborcal.scheduler.dispatch import Dispatch
from harborcal.scheduler.roster import Record, Roster


class Departures:
    """Releases the slots of agents that have not been listed for long, beside the loop."""

    def __init__(self, roster: Roster, dispatch: Dispatch, context: Context) -> None:
        self._roster = roster
        self._dispatch = dispatch
        self._after = context.config.gone_after
        self._clock = context.clock
        self._runner = context.runner
        self._ledger = context.ledger
        self._lifespan = context.lifespan
        self._troubles = context.troubles
        self._on_error = context.on_error
        self._lock = threading.Lock()
        self._releasing = False  # guarded by _lock

    def see_off(self) -> None:
        """Release and forget, on a task of its own, whoever has been gone for long."""
        gone = self._roster.gone(self._clock.monotonic(), self._after)
        with self._lock:
            if not gone or self._releasing or not self._lifespan.may_begin:
                return
            self._releasing = True
        try:
            self._runner.spawn("release", partial(self._release, gone))
        except RuntimeError as error:
            with self._lock:
                self._releasing = False
            self._on_error("threads", error)

    def _release(self, gone: Collection[Record]) -> None:
        reason = f"agent not listed for {self._after:g} s"
        try:
            for record in gone:
                agent_id = record.agent.id
                claim = self._ledger.active_of(agent_id)
                settled = claim is None or self._dispatch.release(claim, reason)
                if settled and self._roster.forget(record):
                    self._ledger.forget(agent_id)
                    self._troubles.forget(agent_id)
        finally:
            with self._lock:
                self._releasing = False
