"""How single values are read and shown, whether they are text (options, variables) or TOML."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from harborcal.cli.sources import Found
from harborcal.control import Address
from harborcal.errors import ConfigurationError
from harborcal.grammar import clean

DEFAULT = "default"
_USER_PART = re.compile(r"//[^/\s]*@")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """One setting, as it is shown: its name, its value (never a secret's), and where that came from."""

    name: str
    shown: str
    origin: str


def masked(text: str) -> str:
    """Show a URL without the name and password in it."""
    return _USER_PART.sub("//(set)@", clean(text))


def flag_shown(value: object) -> str:
    """Show a value as TOML would have it, where that differs from Python."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "never"
    if isinstance(value, float):
        return f"{value:g}"
    return masked(str(value))


def text_of(found: Found) -> str:
    """Read a text that is not empty.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(found.value, str) or not found.value.strip():
        raise refusal(found, "a text")
    return found.value.strip()


def path_of(found: Found) -> Path:
    """Read a path; a relative one begins at the folder of who wrote it.

    Raises:
        ConfigurationError: It is none.
    """
    text = text_of(found)
    if "\0" in text:
        raise refusal(found, "a path")
    return _absolute(found.folder, text)


def sqlite_url_of(found: Found) -> str:
    """Read the carried calendar's URL; its path becomes absolute. A mere path is taken for one.

    Raises:
        ConfigurationError: It is none, or names a calendar in memory, which would end with the command.
    """
    text = text_of(found)
    if text.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"{found.origin}: {masked(text)!r} is a backend (--backend, calendar.backend), no carried calendar"
        )
    scheme, mark, rest = text.partition("://")
    if mark and (scheme != "sqlite" or (rest and not rest.startswith("/")) or "?" in rest):
        raise refusal(found, "sqlite:///relative/path, sqlite:////absolute/path or a path")
    name = unquote(rest[1:]) if mark else text  # in a URL a percent sign begins a code, in a path it is itself
    if name in {"", ":memory:"}:
        raise ConfigurationError(f"{found.origin}: a calendar in memory would end with the command; name a file")
    return url_of_file(_absolute(found.folder, name))


def url_of_file(path: Path) -> str:
    """Write the carried calendar's URL; what is special in URLs is quoted."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def file_of_url(url: str) -> Path:
    """Tell which file a URL names that `url_of_file` has written."""
    return Path(unquote(url.removeprefix("sqlite:///")))


def address_of(found: Found) -> str:
    """Read where the daemon listens.

    Raises:
        ConfigurationError: It is neither a Unix socket's nor a loopback address.
    """
    text = text_of(found)
    if text.startswith("unix:") and text != "unix:":
        text = f"unix:{_absolute(found.folder, text.removeprefix('unix:'))}"
    elif re.fullmatch(r"http://(127\.0\.0\.1|localhost|\[::1\]):\d{1,5}/?", text):
        text = text.rstrip("/")
    else:
        raise refusal(found, "unix:PATH or http://127.0.0.1:PORT")
    try:
        return str(Address.of(text))
    except ConfigurationError as error:
        raise ConfigurationError(f"{found.origin}: {error}") from error


def port_of(found: Found) -> int:
    """Read a port.

    Raises:
        ConfigurationError: It is none.
    """
    number = whole_of(found)
    if not 0 <= number <= 65_535:
        raise refusal(found, "a port in 0..65535")
    return number


def whole_of(found: Found) -> int:
    """Read a whole number.

    Raises:
        ConfigurationError: It is none.
    """
    if found.is_text and re.fullmatch(r"[+-]?[0-9]{1,18}", str(found.value).strip()):
        return int(found.value)
    if type(found.value) is not int:
        raise refusal(found, "a whole number")
    return found.value


def flag_of(found: Found) -> bool:
    """Read true or false.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(found.value, bool):
        return found.value
    text = str(found.value).strip().lower() if found.is_text else ""
    if text not in _TRUE | _FALSE:
        raise refusal(found, "true or false")
    return text in _TRUE


def refusal(found: Found, kind: str) -> ConfigurationError:
    """Say what should stand there."""
    value = dict(found.value) if isinstance(found.value, Mapping) else found.value
    return ConfigurationError(f"{found.origin} is {kind}, not {masked(clean(repr(value), 80))}")


def _absolute(folder: Path, text: str) -> Path:
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # there is no such user
        path = Path(text)
    return folder / path
