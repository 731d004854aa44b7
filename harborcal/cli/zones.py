"""Time zones: by name, and the one that this machine is set to."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from harborcal.errors import ConfigurationError
from harborcal.grammar import clean

UTC = ZoneInfo("UTC")
_SAME_AS_UTC = frozenset({"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"})
_LOCALTIME = Path("/etc/localtime")
_TIMEZONE = Path("/etc/timezone")


def zone_named(name: object, origin: str) -> ZoneInfo:
    """Find a zone by its IANA name.

    Raises:
        ConfigurationError: There is none; it names the nearest.
    """
    zone = _known(name) if isinstance(name, str) else None
    if zone is None:
        shown = clean(str(name), 60)
        close = difflib.get_close_matches(_last(shown), {_last(known): known for known in available_timezones()}, n=1)
        found = next((known for known in sorted(available_timezones()) if close and _last(known) == close[0]), "")
        hint = f"did you mean {found}?" if found else "names are like Europe/Berlin, America/New_York or UTC"
        raise ConfigurationError(f"{origin}: there is no time zone {shown!r}; {hint}")
    return zone


def system_zone(environ: Mapping[str, str]) -> ZoneInfo:
    """Tell the zone that this machine is set to, or UTC where that cannot be told."""
    for name in (environ.get("TZ", "").lstrip(":"), _linked(), _written()):
        zone = _known(name)
        if zone is not None:
            return zone
    return UTC


def _known(name: str) -> ZoneInfo | None:
    if not name:
        return None
    if name in _SAME_AS_UTC:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return None


def _linked() -> str:
    try:
        target = _LOCALTIME.resolve(strict=True).as_posix()
    except (OSError, RuntimeError):
        return ""
    name = target.partition("/zoneinfo/")[2]
    return name.removeprefix("posix/").removeprefix("right/")


def _written() -> str:
    try:
        return _TIMEZONE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _last(name: str) -> str:
    return name.rpartition("/")[2].casefold()
