"""DESIGN 4.2, point 9: an active slot has a lease; silence brings one reminder, then an end that may yet be amended."""

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal import (
    Agent,
    AgentStatus,
    JournalError,
    NoActiveSlotError,
    NotSentError,
    Scheduler,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotMismatchError,
    SlotStatus,
    SlotUpdate,
    TransportError,
    WakeRequest,
)
from harborcal.policy import SHORTEST_LEASE
from harborcal.testing import FakeClock
from tests.durable import Durable
from tests.scheduler.test_settlement import scripted_world
from tests.world import World, threaded

LEASE = SHORTEST_LEASE


@pytest.fixture
def world() -> World:
    return silent()


def silent(*agents: str, **config: Any) -> World:
    """A world whose scheduler runs, with one agent at work that says nothing."""
    world = World(*agents, config=SchedulerConfig(seed=1, **config))
    world.add(agents[0] if agents else "dev", estimated_duration=10)
    world.scheduler.start()
    world.clock.advance(0)
    assert len(world.host.wakes) == 1
    return world


@pytest.fixture
def durable(folder: Path) -> Iterator[Durable]:
    made = Durable(folder)
    made.add(minutes=10)
    made.scheduler.start()
    made.clock.advance(0)
    yield made
    made.close()


def reject(_agent_id: str, _key: SlotKey, _update: SlotUpdate) -> None:
    raise TransportError("no update gets through")


def warnings(world: World | Durable) -> list[str]:
    return [line.message for line in world.host.logs if line.level == "warn"]


# --- the lease ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "lease"), [(None, 1800), (10, 1800), (15, 1800), (16, 1920), (120, 14_400)])
def test_a_lease_is_twice_the_estimate_and_at_least_half_an_hour(minutes: int | None, lease: float) -> None:
    world = World()
    world.add(estimated_duration=minutes)
    world.scheduler.tick()
    [active] = world.scheduler.status().active
    assert active.lease_until == world.clock.now() + dt.timedelta(seconds=lease)


def test_the_shortest_lease_is_configured() -> None:
    world = silent(lease=7200.0)
    world.clock.advance(7199)
    assert len(world.host.wakes) == 1
    world.clock.advance(1)
    assert len(world.host.wakes) == 2


def test_without_a_lease_an_agent_may_be_silent_for_ever() -> None:
    world = silent(lease=None, heartbeat_interval=110.0)
    world.clock.advance(86_400)
    [active] = world.scheduler.status().active
    assert (active.lease_until, active.overdue) == (None, False)
    assert len(world.host.wakes) == 1


@pytest.mark.parametrize("call", ["renew", "pause", "resume", "complete_elsewhere"])
def test_any_call_of_its_agent_renews_a_lease(world: World, call: str) -> None:
    world.clock.advance(LEASE - 60)
    if call == "complete_elsewhere":
        world.calendar.fail_next(TransportError("down"), on="update")
        with pytest.raises(TransportError):
            world.scheduler.complete("dev")
    else:
        getattr(world.scheduler, call)("dev")
        if call == "pause":
            world.scheduler.resume("dev")
    [active] = world.scheduler.status().active
    assert active.lease_until == world.clock.now() + dt.timedelta(seconds=LEASE)
    world.clock.advance(LEASE - 1)
    assert len(world.host.wakes) == 1
    world.clock.advance(1)
    assert len(world.host.wakes) == 2


def test_a_call_through_the_attempts_own_handle_renews_too(world: World) -> None:
    world.clock.advance(LEASE - 60)
    world.host.wakes[0].report.renew()
    world.clock.advance(LEASE - 1)
    assert len(world.host.wakes) == 1


def test_a_lease_is_suspended_while_the_work_rests(world: World) -> None:
    world.clock.advance(LEASE / 2)
    world.scheduler.pause("dev", "waiting for a review")
    assert world.scheduler.status().active[0].lease_until is None
    world.clock.advance(10 * LEASE)
    assert len(world.host.wakes) == 1
    world.scheduler.resume("dev")
    world.clock.advance(LEASE - 1)
    assert len(world.host.wakes) == 1
    world.clock.advance(1)
    assert len(world.host.wakes) == 2


# --- what a restart knows of it -------------------------------------------------------------------------------------


