"""``harborcal complete``, ``abort``, ``pause``, ``resume`` and ``renew``: what is said of a slot under way."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from harborcal.cli.arguments import AGENT
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.reaching import client_of_caller, fence_of, named_agent
from harborcal.control import AgentAccess, Fence

_TEXT_LIMIT = 64 * 1024
_STDIN = "-"

Say = Callable[[AgentAccess, Fence | None], Mapping[str, Any]]


Command = TypeVar("Command", bound=Callable[..., object])


class _TextCommand(click.Command):
    """A command whose text may begin with a dash, as a list of points does: options have no blanks in their names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [option for option in self.params if isinstance(option, click.Option)]
        own = [spelt for option in options for spelt in option.opts]
        with_value = [spelt for option in options if not option.is_flag for spelt in option.opts]
        texts = []
        for position, arg in enumerate(args):
            is_value = position > 0 and args[position - 1] in with_value
            name = arg.partition("=")[0]
            if arg == "--":
                break
            if arg.startswith("-") and not is_value and any(map(str.isspace, arg)) and name not in own:
                texts.append(position)
        kept = [arg for position, arg in enumerate(args) if position not in texts]
        return super().parse_args(ctx, [*kept, "--", *(args[position] for position in texts)] if texts else args)


def _agent_option(function: Command) -> Command:
    said = "Whose slot is meant; inside a woken command it is known."
    return click.option("--agent", type=AGENT, metavar="ID", help=said)(function)


def _slot_option(function: Command) -> Command:
    said = "Refuse if the agent is at another slot; inside a woken command that is so anyway."
    return click.option("--slot", metavar="IDENT", help=said)(function)


def _report(agent: str | None, slot: str | None, say: Say) -> Answer:
    agent_id = named_agent(agent)
    told = say(client_of_caller(click.get_current_context()).agent(agent_id), fence_of(agent_id, slot))

    def show(screen: Screen) -> None:
        detail = f" ({told['detail']})" if told.get("detail") else ""
        screen.say(f"{told['agent_id']}: slot {told['slot']} is {told['status']}{detail}")

    return Answer(data=dict(told), show=show)


def _text(given: str) -> str:
    """Take a text as it was given, or from stdin for ``-``."""
    if given != _STDIN:
        return given
    return sys.stdin.buffer.read(_TEXT_LIMIT).decode("utf-8", "replace").strip()


@click.command(cls=_TextCommand)
@click.argument("summary", default="")
@_agent_option
@_slot_option
@json_option
def complete(summary: str, agent: str | None, slot: str | None) -> Answer:
    """Report that the work is done; SUMMARY says what was done, and - takes it from stdin.

    Inside a woken command no option is needed: which agent and which slot are meant, and the token, are in its
    environment. Elsewhere --agent says whose slot is meant: harborcal complete --agent reviewer "merged".
    """
    text = _text(summary)
    return _report(agent, slot, lambda access, fence: access.complete(text, fence=fence))


@click.command(cls=_TextCommand)
@click.argument("reason", default="")
@_agent_option
@_slot_option
@json_option
def abort(reason: str, agent: str | None, slot: str | None) -> Answer:
    """Report that the work will not be done; REASON says why, and - takes it from stdin."""
    text = _text(reason)
    return _report(agent, slot, lambda access, fence: access.abort(text, fence=fence))


@click.command(cls=_TextCommand)
@click.argument("reason", default="")
@_agent_option
@_slot_option
@json_option
def pause(reason: str, agent: str | None, slot: str | None) -> Answer:
    """Report that the work rests; pauses do not count as work. REASON says why, and - takes it from stdin."""
    text = _text(reason)
    return _report(agent, slot, lambda access, fence: access.pause(text, fence=fence))


@click.command()
@_agent_option
@_slot_option
@json_option
def resume(agent: str | None, slot: str | None) -> Answer:
    """Report that the work goes on."""
    return _report(agent, slot, lambda access, fence: access.resume(fence=fence))


@click.command()
@_agent_option
@_slot_option
@json_option
def renew(agent: str | None, slot: str | None) -> Answer:
    """Report that the agent is alive, and nothing else: it may be silent for another lease from now on."""
    return _report(agent, slot, lambda access, fence: access.renew(fence=fence))
