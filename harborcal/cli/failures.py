"""What becomes of errors: a line on stderr, in words, and an exit code that scripts can tell apart."""

import contextlib
import enum
import errno
import os
import sys
import traceback
from collections.abc import Iterator

import click

from harborcal.errors import (
    CalendarError,
    CalendarRefusedError,
    ConfigurationError,
    ControlError,
    HarborcalError,
    JournalError,
    NoActiveSlotError,
    SlotMismatchError,
    TransportError,
)
from harborcal.grammar import clean

DEBUG = "HARBORCAL_DEBUG"
"""The variable that lets errors be followed by their traceback, where it is not empty."""


class ExitCode(enum.IntEnum):
    """What the process ends with."""

    DONE = 0
    FAILED = 1
    """The answer is no, or something failed."""
    USAGE = 2
    CONFIGURATION = 3
    NO_DAEMON = 4
    REFUSED = 5
    """There is no active slot, or another one; the calendar says no; the token reaches no further."""
    UNUSABLE = 6
    """The calendar or the journal cannot be used or reached."""
    FOUND = 7
    """The doctor found something."""
    INTERRUPTED = 130
    READER_GONE = 141
    """Whoever read the output has gone, as in ``harborcal day | head -1``."""


_CODES: tuple[tuple[type[HarborcalError], ExitCode], ...] = (
    (ConfigurationError, ExitCode.CONFIGURATION),
    (NoActiveSlotError, ExitCode.REFUSED),
    (SlotMismatchError, ExitCode.REFUSED),
    (CalendarRefusedError, ExitCode.REFUSED),
    (CalendarError, ExitCode.UNUSABLE),
    (JournalError, ExitCode.UNUSABLE),
    (TransportError, ExitCode.UNUSABLE),
)


def exit_code_of(error: HarborcalError) -> ExitCode:
    """Tell which exit code an error means."""
    if isinstance(error, ControlError):
        return (
            ExitCode.REFUSED if 400 <= error.status < 500 else (ExitCode.FAILED if error.status else ExitCode.NO_DAEMON)
        )
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


class FailedError(click.ClickException):
    """A command could not do what it was asked for; unless another is given, the exit code is that of a no."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = exit_code


def open_missing_streams() -> None:
    """Put nothing in the place of standard streams that are closed, before anything else takes their numbers.

    A script that calls us with ``>&-`` has what it asked for done all the same; a file that is opened as number 1 would
    get what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115, PTH123


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what a command raises into words on stderr and the exit code that fits."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except click.ClickException as error:
        code = _tell_of_usage(error)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = _tell("interrupted", ExitCode.INTERRUPTED)
    except HarborcalError as error:
        code = _tell(str(error), exit_code_of(error))
    except OSError as error:
        _let_go_of_stdout()
        if error.errno == errno.EPIPE:
            raise SystemExit(ExitCode.READER_GONE) from None
        code = _tell(_words_of(error), ExitCode.FAILED)
    except Exception as error:  # noqa: BLE001 - the last door: nobody wants a traceback for a slip of ours
        words = f"this should not have happened: {type(error).__name__}: {clean(str(error), 300)}"
        code = _tell(f"{words} ({DEBUG}=1 shows where)", ExitCode.FAILED)
    else:
        return
    raise SystemExit(code)


def _tell_of_usage(error: click.ClickException) -> int:
    with contextlib.suppress(OSError):
        if isinstance(error, click.UsageError):
            error.show()
        else:
            return _tell(error.format_message(), error.code if isinstance(error, FailedError) else ExitCode.FAILED)
    return error.exit_code


def _tell(words: str, code: ExitCode) -> ExitCode:
    """Say on stderr what is wrong. Nobody may be listening there any more, which changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        if os.environ.get(DEBUG):
            traceback.print_exc(file=sys.stderr)
        for number, line in enumerate(words.splitlines() or [""]):
            click.echo(f"{'harborcal: ' if number == 0 else '  '}{clean(line, 2_000)}", err=True)
    return code


def _words_of(error: OSError) -> str:
    what = f"{error.filename}: " if error.filename else ""
    return f"{what}{error.strerror or error}"


def _let_go_of_stdout() -> None:
    """Let the interpreter flush into nothing at its end, where what is still buffered cannot be written."""
    try:
        sys.stdout.flush()
    except ValueError:
        return
    except OSError:
        pass
    else:
        return
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, sys.stdout.fileno())
        finally:
            os.close(nowhere)
