"""The door to the agents: what a host must do, and what it is given."""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from harborcal.model import Slot


class Report(Protocol):
    """A handle on one attempt. However late it is used, it cannot touch another slot than its own.

    Each method raises `NoActiveSlotError` when the attempt is already settled, and whatever the scheduler's method
    of the same name raises.
    """

    @property
    def is_active(self) -> bool:
        """Whether the attempt is still under way; False once it is settled, by whomever. Never blocks, never raises."""

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
        woken_at: The instant of this wake.
        due_at: When the slot was due; None where it is due whenever it is listed.
        deadline_at: When the agent will have been silent for too long; None where it may be silent for ever.
        report: A handle for this very attempt.
    """

    agent_id: str
    message: str
    source: str
    slot: Slot
    attempt: int
    wake_id: str
    reminder: bool = False
    woken_at: dt.datetime | None = None
    due_at: dt.datetime | None = None
    deadline_at: dt.datetime | None = None
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


@runtime_checkable
class WakeWriter(Protocol):
    """Writes what an agent is told from all that is known of its wake, not from its slot alone."""

    def write(self, wake: WakeRequest) -> str:
        """Write the message; ``wake.message`` is the plain one of `build_wake_message`.

        Called before `Host.wake_agent`, on the same thread. Raising says that the wake failed.
        """
