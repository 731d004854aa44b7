"""How much is measured: all of it, what fits into three minutes, or what fits into a test."""

import dataclasses

from bench.peers import PEERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """One cell of the heartbeats' table: so many agents, answers with so many slots after so many milliseconds.

    ``rounds`` is how often each of its peers is measured; 0 means as often as everywhere.
    """

    latency_ms: float
    agents: int
    slots: int = 0
    rounds: int = 0
    peers: tuple[str, ...] = tuple(PEERS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatenessSizes:
    """So many agents, each with a slot at a random whole one of so many seconds, which begin after a lead."""

    agents: int
    seconds: int
    lead: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoakSizes:
    """So many ticks of so many agents, of whom a few are given a slot each time; what counts begins after a warm-up.

    A scheduler remembers some thousand settled slots, and is warm when it forgets one for each new one: warm-ups have
    more than `harborcal.ledger.SETTLED_MEMORY`.
    """

    ticks: int
    warm_up: int
    agents: int
    slots: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalendarSizes:
    """Sizes of the carried calendar's measurements.

    Attributes:
        agents: How many agents the large file has, each of them with 20 slots.
        heartbeats: How many heartbeats are timed in each file.
        tick: How many agents are ticked in process and over HTTP.
        plans: How many plans are expanded.
        days: Over how many days.
        expansion_rounds: How often, each time with other plans.
        replayed_days: For how many days of one plan of each rule dateutil is asked, at most 12.
        processes: How many processes hammer one file.
        hammer_seconds: For how long.
    """

    agents: int
    heartbeats: int
    tick: int
    plans: int
    days: int
    expansion_rounds: int
    replayed_days: int
    processes: int
    hammer_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of every measurement.

    Attributes:
        name: Of the plan.
        rounds: How often each peer is measured in each scene; medians are taken over rounds.
        heartbeats: The least heartbeats of one sample over HTTP: small ticks are repeated.
        scenes: The cells of the heartbeats' table.
        tick: The scene whose wall time is held against the ideal one, with threads.
        batch_tick: The same in a batch.
        tls: The scenes in which connections are dropped.
        own: How many agents the scheduler's own cost is measured with, and how many slots that are not due each has.
        own_ticks: Over how many ticks.
        memory: How many agents the memory is spread over.
        lateness: How many wakes are timed.
        soak: How long the hour is.
        decode: How many slots the decoded answers have.
        encode: How many bodies of each kind one sample writes.
        completions: How many slots are completed with a journal and without.
        calendar: The carried calendar's own sizes.
    """

    name: str
    rounds: int
    heartbeats: int
    scenes: tuple[Scene, ...]
    tick: Scene
    batch_tick: Scene
    tls: tuple[Scene, ...]
    own: tuple[tuple[int, int], ...]
    own_ticks: int
    memory: int
    lateness: LatenessSizes
    soak: SoakSizes
    decode: int
    encode: int
    completions: int
    calendar: CalendarSizes


LONG = ("careful", "harborcal", "multi", "harborcal-curl")
"""Who is measured where a tick with threads takes half a minute: ours, and each one's own bare client."""

FULL = Plan(
    name="full",
    rounds=5,
    heartbeats=300,
    scenes=(
        *(Scene(latency_ms=latency, agents=agents) for latency in (0, 20, 100) for agents in (100, 1_000)),
        *(Scene(latency_ms=latency, agents=10_000, rounds=2) for latency in (0, 20)),
        Scene(latency_ms=100, agents=10_000, rounds=1, peers=LONG),
        Scene(latency_ms=20, agents=1_000, slots=3),
    ),
    tick=Scene(latency_ms=50, agents=1_000),
    batch_tick=Scene(latency_ms=20, agents=10_000),
    tls=(Scene(latency_ms=20, agents=100), Scene(latency_ms=20, agents=1_000)),
    own=((1_000, 0), (10_000, 0), (1_000, 3)),
    own_ticks=25,
    memory=10_000,
    lateness=LatenessSizes(agents=1_000, seconds=40, lead=4),
    soak=SoakSizes(ticks=120, warm_up=60, agents=1_000, slots=80),
    decode=20,
    encode=20_000,
    completions=200,
    calendar=CalendarSizes(
        agents=10_000,
        heartbeats=1_000,
        tick=1_000,
        plans=1_000,
        days=365,
        expansion_rounds=2,
        replayed_days=3,
        processes=4,
        hammer_seconds=60.0,
    ),
)

QUICK = Plan(
    name="quick",
    rounds=3,
    heartbeats=200,
    scenes=(
        *(Scene(latency_ms=20, agents=agents) for agents in (100, 1_000)),
        Scene(latency_ms=20, agents=10_000, rounds=2, peers=("multi", "harborcal-curl")),
        Scene(latency_ms=0, agents=1_000),
        Scene(latency_ms=100, agents=1_000, rounds=1),
        Scene(latency_ms=20, agents=1_000, slots=3),
    ),
    tick=Scene(latency_ms=50, agents=1_000),
    batch_tick=Scene(latency_ms=20, agents=10_000),
    tls=(Scene(latency_ms=20, agents=1_000),),
    own=((1_000, 0), (10_000, 0), (1_000, 3)),
    own_ticks=11,
    memory=10_000,
    lateness=LatenessSizes(agents=400, seconds=16, lead=3),
    soak=SoakSizes(ticks=120, warm_up=60, agents=200, slots=70),
    decode=20,
    encode=20_000,
    completions=50,
    calendar=CalendarSizes(
        agents=10_000,
        heartbeats=50,
        tick=200,
        plans=50,
        days=365,
        expansion_rounds=1,
        replayed_days=1,
        processes=4,
        hammer_seconds=3.0,
    ),
)

TINY = Plan(
    name="tiny",
    rounds=1,
    heartbeats=20,
    scenes=(Scene(latency_ms=0, agents=20), Scene(latency_ms=1, agents=20, slots=2)),
    tick=Scene(latency_ms=1, agents=40),
    batch_tick=Scene(latency_ms=1, agents=200),
    tls=(Scene(latency_ms=1, agents=20),),
    own=((50, 0), (50, 3)),
    own_ticks=1,
    memory=50,
    lateness=LatenessSizes(agents=3, seconds=1, lead=0),
    soak=SoakSizes(ticks=4, warm_up=1, agents=20, slots=5),
    decode=5,
    encode=200,
    completions=3,
    calendar=CalendarSizes(
        agents=20,
        heartbeats=5,
        tick=20,
        plans=5,
        days=3,
        expansion_rounds=1,
        replayed_days=1,
        processes=2,
        hammer_seconds=0.2,
    ),
)
"""For the tests: the figures mean nothing."""
