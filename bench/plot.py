"""``python -m bench.plot [RESULT]``: draw what a heartbeat costs against the number of agents and against latency."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results import ResultError, load, newest

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "cost.svg"

LATENCY, AGENTS = 20.0, 1_000
"""The latency of the panel of agents, and the agents of the panel of latencies."""

WIDTH, HEIGHT = 980, 446
_TOP, _BOTTOM, _PANEL = 64, 372, 296
_LEFTS = (58, 548)
_LABEL_GAP = 15.0

_STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 14px; font-weight: 600 } .quiet { fill: #656d76 }
  .grid { stroke: #d0d7de; stroke-width: 1 } .lead { stroke: #8c959f; stroke-width: 0.6 }
  path { fill: none; stroke-width: 1.6 } .ours { stroke-width: 3 } .label { font-weight: 600 }
  .curl { stroke: #0969da } .requests { stroke: #bc4c00 } .plain { stroke: #6e7781 }
  circle.curl, text.curl { fill: #0969da; stroke: none } circle.requests, text.requests { fill: #bc4c00; stroke: none }
  circle.plain, text.plain { fill: #6e7781; stroke: none }
  .dashed { stroke-dasharray: 7 4 } .dotted { stroke-dasharray: 2 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d }
    .curl { stroke: #58a6ff } .requests { stroke: #f0883e } .plain { stroke: #9198a1 }
    circle.curl, text.curl { fill: #58a6ff } circle.requests, text.requests { fill: #f0883e }
    circle.plain, text.plain { fill: #9198a1 }
  }
"""

LOOKS: Mapping[str, tuple[str, str]] = {
    "naive": ("plain dashed", "naive requests"),
    "careful": ("requests dashed", "careful requests"),
    "harborcal": ("requests ours", "harborcal (HTTP)"),
    "urllib3": ("requests dotted", "urllib3"),
    "curl-threads": ("curl dotted", "curl, 32 threads"),
    "harborcal-curl": ("curl ours", "harborcal (curl)"),
    "multi": ("curl dashed", "bare curl multi"),
}
"""How each peer's line looks and what it is called: a colour for each way of asking, ours thick."""

Points = Mapping[str, Sequence[tuple[float, float]]]
"""A line for each peer: where, and microseconds of CPU per heartbeat."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One of the two diagrams."""

    title: str
    axis: str
    left: int
    points: Points
    place: Callable[[float], float]
    """Turns what is on the x axis into a share of the panel's width."""


def draw(result: Mapping[str, Any]) -> str:
    """Draw a result as SVG.

    Raises:
        ResultError: It has no scene that belongs into one of the panels.
    """
    scenes = [scene for scene in result["figures"].get("heartbeats", ()) if not scene["slots"]]
    by_agents = _points([scene for scene in scenes if scene["latency_ms"] == LATENCY], "agents")
    by_latency = _points([scene for scene in scenes if scene["agents"] == AGENTS], "latency_ms")
    if not by_agents or not by_latency:
        raise ResultError("the result has no heartbeats to draw: `make bench` measures them")
    panels = (
        Panel(
            title=f"by number of agents, {LATENCY:g} ms latency",
            axis="agents",
            left=_LEFTS[0],
            points=by_agents,
            place=_scale(by_agents, math.log10),
        ),
        Panel(
            title=f"by the server's latency, {AGENTS:,} agents",
            axis="milliseconds",
            left=_LEFTS[1],
            points=by_latency,
            place=_scale(by_latency, float),
        ),
    )
    rise = _rise([y for panel in panels for line in panel.points.values() for _, y in line])
    return "\n".join(_picture(result, panels, rise)) + "\n"


def _points(scenes: Sequence[Mapping[str, Any]], along: str) -> Points:
    points = {
        name: sorted((scene[along], scene["peers"][name]["cpu_us"]) for scene in scenes if name in scene["peers"])
        for name in LOOKS
    }
    return {name: line for name, line in points.items() if line}


def _scale(points: Points, measure: Callable[[float], float]) -> Callable[[float], float]:
    """Spread what is on the x axis over 0..1."""
    values = [measure(x) for line in points.values() for x, _ in line]
    low, high = min(values), max(values)
    return lambda x: (measure(x) - low) / (high - low) if high > low else 0.5


