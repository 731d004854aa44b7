"""Commands that outlived the daemon that woke them, because it was killed."""

import contextlib
from pathlib import Path

from harborcal.cli.news import Log
from harborcal.clock import Clock
from harborcal.errors import HarborcalError
from harborcal.hosts import Orphan, orphans_in
from harborcal.model import ActiveSlot
from harborcal.scheduler import Scheduler

RENEW_EVERY = 15.0
"""Seconds between two looks after them."""

_FOR = 3_600.0


class Survivors:
    """Renews the lease of slots at which a command of an earlier daemon is still at work, as its own host would.

    How such a command ends nobody can see: it reports by itself, or its lease decides. For longer than an hour its mere
    life is not enough.

    Args:
        runs: Where the records of commands are.
        scheduler: Whose slots; not yet started.
        clock: Measures time.
        log: Takes ``(level, message, fields)``.
    """

    def __init__(self, runs: Path, scheduler: Scheduler, clock: Clock, log: Log) -> None:
        active = {slot.wake_id: slot for slot in scheduler.status().active}
        self._scheduler = scheduler
        self._clock = clock
        self._began = clock.monotonic()
        self._next = self._began
        self._at_work: list[tuple[Orphan, ActiveSlot]] = []
        for orphan in orphans_in(runs):
            slot = active.get(orphan.wake_id)
            if slot is not None:
                self._at_work.append((orphan, slot))
                log("info", "command works on", {"agent": slot.agent_id, "slot": slot.ident, "process": orphan.pid})

    def look(self) -> None:
        """Renew the leases of those that are still there, now and then."""
        now = self._clock.monotonic()
        if not self._at_work or now < self._next:
            return
        self._next = now + RENEW_EVERY
        self._at_work = [(orphan, slot) for orphan, slot in self._at_work if orphan.is_alive]
        if now - self._began > _FOR:
            self._at_work = []
        for _, slot in self._at_work:
            with contextlib.suppress(HarborcalError):  # it is settled, or another's by now
                self._scheduler.renew(slot.agent_id, slot=slot.key, wake_id=slot.wake_id)
