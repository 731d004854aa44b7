"""The whole run: each measurement in turn, then the report."""

import datetime as dt
import time
from collections.abc import Callable, Sequence

from bench.measurements import MEASUREMENTS
from bench.plan import Plan
from bench.report import Report, make_report


def run(plan: Plan, only: Sequence[str] = (), tell: Callable[[str], None] = lambda _: None) -> Report:
    """Run the measurements of a plan.

    Args:
        plan: How much to measure.
        only: The names of the measurements to run; none means all.
        tell: Is told of each measurement's beginning.

    Raises:
        ValueError: There is no measurement of such a name.
    """
    if unknown := set(only) - set(MEASUREMENTS):
        raise ValueError(f"no such measurement: {', '.join(sorted(unknown))}")
    started_at, since = dt.datetime.now(dt.UTC), time.perf_counter()
    figures = {}
    for name, measurement in MEASUREMENTS.items():
        if not only or name in only:
            tell(name)
            figures[name] = measurement(plan)
    return make_report(plan.name, started_at, time.perf_counter() - since, figures)
