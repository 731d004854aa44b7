"""Trying again: what for, how long, how often, and when not."""

import datetime as dt
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harborcal.clock import Timer
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    LifecycleError,
    MalformedAnswerError,
    NotSentError,
    TransportError,
    TransportTimeoutError,
)
from harborcal.model import Heartbeat, SlotKey, SlotStatus, SlotUpdate, UpdateReceipt
from harborcal.transport import Transport
from harborcal.transports.retrying import RetryingTransport

SLOT = SlotKey.real(7)
UPDATE = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=5)
PATIENCE = 10.0


class Moment:
    """A clock that moves by waiting, and remembers each wait."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []

    def now(self) -> dt.datetime:
        raise NotImplementedError

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


class Script:
    """A transport that fails as it is told, call by call, and then works."""

    def __init__(self, *failures: BaseException, clock: Moment | None = None, takes: float = 0.0) -> None:
        self.calls = 0
        self.closed = 0
        self.failures: Iterator[BaseException | None] = iter(failures)
        self._clock = clock
        self._takes = takes

    def heartbeat(self, agent_id: str) -> Heartbeat:
        self._step()
        return Heartbeat(message=agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        assert (agent_id, slot, update) == ("a", SLOT, UPDATE)
        self._step()
        return UpdateReceipt(slot=slot)

    def close(self) -> None:
        self.closed += 1

    def _step(self) -> None:
        self.calls += 1
        if self._clock is not None:
            self._clock.time += self._takes
        failure = next(self.failures, None)
        if failure is not None:
            raise failure


def retrying(inner: Transport, moment: Moment, **options: float) -> RetryingTransport:
    return RetryingTransport(inner, clock=moment, sleep=moment.wait, **{"seed": 1, **options})  # type: ignore[arg-type]


def test_success_is_passed_on_without_a_wait() -> None:
    moment, inner = Moment(), Script()
    transport = retrying(inner, moment)
    assert transport.heartbeat("a") == Heartbeat(message="a")
    assert transport.update_slot("a", SLOT, UPDATE) == UpdateReceipt(slot=SLOT)
    assert moment.waits == []
    assert transport.inner is inner
    assert "Script" in repr(transport)


@pytest.mark.parametrize(
    "error",
    [
        TransportError("reset"),
        TransportTimeoutError("late"),
        CalendarUnavailableError("busy", 503),
        MalformedAnswerError("html"),
        NotSentError("refused"),
    ],
)
def test_an_unusable_answer_is_tried_again(error: TransportError) -> None:
    moment, inner = Moment(), Script(error)
    assert retrying(inner, moment).update_slot("a", SLOT, UPDATE) == UpdateReceipt(slot=SLOT)
    assert inner.calls == 2
    assert len(moment.waits) == 1


@pytest.mark.parametrize(
    "error",
    [CalendarRefusedError(404, "Agent not found"), LifecycleError("closed"), RuntimeError("bug"), KeyboardInterrupt()],
)
def test_everything_else_is_raised_at_once_and_as_it_is(error: BaseException) -> None:
    moment, inner = Moment(), Script(error)
    with pytest.raises(type(error)) as caught:
        retrying(inner, moment).update_slot("a", SLOT, UPDATE)
    assert caught.value is error
    assert inner.calls == 1


def test_the_last_error_itself_is_raised_when_the_attempts_are_used_up() -> None:
    errors = [TransportError(str(number)) for number in range(5)]
    moment, inner = Moment(), Script(*errors)
    with pytest.raises(TransportError) as caught:
        retrying(inner, moment, attempts=3).update_slot("a", SLOT, UPDATE)
    assert caught.value is errors[2]
    assert inner.calls == 3


def test_one_attempt_means_no_retry() -> None:
    moment, inner = Moment(), Script(TransportError("x"))
    with pytest.raises(TransportError):
        retrying(inner, moment, attempts=1).update_slot("a", SLOT, UPDATE)
    assert (inner.calls, moment.waits) == (1, [])


def test_waits_have_full_jitter_under_a_doubling_and_capped_ceiling() -> None:
    ceilings = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    seen: list[list[float]] = [[] for _ in ceilings]
    for seed in range(200):
        moment, inner = Moment(), Script(*[TransportError("x")] * len(ceilings))
        retrying(inner, moment, attempts=7, max_delay=4.0, deadline=100.0, seed=seed).update_slot("a", SLOT, UPDATE)
        for index, wait in enumerate(moment.waits):
            seen[index].append(wait)
    for waits, ceiling in zip(seen, ceilings, strict=True):
        assert all(0.0 <= wait <= ceiling for wait in waits)
        assert min(waits) < ceiling * 0.1
        assert max(waits) > ceiling * 0.9


def test_the_same_seed_gives_the_same_waits() -> None:
    waits = []
    for _ in range(2):
        moment = Moment()
        retrying(Script(*[TransportError("x")] * 2), moment, seed=42).update_slot("a", SLOT, UPDATE)
        waits.append(moment.waits)
    assert waits[0] == waits[1]


# --- what the calendar asks for


def test_the_calendar_is_left_alone_for_as_long_as_it_asks() -> None:
    moment, inner = Moment(), Script(CalendarUnavailableError("busy", 429, 7.0))
    retrying(inner, moment).update_slot("a", SLOT, UPDATE)
    assert 7.0 <= moment.waits[0] <= 7.5
    assert inner.calls == 2


def test_who_asks_for_too_long_is_not_asked_again() -> None:
    moment, inner = Moment(), Script(CalendarUnavailableError("busy", 503, 30.5))
    with pytest.raises(CalendarUnavailableError) as caught:
        retrying(inner, moment, deadline=1000.0).update_slot("a", SLOT, UPDATE)
    assert caught.value.retry_after == 30.5
    assert (inner.calls, moment.waits) == (1, [])


# --- deadlines


def test_no_wait_is_started_that_would_end_after_the_deadline() -> None:
    moment, inner = Moment(), Script(CalendarUnavailableError("busy", 503, 5.0))
    with pytest.raises(CalendarUnavailableError):
        retrying(inner, moment, deadline=5.0).update_slot("a", SLOT, UPDATE)
    assert (inner.calls, moment.waits) == (1, [])


def test_slow_attempts_count_against_the_deadline() -> None:
    moment = Moment()
    inner = Script(*[TransportTimeoutError("late")] * 10, clock=moment, takes=10.0)
    with pytest.raises(TransportTimeoutError):
        retrying(inner, moment, attempts=10, base_delay=0.0, deadline=30.0).update_slot("a", SLOT, UPDATE)
    assert inner.calls == 3


# --- the budget of heartbeats


def failing_heartbeats(transport: RetryingTransport, inner: Script, count: int) -> list[int]:
    retries = []
    for _ in range(count):
        before = inner.calls
        with pytest.raises(TransportError):
            transport.heartbeat("a")
        retries.append(inner.calls - before - 1)
    return retries


def endless() -> Script:
    script = Script()
    script.failures = itertools.repeat(TransportError("down"))
    return script


def test_heartbeats_begin_with_three_retries_and_earn_one_more_by_ten_calls() -> None:
    inner = endless()
    transport = retrying(inner, Moment(), attempts=2)
    assert failing_heartbeats(transport, inner, 24) == [1, 1, 1] + [0] * 6 + [1] + [0] * 9 + [1] + [0] * 4


def test_at_most_ten_retries_are_saved_up() -> None:
    inner = Script()
    transport = retrying(inner, Moment(), attempts=100, deadline=1e4, budget=1.0)
    for _ in range(50):
        transport.heartbeat("a")
    inner.failures = itertools.repeat(TransportError("down"))
    # Each of these heartbeats earns one more before it spends.
    assert failing_heartbeats(transport, inner, 2) == [10, 1]


def test_updates_always_have_their_attempts() -> None:
    inner = endless()
    transport = retrying(inner, Moment(), budget=0.0)
    failing_heartbeats(transport, inner, 10)
    inner.calls = 0
    for _ in range(10):
        with pytest.raises(TransportError):
            transport.update_slot("a", SLOT, UPDATE)
    assert inner.calls == 30


def test_a_retry_that_does_not_happen_takes_nothing_from_the_budget() -> None:
    inner = Script(*[CalendarUnavailableError("busy", 503, 25.0)] * 5, TransportError("x"))
    moment = Moment()
    transport = retrying(inner, moment, deadline=20.0, budget=0.0)
    for _ in range(5):
        with pytest.raises(CalendarUnavailableError):
            transport.heartbeat("a")
    assert moment.waits == []
    transport.heartbeat("a")
    assert len(moment.waits) == 1


# --- refusals after an unknown outcome


@pytest.mark.parametrize(
    "lost",
    [
        TransportError("reset"),
        TransportTimeoutError("late"),
        MalformedAnswerError("html"),
        CalendarUnavailableError("bad gateway", 502),
        CalendarUnavailableError("unavailable", 503),
    ],
)
def test_a_refusal_after_an_attempt_that_may_have_arrived_says_so(lost: TransportError) -> None:
    refusal = CalendarRefusedError(409, "already finished")
    with pytest.raises(CalendarRefusedError) as caught:
        retrying(Script(lost, refusal), Moment()).update_slot("a", SLOT, UPDATE)
    error = caught.value
    assert (error.status, error.detail, error.repeated) == (409, "already finished", True)
    assert error.__cause__ is refusal


@pytest.mark.parametrize(
    "lost",
    [
        NotSentError("connection refused"),
        CalendarUnavailableError("slow down", 429),
        CalendarUnavailableError("too early", 425),
        CalendarUnavailableError("request timeout", 408),
    ],
)
def test_a_refusal_after_attempts_that_surely_did_nothing_is_a_plain_refusal(lost: TransportError) -> None:
    refusal = CalendarRefusedError(409, "already finished")
    with pytest.raises(CalendarRefusedError) as caught:
        retrying(Script(lost, refusal), Moment()).update_slot("a", SLOT, UPDATE)
    assert caught.value is refusal
    assert not refusal.repeated


def test_an_earlier_doubt_is_not_forgotten_over_a_later_certainty() -> None:
    inner = Script(TransportError("reset"), NotSentError("refused"), CalendarRefusedError(409))
    with pytest.raises(CalendarRefusedError) as caught:
        retrying(inner, Moment()).update_slot("a", SLOT, UPDATE)
    assert caught.value.repeated


def test_a_refused_heartbeat_is_never_called_repeated() -> None:
    refusal = CalendarRefusedError(404, "Agent not found")
    with pytest.raises(CalendarRefusedError) as caught:
        retrying(Script(TransportError("reset"), refusal), Moment()).heartbeat("a")
    assert caught.value is refusal


def test_one_updates_doubts_are_not_anothers() -> None:
    refusal = CalendarRefusedError(409)
    transport = retrying(Script(TransportError("reset"), None, refusal), Moment())  # type: ignore[arg-type]
    transport.update_slot("a", SLOT, UPDATE)
    with pytest.raises(CalendarRefusedError) as caught:
        transport.update_slot("a", SLOT, UPDATE)
    assert caught.value is refusal


# --- closing


def test_closing_ends_a_wait_without_another_attempt() -> None:
    waiting = threading.Event()
    lost = CalendarUnavailableError("busy", 503, 25.0)

    class Signalling(Script):
        def _step(self) -> None:
            waiting.set()
            super()._step()

    inner = Signalling(lost)
    transport = RetryingTransport(inner, base_delay=0.0)
    raised: list[HarborcalError] = []

    def call() -> None:
        try:
            transport.update_slot("a", SLOT, UPDATE)
        except HarborcalError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert waiting.wait(PATIENCE)
    transport.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert raised == [lost]
    assert (inner.calls, inner.closed) == (1, 1)


def test_a_wait_that_was_cut_short_is_followed_by_no_attempt() -> None:
    lost = TransportError("down")
    inner = Script(*[lost] * 10)
    moment = Moment()
    transport: RetryingTransport

    def closing(seconds: float) -> None:
        moment.wait(seconds)
        transport.close()

    transport = RetryingTransport(inner, attempts=10, clock=moment, sleep=closing)
    with pytest.raises(TransportError) as caught:
        transport.update_slot("a", SLOT, UPDATE)
    assert caught.value is lost
    assert inner.calls == 1


def test_an_attempt_that_fails_while_closing_is_the_last() -> None:
    transport: RetryingTransport

    class Closing(Script):
        def _step(self) -> None:
            transport.close()
            super()._step()

    moment, inner = Moment(), Closing(*[TransportError("cut")] * 3)
    transport = retrying(inner, moment)
    with pytest.raises(TransportError, match="cut"):
        transport.update_slot("a", SLOT, UPDATE)
    assert (inner.calls, moment.waits) == (1, [])


def test_a_closed_transport_refuses_calls() -> None:
    inner = Script()
    transport = retrying(inner, Moment())
    transport.close()
    with pytest.raises(LifecycleError):
        transport.heartbeat("a")
    with pytest.raises(LifecycleError):
        transport.update_slot("a", SLOT, UPDATE)
    assert inner.calls == 0


def test_without_a_sleep_of_its_own_it_waits_on_the_system() -> None:
    inner = Script(TransportError("x"))
    RetryingTransport(inner, base_delay=0.01).update_slot("a", SLOT, UPDATE)
    assert inner.calls == 2


# --- arguments


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": 101},
        {"attempts": 2.0},
        {"attempts": True},
        {"base_delay": -1.0},
        {"max_delay": float("nan")},
        {"max_retry_after": float("inf")},
        {"deadline": -0.1},
        {"deadline": "30"},
        {"budget": -0.1},
        {"budget": 1.1},
        {"budget": float("nan")},
        {"seed": 1.5},
        {"seed": True},
    ],
)
def test_an_argument_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RetryingTransport(Script(), **options)  # type: ignore[arg-type]


def test_many_attempts_do_not_overflow_the_back_off() -> None:
    moment, inner = Moment(), Script(*[TransportError("x")] * 99)
    retrying(inner, moment, attempts=100, base_delay=86_400.0, max_delay=0.001, deadline=86_400.0).update_slot(
        "a", SLOT, UPDATE
    )
    assert inner.calls == 100


@pytest.mark.parametrize("inner", [None, "http://127.0.0.1:8000", object()])
def test_what_is_no_transport_cannot_be_wrapped(inner: Any) -> None:
    with pytest.raises(ConfigurationError, match="inner is a transport, not"):
        RetryingTransport(inner)
