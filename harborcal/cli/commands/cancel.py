"""``harborcal cancel``: a slot, or a whole plan."""

import contextlib
import re

import click

from harborcal.cli.calendars import open_calendar, refusal_in_words
from harborcal.cli.context import pass_settings
from harborcal.cli.failures import ExitCode, FailedError
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.settings import Settings
from harborcal.errors import CalendarRefusedError
from harborcal.grammar import is_id
from harborcal.model import MAX_REAL_ID, SlotKey

_PLAN = re.compile(r"plan[- ]?(\d{1,18})", re.IGNORECASE)


@click.command()
@click.argument("what")
@json_option
@pass_settings
def cancel(settings: Settings, what: str) -> Answer:
    """Cancel a slot or a plan.

    WHAT is a slot as `today` lists it: a number, or 'plan-3-2026-03-05' for one day of a plan; or 'plan-3' for the
    whole plan. A slot is skipped, or aborted where it has begun; a plan yields nothing from today on, and its
    slots that have begun stay. What is cancelled already stays so.
    """
    meant = _named(what.strip())
    with contextlib.closing(open_calendar(settings)) as calendar:
        try:
            if isinstance(meant, int):
                data, told = calendar.cancel_plan(meant).to_dict(), f"plan {meant} is cancelled"
            else:
                slot = calendar.cancel_slot(meant)
                data, told = {"ident": slot.ident, **slot.to_dict()}, f"slot {meant} is {slot.status}"
        except CalendarRefusedError as error:
            if error.status == 404:
                what = f"plan {meant}" if isinstance(meant, int) else f"slot {meant}"
                raise FailedError(f"there is no {what}", ExitCode.REFUSED) from error
            raise refusal_in_words(error) from error

    def tell(screen: Screen) -> None:
        screen.say(told)

    return Answer(data=data, show=tell)


def _named(what: str) -> SlotKey | int:
    """Tell which slot is meant, as `today` lists it, or which plan.

    Raises:
        click.BadParameter: It names none.
    """
    if (plan := _PLAN.fullmatch(what)) is not None:
        return int(plan[1])
    if what.isascii() and what.isdigit() and int(what[:20]) <= MAX_REAL_ID:
        return SlotKey.real(int(what))
    if what.startswith("plan-") and is_id(what):
        return SlotKey.virtual(what)
    raise click.BadParameter(
        f"{what[:60]!r} is neither a slot (12, plan-3-2026-03-05) nor a plan (plan-3)", param_hint="WHAT"
    )
