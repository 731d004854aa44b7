"""``harborcal init``: a commented harborcal.toml, and the calendar beside it."""

import contextlib
import os
from pathlib import Path

import click

from harborcal.cli.arguments import AGENT
from harborcal.cli.calendars import open_calendar
from harborcal.cli.context import asked
from harborcal.cli.failures import FailedError
from harborcal.cli.output import Screen
from harborcal.cli.settings import load_settings
from harborcal.cli.sources import CONFIG_VARIABLE, FILE_NAME
from harborcal.cli.template import written
from harborcal.errors import ConfigurationError


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--agent", "agents", type=AGENT, multiple=True, help="An agent to begin with; may be repeated.")
@click.option("--force", is_flag=True, help="Write the file anew where there is one already.")
def init(folder: Path | None, agents: tuple[str, ...], force: bool) -> None:
    """Write a commented harborcal.toml into a folder (this one by default), and make the calendar it speaks of.

    What is said before the command's name is written down: `harborcal --zone Europe/Berlin init`. A calendar that is
    there already is kept, with all that is in it.
    """
    options = dict(asked().options)
    target = _target(folder, options.pop("config"))
    # What the file will say is checked before it is written, as if there were none.
    environ = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}
    plain = load_settings(options, environ, target.parent, without_file=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, written(options, plain, agents), force=force)
    screen = Screen()
    screen.say(f"wrote {target}")
    settings = load_settings({"config": str(target)}, environ, Path.cwd())
    if settings.calendar_url is None:
        return
    with contextlib.closing(open_calendar(settings)) as calendar:
        names = ", ".join(agent.id for agent in calendar.agents()) or "none yet"
    screen.say(f"the calendar is {settings.calendar_file}; agents: {names}")
    if agents:
        screen.note(f'next: harborcal add {agents[0]} "in 1m" --job HELLO-1, then harborcal run')
    else:
        screen.note("next: write [agents.NAME] into it, or harborcal agents add NAME")


def _target(folder: Path | None, config: str | None) -> Path:
    """Tell which file is meant.

    Raises:
        click.UsageError: Two are.
    """
    if folder is not None:
        if config is not None:
            raise click.UsageError("name a folder or --config FILE, not both")
        return Path.cwd() / folder / FILE_NAME
    named = config or os.environ.get(CONFIG_VARIABLE) or FILE_NAME
    return Path.cwd() / Path(named).expanduser()


def _write(target: Path, text: str, *, force: bool) -> None:
    """Write the file, whole or not at all; over another only where that is wanted.

    Raises:
        FailedError: There is one.
        ConfigurationError: Something in it is no text.
        OSError: It cannot be written.
    """
    there = target.with_name(f".{target.name}.new") if force else target
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("a path that is no UTF-8 cannot be written into a TOML file") from error
    try:
        with there.open("wb" if force else "xb") as file:
            file.write(data)
        there.replace(target)
    except FileExistsError as error:
        raise FailedError(f"{target} is there already; --force writes it anew") from error
    except OSError:
        there.unlink(missing_ok=True)
        raise
