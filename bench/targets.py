"""The figures to reach; each is held by the worst of its scenes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.calendar.report import calendar_targets
from bench.codecs import DecodeFigures
from bench.heartbeats import SceneFigures, TickFigures
from bench.lateness import LatenessFigures
from bench.own import MemoryFigures, OwnFigures
from bench.soak import SoakFigures
from bench.target import Target
from bench.tls import TlsFigures

LINES = 4 * 32
"""Descriptors that may be added late: each of the 32 wakes at once keeps its line to the calendar, which takes four."""


def targets(figures: Mapping[str, Any]) -> Iterator[Target]:
    """Hold those figures against what is wanted that were measured."""
    for name, hold in _HELD.items():
        if figures.get(name):
            yield from hold(figures[name])
    yield from calendar_targets(figures)


def _heartbeats(scenes: list[SceneFigures]) -> Iterator[Target]:
    idle = [scene for scene in scenes if not scene.slots]
    yield from _of_http("idle agents", idle)
    yield from _of_http("slots listed", [scene for scene in scenes if scene.slots])
    yield from _of_curl(idle)


def _of_http(what: str, scenes: list[SceneFigures]) -> Iterator[Target]:
    scenes = [scene for scene in scenes if "harborcal" in scene.cpu_ratios]
    if not scenes:
        return
    cpu = max(scene.cpu_ratios["harborcal"]["careful"] for scene in scenes)
    rate = min(scene.rate_ratios["harborcal"]["careful"] for scene in scenes)
    yield Target(name=f"CPU per heartbeat / careful, {what}, worst scene", value=cpu, limit=1.15)
    yield Target(name=f"rate / careful, {what}, worst scene", value=rate, limit=0.90, at_least=True)


def _of_curl(idle: list[SceneFigures]) -> Iterator[Target]:
    if not idle:
        return
    cpu = max(scene.cpu_ratios["harborcal-curl"]["multi"] for scene in idle)
    yield Target(name="batch, CPU per heartbeat / bare multi, idle agents, worst scene", value=cpu, limit=1.5)
    # With latency everybody mostly waits, and what is compared are 128 connections with 32.
    busy = [scene for scene in idle if not scene.latency_ms and "naive" in scene.rate_ratios["harborcal-curl"]]
    if busy:
        rate = min(scene.rate_ratios["harborcal-curl"]["naive"] for scene in busy)
        yield Target(name="batch, rate / naive, no latency, worst scene", value=rate, limit=5.0, at_least=True)


def _tick(ticks: list[TickFigures]) -> Iterator[Target]:
    limits = {"harborcal": 1.10, "harborcal-curl": 1.20}
    for tick in ticks:
        name = f"{tick.name}, tick of {tick.agents} agents at {tick.latency_ms:g} ms / ideal"
        yield Target(name=name, value=tick.ratio, limit=limits[tick.name])


def _tls(scenes: list[TlsFigures]) -> Iterator[Target]:
    # The figure speaks of a tick of many agents: a handshake costs as much as two heartbeats.
    drops = max(scenes, key=lambda each: each.agents)
    name = f"TLS, {drops.agents} agents, all connections dropped / warm, CPU"
    yield Target(name=name, value=drops.peers["harborcal"].cpu_ratio, limit=1.25)
    for ours in ("harborcal", "harborcal-curl"):
        lost = sum(each.peers[ours].failed for each in scenes)
        yield Target(name=f"TLS, heartbeats of {ours} failed after drops", value=lost, limit=0)


def _own(all_own: list[OwnFigures]) -> Iterator[Target]:
    for way, limit in (("threads", 40), ("batch", 25)):
        worst = max(each.cpu_us for each in all_own if each.way == way and not each.slots)
        yield Target(name=f"scheduler's own CPU per agent and tick, {way}", value=worst, limit=limit, unit="us")


def _memory(ways: list[MemoryFigures]) -> Iterator[Target]:
    for each in ways:
        yield Target(name=f"memory per idle agent, {each.way}", value=each.bytes_per_agent, limit=2048, unit="B")
    grown = max(each.threads_grown for each in ways)
    yield Target(name="threads that further ticks add", value=grown, limit=0)


def _decode(decode: DecodeFigures) -> Iterator[Target]:
    # The figure holds also where nothing that is remembered of former answers helps.
    ratio = max(decode.again.handwritten_ratio, decode.fresh.handwritten_ratio)
    yield Target(name="decoding a slot / json.loads plus a hand-written constructor", value=ratio, limit=1.3)


def _lateness(ways: list[LatenessFigures]) -> Iterator[Target]:
    for each in ways:
        name = f"lateness of {each.wakes} wakes, {each.way}"
        yield Target(name=f"{name}, p50", value=each.p50_ms, limit=20, unit="ms")
        yield Target(name=f"{name}, p99", value=each.p99_ms, limit=200, unit="ms")
    amiss = sum(each.asleep + each.early for each in ways)
    yield Target(name="agents that were not woken, or too early", value=amiss, limit=0)


def _soak(soak: SoakFigures) -> Iterator[Target]:
    name = f"an hour of {soak.agents} agents"
    # Dicts of a bounded number of slots grow their tables once more after they are full: half a MiB in all.
    yield Target(name=f"{name}, memory traced and grown", value=soak.traced_grown_kib, limit=1024, unit="KiB")
    yield Target(name=f"{name}, resident memory grown", value=soak.resident_grown_mib, limit=4, unit="MiB")
    yield Target(name=f"{name}, threads grown", value=soak.threads_grown, limit=0)
    yield Target(name=f"{name}, descriptors grown", value=soak.descriptors_grown, limit=LINES)
    yield Target(name=f"{name}, wakes missing", value=soak.missing_wakes, limit=0)


_HELD: Mapping[str, Callable[[Any], Iterator[Target]]] = {
    "heartbeats": _heartbeats,
    "tick": _tick,
    "tls": _tls,
    "own": _own,
    "memory": _memory,
    "decode": _decode,
    "lateness": _lateness,
    "soak": _soak,
}
