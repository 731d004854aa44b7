"""What the doctor sees of the calendar: whether it is sound and reached, and what it calls ongoing for nobody."""

import datetime as dt
import functools
import os

from harborcal.cli.calendars import backend_of
from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Finding, Findings, Note
from harborcal.cli.doctor.silence import is_silent
from harborcal.errors import CalendarRefusedError, ConfigurationError, HarborcalError
from harborcal.journal import AttemptState, LetterState
from harborcal.model import Slot, SlotKey, SlotStatus, SlotUpdate

_AT_WORK = frozenset({"ongoing", "paused"})


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
    elif visit.calendar_file is not None and not all(
        os.access(place, os.W_OK) for place in (visit.calendar_file, visit.calendar_file.parent)
    ):
        yield Finding(
            what=f"{visit.calendar_file} cannot be written", remedy="give back the right to it and its folder"
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
                begun = dt.datetime.combine(date, slot.started_at or slot.scheduled_at or dt.time(), dt.UTC)
                if not is_silent(visit, slot, begun):
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
    kept = visit.readable_journal()
    if kept is not None:
        for attempt in kept.attempts():
            if attempt.state is not AttemptState.SETTLED:
                held |= {(attempt.agent_id, key) for key in attempt.keys}
        for letter in kept.letters(LetterState.PENDING):
            held |= {(letter.agent_id, letter.key), (letter.agent_id, letter.address)}
    return held


def _abort_at(visit: Examination, agent_id: str, key: SlotKey) -> str:
    found = visit.open_calendar()
    if found is None:
        raise ConfigurationError("there is no carried calendar")
    claw = visit.claw_identifier()
    owner = found.new_owner(claw)  # what a living scheduler holds is refused to it
    found.apply_update(agent_id, key, SlotUpdate(status=SlotStatus.ABORTED), owner=owner, claw_identifier=claw)
    return "the calendar calls it aborted"
