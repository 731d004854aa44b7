"""What the doctor sees of the journal, and of the reports in it that were refused for good."""

import functools
from pathlib import Path

from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Finding, Findings, Note
from harborcal.errors import ConfigurationError, JournalError
from harborcal.journal import LetterState


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
    kept = visit.readable_journal()
    dead = () if kept is None else kept.letters(LetterState.DEAD)
    return [(one.number, f"{one.agent_id}, slot {one.address}, {one.update.status}: {one.error}") for one in dead]


def _send_again(visit: Examination, number: int) -> str:
    if visit.daemon is not None:
        visit.daemon.retry_dead_letter(number)
        return "it is on its way"
    visit.need_journal().revive(number)
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
        visit.need_journal().drop(number)
