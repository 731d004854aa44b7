"""How commands reach the daemon: where it listens, and with whose token."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import click

from harborcal.cli.context import asked, settings_of
from harborcal.cli.settings import Settings
from harborcal.control import AGENT, CONTROL, SLOT, TOKEN, WAKE_ID, ControlClient, Fence, Tokens
from harborcal.errors import ControlError


def named_agent(agent: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """Tell which agent is meant: the one that is named, or the one that was woken. Nobody is guessed.

    Raises:
        click.UsageError: Neither is there.
    """
    known = agent or environ.get(AGENT, "")
    if not known:
        raise click.UsageError(f"say whose slot is meant: --agent ID (inside a woken command {AGENT} says it)")
    return known


def fence_of(agent: str, slot: str | None, environ: Mapping[str, str] = os.environ) -> Fence | None:
    """Tell what is meant: the slot that is named, and the wake that the agent was woken by, as far as that is known.

    Raises:
        click.UsageError: The slot is an empty text, as of a variable that is not set.
    """
    if slot == "":
        raise click.UsageError("--slot names a slot; an empty one would be any")
    is_own = agent == environ.get(AGENT)
    named = slot or (environ.get(SLOT, "") if is_own else "")
    return Fence(slot=named, wake_id=environ.get(WAKE_ID, "") if is_own else "") or None


def client_of_caller(context: click.Context, environ: Mapping[str, str] = os.environ) -> ControlClient:
    """Reach the daemon as whoever calls: a woken agent with its own token, else whoever may read the state folder.

    Inside a woken command nothing is read but its environment: it may work in a folder with settings of its own.

    Raises:
        ControlError: There is no daemon, as far as can be told without asking.
        ConfigurationError: The settings make no sense.
    """
    is_told = any(value is not None for value in asked(context).options.values())
    if environ.get(TOKEN) and environ.get(CONTROL) and not is_told:
        return ControlClient.from_environment(environ)
    settings = settings_of(context)
    if environ.get(TOKEN) and not is_told:
        return ControlClient(settings.control, environ[TOKEN])
    return ControlClient(settings.control, tokens_in(settings).operator)


def tokens_in(settings: Settings) -> Tokens:
    """Read the secret of the state folder, which a daemon has made.

    Raises:
        ControlError: There is none, so that no daemon can have run.
    """
    if not _is_file(settings.secret):
        raise ControlError(f"no daemon has run with the state folder {settings.state}: start one with harborcal run")
    return Tokens.kept_in(settings.secret)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
