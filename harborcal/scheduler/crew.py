"""A bounded number of threads for callouts that may never return."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Container, Hashable, Iterable
from functools import partial
from typing import Generic, Protocol, TypeVar

from harborcal.runner import Task
from harborcal.scheduler.context import Context

STUCK_LIMIT = 3
"""How many threads one agent may hold captive: enough to outlive a passing hang, few enough to spare the others."""


class Job(Protocol):
    """Something a crew works on, on behalf of an agent."""

    @property
    def owner(self) -> Hashable:
        """On whose behalf."""


AnyJob = TypeVar("AnyJob", bound=Job)


class _Worker(Generic[AnyJob]):
    """A thread of the crew. Fields are guarded by the crew's lock."""

    __slots__ = ("abandoned", "job", "ready", "since", "spawner", "task")

    def __init__(self) -> None:
        self.spawner = threading.get_ident()  # fixed
        self.ready = threading.Event()  # set once ``task`` is known
        self.job: AnyJob | None = None
        self.since = 0.0
        self.abandoned = False
        self.task: Task | None = None


class Crew(Generic[AnyJob]):
    """Works on jobs with at most ``size`` threads, and gives up on those that one job holds for too long.

    Workers pull jobs off one queue and end when it is empty. A worker whose job outlasts ``timeout`` is abandoned: its
    job is handed to ``overdue`` with the reason, the thread is counted and replaced. Once ``max_abandoned`` threads are
    stuck, each further one leaves the crew smaller, until some return; when none is left, jobs that were queued and not
    begun are handed to ``turned_away``. A job of many steps tells by ``got_on`` when it took the last one (monotonic),
    and has its time from then.
    """

    def __init__(
        self,
        name: str,
        context: Context,
        *,
        size: int,
        timeout: float,
        work: Callable[[AnyJob], None],
        overdue: Callable[[AnyJob, str], None],
        turned_away: Callable[[AnyJob, str], None] | None = None,
        got_on: Callable[[AnyJob], float] | None = None,
    ) -> None:
        self._name = name
        self._runner = context.runner
        self._clock = context.clock
        self._wheel = context.wheel
        self._on_error = context.on_error
        self._max_abandoned = context.config.max_abandoned
        self._size = size
        self._timeout = timeout
        self._work = work
        self._overdue = overdue
        self._got_on = got_on
        self._turned_away = turned_away if turned_away is not None else overdue
        self._lock = threading.Lock()
        self._queue: deque[AnyJob] = deque()  # guarded by _lock
        self._workers: set[_Worker[AnyJob]] = set()  # guarded by _lock; without the abandoned ones
        self._starting = 0  # guarded by _lock; workers that have not pulled their first job
        self._stuck: Counter[Hashable] = Counter()  # guarded by _lock; abandoned workers, by owner
        self._abandoned = 0  # guarded by _lock; their sum
        self._watching = False  # guarded by _lock; whether the wheel will look for overdue workers
        self._closed = False  # guarded by _lock

    def submit(self, jobs: Iterable[AnyJob]) -> bool:
        """Queue jobs and see that there are threads for them; False once the crew is closed."""
        with self._lock:
            if self._closed:
                return False
            self._queue.extend(jobs)
        self.staff()
        return True

    def close(self) -> list[AnyJob]:
        """Take no more jobs; return those that nobody has begun."""
        with self._lock:
            self._closed = True
            left = list(self._queue)
            self._queue.clear()
            return left

    def tasks(self, owners: Container[Hashable] | None = None) -> list[Task]:
        """Name the threads at work, without the abandoned ones: all, or those working for some owners."""
        with self._lock:
            return [
                worker.task
                for worker in self._workers
                if worker.task is not None
                and (owners is None or (worker.job is not None and worker.job.owner in owners))
            ]

    def wait(self, timeout: float) -> float:
        """Wait until nobody is at work, at most ``timeout`` seconds; return the seconds left."""
        left = timeout
        while left > 0 and (tasks := self.tasks()):
            left = self._runner.wait(tasks, left)
        return left

    @property
    def busy(self) -> int:
        """How many jobs are being worked on."""
        with self._lock:
            return sum(worker.job is not None for worker in self._workers)

    @property
    def abandoned(self) -> int:
        """How many threads have been abandoned and have not returned."""
        with self._lock:
            return self._abandoned

    def hindrance(self, owner: Hashable) -> str:
        """Say why a job for this owner should not be submitted now; empty where nothing is against it."""
        if not self._abandoned:  # a lone read of an int; the usual case costs no lock
            return ""
        with self._lock:
            if self._stuck[owner] >= STUCK_LIMIT:
                return f"{self._stuck[owner]} earlier {self._name}s have not returned"
            if self._capacity() <= 0:
                return f"no thread is left: {self._abandoned} {self._name}s have not returned"
            return ""

    def is_at_work_for(self, owner: Hashable) -> bool:
        """Tell whether a thread works for this owner, and was not abandoned."""
        with self._lock:
            return any(worker.job is not None and worker.job.owner == owner for worker in self._workers)

    def _capacity(self) -> int:
        return self._size - max(0, self._abandoned - self._max_abandoned)

    def staff(self) -> None:
        """Start workers while jobs wait that nobody will pull; call again after threads were short."""
        while True:
            with self._lock:
                if self._starting >= len(self._queue) or len(self._workers) >= self._capacity():
                    return
                worker: _Worker[AnyJob] = _Worker()
                self._workers.add(worker)
                self._starting += 1
            try:
                worker.task = self._runner.spawn(self._name, partial(self._run, worker))
            except RuntimeError as error:
                # No thread to be had: the jobs stay queued until somebody calls again.
                with self._lock:
                    self._workers.discard(worker)
                    self._starting -= 1
                self._on_error("threads", error)
                return
            finally:
                worker.ready.set()  # also when Ctrl-C comes just here: the thread must not wait for ever

    def _run(self, worker: _Worker[AnyJob]) -> None:
        if threading.get_ident() != worker.spawner:
            # Whoever waits for the crew must find this thread: it begins nothing before it can be found.
            worker.ready.wait()
        first = True
        try:
            while (job := self._pull(worker, first=first)) is not None:
                first = False
                try:
                    self._work(job)
                except BaseException as error:  # noqa: BLE001 - the worker must go on to the next job
                    self._on_error("loop", error)
        finally:
            with self._lock:
                self._workers.discard(worker)

    def _pull(self, worker: _Worker[AnyJob], *, first: bool) -> AnyJob | None:
        since = self._clock.monotonic()
        with self._lock:
            if first:
                self._starting -= 1
            if abandoned := worker.abandoned:
                self._returned(worker)
            elif self._queue:
                worker.job = self._queue.popleft()
                worker.since = since
                watch = not self._watching
                self._watching = True
            else:
                worker.job = None
                self._workers.discard(worker)
                return None
        if abandoned:
            self.staff()
            return None
        if watch and not self._wheel.at(since + self._timeout, self._look):
            with self._lock:
                self._watching = False  # the next job tries again
        return worker.job

    def _returned(self, worker: _Worker[AnyJob]) -> None:
        owner = worker.job.owner if worker.job is not None else None
        self._abandoned -= 1
        self._stuck[owner] -= 1
        if self._stuck[owner] <= 0:
            del self._stuck[owner]

    def _look(self) -> None:
        """Abandon the workers whose job has outlasted the timeout, and look again when the next one might."""
        now = self._clock.monotonic()
        jobs: list[AnyJob] = []
        left: list[AnyJob] = []
        with self._lock:
            busy = [worker for worker in self._workers if worker.job is not None]
            if self._got_on is not None:
                for worker in busy:
                    worker.since = max(worker.since, self._got_on(worker.job))  # type: ignore[arg-type]
            for worker in [worker for worker in busy if worker.since + self._timeout <= now]:
                worker.abandoned = True
                self._workers.discard(worker)
                busy.remove(worker)
                if worker.job is not None:
                    self._abandoned += 1
                    self._stuck[worker.job.owner] += 1
                    jobs.append(worker.job)
            if self._capacity() <= 0:  # nobody will pull what waits
                left.extend(self._queue)
                self._queue.clear()
            next_look = min((worker.since for worker in busy), default=None)
            self._watching = next_look is not None
        for job in jobs:
            self._overdue(job, f"has not returned within {self._timeout:g} s")
        for job in left:
            self._turned_away(job, "has no thread left to run on")
        if next_look is not None:
            self._wheel.at(next_look + self._timeout, self._look)
        self.staff()
