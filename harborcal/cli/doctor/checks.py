"""The doctor's checks, one after the other. Each tells what it finds; none changes anything before it is asked to."""

import datetime as dt
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harborcal.cli.calendars import backend_of
from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Finding, Note
from harborcal.cli.state import PRIVATE_FILE, PRIVATE_FOLDER, is_foreign, is_open_to_others
from harborcal.cli.zones import system_zone
from harborcal.control import Fence
from harborcal.errors import (
    CalendarRefusedError,
    ConfigurationError,
    ControlError,
    HarborcalError,
    JournalError,
)
from harborcal.hosts import HostContext, Orphan, host_named, orphans_in
from harborcal.journal import Attempt, AttemptState, Journal, LetterState
from harborcal.model import SchedulerConfig, Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.policy import lease_of

Findings = Iterator[Finding | Note]
Check = tuple[str, Callable[[Examination], Findings]]

SILENT_FOR = 3.0
"""How many leases of silence are far too many: by the second one the daemon has given a slot up."""

AHEAD = 60.0
"""Seconds that something written may lie in the future before the clock is doubted."""

_AT_WORK = frozenset({"ongoing", "paused"})
_USUAL_LEASE = SchedulerConfig().lease


def configuration(visit: Examination) -> Findings:
    """See that each agent's host can be made, and that its command is there."""
    settings = visit.settings
    where = "no configuration file" if settings.file is None else str(settings.file)
    if not settings.agents:
        yield Finding(what=f"{where}: no agent is configured", remedy="write [agents.NAME] into harborcal.toml")
        return
    yield Note(text=f"{where}: {len(settings.agents)} agents")
    for agent in settings.agents.values():
        context = HostContext(
            agent_id=agent.id,
            folder=settings.folder,
            output=settings.runs,
            credentials=lambda _: {},
        )
        try:
            host_named(agent.host, agent.settings, context)
        except HarborcalError as error:
            yield Finding(what=str(error), remedy="correct it: the daemon refuses to start so")


def state_folder(visit: Examination) -> Findings:
    """See that what the daemon keeps is for its owner's eyes only."""
    folder = visit.settings.state
    if not folder.exists():
        yield Note(text=f"{folder}: not there yet; the daemon makes it")
        return
    if not folder.is_dir() or is_foreign(folder):
        yield Finding(
            what=f"{folder} is {'another user' + chr(39) + 's' if folder.is_dir() else 'no folder'}",
            remedy="name another one (state = ... in harborcal.toml)",
        )
        return
    places = {folder: PRIVATE_FOLDER, visit.settings.secret: PRIVATE_FILE, visit.settings.journal: PRIVATE_FILE}
    is_closed = True
    for place, mode in places.items():
        if is_open_to_others(place):
            is_closed = False
            yield Finding(
                what=f"{place} is open to others (mode {place.stat().st_mode & 0o777:04o})",
                remedy=f"would set its mode to {mode:04o}",
                repair=functools.partial(_close, place, mode),
            )
    if is_closed:
        yield Note(text=f"{folder}: open to its owner only")


def _close(place: Path, mode: int) -> str:
    place.chmod(mode)
    return f"its mode is {mode:04o} now"


def daemon(visit: Examination) -> Findings:
    """See whether a daemon runs, and whether it answers."""
    settings = visit.settings
    if visit.is_running and visit.daemon is None:
        holder = f"process {visit.sole.holder()}" if visit.sole.holder() else "a process"
        yield Finding(
            what=f"{holder} holds {settings.lock}, but is not reached at {settings.control}: {visit.trouble}",
            remedy="if it does not answer in a minute, end it and start it again: its journal is kept",
        )
    elif visit.daemon is not None:
        yield Note(text=f"process {visit.sole.holder() or '?'} runs and answers at {settings.control}")
    else:
        yield Note(text="no daemon runs")


def control_socket(visit: Examination) -> Findings:
    """See that no socket of a daemon that is gone is left."""
    address = visit.settings.control
    if not address.startswith("unix:"):
        yield Note(text=f"{address}: no socket file")
        return
    path = Path(address.removeprefix("unix:"))
    if visit.is_running or not path.is_socket():
        yield Note(text=f"{path}: {'in use' if visit.is_running else 'none is left over'}")
        return

    def take_away() -> str:
        visit.need_ours()
        path.unlink()
        return "it is gone; it held nothing"

    yield Finding(
        what=f"{path} is the socket of a daemon that is gone",
        remedy="would take it away: a socket holds nothing, and the next daemon makes its own",
        repair=take_away,
    )


