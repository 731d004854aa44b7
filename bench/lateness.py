"""How late wakes are: each agent has one slot at a random whole second, and its host looks at the clock when woken."""

import dataclasses
import datetime as dt
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.peers import CLAW, TIMEOUT, agent_ids
from bench.plan import LatenessSizes, Plan
from bench.serving import Server, serving
from harborcal import (
    Agent,
    HarborcalError,
    Heartbeat,
    Scheduler,
    Slot,
    SlotKey,
    SlotUpdate,
    UpdateReceipt,
    WakeRequest,
)
from harborcal.transport import Transport
from harborcal.transports.curl import CurlTransport

Due = tuple[str, int, dt.datetime]
"""Whose slot, its id, and when it is due."""

PATIENCE = 5.0
"""Seconds after the last slot's time for which wakes are waited for."""

NAPS = 100
_NAP = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatenessFigures:
    """Milliseconds from a slot's time to its wake; ``asleep`` agents were not woken at all.

    ``nap_p99_ms`` is by how much a thread oversleeps that does nothing but sleep: the machine's own part.
    """

    way: str
    wakes: int
    asleep: int
    seconds: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    early: int
    nap_p50_ms: float
    nap_p99_ms: float


class Agenda:
    """A calendar in this process, asked in batches, that lists each agent's slot until it is updated."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}  # single accesses only, which are atomic

    def enter(self, dues: Sequence[Due]) -> None:
        """List slots from now on."""
        for agent_id, number, due in dues:
            self._slots[agent_id] = Slot(id=number, date=due.date(), scheduled_at=due.time())

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """List the agent's slot."""
        slot = self._slots.get(agent_id)
        return Heartbeat(slots=() if slot is None else (slot,))

    def heartbeats(self, agent_ids: Sequence[str]) -> Iterator[tuple[str, Heartbeat | HarborcalError]]:
        """List each agent's slot."""
        for agent_id in agent_ids:
            yield agent_id, self.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """List the slot no more."""
        self._slots.pop(agent_id, None)
        return UpdateReceipt(slot=slot)

    def close(self) -> None:
        """Keep nothing."""


class _Watch:
    """A host that notes how late each wake is, and whose agents are done at once."""

    def __init__(self, dues: Sequence[Due]) -> None:
        self._dues = {number: due for _, number, due in dues}
        self._late: dict[int, float] = {}
        self.all_awake = threading.Event()

    def wake_agent(self, wake: WakeRequest) -> None:
        now = dt.datetime.now(dt.UTC)
        if wake.slot.id is not None:
            self._late.setdefault(wake.slot.id, (now - self._dues[wake.slot.id]).total_seconds())
        if len(self._late) == len(self._dues):
            self.all_awake.set()
        wake.report.complete()

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Say nothing."""

    def lateness(self) -> list[float]:
        """Tell the seconds by which wakes came after their slots' times, the least first."""
        return sorted(self._late.values())


def measure_lateness(plan: Plan) -> list[LatenessFigures]:
    """Wake agents over a calendar in this process, and over `CurlTransport` to one on loopback."""
    agenda = Agenda()
    with serving() as server:
        return [
            _measure("in process", agenda, agenda.enter, plan.lateness),
            _measure("curl", _curl(server), server.enter, plan.lateness),
        ]


def _curl(server: Server) -> CurlTransport:
    return CurlTransport(server.url, CLAW, timeout=TIMEOUT)


def _measure(
    way: str, transport: Transport, enter: Callable[[Sequence[Due]], None], sizes: LatenessSizes
) -> LatenessFigures:
    naps = _naps()
    dues = _dues(sizes)
    enter(dues)
    watch = _Watch(dues)
    agents = [Agent(id=agent_id) for agent_id, _, _ in dues]
    scheduler = Scheduler(transport, watch, lambda: agents)
    try:
        scheduler.tick()  # a fleet that has been up for a while: everybody was heard, and slots to come are listed
        scheduler.start()
        last = max(due for _, _, due in dues)
        watch.all_awake.wait((last - dt.datetime.now(dt.UTC)).total_seconds() + PATIENCE)
    finally:
        scheduler.stop()
    late = watch.lateness()
    return LatenessFigures(
        way=way,
        wakes=len(late),
        asleep=len(dues) - len(late),
        seconds=sizes.seconds,
        p50_ms=_quantile(late, 0.50) * 1e3,
        p99_ms=_quantile(late, 0.99) * 1e3,
        max_ms=_quantile(late, 1.0) * 1e3,
        early=sum(each < 0 for each in late),
        nap_p50_ms=statistics.median(naps) * 1e3,
        nap_p99_ms=_quantile(naps, 0.99) * 1e3,
    )


def _dues(sizes: LatenessSizes) -> list[Due]:
    """Give each agent a slot at a whole second, by a seed; the first ones leave time for the first heartbeats."""
    randomness = random.Random(sizes.agents)
    begin = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=sizes.lead)
    return [
        (agent_id, number, begin + dt.timedelta(seconds=randomness.randrange(1, sizes.seconds + 1)))
        for number, agent_id in enumerate(agent_ids(sizes.agents), 1)
    ]


def _naps() -> list[float]:
    """Oversleep some naps; tell by how much."""
    naps = []
    for _ in range(NAPS):
        since = time.perf_counter()
        time.sleep(_NAP)
        naps.append(time.perf_counter() - since - _NAP)
    return sorted(naps)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Tell the value that so large a share does not exceed; infinite where there are none, since nobody was woken."""
    return ordered[max(0, round(share * len(ordered)) - 1)] if ordered else float("inf")
