import threading

import pytest

from harborcal.runner import Task
from harborcal.testing import CallerRunner


def test_a_task_has_run_when_spawn_returns() -> None:
    ran: list[str] = []
    task = CallerRunner().spawn("task", lambda: ran.append("task"))
    assert (ran, task.done()) == (["task"], True)


def test_a_task_runs_in_the_thread_that_spawns_it() -> None:
    seen: list[threading.Thread] = []
    CallerRunner().spawn("task", lambda: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]


def test_tasks_that_a_task_spawns_run_after_it_in_order() -> None:
    runner = CallerRunner()
    ran: list[str] = []
    inner: list[Task] = []

    def first() -> None:
        ran.append("a")
        runner.spawn("c", lambda: ran.append("c"))

    def outer() -> None:
        inner.append(runner.spawn("a", first))
        inner.append(runner.spawn("b", lambda: ran.append("b")))
        ran.append("outer")
        assert not any(task.done() for task in inner)

    runner.spawn("outer", outer)
    assert ran == ["outer", "a", "b", "c"]
    assert all(task.done() for task in inner)


def test_a_task_that_waits_for_the_tasks_it_spawned_has_all_its_time_left() -> None:
    runner = CallerRunner()
    left: list[float] = []

    def outer() -> None:
        tasks = [runner.spawn("inner", lambda: None) for _ in range(3)]
        left.append(runner.wait(tasks, 5.0))

    runner.spawn("outer", outer)
    assert left == [5.0]


def test_a_task_that_waits_for_itself_is_told_that_no_time_is_left() -> None:
    runner = CallerRunner()
    left: list[float] = []
    own: list[Task] = []

    def waiter() -> None:
        left.append(runner.wait(own, 60.0))

    def outer() -> None:
        own.append(runner.spawn("waiter", waiter))

    runner.spawn("outer", outer)
    assert left == [0.0]
    assert runner.wait(own, 60.0) == 60.0


def test_a_task_that_raises_has_ended_and_those_behind_it_run_with_the_next_call() -> None:
    runner = CallerRunner()
    ran: list[str] = []
    tasks: list[Task] = []

    def outer() -> None:
        tasks.append(runner.spawn("bad", lambda: 1 / 0))  # type: ignore[arg-type]
        tasks.append(runner.spawn("good", lambda: ran.append("good")))

    with pytest.raises(ZeroDivisionError):
        runner.spawn("outer", outer)
    assert [task.done() for task in tasks] == [True, False]
    assert runner.wait(tasks, 5.0) == 5.0
    assert ran == ["good"]


def test_each_thread_has_a_line_of_its_own() -> None:
    runner = CallerRunner()
    ran: list[str] = []

    def other() -> None:
        runner.spawn("other", lambda: ran.append("other"))

    def outer() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        ran.append("outer")

    runner.spawn("outer", outer)
    assert ran == ["other", "outer"]
