import json
import math
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.meter import Sample, median_ratio
from bench.plan import TINY
from bench.report import Report, Target, render, write_json
from bench.suite import run


@pytest.fixture(scope="module")
def report() -> Report:
    return run(TINY)


def _numbers(figures: Any) -> Iterator[tuple[str, float]]:
    """Walk through all figures with the name of each."""
    for name, value in figures.items() if isinstance(figures, Mapping) else enumerate(figures):
        if isinstance(value, Mapping | list):
            yield from _numbers(value)
        else:
            yield str(name), value


def test_every_measurement_yields_figures(report: Report) -> None:
    figures = report.to_dict()["figures"]
    assert set(figures) == {"decode", "own", "memory", "heartbeats", "tick", "tls"}
    for name, value in _numbers(figures):
        assert math.isfinite(value), name
        assert value > 0 or name in {"failed", "slots", "latency_ms"}, name


def test_every_heartbeat_of_every_peer_succeeds(report: Report) -> None:
    failures = {value for name, value in _numbers(report.to_dict()["figures"]) if name == "failed"}
    assert failures == {0}
    assert report.failed == 0


def test_harborcal_is_compared_with_each_peer(report: Report) -> None:
    scenes = report.to_dict()["figures"]["heartbeats"]
    assert len(scenes) == len(TINY.scenes)
    for scene in scenes:
        assert set(scene["peers"]) == {"harborcal", "careful", "naive", "urllib3"}
        assert set(scene["cpu_ratios"]) == set(scene["rate_ratios"]) == {"careful", "naive", "urllib3"}


def test_connections_over_tls_are_really_dropped(report: Report) -> None:
    (scene,) = report.to_dict()["figures"]["tls"]
    assert all(drops["connections"] >= 1 for drops in scene["peers"].values())


def test_the_json_says_what_was_measured_where_and_what_was_reached(report: Report, tmp_path: Path) -> None:
    told = json.loads(write_json(report, tmp_path / "deep" / "result.json").read_text())
    assert set(told) == {
        "plan",
        "measured_at",
        "seconds",
        "machine",
        "workers",
        "compared",
        "figures",
        "failed_heartbeats",
        "targets",
    }
    assert told["workers"] == 32
    assert {"python", "cores", "processor", "load"} <= set(told["machine"])
    assert len(told["targets"]) == 9
    assert all({"name", "value", "limit", "reached"} <= set(target) for target in told["targets"])


def test_the_table_names_every_target(report: Report) -> None:
    table = render(report)
    assert all(target.name in table for target in report.targets)
    assert table.count("reached") + table.count("MISSED") >= len(report.targets)


def test_one_measurement_can_be_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    monkeypatch.setattr("bench.plan.QUICK", TINY)
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--only", "decode", "--json", str(path)])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("bench", run_name="__main__")
    assert end.value.code == 0
    assert list(json.loads(path.read_text())["figures"]) == ["decode"]
    assert "json.loads" in capsys.readouterr().out


def test_an_unknown_measurement_is_refused() -> None:
    with pytest.raises(ValueError, match="no such measurement: speed"):
        run(TINY, ["speed"])


@pytest.mark.parametrize(
    ("at_least", "value", "reached"), [(False, 1.0, True), (False, 1.3, False), (True, 1.0, False), (True, 1.3, True)]
)
def test_a_target_is_a_limit_from_above_or_from_below(at_least: bool, value: float, reached: bool) -> None:
    assert Target(name="x", value=value, limit=1.2, at_least=at_least).reached is reached


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    def samples(*cpus: float) -> list[Sample]:
        return [Sample(heartbeats=1, failed=0, cpu=cpu, wall=1.0) for cpu in cpus]

    # One round on a machine that was ten times slower for both sides, and one that hit only ours.
    ours, theirs = samples(2.0, 20.0, 9.0), samples(1.0, 10.0, 1.0)
    assert median_ratio(ours, theirs, lambda sample: sample.cpu) == 2.0
