"""``harborcal import`` and ``harborcal export``: iCalendar files."""

import contextlib
import datetime as dt
import sys
from pathlib import Path

import click

from harborcal.calendar import ImportedItem, ImportReport
from harborcal.cli.arguments import AGENT, now, read_as
from harborcal.cli.calendars import open_calendar, refusal_in_words, the_agent
from harborcal.cli.context import pass_settings
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.settings import Settings
from harborcal.cli.times import parse_day, parse_time
from harborcal.errors import CalendarRefusedError

_LARGEST = 10 * 1024 * 1024
_DAYS = 30


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--agent", type=AGENT, help="Whose slots they become; needless where there is one agent only.")
@click.option("--source", metavar="NAME", help="Which earlier imports it replaces; the calendar's own name by default.")
@click.option("--all-day-at", metavar="TIME", default="09:00", show_default=True, help="When all-day events begin.")
@json_option
@pass_settings
def import_file(settings: Settings, file: Path, agent: str | None, source: str | None, all_day_at: str) -> Answer:
    """Take an iCalendar FILE as an agent's slots and plans; '-' reads standard input.

    Importing the same file again changes nothing, a newer one changes what differs and cancels what is gone from it.
    Times without a zone are in that of the settings.
    """
    with read_as("--all-day-at"):
        begin = parse_time(all_day_at)
    with contextlib.closing(open_calendar(settings)) as calendar:
        whose = the_agent(calendar, agent)
        given: bytes | Path = sys.stdin.buffer.read(_LARGEST + 1) if str(file) == "-" else _there(file)
        with Screen().progress(f"reading {file.name}"):
            try:
                report = calendar.import_ics(whose, given, source=source, zone=settings.zone.key, all_day_at=begin)
            except CalendarRefusedError as error:
                raise refusal_in_words(error) from error
    return Answer(data={"agent_id": whose, **report.to_dict()}, show=lambda screen: _tell(screen, whose, report))


def _tell(screen: Screen, agent_id: str, report: ImportReport) -> None:
    counts = [
        f"{len(items)} {name}"
        for name, items in (
            ("added", report.added),
            ("changed", report.changed),
            ("unchanged", report.unchanged),
            ("removed", report.removed),
            ("left out", report.left_out),
        )
        if items
    ]
    screen.say(f"{agent_id}: {', '.join(counts) or 'nothing in it'}")
    for item in report.left_out:
        screen.note(f"left out: {_named(item)} ({item.reason})", style="yellow")
    for item in (*report.added, *report.changed):
        if item.reason:
            screen.note(f"changed to fit: {_named(item)}, {item.became} ({item.reason})", style="yellow")


def _named(item: ImportedItem) -> str:
    name = item.title or item.uid or "an event"
    return f"{name} {item.occurrence}".rstrip()


def _there(file: Path) -> Path:
    """See that a file can be read, so that the error names it.

    Raises:
        OSError: It cannot.
    """
    with file.open("rb"):
        return file


@click.command("export")
@click.option("--agent", type=AGENT, help="Whose slots; needless where there is one agent only.")
@click.option("--from", "first", metavar="DAY", default="today", show_default=True, help="The first day (UTC).")
@click.option("--to", "last", metavar="DAY", help=f"The last day (UTC); {_DAYS} days later by default.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, allow_dash=True), help="A file; standard output by default."
)
@pass_settings
def export_file(settings: Settings, agent: str | None, first: str, last: str | None, output: Path | None) -> None:
    """Write an agent's slots as an iCalendar file for other calendars to read."""
    today = now().date()
    with read_as("--from"):
        begin = parse_day(first, today)
    with read_as("--to"):
        end = min(begin, dt.date(9990, 1, 1)) + dt.timedelta(days=_DAYS) if last is None else parse_day(last, today)
    with contextlib.closing(open_calendar(settings)) as calendar:
        whose = the_agent(calendar, agent)
        try:
            written = calendar.export_ics(whose, begin, end)
        except CalendarRefusedError as error:
            raise refusal_in_words(error) from error
    if output is None or str(output) == "-":
        click.echo(written, nl=False)
        return
    output.write_bytes(written)
    Screen().note(f"{output}: {whose}, {begin} to {end}")
