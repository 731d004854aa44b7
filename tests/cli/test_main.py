"""The group itself: its table, its help, its reference, and what errors become."""

from pathlib import Path

import click
import pytest

from harborcal import (
    CalendarError,
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    ControlError,
    HarborcalError,
    HostError,
    ICalendarError,
    JournalError,
    LifecycleError,
    MalformedAnswerError,
    MissingExtraError,
    NoActiveSlotError,
    NotSentError,
    SlotMismatchError,
    TransportTimeoutError,
    UpdateRefusedError,
)
from harborcal.cli.failures import exit_code_of, exit_codes
from harborcal.cli.main import COMMANDS, main
from harborcal.cli.reference import reference
from harborcal.model import SlotStatus
from tests.cli.conftest import Harbor

ROOT = Path(__file__).parent.parent.parent


def test_every_command_of_the_table_is_there_and_says_what_it_does() -> None:
    context = click.Context(main, info_name="harborcal")
    for homes in COMMANDS.values():
        for name in homes:
            command = main.get_command(context, name)
            assert command is not None, name
            assert command.help, name


def test_the_reference_is_current() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), "make reference writes it anew"


def test_every_environment_variable_and_exit_code_is_in_the_reference() -> None:
    page = reference()
    for word in (
        "HARBORCAL_SCHEDULER_LEASE",
        "HARBORCAL_CONTROL",
        "HARBORCAL_API_KEY_FILE",
        "| 130 |",
        "### harborcal add",
    ):
        assert word in page


def test_help_lists_the_commands_under_their_headings(bare: Harbor) -> None:
    told = bare.says("--help")
    for heading, homes in COMMANDS.items():
        assert f"{heading}:" in told
        assert all(f"\n  {name} " in told for name in homes)
    assert "Usage: harborcal" in bare.fails(2)


def test_a_command_whose_extra_is_missing_is_listed_with_what_it_needs(
    bare: Harbor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_context: click.Context, name: str) -> None:
        raise MissingExtraError(name, "mcp")

    monkeypatch.setattr(main, "get_command", missing)
    assert "(needs harborcal[mcp])" in bare.says("--help")


def test_a_command_that_is_misspelt_is_guessed(bare: Harbor) -> None:
    assert "Did you mean 'simulate'?" in bare.fails(2, "simulat")
    assert "Did you mean 'show'?" in bare.fails(2, "config", "shw")


def test_an_option_behind_the_command_that_stands_before_it_is_told_its_place(bare: Harbor) -> None:
    complaint = bare.fails(2, "today", "--config", "x")
    assert "--config stands before the command's name: harborcal --config ..." in complaint
    assert "stands before" not in bare.fails(2, "today", "--confg", "x")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HarborcalError("x"), 1),
        (LifecycleError("x"), 1),
        (HostError("x"), 1),
        (ICalendarError("x"), 1),
        (MissingExtraError("x", "cli"), 1),
        (ControlError("x", 500), 1),
        (ConfigurationError("x"), 3),
        (ControlError("x"), 4),
        (ControlError("x", 401), 5),
        (NoActiveSlotError("dev"), 5),
        (SlotMismatchError("dev", "1", "2"), 5),
        (CalendarRefusedError(409, "x"), 5),
        (UpdateRefusedError(409, "x"), 5),
        (CalendarError("x"), 6),
        (JournalError("x"), 6),
        (CalendarUnavailableError("x", 503), 6),
        (TransportTimeoutError("x"), 6),
        (NotSentError("x"), 6),
        (MalformedAnswerError("x"), 6),
    ],
)
def test_each_error_has_its_exit_code(error: HarborcalError, code: int) -> None:
    assert exit_code_of(error) == code


def test_words_of_others_reach_a_terminal_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_codes():
        raise CalendarRefusedError(409, "red \x1b[31m alert\nand more")
    assert capsys.readouterr().err == "harborcal: calendar refused (409): red [31m alert\n  and more\n"


def test_a_locked_slot_is_refused_in_words(harbor: Harbor) -> None:
    harbor.call("add", "reviewer", "in 1h")
    with harbor.calendar() as calendar:
        (slot,) = calendar.day("reviewer", calendar.clock.now().date())
        calendar.lock_slot(slot.key)
    assert "lock" in harbor.fails(5, "cancel", "1")
    with harbor.calendar() as calendar:
        assert calendar.slot(slot.key).status is SlotStatus.NOT_STARTED
