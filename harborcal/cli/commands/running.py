"""``harborcal run`` and ``harborcal serve``: what goes on until somebody asks it to stop."""

import contextlib
import logging
import sys

import click

from harborcal.cli.context import pass_settings
from harborcal.cli.durations import EXAMPLES, seconds_of
from harborcal.cli.logs import FORMATS, logging_to
from harborcal.cli.settings import Settings
from harborcal.cli.signals import stop_signals
from harborcal.errors import ConfigurationError

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING}


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = seconds_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if seconds <= 0:
        raise click.BadParameter(f"a duration is longer than nothing; write one as {EXAMPLES}")
    return seconds


@click.command()
@click.option("--for", "seconds", metavar="DURATION", callback=_seconds, help="Stop by itself after so long, as 20s.")
@click.option(
    "--until-idle", is_flag=True, help="Stop by itself once no slot of today waits, works or is yet to be delivered."
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    envvar="HARBORCAL_LOG_FORMAT",
    help="Lines to read, or JSON objects.",
)
@click.option(
    "--log-level",
    type=click.Choice([*_LEVELS]),
    default="info",
    show_default=True,
    envvar="HARBORCAL_LOG_LEVEL",
    help="What is less than this is left out.",
)
@pass_settings
def run(settings: Settings, seconds: float | None, until_idle: bool, log_format: str, log_level: str) -> None:
    """Run the daemon: wake the configured agents for their slots until asked to stop.

    SIGTERM, SIGINT (Ctrl-C) and SIGHUP (a closed terminal) stop it cleanly: nothing new begins, woken commands are
    ended and their slots reported as aborted, what was accepted is delivered or kept for the next run. A second one
    ends it at once. Under nohup SIGHUP stays ignored; nothing is read anew.

    The log goes to stderr, one line for each thing that happens. Where systemd asks for it (Type=notify), it is told
    when the daemon is ready and when it stops. One daemon runs with a state folder; a second is refused.
    """
    from harborcal.cli.daemon import run_daemon

    with logging_to(sys.stderr, log_format, _LEVELS[log_level]):
        run_daemon(settings, seconds=seconds, until_idle=until_idle)


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen instead of what is configured (serve.host).")
@click.option("--port", type=click.IntRange(0, 65_535), help="On which port (serve.port); 0 takes any free one.")
@pass_settings
def serve(settings: Settings, host: str | None, port: int | None) -> None:
    """Serve the carried calendar over HTTP, after the HarborForge contract, until asked to stop.

    Agents' hosts on other machines reach it like any other backend. Without a key (HARBORCAL_SERVE_KEY, or a file named
    by serve.key_file) it listens on loopback addresses only. It may run beside the daemon on the same calendar.
    """
    from harborcal.cli.calendars import open_calendar
    from harborcal.server import Server

    if settings.calendar_url is None:
        raise ConfigurationError("there is no carried calendar to serve: a backend is configured")
    key = None if settings.serve_key is None else settings.serve_key.reveal()
    with (
        logging_to(sys.stderr),
        contextlib.closing(open_calendar(settings)) as calendar,
        Server(
            calendar,
            host=settings.serve_host if host is None else host,
            port=settings.serve_port if port is None else port,
            api_key=key,
        ) as server,
        stop_signals(server.close),
    ):
        told = "its key is needed" if key else "no key is needed"
        click.echo(f"{settings.calendar_url} is served at {server.url}; {told}; Ctrl-C stops it", err=True)
        server.run()
