"""DESIGN 4.3: what is written is written before it is done, so that a process may die at any moment."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal import (
    ActiveState,
    AgentStatus,
    CalendarRefusedError,
    ConfigurationError,
    Heartbeat,
    Journal,
    JournalError,
    NoActiveSlotError,
    OutboxTransport,
    Scheduler,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    TransportError,
    TransportTimeoutError,
    UpdateReceipt,
    VerdictReason,
    WakeRequest,
)
from harborcal.testing import CallerRunner, RecordingHost
from harborcal.transports.embedded import EmbeddedTransport
from tests.durable import Durable, KilledError

KINDS = [False, True]
NAMES = ["in memory", "carried"]


@pytest.fixture(params=KINDS, ids=NAMES)
def durable(request: pytest.FixtureRequest, folder: Path) -> Iterator[Durable]:
    """A scheduler over the calendar in memory, and one over the carried calendar, where slots are claimed."""
    made = Durable(folder, carried=request.param)
    yield made
    made.close()


@pytest.fixture
def memory(folder: Path) -> Iterator[Durable]:
    made = Durable(folder)
    yield made
    made.close()


@pytest.fixture
def carried(folder: Path) -> Iterator[Durable]:
    made = Durable(folder, carried=True)
    yield made
    made.close()


def attempts(world: Durable) -> list[tuple[str, int]]:
    return [(wake.slot.ident, wake.attempt) for wake in world.host.wakes]


def refuse_to_answer(*_: object) -> None:
    raise TransportError("down")


def finish(world: Durable, **config: Any) -> None:
    """Live on until everything that can arrive has arrived."""
    world.config |= config
    world.scheduler.start()
    world.clock.advance(300)
    assert world.scheduler.account().is_balanced


# --- an attempt outlives its process --------------------------------------------------------------------------------


def test_an_agent_may_complete_as_soon_as_there_is_a_new_process(durable: Durable) -> None:
    key = durable.add()
    durable.scheduler.tick()
    [before] = durable.scheduler.status().active
    durable.clock.advance(600)
    durable.restart()
    [after] = durable.scheduler.status().active
    assert (after.key, after.attempt, after.wake_id) == (before.key, before.attempt, before.wake_id)
    assert (after.started_at, after.state, after.taken_up) == (before.started_at, ActiveState.ONGOING, False)
    durable.clock.advance(600)
    durable.scheduler.complete("dev", "done all the same")
    assert durable.state(key) is SlotStatus.FINISHED
    assert durable.slot(key).actual_duration == 20
    finish(durable)
    assert len(durable.host.wakes) == 1


def test_an_attempt_that_was_found_again_is_not_woken_again(durable: Durable) -> None:
    durable.add()
    durable.scheduler.tick()
    durable.restart()
    finish(durable)
    assert len(durable.host.wakes) == 1
    assert len(durable.scheduler.status().active) == 1


def test_a_slot_that_rests_goes_on_resting_and_its_rest_is_no_work(durable: Durable) -> None:
    key = durable.add()
    durable.scheduler.tick()
    durable.clock.advance(600)
    durable.scheduler.pause("dev", "waiting for a review")
    durable.clock.advance(3600)
    durable.restart()
    [active] = durable.scheduler.status().active
    assert (active.state, active.pause_reason) == (ActiveState.PAUSED, "waiting for a review")
    assert active.paused_at is not None
    assert active.lease_until is None
    finish(durable)
    assert durable.state(key) is SlotStatus.PAUSED
    durable.clock.advance(3300)
    durable.scheduler.resume("dev")
    durable.clock.advance(300)
    durable.restart()
    durable.scheduler.complete("dev")
    assert durable.slot(key).actual_duration == 15


def test_a_lost_start_is_told_once_by_the_next_process(memory: Durable) -> None:
    key = memory.add()
    memory.kill_at = "accept.begun"
    with memory.dying():
        memory.scheduler.tick()
    assert memory.sent == []
    assert memory.host.wakes
    finish(memory)
    assert memory.sent == ["ongoing"]
    assert str(memory.slot(key).started_at) == "09:00:00"
    assert len(memory.host.wakes) == 1


def test_an_accepted_end_settles_the_slot_and_is_delivered_by_the_next_process(durable: Durable) -> None:
    key = durable.add()
    durable.scheduler.tick()
    durable.clock.advance(120)
    durable.kill_at = "update_slot.before"
    with durable.dying():
        durable.scheduler.complete("dev", "well done")
    [entry] = durable.scheduler.status().history
    assert (entry.status, entry.summary, entry.actual_duration) == ("finished", "well done", 2)
    with pytest.raises(NoActiveSlotError):
        durable.scheduler.complete("dev")
    finish(durable)
    assert durable.state(key) is SlotStatus.FINISHED
    assert len(durable.host.wakes) == 1


def test_an_end_that_was_not_accepted_did_not_happen(durable: Durable) -> None:
    key = durable.add()
    durable.scheduler.tick()
    durable.kill_at = "accept.written"
    with durable.dying():
        durable.scheduler.complete("dev")
    assert len(durable.scheduler.status().active) == 1
    durable.scheduler.complete("dev", "again")
    assert durable.state(key) is SlotStatus.FINISHED


def test_the_history_survives(durable: Durable) -> None:
    for summary in ("one", "two"):
        durable.add()
        durable.scheduler.tick()
        durable.clock.advance(90)
        durable.scheduler.complete("dev", summary)
    durable.add()
    durable.scheduler.tick()
    durable.scheduler.abort("dev", "no")
    before = durable.scheduler.status().history
    assert [entry.wake_id for entry in before] == durable.wake_ids
    durable.restart()
    assert durable.scheduler.status().history == before
    assert [entry.status for entry in before] == ["finished", "finished", "aborted"]


def test_the_history_keeps_its_size_over_restarts(folder: Path) -> None:
    world = Durable(folder, history_size=2)
    for _ in range(3):
        world.add()
        world.scheduler.tick()
        world.scheduler.complete("dev")
    world.restart()
    assert [entry.ident for entry in world.scheduler.status().history] == ["2", "3"]
    world.close()


def test_a_slot_that_was_done_is_not_woken_again_from_a_stale_answer_after_a_restart(memory: Durable) -> None:
    key = memory.add()
    before = memory.slot(key)
    memory.scheduler.tick()
    memory.clock.advance(60)
    memory.scheduler.complete("dev")
    memory.restart()
    memory.memory.set_slot(key, status="not_started", updated_at=before.updated_at)
    memory.scheduler.tick()
    assert memory.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED
    finish(memory)
    assert len(memory.host.wakes) == 1
    assert memory.state(key) is SlotStatus.FINISHED


def test_a_slot_is_not_taken_while_its_end_is_on_its_way_also_after_a_restart(memory: Durable) -> None:
    key = memory.add()
    memory.scheduler.tick()
    memory.memory.before_update = refuse_to_answer
    memory.scheduler.complete("dev")
    memory.clock.advance(1)
    memory.memory.set_slot(key, status="not_started")
    memory.restart()
    memory.scheduler.tick()
    assert memory.scheduler.explain("dev")[0].detail == "its last update is still on its way"
    assert len(memory.host.wakes) == 1


def test_a_missed_slot_whose_skipping_is_on_its_way_is_not_woken_for_after_a_restart(folder: Path) -> None:
    world = Durable(folder, misfire_grace=60.0)
    world.add()
    world.clock.advance(120)
    world.memory.before_update = refuse_to_answer
    world.scheduler.tick()
    assert world.outbox.delivery_status().pending == 1
    world.config["misfire_grace"] = None
    world.restart()
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].detail == "its last update is still on its way"
    assert not world.host.wakes
    world.close()


def test_a_slot_whose_skipping_was_not_noted_is_not_woken_for_from_a_stale_answer_after_a_restart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Durable(folder, misfire_grace=60.0)
    before = world.slot(world.add())
    world.clock.advance(120)
    world.memory.before_update = refuse_to_answer
    world.kill_at = "note.begun"
    with world.dying():
        world.config["misfire_grace"] = None
        world.scheduler.tick()
    world.memory.before_update = None
    world.clock.advance(60)
    assert world.sent == ["skipped"]
    monkeypatch.setattr(world.memory, "heartbeat", lambda _: Heartbeat(slots=(before,)))
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED
    assert not world.host.wakes
    world.close()


def test_attempts_are_counted_on_and_named_anew(durable: Durable) -> None:
    durable.add()
    durable.host.fail_next(RuntimeError("no"))
    durable.scheduler.tick()
    durable.restart()
    finish(durable)
    assert attempts(durable) == [("1", 1), ("1", 2)]
    assert len(set(durable.wake_ids)) == 2


def test_a_virtual_slot_that_became_real_is_known_by_both_names_after_a_restart(memory: Durable) -> None:
    key = memory.memory.add_virtual_slot("dev", 3)
    memory.scheduler.tick()
    real = memory.slot(key).key
    memory.restart()
    [active] = memory.scheduler.status().active
    assert (active.ident, active.key) == ("plan-3-2026-01-05", real)
    memory.scheduler.pause("dev", slot=key)
    memory.scheduler.complete("dev", slot=real)
    assert memory.state(key) is SlotStatus.FINISHED


def virtual_slot_whose_end_alone_is_on_its_way(world: Durable) -> Slot:
    """Have a virtual slot end in an outage, and its process die once the start has arrived; tell what it was like."""
    key = world.memory.add_virtual_slot("dev", 3)
    before = world.slot(key)
    world.memory.before_update = refuse_to_answer
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.memory.before_update = None
    world.kill_at = "deliver.committed"
    with contextlib.suppress(KilledError):
        world.clock.advance(60)
    assert not world.life.alive
    assert world.sent == ["ongoing"]
    world.memory.before_update = refuse_to_answer  # what is on its way is still so when the next process begins
    world.restart()
    world.memory.before_update = None
    return before


def test_a_slot_that_became_real_after_its_end_was_accepted_is_not_woken_again_from_a_stale_answer(
    memory: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = virtual_slot_whose_end_alone_is_on_its_way(memory)
    memory.clock.advance(60)
    assert memory.sent == ["ongoing", "finished"]
    monkeypatch.setattr(memory.memory, "heartbeat", lambda _: Heartbeat(slots=(before,)))
    memory.scheduler.tick()
    assert memory.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED
    assert len(memory.host.wakes) == 1


def test_a_slot_that_became_real_after_its_end_was_accepted_is_known_by_its_new_name_after_a_restart(
    memory: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    virtual_slot_whose_end_alone_is_on_its_way(memory)
    memory.clock.advance(60)
    memory.restart()
    [done] = memory.memory.slots("dev")
    # A calendar that is behind, and tells of a stored slot neither its plan nor its virtual id.
    behind = dataclasses.replace(done, status=SlotStatus.ONGOING, plan_id=None, virtual_id=None)
    monkeypatch.setattr(memory.memory, "day", lambda *_: (behind,))
    memory.scheduler.tick()
    assert memory.scheduler.status().active == ()
    assert memory.sent == ["ongoing", "finished", "finished"], "it is told again"


def test_silence_goes_on_counting_but_leaves_a_minute(durable: Durable) -> None:
    durable.add(minutes=10)
    durable.scheduler.tick()
    durable.clock.advance(1000)
    durable.restart()
    durable.scheduler.start()
    durable.clock.advance(799)
    assert len(durable.host.wakes) == 1
    durable.clock.advance(1)
    assert [wake.reminder for wake in durable.host.wakes] == [False, True]
    durable.clock.jump(86_400)
    durable.restart()
    assert durable.scheduler.status().active[0].overdue
    durable.scheduler.start()
    durable.clock.advance(59)
    assert durable.scheduler.status().active
    durable.clock.advance(1)
    assert durable.scheduler.status().history[-1].reason == "no report within 1800 s"
    assert len(set(durable.wake_ids)) == 1


def test_who_is_heard_just_after_a_restart_that_followed_its_reminder_is_not_given_up_by_the_next_one(
    durable: Durable,
) -> None:
    durable.add(minutes=10)
    durable.scheduler.start()
    durable.clock.advance(1800)
    assert [wake.reminder for wake in durable.host.wakes] == [False, True]
    durable.restart()
    durable.clock.advance(60)  # far less than a quarter of a lease since the last sign that was written
    durable.scheduler.renew("dev")
    durable.restart()
    assert not durable.scheduler.status().active[0].overdue
    durable.scheduler.start()
    durable.clock.advance(1800 - 60)
    assert durable.scheduler.status().active
    durable.clock.advance(60)
    assert [wake.reminder for wake in durable.host.wakes] == [False, True, True], "it is reminded once more first"


def test_what_was_said_of_an_earlier_attempt_is_not_sent_onto_the_one_under_way(memory: Durable) -> None:
    key = memory.add()
    memory.scheduler.tick()
    memory.clock.advance(60)
    memory.scheduler.complete("dev", "first")
    memory.clock.advance(600)
    memory.memory.set_slot(key, status="not_started", updated_at=memory.clock.now())
    memory.clock.advance(1)
    memory.scheduler.tick()
    assert attempts(memory) == [("1", 1), ("1", 2)]
    memory.restart()
    [active] = memory.scheduler.status().active
    assert (active.key, active.attempt) == (key, 2)
    finish(memory)
    assert memory.sent == ["ongoing", "finished", "ongoing"]
    assert memory.state(key) is SlotStatus.ONGOING


def test_a_pause_from_inside_the_wake_is_still_one_after_a_restart(durable: Durable) -> None:
    key = durable.add()
    durable.host.on_wake = lambda wake: wake.report.pause("waiting for a human")
    durable.scheduler.tick()
    durable.restart()
    [active] = durable.scheduler.status().active
    assert (active.state, active.pause_reason) == (ActiveState.PAUSED, "waiting for a human")
    assert active.lease_until is None
    finish(durable, heartbeat_interval=110)
    assert durable.state(key) is SlotStatus.PAUSED


def test_a_refusal_survives_restarts_and_brings_no_further_letter_and_no_wake(memory: Durable) -> None:
    told: list[str] = []

    def refuse_the_end(_agent_id: str, _key: SlotKey, update: SlotUpdate) -> None:
        told.append(str(update.status))
        if update.status.is_terminal:
            raise CalendarRefusedError(422, "past dates are immutable")

    memory.memory.before_update = refuse_the_end
    memory.add()
    memory.scheduler.tick()
    memory.clock.advance(60)
    memory.scheduler.complete("dev")
    for _ in range(3):
        memory.clock.advance(600)
        memory.restart()
        finish(memory)
        assert told == ["ongoing", "finished"]
        assert [letter.number for letter in memory.outbox.delivery_status().dead_letters] == [2]
        assert len(memory.host.wakes) == 1


def test_the_same_seed_names_other_wakes_after_a_restart(durable: Durable) -> None:
    for _ in range(3):
        durable.add()
        durable.scheduler.tick()
        durable.scheduler.complete("dev")
        durable.config["seed"] -= 1  # what the next life adds
        durable.restart()
    assert len(set(durable.wake_ids)) == 3


# --- agents that are quicker than the journal -----------------------------------------------------------------------


def complete_before(world: Durable, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the agent complete at the moment in which the journal is asked for one act, as if it had to wait there."""
    written = getattr(world.journal, act)

    def held(*details: Any, **more: Any) -> Any:
        monkeypatch.undo()
        world.scheduler.complete("dev", "done")
        return written(*details, **more)

    monkeypatch.setattr(world.journal, act, held)


