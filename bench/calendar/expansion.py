"""Expanding plans day by day, with starts near and far, beside dateutil's own replay from the start.

Each day of the year is asked of all plans before the next day, as heartbeats do. No pass has a plan that an earlier one
had: starts differ by seconds, and with them all that `Recurrence` remembers of a plan; only the few rules' texts are
known. What the plans' months are worth that are remembered within one pass is told by the *cold* figures: one date of
each month, so that nothing is asked twice of any month.
"""

import dataclasses
import datetime as dt
import itertools
import statistics
import time
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence

from dateutil.rrule import rrulestr

from bench.plan import Plan
from harborcal.calendar import Recurrence

RULES = {
    "daily": "FREQ=DAILY",
    "weekly": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH",
    "monthly": "FREQ=MONTHLY;BYDAY=2TU",
    "yearly": "FREQ=YEARLY;BYMONTH=6;BYMONTHDAY=15",
    "hourly": "FREQ=HOURLY;INTERVAL=3",
}
"""The mix: as many plans of each."""

_FIRST = dt.date(2026, 1, 1)
STARTS = {"one month": dt.date(2025, 12, 1), "ten years": dt.date(2016, 1, 1), "fifty years": dt.date(1976, 1, 1)}
"""How far the first of the days is from the plans' starts."""

NEAREST = "one month"
_ZONES = ("UTC", "Europe/Berlin", "America/New_York")  # of all but hourly rules, which are in UTC
_STRIDE = 7_919  # a prime: spreads the starts over the day, and none comes twice
_MID_MONTH = [dt.date(2026, month, 15) for month in range(1, 13)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostFigures:
    """Microseconds of CPU per plan and day."""

    year_us: float
    cold_us: float
    replay_us: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistanceFigures:
    """Plans that started so long ago; the ratios are over those that started one month ago."""

    rules: Mapping[str, CostFigures]
    mix: CostFigures
    year_ratio: float
    cold_ratio: float
    replay_ratio: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpansionFigures:
    """What plans cost per day at each distance from their starts.

    ``differing`` counts dates on which dateutil's replay found other moments than harborcal.
    """

    plans: int
    days: int
    replayed_days: int
    distances: Mapping[str, DistanceFigures]
    differing: int


_Costs = dict[str, float]
"""Microseconds per plan and day, by rule."""


def measure_expansion(plan: Plan) -> ExpansionFigures:
    """Expand new plans at each distance by turns."""
    sizes = plan.calendar
    dates = [_FIRST + dt.timedelta(days=number) for number in range(sizes.days)]
    year: dict[str, list[_Costs]] = {name: [] for name in STARTS}
    cold: dict[str, list[_Costs]] = {name: [] for name in STARTS}
    passes = itertools.count()
    for _ in range(sizes.expansion_rounds):
        for name, start in STARTS.items():
            year[name].append(_expand(_plans(start, sizes.plans, next(passes)), dates))
            cold[name].append(_expand(_plans(start, sizes.plans, next(passes)), _MID_MONTH))
    replay_dates = _MID_MONTH[:: max(1, 12 // sizes.replayed_days)][: sizes.replayed_days]
    replays = {name: _replay(start, replay_dates) for name, start in STARTS.items()}
    distances = {
        name: _figures(name, year, cold, {name: costs for name, (costs, _) in replays.items()}) for name in STARTS
    }
    return ExpansionFigures(
        plans=sizes.plans,
        days=sizes.days,
        replayed_days=len(replay_dates),
        distances=distances,
        differing=sum(differing for _, differing in replays.values()),
    )


# --- harborcal ------------------------------------------------------------------------------------------------------


def _plans(start: dt.date, count: int, number: int) -> dict[str, list[Recurrence]]:
    """Make plans that no other pass has, by rule."""
    seconds = (place * _STRIDE % 86_400 for place in itertools.count(number * count))
    made: dict[str, list[Recurrence]] = {name: [] for name in RULES}
    for index, name in zip(range(count), itertools.cycle(RULES), strict=False):
        zone = "UTC" if name == "hourly" else _ZONES[index // len(RULES) % len(_ZONES)]
        made[name].append(Recurrence.of(_moment(start, next(seconds), zone), RULES[name]))
    return made


def _moment(date: dt.date, second: int, zone: str) -> dt.datetime:
    wall = dt.datetime.combine(date, dt.time()) + dt.timedelta(seconds=second)
    return wall.replace(tzinfo=dt.UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone))


def _expand(plans: Mapping[str, Sequence[Recurrence]], dates: Sequence[dt.date]) -> _Costs:
    """Ask all plans for each date; tell what a plan and day of each rule cost."""
    spent = dict.fromkeys(plans, 0.0)
    for date in dates:
        for name, recurrences in plans.items():
            since = time.thread_time()
            for recurrence in recurrences:
                recurrence.on(date)
            spent[name] += time.thread_time() - since
    return {name: seconds / len(plans[name]) / len(dates) * 1e6 for name, seconds in spent.items()}


# --- dateutil -------------------------------------------------------------------------------------------------------


def _replay(start: dt.date, dates: Sequence[dt.date]) -> tuple[_Costs, int]:
    """Ask dateutil for some dates of one plan of each rule; also tell on how many harborcal differs."""
    costs: _Costs = {}
    differing = 0
    for name, rule in RULES.items():
        begins_at = _moment(start, 43_200, "UTC")
        theirs = rrulestr(rule, dtstart=begins_at)
        ours = Recurrence.of(begins_at, rule)
        since = time.thread_time()
        found = [theirs.between(*_span(date), inc=True) for date in dates]
        costs[name] = (time.thread_time() - since) / len(dates) * 1e6
        for date, moments in zip(dates, found, strict=True):
            differing += moments != [occurrence.starts_at for occurrence in ours.on(date)]
    return costs, differing


def _span(date: dt.date) -> tuple[dt.datetime, dt.datetime]:
    return dt.datetime.combine(date, dt.time(), dt.UTC), dt.datetime.combine(date, dt.time(23, 59, 59), dt.UTC)


# --- figures --------------------------------------------------------------------------------------------------------


def _figures(
    name: str,
    year: Mapping[str, Sequence[_Costs]],
    cold: Mapping[str, Sequence[_Costs]],
    replays: Mapping[str, _Costs],
) -> DistanceFigures:
    rules = {
        rule: CostFigures(
            year_us=statistics.median(costs[rule] for costs in year[name]),
            cold_us=statistics.median(costs[rule] for costs in cold[name]),
            replay_us=replays[name][rule],
        )
        for rule in RULES
    }
    return DistanceFigures(
        rules=rules,
        mix=CostFigures(
            year_us=statistics.median(_mixed(year[name])),
            cold_us=statistics.median(_mixed(cold[name])),
            replay_us=statistics.mean(replays[name].values()),
        ),
        year_ratio=_ratio(year[name], year[NEAREST]),
        cold_ratio=_ratio(cold[name], cold[NEAREST]),
        replay_ratio=_ratio([replays[name]], [replays[NEAREST]]),
    )


def _mixed(rounds: Sequence[_Costs]) -> Iterator[float]:
    return (statistics.mean(costs.values()) for costs in rounds)


def _ratio(ours: Sequence[_Costs], nearest: Sequence[_Costs]) -> float:
    """Tell the median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(_mixed(ours), _mixed(nearest), strict=True))
