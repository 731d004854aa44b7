import datetime as dt
import threading

import pytest
from freezegun import freeze_time

from harborcal.errors import ConfigurationError
from harborcal.testing import MONDAY_MORNING, FakeClock, FrozenClock


def test_a_fake_clock_stands_on_a_monday_morning_until_it_is_moved() -> None:
    clock = FakeClock()
    assert clock.now() == dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC) == MONDAY_MORNING
    assert clock.now().strftime("%A") == "Monday"
    assert clock.monotonic() == clock.monotonic()


def test_a_fake_clock_tells_utc_wherever_it_starts() -> None:
    clock = FakeClock(dt.datetime(2026, 1, 5, 9, tzinfo=dt.timezone(dt.timedelta(hours=2))))
    assert clock.now().isoformat() == "2026-01-05T07:00:00+00:00"


def test_a_fake_clock_does_not_start_at_a_naive_instant() -> None:
    with pytest.raises(ConfigurationError, match="aware"):
        FakeClock(dt.datetime(2026, 1, 5))


def test_advancing_moves_both_times() -> None:
    clock = FakeClock()
    before = clock.monotonic()
    clock.advance(90.5)
    assert clock.monotonic() - before == 90.5
    assert clock.now() - MONDAY_MORNING == dt.timedelta(seconds=90.5)


def test_jumping_moves_the_wall_only() -> None:
    clock = FakeClock()
    fired: list[float] = []
    clock.call_later(10, lambda: fired.append(clock.monotonic()))
    clock.jump(3_600)
    clock.jump(-7_200)
    assert (clock.monotonic(), clock.now() - MONDAY_MORNING, fired) == (0.0, dt.timedelta(hours=-1), [])
    clock.advance(10)
    assert fired == [10.0]


def test_timers_fire_in_order_of_their_due_time_each_at_its_own_moment() -> None:
    clock = FakeClock()
    fired: list[tuple[str, float, float]] = []

    def note(name: str) -> None:
        fired.append((name, clock.monotonic(), (clock.now() - MONDAY_MORNING).total_seconds()))

    for name, delay in [
        ("late", 20.0),
        ("first tie", 5.0),
        ("second tie", 5.0),
        ("beyond", 30.1),
        ("at the end", 30.0),
    ]:
        clock.call_later(delay, lambda name=name: note(name))  # type: ignore[misc]
    clock.advance(30)
    assert fired == [("first tie", 5, 5), ("second tie", 5, 5), ("late", 20, 20), ("at the end", 30, 30)]
    assert clock.pending == (30.1,)


def test_timers_that_callbacks_add_fire_within_the_same_advance() -> None:
    clock = FakeClock()
    fired: list[float] = []

    def again() -> None:
        fired.append(clock.monotonic())
        clock.call_later(10, again)

    clock.call_later(10, again)
    clock.advance(35)
    assert fired == [10, 20, 30]
    assert clock.pending == (40,)


def test_a_timer_never_fires_before_an_advance() -> None:
    clock = FakeClock()
    fired: list[str] = []
    clock.call_later(0, lambda: fired.append("now"))
    clock.call_later(-5, lambda: fired.append("overdue"))
    assert fired == []
    clock.advance(0)
    assert fired == ["now", "overdue"]


def test_a_cancelled_timer_never_fires() -> None:
    clock = FakeClock()
    fired: list[str] = []
    last = clock.call_later(2, lambda: fired.append("cancelled by another"))
    clock.call_later(1, lambda: last.cancel())
    early = clock.call_later(1, lambda: fired.append("cancelled"))
    early.cancel()
    early.cancel()
    clock.advance(5)
    assert fired == []
    assert clock.pending == ()


def test_ten_tenths_of_a_second_reach_a_timer_that_is_due_in_one() -> None:
    clock = FakeClock()
    fired: list[str] = []
    clock.call_later(1.0, lambda: fired.append("due"))
    for _ in range(10):
        clock.advance(0.1)
    assert fired == ["due"]


def test_waiting_for_the_rest_of_a_deadline_comes_to_its_end() -> None:
    clock = FakeClock()
    clock.advance(1e9)
    deadline = clock.monotonic() + 0.1
    fired: list[float] = []

    def check() -> None:
        rest = deadline - clock.monotonic()
        fired.append(rest)
        if rest > 0:
            clock.call_later(rest / 1e9, check)

    clock.call_later(0.1 - 1e-9, check)
    clock.advance(0.1)
    assert fired[-1] <= 0


def test_what_a_callback_raises_escapes_and_the_other_timers_still_wait() -> None:
    clock = FakeClock()
    clock.call_later(1, lambda: 1 / 0)  # type: ignore[arg-type]
    clock.call_later(2, lambda: None)
    with pytest.raises(ZeroDivisionError):
        clock.advance(5)
    assert (clock.monotonic(), clock.pending) == (1.0, (2.0,))


def test_a_callback_may_advance_the_clock_and_time_never_runs_backwards() -> None:
    clock = FakeClock()
    clock.call_later(1, lambda: clock.advance(100))
    clock.advance(5)
    assert clock.monotonic() == 101.0


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5"])
def test_time_is_advanced_by_a_finite_number_that_is_not_negative(seconds: float) -> None:
    with pytest.raises(ConfigurationError):
        FakeClock().advance(seconds)


def test_a_timers_delay_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match="delay"):
        FakeClock().call_later(float("nan"), lambda: None)


def test_threads_may_add_and_cancel_timers_while_time_passes() -> None:
    clock = FakeClock()
    fired: list[int] = []
    together = threading.Barrier(5)

    def add() -> None:
        together.wait(5)
        for number in range(50):
            clock.call_later(1, lambda number=number: fired.append(number))  # type: ignore[misc]
            clock.call_later(1, lambda: fired.append(-1)).cancel()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    together.wait(5)
    for _ in range(20):
        clock.advance(0.001)
    for thread in threads:
        thread.join()
    clock.advance(2)
    assert sorted(fired) == sorted(list(range(50)) * 4)


# --- under freezegun


def test_a_frozen_clock_tells_frozen_time_and_derives_monotonic_time_from_it() -> None:
    with freeze_time("2026-01-05 09:00:00") as frozen:
        clock = FrozenClock()
        before = clock.monotonic()
        frozen.tick(90)
        assert clock.now() == dt.datetime(2026, 1, 5, 9, 1, 30, tzinfo=dt.UTC)
        assert clock.monotonic() - before == 90.0


def test_moving_frozen_time_back_does_not_turn_monotonic_time_around() -> None:
    with freeze_time("2026-01-05 09:00:00") as frozen:
        clock = FrozenClock()
        frozen.tick(60)
        reached = clock.monotonic()
        frozen.move_to("2026-01-05 08:00:00")
        assert clock.monotonic() == reached
        frozen.tick(30)
        assert clock.monotonic() == reached + 30


def test_a_frozen_clocks_timers_wait_until_they_are_fired() -> None:
    with freeze_time("2026-01-05 09:00:00") as frozen:
        clock = FrozenClock()
        fired: list[str] = []

        def first() -> None:
            fired.append("first")
            clock.call_later(0, lambda: fired.append("at once"))
            clock.call_later(10, lambda: fired.append("later"))

        clock.call_later(20, lambda: fired.append("second"))
        clock.call_later(10, first)
        frozen.tick(20)
        assert fired == []
        assert clock.fire_due() == 3
        assert fired == ["first", "second", "at once"]
        assert clock.pending == (30.0,)
        assert clock.fire_due() == 0
