"""The doctor: what it finds, what it says before it does it, and that it deletes nothing."""

import dataclasses
import datetime as dt
import json
import os
import pty
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal import Journal, Slot, SlotKey, SlotStatus, SlotUpdate, SystemClock
from harborcal.calendar import Calendar
from harborcal.control import SoleProcess, Tokens
from harborcal.journal import AttemptState, LetterState
from harborcal.testing import CalendarServer, FakeClock, InMemoryCalendar
from tests.campaigns.storage_acts import attempt_at
from tests.cli.daemons import HEAD, PROGRAM, Office, environment

NOW = SystemClock().now()
LONG_AGO = NOW - dt.timedelta(hours=5)


@pytest.fixture
def office(folder: Path) -> Iterator[Office]:
    office = Office(folder)
    office.employ("reviewer", "true")
    yield office
    office.close()


@pytest.fixture
def state(office: Office) -> Path:
    """The state folder that a daemon has left behind."""
    path = office.folder / ".harborcal"
    path.mkdir(mode=0o700)
    Tokens.kept_in(path / "secret")
    return path


def calendar_of(office: Office, at: dt.datetime | None = None) -> Calendar:
    clock = SystemClock() if at is None else FakeClock(at)
    return Calendar(f"sqlite:///{office.folder / 'calendar.db'}", clock=clock)


def found(office: Office, *words: str, code: int = 7) -> list[dict[str, Any]]:
    """Let the doctor look, and return what is not well."""
    checks: list[dict[str, Any]] = office.reads("doctor", *words, code=code)["checks"]
    return [one for one in checks if not one["ok"]]


def mended(office: Office) -> dict[str, Any]:
    """Let the doctor mend the one thing that is wrong, and see that it is well afterwards."""
    (finding,) = found(office, "--fix", "--yes", code=0)
    assert finding["fixed"]
    assert found(office, code=0) == []
    return finding


# --- nothing is wrong -----------------------------------------------------------------------------------------------


def test_where_all_is_well_it_says_so_and_makes_nothing(office: Office) -> None:
    told = office.call("doctor").stdout
    assert told.endswith("all is well\n")
    assert "ok     configuration" in told
    assert sorted(path.name for path in office.folder.iterdir()) == ["harborcal.toml", "reviewer.sh"]


def test_beside_a_daemon_it_looks_through_its_control_api(office: Office) -> None:
    with office.running() as daemon:
        daemon.wait_for("harborcal is ready")
        told = office.call("doctor").stdout
        assert f"process {daemon.pid} runs and answers" in told
        assert "the running daemon's" in told
        daemon.stop()


# --- configuration and folder ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("this is no TOML", "harborcal.toml"),
        (HEAD, "no agent is configured"),
        (HEAD + '[agents.a]\nhost = "pigeon"\n', "there is no host 'pigeon'"),
        (HEAD + '[agents.a]\ncommand = ["/no/such/program"]\n', "/no/such/program"),
    ],
    ids=["no TOML", "nobody", "unknown host", "no program"],
)
def test_a_configuration_with_which_nothing_runs_is_found(office: Office, toml: str, words: str) -> None:
    (office.folder / "harborcal.toml").write_text(toml)
    (finding,) = found(office, "--fix", "--yes")
    assert finding["check"] == "configuration"
    assert words in finding["text"]
    assert not finding["fixable"]


