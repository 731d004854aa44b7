"""``harborcal agents``: who there is."""

import contextlib
import datetime as dt
from typing import Any

import click

from harborcal.calendar import RegisteredAgent
from harborcal.cli.arguments import AGENT, now
from harborcal.cli.calendars import check_agent, open_calendar
from harborcal.cli.context import pass_settings
from harborcal.cli.failures import FailedError
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.settings import Settings


@click.group(invoke_without_command=True)
@json_option
@pass_settings
def agents(settings: Settings) -> Answer:
    """List the agents; `agents add` and `agents remove` change who there is.

    Agents come from harborcal.toml ([agents.NAME], which says how they are woken) and from the calendar; those that the
    file names are registered in the carried calendar when a command first opens it.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return Answer(data=None, show=_say_nothing, is_silent=True)
    registered: dict[str, RegisteredAgent] = {}
    if settings.backend is None:
        with contextlib.closing(open_calendar(settings)) as calendar:
            registered = {agent.id: agent for agent in calendar.agents()}
    ids = sorted({*registered, *settings.agents})
    found = [_data(agent_id, registered.get(agent_id), settings) for agent_id in ids]
    present = now()

    def tell(screen: Screen) -> None:
        if not found:
            screen.note("no agents yet: `harborcal agents add ID`, or [agents.ID] in harborcal.toml")
            return
        rows = [
            (
                one["id"],
                one["status"] or "(at the backend)",
                one["host"] or "(none)",
                one["model"],
                _ago(registered[one["id"]].last_heartbeat_at, present) if one["id"] in registered else "",
            )
            for one in found
        ]
        screen.table(("agent", "status", "host", "model", "heard"), rows)

    return Answer(data=found, show=tell)


@agents.command()
@click.argument("agent", type=AGENT)
@click.option("--claw", metavar="ID", help="The only host that may speak for it (contract: claw identifier).")
@pass_settings
def add(settings: Settings, agent: str, claw: str | None) -> None:
    """Register an agent in the carried calendar; once more changes nothing."""
    with contextlib.closing(open_calendar(settings)) as calendar:
        calendar.register_agent(agent, claw)
    screen = Screen()
    screen.say(f"{agent} is registered")
    if agent not in settings.agents:
        name = settings.file.name if settings.file is not None else "harborcal.toml"
        screen.note(f'[agents.{_key(agent)}] in {name} says how it is woken, e.g. host = "command"')


@agents.command()
@click.argument("agent", type=AGENT)
@pass_settings
def remove(settings: Settings, agent: str) -> None:
    """Forget an agent: nobody is woken for it. Its slots and plans wait for its return."""
    if agent in settings.agents:
        name = settings.file.name if settings.file is not None else "the configuration"
        raise FailedError(
            f"{agent} stands in {name} and would be registered again: take [agents.{_key(agent)}] out of it first"
        )
    with contextlib.closing(open_calendar(settings)) as calendar:
        calendar.remove_agent(check_agent(calendar, agent))
    Screen().say(f"{agent} is removed")


def _say_nothing(_: Screen) -> None:
    """Leave the word to the subcommand."""


def _data(agent_id: str, agent: RegisteredAgent | None, settings: Settings) -> dict[str, Any]:
    known = settings.agents.get(agent_id)
    facts: dict[str, Any] = agent.to_dict() if agent is not None else {"id": agent_id, "status": None}
    return {**facts, "host": known.host if known else "", "model": known.model if known else ""}


def _ago(moment: dt.datetime | None, present: dt.datetime) -> str:
    if moment is None:
        return "never"
    seconds = max(0, int((present - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _key(agent_id: str) -> str:
    return agent_id if agent_id.replace("-", "").replace("_", "").isalnum() else f'"{agent_id}"'
