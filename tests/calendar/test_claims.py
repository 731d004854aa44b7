"""Who may follow a slot: claims of several schedulers on one calendar (contract, rules 2 and 5)."""

import contextlib
import datetime as dt
import os
import socket
import threading
from pathlib import Path

import pytest

from harborcal.calendar import Calendar, Owner, Recurrence
from harborcal.model import Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.calendar.conftest import TODAY, Refusal


def at(hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(TODAY, dt.time(hour, minute), dt.UTC)


@pytest.fixture
def one(calendar: Calendar) -> Owner:
    return calendar.new_owner("claw-1")


@pytest.fixture
def other(calendar: Calendar) -> Owner:
    return calendar.new_owner("claw-2")


def claim(calendar: Calendar, key: SlotKey, owner: Owner) -> Slot | None:
    return calendar.claim("dev", key, calendar.clock.now(), owner=owner)


def tell(calendar: Calendar, key: SlotKey, status: str, owner: Owner | None) -> Slot:
    return calendar.apply_update("dev", key, SlotUpdate(status=SlotStatus(status)), owner=owner)


def listed(calendar: Calendar, owner: Owner) -> list[tuple[str, str]]:
    return [(slot.ident, str(slot.status)) for slot in calendar.heartbeat("dev", owner=owner).slots]


# --- claiming


def test_a_claimed_slot_is_ongoing_and_began_when_it_was_claimed(calendar: Calendar, one: Owner) -> None:
    slot = calendar.add_slot("dev", at(9))
    claimed = calendar.claim("dev", slot.key, at(9, 1), owner=one)
    assert claimed == calendar.slot(slot.key)
    assert claimed is not None
    assert (claimed.status, claimed.started_at, claimed.attended) == (SlotStatus.ONGOING, dt.time(9, 1), True)


def test_what_one_scheduler_has_claimed_another_does_not_get(calendar: Calendar, one: Owner, other: Owner) -> None:
    key = calendar.add_slot("dev", at(9)).key
    assert claim(calendar, key, one) is not None
    before = calendar.slot(key)
    assert claim(calendar, key, other) is None
    assert calendar.slot(key) == before


def test_an_owners_own_is_its_own_again(calendar: Calendar, clock: FakeClock, one: Owner) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claimed = claim(calendar, key, one)
    clock.advance(30)
    assert claim(calendar, key, one) == claimed


def test_a_claim_makes_a_virtual_slot_real(calendar: Calendar, one: Owner, other: Owner) -> None:
    calendar.add_plan("dev", Recurrence.contract(dt.time(9), first=TODAY))
    key = SlotKey.virtual("plan-1-2026-01-05")
    claimed = claim(calendar, key, one)
    assert claimed is not None
    assert claimed.key == SlotKey.real(1)
    assert claim(calendar, key, other) is claim(calendar, claimed.key, other) is None


def test_an_agent_works_for_one_scheduler_at_a_time(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner
) -> None:
    first, second = calendar.add_slot("dev", at(9)).key, calendar.add_slot("dev", at(10)).key
    claim(calendar, first, one)
    assert claim(calendar, second, other) is None
    assert calendar.slot(second).status is SlotStatus.NOT_STARTED
    tell(calendar, first, "finished", one)
    assert claim(calendar, second, other) is not None


@pytest.mark.parametrize("status", ["finished", "aborted", "skipped"])
def test_what_is_over_is_not_claimed(calendar: Calendar, refusal: Refusal, one: Owner, status: str) -> None:
    key = calendar.add_slot("dev", at(9)).key
    tell(calendar, key, status, None)
    assert refusal(lambda: claim(calendar, key, one)) == (409, f"slot is already {status}")


def test_what_is_past_is_not_claimed(calendar: Calendar, clock: FakeClock, refusal: Refusal, one: Owner) -> None:
    key = calendar.add_slot("dev", at(9)).key
    clock.advance(86_400)
    assert refusal(lambda: claim(calendar, key, one)) == (409, "2026-01-05 is over: past dates are immutable")


def test_an_unknown_slot_or_agent_is_not_found(calendar: Calendar, refusal: Refusal, one: Owner) -> None:
    key = calendar.add_slot("dev", at(9)).key
    calendar.register_agent("ops")
    assert refusal(lambda: claim(calendar, SlotKey.real(99), one))[0] == 404
    assert refusal(lambda: calendar.claim("ops", key, at(9), owner=one)) == (404, "Slot not found")
    assert refusal(lambda: calendar.claim("who", key, at(9), owner=one)) == (404, "Agent not found")
    assert refusal(lambda: calendar.claim("dev", key, dt.datetime(2026, 1, 5), owner=one))[0] == 422


def test_of_many_schedulers_in_several_connections_one_gets_the_slot(path: Path, clock: FakeClock) -> None:
    with contextlib.ExitStack() as stack:
        calendars = [
            stack.enter_context(contextlib.closing(Calendar(f"sqlite:///{path}", clock=clock))) for _ in range(4)
        ]
        calendars[0].register_agent("dev")
        calendars[0].add_plan("dev", Recurrence.contract(dt.time(9), first=TODAY))
        together = threading.Barrier(8)
        got: list[Slot] = []

        def compete(number: int) -> None:
            calendar = calendars[number % 4]
            owner = calendar.new_owner(f"claw-{number}")
            together.wait(10)
            claimed = calendar.claim("dev", SlotKey.virtual("plan-1-2026-01-05"), at(9), owner=owner)
            if claimed is not None:
                got.append(claimed)

        threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [slot.key for slot in got] == [SlotKey.real(1)]


# --- taking up


def test_what_is_under_way_is_listed_to_nobody_while_its_owner_lives(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    clock.advance(120)
    assert listed(calendar, one) == listed(calendar, other) == []


def test_what_an_owner_left_is_taken_up_after_120_seconds_of_silence(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner
) -> None:
    slot = calendar.add_slot("dev", at(9))
    claimed = claim(calendar, slot.key, one)
    clock.advance(120)
    assert claim(calendar, slot.key, other) is None
    clock.advance(1)
    assert listed(calendar, other) == [(slot.ident, "ongoing")]
    taken_up = claim(calendar, slot.key, other)
    assert claimed is not None
    assert taken_up is not None
    assert (taken_up.status, taken_up.started_at) == (SlotStatus.ONGOING, claimed.started_at)
    assert listed(calendar, other) == []
    assert claim(calendar, slot.key, one) is None


@pytest.mark.parametrize("act", ["heartbeat", "update", "claim"])
def test_an_owner_that_does_anything_is_not_silent(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner, act: str
) -> None:
    calendar.register_agent("ops")
    key = calendar.add_slot("dev", at(9)).key
    theirs = calendar.add_slot("ops", at(9)).key
    claim(calendar, key, one)
    clock.advance(100)
    if act == "heartbeat":
        calendar.heartbeat("ops", owner=one)
    elif act == "update":
        calendar.apply_update("ops", theirs, SlotUpdate(status=SlotStatus.DEFERRED), owner=one)
    else:
        calendar.claim("ops", theirs, at(9), owner=one)
    clock.advance(100)
    assert claim(calendar, key, other) is None


def test_a_successor_with_the_same_claw_takes_up_at_once(calendar: Calendar, one: Owner) -> None:
    slot = calendar.add_slot("dev", at(9))
    claim(calendar, slot.key, one)
    tell(calendar, slot.key, "paused", one)
    successor = calendar.new_owner("claw-1")
    assert listed(calendar, successor) == [(slot.ident, "paused")]
    taken_up = claim(calendar, slot.key, successor)
    assert taken_up is not None
    assert taken_up.status is SlotStatus.PAUSED


def test_a_twin_with_the_same_claw_takes_nothing_from_one_that_lives(calendar: Calendar, one: Owner) -> None:
    slot = calendar.add_slot("dev", at(9))
    claim(calendar, slot.key, one)
    twin = calendar.new_owner("claw-1")
    calendar.heartbeat("dev", owner=twin)
    calendar.heartbeat("dev", owner=one)  # the first one lives, although a later one has begun
    assert listed(calendar, twin) == []
    assert claim(calendar, slot.key, twin) is None


def test_slots_that_no_scheduler_holds_are_left_to_whoever_began_them(
    calendar: Calendar, clock: FakeClock, one: Owner
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    tell(calendar, key, "ongoing", None)
    clock.advance(500)
    assert listed(calendar, one) == []
    assert claim(calendar, key, one) is None


def test_an_owner_that_was_forgotten_is_gone(calendar: Calendar, clock: FakeClock, one: Owner, other: Owner) -> None:
    slot = calendar.add_slot("dev", at(9))
    claim(calendar, slot.key, one)
    clock.advance(8 * 86_400)
    calendar.heartbeat("dev", owner=other)  # a new owner tidies up
    assert listed(calendar, other) == [(slot.ident, "ongoing")]


# --- fencing


@pytest.mark.parametrize("status", ["deferred", "paused", "aborted", "skipped"])
def test_one_scheduler_does_not_change_what_another_holds(
    calendar: Calendar, refusal: Refusal, one: Owner, other: Owner, status: str
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    assert refusal(lambda: tell(calendar, key, status, other)) == (409, "slot is held by another scheduler")
    assert calendar.slot(key).status is SlotStatus.ONGOING
    assert tell(calendar, key, status, one).status == status


def test_work_that_was_done_is_done_whoever_says_so(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    clock.advance(121)
    claim(calendar, key, other)
    assert tell(calendar, key, "finished", one).status is SlotStatus.FINISHED


def test_who_names_no_owner_speaks_for_the_user(calendar: Calendar, one: Owner) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    assert tell(calendar, key, "aborted", None).status is SlotStatus.ABORTED


def test_what_was_given_back_is_free_for_all(calendar: Calendar, one: Owner, other: Owner) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    tell(calendar, key, "deferred", one)
    assert claim(calendar, key, other) is not None


def test_a_second_ongoing_for_what_another_holds_is_refused(
    calendar: Calendar, refusal: Refusal, one: Owner, other: Owner
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    assert refusal(lambda: tell(calendar, key, "ongoing", other)) == (409, "slot is held by another scheduler")


def test_what_an_owner_changes_of_what_was_left_is_its_own(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    clock.advance(121)
    tell(calendar, key, "paused", other)
    assert claim(calendar, key, calendar.new_owner("claw-3")) is None


def test_a_twin_in_another_process_that_runs_is_not_followed(calendar: Calendar) -> None:
    slot = calendar.add_slot("dev", at(9))
    # The parent of this process runs on this machine, and has claimed a slot under our claw.
    twin = Owner(f"twin@{socket.gethostname()}/{os.getppid()}", "claw-1")
    claim(calendar, slot.key, twin)
    assert listed(calendar, calendar.new_owner("claw-1")) == []
    gone = Owner(f"gone@{socket.gethostname()}/{2**22 + 1}", "claw-2")
    calendar.register_agent("ops")
    theirs = calendar.add_slot("ops", at(9))
    calendar.claim("ops", theirs.key, at(9), owner=gone)
    successor = calendar.new_owner("claw-2")
    assert [slot.key for slot in calendar.heartbeat("ops", owner=successor).slots] == [theirs.key]


def test_an_agent_whose_scheduler_fell_silent_works_for_another(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner
) -> None:
    first, second = calendar.add_slot("dev", at(9)).key, calendar.add_slot("dev", at(10)).key
    claim(calendar, first, one)
    clock.advance(121)
    assert claim(calendar, second, other) is not None


def test_what_a_silent_owner_left_may_be_aborted_by_another(
    calendar: Calendar, clock: FakeClock, one: Owner, other: Owner
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    clock.advance(121)
    assert tell(calendar, key, "aborted", other).status is SlotStatus.ABORTED


def test_a_slot_that_a_user_resumes_is_still_its_owners(
    calendar: Calendar, refusal: Refusal, one: Owner, other: Owner
) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    tell(calendar, key, "paused", None)
    tell(calendar, key, "ongoing", None)
    assert refusal(lambda: tell(calendar, key, "deferred", other))[0] == 409


def test_a_later_scheduler_of_another_claw_takes_nothing(calendar: Calendar, one: Owner, other: Owner) -> None:
    key = calendar.add_slot("dev", at(9)).key
    claim(calendar, key, one)
    assert listed(calendar, other) == []
