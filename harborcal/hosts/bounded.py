"""Files that keep the beginning and the end of what is written to them, however much that is."""

import os
from pathlib import Path


class BoundedFile:
    """Keeps the head and the tail of a stream; what was between is left out, and that is said.

    The head is in the file at once, for whoever looks; the tail is in memory until `close`. One thread writes.

    Args:
        path: The file, mode 0600; None keeps nothing but the tail.
        limit: How many bytes are kept, half of them of the head.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path | None, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._size = 0
        self._tail = bytearray()
        self._file = -1
        if path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(path, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Take some more; a disk that is full keeps less, and stops nobody."""
        self._put(data[: max(0, self._half - self._size)])
        self._size += len(data)
        self._tail += data
        if len(self._tail) > self._half:
            del self._tail[: -self._half]

    def tail(self, size: int) -> str:
        """Tell the last of it as text; what is no UTF-8 is replaced."""
        return bytes(self._tail[-size:]).decode("utf-8", "replace")

    def close(self) -> None:
        """Write what is in memory, and close the file; once more changes nothing."""
        beyond = self._size - self._half
        if beyond > len(self._tail):
            self._put(f"\n... {beyond - len(self._tail)} bytes left out ...\n".encode())
        if beyond > 0:
            self._put(bytes(self._tail[-beyond:]))
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _put(self, data: bytes) -> None:
        if self._file < 0 or not data:
            return
        try:
            os.write(self._file, data)
        except OSError:  # what a command prints is not worth losing the command for
            os.close(self._file)
            self._file = -1
