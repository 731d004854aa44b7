"""Pure decisions: which slot next and why not each other one, when to try again, what a refusal means.

No clock, no lock, no input or output: everything a decision needs is an argument.
"""

import dataclasses
import datetime as dt
import enum
import math
import re
from collections.abc import Sequence

from harborcal.errors import CalendarRefusedError
from harborcal.grammar import clean
from harborcal.model import AgentStatus, Heartbeat, Slot, SlotStatus, SlotUpdate, Standing, Verdict, VerdictReason

MAX_WAKE_DELAY = 600.0
"""Seconds that a slot whose wakes keep failing waits at most for the next one."""

MAX_HEARTBEAT_DELAY = 60.0
"""Seconds that an agent whose heartbeats keep failing waits at most: half of what makes it offline."""

MAX_RETRY_AFTER = 3600.0
"""Seconds: the longest that a calendar may ask to be left alone."""

SHORTEST_LEASE = 1_800.0
"""Seconds that an active slot may stay silent at least."""

OFFLINE_AFTER = 120.0
"""Seconds without a heartbeat after which the calendar calls an agent offline (contract, rule 5)."""

AGENT_NOT_FOUND = "Agent not found"
"""The contract's detail of a 404 that speaks of the agent instead of the slot."""

_GOLDEN = (math.sqrt(5) - 1) / 2
_FINAL = frozenset({400, 404, 409, 410, 422, 423})
_ASLEEP = frozenset({AgentStatus.EXHAUSTED, AgentStatus.OFFLINE})
_TERMINAL_WORD = re.compile(r"\b(finished|aborted|skipped)\b", re.ASCII | re.IGNORECASE)


# --- choosing -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What to do after a heartbeat: at most one slot to dispatch or to take up, and a verdict for every slot seen."""

    verdicts: tuple[Verdict, ...] = ()
    dispatch: Slot | None = None
    take_up: Slot | None = None
    missed: tuple[tuple[Slot, str], ...] = ()
    """Slots whose time is over, each with the reason."""
    next_due: dt.datetime | None = None
    """When the next of the listed slots is due; None where none is, or its agent could not be woken then."""


NOTHING = Choice()
_UNKNOWN = Standing()


def choose(
    heartbeat: Heartbeat,
    standings: Sequence[Standing | None],
    *,
    now: dt.datetime,
    at: float,
    interval: float,
    host_state: AgentStatus = AgentStatus.IDLE,
    busy: str = "",
    misfire_grace: float | None = None,
) -> Choice:
    """Pick the most urgent slot of an answer, and say of each slot why it was or was not picked.

    Work that the calendar calls ongoing or paused comes first: it is taken up, not woken again. Of the pending ones
    the highest priority wins, ties go to the first listed.

    Args:
        heartbeat: The answer.
        standings: What the ledger knows of each of ``heartbeat.slots``, in their order.
        now: The wall's time, compared with ``date`` and ``scheduled_at``.
        at: Monotonic now, compared with the last failure.
        interval: Seconds between heartbeats, the unit in which failed wakes back off.
        host_state: What the program's lister says of the agent.
        busy: Why the agent can take nothing on, empty where it can.
        misfire_grace: Seconds after which a slot that is still pending is missed; None for never.
    """
    if not heartbeat.slots and not heartbeat.unreadable:
        return NOTHING
    asleep = asleep_of(heartbeat, host_state)
    scene = _Scene(now=now, at=at, interval=interval, busy=busy, asleep=asleep, grace=misfire_grace)
    hindrances = [
        _hindrance(slot, standing or _UNKNOWN, scene) for slot, standing in zip(heartbeat.slots, standings, strict=True)
    ]
    free = [index for index, hindrance in enumerate(hindrances) if hindrance is None]
    in_progress = [index for index in free if not heartbeat.slots[index].status.is_pending]
    best = max(in_progress or free, key=lambda index: (heartbeat.slots[index].priority, -index), default=None)
    verdicts = tuple(
        hindrance or _picked_or_outranked(index, best, heartbeat.slots) for index, hindrance in enumerate(hindrances)
    )
    unreadable = tuple(
        Verdict(ident=slot.ident, reason=VerdictReason.UNREADABLE, detail=slot.reason) for slot in heartbeat.unreadable
    )
    chosen = None if best is None else heartbeat.slots[best]
    return Choice(
        next_due=None if busy or asleep else _next_due(heartbeat.slots, hindrances, now),
        verdicts=verdicts + unreadable,
        dispatch=chosen if not in_progress else None,
        take_up=chosen if in_progress else None,
        missed=tuple(
            (slot, hindrance.detail)
            for slot, hindrance in zip(heartbeat.slots, hindrances, strict=True)
            if hindrance is not None and hindrance.reason is VerdictReason.MISSED
        ),
    )


