"""``harborcal mcp``: the agent tools over the Model Context Protocol, for one agent, through the daemon."""

import os

import click

from harborcal.cli.arguments import AGENT
from harborcal.cli.context import settings_of
from harborcal.cli.reaching import client_of_caller, named_agent, tokens_in
from harborcal.cli.state import prepare_state
from harborcal.control import TOKEN, ControlClient, Tokens
from harborcal.errors import ConfigurationError


@click.command()
@click.option("--agent", type=AGENT, metavar="ID", help="Whose tools; inside a woken command it is known.")
@click.option("--read-only", is_flag=True, help="Only the tools that look: for a person's assistant.")
@click.pass_context
def mcp(context: click.Context, agent: str | None, read_only: bool) -> None:
    """Serve one agent's calendar tools over MCP on stdin and stdout, until its client ends.

    Its tools reach the daemon as that agent, whoever starts it, and no other agent's slots. While no daemon runs they
    answer with an error, and work again when one does.
    """
    from harborcal.mcp_server import serve

    agent_id = named_agent(agent)
    if os.environ.get(TOKEN):
        client = client_of_caller(context)
    else:
        settings = settings_of(context)
        if settings.agents and agent_id not in settings.agents:
            known = ", ".join(settings.agents)
            raise ConfigurationError(f"there is no agent {agent_id!r} in {settings.file}: it names {known}")
        if settings.agents:  # the daemon may come later, and goes by the same secret
            prepare_state(settings.state, settings.folder)
            tokens = Tokens.kept_in(settings.secret)
        else:
            tokens = tokens_in(settings)
        client = ControlClient(settings.control, tokens.for_agent(agent_id))
    serve(client.agent(agent_id), read_only=read_only)