def test_who_was_heard_is_not_silent_after_a_restart(durable: Durable) -> None:
    for _ in range(6):
        durable.clock.advance(600)
        durable.scheduler.renew("dev")
    durable.clock.advance(60)
    durable.restart()
    [active] = durable.scheduler.status().active
    assert active.lease_until is not None
    assert active.heard_at is not None
    # A sign of life within a quarter of the lease after another is not written.
    assert (durable.clock.now() - active.heard_at).total_seconds() <= 60 + LEASE / 4
    assert (active.lease_until - durable.clock.now()).total_seconds() >= LEASE * 3 / 4 - 60
    durable.scheduler.start()
    durable.clock.advance(LEASE / 2)
    assert [wake.reminder for wake in durable.host.wakes] == [False]


def test_signs_of_life_are_written_at_most_four_times_a_lease(
    durable: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(durable, "pass_by", lambda _life, step: steps.append(step))
    for _ in range(int(2 * LEASE / 10)):
        durable.clock.advance(10)
        durable.scheduler.renew("dev")
    assert 4 <= steps.count("change.written") <= 8
    assert len(durable.host.wakes) == 1


def test_an_answer_to_a_reminder_is_known_after_a_restart(durable: Durable) -> None:
    durable.clock.advance(LEASE)
    assert [wake.reminder for wake in durable.host.wakes] == [False, True]
    durable.clock.advance(1)
    durable.scheduler.renew("dev")
    durable.restart()
    assert not durable.scheduler.status().active[0].overdue


def test_an_answer_to_a_reminder_soon_after_one_restart_is_known_after_another(durable: Durable) -> None:
    durable.clock.advance(LEASE - 60)
    durable.restart()
    durable.scheduler.start()
    durable.clock.advance(60)
    assert [wake.reminder for wake in durable.host.wakes] == [False, True]
    durable.clock.advance(1)
    durable.scheduler.renew("dev")
    durable.restart()
    [active] = durable.scheduler.status().active
    assert not active.overdue
    durable.scheduler.start()
    durable.clock.advance(LEASE - 1)
    assert len(durable.host.wakes) == 2


# --- the reminder ---------------------------------------------------------------------------------------------------


def test_silence_brings_one_reminder_of_the_same_attempt(world: World) -> None:
    world.clock.advance(LEASE)
    first, second = world.host.wakes
    assert (first.reminder, second.reminder) == (False, True)
    assert (first.attempt, first.wake_id, first.slot) == (second.attempt, second.wake_id, second.slot)
    [active] = world.scheduler.status().active
    assert active.overdue
    assert active.lease_until == world.clock.now() + dt.timedelta(seconds=LEASE)
    assert warnings(world) == ["calendar agent is silent"]
    world.clock.advance(LEASE - 1)
    assert len(world.host.wakes) == 2


def test_an_agent_that_answers_its_reminder_has_a_whole_lease_again(world: World) -> None:
    world.clock.advance(LEASE)
    world.host.wakes[1].report.renew()
    assert not world.scheduler.status().active[0].overdue
    world.clock.advance(LEASE - 1)
    assert len(world.host.wakes) == 2
    world.clock.advance(1)
    assert [wake.reminder for wake in world.host.wakes] == [False, True, True]
    assert len(world.scheduler.status().active) == 1


def test_an_agent_may_complete_inside_its_reminder(world: World) -> None:
    world.host.on_wake = lambda wake: wake.report.complete("here I am")
    world.clock.advance(LEASE)
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.summary, entry.late) == ("finished", "here I am", False)
    assert [status for _, status in world.sent] == ["ongoing", "finished"]


def test_a_reminder_that_raises_changes_nothing_else(world: World) -> None:
    world.host.fail_next(RuntimeError("nobody home"))
    world.clock.advance(LEASE)
    assert world.scheduler.status().problems["dev"]["wake"].message == "reminder failed: nobody home"
    [active] = world.scheduler.status().active
    assert active.overdue
    world.clock.advance(LEASE)
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason, entry.count) == ("aborted", "no report within 1800 s", 1)
    assert [status for _, status in world.sent] == ["ongoing", "aborted"]


