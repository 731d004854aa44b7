"""The account of a run: targets, a table for people, JSON for machines."""

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

from bench.calendar.report import COMPARED as CALENDAR_COMPARED
from bench.calendar.report import broken_promises, calendar_failures, calendar_lines, calendar_targets
from bench.journal import COMPARED as JOURNAL_COMPARED
from bench.journal import JournalFigures
from bench.measurements import (
    DecodeFigures,
    EncodeFigures,
    MemoryFigures,
    OwnFigures,
    SceneFigures,
    TickFigures,
    TlsFigures,
)
from bench.peers import WORKERS
from bench.target import Target

RESULTS = Path(__file__).resolve().parent / "results"

HANDWRITTEN = "hand-written: json.loads, then Slot(...) in straight-line code that checks nothing"

COMPARED = {
    "harborcal": "Scheduler over HttpTransport: Scheduler.tick() with its defaults and a host that does nothing",
    "careful": "requests: a session per thread, trust_env off, session.send of a copied PreparedRequest, json.loads",
    "naive": "requests: a session per thread, session.post(json=..., headers=..., timeout=10), response.json()",
    "urllib3": "urllib3 alone: a connection pool per thread, urlopen, json.loads",
}


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
            "compared": {**COMPARED, "decode": HANDWRITTEN, "journal": JOURNAL_COMPARED, **CALENDAR_COMPARED},
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
        targets=tuple(_targets(figures)),
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
    yield from (scene.peers["harborcal"].failed for scene in scenes)
    tls: list[TlsFigures] = figures.get("tls", [])
    yield from (drops.peers["harborcal"].failed for drops in tls)
    own: list[OwnFigures] = figures.get("own", [])
    yield from (each.failed for each in own)
    if "tick" in figures:
        yield figures["tick"].failed
    yield from calendar_failures(figures)


# --- targets --------------------------------------------------------------------------------------------------------


def _targets(figures: Mapping[str, Any]) -> Iterator[Target]:
    scenes: list[SceneFigures] = figures.get("heartbeats", [])
    for what, some in (
        ("idle agents", [scene for scene in scenes if not scene.slots]),
        ("slots listed", [scene for scene in scenes if scene.slots]),
    ):
        if some:
            cpu = max(scene.cpu_ratios["careful"] for scene in some)
            rate = min(scene.rate_ratios["careful"] for scene in some)
            yield Target(name=f"CPU per heartbeat / careful, {what}, worst scene", value=cpu, limit=1.15)
            yield Target(name=f"rate / careful, {what}, worst scene", value=rate, limit=0.90, at_least=True)
    if "tick" in figures:
        tick: TickFigures = figures["tick"]
        name = f"tick of {tick.agents} agents at {tick.latency_ms:g} ms / ideal"
        yield Target(name=name, value=tick.ratio, limit=1.10)
    tls: list[TlsFigures] = figures.get("tls", [])
    if tls:
        # The figure speaks of a tick of many agents: a handshake costs as much as two heartbeats.
        drops = max(tls, key=lambda each: each.agents)
        name = f"TLS, {drops.agents} agents, all connections dropped / warm, CPU"
        yield Target(name=name, value=drops.peers["harborcal"].cpu_ratio, limit=1.25)
        lost = sum(each.peers["harborcal"].failed for each in tls)
        yield Target(name="TLS, heartbeats failed after drops", value=lost, limit=0)
    own: list[OwnFigures] = figures.get("own", [])
    if own:
        worst = max(each.cpu_us for each in own if not each.slots)
        yield Target(name="scheduler's own CPU per agent and tick", value=worst, limit=40, unit="us")
    if "memory" in figures:
        memory: MemoryFigures = figures["memory"]
        yield Target(name="memory per idle agent", value=memory.bytes_per_agent, limit=2048, unit="B")
    if "decode" in figures:
        decode: DecodeFigures = figures["decode"]
        # The figure holds also where nothing that is remembered of former answers helps.
        ratio = max(decode.again.handwritten_ratio, decode.fresh.handwritten_ratio)
        name = "decoding a slot / json.loads plus a hand-written constructor"
        yield Target(name=name, value=ratio, limit=1.3)
    yield from calendar_targets(figures)


# --- the table ------------------------------------------------------------------------------------------------------


