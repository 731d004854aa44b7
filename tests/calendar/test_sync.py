"""Hosts that ask what is new (contract: ``/calendar/sync``)."""

import contextlib
import datetime as dt
from pathlib import Path

import pytest

from harborcal.calendar import Calendar, Recurrence, Sync
from harborcal.model import SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.calendar.conftest import TODAY, Refusal


def told(sync: Sync) -> dict[str, list[str]]:
    return {agent_id: [slot.ident for slot in slots] for agent_id, slots in sync.schedules.items()}


def test_the_first_answer_is_the_whole_plan(calendar: Calendar) -> None:
    calendar.register_agent("ops")
    slot = calendar.add_slot("dev", calendar.clock.now())
    calendar.add_plan("dev", Recurrence.contract(dt.time(12), first=TODAY))
    cancelled = calendar.add_slot("dev", calendar.clock.now() + dt.timedelta(hours=1))
    calendar.cancel_slot(cancelled.key)
    sync = calendar.sync("claw")
    assert (sync.full, sync.more) == (True, False)
    assert told(sync) == {"dev": [slot.ident, "plan-1-2026-01-05"], "ops": []}


def test_later_answers_tell_of_agents_whose_slots_changed(calendar: Calendar) -> None:
    calendar.register_agent("ops")
    slot = calendar.add_slot("dev", calendar.clock.now())
    sync = calendar.sync("claw")
    sync = calendar.sync("claw", sync.token)
    assert (sync.full, told(sync)) == (False, {})
    calendar.heartbeat("dev")
    assert told(calendar.sync("claw", sync.token)) == {}
    calendar.apply_update("dev", slot.key, SlotUpdate(status=SlotStatus.ONGOING))
    sync = calendar.sync("claw", sync.token)
    assert (sync.full, told(sync)) == (False, {"dev": [slot.ident]})
    assert told(calendar.sync("claw", sync.token)) == {}


@pytest.mark.parametrize(
    "change", ["edit", "cancel", "add", "plan", "edit_plan", "cancel_plan", "claim", "lock", "import"]
)
def test_every_change_of_a_schedule_is_news(calendar: Calendar, change: str) -> None:
    key = calendar.add_slot("dev", calendar.clock.now()).key
    plan = calendar.add_plan("dev", Recurrence.contract(dt.time(20), first=TODAY))
    token = calendar.sync("claw").token
    later = calendar.clock.now() + dt.timedelta(hours=2)
    match change:
        case "edit":
            calendar.edit_slot(key, priority=3)
        case "cancel":
            calendar.cancel_slot(key)
        case "add":
            calendar.add_slot("dev", later)
        case "plan":
            calendar.add_plan("dev", Recurrence.contract(dt.time(21), first=TODAY))
        case "edit_plan":
            calendar.edit_plan(plan.id, priority=3)
        case "cancel_plan":
            calendar.cancel_plan(plan.id)
        case "claim":
            calendar.claim("dev", key, calendar.clock.now(), owner=calendar.new_owner("claw"))
        case "lock":
            calendar.lock_slot(key)
        case "import":
            calendar.import_ics(
                "dev",
                "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260105T000000Z\r\n"
                "DTSTART:20260105T150000Z\r\nDURATION:PT10M\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            )
    assert list(calendar.sync("claw", token).schedules) == ["dev"]


def test_a_host_is_told_of_its_own_agents_and_those_of_nobody(calendar: Calendar) -> None:
    calendar.register_agent("mine", "claw-1")
    calendar.register_agent("theirs", "claw-2")
    assert list(calendar.sync("claw-1").schedules) == ["dev", "mine"]


@pytest.mark.parametrize("change", ["remove", "bind", "unbind"])
def test_when_agents_go_or_change_their_host_the_whole_plan_is_told_again(calendar: Calendar, change: str) -> None:
    calendar.register_agent("ops")
    calendar.register_agent("arch", "claw-2")
    token = calendar.sync("claw").token
    match change:
        case "remove":
            calendar.remove_agent("ops")
        case "bind":
            calendar.bind_agent("ops", "claw-2")
        case "unbind":
            calendar.bind_agent("arch", None)
    sync = calendar.sync("claw", token)
    assert sync.full
    assert list(sync.schedules) == (["arch", "dev", "ops"] if change == "unbind" else ["dev"])


def test_a_new_agent_is_news(calendar: Calendar) -> None:
    token = calendar.sync("claw").token
    calendar.register_agent("ops")
    sync = calendar.sync("claw", token)
    assert (sync.full, told(sync)) == (False, {"ops": []})


def test_on_another_day_the_whole_plan_is_told_again(calendar: Calendar, clock: FakeClock) -> None:
    token = calendar.sync("claw").token
    clock.advance(15 * 3600)
    assert calendar.sync("claw", token).full


@pytest.mark.parametrize("token", ["", "nonsense", "0" * 400, "a.b.c.d.e", "\ud800", None])
def test_a_token_that_is_worth_nothing_gives_the_whole_plan(calendar: Calendar, token: str | None) -> None:
    assert calendar.sync("claw", token).full


def test_a_token_of_another_calendar_or_of_a_later_state_gives_the_whole_plan(
    calendar: Calendar, tmp_path: Path, clock: FakeClock
) -> None:
    with contextlib.closing(Calendar(f"sqlite:///{tmp_path / 'other.db'}", clock=clock)) as other:
        other.register_agent("dev")
        assert calendar.sync("claw", other.sync("claw").token).full
    token = calendar.sync("claw").token
    identity, date, since, until, after = token.split(".")
    assert calendar.sync("claw", f"{identity}.{date}.{since}.{int(until) + 1}.{after}").full
    assert calendar.sync("claw", f"{identity}.{date}.{int(until) + 2}.{until}.{after}").full
    assert calendar.sync("claw", f"{identity}.{date}.{since}.{until}.-x").full


def test_a_long_answer_is_told_in_pages_and_nothing_is_missed_in_between(calendar: Calendar) -> None:
    for number in range(6):
        calendar.register_agent(f"agent-{number}")
    first = calendar.sync("claw", limit=3)
    assert (first.full, first.more, list(first.schedules)) == (True, True, ["agent-0", "agent-1", "agent-2"])
    slot = calendar.add_slot("agent-0", calendar.clock.now())
    second = calendar.sync("claw", first.token, limit=3)
    assert (second.full, second.more, list(second.schedules)) == (False, True, ["agent-3", "agent-4", "agent-5"])
    third = calendar.sync("claw", second.token, limit=3)
    assert (third.full, third.more, list(third.schedules)) == (False, False, ["dev"])
    assert told(calendar.sync("claw", third.token)) == {"agent-0": [slot.ident]}


@pytest.mark.parametrize("limit", [0, 501, "10", True])
def test_a_limit_out_of_range_is_refused(calendar: Calendar, refusal: Refusal, limit: int) -> None:
    assert refusal(lambda: calendar.sync("claw", limit=limit))[0] == 422
    assert refusal(lambda: calendar.sync("../claw"))[0] == 422


def test_an_answer_survives_being_written_and_read(calendar: Calendar) -> None:
    calendar.add_slot("dev", calendar.clock.now())
    sync = calendar.sync("claw")
    assert Sync.from_json(sync.to_json()) == sync
