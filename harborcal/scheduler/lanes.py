"""One slot's updates leave one after another."""

import contextlib
import threading
from collections import deque
from collections.abc import Hashable, Iterator

from harborcal.errors import LifecycleError


class _Lane:
    """Who is in a lane and who waits for it. Fields are guarded by the lanes' lock."""

    __slots__ = ("owner", "queue")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.queue: deque[tuple[int, threading.Event]] = deque()


class Lanes:
    """A lane for each slot, entered by one thread at a time, first come first served.

    A lane is owned, not locked: it is held while calling out, so whoever would wait for itself, in one lane or around a
    circle of several, is told so instead of waiting for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, _Lane] = {}  # guarded by _lock; only those with an owner
        self._waiting: dict[int, Hashable] = {}  # guarded by _lock; for which lane each thread waits

    @contextlib.contextmanager
    def enter(self, slot: Hashable) -> Iterator[None]:
        """Have the slot's lane to oneself, after those who came before.

        Raises:
            LifecycleError: The calling thread is in this lane already, or those in it wait for the calling thread.
        """
        turn = self._queue_up(slot)
        if turn is not None:
            try:
                turn.wait()
            except BaseException:  # Ctrl-C: a place in the queue that nobody will take would close the lane for ever
                self._give_up(slot, turn)
                raise
        try:
            yield
        finally:
            self._leave(slot)

    @contextlib.contextmanager
    def enter_if_free(self, slot: Hashable) -> Iterator[bool]:
        """Have the slot's lane to oneself if nobody is in it; tell whether that is so."""
        with self._lock:
            free = slot not in self._lanes
            if free:
                self._lanes[slot] = _Lane(threading.get_ident())
        try:
            yield free
        finally:
            if free:
                self._leave(slot)

    def _queue_up(self, slot: Hashable) -> threading.Event | None:
        me = threading.get_ident()
        with self._lock:
            lane = self._lanes.get(slot)
            if lane is None:
                self._lanes[slot] = _Lane(me)
                return None
            if self._would_wait_for_itself(me, lane):
                raise LifecycleError("an update of this slot is under way in this very call: call again after it")
            turn = threading.Event()
            lane.queue.append((me, turn))
            self._waiting[me] = slot
            return turn

    def _would_wait_for_itself(self, me: int, lane: _Lane | None) -> bool:
        while lane is not None:
            if lane.owner == me:
                return True
            lane = self._lanes.get(self._waiting.get(lane.owner))
        return False

    def _give_up(self, slot: Hashable, turn: threading.Event) -> None:
        me = threading.get_ident()
        with self._lock:
            still_waits = (me, turn) in self._lanes[slot].queue
            if still_waits:
                self._lanes[slot].queue.remove((me, turn))
                del self._waiting[me]
        if not still_waits:
            self._leave(slot)

    def _leave(self, slot: Hashable) -> None:
        with self._lock:
            lane = self._lanes[slot]
            if not lane.queue:
                del self._lanes[slot]
                return
            lane.owner, turn = lane.queue.popleft()
            del self._waiting[lane.owner]
        turn.set()
