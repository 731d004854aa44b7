"""DESIGN 4.1, the reference behaviour: texts, order of calls, what is sent and when, defaults."""

import datetime as dt

import pytest

from harborcal import (
    Agent,
    CalendarUnavailableError,
    ConfigurationError,
    NoActiveSlotError,
    Scheduler,
    SchedulerConfig,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    TransportError,
    WakeRequest,
)
from harborcal.testing import InMemoryCalendar, RecordingHost
from tests.world import World


def test_a_scheduler_ticks_at_once_and_then_at_every_interval() -> None:
    world = World()
    seen: list[float] = []
    world.calendar.before_heartbeat = lambda _agent: seen.append(world.clock.monotonic())
    begin = world.clock.monotonic()
    world.scheduler.start()
    world.clock.advance(90)
    assert [moment - begin for moment in seen] == [0, 30, 60, 90]


def test_the_interval_is_thirty_seconds_and_the_history_holds_thirty_two_unless_said_otherwise() -> None:
    config = SchedulerConfig(heartbeat_interval=0, history_size=-1)
    assert (config.heartbeat_interval, config.history_size) == (30.0, 32)


@pytest.mark.parametrize("interval", [float("nan"), float("inf"), 86_401, "30", True, 10**400])
def test_an_interval_that_is_no_finite_number_up_to_a_day_is_refused(interval: float) -> None:
    with pytest.raises(ConfigurationError, match="heartbeat_interval"):
        SchedulerConfig(heartbeat_interval=interval)


@pytest.mark.parametrize("size", [1.5, True, 10**9])
def test_a_history_size_that_is_no_sensible_whole_number_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match="history_size"):
        SchedulerConfig(history_size=size)


def test_a_scheduler_without_a_lister_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="agents is a callable that lists the agents, not NoneType"):
        Scheduler(InMemoryCalendar(), RecordingHost(), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not list"):
        Scheduler(InMemoryCalendar(), RecordingHost(), [Agent(id="dev")])  # type: ignore[arg-type]


def test_a_tick_logs_the_number_of_agents_and_serves_each() -> None:
    world = World("a", "b")
    report = world.scheduler.tick()
    assert report.agents == ("a", "b")
    assert [(line.level, dict(line.fields)) for line in world.host.lines("calendar tick")] == [("info", {"agents": 2})]


def test_a_heartbeat_that_fails_is_kept_in_the_status_and_logged_and_a_success_clears_it() -> None:
    world = World()
    world.calendar.fail_next(CalendarUnavailableError("no backend today", 503))
    world.scheduler.tick()
    assert world.scheduler.status().last_errors["dev"].message == "no backend today"
    [line] = world.host.lines("calendar heartbeat failed")
    assert (line.level, dict(line.fields)) == ("warn", {"agent": "dev", "err": "no backend today"})
    world.scheduler.tick()
    assert not world.scheduler.status().last_errors


def test_a_heartbeat_that_succeeds_is_logged_with_its_slots_and_the_agents_status() -> None:
    world = World()
    world.add(**world.at(600))
    world.scheduler.tick()
    [line] = world.host.lines("calendar heartbeat ok")
    assert (line.level, dict(line.fields)) == ("info", {"agent": "dev", "slots": 1, "agent_status": "idle"})


def test_the_highest_priority_wins() -> None:
    world = World()
    world.add(priority=3, id=1)
    world.add(priority=70, id=2)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "2")]


def test_ties_go_to_the_first_listed() -> None:
    world = World()
    world.add(priority=5, id=8)
    world.add(priority=5, id=9)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "8")]


@pytest.mark.parametrize("status", [SlotStatus.NOT_STARTED, SlotStatus.DEFERRED])
def test_not_started_and_deferred_slots_are_dispatched(status: SlotStatus) -> None:
    world = World()
    world.add(status=status, id=4)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "4")]


def test_an_agent_at_work_is_not_woken_for_another_slot() -> None:
    world = World()
    world.add(id=1)
    world.scheduler.tick()
    world.add(id=2, priority=99)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "1")]


def test_dispatch_claims_then_wakes_then_tells_the_calendar() -> None:
    seen: list[object] = []

    def on_wake(wake: WakeRequest) -> None:
        seen.append(world.sent)
        seen.append(world.scheduler.single_active_agent_id())
        world.clock.advance(75)

    world = World(on_wake=on_wake)
    world.add(id=7)
    world.scheduler.tick()
    assert seen == [[], "dev"]
    [(agent_id, key, update)] = world.calendar.updates
    assert (agent_id, key) == ("dev", SlotKey.real(7))
    assert update == SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0, 0)), "the instant of the claim"


def test_a_wake_names_its_agent_its_message_and_its_source() -> None:
    world = World()
    world.add(id=7, event_type="job", event_data={"type": "Task", "code": "TASK-42"})
    world.scheduler.tick()
    [wake] = world.host.wakes
    assert wake.agent_id == "dev"
    assert wake.message == "[calendar job Task/TASK-42] please handle this"
    assert wake.source == "calendar:7"
    assert (wake.attempt, wake.reminder) == (1, False)


def test_the_source_of_a_virtual_slot_keeps_its_virtual_id() -> None:
    world = World()
    world.calendar.add_virtual_slot("dev", 3, dt.date(2026, 1, 5))
    world.scheduler.tick()
    assert world.host.wakes[0].source == "calendar:plan-3-2026-01-05"
    assert world.scheduler.status().active[0].ident == "plan-3-2026-01-05"


