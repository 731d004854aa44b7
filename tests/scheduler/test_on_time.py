"""Wakes when their slots are due, and heartbeats that do not all come at once."""

import datetime as dt
from collections.abc import Callable

import pytest

from harborcal import (
    Agent,
    AgentStatus,
    CalendarRefusedError,
    Heartbeat,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotUpdate,
    UpdateReceipt,
    WakeRequest,
)
from harborcal.errors import CalendarUnavailableError
from harborcal.testing import FakeClock, InMemoryCalendar
from harborcal.transport import Transport
from tests.world import World

JUST = 0.1
"""Seconds after its time in which a wake counts as on time: the clock is a fake, and nothing takes time."""


class Told:
    """When what happened, in seconds from the beginning."""

    def __init__(self, world: World) -> None:
        self.wakes: list[float] = []
        self.beats: list[float] = []
        begin = world.clock.monotonic()
        world.host.on_wake = lambda _: self.wakes.append(round(world.clock.monotonic() - begin, 1))
        world.calendar.before_heartbeat = lambda _: self.beats.append(round(world.clock.monotonic() - begin, 1))


def started(*agents: str, **options: object) -> tuple[World, Told]:
    world = World(*agents, **options)  # type: ignore[arg-type]
    return world, Told(world)


# --- the next due instant -------------------------------------------------------------------------------------------


def test_a_slot_that_is_listed_before_its_time_is_woken_for_at_its_time() -> None:
    world, told = started()
    world.add(**world.at(47))
    world.scheduler.start()
    world.clock.advance(46.9)
    assert told.wakes == []
    world.clock.advance(JUST + 0.1)
    assert told.wakes == [47.0]


def test_it_costs_one_heartbeat_more_and_leaves_the_cadence_as_it_is() -> None:
    world, told = started()
    world.add(**world.at(47))
    world.scheduler.start()
    world.clock.advance(95)
    assert told.beats == [0.0, 30.0, 47.0, 60.0, 90.0]


def test_each_of_several_slots_has_its_time() -> None:
    world = World(on_wake=lambda wake: wake.report.complete())
    for seconds in (7, 12, 61):
        world.add(**world.at(seconds))
    begin = world.clock.now()
    world.scheduler.start()
    world.clock.advance(70)
    ended = [(entry.resolved_at - begin).total_seconds() for entry in world.scheduler.status().history]
    assert [round(seconds) for seconds in ended] == [7, 12, 61]


@pytest.mark.parametrize("change", ["cancelled", "moved", "given to nobody"])
def test_it_is_looked_at_again_before_the_wake(change: str) -> None:
    world, told = started()
    key = world.add(**world.at(20))
    world.scheduler.start()
    world.clock.advance(15)
    if change == "cancelled":
        world.calendar.cancel(key)
    elif change == "moved":
        world.calendar.set_slot(key, **world.at(25))  # 40 s after the beginning
    else:
        world.agents.clear()
        world.scheduler.tick()
    world.clock.advance(20)
    assert told.wakes == []
    world.clock.advance(10)
    assert told.wakes == ([40.0] if change == "moved" else [])


def test_who_cannot_be_woken_then_is_not_looked_at_then() -> None:
    world, told = started("busy", "asleep")
    world.add("busy")
    world.calendar.set_agent_status("asleep", AgentStatus.EXHAUSTED)
    for name in ("busy", "asleep"):
        world.add(name, **world.at(47))
    world.scheduler.start()
    world.clock.advance(59)
    assert told.beats == [0.0, 0.0, 30.0, 30.0]


class Standing(FakeClock):
    """A clock whose wall time stands still."""

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 5, 9, 0, 0, 995_000, tzinfo=dt.UTC)


def test_a_slot_that_is_about_to_be_due_for_ever_brings_no_burst() -> None:
    world = World(clock=Standing())
    world.add(**world.at(1))
    world.scheduler.start()
    world.clock.advance(10)
    assert len(world.calendar.heartbeats) <= 201


