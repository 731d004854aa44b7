"""One agent's access in the scheduler's own process."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from harborcal.clock import Clock, SystemClock
from harborcal.control.access import Fence
from harborcal.errors import ConfigurationError, NoActiveSlotError, SlotMismatchError
from harborcal.grammar import check_id, clean
from harborcal.model import ActiveSlot, ActiveState, HistoryEntry, SlotKey, SlotStatus, Status
from harborcal.scheduler import Scheduler
from harborcal.transport import DayReader

TEXT_LIMIT = 2_000
"""How many characters of a summary or a reason are taken."""

_Report = Callable[[SlotKey, str], None]  # makes a report of a slot, by its wake
_DONE = {SlotStatus.FINISHED: "it was complete already", SlotStatus.ABORTED: "it was aborted already"}


class SchedulerAccess:
    """What one agent may see and say, of a scheduler of this process (see `AgentAccess`).

    Args:
        scheduler: The scheduler.
        agent_id: Whose slots.
        day: Where the agent's day can be read; without it ``today`` lists what the scheduler last heard of.
        clock: Tells what day it is.

    Raises:
        ConfigurationError: The id does not match the grammar of ids.
    """

    def __init__(
        self, scheduler: Scheduler, agent_id: str, *, day: DayReader | None = None, clock: Clock | None = None
    ) -> None:
        self._scheduler = scheduler
        self._agent_id = check_id("agent_id", agent_id)
        self._day = day
        self._clock = clock if clock is not None else SystemClock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._agent_id!r})"

    @property
    def agent_id(self) -> str:
        """Whose slots."""
        return self._agent_id

    def status(self) -> Mapping[str, Any]:
        """Tell what it does: ``active`` and ``history``, ``last_heartbeat_at``, ``last_error``, ``problems``."""
        return status_of(self._scheduler.status(), self._agent_id)

    def today(self) -> Mapping[str, Any]:
        """List the agent's slots of today (UTC).

        Raises:
            HarborcalError: What the calendar raises.
            ConfigurationError: This scheduler's calendar cannot be read by days.
        """
        if self._day is None:
            raise ConfigurationError("this calendar cannot be read by days")
        date = self._clock.now().astimezone(dt.UTC).date()
        slots = self._day.day(self._agent_id, date)
        return {"agent_id": self._agent_id, "date": date.isoformat(), "slots": [slot.to_dict() for slot in slots]}

    def why(self) -> Mapping[str, Any]:
        """Tell of every slot of the last heartbeat why it was or was not dispatched."""
        verdicts = [verdict.to_dict() for verdict in self._scheduler.explain(self._agent_id)]
        return {"agent_id": self._agent_id, "verdicts": verdicts}

    def complete(self, summary: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work is done; see `Scheduler.complete`."""
        words = _text("summary", summary)
        return self._end(
            SlotStatus.FINISHED,
            fence,
            lambda key, wake_id: self._scheduler.complete(self._agent_id, words, slot=key, wake_id=wake_id),
        )

    def abort(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work will not be done; see `Scheduler.abort`."""
        words = _text("reason", reason)
        return self._end(
            SlotStatus.ABORTED,
            fence,
            lambda key, wake_id: self._scheduler.abort(self._agent_id, words, slot=key, wake_id=wake_id),
        )

    def pause(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work rests; see `Scheduler.pause`."""
        words = _text("reason", reason)
        return self._change(
            ActiveState.PAUSED,
            fence,
            lambda key, wake_id: self._scheduler.pause(self._agent_id, words, slot=key, wake_id=wake_id),
        )

    def resume(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work goes on; see `Scheduler.resume`."""
        return self._change(
            ActiveState.ONGOING,
            fence,
            lambda key, wake_id: self._scheduler.resume(self._agent_id, slot=key, wake_id=wake_id),
        )

    def renew(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the agent is alive, and nothing else; see `Scheduler.renew`."""
        return self._change(
            None, fence, lambda key, wake_id: self._scheduler.renew(self._agent_id, slot=key, wake_id=wake_id)
        )

    # --- which slot -------------------------------------------------------------------------------------------------

    def _end(self, status: SlotStatus, fence: Fence | None, report: _Report) -> dict[str, Any]:
        active, history = self._own()
        try:
            key, wake_id, ident = self._meant(active, history, fence)
            report(key, wake_id)
        except (NoActiveSlotError, SlotMismatchError):
            ended = self._ended(fence)
            if ended is None or ended.status is not status:
                raise
            return self._answer(ended.ident, status, is_changed=False, detail=_DONE[status])
        return self._answer(ident, status, is_changed=True)

    def _change(self, state: ActiveState | None, fence: Fence | None, report: _Report) -> dict[str, Any]:
        active, history = self._own()
        key, wake_id, ident = self._meant(active, history, fence)
        is_changed = active is not None and state is not None and active.state is not state
        report(key, wake_id)
        now = state if state is not None else (active.state if active is not None else ActiveState.ONGOING)
        return self._answer(
            ident, now, is_changed=is_changed, detail="" if is_changed or state is None else "it was so already"
        )

    def _own(self) -> tuple[ActiveSlot | None, list[HistoryEntry]]:
        status = self._scheduler.status()
        active = next((one for one in status.active if one.agent_id == self._agent_id), None)
        return active, [entry for entry in status.history if entry.agent_id == self._agent_id]

    def _meant(
        self, active: ActiveSlot | None, history: list[HistoryEntry], fence: Fence | None
    ) -> tuple[SlotKey, str, str]:
        """Find the slot and the wake that are meant, as the fence that the scheduler itself then checks; and its name.

        What the agent held a moment ago is named to the scheduler too, so that what it takes up meanwhile, the same
        slot again included, is not touched. A report of what is no longer active may be late: the scheduler decides.
        """
        if active is not None and _is_meant(active, fence):
            return active.key, active.wake_id, active.ident
        late = None if fence is None else next((one for one in reversed(history) if _is_of(one, fence)), None)
        if late is not None and fence is not None:
            return late.key, fence.wake_id, late.ident
        if active is None:
            raise NoActiveSlotError(self._agent_id)
        named = "" if fence is None else " ".join(part for part in (fence.slot, fence.wake_id) if part)
        raise SlotMismatchError(self._agent_id, named, active.ident)

    def _ended(self, fence: Fence | None) -> HistoryEntry | None:
        """Find what the agent's report may be a repetition of."""
        active, history = self._own()
        if fence is None:
            return history[-1] if history and active is None else None
        return next((one for one in reversed(history) if _is_of(one, fence)), None)

    def _answer(self, ident: str, status: object, *, is_changed: bool, detail: str = "") -> dict[str, Any]:
        return {
            "agent_id": self._agent_id,
            "slot": ident,
            "status": str(status),
            "changed": is_changed,
            "detail": detail,
        }


def status_of(status: Status, agent_id: str) -> dict[str, Any]:
    """Pick what concerns one agent, and nobody else, out of a scheduler's status."""
    active = next((one for one in status.active if one.agent_id == agent_id), None)
    heard_at = status.last_heartbeats.get(agent_id)
    error = status.last_errors.get(agent_id)
    return {
        "agent_id": agent_id,
        "active": None if active is None else active.to_dict(),
        "history": [entry.to_dict() for entry in status.history if entry.agent_id == agent_id],
        "last_heartbeat_at": None if heard_at is None else heard_at.isoformat(),
        "last_error": None if error is None else error.to_dict(),
        "problems": {source: one.to_dict() for source, one in status.problems.get(agent_id, {}).items()},
    }


def _is_meant(active: ActiveSlot, fence: Fence | None) -> bool:
    if fence is None:
        return True
    if fence.wake_id and fence.wake_id != active.wake_id:
        return False
    return not fence.slot or fence.slot in {active.ident, str(active.key.id)}


def _is_of(entry: HistoryEntry, fence: Fence) -> bool:
    """Tell whether an entry is of the slot that is meant; of the wake where that is all that is known."""
    return fence.slot in {entry.ident, str(entry.key.id)} if fence.slot else entry.wake_id == fence.wake_id


def _text(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} is a text, not {type(text).__name__}")
    return clean(text, TEXT_LIMIT)
