import dataclasses
import datetime as dt
import json
import math
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.calendar.files import make_file
from bench.calendar.hammer import Account, HammerFigures, hold
from bench.codecs import HEARTBEAT, UPDATES, fresh_answers
from bench.handwritten import read_slots
from bench.meter import Sample, median_ratio
from bench.peers import BARE, PEERS, agent_ids
from bench.plan import TINY
from bench.report import Report, write_json
from bench.server import answer_body
from bench.suite import run
from bench.table import render
from bench.target import Target
from harborcal import SlotStatus
from harborcal.calendar import Calendar
from harborcal.wire import decode_heartbeat, encode_heartbeat, encode_update

MUST_BE_NONE = {"differing", "lost", "errors", "findings", "asleep", "early", "missing_wakes"}


@pytest.fixture(scope="module")
def report() -> Report:
    return run(TINY)


def _numbers(figures: Any) -> Iterator[tuple[str, float]]:
    """Walk through all figures with the name of each."""
    for name, value in figures.items() if isinstance(figures, Mapping) else enumerate(figures):
        if isinstance(value, Mapping | list):
            yield from _numbers(value)
        elif not isinstance(value, str):
            yield str(name), value


def test_every_measurement_yields_figures(report: Report) -> None:
    figures = report.to_dict()["figures"]
    assert set(figures) == {
        "decode",
        "encode",
        "own",
        "memory",
        "heartbeats",
        "tick",
        "tls",
        "lateness",
        "soak",
        "journal",
        "embedded",
        "doors",
        "expansion",
        "hammer",
    }
    may_be_none = {"failed", "slots", "latency_ms", "acknowledged", "found", "lost_races"} | MUST_BE_NONE
    for name, value in _numbers(figures):
        assert math.isfinite(value), name
        assert value > 0 or name in may_be_none or "grown" in name, name


def test_every_heartbeat_of_every_peer_succeeds(report: Report) -> None:
    failures = {value for name, value in _numbers(report.to_dict()["figures"]) if name == "failed"}
    assert failures == {0}
    assert report.failed == 0


def test_harborcal_is_compared_with_each_peer(report: Report) -> None:
    scenes = report.to_dict()["figures"]["heartbeats"]
    assert len(scenes) == len(TINY.scenes)
    for scene in scenes:
        assert set(scene["peers"]) == set(PEERS)
        for ratios in (scene["cpu_ratios"], scene["rate_ratios"]):
            assert {ours: tuple(others) for ours, others in ratios.items()} == BARE


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
        "connections",
        "compared",
        "figures",
        "failed_heartbeats",
        "broken_promises",
        "targets",
    }
    assert (told["workers"], told["connections"]) == (32, 128)
    assert {"python", "cores", "processor", "load"} <= set(told["machine"])
    assert len(told["targets"]) == 32
    assert set(told["compared"]) >= {*PEERS, "decode", "journal", "embedded", "doors", "expansion", "hammer"}
    assert all({"name", "value", "limit", "reached"} <= set(target) for target in told["targets"])


def test_decoding_is_held_against_the_worse_of_both_kinds_of_answers(report: Report) -> None:
    decode = report.to_dict()["figures"]["decode"]
    ratios = [decode[kind]["handwritten_ratio"] for kind in ("again", "fresh")]
    (target,) = [target for target in report.targets if "hand-written" in target.name]
    assert (target.value, target.limit, target.at_least) == (max(ratios), 1.3, False)


def test_by_hand_the_same_slots_are_read() -> None:
    for body in (answer_body(3), *fresh_answers(3, 2)):
        heartbeat = decode_heartbeat(body)
        assert heartbeat.unreadable == ()
        assert len(heartbeat.slots) == 3
        assert read_slots(body) == heartbeat.slots


def test_fresh_answers_share_no_date_time_or_instant() -> None:
    slots = [slot for body in fresh_answers(5, 4) for slot in decode_heartbeat(body).slots]
    for name in ("date", "scheduled_at"):
        assert len({getattr(slot, name) for slot in slots}) == 20
    assert len({instant for slot in slots for instant in (slot.created_at, slot.updated_at)}) == 40


def test_what_is_compared_in_encoding_are_the_same_bodies() -> None:
    assert json.loads(encode_heartbeat(**HEARTBEAT)) == HEARTBEAT
    assert [json.loads(encode_update(update)) for update in UPDATES] == list(UPDATES.values())


