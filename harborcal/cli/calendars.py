"""The calendar that is meant: the carried one, opened with the agents of the file in it, or a backend's days."""

import contextlib
import datetime as dt
from collections.abc import Iterator

from harborcal.calendar import Calendar
from harborcal.cli.failures import ExitCode, FailedError
from harborcal.cli.settings import Settings
from harborcal.cli.sources import nearest
from harborcal.cli.values import masked
from harborcal.errors import CalendarError, CalendarRefusedError, ConfigurationError
from harborcal.model import Slot
from harborcal.policy import due_at
from harborcal.transport import DayReader
from harborcal.transports.http import HttpTransport


def open_calendar(settings: Settings) -> Calendar:
    """Open the carried calendar; the file is made where it is missing, and the agents of the TOML are registered.

    Raises:
        FailedError: The calendar is a backend's.
        ConfigurationError: Nothing says where a calendar is meant to be.
        CalendarError: It cannot be used.
    """
    if settings.calendar_url is None:
        raise FailedError(
            f"slots are planned at the backend, {masked(str(settings.backend))}; "
            "here they can only be looked at (today, day)"
        )
    if settings.is_bare and not settings.usual_calendar.exists():
        raise ConfigurationError(
            f"there is no harborcal.toml in {settings.folder}, and no calendar: `harborcal init` makes both, "
            "`--config FILE` or HARBORCAL_CONFIG names another"
        )
    try:
        calendar = Calendar(settings.calendar_url)
    except CalendarError as error:
        raise CalendarError(f"{settings.calendar_file}: {error}") from error
    try:
        register(calendar, settings)
    except BaseException:
        calendar.close()
        raise
    return calendar


def register(calendar: Calendar, settings: Settings) -> None:
    """Register the agents of the TOML that the calendar does not know yet; where it knows all, nothing is written."""
    known = {agent.id for agent in calendar.agents()}
    for agent_id in settings.agents:
        if agent_id not in known:
            calendar.register_agent(agent_id)


def check_agent(calendar: Calendar, agent_id: str) -> str:
    """Return the agent's id.

    Raises:
        FailedError: The calendar knows no such agent; it names the nearest, and the exit code is that of a refusal.
    """
    known = [agent.id for agent in calendar.agents()]
    if agent_id in known:
        return agent_id
    hint = nearest(agent_id, known) or "; there is none yet: `harborcal agents add ID`"
    raise FailedError(f"there is no agent {agent_id!r}{hint}", ExitCode.REFUSED)


def the_agent(calendar: Calendar, agent_id: str | None) -> str:
    """Tell which agent is meant: the one that is named, or the only one there is.

    Raises:
        FailedError: The calendar knows no such agent, or several and none was named.
    """
    if agent_id is not None:
        return check_agent(calendar, agent_id)
    known = [agent.id for agent in calendar.agents()]
    if len(known) == 1:
        return known[0]
    if not known:
        raise FailedError("the calendar has no agents yet: `harborcal agents add ID`", ExitCode.REFUSED)
    raise FailedError(f"whose? name one with --agent: {', '.join(known[:20])}", ExitCode.USAGE)


# --- days -----------------------------------------------------------------------------------------------------------


class Days:
    """Reads agents' days as people count them, in a time zone, from the carried calendar or a backend."""

    def __init__(self, reader: DayReader, settings: Settings, *, everything: bool) -> None:
        self._reader = reader
        self._zone = settings.zone
        self._everything = everything

    def slots(self, agent_id: str, day: dt.date) -> list[tuple[dt.datetime, Slot]]:
        """List an agent's slots that begin on a day of the zone, by time, each with its beginning in the zone.

        Raises:
            CalendarRefusedError: The agent is not known, or the calendar cannot list days.
            TransportError: The backend gave no usable answer.
        """
        first = dt.datetime.combine(day, dt.time(), self._zone).astimezone(dt.UTC)
        end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), self._zone).astimezone(dt.UTC)
        last = (end - dt.timedelta(microseconds=1)).date()
        found = []
        for date in sorted({first.date(), last}):
            midnight = dt.datetime.combine(date, dt.time(), dt.UTC)
            for slot in self._day(agent_id, date):
                starts_at = due_at(slot, midnight) or midnight
                if first <= starts_at < end:
                    found.append((starts_at.astimezone(self._zone), slot))
        return sorted(found, key=lambda pair: pair[0])

    def _day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        if isinstance(self._reader, Calendar):
            return self._reader.day(agent_id, date, everything=self._everything)
        return self._reader.day(agent_id, date)


@contextlib.contextmanager
def open_days(settings: Settings, agent_ids: tuple[str, ...], *, everything: bool) -> Iterator[tuple[Days, list[str]]]:
    """Open what days are read from, and tell whose are meant: those that are named, or all.

    Raises:
        FailedError: An agent is not known, or none is named where nobody can list them.
        CalendarError: The carried calendar cannot be used.
        ConfigurationError: The backend's settings make no sense.
    """
    if settings.backend is not None:
        chosen = list(dict.fromkeys(agent_ids or settings.agents))
        if not chosen:
            raise FailedError(
                "a backend does not list its agents: name them, here or in harborcal.toml", ExitCode.USAGE
            )
        with contextlib.closing(backend_of(settings)) as transport:
            yield Days(transport, settings, everything=everything), chosen
        return
    with contextlib.closing(open_calendar(settings)) as calendar:
        known = [agent.id for agent in calendar.agents()]
        chosen = [check_agent(calendar, agent_id) for agent_id in dict.fromkeys(agent_ids)] or known
        yield Days(calendar, settings, everything=everything), chosen


def backend_of(settings: Settings) -> HttpTransport:
    """Make the way to the backend.

    Raises:
        ConfigurationError: There is none, or what is said of it makes no sense.
    """
    if settings.backend is None:
        raise ConfigurationError("there is no backend: the calendar is carried")
    key = None if settings.api_key is None else settings.api_key.reveal()
    return HttpTransport(settings.backend, settings.claw_identifier, api_key=key)


def refusal_in_words(error: CalendarRefusedError) -> FailedError:
    """Tell what the carried calendar refused without the protocol's number."""
    return FailedError(error.detail or str(error), ExitCode.REFUSED)