def due_at(slot: Slot, now: dt.datetime) -> dt.datetime | None:
    """Tell when a slot is due: its ``scheduled_at`` on its ``date``, or on today's in UTC.

    None says that it is due whenever it is listed: it names no time (contract, rule 1: nobody is woken early).
    """
    if slot.scheduled_at is None:
        return dt.datetime.combine(slot.date, dt.time(), dt.UTC) if slot.date is not None else None
    return dt.datetime.combine(slot.date or now.date(), slot.scheduled_at, dt.UTC)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Scene:
    """What holds for all slots of one answer."""

    now: dt.datetime
    at: float
    interval: float
    busy: str
    asleep: str
    grace: float | None


def asleep_of(heartbeat: Heartbeat, host_state: AgentStatus) -> str:
    """Say why an agent is not to be woken at all; empty where it may be."""
    if heartbeat.agent_status in _ASLEEP:
        return f"the calendar calls the agent {heartbeat.agent_status}"
    if host_state in _ASLEEP:
        return f"the host calls the agent {host_state}"
    return ""


def _hindrance(slot: Slot, standing: Standing, scene: _Scene) -> Verdict | None:
    """Say the first reason that holds against a slot, in the order of `VerdictReason`."""
    if slot.id is None and slot.virtual_id is None:
        return Verdict(ident="", reason=VerdictReason.UNREADABLE, detail="slot has neither real id nor virtual id")
    pending = slot.status.is_pending
    # A chain, not a table: what comes later is not worked out for a slot that an earlier reason keeps back.
    if detail := standing.settled or _over(slot):
        reason = VerdictReason.SETTLED
    elif detail := standing.taken:
        reason = VerdictReason.TAKEN
    elif pending and (detail := _early(slot, scene.now)):
        reason = VerdictReason.NOT_DUE
    elif pending and (detail := missed_by(slot, scene.now, scene.grace)):
        reason = VerdictReason.MISSED
    elif pending and (detail := _resting(standing, scene)):
        reason = VerdictReason.BACKING_OFF
    elif pending and (detail := scene.asleep):
        reason = VerdictReason.AGENT_STATE
    elif detail := scene.busy:
        reason = VerdictReason.BUSY
    else:
        return None
    return Verdict(ident=slot.ident, reason=reason, detail=detail)


def _next_due(slots: Sequence[Slot], hindrances: Sequence[Verdict | None], now: dt.datetime) -> dt.datetime | None:
    later = (
        due_at(slot, now)
        for slot, hindrance in zip(slots, hindrances, strict=True)
        if hindrance is not None and hindrance.reason is VerdictReason.NOT_DUE
    )
    return min(filter(None, later), default=None)


def _over(slot: Slot) -> str:
    return f"the calendar calls it {slot.status}" if slot.status.is_terminal else ""


def _early(slot: Slot, now: dt.datetime) -> str:
    due = due_at(slot, now)
    return f"due at {due.replace(tzinfo=None)} UTC" if due is not None and due > now else ""


def missed_by(slot: Slot, now: dt.datetime, grace: float | None) -> str:
    """Say why it is too late for a slot; empty where it is not, or where it names no date or no time."""
    if grace is None or slot.date is None or slot.scheduled_at is None:
        return ""
    due = dt.datetime.combine(slot.date, slot.scheduled_at, dt.UTC)
    if (now - due).total_seconds() <= grace:
        return ""
    return f"due at {due.replace(tzinfo=None)} UTC, more than {grace:g} s ago"


def _resting(standing: Standing, scene: _Scene) -> str:
    ready_at = standing.failed_at + wake_delay(standing.failures, scene.interval)
    return f"failed wakes in a row: {standing.failures}" if standing.failures and ready_at > scene.at else ""


def _picked_or_outranked(index: int, best: int | None, slots: Sequence[Slot]) -> Verdict:
    slot = slots[index]
    if best is None or index != best:
        winner = slots[best].ident if best is not None else ""
        return Verdict(ident=slot.ident, reason=VerdictReason.OUTRANKED, detail=f"{winner} goes first")
    reason = VerdictReason.DISPATCHED if slot.status.is_pending else VerdictReason.TAKEN_UP
    return Verdict(ident=slot.ident, reason=reason)


# --- trying again ---------------------------------------------------------------------------------------------------


def wake_delay(failures: int, interval: float) -> float:
    """Tell how long a slot rests after its n-th failed wake in a row: until the next tick, then 1, 2, 4 ... intervals.

    A tenth of an interval is taken off, so that a tick that comes a few milliseconds after its time still counts.
    """
    if failures <= 1:
        return 0.0
    doublings = min(failures - 2, 32)
    return max(0.0, min(MAX_WAKE_DELAY, interval * 2.0**doublings) - interval / 10)


