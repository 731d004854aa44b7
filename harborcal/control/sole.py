"""Exactly one process: a lock on a file, which the system lets go of when its process ends, however it ends."""

import contextlib
import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from harborcal.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # there are none on Windows
    fcntl = None  # type: ignore[assignment]


class SoleProcess:
    """A role that one process holds at a time: whoever acquires it, until it releases it or ends.

    A child that is forked while its parent holds the role does not hold it, and does not keep it from others.

    Args:
        path: The file that is locked; made where there is none. On a local disk, and only ever used for this.

    Raises:
        ConfigurationError: This system has no such locks.
    """

    def __init__(self, path: str | Path) -> None:
        if fcntl is None:
            raise ConfigurationError("this system has no file locks of the kind that harborcal.control needs")
        self._path = Path(path)
        self._file = -1
        _let_children_go(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._file >= 0

    def acquire(self) -> bool:
        """Take the role if nobody has it; tell whether this process has it now.

        Raises:
            ConfigurationError: The file cannot be opened, or its file system has no locks.
        """
        if self.is_held:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError(f"the lock {self._path} cannot be opened: {error.strerror}") from error
        try:
            # Of the open file, not of the process: others of this process that look into the file cannot let it go.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except OSError as error:
            os.close(file)
            raise ConfigurationError(f"the lock {self._path} cannot be had: {error.strerror}") from error
        with contextlib.suppress(OSError):  # a disk is full: who it is cannot be looked up, and it is all the same
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return True

    def release(self) -> None:
        """Let the role go, if this process has it."""
        if self.is_held:
            os.ftruncate(self._file, 0)
            fcntl.flock(self._file, fcntl.LOCK_UN)  # also for the copy of a child that was forked just now
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, -1
        os.close(file)

    def holder(self) -> int | None:
        """Tell which process holds it; None where nobody does, or it cannot be told."""
        if self.is_held:
            return os.getpid()
        try:
            words = self._path.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return None
        return int(words[0]) if words and words[0].isdecimal() and _is_alive(int(words[0])) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def _let_children_go(sole: SoleProcess) -> None:
    """Close the file in forked children: their copy would hold the lock for as long as they live."""
    known = weakref.ref(sole)

    def after() -> None:
        copy = known()
        if copy is not None and copy.is_held:
            copy._close()  # noqa: SLF001 - of this module

    os.register_at_fork(after_in_child=after)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
