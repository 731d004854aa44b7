"""Where the control API listens: a Unix socket that its owner alone can reach, or a loopback address."""

import contextlib
import os
import secrets
import socket
from pathlib import Path

import flask

from harborcal.control import Address
from harborcal.errors import ConfigurationError
from harborcal.server.control_app import MAX_CONTROL_BODY
from harborcal.server.serving import Listener, listen, trust_loopback_names, url_of


class ControlServer(Listener):
    """A control API (see `create_control_app`) on a Unix socket, mode 0600, or on a loopback address.

    It listens once it is made, answers while `run` runs, and ends with `close`, which removes the socket. What a
    process that died has left at the socket's path is replaced; a socket that somebody answers at is not.

    Args:
        app: The application.
        address: ``unix:/path/to/control.sock`` or ``http://127.0.0.1:PORT``; port 0 takes any free one.
        threads: How many requests are served side by side.

    Raises:
        ConfigurationError: The address is none, is reached by other machines, is in use, or cannot be had.
    """

    def __init__(self, app: flask.Flask, address: str, *, threads: int = 8) -> None:
        if type(threads) is not int or threads < 1:
            raise ConfigurationError(f"threads is a whole number, at least 1, not {threads!r}")
        where = Address.of(address)
        self._file: tuple[Path, int] | None = None  # the socket and its inode: whoever replaces it keeps theirs
        if where.path is not None:
            listener = _listen_at(where.path)
            self._address = str(where)
            self._file = (where.path, where.path.stat().st_ino)
        else:
            trust_loopback_names(app, where.host)
            listener = listen(where.host, where.port)
            self._address = url_of(listener)
        super().__init__(app, listener, threads=threads, max_body_size=MAX_CONTROL_BODY)

    @property
    def address(self) -> str:
        """Where it listens, as `ControlClient` takes it."""
        return self._address

    def _end(self) -> None:
        super()._end()
        if self._file is not None:
            path, inode = self._file
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:
                    path.unlink()


def _listen_at(path: Path) -> socket.socket:
    """Listen on a Unix socket that was never anybody else's to reach.

    It is bound under another name and given its mode before it is where clients look; the change of name is one step,
    so that there is no moment without a mode, or without a socket.
    """
    if path.exists() or path.is_symlink():
        _must_be_stale(path)
    draft = path.with_name(f".{secrets.token_hex(3)}")  # short: the whole path has little over a hundred bytes
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(draft))
        draft.chmod(0o600)
        listener.listen(128)
        draft.rename(path)
    except OSError as error:
        listener.close()
        with contextlib.suppress(OSError):
            draft.unlink()
        raise ConfigurationError(f"cannot listen on the socket {path}: {error.strerror}") from error
    os.set_inheritable(listener.fileno(), False)  # noqa: FBT003 - as the standard library has it
    return listener


def _must_be_stale(path: Path) -> None:
    if not path.is_socket():
        raise ConfigurationError(f"{path} is no socket, and is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise ConfigurationError(f"the socket {path} cannot be looked at: {error}") from error
    raise ConfigurationError(f"somebody answers at the socket {path} already")
