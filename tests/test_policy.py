"""Pure decisions: due times, back-off, refusals, durations, and the choice itself as a property."""

import datetime as dt

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harborcal import AgentStatus, CalendarRefusedError, Heartbeat, Slot, SlotStatus, SlotUpdate, VerdictReason
from harborcal.model import Standing
from harborcal.policy import (
    Choice,
    Refusal,
    actual_duration,
    choose,
    describe,
    due_at,
    heartbeat_delay,
    next_beat,
    read_refusal,
    release,
    wake_delay,
)

NOW = dt.datetime(2026, 1, 5, 9, 0, tzinfo=dt.UTC)
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=3)


def chosen(*slots: Slot, standings: tuple[Standing | None, ...] | None = None, **scene: object) -> Choice:
    facts: dict[str, object] = {"now": NOW, "at": 100.0, "interval": 30.0, **scene}
    return choose(Heartbeat(slots=slots), standings or (None,) * len(slots), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("slot", "due"),
    [
        (Slot(id=1), None),
        (Slot(id=1, scheduled_at=dt.time(9, 30)), dt.datetime(2026, 1, 5, 9, 30, tzinfo=dt.UTC)),
        (Slot(id=1, date=dt.date(2026, 1, 6)), dt.datetime(2026, 1, 6, tzinfo=dt.UTC)),
        (
            Slot(id=1, date=dt.date(2026, 1, 4), scheduled_at=dt.time(23, 59, 59)),
            dt.datetime(2026, 1, 4, 23, 59, 59, tzinfo=dt.UTC),
        ),
    ],
)
def test_a_slot_is_due_at_its_time_on_its_date_or_today(slot: Slot, due: dt.datetime | None) -> None:
    assert due_at(slot, NOW) == due


def test_a_slot_is_due_from_its_very_second_on() -> None:
    slot = Slot(id=1, scheduled_at=dt.time(9, 0))
    assert chosen(slot).dispatch is slot
    assert chosen(slot, now=NOW - dt.timedelta(seconds=1)).dispatch is None


@pytest.mark.parametrize(
    ("standing", "scene", "reason"),
    [
        (Standing(settled="done", taken="x", failures=9), {"busy": "b"}, VerdictReason.SETTLED),
        (Standing(taken="x", failures=9, failed_at=100.0), {"busy": "b"}, VerdictReason.TAKEN),
        (
            Standing(failures=9, failed_at=100.0),
            {"busy": "b", "now": NOW - dt.timedelta(hours=2)},
            VerdictReason.NOT_DUE,
        ),
        (
            Standing(failures=9, failed_at=100.0),
            {"busy": "b", "host_state": AgentStatus.OFFLINE},
            VerdictReason.BACKING_OFF,
        ),
        (Standing(), {"busy": "b", "host_state": AgentStatus.OFFLINE}, VerdictReason.AGENT_STATE),
        (Standing(), {"busy": "b"}, VerdictReason.BUSY),
        (Standing(), {}, VerdictReason.DISPATCHED),
    ],
)
def test_of_several_reasons_the_first_is_told(
    standing: Standing, scene: dict[str, object], reason: VerdictReason
) -> None:
    choice = chosen(Slot(id=1, scheduled_at=dt.time(8, 0)), standings=(standing,), **scene)
    assert [verdict.reason for verdict in choice.verdicts] == [reason]


def test_work_under_way_is_taken_up_also_for_an_agent_that_may_not_be_woken() -> None:
    slot = Slot(id=1, status=SlotStatus.ONGOING, scheduled_at=dt.time(23, 0))
    choice = chosen(slot, host_state=AgentStatus.OFFLINE)
    assert (choice.take_up, choice.dispatch) == (slot, None)
    assert chosen(slot, busy="the agent holds slot 2").take_up is None


SLOTS = st.lists(
    st.builds(
        Slot,
        id=st.integers(0, 9),
        priority=st.integers(0, 3),
        status=st.sampled_from(SlotStatus),
        scheduled_at=st.none() | st.times().map(lambda time: time.replace(microsecond=0)),
    ),
    max_size=8,
)


@given(SLOTS, st.booleans(), st.sampled_from(AgentStatus))
def test_every_slot_gets_one_verdict_and_at_most_one_is_picked(
    slots: list[Slot], busy: bool, state: AgentStatus
) -> None:
    choice = chosen(*slots, busy="at work" if busy else "", host_state=state)
    assert len(choice.verdicts) == len(slots)
    picked = [
        slot
        for slot, verdict in zip(slots, choice.verdicts, strict=True)
        if verdict.reason in {VerdictReason.DISPATCHED, VerdictReason.TAKEN_UP}
    ]
    assert picked == [slot for slot in (choice.take_up, choice.dispatch) if slot is not None]
    assert not (picked and busy)
    for slot, verdict in zip(slots, choice.verdicts, strict=True):
        assert verdict.reason in {VerdictReason.DISPATCHED, VerdictReason.TAKEN_UP} or verdict.detail
        if choice.dispatch is not None and verdict.reason is VerdictReason.OUTRANKED:
            assert slot.priority <= choice.dispatch.priority


