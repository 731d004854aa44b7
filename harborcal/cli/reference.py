"""The command reference, made from the commands themselves: ``python -m harborcal.cli.reference docs/cli.md``."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from harborcal.cli.failures import ExitCode
from harborcal.cli.main import COMMANDS, NAME, main
from harborcal.cli.settings import TABLES

_HEAD = """\
# The command line

<!-- Made from the code by `make reference`; what is changed here by hand is lost. -->

`pip install 'harborcal[cli]'`, then `harborcal`, or `python -m harborcal`. Answers go to standard output, notes and
progress to standard error. `--json` makes a command that reads answer in JSON. Without a terminal, or with
`NO_COLOR`, there are no colours; `HARBORCAL_DEBUG=1` adds tracebacks to errors.
"""

_EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the answer is no, or something failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.CONFIGURATION: "wrong configuration; it says which key or variable",
    ExitCode.NO_DAEMON: "no daemon was reached",
    ExitCode.REFUSED: "refused: unknown agent or slot, overlap, past date, no active slot or another one, token",
    ExitCode.UNUSABLE: "the calendar or the journal cannot be used or reached",
    ExitCode.FOUND: "the doctor found something",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
    ExitCode.READER_GONE: "whoever read the output has gone, as with `| head -1`",
}

_SETTINGS = """\
## Settings

An option before the command's name goes before an environment variable, that before `harborcal.toml`, and that before
the default; `harborcal config show` tells each value and where it came from. A variable that is empty is not set. The
file is `harborcal.toml` in the working directory, or what `--config` or `HARBORCAL_CONFIG` names; relative paths in
it begin at its folder. A key that is not known is an error that names the nearest one.

| in the file | option | variable |
|---|---|---|
"""

_AFTER_SETTINGS = """
Secrets stand in no file but one of their own: `HARBORCAL_API_KEY` (the backend's) and `HARBORCAL_SERVE_KEY`, or the
first line of the files that the `_file` settings name. They are shown by nothing.

`[agents.NAME]` says who is woken and how: `host` (`command`, `webhook`, `callback`, or an entry point's name),
`model`, and the host's own keys; `[defaults]` holds for all agents that do not say otherwise. Agents that the file
names are registered in the carried calendar when a command first opens it. Durations in `[scheduler]` are seconds, or
texts such as `"30s"` and `"5m"`; `"never"` turns `lease` and `misfire_grace` off.
"""

_OPTIONS = {
    "zone": "zone",
    "state": "state",
    "calendar.url": "calendar",
    "calendar.backend": "backend",
    "control.listen": "control",
}
_VARIABLES = {
    "control.listen": "HARBORCAL_CONTROL",
    "calendar.api_key_file": "HARBORCAL_API_KEY_FILE",
    "serve.key_file": "HARBORCAL_SERVE_KEY_FILE",
}


def reference() -> str:
    """Write the page."""
    context = click.Context(main, info_name=NAME)
    parts = [_HEAD, *_options_of(main, context), _exit_codes(), _settings()]
    for heading, homes in COMMANDS.items():
        parts.append(f"## {heading}\n")
        for name in homes:
            command = main.get_command(context, name)
            if command is not None:
                parts += _page_of(command, name, context)
    return "\n".join(parts)


def _page_of(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"### {context.command_path}\n"
    yield f"```\n{usage}\n```\n"
    yield from _words_of(command)
    yield from _options_of(command, context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found is not None:
                yield from _page_of(found, each, context)


def _words_of(command: click.Command) -> Iterator[str]:
    for paragraph in (command.help or "").strip().split("\n\n"):
        lines = [line.strip() for line in paragraph.strip("\n").splitlines()]
        if lines[:1] == [""] or lines[:1] == [
            "\b"
        ]:  # "\b" is white space to some, and click's sign for text as it stands
            yield "```\n" + "\n".join(lines[1:]) + "\n```\n"
        elif lines:
            yield "\n".join(lines) + "\n"


def _options_of(command: click.Command, context: click.Context) -> Iterator[str]:
    """List the options, but for --help; in words of our own, so that the page is the same with every click."""
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    rows = [f"| {_named(option, context)} | {_explained(option)} |" for option in options]
    if rows:
        yield "\n".join(["| option | |", "|---|---|", *rows]) + "\n"


def _named(option: click.Option, context: click.Context) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    value = "" if option.is_flag or option.count else f" {_value_of(option, context)}"
    return f"`{names}{value}`".replace("|", "\\|")


def _value_of(option: click.Option, context: click.Context) -> str:
    if isinstance(option.type, click.IntRange):
        return f"{option.type.min}..{option.type.max}"
    return option.make_metavar(context).strip("[]")


def _explained(option: click.Option) -> str:
    help_text = option.help or ""
    return f"{help_text} Default: `{option.default}`." if option.show_default else help_text


def _exit_codes() -> str:
    rows = [f"| {int(code)} | {words} |" for code, words in _EXIT_CODES.items()]
    return "\n".join(["## Exit codes\n", "| code | meaning |", "|---|---|", *rows]) + "\n"


def _settings() -> str:
    keys = ["zone", "state", *(f"{table}.{key}" for table, keys in TABLES.items() for key in keys)]
    rows = []
    for key in keys:
        option = f"`--{_OPTIONS[key]}`" if key in _OPTIONS else ""
        variable = _VARIABLES.get(key, "HARBORCAL_" + key.upper().replace(".", "_"))
        rows.append(f"| `{key}` | {option} | `{variable}` |")
    return _SETTINGS + "\n".join(rows) + "\n" + _AFTER_SETTINGS


if __name__ == "__main__":
    (target,) = sys.argv[1:]
    Path(target).write_text(reference(), encoding="utf-8")
