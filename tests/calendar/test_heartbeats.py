"""Many agents heard at once: each is told what it would be told alone, and the batch costs what one costs."""

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harborcal.calendar import Calendar, Owner, Recurrence
from harborcal.calendar.heartbeats import MAX_AGENTS_PER_BATCH
from harborcal.errors import CalendarError, CalendarRefusedError, HarborcalError
from harborcal.model import Heartbeat, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from harborcal.wire import MAX_SLOTS
from tests.calendar.conftest import TODAY
from tests.calendar.statements import statements

EVENING = dt.datetime(2026, 1, 5, 22, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def told(answer: Heartbeat | HarborcalError) -> object:
    """Picture an answer so that equal ones compare equal, errors too."""
    return answer if isinstance(answer, Heartbeat) else (type(answer), str(answer), getattr(answer, "status", None))


def told_alone(calendar: Calendar, agent_id: str, **asking: Any) -> object:
    try:
        return told(calendar.heartbeat(agent_id, **asking))
    except HarborcalError as error:
        return told(error)


def told_together(calendar: Calendar, agent_ids: list[str], **asking: Any) -> dict[str, object]:
    return {agent_id: told(answer) for agent_id, answer in calendar.heartbeats(agent_ids, **asking)}


def idents(answer: Heartbeat | HarborcalError) -> list[str]:
    assert isinstance(answer, Heartbeat)
    return [slot.ident for slot in answer.slots]


# --- the same as alone: whatever has happened in a calendar that agents with bound and unbound hosts share

AGENTS = ["anna", "bert", "carl", "dora"]
UNKNOWN = ["nobody", "no id", ""]
OWNERS = [Owner(f"owner-{number}", claw) for number, claw in enumerate(["claw-1", "claw-1", "claw-2"])]
UPDATES = [SlotStatus.ONGOING, SlotStatus.PAUSED, SlotStatus.DEFERRED, SlotStatus.FINISHED, SlotStatus.ABORTED]

Event = tuple[str, str, int, int]
events = st.lists(
    st.tuples(
        st.sampled_from(
            ["slot", "slot", "slot", "plan", "claim", "claim", "update", "update", "wait", "wait", "say", "move"]
        ),
        st.sampled_from(AGENTS),
        st.integers(0, 20),
        st.integers(0, 11),
    ),
    min_size=20,
    max_size=60,
)


class Life:
    """A calendar to which things happen, from 22:00 on; two lives of the same events are equal."""

    def __init__(self, happenings: list[Event]) -> None:
        self.clock = FakeClock(EVENING)
        self.calendar = Calendar("sqlite://", clock=self.clock)
        for agent_id, claw in zip(AGENTS, [None, None, "claw-1", "claw-2"], strict=True):
            self.calendar.register_agent(agent_id, claw)
        for happening in happenings:
            with contextlib.suppress(CalendarRefusedError):
                self.happen(*happening)

    def happen(self, kind: str, agent_id: str, one: int, other: int) -> None:
        acts: dict[str, Callable[[str, int, int], object]] = {
            "slot": self.add_slot,
            "plan": self.add_plan,
            "claim": self.claim,
            "update": self.update,
            "wait": self.wait,
            "say": self.say,
            "move": self.move,
        }
        acts[kind](agent_id, one, other)

    def add_slot(self, agent_id: str, quarter: int, priority: int) -> None:
        self.calendar.add_slot(agent_id, EVENING + 15 * MINUTE * quarter, 40, priority=priority)

    def add_plan(self, agent_id: str, quarter: int, priority: int) -> None:
        start = EVENING - dt.timedelta(days=1) + 15 * MINUTE * quarter
        self.calendar.add_plan(agent_id, Recurrence.of(start, "FREQ=DAILY"), 40, priority=priority)

    def key(self, agent_id: str, number: int, other: int) -> SlotKey:
        """Name one of the agent's pending slots, stored or virtual, or a slot by its number."""
        day = self.calendar.day(agent_id, self.clock.now().date())
        return day[number % len(day)].key if day and other % 3 else SlotKey.real(number)

    def claim(self, agent_id: str, number: int, other: int) -> None:
        key = self.key(agent_id, number, other)
        self.calendar.claim(agent_id, key, self.clock.now(), owner=OWNERS[other % 3])

    def update(self, agent_id: str, number: int, other: int) -> None:
        owner = [*OWNERS, None][other % 4]
        status = UPDATES[other % len(UPDATES)]
        self.calendar.apply_update(agent_id, self.key(agent_id, number, other), SlotUpdate(status=status), owner=owner)

    def wait(self, _: str, quarter: int, minutes: int) -> None:
        self.clock.advance(60 * minutes if quarter % 2 else 900 * (quarter % 5))

    def say(self, agent_id: str, minutes: int, other: int) -> None:
        status = ["busy", "on_call", "exhausted", "offline"][other % 4]
        until = self.clock.now() + minutes * MINUTE if status == "exhausted" else None
        self.calendar.set_agent_status(agent_id, status, recovery_at=until)

    def move(self, agent_id: str, number: int, other: int) -> None:
        later = self.clock.now() + dt.timedelta(hours=2 * other)
        self.calendar.edit_slot(self.key(agent_id, number, 1), starts_at=later)


TELLING = [*AGENTS, *UNKNOWN]


@settings(max_examples=60)
@given(events, st.sampled_from([None, *OWNERS]), st.sampled_from([None, "claw-1", "claw-2"]))
def test_each_agent_of_a_batch_is_told_and_noted_as_it_is_alone(
    happenings: list[Event], owner: Owner | None, claw: str | None
) -> None:
    alone, together = Life(happenings), Life(happenings)
    with contextlib.closing(alone.calendar), contextlib.closing(together.calendar):
        for _ in range(2):
            answers = {each: told_alone(alone.calendar, each, owner=owner, claw_identifier=claw) for each in TELLING}
            assert told_together(together.calendar, TELLING, owner=owner, claw_identifier=claw) == answers
            assert together.calendar.agents() == alone.calendar.agents()
            alone.clock.advance(121)
            together.clock.advance(121)


def test_agents_are_told_their_own_slots_only_most_urgent_first(calendar: Calendar, clock: FakeClock) -> None:
    calendar.register_agent("ops")
    calendar.add_slot("dev", clock.now(), priority=1)
    calendar.add_slot("ops", clock.now(), priority=2)
    calendar.add_slot("dev", clock.now() + 60 * MINUTE, priority=3)
    calendar.add_plan("ops", Recurrence.contract(dt.time(12), first=TODAY), priority=9)
    answers = dict(calendar.heartbeats(["ops", "dev"]))
    assert {each: idents(answer) for each, answer in answers.items()} == {
        "ops": ["plan-1-2026-01-05", "2"],
        "dev": ["3", "1"],
    }


def test_an_agent_that_is_refused_is_told_so_and_the_others_are_served(calendar: Calendar, clock: FakeClock) -> None:
    calendar.register_agent("bound", "claw-2")
    calendar.add_slot("dev", clock.now())
    answers = dict(calendar.heartbeats(["nobody", "bound", "dev"], claw_identifier="claw-1"))
    assert told(answers["nobody"]) == (CalendarRefusedError, "calendar refused (404): Agent not found", 404)
    assert isinstance(answers["bound"], CalendarRefusedError)
    assert answers["bound"].status == 403
    assert idents(answers["dev"]) == ["1"]
    assert calendar.agent("bound").last_heartbeat_at is None


def test_what_each_agents_scheduler_left_is_listed_and_what_lives_is_not(calendar: Calendar, clock: FakeClock) -> None:
    left, living, own = (calendar.new_owner(f"claw-{number}") for number in range(3))
    for owner in (left, living, own):
        calendar.register_agent(owner.claw_identifier)
        calendar.add_slot(owner.claw_identifier, clock.now())
    for number, owner in enumerate((left, living, own), 1):
        assert calendar.claim(owner.claw_identifier, SlotKey.real(number), clock.now(), owner=owner) is not None
    clock.advance(100)
    calendar.heartbeat("claw-1", owner=living)
    clock.advance(100)
    answers = dict(calendar.heartbeats(["claw-0", "claw-1", "claw-2"], owner=own))
    assert [idents(answer) for answer in answers.values()] == [["1"], [], []]


def test_each_agent_is_told_at_most_a_thousand_slots_however_many_others_have(path: Path, clock: FakeClock) -> None:
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=clock)) as calendar:
        for agent_id, times_an_hour in (("dev", 60), ("ops", 30)):
            calendar.register_agent(agent_id)
            start = dt.datetime.combine(TODAY, dt.time(), dt.UTC)
            every = Recurrence.of(start, f"FREQ=MINUTELY;INTERVAL={60 // times_an_hour}")
            calendar.add_plan(agent_id, every, 1)
        clock.jump(-9 * 3600)
        counts = {each: len(idents(answer)) for each, answer in calendar.heartbeats(["dev", "ops"])}
    assert counts == {"dev": MAX_SLOTS, "ops": 720}


