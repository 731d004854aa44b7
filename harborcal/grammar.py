"""What foreign text may look like: which ids are safe in a path or a header, and how free text is cleaned."""

import re

from harborcal.errors import ConfigurationError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}", re.ASCII)
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._:@-]+")

# Printable by Unicode's word, yet nothing shows: fillers, the blank Braille cell, the combining joiner.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")

DETAIL_LIMIT = 500
"""How many characters of somebody else's error text are kept."""


def is_id(text: object) -> bool:
    """Tell whether this may name an agent, a virtual slot or a claw in a path or header.

    A letter or digit, then up to 127 of letters, digits and ``._:@-``: nothing that a URL could take for syntax, and
    neither ``.`` nor ``..``.
    """
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def check_id(what: str, text: object) -> str:
    """Return the id unchanged.

    Raises:
        ConfigurationError: It does not match the grammar of `is_id`.
    """
    if not isinstance(text, str) or _ID.fullmatch(text) is None:
        shown = clean(text, 40) if isinstance(text, str) else type(text).__name__
        raise ConfigurationError(
            f"{what} is a letter or digit followed by up to 127 letters, digits or any of '._:@-', not {shown!r}"
        )
    return text


def claw_of(host_name: str) -> str:
    """Make a claw identifier of a host name: what the grammar of ids lacks becomes a hyphen."""
    return _NOT_IN_IDS.sub("-", host_name).lstrip("._:@-")[:128] or "localhost"


def clean(text: str, limit: int = DETAIL_LIMIT) -> str:
    """Return foreign text on one line, without control, bidi and invisible characters, at most ``limit`` long.

    Line breaks and tabs become spaces; text that was cut ends with an ellipsis.
    """
    if not text.isprintable() or not _INVISIBLE.isdisjoint(text) or _has_variation(text):
        text = "".join(_keep(character) for character in text[: limit * 4 + 4])
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def _has_variation(text: str) -> bool:
    return not text.isascii() and any(_is_variation(character) for character in text)


def _is_variation(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _keep(character: str) -> str:
    if character.isspace():
        return " "
    if not character.isprintable() or character in _INVISIBLE or _is_variation(character):
        return ""
    return character