def test_a_reminder_that_hangs_is_given_up_and_the_lease_goes_on() -> None:
    gate, told = threading.Event(), threading.Event()

    def hang(wake: WakeRequest) -> None:
        assert not wake.reminder or gate.wait(10)

    def note(_agent_id: str, _key: SlotKey, update: SlotUpdate) -> None:
        if update.status is SlotStatus.ABORTED:
            told.set()

    world = threaded(on_wake=hang)
    world.calendar.before_update = note
    world.add(estimated_duration=10)
    world.scheduler.tick()
    world.clock.advance(LEASE)
    assert world.host.wait_for_wakes(2)
    world.clock.advance(300)
    problem = world.scheduler.status().problems["dev"]["wake"]
    assert problem.message == "reminder failed: wake_agent has not returned within 300 s"
    assert world.scheduler.status().abandoned_threads == 1
    world.clock.advance(LEASE - 300)
    assert told.wait(10)
    gate.set()
    world.scheduler.stop()
    assert world.scheduler.status().history[-1].reason == "no report within 1800 s"


def test_a_silent_wake_of_one_agent_disturbs_no_other() -> None:
    world = silent("dev", "ops")
    world.clock.advance(LEASE / 2)
    world.add("ops", estimated_duration=10)
    world.clock.advance(30)
    world.clock.advance(LEASE / 2)
    assert [(wake.agent_id, wake.reminder) for wake in world.host.wakes] == [
        ("dev", False),
        ("ops", False),
        ("dev", True),
    ]


# --- the end --------------------------------------------------------------------------------------------------------


def test_a_second_silence_ends_the_slot_as_aborted(world: World) -> None:
    world.clock.advance(2 * LEASE - 1)
    assert world.scheduler.status().active
    world.clock.advance(1)
    assert not world.scheduler.status().active
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason, entry.late) == ("aborted", "no report within 1800 s", False)
    assert [status for _, status in world.sent] == ["ongoing", "aborted"]
    assert warnings(world) == ["calendar agent is silent", "calendar slot given up"]


def test_after_a_second_silence_the_next_slot_is_woken_for(world: World) -> None:
    world.add(id=7)
    world.clock.advance(2 * LEASE + 30)
    assert world.host.woken[-1] == ("dev", "7")


def test_a_slot_that_was_taken_up_has_a_lease_too() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.scheduler.start()
    world.clock.advance(0)
    assert world.scheduler.status().active[0].taken_up
    layer.listed = ()
    world.clock.advance(LEASE)
    assert [wake.reminder for wake in world.host.wakes] == [True]
    world.clock.advance(LEASE)
    assert world.scheduler.status().history[-1].reason == "no report within 1800 s"


def test_when_the_calendar_is_down_at_the_end_it_is_told_once_it_is_back(world: World) -> None:
    world.calendar.start_outage()
    world.clock.advance(2 * LEASE)
    assert world.scheduler.status().active
    world.clock.advance(300)
    world.calendar.stop_outage()
    world.clock.advance(120)
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason) == ("aborted", "no report within 1800 s")
    assert world.sent[-1] == ("dev", "aborted")


def test_an_agent_that_calls_before_the_calendar_could_be_told_goes_on(world: World) -> None:
    world.calendar.start_outage(NotSentError("no route"))
    world.clock.advance(2 * LEASE)
    world.scheduler.renew("dev")
    world.calendar.stop_outage()
    world.clock.advance(300)
    [active] = world.scheduler.status().active
    assert not active.overdue
    assert [status for _, status in world.sent] == ["ongoing"]
    world.scheduler.complete("dev", "after all")
    assert world.scheduler.status().history[-1].status == "finished"


def test_an_agent_that_went_on_after_an_outage_is_watched_again(world: World) -> None:
    world.calendar.start_outage(NotSentError("no route"))
    world.clock.advance(2 * LEASE)
    world.scheduler.renew("dev")
    world.calendar.stop_outage()
    world.clock.advance(LEASE)
    assert [wake.reminder for wake in world.host.wakes] == [False, True, True]
    world.clock.advance(LEASE)
    assert world.scheduler.status().history[-1].reason == "no report within 1800 s"


@pytest.mark.parametrize("seconds", [-86_400 * 30, 86_400 * 30])
def test_a_wall_clock_that_is_set_ends_no_lease_and_starts_none(world: World, seconds: float) -> None:
    world.clock.advance(LEASE / 2)
    world.clock.jump(seconds)
    world.clock.advance(LEASE / 2 - 1)
    assert len(world.host.wakes) == 1
    world.clock.advance(1)
    assert len(world.host.wakes) == 2
    assert world.scheduler.status().active[0].lease_until == world.clock.now() + dt.timedelta(seconds=LEASE)


