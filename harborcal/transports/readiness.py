"""Which of many sockets are ready, for a price that does not grow with how many there are, where the system can."""

import select
import selectors
import sys
from collections.abc import Callable
from typing import Protocol

READ, WRITE, ENDED = 0x01, 0x04, 0x18
"""What to wait for, and what has happened besides: epoll's own numbers."""


class Readiness(Protocol):
    """The part of ``select.epoll`` that is used here."""

    def register(self, number: int, wanted: int) -> None:
        """Wait for a descriptor from now on."""

    def modify(self, number: int, wanted: int) -> None:
        """Wait for something else of it."""

    def unregister(self, number: int) -> None:
        """Wait for it no more."""

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Tell which are ready, and for what; none where the seconds have passed."""

    def close(self) -> None:
        """Wait for nothing any more."""


class Selected:
    """The same by whatever the system offers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, number: int, wanted: int) -> None:
        """Wait for a descriptor from now on."""
        self._selector.register(number, _events_of(wanted))

    def modify(self, number: int, wanted: int) -> None:
        """Wait for something else of it."""
        self._selector.modify(number, _events_of(wanted))

    def unregister(self, number: int) -> None:
        """Wait for it no more."""
        self._selector.unregister(number)

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Tell which are ready, and for what; none where the seconds have passed."""
        return [(key.fd, _happened(events)) for key, events in self._selector.select(seconds)]

    def close(self) -> None:
        """Wait for nothing any more."""
        self._selector.close()


def _events_of(wanted: int) -> int:
    return (selectors.EVENT_READ if wanted & READ else 0) | (selectors.EVENT_WRITE if wanted & WRITE else 0)


def _happened(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


make_readiness: Callable[[], Readiness] = Selected
if sys.platform == "linux":
    make_readiness = select.epoll
