"""``[scheduler]``: every field of `SchedulerConfig`, from the file or ``HARBORCAL_SCHEDULER_*``."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from harborcal.cli.durations import seconds_of
from harborcal.cli.sources import Found, Sources, check_known
from harborcal.cli.values import DEFAULT, Value, flag_of, flag_shown, refusal, text_of, whole_of
from harborcal.errors import ConfigurationError
from harborcal.model import SchedulerConfig

FIELDS = tuple(field.name for field in dataclasses.fields(SchedulerConfig))
_PREFIX = "HARBORCAL_SCHEDULER_"
_OPTIONAL = frozenset({"lease", "misfire_grace"})
_NEVER = frozenset({"never", "none", "off"})


def read_scheduler(sources: Sources) -> tuple[SchedulerConfig, list[Value]]:
    """Read how the scheduler is set, and tell where each field came from.

    Raises:
        ConfigurationError: A field is unknown, of the wrong type or out of range; it says which, and where it stands.
    """
    variables = [name for name, text in sources.environ.items() if name.startswith(_PREFIX) and text]
    known = [_PREFIX + name.upper() for name in FIELDS]
    check_known(variables, known, lambda name: f"environment {name}: there is no such setting of the scheduler")
    chosen: dict[str, Any] = {}
    told = []
    usual = SchedulerConfig()
    for name in FIELDS:
        found = sources.find(f"scheduler.{name}", variable=_PREFIX + name.upper())
        if found is not None:
            chosen[name] = _read(name, found)
        shown = flag_shown(chosen.get(name, getattr(usual, name)))
        if name == "seed" and name not in chosen:
            shown = "(not set)"
        told.append(Value(name=f"scheduler.{name}", shown=shown, origin=DEFAULT if found is None else found.origin))
    return SchedulerConfig(**chosen), told


def _read(name: str, found: Found) -> object:
    usual = getattr(SchedulerConfig(), name)
    value: Any = _READERS[_kind_of(name, usual)](found)
    try:
        SchedulerConfig(**{name: value})
    except ConfigurationError as error:
        raise ConfigurationError(f"{found.origin}: {error}") from error
    return value


def _kind_of(name: str, usual: object) -> type | None:
    if name in _OPTIONAL:
        return None
    return int if usual is None else type(usual)


def _seconds(found: Found) -> float:
    if isinstance(found.value, str):
        try:
            return seconds_of(found.value)
        except ValueError as error:
            raise ConfigurationError(f"{found.origin}: {error}") from error
    if isinstance(found.value, bool) or not isinstance(found.value, int | float):
        raise refusal(found, "a number of seconds or a text like '30s' or '5m'")
    return float(found.value)


def _seconds_or_never(found: Found) -> float | None:
    if found.value is False or (isinstance(found.value, str) and found.value.strip().lower() in _NEVER):
        return None
    return _seconds(found)


_READERS: Mapping[type | None, Callable[[Found], object]] = {
    None: _seconds_or_never,
    float: _seconds,
    int: whole_of,
    bool: flag_of,
    str: text_of,
}
