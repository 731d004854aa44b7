"""How programs end that have a scheduler, a journal and an outbox: soon, quietly, and with nothing lost."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal import Agent, Journal, JournalError, OutboxTransport, Scheduler, SlotStatus
from harborcal.journal import LetterState
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0

SETTING = """
import json, os, signal, sys, threading
from harborcal import *
from harborcal.testing import InMemoryCalendar, RecordingHost

path = sys.argv[1]
calendar = InMemoryCalendar(agents=["dev"])
calendar.add_slot("dev", id=7)
host = RecordingHost()
journal = Journal(path)
outbox = OutboxTransport(calendar, journal)
scheduler = Scheduler(outbox, host, lambda: [Agent(id="dev")])

def tell(**words):
    print(json.dumps(words), flush=True)

class Outcomes:
    def __init__(self):
        self.delivered_one = threading.Event()
    def delivered(self, key, real_key, number):
        self.delivered_one.set()
    def refused(self, key, update, error, number):
        pass

outcomes = Outcomes()
outbox.subscribe(outcomes)

def until_begun():
    assert outcomes.delivered_one.wait(10.0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal"


def begin(program: str, path: Path) -> "subprocess.Popen[str]":
    """Start a program in the setting."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SETTING + program, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def end(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """Wait for its end, which must be a quiet one; return what it told."""
    try:
        out, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert errors == ""
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def running(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A program that runs until it is told to stop, and has begun a slot."""
    process = begin(
        """
signal.signal(signal.SIGTERM, lambda number, frame: scheduler.request_stop())
threading.Thread(target=lambda: (until_begun(), tell(begun=True)), daemon=True).start()
try:
    scheduler.run()
except KeyboardInterrupt:
    tell(interrupted=True)
tell(lifecycle=str(scheduler.status().lifecycle), closed=calendar.closed)
""",
        path,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "interrupted"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_program_with_an_outbox_that_gets_a_signal_stops_and_closes_everything(
    running: "subprocess.Popen[str]", path: Path, number: int, *, interrupted: bool
) -> None:
    assert running.stdout is not None
    assert json.loads(running.stdout.readline()) == {"begun": True}
    running.send_signal(number)
    told = end(running)
    assert told == [*([{"interrupted": True}] if interrupted else []), {"lifecycle": "stopped", "closed": True}]
    Journal(path, patience=0.0).close()


def test_a_report_that_was_accepted_before_an_exit_without_stop_is_delivered_by_the_next_program(path: Path) -> None:
    process = begin(
        """
scheduler.start()
until_begun()
calendar.start_outage()
scheduler.complete("dev", "all of it")
tell(pending=outbox.delivery_status().pending)
sys.exit()
""",
        path,
    )
    assert end(process) == [{"pending": 1}]
    clock = FakeClock()
    calendar = InMemoryCalendar(clock, ["dev"])
    key = calendar.add_slot("dev", id=7)
    runner = CallerRunner()
    outbox = OutboxTransport(calendar, Journal(path, clock=clock, patience=0.0), runner=runner, seed=1)
    host = RecordingHost()
    with Scheduler(outbox, host, lambda: [Agent(id="dev")], clock=clock, runner=runner) as scheduler:
        clock.advance(120.0)
        assert calendar.slot(key).status is SlotStatus.FINISHED
        assert host.woken == []
        assert scheduler.status().history[0].summary == "all of it"


def test_an_exit_while_the_calendar_hangs_is_not_held_up_by_what_is_under_way(path: Path) -> None:
    process = begin(
        """
hangs = threading.Event()
def hang(*_args):
    hangs.set()
    threading.Event().wait()
scheduler.start()
until_begun()
calendar.before_update = hang
calendar.before_heartbeat = hang
scheduler.complete("dev")
assert hangs.wait(10.0)
tell(hangs=True)
""",
        path,
    )
    assert end(process) == [{"hangs": True}]
    journal = Journal(path, patience=0.0)
    assert [letter.update.status for letter in journal.letters(LetterState.PENDING)] == [SlotStatus.FINISHED]
    journal.close()


def test_a_forked_child_s_copies_refuse_everything_end_quietly_and_leave_the_parent_s_journal_alone(path: Path) -> None:
    process = begin(
        """
def refuses(act):
    try:
        act()
    except LifecycleError:
        return True
    return False

scheduler.start()
until_begun()
update = SlotUpdate(status=SlotStatus.FINISHED)
with outbox._lock:  # as if one of the parent's threads were in there: in the child it never comes out
    child = os.fork()
    if child == 0:
        signal.alarm(15)
        try:
            another = bool(Journal(path, patience=0.0))
        except JournalError:
            another = False
        tell(
            lifecycle=str(scheduler.status().lifecycle),
            refused=[refuses(act) for act in (
                scheduler.tick,
                lambda: scheduler.complete("dev"),
                lambda: outbox.heartbeat("dev"),
                lambda: outbox.update_slot("dev", SlotKey.real(7), update),
                lambda: journal.accept("dev", SlotKey.real(7), update),
            )],
            another=another,
        )
        scheduler.stop()
        outbox.close()
        journal.close()
        sys.exit()
assert os.waitpid(child, 0)[1] == 0
scheduler.complete("dev")
scheduler.stop()
tell(lifecycle=str(scheduler.status().lifecycle), finished=str(calendar.slot(SlotKey.real(7)).status))
""",
        path,
    )
    assert end(process) == [
        {"lifecycle": "forked", "refused": [True] * 5, "another": False},
        {"lifecycle": "stopped", "finished": "finished"},
    ]
    journal = Journal(path, patience=0.0)
    assert journal.status().dead == 0
    journal.close()


def test_the_journal_of_a_program_that_lives_is_refused_to_every_other(
    running: "subprocess.Popen[str]", path: Path
) -> None:
    assert running.stdout is not None
    assert json.loads(running.stdout.readline()) == {"begun": True}
    with pytest.raises(JournalError, match="in use"):
        Journal(path, patience=0.0)
    running.send_signal(signal.SIGTERM)
    end(running)
