"""What all parts of one scheduler share."""

import dataclasses
from collections.abc import Callable

from harborcal.clock import Clock
from harborcal.ledger import Ledger
from harborcal.model import SchedulerConfig
from harborcal.runner import Runner
from harborcal.scheduler.attempts import Attempts
from harborcal.scheduler.book import Book
from harborcal.scheduler.lanes import Lanes
from harborcal.scheduler.lifecycle import Lifespan
from harborcal.scheduler.place import Place
from harborcal.scheduler.troubles import Troubles
from harborcal.scheduler.voice import Voice
from harborcal.scheduler.wheel import Wheel


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """One scheduler's shared parts. Each guards itself; none calls out while it holds a lock of its own."""

    config: SchedulerConfig
    clock: Clock
    runner: Runner
    wheel: Wheel
    ledger: Ledger
    attempts: Attempts
    book: Book
    lanes: Lanes
    lifespan: Lifespan
    place: Place
    troubles: Troubles
    voice: Voice
    on_error: Callable[[str, BaseException], None]
