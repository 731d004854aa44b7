"""What has happened, as lines of log: who was woken, who rests, who is done."""

import datetime as dt
from collections.abc import Callable, Mapping

from harborcal.host import Host, WakeRequest
from harborcal.model import ActiveSlot, ActiveState, HistoryEntry, Status

Log = Callable[[str, str, Mapping[str, object]], None]

_Settled = tuple[str, str, int, dt.datetime]


class AnnouncingHost:
    """Has another host wake agents, and says who was woken.

    Args:
        inner: The host that wakes.
        log: Takes ``(level, message, fields)``.
    """

    def __init__(self, inner: Host, log: Log) -> None:
        self.inner = inner
        self._log = log

    def wake_agent(self, wake: WakeRequest) -> object:
        """Wake the agent; only then is it said, since a wake that raises has woken nobody."""
        returned = self.inner.wake_agent(wake)
        facts = {"agent": wake.agent_id, "slot": wake.slot.ident, "attempt": wake.attempt, "wake_id": wake.wake_id}
        self._log("info", "agent reminded" if wake.reminder else "agent woken", facts)
        return returned

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Pass the line on."""
        self.inner.log(level, message, fields)


class News:
    """Compares pictures of a scheduler, and tells what is new in the later one; how slots ended, from its history.

    Args:
        status: What was so before.
        log: Takes ``(level, message, fields)``.
    """

    def __init__(self, status: Status, log: Log) -> None:
        self._log = log
        self._states = {active.wake_id: active.state for active in status.active}
        self._settled = {_key_of(entry) for entry in status.history}
        for active in status.active:
            log("info", "slot found under way", _facts_of(active))

    def tell(self, status: Status) -> None:
        """Tell what is new in a picture."""
        for active in status.active:
            self._tell_of(active, self._states.get(active.wake_id))
        for entry in status.history:
            if _key_of(entry) not in self._settled:
                self._log("info" if entry.status == "finished" else "warn", "slot settled", _end_of(entry))
        self._states = {active.wake_id: active.state for active in status.active}
        self._settled = {_key_of(entry) for entry in status.history}

    def _tell_of(self, active: ActiveSlot, before: ActiveState | None) -> None:
        if before is None and active.taken_up:
            self._log("info", "slot taken up", _facts_of(active))
        if active.state is ActiveState.PAUSED and before is not ActiveState.PAUSED:
            self._log("info", "slot paused", _facts_of(active) | {"reason": active.pause_reason})
        elif before is ActiveState.PAUSED and active.state is not ActiveState.PAUSED:
            self._log("info", "slot resumed", _facts_of(active))


def _key_of(entry: HistoryEntry) -> _Settled:
    return (entry.agent_id, entry.ident, entry.attempt, entry.resolved_at)


def _facts_of(active: ActiveSlot) -> dict[str, object]:
    return {"agent": active.agent_id, "slot": active.ident, "attempt": active.attempt, "state": str(active.state)}


def _end_of(entry: HistoryEntry) -> dict[str, object]:
    told = {"summary": entry.summary, "reason": entry.reason}
    facts = {"agent": entry.agent_id, "slot": entry.ident, "attempt": entry.attempt, "status": str(entry.status)}
    return facts | {key: text for key, text in told.items() if text} | ({"late": True} if entry.late else {})