def calendar(visit: Examination) -> Findings:
    """See that the calendar is sound, or that the backend answers."""
    if visit.settings.backend is not None:
        yield from _backend(visit)
        return
    found = visit.open_calendar()
    if found is None:
        yield Note(text=f"{visit.calendar_file}: not there yet; harborcal add, or the daemon, makes it")
        return
    wrong = found.check()
    if wrong:
        yield Finding(
            what=f"{visit.calendar_file} is damaged: {'; '.join(wrong[:3])}",
            remedy="stop the daemon and bring back a copy of it; what was planned stands nowhere else",
        )
    else:
        yield Note(text=f"{visit.calendar_file}: sound")


def _backend(visit: Examination) -> Findings:
    settings = visit.settings
    transport = backend_of(settings)
    today = visit.clock.now().date()
    try:
        for agent_id in settings.agents:
            try:
                transport.day(agent_id, today)  # a look: a heartbeat would say that the agent is there
            except CalendarRefusedError as error:
                if error.status in {401, 403, 404}:
                    yield Finding(
                        what=f"{settings.backend} refuses {agent_id}: {error}",
                        remedy="register the agent there, or correct calendar.claw_identifier or the API key",
                    )
            except HarborcalError as error:
                yield Finding(
                    what=f"{settings.backend} is not reached: {error}",
                    remedy="see that it runs, and that calendar.backend is its address; reports wait in the journal",
                )
                return
        yield Note(text=f"{settings.backend}: answers")
    finally:
        transport.close()


def journal(visit: Examination) -> Findings:
    """See that the journal can be read."""
    path = visit.settings.journal
    if visit.is_running:
        error = visit.status().get("delivery", {}).get("journal_error") if visit.daemon is not None else ""
        if error:
            yield Finding(what=f"{path} could not be written: {error}", remedy="make room on its disk")
        else:
            yield Note(text=f"{path}: the running daemon's, which holds it")
        return
    try:
        found = visit.open_journal()
    except JournalError as error:
        if not error.damaged:
            yield Finding(what=str(error), remedy="it is left as it is")
            return
        yield Finding(
            what=str(error),
            remedy=(
                f"would move it aside, as {_aside(visit).name}, and begin a new one. Lost is what only it knew: reports"
                " that were not delivered yet, which wake is under way, and refused reports. What the calendar calls"
                " ongoing is taken up again; it may be that an agent is woken a second time for work that it has done"
            ),
            repair=functools.partial(_move_aside, visit),
        )
        return
    yield Note(text=f"{path}: {'sound' if found is not None else 'not there yet'}")


def _aside(visit: Examination) -> Path:
    path = visit.settings.journal
    return path.with_name(f"{path.name}.damaged-{visit.clock.now():%Y%m%d-%H%M%S}")


def _move_aside(visit: Examination) -> str:
    visit.need_ours()
    path, aside = visit.settings.journal, _aside(visit)
    if aside.exists():
        raise ConfigurationError(f"{aside} is there already")
    remains = path.with_name(path.name + "-journal")
    if remains.exists():  # SQLite's memory of a write that was cut short belongs to its file
        remains.rename(aside.with_name(aside.name + "-journal"))
    path.rename(aside)
    return f"it is {aside} now"


def dead_letters(visit: Examination) -> Findings:
    """See whether reports were refused for good."""
    count = 0
    for number, what in _dead(visit):
        count += 1
        yield Finding(
            what=f"dead letter {number}: {what}",
            remedy=f"would send it once more; harborcal doctor --drop-letter {number} lets it be forgotten instead",
            repair=functools.partial(_send_again, visit, number),
        )
    if not count:
        yield Note(text="none")


def _dead(visit: Examination) -> list[tuple[int, str]]:
    if visit.daemon is not None:
        letters = (visit.status().get("delivery") or {}).get("dead_letters", ())
        return [(one["number"], f"{one['agent_id']}, {one['status']}: {one['error']}") for one in letters]
    kept = _journal_of(visit)
    dead = () if kept is None else kept.letters(LetterState.DEAD)
    return [(one.number, f"{one.agent_id}, slot {one.address}, {one.update.status}: {one.error}") for one in dead]


