"""What a slot or a plan is to do: the options that say it, and what the calendar is told."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from harborcal.cli.arguments import read_as
from harborcal.model import EventType, SlotType

Function = TypeVar("Function", bound=Callable[..., Any])
Option = Callable[[Any], Any]

WORK_OPTIONS: tuple[Option, ...] = (
    click.option("--job", metavar="CODE", help="The job's code, as REVIEW-7; Support/T-9 names its type too."),
    click.option("--event", metavar="TEXT", help="A system event instead of a job."),
    click.option("--text", metavar="TEXT", help="What there is to do, in words."),
    click.option("--data", metavar="JSON", help="More of the event's data, a JSON object."),
    click.option(
        "--priority", type=click.IntRange(0, 99), default=0, show_default=True, help="0 to 99; high goes first."
    ),
    click.option(
        "--type",
        "slot_type",
        type=click.Choice([str(kind) for kind in SlotType]),
        default=str(SlotType.WORK),
        show_default=True,
        help="What kind of time it is.",
    ),
)
"""What to do, and how urgent it is."""


def apply(options: Sequence[Option]) -> Callable[[Function], Function]:
    """Give a command these options, in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the calendar is told of a slot's work, besides when."""

    fields: Mapping[str, Any]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Work":
        """Read the options of `WORK_OPTIONS`.

        Raises:
            click.UsageError: They contradict each other, or the data is no JSON object.
        """
        if said["job"] is not None and said["event"] is not None:
            raise click.UsageError("--job and --event are two kinds of work: name one")
        data: dict[str, Any] = {}
        kind = None
        if said["job"] is not None:
            kind, (job_type, mark, code) = EventType.JOB, said["job"].partition("/")
            job_type, code = (job_type, code) if mark else ("Task", job_type)
            if not job_type.strip() or not code.strip():
                raise click.UsageError("--job is a code, as REVIEW-7, or a type and a code, as Support/T-9")
            data = {"type": job_type, "code": code}
        if said["event"] is not None:
            kind, data = EventType.SYSTEM_EVENT, {"event": said["event"]}
        if said["text"] is not None:
            data["description"] = said["text"]
        if said["data"] is not None:
            with read_as("--data"):
                data |= _object(said["data"])
        if data and kind is None:
            kind = EventType.JOB
        fields = {"priority": said["priority"], "slot_type": said["slot_type"]}
        return cls(fields=fields | ({"event_type": kind, "event_data": data} if data else {}))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"that is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - of the text, which is no object
            'a JSON object is meant, as {"branch": "main"}'
        )
    return value
