"""The door: arguments in, a rehearsal out."""

import contextlib
import dataclasses
import datetime as dt
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from harborcal.errors import ConfigurationError
from harborcal.grammar import clean
from harborcal.model import SchedulerConfig, Slot, SlotStatus
from harborcal.policy import due_at
from harborcal.testing.clocks import MONDAY_MORNING, FakeClock
from harborcal.testing.simulation.backend import name_of
from harborcal.testing.simulation.checker import check
from harborcal.testing.simulation.faults import MIXED, STEADY, Behaviour, Dice, Faults
from harborcal.testing.simulation.history import Event, EventKind
from harborcal.testing.simulation.rehearsal import AgentStory, Rehearsal, SlotStory

if TYPE_CHECKING:
    from harborcal.calendar import Calendar
    from harborcal.testing.simulation.run import Run

DRAWN_CONFIG = SchedulerConfig(heartbeat_interval=110.0, lease=600.0)
"""How schedulers are set in drawn worlds: fewer heartbeats and shorter leases than usual make a day quick."""

_DAY = dt.timedelta(days=1)
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - where it is, files in it cost no disk


def simulate(
    calendar: "Calendar | Path | str | None" = None,
    *,
    days: int = 1,
    agents: int | Iterable[str] | None = None,
    seed: int = 0,
    faults: Faults | None = None,
    config: SchedulerConfig | None = None,
    start: dt.datetime | None = None,
    behaviours: Mapping[Behaviour, float] | None = None,
) -> Rehearsal:
    """Rehearse days of agents at work, in a moment, in this thread: the real scheduler, outbox, journal and calendar.

    Time, agents, hosts and what goes wrong are modelled, and drawn from the seed: the same arguments give the same
    rehearsal, event by event. What happens is written down at the doors and checked against rules that know nothing
    of the code (see `check`).

    **Without a calendar** the world is drawn: some agents with slots and plans, and everything goes wrong now and then.
    A day is six working hours from eight, in which all its slots come due, then a healed tail of 20 minutes to seven
    hours, until nothing is left to do; between days our process is down.

    **With a calendar** a copy of it in memory is rehearsed, and the original only read. Nothing goes wrong but what
    ``faults`` say, and agents finish what they are woken for. A day is 24 hours; its tail goes on for at most three.

    Args:
        calendar: A calendar of yours, or its path or URL; None for a drawn one.
        days: How many days, one after the other.
        agents: How many agents to draw, five by default; or which of the calendar's to rehearse, all by default.
        seed: What everything is drawn from.
        faults: What goes wrong: `Faults.all` in a drawn world, nothing in yours, unless said.
        config: The scheduler's settings; in a drawn world a heartbeat every 110 s, leases from ten minutes, and the
            rest drawn by default.
        start: When to begin, aware; the coming midnight (UTC) of the calendar's clock by default.
        behaviours: What agents do with wakes, each with its weight: `MIXED` in a drawn world, else `STEADY`.

    Raises:
        ConfigurationError: An argument makes no sense.
        CalendarError: The calendar cannot be read.
        MissingExtraError: The extra ``calendar`` is not installed.
    """
    if type(days) is not int or not 1 <= days <= 366:
        raise ConfigurationError(f"days is a whole number in 1..366, not {days!r}")
    if type(seed) is not int:
        raise ConfigurationError(f"seed is a whole number, not {seed!r}")
    is_drawn = calendar is None
    _check(faults=faults, config=config, start=start, behaviours=behaviours)
    wish = _Wish(
        days=days,
        agents=agents if agents is None or isinstance(agents, int | str) else list(agents),
        seed=seed,
        faults=faults or (Faults.all() if is_drawn else Faults()),
        config=config or (DRAWN_CONFIG if is_drawn else SchedulerConfig()),
        start=start,
        behaviours=behaviours or (MIXED if is_drawn else STEADY),
    )
    return _draw(wish) if calendar is None else _copy(calendar, wish)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wish:
    """What `simulate` was asked for."""

    days: int
    agents: int | Iterable[str] | None
    seed: int
    faults: Faults
    config: SchedulerConfig
    start: dt.datetime | None
    behaviours: Mapping[Behaviour, float]

    def call(self, *, is_drawn: bool) -> str:
        """Write the call that asks for the same."""
        usual = dataclasses.replace(
            self,
            days=1,
            agents=None,
            faults=Faults.all() if is_drawn else Faults(),
            config=DRAWN_CONFIG if is_drawn else SchedulerConfig(),
            start=None,
            behaviours=MIXED if is_drawn else STEADY,
        )
        arguments = [] if is_drawn else ["calendar"]
        arguments.append(f"seed={self.seed}")
        for name in ("days", "agents", "faults", "config", "start", "behaviours"):
            value = getattr(self, name)
            if value != getattr(usual, name):
                arguments.append(f"{name}={dict(value) if isinstance(value, Mapping) else value!r}")
        return f"simulate({', '.join(arguments)})"


