"""HTTP manners that every door shares: deadlines, origins, headers, ``Retry-After``, and what a status means."""

import datetime as dt
import email.utils
import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from typing import cast
from urllib.parse import SplitResult, urlsplit

from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    MalformedAnswerError,
)
from harborcal.grammar import clean
from harborcal.model import PluginInfo
from harborcal.version import __version__

RETRY_AFTER_CAP = 3600.0
"""Seconds beyond which no ``Retry-After`` is believed."""

HEADER_LIMIT = 4096
"""How many characters a configured header value may have."""

_RECOGNIZED = 8  # characters of a secret that was cut; fewer may be part of any word, and give little away
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]+)?", re.ASCII)
_URL = re.compile(r"[!-\[\]-~]+", re.ASCII)  # printable ASCII without the backslash, which some parsers call a slash
_HEADER = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:@-]+)+", re.ASCII)
_NOT_TOKEN = re.compile(r"[^0-9A-Za-z!#$%&'*+.^_`|~-]+", re.ASCII)
_DATE_LIMIT = 64
_UNAVAILABLE = frozenset({408, 425, 429})


class Deadline:
    """A moment by which a whole exchange has ended, on somebody's monotonic clock."""

    __slots__ = ("_at", "_monotonic")

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._at = monotonic() + seconds

    def remaining(self) -> float:
        """Tell the seconds that are left, never less than 0."""
        return max(0.0, self._at - self._monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return self._monotonic() >= self._at


# --- what goes out --------------------------------------------------------------------------------------------------


def check_origin(base_url: object, has_secret: bool, *, name: str = "base_url", credential: str = "api_key") -> str:
    """Return a calendar's base URL without its trailing slash.

    Args:
        base_url: ``http`` or ``https``, a host, perhaps a port and a path; nothing else.
        has_secret: Whether requests will carry one: then plain ``http`` is for loopback only.
        name: What errors call the URL.
        credential: What errors call the secret.

    Raises:
        ConfigurationError: The URL is anything else.
    """
    parts = _split(base_url, name)
    if parts.scheme not in {"http", "https"}:
        raise ConfigurationError(f"{name} is http or https, not {clean(parts.scheme, 40)!r}")
    if "@" in parts.netloc:
        raise ConfigurationError(f"{name} carries no user or password: give the key as {credential}")
    if "?" in str(base_url) or "#" in str(base_url):
        raise ConfigurationError(f"{name} has neither query nor fragment")
    if not {".", ".."}.isdisjoint(parts.path.split("/")):
        raise ConfigurationError(f"{name} has no '.' or '..' in its path")
    if has_secret and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigurationError(f"{name} is https where its {credential} is sent, except on loopback")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _split(base_url: object, name: str) -> SplitResult:
    if not isinstance(base_url, str) or _URL.fullmatch(base_url) is None:
        raise ConfigurationError(f"{name} is a URL in printable ASCII (an international host in its xn-- form)")
    if "://" not in base_url:
        raise ConfigurationError(f"{name} begins with http:// or https://")
    try:
        parts = urlsplit(base_url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        # The URL itself is not told: it may hold a password. For the same reason the cause is left out.
        raise ConfigurationError(f"{name} has a host, and a port of 1..65535 or none")
    return parts


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: ``localhost``, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_header(what: str, value: object) -> str:
    """Return a header's value unchanged: printable ASCII, neither empty nor padded, at most `HEADER_LIMIT` long.

    Raises:
        ConfigurationError: It is anything else. The message does not repeat the value, which may be a secret.
    """
    if not isinstance(value, str) or len(value) > HEADER_LIMIT or _HEADER.fullmatch(value) is None:
        raise ConfigurationError(
            f"{what} is printable ASCII of 1..{HEADER_LIMIT} characters, with no space before or after"
        )
    return value


def check_url(base_url: str, path: str) -> str:
    """Join a checked base URL and a path, so that exactly this path is asked for.

    Raises:
        ConfigurationError: The path has dot segments or empty ones, or anything else than letters, digits and
            ``._:@-`` in them, so that a URL parser might read it as something else.
    """
    if _PATH.fullmatch(path) is None:
        raise ConfigurationError(f"{clean(path, 80)!r} is no plain path")
    return base_url + path


def user_agent(plugin: PluginInfo) -> str:
    """Compose a User-Agent: harborcal and its version, then the program that drives the agents."""
    products = [_product("harborcal", __version__)]
    if plugin.name != "harborcal":
        products.append(_product(plugin.name, plugin.version))
    return " ".join(filter(None, products))


def _product(name: str, version: str) -> str:
    name, version = (_NOT_TOKEN.sub("-", text).strip("-")[:80] for text in (name, version))
    return f"{name}/{version}" if name and version else name


# --- what comes back ------------------------------------------------------------------------------------------------


def parse_retry_after(value: str | None, now: dt.datetime, cap: float = RETRY_AFTER_CAP) -> float | None:
    """Read a ``Retry-After``: seconds, or an HTTP date.

    Args:
        value: The header, or None where there was none.
        now: The aware instant that a date is compared with.
        cap: The most seconds to believe.

    Returns:
        Seconds in 0..cap, or None where the header is missing or means nothing. A date in the past is 0.
    """
    if value is None or not value.isascii():
        return None
    text = value.strip(" \t")
    if _SECONDS.fullmatch(text):
        return min(float(text), cap)
    instant = _parse_date(text)
    return None if instant is None else min(max(0.0, (instant - now).total_seconds()), cap)


def _parse_date(text: str) -> dt.datetime | None:
    if len(text) > _DATE_LIMIT or ":" not in text:
        return None
    try:
        instant = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=dt.UTC)


def detail_of(body: bytes) -> str:
    """Read the calendar's own words from an error's body: ``{"detail": "text"}``, or the list of a 422.

    Never raises: whatever has another shape gives an empty string.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    detail = document.get("detail") if isinstance(document, dict) else None
    if isinstance(detail, str):
        return clean(detail)
    if isinstance(detail, list):
        return clean("; ".join(filter(None, map(_complaint, detail[:20]))))
    return ""


def redact(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of what the other side said, who may repeat what it was sent; also one that was cut short."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
        for size in range(len(secret) - 1, _RECOGNIZED - 1, -1):
            text = text.replace(f"{secret[:size]}…", "***…")
    return text


def _complaint(item: object) -> str:
    """Write one complaint of a 422: where in the body, and what is wrong there."""
    if not isinstance(item, dict):
        return item if isinstance(item, str) else ""
    fields = cast(dict[str, object], item)
    place = fields.get("loc")
    path = ".".join(str(step) for step in place if isinstance(step, str | int)) if isinstance(place, list) else ""
    words = fields.get("msg")
    return ": ".join(filter(None, (path, words if isinstance(words, str) else "")))


def error_for_status(status: int, detail: str = "", retry_after: float | None = None) -> HarborcalError:
    """Make the error that a status means; the caller raises it.

    Args:
        status: Any status but those that the caller takes for success.
        detail: The calendar's own words, cleaned; for a redirect, where it points.
        retry_after: Seconds the calendar asked to be left alone.
    """
    if status in _UNAVAILABLE or 500 <= status <= 599:
        said = f": {detail}" if detail else ""
        return CalendarUnavailableError(f"calendar unavailable ({status}){said}", status, retry_after)
    if 400 <= status <= 499:
        return CalendarRefusedError(status, detail)
    if 300 <= status <= 399:
        target = f" to {detail}" if detail else ""
        return MalformedAnswerError(
            f"the calendar answered with a redirect ({status}){target}; redirects are not followed: check base_url"
        )
    return MalformedAnswerError(f"the calendar answered with an unexpected status ({status})")
