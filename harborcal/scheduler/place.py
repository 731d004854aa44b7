"""Where a thread is: in which callout, if any.

Any public method may be called from inside any callback. What may wait, and for whom, depends on where it was called
from, and this is how it knows.
"""

import contextlib
import threading
from collections.abc import Iterator


class Place(threading.local):
    """The callouts that the current thread is in, one inside the other; none outside of all."""

    names: frozenset[str] = frozenset()

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Mark the current thread as being in a callout, until the end of the block."""
        outer = self.names
        self.names = outer | {name}
        try:
            yield
        finally:
            self.names = outer

    @property
    def may_wait_for_heartbeats(self) -> bool:
        """Whether waiting for heartbeats cannot close a circle.

        Heartbeats wait for nobody, but a transport may report from inside one, and so wait for an update to end.
        """
        return self.names.isdisjoint({"heartbeat", "lister", "update"})

    @property
    def may_wait(self) -> bool:
        """Whether waiting for anything at all cannot close a circle."""
        return not self.names