@pytest.mark.parametrize(
    ("is_carried", "act"), [(False, "open_attempt"), (True, "open_attempt"), (True, "enter")], ids=str
)
def test_an_agent_that_is_quicker_than_the_journal_leaves_no_attempt_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_carried: bool, act: str
) -> None:
    world = Durable(folder, carried=is_carried)
    key = world.add()
    complete_before(world, act, monkeypatch)
    world.scheduler.tick()
    assert not world.scheduler.status().active
    # The act is written after all, but finds that its attempt is over.
    woken = len(world.host.wakes)
    world.restart()
    assert not world.scheduler.status().active
    finish(world)
    assert world.state(key) is SlotStatus.FINISHED
    assert len(world.host.wakes) == woken
    assert [entry.status for entry in world.scheduler.status().history].count(SlotStatus.ABORTED) == 0
    world.close()


def test_an_attempt_that_its_agent_ended_before_its_wake_is_not_woken_for(
    carried: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried.add()
    complete_before(carried, "enter", monkeypatch)
    carried.scheduler.tick()
    assert [entry.status for entry in carried.scheduler.status().history] == ["finished"]
    finish(carried)
    assert not carried.host.wakes


def test_who_was_quicker_than_the_journal_is_at_its_next_slot_after_a_restart(
    memory: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.add()
    complete_before(memory, "open_attempt", monkeypatch)
    memory.scheduler.tick()
    second = memory.add()
    memory.scheduler.tick()
    memory.restart()
    assert [active.key for active in memory.scheduler.status().active] == [second]
    memory.scheduler.complete("dev", "the second")
    assert memory.state(second) is SlotStatus.FINISHED


# --- killed on the way to a wake ------------------------------------------------------------------------------------


BEFORE_THE_WAKE = ["reserve.begun", "reserve.written", "reserve.committed", "claim.before", "claim.after"]


@pytest.mark.parametrize("step", [*BEFORE_THE_WAKE, "enter.begun", "enter.written"])
def test_a_wake_that_was_not_entered_is_entered_once_by_the_next_process(carried: Durable, step: str) -> None:
    key = carried.add()
    carried.kill_at = step
    with carried.dying():
        carried.scheduler.tick()
    assert not carried.host.wakes
    reserved = [active.wake_id for active in carried.scheduler.status().active]
    assert len(reserved) == (0 if step in BEFORE_THE_WAKE[:2] else 1)
    finish(carried)
    assert attempts(carried) == [("1", 1)]
    assert reserved in ([], carried.wake_ids)
    assert carried.state(key) is SlotStatus.ONGOING
    carried.scheduler.complete("dev")
    assert carried.state(key) is SlotStatus.FINISHED


@pytest.mark.parametrize("step", BEFORE_THE_WAKE[:2])
def test_a_wake_that_was_not_written_is_entered_by_the_next_process(memory: Durable, step: str) -> None:
    memory.add()
    memory.kill_at = step
    with memory.dying():
        memory.scheduler.tick()
    assert not memory.scheduler.status().active
    finish(memory)
    assert attempts(memory) == [("1", 1)]


UNKNOWN = [(True, "enter.committed"), (True, "wake.before"), (True, "wake.after"), (False, "reserve.committed")]


@pytest.mark.parametrize(("is_carried", "step"), [*UNKNOWN, (False, "wake.before"), (False, "wake.after")])
@pytest.mark.parametrize("policy", ["skip", "repeat"])
def test_a_wake_of_which_nobody_knows_is_left_to_the_lease_or_repeated(
    folder: Path, *, is_carried: bool, step: str, policy: str
) -> None:
    world = Durable(folder, carried=is_carried, on_unknown=policy, heartbeat_interval=110)
    key = world.add(minutes=10)
    world.kill_at = step
    with world.dying():
        world.scheduler.tick()
    entered = len(world.host.wakes)
    [active] = world.scheduler.status().active
    finish(world)
    assert len(world.host.wakes) == entered + (policy == "repeat")
    assert world.state(key) is SlotStatus.ONGOING
    world.clock.advance(3600)
    assert {(wake.attempt, wake.wake_id) for wake in world.host.wakes} == {(1, active.wake_id)}
    assert [wake.reminder for wake in world.host.wakes[entered:]] == [False] * (policy == "repeat") + [True]
    world.close()


def test_a_wake_that_is_to_be_repeated_waits_until_the_journal_works(folder: Path) -> None:
    world = Durable(folder, on_unknown="repeat")
    world.add()
    world.kill_at = "wake.before"
    with world.dying():
        world.scheduler.tick()
    world.fail_at = ("enter",)
    world.scheduler.tick()
    assert not world.host.wakes
    world.fail_at = ()
    finish(world)
    assert attempts(world) == [("1", 1)]
    world.close()


def killed_in_its_wake(folder: Path, *, carried: bool = True) -> tuple[Durable, SlotKey]:
    """A process whose predecessor was killed right after a wake, which is to be repeated."""
    world = Durable(folder, carried=carried, on_unknown="repeat")
    key = world.add()
    world.kill_at = "wake.after"
    with world.dying():
        world.scheduler.tick()
    return world, key


def test_an_unknown_wake_is_not_repeated_once_its_agent_was_heard(folder: Path) -> None:
    world, _ = killed_in_its_wake(folder, carried=True)
    woken = len(world.host.wakes)
    world.scheduler.pause("dev", "lunch")
    world.scheduler.tick()
    assert len(world.host.wakes) == woken, "it is at it, as its report shows"
    (active,) = world.scheduler.status().active
    assert active.state is ActiveState.PAUSED
    world.close()


@pytest.mark.parametrize("step", ["claim.before", "claim.after"])
def test_a_report_on_the_way_to_a_repeated_wake_stops_it_and_its_agent_is_left_at_work(folder: Path, step: str) -> None:
    world, key = killed_in_its_wake(folder, carried=True)
    world.meanwhile[step] = lambda: world.scheduler.renew("dev")
    world.scheduler.tick()
    assert not world.meanwhile
    assert len(world.host.wakes) == 1, "it is at it, as its report shows"
    world.restart()
    finish(world)
    assert len(world.host.wakes) == 1
    assert world.scheduler.status().active[0].state is ActiveState.ONGOING
    assert world.state(key) is SlotStatus.ONGOING
    world.scheduler.complete("dev", "done")
    assert world.state(key) is SlotStatus.FINISHED
    world.close()


def test_a_slot_is_not_given_back_whose_agent_was_heard_while_its_calendar_gave_no_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, key = killed_in_its_wake(folder, carried=True)
    world.meanwhile["claim.before"] = lambda: world.scheduler.renew("dev")
    with monkeypatch.context() as line:
        line.setattr(EmbeddedTransport, "claim", timed_out)
        world.scheduler.tick()
    finish(world)
    assert len(world.host.wakes) == 1
    assert world.state(key) is SlotStatus.ONGOING
    assert world.scheduler.status().active[0].state is ActiveState.ONGOING
    world.close()


@pytest.mark.parametrize("verb", ["complete", "abort", "pause", "resume", "renew"])
@pytest.mark.parametrize("is_carried", [True, False], ids=["carried", "memory"])
def test_a_report_at_the_last_moment_stops_a_repeated_wake(folder: Path, verb: str, *, is_carried: bool) -> None:
    world, _ = killed_in_its_wake(folder, carried=is_carried)

    def write(_: Slot) -> str:
        getattr(world.scheduler, verb)("dev")
        return "too late"

    world.message = write
    world.scheduler.tick()
    finish(world)
    assert len(world.host.wakes) == 1, "it is at it, as its report shows"
    states = [active.state for active in world.scheduler.status().active]
    assert states == ([] if verb in {"complete", "abort"} else ["paused" if verb == "pause" else "ongoing"])
    world.restart()
    world.scheduler.tick()
    assert [active.state for active in world.scheduler.status().active] == states
    assert len(world.host.wakes) == 1
    world.close()


@pytest.mark.parametrize("verb", ["complete", "renew"])
def test_a_report_at_the_last_moment_stops_a_reminder(folder: Path, verb: str) -> None:
    world = Durable(folder, heartbeat_interval=110)
    world.add(minutes=10)
    world.scheduler.tick()

    def write(_: Slot) -> str:
        getattr(world.scheduler, verb)("dev")
        return "too late"

    world.message = write
    world.scheduler.start()
    world.clock.advance(1_900)
    assert [wake.reminder for wake in world.host.wakes] == [False]
    assert bool(world.scheduler.status().active) is (verb == "renew")
    world.close()


def timed_out(*_: object) -> None:
    raise TransportTimeoutError("claim: the answer was lost")


@pytest.mark.parametrize("hindrance", ["claim", "journal"])
def test_a_slot_is_not_given_back_whose_agent_may_be_at_it_where_its_wake_cannot_be_repeated_yet(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hindrance: str
) -> None:
    world, key = killed_in_its_wake(folder, carried=True)
    with monkeypatch.context() as line:
        if hindrance == "claim":
            line.setattr(EmbeddedTransport, "claim", timed_out)
        else:
            world.fail_at = ("enter",)
        world.scheduler.tick()
        world.fail_at = ()
    assert len(world.host.wakes) == 1
    assert world.state(key) is SlotStatus.ONGOING
    finish(world)
    assert attempts(world) == [("1", 1), ("1", 1)]
    assert world.state(key) is SlotStatus.ONGOING
    world.close()


def test_a_failed_wake_is_tried_again_by_the_next_process_as_another_attempt(durable: Durable) -> None:
    durable.add()
    durable.host.fail_next(RuntimeError("no"))
    durable.scheduler.tick()
    durable.restart()
    assert not durable.scheduler.status().active
    finish(durable)
    assert attempts(durable) == [("1", 1), ("1", 2)]


def test_an_agent_that_cannot_be_woken_now_is_woken_later(carried: Durable) -> None:
    assert carried.carried is not None
    carried.add()
    carried.kill_at = "claim.after"
    with carried.dying():
        carried.scheduler.tick()
    carried.carried.set_agent_status("dev", AgentStatus.EXHAUSTED)
    finish(carried)
    assert not carried.host.wakes
    carried.carried.set_agent_status("dev", AgentStatus.IDLE)
    carried.clock.advance(60)
    assert attempts(carried) == [("1", 1)]


def found_before_its_wake(folder: Path, **config: Any) -> Durable:
    """A new process that has found an attempt before its wake, and whose agent is asleep."""
    world = Durable(folder, carried=True, heartbeat_interval=110, **config)
    assert world.carried is not None
    world.carried.add_slot("dev", world.clock.now(), 10)
    world.kill_at = "claim.after"
    with world.dying():
        world.scheduler.tick()
    assert len(world.scheduler.status().active) == 1
    world.carried.set_agent_status("dev", AgentStatus.EXHAUSTED)
    return world


def test_an_agent_that_slept_for_long_gets_its_wake_and_no_reminder_at_once(folder: Path) -> None:
    world = found_before_its_wake(folder)
    assert world.carried is not None
    world.scheduler.start()
    world.clock.advance(2 * 3600)
    assert not [wake for wake in world.host.wakes if not wake.reminder]
    world.carried.set_agent_status("dev", AgentStatus.IDLE)
    world.clock.advance(300)
    assert [(wake.reminder, wake.attempt) for wake in world.host.wakes] == [(False, 1)]
    [active] = world.scheduler.status().active
    assert not active.overdue
    assert active.lease_until is not None
    assert (active.lease_until - world.clock.now()).total_seconds() >= 1800 - 300
    world.close()


def test_the_silence_of_an_agent_that_was_woken_late_is_counted_from_its_wake_by_the_next_process_too(
    folder: Path,
) -> None:
    world = found_before_its_wake(folder)
    assert world.carried is not None
    world.clock.advance(1700)
    world.carried.set_agent_status("dev", AgentStatus.IDLE)
    world.scheduler.tick()
    assert [wake.reminder for wake in world.host.wakes] == [False]
    world.clock.advance(300)
    world.restart()
    [active] = world.scheduler.status().active
    assert active.lease_until is not None
    assert (active.lease_until - world.clock.now()).total_seconds() == 1800 - 300
    world.close()


def test_an_attempt_that_was_found_before_its_wake_is_skipped_where_it_is_too_late(folder: Path) -> None:
    world = found_before_its_wake(folder, misfire_grace=600.0)
    assert world.carried is not None
    world.clock.advance(601)
    world.carried.set_agent_status("dev", AgentStatus.IDLE)
    world.scheduler.start()
    world.clock.advance(300)
    assert not world.host.wakes
    assert not world.scheduler.status().active
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason) == ("skipped", "missed: due at 2026-01-05 09:00:00 UTC, more than 600 s ago")
    assert world.slot(entry.key).status is SlotStatus.SKIPPED
    world.close()


# --- the world went on meanwhile ------------------------------------------------------------------------------------


def test_an_agent_that_is_listed_no_more_is_released_after_a_while(durable: Durable) -> None:
    key = durable.add()
    durable.scheduler.tick()
    durable.agents.clear()
    durable.restart()
    durable.scheduler.start()
    durable.clock.advance(110)
    assert durable.scheduler.status().active
    durable.clock.advance(60)
    assert not durable.scheduler.status().active
    assert durable.state(key) is SlotStatus.DEFERRED
    assert durable.scheduler.account().is_balanced


def test_a_slot_that_another_live_scheduler_has_taken_meanwhile_is_settled_without_a_word(carried: Durable) -> None:
    assert carried.carried is not None
    key = carried.add()
    carried.scheduler.tick()
    carried.kill()
    other_host = RecordingHost()
    other = Scheduler(
        EmbeddedTransport(carried.carried, "elsewhere"),
        other_host,
        lambda: carried.agents,
        clock=carried.clock,
        runner=CallerRunner(),
        config=SchedulerConfig(seed=9),
    )
    carried.clock.advance(150)
    other.tick()
    assert [active.taken_up for active in other.status().active] == [True]
    carried.restart()
    carried.scheduler.tick()
    assert not carried.scheduler.status().active
    [entry] = carried.scheduler.status().history
    assert entry.reason == "another scheduler has taken it"
    assert carried.outbox.delivery_status().accepted == 0
    assert carried.state(key) is SlotStatus.ONGOING
    other.complete("dev")
    assert carried.state(key) is SlotStatus.FINISHED
    other.stop()


@pytest.mark.parametrize("step", ["reserve.committed", "claim.before"])
def test_a_slot_that_was_cancelled_before_its_wake_was_entered_is_not_woken_for(carried: Durable, step: str) -> None:
    assert carried.carried is not None
    key = carried.add()
    carried.kill_at = step
    with carried.dying():
        carried.scheduler.tick()
    carried.carried.cancel_slot(key)
    finish(carried)
    assert not carried.host.wakes
    assert not carried.scheduler.status().active
    assert carried.state(key) is SlotStatus.SKIPPED


def test_a_refusal_that_came_after_the_end_is_remembered(memory: Durable) -> None:
    key = memory.add()
    memory.scheduler.tick()
    memory.memory.cancel(key)
    memory.scheduler.complete("dev")
    assert memory.outbox.delivery_status().dead == 1
    memory.restart()
    memory.memory.set_slot(key, status="not_started", updated_at=memory.clock.now())
    memory.scheduler.tick()
    assert memory.outbox.delivery_status().dead == 1


# --- the journal itself ---------------------------------------------------------------------------------------------


def test_a_damaged_journal_is_refused_at_the_beginning(memory: Durable) -> None:
    memory.add()
    memory.scheduler.tick()
    memory.kill()
    path = memory._path
    content = bytearray(path.read_bytes())
    where = content.rindex(b"ongoing")
    content[where : where + 7] = b"settled"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="damaged"):
        Journal(path)
    memory.life.alive = True


