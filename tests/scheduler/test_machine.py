"""A state machine over the public API: whatever comes in whatever order, the promises hold."""

import datetime as dt
import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harborcal import (
    Agent,
    CalendarUnavailableError,
    HarborcalError,
    SchedulerConfig,
    SlotKey,
    SlotStatus,
    WakeRequest,
)
from tests.batching import Batching
from tests.world import World

AGENTS = ("a", "b")
VERBS = ("complete", "abort", "pause", "resume", "renew")
WAKES = ("take", "raise", "complete", "abort", "pause", "pause and raise")


class Days(RuleBasedStateMachine):
    """Two agents, a calendar that fails now and then, agents that report at any time, in and out of their wakes."""

    in_batches = False

    @initialize()
    def begin(self) -> None:
        config = SchedulerConfig(history_size=500, seed=1)
        self.world = World(*AGENTS, on_wake=self._on_wake, config=config, wrap=Batching if self.in_batches else None)
        self.next_wake = "take"
        self.entered: dict[SlotKey, list[int]] = {}
        self.completed: set[SlotKey] = set()
        self.plans = 0

    def _on_wake(self, wake: WakeRequest) -> None:
        holder = [active for active in self.world.scheduler.status().active if active.agent_id == wake.agent_id]
        assert [active.wake_id for active in holder] == [wake.wake_id], "woken only for what it holds"
        self.entered.setdefault(wake.slot.key, []).append(wake.attempt)
        behaviour, self.next_wake = self.next_wake, "take"
        for verb in VERBS[:3]:
            if verb in behaviour:
                self._report(lambda verb=verb: getattr(wake.report, verb)())
        if "raise" in behaviour:
            raise RuntimeError("no")

    @staticmethod
    def _report(call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except HarborcalError:
            return  # refused, late, or not delivered: all within the promises

    @rule(agent=st.sampled_from(AGENTS), delay=st.integers(-5, 90), priority=st.integers(0, 9), locked=st.booleans())
    def add_a_slot(self, agent: str, delay: int, priority: int, locked: bool) -> None:
        self.world.add(agent, priority=priority, is_admin_locked=locked, **self.world.at(delay))

    @rule(agent=st.sampled_from(AGENTS))
    def add_a_virtual_slot(self, agent: str) -> None:
        self.plans += 1
        self.world.calendar.add_virtual_slot(agent, self.plans, dt.date(2026, 1, 5))

    @rule()
    def tick(self) -> None:
        self.world.scheduler.tick()

    @rule(seconds=st.sampled_from([1, 30, 61, 700]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(behaviour=st.sampled_from(WAKES))
    def the_next_wake_will(self, behaviour: str) -> None:
        self.next_wake = behaviour

    @rule(agent=st.sampled_from(AGENTS), verb=st.sampled_from(VERBS))
    def an_agent_reports(self, agent: str, verb: str) -> None:
        self._report(lambda: getattr(self.world.scheduler, verb)(agent))

    @rule(attempt=st.integers(0, 50), verb=st.sampled_from(VERBS))
    def an_old_handle_is_used(self, attempt: int, verb: str) -> None:
        if self.world.host.wakes:
            wake = self.world.host.wakes[attempt % len(self.world.host.wakes)]
            self._report(lambda: getattr(wake.report, verb)())

    @rule(times=st.integers(1, 3))
    def the_calendar_will_fail(self, times: int) -> None:
        self.world.calendar.fail_next(CalendarUnavailableError("down", 503), times=times)

    @rule()
    def an_answer_will_be_lost(self) -> None:
        self.world.calendar.lose_next_answer()

    @rule(agent=st.sampled_from(AGENTS))
    def an_agent_leaves_or_returns(self, agent: str) -> None:
        listed = [known.id for known in self.world.agents]
        listed = [name for name in listed if name != agent] if agent in listed else [*listed, agent]
        self.world.agents[:] = [Agent(id=name) for name in listed]

    @invariant()
    def nothing_follows_a_terminal_update(self) -> None:
        by_slot: dict[SlotKey, list[SlotStatus]] = {}
        for _, key, update in self.world.calendar.updates:
            by_slot.setdefault(key, []).append(update.status)
        for statuses in by_slot.values():
            ends = [index for index, status in enumerate(statuses) if status.is_terminal]
            assert all(status is statuses[ends[0]] for status in statuses[ends[0] :]) if ends else True

    @invariant()
    def an_agent_holds_one_slot_and_a_slot_one_agent(self) -> None:
        active = self.world.scheduler.status().active
        assert len({entry.agent_id for entry in active}) == len(active)
        assert len({entry.key for entry in active}) == len(active)

    @invariant()
    def what_is_finished_at_the_calendar_is_never_woken_again(self) -> None:
        finished = {key for _, key, update in self.world.calendar.updates if update.status is SlotStatus.FINISHED}
        counts = {key: len(attempts) for key, attempts in self.entered.items() if key in finished}
        before = getattr(self, "counts", {})
        assert all(counts[key] == count for key, count in before.items() if key in counts)
        self.counts = counts

    @invariant()
    def attempts_are_numbered(self) -> None:
        for attempts in self.entered.values():
            assert all(later == earlier + 1 or later == 1 for earlier, later in itertools.pairwise(attempts))

    def teardown(self) -> None:
        """In a healed world everything comes to an end."""
        world = self.world
        world.agents[:] = [Agent(id=name) for name in AGENTS]
        self.next_wake = "take"
        world.calendar.fail_next(CalendarUnavailableError("down", 503), times=1)
        for _ in range(60):
            world.clock.advance(700)
            world.scheduler.tick()
            for agent in AGENTS:
                self._report(lambda agent=agent: world.scheduler.complete(agent))
        left = [slot for agent in AGENTS for slot in world.calendar.slots(agent) if not slot.status.is_terminal]
        assert not left
        assert not world.scheduler.status().active
        world.scheduler.stop()


class DaysInBatches(Days):
    """The same, with everybody asked at once."""

    in_batches = True


TestDays = Days.TestCase
TestDaysInBatches = DaysInBatches.TestCase
TestDays.settings = TestDaysInBatches.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
