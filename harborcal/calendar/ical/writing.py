"""Slots of the calendar as an iCalendar file that calendar applications import.

What is written is plain on purpose: one VEVENT for each entry, no recurrence, times in UTC, so that no reader has to
know a time zone. The bytes depend on the arguments alone: the same entries give the same file, in whatever order.
"""

import dataclasses
import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from icalendar import Calendar, Event
from icalendar.prop import vText

from harborcal.errors import ConfigurationError
from harborcal.grammar import clean
from harborcal.version import __version__

EntryStatus = Literal["TENTATIVE", "CONFIRMED", "CANCELLED"]
"""What RFC 5545 (3.8.1.11) allows as the STATUS of an event."""

MAX_UID = 255
MAX_TITLE = 200
MAX_DESCRIPTION = 2_000
MAX_CATEGORY = 100
MAX_SEQUENCE = 2**31 - 1

_PRODID = f"-//harborcal//harborcal {__version__}//EN"
_EXTRA = re.compile(r"X-HARBORCAL-[A-Z0-9-]{1,64}")
_STATUSES = frozenset(get_args(EntryStatus))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IcsEntry:
    """One event of the file.

    Attributes:
        uid: What names the event in every export, so that a second import updates it; at most 255 characters.
        title: Its SUMMARY; cleaned, at most 200 characters are written.
        starts_at: When it begins or began, aware; written in UTC, to the second.
        ends_at: When it ends or ended, aware; not before ``starts_at``.
        status: Whether it may take place, takes place (or took place), or does not.
        priority: 1 is the highest, 9 the lowest, 0 says nothing (RFC 5545, 3.8.1.9).
        sequence: How often it was rescheduled, from 0; readers take the highest.
        created_at: When it was made, aware.
        updated_at: When it was changed last, aware.
        description: Text of several lines; each is cleaned, at most 2,000 characters are written.
        categories: Short names; each is cleaned, at most 100 characters of it are written, and empty ones are left out.
        extras: More properties, named ``X-HARBORCAL-...``, whose text other applications ignore.

    Raises:
        ConfigurationError: A field is out of range, of the wrong type, or contradicts another.
    """

    uid: str
    title: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    status: EntryStatus
    priority: int = 0
    sequence: int = 0
    created_at: dt.datetime
    updated_at: dt.datetime
    description: str = ""
    categories: tuple[str, ...] = ()
    extras: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.uid or clean(self.uid, MAX_UID) != self.uid:
            raise ConfigurationError(f"a uid is 1..{MAX_UID} printable characters, not {clean(self.uid, 40)!r}")
        for name in ("starts_at", "ends_at", "created_at", "updated_at"):
            _check_aware(name, getattr(self, name))
        if self.ends_at < self.starts_at:
            raise ConfigurationError(f"an event ends after it starts: {self.ends_at} is before {self.starts_at}")
        if self.status not in _STATUSES:
            raise ConfigurationError(f"a status is one of {' '.join(sorted(_STATUSES))}, not {self.status!r}")
        _check_whole("priority", self.priority, 9)
        _check_whole("sequence", self.sequence, MAX_SEQUENCE)
        for name in self.extras:
            if _EXTRA.fullmatch(name) is None:
                raise ConfigurationError(f"an extra is named X-HARBORCAL-..., not {clean(name, 40)!r}")


def _check_aware(name: str, instant: object) -> None:
    if not isinstance(instant, dt.datetime) or instant.utcoffset() is None:
        raise ConfigurationError(f"{name} is an aware datetime, not {instant!r}")


def _check_whole(name: str, value: int, most: int) -> None:
    if type(value) is not int or not 0 <= value <= most:
        raise ConfigurationError(f"{name} is a whole number, 0..{most}, not {value!r}")


def write(entries: Iterable[IcsEntry], *, name: str, stamp: dt.datetime) -> bytes:
    """Write the entries as one VCALENDAR with METHOD:PUBLISH, by start and then by uid.

    What `harborcal.calendar.ical.reading.read` makes of the bytes has the same uids, titles, times (to the second),
    states and priorities. An entry that ends as it starts has no DTEND, because RFC 5545 (3.8.2.2) wants that later.

    Args:
        entries: The events, each with a uid of its own.
        name: What applications call the calendar.
        stamp: When the file is made, aware: its DTSTAMP.

    Raises:
        ConfigurationError: Two entries have the same uid, or ``stamp`` is not aware.
    """
    _check_aware("stamp", stamp)
    calendar = Calendar()
    calendar.add("PRODID", _PRODID)
    calendar.add("VERSION", "2.0")
    calendar.add("CALSCALE", "GREGORIAN")
    calendar.add("METHOD", "PUBLISH")
    calendar.add("X-WR-CALNAME", _text(clean(name, MAX_TITLE)))
    uids = set()
    for entry in sorted(entries, key=lambda entry: (entry.starts_at, entry.uid)):
        if entry.uid in uids:
            raise ConfigurationError(f"two entries have the uid {entry.uid!r}")
        uids.add(entry.uid)
        calendar.add_component(_event(entry, stamp))
    return bytes(calendar.to_ical(sorted=False))


def _event(entry: IcsEntry, stamp: dt.datetime) -> Event:
    event = Event()
    event.add("UID", _text(entry.uid))
    event.add("DTSTAMP", _second(stamp))
    starts_at, ends_at = _second(entry.starts_at), _second(entry.ends_at)
    event.add("DTSTART", starts_at)
    if ends_at > starts_at:
        event.add("DTEND", ends_at)
    event.add("SUMMARY", _text(clean(entry.title, MAX_TITLE)))
    if entry.description:
        event.add("DESCRIPTION", _text(_clean_lines(entry.description)))
    if categories := [category for text in entry.categories if (category := clean(text, MAX_CATEGORY).strip())]:
        event.add("CATEGORIES", _Written(",".join(map(_escape, categories))))
    event.add("STATUS", entry.status)
    event.add("PRIORITY", entry.priority)
    event.add("SEQUENCE", entry.sequence)
    event.add("CREATED", _second(entry.created_at))
    event.add("LAST-MODIFIED", _second(entry.updated_at))
    event.add("TRANSP", "OPAQUE")
    for name in sorted(entry.extras):
        event.add(name, _text(clean(entry.extras[name], MAX_DESCRIPTION)))
    return event


def _second(instant: dt.datetime) -> dt.datetime:
    return instant.astimezone(dt.UTC).replace(microsecond=0)


def _clean_lines(text: str) -> str:
    """Clean each line by itself, so that the breaks between them stay."""
    lines = text[: MAX_DESCRIPTION * 2].splitlines()
    whole = "\n".join(clean(line, MAX_DESCRIPTION) for line in lines)
    return whole if len(whole) <= MAX_DESCRIPTION else whole[: MAX_DESCRIPTION - 1] + "…"


class _Written(vText):
    r"""Text that is escaped already: icalendar's own way makes a line break of the ``\N`` in a text like ``C:\New``."""

    __slots__ = ()

    def to_ical(self) -> bytes:
        """Give the text as it is."""
        return self.encode()


def _text(text: str) -> _Written:
    return _Written(_escape(text))


def _escape(text: str) -> str:
    """Escape what RFC 5545 (3.3.11) wants escaped."""
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")