def test_one_journal_serves_one_outbox(memory: Durable) -> None:
    with pytest.raises(JournalError, match="in use"):
        Journal(memory.journal.path, patience=0.0)


def test_without_a_journal_no_wake_begins_and_the_slot_is_free_again(durable: Durable) -> None:
    key = durable.add()
    durable.fail_at = ("reserve",)
    durable.scheduler.start()
    durable.clock.advance(60)
    assert not durable.host.wakes
    assert not durable.scheduler.status().active
    assert "No space left" in durable.scheduler.status().problems["dev"]["journal"].message
    assert durable.state(key) is SlotStatus.NOT_STARTED
    assert durable.scheduler.status().last_heartbeats["dev"] == durable.clock.now()
    durable.fail_at = ()
    durable.clock.advance(60)
    assert attempts(durable) == [("1", 1)]
    assert "journal" not in durable.scheduler.status().problems.get("dev", {})


def test_a_slot_that_was_claimed_is_given_back_where_its_wake_cannot_be_written(carried: Durable) -> None:
    key = carried.add()
    carried.fail_at = ("enter",)
    carried.scheduler.tick()
    assert not carried.host.wakes
    assert carried.state(key) is SlotStatus.DEFERRED
    carried.fail_at = ()
    finish(carried)
    assert len(carried.host.wakes) == 1
    assert carried.state(key) is SlotStatus.ONGOING