# --- who is asked


def test_an_agent_that_is_named_twice_is_answered_once(calendar: Calendar) -> None:
    answered = [agent_id for agent_id, _ in calendar.heartbeats(["dev", "nobody", "dev", "nobody"])]
    assert answered == ["dev", "nobody"]


def test_who_asks_for_nobody_is_told_nothing_and_the_database_is_left_alone(calendar: Calendar) -> None:
    with statements() as seen:
        assert list(calendar.heartbeats([], owner=calendar.new_owner("claw"))) == []
    assert seen == []


def many(calendar: Calendar, count: int) -> list[str]:
    """Register so many agents."""
    names = [f"agent-{number}" for number in range(count)]
    for name in names:
        calendar.register_agent(name)
    return names


@pytest.fixture
def crowd(clock: FakeClock) -> Iterator[Calendar]:
    """A calendar in memory, for many agents."""
    with contextlib.closing(Calendar("sqlite://", clock=clock)) as calendar:
        yield calendar


def test_more_agents_than_one_statement_names_are_all_answered_in_order(crowd: Calendar) -> None:
    names = many(crowd, 2 * MAX_AGENTS_PER_BATCH + 1)
    assert [each for each, answer in crowd.heartbeats(names) if isinstance(answer, Heartbeat)] == names


