"""The command line: a calendar for agents from a terminal, a script or a service manager.

Read in this order: `main` (which commands there are), `settings` (what they go by, and where each value came from),
`context` (how a command gets its settings), `output` and `failures` (what is said, and exit codes), `times` and
`recurrences` (what people write), `calendars` (the calendar that is meant), then `commands/`, and `reference`
(docs/cli.md).

It comes with the extra ``cli``: ``pip install 'harborcal[cli]'``.
"""

import io
import sys

from harborcal.errors import MissingExtraError

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of this process; it ends by `SystemExit`."""
    try:
        import click  # noqa: F401 - only to see whether it is there
        import rich  # noqa: F401
    except ImportError:
        sys.stderr.write(f"harborcal: {MissingExtraError('the command line', 'cli')}\n")
        raise SystemExit(1) from None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no reason to fail
    from harborcal.cli.main import main as group

    group(prog_name="harborcal")