def _send_again(visit: Examination, number: int) -> str:
    if visit.daemon is not None:
        visit.daemon.retry_dead_letter(number)
        return "it is on its way"
    _need_journal(visit).revive(number)
    return "the next daemon sends it"


def drop_letter(visit: Examination, number: int) -> None:
    """Forget a dead letter, because somebody asked for it.

    Raises:
        ConfigurationError: There is no such dead letter, or no journal.
        ControlError: The daemon refuses.
    """
    if visit.daemon is not None:
        visit.daemon.drop_dead_letter(number)
    else:
        _need_journal(visit).drop(number)


def stuck_leases(visit: Examination) -> Findings:
    """See whether somebody has been silent for far longer than a daemon lets them."""
    found = list(_stuck_in_journal(visit) if visit.daemon is None else _stuck_at_daemon(visit))
    yield from found or [Note(text="nobody has been silent for too long")]


def _stuck_at_daemon(visit: Examination) -> Findings:
    now = visit.clock.now()
    for active in visit.status()["active"]:
        until = active.get("lease_until")
        begun = dt.datetime.fromisoformat(active["heard_at"] or active["started_at"])
        lease = lease_of(Slot.from_dict(active["slot"]), visit.settings.scheduler.lease or _USUAL_LEASE) or 0.0
        is_late = until is not None and now - dt.datetime.fromisoformat(until) > dt.timedelta(seconds=lease)
        is_silent = (now - begun).total_seconds() > SILENT_FOR * lease
        if active["state"] == "paused" or not (is_late or (until is None and is_silent)):
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
    kept = _journal_of(visit)
    for attempt in () if kept is None else kept.attempts():
        if attempt.state not in {AttemptState.WAKING, AttemptState.ONGOING}:  # others rest, are over, or not begun
            continue
        heard_at = max(at for at in (attempt.heard_at, attempt.claimed_at, attempt.reminded_at) if at is not None)
        lease = lease_of(attempt.slot, visit.settings.scheduler.lease or _USUAL_LEASE) or 0.0
        if (visit.clock.now() - heard_at).total_seconds() <= SILENT_FOR * lease or _is_working(visit, attempt):
            continue
        yield Finding(
            what=f"{attempt.agent_id} was at slot {attempt.slot.ident}, silent since {heard_at:%Y-%m-%d %H:%M} UTC",
            remedy="would call it aborted, which the next daemon tells the calendar; without that it reminds its agent",
            repair=functools.partial(_abort_in, visit, attempt),
        )


def _abort_in(visit: Examination, attempt: Attempt) -> str:
    kept = _need_journal(visit)
    kept.annotate(attempt.id, SlotStatus.ABORTED, reason="silent for too long (harborcal doctor)")
    kept.accept(attempt.agent_id, attempt.key, SlotUpdate(status=SlotStatus.ABORTED))
    return "it is aborted; the next daemon tells the calendar"


def _is_working(visit: Examination, attempt: Attempt) -> bool:
    return any(orphan.wake_id == attempt.wake_id for orphan in _orphans(visit))


def lost_slots(visit: Examination) -> Findings:
    """See whether the carried calendar calls something ongoing that nobody here is at."""
    found = visit.open_calendar() if visit.settings.backend is None else None
    if found is None or (visit.is_running and visit.daemon is None):
        yield Note(text="not looked at: that needs the carried calendar, and a daemon that answers if one runs")
        return
    held = _held_keys(visit)
    now = visit.clock.now()
    known = {agent.id for agent in found.agents()}
    count = 0
    for agent_id in sorted(known):
        for date in (now.date() - dt.timedelta(days=1), now.date()):
            for slot in found.day(agent_id, date):
                if slot.status not in _AT_WORK or held & {(agent_id, key) for key in slot.keys}:
                    continue
                if not _is_old(slot, date, now, visit.settings.scheduler.lease):
                    continue
                count += 1
                yield Finding(
                    what=f"slot {slot.ident} of {agent_id} ({date}) is {slot.status} at the calendar, but nobody's",
                    remedy="would call it aborted there, unless a scheduler that lives holds it",
                    repair=functools.partial(_abort_at, visit, agent_id, slot.key),
                )
    if not count:
        yield Note(text="none: whatever the calendar calls ongoing is somebody's, or young")


