import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import math
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import bench.compare
import bench.plot
from bench.calendar.files import make_file
from bench.calendar.hammer import Account, HammerFigures, hold
from bench.codecs import HEARTBEAT, UPDATES, fresh_answers
from bench.handwritten import read_slots
from bench.meter import Sample, median_ratio
from bench.peers import BARE, PEERS, WORKERS, agent_ids, peers
from bench.plan import FULL, QUICK, TINY, Plan
from bench.report import Report, write_json
from bench.results import BASELINE, ResultError, load, newest
from bench.server import answer_body
from bench.serving import serving
from bench.suite import run
from bench.table import render
from bench.target import Target
from harborcal import CalendarRefusedError, SlotKey, SlotKind, SlotStatus, SlotUpdate
from harborcal.calendar import Calendar
from harborcal.ledger import SETTLED_MEMORY
from harborcal.transports.http import HttpTransport
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
    assert len(told["targets"]) == 34
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


# --- what is wanted -------------------------------------------------------------------------------------------------


def test_batches_are_measured_beside_threads(report: Report) -> None:
    figures = report.to_dict()["figures"]
    assert [own["way"] for own in figures["own"]] == ["threads"] * 2 + ["batch"] * 2
    assert [memory["way"] for memory in figures["memory"]] == ["threads", "batch"]
    assert [(tick["name"], tick["bare"]) for tick in figures["tick"]] == [
        ("harborcal", "careful"),
        ("harborcal-curl", "multi"),
    ]


def test_every_agent_is_woken_and_timed(report: Report) -> None:
    ways = report.to_dict()["figures"]["lateness"]
    assert [way["way"] for way in ways] == ["in process", "curl"]
    for way in ways:
        assert way["wakes"] == TINY.lateness.agents
        assert 0 < way["p50_ms"] <= way["p99_ms"] <= way["max_ms"]


def test_in_the_hour_every_slot_is_woken_once(report: Report) -> None:
    soak = report.to_dict()["figures"]["soak"]
    assert soak["wakes"] == TINY.soak.ticks * TINY.soak.slots
    assert soak["lines"] > 0


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=lambda plan: plan.name)
def test_the_hour_counts_from_when_a_scheduler_forgets_as_many_slots_as_it_settles(plan: Plan) -> None:
    assert plan.soak.warm_up * plan.soak.slots > SETTLED_MEMORY


def test_the_figures_of_batches_are_held_against_bare_libcurl(report: Report) -> None:
    scenes = [scene for scene in report.to_dict()["figures"]["heartbeats"] if not scene["slots"]]
    wanted = {target.name: target for target in report.targets}
    cpu = wanted["batch, CPU per heartbeat / bare multi, idle agents, worst scene"]
    rate = wanted["batch, rate / naive, no latency, worst scene"]
    assert (cpu.value, cpu.limit) == (max(scene["cpu_ratios"]["harborcal-curl"]["multi"] for scene in scenes), 1.5)
    assert (rate.limit, rate.at_least) == (5.0, True)


def test_a_figure_that_misses_its_target_shows_as_missed(report: Report) -> None:
    targets = (
        Target(name="too dear", value=2.0, limit=1.5),
        Target(name="too slow", value=4.0, limit=5.0, at_least=True),
        Target(name="good enough", value=1.4, limit=1.5),
    )
    lines = render(dataclasses.replace(report, targets=targets)).splitlines()
    assert {
        name: line.split()[0] for line in lines for name in ("too dear", "too slow", "good enough") if name in line
    } == {
        "too dear": "MISSED",
        "too slow": "MISSED",
        "good enough": "reached",
    }


# --- the server -----------------------------------------------------------------------------------------------------


def test_a_server_of_several_processes_counts_and_drops_over_all_of_them() -> None:
    with serving(processes=2) as server, peers(server, ("curl-threads",)) as made:
        assert made["curl-threads"].tick(agent_ids(200)) == 0
        assert server.answered() == 200
        opened = server.opened()
        assert 1 <= opened <= WORKERS, "a thread that finds nobody left to ask opens none"
        assert server.drop() == opened
        with pytest.raises(ValueError, match="one process's own"):
            server.enter([])


def test_the_agenda_lists_a_slot_until_it_is_updated() -> None:
    due = dt.datetime(2999, 1, 5, 9, 30, 7, tzinfo=dt.UTC)
    with serving() as server, contextlib.closing(HttpTransport(server.url)) as transport:
        server.enter([("mine", 7, due)])
        (slot,) = transport.heartbeat("mine").slots
        assert (slot.id, slot.date, slot.scheduled_at) == (7, due.date(), due.time())
        assert transport.heartbeat("another").slots == ()
        transport.update_slot("mine", SlotKey(SlotKind.REAL, 7), SlotUpdate(status=SlotStatus.ONGOING))
        assert transport.heartbeat("mine").slots == ()
        with pytest.raises(CalendarRefusedError):
            transport.day("mine", due.date())


