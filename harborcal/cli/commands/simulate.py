"""``harborcal simulate``: tomorrow, in seconds."""

import contextlib
import datetime as dt
from typing import Any

import click

from harborcal.cli.arguments import AGENT, now, read_as
from harborcal.cli.calendars import check_agent, open_calendar
from harborcal.cli.context import pass_settings
from harborcal.cli.failures import ExitCode
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.settings import Settings
from harborcal.cli.times import parse_day
from harborcal.testing import Rehearsal
from harborcal.testing import simulate as rehearse


@click.command()
@click.argument("agent", type=AGENT, nargs=-1)
@click.option("--from", "first", metavar="DAY", default="tomorrow", show_default=True, help="The first day.")
@click.option("--days", type=click.IntRange(1, 366), default=1, show_default=True, help="How many days.")
@click.option("--seed", type=int, default=0, show_default=True, help="What chance is drawn from.")
@json_option
@pass_settings
def simulate(settings: Settings, agent: tuple[str, ...], first: str, days: int, seed: int) -> Answer:
    """Rehearse tomorrow in seconds: who is overbooked, what begins late or never.

    The real scheduler works on a copy of the calendar in memory, with the settings of [scheduler]; agents take as long
    as estimated. Days and times are UTC. Nothing is changed, nobody is woken. The exit code is 1 where something
    happened that must never be.
    """
    with read_as("--from"):
        day = parse_day(first, now().astimezone(settings.zone).date())
        # From midnight in UTC, whatever the zone: a date's slots are listed together, so that a rehearsal that begins
        # on the evening of a date would find its whole day undone, and call it late.
        start = dt.datetime.combine(day, dt.time(), dt.UTC)
    with contextlib.closing(open_calendar(settings)) as calendar:
        chosen = [check_agent(calendar, agent_id) for agent_id in dict.fromkeys(agent)] or None
        with Screen().progress(f"rehearsing {days} day(s)"):
            rehearsal = rehearse(calendar, days=days, agents=chosen, seed=seed, config=settings.scheduler, start=start)

    def tell(screen: Screen) -> None:
        screen.say(rehearsal.report())

    code = ExitCode.FAILED if rehearsal.violations else ExitCode.DONE
    return Answer(data=_data(rehearsal), show=tell, exit_code=code)


def _data(rehearsal: Rehearsal) -> dict[str, Any]:
    return {
        "started_at": rehearsal.started_at.isoformat(),
        "days": rehearsal.days,
        "seed": rehearsal.seed,
        "counts": dict(rehearsal.counts),
        "violations": [str(violation) for violation in rehearsal.violations],
        "agents": [
            {
                "agent_id": agent.agent_id,
                "planned_minutes": agent.planned,
                "is_overbooked": agent.is_overbooked,
                "late": [slot.slot for slot in agent.late],
                "starved": [slot.slot for slot in agent.starved],
                "slots": [
                    {
                        "slot": slot.slot,
                        "what": slot.what,
                        "due_at": slot.due_at.isoformat(),
                        "woken_at": slot.woken_at.isoformat() if slot.woken_at is not None else None,
                        "ended_at": slot.ended_at.isoformat() if slot.ended_at is not None else None,
                        "status": str(slot.status),
                        "behind": list(slot.behind),
                    }
                    for slot in agent.slots
                ],
            }
            for agent in rehearsal.agents
        ],
    }
