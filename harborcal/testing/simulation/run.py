"""One run: the parts put together under one clock, in one thread, from the morning to the healed evening."""

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harborcal.journal import Letter, LetterState
from harborcal.model import Agent, AgentStatus, SchedulerConfig, Slot, SlotStatus
from harborcal.policy import due_at
from harborcal.testing.clocks import FakeClock
from harborcal.testing.simulation import world
from harborcal.testing.simulation.agents import Agents
from harborcal.testing.simulation.backend import Backend, name_of
from harborcal.testing.simulation.faults import Behaviour, Dice, Faults
from harborcal.testing.simulation.history import EventKind, Recorder
from harborcal.testing.simulation.process import Process

if TYPE_CHECKING:
    from harborcal.calendar import Calendar

_HOUR = 3600.0
_LOOK_EVERY = 1_800.0
_QUIET_EVERY = 300.0
_TAIL_AT_LEAST = 1_200.0
_TAIL_AT_MOST = 7 * _HOUR
_DUE_SINCE = dt.timedelta(minutes=15)
_ASLEEP = frozenset({AgentStatus.EXHAUSTED, AgentStatus.OFFLINE})


class Run:
    """A world in motion."""

    def __init__(
        self,
        *,
        calendar: "Calendar",
        clock: FakeClock,
        dice: Dice,
        agent_ids: Sequence[str],
        faults: Faults,
        behaviours: Mapping[Behaviour, float],
        config: SchedulerConfig,
        folder: Path,
        claims: bool,
        pace: tuple[float, float],
    ) -> None:
        self.history = Recorder(clock)
        self.counts: Counter[str] = Counter()
        self._calendar = calendar
        self._clock = clock
        self._dice = dice
        self._agent_ids = list(agent_ids)
        self._faults = faults
        self._backend = Backend(calendar, clock, faults, dice, self.history)
        self._agents = Agents(
            clock, dice, self.history, behaviours=behaviours, pace=pace, scheduler=lambda: self._process.scheduler
        )
        self._process = Process(
            path=folder / "journal",
            clock=clock,
            backend=self._backend,
            faults=faults,
            dice=dice,
            history=self.history,
            config=dataclasses.replace(config, history_size=4_096),
            agents=lambda: self._agents,
            lister=lambda: [Agent(id=agent_id) for agent_id in self._agent_ids],
            claims=claims,
        )
        self._is_healthy = False
        self._is_calm = not faults.kinds and config.misfire_grace is None
        self._patience = max(_DUE_SINCE, 3 * dt.timedelta(seconds=config.heartbeat_interval))

    # --- a day ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Switch our process on."""
        self._process.start()

    def kill(self, deaths: Mapping[str, dt.time], midnight: dt.datetime) -> None:
        """Plan deaths for good, at times of the day that begins at midnight."""
        for agent_id, when in sorted(deaths.items()):
            at = dt.datetime.combine(midnight.date(), when, dt.UTC)
            delay = max(0.0, (at - self._clock.now()).total_seconds())
            self._clock.call_later(delay, lambda agent_id=agent_id: self._agents.die(agent_id, for_good=True))  # type: ignore[misc] # a default binds it

    def work(self, seconds: float) -> None:
        """Let a stretch of time pass in which things go wrong."""
        self._plan_faults(seconds)
        left = seconds
        while left > 0:
            self._clock.advance(min(_LOOK_EVERY, left))
            left -= _LOOK_EVERY
            self.look()

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self._is_healthy = self._agents.is_healthy = True
        self._backend.heal()
        self._process.heal()
        self.history.add(EventKind.HEALED)
        self._agents.come_back_all()

    def fall_ill(self) -> None:
        """Let things go wrong again."""
        self._is_healthy = self._agents.is_healthy = self._backend.is_healthy = False
        self._process.fall_ill()
        self.history.add(EventKind.FELL_ILL)

    def rest(self, most: float = _TAIL_AT_MOST) -> None:
        """Let time pass until there is nothing more to do, or for as long as all leases could take."""
        passed = 0.0
        while passed < most:
            self._clock.advance(_QUIET_EVERY)
            passed += _QUIET_EVERY
            if passed >= _TAIL_AT_LEAST and self._is_quiet():
                break
        self.look()

    def sleep(self, seconds: float) -> None:
        """Let our process be down for so long, and come back."""
        self._process.stop_for(seconds - 1.0, "night")
        self._clock.advance(seconds)

    def end(self) -> None:
        """Stop our process in good order, and add up."""
        self._process.end()
        self.counts["crashes"] = self._process.crashes
        self.counts["replaced_wakes"] = self._agents.replaced
        for counts in (self._backend.counts, self._process.host_counts):
            self.counts.update(counts)
        for event in self.history.events:
            if event.kind is EventKind.WAKE_ENTERED:
                self.counts["reminders" if event.details["reminder"] else "wakes"] += 1
            elif event.kind is EventKind.ANSWERED and event.details["outcome"] == "accepted":
                self.counts[f"{event.details['what']} accepted"] += 1
            elif event.kind is EventKind.CRASHED:
                self.counts[f"crash at {event.details['point']}"] += 1

    # --- what goes wrong --------------------------------------------------------------------------------------------

    def _plan_faults(self, span: float) -> None:
        acts = {
            "crashes": self._process.arm,
            "outages": self._outage,
            "forgotten_writes": self._backend.forget_next_write,
            "clock_jumps": self._jump,
            "agent_deaths": self._death,
            "user_changes": self._change,
        }
        for kind, act in acts.items():
            for moment in self._dice.times(kind, getattr(self._faults, kind), span):
                self._clock.call_later(moment, lambda act=act: None if self._is_healthy else act())  # type: ignore[misc] # a default binds it

    def _outage(self) -> None:
        self._backend.begin_outage(self._dice.of("outages").choice([20.0, 90.0, 240.0, 900.0]))

    def _jump(self) -> None:
        seconds = round(self._dice.of("clock").uniform(-600.0, 600.0), 1)
        self._clock.jump(seconds)
        self.counts["clock_jumps"] += 1
        self.history.add(EventKind.CLOCK_SET, seconds=seconds)

    def _death(self) -> None:
        random = self._dice.of("deaths")
        agent_id = random.choice(self._agent_ids)
        self._agents.die(agent_id)
        self.counts["agent_deaths"] += 1
        self._clock.call_later(random.uniform(60.0, 5_400.0), lambda: self._agents.come_back(agent_id))

    def _change(self) -> None:
        agent_id, slot, details = world.change(self._calendar, self._dice, self._agent_ids, self._clock.now())
        self._backend.changed()
        if slot:
            self.counts["user_changes"] += 1
            self.history.add(EventKind.CHANGED, agent_id, slot, **details)

    # --- looking ----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Write down the sums, while somebody is there to tell them."""
        scheduler = self._process.scheduler
        delivery = None if scheduler is None else scheduler.status().delivery
        if scheduler is not None and delivery is not None:
            self.history.add(
                EventKind.LOOKED,
                accepted=delivery.accepted,
                delivered=delivery.delivered,
                pending=delivery.pending,
                dead=delivery.dead,
                is_balanced=scheduler.account().is_balanced,
            )
        if scheduler is not None and self._is_calm:
            self._look_at_the_free({active.agent_id for active in scheduler.status().active})

    def _look_at_the_free(self, busy: set[str]) -> None:
        """Write down what is due for agents that are free: where nothing goes wrong there is no such slot."""
        awake = {agent.id for agent in self._calendar.agents() if agent.status not in _ASLEEP}
        for agent_id in self._agent_ids:
            if agent_id in awake - busy and self._lives(agent_id):
                for slot in self._today(agent_id):
                    if slot.status.is_pending and self._is_due(slot, self._patience):
                        self.history.add(EventKind.WAITED, agent_id, name_of(slot))

    def _is_quiet(self) -> bool:
        scheduler = self._process.scheduler
        if scheduler is None or not self._agents.is_quiet:
            return False
        status = scheduler.status()
        if status.active or (status.delivery is not None and status.delivery.pending):
            return False
        return not any(
            self._is_due(slot)
            for agent_id in self._agent_ids
            for slot in self._today(agent_id)
            if self._lives(agent_id)
        )

    def _lives(self, agent_id: str) -> bool:
        return self._agents.is_alive(agent_id)

    def _today(self, agent_id: str) -> tuple[Slot, ...]:
        return self._calendar.day(agent_id, self._clock.now().date(), everything=True)

    def _is_due(self, slot: Slot, since: dt.timedelta = dt.timedelta()) -> bool:
        now = self._clock.now()
        due = due_at(slot, now)
        return not world.is_over(slot) and due is not None and due + since <= now

    def close_day(self, dates: Sequence[dt.date]) -> None:
        """Write down what the end is like: of every slot, and as a whole."""
        scheduler, journal = self._process.scheduler, self._process.journal
        if scheduler is None or journal is None:
            self.history.add(EventKind.OVER, active="our process is not there", pending=0)
            return
        status = scheduler.status()
        late = {key for entry in status.history if entry.late for key in (str(entry.key), entry.ident)}
        told = {(letter.agent_id, letter.address): letter for letter in journal.letters(LetterState.DELIVERED)}
        refused = () if status.delivery is None else status.delivery.dead_letters
        dead = {(letter.agent_id, str(letter.key.id)) for letter in refused if letter.status is SlotStatus.FINISHED}
        for agent_id in self._agent_ids:
            for date in dates:
                for slot in self._calendar.day(agent_id, date, everything=True):
                    self._close(agent_id, slot, late, dead, told.get((agent_id, slot.key)))
        self.history.add(
            EventKind.OVER,
            active=", ".join(f"{active.agent_id} at {active.ident}" for active in status.active),
            pending=0 if status.delivery is None else status.delivery.pending,
        )

    def _close(
        self, agent_id: str, slot: Slot, late: set[str], dead: set[tuple[str, str]], letter: Letter | None
    ) -> None:
        names = {str(key.id) for key in slot.keys}
        self.history.add(
            EventKind.ENDED,
            agent_id,
            name_of(slot),
            status=str(slot.status),
            is_due=slot.date == self._clock.now().date() and self._is_due(slot, _DUE_SINCE),
            is_live=self._lives(agent_id),
            is_late=not names.isdisjoint(late),
            is_dead=any((agent_id, name) in dead for name in names),
            told=None if letter is None else str(letter.update.status),
        )
