"""``python -m bench``: measure, print the table, write the JSON."""

import argparse
import sys
from pathlib import Path

from bench.measurements import MEASUREMENTS
from bench.plan import FULL, QUICK
from bench.report import write_json
from bench.suite import run
from bench.table import render


def main() -> int:
    """Run the bench; exits with 1 when a heartbeat failed or a promise broke, never because a machine is slow."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What harborcal costs, beside its peers.")
    parser.add_argument("--quick", action="store_true", help="three minutes instead of fifteen")
    parser.add_argument("--only", action="append", default=[], choices=list(MEASUREMENTS), help="may be repeated")
    parser.add_argument("--json", type=Path, metavar="PATH", help="default: bench/results/<date>.json")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    report = run(plan, arguments.only, lambda name: print(f"measuring {name} ...", file=sys.stderr, flush=True))
    print(render(report))
    print(f"\nwritten to {write_json(report, arguments.json)}")
    return 1 if report.failed or report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
