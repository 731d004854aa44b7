"""``harborcal plan`` and ``harborcal plans``: what recurs."""

import contextlib
import datetime as dt
from typing import Any

import click

from harborcal.calendar import Calendar, Plan
from harborcal.cli.arguments import AGENT, now, read_as
from harborcal.cli.calendars import check_agent, open_calendar, refusal_in_words
from harborcal.cli.context import pass_settings
from harborcal.cli.durations import minutes_of
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.recurrences import coming, names_its_time, recurrence_of, rule_of, split_time
from harborcal.cli.settings import Settings
from harborcal.cli.shown import often_of, plan_data, what_of
from harborcal.cli.times import parse_day, parse_time
from harborcal.cli.work import WORK_OPTIONS, Work, apply
from harborcal.cli.zones import zone_named
from harborcal.errors import CalendarRefusedError

_SHOWN = 3


@click.command()
@click.argument("agent", type=AGENT)
@click.argument("how_often")
@click.option("--at", metavar="TIME", help="The time of day, as 09:00 or 9pm.")
@click.option("--for", "duration", metavar="TIME", default="30m", show_default=True, help="How long: 25m, 50m.")
@click.option("--from", "first", metavar="DAY", help="The first day that may have a slot; today by default.")
@click.option("--until", metavar="DAY", help="The last day; endless by default.")
@click.option("--tz", metavar="NAME", help="The time zone it recurs in; that of the settings by default.")
@apply(WORK_OPTIONS)
@json_option
@pass_settings
def plan(
    settings: Settings,
    /,
    *,
    agent: str,
    how_often: str,
    at: str | None,
    duration: str,
    first: str | None,
    until: str | None,
    tz: str | None,
    **work: Any,
) -> Answer:
    """Plan slots that recur.

    HOW_OFTEN is an RRULE (RFC 5545), or words: 'every day', 'every weekday', 'every monday and wednesday', 'every 2
    weeks on friday', 'first monday of the month', 'last weekday of the month', 'every month on the 15th', 'every 2
    hours'; a time may follow: 'every weekday at 9:00'. The first slot is the first that is still to come; from it weeks
    are counted.

    \b
    harborcal plan reviewer "every weekday" --at 09:00 --tz Europe/Berlin
    harborcal plan reviewer "FREQ=WEEKLY;BYDAY=MO,WE" --at 09:00
    """
    zone = settings.zone if tz is None else zone_named(tz, "--tz")
    present = now()
    with read_as("HOW_OFTEN"):
        often, said_at = split_time(how_often)
        rule = rule_of(often)
    time = _time(at, said_at, rule)
    with read_as("--for"):
        minutes = minutes_of(duration)
    today = present.astimezone(zone).date()
    earliest, last = present, None
    if first is not None:
        with read_as("--from"):
            begins = dt.datetime.combine(parse_day(first, today), dt.time(), zone).astimezone(dt.UTC)
            earliest = max(present, begins)
    if until is not None:
        with read_as("--until"):
            last = parse_day(until, today)
    with read_as("HOW_OFTEN"):
        recurrence = recurrence_of(rule, time, zone, earliest=earliest, until=last)
    said = Work.of(work)
    with contextlib.closing(open_calendar(settings)) as calendar:
        check_agent(calendar, agent)
        try:
            made = calendar.add_plan(agent, recurrence, minutes, **said.fields)
        except CalendarRefusedError as error:
            raise refusal_in_words(error) from error
        overlaps = calendar.overlaps_of(made.id)
    moments = [moment.astimezone(zone) for moment in coming(made.recurrence, earliest, _SHOWN)]

    def tell(screen: Screen) -> None:
        screen.say(f"plan {made.id}: {agent}, {often_of(made)}, {minutes} minutes, {zone.key}")
        for moment in moments:
            screen.say(f"  {moment:%a %Y-%m-%d %H:%M}")
        for overlap in overlaps[:_SHOWN]:
            screen.note(f"overlap: {overlap}", style="yellow")
        if len(overlaps) > _SHOWN:
            screen.note(f"and {len(overlaps) - _SHOWN} more overlaps in its first four weeks", style="yellow")

    return Answer(data=plan_data(made, moments) | {"overlaps": list(overlaps)}, show=tell)


@click.command()
@click.argument("agent", type=AGENT, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also those that are cancelled.")
@json_option
@pass_settings
def plans(settings: Settings, agent: tuple[str, ...], everything: bool) -> Answer:
    """List plans, of all agents or of those named."""
    present = now()
    with contextlib.closing(open_calendar(settings)) as calendar:
        found = _plans(calendar, agent, everything=everything)
    moments = {one.id: coming(one.recurrence, present, 1) if not one.is_cancelled else [] for one in found}

    def tell(screen: Screen) -> None:
        if not found:
            screen.note("no plans")
            return
        rows = [
            (
                one.id,
                one.agent_id,
                often_of(one),
                f"{one.recurrence.start:%H:%M}",
                one.recurrence.zone,
                one.estimated_duration,
                what_of(one.event_type, one.event_data),
                "cancelled" if one.is_cancelled else _next(moments[one.id], settings),
            )
            for one in found
        ]
        screen.table(("plan", "agent", "how often", "at", "zone", "minutes", "what", "next"), rows)

    local = {key: [moment.astimezone(settings.zone) for moment in some] for key, some in moments.items()}
    return Answer(data=[plan_data(one, local[one.id]) for one in found], show=tell)


def _plans(calendar: Calendar, agent_ids: tuple[str, ...], *, everything: bool) -> list[Plan]:
    chosen = [check_agent(calendar, agent_id) for agent_id in dict.fromkeys(agent_ids)]
    known = chosen or [agent.id for agent in calendar.agents()]
    return [one for agent_id in known for one in calendar.plans(agent_id) if everything or not one.is_cancelled]


def _next(moments: list[dt.datetime], settings: Settings) -> str:
    return f"{moments[0].astimezone(settings.zone):%a %Y-%m-%d %H:%M}" if moments else "over"


def _time(at: str | None, said: dt.time | None, rule: str) -> dt.time:
    """Find the time of day that is meant.

    Raises:
        click.UsageError: It was said twice, or not at all where it is needed.
    """
    if at is not None and said is not None:
        raise click.UsageError("the time of day is said twice: in HOW_OFTEN and with --at")
    if at is not None:
        with read_as("--at"):
            return parse_time(at)
    if said is not None:
        return said
    if not names_its_time(rule):
        raise click.UsageError("at what time of day? say it with --at 09:00")
    return dt.time()