def test_a_wake_that_raises_sends_nothing_logs_nothing_and_settles_as_aborted() -> None:
    world = World()
    world.host.fail_next(RuntimeError("the queue is full"))
    world.add(id=7)
    world.scheduler.tick()
    status = world.scheduler.status()
    assert world.sent == []
    assert not [line for line in world.host.logs if line.level != "info"]
    assert not status.active
    [entry] = status.history
    assert (entry.ident, entry.status, entry.reason) == ("7", "aborted", "wake failed: the queue is full")


def test_a_wake_that_raises_leads_to_no_second_choice_in_that_tick() -> None:
    world = World()
    world.host.fail_next(RuntimeError("no"))
    world.add(id=1, priority=2)
    world.add(id=2, priority=1)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "1")]


def test_complete_sends_finished_with_whole_minutes_and_settles_with_the_summary() -> None:
    world = World()
    key = world.add()
    world.scheduler.tick()
    world.clock.advance(25 * 60 + 59)
    world.scheduler.complete("dev", "all tests green")
    assert world.calendar.updates[-1].update == SlotUpdate(status=SlotStatus.FINISHED, actual_duration=25)
    assert world.state(key) is SlotStatus.FINISHED
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.summary, entry.actual_duration) == ("finished", "all tests green", 25)


def test_the_shortest_work_counts_as_one_minute() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.complete("dev")
    assert world.calendar.updates[-1].update.actual_duration == 1


def test_abort_sends_aborted_and_settles_with_the_reason() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.abort("dev", "the build is broken")
    assert world.calendar.updates[-1].update == SlotUpdate(status=SlotStatus.ABORTED)
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason) == ("aborted", "the build is broken")


def test_pause_and_resume_send_their_status_without_a_start_and_keep_the_slot() -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    world.scheduler.pause("dev", "waiting for review")
    assert world.calendar.updates[-1].update == SlotUpdate(status=SlotStatus.PAUSED)
    assert world.scheduler.status().active[0].state == "paused"
    world.scheduler.resume("dev")
    assert world.calendar.updates[-1].update == SlotUpdate(status=SlotStatus.ONGOING)
    assert world.scheduler.status().active[0].state == "ongoing"


@pytest.mark.parametrize("verb", ["complete", "abort", "pause"])
def test_an_update_that_fails_raises_and_leaves_the_slot_active(verb: str) -> None:
    world = World()
    world.add(id=7)
    world.scheduler.tick()
    world.calendar.fail_next(TransportError("wire cut"), on="update")
    with pytest.raises(TransportError, match="wire cut"):
        getattr(world.scheduler, verb)("dev")
    [active] = world.scheduler.status().active
    assert (active.ident, active.state) == ("7", "ongoing")
    world.scheduler.complete("dev")
    assert world.sent[-1] == ("dev", "finished")


@pytest.mark.parametrize("verb", ["complete", "abort", "pause", "resume", "renew"])
def test_a_report_for_an_agent_without_a_slot_is_refused_in_the_contracts_words(verb: str) -> None:
    world = World()
    with pytest.raises(NoActiveSlotError, match=r"^calendar: no active slot for agent dev$") as caught:
        getattr(world.scheduler, verb)("dev")
    assert isinstance(caught.value, LookupError)


def test_the_single_active_agent_is_named_only_when_there_is_exactly_one() -> None:
    world = World("a", "b")
    assert world.scheduler.single_active_agent_id() == ""
    world.add("a")
    world.scheduler.tick()
    assert world.scheduler.single_active_agent_id() == "a"
    world.add("b")
    world.scheduler.tick()
    assert world.scheduler.single_active_agent_id() == ""


def test_the_status_tells_everything_and_hands_out_copies() -> None:
    world = World("a", "b")
    world.add("a")
    world.scheduler.start()
    world.clock.advance(0)
    before = world.scheduler.status()
    assert before.enabled
    assert before.heartbeat_every == 30.0
    assert list(before.last_heartbeats) == ["a", "b"]
    world.scheduler.complete("a")
    assert len(before.active) == 1
    assert not before.history
    assert len(world.scheduler.status().history) == 1


def test_the_history_is_a_ring_in_order() -> None:
    world = World(config=SchedulerConfig(history_size=2))
    for slot_id in (1, 2, 3):
        world.add(id=slot_id)
        world.scheduler.tick()
        world.scheduler.complete("dev")
    assert [entry.ident for entry in world.scheduler.status().history] == ["2", "3"]


def test_losers_of_a_pick_are_left_alone_at_the_calendar() -> None:
    world = World()
    world.add(id=1, priority=9)
    loser = world.add(id=2, priority=4)
    world.scheduler.tick()
    assert world.state(loser) is SlotStatus.NOT_STARTED
    assert world.calendar.slot(loser).priority == 4


def test_a_context_manager_starts_and_stops() -> None:
    world = World()
    with world.scheduler as scheduler:
        assert scheduler.status().lifecycle == "running"
    assert world.calendar.closed
    assert world.scheduler.status().lifecycle == "stopped"


def test_doors_that_lack_a_method_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="the host has no method wake_agent or log"):
        Scheduler(InMemoryCalendar(), object(), list)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the transport has no method heartbeat"):
        Scheduler(object(), RecordingHost(), list)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the transport is an object, not a class: InMemoryCalendar"):
        Scheduler(InMemoryCalendar, RecordingHost(), list)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="message"):
        Scheduler(InMemoryCalendar(), RecordingHost(), list, message="hello")  # type: ignore[arg-type]


def test_a_message_of_ones_own_wakes_the_agent() -> None:
    calendar, host = InMemoryCalendar(agents=["dev"]), RecordingHost()
    calendar.add_slot("dev", id=5, scheduled_at=None, date=None)
    with Scheduler(calendar, host, lambda: [Agent(id="dev")], message=lambda slot: f"go for {slot.ident}"):
        assert host.wait_for_wakes(1)
    assert host.wakes[0].message == "go for 5"