def test_nobody_is_looked_at_early_because_another_is_asked() -> None:
    world, beats = fleet(9)
    world.scheduler.start()
    world.clock.advance(0)
    second = 30 * 0.618034  # when the second one is asked first
    world.add("a000", date=world.clock.now().date(), scheduled_at="09:00:19")
    world.scheduler.tick()
    beats.clear()
    world.clock.jump(19 - second - 0.1)  # its slot is due a tenth of a second after that
    world.scheduler.tick()
    beats.clear()
    world.clock.advance(20)
    assert [round(at, 1) for at, agent in beats if agent == "a000"] == [round(second + 0.1, 1)]


# --- clocks that are set --------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_delays_the_wake_and_brings_no_burst() -> None:
    world, told = started()
    world.add(**world.at(20))
    world.scheduler.start()
    world.clock.advance(10)
    world.clock.jump(-600)
    world.clock.advance(600)
    assert told.wakes == []
    world.clock.advance(11)
    assert told.wakes == [620.0]
    assert len(told.beats) == 620 // 30 + 1 + 2, "its time by the old clock, and by the new one"


def test_a_suspend_is_followed_by_a_fresh_look_at_each_agent_and_no_burst() -> None:
    names = [f"a{number:02}" for number in range(60)]
    world, told = started(*names)
    for number, name in enumerate(names):
        world.add(name, **world.at(600 + 60 * number))
    world.scheduler.start()
    world.clock.advance(60)
    before = len(told.beats)
    world.clock.jump(3 * 3600)  # the machine slept: the monotonic clock stood still
    world.clock.advance(1)
    assert len(told.beats) - before <= 60 / 30 + 2
    world.clock.advance(30)
    assert len(told.wakes) == 60
    assert len(told.beats) - before <= 64


# --- days -----------------------------------------------------------------------------------------------------------


class Days:
    """Counts and answers questions for days."""

    def __init__(self, inner: InMemoryCalendar) -> None:
        self.inner = inner
        self.asked: list[tuple[str, dt.date]] = []
        self.trouble: Exception | None = None
        self.delay = dt.timedelta()
        """How much later than it should this calendar lists what is due."""

    def heartbeat(self, agent_id: str) -> Heartbeat:
        answer = self.inner.heartbeat(agent_id)
        now = self.inner._clock.now() - self.delay
        listed = tuple(
            slot
            for slot in answer.slots
            if slot.date is not None
            and slot.scheduled_at is not None
            and dt.datetime.combine(slot.date, slot.scheduled_at, dt.UTC) <= now
        )
        return Heartbeat(slots=listed, agent_status=answer.agent_status)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        return self.inner.update_slot(agent_id, slot, update)

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        self.asked.append((agent_id, date))
        if self.trouble is not None:
            raise self.trouble
        return self.inner.day(agent_id, date)

    def close(self) -> None:
        self.inner.close()


def late_listing(*agents: str, clock: dt.datetime | None = None) -> tuple[World, Told, Days]:
    """A calendar whose heartbeats list only what is due."""
    made: list[Days] = []

    def wrap(calendar: InMemoryCalendar) -> Transport:
        made.append(Days(calendar))
        return made[0]

    world = World(*agents, wrap=wrap, clock=FakeClock(clock) if clock is not None else None)
    return world, Told(world), made[0]


def test_where_heartbeats_tell_only_what_is_due_the_day_tells_what_comes() -> None:
    world, told, days = late_listing()
    world.add(**world.at(47))
    world.scheduler.start()
    world.clock.advance(48)
    assert told.wakes == [47.0]
    assert len(days.asked) == 1
    world.clock.advance(10)
    assert told.beats == [0.0, 30.0, 47.0]


