"""``harborcal demo``: what a daemon does, without writing a line of configuration."""

import tempfile
from pathlib import Path

import click

from harborcal.cli.failures import ExitCode
from harborcal.cli.output import Screen


@click.command()
@click.option("--keep", is_flag=True, help="Keep its folder, to look at.")
@click.pass_context
def demo(context: click.Context, keep: bool) -> None:
    """Run three agents through a calendar of their own, in about ten seconds.

    Three shell scripts are woken by the real daemon, in a temporary folder: one reports by itself, one by how it ends,
    one dies. Nothing else on this machine is touched, and no configuration is read.
    """
    from harborcal.cli.demo import Demo

    screen = Screen()
    folder = tempfile.mkdtemp(prefix="harborcal-demo-")
    try:
        outcome = Demo(Path(folder), screen.say).run()
    finally:
        if not keep:
            _remove(folder)
    account = outcome.account
    settled = ", ".join(f"{count} {status}" for status, count in sorted(account.settled.items()))
    screen.say()
    screen.say(
        f"{account.seen} slots were seen: {settled or 'none ended'}, {account.active} under way, "
        f"{account.waiting} waiting"
    )
    if keep:
        screen.say(f"kept in {folder}: harborcal --config {folder}/harborcal.toml today")
    if outcome.stopped_by:
        context.exit(ExitCode.INTERRUPTED if outcome.stopped_by == "SIGINT" else ExitCode.FAILED)
    if not account.is_balanced or account.active or account.waiting:
        context.exit(ExitCode.FAILED)


def _remove(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
