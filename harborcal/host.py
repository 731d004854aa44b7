"""The door to the agents: what a host must do, and what it is given."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from harborcal.model import Slot


class Report(Protocol):
    """A handle on one attempt. However late it is used, it cannot touch another slot than its own.

    Each method raises `NoActiveSlotError` when the attempt is already settled, and whatever the scheduler's method
    of the same name raises.
    """

    def complete(self, summary: str = "") -> None:
        """Say that the work is done."""

    def abort(self, reason: str = "") -> None:
        """Say that the work will not be done."""

    def pause(self, reason: str = "") -> None:
        """Say that the work rests; pauses do not count as work."""

    def resume(self) -> None:
        """Say that the work goes on."""

    def renew(self) -> None:
        """Say that the agent is alive, and nothing else."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WakeRequest:
    """All that a host needs to wake an agent for a slot.

    Attributes:
        agent_id: Whom to wake.
        message: What to tell the agent.
        source: Where the wake comes from: ``calendar:<ident>``.
        slot: The slot as the calendar listed it.
        attempt: Which wake of this slot it is, counted from 1.
        wake_id: The same for a wake and its reminder, another for each attempt: an idempotency key.
        reminder: Whether this repeats an earlier wake of the same attempt because the agent fell silent.
        report: A handle for this very attempt.
    """

    agent_id: str
    message: str
    source: str
    slot: Slot
    attempt: int
    wake_id: str
    reminder: bool = False
    report: Report = dataclasses.field(repr=False, compare=False)


class Host(Protocol):
    """A program's way to its agents."""

    def wake_agent(self, wake: WakeRequest) -> object:
        """Hand the wake to the agent and return; do not wait for the agent's work.

        Called from several threads at once, for one agent at most once at a time while it returns within
        ``wake_timeout``. Any public method of the scheduler may be called from inside. What it returns is ignored.
        Raising anything at all says that the wake failed: the slot is tried again later.
        """

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Take a line of log: ``level`` is ``info`` or ``warn``; ``fields`` are plain values.

        Called from one thread at a time, in order, apart from everything else: what it raises is counted, and while
        it blocks nothing waits for it.
        """