def test_who_cannot_be_woken_is_not_looked_at_for_what_its_day_tells() -> None:
    world, told, _ = late_listing("busy", "asleep")
    world.add("busy")
    world.calendar.set_agent_status("asleep", AgentStatus.EXHAUSTED)
    for name in ("busy", "asleep"):
        world.add(name, **world.at(47))
    world.scheduler.start()
    world.clock.advance(59)
    assert told.beats == [0.0, 0.0, 30.0, 30.0]


def test_a_day_is_asked_for_now_and_then_and_shows_what_was_added() -> None:
    world, told, days = late_listing("a", "b")
    world.scheduler.start()
    world.clock.advance(600)
    assert sorted(agent for agent, _ in days.asked) == ["a", "b"]
    world.add("a", **world.at(400))
    world.clock.advance(401)
    assert told.wakes == [1000.0]
    assert len(days.asked) == 4


def test_a_calendar_that_lists_what_is_not_due_is_asked_for_no_day() -> None:
    made: list[Days] = []

    def wrap(calendar: InMemoryCalendar) -> Transport:
        made.append(Days(calendar))
        made[0].heartbeat = calendar.heartbeat  # type: ignore[method-assign]
        return made[0]

    world = World("a", "b", wrap=wrap)
    world.add("a", **world.at(5_000))
    world.scheduler.start()
    world.clock.advance(4_000)
    assert made[0].asked == []


@pytest.mark.parametrize(
    ("trouble", "asked"),
    [
        (CalendarRefusedError(404, "Not Found"), 1),
        (CalendarRefusedError(405, "Method Not Allowed"), 1),
        (CalendarUnavailableError("busy", 503), 4),
        (RuntimeError("odd"), 4),
    ],
)
def test_a_calendar_that_tells_no_day_is_seldom_asked_and_heartbeats_go_on(trouble: Exception, asked: int) -> None:
    world, told, days = late_listing()
    days.trouble = trouble
    world.add(**world.at(3_605))
    world.scheduler.start()
    world.clock.advance(3_604)
    assert len(days.asked) == asked
    world.clock.advance(100)
    assert told.wakes == [3_630.0], "with the next heartbeat then"