def test_where_giving_back_cannot_be_written_either_it_is_done_later(carried: Durable) -> None:
    key = carried.add()
    carried.fail_at = ("enter", "accept")
    carried.scheduler.start()
    carried.clock.advance(60)
    assert not carried.host.wakes
    carried.fail_at = ()
    carried.clock.advance(300)
    assert len(carried.host.wakes) == 1
    assert carried.state(key) is SlotStatus.ONGOING
    assert carried.scheduler.account().is_balanced


@pytest.mark.parametrize("verb", ["complete", "abort", "pause"])
def test_a_report_that_cannot_be_written_raises_and_changes_nothing(durable: Durable, verb: str) -> None:
    key = durable.add()
    durable.scheduler.tick()
    durable.fail_at = ("accept",)
    with pytest.raises(JournalError):
        getattr(durable.scheduler, verb)("dev")
    assert durable.scheduler.status().active[0].state is ActiveState.ONGOING
    assert durable.state(key) is SlotStatus.ONGOING
    assert "No space left" in durable.scheduler.status().problems["dev"]["update"].message
    durable.fail_at = ()
    getattr(durable.scheduler, verb)("dev")
    assert durable.state(key) == {"complete": "finished", "abort": "aborted", "pause": "paused"}[verb]


def test_what_cannot_be_written_after_it_was_done_goes_with_the_next_write(durable: Durable) -> None:
    durable.add()
    durable.scheduler.tick()
    durable.fail_at = ("",)
    durable.clock.advance(1200)
    durable.scheduler.renew("dev")
    durable.fail_at = ()
    durable.scheduler.pause("dev", "rest")
    durable.restart()
    assert durable.scheduler.status().active[0].heard_at == durable.clock.now()


