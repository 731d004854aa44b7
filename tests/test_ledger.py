"""The ledger by itself: what a scheduler's tests do not reach."""

import datetime as dt

from harborcal import Slot, SlotKey, SlotStatus, SlotUpdate, UpdateReceipt
from harborcal.ledger import SETTLED_MEMORY, STALE_FOR, Claim, Ledger, Sentence, Settled

NOW = dt.datetime(2026, 1, 5, 9, 0, tzinfo=dt.UTC)
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=1)


def claim(ledger: Ledger, agent_id: str, slot: Slot) -> Claim | None:
    return ledger.claim(agent_id, slot, asked=ledger.ask(), now=NOW, at=0.0, wake_id="w")


def sure(taken: Claim | None) -> Claim:
    assert taken is not None
    return taken


def accepted(ledger: Ledger, taken: Claim, number: int) -> None:
    """Have an update accepted that is delivered later."""
    receipt = UpdateReceipt(slot=ledger.key_of(taken), delivered=False, number=number)
    ledger.took(taken, taken.first_update, receipt)


def test_an_agent_takes_one_slot_and_a_slot_one_agent() -> None:
    ledger = Ledger(4)
    assert claim(ledger, "a", Slot(id=1)) is not None
    assert claim(ledger, "a", Slot(id=2)) is None
    assert claim(ledger, "b", Slot(id=1)) is None
    assert (
        ledger.take_up("b", Slot(id=1, status=SlotStatus.ONGOING), asked=ledger.ask(), now=NOW, at=0.0, wake_id="w")
        is None
    )


def test_a_claim_is_refused_on_an_answer_that_is_older_than_the_settlement() -> None:
    ledger = Ledger(4)
    asked = ledger.ask()
    ledger.settle(sure(claim(ledger, "a", Slot(id=1))), SlotStatus.FINISHED, now=NOW, at=0.0, update=FINISHED)
    opened_again = Slot(id=1, updated_at=NOW)
    assert ledger.claim("b", opened_again, asked=asked, now=NOW, at=0.0, wake_id="w") is None
    assert ledger.claim("b", opened_again, asked=ledger.ask(), now=NOW, at=0.0, wake_id="w") is not None


def test_whoever_comes_second_changes_nothing() -> None:
    ledger = Ledger(4)
    first = sure(claim(ledger, "a", Slot(id=1)))
    assert ledger.settle(first, SlotStatus.FINISHED, now=NOW, at=0.0) is not None
    second = sure(claim(ledger, "a", Slot(id=2)))
    assert ledger.settle(first, SlotStatus.ABORTED, now=NOW, at=0.0) is None
    assert not ledger.wake_failed(first, "late", now=NOW, at=0.0)
    assert not ledger.woken(first)
    assert not ledger.hear(first, NOW, 0.0)
    ledger.unclaim(first)
    assert ledger.active_of("a") is second


def test_a_confused_calendar_cannot_make_two_agents_share_a_slot() -> None:
    ledger = Ledger(4)
    one = sure(claim(ledger, "a", Slot(id=1)))
    other = sure(claim(ledger, "b", Slot(virtual_id="plan-1-2026-01-05")))
    ledger.took(other, other.first_update, UpdateReceipt(slot=SlotKey.real(1)))
    assert ledger.key_of(other) == SlotKey.virtual("plan-1-2026-01-05")
    ledger.settle(other, SlotStatus.FINISHED, now=NOW, at=0.0)
    assert claim(ledger, "c", Slot(id=1)) is None
    ledger.settle(one, SlotStatus.FINISHED, now=NOW, at=0.0)
    assert claim(ledger, "c", Slot(id=1)) is not None


def test_the_memory_of_settled_slots_is_bounded_but_never_loses_what_is_undelivered() -> None:
    ledger = Ledger(1)
    asked = ledger.ask()
    kept = sure(claim(ledger, "a", Slot(id=0)))
    accepted(ledger, kept, 1)
    ledger.settle(kept, SlotStatus.FINISHED, now=NOW, at=0.0, update=FINISHED)
    for number in range(1, SETTLED_MEMORY + 2):
        ledger.settle(sure(claim(ledger, "a", Slot(id=number))), SlotStatus.FINISHED, now=NOW, at=0.0, update=FINISHED)
    standings = ledger.standings("a", [Slot(id=0), Slot(id=1), Slot(id=SETTLED_MEMORY + 1)], asked=asked, at=0.0)
    assert [bool(standing and standing.settled) for standing in standings] == [True, False, True]


