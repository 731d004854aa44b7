"""What a rehearsal has shown."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping

from harborcal.model import SlotStatus
from harborcal.testing.simulation.checker import Violation
from harborcal.testing.simulation.history import Event

_SHOWN = 20
"""How many violations are named."""

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
        behind: The slots that its agent was at, or was woken for, while it waited.
        what: Its code or its event, where it has one.
        is_missed: Whether it was skipped because it was too late, and nobody was woken for it.
        is_cancelled: Whether a user had cancelled it: it is no work.
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
    what: str = ""
    is_missed: bool = False
    is_cancelled: bool = False

    @property
    def ends_at(self) -> dt.datetime:
        """When it was to end."""
        return self.due_at + dt.timedelta(minutes=self.minutes)

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
        """Whether its time came and its agent was never woken for it: it still waits, or was missed."""
        return self.woken_at is None and (self.status.is_pending or self.is_missed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of an agent's time, and the work that is planned to begin and to end in it, in minutes."""

    begins_at: dt.datetime
    ends_at: dt.datetime
    work: int

    @property
    def room(self) -> int:
        """How many minutes it has."""
        return int((self.ends_at - self.begins_at).total_seconds() // 60)


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
        """Minutes of work in its calendar, without what was cancelled."""
        return sum(slot.minutes for slot in self.slots if not slot.is_cancelled)

    @property
    def fullest(self) -> Stretch | None:
        """The stretch of its time that has most work beyond its room, or least room beyond its work."""
        work = sorted((slot for slot in self.slots if not slot.is_cancelled), key=lambda slot: slot.due_at)
        stretches = []
        for index, first in enumerate(work):
            for ends_at in {slot.ends_at for slot in work[index:]}:
                inside = [slot.minutes for slot in work[index:] if slot.ends_at <= ends_at]
                stretches.append(Stretch(begins_at=first.due_at, ends_at=ends_at, work=sum(inside)))
        return max(stretches, key=lambda one: (one.work - one.room, one.room), default=None)

    @property
    def is_overbooked(self) -> bool:
        """Whether there is a stretch with more work than time for it."""
        return self.fullest is not None and self.fullest.work > self.fullest.room

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
        call: The call that shows it again.
    """

    seed: int
    started_at: dt.datetime
    days: int
    events: tuple[Event, ...]
    violations: tuple[Violation, ...]
    counts: Mapping[str, int]
    agents: tuple[AgentStory, ...]
    call: str = ""
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

    def verify(self) -> None:
        """See that nothing was that must never be.

        Raises:
            AssertionError: Something was; it tells the simplest rehearsal that shows it, by its call and its story.
        """
        if self.violations:
            raise AssertionError(str(self.shrink()))

    def report(self) -> str:
        """Tell in plain text who is overbooked, what starts late or never, and what went wrong."""
        lines = [f"{self.days} day(s) from {self.started_at:%Y-%m-%d %H:%M} UTC, seed {self.seed}"]
        at = "%H:%M" if self.days == 1 else "%a %d %H:%M"
        for agent in self.agents:
            lines += _told(agent, at)
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()) if count)
        lines.append(f"in numbers: {faults or 'nothing happened'}")
        lines += ["violations: none"] if not self.violations else [f"violations: {len(self.violations)}"]
        lines += [str(violation) for violation in self.violations[:3]]
        return "\n".join(lines)

    def __str__(self) -> str:
        """Say the whole in a line, tell the story of the first violation, and name the others."""
        wakes = self.counts.get("wakes", 0)
        head = f"{self.call}: {self.days} day(s), {wakes} wakes, {self.counts.get('crashes', 0)} crashes, "
        told = [str(violation) for violation in self.violations[:1]]
        told += [f"{violation.rule}: {violation.text}" for violation in self.violations[1:_SHOWN]]
        more = [f"and {len(self.violations) - _SHOWN} more"] if len(self.violations) > _SHOWN else []
        return "\n".join((head + f"{len(self.violations)} violations", *told, *more))


def _told(agent: AgentStory, at: str) -> list[str]:
    fullest, state = agent.fullest, "has time"
    if fullest is not None and agent.is_overbooked:
        state = f"overbooked: {fullest.work} from {fullest.begins_at:{at}} to {fullest.ends_at:{at}}"
    lines = [f"{agent.agent_id}: {len(agent.slots)} slots, {agent.planned} minutes of work, {state}"]
    if agent.died_at is not None:
        lines.append(f"  dies at {agent.died_at:{at}}")
    for slot in agent.slots:
        behind = f", behind {', '.join(slot.behind)}" if slot.behind else ""
        what = f" {slot.what}" if slot.what else ""
        when = f"  {slot.due_at:{at}} {slot.slot}{what} (priority {slot.priority})"
        if slot.is_starved:
            lines.append(f"{when} {'is missed' if slot.is_missed else 'never begins'}{behind}")
        elif slot.is_late:
            lines.append(f"{when} begins {(slot.delay or 0.0) / 60:.0f} minutes late{behind}")
        elif slot.is_cancelled:
            continue
        elif slot.status in {SlotStatus.ABORTED, SlotStatus.PAUSED, SlotStatus.ONGOING} or slot.wakes > 1:
            lines.append(f"{when} is {slot.status} in the end, after {slot.wakes} wake(s)")
    return lines
