"""The calendar's side of a rehearsal: the carried calendar in memory, behind a line that fails."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harborcal.clock import Clock
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    HarborcalError,
    NotSentError,
    TransportTimeoutError,
)
from harborcal.model import Heartbeat, Slot, SlotKey, SlotKind, SlotStatus, SlotUpdate, UpdateReceipt
from harborcal.policy import due_at
from harborcal.testing.simulation.faults import Dice, Faults
from harborcal.testing.simulation.history import EventKind, Recorder
from harborcal.testing.simulation.power import Power
from harborcal.transports.embedded import EmbeddedTransport

if TYPE_CHECKING:
    from harborcal.calendar import Calendar

CLAW = "simulation"
"""The claw identifier of all our processes: they follow each other."""

_FRESH_FOR = 3_600.0
_LAG = 115.0


def name_of(slot: Slot) -> str:
    """Name a slot the same before and after it became real."""
    if slot.virtual_id is not None:
        return slot.virtual_id
    return str(slot.id) if slot.plan_id is None else f"plan-{slot.plan_id}-{slot.date}"


def late_by(slot: Slot, now: dt.datetime) -> float | None:
    """Tell how many seconds ago a slot's time was; None where it names none."""
    due = due_at(slot, now)
    return None if due is None else round((now - due).total_seconds(), 3)


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    heartbeat: Heartbeat
    at: float
    date: dt.date