def test_the_table_names_every_target(report: Report) -> None:
    table = render(report)
    assert all(target.name in table for target in report.targets)
    assert table.count("reached") + table.count("MISSED") >= len(report.targets)


def test_the_calendar_breaks_no_promise(report: Report) -> None:
    assert {
        name: value for name, value in _numbers(report.to_dict()["figures"]) if name in MUST_BE_NONE
    } == dict.fromkeys(MUST_BE_NONE, 0)
    assert report.broken == ()


def test_a_large_file_is_compared_with_a_small_one(report: Report) -> None:
    embedded = report.to_dict()["figures"]["embedded"]
    assert (embedded["small"]["agents"], embedded["small"]["slots"]) == (10, 200)
    assert (embedded["large"]["agents"], embedded["large"]["slots"]) == (20, 400)


def test_agents_of_a_filled_file_have_pending_slots_today_and_finished_ones_before(tmp_path: Path) -> None:
    today = dt.datetime.now(dt.UTC).date()
    url = make_file(tmp_path / "filled.db", agent_ids(3), of_today=SlotStatus.NOT_STARTED)
    with Calendar(url) as calendar:
        assert [agent.id for agent in calendar.agents()] == agent_ids(3)
        assert [len(calendar.plans(agent_id)) for agent_id in agent_ids(3)] == [1, 0, 1]
        for agent_id in agent_ids(3):
            days = [calendar.day(agent_id, today + dt.timedelta(days=number)) for number in range(-6, 6)]
            stored = [[slot.status for slot in day if slot.id is not None] for day in days]
            assert stored == [[], *[[SlotStatus.FINISHED] * 2] * 5, *[[SlotStatus.NOT_STARTED] * 2] * 5, []]
        assert calendar.check() == ()


def test_plans_are_expanded_at_each_distance_beside_a_replay(report: Report) -> None:
    distances = report.to_dict()["figures"]["expansion"]["distances"]
    assert list(distances) == ["one month", "ten years", "fifty years"]
    for distance in distances.values():
        assert set(distance["rules"]) == {"daily", "weekly", "monthly", "yearly", "hourly"}
    assert distances["one month"]["year_ratio"] == distances["one month"]["replay_ratio"] == 1.0


def test_every_kind_of_change_is_hammered_and_found_again(report: Report) -> None:
    hammer = report.to_dict()["figures"]["hammer"]
    assert len(hammer["processes"]) == TINY.calendar.processes
    assert all(kept["acknowledged"] == kept["found"] for kept in hammer["kept"].values())
    assert hammer["kept"]["slots added"]["found"] > 0


def test_what_was_acknowledged_is_held_against_the_file(tmp_path: Path) -> None:
    path = tmp_path / "calendar.db"
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    with Calendar(f"sqlite:///{path}") as calendar:
        calendar.register_agent("of-process-0")
        calendar.add_slot("of-process-0", tomorrow)
    later = dt.datetime.now(dt.UTC).timestamp()
    kept = hold(path, [Account(number=0, added=2, edited=1, heard_at={"of-process-0": later})])
    differing = {
        name: (each.acknowledged, each.found) for name, each in kept.items() if each.acknowledged != each.found
    }
    assert differing == {"slots added": (2, 1), "edits of one slot by all": (1, 0), "agents last heard": (1, 0)}


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("lost", "FAILED: 3 changes in the hammered file differ"),
        ("errors", "FAILED: 3 errors reached those who hammered, OSError: no"),
        ("findings", "FAILED: the integrity check of the hammered file found 3 faults"),
    ],
)
def test_a_broken_promise_is_told_and_fails_the_run(
    field: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = HammerFigures(
        seconds=1.0, processes=[], per_second=0.0, kept={}, lost=0, errors=0, shown_errors=["OSError: no"], findings=0
    )
    broken = dataclasses.replace(kept, **{field: 3})  # type: ignore[arg-type]  # one of the three whole numbers
    monkeypatch.setattr("bench.suite.MEASUREMENTS", {"hammer": lambda _plan: broken})
    path = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--only", "hammer", "--json", str(path)])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("bench", run_name="__main__")
    assert end.value.code == 1
    assert words in capsys.readouterr().out
    assert len(json.loads(path.read_text())["broken_promises"]) == 1


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
