"""Results that were written: where they lie, and what a written one tells."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
BASELINE = Path(__file__).resolve().parent / "baseline.json"
"""The last release's result, which is kept."""


class ResultError(Exception):
    """There is no such result, or it cannot be read; the message says which and what to do."""


def newest(folder: Path = RESULTS) -> Path:
    """Find the newest result: their names are the times of their runs.

    Raises:
        ResultError: There is none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ResultError(f"there is no result in {folder}: `make bench` writes one")
    return paths[-1]


def load(path: Path) -> dict[str, Any]:
    """Read a result.

    Raises:
        ResultError: It is not there, or is none.
    """
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}") from error
    if not isinstance(result, dict) or not isinstance(result.get("figures"), dict):
        raise ResultError(f"{path} is no result of `make bench`: it has no figures")
    return result
