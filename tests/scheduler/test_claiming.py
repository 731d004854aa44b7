"""Schedulers that share one calendar: who wakes, who does not, and who takes up what was left behind."""

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    CalendarUnavailableError,
    ClaimingTransport,
    DayReader,
    EmbeddedTransport,
    NotSentError,
    RetryingTransport,
    Scheduler,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    TransportTimeoutError,
    UpdateReceipt,
    VerdictReason,
    WakeRequest,
    find,
)
from harborcal.calendar import Calendar
from harborcal.model import Heartbeat
from harborcal.runner import Runner, ThreadRunner
from harborcal.testing import CallerRunner, FakeClock, RecordingHost

Scheduling = Callable[..., tuple[Scheduler, RecordingHost]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def calendar(tmp_path: Path, clock: FakeClock) -> Iterator[Calendar]:
    with contextlib.closing(Calendar(f"sqlite:///{tmp_path / 'calendar.db'}", clock=clock)) as calendar:
        calendar.register_agent("dev")
        yield calendar


class Unsure:
    """A transport whose claims end badly as often as asked for."""

    def __init__(self, inner: EmbeddedTransport) -> None:
        self._inner = inner
        self.failures: list[tuple[Exception, bool]] = []
        """What the next claims raise, and whether the calendar has them all the same."""
        self.sent: list[str] = []

    def heartbeat(self, agent_id: str) -> Heartbeat:
        return self._inner.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        self.sent.append(str(update.status))
        return self._inner.update_slot(agent_id, slot, update)

    def claim(self, agent_id: str, slot: SlotKey, started_at: dt.datetime) -> UpdateReceipt | None:
        self.sent.append("claim")
        if not self.failures:
            return self._inner.claim(agent_id, slot, started_at)
        error, applied = self.failures.pop(0)
        if applied:
            self._inner.claim(agent_id, slot, started_at)
        raise error

    def close(self) -> None:
        self._inner.close()


def unsure(made: list[Unsure]) -> Callable[[EmbeddedTransport], Unsure]:
    """Wrap a transport, and keep what was made."""

    def wrap(inner: EmbeddedTransport) -> Unsure:
        made.append(Unsure(inner))
        return made[-1]

    return wrap


@pytest.fixture
def scheduling(calendar: Calendar, clock: FakeClock) -> Iterator[Scheduling]:
    """Make schedulers over the calendar; each is stopped at the end."""
    with contextlib.ExitStack() as stack:

        def make(
            claw: str = "claw",
            *,
            wrap: Callable[[EmbeddedTransport], object] = lambda transport: transport,
            on_wake: Callable[[WakeRequest], None] | None = None,
            runner: Runner | None = None,
            wake_timeout: float = 300.0,
        ) -> tuple[Scheduler, RecordingHost]:
            host = RecordingHost(on_wake)
            scheduler = Scheduler(
                wrap(EmbeddedTransport(calendar, claw)),  # type: ignore[arg-type]  # a transport, wrapped
                host,
                lambda: [Agent(id="dev")],
                config=SchedulerConfig(seed=1, wake_wait=0.1, wake_timeout=wake_timeout),
                clock=clock,
                runner=runner if runner is not None else CallerRunner(),
            )
            stack.callback(scheduler.stop)
            return scheduler, host

        yield make


def due(calendar: Calendar, **fields: object) -> Slot:
    return calendar.add_slot("dev", calendar.clock.now(), **fields)  # type: ignore[arg-type]


# --- one of several


def test_the_embedded_transport_claims_and_reads_days_behind_wrappers_too(calendar: Calendar) -> None:
    transport = EmbeddedTransport(calendar, "claw")
    assert find(RetryingTransport(transport), ClaimingTransport) is transport
    assert find(RetryingTransport(transport), DayReader) is transport


def test_of_two_schedulers_on_one_file_one_wakes(calendar: Calendar, scheduling: Scheduling) -> None:
    key = due(calendar).key
    (one, first_host), (other, second_host) = scheduling("one"), scheduling("other")
    assert one.tick().woken == ("dev",)
    assert other.tick().woken == ()
    assert (len(first_host.wakes), len(second_host.wakes)) == (1, 0)
    assert other.status().active == ()
    one.complete("dev", "done")
    assert calendar.slot(key).status is SlotStatus.FINISHED


def test_a_slot_is_claimed_before_its_wake_and_lost_claims_wake_nobody(
    calendar: Calendar, scheduling: Scheduling
) -> None:
    slot = due(calendar)
    rival = calendar.new_owner("rival")

    class Beaten(Unsure):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            answer = super().heartbeat(agent_id)
            calendar.claim("dev", slot.key, calendar.clock.now(), owner=rival)  # quicker by a moment
            return answer

    scheduler, host = scheduling(wrap=Beaten)
    report = scheduler.tick()
    assert (report.woken, report.failed_wakes, report.pending_wakes) == ((), (), ())
    assert host.wakes == []
    assert scheduler.status().active == ()
    assert scheduler.status().history == ()
    assert scheduler.status().problems == {}


def test_two_schedulers_with_real_threads_wake_each_slot_once(calendar: Calendar, scheduling: Scheduling) -> None:
    done: list[tuple[str, str]] = []

    def at_once(name: str) -> Callable[[WakeRequest], None]:
        def work(wake: WakeRequest) -> None:
            done.append((name, wake.source))
            wake.report.complete()

        return work

    both = [scheduling(name, runner=ThreadRunner(), on_wake=at_once(name))[0] for name in ("a", "b")]
    slots = [calendar.add_slot("dev", calendar.clock.now() - dt.timedelta(minutes=40 * n), 30) for n in range(6)]
    for _ in slots:
        threads = [threading.Thread(target=scheduler.tick) for scheduler in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for scheduler in both:
        while scheduler.tick().woken:
            pass
    assert sorted(source for _, source in done) == sorted(f"calendar:{slot.id}" for slot in slots)
    account = calendar.account("dev", calendar.clock.now().date())
    assert (account.planned, account.finished) == (6, 6)


def test_the_claim_is_the_first_ongoing(calendar: Calendar, clock: FakeClock, scheduling: Scheduling) -> None:
    slot = due(calendar)
    made: list[Unsure] = []
    scheduler, _ = scheduling(wrap=unsure(made))
    scheduler.tick()
    clock.advance(30)
    scheduler.tick()
    assert made[0].sent == ["claim"]
    assert calendar.slot(slot.key).started_at == clock.now().replace(second=0).time()
    scheduler.pause("dev")
    scheduler.resume("dev")
    scheduler.complete("dev")
    assert made[0].sent == ["claim", "paused", "ongoing", "finished"]


# --- wakes that fail after the claim


def fail(_wake: WakeRequest) -> None:
    raise RuntimeError("the agent is not there")


@pytest.mark.parametrize(("locked", "becomes"), [(False, SlotStatus.DEFERRED), (True, SlotStatus.ABORTED)])
def test_a_wake_that_fails_gives_the_slot_back(
    calendar: Calendar, scheduling: Scheduling, locked: bool, becomes: SlotStatus
) -> None:
    slot = due(calendar, is_admin_locked=locked)
    scheduler, _ = scheduling(on_wake=fail)
    assert scheduler.tick().failed_wakes == ("dev",)
    assert calendar.slot(slot.key).status is becomes
    assert scheduler.status().active == ()
    assert [(entry.status, entry.reason) for entry in scheduler.status().history] == [
        (SlotStatus.ABORTED, "wake failed: the agent is not there")
    ]


def test_a_slot_that_was_given_back_is_woken_by_whoever_is_next(calendar: Calendar, scheduling: Scheduling) -> None:
    due(calendar)
    (one, _), (other, host) = scheduling("one", on_wake=fail), scheduling("other")
    one.tick()
    assert other.tick().woken == ("dev",)
    assert len(host.wakes) == 1


# --- claims that end badly


def test_a_claim_that_surely_failed_is_tried_again(
    calendar: Calendar, clock: FakeClock, scheduling: Scheduling
) -> None:
    slot = due(calendar)
    made: list[Unsure] = []
    scheduler, host = scheduling(wrap=unsure(made))
    made[0].failures.append((CalendarUnavailableError("locked", 503, untouched=True), False))
    assert scheduler.tick().woken == ()
    assert host.wakes == []
    assert made[0].sent == ["claim"]
    assert "locked" in scheduler.status().problems["dev"]["update"].message
    clock.advance(30)
    assert scheduler.tick().woken == ("dev",)
    assert calendar.slot(slot.key).priority == 0
    assert scheduler.status().problems == {}


@pytest.mark.parametrize("applied", [True, False])
def test_a_claim_of_which_nobody_knows_is_given_back_and_wakes_nobody(
    calendar: Calendar, clock: FakeClock, scheduling: Scheduling, applied: bool
) -> None:
    slot = due(calendar)
    made: list[Unsure] = []
    scheduler, host = scheduling(wrap=unsure(made))
    made[0].failures.append((TransportTimeoutError("no answer"), applied))
    assert scheduler.tick().woken == ()
    assert host.wakes == []
    assert made[0].sent == ["claim", "deferred"]
    assert calendar.slot(slot.key).status is SlotStatus.DEFERRED
    clock.advance(60)
    assert scheduler.tick().woken == ("dev",)


def test_a_claim_that_is_refused_wakes_nobody_and_is_told(calendar: Calendar, scheduling: Scheduling) -> None:
    due(calendar)
    made: list[Unsure] = []
    scheduler, host = scheduling(wrap=unsure(made))
    made[0].failures.append((CalendarRefusedError(409, "slot is already finished"), False))
    scheduler.tick()
    assert host.wakes == []
    assert made[0].sent == ["claim"]
    assert scheduler.status().active == ()
    assert "already finished" in scheduler.status().problems["dev"]["update"].message


# --- taking up


def test_a_restarted_scheduler_takes_up_what_it_was_at_without_a_second_wake(
    calendar: Calendar, clock: FakeClock, scheduling: Scheduling
) -> None:
    slot = due(calendar)
    scheduling("claw")[0].tick()  # and then its process dies
    clock.advance(10)
    successor, host = scheduling("claw")
    successor.tick()
    assert host.wakes == []
    (active,) = successor.status().active
    assert (active.ident, active.taken_up) == (slot.ident, True)
    assert active.started_at == clock.now() - dt.timedelta(seconds=10)
    successor.complete("dev", "done before and after")
    assert calendar.slot(slot.key).status is SlotStatus.FINISHED


def test_another_scheduler_takes_up_only_after_the_owner_fell_silent(
    calendar: Calendar, clock: FakeClock, scheduling: Scheduling
) -> None:
    slot = due(calendar)
    scheduling("one")[0].tick()
    other, host = scheduling("other")
    clock.advance(120)
    other.tick()
    assert other.status().active == ()
    clock.advance(1)
    other.tick()
    assert [active.ident for active in other.status().active] == [slot.ident]
    assert host.wakes == []


def test_of_two_that_could_take_up_one_does(calendar: Calendar, clock: FakeClock, scheduling: Scheduling) -> None:
    due(calendar)
    scheduling("one")[0].tick()
    clock.advance(121)
    heirs = [scheduling(name)[0] for name in ("two", "three")]
    listed = [heir.tick() for heir in heirs]
    assert len(listed) == 2
    assert [len(heir.status().active) for heir in heirs] == [1, 0]


def test_a_slot_whose_take_up_is_lost_to_a_rival_is_not_followed(
    calendar: Calendar, clock: FakeClock, scheduling: Scheduling
) -> None:
    slot = due(calendar)
    scheduling("one")[0].tick()
    clock.advance(121)
    rival = calendar.new_owner("rival")

    class Beaten(Unsure):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            answer = super().heartbeat(agent_id)
            calendar.claim("dev", slot.key, calendar.clock.now(), owner=rival)
            return answer

    scheduler, _ = scheduling("two", wrap=Beaten)
    scheduler.tick()
    assert [verdict.reason for verdict in scheduler.explain("dev")] == [VerdictReason.TAKEN_UP]
    assert scheduler.status().active == ()


def test_the_slot_of_a_wake_that_hangs_is_given_back_too(
    calendar: Calendar, clock: FakeClock, scheduling: Scheduling
) -> None:
    slot = due(calendar)
    entered, release = threading.Event(), threading.Event()

    def hang(wake: WakeRequest) -> None:
        if wake.attempt == 1:
            entered.set()
            release.wait(10)

    scheduler, host = scheduling(on_wake=hang, runner=ThreadRunner(), wake_timeout=60)
    scheduler.tick()
    assert entered.wait(10)
    clock.advance(60)
    assert "has not returned within 60 s" in scheduler.status().problems["dev"]["wake"].message
    scheduler.tick()
    assert calendar.slot(slot.key).status is SlotStatus.DEFERRED
    assert [entry.reason for entry in scheduler.status().history] == [
        "wake failed: wake_agent has not returned within 60 s"
    ]
    clock.advance(60)
    scheduler.tick()
    assert host.wait_for_wakes(2)
    release.set()
    scheduler.complete("dev", "at the second attempt")
    assert calendar.slot(slot.key).status is SlotStatus.FINISHED


@pytest.mark.parametrize("reports_after", [40, 70], ids=["in time", "when its wake was given up"])
def test_who_reports_while_its_wake_hangs_keeps_its_slot_whatever_becomes_of_the_wake(
    calendar: Calendar, clock: FakeClock, scheduling: Scheduling, reports_after: float
) -> None:
    slot = due(calendar)
    entered, release = threading.Event(), threading.Event()

    def hang(_wake: WakeRequest) -> None:
        entered.set()
        release.wait(10)
        raise RuntimeError("the host has lost its patience")

    scheduler, host = scheduling(on_wake=hang, runner=ThreadRunner(), wake_timeout=60)
    scheduler.tick()
    assert entered.wait(10)
    clock.advance(reports_after)
    scheduler.renew("dev")
    clock.advance(70 - reports_after)
    assert scheduler.status().abandoned_threads == 1
    scheduler.tick()
    assert calendar.slot(slot.key).status is SlotStatus.ONGOING
    release.set()
    wait_for(lambda: scheduler.status().abandoned_threads == 0)
    assert "lost its patience" in scheduler.status().problems["dev"]["wake"].message
    scheduler.tick()
    assert calendar.slot(slot.key).status is SlotStatus.ONGOING
    scheduler.complete("dev", "it had reached me")
    assert calendar.slot(slot.key).status is SlotStatus.FINISHED
    assert len(host.wakes) == 1


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


class OutOfReach(Unsure):
    """A transport that sends no update while it is cut off."""

    is_cut_off = True

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        if self.is_cut_off:
            raise NotSentError("nobody answers")
        return super().update_slot(agent_id, slot, update)


def test_who_reports_before_its_slot_could_be_given_back_keeps_it(calendar: Calendar, scheduling: Scheduling) -> None:
    slot = due(calendar)
    made: list[OutOfReach] = []

    def wrap(inner: EmbeddedTransport) -> OutOfReach:
        made.append(OutOfReach(inner))
        return made[-1]

    scheduler, host = scheduling(wrap=wrap, on_wake=fail)
    scheduler.tick()
    scheduler.renew("dev")
    made[0].is_cut_off = False
    scheduler.tick()
    assert calendar.slot(slot.key).status is SlotStatus.ONGOING
    scheduler.complete("dev", "it had reached me")
    assert calendar.slot(slot.key).status is SlotStatus.FINISHED
    assert len(host.wakes) == 1
