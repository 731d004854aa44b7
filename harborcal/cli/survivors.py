"""Commands that outlived the daemon that woke them, because it was killed."""

import contextlib
import dataclasses
import threading
from pathlib import Path

from harborcal.cli.news import Log
from harborcal.clock import Clock
from harborcal.errors import HarborcalError
from harborcal.hosts import Orphan, orphans_in
from harborcal.model import ActiveSlot
from harborcal.scheduler import Scheduler

LOOK_EVERY = 15.0
"""Seconds between two looks after them."""

GRACE = 5.0
"""Seconds that they have to end when the daemon stops."""

_FOR = 3_600.0
_TURN = 0.1


@dataclasses.dataclass
class _Survivor:
    orphan: Orphan
    slot: ActiveSlot | None
    looks_in_vain: int = 0  # at which its slot had ended, or was another's


class Survivors:
    """Sees to commands of an earlier daemon as their own host would, as far as that can be done from outside.

    While their slots are active their life renews the lease, for an hour: for longer mere life is not enough. Once a
    slot has ended its command is asked to end at the next look but one, and ended after that. How a command ends nobody
    can see: it reports by itself, or its lease decides.

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
        self._log = log
        self._began = clock.monotonic()
        self._next = self._began
        self._found: list[_Survivor] = []
        for orphan in orphans_in(runs):
            if orphan.is_followed:  # by another program that keeps its outputs there, too
                continue
            slot = active.get(orphan.wake_id)
            self._found.append(_Survivor(orphan, slot))
            fields = {"agent": orphan.agent_id, "process": orphan.pid} | ({} if slot is None else {"slot": slot.ident})
            log("info", "command works on" if slot is not None else "command works for nobody", fields)

    def look(self) -> None:
        """Renew the leases of those that are still at work, and end those whose slots have ended; now and then."""
        now = self._clock.monotonic()
        if not self._found or now < self._next:
            return
        self._next = now + LOOK_EVERY
        self._found = [one for one in self._found if one.orphan.is_alive]
        active = {slot.wake_id for slot in self._scheduler.status().active}
        for one in self._found:
            if one.slot is None or one.slot.wake_id not in active:
                one.looks_in_vain += 1
                if one.looks_in_vain > 1:
                    one.orphan.end(at_once=one.looks_in_vain > 2)
            elif now - self._began <= _FOR:
                with contextlib.suppress(HarborcalError):  # it is settled by now
                    self._scheduler.renew(one.slot.agent_id, slot=one.slot.key, wake_id=one.slot.wake_id)

    def end(self) -> None:
        """Have those that are left end, and abort their slots unless they report in time, as closing a host does."""
        left = [one for one in self._found if one.orphan.is_alive]
        for one in left:
            one.orphan.end()
        until, pause = self._clock.monotonic() + GRACE, threading.Event()
        while any(one.orphan.is_alive for one in left) and self._clock.monotonic() < until:
            pause.wait(_TURN)
        for one in left:
            one.orphan.end(at_once=True)
            if one.slot is not None:
                with contextlib.suppress(HarborcalError):  # it has reported, or its slot had ended
                    self._scheduler.abort(
                        one.slot.agent_id, "ended with its host", slot=one.slot.key, wake_id=one.slot.wake_id
                    )
        self._found = []
