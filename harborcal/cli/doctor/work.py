"""What the doctor sees of work under way: agents that fell silent, and commands that work on for nobody."""

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any

from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Finding, Findings, Note
from harborcal.cli.doctor.silence import is_silent, lease_at
from harborcal.control import Fence
from harborcal.errors import ControlError
from harborcal.hosts import Orphan, orphans_in
from harborcal.journal import Attempt, AttemptState
from harborcal.model import Slot, SlotStatus, SlotUpdate


def stuck_leases(visit: Examination) -> Findings:
    """See whether somebody has been silent for far longer than a daemon lets them."""
    found = list(_stuck_in_journal(visit) if visit.daemon is None else _stuck_at_daemon(visit))
    yield from found or [Note(text="nobody has been silent for too long")]


def _stuck_at_daemon(visit: Examination) -> Findings:
    now = visit.clock.now()
    for active in visit.status()["active"]:
        until = active.get("lease_until")
        begun = dt.datetime.fromisoformat(active["heard_at"] or active["started_at"])
        slot = Slot.from_dict(active["slot"])
        is_stuck = (
            is_silent(visit, slot, begun)
            if until is None
            else now - dt.datetime.fromisoformat(until) > dt.timedelta(seconds=lease_at(visit, slot))
        )
        if active["state"] == "paused" or not is_stuck:
            continue
        yield Finding(
            what=f"{active['agent_id']} is at slot {active['ident']}, silent since {begun:%Y-%m-%d %H:%M} UTC",
            remedy="would abort it; what its agent does all the same is not ended by that",
            repair=functools.partial(_give_up, visit, active),
        )


def _give_up(visit: Examination, active: Mapping[str, Any]) -> str:
    if visit.daemon is None:
        raise ControlError("no daemon is reached")
    fence = Fence(slot=active["ident"], wake_id=active["wake_id"])
    visit.daemon.agent(active["agent_id"]).abort("silent for too long (harborcal doctor)", fence=fence)
    return "it is aborted, and its agent is free"


def _stuck_in_journal(visit: Examination) -> Findings:
    kept = visit.readable_journal()
    for attempt in () if kept is None else kept.attempts():
        if attempt.state not in {AttemptState.WAKING, AttemptState.ONGOING}:  # others rest, are over, or not begun
            continue
        heard_at = max(at for at in (attempt.heard_at, attempt.claimed_at, attempt.reminded_at) if at is not None)
        if not is_silent(visit, attempt.slot, heard_at) or _is_working(visit, attempt):
            continue
        yield Finding(
            what=f"{attempt.agent_id} was at slot {attempt.slot.ident}, silent since {heard_at:%Y-%m-%d %H:%M} UTC",
            remedy="would call it aborted, which the next daemon tells the calendar; without that it reminds its agent",
            repair=functools.partial(_abort_in, visit, attempt),
        )


def _abort_in(visit: Examination, attempt: Attempt) -> str:
    kept = visit.need_journal()
    kept.annotate(attempt.id, SlotStatus.ABORTED, reason="silent for too long (harborcal doctor)")
    kept.accept(attempt.agent_id, attempt.key, SlotUpdate(status=SlotStatus.ABORTED))
    return "it is aborted; the next daemon tells the calendar"


def _is_working(visit: Examination, attempt: Attempt) -> bool:
    return any(orphan.wake_id == attempt.wake_id for orphan in _orphans(visit))


def orphaned_commands(visit: Examination) -> Findings:
    """See whether commands that were woken work on for nobody."""
    if visit.is_running and visit.daemon is None:
        yield Note(text="not looked at: the daemon does not answer")
        return
    wakes = _live_wakes(visit)
    count = 0
    for orphan in _orphans(visit):
        if orphan.is_followed:  # it may go on for a while once its slot is settled; its own process ends it then
            continue
        if orphan.wake_id in wakes:
            if visit.daemon is None:
                yield Note(text=f"process {orphan.pid} of {orphan.agent_id} works on; the next daemon goes on with it")
            continue
        count += 1
        yield Finding(
            what=f"process {orphan.pid} works for {orphan.agent_id}, whose slot has ended without it",
            remedy="would end it and all that it has started",
            repair=functools.partial(_end, orphan),
        )
    if not count:
        yield Note(text="none works for nobody")


def _orphans(visit: Examination) -> tuple[Orphan, ...]:
    return orphans_in(visit.settings.runs)


def _live_wakes(visit: Examination) -> set[str]:
    if visit.daemon is not None:
        return {active["wake_id"] for active in visit.status()["active"]}
    kept = visit.readable_journal()
    attempts = () if kept is None else kept.attempts()
    return {attempt.wake_id for attempt in attempts if attempt.state is not AttemptState.SETTLED}


def _end(orphan: Orphan) -> str:
    orphan.end()
    return "it was ended"
