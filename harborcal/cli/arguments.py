"""Arguments that several commands have: agents, which the shell can complete, and texts that are read in a zone."""

import contextlib
import datetime as dt
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem

from harborcal.cli.context import settings_of
from harborcal.clock import SystemClock
from harborcal.errors import HarborcalError
from harborcal.grammar import is_id


class AgentId(click.ParamType[str, str]):
    """An agent's id; the shell completes those of the configuration and of the carried calendar."""

    name = "agent"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what is no id."""
        if not is_id(value):
            self.fail(
                f"{value!r} is no agent's id: letters, digits and any of '._:@-', a letter or digit first", param, ctx
            )
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Offer the agents that there are."""
        return [CompletionItem(agent_id) for agent_id in known_agents(ctx) if agent_id.startswith(incomplete)]


AGENT = AgentId()


def known_agents(context: click.Context) -> list[str]:
    """List the agents that completion offers; whatever is wrong with the configuration, a shell is told nothing."""
    try:
        settings = settings_of(context)
        found = dict.fromkeys(settings.agents)
        url, file = settings.calendar_url, settings.calendar_file
        if url is not None and file is not None and file.is_file():
            from harborcal.calendar import Calendar

            with contextlib.closing(Calendar(url, patience=1.0)) as calendar:
                found.update(dict.fromkeys(agent.id for agent in calendar.agents()))
    except (HarborcalError, OSError):
        return []
    return list(found)


@contextlib.contextmanager
def read_as(hint: str) -> Iterator[None]:
    """Tell a `ValueError` about an argument as wrong usage of that argument.

    Raises:
        click.BadParameter: There was one.
    """
    try:
        yield
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=hint) from error


def now() -> dt.datetime:
    """Tell the present, in UTC."""
    return SystemClock().now()
