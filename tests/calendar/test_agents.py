"""Agents of the carried calendar: registered, bound, heard, and what they are said to do."""

import datetime as dt

import pytest

from harborcal.calendar import Calendar, ExhaustReason
from harborcal.model import AgentStatus, SlotType
from harborcal.testing import FakeClock
from tests.calendar.conftest import Refusal


def status(calendar: Calendar, agent_id: str = "dev") -> AgentStatus:
    return calendar.agent(agent_id).status


# --- who is known


def test_agents_are_listed_by_id(calendar: Calendar) -> None:
    calendar.register_agent("ops", "claw-1")
    calendar.register_agent("arch")
    assert [(agent.id, agent.claw_identifier) for agent in calendar.agents()] == [
        ("arch", None),
        ("dev", None),
        ("ops", "claw-1"),
    ]


def test_registering_again_changes_nothing(calendar: Calendar, clock: FakeClock) -> None:
    calendar.heartbeat("dev")
    before = calendar.agent("dev")
    clock.advance(10)
    assert calendar.register_agent("dev") == before


def test_registering_again_with_a_claw_binds(calendar: Calendar) -> None:
    assert calendar.register_agent("dev", "claw-1").claw_identifier == "claw-1"
    assert calendar.register_agent("dev").claw_identifier == "claw-1"


@pytest.mark.parametrize("agent_id", ["", "..", "a b", "x" * 129, "a/b", "a\r\nb", None, 7])
def test_an_id_that_could_not_stand_in_a_path_is_refused(calendar: Calendar, refusal: Refusal, agent_id: str) -> None:
    assert refusal(lambda: calendar.register_agent(agent_id))[0] == 422
    assert refusal(lambda: calendar.register_agent("dev", agent_id or ".."))[0] == 422


def test_an_unknown_agent_is_not_found(calendar: Calendar, refusal: Refusal) -> None:
    for call in (
        lambda: calendar.agent("ops"),
        lambda: calendar.heartbeat("ops"),
        lambda: calendar.remove_agent("ops"),
        lambda: calendar.bind_agent("ops", "claw"),
        lambda: calendar.set_agent_status("ops", "busy"),
        lambda: calendar.plans("ops"),
        lambda: calendar.day("ops", dt.date(2026, 1, 5)),
    ):
        assert refusal(call) == (404, "Agent not found")


def test_a_removed_agent_is_refused_and_finds_its_slots_again_when_it_returns(
    calendar: Calendar, clock: FakeClock, refusal: Refusal
) -> None:
    slot = calendar.add_slot("dev", clock.now())
    calendar.remove_agent("dev")
    assert refusal(lambda: calendar.heartbeat("dev"))[0] == 404
    calendar.register_agent("dev")
    assert [listed.id for listed in calendar.heartbeat("dev").slots] == [slot.id]


def test_only_its_own_host_speaks_for_a_bound_agent(calendar: Calendar, refusal: Refusal) -> None:
    calendar.bind_agent("dev", "claw-1")
    calendar.heartbeat("dev", claw_identifier="claw-1")
    heard_at = calendar.agent("dev").last_heartbeat_at
    told = (403, "agent dev is bound to another claw identifier")
    assert refusal(lambda: calendar.heartbeat("dev", claw_identifier="claw-2")) == told
    assert refusal(lambda: calendar.day("dev", dt.date(2026, 1, 5), claw_identifier="claw-2")) == told
    assert refusal(lambda: calendar.set_agent_status("dev", "idle", claw_identifier="claw-2")) == told
    assert calendar.agent("dev").last_heartbeat_at == heard_at
    calendar.bind_agent("dev", None)
    calendar.heartbeat("dev", claw_identifier="claw-2")


# --- what they do


def test_an_agent_is_idle_when_it_is_registered(calendar: Calendar) -> None:
    assert status(calendar) is AgentStatus.IDLE
    assert calendar.agent("dev").last_heartbeat_at is None


def test_an_agent_is_offline_after_120_silent_seconds_and_the_next_heartbeat_lifts_it(
    calendar: Calendar, clock: FakeClock
) -> None:
    calendar.heartbeat("dev")
    clock.advance(120)
    assert status(calendar) is AgentStatus.IDLE
    clock.advance(1)
    assert status(calendar) is AgentStatus.OFFLINE
    assert calendar.heartbeat("dev").agent_status is AgentStatus.IDLE
    assert status(calendar) is AgentStatus.IDLE


def test_an_agent_that_was_never_heard_goes_offline_too(calendar: Calendar, clock: FakeClock) -> None:
    clock.advance(121)
    assert status(calendar) is AgentStatus.OFFLINE


@pytest.mark.parametrize(("new", "old"), [("busy", "on_call"), ("on_call", "busy"), ("busy", "exhausted")])
def test_only_an_idle_agent_becomes_busy_or_on_call(calendar: Calendar, refusal: Refusal, new: str, old: str) -> None:
    calendar.set_agent_status("dev", old)
    told = (409, f"agent is {old}: only an idle agent can become {new}")
    assert refusal(lambda: calendar.set_agent_status("dev", new)) == told
    assert status(calendar) == old


@pytest.mark.parametrize("old", ["busy", "on_call", "exhausted", "offline"])
@pytest.mark.parametrize("new", ["idle", "exhausted", "offline"])
def test_any_agent_becomes_idle_exhausted_or_offline(calendar: Calendar, old: str, new: str) -> None:
    calendar.set_agent_status("dev", old)
    assert calendar.set_agent_status("dev", new) is (new != old)
    assert status(calendar) == new


def test_the_same_status_again_changes_nothing(calendar: Calendar) -> None:
    assert calendar.set_agent_status("dev", "busy") is True
    assert calendar.set_agent_status("dev", AgentStatus.BUSY) is False


