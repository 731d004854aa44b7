"""The daemon as a process: what it wakes, who reports to it, how it ends, and what its successor finds."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal.hosts import orphans_in
from tests.cli.daemons import HARBORCAL, HEAD, PROGRAM, Office, environment

WAITING = """\
    echo "$HARBORCAL_WAKE_ID" >> woken
    echo ready > started
    read -r _ < go
"""


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """Let daemons hear signals although the tests run under nohup, or behind a shell's ``&``, which they inherit."""
    deaf = [number for number in (signal.SIGHUP, signal.SIGINT) if signal.getsignal(number) is signal.SIG_IGN]
    for number in deaf:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in deaf:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def office(folder: Path) -> Iterator[Office]:
    office = Office(folder)
    yield office
    office.close()


def waiting(office: Office, agent_id: str = "reviewer", rest: str = "", more: str = "") -> None:
    """Employ an agent that says when it has begun, and then waits to be let go on."""
    office.employ(agent_id, WAITING + rest, more)
    office.pipe("started")
    office.pipe("go")


def begun(office: Office) -> None:
    """Wait until the agent has begun."""
    assert (office.folder / "started").read_text() == "ready\n"


def let_go(office: Office) -> None:
    (office.folder / "go").write_text("go\n")


# --- from beginning to end ------------------------------------------------------------------------------------------


def test_it_says_that_it_is_ready_where_and_for_whom_and_stops_cleanly(office: Office) -> None:
    office.employ("reviewer", "true")
    with office.running() as daemon:
        ready = daemon.wait_for("harborcal is ready")
        assert f"control=unix:{office.folder}/.harborcal/control.sock" in ready
        assert f"calendar=sqlite:///{office.folder}/calendar.db" in ready
        assert "agents=reviewer" in ready
        assert office.reads("status")["lifecycle"] == "running"
        daemon.stop()
    assert "harborcal has stopped" in daemon.lines[-1]
    assert not (office.folder / ".harborcal" / "control.sock").exists()
    assert (office.folder / ".harborcal").stat().st_mode & 0o777 == 0o700
    assert (office.folder / ".harborcal" / ".gitignore").read_text() == "*\n"


def test_a_second_daemon_with_the_same_state_is_refused_by_the_first_ones_number(office: Office) -> None:
    office.employ("reviewer", "true")
    with office.running() as daemon:
        daemon.wait_for("harborcal is ready")
        refused = office.call("run", code=1)
        assert f"(process {daemon.pid})" in refused.stderr
        assert office.reads("status")["lifecycle"] == "running"
        daemon.stop()


@pytest.mark.parametrize(
    ("script", "fate", "said"),
    [
        ('@harborcal complete "two findings"', "finished", "two findings"),
        ('@harborcal abort "no access"', "aborted", "no access"),
        ('@harborcal pause "tests" && @harborcal resume && echo done | @harborcal complete -', "finished", "done"),
        ("echo first\necho the last line", "finished", "the last line"),
        ("echo no such tool >&2\nexit 3", "aborted", "exit code 3: no such tool"),
        ("kill -KILL $$", "aborted", "killed by SIGKILL"),
    ],
    ids=["completes", "aborts", "pauses", "ends well", "ends badly", "dies"],
)
def test_a_woken_command_reports_without_saying_who_it_is(office: Office, script: str, fate: str, said: str) -> None:
    office.employ("reviewer", script)
    ident = office.add("reviewer")
    with office.running("--until-idle") as daemon:
        assert f"slot={ident}" in daemon.wait_for("agent woken", "agent=reviewer")
        settled = daemon.wait_for("slot settled", f"slot={ident}")
        assert daemon.code() == 0
    assert f"status={fate}" in settled
    assert said in settled
    assert office.fate_of("reviewer") == [fate]


