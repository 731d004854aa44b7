"""Any transport, asked in batches."""

import queue
import threading
from collections.abc import Iterator, Sequence

from harborcal import Heartbeat, SlotKey, SlotUpdate, UpdateReceipt
from harborcal.errors import HarborcalError, TransportError
from harborcal.transport import Transport

Answer = tuple[str, Heartbeat | HarborcalError]


class Batching:
    """Makes a `BatchTransport` of a transport; whatever else that can do is found behind it.

    Args:
        inner: Who is asked.
        side_by_side: Whether a batch is asked on threads, as one over sockets is; else in turn, in the caller's.
    """

    def __init__(self, inner: Transport, *, side_by_side: bool = False) -> None:
        self.inner = inner
        self._side_by_side = side_by_side

    def heartbeats(self, agent_ids: Sequence[str]) -> Iterator[Answer]:
        if not self._side_by_side:
            yield from map(self._ask, agent_ids)
            return
        answers: queue.Queue[Answer] = queue.Queue()
        for agent_id in agent_ids:
            threading.Thread(target=lambda name: answers.put(self._ask(name)), args=(agent_id,), daemon=True).start()
        for _ in agent_ids:
            yield answers.get()

    def _ask(self, agent_id: str) -> Answer:
        try:
            return agent_id, self.inner.heartbeat(agent_id)
        except HarborcalError as error:
            return agent_id, error
        except BaseException as error:
            return agent_id, TransportError(f"{type(error).__name__}: {error}" if not str(error) else str(error))

    def heartbeat(self, agent_id: str) -> Heartbeat:
        return self.inner.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        return self.inner.update_slot(agent_id, slot, update)

    def close(self) -> None:
        self.inner.close()