def test_an_agent_that_was_said_to_be_offline_is_idle_once_it_is_heard(calendar: Calendar) -> None:
    calendar.set_agent_status("dev", "offline")
    assert status(calendar) is AgentStatus.OFFLINE
    assert calendar.heartbeat("dev").agent_status is AgentStatus.IDLE


def test_an_agent_that_was_silent_is_no_longer_busy_once_it_is_heard(calendar: Calendar, clock: FakeClock) -> None:
    calendar.heartbeat("dev")
    calendar.set_agent_status("dev", "busy")
    clock.advance(121)
    assert calendar.heartbeat("dev").agent_status is AgentStatus.IDLE


def test_an_agent_is_exhausted_for_five_hours_unless_it_says_for_how_long(calendar: Calendar, clock: FakeClock) -> None:
    calendar.set_agent_status("dev", "exhausted", reason="rate_limit")
    agent = calendar.agent("dev")
    assert agent.exhaust_reason is ExhaustReason.RATE_LIMIT
    assert agent.recovery_at == clock.now() + dt.timedelta(hours=5)
    clock.advance(5 * 3600 - 1)
    assert calendar.heartbeat("dev").agent_status is AgentStatus.EXHAUSTED
    clock.advance(1)
    assert calendar.heartbeat("dev").agent_status is AgentStatus.IDLE
    agent = calendar.agent("dev")
    assert (agent.status, agent.exhaust_reason, agent.recovery_at) == (AgentStatus.IDLE, None, None)


def test_a_recovery_can_be_put_off(calendar: Calendar, clock: FakeClock) -> None:
    calendar.set_agent_status("dev", "exhausted", reason="billing", recovery_at=clock.now() + dt.timedelta(minutes=5))
    later = clock.now() + dt.timedelta(minutes=9)
    assert calendar.set_agent_status("dev", "exhausted", recovery_at=later) is False
    agent = calendar.agent("dev")
    assert (agent.exhaust_reason, agent.recovery_at) == (ExhaustReason.BILLING, later)
    calendar.set_agent_status("dev", "exhausted")
    assert calendar.agent("dev").recovery_at == later
    clock.advance(9 * 60)
    assert calendar.heartbeat("dev").agent_status is AgentStatus.IDLE


def test_an_exhausted_agent_that_was_silent_stays_exhausted(calendar: Calendar, clock: FakeClock) -> None:
    calendar.set_agent_status("dev", "exhausted")
    clock.advance(600)
    assert calendar.heartbeat("dev").agent_status is AgentStatus.EXHAUSTED


@pytest.mark.parametrize(
    "arguments",
    [
        {"status": "Idle"},
        {"status": None},
        {"status": "exhausted", "reason": "tired"},
        {"status": "exhausted", "recovery_at": dt.datetime(2026, 1, 5, 10)},
        {"status": "exhausted", "recovery_at": "2026-01-05T10:00:00Z"},
        {"status": "idle", "reason": "billing"},
        {"status": "busy", "recovery_at": dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC)},
    ],
)
def test_a_status_that_makes_no_sense_is_refused(
    calendar: Calendar, refusal: Refusal, arguments: dict[str, object]
) -> None:
    assert refusal(lambda: calendar.set_agent_status("dev", **arguments))[0] == 422  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ([SlotType.WORK], AgentStatus.BUSY),
        ([SlotType.ON_CALL], AgentStatus.ON_CALL),
        ([SlotType.SYSTEM], AgentStatus.BUSY),
        ([SlotType.ON_CALL, SlotType.WORK], AgentStatus.BUSY),
    ],
)
def test_what_an_idle_agent_does_follows_from_its_ongoing_slots(
    calendar: Calendar, clock: FakeClock, kinds: list[SlotType], told: AgentStatus
) -> None:
    from harborcal.model import SlotStatus, SlotUpdate

    keys = [
        calendar.add_slot("dev", clock.now() + dt.timedelta(hours=number), slot_type=kind).key
        for number, kind in enumerate(kinds)
    ]
    for key in keys:
        calendar.apply_update("dev", key, SlotUpdate(status=SlotStatus.ONGOING))
    assert status(calendar) is told
    assert calendar.heartbeat("dev").agent_status is told
    for key in keys:
        calendar.apply_update("dev", key, SlotUpdate(status=SlotStatus.PAUSED))
    assert status(calendar) is AgentStatus.IDLE


def test_an_exhausted_agent_may_be_given_another_reason(calendar: Calendar, clock: FakeClock) -> None:
    calendar.set_agent_status("dev", "exhausted", reason="rate_limit")
    until = calendar.agent("dev").recovery_at
    clock.advance(60)
    assert calendar.set_agent_status("dev", "exhausted", reason="billing") is False
    agent = calendar.agent("dev")
    assert (agent.exhaust_reason, agent.recovery_at) == (ExhaustReason.BILLING, until)


def test_a_new_exhaustion_has_no_old_reason(calendar: Calendar, clock: FakeClock) -> None:
    calendar.set_agent_status("dev", "exhausted", reason="billing", recovery_at=clock.now() + dt.timedelta(minutes=1))
    clock.advance(60)
    assert status(calendar) is AgentStatus.IDLE
    calendar.set_agent_status("dev", "exhausted")
    assert calendar.agent("dev").exhaust_reason is None


def test_a_host_that_loses_an_agent_is_told_everything_anew(calendar: Calendar) -> None:
    token = calendar.sync("claw-1").token
    calendar.register_agent("dev", "claw-2")
    sync = calendar.sync("claw-1", token)
    assert (sync.full, dict(sync.schedules)) == (True, {})
    token = calendar.sync("claw-2").token
    calendar.register_agent("dev", "claw-2")
    assert not calendar.sync("claw-2", token).full
