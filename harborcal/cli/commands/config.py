"""``harborcal config show``: each value, and where it came from."""

import click

from harborcal.cli.context import pass_settings
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.settings import Settings


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@json_option
@pass_settings
def show(settings: Settings) -> Answer:
    """Show each value and where it came from; secrets are only said to be set."""
    values = settings.values()

    def tell(screen: Screen) -> None:
        screen.table(("value", "is", "from"), [(value.name, value.shown, value.origin) for value in values])

    return Answer(data=[{"name": one.name, "value": one.shown, "origin": one.origin} for one in values], show=tell)
