"""When: what people write for a day or a moment, read in a time zone.

A moment is a time of day with or without a day (``09:30``, ``9:30pm``, ``tomorrow 09:30``, ``monday at 9:00``,
``2026-03-05 09:30``), an instant after ISO 8601 (``2026-03-05T09:30Z``), a while from now (``in 20m``), or ``now``.

A time of day alone means today's, and is refused once that is past: it could as well mean tomorrow's. A weekday is the
coming one; today's own counts while the time is still ahead. A wall time that the clocks skip is refused; one that
comes twice means the first.
"""

import datetime as dt
import re
from zoneinfo import ZoneInfo

from harborcal.cli.durations import EXAMPLES as DURATIONS
from harborcal.cli.durations import seconds_of

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
EXAMPLES = "'09:30', 'today 14:00', 'tomorrow 9:30pm', 'monday 9:00', '2026-03-05 09:30', 'in 20m' or 'now'"
DAYS = "'today', 'tomorrow', 'yesterday', 'monday' or '2026-03-05'"

_LONGEST = 100
_TIME = re.compile(r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2}))?)?\s*(?P<half>am|pm)?")
_NAMED = {"noon": dt.time(12), "midday": dt.time(12), "midnight": dt.time(0)}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ISO = re.compile(r"\d{4}-?\d{2}-?\d{2}[tT ]\d{2}:?\d{2}\S*")
_FILLERS = frozenset({"at", "on", "the"})
_ONE_DAY = dt.timedelta(days=1)


def parse_when(text: str, now: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Read a moment.

    Args:
        text: What was written.
        now: The present, aware.
        zone: Whose wall times are meant.

    Returns:
        The moment in UTC, in whole seconds.

    Raises:
        ValueError: It is none, it is past where the day was left to guess, or no clock in the zone will ever show it.
    """
    words = _words_of(text)
    if words == ["now"]:
        return _utc(now)
    if words[:1] == ["in"] and len(words) > 1:
        return _in_a_while(" ".join(words[1:]), now)
    if _ISO.fullmatch(text.strip()):
        return _instant_of(text.strip(), zone)
    time, day_words = _split(words)
    if time is None:
        raise ValueError(_not_understood(text, day_words))
    if not day_words:
        return _today_at(time, now, zone)
    day, is_weekday = _day_of(day_words, now.astimezone(zone).date())
    if day is None:
        raise ValueError(_not_understood(text, []))
    at = place(dt.datetime.combine(day, time), zone)
    is_past = is_weekday and at < _utc(now)
    return place(dt.datetime.combine(day + 7 * _ONE_DAY, time), zone) if is_past else at


FIRST_DAY, LAST_DAY = dt.date(1970, 1, 2), dt.date(2199, 12, 30)
"""Between which days there are calendars, in every time zone, and for a year from then."""


def parse_day(text: str, today: dt.date) -> dt.date:
    """Read a day; a weekday is the coming one, or today.

    Raises:
        ValueError: It is none.
    """
    day, _ = _day_of(_words_of(text), today)
    if day is None:
        raise ValueError(f"{text[:40]!r} is no day; write one as {DAYS}")
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"{day} is too far away")
    return day


def parse_time(text: str) -> dt.time:
    """Read a time of day.

    Raises:
        ValueError: It is none.
    """
    time = _time_of(" ".join(_words_of(text)))
    if time is None:
        raise ValueError(f"{text[:40]!r} is no time of day; write one as '09:30', '9:30pm' or 'noon'")
    return time


def place(wall: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Turn wall time into the instant, in UTC, at which clocks in the zone first show it.

    Raises:
        ValueError: They never do: they are put forward over it, or it is beyond what dates can tell.
    """
    try:
        instant = wall.replace(tzinfo=zone, fold=0).astimezone(dt.UTC)
        back = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    except OverflowError as error:
        raise ValueError(f"{wall} is too far away") from error
    if back != wall:
        # Read with the offset before the gap it comes out behind it, and with the offset after it in front.
        before = wall.replace(tzinfo=zone, fold=1).astimezone(dt.UTC).astimezone(zone)
        raise ValueError(
            f"{wall:%H:%M} on {wall:%Y-%m-%d} does not exist in {zone.key}: the clocks are put forward over it; "
            f"'{before:%Y-%m-%d %H:%M}' and '{back:%Y-%m-%d %H:%M}' do"
        )
    return instant


# --- parts ----------------------------------------------------------------------------------------------------------


def _words_of(text: str) -> list[str]:
    if len(text) > _LONGEST:
        raise ValueError(f"{text[:40]!r}... is too long for a time")
    return [word for word in text.casefold().replace(",", " ").split() if word not in _FILLERS]


def _in_a_while(text: str, now: dt.datetime) -> dt.datetime:
    if re.fullmatch(r"[-+]?[\d.]+", text):
        raise ValueError(f"'in {text}' of what? write a duration as {DURATIONS}")
    try:
        return _utc(now + dt.timedelta(seconds=seconds_of(text)))
    except OverflowError as error:
        raise ValueError(f"'in {text}' is too far away") from error


def _instant_of(text: str, zone: ZoneInfo) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"{text!r} is no date and time: {error}") from error
    if moment.tzinfo is None:
        return place(moment.replace(microsecond=0), zone)
    try:
        return _utc(moment)
    except OverflowError as error:
        raise ValueError(f"{text!r} is too far away") from error