# --- comparing and drawing ------------------------------------------------------------------------------------------


@pytest.fixture
def result(report: Report, tmp_path: Path) -> Path:
    return write_json(report, tmp_path / "result.json")


def _run(main: Callable[[], int], *arguments: object) -> int:
    """Run a command with arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        return main()


def _changed(result: Path, path: Path) -> Path:
    """Write a result in which batches cost twice as much CPU for bare libcurl's, and everything takes twice as long."""
    told = json.loads(result.read_text())
    for scene in told["figures"]["heartbeats"]:
        scene["cpu_ratios"]["harborcal-curl"]["multi"] *= 2
        scene["rate_ratios"]["harborcal"]["careful"] *= 2
        scene["peers"]["harborcal"]["cpu_us"] *= 2
    del told["figures"]["hammer"]
    path.write_text(json.dumps(told))
    return path


def test_ratios_are_compared_and_absolute_figures_stand_apart(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = _changed(result, tmp_path / "now.json")
    assert _run(bench.compare.main, now, "--baseline", result) == 0
    ratios, absolute = capsys.readouterr().out.split("Absolute figures")
    scene = "heartbeats / latency 0, agents 20, slots 0"
    (dearer,) = [line for line in ratios.splitlines() if f"{scene} / cpu_ratios / harborcal-curl / multi" in line]
    (faster,) = [line for line in ratios.splitlines() if f"{scene} / rate_ratios / harborcal / careful" in line]
    (same,) = [line for line in ratios.splitlines() if f"{scene} / cpu_ratios / harborcal / careful" in line]
    (longer,) = [line for line in absolute.splitlines() if f"{scene} / peers / harborcal / cpu_us" in line]
    assert (dearer.split()[-2:], faster.split()[-2:]) == (["2.00", "worse"], ["2.00", "better"])
    assert (same.split()[-1], longer.split()[-1]) == ("1.00", "2.00")
    assert "_us" not in ratios
    assert "hammer" not in ratios + absolute


def test_a_result_is_kept_as_the_baseline(result: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    assert _run(bench.compare.main, result, "--baseline", baseline, "--keep") == 0
    assert baseline.read_text() == result.read_text()


def test_the_kept_baseline_can_be_compared_with() -> None:
    assert bench.compare.compare(load(BASELINE), load(BASELINE))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "is no result of `make bench`"),
        ('{"figures": []}', "is no result of `make bench`"),
    ],
)
def test_an_unreadable_baseline_is_told_with_what_to_do(
    content: str | None, words: str, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    if content is not None:
        baseline.write_text(content)
    assert _run(bench.compare.main, result, "--baseline", baseline) == 2
    told = capsys.readouterr().err
    assert f"{baseline} {words}" in told
    assert "make bench-baseline" in told


def test_the_newest_result_is_the_one_of_the_latest_name(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="make bench"):
        newest(tmp_path)
    for name in ("2026-11-28T101500Z.json", "2026-11-27T101500Z.json"):
        (tmp_path / name).write_text("{}")
    assert newest(tmp_path).name == "2026-11-28T101500Z.json"


def test_a_line_for_every_peer_is_drawn_in_both_panels(tmp_path: Path) -> None:
    scenes = [
        {
            "latency_ms": latency,
            "agents": agents,
            "slots": 0,
            "peers": {name: {"cpu_us": 30.0 + 40 * number + agents / 1000} for number, name in enumerate(PEERS)},
        }
        for latency, agents in ((20, 100), (20, 1_000), (0, 1_000))
    ]
    path, out = tmp_path / "result.json", tmp_path / "cost.svg"
    path.write_text(json.dumps({"plan": "tiny", "measured_at": "2026-11-28", "figures": {"heartbeats": scenes}}))
    assert _run(bench.plot.main, path, "--out", out) == 0
    picture = ET.parse(out).getroot()
    assert len(picture.findall("{*}path")) == 2 * len(PEERS)
    heights = [float(text.get("y", "")) for text in picture.findall("{*}text") if "label" in text.get("class", "")]
    assert len(heights) == 2 * len(PEERS)
    for panel in (heights[: len(PEERS)], heights[len(PEERS) :]):
        assert all(below - above >= 14.9 for above, below in itertools.pairwise(panel)), "labels cover each other"


def test_a_result_without_heartbeats_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "result.json", tmp_path / "cost.svg"
    path.write_text('{"figures": {}}')
    assert _run(bench.plot.main, path, "--out", out) == 2
    assert "no heartbeats to draw" in capsys.readouterr().err
    assert not out.exists()
