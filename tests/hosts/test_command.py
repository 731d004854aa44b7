"""Commands as agents: real processes, woken by a real scheduler."""

import contextlib
import dataclasses
import errno
import json
import os
import selectors
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    CommandHost,
    ConfigurationError,
    HarborcalError,
    HistoryEntry,
    HostError,
    Scheduler,
    SchedulerConfig,
    SlotKey,
    SlotStatus,
    SlotUpdate,
    TransportTimeoutError,
    WakeRequest,
    build_wake_envelope,
)
from harborcal.clock import Clock
from harborcal.hosts import HostsByAgent, orphans_in, processes
from harborcal.testing import FakeClock, InMemoryCalendar

PATIENCE = 20.0
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(60)


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


class Office:
    """One agent whose wakes a host gets; its calendar says when something was settled."""

    def __init__(self, host: CommandHost, clock: Clock | None = None, minutes: int = 30, **config: Any) -> None:
        self.calendar = InMemoryCalendar(clock, agents=["ada"])
        data = {"type": "Task", "code": "T-1", "inputs": {"files": ["a.txt", {"lines": 2}]}}
        self.calendar.add_slot("ada", event_type="job", event_data=data, priority=5, estimated_duration=minutes)
        self.host = host
        self.wakes: list[WakeRequest] = []
        self.scheduler = Scheduler(
            self.calendar,
            self,
            lambda: [Agent(id="ada")],
            config=SchedulerConfig(**config),
            message=build_wake_envelope,
            clock=clock,
        )

    def wake_agent(self, wake: WakeRequest) -> None:
        self.wakes.append(wake)
        self.host.wake_agent(wake)

    def log(self, *_: object) -> None: ...

    def entry(self) -> HistoryEntry:
        """Wait until the slot is settled; tell how."""
        entries: tuple[HistoryEntry, ...] = until(lambda: self.scheduler.status().history)
        return entries[0]

    def close(self) -> None:
        self.host.close()
        self.scheduler.stop()


def until(look: Callable[[], Any]) -> Any:
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.02)):
        if found := look():
            return found
        pause.wait(0.02)
    raise AssertionError("it never came")


@contextlib.contextmanager
def office(host: CommandHost, **config: Any) -> Iterator[Office]:
    with contextlib.closing(Office(host, **config)) as one:
        assert one.scheduler.tick().woken == ("ada",)
        yield one


def test_a_command_that_ends_well_is_complete_with_its_last_line() -> None:
    with office(CommandHost(python("print('a'); print('reviewed 3 files'); print()"))) as one:
        entry = one.entry()
        assert (entry.status, entry.summary) == (SlotStatus.FINISHED, "reviewed 3 files")


def test_a_command_that_fails_is_aborted_with_the_tail_of_what_it_said() -> None:
    with office(CommandHost(python("import sys; sys.exit('x' * 3000 + ' no such tool')"))) as one:
        entry = one.entry()
        assert entry.status is SlotStatus.ABORTED
        assert entry.reason.startswith("exit code 1: x")
        assert entry.reason.endswith("no such tool")


def test_a_command_that_is_killed_says_by_what() -> None:
    with office(CommandHost(python("import os; os.kill(os.getpid(), 9)"))) as one:
        assert one.entry().reason == "killed by SIGKILL"


