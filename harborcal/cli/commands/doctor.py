"""``harborcal doctor``: looks at everything that can be out of order, and mends what can be mended."""

import dataclasses
import sys
from typing import Any

import click

from harborcal.cli.context import settings_of
from harborcal.cli.doctor import CHECKS, Check, Examination, Finding, Note
from harborcal.cli.doctor.journals import drop_letter
from harborcal.cli.failures import ExitCode
from harborcal.cli.output import Screen
from harborcal.errors import ConfigurationError, HarborcalError


@dataclasses.dataclass
class _Visit:
    """What a visit has come to so far."""

    fixes: bool
    is_sure: bool
    screen: Screen | None
    said: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether nothing was found, or all of it was mended."""
        return all(one["ok"] or one["fixed"] for one in self.said)

    def note(self, check: str, note: Note) -> None:
        """Tell that something is well."""
        self.said.append({"check": check, "ok": True, "text": note.text})
        if self.screen is not None:
            self.screen.say(f"ok     {check}: {note.text}", style="green")

    def find(self, check: str, finding: Finding) -> None:
        """Tell what is wrong, what would be done, and do it where that is wanted."""
        if self.screen is not None:
            self.screen.say(f"FOUND  {check}: {finding.what}", style="bold red")
            self.screen.say(f"       {finding.remedy}")
        outcome, is_fixed = self._mend(finding)
        if outcome and self.screen is not None:
            self.screen.say(f"       {'mended' if is_fixed else 'not mended'}: {outcome}")
        self.said.append(
            {
                "check": check,
                "ok": False,
                "text": finding.what,
                "remedy": finding.remedy,
                "fixable": finding.repair is not None,
                "fixed": is_fixed,
                "outcome": outcome,
            }
        )

    def _mend(self, finding: Finding) -> tuple[str, bool]:
        if not self.fixes or finding.repair is None:
            return "", False
        if not self.is_sure and not click.confirm("       do that?", default=False, err=True):
            return "left as it is", False
        try:
            return finding.repair(), True
        except (HarborcalError, OSError) as error:
            return str(error), False


@click.command()
@click.option("--fix", is_flag=True, help="Mend what can be mended, asking before each thing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--drop-letter", "letters", type=int, multiple=True, metavar="N", help="Forget dead letter N first.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def doctor(context: click.Context, fix: bool, yes: bool, letters: tuple[int, ...], as_json: bool) -> None:
    """Look at configuration, state folder, calendar, journal and commands; say what is wrong, and mend it with --fix.

    Nothing is deleted: a damaged journal is moved aside. What a repair would do, and what it would lose, is said before
    it is done. While a daemon runs it is asked through its control API, and what is its own is left to it.

    Exit code 7 where something was found and not mended.
    """
    if fix and not yes and (as_json or not sys.stdin.isatty()):
        raise click.UsageError("--fix asks before each thing: without a terminal, or with --json, say --yes")
    visit = _Visit(fixes=fix, is_sure=yes, screen=None if as_json else Screen())
    try:
        settings = settings_of(context)
    except ConfigurationError as error:
        visit.find("configuration", Finding(what=str(error), remedy="correct it: nothing else can be looked at"))
    else:
        with Examination(settings) as examination:
            for number in letters:
                _drop(visit, examination, number)
            for check in CHECKS:
                _look(visit, check, examination)
    _tell(visit, as_json=as_json)
    context.exit(0 if visit.is_well else ExitCode.FOUND)


def _drop(visit: _Visit, examination: Examination, number: int) -> None:
    try:
        drop_letter(examination, number)
    except HarborcalError as error:
        visit.find("dead letters", Finding(what=str(error), remedy="harborcal doctor lists those that there are"))
    else:
        visit.note("dead letters", Note(text=f"dead letter {number} is forgotten"))


def _look(visit: _Visit, check: Check, examination: Examination) -> None:
    name, look = check
    try:
        for said in look(examination):
            if isinstance(said, Note):
                visit.note(name, said)
            else:
                visit.find(name, said)
    except (HarborcalError, OSError) as error:  # one that cannot be made must not hide the others
        visit.find(name, Finding(what=str(error), remedy="nobody but you can mend that"))


def _tell(visit: _Visit, *, as_json: bool) -> None:
    found = [one for one in visit.said if not one["ok"]]
    mended = [one for one in found if one["fixed"]]
    if as_json:
        import json

        click.echo(json.dumps({"healthy": visit.is_well, "checks": visit.said}, indent=2))
    elif visit.screen is not None:
        can = sum(one["fixable"] and not one["fixed"] for one in found)
        hint = f"; harborcal doctor --fix mends {can} of them" if can and not visit.fixes else ""
        visit.screen.say(f"{len(found)} found, {len(mended)} mended{hint}" if found else "all is well")
