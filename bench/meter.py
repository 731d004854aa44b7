"""The stop-watch: CPU of this process first, wall time beside it, and ratios that a noisy machine bends little."""

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One measured stretch: so many heartbeats, of which some failed, took so many seconds of CPU and on the wall."""

    heartbeats: int
    failed: int
    cpu: float
    wall: float

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per heartbeat, of all threads of this process, user and system."""
        return self.cpu / self.heartbeats * 1e6

    @property
    def per_second(self) -> float:
        """Heartbeats per second on the wall."""
        return self.heartbeats / self.wall


def measure(action: Callable[[], int], heartbeats: int, repeat: int = 1) -> Sample:
    """Measure an action that makes so many heartbeats and tells how many failed, repeated as one stretch."""
    gc.collect()
    failed = 0
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeat):
        failed += action()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Sample(heartbeats=heartbeats * repeat, failed=failed, cpu=cpu, wall=wall)


def interleave(subjects: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Measure each subject once per round, beginning with another one each time, so that noise hits all alike."""
    names = list(subjects)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(subjects[name]())
    return samples


def median_of(samples: Iterable[Sample], value: Callable[[Sample], float]) -> float:
    """Tell the median of some figure."""
    return statistics.median(map(value, samples))


def median_ratio(ours: Sequence[Sample], theirs: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """Tell the median of each round's ratio: both sides of one were measured seconds apart."""
    return statistics.median(value(one) / value(other) for one, other in zip(ours, theirs, strict=True))
