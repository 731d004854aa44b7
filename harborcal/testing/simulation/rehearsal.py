"""What a rehearsal has shown."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping

from harborcal.model import SlotStatus
from harborcal.testing.simulation.checker import Violation
from harborcal.testing.simulation.history import Event

LATE_AFTER = 600.0
"""Seconds after its time at which a slot counts as started late."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotStory:
    """What became of one slot in a rehearsal.

    Attributes:
        agent_id: Whose.
        slot: Its virtual id where a plan yields it, else its real id in decimal.
        due_at: When it was to begin, by the calendar's word in the end.
        minutes: Its estimate.
        priority: Its priority.
        status: How it ended.
        woken_at: When its agent was first woken for it; None for never.
        wakes: How often its agent was woken for it, reminders not counted.
        ended_at: When the calendar was told its end, if it was.
        behind: The slots that its agent was woken for while it waited.
    """

    agent_id: str
    slot: str
    due_at: dt.datetime
    minutes: int
    priority: int
    status: SlotStatus
    woken_at: dt.datetime | None = None
    wakes: int = 0
    ended_at: dt.datetime | None = None
    behind: tuple[str, ...] = ()

    @property
    def delay(self) -> float | None:
        """Seconds from its time to its first wake; None where it was never woken."""
        return None if self.woken_at is None else (self.woken_at - self.due_at).total_seconds()

    @property
    def is_late(self) -> bool:
        """Whether it began more than ten minutes after its time."""
        return self.delay is not None and self.delay > LATE_AFTER

    @property
    def is_starved(self) -> bool:
        """Whether its time came and its agent was never woken for it."""
        return self.woken_at is None and self.status.is_pending


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentStory:
    """One agent's part in a rehearsal.

    Attributes:
        agent_id: Who.
        slots: What became of each of its slots, by time.
        died_at: When it died for good, if it did.
    """

    agent_id: str
    slots: tuple[SlotStory, ...] = ()
    died_at: dt.datetime | None = None

    @property
    def planned(self) -> int:
        """Minutes of work in its calendar."""
        return sum(slot.minutes for slot in self.slots)

    @property
    def room(self) -> int:
        """Minutes from the begin of its first slot to the end of its last one."""
        if not self.slots:
            return 0
        first = min(slot.due_at for slot in self.slots)
        last = max(slot.due_at + dt.timedelta(minutes=slot.minutes) for slot in self.slots)
        return int((last - first).total_seconds() // 60)

    @property
    def is_overbooked(self) -> bool:
        """Whether there is more work than time for it."""
        return self.planned > self.room

    @property
    def late(self) -> tuple[SlotStory, ...]:
        """The slots that began late."""
        return tuple(slot for slot in self.slots if slot.is_late)

    @property
    def starved(self) -> tuple[SlotStory, ...]:
        """The slots that never began."""
        return tuple(slot for slot in self.slots if slot.is_starved)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a rehearsal has shown.

    Attributes:
        seed: What it was drawn from: the same arguments and the same seed give the same events.
        started_at: When it began, by the wall clock of the rehearsal.
        days: How many days it took.
        events: All that happened (see `Event`).
        violations: What must never be, and was; empty is good.
        counts: How often what happened: wakes, reports accepted, crashes, faults by kind.
        agents: What became of each agent's slots.
    """

    seed: int
    started_at: dt.datetime
    days: int
    events: tuple[Event, ...]
    violations: tuple[Violation, ...]
    counts: Mapping[str, int]
    agents: tuple[AgentStory, ...]
    shorter: Callable[[], Iterator["Rehearsal"]] | None = dataclasses.field(default=None, repr=False, compare=False)

    def shrink(self) -> "Rehearsal":
        """Find a simpler rehearsal that breaks the same rule: with fewer kinds of faults, days or agents.

        Without a violation, or where nothing simpler shows it, it is this one.
        """
        if not self.violations or self.shorter is None:
            return self
        rule = self.violations[0].rule
        for simpler in self.shorter():
            if any(violation.rule == rule for violation in simpler.violations):
                return simpler.shrink()
        return self

    def report(self) -> str:
        """Tell in plain text who is overbooked, what starts late or never, and what went wrong."""
        lines = [f"{self.days} day(s) from {self.started_at:%Y-%m-%d %H:%M} UTC, seed {self.seed}"]
        for agent in self.agents:
            lines += _told(agent)
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()) if count)
        lines.append(f"in numbers: {faults or 'nothing happened'}")
        lines += ["violations: none"] if not self.violations else [f"violations: {len(self.violations)}"]
        lines += [str(violation) for violation in self.violations[:3]]
        return "\n".join(lines)

    def __str__(self) -> str:
        """Say the whole in a line, and every violation with its story."""
        wakes = self.counts.get("wakes", 0)
        head = f"seed {self.seed}: {self.days} day(s), {wakes} wakes, {self.counts.get('crashes', 0)} crashes, "
        return "\n".join((head + f"{len(self.violations)} violations", *map(str, self.violations)))


def _told(agent: AgentStory) -> list[str]:
    state = "overbooked" if agent.is_overbooked else "has time"
    lines = [f"{agent.agent_id}: {len(agent.slots)} slots, {agent.planned} of {agent.room} minutes, {state}"]
    if agent.died_at is not None:
        lines.append(f"  dies at {agent.died_at:%H:%M}")
    for slot in agent.slots:
        behind = f", behind {', '.join(slot.behind)}" if slot.behind else ""
        when = f"  {slot.due_at:%H:%M} {slot.slot} (priority {slot.priority})"
        if slot.is_starved:
            lines.append(f"{when} never begins{behind}")
        elif slot.is_late:
            lines.append(f"{when} begins {(slot.delay or 0.0) / 60:.0f} minutes late{behind}")
        elif slot.status in {SlotStatus.ABORTED, SlotStatus.PAUSED, SlotStatus.ONGOING} or slot.wakes > 1:
            lines.append(f"{when} is {slot.status} in the end, after {slot.wakes} wake(s)")
    return lines
