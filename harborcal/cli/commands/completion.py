"""``harborcal completion``: what a shell needs to complete commands, options and agents."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")
_NAME = "harborcal"
_VARIABLE = "_HARBORCAL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print a completion script for a shell.

    \b
    bash  eval "$(harborcal completion bash)"      in ~/.bashrc
    zsh   eval "$(harborcal completion zsh)"       in ~/.zshrc, after compinit
    fish  harborcal completion fish | source       in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    root = click.get_current_context().find_root().command
    maker = kind(root, {}, _NAME, _VARIABLE)
    # Its `source` would look for the shell first, which need not be on this machine.
    click.echo(maker.source_template % maker.source_vars())