def test_an_exit_code_that_is_not_to_be_had_is_not_taken_for_success(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as a program may do that never waits for its children
    try:
        with office(CommandHost(python("import sys; sys.exit('no such tool')"), output=tmp_path)) as one:
            entry = one.entry()
            assert entry.status is SlotStatus.ABORTED
            assert entry.reason.startswith("ended, with an exit code that something else")
            assert entry.reason.endswith("no such tool")
            until(lambda: not one.host.running)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_the_message_is_on_standard_input_and_the_facts_in_the_environment(tmp_path: Path) -> None:
    code = (
        "import os, sys, json; text = sys.stdin.read();"
        "facts = {k: v for k, v in os.environ.items() if k.startswith('HARBORCAL_')};"
        "told = [text.splitlines()[0], '<harborcal-wake' in text, facts, os.getcwd(), os.environ.get('OWN')];"
        "json.dump(told, open('told', 'w'))"
    )
    host = CommandHost(
        python(code),
        directory=tmp_path,
        environment={"OWN": "yes"},
        credentials=lambda agent_id: {"HARBORCAL_TOKEN": f"token of {agent_id}"},
    )
    with office(host) as one:
        one.entry()
        line, has_block, facts, directory, own = json.loads((tmp_path / "told").read_text())
        assert line == "[calendar job Task/T-1] please handle this"
        assert has_block
        assert (directory, own) == (str(tmp_path), "yes")
        wake = one.wakes[0]
        assert facts["HARBORCAL_AGENT"] == "ada"
        assert facts["HARBORCAL_WAKE_ID"] == wake.wake_id
        assert facts["HARBORCAL_SLOT"] == wake.slot.ident
        assert facts["HARBORCAL_CODE"] == "T-1"
        data = {"type": "Task", "code": "T-1", "inputs": {"files": ["a.txt", {"lines": 2}]}}
        assert json.loads(facts["HARBORCAL_EVENT_DATA"]) == data
        assert facts["HARBORCAL_TOKEN"] == "token of ada"
        assert facts["HARBORCAL_REMINDER"] == "0"


def test_the_message_may_be_an_argument_and_no_shell_reads_it(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1].startswith('ask: [calendar job Task/$(touch pwned)]'))"
    host = CommandHost(python(code, "ask: {message}"), message="argument", directory=tmp_path)
    one = Office(host)
    with contextlib.closing(one):
        data = {"type": "Task", "code": "$(touch pwned)"}
        one.calendar.add_slot("ada", event_type="job", event_data=data, priority=9)
        one.scheduler.tick()
        assert one.entry().summary == "True"
    assert not list(tmp_path.iterdir())


def test_our_secrets_are_not_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARBORCAL_API_KEY", "canary")
    monkeypatch.setenv("SOME_KEY", "canary")
    monkeypatch.setenv("WANTED", "this")
    code = "import os; print('canary' in os.environ.values(), os.environ.get('WANTED'), 'PATH' in os.environ)"
    for inherit, told in ((("WANTED",), "False this True"), (True, "True this True")):
        with office(CommandHost(python(code), inherit=inherit)) as one:
            assert one.entry().summary == told
    with office(CommandHost(python("import os; print('HARBORCAL_API_KEY' in os.environ)"), inherit=True)) as one:
        assert one.entry().summary == "False"


def test_of_what_is_ours_a_command_inherits_only_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARBORCAL_CALENDAR_URL", "postgresql://user:password@db/calendar")
    monkeypatch.setenv("HARBORCAL_TOKEN", "of whoever woke us")
    monkeypatch.setenv("HARBORCAL_DEADLINE_AT", "of whoever woke us")
    monkeypatch.setenv("HARBORCAL_CONFIG", "/etc/harborcal.toml")
    monkeypatch.setenv("OTHER", "x")
    names = "CALENDAR_URL TOKEN DEADLINE_AT CONFIG"
    code = (
        f"import os; print([n for n in '{names}'.split() if 'HARBORCAL_' + n in os.environ], os.environ.get('OTHER'))"
    )
    for inherit, told in (
        (True, "[] x"),
        (["HARBORCAL_CONFIG"], "['CONFIG'] None"),
        ({"OTHER"}, "[] x"),
        (False, "[] None"),
    ):
        with office(CommandHost(python(code), inherit=inherit), lease=None) as one:
            assert one.entry().summary == told


def test_an_agent_that_has_reported_itself_is_not_reported_of_again() -> None:
    with office(CommandHost(python("import sys; sys.stdin.read(); sys.exit(3)"))) as one:
        one.scheduler.complete("ada", "by myself")
        until(lambda: not one.host.running)
        assert [entry.summary for entry in one.scheduler.status().history] == ["by myself"]


@pytest.fixture(params=["", "and nobody waits for children"])
def reaping(request: pytest.FixtureRequest) -> Iterator[None]:
    before = signal.getsignal(signal.SIGCHLD)
    if request.param:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("reaping")
