"""What is said, and where: answers on stdout, notes and progress on stderr, colours for terminals that want them."""

import contextlib
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ParamSpec, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from harborcal.grammar import clean

Arguments = ParamSpec("Arguments")
_UNBOUNDED = 10_000
_CELL = 200


class Screen:
    """Where a command's words go. Without a terminal there are no colours, and no line is cut or wrapped."""

    def __init__(self) -> None:
        self._out = _console(sys.stdout)
        self._notes = _console(sys.stderr)

    def say(self, text: str = "", style: str = "") -> None:
        """Write a line of the answer."""
        self._out.print(Text(text, style=style), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """Write a line beside the answer, on stderr: a hint, a warning, what goes on."""
        self._notes.print(Text(text, style=style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Write rows under headings; texts are cleaned, what is None is left empty."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in columns:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*map(_cell, row))
        with self._out.capture() as written:
            self._out.print(table)
        for line in written.get().splitlines():
            self._out.file.write(line.rstrip() + "\n")

    @contextlib.contextmanager
    def progress(self, what: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
        """Show how far something has come, on a terminal; elsewhere nothing is shown.

        Yields:
            What is called with how much more was done.
        """
        shape = (BarColumn(),) if total is not None else (SpinnerColumn("line"),)
        with Progress(
            TextColumn("{task.description}", markup=False),
            *shape,
            TimeElapsedColumn(),
            console=self._notes,
            transient=True,
            disable=not self._notes.is_terminal,
        ) as progress:
            task = progress.add_task(what, total=total)
            yield functools.partial(progress.advance, task)


def _console(file: TextIO) -> Console:
    # Without a colour system rich writes no escape at all, bold included, which is what NO_COLOR's readers expect.
    console = Console(file=file, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if os.environ.get("NO_COLOR"):
        console = Console(file=file, markup=False, highlight=False, emoji=False, color_system=None)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    return Text("" if value is None else clean(str(value), _CELL))


# --- answers --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a reading command found out.

    Attributes:
        data: Plain values, as ``--json`` writes them.
        show: Tells it to a person.
        exit_code: What the command ends with, either way.
        is_silent: Whether there is nothing to say: a subcommand will speak.
    """

    data: Any
    show: Callable[[Screen], None]
    exit_code: int = 0
    is_silent: bool = False


def json_option(function: Callable[Arguments, Answer]) -> Callable[Arguments, None]:
    """Let a reading command answer in JSON where ``--json`` is given, and else in words."""

    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @functools.wraps(function)
    def command(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        as_json = kwargs.pop("as_json")
        answer = function(*args, **kwargs)
        if answer.is_silent:
            return
        if as_json:
            click.echo(json.dumps(answer.data, indent=2))
        else:
            answer.show(Screen())
        if answer.exit_code:
            click.get_current_context().exit(answer.exit_code)

    return command