def test_after_a_stop_nobody_is_reminded(world: World) -> None:
    world.scheduler.stop()
    world.clock.advance(3 * LEASE)
    assert len(world.host.wakes) == 1
    assert not world.clock.pending


def test_a_request_to_stop_keeps_silence_from_being_punished(world: World) -> None:
    world.clock.advance(LEASE)
    world.scheduler.request_stop()
    world.clock.advance(3 * LEASE)
    assert len(world.scheduler.status().active) == 1
    assert [status for _, status in world.sent] == ["ongoing"]


class Counting(FakeClock):
    """A clock that counts the timers it is asked for."""

    timers = 0

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.timers += 1
        return super().call_later(delay, callback)


def test_one_look_waits_for_each_agent_however_many_slots_it_had() -> None:
    clock = Counting()
    world = World(on_wake=lambda wake: wake.report.complete(), clock=clock, config=SchedulerConfig(seed=1))
    for _ in range(100):
        world.add(estimated_duration=10)
        clock.advance(1)
        world.scheduler.tick()
    assert len(world.host.wakes) == 100
    clock.timers = 0
    clock.advance(2 * LEASE)
    assert clock.timers < 10
    assert len(world.host.wakes) == 100


# --- late reports ---------------------------------------------------------------------------------------------------


Late = Callable[[Scheduler, WakeRequest], None]


def by_agent(scheduler: Scheduler, _wake: WakeRequest) -> None:
    scheduler.complete("dev", "sorry, late")


def by_fence(scheduler: Scheduler, wake: WakeRequest) -> None:
    scheduler.complete("dev", "sorry, late", slot=wake.slot)


def by_handle(_scheduler: Scheduler, wake: WakeRequest) -> None:
    wake.report.complete("sorry, late")


@pytest.mark.parametrize("late", [by_agent, by_fence, by_handle])
def test_a_late_report_of_a_delivered_end_amends_the_history_and_sends_nothing(world: World, late: Late) -> None:
    world.clock.advance(2 * LEASE)
    late(world.scheduler, world.host.wakes[0])
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.late, entry.summary) == ("aborted", True, "sorry, late")
    assert entry.reason == "no report within 1800 s"
    assert [status for _, status in world.sent] == ["ongoing", "aborted"]
    with pytest.raises(NoActiveSlotError):
        late(world.scheduler, world.host.wakes[0])


def test_a_late_abort_amends_the_history_too(world: World) -> None:
    world.clock.advance(2 * LEASE)
    world.scheduler.abort("dev", "could not do it")
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.late, entry.summary) == ("aborted", True, "could not do it")


@pytest.mark.parametrize("verb", ["pause", "resume", "renew"])
def test_what_is_over_can_only_be_reported_late_not_gone_on_with(world: World, verb: str) -> None:
    world.clock.advance(2 * LEASE)
    with pytest.raises(NoActiveSlotError):
        getattr(world.scheduler, verb)("dev")
    with pytest.raises(NoActiveSlotError):
        getattr(world.host.wakes[0].report, verb)()
    assert not world.scheduler.status().history[0].late


@pytest.mark.parametrize("late", [by_agent, by_fence, by_handle])
def test_a_late_report_replaces_an_end_that_was_never_sent(durable: Durable, late: Late) -> None:
    durable.clock.advance(2 * LEASE - 1)
    durable.memory.start_outage()
    durable.scheduler.pause("dev")  # is tried, and keeps what follows waiting
    durable.scheduler.resume("dev")
    durable.clock.advance(2 * LEASE)
    assert durable.scheduler.status().history[-1].status == "aborted"
    late(durable.scheduler, durable.host.wakes[0])
    [entry] = durable.scheduler.status().history
    assert (entry.status, entry.late, entry.summary) == ("finished", True, "sorry, late")
    with pytest.raises(NoActiveSlotError):
        late(durable.scheduler, durable.host.wakes[0])
    durable.memory.stop_outage()
    durable.clock.advance(300)
    assert durable.sent == ["ongoing", "paused", "ongoing", "finished"]
    [slot] = durable.memory.slots("dev")
    assert slot.actual_duration == entry.actual_duration == 119