_STEPS = tuple(step * 10**power for power in range(6) for step in (1, 2, 5))


def _rise(costs: Sequence[float]) -> Mapping[float, float]:
    """Choose the lines of the y axis, by powers so that equal ratios are equally far apart; tell each one's height."""
    low = max((step for step in _STEPS if step <= min(costs)), default=_STEPS[0])
    high = min((step for step in _STEPS if step >= max(costs)), default=_STEPS[-1])
    return {step: _height(step, low, high) for step in _STEPS if low <= step <= high}


def _height(cost: float, low: float, high: float) -> float:
    share = math.log(cost / low) / math.log(high / low) if high > low else 0.5
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _picture(result: Mapping[str, Any], panels: Sequence[Panel], rise: Mapping[float, float]) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="CPU per heartbeat, by number of agents and by latency">'
    )
    yield f"<style>{_STYLE}</style>"
    yield '<text class="title" x="12" y="22">CPU of the client per heartbeat, microseconds</text>'
    for panel in panels:
        yield from _panel(panel, rise)
    machine = result.get("machine", {})
    told = f"{result.get('plan')} run of {str(result.get('measured_at'))[:10]}, {machine.get('python')}"
    yield f'<text class="quiet" x="12" y="{HEIGHT - 8}">{told}; solid and thick: harborcal, broken: bare clients</text>'
    yield "</svg>"


def _panel(panel: Panel, rise: Mapping[float, float]) -> Iterator[str]:
    low, high = min(rise), max(rise)
    yield f'<text class="quiet" x="{panel.left}" y="46">{panel.title}</text>'
    for step, y in rise.items():
        yield f'<line class="grid" x1="{panel.left}" x2="{panel.left + _PANEL}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="quiet" x="{panel.left - 8}" y="{y + 4:.1f}" text-anchor="end">{step:g}</text>'
    for x in sorted({x for line in panel.points.values() for x, _ in line}):
        at = panel.left + panel.place(x) * _PANEL
        yield f'<text class="quiet" x="{at:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{x:,.0f}</text>'
    middle = panel.left + _PANEL / 2
    yield f'<text class="quiet" x="{middle}" y="{_BOTTOM + 36}" text-anchor="middle">{panel.axis}</text>'
    ends: dict[str, tuple[float, float]] = {}
    for name, line in panel.points.items():
        places = [(panel.left + panel.place(x) * _PANEL, _height(y, low, high)) for x, y in line]
        ends[name] = places[-1]
        look, _ = LOOKS[name]
        yield f'<path class="{look}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'
        yield from (f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    right = panel.left + _PANEL
    for name, y in _apart({name: y for name, (_, y) in ends.items()}).items():
        look, title = LOOKS[name]
        x, end = ends[name]
        yield f'<line class="lead" x1="{x + 5:.1f}" y1="{end:.1f}" x2="{right + 8}" y2="{y:.1f}"/>'
        yield f'<text class="label {look}" x="{right + 11}" y="{y + 4:.1f}">{title}</text>'


def _apart(ends: Mapping[str, float]) -> dict[str, float]:
    """Move labels so that none covers another, each as near to its line's end as goes."""
    ordered = sorted(ends, key=lambda name: ends[name])
    heights: list[float] = []
    for name in ordered:
        heights.append(max(ends[name], heights[-1] + _LABEL_GAP) if heights else ends[name])
    for number in range(len(heights) - 1, -1, -1):
        lowest = heights[number + 1] - _LABEL_GAP if number + 1 < len(heights) else float(_BOTTOM)
        heights[number] = min(heights[number], lowest)
    return dict(zip(ordered, heights, strict=True))


def main() -> int:
    """Draw a result; exits with 2 where it cannot be read or drawn."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description="Draw what a heartbeat costs.")
    parser.add_argument("result", type=Path, nargs="?", help="default: the newest in bench/results/")
    parser.add_argument("--out", type=Path, default=PICTURE, help="default: docs/cost.svg")
    arguments = parser.parse_args()
    try:
        path = arguments.result or newest()
        arguments.out.write_text(draw(load(path)))
    except ResultError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"drawn from {path} to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
