"""Where a control API is: a Unix socket or a loopback address, written as one text."""

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from harborcal.errors import ConfigurationError
from harborcal.grammar import clean
from harborcal.net import is_loopback

LONGEST_PATH = 103
"""Bytes of a Unix socket's path that the strictest of the usual systems takes."""

_LONGEST_NAME = 64  # bytes of its last part, where the rest is abbreviated
_CAN_ABBREVIATE = hasattr(os, "O_PATH") and Path("/proc/self/fd").is_dir()


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, or where to ask: a ``path``, or a loopback ``host`` and its ``port``.

    Attributes:
        path: The Unix socket; None for a TCP address.
        host: The loopback host; empty for a Unix socket.
        port: The port; 0 takes any free one where something listens.
    """

    path: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def of(cls, text: object) -> "Address":
        """Read ``unix:/path/to/socket`` or ``http://127.0.0.1:8765``.

        Raises:
            ConfigurationError: It is neither, or other machines could reach it.
        """
        if not isinstance(text, str):
            raise ConfigurationError(f"a control address is a text, not {type(text).__name__}")
        if text.startswith("unix:"):
            return cls._socket(text.removeprefix("unix:"))
        return cls._loopback(text)

    @classmethod
    def _socket(cls, text: str) -> "Address":
        if not text or "\0" in text:
            raise ConfigurationError("a control address names a socket: unix:/path/to/control.sock")
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError("this system has no Unix sockets: listen on http://127.0.0.1:PORT")
        path = Path(text).absolute()
        if len(os.fsencode(path)) > LONGEST_PATH and not _can_be_abbreviated(path):
            raise ConfigurationError(
                f"the socket's path {clean(str(path), 200)} is longer than {LONGEST_PATH} bytes, which systems do not"
                " take: choose another with [control] listen, or listen on http://127.0.0.1:PORT"
            )
        return cls(path=path)

    @classmethod
    def _loopback(cls, text: str) -> "Address":
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigurationError(f"{clean(text, 80)!r} is no control address") from error
        is_plain = parts.scheme == "http" and parts.path in {"", "/"} and not (parts.query or parts.fragment)
        if not is_plain or not host or port is None or parts.username is not None:
            raise ConfigurationError(
                f"a control address is unix:/path/to/socket or http://127.0.0.1:PORT, not {clean(text, 80)!r}"
            )
        if not is_loopback(host):
            raise ConfigurationError(f"a control API listens on loopback only, and {clean(host, 80)} is not loopback")
        return cls(host=host, port=port)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def _can_be_abbreviated(path: Path) -> bool:
    return _CAN_ABBREVIATE and len(os.fsencode(path.name)) <= _LONGEST_NAME


@contextlib.contextmanager
def bindable(path: Path) -> Iterator[str]:
    """Write a socket's path as the system takes it: a long one by its folder's descriptor, which Linux can.

    Raises:
        OSError: Its folder cannot be reached.
    """
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
