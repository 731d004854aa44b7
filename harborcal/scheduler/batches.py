"""Many heartbeats on one thread, where the transport can: each answer is followed up when it comes."""

import threading
from collections.abc import Callable

from harborcal.errors import TransportError, TransportTimeoutError
from harborcal.scheduler.context import Context
from harborcal.scheduler.crew import Crew
from harborcal.scheduler.roster import Beat
from harborcal.transport import BatchTransport

NEVER = float("-inf")


class Batch:
    """Heartbeats that are asked for together. Whoever is due before it has begun joins it."""

    __slots__ = ("beats", "got_on_at")

    owner = "a batch"  # nobody knows for whom a batch hangs

    def __init__(self) -> None:
        self.beats: list[Beat] = []  # guarded by the batches' lock until the batch has begun
        self.got_on_at = NEVER  # monotonic; its last answer. Written by who asks, read by who looks for the stuck


class Batches:
    """Asks for everybody who is due at once.

    A hung batch is given up like a hung heartbeat, and until it has returned nobody is asked in batches: then each
    agent is asked on a thread of its own, so that the one for whom it hangs cannot hold up the others.
    """

    def __init__(
        self,
        transport: BatchTransport,
        context: Context,
        *,
        answered: Callable[[Beat, object, int], None],
        failed: Callable[[Beat, BaseException], None],
    ) -> None:
        self._transport = transport
        self._answered = answered
        self._failed = failed
        self._clock = context.clock
        self._ledger = context.ledger
        self._lifespan = context.lifespan
        self._place = context.place
        self._crew: Crew[Batch] = Crew(
            "batch",
            context,
            size=context.config.max_heartbeats,
            timeout=context.config.heartbeat_timeout,
            work=self._ask,
            overdue=self._overdue,
            got_on=lambda batch: batch.got_on_at,
        )
        self._lock = threading.Lock()
        self._next: Batch | None = None  # guarded by _lock; the one that has not begun

    @property
    def is_fit(self) -> bool:
        """Whether every batch has returned in time; those that have not since do not count any more."""
        return not self._crew.abandoned

    def submit(self, beats: list[Beat]) -> bool:
        """Have heartbeats made; False once closed."""
        if not beats:
            return True
        with self._lock:
            batch = self._next
            joined = batch is not None
            if batch is None:
                batch = self._next = Batch()
            batch.beats += beats
        if joined:
            self._crew.staff()
            return True
        return self._crew.submit([batch])

    def close(self) -> list[Beat]:
        """Begin no more batches; return the heartbeats that nobody has begun."""
        return [beat for batch in self._crew.close() for beat in self._begin(batch)]

    def _begin(self, batch: Batch) -> list[Beat]:
        with self._lock:
            if self._next is batch:
                self._next = None
            return list(batch.beats)

    def _ask(self, batch: Batch) -> None:
        left = {beat.owner: beat for beat in self._begin(batch)}
        failure: BaseException = TransportError("the batch has ended without an answer")
        with self._place.inside("heartbeat"):
            asked = self._ledger.ask()
            try:
                if self._lifespan.may_begin:
                    self._follow(batch, left, asked)
            except BaseException as error:  # noqa: BLE001 - whatever a transport raises, the agents' next beats ask again
                failure = error
            for beat in left.values():
                self._failed(beat, failure)

    def _follow(self, batch: Batch, left: dict[str, Beat], asked: int) -> None:
        """Hand on each answer as it comes; whoever has one is no longer ``left``."""
        answers = self._transport.heartbeats(tuple(left))
        try:
            for agent_id, answer in answers:
                batch.got_on_at = self._clock.monotonic()
                beat = left.pop(agent_id, None)
                if beat is not None:
                    self._answered(beat, answer, asked)
                if self._lifespan.is_stopping:
                    return
        finally:
            close = getattr(answers, "close", None)
            if close is not None:
                close()

    def _overdue(self, batch: Batch, reason: str) -> None:
        for beat in self._begin(batch):
            if beat.answer is None:  # who has one is being looked after
                self._failed(beat, TransportTimeoutError(f"heartbeat {reason}"))

    # --- who waits for them

    @property
    def crew(self) -> Crew[Batch]:
        """The threads."""
        return self._crew