@pytest.mark.parametrize("refusal", [CalendarRefusedError(404, "Agent not found"), CalendarRefusedError(403, "no")])
def test_what_is_refused_for_one_agent_keeps_no_other_from_its_day(refusal: CalendarRefusedError) -> None:
    world, told, days = late_listing("unknown", "dev")
    tell = days.day

    def day(agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        if agent_id == "unknown":
            raise refusal
        return tell(agent_id, date)

    days.day = day  # type: ignore[method-assign]
    world.add("dev", **world.at(47))
    world.scheduler.start()
    world.clock.advance(48)
    assert told.wakes == [47.0]


def test_a_slot_that_the_calendar_lists_a_moment_late_is_looked_for_once_more() -> None:
    world, told, days = late_listing()
    days.delay = dt.timedelta(seconds=1)
    world.add(**world.at(47))
    world.scheduler.start()
    world.clock.advance(59)
    assert told.wakes == [49.0]
    assert told.beats == [0.0, 30.0, 47.0, 49.0]


@pytest.mark.parametrize("lists_ahead", [False, True])
def test_a_slot_of_the_first_minute_of_a_day_is_on_time_too(*, lists_ahead: bool) -> None:
    world, _, days = late_listing(clock=dt.datetime(2026, 1, 5, 23, 30, 7, tzinfo=dt.UTC))
    if lists_ahead:
        days.heartbeat = world.calendar.heartbeat  # type: ignore[method-assign]
        world.add(**world.at(600))
        world.host.on_wake = lambda wake: wake.report.complete()
    world.scheduler.start()
    world.clock.advance(300)
    key = world.calendar.add_slot("dev", date="2026-01-06", scheduled_at="00:00:11")
    world.clock.advance(30 * 60 - 7 + 11 - 300)
    assert world.state(key).value == "not_started"
    world.clock.advance(JUST)
    assert world.state(key).value in {"ongoing", "finished"}


# --- a fleet --------------------------------------------------------------------------------------------------------


def fleet(count: int, **config: object) -> tuple[World, list[tuple[float, str]]]:
    world = World(*[f"a{number:03}" for number in range(count)], config=SchedulerConfig(seed=1, **config))  # type: ignore[arg-type]
    begin, beats = world.clock.monotonic(), []
    world.calendar.before_heartbeat = lambda agent: beats.append((world.clock.monotonic() - begin, agent))
    return world, beats


def test_a_fleet_that_starts_together_does_not_ask_together() -> None:
    world, beats = fleet(200)
    world.scheduler.start()
    world.clock.advance(29.5)
    first = {agent: at for at, agent in beats}
    assert 190 <= len(beats) == len(first)
    tenths = [sum(begin <= at < begin + 3 for at in first.values()) for begin in range(0, 27, 3)]
    assert all(18 <= count <= 22 for count in tenths), tenths
    world.clock.advance(0.5)
    first = {agent: first.get(agent, at) for at, agent in beats}
    assert len(first) == 200
    beats.clear()
    world.clock.advance(30)
    assert len(beats) == 200
    assert all(abs((at - first[agent] + 15) % 30 - 15) <= 0.25 for at, agent in beats), "and steadily so"


@pytest.mark.parametrize(("count", "config"), [(8, {}), (200, {"spread": False})])
def test_a_handful_asks_at_once_and_so_does_a_fleet_that_is_told_to(count: int, config: dict[str, bool]) -> None:
    world, beats = fleet(count, **config)
    world.scheduler.start()
    world.clock.advance(0)
    assert len(beats) == count


def test_one_who_joins_a_fleet_is_asked_at_once() -> None:
    world, beats = fleet(200)
    world.scheduler.start()
    world.clock.advance(31)
    beats.clear()
    world.calendar.add_agent("new")
    world.agents.append(Agent(id="new"))
    world.clock.advance(29)
    assert [at for at, agent in beats if agent == "new"] == [60.0]


def test_a_tick_asks_everybody_at_once_and_changes_nobodys_turn() -> None:
    world, beats = fleet(50)
    world.scheduler.start()
    world.clock.advance(29.5)
    first = {agent: at for at, agent in beats}
    beats.clear()
    world.scheduler.tick()
    assert len(beats) == 50
    beats.clear()
    world.clock.advance(30)
    assert all(abs(at - first[agent] - 30) <= 0.25 for at, agent in beats if agent in first)


def test_a_large_fleet_is_served_in_few_turns() -> None:
    world, beats = fleet(2_000)
    world.scheduler.start()
    world.clock.advance(30)
    assert len({agent for _, agent in beats}) == 2_000
    assert len({at for at, _ in beats}) <= 122


def test_the_load_of_an_outage_is_never_above_the_steady_one() -> None:
    world, beats = fleet(100)
    for number in range(100):
        world.add(f"a{number:03}", **world.at(40 + number))  # everybody is also to be looked at once
    world.scheduler.start()
    world.clock.advance(30)
    world.calendar.fail_next(CalendarUnavailableError("down", 503), times=1_000_000)
    beats.clear()
    world.clock.advance(300)
    steady = 100 * 300 / 30
    assert len(beats) <= steady


def wake_lateness(wake: WakeRequest, now: Callable[[], dt.datetime]) -> float:
    assert wake.slot.date is not None
    assert wake.slot.scheduled_at is not None
    return (now() - dt.datetime.combine(wake.slot.date, wake.slot.scheduled_at, dt.UTC)).total_seconds()


def test_everybody_of_a_fleet_is_woken_on_time() -> None:
    world, _ = fleet(300)
    late: list[float] = []
    world.host.on_wake = lambda wake: late.append(wake_lateness(wake, world.clock.now))
    for number in range(300):
        world.add(f"a{number:03}", **world.at(45 + number * 7 % 120))
    world.scheduler.start()
    world.clock.advance(200)
    assert len(late) == 300
    assert 0 <= min(late) <= max(late) <= JUST
