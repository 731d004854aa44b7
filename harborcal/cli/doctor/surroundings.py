"""What the doctor sees of the configuration, the state folder and the clock."""

import datetime as dt
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Finding, Findings, Note
from harborcal.cli.state import PRIVATE_FILE, PRIVATE_FOLDER, is_foreign, is_open_to_others
from harborcal.cli.zones import system_zone
from harborcal.control import Tokens
from harborcal.errors import ConfigurationError, HarborcalError
from harborcal.hosts import HostContext, host_named

AHEAD = 60.0
"""Seconds that something written may lie in the future before the clock is doubted."""


def configuration(visit: Examination) -> Findings:
    """See that each agent's host can be made, and that its command is there."""
    settings = visit.settings
    where = "no configuration file" if settings.file is None else str(settings.file)
    if not settings.agents:
        yield Finding(what=f"{where}: no agent is configured", remedy="write [agents.NAME] into harborcal.toml")
        return
    count = len(settings.agents)
    yield Note(text=f"{where}: {count} agent{'s' * (count > 1)}")
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
    if not folder.exists() and not folder.is_symlink():
        yield Note(text=f"{folder}: not there yet; the daemon makes it")
        return
    if not folder.is_dir() or is_foreign(folder):
        yield Finding(
            what=f"{folder} is {'another user' + chr(39) + 's' if folder.is_dir() else 'no folder'}",
            remedy="name another one (state = ... in harborcal.toml)",
        )
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(what=f"{folder} cannot be written", remedy="give its owner back the right: chmod u+rwx")
        return
    if (error := _wrong_with_secret(visit.settings.secret)) is not None:
        yield Finding(what=error, remedy="take it away: the daemon makes another; woken agents' old tokens end with it")
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


def _wrong_with_secret(secret: Path) -> str | None:
    if is_open_to_others(secret) or not (secret.exists() or secret.is_symlink()):
        return None  # of its mode is spoken apart, and one that is not there is made
    try:
        Tokens.kept_in(secret)
    except ConfigurationError as error:
        return str(error)
    return None


def _close(place: Path, mode: int) -> str:
    place.chmod(mode)
    return f"its mode is {mode:04o} now"


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
    kept = visit.readable_journal()
    if kept is not None:
        yield from (attempt.heard_at or attempt.claimed_at for attempt in kept.attempts())