def test_a_failed_wake_rests_until_the_next_tick_then_one_two_four_intervals_up_to_ten_minutes() -> None:
    slack = 3.0
    assert [wake_delay(failures, 30.0) for failures in range(9)] == [
        0.0,
        0.0,
        30 - slack,
        60 - slack,
        120 - slack,
        240 - slack,
        480 - slack,
        600 - slack,
        600 - slack,
    ]
    assert wake_delay(10**9, 30.0) == 600 - slack
    assert wake_delay(2, 86_400.0) == 0.0, "never longer than ten minutes, also at slow intervals"


@given(st.integers(1, 10_000), st.floats(0.1, 600), st.none() | st.floats(0, 3600), st.floats(0, 1))
def test_a_failed_heartbeat_waits_no_shorter_than_the_interval_and_no_longer_than_a_minute(
    failures: int, interval: float, retry_after: float | None, chance: float
) -> None:
    delay = heartbeat_delay(failures, interval, retry_after, chance)
    assert delay >= interval
    assert delay <= max(60.0 + 1e-9, interval, retry_after or 0.0)
    assert delay >= (retry_after or 0.0)


@example(91025.29154184887, 7.7, 93304.49154184887)
@given(st.floats(0, 1e6), st.floats(0.1, 1e4), st.floats(0, 1e6))
def test_the_next_beat_is_on_the_cadence_and_still_to_come(due: float, interval: float, now: float) -> None:
    beat = next_beat(due, interval, now)
    assert beat > now
    assert beat >= due
    steps = (beat - due) / interval
    assert abs(steps - round(steps)) < 1e-3


@pytest.mark.parametrize("status", [400, 404, 409, 410, 422, 423])
def test_these_refusals_are_final(status: int) -> None:
    refusal = CalendarRefusedError(status, "no")
    assert read_refusal(refusal, FINISHED, tried_before=False, gentle=False) is Refusal.FINAL


@pytest.mark.parametrize("status", [401, 402, 403, 405, 406, 418])
def test_other_refusals_pass(status: int) -> None:
    refusal = CalendarRefusedError(status, "no")
    assert read_refusal(refusal, FINISHED, tried_before=True, gentle=False) is Refusal.PASSING


@pytest.mark.parametrize("detail", ["Agent not found", "agent not found.", " Agent not found "])
def test_agent_not_found_is_about_the_agent(detail: str) -> None:
    refusal = CalendarRefusedError(404, detail)
    assert read_refusal(refusal, FINISHED, tried_before=False, gentle=False) is Refusal.PASSING


@pytest.mark.parametrize(
    ("detail", "meaning"),
    [
        ("", Refusal.ALREADY_SO),
        ("conflict", Refusal.ALREADY_SO),
        ("slot is already FINISHED", Refusal.ALREADY_SO),
        ("cannot go from finished to aborted", Refusal.ALREADY_SO),
        ("slot is already aborted", Refusal.FINAL),
        ("slot was skipped", Refusal.FINAL),
    ],
)
def test_a_conflict_after_an_unknown_outcome_is_success_unless_it_names_another_end(
    detail: str, meaning: Refusal
) -> None:
    assert read_refusal(CalendarRefusedError(409, detail), FINISHED, tried_before=True, gentle=False) is meaning
    repeated = CalendarRefusedError(409, detail, repeated=True)
    assert read_refusal(repeated, FINISHED, tried_before=False, gentle=False) is meaning


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(-5, 1), (0, 1), (59, 1), (60, 1), (119, 1), (120, 2), (1559, 25), (10**9, 65_535)]
)
def test_durations_are_whole_minutes_cut_off_at_least_one(seconds: float, minutes: int) -> None:
    assert actual_duration(dt.timedelta(seconds=seconds)) == minutes


def test_what_an_admin_locked_is_aborted_instead_of_deferred() -> None:
    assert release(Slot(id=1)).status is SlotStatus.DEFERRED
    assert release(Slot(id=1, is_admin_locked=True)).status is SlotStatus.ABORTED


def test_an_error_is_told_in_one_clean_line() -> None:
    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert describe(ValueError("a\nb\x1b[31m")) == "a b[31m"
    assert describe(ValueError()) == "ValueError"
    assert describe(SpeechlessError()) == "SpeechlessError"
    assert len(describe(ValueError("x" * 10_000))) == 500
