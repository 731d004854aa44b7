"""Trying again, kindly: any transport, with back-off, a budget and an end."""

import random
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import tenacity

from harborcal.clock import Clock, SystemClock
from harborcal.errors import (
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    LifecycleError,
    TransportError,
)
from harborcal.model import Heartbeat, SlotKey, SlotUpdate, UpdateReceipt, check_seconds
from harborcal.net import Deadline
from harborcal.transport import Transport

MAX_ATTEMPTS = 100
_ONE = 1000

Answer = TypeVar("Answer")


class RetryingTransport:
    """Try again what another transport could not do. Wraps any transport; safe to call from many threads.

    A `TransportError` is tried again, a `CalendarRefusedError` never. Waits grow exponentially with full jitter: the
    n-th is anywhere between 0 and ``base_delay`` doubled n-1 times, at most ``max_delay``. What a calendar asks for
    (``Retry-After``) is waited for, and jitter on top of it; where it asks for more than ``max_retry_after`` the error
    is raised at once, for the caller to come back later. What is raised in the end is the last error itself.

    Heartbeats come again anyway, so that their retries stay within a budget, here and over all agents: each heartbeat
    adds ``budget`` of a retry, with 3 at the start and at most 10 saved up. Updates always have their attempts.

    A refusal of an update whose earlier attempt may have reached the calendar says so: ``repeated`` is True then.

    Args:
        inner: The transport that does the work; closed with this one.
        attempts: How often one call is tried in all, 1..100.
        base_delay: Seconds; the most that the first wait can be.
        max_delay: Seconds; the most that any wait can be, save for what the calendar asks for.
        max_retry_after: Seconds; the longest ``Retry-After`` that is waited for.
        deadline: Seconds after the start of a call by which its last attempt has begun. No wait is started that would
            end later; the last attempt itself ends by its own transport's deadline.
        budget: Retries earned by each heartbeat, 0..1.
        clock: Where the deadline takes its time from.
        sleep: Waits for so many seconds; for tests. None waits in a way that `close` cuts short.
        seed: Fixes the jitter.

    Raises:
        ConfigurationError: An argument is out of range.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        attempts: int = 3,
        base_delay: float = 0.5,
        max_delay: float = 10.0,
        max_retry_after: float = 30.0,
        deadline: float = 30.0,
        budget: float = 0.1,
        clock: Clock = SystemClock(),  # noqa: B008 - stateless
        sleep: Callable[[float], None] | None = None,
        seed: int | None = None,
    ) -> None:
        if type(attempts) is not int or not 1 <= attempts <= MAX_ATTEMPTS:
            raise ConfigurationError(f"attempts is a whole number in 1..{MAX_ATTEMPTS}, not {attempts!r}")
        if seed is not None and type(seed) is not int:
            raise ConfigurationError(f"seed is a whole number or None, not {seed!r}")
        if not callable(getattr(inner, "update_slot", None)):
            raise ConfigurationError(f"inner is a transport, not {type(inner).__name__}")
        self.inner = inner
        self._attempts = attempts
        self._base_delay = _check_delay("base_delay", base_delay)
        self._max_delay = _check_delay("max_delay", max_delay)
        self._max_retry_after = _check_delay("max_retry_after", max_retry_after)
        self._deadline = _check_delay("deadline", deadline)
        self._budget = _Budget(budget)
        self._clock = clock
        self._closed = threading.Event()  # its own lock
        self._sleep = sleep if sleep is not None else self._wait_until_closed
        # Its draws are atomic. What they decide is no secret.
        self._random = random.Random(seed)  # noqa: S311

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r}, attempts={self._attempts})"

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Ask for one agent's pending slots, again within the budget.

        Raises:
            TransportError: The last attempt's error.
            CalendarRefusedError: The calendar said no.
            LifecycleError: The transport is closed.
        """
        self._budget.deposit()
        return self._run(_Call(lambda: self.inner.heartbeat(agent_id), self._budget.take, is_update=False))

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Tell the calendar where a slot stands, again until the attempts or the deadline are used up.

        Raises:
            TransportError: The last attempt's error.
            CalendarRefusedError: The calendar said no; ``repeated`` tells whether it may have taken an earlier attempt.
            LifecycleError: The transport is closed.
        """
        return self._run(_Call(lambda: self.inner.update_slot(agent_id, slot, update), lambda: True, is_update=True))

    def close(self) -> None:
        """Cut waiting short, start no further attempt, and close the inner transport."""
        self._closed.set()
        self.inner.close()

    def _run(self, call: "_Call[Answer]") -> Answer:
        if self._closed.is_set():
            raise LifecycleError("the transport is closed")
        deadline = Deadline(self._deadline, self._clock.monotonic)

        def is_over(state: tenacity.RetryCallState) -> bool:
            return (
                self._closed.is_set()
                or state.attempt_number >= self._attempts
                or state.upcoming_sleep >= deadline.remaining()
                or not call.take()  # last, so that nothing is taken for a retry that does not happen
            )

        def pause(seconds: float) -> None:
            self._sleep(seconds)
            # A closed event ends the wait at once; without this the attempts that are left would race by.
            if self._closed.is_set() and call.error is not None:
                raise call.error

        retrying = tenacity.Retrying(
            retry=lambda _: self._is_worth_it(call.error),
            wait=lambda state: self._delay(state.attempt_number, call.error),
            stop=is_over,
            sleep=pause,
            reraise=True,
        )
        return retrying(call)

    def _is_worth_it(self, error: Exception | None) -> bool:
        """Tell whether the calendar may be asked again soon."""
        return error is not None and _asked_for(error) <= self._max_retry_after

    def _delay(self, attempt: int, error: Exception | None) -> float:
        ceiling = min(self._max_delay, self._base_delay * 2.0 ** (attempt - 1))
        return _asked_for(error) + self._random.uniform(0.0, ceiling)

    def _wait_until_closed(self, seconds: float) -> None:
        self._closed.wait(seconds)


class _Call(Generic[Answer]):
    """One call with all its attempts, made by one thread. Calling it is an attempt."""

    def __init__(self, attempt: Callable[[], Answer], take: Callable[[], bool], *, is_update: bool) -> None:
        self.take = take
        self.error: Exception | None = None
        """The latest attempt's error, if it is of the kind that may be tried again."""
        self._attempt = attempt
        self._is_update = is_update
        self._may_have_arrived = False

    def __call__(self) -> Answer:
        self.error = None
        try:
            return self._attempt()
        except TransportError as error:
            self.error = error
            self._may_have_arrived |= self._is_update and error.is_outcome_unknown
            raise
        except CalendarRefusedError as error:
            if not self._may_have_arrived:
                raise
            raise CalendarRefusedError(error.status, error.detail, repeated=True) from error


class _Budget:
    """Retries that heartbeats have earned, in thousandths so that ten tenths are one."""

    def __init__(self, share: float) -> None:
        if not 0.0 <= check_seconds("budget", share) <= 1.0:
            raise ConfigurationError(f"budget is a share in 0..1, not {share!r}")
        self._share = round(share * _ONE)
        self._lock = threading.Lock()
        self._saved = 3 * _ONE  # guarded by _lock

    def deposit(self) -> None:
        with self._lock:
            self._saved = min(self._saved + self._share, 10 * _ONE)

    def take(self) -> bool:
        with self._lock:
            if self._saved < _ONE:
                return False
            self._saved -= _ONE
            return True


def _asked_for(error: Exception | None) -> float:
    return (error.retry_after or 0.0) if isinstance(error, CalendarUnavailableError) else 0.0


def _check_delay(name: str, value: object) -> float:
    seconds = check_seconds(name, value)
    if seconds < 0.0:
        raise ConfigurationError(f"{name} is 0 seconds or more, not {value!r}")
    return seconds