class Backend:
    """The calendar, and all that is wrong with it and with the line to it; outlives our process.

    Between two writes of an agent's schedule the calendar's answer to its heartbeat cannot change, so it is asked anew
    after a write, after a restart, on another date, and every hour; in between it is given again, which makes a
    simulated day several times as fast.
    """

    def __init__(self, calendar: "Calendar", clock: Clock, faults: Faults, dice: Dice, history: Recorder) -> None:
        self.calendar = calendar
        self.is_healthy = False
        self.counts: dict[str, int] = {}
        self._clock = clock
        self._faults = faults
        self._dice = dice
        self._history = history
        self._down_until = 0.0
        self._names: dict[SlotKey, str] = {}
        self._statuses: dict[str, str] = {}  # of slots, where nobody else has changed anything since
        self._answers: dict[str, _Answer] = {}
        self._days: dict[tuple[str, dt.date], tuple[Slot, ...]] = {}
        self._before: dict[str, _Answer] = {}
        # Only answers that differ from what is true are seen: of those it takes many more to be as many.
        self._lag = min(1.0, faults.stale_answers * 8)
        self._forgets_next = False
        self._writes: dict[str, int] = {}

    # --- what is wrong ----------------------------------------------------------------------------------------------

    def begin_outage(self, seconds: float) -> None:
        """Answer nothing for a while."""
        self._history.add(EventKind.OUTAGE_BEGAN, seconds=round(seconds, 1))
        self._count("outages")
        until = self._down_until = self._clock.monotonic() + seconds

        def end() -> None:
            if self._down_until == until:
                self._history.add(EventKind.OUTAGE_ENDED)

        self._clock.call_later(seconds, end)

    def forget_next_write(self) -> None:
        """Fail over soon after the next write, to a copy that has not seen it."""
        self._forgets_next = True

    def heal(self) -> None:
        """Let nothing be wrong any more."""
        self.is_healthy = True
        self._forgets_next = False
        if self._down_until > self._clock.monotonic():
            self._history.add(EventKind.OUTAGE_ENDED)
            self._down_until = 0.0

    def changed(self, agent_id: str | None = None) -> None:
        """Know that something was written: to one agent's schedule, or, by somebody else, to anybody's."""
        if agent_id is not None:
            self._answers.pop(agent_id, None)
            self._days = {place: day for place, day in self._days.items() if place[0] != agent_id}
            return
        self._answers.clear()
        self._days.clear()
        self._statuses.clear()

    def _count(self, fault: str) -> None:
        self.counts[fault] = self.counts.get(fault, 0) + 1

    def strike(self, call: str) -> None:
        """Fail before anything is applied, where that is drawn.

        Raises:
            TransportError: It fails.
        """
        if self._clock.monotonic() < self._down_until:
            if self._dice.of("line").random() < 0.5:
                raise NotSentError(f"{call}: nobody answers")
            raise CalendarUnavailableError(f"{call}: unavailable", 503)
        if not self.is_healthy and self._dice.happens("line", self._faults.failed_calls):
            self._count("failed_calls")
            if self._dice.of("line").random() < 0.5:
                raise TransportTimeoutError(f"{call}: it never arrived")
            raise CalendarUnavailableError(f"{call}: too many", 429)

    def lose(self, call: str) -> None:
        """Lose an answer, where that is drawn.

        Raises:
            TransportTimeoutError: It is lost.
        """
        if not self.is_healthy and self._dice.happens("line", self._faults.lost_answers):
            self._count("lost_answers")
            raise TransportTimeoutError(f"{call}: the answer was lost")

    # --- heartbeats -------------------------------------------------------------------------------------------------

    def heartbeat(self, inner: EmbeddedTransport, agent_id: str) -> Heartbeat:
        """Answer a heartbeat, now and then with what was true at the one before."""
        now = self._clock.monotonic()
        before = self._before.get(agent_id)
        answer = self._answers.get(agent_id)
        if answer is None or now - answer.at > _FRESH_FOR or answer.date != self._clock.now().date():
            heartbeat = inner.heartbeat(agent_id)
            self._answers[agent_id] = answer = _Answer(heartbeat, now, self._clock.now().date())
        # Here no time passes between a write and an answer. What was written in this very instant is told in time, or
        # an answer could look newer than what came after it.
        if all(slot.updated_at != self._clock.now() for slot in answer.heartbeat.slots):
            self._before[agent_id] = _Answer(answer.heartbeat, now, answer.date)
        differs = before is not None and before.heartbeat is not answer.heartbeat and now - before.at <= _LAG
        if before is None or not differs or self.is_healthy or not self._dice.happens("lag", self._lag):
            return answer.heartbeat
        self._count("stale_answers")
        return before.heartbeat

    def day(self, inner: EmbeddedTransport, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        """Answer what a day is like."""
        if (agent_id, date) not in self._days:
            self._days[agent_id, date] = inner.day(agent_id, date)
        return self._days[agent_id, date]

    # --- writes -----------------------------------------------------------------------------------------------------

    def write(
        self, agent_id: str, key: SlotKey, status: str, apply: Callable[[], UpdateReceipt | None], **details: object
    ) -> UpdateReceipt | None:
        """Have the calendar apply something, and write down what became of it."""
        name = self._name(key)
        was = self._statuses[name] if name in self._statuses else self._status(key)
        if status in {"aborted", "skipped"}:
            details |= self._facts(key)
        row = self._row(key) if self._forgets_next else None  # what makes a virtual slot real is not forgotten
        self.changed(agent_id)
        try:
            receipt = apply()
        except CalendarRefusedError as refusal:
            self._tell(agent_id, name, status, was, "refused", error=str(refusal), **details)
            raise
        if receipt is None:
            self._tell(agent_id, name, status, was, "refused", error="not given", **details)
            return None
        self._names[receipt.slot] = name
        is_change = status != was
        self._statuses[name] = status
        self._tell(agent_id, name, status, was, "applied" if is_change else "repeated", **details)
        self._writes[name] = self._writes.get(name, 0) + 1
        if row is not None and is_change:
            self._forgets_next = False
            self._forget_soon(agent_id, name, receipt.slot, row)
        return receipt

    def _tell(self, agent_id: str, name: str, status: str, was: str, outcome: str, **details: object) -> None:
        self._history.add(EventKind.UPDATED, agent_id, name, status=status, was=was, outcome=outcome, **details)

    def _name(self, key: SlotKey) -> str:
        if key.kind is SlotKind.VIRTUAL:
            return str(key.id)
        if key not in self._names:
            with contextlib.suppress(CalendarRefusedError):
                self._names[key] = name_of(self.calendar.slot(key))
        return self._names.get(key, str(key.id))

    def _status(self, key: SlotKey) -> str:
        try:
            return str(self.calendar.slot(key).status)
        except CalendarRefusedError:
            return "unknown"

    def _facts(self, key: SlotKey) -> dict[str, object]:
        try:
            slot = self.calendar.slot(key)
        except CalendarRefusedError:
            return {}
        return {"late": late_by(slot, self._clock.now()), "locked": slot.is_admin_locked}

    # --- fail-over --------------------------------------------------------------------------------------------------

    def _row(self, key: SlotKey) -> dict[str, Any] | None:
        """Copy a slot's row, None where it has none yet; the calendar has no door for what it does not do itself."""
        import sqlalchemy as sa

        from harborcal.calendar.schema import slots

        column = slots.c.id if key.kind is SlotKind.REAL else slots.c.virtual_id
        with self.calendar._store.read() as connection:  # noqa: SLF001 - as said above
            row = connection.execute(sa.select(slots).where(column == key.id)).one_or_none()
            return None if row is None else dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it

    def _forget_soon(self, agent_id: str, name: str, key: SlotKey, row: dict[str, Any]) -> None:
        written = self._writes[name]

        def forget() -> None:
            if self._writes[name] == written and not self.is_healthy:
                self._put_back(agent_id, name, key, row)

        self._clock.call_later(self._dice.of("fail-over").uniform(0.5, 90.0), forget)

    def _put_back(self, agent_id: str, name: str, key: SlotKey, row: dict[str, Any]) -> None:
        import sqlalchemy as sa

        from harborcal.calendar.schema import slots

        with self.calendar._store.write() as connection:  # noqa: SLF001 - see _row
            connection.execute(sa.update(slots).where(slots.c.id == row["id"]).values(row))
        self.changed()
        self._count("forgotten_writes")
        self._history.add(EventKind.FORGOTTEN, agent_id, name, status=self._status(key))


class Line:
    """One process's line to the backend: a `Transport` and a `DayReader`."""

    def __init__(self, backend: Backend, power: Power) -> None:
        self._backend = backend
        self._power = power
        self._inner = EmbeddedTransport(backend.calendar, CLAW)
        backend.changed()  # another owner asks: the calendar may answer otherwise

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Ask for an agent's slots."""
        self._power.reach("heartbeat.before")
        self._backend.strike("heartbeat")
        answer = self._backend.heartbeat(self._inner, agent_id)
        self._power.reach("heartbeat.after")
        self._backend.lose("heartbeat")
        return answer

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Tell where a slot stands."""
        self._power.reach("update.before")
        self._backend.strike("update")
        minutes = {"minutes": update.actual_duration} if update.status is SlotStatus.FINISHED else {}
        receipt = self._backend.write(
            agent_id, slot, str(update.status), lambda: self._inner.update_slot(agent_id, slot, update), **minutes
        )
        self._power.reach("update.after")
        self._backend.lose("update")
        return receipt if receipt is not None else UpdateReceipt(slot=slot)

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        """Ask for an agent's day."""
        self._power.reach("day.before")
        self._backend.strike("day")
        day = self._backend.day(self._inner, agent_id, date)
        self._power.reach("day.after")
        self._backend.lose("day")
        return day

    def close(self) -> None:
        """Close it."""
        self._inner.close()


class ClaimingLine(Line):
    """A line that can also take slots: a `ClaimingTransport`."""

    def claim(self, agent_id: str, slot: SlotKey, started_at: dt.datetime) -> UpdateReceipt | None:
        """Take a slot before its wake."""
        self._power.reach("claim.before")
        self._backend.strike("claim")
        receipt = self._backend.write(
            agent_id, slot, "ongoing", lambda: self._inner.claim(agent_id, slot, started_at), claim=True
        )
        self._power.reach("claim.after")
        self._backend.lose("claim")
        return receipt


class BatchingLine:
    """A line that is asked for many agents at once: a `BatchTransport`. Whatever else it can is its ``inner``'s."""

    def __init__(self, inner: Line) -> None:
        self.inner = inner

    def heartbeats(self, agent_ids: Sequence[str]) -> Iterator[tuple[str, Heartbeat | HarborcalError]]:
        """Ask for each agent's slots, in turn."""
        for agent_id in agent_ids:
            try:
                answer: Heartbeat | HarborcalError = self.inner.heartbeat(agent_id)
            except HarborcalError as error:
                answer = error
            yield agent_id, answer

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Ask for an agent's slots."""
        return self.inner.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Tell where a slot stands."""
        return self.inner.update_slot(agent_id, slot, update)

    def close(self) -> None:
        """Close it."""
        self.inner.close()
