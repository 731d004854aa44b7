"""How values are written as JSON and read back: one codec each for instants, dates, times, enums and foreign JSON.

dataclasses-json's own defaults lose time zones and accept ``"7"`` for 7, so that every such field names its codec. The
constants and functions in capitals or named ``..._of`` are the ``metadata`` of a dataclass's field.
"""

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dataclasses_json import config


def format_instant(instant: dt.datetime) -> str:
    """Write an aware instant as RFC 3339 in UTC, with a ``Z``."""
    return instant.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def parse_instant(text: object) -> dt.datetime:
    """Read an RFC 3339 instant.

    Raises:
        TypeError: It is no text.
        ValueError: The text is no instant, or names no time zone.
    """
    if not isinstance(text, str):
        raise TypeError(f"an instant is a string, not {type(text).__name__}")
    instant = dt.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"instant {text!r} names no time zone")
    return instant.astimezone(dt.UTC)


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _is_none(value: object) -> bool:
    return value is None


def codec(encode: Callable[[Any], Any], decode: Callable[[Any], Any], **options: Any) -> dict[str, Any]:
    """Make a field's metadata of two functions; None passes both ways as it is."""
    return dict(config(encoder=_optional(encode), decoder=_optional(decode), **options))


def _encode_items(values: Any) -> list[Any]:
    return [value.to_dict() for value in values]


def encode_map(encode: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Make of a value's encoder one for mappings to such values."""
    return lambda values: {key: encode(value) for key, value in values.items()}


def thaw(value: Any) -> Any:
    """Copy frozen JSON (see `freeze`) into plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [thaw(item) for item in value]
    return value


def freeze(value: Any) -> Any:
    """Copy decoded JSON so that no receiver can change it: mappings read-only, lists as tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, tuple | list):
        return tuple(freeze(item) for item in value)
    return value


# --- metadata of fields -------------------------------------------------------------------------------------------

INSTANT = codec(format_instant, parse_instant)
DATE = codec(dt.date.isoformat, dt.date.fromisoformat)
TIME = codec(dt.time.isoformat, dt.time.fromisoformat)
TIME_OR_ABSENT = codec(dt.time.isoformat, dt.time.fromisoformat, exclude=_is_none)
JSON = codec(thaw, freeze)
LEFT_OUT_IF_NONE = dict(config(exclude=_is_none))
LEFT_OUT = dict(config(exclude=lambda _: True))


def enum_of(members: type[enum.StrEnum]) -> dict[str, Any]:
    """Write an enum's member as its text."""
    return codec(str, members)


def items_of(value: Callable[[Any], Any]) -> dict[str, Any]:
    """Write a tuple of values as a list, each with its own ``to_dict``; ``value`` reads one of them back."""
    return codec(_encode_items, lambda values: tuple(value(item) for item in values))
