"""The account of a run for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.calendar.report import calendar_lines
from bench.codecs import DecodeFigures, EncodeFigures
from bench.compared import HANDWRITTEN, HEARTBEATS
from bench.heartbeats import SceneFigures, TickFigures
from bench.journal import COMPARED as JOURNAL_COMPARED
from bench.journal import JournalFigures
from bench.lateness import LatenessFigures
from bench.own import MemoryFigures, OwnFigures
from bench.peers import BARE, CONNECTIONS, WORKERS
from bench.report import Report
from bench.soak import SoakFigures
from bench.tls import TlsFigures


def render(report: Report) -> str:
    """Write the report for people."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    machine = report.machine
    yield f"harborcal bench ({report.plan}), {report.measured_at}, {report.seconds:.0f} s"
    yield (
        f"{machine['python']} on {machine['system']}, {machine['cores']} cores ({machine['processor']}), "
        f"load {machine['load']}; {machine['openssl']}"
    )
    yield f"requests {machine['requests']}, urllib3 {machine['urllib3']}, libcurl {machine['libcurl']}"
    yield f"SQLAlchemy {machine['sqlalchemy']}, SQLite {machine['sqlite']}, dateutil {machine['dateutil']}"
    yield "CPU is this process's alone. Figures are medians over interleaved rounds, ratios medians of rounds' ratios."
    figures = report.figures
    if figures.keys() & {"heartbeats", "tick", "tls"}:
        yield f"{WORKERS} threads each, pulling agents off one iterator, or {CONNECTIONS} connections on one thread."
        yield from (f"  {name:14}  {text}" for name, text in HEARTBEATS.items())
    if "heartbeats" in figures:
        yield from _heartbeat_lines(figures["heartbeats"])
    if "tick" in figures:
        yield from _tick_lines(figures["tick"])
    if "tls" in figures:
        yield from _tls_lines(figures["tls"])
    yield from _own_lines(figures.get("own", []), figures.get("memory", []))
    if "lateness" in figures:
        yield from _lateness_lines(figures["lateness"])
    if "soak" in figures:
        yield from _soak_lines(figures["soak"])
    yield from _small_lines(figures)
    yield from calendar_lines(figures)
    yield from _target_lines(report)


def _heartbeat_lines(scenes: list[SceneFigures]) -> Iterator[str]:
    pairs = [(ours, other) for ours, others in BARE.items() for other in others]
    for title, unit in (("CPU", "us per heartbeat"), ("Rate", "heartbeats per second")):
        yield ""
        yield f"{title}, {unit}"
        yield "  latency  agents  slots" + "".join(f"{name:>15}" for name in HEARTBEATS) + "    failed"
        for scene in scenes:
            values = {name: peer.cpu_us if title == "CPU" else peer.per_second for name, peer in scene.peers.items()}
            failed = sum(peer.failed for peer in scene.peers.values())
            yield _scene(scene) + "".join(_cell(values.get(name), 0) for name in HEARTBEATS) + f"{failed:10}"
        yield f"{title}, ratios"
        yield "  latency  agents  slots" + "".join(f"{_pair(*pair):>21}" for pair in pairs) + "    rounds"
        for scene in scenes:
            ratios = scene.cpu_ratios if title == "CPU" else scene.rate_ratios
            cells = (_cell(ratios.get(ours, {}).get(other), 2, 21) for ours, other in pairs)
            yield _scene(scene) + "".join(cells) + f"{scene.rounds:10}"


def _scene(scene: SceneFigures) -> str:
    return f"  {scene.latency_ms:4g} ms  {scene.agents:6}  {scene.slots:5}"


def _pair(ours: str, other: str) -> str:
    return f"{ours.removeprefix('harborcal-')}/{other}"


def _cell(value: float | None, digits: int, width: int = 15) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def _tick_lines(ticks: list[TickFigures]) -> Iterator[str]:
    yield ""
    yield "Ticks against the ideal, in which whoever asks does nothing but wait"
    for tick in ticks:
        yield (
            f"  {tick.name:14}  {tick.agents} agents at {tick.latency_ms:g} ms, {tick.side_by_side} at once: "
            f"{tick.wall_s:.3f} s, {tick.ratio:.3f} x {tick.ideal_s:.2f} s (best round {tick.best_ratio:.3f}; "
            f"{tick.bare} {tick.bare_ratio:.3f}); failed {tick.failed}"
        )


def _tls_lines(scenes: list[TlsFigures]) -> Iterator[str]:
    yield ""
    yield "TLS: a tick after the server dropped every connection (FIN and reset by turns), CPU us per heartbeat"
    yield "  latency  agents  peer              warm   dropped     ratio  connections  failed"
    for scene in scenes:
        for name, drops in scene.peers.items():
            yield (
                f"  {scene.latency_ms:4g} ms  {scene.agents:6}  {name:14}{drops.warm_cpu_us:8.0f}"
                f"{drops.dropped_cpu_us:10.0f}{drops.cpu_ratio:10.2f}{drops.connections:13}{drops.failed:8}"
            )


def _own_lines(all_own: list[OwnFigures], memory: list[MemoryFigures]) -> Iterator[str]:
    if all_own or memory:
        yield ""
        yield "The scheduler alone, over a transport that does nothing"
    for each in all_own:
        yield (
            f"  {each.way:8}{each.agents:6} agents, {each.slots} slots each: {each.cpu_us:.1f} us of CPU per agent and "
            f"tick (best {each.best_cpu_us:.1f}, first {each.first_cpu_us:.1f})"
        )
    for kept in memory:
        yield (
            f"  {kept.way:8}{kept.agents:6} agents: {kept.bytes_per_agent:.0f} bytes per idle agent, their list left "
            f"out; further ticks add {kept.threads_grown} threads"
        )


def _lateness_lines(ways: list[LatenessFigures]) -> Iterator[str]:
    yield ""
    yield "How late wakes are after their slots' times, ms; naps: by how much a thread oversleeps that only sleeps"
    yield "  way          wakes  over s       p50       p99       max   asleep  early    naps p50  naps p99"
    for each in ways:
        yield (
            f"  {each.way:10}{each.wakes:8}{each.seconds:8}{each.p50_ms:10.1f}{each.p99_ms:10.1f}{each.max_ms:10.1f}"
            f"{each.asleep:9}{each.early:7}{each.nap_p50_ms:12.2f}{each.nap_p99_ms:10.2f}"
        )


def _soak_lines(soak: SoakFigures) -> Iterator[str]:
    yield ""
    yield f"An hour compressed: {soak.ticks} ticks of {soak.agents} agents over libcurl, {soak.wakes} slots lived"
    yield (
        f"  grown since tick {soak.warm_up}: traced {soak.traced_grown_kib:.1f} KiB, resident "
        f"{soak.resident_grown_mib:.2f} MiB, threads {soak.threads_grown}, descriptors {soak.descriptors_grown}"
    )
    yield (
        f"  lines logged {soak.lines}, {soak.lines_per_agent:.1f} for each agent; wakes missing {soak.missing_wakes}; "
        f"heartbeats failed {soak.failed}"
    )


def _small_lines(figures: Mapping[str, Any]) -> Iterator[str]:
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