def test_a_reminder_that_cannot_be_written_is_not_given(durable: Durable) -> None:
    durable.add(minutes=10)
    durable.scheduler.start()
    durable.clock.advance(0)
    durable.fail_at = ("remind",)
    durable.clock.advance(1800)
    assert len(durable.host.wakes) == 1
    assert "No space left" in durable.scheduler.status().problems["dev"]["journal"].message


# --- any moment -----------------------------------------------------------------------------------------------------


STEPS = [f"{act}.{step}" for act in ("reserve", "enter", "accept") for step in ("begun", "written", "committed")]
STEPS += [f"{act}.written" for act in ("send", "deliver", "change")]
NEVER_REACHED = {
    False: {
        "enter.begun",
        "enter.written",
        "enter.committed",
        "claim.before",
        "claim.after",
        "change.written",
        "settle.written",
    },
    True: {"settle.written"},
}
STEPS += [f"{call}.{when}" for call in ("claim", "update_slot", "heartbeat", "wake") for when in ("before", "after")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("is_carried", "policy"), [(False, "repeat"), (True, "skip")], ids=["memory", "carried"])
def test_whenever_it_is_killed_each_slot_is_woken_for_and_ends_as_its_agent_said(
    folder: Path, *, step: str, is_carried: bool, policy: str
) -> None:
    def answer(wake: WakeRequest) -> None:
        wake.report.complete("did it")

    world = Durable(folder, carried=is_carried, on_unknown=policy, heartbeat_interval=100)
    keys = [world.add(minutes=10) for _ in range(3)]
    world.kill_at = step
    for _ in range(5):
        with contextlib.suppress(KilledError):
            world.scheduler.start()
            world.clock.advance(100)
            for active in world.scheduler.status().active:
                # The agent has worked, if its wake has reached it.
                if active.wake_id in world.wake_ids:
                    world.scheduler.complete("dev", "did it")
        world.restart()
    world.host.on_wake = answer
    world.scheduler.start()
    world.clock.advance(2000)
    assert not world.kill_at or step in NEVER_REACHED[is_carried]
    assert [world.state(key) for key in keys] == ["finished"] * 3
    assert {(entry.ident, entry.status) for entry in world.scheduler.status().history} == {
        (str(key), "finished") for key in keys
    }
    wakes = [(wake.slot.ident, wake.attempt, wake.wake_id) for wake in world.host.wakes]
    assert {(ident, attempt) for ident, attempt, _ in wakes} == {(str(key), 1) for key in keys}
    assert len(set(wakes)) == 3
    assert world.outbox.delivery_status().pending == 0
    assert world.scheduler.account().is_balanced
    world.close()


