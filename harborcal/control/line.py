"""A connection to a control API, over either kind of address, each of whose waits ends by one deadline.

http.client knows a timeout per wait, so that a server that drips, be it the head of its answer, could hold a call for
ever. Here a socket asks before each of its calls how much of the exchange's time is left.
"""

import http.client
import socket
from typing import Any

from harborcal.control.addresses import Address, bindable
from harborcal.net import Deadline


class Line(http.client.HTTPConnection):
    """HTTP to a control API; no proxies, whatever the environment says.

    Args:
        address: Where it is.
        deadline: By when everything on this line has ended; whatever has not raises `TimeoutError`.
    """

    def __init__(self, address: Address, deadline: Deadline) -> None:
        is_tcp = address.path is None
        super().__init__(address.host if is_tcp else "localhost", address.port if is_tcp else 80)
        self._address = address
        self._deadline = deadline

    def connect(self) -> None:
        """Reach the server; a host that has several addresses is tried at each."""
        if self._address.path is not None:
            with bindable(self._address.path) as name:
                self.sock = self._reach(socket.AF_UNIX, name)
            return
        failure: OSError | None = None
        for family, _, _, _, where in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            try:
                self.sock = self._reach(family, where)
            except OSError as error:
                failure = error
            else:
                return
        raise failure or OSError("the host has no address")

    def _reach(self, family: int, where: Any) -> "_PunctualSocket":
        line = _PunctualSocket(family, socket.SOCK_STREAM)
        try:
            line.keep(self._deadline)
            line.connect(where)
        except BaseException:
            line.close()
            raise
        return line


class _PunctualSocket(socket.socket):
    """A socket each of whose calls ends by a deadline."""

    _deadline: Deadline

    def keep(self, deadline: Deadline) -> None:
        """Let everything from now on end by a deadline."""
        self._deadline = deadline
        self._arm()

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._arm()
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._arm()
        super().sendall(*args, **kwargs)  # its timeout is for all of it

    def _arm(self) -> None:
        remaining = self._deadline.remaining()
        if remaining <= 0.0:
            raise TimeoutError("the deadline of the exchange passed")
        self.settimeout(remaining)