def test_a_late_report_replaces_no_end_that_may_have_arrived(durable: Durable) -> None:
    durable.clock.advance(2 * LEASE - 1)
    durable.memory.lose_next_answer()
    durable.clock.advance(1)
    assert durable.outbox.delivery_status().pending == 1
    durable.scheduler.complete("dev", "sorry, late")
    durable.clock.advance(60)
    [entry] = durable.scheduler.status().history
    assert (entry.status, entry.late) == ("aborted", True)
    assert durable.sent == ["ongoing", "aborted", "aborted"]


def test_a_late_report_that_cannot_be_written_may_be_made_again(durable: Durable) -> None:
    durable.clock.advance(2 * LEASE - 1)
    durable.memory.start_outage()
    durable.scheduler.pause("dev")
    durable.scheduler.resume("dev")
    durable.clock.advance(2 * LEASE)
    durable.fail_at = ("replace",)
    with pytest.raises(JournalError):
        durable.scheduler.complete("dev", "sorry, late")
    assert not durable.scheduler.status().history[0].late
    durable.fail_at = ()
    durable.scheduler.complete("dev", "sorry, late")
    assert durable.scheduler.status().history[0].status == "finished"


def test_a_late_report_is_known_after_a_restart(durable: Durable) -> None:
    durable.clock.advance(2 * LEASE)
    durable.scheduler.complete("dev", "sorry, late")
    before = durable.scheduler.status().history
    durable.restart()
    assert durable.scheduler.status().history == before
    with pytest.raises(NoActiveSlotError):
        durable.scheduler.complete("dev", "again")


def test_a_late_report_may_come_after_a_restart(durable: Durable) -> None:
    durable.clock.advance(2 * LEASE)
    durable.restart()
    durable.scheduler.complete("dev", "sorry, late")
    [entry] = durable.scheduler.status().history
    assert (entry.status, entry.late, entry.summary) == ("aborted", True, "sorry, late")


def test_a_late_report_means_the_latest_slot_also_when_an_earlier_ones_end_is_delivered_after_it(
    folder: Path,
) -> None:
    durable = Durable(folder)
    durable.memory.add_virtual_slot("dev", 3, estimated_duration=10)
    durable.scheduler.start()
    durable.memory.before_update = reject
    durable.clock.advance(30)
    durable.scheduler.complete("dev", "the virtual one")
    durable.memory.add_slot("dev", estimated_duration=10)
    durable.clock.advance(30 + 2 * LEASE)
    assert [entry.status for entry in durable.scheduler.status().history] == ["finished", "aborted"]
    durable.memory.before_update = None
    durable.clock.advance(600)
    assert durable.outbox.delivery_status().pending == 0
    durable.scheduler.complete("dev", "the second one")
    assert durable.scheduler.status().history[-1].late
    durable.close()


def test_a_late_report_reaches_its_own_slot_while_the_agent_is_at_another(world: World) -> None:
    world.add(id=7)
    world.clock.advance(2 * LEASE + 30)
    assert world.scheduler.status().active[0].ident == "7"
    world.scheduler.complete("dev", "the first one", slot=world.host.wakes[0].slot)
    [entry] = world.scheduler.status().history
    assert (entry.ident, entry.late, entry.summary) == ("1", True, "the first one")
    assert world.scheduler.status().active[0].ident == "7"
    with pytest.raises(SlotMismatchError):
        world.scheduler.complete("dev", slot=world.host.wakes[0].slot)


def go_on_to_the_third_slot(world: World) -> None:
    """Let an agent be given up at its first slot, finish its second, and begin its third."""
    world.add(id=7)
    world.add(id=8)
    world.clock.advance(2 * LEASE + 30)
    world.scheduler.complete("dev", "seven")
    world.clock.advance(30)
    assert world.scheduler.status().active[0].ident == "8"


def test_a_late_report_by_its_wake_reaches_its_own_attempt_however_many_came_since(world: World) -> None:
    go_on_to_the_third_slot(world)
    first = world.host.wakes[0].wake_id
    for fence, wake_id in ((SlotKey.real(7), first), (SlotKey.real(1), "another"), (None, "another")):
        with pytest.raises(SlotMismatchError):
            world.scheduler.complete("dev", slot=fence, wake_id=wake_id)
    world.scheduler.complete("dev", "the first one", wake_id=first)
    one = world.scheduler.status().history[0]
    assert (one.ident, one.late, one.summary, one.wake_id) == ("1", True, "the first one", first)
    assert world.scheduler.status().active[0].ident == "8"