# --- what has changed while nobody was there ------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["reserve.committed", "claim.before"])
def test_a_slot_that_was_moved_before_its_wake_was_entered_is_woken_for_at_its_new_time(
    carried: Durable, step: str
) -> None:
    assert carried.carried is not None
    key = carried.carried.add_slot("dev", carried.clock.now() - dt.timedelta(minutes=5), 30).key
    carried.kill_at = step
    with carried.dying():
        carried.scheduler.tick()
    carried.carried.edit_slot(key, starts_at=carried.clock.now() + dt.timedelta(hours=2))
    carried.scheduler.start()
    carried.clock.advance(7_100)
    assert not carried.host.wakes
    [entry] = carried.scheduler.status().history
    assert entry.reason == "the calendar has moved it to 2026-01-05 11:00:00"
    assert "calendar slot is gone" in [line.message for line in carried.host.logs]
    carried.clock.advance(200)
    assert attempts(carried) == [(str(key), 2)]


@pytest.mark.parametrize("on_unknown", ["skip", "repeat"])
def test_a_slot_that_was_moved_while_nobody_knew_of_its_wake_is_told_and_settled(folder: Path, on_unknown: str) -> None:
    world = Durable(folder, on_unknown=on_unknown)
    now = world.clock.now()
    key = world.memory.add_slot("dev", date=now.date(), scheduled_at=now.time())
    world.kill_at = "wake.after"
    with world.dying():
        world.scheduler.tick()
    world.memory.set_slot(key, scheduled_at=(now + dt.timedelta(hours=2)).time())
    world.scheduler.start()
    world.clock.advance(7_000)
    assert len(world.host.wakes) == 1
    assert world.state(key) is SlotStatus.NOT_STARTED, "what was never told is not told of another time"
    world.clock.advance(300)
    assert attempts(world) == [(str(key), 1), (str(key), 2)]
    world.close()


