"""The doors' plain defaults, and how capabilities are found behind wrappers."""

import datetime as dt
import logging
import threading
from collections.abc import Mapping

import pytest
from freezegun import freeze_time

from harborcal import (
    Agent,
    BatchTransport,
    CallbackHost,
    ClaimingTransport,
    ConfigurationError,
    DayReader,
    HttpTransport,
    RetryingTransport,
    Scheduler,
    SchedulerConfig,
    Slot,
    SlotStatus,
    SystemClock,
    ThreadRunner,
    WakeRequest,
    find,
)
from harborcal.grammar import check_id, clean, is_id
from harborcal.testing import CallerRunner, FrozenClock, InMemoryCalendar, RecordingHost


class Reader:
    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        return ()


class Wrapper:
    def __init__(self, inner: object) -> None:
        self.inner = inner


def test_what_only_shares_a_name_with_a_capability_is_none() -> None:
    counting = InMemoryCalendar()
    assert counting.heartbeats == []
    assert find(counting, BatchTransport) is None


def test_a_capability_is_found_behind_any_number_of_wrappers() -> None:
    reader = Reader()
    assert find(Wrapper(Wrapper(reader)), DayReader) is reader
    assert find(reader, DayReader) is reader


def test_a_capability_that_nobody_has_is_not_found() -> None:
    assert find(RetryingTransport(HttpTransport("http://127.0.0.1:1")), ClaimingTransport) is None
    assert find(None, DayReader) is None


def test_wrappers_in_a_circle_end_the_search() -> None:
    one, two = Wrapper(None), Wrapper(None)
    one.inner, two.inner = two, one
    assert find(one, DayReader) is None


def test_the_system_clock_tells_aware_utc_and_obeys_freezegun() -> None:
    with freeze_time("2026-03-01 12:00:00"):
        assert SystemClock().now() == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert SystemClock().monotonic() <= SystemClock().monotonic()


def test_a_system_timer_is_a_daemon_and_calls_back() -> None:
    called: list[str] = []
    done = threading.Event()

    def callback() -> None:
        called.append(threading.current_thread().name)
        assert threading.current_thread().daemon
        done.set()

    SystemClock().call_later(-1.0, callback)
    assert done.wait(5)
    assert called == ["harborcal-timer"]


def test_a_cancelled_system_timer_does_not_call_back() -> None:
    called = threading.Event()
    SystemClock().call_later(0.02, called.set).cancel()
    assert not called.wait(0.1)


def test_a_thread_runner_names_its_threads_and_waits_for_all_within_one_timeout() -> None:
    names: list[str] = []
    hang = threading.Event()
    runner = ThreadRunner()
    quick = runner.spawn("quick", lambda: names.append(threading.current_thread().name))
    assert runner.wait([quick], 5.0) > 0
    assert quick.done()

    def get_stuck() -> None:
        hang.wait(5)

    stuck = runner.spawn("stuck", get_stuck)
    assert runner.wait([quick, stuck], 0.01) <= 0
    assert not stuck.done()
    hang.set()
    assert runner.wait([stuck], 5.0) > 0
    assert names == ["harborcal-quick"]


def test_a_task_does_not_wait_for_itself() -> None:
    runner = ThreadRunner()
    mine: list[object] = []
    known, ended = threading.Event(), threading.Event()

    def wait_for_myself() -> None:
        known.wait(5)
        runner.wait(mine, 60.0)  # type: ignore[arg-type]
        ended.set()

    mine.append(runner.spawn("self", wait_for_myself))
    known.set()
    assert ended.wait(5)


def test_users_may_test_under_freezegun_with_the_frozen_clock() -> None:
    with freeze_time("2026-03-01 12:00:00") as frozen:
        clock = FrozenClock()
        calendar, host = InMemoryCalendar(clock, ["dev"]), RecordingHost()
        key = calendar.add_slot("dev")
        scheduler = Scheduler(calendar, host, lambda: [Agent(id="dev")], clock=clock, runner=CallerRunner())
        scheduler.tick()
        frozen.tick(dt.timedelta(minutes=25))
        scheduler.complete("dev")
        assert calendar.slot(key).status is SlotStatus.FINISHED
        assert calendar.slot(key).actual_duration == 25


