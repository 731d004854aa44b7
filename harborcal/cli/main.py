"""Which commands there are. Each one's module is imported when it is called for, so that none waits for another's."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import click
from click.shell_completion import shell_complete

from harborcal.cli.context import Asked
from harborcal.cli.failures import exit_codes, open_missing_streams
from harborcal.errors import MissingExtraError
from harborcal.version import __version__

NAME = "harborcal"
COMPLETE_VARIABLE = "_HARBORCAL_COMPLETE"
"""The variable by which completion scripts ask; what they ask is its value."""

COMMANDS: Mapping[str, Mapping[str, str]] = {
    "Begin": {
        "init": "harborcal.cli.commands.init:init",
        "config": "harborcal.cli.commands.config:config",
        "agents": "harborcal.cli.commands.agents:agents",
        "completion": "harborcal.cli.commands.completion:completion",
    },
    "Run": {
        "demo": "harborcal.cli.commands.demo:demo",
        "run": "harborcal.cli.commands.running:run",
        "status": "harborcal.cli.commands.looking:status",
        "why": "harborcal.cli.commands.looking:why",
        "doctor": "harborcal.cli.commands.doctor:doctor",
        "serve": "harborcal.cli.commands.running:serve",
        "mcp": "harborcal.cli.commands.mcp:mcp",
    },
    "Report": {
        "complete": "harborcal.cli.commands.reports:complete",
        "abort": "harborcal.cli.commands.reports:abort",
        "pause": "harborcal.cli.commands.reports:pause",
        "resume": "harborcal.cli.commands.reports:resume",
        "renew": "harborcal.cli.commands.reports:renew",
    },
    "Plan": {
        "add": "harborcal.cli.commands.slots:add",
        "plan": "harborcal.cli.commands.plans:plan",
        "plans": "harborcal.cli.commands.plans:plans",
        "cancel": "harborcal.cli.commands.cancel:cancel",
        "import": "harborcal.cli.commands.exchange:import_file",
        "export": "harborcal.cli.commands.exchange:export_file",
    },
    "Look": {
        "today": "harborcal.cli.commands.days:today",
        "day": "harborcal.cli.commands.days:day",
        "simulate": "harborcal.cli.commands.simulate:simulate",
    },
}
"""Each command's home, ``module:attribute``, by the heading that the help lists it under."""

_HOMES = {name: home for homes in COMMANDS.values() for name, home in homes.items()}


class _Group(click.Group):
    """A group whose commands are where `COMMANDS` says, and whose failures are told in words."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        home = _HOMES.get(cmd_name)
        if home is None:
            return None
        module, attribute = home.split(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{home} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings."""
        for heading, homes in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self._summary(ctx, name)) for name in homes])

    def _summary(self, context: click.Context, name: str) -> str:
        try:
            command = self.get_command(context, name)
        except MissingExtraError as error:
            return f"(needs harborcal[{error.extra}])"
        return "" if command is None else command.get_short_help_str(limit=100)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=_HOMES, ctx=ctx) from error

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: object
    ) -> NoReturn:
        """Run a command and end by `SystemExit` with the code that fits.

        Click's own would end a call whose reader has gone, or that was interrupted, with codes that mean other things.
        """
        name = prog_name or NAME
        if instruction := os.environ.get(COMPLETE_VARIABLE):
            raise SystemExit(shell_complete(self, {}, NAME, COMPLETE_VARIABLE, instruction))
        open_missing_streams()
        with exit_codes():
            try:
                with self.make_context(name, list(sys.argv[1:] if args is None else args)) as context:
                    self.invoke(context)
            except click.NoSuchOption as error:
                own = [spelt for option in self.params for spelt in option.opts]
                if error.option_name not in own:
                    raise
                words = f"{error.option_name} stands before the command's name: {name} {error.option_name} ..."
                raise click.NoSuchOption(error.option_name, words, ctx=error.ctx) from error
        raise SystemExit(0)


@click.group(NAME, cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config", type=click.Path(), metavar="FILE", help="The configuration; harborcal.toml in this folder by default."
)
@click.option("--calendar", metavar="URL", help="The carried calendar, as sqlite:///path/to/calendar.db.")
@click.option("--backend", metavar="URL", help="A HarborForge backend instead of the carried calendar.")
@click.option("--zone", metavar="NAME", help="The time zone that times are read and shown in, as Europe/Berlin.")
@click.option(
    "--state", type=click.Path(), metavar="FOLDER", help="Where the daemon keeps its journal, lock and control socket."
)
@click.option("--control", metavar="ADDRESS", help="Where the daemon listens: unix:PATH or http://127.0.0.1:PORT.")
@click.version_option(__version__, "-V", "--version", prog_name="harborcal", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, /, **options: str | None) -> None:
    """Run AI agents by a calendar.

    Options go before environment variables (HARBORCAL_...), those before harborcal.toml, and that before what is
    usual; `harborcal config show` tells each value and where it came from.

    Exit codes: 0 done; 1 the answer is no, or something failed; 2 wrong usage; 3 wrong configuration; 4 no daemon
    reached; 5 refused; 6 calendar or journal unusable; 7 doctor found something; 130 interrupted.
    """
    context.obj = Asked(options)
