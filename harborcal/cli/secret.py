"""A text that must not be seen: it shows itself nowhere by accident."""

import functools
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from harborcal.errors import ConfigurationError
from harborcal.grammar import clean

_LARGEST = 64 * 1024


class Secret:
    """A secret that only `reveal` tells: neither ``repr``, ``str`` and ``format`` nor pickle do.

    One that lies in a file is read when it is revealed, so that a command that needs it not works without it.
    """

    __slots__ = ("_read",)

    def __init__(self, text: str | Callable[[], str]) -> None:
        self._read: Callable[[], str] = functools.partial(str, text) if isinstance(text, str) else text

    @classmethod
    def in_file(cls, path: Path, what: str) -> "Secret":
        """Name a file that holds a secret in its first line; ``what`` says in errors which one."""
        return cls(functools.partial(_read_first_line, path, what))

    def reveal(self) -> str:
        """Tell the secret.

        Raises:
            ConfigurationError: The file that holds it cannot be read, or holds none.
        """
        return self._read()

    def __str__(self) -> str:
        return "(set)"

    def __repr__(self) -> str:
        return "Secret(set)"

    def __format__(self, _spec: str) -> str:
        return "(set)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")


def _read_first_line(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            lines = file.read(_LARGEST).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigurationError(f"{what}: {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        # Without the cause's words: they quote what the file holds.
        raise ConfigurationError(f"{what}: {clean(str(path))} is no text") from error.with_traceback(None)
    if not lines or not lines[0].strip():
        raise ConfigurationError(f"{what}: {path} holds no secret in its first line")
    return lines[0].strip()
