"""Our process: journal, outbox, scheduler and host, from one crash to the next."""

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from harborcal.errors import HostError
from harborcal.host import WakeRequest
from harborcal.journal import Journal
from harborcal.model import Agent, SchedulerConfig
from harborcal.policy import SHORTEST_LEASE
from harborcal.scheduler import Scheduler
from harborcal.testing.clocks import FakeClock
from harborcal.testing.simulation.agents import Agents
from harborcal.testing.simulation.backend import Backend, BatchingLine, ClaimingLine, Line, late_by, name_of
from harborcal.testing.simulation.faults import Dice, Faults
from harborcal.testing.simulation.history import EventKind, Recorder
from harborcal.testing.simulation.power import Power, PowerCutError, ProcessClock
from harborcal.testing.simulation.turns import TurnRunner
from harborcal.transports.outbox import OutboxTransport

_STEP = 30.0
"""Seconds in which time passes inside a call that hangs."""


class _Reach(enum.StrEnum):
    """How far a wake comes before its call ends."""

    AGENT = "agent"
    QUEUE = "queue"
    NOBODY = "nobody"


class _Fate(NamedTuple):
    """What becomes of a wake."""

    reach: _Reach
    raises: bool = False
    hangs: bool = False


class ModelledHost:
    """A host that loses wakes, lets them wait, hangs and fails, as hosts do."""

    def __init__(
        self,
        agents: Agents,
        power: Power,
        *,
        clock: FakeClock,
        faults: Faults,
        dice: Dice,
        history: Recorder,
        config: SchedulerConfig,
    ) -> None:
        self.is_healthy = False
        self.counts: dict[str, int] = {}
        self._agents = agents
        self._power = power
        self._clock = clock
        self._faults = faults
        self._dice = dice
        self._history = history
        self._shortest_lease = config.lease
        self._wake_timeout = config.wake_timeout

    def wake_agent(self, wake: WakeRequest) -> None:
        """Wake an agent, or only seem to."""
        self._power.reach("wake.before")
        name = name_of(wake.slot)
        lease = self._lease_of(wake)
        self._history.add(
            EventKind.WAKE_ENTERED,
            wake.agent_id,
            name,
            attempt=wake.attempt,
            wake_id=wake.wake_id,
            reminder=wake.reminder,
            lease=lease,
            late=late_by(wake.slot, self._clock.now()),
        )
        outcome, reached = "cut", _Reach.NOBODY
        try:
            fate = self._draw(wake)
            reached = fate.reach
            self._pass_on(wake, lease, fate.reach)
            if fate.hangs:
                self._hang(wake)
            self._power.reach("wake.after")
            outcome = "raised" if fate.raises else "returned"
            if fate.raises:
                raise HostError("the host does not answer")
        finally:
            self._history.add(
                EventKind.WAKE_LEFT, wake.agent_id, name, wake_id=wake.wake_id, outcome=outcome, reached=str(reached)
            )

    def _lease_of(self, wake: WakeRequest) -> float | None:
        if self._shortest_lease is None:
            return None
        return max(self._shortest_lease, 120.0 * (wake.slot.estimated_duration or 0))

    def _draw(self, wake: WakeRequest) -> _Fate:
        random = self._dice.of("host")
        if not self._agents.is_alive(wake.agent_id):
            return _Fate(_Reach.NOBODY, raises=random.random() < 0.3)
        if self.is_healthy:
            return _Fate(_Reach.AGENT)
        if self._happens("failed_wakes"):
            return _Fate(_Reach.AGENT if random.random() < 0.5 else _Reach.NOBODY, raises=True)
        if self._happens("hung_wakes"):
            return _Fate(
                _Reach.AGENT if random.random() < 0.5 else _Reach.NOBODY, raises=random.random() < 0.5, hangs=True
            )
        if self._happens("lost_wakes"):
            return _Fate(_Reach.NOBODY)
        return _Fate(_Reach.QUEUE if self._happens("queued_wakes") else _Reach.AGENT)

    def _happens(self, fault: str) -> bool:
        happens = self._dice.happens("host", getattr(self._faults, fault))
        if happens:
            self.counts[fault] = self.counts.get(fault, 0) + 1
        return happens

    def _pass_on(self, wake: WakeRequest, lease: float | None, reach: _Reach) -> None:
        if reach is _Reach.AGENT:
            self._agents.hear(wake, lease)
        elif reach is _Reach.QUEUE:
            longest = 1.3 * (lease if lease is not None else SHORTEST_LEASE)
            self._agents.queue(wake, lease, self._dice.of("host").uniform(10.0, longest))

    def _hang(self, wake: WakeRequest) -> None:
        """Do not return for longer than a wake may take."""

        def tell() -> None:
            if self._power.is_on:
                self._history.add(EventKind.WAKE_HUNG, wake.agent_id, name_of(wake.slot), wake_id=wake.wake_id)

        self._clock.call_later(self._wake_timeout - 1.0, tell)  # also while another call hangs inside of this one
        self._let_pass(self._wake_timeout + self._dice.of("host").uniform(1.0, 1_200.0))

    def _let_pass(self, seconds: float) -> None:
        """Let time pass inside a call: everybody else goes on, as beside a thread that hangs (see `TurnRunner`)."""
        until = self._clock.monotonic() + seconds
        while self._power.is_on and (left := until - self._clock.monotonic()) > 0:
            self._clock.advance(min(_STEP, left))

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Keep no log: the history is written at the doors."""


class Process:
    """Starts, crashes, and starts again on the same journal and the same calendar."""

    def __init__(
        self,
        *,
        path: Path,
        clock: FakeClock,
        backend: Backend,
        faults: Faults,
        dice: Dice,
        history: Recorder,
        config: SchedulerConfig,
        agents: Callable[[], Agents],
        lister: Callable[[], Iterable[Agent]],
        claims: bool,
    ) -> None:
        self.scheduler: Scheduler | None = None
        self.crashes = 0
        self.points: dict[str, int] = {}
        self.is_healthy = False
        self.host_counts: dict[str, int] = {}
        self._path = path
        self._clock = clock
        self._backend = backend
        self._faults = faults
        self._dice = dice
        self._history = history
        self._config = config
        self._agents = agents
        self._lister = lister
        self._claims = claims
        self._power: Power | None = None
        self._host: ModelledHost | None = None
        self._journal: Journal | None = None
        self._left: dict[Path, bytes] = {}
        self._target: str | None = None
        self._is_armed = False
        self._since_armed = 0

    # --- crashing ---------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Crash at one of the points that were reached before, chosen evenly among their names, or at a next one."""
        random = self._dice.of("crashes")
        self._target = random.choice(sorted(self.points)) if self.points and random.random() < 0.9 else None
        self._is_armed = True
        self._since_armed = 0

    def _strikes(self, point: str) -> bool:
        self.points[point] = self.points.get(point, 0) + 1
        if not self._is_armed:
            return False
        self._since_armed += 1
        strikes = self._target in {None, point} or self._since_armed > 600
        self._is_armed = not strikes
        return strikes

    def stop_for(self, seconds: float, why: str) -> None:
        """Turn the power off, whatever is under way, for so long."""
        if self._power is not None and self._power.is_on:
            self._pause = seconds
            self._power.cut(why)

    _pause: float | None = None

    def _cut(self, point: str) -> None:
        """Keep what is on disk at this moment, and come back later."""
        self._left = {path: path.read_bytes() for path in self._files() if path.exists()}
        self.scheduler = None
        self.crashes += 1
        self._history.add(EventKind.CRASHED, point=point)
        random = self._dice.of("crashes")
        down = random.choice([1.0, 5.0, 30.0, random.uniform(1.0, 600.0)])
        if self._pause is not None:
            down, self._pause = self._pause, None
        self._clock.call_later(down, self.start)

    def _files(self) -> tuple[Path, Path]:
        return self._path, self._path.with_name(self._path.name + "-journal")

    def _bury(self) -> None:
        """Clear away what is left of the last process, and put the disk back to the moment of its end."""
        if self._power is None or self._power.is_on:
            return
        self._power.is_buried = True
        if self._host is not None:
            self._merge(self._host)
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        for path in self._files():
            path.unlink(missing_ok=True)
            if path in self._left:
                path.write_bytes(self._left[path])
                path.chmod(0o600)

    def _merge(self, host: ModelledHost) -> None:
        for fault, count in host.counts.items():
            self.host_counts[fault] = self.host_counts.get(fault, 0) + count

    # --- starting ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, on what the last process has left."""
        self._bury()
        power = self._power = Power(self._strikes, self._cut)
        self._history.add(
            EventKind.STARTED, on_unknown=self._config.on_unknown, misfire_grace=self._config.misfire_grace
        )
        try:
            scheduler = self._build(power)
            if power.is_on:
                self.scheduler = scheduler
                scheduler.start()
        except PowerCutError:
            return

    def _build(self, power: Power) -> Scheduler:
        clock = ProcessClock(self._clock, power)
        line = ClaimingLine(self._backend, power) if self._claims else Line(self._backend, power)
        # Every other process asks in batches: what is promised holds for both ways.
        door = BatchingLine(line) if self._dice.happens("batches", 0.5) else line
        runner = TurnRunner(clock)
        self._host = ModelledHost(
            self._agents(),
            power,
            clock=self._clock,
            faults=self._faults,
            dice=self._dice,
            history=self._history,
            config=self._config,
        )
        self._host.is_healthy = self.is_healthy
        self._journal = Journal(
            self._path, clock=clock, patience=0.0, checkpoint=lambda step: power.reach(f"journal.{step}")
        )
        seed = self._dice.of("seeds").getrandbits(32)
        outbox = OutboxTransport(door, self._journal, clock=clock, runner=runner, seed=seed)
        # Another seed for each process, or it would give the wake ids of the one before once more.
        config = dataclasses.replace(self._config, seed=seed)
        return Scheduler(outbox, self._host, self._lister, config=config, clock=clock, runner=runner)

    def heal(self) -> None:
        """Crash no more."""
        self.is_healthy = True
        self._is_armed = False
        if self._host is not None:
            self._host.is_healthy = True

    def fall_ill(self) -> None:
        """Let things go wrong again."""
        self.is_healthy = False
        if self._host is not None:
            self._host.is_healthy = False

    @property
    def journal(self) -> Journal | None:
        """The journal of the process that runs."""
        return self._journal if self.scheduler is not None else None

    def end(self) -> None:
        """Stop in good order."""
        if self._host is not None:
            self._merge(self._host)
        if self.scheduler is not None:
            self.scheduler.stop()
        elif self._journal is not None:
            self._bury()