def test_nothing_undelivered_is_lost_even_beyond_the_bound() -> None:
    ledger = Ledger(1)
    for number in range(SETTLED_MEMORY + 2):
        taken = sure(claim(ledger, "a", Slot(id=number)))
        accepted(ledger, taken, number + 1)
        ledger.settle(taken, SlotStatus.FINISHED, now=NOW, at=0.0, update=FINISHED)
    [standing] = ledger.standings("a", [Slot(id=0)], asked=ledger.ask(), at=0.0)
    assert standing is not None
    assert standing.settled


def test_a_failure_that_rolled_out_of_the_history_is_counted_in_a_new_entry() -> None:
    ledger = Ledger(1)
    for _ in range(2):
        assert ledger.wake_failed(sure(claim(ledger, "a", Slot(id=1))), "wake failed: x", now=NOW, at=0.0)
        ledger.settle(sure(claim(ledger, "b", Slot(id=2))), SlotStatus.FINISHED, now=NOW, at=0.0)
    assert ledger.wake_failed(sure(claim(ledger, "a", Slot(id=1))), "wake failed: x", now=NOW, at=0.0)
    _, history = ledger.snapshot({}, now=NOW, at=0.0)
    assert [(entry.ident, entry.count, entry.attempt) for entry in history] == [("1", 1, 3)]


def test_a_slot_whose_start_lies_ahead_of_the_clock_was_started_now() -> None:
    ledger = Ledger(1)
    slot = Slot(id=1, status=SlotStatus.ONGOING, started_at=dt.time(23, 0))
    taken = sure(ledger.take_up("a", slot, asked=ledger.ask(), now=NOW, at=0.0, wake_id="w"))
    assert taken.started_at == NOW


def test_outcomes_for_slots_that_nobody_knows_are_ignored() -> None:
    ledger = Ledger(1)
    ledger.delivered(SlotKey.real(9), SlotKey.real(9), 1, at=0.0)
    assert ledger.undeliverable(SlotKey.real(9), "no", 2, gentle=False) == (None, None)
    ledger.forget("nobody")


def test_failures_of_one_slot_do_not_disturb_anothers() -> None:
    ledger = Ledger(4)
    for number in (1, 2):
        ledger.wake_failed(sure(claim(ledger, "a", Slot(id=number))), "wake failed: x", now=NOW, at=float(number))
    both = [Slot(id=1), Slot(id=2)]
    standings = ledger.standings("a", both, asked=ledger.ask(), at=0.0)
    assert [standing.failed_at for standing in standings if standing] == [1.0, 2.0]
    assert ledger.woken(sure(claim(ledger, "a", Slot(id=1))))
    standings = ledger.standings("a", [Slot(id=2)], asked=ledger.ask(), at=0.0)
    assert [standing.failures for standing in standings if standing] == [1]


def test_outcomes_that_come_later_reach_the_slot_while_it_is_active_and_after() -> None:
    ledger = Ledger(4)
    virtual, real = SlotKey.virtual("plan-1-2026-01-05"), SlotKey.real(5)
    taken = sure(claim(ledger, "a", Slot(virtual_id="plan-1-2026-01-05")))
    accepted(ledger, taken, 1)
    ledger.delivered(virtual, real, 1, at=0.0)
    assert ledger.key_of(taken) == real
    accepted(ledger, taken, 2)
    ledger.settle(taken, SlotStatus.FINISHED, now=NOW, at=0.0, update=FINISHED)
    under_way = Slot(id=6, status=SlotStatus.ONGOING)
    ledger.delivered(real, SlotKey.real(6), 1, at=0.0)
    assert not ledger.unheeded([under_way], asked=ledger.ask(), at=0.0), "its end is still on its way"
    ledger.delivered(real, SlotKey.real(6), 2, at=0.0)
    asked = ledger.ask()
    assert ledger.unheeded([under_way], asked=asked, at=0.0)
    assert not ledger.unheeded([Slot(id=6)], asked=asked, at=0.0)