# --- what it costs


def furnish(calendar: Calendar, names: list[str], slots: int) -> None:
    """Give every agent slots, a plan, something that a scheduler has left, and an exhaustion that is over."""
    now = calendar.clock.now()
    left = calendar.new_owner("claw-1")
    for name in names:
        calendar.add_plan(name, Recurrence.contract(dt.time(20), first=TODAY))
        for number in range(slots):
            key = calendar.add_slot(name, now + number * 60 * MINUTE).key
        assert calendar.claim(name, key, now, owner=left) is not None
        calendar.set_agent_status(name, "exhausted", recovery_at=now + MINUTE)


def cost(count: int, slots: int) -> list[str]:
    """Tell which statements the second batch of so many agents costs."""
    clock = FakeClock()
    with contextlib.closing(Calendar("sqlite://", clock=clock)) as calendar:
        names = many(calendar, count)
        furnish(calendar, names, slots)
        owner = calendar.new_owner("claw-1")
        next(calendar.heartbeats(names, owner=owner))
        clock.advance(90)
        with statements() as seen:
            answers = dict(calendar.heartbeats(names, owner=owner))
        assert {len(idents(answer)) for answer in answers.values()} == {slots + 1}
        assert {agent.status for agent in calendar.agents()} == {"busy"}
    return [statement.split("(")[0] for statement in seen]


def test_a_batch_of_two_hundred_agents_costs_as_many_statements_as_one_of_two() -> None:
    assert (
        len(cost(2, 2)) == len(cost(200, 4)) == 8
    )  # read: agents, slots, plans, taken, owners; write: heard, lifted, seen