def _check(*, faults: object, config: object, start: object, behaviours: object) -> None:
    """Refuse what is no argument, in words.

    Raises:
        ConfigurationError: One is not what it should be.
    """
    for name, value, kind in (("faults", faults, Faults), ("config", config, SchedulerConfig)):
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(f"{name} is a {kind.__name__}, not {type(value).__name__}")
    if start is not None and (not isinstance(start, dt.datetime) or start.tzinfo is None):
        raise ConfigurationError(f"start is an aware instant, not {start!r}")
    if behaviours is None:
        return
    if not isinstance(behaviours, Mapping) or not behaviours:
        raise ConfigurationError("behaviours say how often agents behave in which way: {Behaviour.FINISH: 3.0, ...}")
    for kind_of, weight in behaviours.items():
        if not isinstance(kind_of, Behaviour):
            raise ConfigurationError(f"an agent's behaviour is a Behaviour, not {kind_of!r}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ConfigurationError(f"the weight of {kind_of} is a number of 0 or more, not {weight!r}")
    if not sum(behaviours.values()):
        raise ConfigurationError("behaviours without any weight say nothing")


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as name:
        yield Path(name)


# --- drawn worlds ---------------------------------------------------------------------------------------------------


def _draw(wish: _Wish) -> Rehearsal:
    from harborcal.testing.simulation import world
    from harborcal.testing.simulation.run import Run

    count = 5 if wish.agents is None else wish.agents
    if type(count) is not int or not 1 <= count <= 1_000:
        raise ConfigurationError(f"agents is how many to draw, in 1..1000, not {wish.agents!r}")
    dice = Dice(wish.seed)
    morning = (wish.start or MONDAY_MORNING).astimezone(dt.UTC).replace(hour=7, minute=55, second=0, microsecond=0)
    clock = FakeClock(morning)
    variety = dice.of("variety")
    claims = variety.random() < 0.8
    chosen = _varied(variety) if wish.config is DRAWN_CONFIG else wish.config
    with contextlib.closing(world.draw(clock, dice, count, wish.days)) as drawn, _folder() as folder:
        agent_ids = [agent.id for agent in drawn.agents()]
        run = Run(
            calendar=drawn,
            clock=clock,
            dice=dice,
            agent_ids=agent_ids,
            faults=wish.faults,
            behaviours=wish.behaviours,
            config=chosen,
            folder=folder,
            claims=claims,
            pace=(0.3, 1.3),
        )
        _check_deaths(wish.faults, agent_ids)
        run.kill(wish.faults.deaths, morning)
        run.start()
        for day in range(wish.days):
            run.work(300.0 + world.HOURS * 3600.0)
            run.heal()
            run.rest()
            run.close_day([clock.now().date()])
            if day + 1 < wish.days:
                run.sleep((morning + _DAY * (day + 1) - clock.now()).total_seconds())
                run.fall_ill()
        run.end()
        dates = [morning.date() + _DAY * number for number in range(wish.days)]
        stories = _stories(drawn, agent_ids, dates, run.history.events)

    fewer = [] if count == 1 else [count - 1]
    return _rehearsal(wish, morning, run, stories, lambda: map(_draw, _simpler(wish, fewer)), is_drawn=True)


def _varied(variety: Random) -> SchedulerConfig:
    """Draw what else may be set."""
    return dataclasses.replace(
        DRAWN_CONFIG,
        on_unknown="repeat" if variety.random() < 0.3 else "skip",
        misfire_grace=2_400.0 if variety.random() < 0.2 else None,
    )


# --- calendars that there are ---------------------------------------------------------------------------------------


def _copy(calendar: "Calendar | Path | str", wish: _Wish) -> Rehearsal:
    from harborcal.calendar import Calendar
    from harborcal.clock import SystemClock
    from harborcal.testing.simulation import world
    from harborcal.testing.simulation.run import Run

    now = (calendar.clock if isinstance(calendar, Calendar) else SystemClock()).now()
    begin = wish.start if wish.start is not None else now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
    clock, dice = FakeClock(begin), Dice(wish.seed)
    with contextlib.closing(world.copy_of(calendar, clock)) as copy, _folder() as folder:
        known = [agent.id for agent in copy.agents()]
        agent_ids = _chosen(wish.agents, known)
        run = Run(
            calendar=copy,
            clock=clock,
            dice=dice,
            agent_ids=agent_ids,
            faults=wish.faults,
            behaviours=wish.behaviours,
            config=wish.config,
            folder=folder,
            claims=True,
            pace=(0.9, 1.1),
        )
        _check_deaths(wish.faults, agent_ids)
        run.kill(wish.faults.deaths, clock.now())
        run.start()
        began = clock.now()
        for _ in range(wish.days):
            run.work(_DAY.total_seconds())
        run.heal()
        run.rest(3 * 3600.0)
        dates = _dates(began, wish.days)
        run.close_day(dates)
        run.end()
        stories = _stories(copy, agent_ids, dates, run.history.events)
    fewer = [[one for one in agent_ids if one != gone] for gone in agent_ids] if len(agent_ids) > 1 else []
    return _rehearsal(
        wish,
        began,
        run,
        stories,
        lambda: (_copy(calendar, simpler) for simpler in _simpler(wish, fewer)),
        is_drawn=False,
    )


def _chosen(agents: int | Iterable[str] | None, known: Sequence[str]) -> list[str]:
    if not known:
        raise ConfigurationError("the calendar has no agents: there is nothing to rehearse")
    if agents is None:
        return list(known)
    if agents == []:
        raise ConfigurationError("agents are the ids of those to rehearse, and there is none")
    if isinstance(agents, int | str):
        raise ConfigurationError(f"agents are the ids of those to rehearse, not {agents!r}")
    chosen = list(dict.fromkeys(agents))
    if strangers := [agent_id for agent_id in chosen if agent_id not in known]:
        raise ConfigurationError(f"the calendar knows no agent {', '.join(map(repr, strangers[:3]))}")
    return chosen


def _check_deaths(faults: Faults, agent_ids: Sequence[str]) -> None:
    if strangers := [agent_id for agent_id in faults.deaths if agent_id not in agent_ids]:
        raise ConfigurationError(f"deaths: there is no agent {', '.join(map(repr, strangers[:3]))} in this rehearsal")


def _dates(began: dt.datetime, days: int) -> list[dt.date]:
    """List the dates of a rehearsal; one that does not begin at midnight ends on the date after its last day."""
    last = began + _DAY * days - dt.timedelta(microseconds=1)
    return [began.date() + _DAY * number for number in range((last.date() - began.date()).days + 1)]


# --- simpler ones ---------------------------------------------------------------------------------------------------


def _simpler(wish: _Wish, fewer: Sequence[int | list[str]]) -> Iterator[_Wish]:
    """Leave out one thing at a time: a kind of faults, a day, agents."""
    for kind in wish.faults.kinds:
        yield dataclasses.replace(wish, faults=wish.faults.without(kind))
    if wish.days > 1:
        yield dataclasses.replace(wish, days=wish.days - 1)
    for agents in fewer:
        yield dataclasses.replace(wish, agents=agents)


# --- what became of it ----------------------------------------------------------------------------------------------


def _rehearsal(
    wish: _Wish,
    started_at: dt.datetime,
    run: "Run",
    stories: tuple[AgentStory, ...],
    shorter: Callable[[], Iterator[Rehearsal]],
    *,
    is_drawn: bool,
) -> Rehearsal:
    events = run.history.events
    return Rehearsal(
        seed=wish.seed,
        started_at=started_at,
        days=wish.days,
        events=events,
        violations=tuple(dataclasses.replace(violation, seed=wish.seed) for violation in check(events)),
        counts=dict(run.counts),
        agents=stories,
        call=wish.call(is_drawn=is_drawn),
        shorter=shorter,
    )


def _stories(
    calendar: "Calendar", agent_ids: Sequence[str], dates: Sequence[dt.date], events: Sequence[Event]
) -> tuple[AgentStory, ...]:
    died = {
        event.agent_id: event.at for event in events if event.kind is EventKind.DIED and event.details.get("for_good")
    }
    return tuple(
        AgentStory(
            agent_id=agent_id,
            slots=_slots_of(calendar, agent_id, dates, events),
            died_at=died.get(agent_id),
        )
        for agent_id in agent_ids
    )


def _slots_of(
    calendar: "Calendar", agent_id: str, dates: Sequence[dt.date], events: Sequence[Event]
) -> tuple[SlotStory, ...]:
    own = [event for event in events if event.agent_id == agent_id]
    wakes = [event for event in own if event.kind is EventKind.WAKE_ENTERED and not event.details["reminder"]]
    slots = [slot for date in dates for slot in calendar.day(agent_id, date, everything=True)]
    return tuple(_story_of(agent_id, slot, wakes, own) for slot in slots)


def _story_of(agent_id: str, slot: Slot, wakes: Sequence[Event], own: Sequence[Event]) -> SlotStory:
    name = name_of(slot)
    due = due_at(slot, MONDAY_MORNING) or MONDAY_MORNING
    mine = [wake for wake in wakes if wake.slot == name]
    woken_at = mine[0].at if mine else None
    ends = [event for event in own if event.slot == name and _is_end(event)]
    waited = [wake.slot for wake in wakes if wake.slot != name and _is_between(wake, due, woken_at, own)]
    is_behind = woken_at is None or (woken_at - due).total_seconds() > 0
    data = slot.event_data or {}
    what = next((str(data[key]) for key in ("code", "task_code", "event") if data.get(key)), "")
    was_left_out = not mine and slot.status in {SlotStatus.SKIPPED, SlotStatus.ABORTED}
    return SlotStory(
        agent_id=agent_id,
        slot=name,
        due_at=due,
        minutes=slot.estimated_duration or 0,
        priority=slot.priority,
        status=slot.status,
        woken_at=woken_at,
        wakes=len(mine),
        ended_at=ends[-1].at if ends else None,
        behind=tuple(dict.fromkeys(waited)) if is_behind else (),
        what=clean(what, 60),
        is_missed=was_left_out and bool(ends),
        is_cancelled=was_left_out and not ends,
    )


def _is_between(wake: Event, due: dt.datetime, until: dt.datetime | None, own: Sequence[Event]) -> bool:
    """Tell whether the agent was at another slot while this one waited, from its time until it was woken for."""
    if until is not None and wake.at >= until:
        return False
    if wake.at >= due:
        return True
    after = (event.at for event in own if event.slot == wake.slot and _is_end(event) and event.elapsed >= wake.elapsed)
    end = next(after, None)
    return end is None or end > due


def _is_end(event: Event) -> bool:
    if event.kind is not EventKind.UPDATED or event.details["outcome"] == "refused":
        return False
    return SlotStatus(str(event.details["status"])).is_terminal