def test_a_command_whose_slot_is_aborted_is_ended_with_its_whole_group(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time, pathlib\n"
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', deaf], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "pathlib.Path('child').write_text(str(child.pid)); pathlib.Path('child').rename('pid')\n"
        "time.sleep(600)"
    )
    with office(CommandHost(python(code), directory=tmp_path, linger=0.0, grace=0.1)) as one:
        until((tmp_path / "pid").exists)
        child = int((tmp_path / "pid").read_text())
        one.scheduler.abort("ada", "not needed any more")
        until(lambda: not one.host.running)
        until(lambda: not is_there(child))


def is_there(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("where", ["", " >log 2>&1"])
def test_what_a_script_has_started_has_its_grace_although_the_script_ends_at_once(tmp_path: Path, where: str) -> None:
    code = (
        "import pathlib, signal, sys, threading\n"
        "def tidy_up(*_):\n"
        "    threading.Event().wait(3); pathlib.Path('tidy').touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, tidy_up)\n"
        "pathlib.Path('up').touch()\n"
        "signal.pause()"
    )
    host = CommandHost(["sh", "-c", f'"$0" -c "$1"{where}; true', sys.executable, code], directory=tmp_path, grace=15.0)
    with office(host) as one:
        until((tmp_path / "up").exists)
        began = time.monotonic()
        one.host.close()
        assert (tmp_path / "tidy").exists()
        assert time.monotonic() - began < 10.0, "its grace is not waited for once all have ended"
        assert one.entry().reason == "ended with its host"


def test_a_command_that_ignores_being_asked_is_ended_all_the_same() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    with office(CommandHost(python(code), time_limit=1.0, grace=0.2)) as one:
        assert one.entry().reason == "over its time limit of 1 s"
        until(lambda: not one.host.running)


def test_a_command_that_is_just_being_started_is_ended_too_and_its_slot_aborted() -> None:
    starting, go_on = threading.Event(), threading.Event()

    def credentials(_agent_id: str) -> dict[str, str]:
        starting.set()
        assert go_on.wait(PATIENCE)
        return {}

    host = CommandHost(python("import time; time.sleep(600)"), credentials=credentials)
    with contextlib.closing(Office(host)) as one:
        waker = threading.Thread(target=one.scheduler.tick)
        waker.start()
        assert starting.wait(PATIENCE)
        host.begin_close()
        closer = threading.Thread(target=host.close)
        closer.start()
        go_on.set()
        closer.join(PATIENCE)
        (entry,) = one.scheduler.status().history
        assert (entry.status, entry.reason) == (SlotStatus.ABORTED, "ended with its host")
        waker.join(PATIENCE)


def test_while_an_agents_command_is_being_started_no_second_one_is(tmp_path: Path) -> None:
    starting, go_on = threading.Event(), threading.Event()

    def credentials(_agent_id: str) -> dict[str, str]:
        starting.set()
        assert go_on.wait(PATIENCE)
        return {}

    code = "open('begun', 'a').write('x')"
    with contextlib.closing(Office(CommandHost(python(code), credentials=credentials, directory=tmp_path))) as one:
        waker = threading.Thread(target=one.scheduler.tick)
        waker.start()
        assert starting.wait(PATIENCE)
        second = dataclasses.replace(one.wakes[0], reminder=True)
        try:
            with pytest.raises(HostError, match="is being started"):
                one.host.wake_agent(second)
        finally:
            go_on.set()
            waker.join(PATIENCE)
        one.entry()
    assert (tmp_path / "begun").read_text() == "x"


def test_while_a_command_with_a_time_limit_runs_its_life_renews_the_lease() -> None:
    for limit, is_renewed in ((3_600.0, True), (None, False)):
        clock = FakeClock()
        host = CommandHost(python("import time; time.sleep(600)"), time_limit=limit, linger=0.0, clock=clock)
        with office(host) as one:
            heard = one.scheduler.status().active[0].heard_at
            assert heard is None
            clock.advance(61)
            if is_renewed:
                until(lambda: one.scheduler.status().active[0].heard_at)
            one.scheduler.abort("ada")
            until(lambda: not one.host.running)


def test_a_short_lease_is_renewed_before_it_is_over() -> None:
    clock = FakeClock()
    host = CommandHost(python("import time; time.sleep(600)"), linger=0.0, clock=clock)
    one = Office(host, clock, lease=30.0, minutes=0)
    with contextlib.closing(one):
        one.scheduler.tick()
        clock.advance(11)
        until(lambda: one.scheduler.status().active[0].heard_at)
        one.scheduler.abort("ada")
        until(lambda: not host.running)


def test_closing_ends_what_runs_and_aborts_its_slots() -> None:
    with office(CommandHost(python("import time; time.sleep(600)"), grace=0.2)) as one:
        one.host.close()
        assert one.entry().reason == "ended with its host"
        assert one.host.running == ()
        with pytest.raises(HostError, match="closed"):
            one.host.wake_agent(one.wakes[0])


def test_what_is_left_when_the_time_for_closing_is_over_is_ended_however_long_its_grace() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    with contextlib.closing(Office(CommandHost(python(code), grace=600.0))) as one:
        one.scheduler.tick()
        assert one.host.closing_time > 600.0
        assert HostsByAgent({"ada": one.host}).closing_time == one.host.closing_time
        one.host.close(3.0)
        assert not one.host.running
        assert one.entry().reason == "ended with its host"


def test_hosts_that_are_closed_together_leave_no_command_running() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    names = [f"agent-{number}" for number in range(4)]
    calendar = InMemoryCalendar(agents=names)
    for name in names:
        calendar.add_slot(name)
    hosts = {name: CommandHost(python(code), grace=600.0) for name in names}
    together = HostsByAgent(hosts)
    scheduler = Scheduler(calendar, together, lambda: [Agent(id=name) for name in names])
    scheduler.tick()
    together.close(4.0)
    assert [host.running for host in hosts.values()] == [()] * 4
    assert [entry.reason for entry in scheduler.status().history] == ["ended with its host"] * 4
    scheduler.stop()


def test_a_command_that_cannot_be_followed_any_more_is_ended_and_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    with office(CommandHost(python("import time; time.sleep(600)"))) as one:
        with monkeypatch.context() as system:
            system.setattr(os, "waitid", refuse_descriptors)
            entry = one.entry()
        assert (entry.status, entry.reason) == (
            SlotStatus.ABORTED,
            "could not be followed: [Errno 24] Too many open files",
        )
        until(lambda: not one.host.running)


def test_a_group_has_its_grace_although_nobody_can_look_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import time; print('up', flush=True); time.sleep(600)"
    with office(CommandHost(python(code), grace=1.0)) as one, monkeypatch.context() as system:
        system.setattr(Path, "iterdir", refuse_descriptors)
        system.setattr(subprocess, "run", refuse_descriptors)
        one.host.close()
        assert one.entry().reason == "ended with its host"


def refuse_descriptors(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_grandchild_that_keeps_the_outputs_open_keeps_nobody_waiting(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('pid').write_text(str(child.pid)); print('done')"
    )
    with office(CommandHost(python(code), directory=tmp_path)) as one:
        assert one.entry().summary == "done"
        child = int((tmp_path / "pid").read_text())
        assert is_there(child), "what a command leaves behind on purpose goes on"
        os.kill(child, signal.SIGKILL)


def test_a_command_that_does_not_read_its_message_is_no_hindrance() -> None:
    with office(CommandHost(python("print('did not read')"))) as one:
        assert one.entry().summary == "did not read"


def test_output_is_kept_in_bounded_files_that_others_cannot_read(tmp_path: Path) -> None:
    code = "import sys; print('first'); sys.stdout.write('x' * 500_000); print('\\nlast'); sys.stderr.write('hm')"
    with office(CommandHost(python(code), output=tmp_path, max_output=10_000)) as one:
        assert one.entry().summary == "last"
        until(lambda: not one.host.running)
    (out,) = tmp_path.glob("ada/*.out")
    (err,) = tmp_path.glob("ada/*.err")
    text = out.read_text()
    assert text.startswith("first\n")
    assert text.endswith("\nlast\n")
    assert "bytes left out" in text
    assert len(text) < 10_100
    assert err.read_text() == "hm"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ada").iterdir()} == {0o600}
    assert orphans_in(tmp_path) == ()


def test_old_outputs_are_removed(tmp_path: Path) -> None:
    host = CommandHost(python("print('x')"), output=tmp_path, keep=2)
    one = Office(host)
    (tmp_path / "ada").mkdir()
    for left in ("20200101T000000.000000-a.draft", "20200101T000001.000000-b.out", "20200101T000001.000000-b.err"):
        (tmp_path / "ada" / left).touch()  # of runs whose process was killed while it wrote
    with contextlib.closing(one):
        for number in range(5):
            one.calendar.add_slot("ada", event_data={"code": f"T-{number}"})
            until(lambda: not host.running)
            one.scheduler.tick()
        until(lambda: not host.running)
    assert sorted(path.suffix for path in (tmp_path / "ada").iterdir()) == 2 * [".err"] + 2 * [".json"] + 2 * [".out"]


def test_a_reminder_of_a_command_that_runs_starts_no_second_one() -> None:
    with office(CommandHost(python("import time; time.sleep(600)"), grace=0.1)) as one:
        one.host.wake_agent(one.wakes[0])
        assert one.host.running == ("ada",)


def test_after_a_crash_a_living_command_is_not_started_twice_and_an_older_one_is_ended(tmp_path: Path) -> None:
    earlier = CommandHost(python("import time; time.sleep(600)"), output=tmp_path, grace=0.1)
    with office(earlier) as one:
        (orphan,) = orphans_in(tmp_path)
        assert (orphan.agent_id, orphan.wake_id) == ("ada", one.wakes[0].wake_id)
        later = CommandHost(python("print('again')"), output=tmp_path)
        later.wake_agent(one.wakes[0])
        assert later.running == (), "it is at it still"
        orphan.end(at_once=True)
        until(lambda: not orphan.is_alive)
        until(lambda: not earlier.running)
    assert orphans_in(tmp_path) == ()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux tells of others' environments")
def test_a_command_whose_host_was_killed_before_it_wrote_down_that_it_runs_is_not_started_twice(tmp_path: Path) -> None:
    """The host dies between starting the command and noting its number."""
    code = (
        "import os, signal, sys\n"
        "from harborcal import Agent, CommandHost, Scheduler\n"
        "from harborcal.hosts.records import RunRecord\n"
        "from harborcal.testing import CallerRunner, InMemoryCalendar\n"
        "RunRecord.begin = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "calendar = InMemoryCalendar(agents=['ada'])\n"
        "calendar.add_slot('ada')\n"
        "class Host(CommandHost):\n"
        "    def wake_agent(self, wake):\n"
        "        print(wake.wake_id, flush=True)\n"
        "        super().wake_agent(wake)\n"
        "host = Host([sys.executable, '-c', 'import time; time.sleep(600)'], output=sys.argv[1])\n"
        "Scheduler(calendar, host, lambda: [Agent(id='ada')], runner=CallerRunner()).tick()\n"
    )
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    wake_id = killed.stdout.strip()
    (orphan,) = orphans_in(tmp_path)
    assert (orphan.agent_id, orphan.wake_id, orphan.is_followed) == ("ada", wake_id, False)
    with office(CommandHost(python("print('x')"))) as one:
        later = CommandHost(python("print('again')"), output=tmp_path)
        later.wake_agent(dataclasses.replace(one.wakes[0], wake_id=wake_id))
        assert later.running == (), "it is at it still"
        later.wake_agent(dataclasses.replace(one.wakes[0], wake_id="another"))
        until(lambda: not orphan.is_alive)
        until(lambda: not later.running)
    assert orphans_in(tmp_path) == ()


def test_a_command_that_is_left_of_an_earlier_wake_is_ended_when_the_next_begins(tmp_path: Path) -> None:
    earlier = CommandHost(python("import time; time.sleep(600)"), output=tmp_path, linger=600.0)
    with office(earlier) as one:
        (orphan,) = orphans_in(tmp_path)
        later = CommandHost(python("print('next')"), output=tmp_path)
        later.wake_agent(dataclasses.replace(one.wakes[0], wake_id="another"))
        until(lambda: not orphan.is_alive)
        until(lambda: not later.running)


def test_without_reports_by_exit_the_agent_alone_reports() -> None:
    with office(CommandHost(python("print('x')"), reports_by_exit=False)) as one:
        until(lambda: not one.host.running)
        assert [active.agent_id for active in one.scheduler.status().active] == ["ada"]


@pytest.mark.parametrize("trouble", [TransportTimeoutError("cable"), CalendarRefusedError(401, "a key of yesterday")])
def test_a_report_that_is_not_taken_for_now_is_made_again(trouble: HarborcalError) -> None:
    one = Office(CommandHost(python("print('done')")))
    with contextlib.closing(one):
        refused = threading.Event()

        def once(_agent: str, _slot: SlotKey, update: SlotUpdate) -> None:
            if not refused.is_set() and update.status is SlotStatus.FINISHED:
                refused.set()
                raise trouble

        one.calendar.before_update = once
        one.scheduler.tick()
        assert one.entry().summary == "done"
        assert refused.is_set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"command": []}, "list of texts"),
        ({"command": "ls -l"}, "list of texts"),
        ({"command": ["no-such-program-here"]}, "is not there"),
        ({"command": ["sh"], "message": "mail"}, "stdin"),
        ({"command": ["sh"], "directory": "/no/such/place"}, "is not there"),
        ({"command": ["sh"], "time_limit": 0}, "time_limit"),
        ({"command": ["sh"], "environment": {"A=B": "x"}}, "environment"),
        ({"command": ["sh"], "inherit": "PATH"}, "list of names"),
        ({"command": ["sh"], "keep": 0}, "keep"),
        ({"command": ["sh"], "directory": 5}, "directory is"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        CommandHost(**arguments)


def test_a_program_that_has_gone_is_a_failed_wake(tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    one = Office(CommandHost([str(program)]))
    program.unlink()
    with contextlib.closing(one):
        assert one.scheduler.tick().failed_wakes == ("ada",)
        assert "cannot be started" in one.entry().reason


def test_of_a_command_that_cannot_be_started_nothing_is_left(tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    host = CommandHost([str(program)], output=tmp_path / "runs")
    program.unlink()
    one = Office(host)
    with contextlib.closing(one):
        one.scheduler.tick()
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(3):
            with pytest.raises(HostError, match="cannot be started"):
                host.wake_agent(one.wakes[0])
        assert len(list(Path("/dev/fd").iterdir())) == before
    assert list((tmp_path / "runs" / "ada").iterdir()) == []


def test_a_command_that_nobody_could_follow_is_ended_and_its_wake_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    host = CommandHost(python("import time; time.sleep(600)"), output=tmp_path)
    with office(CommandHost(python("print('x')"))) as one:
        one.entry()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(HostError, match="cannot be followed: can't start new thread"):
                host.wake_agent(one.wakes[0])
        assert not host.running
        assert orphans_in(tmp_path) == ()
        host.wake_agent(one.wakes[0])
        assert host.running == ("ada",), "the agent is not blocked by that"
        host.close()


def test_a_command_that_could_not_be_listened_to_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with office(CommandHost(python("print('x')"))) as one:
        one.entry()
        host = CommandHost(python("open('begun', 'w')"), output=tmp_path / "runs", directory=tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(selectors, "DefaultSelector", refuse)
            with pytest.raises(HostError, match="cannot be started: Too many open files"):
                host.wake_agent(one.wakes[0])
        assert (host.running, list((tmp_path / "runs" / "ada").iterdir())) == ((), [])
    assert not (tmp_path / "begun").exists()


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="this system has no ps")
def test_systems_without_proc_know_processes_by_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_HAS_PROC", False)
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).wait()"
    with office(CommandHost(python(code), output=tmp_path, grace=0.1)) as one:
        (orphan,) = orphans_in(tmp_path)
        until(lambda: orphan.is_alive)
        until(lambda: processes.has_others(orphan.pid))
        assert not dataclasses.replace(orphan, birth="Thu Jan  1 00:00:00 1970").is_alive
        one.host.close()
        until(lambda: not orphan.is_alive)
        until(lambda: not processes.has_others(orphan.pid))


def test_agents_with_like_ids_have_their_own_outputs(tmp_path: Path) -> None:
    names = ["team:ada", "team_ada"]
    calendar = InMemoryCalendar(agents=names)
    for name in names:
        calendar.add_slot(name)
    host = CommandHost(python("print('done')"), output=tmp_path, keep=1)
    with contextlib.closing(host):
        scheduler = Scheduler(calendar, host, lambda: [Agent(id=name) for name in names])
        scheduler.tick()
        until(lambda: len(scheduler.status().history) == 2)
        until(lambda: not host.running)
    assert len(list(tmp_path.rglob("*.out"))) == 2
