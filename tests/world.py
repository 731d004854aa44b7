"""A small world for tests: a fake clock, a calendar in memory, a recording host, a scheduler in the caller's thread."""

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

from harborcal import Agent, Scheduler, SchedulerConfig, SlotKey, SlotStatus, ThreadRunner, WakeRequest
from harborcal.runner import Runner
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost
from harborcal.transport import Transport
from tests.batching import Batching

IN_BATCHES = False
"""Whether every world's transport is asked in batches; set by a fixture, so that the same tests hold for both ways."""


class World:
    """Everything a scheduler lives in. ``agents`` may be changed at any time."""

    def __init__(
        self,
        *agents: str,
        config: SchedulerConfig | None = None,
        on_wake: Callable[[WakeRequest], None] | None = None,
        wrap: Callable[[InMemoryCalendar], Transport] | None = None,
        lister: Callable[[], Iterable[Agent]] | None = None,
        runner: Runner | None = None,
        host: RecordingHost | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        names = agents or ("dev",)
        self.clock = clock if clock is not None else FakeClock()
        self.calendar = InMemoryCalendar(self.clock, names)
        self.host = host if host is not None else RecordingHost(on_wake)
        self.agents = [Agent(id=name) for name in names]
        transport: Transport = self.calendar if wrap is None else wrap(self.calendar)
        if IN_BATCHES:
            transport = Batching(transport, side_by_side=isinstance(runner, ThreadRunner))
        self.scheduler = Scheduler(
            transport,
            self.host,
            lister if lister is not None else lambda: self.agents,
            config=config if config is not None else SchedulerConfig(seed=1),
            clock=self.clock,
            runner=runner if runner is not None else CallerRunner(),
        )

    @property
    def sent(self) -> list[tuple[str, str]]:
        """What the calendar was told: agent and status, in order."""
        return [(agent_id, str(update.status)) for agent_id, _, update in self.calendar.updates]

    def add(self, agent_id: str = "dev", **fields: Any) -> SlotKey:
        """Put a slot that is due now into the calendar."""
        return self.calendar.add_slot(agent_id, **fields)

    def state(self, key: SlotKey) -> SlotStatus:
        """Where the calendar says that a slot stands."""
        return self.calendar.slot(key).status

    def at(self, seconds: float) -> dict[str, Any]:
        """The fields of a slot that is scheduled so many seconds from now."""
        moment = self.clock.now() + dt.timedelta(seconds=seconds)
        return {"date": moment.date(), "scheduled_at": moment.time().replace(microsecond=0)}


def threaded(*agents: str, **options: Any) -> World:
    """A world whose scheduler uses real threads."""
    return World(*agents, runner=ThreadRunner(), **options)
