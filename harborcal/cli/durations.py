"""How long: ``25m``, ``1h``, ``90s``, ``1h30m``."""

import re

_PART = re.compile(r"(\d{1,9}(?:[.,]\d{1,3})?)\s*([a-z]+)", re.IGNORECASE)
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+", re.IGNORECASE)
_BARE = re.compile(r"-?\d{1,9}(?:\.\d{1,6})?")
_UNITS = {
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86_400.0: ("d", "day", "days"),
}
_SECONDS = {name: seconds for seconds, names in _UNITS.items() for name in names}
EXAMPLES = "'25m', '1h', '90s' or '1h30m'"


def seconds_of(text: str) -> float:
    """Read a duration in seconds; a bare number is seconds.

    Raises:
        ValueError: It is none; the message says what one looks like.
    """
    text = text.strip()
    if _BARE.fullmatch(text):
        return float(text)
    return _parts_of(text)


def minutes_of(text: str) -> int:
    """Read a duration in whole minutes, as slots last; a bare number is minutes, seconds are rounded up.

    Raises:
        ValueError: It is none, or none that lasts; the message says what one looks like.
    """
    text = text.strip()
    seconds = float(text) * 60.0 if _BARE.fullmatch(text) else _parts_of(text)
    minutes = -int(-seconds // 60.0)
    if minutes < 1:
        raise ValueError(f"{text!r} is no time at all: a slot lasts a minute at least")
    return minutes


def _parts_of(text: str) -> float:
    if len(text) <= 100 and _WHOLE.fullmatch(text):
        parts = [(number, unit.lower()) for number, unit in _PART.findall(text)]
        if all(unit in _SECONDS for _, unit in parts):
            return sum(float(number.replace(",", ".")) * _SECONDS[unit] for number, unit in parts)
    raise ValueError(f"{text[:40]!r} is no duration; write one as {EXAMPLES}")