def heartbeat_delay(failures: int, interval: float, retry_after: object, chance: float) -> float:
    """Tell how long an agent waits after its n-th failed heartbeat in a row.

    Never shorter than the interval, so that an outage costs the calendar no more than a steady day; above that full
    jitter (``chance`` is drawn from 0..1), at most 60 s. A longer ``Retry-After`` wins, up to an hour; one that is no
    sensible number (it may come from anybody's transport) counts as none.
    """
    ceiling = min(MAX_HEARTBEAT_DELAY, interval * 2.0 ** min(failures, 32))
    delay = interval + chance * max(0.0, ceiling - interval)
    return max(delay, asked_delay(retry_after))


def asked_delay(retry_after: object) -> float:
    """Tell how long a calendar asks to be left alone: 0 to an hour, also where its number makes no sense."""
    if isinstance(retry_after, int | float) and math.isfinite(retry_after):
        return min(MAX_RETRY_AFTER, max(0.0, float(retry_after)))
    return 0.0


def next_beat(due: float, interval: float, now: float) -> float:
    """Tell the next instant of an absolute cadence that is still to come: what an overrun missed is skipped."""
    if due > now:
        return due
    beat = due + (int((now - due) / interval) + 1) * interval
    return beat if beat > now else beat + interval  # rounding may have led back to this very moment


def phase(number: int) -> float:
    """Tell where in the interval the n-th of many agents begins, in 0..1: evenly, however many there will be."""
    return number * _GOLDEN % 1.0


def lease_of(slot: Slot, shortest: float | None) -> float | None:
    """Tell how many seconds an active slot may stay silent: twice its estimate, at least the shortest.

    None, where the shortest is, says for ever.
    """
    if shortest is None:
        return None
    return max(shortest, 2 * 60.0 * (slot.estimated_duration or 0))


# --- updates --------------------------------------------------------------------------------------------------------


class Refusal(enum.Enum):
    """What a refused update means."""

    ALREADY_SO = enum.auto()
    """An earlier try whose answer was lost had been applied: this is success."""
    FINAL = enum.auto()
    """The calendar will never take it: the slot is settled."""
    PASSING = enum.auto()
    """The slot stays as it is; only the caller is told."""


def is_agent_unknown(refusal: CalendarRefusedError) -> bool:
    """Tell whether a refusal speaks of the agent instead of the slot (contract: 404 ``Agent not found``)."""
    return refusal.status == 404 and refusal.detail.strip().rstrip(".").casefold() == AGENT_NOT_FOUND.casefold()


def read_refusal(refusal: CalendarRefusedError, update: SlotUpdate, *, tried_before: bool, gentle: bool) -> Refusal:
    """Decide what a refusal of an update means.

    Args:
        refusal: What the calendar said.
        update: What was asked of it.
        tried_before: Whether the same update was sent before with an unknown outcome.
        gentle: Whether this is a pause or a resume, whose 409 and 423 leave the slot active.
    """
    if is_agent_unknown(refusal):
        return Refusal.PASSING
    if refusal.status == 409 and (tried_before or refusal.repeated) and not _names_another(refusal.detail, update):
        return Refusal.ALREADY_SO
    if gentle and refusal.status in {409, 423}:
        return Refusal.PASSING
    return Refusal.FINAL if refusal.status in _FINAL else Refusal.PASSING


def _names_another(detail: str, update: SlotUpdate) -> bool:
    named = {word.lower() for word in _TERMINAL_WORD.findall(detail)}
    return bool(named) and str(update.status) not in named


def actual_duration(worked: dt.timedelta) -> int:
    """Turn time worked into the contract's minutes: whole ones, cut off, at least 1 and at most 65535."""
    return min(65_535, max(1, int(worked.total_seconds() // 60)))


def release(slot: Slot) -> SlotUpdate:
    """Give a slot back: ``deferred``, or ``aborted`` where an admin locked it (contract, rule 3)."""
    return SlotUpdate(status=SlotStatus.ABORTED if slot.is_admin_locked else SlotStatus.DEFERRED)


def skip(slot: Slot) -> SlotUpdate:
    """Let a slot pass: ``skipped``, or ``aborted`` where an admin locked it (contract, rule 3)."""
    return SlotUpdate(status=SlotStatus.ABORTED if slot.is_admin_locked else SlotStatus.SKIPPED)


def is_gentle(update: SlotUpdate) -> bool:
    """Tell whether an update is a pause or a resume, whose 409 and 423 leave the slot active."""
    return update.status is SlotStatus.PAUSED or (update.status is SlotStatus.ONGOING and update.started_at is None)


def describe(error: BaseException) -> str:
    """Put an error into one clean line: its words, or its type where it has none."""
    try:
        text = clean(str(error))
    except Exception:  # noqa: BLE001 - a foreign error may fail to tell itself
        text = ""
    return text if text.strip() else type(error).__name__
