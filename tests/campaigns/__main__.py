"""Run campaigns in full, in several processes, and write down what they saw.

``python -m tests.campaigns [name ...] [--share 0.1] [--seed 1] [--processes 2] [--evidence docs/evidence.json]``
"""

import argparse
import concurrent.futures
import datetime as dt
import json
import multiprocessing
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaigns import page
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.registry import CAMPAIGNS, run_share

CHUNKS = 20
SHOWN = 20


def main() -> int:
    """Run what was asked for; return 1 where anything failed."""
    arguments = _arguments()
    chosen = [campaign for campaign in CAMPAIGNS if not arguments.names or campaign.name in arguments.names]
    unknown = set(arguments.names) - {campaign.name for campaign in CAMPAIGNS}
    if unknown:
        sys.exit(f"no such campaign: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in CAMPAIGNS)}")
    failed = False
    for campaign in chosen:
        count = campaign.small if arguments.small else max(1, int(campaign.full * arguments.share))
        began = time.monotonic()
        commit, outcome = _commit(), Outcome()
        told = 0
        for done, seeds, outcome in _run(campaign, count, arguments.seed, arguments.processes):
            for failure in outcome.failures[told:SHOWN]:
                sys.stdout.write(f"  {failure}\n")
            sys.stdout.flush()
            told = len(outcome.failures)
            # As it goes: one that is interrupted has seen so much.
            if arguments.evidence:
                entry = {"commit": commit, **_entry(done, time.monotonic() - began, seeds, outcome)}
                _write(arguments.evidence, campaign, entry)
        failed |= bool(outcome.failures)
        _tell(campaign, count, time.monotonic() - began, outcome)
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description="Rehearse mishaps by the thousand.")
    parser.add_argument("names", nargs="*", help="which campaigns; all by default")
    parser.add_argument("--share", type=float, default=1.0, help="how much of the full count to run")
    parser.add_argument("--small", action="store_true", help="run the counts that the tests run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2)))
    parser.add_argument("--evidence", type=Path, help="a JSON file to enter the results into")
    return parser.parse_args()


def _run(campaign: Campaign, count: int, seed: int, processes: int) -> Iterator[tuple[int, list[int], Outcome]]:
    """Share the rehearsals out, each share with a seed of its own; tell after each how many are done, and all of it."""
    total, rehearsals = Outcome(), 0
    seeds: list[int] = []
    with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        shares = {
            pool.submit(run_share, campaign.name, part, own): (part, own)
            for part, own in _shares(count, seed, 1 if campaign.is_one_run else CHUNKS)
        }
        for done in concurrent.futures.as_completed(shares):
            part, own = shares[done]
            outcome = done.result()
            total.counts += outcome.counts
            total.most |= outcome.most
            total.failures += outcome.failures
            rehearsals += part
            seeds = sorted((*seeds, own))
            yield rehearsals, seeds, total


def _shares(count: int, seed: int, most: int) -> Iterator[tuple[int, int]]:
    chunks = min(most, count)
    for index in range(chunks):
        yield count // chunks + (index < count % chunks), seed * 1_000 + index


def _tell(campaign: Campaign, count: int, seconds: float, outcome: Outcome) -> None:
    verdict = f"{len(outcome.failures)} FAILED" if outcome.failures else "none failed"
    counts = ", ".join(f"{name} {number:,}" for name, number in sorted((outcome.counts | outcome.most).items()))
    sys.stdout.write(f"{campaign.name}: {count:,} rehearsals in {seconds:.0f} s, {verdict} ({counts})\n")
    sys.stdout.flush()


def _entry(count: int, seconds: float, seeds: list[int], outcome: Outcome) -> dict[str, Any]:
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "rehearsals": count,
        "failed": len(outcome.failures),
        "seconds": round(seconds),
        "seeds": seeds,
        "counts": dict(sorted((outcome.counts | outcome.most).items())),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _write(path: Path, campaign: Campaign, entry: dict[str, Any]) -> None:
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known[campaign.name] = {"promise": campaign.promise, **entry}
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", "utf-8")
    if path.resolve() == page.EVIDENCE:
        page.update()


if __name__ == "__main__":
    sys.exit(main())