def _held_keys(visit: Examination) -> set[tuple[str, SlotKey]]:
    """Tell what is somebody's: active at the daemon or in the journal, or ended and on its way to the calendar."""
    held: set[tuple[str, SlotKey]] = set()
    if visit.daemon is not None:
        for active in visit.status()["active"]:
            keys = {*Slot.from_dict(active["slot"]).keys, SlotKey.from_dict(active["key"])}
            held |= {(active["agent_id"], key) for key in keys}
        return held
    kept = _journal_of(visit)
    if kept is not None:
        for attempt in kept.attempts():
            if attempt.state is not AttemptState.SETTLED:
                held |= {(attempt.agent_id, key) for key in attempt.keys}
        for letter in kept.letters(LetterState.PENDING):
            held |= {(letter.agent_id, letter.key), (letter.agent_id, letter.address)}
    return held


def _is_old(slot: Slot, date: dt.date, now: dt.datetime, lease: float | None) -> bool:
    begun = dt.datetime.combine(date, slot.started_at or slot.scheduled_at or dt.time(), dt.UTC)
    return (now - begun).total_seconds() > SILENT_FOR * (lease_of(slot, lease or _USUAL_LEASE) or 0.0)


def _abort_at(visit: Examination, agent_id: str, key: SlotKey) -> str:
    found = visit.open_calendar()
    if found is None:
        raise ConfigurationError("there is no carried calendar")
    claw = visit.claw_identifier()
    owner = found.new_owner(claw)  # what a living scheduler holds is refused to it
    found.apply_update(agent_id, key, SlotUpdate(status=SlotStatus.ABORTED), owner=owner, claw_identifier=claw)
    return "the calendar calls it aborted"


def orphaned_commands(visit: Examination) -> Findings:
    """See whether commands that were woken work on for nobody."""
    if visit.is_running and visit.daemon is None:
        yield Note(text="not looked at: the daemon does not answer")
        return
    wakes = _live_wakes(visit)
    count = 0
    for orphan in _orphans(visit):
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
    kept = _journal_of(visit)
    attempts = () if kept is None else kept.attempts()
    return {attempt.wake_id for attempt in attempts if attempt.state is not AttemptState.SETTLED}


def _end(orphan: Orphan) -> str:
    orphan.end()
    return "it was ended"


def clock(visit: Examination) -> Findings:
    """See that the clock was not set back, and in which zone people and machine live."""
    now = visit.clock.now()
    latest = max((at for at in _instants(visit)), default=None)
    if latest is not None and (latest - now).total_seconds() > AHEAD:
        yield Finding(
            what=f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC; something was noted at {latest:%Y-%m-%d %H:%M}",
            remedy="set the clock: slots would come too late, and lateness and durations be wrong",
        )
        return
    zone, machines = visit.settings.zone, system_zone(os.environ)
    here = now.astimezone(zone).utcoffset() == now.astimezone(machines).utcoffset()
    beside = "" if here else f"; this machine lives in {machines}"
    yield Note(text=f"{now.astimezone(zone):%Y-%m-%d %H:%M} in {zone}, where times are read and shown{beside}")


def _instants(visit: Examination) -> Iterator[dt.datetime]:
    found = visit.open_calendar() if visit.settings.backend is None else None
    if found is not None:
        yield from (agent.last_heartbeat_at for agent in found.agents() if agent.last_heartbeat_at is not None)
    kept = _journal_of(visit)
    if kept is not None:
        yield from (attempt.heard_at or attempt.claimed_at for attempt in kept.attempts())


def _journal_of(visit: Examination) -> Journal | None:
    """Open the journal where it can be; that it cannot be was found before."""
    try:
        return visit.open_journal()
    except JournalError:
        return None


def _need_journal(visit: Examination) -> Journal:
    visit.need_ours()
    kept = visit.open_journal()
    if kept is None:
        raise ConfigurationError("there is no journal")
    return kept


CHECKS: tuple[Check, ...] = (
    ("configuration", configuration),
    ("state folder", state_folder),
    ("daemon", daemon),
    ("control socket", control_socket),
    ("calendar", calendar),
    ("journal", journal),
    ("dead letters", dead_letters),
    ("stuck leases", stuck_leases),
    ("lost slots", lost_slots),
    ("orphaned commands", orphaned_commands),
    ("clock", clock),
)
"""All checks, in their order: each may count on what those before it have seen to."""
