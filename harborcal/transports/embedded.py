"""The carried calendar in process: no server, no socket."""

import contextlib
import datetime as dt
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harborcal import wire
from harborcal.errors import (
    CalendarError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    LifecycleError,
)
from harborcal.grammar import check_id, claw_of
from harborcal.model import Heartbeat, Slot, SlotKey, SlotUpdate, UpdateReceipt

if TYPE_CHECKING:
    from harborcal.calendar import Calendar


class EmbeddedTransport:
    """A way to a `harborcal.calendar.Calendar` of this process.

    It is a `ClaimingTransport`, a `BatchTransport` and a `DayReader`. Each transport is one owner of slots. Of several
    schedulers on one file one gets each slot, and the others do not wake. What a scheduler left behind is taken up by
    its successor with the same claw identifier at once, by others after 120 s of silence.

    Args:
        calendar: The calendar. It stays the program's own: closing the transport does not close it.
        claw_identifier: Names the host, as in the contract; the host's name by default.

    Raises:
        ConfigurationError: The calendar is none, or the claw identifier does not match the grammar of ids.
    """

    def __init__(self, calendar: "Calendar", claw_identifier: str | None = None) -> None:
        if not hasattr(calendar, "new_owner"):
            raise ConfigurationError(f"calendar is a harborcal.calendar.Calendar, not a {type(calendar).__name__}")
        claw = claw_of(socket.gethostname()) if claw_identifier is None else claw_identifier
        self._calendar = calendar
        self._owner = calendar.new_owner(check_id("claw_identifier", claw))
        self._is_closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._calendar!r}, {self._owner.claw_identifier!r})"

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Ask for one agent's pending slots, best first, and for what others have left for us to take up.

        Raises:
            CalendarUnavailableError: The calendar's database cannot be used now.
            CalendarRefusedError: 404, the agent is not registered; 403, it is bound to another claw identifier.
            LifecycleError: The transport is closed.
        """
        with self._calling():
            return self._calendar.heartbeat(agent_id, claw_identifier=self._owner.claw_identifier, owner=self._owner)

    def heartbeats(self, agent_ids: Sequence[str]) -> Iterator[tuple[str, Heartbeat | HarborcalError]]:
        """Ask for many agents' pending slots, some hundred at once (see `Calendar.heartbeats`).

        An agent's answer is what `heartbeat` would return or raise for it alone; an agent named twice has one.

        Raises:
            CalendarUnavailableError: The calendar's database cannot be used now; for who has no answer yet.
            LifecycleError: The transport is closed, perhaps since it was asked; for who has no answer yet.
        """
        claw = self._owner.claw_identifier
        answers = self._calendar.heartbeats(agent_ids, claw_identifier=claw, owner=self._owner)
        while True:
            with self._calling():
                told = next(answers, None)
            if told is None:
                return
            agent_id, answer = told
            yield agent_id, _outage(answer) if isinstance(answer, CalendarError) else answer

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Tell the calendar where a slot stands.

        Raises:
            CalendarUnavailableError: The calendar's database cannot be used now.
            CalendarRefusedError: The calendar said no (see `Calendar.apply_update`).
            LifecycleError: The transport is closed.
        """
        with self._calling():
            updated = self._calendar.apply_update(
                agent_id, slot, update, owner=self._owner, claw_identifier=self._owner.claw_identifier
            )
        return UpdateReceipt(slot=updated.key)

    def claim(self, agent_id: str, slot: SlotKey, started_at: dt.datetime) -> UpdateReceipt | None:
        """Take the slot before its wake; None says that another scheduler has it, or has the agent.

        Raises:
            CalendarUnavailableError: The calendar's database cannot be used now.
            CalendarRefusedError: 404, the agent or the slot is unknown; 409, the slot is over.
            LifecycleError: The transport is closed.
        """
        with self._calling():
            claimed = self._calendar.claim(
                agent_id, slot, started_at, owner=self._owner, claw_identifier=self._owner.claw_identifier
            )
        return None if claimed is None else UpdateReceipt(slot=claimed.key)

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        """List the agent's slots of that UTC date, real and virtual, by time, without skipped and aborted ones.

        Raises:
            CalendarUnavailableError: The calendar's database cannot be used now.
            CalendarRefusedError: 404, the agent is not registered; 403, it is bound to another claw identifier.
            ConfigurationError: ``date`` is no date.
            LifecycleError: The transport is closed.
        """
        wire.check_date(date)
        with self._calling():
            return self._calendar.day(agent_id, date, claw_identifier=self._owner.claw_identifier)

    def close(self) -> None:
        """Refuse all later calls; once more changes nothing."""
        self._is_closed = True

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        if self._is_closed:
            raise LifecycleError("the transport is closed")
        try:
            yield
        except CalendarError as error:
            raise _outage(error) from error


def _outage(error: CalendarError) -> CalendarUnavailableError:
    """Tell in the words of a transport that the calendar cannot answer."""
    outage = CalendarUnavailableError(str(error), 503)
    outage.__cause__ = error
    return outage