def test_the_wake_tells_its_command_how_to_report_and_never_the_token(office: Office) -> None:
    office.employ("reviewer", 'cat > envelope\nprintf %s "$HARBORCAL_TOKEN" > token\n')
    office.add("reviewer")
    with office.running("--until-idle") as daemon:
        daemon.wait_for("slot settled")
        assert daemon.code() == 0
    envelope, token = ((office.folder / name).read_text() for name in ("envelope", "token"))
    assert 'complete \\"what was done\\"' in envelope
    assert "exit code 0" in envelope
    assert "HARBORCAL_TOKEN" in envelope
    assert token
    assert token not in envelope
    assert not [line for line in daemon.lines if token in line]


def test_one_agents_token_reaches_no_other_agent(office: Office) -> None:
    waiting(office, "victim", "exit 0\n")
    office.employ(
        "intruder",
        """\
        @harborcal complete --agent victim stolen; echo "complete $?" > seen
        @harborcal why victim; echo "why $?" >> seen
        HARBORCAL_AGENT=victim @harborcal abort stolen; echo "abort $?" >> seen
        @harborcal status --json > own
        """,
    )
    office.add("victim")
    with office.running("--until-idle") as daemon:
        begun(office)
        office.add("intruder")
        daemon.wait_for("slot settled", "agent=intruder", "finished")
        assert [one["agent_id"] for one in office.reads("status")["active"]] == ["victim"]
        let_go(office)
        assert daemon.code() == 0
    assert (office.folder / "seen").read_text().splitlines() == ["complete 5", "why 5", "abort 5"]
    own = json.loads((office.folder / "own").read_text())
    assert own["agent_id"] == "intruder"
    assert "victim" not in json.dumps(own)
    assert office.fate_of("victim") == ["finished"]


def test_the_operator_reports_for_an_agent_by_name(office: Office) -> None:
    waiting(office)
    ident = office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        assert "--agent" in office.call("complete", "who?", code=2).stderr
        assert office.call("renew", "--agent", "reviewer").stdout == f"reviewer: slot {ident} is ongoing\n"
        assert "holds slot" in office.call("abort", "--agent", "reviewer", "--slot", "999", code=5).stderr
        late = {"HARBORCAL_AGENT": "reviewer", "HARBORCAL_SLOT": ident, "HARBORCAL_WAKE_ID": "of another attempt"}
        assert "holds slot" in office.call("complete", "too late", code=5, **late).stderr
        assert "holds slot" in office.call("complete", "too late", "--slot", ident, code=5, **late).stderr
        assert "names a slot" in office.call("complete", "which?", "--agent", "reviewer", "--slot", "", code=2).stderr
        assert "No such option" in office.call("complete", "--agent", "reviewer", "--jsno", code=2).stderr
        points = "- by hand\n- with -h and --json in it"
        done = json.loads(office.call("complete", "--agent", "reviewer", "--json", points).stdout)
        assert (done["slot"], done["status"], done["changed"]) == (ident, "finished", True)
        assert "already" in office.call("complete", "--agent", "reviewer", "by hand").stdout
        assert office.call("pause", "--agent", "reviewer", code=5).stderr == (
            "harborcal: calendar: no active slot for agent reviewer\n"
        )
        daemon.wait_for("slot settled", "- by hand - with -h and --json in it")
        daemon.stop()


def test_a_tcp_address_is_told_to_those_who_are_woken(office: Office) -> None:
    office.employ("reviewer", '@harborcal complete "over TCP"')
    office.add("reviewer")
    with office.running(HARBORCAL_CONTROL="http://127.0.0.1:0") as daemon:
        address = daemon.wait_for("harborcal is ready").partition("control=")[2].split()[0]
        assert "over TCP" in daemon.wait_for("slot settled")
        assert office.reads("status", HARBORCAL_CONTROL=address)["lifecycle"] == "running"
        daemon.stop()


# --- looking on -----------------------------------------------------------------------------------------------------


def test_without_a_daemon_status_says_what_is_wrong_with_the_calendar(office: Office) -> None:
    office.employ("reviewer", "true")
    (office.folder / "calendar.db").write_bytes(b"no database" * 500)
    assert "the calendar cannot be read: " in office.call("status", code=4).stderr
    assert office.reads("status", code=4)["calendar_error"]


