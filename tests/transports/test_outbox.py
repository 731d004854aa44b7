"""The outbox: accepted means durable; delivered in order, kindly, through outages and restarts."""

import contextlib
import datetime as dt
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborcal import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    Heartbeat,
    HttpTransport,
    Journal,
    JournalError,
    LifecycleError,
    OutboxTransport,
    RetryingTransport,
    Slot,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    ThreadRunner,
    TransportError,
    UpdateReceipt,
)
from harborcal.journal import Attempt, AttemptState, Letter
from harborcal.model import SlotKind
from harborcal.runner import Runner, Task
from harborcal.testing import CalendarServer, CallerRunner, FakeClock, InMemoryCalendar

ONGOING = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0))
PAUSED = SlotUpdate(status=SlotStatus.PAUSED)
FINISHED = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=12)
ABORTED = SlotUpdate(status=SlotStatus.ABORTED)


class Post:
    """A calendar in memory behind an outbox, in the caller's thread, on a clock that stands still."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "journal.db"
        self.clock = FakeClock()
        self.calendar = InMemoryCalendar(self.clock, ["dev", "ops"])
        self.runner: Runner = CallerRunner()
        self.options = {"seed": 1, **options}
        self.arrivals: list[tuple[float, str, str]] = []
        self.heard: list[tuple[str, str, str, int]] = []
        self.checkpoint: Callable[[str], None] | None = None
        self.calendar.before_update = self._arrive
        self.outbox = self._open(self.path)

    def _open(self, path: Path) -> OutboxTransport:
        journal = Journal(path, clock=self.clock, checkpoint=self._reach)
        outbox = OutboxTransport(self.calendar, journal, runner=self.runner, **self.options)
        outbox.subscribe(self)
        return outbox

    def _reach(self, step: str) -> None:
        if self.checkpoint is not None:
            self.checkpoint(step)

    def _arrive(self, _agent_id: str, key: SlotKey, update: SlotUpdate) -> None:
        self.arrivals.append((self.clock.monotonic(), str(key), str(update.status)))

    def delivered(self, key: SlotKey, real_key: SlotKey, number: int) -> None:
        self.heard.append(("delivered", str(key), str(real_key), number))

    def refused(self, key: SlotKey, update: SlotUpdate, error: HarborcalError, number: int) -> None:
        self.heard.append(("refused", str(key), f"{update.status}: {error}", number))

    def reopen(self) -> None:
        """Crash, and begin anew on the same file."""
        self.outbox.journal.close()
        self.calendar.before_update = self._arrive
        self.outbox = self._open(self.path)

    def send(self, key: SlotKey, update: SlotUpdate = ONGOING, agent_id: str = "dev") -> int:
        return self.outbox.update_slot(agent_id, key, update).number

    @property
    def sums(self) -> tuple[int, int, int, int]:
        """Accepted, delivered, pending, dead."""
        status = self.outbox.delivery_status()
        assert status.accepted == status.delivered + status.pending + status.dead
        return status.accepted, status.delivered, status.pending, status.dead

    @property
    def keys_sent(self) -> list[str]:
        return [received.update.idempotency_key for received in self.calendar.updates]


@pytest.fixture
def post(folder: Path) -> Iterator[Post]:
    made = Post(folder)
    yield made
    made.outbox.journal.close()


# --- accepted means durable -----------------------------------------------------------------------------------------


def test_what_was_accepted_is_delivered_by_whoever_opens_the_journal_next(post: Post) -> None:
    keys = [post.calendar.add_slot("dev") for _ in range(3)]
    with post.calendar.outage():
        receipts = [post.outbox.update_slot("dev", key, ONGOING) for key in keys]
        assert [(receipt.slot, receipt.delivered, receipt.number) for receipt in receipts] == [
            (key, False, number) for number, key in enumerate(keys, start=1)
        ]
        assert post.sums == (3, 0, 3, 0)
        post.reopen()
        assert post.sums == (3, 0, 3, 0)
    post.clock.advance(300)
    assert [post.calendar.slot(key).status for key in keys] == ["ongoing"] * 3
    assert post.sums == (3, 3, 0, 0)


def test_an_update_that_can_be_delivered_is_delivered_at_once(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    number = post.send(key)
    assert post.calendar.slot(key).status is SlotStatus.ONGOING
    assert post.heard == [("delivered", str(key), str(key), number)]


def test_the_numbers_of_letters_go_on_after_a_restart(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    first = post.send(key)
    post.reopen()
    assert post.send(key, FINISHED) == first + 1


@pytest.mark.parametrize("step", ["accept.begun", "accept.written"])
def test_what_the_journal_cannot_take_is_not_accepted(post: Post, step: str) -> None:
    def fail(reached: str) -> None:
        if reached == step:
            raise OSError(28, "No space left on device")

    key = post.calendar.add_slot("dev")
    post.checkpoint = fail
    with pytest.raises(JournalError):
        post.send(key)
    assert post.sums == (0, 0, 0, 0)
    assert post.outbox.delivery_status().journal_error
    assert not post.arrivals
    post.checkpoint = None
    post.send(key)
    assert post.calendar.slot(key).status is SlotStatus.ONGOING
    assert not post.outbox.delivery_status().journal_error


def test_a_journal_whose_file_was_deleted_accepts_nothing(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.path.unlink()
    with pytest.raises(JournalError, match="deleted or replaced"):
        post.send(key)
    assert post.sums == (0, 0, 0, 0)
    assert not post.arrivals


def test_a_letter_that_cannot_be_noted_as_delivered_is_sent_again_later(post: Post) -> None:
    def fail(step: str) -> None:
        if step == "deliver.begun":
            raise OSError(28, "No space left on device")

    key = post.calendar.add_slot("dev")
    post.checkpoint = fail
    post.send(key)
    assert post.sums == (1, 0, 1, 0)
    post.checkpoint = None
    post.clock.advance(5)
    assert post.sums == (1, 1, 0, 0)
    assert [status for _, _, status in post.arrivals] == ["ongoing", "ongoing"]
    assert len(set(post.keys_sent)) == 1


# --- order ----------------------------------------------------------------------------------------------------------


def test_updates_of_one_slot_leave_in_the_order_in_which_they_were_accepted(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    with post.calendar.outage():
        for update in (ONGOING, PAUSED, ONGOING, FINISHED):
            post.send(key, update)
    post.arrivals.clear()
    post.clock.advance(600)
    assert [status for _, _, status in post.arrivals] == ["ongoing", "paused", "ongoing", "finished"]


def test_a_slot_whose_update_keeps_failing_does_not_hold_up_the_others(post: Post) -> None:
    stuck, free = post.calendar.add_slot("dev"), post.calendar.add_slot("ops")

    def fail(_agent_id: str, key: SlotKey, _update: SlotUpdate) -> None:
        if key == stuck:
            raise CalendarUnavailableError("this one only", 500)

    post.calendar.before_update = fail
    post.send(stuck)
    post.send(free, agent_id="ops")
    post.clock.advance(5)
    post.send(free, FINISHED, agent_id="ops")
    post.clock.advance(60)
    assert post.calendar.slot(free).status is SlotStatus.FINISHED
    assert post.sums == (3, 2, 1, 0)


def test_an_update_that_is_overtaken_on_its_way_to_the_post_leaves_first_all_the_same(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = post.calendar.add_slot("dev")
    post.send(key)
    accept = post.outbox.journal.accept

    def be_overtaken(agent_id: str, slot: SlotKey, update: SlotUpdate) -> Letter:
        letter = accept(agent_id, slot, update)
        if update is PAUSED:
            post.send(key, FINISHED)
        return letter

    monkeypatch.setattr(post.outbox.journal, "accept", be_overtaken)
    post.send(key, PAUSED)
    post.clock.advance(60)
    assert [status for _, _, status in post.arrivals] == ["ongoing", "paused", "finished"]
    assert post.sums == (3, 3, 0, 0)


def test_the_order_holds_across_a_restart(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    with post.calendar.outage():
        post.send(key)
        post.reopen()
        post.send(key, FINISHED)
    post.arrivals.clear()
    post.clock.advance(600)
    assert [status for _, _, status in post.arrivals] == ["ongoing", "finished"]


# --- trying again ---------------------------------------------------------------------------------------------------


def test_what_fails_is_tried_again_ever_less_often_with_jitter(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    with post.calendar.outage():
        post.send(key)
        post.clock.advance(600)
    times = [at for at, _, _ in post.arrivals]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    ceilings = [min(60.0, 2.0**number) for number in range(len(gaps))]
    # The pace waits beside the lane, with a draw of its own: the longer of the two counts.
    assert all(ceiling / 2 <= gap <= ceiling for gap, ceiling in zip(gaps, ceilings, strict=True))
    assert len({gap / ceiling for gap, ceiling in zip(gaps, ceilings, strict=True)}) == len(gaps)
    assert len(gaps) > 10


def test_the_delays_are_those_that_were_asked_for(folder: Path) -> None:
    post = Post(folder, base_delay=4.0, max_delay=8.0)
    key = post.calendar.add_slot("dev")
    with post.calendar.outage():
        post.send(key)
        post.clock.advance(60)
    times = [at for at, _, _ in post.arrivals]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 2.0 <= gaps[0] <= 4.0
    assert all(4.0 <= gap <= 8.0 for gap in gaps[1:])
    post.outbox.journal.close()


@pytest.mark.parametrize(
    "error",
    [
        CalendarRefusedError(401, "token expired"),
        CalendarRefusedError(403, "not yours"),
        CalendarRefusedError(404, "Agent not found"),
        CalendarRefusedError(405, "a proxy's own page"),
        CalendarRefusedError(407, "the proxy wants to know who you are"),
        CalendarRefusedError(421, "misdirected"),
        TransportError("no route"),
    ],
    ids=["401", "403", "unknown agent", "405", "407", "421", "no answer"],
)
def test_what_somebody_may_mend_is_tried_until_it_is_mended(post: Post, error: HarborcalError) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(error, times=6, on="update")
    post.send(key)
    assert post.outbox.delivery_status().last_error == str(error)
    post.clock.advance(300)
    assert post.calendar.slot(key).status is SlotStatus.ONGOING
    assert post.sums == (1, 1, 0, 0)
    assert post.outbox.delivery_status().last_error == ""


def test_whatever_a_transport_raises_the_letter_stays_on_its_way(post: Post) -> None:
    class Broken(InMemoryCalendar):
        broken = True

        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if self.broken:
                raise SystemExit("who knows")
            return super().update_slot(agent_id, slot, update)

    broken = Broken(post.clock, ["dev"])
    key = broken.add_slot("dev")
    post.outbox.inner = broken
    post.send(key)
    assert post.sums == (1, 0, 1, 0)
    broken.broken = False
    post.clock.advance(5)
    assert broken.slot(key).status is SlotStatus.ONGOING


def test_already_so_after_an_unknown_outcome_counts_as_delivered(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.lose_next_answer()
    post.send(key, FINISHED)
    post.calendar.fail_next(CalendarRefusedError(409, "slot is already finished"), on="update")
    post.clock.advance(5)
    assert post.sums == (1, 1, 0, 0)
    assert post.heard == [("delivered", str(key), str(key), 1)]


def test_already_so_counts_also_when_the_unknown_outcome_was_before_a_restart(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.lose_next_answer()
    post.send(key, FINISHED)
    post.calendar.fail_next(CalendarRefusedError(409, "slot is already finished"), on="update")
    post.reopen()
    assert post.sums == (1, 1, 0, 0)


def test_a_conflict_with_another_end_after_an_unknown_outcome_is_final(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(TransportError("lost"), on="update")
    post.send(key, FINISHED)
    post.calendar.cancel(key)
    post.clock.advance(5)
    assert post.sums == (1, 0, 0, 1)


# --- after an outage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agents", [4, 30])
def test_after_an_outage_the_calendar_has_at_most_twice_its_usual_load(folder: Path, agents: int) -> None:
    post = Post(folder)
    names = [f"agent-{number}" for number in range(agents)]
    calls: Counter[int] = Counter()

    def count(*_: object) -> None:
        calls[int(post.clock.monotonic() // 60)] += 1

    post.calendar.before_heartbeat = post.calendar.before_update = count

    def beat(rounds: int) -> None:
        for _ in range(rounds):
            for name in names:
                with contextlib.suppress(CalendarUnavailableError):
                    post.outbox.heartbeat(name)
                post.clock.advance(30 / agents)

    for name in names:
        post.calendar.add_agent(name)
    beat(20)
    steady = max(calls.values())
    keys = {name: [post.calendar.add_slot(name) for _ in range(10)] for name in names}
    with post.calendar.outage():
        for name, own in keys.items():
            for key in own:
                post.send(key, agent_id=name)
        beat(10)
    calls.clear()
    backlog = post.sums[2]
    assert backlog == 10 * agents
    beat(2 * backlog // (2 * agents) + 40)
    assert post.sums[2] == 0
    assert max(calls.values()) <= 2 * steady
    post.outbox.journal.close()


def test_in_steady_days_letters_leave_at_once_however_many(post: Post) -> None:
    keys = [post.calendar.add_slot("dev") for _ in range(50)]
    for key in keys:
        post.send(key)
    assert post.sums == (50, 50, 0, 0)


def test_once_the_backlog_is_gone_letters_leave_at_once_again(post: Post) -> None:
    keys = [post.calendar.add_slot("dev") for _ in range(4)]
    with post.calendar.outage():
        post.send(keys[0])
    post.clock.advance(60)
    for key in keys[1:]:
        post.send(key)
    assert post.sums == (4, 4, 0, 0)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_a_slot_that_fails_does_not_keep_a_calendar_of_few_calls_from_taking_more(
    post: Post, *, for_ever: bool
) -> None:
    stuck, *keys = [post.calendar.add_slot("dev") for _ in range(180)]

    def fail(_agent_id: str, key: SlotKey, _update: SlotUpdate) -> None:
        if key == stuck:
            raise CalendarUnavailableError("this one only", 500)

    for _ in range(40):
        post.outbox.heartbeat("dev")
        post.clock.advance(30)
    post.calendar.before_update = fail
    post.send(stuck)
    if not for_ever:
        post.calendar.before_update = None
    waiting = []
    for number, key in enumerate(keys):
        post.send(key)
        if number % 3 == 0:
            post.outbox.heartbeat("dev")
        post.clock.advance(10)
        waiting.append(post.sums[2] - for_ever)
    assert max(waiting) <= 8
    assert max(waiting[60:]) <= 1


def test_a_slot_of_an_unknown_agent_does_not_slow_the_others_after_a_restart(post: Post) -> None:
    stuck = post.calendar.add_slot("ops")
    keys = [post.calendar.add_slot("dev") for _ in range(100)]
    post.calendar.remove_agent("ops")
    post.send(stuck, agent_id="ops")
    post.reopen()
    waiting = []
    for key in keys:
        post.send(key)
        for _ in range(5):
            post.outbox.heartbeat("dev")
        post.clock.advance(0.5)
        waiting.append(post.sums[2] - 1)
    assert max(waiting) == 0


@pytest.mark.parametrize("status", [401, 403])
def test_a_calendar_that_lets_nobody_in_is_not_stormed_by_all_that_waits(post: Post, status: int) -> None:
    def refuse(_agent_id: str, key: SlotKey, update: SlotUpdate) -> None:
        post.arrivals.append((post.clock.monotonic(), str(key), str(update.status)))
        raise CalendarRefusedError(status, "not you")

    keys = [post.calendar.add_slot("dev") for _ in range(40)]
    post.calendar.before_update = refuse
    for key in keys:
        post.send(key)
    post.clock.advance(600)
    post.arrivals.clear()
    post.clock.advance(600)
    # The longest delay is a minute, of which jitter takes half at most: however many wait, they ask that often.
    assert 10 <= len(post.arrivals) <= 20
    post.calendar.before_update = None
    post.clock.advance(900)
    assert post.sums == (40, 40, 0, 0)


# --- dead letters ---------------------------------------------------------------------------------------------------


def test_what_the_calendar_refuses_for_good_is_a_dead_letter(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.cancel(key)
    number = post.send(key, FINISHED)
    assert post.sums == (1, 0, 0, 1)
    [dead] = post.outbox.delivery_status().dead_letters
    assert (dead.number, dead.agent_id, dead.key, dead.status) == (number, "dev", key, SlotStatus.FINISHED)
    assert dead.error == "calendar refused (409): slot is already skipped"
    assert dead.accepted_at == post.clock.now()
    assert post.heard == [("refused", str(key), f"finished: {dead.error}", number)]
    post.reopen()
    assert post.outbox.delivery_status().dead_letters == (dead,)


def test_a_dead_letter_does_not_hold_up_what_comes_after_it(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(CalendarRefusedError(422, "no"), on="update")
    post.send(key)
    post.send(key, FINISHED)
    assert post.calendar.slot(key).status is SlotStatus.FINISHED
    assert post.sums == (2, 1, 0, 1)


def test_a_dead_letter_can_be_sent_again(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(CalendarRefusedError(422, "no"), on="update")
    number = post.send(key)
    post.outbox.retry_dead_letter(number)
    assert post.calendar.slot(key).status is SlotStatus.ONGOING
    assert post.sums == (1, 1, 0, 0)
    assert post.outbox.delivery_status().dead_letters == ()


def test_a_dead_letter_that_is_sent_again_in_the_moment_it_is_buried_is_delivered(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury = post.outbox.journal.bury

    def be_quick(number: int, error: str) -> None:
        bury(number, error)
        post.outbox.retry_dead_letter(number)

    monkeypatch.setattr(post.outbox.journal, "bury", be_quick)
    keys = [post.calendar.add_slot("dev") for _ in range(2)]
    post.calendar.fail_next(CalendarRefusedError(422, "not yet"), on="update")
    post.send(keys[0], FINISHED)
    assert post.sums == (1, 1, 0, 0)
    post.send(keys[1], FINISHED)
    assert post.sums == (2, 2, 0, 0)


def test_a_dead_letter_is_not_sent_after_a_later_one_of_its_slot(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(CalendarRefusedError(422, "no"), on="update")
    number = post.send(key)
    post.send(key, FINISHED)
    with pytest.raises(ConfigurationError, match="its slot has gone on since"):
        post.outbox.retry_dead_letter(number)
    assert post.sums == (2, 1, 0, 1)


def test_a_dead_letter_can_be_dropped_and_stays_counted(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(CalendarRefusedError(422, "no"), on="update")
    number = post.send(key)
    post.outbox.drop_dead_letter(number)
    status = post.outbox.delivery_status()
    assert (status.dead, status.dropped, status.dead_letters) == (1, 1, ())
    assert post.sums == (1, 0, 0, 1)
    with pytest.raises(ConfigurationError, match="no dead letter"):
        post.outbox.retry_dead_letter(number)


@pytest.mark.parametrize("verb", ["retry_dead_letter", "drop_dead_letter"])
def test_only_dead_letters_are_retried_or_dropped(post: Post, verb: str) -> None:
    number = post.send(post.calendar.add_slot("dev"))
    for wrong in (number, number + 1, 0):
        with pytest.raises(ConfigurationError, match="no dead letter"):
            getattr(post.outbox, verb)(wrong)
    assert post.sums == (1, 1, 0, 0)


# --- virtual slots --------------------------------------------------------------------------------------------------


def test_what_follows_the_first_update_of_a_virtual_slot_goes_to_its_real_key(post: Post) -> None:
    key = post.calendar.add_virtual_slot("dev", 3)
    with post.calendar.outage():
        post.send(key)
        post.send(key, FINISHED)
    post.arrivals.clear()
    post.clock.advance(60)
    real = post.calendar.slot(key).key
    assert [(sent, status) for _, sent, status in post.arrivals] == [(str(key), "ongoing"), (str(real), "finished")]
    assert post.heard == [("delivered", str(key), str(real), 1), ("delivered", str(key), str(real), 2)]


def test_the_real_key_of_a_virtual_slot_is_known_after_a_restart(post: Post) -> None:
    key = post.calendar.add_virtual_slot("dev", 3)
    post.send(key)
    real = post.calendar.slot(key).key
    post.reopen()
    assert post.outbox.update_slot("dev", key, FINISHED).slot == real
    assert post.calendar.updates[-1].slot == real


def test_a_letter_to_the_real_key_waits_for_those_to_the_virtual_one(post: Post) -> None:
    key = post.calendar.add_virtual_slot("dev", 3)
    post.send(key)
    real = post.calendar.slot(key).key
    with post.calendar.outage():
        post.send(key, PAUSED)
        post.send(real, FINISHED)
    post.arrivals.clear()
    post.clock.advance(60)
    assert [status for _, _, status in post.arrivals] == ["paused", "finished"]


# --- idempotency keys -----------------------------------------------------------------------------------------------


def test_each_letter_has_a_key_of_its_own(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    for update in (ONGOING, PAUSED, ONGOING, FINISHED):
        post.send(key, update)
    assert len(set(post.keys_sent)) == 4
    assert all(post.keys_sent)


def test_a_letter_keeps_its_key_over_tries_and_restarts(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    tried: list[str] = []
    arrive = post.calendar.before_update
    assert arrive is not None

    def note(agent_id: str, slot: SlotKey, update: SlotUpdate) -> None:
        tried.append(update.idempotency_key)
        arrive(agent_id, slot, update)

    post.calendar.before_update = note
    with post.calendar.outage():
        post.send(key)
        post.clock.advance(10)
        post.reopen()
    post.calendar.before_update = note
    post.clock.advance(60)
    assert post.sums == (1, 1, 0, 0)
    assert len(tried) > 2
    assert len(set(tried) | set(post.keys_sent)) == 1


def test_the_key_is_sent_as_a_header_with_every_try(folder: Path) -> None:
    clock = FakeClock()
    calendar = InMemoryCalendar(clock, ["dev"])
    with CalendarServer(calendar) as server:
        journal = Journal(folder / "journal.db", clock=clock)
        outbox = OutboxTransport(HttpTransport(server.url, "claw"), journal, runner=CallerRunner())
        calendar.fail_next(CalendarUnavailableError("not now", 503), on="update")
        outbox.update_slot("dev", calendar.add_slot("dev"), ONGOING)
        outbox.update_slot("dev", calendar.add_slot("dev"), FINISHED)
        clock.advance(60)
        assert outbox.delivery_status().delivered == 2
        outbox.close()
    sent = [{name.lower(): value for name, value in request.headers.items()} for request in server.requests]
    keys = [headers["idempotency-key"] for headers in sent]
    assert len(keys) == 3
    assert len(set(keys)) == 2
    assert all(b"idempotency" not in request.body for request in server.requests)


# --- replacing, flushing, closing -----------------------------------------------------------------------------------


def test_a_letter_that_was_never_sent_can_be_replaced(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    with post.calendar.outage():
        post.send(key)
        number = post.send(key, ABORTED)
        assert post.outbox.replace(number, FINISHED)
        post.reopen()
    post.arrivals.clear()
    post.clock.advance(60)
    assert [status for _, _, status in post.arrivals] == ["ongoing", "finished"]
    assert post.calendar.slot(key).actual_duration == 12


def test_a_letter_that_may_have_arrived_cannot_be_replaced(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    with post.calendar.outage():
        number = post.send(key, ABORTED)
        assert not post.outbox.replace(number, FINISHED)
    post.clock.advance(60)
    assert post.calendar.slot(key).status is SlotStatus.ABORTED
    assert not post.outbox.replace(number, FINISHED)
    assert not post.outbox.replace(99, FINISHED)


def test_flush_tells_whether_everything_has_arrived(post: Post) -> None:
    assert post.outbox.flush(0.0)
    with post.calendar.outage():
        post.send(post.calendar.add_slot("dev"))
    assert not post.outbox.flush(0.0)
    post.clock.advance(10)
    assert post.outbox.flush(0.0)


def test_closing_closes_the_calendar_and_lets_go_of_the_journal(post: Post) -> None:
    post.outbox.close()
    assert post.calendar.closed
    Journal(post.path, patience=0.0).close()
    with pytest.raises(LifecycleError, match="closed"):
        post.send(SlotKey.real(1))
    post.outbox.close()


def test_nothing_is_sent_after_the_end(post: Post) -> None:
    with post.calendar.outage():
        post.send(post.calendar.add_slot("dev"))
    post.outbox.close()
    post.arrivals.clear()
    post.clock.advance(600)
    assert not post.arrivals
    assert not post.clock.pending


# --- mishaps --------------------------------------------------------------------------------------------------------


def test_a_listener_that_raises_keeps_nobody_from_knowing(post: Post) -> None:
    class Rude:
        def delivered(self, key: SlotKey, real_key: SlotKey, number: int) -> None:
            raise RuntimeError(f"do not tell me of {key} {real_key} {number}")

        def refused(self, key: SlotKey, update: SlotUpdate, error: HarborcalError, number: int) -> None:
            raise RuntimeError(f"do not tell me of {key} {update} {error} {number}")

    class Polite(Rude):
        def __init__(self) -> None:
            self.heard: list[int] = []

        def delivered(self, key: SlotKey, real_key: SlotKey, number: int) -> None:
            self.heard.append(number)

    polite = Polite()
    post.outbox.subscribe(Rude())
    post.outbox.subscribe(polite)
    key = post.calendar.add_slot("dev")
    post.send(key)
    post.send(key, FINISHED)
    assert polite.heard == [1, 2]
    assert post.sums == (2, 2, 0, 0)


class Short(CallerRunner):
    """A runner whose system is out of threads for a while."""

    left = 0

    def spawn(self, name: str, task: Callable[[], None]) -> Task:
        if self.left:
            self.left -= 1
            raise RuntimeError("can't start new thread")
        return super().spawn(name, task)


def test_a_letter_that_finds_no_thread_is_delivered_with_the_next_call(post: Post) -> None:
    short = Short()
    post.runner = short
    post.reopen()
    key = post.calendar.add_slot("dev")
    short.left = 1
    post.send(key)
    assert post.sums == (1, 0, 1, 0)
    assert "thread" in post.outbox.delivery_status().last_error
    post.outbox.heartbeat("dev")
    assert post.sums == (1, 1, 0, 0)


def test_a_timer_that_finds_no_thread_is_set_with_the_next_call(post: Post) -> None:
    class Poor(FakeClock):
        poor = False

        def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
            if self.poor:
                raise RuntimeError("can't start new thread")
            return super().call_later(delay, callback)

    post.outbox.journal.close()
    post.clock = poor = Poor()
    post.outbox = post._open(post.path)
    with post.calendar.outage():
        poor.poor = True
        post.send(post.calendar.add_slot("dev"))
        poor.poor = False
        assert not post.clock.pending
    post.clock.advance(60)
    assert post.sums == (1, 0, 1, 0)
    post.outbox.heartbeat("dev")
    post.clock.advance(60)
    assert post.sums == (1, 1, 0, 0)


def test_whatever_is_raised_inside_a_delivery_does_not_end_all_deliveries(post: Post) -> None:
    def fail(step: str) -> None:
        if step == "send.begun":
            post.checkpoint = None
            raise MemoryError

    keys = [post.calendar.add_slot("dev") for _ in range(2)]
    post.checkpoint = fail
    post.send(keys[0])
    post.send(keys[1])
    post.clock.advance(60)
    assert post.sums == (2, 2, 0, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_delay": 0}, "base_delay"),
        ({"max_delay": -1.0}, "max_delay"),
        ({"base_delay": float("nan")}, "base_delay"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_an_outbox_is_told_of_arguments_that_make_no_sense(post: Post, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        OutboxTransport(post.calendar, post.outbox.journal, **options)


def test_an_outbox_needs_a_transport_and_a_journal(post: Post) -> None:
    nobody: Any = object()
    with pytest.raises(ConfigurationError, match="inner is a transport"):
        OutboxTransport(nobody, post.outbox.journal)
    with pytest.raises(ConfigurationError, match="journal is a"):
        OutboxTransport(post.calendar, nobody)


def test_an_outbox_is_not_put_around_another(post: Post) -> None:
    with contextlib.closing(Journal(post.path.with_name("second"), clock=post.clock)) as journal:
        for inner in (post.outbox, RetryingTransport(post.outbox)):
            with pytest.raises(ConfigurationError, match="one outbox is enough"):
                OutboxTransport(inner, journal)


def test_a_journal_belongs_to_one_outbox(post: Post) -> None:
    with pytest.raises(ConfigurationError, match="another outbox's"):
        OutboxTransport(post.calendar, post.outbox.journal)
    key = post.calendar.add_slot("dev")
    post.send(key)
    assert post.sums == (1, 1, 0, 0)


def test_an_outbox_takes_no_journal_that_is_closed(post: Post) -> None:
    journal = Journal(post.path.with_name("another.db"), clock=post.clock)
    journal.close()
    with pytest.raises(ConfigurationError, match="closed"):
        OutboxTransport(post.calendar, journal)


# --- with real threads ----------------------------------------------------------------------------------------------


class Gated(InMemoryCalendar):
    """A calendar in which the first update waits until it is let in."""

    def __init__(self, agents: Iterable[str]) -> None:
        super().__init__(agents=agents)
        self.entered = threading.Event()
        self.gate = threading.Event()

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        self.entered.set()
        assert self.gate.wait(10)
        return super().update_slot(agent_id, slot, update)

    def heartbeat(self, agent_id: str) -> Heartbeat:
        return super().heartbeat(agent_id)


def test_accepting_waits_for_no_delivery(folder: Path) -> None:
    calendar = Gated(["dev"])
    keys = [calendar.add_slot("dev") for _ in range(5)]
    outbox = OutboxTransport(calendar, Journal(folder / "journal.db"), runner=ThreadRunner())
    for key in keys:
        outbox.update_slot("dev", key, ONGOING)
    assert calendar.entered.wait(10)
    outbox.update_slot("dev", keys[0], FINISHED)
    assert outbox.delivery_status().pending == 6
    calendar.gate.set()
    assert outbox.flush(10)
    assert [calendar.slot(key).status for key in keys] == ["finished", *["ongoing"] * 4]
    outbox.close()


def test_closing_lets_what_can_be_delivered_at_once_be_delivered(folder: Path) -> None:
    calendar = Gated(["dev"])
    keys = [calendar.add_slot("dev") for _ in range(3)]
    outbox = OutboxTransport(calendar, Journal(folder / "journal.db"), runner=ThreadRunner())
    for key in keys:
        outbox.update_slot("dev", key, ONGOING)
    assert calendar.entered.wait(10)
    calendar.gate.set()
    outbox.close()
    assert [calendar.slot(key).status for key in keys] == ["ongoing"] * 3
    assert outbox.delivery_status().delivered == 3


def test_many_threads_may_send_at_once(folder: Path) -> None:
    calendar = InMemoryCalendar(agents=["dev"])
    keys = [calendar.add_slot("dev") for _ in range(8)]
    outbox = OutboxTransport(calendar, Journal(folder / "journal.db"), runner=ThreadRunner())

    def live(key: SlotKey) -> None:
        for update in (ONGOING, PAUSED, ONGOING, FINISHED):
            outbox.update_slot("dev", key, update)

    threads = [threading.Thread(target=live, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.flush(10)
    for key in keys:
        own = [str(received.update.status) for received in calendar.updates if received.slot == key]
        assert own == ["ongoing", "paused", "ongoing", "finished"]
    outbox.close()


# --- the sums -------------------------------------------------------------------------------------------------------


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3), st.sampled_from([ONGOING, PAUSED, FINISHED, ABORTED])),
        st.tuples(st.sampled_from(["lose", "refuse", "fail", "reopen", "retry", "drop", "out", "back"])),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 2.0, 30.0])),
    ),
    max_size=25,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_what_was_accepted_was_delivered_or_is_pending_or_dead_at_every_moment(
    folder: Path, acts: list[tuple[Any, ...]]
) -> None:
    (folder / "journal.db").unlink(missing_ok=True)
    post = Post(folder)
    keys = [post.calendar.add_slot("dev") for _ in range(3)] + [post.calendar.add_virtual_slot("dev", 1)]
    accepted = 0
    for verb, *details in acts:
        if verb == "send":
            post.send(keys[details[0]], details[1])
            accepted += 1
        elif verb == "advance":
            post.clock.advance(details[0])
        else:
            _disturb(post, verb)
        assert post.sums[0] == accepted
    post.calendar.stop_outage()
    post.clock.advance(3600)
    assert post.sums[2] == 0
    numbers = [number for _, _, _, number in post.heard]
    assert len(set(numbers)) == len(numbers) or any(act[0] == "retry" for act in acts), "each ends once"
    post.outbox.journal.close()


def _disturb(post: Post, verb: str) -> None:
    dead = post.outbox.delivery_status().dead_letters
    if verb == "lose":
        post.calendar.lose_next_answer()
    elif verb == "refuse":
        post.calendar.fail_next(CalendarRefusedError(422, "no"), on="update")
    elif verb == "fail":
        post.calendar.fail_next(TransportError("lost"), on="update")
    elif verb == "reopen":
        post.reopen()
    elif verb == "out":
        post.calendar.start_outage()
    elif verb == "back":
        post.calendar.stop_outage()
    elif dead:
        with contextlib.suppress(ConfigurationError):
            (post.outbox.retry_dead_letter if verb == "retry" else post.outbox.drop_dead_letter)(dead[0].number)


# --- what was found by looking closely ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent_id", "key", "update"),
    [
        ("../bad agent", SlotKey.real(1), FINISHED),
        ("dev", SlotKey.virtual("daily standup"), FINISHED),
        ("dev", SlotKey(SlotKind.REAL, -1), FINISHED),
        ("dev", SlotKey.real(1), SlotUpdate(status=SlotStatus.FINISHED, actual_duration=0)),
    ],
    ids=["agent", "virtual id", "real id", "duration"],
)
def test_what_no_calendar_could_be_told_is_not_accepted(
    post: Post, agent_id: str, key: SlotKey, update: SlotUpdate
) -> None:
    with pytest.raises(ConfigurationError):
        post.outbox.update_slot(agent_id, key, update)
    assert post.sums == (0, 0, 0, 0)
    post.reopen()


def test_a_receipt_with_an_odd_key_counts_as_delivered_and_teaches_nothing(post: Post) -> None:
    class Odd:
        def heartbeat(self, agent_id: str) -> Heartbeat:
            return Heartbeat()

        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            return UpdateReceipt(slot=SlotKey(SlotKind.REAL, "7"))

        def close(self) -> None:
            """Nothing to close."""

    path = post.path.with_name("odd")
    outbox = OutboxTransport(Odd(), Journal(path, clock=post.clock), runner=CallerRunner())
    outbox.update_slot("dev", SlotKey.virtual("plan-1-2026-01-05"), FINISHED)
    assert outbox.delivery_status().delivered == 1
    outbox.close()
    with contextlib.closing(Journal(path, clock=post.clock)) as journal:
        assert journal.letters()[0].real_key is None


def test_a_conflict_after_a_refusal_that_was_surely_heard_is_no_already_so(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(CalendarRefusedError(403, "not yours"), on="update")
    post.send(key, FINISHED)
    post.calendar.fail_next(CalendarRefusedError(409, "slot is locked by another session"), on="update")
    post.clock.advance(60)
    assert post.sums == (1, 0, 0, 1)


def test_a_refusal_that_could_not_be_written_is_no_already_so_the_next_time(post: Post) -> None:
    key = post.calendar.add_slot("dev")
    post.calendar.fail_next(CalendarRefusedError(409, "slot is locked"), times=2, on="update")

    def full(step: str) -> None:
        if step == "bury.written" and post.clock.monotonic() < 3:
            raise OSError(28, "No space left on device")

    post.checkpoint = full
    post.send(key, FINISHED)
    assert post.sums == (1, 0, 1, 0)
    post.clock.advance(60)
    assert post.sums == (1, 0, 0, 1)


def test_a_calendar_that_asks_to_be_left_alone_is(post: Post) -> None:
    keys = [post.calendar.add_slot("dev") for _ in range(5)]
    post.calendar.fail_next(CalendarUnavailableError("busy", 503, 600), on="update")
    for key in keys:
        post.send(key)
    assert len(post.arrivals) == 1
    post.clock.advance(599)
    assert len(post.arrivals) == 1
    assert post.sums == (5, 0, 5, 0)
    post.clock.advance(120)
    assert post.sums == (5, 5, 0, 0)


def test_a_slot_that_fails_for_ever_does_not_slow_the_others(post: Post) -> None:
    stuck = post.calendar.add_slot("dev")

    def fail(_agent_id: str, key: SlotKey, update: SlotUpdate) -> None:
        if key == stuck:
            raise CalendarUnavailableError("a bug with this one", 500)
        post.arrivals.append((post.clock.monotonic(), str(key), str(update.status)))

    post.calendar.before_update = fail
    post.send(stuck)
    for _ in range(20):
        post.clock.advance(595)
        key = post.calendar.add_slot("dev")
        sent_at = post.clock.monotonic()
        post.send(key)
        post.clock.advance(5)
        assert post.arrivals[-1] == (sent_at, str(key), "ongoing")


def test_a_calendar_that_comes_back_empty_is_not_stormed(folder: Path) -> None:
    post = Post(folder)
    for _ in range(20):  # steady days: two heartbeats and a report each half minute
        post.outbox.heartbeat("dev")
        post.outbox.heartbeat("ops")
        post.send(post.calendar.add_slot("dev"))
        post.clock.advance(30)
    with post.calendar.outage():
        for _ in range(300):
            post.send(post.calendar.add_slot("dev"))
            post.clock.advance(30)
    arrived: list[float] = []

    def unknown(*_: object) -> None:
        arrived.append(post.clock.monotonic())
        raise CalendarRefusedError(404, "Agent not found")

    post.calendar.before_update = unknown
    post.clock.advance(600)
    assert 1 <= len(arrived) <= 2 * 6 * 10, "twice six calls a minute"
    post.outbox.journal.close()


@pytest.mark.parametrize("pending", [1, 40])
def test_after_a_restart_a_backlog_leaves_slowly_and_what_is_new_does_not_wait_for_nothing(
    post: Post, pending: int
) -> None:
    with post.calendar.outage():
        for _ in range(pending):
            post.send(post.calendar.add_slot("dev"))
        post.reopen()
    post.arrivals.clear()
    for _ in range(2):
        post.outbox.heartbeat("dev")
        post.clock.advance(30)
    assert len(post.arrivals) <= 7
    if pending == 1:
        key = post.calendar.add_slot("dev")
        post.send(key)
        assert post.arrivals[-1][:2] == (post.clock.monotonic(), str(key))


def test_ctrl_c_between_acceptance_and_posting_delays_a_letter_until_the_next_heartbeat(post: Post) -> None:
    key = post.calendar.add_slot("dev")

    def interrupt(step: str) -> None:
        if step == "accept.committed":
            post.checkpoint = None
            raise KeyboardInterrupt

    post.checkpoint = interrupt
    with pytest.raises(KeyboardInterrupt):
        post.send(key)
    post.outbox.heartbeat("dev")
    status = post.outbox.delivery_status()
    assert status.accepted == status.delivered + status.pending + status.dead
    post.send(key)
    post.outbox.heartbeat("dev")
    assert post.sums[2] == 0


def test_a_spawn_that_is_interrupted_does_not_end_all_deliveries(folder: Path) -> None:
    class Interrupted(CallerRunner):
        """Ctrl-C comes just before the task exists, once."""

        is_due = True

        def spawn(self, name: str, task: Callable[[], None]) -> Task:
            if self.is_due:
                self.is_due = False
                raise KeyboardInterrupt
            return super().spawn(name, task)

    post = Post(folder)
    post.runner = Interrupted()
    post.reopen()
    key = post.calendar.add_slot("dev")
    with pytest.raises(KeyboardInterrupt):
        post.send(key)
    assert post.sums == (1, 0, 1, 0)
    post.outbox.heartbeat("dev")
    assert post.sums == (1, 1, 0, 0)
    post.outbox.journal.close()


def test_a_dead_letter_of_an_earlier_attempt_is_not_sent_into_a_later_one(post: Post) -> None:
    slot = Slot(id=1)
    post.calendar.add_slot("dev", id=1)
    post.calendar.fail_next(CalendarRefusedError(409, "the day is over"), on="update")
    number = post.send(slot.key, FINISHED)
    now = post.clock.now()
    post.outbox.journal.open_attempt(
        Attempt(
            id=0,
            agent_id="dev",
            slot=slot,
            key=slot.key,
            number=2,
            wake_id="w",
            state=AttemptState.WAKING,
            claimed_at=now,
            started_at=now,
        )
    )
    with pytest.raises(ConfigurationError, match="its slot has gone on since"):
        post.outbox.retry_dead_letter(number)
    post.outbox.drop_dead_letter(number)
