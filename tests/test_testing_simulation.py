import dataclasses
import datetime as dt
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal.calendar import Calendar, Recurrence
from harborcal.errors import CalendarError, ConfigurationError
from harborcal.model import SchedulerConfig, SlotStatus
from harborcal.policy import Choice
from harborcal.testing import FakeClock
from harborcal.testing.simulation import Behaviour, Event, EventKind, Faults, Rehearsal, Violation, check, simulate

MORNING = dt.datetime(2026, 1, 5, 8, tzinfo=dt.UTC)
TOMORROW = dt.datetime(2026, 1, 6, tzinfo=dt.UTC)


# --- histories, written by hand -------------------------------------------------------------------------------------


class Story:
    """Writes a history: each line is an event, at a second."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, elapsed: float, kind: EventKind, agent: str = "", slot: str = "", **details: object) -> "Story":
        at = MORNING + dt.timedelta(seconds=elapsed)
        self.events.append(Event(elapsed=elapsed, at=at, kind=kind, agent_id=agent, slot=slot, details=details))
        return self

    def wake(
        self, elapsed: float, slot: str = "1", *, agent: str = "ada", attempt: int = 1, reminder: bool = False,
        wake_id: str = "", lease: float | None = 600.0, outcome: str = "returned",
    ) -> "Story":  # fmt: skip
        name = wake_id or f"{agent} {slot} {attempt}"
        entered = {"attempt": attempt, "wake_id": name, "reminder": reminder, "lease": lease}
        self.add(elapsed, EventKind.WAKE_ENTERED, agent, slot, **entered)
        return self.add(elapsed, EventKind.WAKE_LEFT, agent, slot, wake_id=name, outcome=outcome, reached="agent")

    def report(
        self, elapsed: float, what: str, outcome: str = "accepted", *, slot: str = "1", why: str = "NoActiveSlotError"
    ) -> "Story":
        self.add(elapsed, EventKind.REPORTED, "ada", slot, what=what, call=len(self.events))
        details = {"what": what, "call": len(self.events), "outcome": outcome, "why": why}
        return self.add(elapsed, EventKind.ANSWERED, "ada", slot, **details)

    def update(
        self, elapsed: float, status: str, was: str = "ongoing", outcome: str = "applied", *, slot: str = "1"
    ) -> "Story":
        return self.add(elapsed, EventKind.UPDATED, "ada", slot, status=status, was=was, outcome=outcome)

    def crash(self, elapsed: float, *, on_unknown: str = "skip") -> "Story":
        self.add(elapsed, EventKind.CRASHED, point="wake.after")
        return self.add(elapsed + 1, EventKind.STARTED, on_unknown=on_unknown)

    def end(self, elapsed: float, status: str, **details: object) -> "Story":
        usual: dict[str, object] = {"is_due": True, "is_live": True, "is_late": False, "told": None}
        return self.add(elapsed, EventKind.ENDED, "ada", "1", status=status, **usual | details)

    @property
    def broken(self) -> list[str]:
        return [violation.rule for violation in check(self.events)]


def good_day() -> Story:
    return (
        Story()
        .add(0, EventKind.STARTED, on_unknown="skip")
        .update(10, "ongoing", "not_started")
        .wake(10)
        .report(200, "complete")
        .update(200, "finished")
        .add(300, EventKind.LOOKED, accepted=2, delivered=1, pending=0, dead=1, is_balanced=True)
        .add(400, EventKind.HEALED)
        .end(500, "finished", told="finished")
        .add(500, EventKind.OVER, active="", pending=0)
    )


def test_a_day_on_which_all_went_well_breaks_no_rule() -> None:
    assert good_day().broken == []


def test_an_agent_that_is_woken_for_two_slots_at_once_is_noticed() -> None:
    assert Story().wake(10).wake(100, "2").broken == ["one-at-a-time"]


def test_a_slot_that_two_agents_have_at_once_is_noticed() -> None:
    assert Story().wake(10).wake(100, agent="ben").broken == ["one-at-a-time"]


@pytest.mark.parametrize(
    "between",
    [
        lambda story: story.report(50, "complete"),
        lambda story: story.report(50, "abort", "unknown"),
        lambda story: story.update(50, "deferred"),
        lambda story: story.update(50, "ongoing", outcome="refused"),
        lambda story: story.add(50, EventKind.CHANGED, "ada", "1", what="cancelled"),
        lambda story: story.add(50, EventKind.FORGOTTEN, "ada", "1", status="not_started"),
    ],
    ids=["completed", "perhaps aborted", "given back", "refused", "cancelled", "forgotten"],
)
def test_the_next_slot_may_be_woken_once_the_one_before_may_have_ended(between: object) -> None:
    story = Story().wake(10)
    assert callable(between)
    between(story)
    assert story.wake(100, "2").broken == []


def test_the_next_slot_may_be_woken_after_a_wake_that_raised_and_after_two_leases_of_silence() -> None:
    assert Story().wake(10, outcome="raised").wake(100, "2").broken == []
    hung = Story().wake(10).add(310, EventKind.WAKE_HUNG, "ada", "1", wake_id="ada 1 1")
    assert hung.wake(320, attempt=2).broken == []
    assert Story().wake(10).wake(1_200, "2").broken == ["one-at-a-time"]
    assert Story().wake(10).wake(1_211, "2").broken == []
    assert Story().wake(10).report(700, "renew").wake(1_211, "2").broken == ["one-at-a-time"]
    assert Story().wake(10, lease=None).wake(90_000, "2").broken == ["one-at-a-time"]


def test_a_wake_that_is_entered_twice_is_noticed_unless_a_crash_lies_between_and_it_is_to_be_repeated() -> None:
    assert Story().wake(10).wake(20).broken == ["wakes"]
    assert Story().add(0, EventKind.STARTED, on_unknown="skip").wake(10).crash(15).wake(20).broken == ["wakes"]
    repeating = Story().add(0, EventKind.STARTED, on_unknown="repeat").wake(10).crash(15, on_unknown="repeat").wake(20)
    assert repeating.broken == []
    assert repeating.wake(30).broken == ["wakes"]


def test_an_agent_is_reminded_once_per_silence() -> None:
    assert Story().wake(10).wake(610, reminder=True).broken == []
    assert Story().wake(10).wake(610, reminder=True).wake(700, reminder=True).broken == ["wakes"]
    heard = Story().wake(10).wake(610, reminder=True).report(650, "renew").wake(1_250, reminder=True)
    assert heard.broken == []


def test_one_number_for_two_attempts_at_a_slot_is_noticed() -> None:
    again = Story().wake(10, outcome="raised").wake(20, attempt=1, wake_id="another")
    assert again.broken == ["wakes"]
    assert Story().wake(10, outcome="raised").wake(20, attempt=2).broken == []


def test_nothing_but_the_same_again_follows_a_terminal_update() -> None:
    ended = good_day().events[:-4]
    assert check([*ended, *Story().update(210, "finished", "finished", "repeated").events]) == ()
    for outcome in ("applied", "refused"):
        late = Story().update(210, "ongoing", "finished", outcome).events
        assert [violation.rule for violation in check([*ended, *late])] == ["order"]


def test_a_slot_is_not_paused_or_finished_before_it_is_ongoing() -> None:
    assert Story().wake(10).update(20, "paused", "not_started").broken == ["order"]
    assert Story().wake(10).update(20, "paused", "ongoing").broken == []
    forgetful = Story().wake(10).add(15, EventKind.FORGOTTEN, "ada", "1", status="not_started")
    assert forgetful.update(20, "paused", "not_started").broken == []


def test_a_slot_that_nobody_has_completed_is_not_finished() -> None:
    assert Story().wake(10).update(20, "finished").broken == ["no-invention"]
    assert Story().wake(10).report(15, "complete", "unknown").update(20, "finished").broken == []
    assert Story().wake(10).report(15, "abort").update(20, "finished").broken == ["no-invention"]


def test_an_accepted_completion_is_not_lost() -> None:
    lost = Story().wake(10).report(20, "complete").end(500, "aborted")
    assert lost.broken == ["no-loss"]
    assert Story().wake(10).report(20, "complete").end(500, "finished").broken == []
    assert Story().wake(10).report(20, "complete").end(500, "aborted", is_late=True).broken == ["no-loss"]
    assert Story().wake(10).report(1_300, "complete").end(1_500, "aborted", is_late=True).broken == []
    assert Story().wake(10).report(1_300, "complete", "refused").end(1_500, "aborted").broken == []


@pytest.mark.parametrize(("what", "excuses"), [("cancelled", True), ("moved", True), ("urgent", False)])
def test_what_a_user_has_taken_away_need_not_end_as_finished_if_the_status_says_so(what: str, excuses: bool) -> None:
    def story() -> Story:
        return Story().wake(10).add(15, EventKind.CHANGED, "ada", "1", what=what).report(20, "complete")

    broken = [] if excuses else ["no-loss"]
    refused = story().update(21, "finished", "skipped", "refused")
    assert refused.end(500, "skipped", is_dead=True).broken == broken
    assert story().end(500, "skipped").broken == ["no-loss"], "and nobody was told"
    unnamed = story().update(21, "finished", "skipped", "refused")
    assert unnamed.end(500, "skipped", is_dead=False).broken == ["no-loss"], "and the status does not say so"


def test_what_the_calendar_has_forgotten_may_be_taken_away_before_it_is_told_again() -> None:
    forgotten = good_day()
    forgotten.events = [event for event in forgotten.events if event.elapsed < 500]
    forgotten.add(410, EventKind.FORGOTTEN, "ada", "1", status="ongoing")
    assert forgotten.end(500, "skipped").broken == ["no-loss"]
    forgotten.events.insert(-1, Story().add(420, EventKind.CHANGED, "ada", "1", what="cancelled").events[0])
    assert forgotten.broken == []


def test_a_slot_that_was_taken_away_just_before_its_wake_may_have_been_listed_before_that() -> None:
    def story() -> Story:
        return Story().add(5, EventKind.CHANGED, "ada", "1", what="cancelled").wake(10).report(10, "complete")

    refused = story().update(11, "ongoing", "skipped", "refused").update(11, "finished", "skipped", "refused")
    assert refused.end(500, "skipped", is_dead=True).broken == []
    assert story().end(500, "skipped").broken == ["no-loss"]
    # The calendar has taken its start since: it was woken for as it was then.
    moved = Story().add(5, EventKind.CHANGED, "ada", "1", what="moved").update(9, "ongoing", "not_started")
    moved.wake(10).report(20, "complete").update(21, "finished", "ongoing", "refused")
    assert moved.end(500, "aborted", is_dead=True).broken == ["no-loss"]


def test_an_agent_at_work_is_heard_when_it_reports_the_end() -> None:
    assert Story().wake(10).report(300, "complete", "refused").broken == ["no-deafness"]
    assert Story().wake(10).report(300, "renew", "refused").broken == ["no-deafness"]
    assert Story().wake(10).report(300, "pause", "refused", why="CalendarRefusedError").broken == []
    assert Story().wake(10, outcome="raised").report(300, "complete", "refused").broken == []
    assert Story().wake(10).report(300, "complete").report(310, "complete", "refused").broken == []
    assert Story().wake(10).report(1_300, "complete", "refused").broken == []


def test_an_agent_whose_wake_has_failed_is_at_its_slot_again_once_it_was_heard() -> None:
    assert Story().wake(10, outcome="raised").report(20, "renew").wake(100, "2").broken == ["one-at-a-time"]
    hung = Story().add(10, EventKind.WAKE_ENTERED, "ada", "1", attempt=1, wake_id="w", reminder=False, lease=600.0)
    before = Story()
    before.events = [*hung.events, *Story().report(100, "renew").events]
    for story in (hung, before):
        story.add(309, EventKind.WAKE_HUNG, "ada", "1", wake_id="w")
    hung.report(320, "renew")
    for story in (hung, before):
        story.add(330, EventKind.WAKE_LEFT, "ada", "1", wake_id="w", outcome="raised", reached="agent")
        assert story.report(350, "renew", "refused").broken == ["no-deafness"]


def test_an_agent_whose_reminder_has_failed_is_still_at_its_slot() -> None:
    reminded = Story().wake(10).wake(610, reminder=True, outcome="raised")
    assert reminded.report(700, "complete", "refused").broken == ["no-deafness"]


@pytest.mark.parametrize("what", ["cancelled", "moved", "urgent"])
def test_a_slot_that_is_gone_when_it_is_found_holds_its_agent_no_longer(what: str) -> None:
    def held(*, changed_at: float) -> list[str]:
        events = [*Story().update(100, "ongoing", "not_started").events]
        events += Story().add(changed_at, EventKind.CHANGED, "ada", "1", what=what).events
        events.sort(key=lambda event: event.elapsed)
        story = Story().wake(700, reminder=True).add(9_000, EventKind.HEALED)
        return [one.rule for one in check([*events, *story.events])]

    assert held(changed_at=200) == ([] if what != "urgent" else ["no-block"])
    assert held(changed_at=50) == ["no-block"], "it was begun as it was then"


def test_a_claim_may_be_older_than_its_wake_where_an_outage_followed_a_crash() -> None:
    def told(*, outage_ends: float) -> tuple[Violation, ...]:
        story = Story().add(5, EventKind.CRASHED, point="wake.before").add(100, EventKind.STARTED, on_unknown="skip")
        story.add(110, EventKind.OUTAGE_BEGAN).add(outage_ends, EventKind.OUTAGE_ENDED)
        return check([*story.wake(1_110).report(1_710, "complete").events, *finished_at(1_710, 28).events])

    assert told(outage_ends=1_100) == ()
    assert [violation.rule for violation in told(outage_ends=150)] == ["durations"]


def test_what_was_heard_of_a_wake_that_failed_may_count_for_the_attempt_that_a_crash_met() -> None:
    def told(minutes: int, *, outcome: str = "raised", crash_at: float = 120) -> list[str]:
        story = Story().wake(10, outcome=outcome).crash(crash_at).update(200, "ongoing", "not_started")
        story.crash(400).report(610, "complete")
        return [one.rule for one in check([*story.events, *finished_at(610, minutes).events])]

    assert told(10) == told(8) == []
    assert told(5) == told(12) == ["durations"], "the attempt was there before the second crash"
    assert told(8, outcome="returned") == ["durations"]
    assert told(6, crash_at=190) == []


def finished_at(elapsed: float, minutes: int) -> Story:
    details: dict[str, Any] = {"status": "finished", "was": "ongoing", "outcome": "applied", "minutes": minutes}
    return Story().add(elapsed, EventKind.UPDATED, "ada", "1", **details)


MET = [2_003_000_104, 2_003_000_115, 2_002_000_128, 1_000_000_008, 1_000_000_025, 1_001_000_112, 1_004_000_371]


@pytest.mark.parametrize("seed", MET)
def test_days_on_which_crashes_pauses_deaths_and_old_answers_met_break_no_rule(seed: int) -> None:
    assert simulate(seed=seed).violations == ()


def test_a_day_on_which_a_calendar_forgets_a_cancellation_breaks_no_rule() -> None:
    faults = Faults(
        failed_calls=0.03,
        lost_answers=0.03,
        stale_answers=0.03,
        failed_wakes=0.06,
        hung_wakes=0.02,
        lost_wakes=0.06,
        queued_wakes=0.06,
        crashes=4.0,
        forgotten_writes=1.0,
        clock_jumps=0.7,
        agent_deaths=1.5,
        user_changes=4.0,
    )
    assert simulate(seed=10_007_000_326, faults=faults).violations == ()


def test_a_report_that_raises_what_it_may_not_is_noticed() -> None:
    assert Story().wake(10).report(300, "complete", "raised", why="KeyError").broken == ["no-surprise"]


def test_an_agent_that_is_woken_before_the_time_of_its_slot_is_noticed() -> None:
    def woken(late: float | None, *, jump: float = 0.0) -> list[str]:
        story = Story().add(5, EventKind.CLOCK_SET, seconds=jump)
        entered = {"attempt": 1, "wake_id": "w", "reminder": False, "lease": 600.0, "late": late}
        return story.add(10, EventKind.WAKE_ENTERED, "ada", "1", **entered).broken

    assert woken(-60.0) == ["wakes"]
    assert woken(0.0) == woken(None) == woken(-60.0, jump=-90.0) == []


def test_an_agent_that_is_reminded_too_soon_is_noticed() -> None:
    assert Story().wake(10).wake(300, reminder=True).broken == ["wakes"]
    assert Story().wake(10).report(500, "renew").wake(620, reminder=True).broken == ["wakes"]
    assert Story().wake(10).report(500, "renew").wake(1_105, reminder=True).broken == []
    crashed = Story().wake(10).report(500, "renew").crash(600)
    assert crashed.wake(900, reminder=True).broken == [], "what was heard last may not have been written"


def test_a_slot_that_is_aborted_without_a_ground_is_noticed() -> None:
    assert Story().wake(10).update(700, "aborted").broken == ["no-invention"]
    assert Story().wake(10).update(1_215, "aborted").broken == []
    assert Story().wake(10).report(300, "abort").update(300, "aborted").broken == []
    found = Story().wake(610, reminder=True)
    assert found.update(1_215, "aborted").broken == [], "it was silent before it was found"
    again = Story().wake(10).report(300, "abort").update(300, "aborted")
    again.add(310, EventKind.FORGOTTEN, "ada", "1", status="ongoing")
    assert again.update(400, "aborted").broken == [], "the calendar has forgotten"


def test_a_locked_slot_is_aborted_where_its_wake_has_failed_and_only_there() -> None:
    details: dict[str, Any] = {"status": "aborted", "was": "ongoing", "outcome": "applied", "locked": True}
    for outcome, broken in (("raised", []), ("returned", ["no-invention"])):
        locked = Story().wake(10, outcome=outcome)
        assert locked.add(20, EventKind.UPDATED, "ada", "1", **details).broken == broken
    hung = Story().add(10, EventKind.WAKE_ENTERED, "ada", "1", attempt=1, wake_id="w", reminder=False, lease=600.0)
    hung.add(309, EventKind.WAKE_HUNG, "ada", "1", wake_id="w")
    hung.add(330, EventKind.WAKE_LEFT, "ada", "1", wake_id="w", outcome="returned", reached="agent")
    assert hung.add(340, EventKind.UPDATED, "ada", "1", **details).broken == [], "it has returned too late"
    reminded = Story().wake(10).wake(610, reminder=True, outcome="raised")
    assert reminded.add(700, EventKind.UPDATED, "ada", "1", **details).broken == ["no-invention"]


def test_a_slot_that_is_skipped_without_being_too_late_is_noticed() -> None:
    def skipped(grace: float | None, late: float) -> list[str]:
        story = Story().add(0, EventKind.STARTED, on_unknown="skip", misfire_grace=grace)
        details: dict[str, Any] = {"status": "skipped", "was": "not_started", "outcome": "applied", "late": late}
        return story.add(20, EventKind.UPDATED, "ada", "1", **details).broken

    assert skipped(None, 9_000.0) == skipped(600.0, 500.0) == ["no-invention"]
    assert skipped(600.0, 700.0) == []


def test_a_slot_that_was_moved_moments_before_it_was_skipped_is_no_invention() -> None:
    def skipped(late: float, after: float) -> list[str]:
        story = Story().add(0, EventKind.STARTED, on_unknown="skip", misfire_grace=600.0)
        story.add(100, EventKind.CHANGED, "ada", "1", what="moved", late=late)
        details: dict[str, Any] = {"status": "skipped", "was": "not_started", "outcome": "applied", "late": -900.0}
        return story.add(100 + after, EventKind.UPDATED, "ada", "1", **details).broken

    assert skipped(590.0, 60.0) == [], "an answer from before the move said so"
    assert skipped(300.0, 60.0) == skipped(590.0, 1_000.0) == ["no-invention"]


def test_a_finish_without_minutes_is_noticed() -> None:
    story = Story().wake(10).report(310, "complete")
    details: dict[str, Any] = {"status": "finished", "was": "ongoing", "outcome": "applied", "minutes": None}
    assert story.add(310, EventKind.UPDATED, "ada", "1", **details).broken == ["durations"]


def test_a_slot_that_waits_although_its_agent_is_free_is_noticed() -> None:
    assert Story().add(900, EventKind.WAITED, "ada", "1").broken == ["progress"]


def finished(minutes: int, *, slot: str = "1") -> Story:
    details: dict[str, Any] = {"status": "finished", "was": "ongoing", "outcome": "applied", "minutes": minutes}
    return Story().add(1_000, EventKind.UPDATED, "ada", slot, **details)


def test_minutes_that_were_not_worked_are_noticed() -> None:
    worked = Story().wake(10).report(310, "pause").report(610, "resume").report(910, "complete")
    for minutes, broken in ((10, []), (9, []), (15, ["durations"]), (5, ["durations"])):
        assert [one.rule for one in check([*worked.events, *finished(minutes).events])] == broken
    resting = Story().wake(10).report(310, "pause").report(910, "complete")
    assert check([*resting.events, *finished(5).events]) == ()


def test_minutes_are_not_compared_where_the_clock_was_set_or_nobody_knows_whether_the_pause_was_heard() -> None:
    jumped = Story().wake(10).add(100, EventKind.CLOCK_SET, seconds=600.0).report(910, "complete")
    assert check([*jumped.events, *finished(99).events]) == ()
    lost = Story().wake(10).report(310, "pause", "unknown").report(910, "complete")
    assert check([*lost.events, *finished(99).events]) == ()
    given_back = Story().wake(10).update(100, "deferred").report(910, "complete")
    assert check([*given_back.events, *finished(99).events]) == ()
    lost_wake = Story().wake(610, reminder=True).report(910, "complete")
    assert check([*lost_wake.events, *finished(15).events]) == ()


def test_an_agent_is_not_held_for_longer_than_its_leases_allow() -> None:
    look: dict[str, Any] = {"accepted": 0, "delivered": 0, "pending": 0, "dead": 0, "is_balanced": True}
    assert Story().wake(10).add(2_000, EventKind.LOOKED, **look).broken == []
    assert Story().wake(10).add(2_200, EventKind.LOOKED, **look).broken == ["no-block"]
    assert Story().wake(10).report(500, "renew").add(2_200, EventKind.LOOKED, **look).broken == []
    cut_off = Story().wake(10).report(500, "renew", "unknown")
    assert cut_off.add(2_200, EventKind.LOOKED, **look).broken == [], "it may have been noted"
    assert cut_off.add(2_700, EventKind.LOOKED, **look).broken == ["no-block"]
    assert Story().wake(10).update(1_300, "aborted").add(2_200, EventKind.LOOKED, **look).broken == []
    assert Story().wake(10).report(500, "pause").add(9_000, EventKind.LOOKED, **look).broken == []
    cancelled = Story().wake(10).add(20, EventKind.CHANGED, "ada", "1", what="cancelled")
    assert cancelled.add(2_200, EventKind.LOOKED, **look).broken == []
    outage = Story().wake(10).add(20, EventKind.OUTAGE_BEGAN).add(520, EventKind.OUTAGE_ENDED)
    assert outage.add(2_200, EventKind.LOOKED, **look).broken == []
    lasting = Story().wake(10).add(1_200, EventKind.OUTAGE_BEGAN)
    assert lasting.add(2_200, EventKind.OUTAGE_ENDED).broken == []


@pytest.mark.parametrize("status", ["ongoing", "paused", "not_started", "deferred"])
def test_a_slot_of_a_living_agent_that_has_not_ended_in_the_end_is_noticed(status: str) -> None:
    assert Story().end(500, status).broken == ["progress"]
    assert Story().end(500, status, is_live=False).broken == []


def test_a_slot_whose_cancellation_was_forgotten_may_stay_as_it_is() -> None:
    def story(*, what: str = "cancelled", outcome: str = "refused", status: str = "not_started") -> Story:
        story = Story().wake(10).add(15, EventKind.CHANGED, "ada", "1", what=what)
        return story.update(20, "ongoing", "aborted", outcome).add(25, EventKind.FORGOTTEN, "ada", "1", status=status)

    assert story().end(500, "not_started").broken == []
    for other in (story(what="moved"), story(outcome="applied"), story(status="ongoing")):
        assert "progress" in other.end(500, "not_started").broken
    opened = story().add(30, EventKind.CHANGED, "ada", "1", what="moved")
    assert "progress" in opened.end(500, "not_started").broken


def test_a_slot_whose_time_has_not_come_may_wait() -> None:
    assert Story().end(500, "not_started", is_due=False).broken == []


def test_what_is_active_or_on_its_way_in_the_end_is_noticed() -> None:
    assert Story().add(500, EventKind.OVER, active="ada at 1", pending=0).broken == ["progress"]
    assert Story().add(500, EventKind.OVER, active="", pending=2).broken == ["progress"]


def test_sums_that_do_not_agree_are_noticed() -> None:
    sums: dict[str, Any] = {"accepted": 3, "delivered": 1, "pending": 1, "dead": 0}
    assert Story().add(5, EventKind.LOOKED, **sums, is_balanced=True).broken == ["sums"]
    assert Story().add(5, EventKind.LOOKED, **sums | {"dead": 1}, is_balanced=True).broken == []
    assert Story().add(5, EventKind.LOOKED, **sums | {"dead": 1}, is_balanced=False).broken == ["sums"]


def test_a_calendar_that_says_otherwise_than_it_was_told_is_noticed() -> None:
    assert Story().end(500, "finished", told="aborted").broken == ["agreement"]
    cancelled = Story().add(5, EventKind.CHANGED, "ada", "1", what="cancelled")
    assert cancelled.end(500, "aborted", told="ongoing").broken == []


def test_a_violation_tells_its_story_and_leaves_out_what_does_not_concern_it() -> None:
    story = Story().wake(10).wake(20, "7", agent="ben").crash(30).wake(100, "2")
    (violation,) = check(story.events)
    told = str(violation)
    assert "ada is woken while it is at slot 1" in told
    assert "crashed" in told
    assert "ben" not in told


# --- drawn worlds ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rehearsal() -> Rehearsal:
    return simulate(seed=3, agents=3)


def test_on_a_day_on_which_everything_goes_wrong_no_rule_is_broken(rehearsal: Rehearsal) -> None:
    assert rehearsal.violations == ()
    assert rehearsal.counts["wakes"] > 5
    assert rehearsal.counts["complete accepted"] > 5
    assert rehearsal.counts["crashes"] > 0


def test_the_same_seed_gives_the_same_history_in_another_process_too(rehearsal: Rehearsal) -> None:
    code = (
        "import hashlib; from harborcal.testing import simulate; "
        "print(hashlib.sha256('\\n'.join(map(str, simulate(seed=3, agents=3).events)).encode()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = hashlib.sha256("\n".join(map(str, rehearsal.events)).encode()).hexdigest()
    assert other.stdout.strip() == own


def test_another_seed_gives_another_history() -> None:
    calm = Faults()
    one, other = (simulate(seed=seed, agents=1, faults=calm) for seed in (1, 2))
    assert one.events != other.events


def test_a_day_without_faults_and_with_steady_agents_ends_with_every_slot_finished() -> None:
    rehearsal = simulate(seed=4, agents=2, faults=Faults(), behaviours={Behaviour.FINISH: 1.0})
    assert rehearsal.violations == ()
    assert {slot.status for agent in rehearsal.agents for slot in agent.slots} == {SlotStatus.FINISHED}


def test_several_days_go_on_with_one_journal() -> None:
    rehearsal = simulate(seed=5, days=2, agents=1, faults=Faults(crashes=2.0))
    assert rehearsal.violations == ()
    assert [event.details["point"] for event in rehearsal.events if event.kind is EventKind.CRASHED].count("night") == 1
    assert {slot.due_at.day for slot in rehearsal.agents[0].slots} == {5, 6}


def test_while_a_wake_hangs_everybody_else_goes_on_and_its_slot_is_tried_again() -> None:
    rehearsal = simulate(seed=6, agents=3, faults=Faults(hung_wakes=0.2), behaviours={Behaviour.FINISH: 1.0})
    assert rehearsal.violations == ()
    assert {slot.status for agent in rehearsal.agents for slot in agent.slots} == {SlotStatus.FINISHED}
    hung = [event for event in rehearsal.events if event.kind is EventKind.WAKE_HUNG]
    assert hung
    gone_on, tried_again = 0, 0
    for hang in hung:
        entered, left = (
            next(index for index, event in enumerate(rehearsal.events) if _is_of(event, kind, hang))
            for kind in (EventKind.WAKE_ENTERED, EventKind.WAKE_LEFT)
        )
        assert hang.elapsed - rehearsal.events[entered].elapsed == SchedulerConfig().wake_timeout - 1
        meanwhile = [event for event in rehearsal.events[entered + 1 : left] if event.kind is EventKind.WAKE_ENTERED]
        gone_on += any(event.agent_id != hang.agent_id for event in meanwhile)
        tried_again += any(event.slot == hang.slot and event.details["attempt"] == 2 for event in meanwhile)
    assert gone_on
    assert tried_again


def _is_of(event: Event, kind: EventKind, wake: Event) -> bool:
    return event.kind is kind and event.details["wake_id"] == wake.details["wake_id"]


def test_of_wakes_that_wait_in_the_hosts_queue_the_newest_is_heard() -> None:
    faults = Faults(queued_wakes=1.0)
    rehearsal = simulate(seed=7, agents=2, faults=faults, behaviours={Behaviour.FINISH: 1.0})
    assert rehearsal.violations == ()
    assert rehearsal.counts["replaced_wakes"] > 0
    queued = [event for event in rehearsal.events if event.details.get("reached") == "queue"]
    assert len(queued) == rehearsal.counts["queued_wakes"]
    reminded = {event.slot for event in rehearsal.events if event.details.get("reminder")}
    done = {slot.slot for agent in rehearsal.agents for slot in agent.slots if slot.status is SlotStatus.FINISHED}
    assert reminded & done, "a reminder that took its wake's place is heard as well"


@pytest.mark.parametrize("seed", [6, 9])
def test_what_waits_in_the_hosts_queue_while_our_process_crashes_is_reported_to_the_one_in_its_place(seed: int) -> None:
    faults = Faults(queued_wakes=1.0, crashes=40.0)
    rehearsal = simulate(seed=seed, agents=3, faults=faults, behaviours={Behaviour.INSIDE: 1.0})
    assert rehearsal.violations == ()
    assert rehearsal.counts["crash at wake.after"]


@pytest.mark.parametrize("faults", [Faults(), Faults(crashes=1.0, lost_answers=0.1)], ids=["calm", "faults"])
def test_what_a_rehearsal_is_shrunk_to_is_a_simpler_one_of_the_same_kind(faults: Faults, calendar: Calendar) -> None:
    drawn = simulate(seed=8, agents=2, days=2, faults=faults)
    own = simulate(calendar, seed=8, faults=faults, config=hourly())
    for rehearsal in (drawn, own):
        assert rehearsal.shorter is not None
        simpler = list(rehearsal.shorter())
        assert len(simpler) == len(faults.kinds) + 2, "a day, an agent; one agent, or the other"
        assert all(one.seed == 8 for one in simpler)
        assert simpler[-1].days <= rehearsal.days
        assert len(simpler[-1].agents) == 1


def test_a_violation_is_shrunk_as_far_as_the_same_rule_is_broken() -> None:
    (broken,) = check(Story().wake(10).wake(100, "2").events)
    (other,) = check(Story().end(500, "ongoing").events)
    calm = simulate(seed=1, agents=1, faults=Faults())

    def of(violation: Violation, *simpler: Rehearsal) -> Rehearsal:
        return dataclasses.replace(calm, violations=(violation,), shorter=lambda: iter(simpler))

    simplest = of(broken, of(other))
    first = of(broken, calm, of(other, of(broken)), of(broken, of(other), simplest))
    assert first.shrink() is simplest
    assert "seed" in str(dataclasses.replace(broken, seed=7))


def test_a_rehearsal_without_violations_is_as_short_as_can_be(rehearsal: Rehearsal) -> None:
    assert rehearsal.shrink() is rehearsal


# --- calendars of one's own -----------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calendar.db"


@pytest.fixture
def calendar(path: Path) -> Iterator[Calendar]:
    with Calendar(f"sqlite:///{path}", clock=FakeClock(MORNING)) as calendar:
        calendar.register_agent("dev", "host-1")
        calendar.register_agent("ops")
        nine = TOMORROW.replace(hour=9)
        calendar.add_slot("dev", nine, 30, priority=5)
        calendar.add_slot("dev", nine + dt.timedelta(minutes=30), 30, priority=9)
        calendar.add_slot("ops", nine, 20)
        yield calendar


def hourly() -> SchedulerConfig:
    return SchedulerConfig(heartbeat_interval=300.0)


def test_a_calendar_of_ones_own_is_rehearsed_and_left_alone(calendar: Calendar, path: Path) -> None:
    before = path.read_bytes()
    rehearsal = simulate(calendar, config=hourly())
    assert path.read_bytes() == before
    assert calendar.agents()[0].last_heartbeat_at is None
    assert [agent.agent_id for agent in rehearsal.agents] == ["dev", "ops"]
    assert rehearsal.started_at == TOMORROW
    assert {slot.status for agent in rehearsal.agents for slot in agent.slots} == {SlotStatus.FINISHED}
    assert rehearsal.violations == ()


def test_a_path_and_a_url_are_as_good_as_the_calendar(calendar: Calendar, path: Path) -> None:
    by_calendar = simulate(calendar, config=hourly(), agents=["ops"], start=TOMORROW)
    for place in (path, str(path), f"sqlite:///{path}"):
        assert simulate(place, config=hourly(), agents=["ops"], start=TOMORROW) == by_calendar


def test_an_agent_with_more_work_than_time_is_told_overbooked(calendar: Calendar) -> None:
    for priority in (1, 2, 3):
        calendar.add_plan("ops", Recurrence(start=dt.datetime(2026, 1, 5, 9), rule="FREQ=DAILY"), 50, priority=priority)
    rehearsal = simulate(calendar, config=hourly(), agents=["ops"])
    (ops,) = rehearsal.agents
    assert ops.is_overbooked
    assert ops.planned == 170
    assert ops.fullest is not None
    assert (ops.fullest.work, ops.fullest.room) == (170, 50)
    assert len(ops.late) == 3
    assert "overbooked" in rehearsal.report()
    assert "minutes late, behind plan-3-2026-01-06" in rehearsal.report()


def test_what_an_agent_that_dies_leaves_undone_is_told(calendar: Calendar) -> None:
    rehearsal = simulate(calendar, config=hourly(), faults=Faults(deaths={"dev": dt.time(9, 20)}))
    dev, ops = rehearsal.agents
    assert dev.died_at == TOMORROW.replace(hour=9, minute=20)
    assert {slot.status for slot in dev.slots} == {SlotStatus.ABORTED}
    assert [slot.status for slot in ops.slots] == [SlotStatus.FINISHED]
    assert "dies at 09:20" in rehearsal.report()
    assert rehearsal.violations == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"days": 0},
        {"days": 1.5},
        {"seed": "a"},
        {"agents": 0},
        {"agents": ["ada"]},
        {"calendar": "postgresql://there"},
        {"calendar": "sqlite://"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        simulate(**arguments)  # type: ignore[arg-type] # that is the point


def test_agents_that_the_calendar_does_not_know_are_refused(calendar: Calendar) -> None:
    for agents in (["nobody"], 3, "dev"):
        with pytest.raises(ConfigurationError):
            simulate(calendar, agents=agents)


def test_a_file_that_is_no_calendar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"nothing of the sort, and long enough to be looked at" * 40)
    for name in ("other.db", "missing.db"):
        with pytest.raises(CalendarError):
            simulate(tmp_path / name)


@pytest.mark.parametrize("fault", [{"lost_answers": 1.5}, {"crashes": -1.0}, {"failed_wakes": float("nan")}])
def test_faults_that_make_no_sense_are_refused(fault: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Faults(**fault)  # type: ignore[arg-type] # that is the point


def planned(calendar: Calendar, hour: int, *minutes: int) -> None:
    """Put overlapping work into the calendar of ``ops``: plans may overlap."""
    for length in minutes:
        calendar.add_plan("ops", Recurrence(start=dt.datetime(2026, 1, 5, hour), rule="FREQ=DAILY"), length)


def test_a_free_evening_does_not_hide_an_overbooked_morning(calendar: Calendar) -> None:
    planned(calendar, 9, 50, 50)
    planned(calendar, 20, 10)
    (ops,) = simulate(calendar, config=hourly(), agents=["ops"]).agents
    assert ops.is_overbooked
    assert ops.fullest is not None
    assert (ops.fullest.begins_at, ops.fullest.ends_at) == (
        TOMORROW.replace(hour=9),
        TOMORROW.replace(hour=9, minute=50),
    )


def test_what_was_cancelled_is_no_work(calendar: Calendar) -> None:
    nine = calendar.day("ops", TOMORROW.date())[0]
    calendar.cancel_slot(nine.key)
    calendar.add_slot("ops", TOMORROW.replace(hour=9), 20)
    rehearsal = simulate(calendar, config=hourly(), agents=["ops"])
    (ops,) = rehearsal.agents
    assert (ops.planned, ops.is_overbooked) == (20, False)
    assert [slot.is_cancelled for slot in ops.slots] == [True, False]
    assert "starve" not in rehearsal.report()


def test_what_is_missed_is_told(calendar: Calendar) -> None:
    planned(calendar, 9, 50, 50, 50)
    rehearsal = simulate(calendar, config=SchedulerConfig(heartbeat_interval=60.0, misfire_grace=600.0), agents=["ops"])
    (ops,) = rehearsal.agents
    assert len(ops.starved) == 3
    assert all(slot.is_missed for slot in ops.starved)
    assert rehearsal.report().count("is missed, behind") == 3
    assert rehearsal.violations == ()


def test_what_was_already_under_way_is_what_a_slot_waits_for(calendar: Calendar) -> None:
    planned(calendar, 8, 50)
    calendar.add_plan("ops", Recurrence(start=dt.datetime(2026, 1, 5, 8, 10), rule="FREQ=DAILY"), 10)
    (ops,) = simulate(calendar, config=SchedulerConfig(heartbeat_interval=60.0), agents=["ops"]).agents
    late = next(slot for slot in ops.slots if slot.due_at.minute == 10)
    assert late.behind == ("plan-1-2026-01-06",)


def test_agents_that_keep_their_estimates_are_on_time(calendar: Calendar) -> None:
    (dev,) = simulate(calendar, config=SchedulerConfig(heartbeat_interval=60.0), agents=["dev"], seed=3).agents
    for slot in dev.slots:
        assert slot.ended_at is not None
        assert slot.woken_at is not None
        assert 27 * 60 <= (slot.ended_at - slot.woken_at).total_seconds() <= 33 * 60 + 60


def test_a_report_of_several_days_tells_the_day_and_what_it_is_about(calendar: Calendar) -> None:
    job = {"type": "Task", "code": "T-9"}
    calendar.add_slot("ops", TOMORROW.replace(hour=12), 50, priority=0, event_type="job", event_data=job)
    calendar.add_plan("ops", Recurrence(start=dt.datetime(2026, 1, 5, 12), rule="FREQ=DAILY"), 50, priority=9)
    report = simulate(calendar, config=hourly(), agents=["ops"], days=2).report()
    assert "overbooked: 100 from Tue 06 12:00 to Tue 06 12:50" in report
    assert "Tue 06 12:00" in report
    assert "T-9" in simulate(calendar, config=SchedulerConfig(misfire_grace=60.0), agents=["ops"]).report()


def test_a_rehearsal_that_begins_in_the_evening_covers_the_next_morning(calendar: Calendar) -> None:
    evening = TOMORROW.replace(hour=18) - dt.timedelta(days=1)
    (ops,) = simulate(calendar, config=hourly(), agents=["ops"], start=evening).agents
    assert [slot.due_at for slot in ops.slots] == [TOMORROW.replace(hour=9)]


def test_faults_come_so_often_a_day_however_many_days_there_are(calendar: Calendar) -> None:
    counts = [
        simulate(calendar, config=hourly(), agents=["ops"], days=days, faults=Faults(outages=20)).counts["outages"]
        for days in (1, 4)
    ]
    assert counts[1] > 2 * counts[0] > 10


def test_a_slot_that_nobody_is_woken_for_is_noticed_in_a_calendar_of_ones_own(
    calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harborcal.scheduler.answers.choose", lambda *_, **__: Choice())
    rehearsal = simulate(calendar, config=hourly())
    assert {violation.rule for violation in rehearsal.violations} == {"progress"}
    with pytest.raises(
        AssertionError, match=r"simulate\(calendar, seed=0, agents=\['(dev|ops)'\], config=(.|\n)*is due"
    ):
        rehearsal.verify()


def test_what_no_call_may_raise_is_a_finding_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def renew(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("harborcal.scheduler.reports.Reports.renew", renew)
    rehearsal = simulate(seed=5, agents=2, faults=Faults(), behaviours={Behaviour.RENEW: 1})
    assert {violation.rule for violation in rehearsal.violations} == {"no-surprise"}
    with pytest.raises(
        AssertionError, match=r"simulate\(seed=5, agents=1, faults=Faults\(\), behaviours=(.|\n)*KeyError"
    ):
        rehearsal.verify()


def test_a_call_that_is_told_shows_the_same_again() -> None:
    faults = Faults(crashes=2, deaths={"ada": dt.time(12)})
    rehearsal = simulate(seed=9, agents=1, faults=faults)
    names = {"simulate": simulate, "Faults": Faults, "datetime": dt}
    assert eval(rehearsal.call, names).events == rehearsal.events
    assert simulate(seed=9, agents=1).call == "simulate(seed=9, agents=1)"
    rehearsal.verify()


@pytest.mark.parametrize(
    "arguments",
    [
        {"faults": "all"},
        {"faults": {}},
        {"config": {}},
        {"start": dt.date(2026, 1, 5)},
        {"start": dt.datetime(2026, 1, 5, 9)},
        {"behaviours": {}},
        {"behaviours": [Behaviour.FINISH]},
        {"behaviours": {"sleep": 1.0}},
        {"behaviours": {Behaviour.FINISH: 0.0}},
        {"behaviours": {Behaviour.FINISH: -1.0}},
        {"faults": Faults(deaths={"adda": dt.time(12)})},
    ],
    ids=str,
)
def test_arguments_that_look_like_something_else_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        simulate(**arguments)  # type: ignore[arg-type] # that is the point


def test_deaths_are_times() -> None:
    with pytest.raises(ConfigurationError, match="times of day by agent"):
        Faults(deaths={"ada": "12:00"})  # type: ignore[dict-item] # that is the point


def test_no_address_of_a_calendar_is_shown_whole() -> None:
    with pytest.raises(ConfigurationError) as refused:
        simulate("postgresql://user:secret@host/db")
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="not int"):
        simulate(5)  # type: ignore[arg-type] # that is the point


def test_nobody_to_rehearse_is_refused(calendar: Calendar) -> None:
    with pytest.raises(ConfigurationError, match="there is none"):
        simulate(calendar, agents=[])
    with Calendar("sqlite://") as empty, pytest.raises(ConfigurationError, match="no agents"):
        simulate(empty)


def test_agents_may_be_named_twice_and_by_any_iterable(calendar: Calendar) -> None:
    rehearsal = simulate(calendar, config=hourly(), agents=(name for name in ("ops", "ops", "dev")))
    assert [agent.agent_id for agent in rehearsal.agents] == ["ops", "dev"]