def test_status_and_why_say_who_works_and_why_others_do_not(office: Office) -> None:
    waiting(office)
    ident, later = office.add("reviewer"), office.add("reviewer", "in 30m")
    with office.running() as daemon:
        begun(office)
        told = office.call("status").stdout
        assert "running: 1 agent, heartbeat every 1 s" in told
        assert any(line.split()[:3] == ["reviewer", ident, "ongoing"] for line in told.splitlines())
        verdicts = {one["ident"]: one["reason"] for one in office.reads("why", "reviewer")["verdicts"]}
        assert verdicts[later] in {"not_due", "busy"}
        assert later in office.call("why", "reviewer").stdout
        assert "harborcal why AGENT" in office.call("why", code=2).stderr
        assert "no heartbeat of it has been answered" in office.call("why", "nobody", code=1).stdout
        let_go(office)
        daemon.wait_for("slot settled")
        daemon.stop()


def test_without_a_daemon_status_says_so_and_shows_what_the_calendar_knows(office: Office) -> None:
    office.employ("reviewer", "true")
    assert "start one with harborcal run" in office.call("status", code=4).stderr
    office.add("reviewer")
    offline = office.reads("status", code=4)
    assert offline["running"] is False
    assert [(day["agent_id"], day["open"]) for day in offline["days"]] == [("reviewer", 1)]
    assert office.call("complete", "--agent", "reviewer", code=4).stdout == ""
    assert not (office.folder / ".harborcal").exists(), "a look makes nothing"


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_in_the_middle_of_work_ends_the_command_and_says_so_to_the_calendar(
    office: Office, number: signal.Signals
) -> None:
    waiting(office)
    office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        daemon.send(number)
        assert daemon.code() == 0
    assert any("slot settled" in line and "ended with its host" in line for line in daemon.lines)
    assert office.fate_of("reviewer") == ["aborted"]


def test_a_command_that_outlived_its_daemon_is_ended_with_its_successor(office: Office) -> None:
    waiting(office, rest="exec sleep 1000\n")
    office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        daemon.wait_for("agent woken")
        daemon.send(signal.SIGKILL)
        daemon.code()
    with office.running() as successor:
        successor.wait_for("harborcal is ready")
        (orphan,) = orphans_in(office.folder / ".harborcal" / "runs")
        successor.stop()
    assert not orphan.is_alive
    assert any("slot settled" in line and "ended with its host" in line for line in successor.lines)
    assert office.fate_of("reviewer") == ["aborted"]


def test_agents_that_the_calendar_refuses_are_not_waited_for(office: Office) -> None:
    office.employ("reviewer", "true")
    office.call("agents", "add", "reviewer", "--claw", "elsewhere")
    with office.running("--until-idle") as daemon:
        daemon.wait_for("calendar refused (403)")
        assert daemon.code() == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(office: Office, closed: str) -> None:
    office.employ("reviewer", "true")
    for words, code in (("add reviewer 'in 5m' --for 10m", 0), ("import - --agent reviewer", None), ("today", 0)):
        command = f"{HARBORCAL} {words} {closed}"
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=office.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "should not have happened" not in done.stderr
        assert "Traceback" not in done.stderr
        assert code is None or done.returncode == code, done.stderr


def test_a_state_folder_that_holds_the_project_is_refused(office: Office) -> None:
    office.employ("reviewer", "true")
    mode = office.folder.stat().st_mode
    for state in (".", "..", str(office.folder)):
        assert "holds the project" in office.call("--state", state, "run", "--for", "1s", code=3).stderr
    assert office.folder.stat().st_mode == mode
    assert not (office.folder / ".gitignore").exists()


def test_a_command_may_report_while_it_is_being_ended(office: Office) -> None:
    script = """\
    trap '@harborcal complete "saved in time"; exit 0' TERM
    echo ready > started
    while true; do sleep 0.05; done
    """
    office.employ("reviewer", script, "grace = 20")
    office.pipe("started")
    office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        daemon.stop()
    assert any("slot settled" in line and "saved in time" in line for line in daemon.lines)
    assert office.fate_of("reviewer") == ["finished"]


