"""A machine that lives and dies at random over the public API, with journal and outbox, and what must hold then."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harborcal import HarborcalError, SlotKey, SlotStatus
from tests.durable import Durable, KilledError
from tests.scratch import scratch

AGENTS = ("dev", "ops")
STEPS = [
    *(
        f"{act}.{step}"
        for act in ("reserve", "accept", "send", "deliver")
        for step in ("begun", "written", "committed")
    ),
    *(f"{call}.{when}" for call in ("update_slot", "heartbeat", "wake") for when in ("before", "after")),
]
agents = st.sampled_from(AGENTS)


class Lives(RuleBasedStateMachine):
    """One scheduler after another on one journal; the calendar and the agents outlive them."""

    @initialize()
    def begin(self) -> None:
        self.stack = contextlib.ExitStack()
        self.world = Durable(Path(self.stack.enter_context(scratch())), *AGENTS, max_wakes=4)
        self.words: dict[str, tuple[SlotKey, SlotStatus]] = {}  # what was accepted of agents' last words
        self.world.scheduler.start()

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(agent=agents, minutes=st.sampled_from([10, 60]))
    def add(self, agent: str, minutes: int) -> None:
        self.world.add(agent, minutes)

    @rule(agent=agents, plan=st.integers(1, 3))
    def plan(self, agent: str, plan: int) -> None:
        with contextlib.suppress(HarborcalError):
            self.world.memory.add_virtual_slot(agent, plan + 3 * AGENTS.index(agent), estimated_duration=10)

    @rule(seconds=st.sampled_from([1, 31, 90, 900, 1900]))
    def live(self, seconds: int) -> None:
        with self._mortal():
            self.world.clock.advance(seconds)

    @rule(agent=agents, verb=st.sampled_from(["complete", "complete", "abort"]))
    def end(self, agent: str, verb: str) -> None:
        with self._mortal():
            held = [active for active in self.world.scheduler.status().active if active.agent_id == agent]
            if held and held[0].wake_id not in self.world.wake_ids:
                return  # its agent knows nothing of it
            with contextlib.suppress(HarborcalError):
                getattr(self.world.scheduler, verb)(agent)
                status = SlotStatus.FINISHED if verb == "complete" else SlotStatus.ABORTED
                self.words |= {active.ident: (active.slot.key, status) for active in held}

    @rule(agent=agents, verb=st.sampled_from(["pause", "resume", "renew"]))
    def report(self, agent: str, verb: str) -> None:
        with self._mortal(), contextlib.suppress(HarborcalError):
            getattr(self.world.scheduler, verb)(agent)

    @rule()
    def restart(self) -> None:
        self.world.restart()
        self.world.scheduler.start()

    @precondition(lambda self: not self.world.kill_at)
    @rule(step=st.sampled_from(STEPS))
    def die_soon(self, step: str) -> None:
        self.world.kill_at = step

    @rule(times=st.integers(1, 2))
    def fail_wakes(self, times: int) -> None:
        self.world.host.fail_next(RuntimeError("nobody home"), times)

    @rule(is_out=st.booleans())
    def outage(self, *, is_out: bool) -> None:
        (self.world.memory.start_outage if is_out else self.world.memory.stop_outage)()

    @rule()
    def lose_an_answer(self) -> None:
        self.world.memory.lose_next_answer()

    @rule(is_full=st.booleans())
    def fill_disk(self, *, is_full: bool) -> None:
        self.world.fail_at = ("reserve", "accept", "send", "deliver", "change", "remind") if is_full else ()

    @contextlib.contextmanager
    def _mortal(self) -> Iterator[None]:
        with contextlib.suppress(KilledError):
            yield
        if not self.world.life.alive:
            self.restart()

    # --- what holds -------------------------------------------------------------------------------------------------

    @invariant()
    def every_slot_and_every_letter_is_accounted_for(self) -> None:
        account = self.world.scheduler.account()
        assert account.is_balanced
        assert account.active == len(self.world.scheduler.status().active)
        delivery = self.world.outbox.delivery_status()
        assert delivery.accepted == delivery.delivered + delivery.pending + delivery.dead
        assert not delivery.dead, delivery.dead_letters

    @invariant()
    def no_wake_is_entered_twice(self) -> None:
        entered = [wake.wake_id for wake in self.world.host.wakes if not wake.reminder]
        assert len(set(entered)) == len(entered)
        slots = [(wake.agent_id, wake.slot.ident, wake.attempt) for wake in self.world.host.wakes if not wake.reminder]
        assert len(set(slots)) == len(slots)

    def teardown(self) -> None:
        self.world.kill_at, self.world.fail_at = "", ()
        self.world.memory.stop_outage()
        self.restart()
        self.world.clock.advance(1200)
        assert self.world.outbox.delivery_status().pending == 0
        for entry in self.world.scheduler.status().history:
            if entry.status is SlotStatus.FINISHED:
                assert self.world.state(entry.key) is SlotStatus.FINISHED
        late = {entry.ident for entry in self.world.scheduler.status().history if entry.late}
        for ident, (key, status) in self.words.items():
            assert ident in late or self.world.state(key) is status
        self.world.close()
        self.stack.close()


Lives.TestCase.settings = settings(max_examples=30, stateful_step_count=25)
TestLives = Lives.TestCase
