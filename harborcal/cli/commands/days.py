"""``harborcal today`` and ``harborcal day``: what is in the calendar."""

import datetime as dt

import click
from rich.text import Text

from harborcal.cli.arguments import AGENT, now, read_as
from harborcal.cli.calendars import open_days
from harborcal.cli.context import pass_settings
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.settings import Settings
from harborcal.cli.shown import slot_data, span_of, style_of, what_of
from harborcal.cli.times import parse_day


@click.command()
@click.argument("agent", type=AGENT, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also slots that were skipped or aborted.")
@json_option
@pass_settings
def today(settings: Settings, agent: tuple[str, ...], everything: bool) -> Answer:
    """Show today's slots, of all agents or of those named, in the time zone of the settings."""
    return _day(settings, now().astimezone(settings.zone).date(), agent, everything=everything)


@click.command()
@click.argument("date")
@click.argument("agent", type=AGENT, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also slots that were skipped or aborted.")
@json_option
@pass_settings
def day(settings: Settings, date: str, agent: tuple[str, ...], everything: bool) -> Answer:
    """Show a day's slots, of all agents or of those named, in the time zone of the settings.

    DATE is '2026-03-05', 'today', 'tomorrow', 'yesterday' or a weekday, which means the coming one or today.
    """
    with read_as("DATE"):
        chosen = parse_day(date, now().astimezone(settings.zone).date())
    return _day(settings, chosen, agent, everything=everything)


def _day(settings: Settings, date: dt.date, agent_ids: tuple[str, ...], *, everything: bool) -> Answer:
    with open_days(settings, agent_ids, everything=everything) as (days, chosen):
        found = [(at, agent_id, slot) for agent_id in chosen for at, slot in days.slots(agent_id, date)]
    found.sort(key=lambda one: (one[0], one[1]))

    def tell(screen: Screen) -> None:
        screen.note(f"{date:%A %Y-%m-%d}, {settings.zone.key}")
        if not found:
            screen.note("no slots")
            return
        rows = [
            (
                span_of(at, slot),
                agent_id,
                what_of(slot.event_type, slot.event_data),
                Text(str(slot.status), style=style_of(slot)),
                slot.priority,
                slot.ident,
            )
            for at, agent_id, slot in found
        ]
        screen.table(("time", "agent", "what", "status", "priority", "slot"), rows)

    slots = [slot_data(agent_id, at, slot) for at, agent_id, slot in found]
    return Answer(
        data={"date": date.isoformat(), "zone": settings.zone.key, "agents": chosen, "slots": slots}, show=tell
    )