def test_a_slot_that_was_cancelled_is_not_woken_for_once_more_where_wakes_are_repeated(folder: Path) -> None:
    world = Durable(folder, on_unknown="repeat")
    key = world.memory.add_slot("dev", date=world.clock.now().date())
    world.kill_at = "wake.before"
    with world.dying():
        world.scheduler.tick()
    world.memory.cancel(key)
    world.scheduler.start()
    world.clock.advance(100)
    assert not world.host.wakes
    assert world.scheduler.status().history[0].reason.endswith("cancelled or moved")
    world.close()


@pytest.mark.parametrize("on_unknown", ["skip", "repeat"])
def test_a_wake_of_which_nobody_knows_is_never_too_late_to_be_reported(folder: Path, on_unknown: str) -> None:
    world = Durable(folder, on_unknown=on_unknown, misfire_grace=300)
    now = world.clock.now()
    key = world.memory.add_slot("dev", date=now.date(), scheduled_at=now.time())
    world.kill_at = "wake.after"
    with world.dying():
        world.scheduler.tick()
    world.clock.advance(600)
    world.scheduler.tick()
    assert len(world.host.wakes) == 1, "it is too late to wake anybody"
    world.scheduler.complete("dev", "in time, and told late")
    world.clock.advance(10)
    assert world.state(key) is SlotStatus.FINISHED
    world.close()


