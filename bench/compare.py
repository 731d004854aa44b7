"""``python -m bench.compare [RESULT]``: a result beside the one that is kept of the last release.

What is compared are ratios, ours over a peer's in the same run: they say something on whatever machine. Microseconds
and the like are shown in a column of their own, and mean something only where the machine and its load were the same.
"""

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.results import BASELINE, ResultError, load, newest

IDENTITY = ("name", "way", "latency_ms", "agents", "slots")
"""What tells the entries of a list apart."""

NOISE = 0.10
"""By how much a ratio may be off without being remarked on."""

_ABSOLUTE = ("_us", "_ms", "_s", "per_second", "bytes_per_agent", "_kib", "_mib")
_OTHERS = ("bare_ratio", "replay_ratio")  # ratios of peers to something else
_ALL_RATIOS = ("_to_commit",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One figure that both results have."""

    name: str
    before: float
    now: float

    @property
    def is_ratio(self) -> bool:
        """Whether it is one of our figures over a peer's."""
        parts = self.name.split(" / ")
        return any("ratio" in part for part in parts) or parts[-1].endswith(_ALL_RATIOS)

    @property
    def change(self) -> float | None:
        """The figure over what it was; None where it was nothing."""
        return self.now / self.before if self.before else None

    @property
    def remark(self) -> str:
        """Say whether a ratio has become better or worse by more than noise."""
        if not self.is_ratio or self.change is None or abs(self.change - 1) <= NOISE:
            return ""
        is_rate = "rate_ratios" in self.name
        return "better" if (self.change > 1) == is_rate else "worse"


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Line]:
    """List the figures that both have, in the order of the newer one."""
    old = dict(_walk("", before["figures"]))
    return [Line(name=name, before=old[name], now=value) for name, value in _walk("", now["figures"]) if name in old]


def _walk(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Walk through all ratios and absolute figures with the name of each."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _walk(f"{name} / {key}" if name else key, each)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, Mapping):
                yield from _walk(f"{name} / {_identity(each)}", each)
    elif type(value) in {int, float} and _is_told(name):
        yield name, float(value)


def _identity(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.removesuffix('_ms')} {entry[key]}" for key in IDENTITY if key in entry)


def _is_told(name: str) -> bool:
    last = name.rsplit(" / ", 1)[-1]
    if last in {"latency_ms", *_OTHERS}:
        return False
    return last.endswith(_ABSOLUTE) or Line(name=name, before=1, now=1).is_ratio


def render(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Write the table for people."""
    return "\n".join(_lines(before, now))


def _lines(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for title, result in (("baseline", before), ("result", now)):
        machine = result.get("machine", {})
        yield (
            f"{title:9} {result.get('measured_at')}, plan {result.get('plan')}, {machine.get('processor')}, "
            f"load {machine.get('load')}"
        )
    lines = compare(before, now)
    width = max((len(line.name) for line in lines), default=0)
    yield ""
    yield "Ratios: ours over a peer's, each within one run"
    yield f"  {'figure':{width}}{'baseline':>11}{'now':>11}{'now/base':>10}"
    for line in lines:
        if line.is_ratio:
            yield f"  {line.name:{width}}{line.before:11.3f}{line.now:11.3f}{_change(line):>10}  {line.remark}".rstrip()
    yield ""
    yield "Absolute figures: of the same machine under the same load only"
    yield f"  {'figure':{width}}{'baseline':>11}{'now':>11}{'absolute now/base':>20}"
    for line in lines:
        if not line.is_ratio:
            yield f"  {line.name:{width}}{line.before:11.1f}{line.now:11.1f}{_change(line):>20}"
    if not lines:
        yield "  the two have no figure in common"


def _change(line: Line) -> str:
    return "-" if line.change is None else f"{line.change:.2f}"


def main() -> int:
    """Print the table, or keep a result as the baseline; exits with 2 where a file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="A result beside the last release's.")
    parser.add_argument("result", type=Path, nargs="?", help="default: the newest in bench/results/")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="default: bench/baseline.json")
    parser.add_argument("--keep", action="store_true", help="make the result the baseline instead")
    arguments = parser.parse_args()
    try:
        path = arguments.result or newest()
        now = load(path)
        if arguments.keep:
            shutil.copyfile(path, arguments.baseline)
            print(f"{path} is the baseline now")
            return 0
        print(render(load(arguments.baseline), now))
    except ResultError as error:
        print(f"{error}\nA baseline is written by `make bench`, then `make bench-baseline`.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