def render(report: Report) -> str:
    """Write the report for people."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    machine = report.machine
    yield f"harborcal bench ({report.plan}), {report.measured_at}, {report.seconds:.0f} s"
    yield (
        f"{machine['python']} on {machine['system']}, {machine['cores']} cores ({machine['processor']}), "
        f"load {machine['load']}; requests {machine['requests']}, urllib3 {machine['urllib3']}, {machine['openssl']}"
    )
    yield f"SQLAlchemy {machine['sqlalchemy']}, SQLite {machine['sqlite']}, dateutil {machine['dateutil']}"
    yield "CPU is this process's alone. Figures are medians over interleaved rounds, ratios medians of rounds' ratios."
    figures = report.figures
    if figures.keys() & {"heartbeats", "tick", "tls"}:
        yield f"{WORKERS} threads each, pulling agents off one iterator; the server is a process of its own."
        yield from (f"  {name:9}  {text}" for name, text in COMPARED.items())
    if "heartbeats" in figures:
        yield from _heartbeat_lines(figures["heartbeats"])
    if "tick" in figures:
        yield from _tick_lines(figures["tick"])
    if "tls" in figures:
        yield from _tls_lines(figures["tls"])
    yield from _small_lines(figures)
    yield from calendar_lines(figures)
    yield from _target_lines(report)


def _heartbeat_lines(scenes: list[SceneFigures]) -> Iterator[str]:
    names = tuple(COMPARED)
    others = names[1:]
    for title, unit in (("CPU", "us per heartbeat"), ("Rate", "heartbeats per second")):
        yield ""
        yield f"{title}, {unit}"
        yield (
            "  latency  agents  slots  "
            + "".join(f"{name:>10}" for name in names)
            + "".join(f"{'/' + name:>10}" for name in others)
            + "    failed"
        )
        for scene in scenes:
            values = [
                peer.cpu_us if title == "CPU" else peer.per_second for peer in (scene.peers[name] for name in names)
            ]
            ratios = scene.cpu_ratios if title == "CPU" else scene.rate_ratios
            yield (
                f"  {scene.latency_ms:4g} ms  {scene.agents:6}  {scene.slots:5}  "
                + "".join(f"{value:10.0f}" for value in values)
                + "".join(f"{ratios[name]:10.2f}" for name in others)
                + f"{sum(peer.failed for peer in scene.peers.values()):10}"
            )


def _tick_lines(tick: TickFigures) -> Iterator[str]:
    yield ""
    yield f"A tick of {tick.agents} agents at {tick.latency_ms:g} ms against the ideal {tick.ideal_s:.2f} s"
    yield (
        f"  {tick.wall_s:.3f} s, {tick.ratio:.3f} x ideal (best round {tick.best_ratio:.3f}; "
        f"careful requests {tick.careful_ratio:.3f}); failed {tick.failed}"
    )


def _tls_lines(scenes: list[TlsFigures]) -> Iterator[str]:
    yield ""
    yield "TLS: a tick after the server dropped every connection (FIN and reset by turns), CPU us per heartbeat"
    yield "  latency  agents  peer         warm   dropped     ratio  connections  failed"
    for scene in scenes:
        for name, drops in scene.peers.items():
            yield (
                f"  {scene.latency_ms:4g} ms  {scene.agents:6}  {name:9}{drops.warm_cpu_us:8.0f}"
                f"{drops.dropped_cpu_us:10.0f}{drops.cpu_ratio:10.2f}{drops.connections:13}{drops.failed:8}"
            )


def _small_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    own: list[OwnFigures] = figures.get("own", [])
    if own:
        yield ""
        yield "The scheduler alone, over a transport that does nothing"
        for each in own:
            yield (
                f"  {each.agents:6} agents, {each.slots} slots each: {each.cpu_us:.1f} us of CPU per agent and tick "
                f"(best {each.best_cpu_us:.1f}, first {each.first_cpu_us:.1f})"
            )
    if "memory" in figures:
        memory: MemoryFigures = figures["memory"]
        yield f"  {memory.agents:6} agents: {memory.bytes_per_agent:.0f} bytes per idle agent, their list left out"
    if "decode" in figures:
        decode: DecodeFigures = figures["decode"]
        yield ""
        yield f"Decoding answers of {decode.slots} slots, us per slot; {HANDWRITTEN}"
        yield "                json.loads  hand-written  harborcal     /json    /hand"
        for name, read in (("the same again", decode.again), ("other ones", decode.fresh)):
            yield (
                f"  {name:14}{read.json_us:10.2f}{read.handwritten_us:14.2f}{read.decode_us:11.2f}"
                f"{read.json_ratio:10.2f}{read.handwritten_ratio:9.2f}"
            )
    if "encode" in figures:
        encode: EncodeFigures = figures["encode"]
        yield ""
        yield "Encoding a request's body beside bare json.dumps of the same dict"
        for name, written in (("heartbeat", encode.heartbeat), ("update", encode.update)):
            yield f"  {name:9}  {written.encode_us:.2f} us, {written.ratio:.2f} x json.dumps ({written.json_us:.2f})"
    if "journal" in figures:
        journal: JournalFigures = figures["journal"]
        yield ""
        yield f"{journal.completions} slots completed: {JOURNAL_COMPARED}; wall time, of the disk mostly"
        yield (
            f"  complete(): {journal.complete_ms:.2f} ms with a journal, delivery included "
            f"({journal.complete_to_commit:.1f} x one bare commit of {journal.commit_ms:.2f} ms), "
            f"{journal.bare_ms:.2f} ms without"
        )
        yield f"  a whole slot: {journal.slot_ms:.2f} ms, {journal.slot_to_commit:.1f} x one bare commit"


def _target_lines(report: Report) -> Iterator[str]:
    if not report.targets:
        return
    yield ""
    yield "Targets"
    for target in report.targets:
        sign = ">=" if target.at_least else "<="
        digits = 0 if target.limit == 0 or target.unit == "B" else 1 if target.unit else 3
        yield (
            f"  {'reached' if target.reached else 'MISSED ':7}  {target.name:62}"
            f"{target.value:9.{digits}f}  {sign} {target.limit:g} {target.unit}".rstrip()
        )
    if report.failed:
        yield f"  ATTENTION: {report.failed} of harborcal's heartbeats failed; the figures mean little."
    yield from (f"  FAILED: {promise}." for promise in report.broken)