def test_a_host_is_given_the_time_that_it_needs_to_close(office: Office) -> None:
    package = office.folder / "pigeons-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[harborcal.hosts]\npigeon = pigeons:make\n")
    (office.folder / "pigeons.py").write_text(
        "class Pigeon:\n    closing_time = 45.0\n    def wake_agent(self, wake): ...\n"
        "    def close(self, timeout): print(f'the pigeon is given {timeout:.0f} s', flush=True)\n"
        "def make(settings, context): return Pigeon()\n"
    )
    with (office.folder / "harborcal.toml").open("a") as file:
        file.write('[agents.bird]\nhost = "pigeon"\n')
    path = os.pathsep.join(filter(None, [str(office.folder), environment().get("PYTHONPATH")]))
    with office.running(PYTHONPATH=path) as daemon:
        daemon.wait_for("harborcal is ready")
        daemon.send(signal.SIGTERM)
        daemon.wait_for("the pigeon is given 45 s")
        assert daemon.code() == 0


def test_a_second_signal_ends_it_at_once(office: Office) -> None:
    waiting(office, rest="while true; do sleep 0.05; done\n", more="grace = 60")
    script = office.folder / "reviewer.sh"
    script.write_text("trap '' TERM\n" + script.read_text())
    office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        daemon.send(signal.SIGTERM)
        daemon.wait_for("harborcal is stopping")
        daemon.send(signal.SIGTERM)
        assert daemon.code() == 128 + signal.SIGTERM
    assert not any("has stopped" in line for line in daemon.lines)
    # What it left behind goes on by itself, and is found.
    (orphan,) = [one for one in office.reads("doctor", code=7)["checks"] if "works on" in one["text"]]
    assert orphan["ok"]


def test_under_nohup_a_closed_terminal_ends_nothing(office: Office) -> None:
    office.employ("reviewer", "true")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with office.running() as daemon:
            signal.signal(signal.SIGHUP, before)
            daemon.wait_for("harborcal is ready")
            daemon.send(signal.SIGHUP)
            assert office.reads("status")["lifecycle"] == "running"
            daemon.stop()
    finally:
        signal.signal(signal.SIGHUP, before)


# --- crashes --------------------------------------------------------------------------------------------------------


def test_after_kill_9_its_successor_goes_on_and_wakes_nobody_twice(office: Office) -> None:
    waiting(office, rest='@harborcal complete "after all"\n')
    ident = office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        daemon.wait_for("agent woken")
        daemon.send(signal.SIGKILL)
        daemon.code()
    with office.running("--until-idle") as successor:
        found = successor.wait_for("slot found under way")
        assert f"slot={ident}" in found
        assert "attempt=1" in found
        assert f"slot={ident}" in successor.wait_for("command works on")
        successor.wait_for("harborcal is ready")
        assert office.reads("status")["active"][0]["heard_at"] is not None, "its life is a sign of life"
        let_go(office)  # the command of the first one has lived on, and knows where to report
        assert "after all" in successor.wait_for("slot settled", f"slot={ident}", "status=finished")
        assert successor.code() == 0
    assert not any("agent woken" in line for line in successor.lines)
    assert len((office.folder / "woken").read_text().splitlines()) == 1
    assert office.fate_of("reviewer") == ["finished"]


def test_a_report_that_was_taken_before_kill_9_is_delivered_after_it(office: Office) -> None:
    waiting(office)
    office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        # Nobody can write the calendar now: the report is accepted all the same.
        with locked(office.folder / "calendar.db"):
            assert office.reads("complete", "--agent", "reviewer", "kept")["changed"]
            daemon.send(signal.SIGKILL)
            daemon.code()
    assert office.fate_of("reviewer") == ["ongoing"]
    with office.running("--until-idle") as successor:
        successor.wait_for("harborcal is ready")
        assert successor.code() == 0
    assert office.fate_of("reviewer") == ["finished"]
    assert len((office.folder / "woken").read_text().splitlines()) == 1