def _split(words: list[str]) -> tuple[dt.time | None, list[str]]:
    """Take the time of day from the end or the beginning; what is left names a day."""
    for count in (2, 1):  # "9:30 pm" is two words
        if len(words) >= count:
            for part, rest in ((words[-count:], words[:-count]), (words[:count], words[count:])):
                time = _time_of(" ".join(part))
                if time is not None:
                    return time, rest
    return None, words


def _time_of(text: str) -> dt.time | None:
    if text in _NAMED:
        return _NAMED[text]
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    half = match["half"]
    if half is None and match["minute"] is None:
        return None  # a bare number may be anything
    if half is not None:
        if not 1 <= hour <= 12:
            raise ValueError(f"{text!r} is no time of day: with am and pm hours are 1 to 12")
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        return dt.time(hour, minute, second)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time of day: {error}") from error


def _today_at(time: dt.time, now: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    at = place(dt.datetime.combine(now.astimezone(zone).date(), time), zone)
    if at < _utc(now):
        shown = f"{time:%H:%M}"
        raise ValueError(f"{shown} is past today; write 'tomorrow {shown}', or 'today {shown}' to mean it all the same")
    return at


def _day_of(words: list[str], today: dt.date) -> tuple[dt.date | None, bool]:
    """Find the day that words name, and whether a weekday names it."""
    if len(words) == 2 and words[0] == "next" and (weekday := weekday_named(words[1])) is not None:
        return _coming(weekday, today + _ONE_DAY), True
    if len(words) != 1:
        return None, False
    (word,) = words
    relative = {"today": 0, "tomorrow": 1, "yesterday": -1}
    if word in relative:
        return today + relative[word] * _ONE_DAY, False
    if (weekday := weekday_named(word)) is not None:
        return _coming(weekday, today), True
    if _DATE.fullmatch(word):
        try:
            return dt.date.fromisoformat(word), False
        except ValueError as error:
            raise ValueError(f"{word} is no day: {error}") from error
    return None, False


def weekday_named(word: str) -> int | None:
    """Tell which weekday a word names, 0 for Monday; also ``mon``, ``tues`` and ``mondays``."""
    stem = word.removesuffix("s") if len(word) > 5 else word
    if len(stem) < 2 or not stem.isalpha():
        return None
    found = [
        number for number, name in enumerate(WEEKDAYS) if stem == name or (len(stem) >= 3 and name.startswith(stem))
    ]
    return found[0] if len(found) == 1 else None


def _coming(weekday: int, first: dt.date) -> dt.date:
    return first + (weekday - first.weekday()) % 7 * _ONE_DAY


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(microsecond=0)


def _not_understood(text: str, day_words: list[str]) -> str:
    if day_words and (day_words[0] in {"today", "tomorrow"} or weekday_named(day_words[-1]) is not None):
        return f"{text[:40]!r} lacks a time of day, as in '{day_words[0]} 09:30'"
    return f"{text[:40]!r} is no time; write one as {EXAMPLES}"