def test_a_late_report_by_its_handle_reaches_its_own_slot_however_many_came_since(world: World) -> None:
    go_on_to_the_third_slot(world)
    world.host.wakes[0].report.complete("one")
    assert [(entry.ident, entry.late, entry.summary) for entry in world.scheduler.status().history] == [
        ("1", True, "one"),
        ("7", False, "seven"),
    ]


def test_a_late_report_by_a_fence_reaches_its_own_slot_however_many_came_since(world: World) -> None:
    world.add(id=7)
    world.clock.advance(2 * LEASE + 30)
    world.scheduler.complete("dev", "seven")
    world.scheduler.complete("dev", "one", slot=world.host.wakes[0].slot)
    assert [(entry.ident, entry.late, entry.summary) for entry in world.scheduler.status().history] == [
        ("1", True, "one"),
        ("7", False, "seven"),
    ]
    with pytest.raises(NoActiveSlotError):
        world.scheduler.complete("dev")


def test_what_came_last_is_known_after_a_restart_too(durable: Durable) -> None:
    durable.add()
    durable.clock.advance(2 * LEASE + 30)
    durable.scheduler.complete("dev", "the second")
    durable.restart()
    with pytest.raises(NoActiveSlotError):
        durable.scheduler.complete("dev", "who knows what")
    durable.scheduler.complete("dev", "the first", slot=durable.host.wakes[0].slot)
    assert [(entry.late, entry.summary) for entry in durable.scheduler.status().history] == [
        (True, "the first"),
        (False, "the second"),
    ]


def test_without_a_fence_a_report_means_the_latest_slot_and_none_before_it(world: World) -> None:
    world.add(id=7)
    world.clock.advance(2 * LEASE + 30)
    world.scheduler.complete("dev", "seven")
    with pytest.raises(NoActiveSlotError):
        world.scheduler.complete("dev", "who knows what")
    assert not any(entry.late for entry in world.scheduler.status().history)


# --- what was found by looking closely ------------------------------------------------------------------------------


def test_a_late_report_replaces_an_end_that_surely_never_arrived_however_often_it_was_tried(durable: Durable) -> None:
    durable.clock.advance(60)
    with durable.memory.outage(NotSentError("connection refused")):
        durable.clock.advance(3 * LEASE)
        assert durable.scheduler.status().history[-1].status == "aborted"
        durable.scheduler.complete("dev", "late but real")
    durable.clock.advance(900)
    assert durable.sent == ["ongoing", "finished"]
    [entry] = durable.scheduler.status().history
    assert (str(entry.status), entry.late, entry.summary) == ("finished", True, "late but real")
    assert durable.scheduler.account().settled == {"finished": 1}


def test_a_renewal_while_the_end_is_being_told_in_vain_is_honoured(world: World) -> None:
    calls: list[str] = []

    def fail_once(_agent_id: str, _key: SlotKey, update: SlotUpdate) -> None:
        if update.status is SlotStatus.ABORTED and not calls:
            calls.append("told")
            world.scheduler.renew("dev")
            raise NotSentError("connection refused")

    world.calendar.before_update = fail_once
    world.clock.advance(2 * LEASE + 60)
    assert calls
    [active] = world.scheduler.status().active
    assert not active.overdue
    world.clock.advance(LEASE - 120)
    assert world.scheduler.status().active


def test_an_agent_that_is_exhausted_is_not_woken_by_a_reminder_and_its_lease_goes_on(world: World) -> None:
    world.agents = [Agent(id="dev", state=AgentStatus.EXHAUSTED)]
    world.clock.advance(LEASE + 60)
    assert len(world.host.wakes) == 1
    assert world.scheduler.status().active[0].overdue
    world.clock.advance(LEASE)
    assert world.scheduler.status().history[-1].reason == f"no report within {LEASE:g} s"


def test_a_sign_of_life_soon_after_a_restart_is_written_if_the_last_one_that_was_is_old(durable: Durable) -> None:
    durable.clock.advance(0.7 * LEASE)
    durable.restart()
    durable.clock.advance(60)
    durable.scheduler.renew("dev")
    durable.clock.advance(60)
    durable.restart()
    [active] = durable.scheduler.status().active
    assert active.lease_until is not None
    assert (active.lease_until - durable.clock.now()).total_seconds() > 0.7 * LEASE