class locked:  # noqa: N801 - a context
    """Hold the calendar's lock, as another program that writes does."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


# --- around it ------------------------------------------------------------------------------------------------------


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(office: Office) -> None:
    office.employ("reviewer", "true")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(office.folder / "notify"))
        manager.settimeout(30)
        with office.running(NOTIFY_SOCKET=str(office.folder / "notify")) as daemon:
            assert b"READY=1\nSTATUS=1 agents" in manager.recv(4096)
            assert office.reads("status")["lifecycle"] == "running", "it answers once it is ready"
            daemon.send(signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1"
            assert daemon.code() == 0


def test_the_log_can_be_json_with_the_time_in_utc(office: Office) -> None:
    office.employ("reviewer", "echo 'a \"quoted\" summary'")
    office.add("reviewer")
    with office.running("--until-idle", HARBORCAL_LOG_FORMAT="json", TZ="America/New_York") as daemon:
        daemon.wait_for("slot settled")
        assert daemon.code() == 0
    lines = [json.loads(line) for line in daemon.lines]
    assert all(line["time"].endswith("Z") and line["level"] in {"info", "warn"} for line in lines)
    settled = next(line for line in lines if line["message"] == "slot settled")
    assert settled["fields"]["summary"] == 'a "quoted" summary'
    now = time.strftime("%Y-%m-%dT%H", time.gmtime())
    assert settled["time"][:13] <= now


def test_it_stops_by_itself_after_a_while(office: Office) -> None:
    office.employ("reviewer", "true")
    office.add("reviewer", "in 30m")
    with office.running("--for", "0.5s") as daemon:
        assert daemon.code() == 0
    assert "has stopped" in daemon.lines[-1]
    assert "duration" in office.call("run", "--for", "soon", code=2).stderr
    assert "--for" in office.call("run", "--for", "0s", code=2).stderr


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        (HEAD, "no agent to run"),
        (HEAD + '[agents.a]\nhost = "pigeon"\n', "there is no host 'pigeon'"),
        (HEAD + '[agents.a]\ncommand = ["/no/such/program"]\n', "/no/such/program"),
        (HEAD + '[agents.a]\ncommand = ["true"]\ncolour = "red"\n', "unknown: colour"),
        ('[agents.a]\ncommand = ["true"]\n', "agents.a.host is missing"),
    ],
    ids=["nobody", "unknown host", "no program", "unknown key", "no host"],
)
def test_what_cannot_run_is_refused_before_anything_begins(office: Office, toml: str, complaint: str) -> None:
    (office.folder / "harborcal.toml").write_text(toml)
    assert complaint in office.call("run", code=3).stderr


def test_a_damaged_journal_is_no_reason_to_forget(office: Office) -> None:
    office.employ("reviewer", "true")
    with office.running("--for", "0.1s") as daemon:
        assert daemon.code() == 0
    (office.folder / ".harborcal" / "journal").write_bytes(b"not a journal\n" * 100)
    refused = office.call("run", code=6)
    assert "is damaged" in refused.stderr
    assert not (office.folder / ".harborcal" / "control.sock").exists()


# --- beside it ------------------------------------------------------------------------------------------------------


def test_the_calendar_is_served_beside_the_daemon(office: Office) -> None:
    office.employ("reviewer", "true")
    with office.running() as daemon, office.running("--port", "0", program="serve") as server:
        daemon.wait_for("harborcal is ready")
        url = server.wait_for("is served at").partition("served at ")[2].partition(";")[0]
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:
            assert answer.status == 200
        server.stop()
        daemon.stop()


def test_what_the_file_names_is_in_a_calendar_that_is_served(office: Office) -> None:
    office.employ("reviewer", "true")
    with office.running("--port", "0", program="serve") as server:
        server.wait_for("is served at")
        assert office.reads("agents")[0]["id"] == "reviewer"
        server.stop()
    for file in ("harborcal.toml", "calendar.db"):
        (office.folder / file).unlink()
    assert "`harborcal init` makes both" in office.call("serve", "--port", "0", code=3).stderr
    assert not (office.folder / "calendar.db").exists()


def test_a_calendar_is_not_served_to_other_machines_without_a_key(office: Office) -> None:
    assert "api_key" in office.call("serve", "--host", "0.0.0.0", "--port", "0", code=3).stderr
    with office.running("--host", "0.0.0.0", "--port", "0", program="serve", HARBORCAL_SERVE_KEY="k" * 20) as server:
        told = server.wait_for("is served at")
        assert "its key is needed" in told
        assert "k" * 20 not in told
        server.stop()


def test_a_folder_of_a_backend_serves_nothing(office: Office) -> None:
    assert "a backend is configured" in office.call("--backend", "http://127.0.0.1:1", "serve", code=3).stderr


@pytest.mark.parametrize(("words", "names"), [([], "_complete"), (["--read-only"], "")], ids=["all", "read only"])
def test_the_agents_tools_reach_the_daemon_over_mcp(office: Office, words: list[str], names: str) -> None:
    waiting(office)
    ident = office.add("reviewer")
    with office.running() as daemon:
        begun(office)
        answers = over_mcp(office, words)
        tools: set[str] = {tool["name"] for tool in answers[2]["tools"]}
        assert "harborforge_calendar_status" in tools
        assert ("harborforge_calendar_complete" in tools) is bool(names)
        assert ident in json.dumps(answers[3])
        let_go(office)
        daemon.wait_for("slot settled")
        daemon.stop()


def over_mcp(office: Office, words: list[str]) -> dict[int, dict[str, Any]]:
    """Speak the protocol by hand: whoever serves and whoever asks must not be the same library here."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    asked: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
        {
            "jsonrpc": "2.0",
            "id": 3,
            "method": "tools/call",
            "params": {"name": "harborforge_calendar_status", "arguments": {}},
        },
    ]
    answers: dict[int, dict[str, Any]] = {}
    with subprocess.Popen(
        [*PROGRAM, "mcp", "--agent", "reviewer", *words],
        cwd=office.folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for one in asked:
            process.stdin.write(json.dumps(one) + "\n")
            process.stdin.flush()
            if "id" in one:
                answer = json.loads(process.stdout.readline())
                answers[answer["id"]] = answer["result"]
    return answers


def test_the_tools_of_an_agent_that_is_not_there_are_refused(office: Office) -> None:
    assert "no daemon has run" in office.call("mcp", "--agent", "reviewer", code=4).stderr
    office.employ("reviewer", "true")
    assert "there is no agent 'stranger'" in office.call("mcp", "--agent", "stranger", code=3).stderr
    assert "--agent" in office.call("mcp", code=2).stderr


def test_tools_that_are_served_before_the_daemon_work_once_it_is_there(office: Office) -> None:
    office.employ("reviewer", "true")
    assert office.call("mcp", "--agent", "reviewer").stdout == "", "its client has ended at once"
    assert (office.folder / ".harborcal" / "secret").stat().st_mode & 0o777 == 0o600


# --- the demonstration ----------------------------------------------------------------------------------------------


def test_the_demonstration_shows_three_agents_and_cleans_up(office: Office) -> None:
    (office.folder / "harborcal.toml").write_text("this is no TOML")  # it reads no configuration
    (office.folder / "tmp").mkdir()
    told = office.call("demo", TMPDIR=str(office.folder / "tmp"), HARBORCAL_STATE="/nowhere").stdout
    for words in (
        "reviewer   is woken for slot 1",
        "reviewer   rests: waiting for the tests",
        "reviewer   slot 1 is finished: three findings, all mended",
        "secretary  slot 2 is finished: 12 letters answered",
        "archivist  slot 3 is aborted: killed by SIGKILL: the disk is full",
        "3 slots were seen: 1 aborted, 2 finished, 0 under way, 0 waiting",
    ):
        assert words in told
    assert list((office.folder / "tmp").iterdir()) == []


def test_a_demonstration_that_is_interrupted_cleans_up_too(office: Office) -> None:
    (office.folder / "tmp").mkdir()
    with office.running(program="demo", TMPDIR=str(office.folder / "tmp")) as demo:
        demo.wait_for("the daemon is ready")
        demo.send(signal.SIGINT)
        assert demo.code() == 130
    assert list((office.folder / "tmp").iterdir()) == []
