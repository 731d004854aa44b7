"""One agent's access in the scheduler's own process."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from harborcal.clock import Clock, SystemClock
from harborcal.control.access import Fence, check_words
from harborcal.errors import ConfigurationError, NoActiveSlotError, SlotMismatchError
from harborcal.grammar import check_id
from harborcal.model import ActiveSlot, ActiveState, HistoryEntry, SlotKey, SlotStatus, Status
from harborcal.scheduler import Scheduler
from harborcal.transport import DayReader

_DONE = {SlotStatus.FINISHED: "it was complete already", SlotStatus.ABORTED: "it was aborted already"}
_LATE = "the slot had been given up, as nobody had reported in time; this report is noted beside that"
_LATE_ALREADY = "the slot had been given up, as nobody had reported in time; a late report is noted already"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Meant:
    """The attempt that a report is about; ``state`` is None where it is active no more."""

    key: SlotKey | None
    ident: str
    wake_id: str
    state: ActiveState | None = None

    @property
    def fence(self) -> Fence:
        return Fence(slot=self.ident, wake_id=self.wake_id)


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
        heard_at = self._scheduler.status().last_heartbeats.get(self._agent_id)
        told_at = None if heard_at is None else heard_at.isoformat()
        return {"agent_id": self._agent_id, "last_heartbeat_at": told_at, "verdicts": verdicts}

    def complete(self, summary: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work is done; see `Scheduler.complete`."""
        words = check_words("summary", summary)
        return self._end(
            SlotStatus.FINISHED,
            fence,
            lambda it: self._scheduler.complete(self._agent_id, words, slot=it.key, wake_id=it.wake_id),
        )

    def abort(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work will not be done; see `Scheduler.abort`."""
        words = check_words("reason", reason)
        return self._end(
            SlotStatus.ABORTED,
            fence,
            lambda it: self._scheduler.abort(self._agent_id, words, slot=it.key, wake_id=it.wake_id),
        )

    def pause(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work rests; see `Scheduler.pause`."""
        words = check_words("reason", reason)
        meant, state = self._active(fence)
        self._scheduler.pause(self._agent_id, words, slot=meant.key, wake_id=meant.wake_id)
        return self._so(meant, ActiveState.PAUSED, is_changed=state is not ActiveState.PAUSED)

    def resume(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work goes on; see `Scheduler.resume`."""
        meant, state = self._active(fence)
        self._scheduler.resume(self._agent_id, slot=meant.key, wake_id=meant.wake_id)
        is_paused = state is ActiveState.PAUSED
        return self._so(meant, ActiveState.ONGOING if is_paused else state, is_changed=is_paused)

    def renew(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the agent is alive, and nothing else; see `Scheduler.renew`."""
        meant, state = self._active(fence)
        self._scheduler.renew(self._agent_id, slot=meant.key, wake_id=meant.wake_id)
        return self._answer(meant.ident, state, is_changed=False)

    # --- which slot -------------------------------------------------------------------------------------------------

    def _end(self, status: SlotStatus, fence: Fence | None, report: Callable[[_Meant], None]) -> dict[str, Any]:
        about = fence
        try:
            meant = self._meant(fence)
            about = meant.fence
            report(meant)
        except (NoActiveSlotError, SlotMismatchError):
            entry = self._ended(about)
            if entry is not None and entry.status is status:
                return self._answer(entry.ident, status, is_changed=False, detail=_DONE[status])
            if entry is not None and entry.late:
                return self._answer(entry.ident, entry.status, is_changed=False, detail=_LATE_ALREADY)
            raise
        entry = self._ended(about)
        if entry is not None and entry.late:  # the calendar may have been told something else before
            return self._answer(entry.ident, entry.status, is_changed=True, detail=_LATE)
        if entry is None and meant.state is None:
            return self._answer(meant.ident, SlotStatus.ABORTED, is_changed=True, detail=_LATE)
        return self._answer(meant.ident, status, is_changed=True)

    def _meant(self, fence: Fence | None) -> _Meant:
        """Find the attempt that is meant.

        Its slot and its wake are the fence that the scheduler itself then checks, so that what the agent takes up
        meanwhile, the same slot again included, is not touched. Of an attempt that is over may be reported too late:
        that the scheduler decides.
        """
        active, history = self._own()
        if active is not None and (not fence or _is_about(active, fence)):
            return _Meant(key=active.key, ident=active.ident, wake_id=active.wake_id, state=active.state)
        entry = _latest(history, fence)
        if entry is not None:
            return _Meant(key=entry.key, ident=entry.ident, wake_id=entry.wake_id)
        if fence:  # the history is short, and the scheduler may know of it still
            return _Meant(key=_key_of(fence), ident=fence.slot, wake_id=fence.wake_id)
        raise NoActiveSlotError(self._agent_id)

    def _active(self, fence: Fence | None) -> tuple[_Meant, ActiveState]:
        """Find the attempt that is meant, which must be active."""
        meant = self._meant(fence)
        if meant.state is not None:
            return meant, meant.state
        active, _ = self._own()
        if active is None:
            raise NoActiveSlotError(self._agent_id)
        raise SlotMismatchError(self._agent_id, str(meant.fence), active.ident)

    def _own(self) -> tuple[ActiveSlot | None, list[HistoryEntry]]:
        status = self._scheduler.status()
        active = next((one for one in status.active if one.agent_id == self._agent_id), None)
        return active, [entry for entry in status.history if entry.agent_id == self._agent_id]

    def _ended(self, fence: Fence | None) -> HistoryEntry | None:
        """Find how the slot ended that a report is about."""
        return _latest(self._own()[1], fence) if fence else None

    # --- answers ----------------------------------------------------------------------------------------------------

    def _so(self, meant: _Meant, state: ActiveState, *, is_changed: bool) -> dict[str, Any]:
        return self._answer(meant.ident, state, is_changed=is_changed, detail="" if is_changed else "it was so already")

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


def _key_of(fence: Fence) -> SlotKey | None:
    if not fence.slot:
        return None
    is_real = fence.slot.isascii() and fence.slot.isdecimal() and len(fence.slot) <= 18
    return SlotKey.real(int(fence.slot)) if is_real else SlotKey.virtual(fence.slot)


def _latest(history: list[HistoryEntry], fence: Fence | None) -> HistoryEntry | None:
    return next((entry for entry in reversed(history) if not fence or _is_about(entry, fence)), None)


def _is_about(one: ActiveSlot | HistoryEntry, fence: Fence) -> bool:
    if fence.wake_id and fence.wake_id != one.wake_id:
        return False
    return not fence.slot or fence.slot in _names(one)


def _names(one: ActiveSlot | HistoryEntry) -> set[str]:
    """Tell by what a slot may be called: as it was when it was claimed, and as it is since it has become real."""
    return {one.ident, str(one.key.id)}
