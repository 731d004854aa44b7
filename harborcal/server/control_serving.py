"""Where the control API listens: a Unix socket that its owner alone can reach, or a loopback address."""

import contextlib
import secrets
import socket
from pathlib import Path

import flask

from harborcal.control import Address
from harborcal.control.addresses import bindable
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
            listener, inode = _listen_at(where.path)
            self._address = str(where)
            self._file = (where.path, inode)
        else:
            trust_loopback_names(app, where.host)
            listener = listen(where.host, where.port)
            self._address = url_of(listener)
        try:
            super().__init__(app, listener, threads=threads, max_body_size=MAX_CONTROL_BODY)
        except BaseException:
            self._remove()
            listener.close()
            raise

    @property
    def address(self) -> str:
        """Where it listens, as `ControlClient` takes it."""
        return self._address

    def _end(self) -> None:
        self._remove()  # first: as long as we listen, its inode is nobody else's
        super()._end()

    def _remove(self) -> None:
        if self._file is not None:
            path, inode = self._file
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == inode:
                    path.unlink()


def _listen_at(path: Path) -> tuple[socket.socket, int]:
    """Listen on a Unix socket that was never anybody else's to reach.

    It is bound under another name and given its mode before it is where clients look; the change of name is one step,
    so that there is no moment without a mode, or without a socket. Returns the listener and its socket's inode.
    """
    if path.exists() or path.is_symlink():
        _must_be_stale(path)
    draft = path.with_name(f".{secrets.token_hex(3)}")  # short: the whole path has little over a hundred bytes
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with bindable(draft) as name:
            listener.bind(name)
        draft.chmod(0o600)
        listener.listen(128)
        inode = draft.lstat().st_ino
        draft.rename(path)
    except BaseException as error:
        listener.close()
        with contextlib.suppress(OSError):
            draft.unlink()
        if isinstance(error, OSError):
            raise ConfigurationError(f"cannot listen on the socket {path}: {error.strerror or error}") from error
        raise
    return listener, inode


def _must_be_stale(path: Path) -> None:
    if not path.is_socket():
        raise ConfigurationError(f"{path} is no socket, and is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            with bindable(path) as name:
                probe.connect(name)
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise ConfigurationError(f"the socket {path} cannot be looked at: {error.strerror or error}") from error
    raise ConfigurationError(f"somebody answers at the socket {path} already")