def test_nothing_is_known_of_a_slot_without_an_id() -> None:
    ledger = Ledger(4)
    sure(claim(ledger, "a", Slot(id=1)))
    unnamed, held = ledger.standings("b", [Slot(), Slot(id=1)], asked=ledger.ask(), at=0.0)
    assert unnamed is None
    assert held is not None
    assert held.taken == "held by a"


def test_the_dates_of_what_was_begun_are_few_also_where_nobody_looks_at_them() -> None:
    ledger = Ledger(1)
    for number in range(50):
        slot = Slot(id=number, date=NOW.date() + dt.timedelta(days=number))
        ledger.unclaim(sure(claim(ledger, "dev", slot)))
    assert len(ledger.days_of("dev", since=NOW.date())) == 2


def test_work_that_does_not_rest_goes_on() -> None:
    ledger = Ledger(1)
    taken = sure(claim(ledger, "a", Slot(id=1)))
    ledger.resume(taken, 5.0)
    assert ledger.rested(taken) == 0.0


def test_only_the_end_of_a_silent_agents_slot_is_amended() -> None:
    ledger = Ledger(1)
    taken = sure(claim(ledger, "a", Slot(id=1)))
    ledger.settle(taken, SlotStatus.FINISHED, now=NOW, at=0.0, update=FINISHED)
    assert not ledger.amend(taken, summary="once more")


def test_of_two_attempts_of_an_agent_one_is_found_again() -> None:
    ledger = Ledger(1)
    claim(ledger, "a", Slot(id=1))
    other = Claim("a", Slot(id=2), attempt=1, wake_id="w", now=NOW, at=0.0, born=0)
    assert not ledger.restore(other)


def test_what_is_found_settled_without_an_entry_is_remembered_and_not_told() -> None:
    ledger = Ledger(1)
    ended = Claim("a", Slot(id=2), attempt=0, wake_id="", now=NOW, at=0.0, born=0)
    ledger.restore_settled(Settled(ended, None, delivered=False, taken_at=0, at=0.0))
    assert ledger.knows(SlotKey.real(2))
    assert ledger.snapshot({}, now=NOW, at=0.0) == ((), ())


def test_a_slot_that_somebody_holds_is_not_set_aside() -> None:
    ledger = Ledger(1)
    claim(ledger, "a", Slot(id=1))
    assert ledger.set_aside("b", Slot(id=1), asked=ledger.ask(), now=NOW, at=0.0) is None


def test_a_calendar_that_lists_a_slot_as_before_its_end_long_after_it_has_forgotten() -> None:
    ledger = Ledger(1)
    slot = Slot(id=1, updated_at=NOW)
    ledger.settle(sure(claim(ledger, "a", slot)), SlotStatus.FINISHED, now=NOW, at=0.0, update=FINISHED)
    [standing] = ledger.standings("a", [slot], asked=ledger.ask(), at=STALE_FOR + 1)
    assert standing is not None
    assert standing.settled == "the calendar has forgotten its last update, which is sent again"


def test_a_slot_that_is_to_be_given_back_is_kept_by_a_sign_of_life_unless_the_calendar_may_have_been_told() -> None:
    given_back = SlotUpdate(status=SlotStatus.DEFERRED)

    def is_lifted(*, was_woken: bool, is_told: bool) -> bool:
        ledger = Ledger(4)
        taken = sure(claim(ledger, "a", Slot(id=1)))
        ledger.condemn(taken, Sentence(given_back, "wake failed: x", was_woken=was_woken))
        if is_told:
            ledger.lost(taken, given_back)
        ledger.hear(taken, NOW, 1.0)
        return ledger.condemned(taken) is None

    assert is_lifted(was_woken=True, is_told=False)
    assert not is_lifted(was_woken=True, is_told=True)
    assert not is_lifted(was_woken=False, is_told=False)
