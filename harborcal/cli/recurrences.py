"""How often: RFC 5545's RRULE, or words such as ``every weekday``, and where a recurrence begins.

The words are a table: each line has a pattern, what it means, and an example that the error lists.
"""

import dataclasses
import datetime as dt
import itertools
import re
from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

from harborcal.calendar import Occurrence, Recurrence
from harborcal.cli.times import parse_time, weekday_named
from harborcal.errors import CalendarRefusedError
from harborcal.grammar import clean

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WORKDAYS = "MO,TU,WE,TH,FR"
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}
_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_LONGEST = 200
_SEARCHED = 8 * 366 + 7
"""Days in which the first occurrence is looked for: between two 29ths of February lie up to eight years."""

_EACH = r"(?:every|each)"
_COUNT = r"(?:(?P<count>\d{1,3}|other)\s+)?"
_NTH = r"(?P<nth>first|second|third|fourth|fifth|last|\d(?:st|nd|rd|th))"
_DAY_OF_MONTH = r"(?:the\s+|day\s+)?(?P<number>\d{1,2})(?:st|nd|rd|th)?"
_OF_THE_MONTH = r"\s+(?:of|in)\s+(?:the|every|each|a)\s+month"
_WEEKDAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_WEEKDAYS = rf"(?P<days>{_WEEKDAY}(?:(?:\s*,\s*(?:and\s+)?|\s+(?:and|or|&)\s+){_WEEKDAY})*)"
_MONTH = "(?P<month>" + "|".join(f"{name}|{name[:3]}" for name in _MONTHS) + ")"
_DAY_BEFORE = rf"(?P<number_before>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH.replace('month', 'month_after')}"
_AT = re.compile(r"(?P<often>.+?)[\s,]+at\s+(?P<time>\S.*)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Phrase:
    """A way to say how often.

    Attributes:
        pattern: What is said, in lower case.
        rule: What it means; a ValueError where a part of it makes no sense.
        example: One that people will understand.
    """

    pattern: "re.Pattern[str]"
    rule: Callable[["re.Match[str]"], str]
    example: str


def _phrase(pattern: str, rule: Callable[["re.Match[str]"], str] | str, example: str) -> _Phrase:
    made = rule if callable(rule) else lambda _match: str(rule)
    return _Phrase(pattern=re.compile(pattern), rule=made, example=example)


def split_time(text: str) -> tuple[str, dt.time | None]:
    """Take a time of day off the end: ``every weekday at 9:00`` is two things said at once.

    Raises:
        ValueError: What stands there is no time of day.
    """
    match = _AT.fullmatch(text.strip()) if "=" not in text and len(text) <= _LONGEST else None
    return (text, None) if match is None else (match["often"], parse_time(match["time"]))


def rule_of(text: str) -> str:
    """Read how often, as an RRULE's value.

    Raises:
        ValueError: It is neither an RRULE nor understood; the message lists what is.
    """
    if "=" in text:
        return re.sub(r"(?i)^\s*RRULE:", "", text).strip()
    said = " ".join(text.casefold().split()) if len(text) <= _LONGEST else ""
    for phrase in PHRASES:
        match = phrase.pattern.fullmatch(said)
        if match is not None:
            return phrase.rule(match)
    examples = ", ".join(f"'{phrase.example}'" for phrase in PHRASES)
    raise ValueError(
        f"{text[:60]!r} is not understood; write an RRULE such as 'FREQ=WEEKLY;BYDAY=MO,WE', or words: {examples}"
    )


def names_its_time(rule: str) -> bool:
    """Tell whether a rule needs no time of day: it says the hour, or is one by the hour or minute."""
    return re.search(r"(?i)(^|;)\s*(BYHOUR=|FREQ=(HOURLY|MINUTELY|SECONDLY))", rule) is not None


def recurrence_of(
    rule: str, at: dt.time, zone: ZoneInfo, *, earliest: dt.datetime, until: dt.date | None = None
) -> Recurrence:
    """Make a recurrence whose first occurrence is the first that is possible from a moment on.

    That occurrence fixes the phase: "every 2 weeks on friday" begins on the coming Friday.

    Args:
        rule: How often, an RRULE's value.
        at: The time of day, in the zone.
        zone: Where that is meant.
        earliest: The moment before which nothing begins, aware.
        until: The last day, in the zone.

    Raises:
        ValueError: It makes no sense, or never occurs.
    """
    if until is not None:
        rule = f"{rule};UNTIL={until:%Y%m%d}"
    start = dt.datetime.combine(earliest.astimezone(zone).date(), at, zone)
    try:
        Recurrence.of(start, rule)  # what is wrong with it is told of the rule as it was written
        loose = Recurrence.of(start, _loose(rule))
        first = next(_following(loose, earliest), None)
        if first is None:
            raise ValueError(f"{rule!r} never occurs")
        home = dt.UTC if loose.zone == "UTC" else ZoneInfo(loose.zone)
        made = Recurrence.of(first.local.replace(tzinfo=home), rule)
    except CalendarRefusedError as error:
        raise ValueError(f"{clean(rule, 80)!r}: {error.detail}") from error
    if made.until is not None and next(_following(made, earliest), None) is None:
        raise ValueError(f"{clean(rule, 80)!r} is over before it begins")
    return made


def coming(recurrence: Recurrence, earliest: dt.datetime, count: int) -> list[dt.datetime]:
    """Tell the next moments of a recurrence, in UTC, as far as they are not many years away."""
    return [one.starts_at for one in itertools.islice(_following(recurrence, earliest), count)]


def _following(recurrence: Recurrence, earliest: dt.datetime) -> Iterator[Occurrence]:
    last, day = recurrence.last_date(), earliest.astimezone(dt.UTC).date()
    for offset in range(_SEARCHED):
        date = day + dt.timedelta(days=offset)
        if last is not None and date > last:
            return
        yield from (one for one in recurrence.on(date) if one.starts_at >= earliest)


def _loose(rule: str) -> str:
    """Leave out of a rule what only its first occurrence gives a meaning: its phase, its count and its end."""
    left_out = {"COUNT", "UNTIL"} if names_its_time(rule) else {"COUNT", "UNTIL", "INTERVAL"}
    return ";".join(part for part in rule.split(";") if part.partition("=")[0].strip().upper() not in left_out)


# --- the words ------------------------------------------------------------------------------------------------------


def _every(frequency: str, *parts: str) -> Callable[["re.Match[str]"], str]:
    """Say a frequency, with what was said of how many times it is taken."""

    def rule(match: "re.Match[str]") -> str:
        said = match.groupdict().get("count")
        interval = 1 if said is None else 2 if said == "other" else int(said)
        if interval < 1:
            raise ValueError(f"{match[0]!r}: there is no such thing as every 0")
        step = [f"INTERVAL={interval}"] if interval > 1 else []
        return ";".join([f"FREQ={frequency}", *step, *parts, *_on_days(match), *_on_date(match)])

    return rule


def _on_days(match: "re.Match[str]") -> list[str]:
    said = match.groupdict().get("days")
    if not said:
        return []
    numbers = set()
    for word in re.findall(_WEEKDAY, said):
        number = weekday_named(word)
        if number is None:
            raise ValueError(f"{word!r} is no weekday; write monday, tuesday, ...")
        numbers.add(number)
    return ["BYDAY=" + ",".join(_DAYS[number] for number in sorted(numbers))]


def _on_date(match: "re.Match[str]") -> list[str]:
    groups = match.groupdict()
    month = groups.get("month") or groups.get("month_after")
    day = groups.get("number") or groups.get("number_before")
    parts = []
    if month:
        parts.append(f"BYMONTH={next(number for number, name in enumerate(_MONTHS, 1) if name.startswith(month[:3]))}")
    if day:
        if not 1 <= int(day) <= 31:
            raise ValueError(f"{match[0]!r}: a month has days 1 to 31")
        parts.append(f"BYMONTHDAY={int(day)}")
    return parts


def _nth(match: "re.Match[str]") -> str:
    """Say the n-th day, workday or weekday of a month."""
    said = match["nth"]
    number = _ORDINALS[said] if said in _ORDINALS else int(said[0])
    if number == 0 or (number == 5 and match["what"] != "day" and not match["what"].startswith("work")):
        raise ValueError(f"{match[0]!r}: not every month has one; say first to fourth, or last")
    if match["what"] == "day":
        return f"FREQ=MONTHLY;BYMONTHDAY={number}"
    if match["what"] in {"weekday", "workday"}:
        return f"FREQ=MONTHLY;BYDAY={_WORKDAYS};BYSETPOS={number}"
    weekday = weekday_named(match["what"])
    if weekday is None:
        raise ValueError(f"{match['what']!r} is no weekday; write monday, tuesday, ...")
    return f"FREQ=MONTHLY;BYDAY={number}{_DAYS[weekday]}"


PHRASES = (
    _phrase(rf"daily|{_EACH}\s+{_COUNT}days?", _every("DAILY"), "every day"),
    _phrase(
        rf"(?:on\s+|{_EACH}\s+)?(?:weekdays?|workdays?|(?:working|business)\s+days?)",
        _every("WEEKLY", f"BYDAY={_WORKDAYS}"),
        "every weekday",
    ),
    _phrase(rf"(?:on\s+|{_EACH}\s+)?weekends?", _every("WEEKLY", "BYDAY=SA,SU"), "every weekend"),
    _phrase(rf"(?:(?:weekly\s+)?on\s+|{_EACH}\s+{_COUNT})?{_WEEKDAYS}", _every("WEEKLY"), "every monday and wednesday"),
    _phrase(
        rf"(?:weekly|{_EACH}\s+{_COUNT}weeks?)(?:\s+on\s+{_WEEKDAYS})?", _every("WEEKLY"), "every 2 weeks on friday"
    ),
    _phrase(
        rf"(?:on\s+)?(?:the\s+)?(?:{_EACH}\s+)?{_NTH}\s+(?P<what>day|weekday|workday|{_WEEKDAY}){_OF_THE_MONTH}",
        _nth,
        "first monday of the month",
    ),
    _phrase(
        rf"(?:monthly|{_EACH}\s+{_COUNT}months?)(?:\s+on\s+{_DAY_OF_MONTH})?",
        _every("MONTHLY"),
        "every month on the 15th",
    ),
    _phrase(rf"(?:on\s+)?{_DAY_OF_MONTH}{_OF_THE_MONTH}", _every("MONTHLY"), "the 1st of every month"),
    _phrase(
        rf"(?:yearly|annually|{_EACH}\s+{_COUNT}years?)(?:\s+on\s+(?:the\s+)?(?:{_MONTH}\s+{_DAY_OF_MONTH}|{_DAY_BEFORE}))?",
        _every("YEARLY"),
        "every year on march 5",
    ),
    _phrase(rf"hourly|{_EACH}\s+{_COUNT}hours?", _every("HOURLY"), "every 2 hours"),
    _phrase(rf"{_EACH}\s+{_COUNT}min(?:ute)?s?", _every("MINUTELY"), "every 45 minutes"),
)
"""What is understood, in the order in which it is tried."""