def test_what_others_could_read_is_closed_to_them(office: Office, state: Path) -> None:
    state.chmod(0o755)
    (state / "secret").chmod(0o644)
    assert [one["fixable"] for one in found(office)] == [True, True]
    assert state.stat().st_mode & 0o777 == 0o755, "a look changes nothing"
    assert all(one["fixed"] for one in found(office, "--fix", "--yes", code=0))
    assert (state.stat().st_mode & 0o777, (state / "secret").stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_socket_of_a_daemon_that_is_gone_is_taken_away(office: Office, state: Path) -> None:
    path = state / "control.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    assert "the socket of a daemon that is gone" in mended(office)["text"]
    assert not path.exists()


def test_a_daemon_that_does_not_answer_is_found_and_nothing_of_its_own_is_touched(office: Office, state: Path) -> None:
    number = dead_letter(state)
    with SoleProcess(state / "lock") as sole:
        assert sole.acquire()
        (finding,) = found(office, "--fix", "--yes")
    assert f"process {os.getpid()} holds" in finding["text"]
    assert letters_of(state) == [(number, LetterState.DEAD)]


# --- the journal ----------------------------------------------------------------------------------------------------


def test_a_damaged_journal_is_moved_aside_and_what_that_loses_is_said_first(office: Office, state: Path) -> None:
    damaged = b"not a journal\n" * 100
    (state / "journal").write_bytes(damaged)
    (state / "journal").chmod(0o600)
    (finding,) = found(office)
    assert "is damaged" in finding["text"]
    assert "Lost is what only it knew" in finding["remedy"]
    assert (state / "journal").read_bytes() == damaged, "a look changes nothing"

    assert mended(office)["outcome"].startswith(f"it is {state}/journal.damaged-")
    (aside,) = state.glob("journal.damaged-*")
    assert aside.read_bytes() == damaged
    with office.running("--for", "0.2s") as daemon:
        assert daemon.code() == 0


def test_a_journal_that_cannot_be_used_for_another_reason_is_left_as_it_is(office: Office, state: Path) -> None:
    (state / "journal").mkdir(mode=0o700)
    (finding,) = found(office, "--fix", "--yes")
    assert (finding["check"], finding["fixable"]) == ("journal", False)
    assert (state / "journal").is_dir()


def dead_letter(state: Path) -> int:
    journal = Journal(state / "journal")
    letter = journal.accept("reviewer", SlotKey.real(7), SlotUpdate(status=SlotStatus.FINISHED, actual_duration=5))
    journal.bury(letter.number, "calendar refused (409): slot is over")
    journal.close()
    return letter.number


def letters_of(state: Path) -> list[tuple[int, LetterState]]:
    journal = Journal(state / "journal")
    letters = [(letter.number, letter.state) for letter in journal.letters()]
    journal.close()
    return letters


def test_a_dead_letter_is_sent_once_more(office: Office, state: Path) -> None:
    number = dead_letter(state)
    (finding,) = found(office)
    assert f"dead letter {number}" in finding["text"]
    assert "slot is over" in finding["text"]
    assert letters_of(state) == [(number, LetterState.DEAD)]
    mended(office)
    assert letters_of(state) == [(number, LetterState.PENDING)]


def test_a_dead_letter_is_forgotten_when_that_is_asked_for(office: Office, state: Path) -> None:
    number = dead_letter(state)
    unknown, own = found(office, "--drop-letter", "99")
    assert "no dead letter 99" in unknown["text"]
    assert f"dead letter {number}: " in own["text"], "the rest of the visit is made all the same"
    assert found(office, "--drop-letter", str(number), code=0) == []
    assert letters_of(state) == []


def test_a_running_daemons_dead_letter_is_sent_through_it(office: Office, state: Path) -> None:
    number = dead_letter(state)
    with office.running() as daemon:
        daemon.wait_for("harborcal is ready")
        (finding,) = found(office)
        assert f"dead letter {number}" in finding["text"]
        (again,) = found(office, "--fix", "--yes", code=0)
        assert again["outcome"] == "it is on its way"
        daemon.stop()


# --- what got stuck -------------------------------------------------------------------------------------------------


def begun_long_ago(office: Office) -> Slot:
    """Have the calendar call a slot ongoing since hours ago."""
    with calendar_of(office, LONG_AGO) as calendar:
        calendar.register_agent("reviewer")
        slot = calendar.add_slot("reviewer", LONG_AGO, 30)
        return calendar.apply_update("reviewer", slot.key, SlotUpdate(status=SlotStatus.ONGOING))


def status_of(office: Office, key: SlotKey) -> SlotStatus:
    with calendar_of(office) as calendar:
        return calendar.slot(key).status


def attempt_long_ago(state: Path, slot: Slot, claimed_at: dt.datetime = LONG_AGO) -> str:
    """Have the journal say that an agent was woken for a slot; return the wake's id."""
    journal = Journal(state / "journal", clock=FakeClock(claimed_at))
    made = dataclasses.replace(attempt_at(slot, "reviewer"), claimed_at=claimed_at, started_at=claimed_at)
    attempt = journal.open_attempt(made)
    journal.enter(attempt.id)
    journal.change(attempt.id, state=AttemptState.ONGOING)
    journal.close()
    return attempt.wake_id


def test_who_has_been_silent_for_hours_is_given_up_and_the_calendar_told(office: Office, state: Path) -> None:
    slot = begun_long_ago(office)
    attempt_long_ago(state, slot)
    finding = mended(office)
    assert finding["check"] == "stuck leases"
    assert f"reviewer was at slot {slot.ident}, silent since {LONG_AGO:%Y-%m-%d %H:%M} UTC" in finding["text"]
    assert status_of(office, slot.key) is SlotStatus.ONGOING
    with office.running("--until-idle") as daemon:
        assert daemon.code() == 0
    assert status_of(office, slot.key) is SlotStatus.ABORTED


def test_who_has_been_silent_for_a_moment_is_not(office: Office, state: Path) -> None:
    attempt_long_ago(state, begun_long_ago(office), claimed_at=SystemClock().now())
    assert found(office, code=0) == []


def test_what_the_calendar_calls_ongoing_and_nobody_is_at_is_aborted(office: Office, state: Path) -> None:
    assert state.is_dir()
    slot = begun_long_ago(office)
    assert mended(office)["check"] == "lost slots"
    assert status_of(office, slot.key) is SlotStatus.ABORTED


def test_what_has_just_begun_is_not_lost_yet(office: Office, state: Path) -> None:
    assert state.is_dir()
    with calendar_of(office) as calendar:
        calendar.register_agent("reviewer")
        slot = calendar.add_slot("reviewer", SystemClock().now(), 30)
        calendar.apply_update("reviewer", slot.key, SlotUpdate(status=SlotStatus.ONGOING))
    assert found(office, code=0) == []


def test_what_another_living_scheduler_holds_is_left_to_it(office: Office) -> None:
    with calendar_of(office, LONG_AGO) as calendar:
        calendar.register_agent("reviewer")
        slot = calendar.add_slot("reviewer", LONG_AGO, 30)
        owner = calendar.new_owner("elsewhere")
        assert calendar.claim("reviewer", slot.key, LONG_AGO, owner=owner) is not None
        with calendar_of(office) as now:
            now.heartbeat("reviewer", claw_identifier="elsewhere", owner=owner)
        (finding,) = found(office, "--fix", "--yes")
    assert not finding["fixed"]
    assert "held by another scheduler" in finding["outcome"]
    assert status_of(office, slot.key) is SlotStatus.ONGOING


def test_a_command_that_works_for_nobody_is_ended(office: Office) -> None:
    office.employ("reviewer", "echo ready > started\nexec sleep 1000\n")
    started = office.pipe("started")
    office.add("reviewer")
    with office.running() as daemon:
        assert started.read_text() == "ready\n"
        daemon.wait_for("agent woken")  # it is written down by then that it runs
        daemon.send(signal.SIGKILL)
        daemon.code()
    state = office.folder / ".harborcal"
    (state / "control.sock").unlink()
    assert found(office, code=0) == [], "its slot is under way: the next daemon goes on with it"

    journal = Journal(state / "journal")
    (attempt,) = journal.attempts()
    journal.accept("reviewer", attempt.key, SlotUpdate(status=SlotStatus.ABORTED))
    journal.close()
    (finding,) = found(office)
    pid = int(finding["text"].split()[1])
    (again,) = found(office, "--fix", "--yes", code=0)
    assert again["outcome"] == "it was ended"
    wait_for_end_of(pid)
    assert found(office, code=0) == []


def test_a_command_that_may_linger_is_its_daemons_own(office: Office) -> None:
    office.employ("reviewer", '@harborcal complete "all done"\nexec sleep 1000\n', more="linger = 600.0")
    office.add("reviewer")
    with office.running() as daemon:
        daemon.wait_for("slot settled")
        assert found(office, code=0) == []
        daemon.send(signal.SIGKILL)
        daemon.code()
    (office.folder / ".harborcal" / "control.sock").unlink()
    (finding,) = found(office)
    assert "whose slot has ended without it" in finding["text"]


def wait_for_end_of(pid: int) -> None:
    """Wait for a process that is not ours to end."""
    descriptor = os.pidfd_open(pid)
    try:
        assert select.select([descriptor], [], [], 30)[0]
    finally:
        os.close(descriptor)


# --- calendar, backend, clock ---------------------------------------------------------------------------------------


def test_a_calendar_that_is_none_is_found_and_the_other_checks_are_made(office: Office) -> None:
    (office.folder / "calendar.db").write_bytes(b"no database" * 500)
    findings = found(office, "--fix", "--yes")
    assert "calendar" in {one["check"] for one in findings}
    assert not any(one["fixed"] for one in findings)
    assert (office.folder / "calendar.db").read_bytes() == b"no database" * 500


def test_a_backend_that_is_not_reached_or_does_not_know_an_agent_is_found(office: Office) -> None:
    calendar = InMemoryCalendar(agents=["somebody"])
    with CalendarServer(calendar) as server:
        (finding,) = found_at(office, server.url)
        assert "refuses reviewer" in finding["text"]
    (finding,) = found_at(office, server.url)
    assert "is not reached" in finding["text"]


def found_at(office: Office, backend: str) -> list[dict[str, Any]]:
    told = office.call("--backend", backend, "doctor", "--json", code=7).stdout
    return [one for one in json.loads(told)["checks"] if not one["ok"]]


def test_a_clock_that_was_set_back_is_found(office: Office) -> None:
    with calendar_of(office, NOW + dt.timedelta(days=2)) as calendar:
        calendar.register_agent("reviewer")
        calendar.heartbeat("reviewer")
    (finding,) = found(office)
    assert finding["check"] == "clock"
    assert "set the clock" in finding["remedy"]


def spoil(state: Path, what: str) -> None:
    """Leave something in a state folder that keeps a daemon from starting."""
    if what == "secret too short":
        (state / "secret").write_bytes(b"short")
    elif what == "secret that is a folder":
        (state / "secret").unlink()
        (state / "secret").mkdir(0o700)
    elif what == "socket that is a file":
        (state / "control.sock").touch()
    else:
        (state / "lock").symlink_to("nowhere")


@pytest.mark.parametrize(
    "what", ["secret too short", "secret that is a folder", "socket that is a file", "lock that is a link"]
)
def test_what_keeps_a_daemon_from_starting_is_found_and_called_by_its_name(
    office: Office, state: Path, what: str
) -> None:
    spoil(state, what)
    (finding,) = found(office, "--fix", "--yes")
    assert not finding["fixed"]
    assert "a process holds" not in finding["text"]
    office.call("run", "--for", "1s", code=3)


def test_a_state_folder_that_leads_nowhere_is_found(office: Office) -> None:
    (office.folder / ".harborcal").symlink_to(office.folder / "nowhere")
    (finding,) = found(office)
    assert finding["check"] == "state folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_what_cannot_be_written_is_found(office: Office, state: Path) -> None:
    state.chmod(0o500)
    (finding,) = found(office)
    assert "cannot be written" in finding["text"]
    state.chmod(0o700)


# --- asking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "code", "mode"), [(b"y\n", 0, 0o700), (b"n\n", 7, 0o755)], ids=["yes", "no"])
def test_it_asks_before_it_does_something(office: Office, state: Path, answer: bytes, code: int, mode: int) -> None:
    state.chmod(0o755)
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "doctor", "--fix"],
        cwd=office.folder,
        env=environment(NO_COLOR="1"),
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(follower)
        os.write(leader, answer)
        told, asked = process.communicate(timeout=50)
        os.close(leader)
    assert process.returncode == code, told
    assert b"do that?" in asked
    assert told.index(b"would set its mode") < told.index(b"mended")
    assert state.stat().st_mode & 0o777 == mode


def test_where_nobody_can_be_asked_it_asks_for_a_yes(office: Office) -> None:
    assert "--yes" in office.call("doctor", "--fix", code=2).stderr
    assert "--yes" in office.call("doctor", "--fix", "--json", code=2).stderr
