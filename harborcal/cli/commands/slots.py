"""``harborcal add``: a slot."""

import contextlib
from typing import Any

import click

from harborcal.cli.arguments import AGENT, now, read_as
from harborcal.cli.calendars import check_agent, open_calendar, refusal_in_words
from harborcal.cli.context import pass_settings
from harborcal.cli.durations import minutes_of
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.settings import Settings
from harborcal.cli.shown import slot_data, span_of
from harborcal.cli.times import parse_when
from harborcal.cli.work import WORK_OPTIONS, Work, apply
from harborcal.cli.zones import zone_named
from harborcal.errors import CalendarRefusedError


@click.command()
@click.argument("agent", type=AGENT)
@click.argument("when")
@click.option(
    "--for",
    "duration",
    metavar="TIME",
    default="30m",
    show_default=True,
    help="How long: 25m, 50m; special time up to 3h.",
)
@apply(WORK_OPTIONS)
@click.option("--tz", metavar="NAME", help="The time zone of WHEN; that of the settings by default.")
@json_option
@pass_settings
def add(settings: Settings, /, agent: str, when: str, duration: str, tz: str | None, **work: Any) -> Answer:
    """Put a slot into an agent's calendar.

    WHEN is '09:30', 'tomorrow 09:30', 'monday 9:00', '2026-03-05 09:30', 'in 20m' or 'now', in the time zone of the
    settings. A time alone is today's; a weekday is the coming one. TIME is rounded up to whole minutes, a bare number
    is minutes.

    \b
    harborcal add reviewer "tomorrow 09:30" --for 25m --job REVIEW-7
    """
    zone = settings.zone if tz is None else zone_named(tz, "--tz")
    with read_as("WHEN"):
        starts_at = parse_when(when, now(), zone)
    with read_as("--for"):
        minutes = minutes_of(duration)
    said = Work.of(work)
    with contextlib.closing(open_calendar(settings)) as calendar:
        check_agent(calendar, agent)
        try:
            slot = calendar.add_slot(agent, starts_at, minutes, **said.fields)
        except CalendarRefusedError as error:
            raise refusal_in_words(error) from error
    local = starts_at.astimezone(zone)

    def tell(screen: Screen) -> None:
        screen.say(f"slot {slot.ident}: {agent}, {local:%a %Y-%m-%d} {span_of(local, slot)} {zone.key}")

    return Answer(data=slot_data(agent, local, slot), show=tell)