@pytest.mark.parametrize("seconds", [0, 1_200])
def test_an_agent_that_was_heard_is_not_woken_once_more(folder: Path, seconds: float) -> None:
    world = Durable(folder, on_unknown="repeat", wake_timeout=3_600)
    world.add()

    def report(wake: WakeRequest) -> None:
        world.clock.advance(seconds)
        wake.report.renew()

    world.host.on_wake = report
    world.kill_at = "wake.after"
    with world.dying():
        world.scheduler.tick()
    world.host.on_wake = None
    world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert world.scheduler.status().active[0].state is ActiveState.ONGOING
    world.close()


def test_a_start_that_was_refused_while_nobody_was_there_ends_its_slot(memory: Durable) -> None:
    memory.add()
    memory.memory.before_update = refuse_to_answer
    memory.scheduler.tick()
    memory.kill()
    memory.memory.before_update = None
    memory.memory.fail_next(CalendarRefusedError(404, "Slot not found"), on="update")
    memory.restart()
    status = memory.scheduler.status()
    assert status.active == ()
    assert status.history[-1].reason == "calendar refused (404): Slot not found"
    assert status.delivery is not None
    assert status.delivery.dead == 1
    finish(memory)


def test_the_history_has_the_same_order_counts_and_misses_after_a_restart(folder: Path) -> None:
    world = Durable(folder, "a", "b", misfire_grace=300)
    world.memory.add_slot("a", priority=9)
    world.scheduler.tick()
    world.memory.add_slot("b")
    world.scheduler.tick()
    world.scheduler.complete("b", "begun last, done first")
    world.clock.advance(5)
    world.scheduler.complete("a")
    world.memory.add_slot("a", date=world.clock.now().date(), scheduled_at=dt.time(7))
    world.memory.add_slot("b")
    world.host.fail_next(RuntimeError("no"), times=3)
    world.scheduler.start()
    world.clock.advance(100)
    before = world.scheduler.status().history
    assert [(entry.agent_id, str(entry.status), entry.count) for entry in before] == [
        ("b", "finished", 1),
        ("a", "finished", 1),
        ("a", "skipped", 1),
        ("b", "aborted", 3),
    ]
    world.restart()
    assert world.scheduler.status().history == before
    world.close()


def test_two_schedulers_over_one_journal_are_refused(memory: Durable) -> None:
    with pytest.raises(ConfigurationError, match="another scheduler's"):
        Scheduler(memory.outbox, memory.host, lambda: memory.agents, clock=memory.life, runner=CallerRunner())


def test_a_slot_that_the_journal_could_not_read_again_is_not_begun(memory: Durable) -> None:
    class Odd:
        """A transport of somebody's own, with ids that the contract does not know."""

        def __init__(self) -> None:
            self.inner = memory.memory

        def heartbeat(self, agent_id: str) -> Heartbeat:
            return Heartbeat(slots=(Slot(id=7, priority=500), Slot(id=8, priority=-1)))

        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            return self.inner.update_slot(agent_id, slot, update)

        def close(self) -> None:
            """Keep the calendar."""

    path = memory.journal.path.with_name("odd")
    runner, host = CallerRunner(), RecordingHost()
    outbox = OutboxTransport(Odd(), Journal(path, clock=memory.clock), runner=runner)
    scheduler = Scheduler(outbox, host, lambda: memory.agents, clock=memory.clock, runner=runner)
    scheduler.tick()
    assert not host.wakes
    assert "cannot hold this attempt of 'dev' at slot 7" in scheduler.status().problems["dev"]["journal"].message
    scheduler.stop()
    Journal(path, clock=memory.clock).close()


def test_a_wall_clock_that_was_set_is_known_after_a_restart(durable: Durable) -> None:
    key = durable.add(minutes=30)
    durable.scheduler.start()
    durable.clock.advance(600)
    durable.clock.jump(7_200)
    durable.clock.advance(600)
    until = durable.scheduler.status().active[0].lease_until
    durable.scheduler.renew("dev")
    durable.restart()
    [active] = durable.scheduler.status().active
    assert active.lease_until is not None
    assert until is not None
    assert abs((active.lease_until - until).total_seconds()) < 1_300, "not two hours sooner"
    durable.scheduler.complete("dev")
    durable.clock.advance(10)
    assert durable.slot(key).actual_duration == 20
