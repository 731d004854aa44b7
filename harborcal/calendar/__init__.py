"""The calendar that harborcal carries: agents, slots, plans and iCalendar, in one SQLite file.

Read in this order: `calendar` (the doors), `rules` (the contract's rules, pure), `recurrence` (when plans yield slots),
`schedule` (stored and virtual slots merged, and what users do with them), `heartbeats` (what is told of it to agents
that are heard), `slots`, `plans`, `agents` and `presence` (the rows), `statements`, `store` and `schema` (the
database), `ical` (other calendars).

It comes with the extra ``calendar``: ``pip install 'harborcal[calendar]'``.
"""

from harborcal.errors import MissingExtraError

try:
    import dateutil  # noqa: F401 - only to see whether it is there
    import icalendar  # noqa: F401
    import sqlalchemy  # noqa: F401
except ImportError as missing:
    raise MissingExtraError("harborcal.calendar", "calendar") from missing

from harborcal.calendar.calendar import Calendar
from harborcal.calendar.presence import Owner
from harborcal.calendar.recurrence import Occurrence, Recurrence
from harborcal.calendar.values import (
    DayAccount,
    ExhaustReason,
    ImportedItem,
    ImportReport,
    Plan,
    RegisteredAgent,
    Sync,
)

__all__ = [
    "Calendar",
    "DayAccount",
    "ExhaustReason",
    "ImportReport",
    "ImportedItem",
    "Occurrence",
    "Owner",
    "Plan",
    "Recurrence",
    "RegisteredAgent",
    "Sync",
]
