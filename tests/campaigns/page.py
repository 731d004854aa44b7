"""The table of evidence in the page of guarantees."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "docs" / "evidence.json"
PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- evidence -->\n", "<!-- end of evidence -->"


def render(evidence: dict[str, Any]) -> str:
    """Write the table."""
    lines = ["| campaign | rehearsals | failed | time | commit | what happened |", "|---|---|---|---|---|---|"]
    for name, entry in evidence.items():
        counts = ", ".join(f"{what} {count:,}" for what, count in _condensed(entry["counts"]).items())
        time = f"{entry['seconds'] / 60:.0f} min" if entry["seconds"] >= 60 else f"{entry['seconds']} s"
        lines.append(
            f"| `{name}` | {entry['rehearsals']:,} | {entry['failed']} | {time} | `{entry['commit']}` | {counts} |"
        )
    return "\n".join(lines) + "\n"


def _condensed(counts: dict[str, int]) -> dict[str, int]:
    """Add up what happened at many named points; each of them stands in the evidence itself."""
    few: Counter[str] = Counter()
    points: Counter[str] = Counter()
    for what, count in counts.items():
        kind = next((kind for kind in ("crash at", "killed", "forks from") if what.startswith(kind)), what)
        few[kind] += count
        points[kind] += 1
    return {f"{kind} {points[kind]} points" if points[kind] > 1 else kind: count for kind, count in few.items()}


def update() -> None:
    """Put the table of what is known into the page."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + render(json.loads(EVIDENCE.read_text("utf-8"))) + END + after, "utf-8")
