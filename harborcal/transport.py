"""The door to the calendar: what a transport must do, what it may do besides, and how to find out."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, cast, runtime_checkable

from harborcal.errors import HarborcalError
from harborcal.model import DeliveryStatus, Heartbeat, Slot, SlotKey, SlotUpdate, UpdateReceipt


class Transport(Protocol):
    """A way to a calendar. Every method is called from several threads at once.

    Each call must end within a deadline of the transport's own. What it raises must be a `TransportError` (no
    usable answer; may be tried again) or a `CalendarRefusedError` (the calendar said no); anything else that
    escapes is treated as a `TransportError`.
    """

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Ask for one agent's pending slots, best first.

        Never called for one agent twice at once.
        """

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Tell the calendar where a slot stands.

        Calls for one slot come one after another, in the order in which the updates were accepted; the same
        update may come again after an unknown outcome.
        """

    def close(self) -> None:
        """Let go of connections and cut waiting short. Called once at the end, possibly while calls are under way."""


@runtime_checkable
class ClaimingTransport(Protocol):
    """A transport whose calendar can give a slot to one of several schedulers, atomically."""

    def claim(self, agent_id: str, slot: SlotKey, started_at: dt.datetime) -> UpdateReceipt | None:
        """Take the slot before its wake; None says that another scheduler has it."""


@runtime_checkable
class BatchTransport(Protocol):
    """A transport that can ask for many agents' slots at once, without a thread for each."""

    def heartbeats(self, agent_ids: Sequence[str]) -> Iterator[tuple[str, Heartbeat | HarborcalError]]:
        """Ask for the pending slots of each agent, and give each answer as it comes, in whatever order.

        What goes wrong for one agent is its answer, and leaves the others alone; what the iterator itself raises
        counts for all who have none yet. Every agent has an answer within the transport's deadline of being asked.
        Nothing is tried again: the agent's next heartbeat is. No agent is asked in two batches at once; closing the
        iterator ends what is under way. Called from several threads at once, one iterator by one thread.
        """


@runtime_checkable
class DayReader(Protocol):
    """A transport that can list an agent's whole day, work in progress included."""

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        """List the agent's slots of that UTC date, real and virtual, by time, without skipped and aborted ones."""


class DeliveryListener(Protocol):
    """Someone who wants to know what became of updates that were accepted earlier.

    Called from any thread; must not block.
    """

    def delivered(self, key: SlotKey, real_key: SlotKey, number: int) -> None:
        """The calendar took the updates that were accepted for ``key`` up to ``number``.

        The slot is ``real_key`` from now on.
        """

    def refused(self, key: SlotKey, update: SlotUpdate, error: HarborcalError, number: int) -> None:
        """The calendar refused accepted update ``number`` for good."""


@runtime_checkable
class DeferredDelivery(Protocol):
    """A transport that accepts updates now and delivers them later.

    Its receipts say ``delivered=False`` and a ``number``: later updates have higher ones.
    """

    def subscribe(self, listener: DeliveryListener) -> None:
        """Tell the listener of every later outcome."""

    def replace(self, number: int, update: SlotUpdate) -> bool:
        """Put another update in the place of an accepted one that was never sent; tell whether that was so."""

    def delivery_status(self) -> DeliveryStatus:
        """Picture what was accepted and what became of it; never blocks."""


Capability = TypeVar("Capability")


def find(transport: object, capability: Callable[..., Capability]) -> Capability | None:
    """Find who in a stack of wrappers has a capability: walk down along ``inner``, the outermost first.

    Wrappers never pretend to a capability that their inner transport lacks, so this is how a scheduler asks.
    """
    seen: set[int] = set()
    layer = transport
    while layer is not None and id(layer) not in seen:
        if _has(layer, cast(type, capability)):
            return cast(Capability, layer)
        seen.add(id(layer))
        layer = cast(object, getattr(layer, "inner", None))
    return None


def _has(layer: object, capability: type) -> bool:
    """Tell whether a layer has all that a capability asks for, and its methods as methods: not a list of that name."""
    methods = [name for name, member in vars(capability).items() if name[0] != "_" and callable(member)]
    return isinstance(layer, capability) and all(callable(getattr(layer, name)) for name in methods)