# --- the plainest host ------------------------------------------------------------------------------------------------


def test_a_callback_host_calls_its_function_and_logs_to_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    woken: list[WakeRequest] = []
    calendar = InMemoryCalendar(agents=["dev"])
    calendar.add_slot("dev", scheduled_at=None, date=None)
    scheduler = Scheduler(calendar, CallbackHost(woken.append), lambda: [Agent(id="dev")], runner=CallerRunner())
    with caplog.at_level(logging.INFO, logger="harborcal"):
        scheduler.tick()
    assert [wake.agent_id for wake in woken] == ["dev"]
    assert "calendar heartbeat ok agent='dev' slots=1 agent_status='idle'" in caplog.messages
    assert caplog.records[0].harborcal == {"agents": 1}  # type: ignore[attr-defined]


def test_a_callback_host_takes_a_log_of_ones_own() -> None:
    lines: list[tuple[str, str, Mapping[str, object]]] = []
    host = CallbackHost(lambda wake: None, log=lambda *line: lines.append(line))
    host.log("warn", "careful", {"a": 1})
    assert lines == [("warn", "careful", {"a": 1})]


def test_levels_become_those_of_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    host = CallbackHost(lambda wake: None)
    with caplog.at_level(logging.INFO, logger="harborcal"):
        host.log("warn", "careful", {})
        host.log("other", "well", {})
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_coroutine_function_as_a_callback_is_found_out() -> None:
    async def wake(request: WakeRequest) -> None:
        raise AssertionError("never awaited")

    calendar = InMemoryCalendar(agents=["dev"])
    calendar.add_slot("dev", scheduled_at=None, date=None)
    scheduler = Scheduler(calendar, CallbackHost(wake), lambda: [Agent(id="dev")], runner=CallerRunner())
    scheduler.tick()
    assert "coroutine function" in scheduler.status().history[0].reason


@pytest.mark.parametrize("arguments", [{"wake": None}, {"wake": print, "log": "stdout"}])
def test_a_callback_that_cannot_be_called_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="is a function"):
        CallbackHost(**arguments)  # type: ignore[arg-type]


# --- the grammar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", ["a", "7", "agent-1", "a.b_c:d@e", "plan-1-2026-01-05", "x" * 128])
def test_ids_of_letters_digits_and_a_few_marks_are_good(good: str) -> None:
    assert is_id(good)
    assert check_id("an agent id", good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "-a",
        "a/b",
        "../x",
        "%2e%2e",
        "a?x=1",
        "a#f",
        "//evil",
        "a b",
        "a\n",
        "ä",
        "x" * 129,
        "a\r\nX: y",
        7,
        None,
    ],
)
def test_ids_that_a_path_or_a_header_could_misread_are_refused(bad: object) -> None:
    assert not is_id(bad)
    with pytest.raises(ConfigurationError, match="an agent id is a letter or digit"):
        check_id("an agent id", bad)


def test_cleaning_keeps_plain_text_as_it_is_and_says_where_it_was_cut() -> None:
    assert clean("Grüße, 世界!") == "Grüße, 世界!"
    assert clean("a\tb\r\nc") == "a b  c"
    assert clean("abcdef", 4) == "abc…"
    assert clean("❤️") == "❤"


def test_heartbeats_go_on_under_freezegun_with_the_system_clock() -> None:
    with freeze_time("2026-03-01 12:00:00"):
        calendar, host = InMemoryCalendar(agents=["dev"]), RecordingHost()
        config = SchedulerConfig(heartbeat_interval=0.02)
        with Scheduler(calendar, host, lambda: [Agent(id="dev")], config=config) as scheduler:
            beats = threading.Semaphore(0)
            calendar.before_heartbeat = lambda _agent: beats.release()
            assert all(beats.acquire(timeout=5) for _ in range(3))
        assert scheduler.status().last_heartbeats["dev"] == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