def test_an_agent_alone_costs_no_more_statements_than_a_batch() -> None:
    assert len(cost(1, 2)) == len(cost(2, 2))


# --- what is on disk


def test_all_of_a_batch_are_noted_before_the_first_has_its_answer_and_the_next_batch_is_not(
    path: Path, clock: FakeClock
) -> None:
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=clock)) as calendar:
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:  # one commit, where registering is one for each
            rows = [(f"agent-{number:03}", "idle", 0, 0) for number in range(MAX_AGENTS_PER_BATCH + 1)]
            raw.executemany("INSERT INTO agents (id, said, registered_at, revision) VALUES (?, ?, ?, ?)", rows)
        names = [name for name, *_ in rows]
        answers = calendar.heartbeats(names)
        next(answers)
        with contextlib.closing(Calendar(f"sqlite:///{path}", clock=clock)) as other:
            heard = [agent.id for agent in other.agents() if agent.last_heartbeat_at == clock.now()]
        assert heard == names[:-1]
        clock.advance(5)
        assert len(list(answers)) == MAX_AGENTS_PER_BATCH
        assert calendar.agent(names[-1]).last_heartbeat_at == clock.now()


# --- what goes wrong


def spoil(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        assert raw.execute(statement).rowcount == 1


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE slots SET status = 'weird' WHERE agent_id = 'bad'", CalendarError),
        ("UPDATE slots SET event_data = CAST(x'ff' AS TEXT) WHERE agent_id = 'bad'", CalendarError),
        ("UPDATE agents SET said = 'weird' WHERE id = 'bad'", CalendarError),
        ("UPDATE plan_versions SET recurrence = '{}' WHERE agent_id = 'bad'", CalendarRefusedError),
    ],
)
def test_what_cannot_be_read_of_one_agent_is_its_answer_and_does_not_harm_the_others(
    calendar: Calendar, path: Path, clock: FakeClock, statement: str, error: type[HarborcalError]
) -> None:
    names = ["dev", "ops", "bad", "web", "doc"]
    for name in names:
        calendar.register_agent(name)
        calendar.add_slot(name, clock.now())
        calendar.add_plan(name, Recurrence.contract(dt.time(12), first=TODAY))
    spoil(path, statement)
    answers = dict(calendar.heartbeats(names))
    assert list(answers) == names
    assert isinstance(answers["bad"], error)
    assert told(answers["bad"]) == told_alone(calendar, "bad")
    assert [len(idents(answer)) for name, answer in answers.items() if name != "bad"] == [2, 2, 2, 2]
    assert calendar.agent("doc").last_heartbeat_at == clock.now()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        heard = {name for (name,) in raw.execute("SELECT id FROM agents WHERE last_heartbeat_at IS NOT NULL")}
    assert heard == {"dev", "ops", "web", "doc"}


def test_a_database_that_is_lost_between_batches_fails_only_who_has_no_answer(path: Path, clock: FakeClock) -> None:
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=clock)) as calendar:
        answers = calendar.heartbeats([f"agent-{number}" for number in range(MAX_AGENTS_PER_BATCH + 1)])
        next(answers)
        path.unlink()
        for _ in range(MAX_AGENTS_PER_BATCH - 1):
            next(answers)
        with pytest.raises(CalendarError, match="deleted or replaced"):
            next(answers)


def test_a_database_that_cannot_be_used_is_asked_once_and_not_agent_by_agent(path: Path, clock: FakeClock) -> None:
    with contextlib.closing(Calendar(f"sqlite:///{path}", clock=clock)) as calendar:
        calendar.register_agent("dev")
        calendar.register_agent("ops")
        with contextlib.closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("DROP TABLE slots")
        with statements() as seen, pytest.raises(CalendarError, match="cannot be used"):
            next(calendar.heartbeats(["dev", "ops"]))
    assert len(seen) == 2
