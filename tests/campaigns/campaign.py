"""What a campaign is: many rehearsals of one kind of mishap, small among the tests, full by ``make campaign``."""

import dataclasses
from collections import Counter
from collections.abc import Callable


@dataclasses.dataclass
class Outcome:
    """What a campaign saw: how often what happened, the most of what is measured, and each thing that should not be.

    Each failure tells the seed that repeats it.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    most: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Campaign:
    """One kind of mishap.

    Attributes:
        name: How it is called on the command line.
        promise: What it shows, in a sentence.
        small: How many rehearsals are made among the tests.
        full: How many by ``make campaign``.
        run: Makes so many rehearsals from a seed.
        is_one_run: Whether they only say something together, so that they are not shared out.
    """

    name: str
    promise: str
    small: int
    full: int
    run: Callable[[int, int], Outcome]
    is_one_run: bool = False
