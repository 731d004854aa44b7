"""A scheduler with a journal and an outbox that can be killed at any moment, and begun anew on what it left."""

import contextlib
import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harborcal import (
    Agent,
    Heartbeat,
    Journal,
    OutboxTransport,
    Scheduler,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    UpdateReceipt,
    WakeRequest,
    build_wake_message,
)
from harborcal.calendar import Calendar
from harborcal.clock import Timer
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost
from harborcal.testing.clocks import MONDAY_MORNING
from harborcal.transport import Transport
from harborcal.transports.embedded import EmbeddedTransport


class KilledError(BaseException):
    """The process is dead: nothing it does from now on has an effect."""


class _Life:
    """One process's clock: its timers die with it, and its monotonic time begins where it likes."""

    def __init__(self, clock: FakeClock, origin: float) -> None:
        self.alive = True
        self._clock = clock
        self._origin = origin

    def now(self) -> dt.datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._origin

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        def call() -> None:
            if self.alive:
                callback()

        return self._clock.call_later(delay, call)


class _Body:
    """A host in a process: who is dead wakes nobody."""

    def __init__(self, host: RecordingHost, process: "Durable") -> None:
        self._host = host
        self._process = process
        self._life = process.life

    def wake_agent(self, wake: WakeRequest) -> None:
        self._process.pass_by(self._life, "wake.before")
        self._host.wake_agent(wake)
        self._process.pass_by(self._life, "wake.after")

    def log(self, level: str, message: str, fields: Any) -> None:
        self._host.log(level, message, fields)


class _Door:
    """A way to the calendar from inside a process: it is shut when the process dies, at any moment of a call."""

    def __init__(self, transport: Any, process: "Durable") -> None:
        self._transport = transport
        self._process = process
        self._life = process.life

    def _call(self, name: str, *details: Any) -> Any:
        self._process.pass_by(self._life, f"{name}.before")
        answer = getattr(self._transport, name)(*details)
        self._process.pass_by(self._life, f"{name}.after")
        return answer

    def heartbeat(self, agent_id: str) -> Heartbeat:
        answer: Heartbeat = self._call("heartbeat", agent_id)
        return answer

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        receipt: UpdateReceipt = self._call("update_slot", agent_id, slot, update)
        return receipt

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        slots: tuple[Slot, ...] = self._call("day", agent_id, date)
        return slots

    def close(self) -> None:
        """Leave the calendar open for the next process."""


class _ClaimingDoor(_Door):
    def claim(self, agent_id: str, slot: SlotKey, started_at: dt.datetime) -> UpdateReceipt | None:
        receipt: UpdateReceipt | None = self._call("claim", agent_id, slot, started_at)
        return receipt


class Durable:
    """Everything around one scheduler. Its calendar and its agents live on when it is killed.

    Attributes:
        kill_at: Where the process is killed, once: a step of the journal's (``accept.written``), before or after a
            call of the calendar's (``claim.after``), or a wake (``wake.before``).
        fail_at: The journal's steps (or beginnings of their names) that fail as on a full disk.
        meanwhile: What else happens at such a place, once, by its name.
        message: What writes the message of a wake, the last thing before it is handed to its host.
    """

    def __init__(self, folder: Path, *agents: str, carried: bool = False, **config: Any) -> None:
        names = agents or ("dev",)
        self.clock = FakeClock()
        self.carried = Calendar("sqlite://", clock=self.clock) if carried else None
        self.memory = InMemoryCalendar(self.clock, names)
        for name in names if self.carried is not None else ():
            assert self.carried is not None
            self.carried.register_agent(name)
        self.host = RecordingHost()
        self.agents = [Agent(id=name) for name in names]
        self.config: dict[str, Any] = {"seed": 1, **config}
        self.kill_at = ""
        self.fail_at: tuple[str, ...] = ()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.message: Callable[[Slot], str] = build_wake_message
        self._folder = folder
        self._lives = 0
        self._added = 0
        self._path = folder / "journal-0.db"
        self.begin()

    # --- life and death ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a new process on what the last one left."""
        self._lives += 1
        self.life = _Life(self.clock, origin=1000.0 * self._lives)
        self.journal = Journal(self._path, clock=self.life, checkpoint=self._reach)
        runner = CallerRunner()
        self.outbox = OutboxTransport(self.way(), self.journal, runner=runner, seed=1)
        self.scheduler = Scheduler(
            self.outbox,
            _Body(self.host, self),
            lambda: self.agents,
            clock=self.life,
            runner=runner,
            message=lambda slot: self.message(slot),
            config=SchedulerConfig(**self.config | {"seed": self.config["seed"] + self._lives}),
        )

    def way(self) -> Transport:
        """Make a way to the calendar."""
        if self.carried is None:
            return _Door(self.memory, self)
        return _ClaimingDoor(EmbeddedTransport(self.carried, "claw"), self)

    def _reach(self, step: str) -> None:
        self.pass_by(self.life, step)
        if self.fail_at and step.startswith(self.fail_at):
            raise OSError(28, "No space left on device")

    def pass_by(self, life: _Life, step: str) -> None:
        """Go on, unless the process is dead, or to be killed at this very step."""
        if not life.alive:
            raise KilledError
        if step in self.meanwhile:
            self.meanwhile.pop(step)()
        if step == self.kill_at:
            self.kill_at = ""
            self.kill()
            raise KilledError

    def kill(self) -> None:
        """Kill the process: what is on disk at this moment is what the next one finds."""
        self._path = self._folder / f"journal-{self._lives}.db"
        shutil.copy(self.journal.path, self._path)
        remains = self.journal.path.with_name(f"{self.journal.path.name}-journal")
        if remains.exists():
            shutil.copy(remains, self._path.with_name(f"{self._path.name}-journal"))
        self.life.alive = False

    def restart(self) -> None:
        """Kill the process, unless it is dead already, and begin a new one."""
        if self.life.alive:
            self.kill()
        with contextlib.suppress(KilledError):
            self.journal.close()
        self.begin()

    @contextlib.contextmanager
    def dying(self) -> Iterator[None]:
        """Expect the process to die inside a ``with`` block, and begin a new one after it."""
        with contextlib.suppress(BaseException):
            yield
        assert not self.life.alive, "it was to be killed here"
        self.restart()

    def close(self) -> None:
        """Tidy up."""
        self.fail_at = ()
        with contextlib.suppress(KilledError):
            self.journal.close()
        if self.carried is not None:
            self.carried.close()

    # --- the calendar -----------------------------------------------------------------------------------------------

    def add(self, agent_id: str = "dev", minutes: int = 30) -> SlotKey:
        """Put a slot that is due now into the calendar."""
        if self.carried is None:
            return self.memory.add_slot(agent_id, estimated_duration=minutes)
        # The carried calendar lets no slots overlap: they follow one another from midnight on.
        self._added += 1
        begins = MONDAY_MORNING.replace(hour=0) + dt.timedelta(minutes=30 * self._added)
        return self.carried.add_slot(agent_id, begins, minutes).key

    def slot(self, key: SlotKey) -> Slot:
        """A slot as the calendar has it."""
        return self.memory.slot(key) if self.carried is None else self.carried.slot(key)

    def state(self, key: SlotKey) -> SlotStatus:
        """Where the calendar says that a slot stands."""
        return self.slot(key).status

    # --- what happened ----------------------------------------------------------------------------------------------

    @property
    def sent(self) -> list[str]:
        """What the calendar in memory was told, in order."""
        return [str(received.update.status) for received in self.memory.updates]

    @property
    def wake_ids(self) -> list[str]:
        return [wake.wake_id for wake in self.host.wakes]
