"""The carried calendar's part of the account: what was compared, its lines, its targets, and promises that broke."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.calendar.expansion import NEAREST, RULES, DistanceFigures, ExpansionFigures
from bench.calendar.hammer import HammerFigures
from bench.calendar.heartbeats import DoorFigures, DoorsFigures, EmbeddedFigures
from bench.target import Target

COMPARED = {
    "embedded": "EmbeddedTransport.heartbeat in a large file, beside a small one and one commit of bare sqlite3",
    "doors": "Scheduler.tick() over EmbeddedTransport, beside HttpTransport to harborcal.server (waitress)",
    "expansion": "Recurrence.on day by day, beside dateutil's rrule.between, a replay from the start each time",
    "hammer": "what several processes on one file were told, beside what is in the file afterwards",
}
"""What each measurement holds against what."""


def calendar_failures(figures: Mapping[str, Any]) -> Iterator[int]:
    """Count the heartbeats that failed."""
    if "embedded" in figures:
        yield figures["embedded"].failed
    if "doors" in figures:
        yield from (figures["doors"].embedded.failed, figures["doors"].http.failed)


def broken_promises(figures: Mapping[str, Any]) -> Iterator[str]:
    """Tell what the calendar promises and did not keep, however fast it was."""
    if "hammer" in figures:
        hammer: HammerFigures = figures["hammer"]
        if hammer.lost:
            yield f"{hammer.lost} changes in the hammered file differ from what was acknowledged"
        if hammer.errors:
            yield f"{hammer.errors} errors reached those who hammered, {'; '.join(hammer.shown_errors)}"
        if hammer.findings:
            yield f"the integrity check of the hammered file found {hammer.findings} faults"
    if "expansion" in figures and figures["expansion"].differing:
        yield f"on {figures['expansion'].differing} days expansion differs from dateutil's replay"


# --- targets --------------------------------------------------------------------------------------------------------


def calendar_targets(figures: Mapping[str, Any]) -> Iterator[Target]:
    """Hold the figures against what is wanted."""
    if "embedded" in figures:
        embedded: EmbeddedFigures = figures["embedded"]
        name = f"embedded heartbeat, {embedded.large.agents} agents / {embedded.small.agents}"
        yield Target(name=f"{name}, median latency", value=embedded.ratio, limit=2.0)
        yield Target(name=f"{name}, CPU", value=embedded.cpu_ratio, limit=2.0)  # the disk hides nothing here
    if "doors" in figures:
        doors: DoorsFigures = figures["doors"]
        name = f"tick of {doors.agents} agents, embedded / loopback HTTP, wall"
        yield Target(name=name, value=doors.wall_ratio, limit=1.0)
    if "expansion" in figures:
        expansion: ExpansionFigures = figures["expansion"]
        worst = max(max(each.year_ratio, each.cold_ratio) for each in expansion.distances.values())
        yield Target(name="plan and day, start years back / one month back, worst", value=worst, limit=1.25)
    if "hammer" in figures:
        hammer: HammerFigures = figures["hammer"]
        yield Target(name="hammered file, changes lost", value=hammer.lost, limit=0)
        yield Target(name="hammered file, errors that reached a caller", value=hammer.errors, limit=0)
        yield Target(name="hammered file, faults that the integrity check found", value=hammer.findings, limit=0)


# --- lines ----------------------------------------------------------------------------------------------------------


def calendar_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Tell the figures for people."""
    if "embedded" in figures:
        yield from _embedded_lines(figures["embedded"])
    if "doors" in figures:
        yield from _doors_lines(figures["doors"])
    if "expansion" in figures:
        yield from _expansion_lines(figures["expansion"])
    if "hammer" in figures:
        yield from _hammer_lines(figures["hammer"])


def _embedded_lines(figures: EmbeddedFigures) -> Iterator[str]:
    yield ""
    yield f"One agent's heartbeat: {COMPARED['embedded']}"
    yield "   agents     slots  MB in file   median ms    95 % ms    CPU us"
    for each in (figures.small, figures.large):
        yield (
            f"  {each.agents:7}{each.slots:10}{each.megabytes:12.1f}{each.median_ms:12.2f}{each.p95_ms:11.2f}"
            f"{each.cpu_us:10.0f}"
        )
    yield (
        f"  large / small: median {figures.ratio:.2f}, CPU {figures.cpu_ratio:.2f}; the disk's part, one bare commit: "
        f"{figures.commit_ms:.2f} ms; failed {figures.failed}"
    )


def _doors_lines(figures: DoorsFigures) -> Iterator[str]:
    yield ""
    yield f"A tick of {figures.agents} agents, {figures.slots} slots in the file: {COMPARED['doors']}"
    yield "  door         wall s   heartbeats/s   client's CPU us per heartbeat   failed"
    doors: dict[str, DoorFigures] = {"embedded": figures.embedded, "http": figures.http}
    for name, door in doors.items():
        yield f"  {name:9}{door.wall_s:10.3f}{door.per_second:15.0f}{door.cpu_us:32.0f}{door.failed:9}"
    yield f"  embedded / http: wall {figures.wall_ratio:.2f}, CPU {figures.cpu_ratio:.2f}"


def _expansion_lines(figures: ExpansionFigures) -> Iterator[str]:
    yield ""
    yield f"{figures.plans} plans over {figures.days} days: {COMPARED['expansion']}"
    yield "  CPU us per plan and day; all plans new; cold: one date a month; replay: a few dates of one plan per rule"
    yield f"  {'start':12}{'':8}" + "".join(f"{rule:>12}" for rule in RULES) + f"{'all':>12}{'/ ' + NEAREST:>14}"
    for name, distance in figures.distances.items():
        for kind, ratio in (
            ("year", distance.year_ratio),
            ("cold", distance.cold_ratio),
            ("replay", distance.replay_ratio),
        ):
            costs = [getattr(each, f"{kind}_us") for each in _columns(distance)]
            yield f"  {name:12}{kind:8}" + "".join(f"{cost:12.1f}" for cost in costs) + f"{ratio:14.2f}"
    yield f"  dates on which the replay found other moments: {figures.differing}"


def _columns(distance: DistanceFigures) -> Iterator[Any]:
    yield from (distance.rules[rule] for rule in RULES)
    yield distance.mix


def _hammer_lines(figures: HammerFigures) -> Iterator[str]:
    yield ""
    yield (
        f"{len(figures.processes)} processes hammer one file for {figures.seconds:g} s, {figures.per_second:.0f} "
        f"operations/s: {COMPARED['hammer']}"
    )
    yield "  process  operations  races lost   median ms    99 % ms    longest wait ms"
    for number, each in enumerate(figures.processes):
        yield (
            f"  {number:7}{each.operations:12}{each.lost_races:12}{each.median_ms:12.2f}{each.p99_ms:11.1f}"
            f"{each.longest_ms:19.1f}"
        )
    for name, kept in figures.kept.items():
        yield f"  {name:28}{kept.acknowledged:8} acknowledged {kept.found:8} in the file"
    yield (
        f"  changes lost: {figures.lost}; errors that reached a caller: {figures.errors}; "
        f"faults that the integrity check found: {figures.findings}"
    )
