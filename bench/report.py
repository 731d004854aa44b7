"""The account of a run: its figures, the targets they were held against, and the JSON of it for machines."""

import dataclasses
import datetime as dt
import json
import os
import platform
import sqlite3
import ssl
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pycurl

from bench.calendar.report import broken_promises, calendar_failures
from bench.compared import COMPARED
from bench.heartbeats import SceneFigures, TickFigures
from bench.own import OwnFigures
from bench.peers import BARE, CONNECTIONS, WORKERS
from bench.results import RESULTS
from bench.target import Target
from bench.targets import targets
from bench.tls import TlsFigures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All figures of one run."""

    plan: str
    measured_at: str
    seconds: float
    machine: Mapping[str, object]
    figures: Mapping[str, Any]
    targets: tuple[Target, ...]

    @property
    def failed(self) -> int:
        """How many of harborcal's heartbeats failed, over all measurements."""
        return sum(_failures(self.figures))

    @property
    def broken(self) -> tuple[str, ...]:
        """What harborcal promises and did not keep, in words; nothing on however slow a machine."""
        return tuple(broken_promises(self.figures))

    def to_dict(self) -> dict[str, Any]:
        """Make plain values of it."""
        return {
            "plan": self.plan,
            "measured_at": self.measured_at,
            "seconds": round(self.seconds, 1),
            "machine": dict(self.machine),
            "workers": WORKERS,
            "connections": CONNECTIONS,
            "compared": COMPARED,
            "figures": {name: _plain(figures) for name, figures in self.figures.items()},
            "failed_heartbeats": self.failed,
            "broken_promises": list(self.broken),
            "targets": [{**dataclasses.asdict(target), "reached": target.reached} for target in self.targets],
        }


def make_report(plan: str, started_at: dt.datetime, seconds: float, figures: Mapping[str, Any]) -> Report:
    """Hold the figures of a run against the targets."""
    return Report(
        plan=plan,
        measured_at=started_at.isoformat(timespec="seconds"),
        seconds=seconds,
        machine=_machine(),
        figures=figures,
        targets=tuple(targets(figures)),
    )


def write_json(report: Report, path: Path | None) -> Path:
    """Write the report; without a path, to ``bench/results`` under the date and time."""
    if path is None:
        path = RESULTS / f"{report.measured_at.replace(':', '').replace('+0000', 'Z')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    return path


def _machine() -> dict[str, object]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "requests": version("requests"),
        "urllib3": version("urllib3"),
        "libcurl": pycurl.version_info()[1],
        "openssl": ssl.OPENSSL_VERSION,
        "sqlalchemy": version("sqlalchemy"),
        "sqlite": sqlite3.sqlite_version,
        "dateutil": version("python-dateutil"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _plain(figures: Any) -> Any:
    if isinstance(figures, list):
        return [_plain(each) for each in figures]
    return dataclasses.asdict(figures)


def _failures(figures: Mapping[str, Any]) -> Iterator[int]:
    scenes: list[SceneFigures] = figures.get("heartbeats", [])
    yield from (peer.failed for scene in scenes for name, peer in scene.peers.items() if name in BARE)
    tls: list[TlsFigures] = figures.get("tls", [])
    yield from (drops.failed for each in tls for name, drops in each.peers.items() if name in BARE)
    own: list[OwnFigures] = figures.get("own", [])
    yield from (each.failed for each in own)
    ticks: list[TickFigures] = figures.get("tick", [])
    yield from (tick.failed for tick in ticks)
    if "soak" in figures:
        yield figures["soak"].failed
    yield from calendar_failures(figures)
