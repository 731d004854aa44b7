"""What the daemon is made of, where a process of its own would show it too late or not at all."""

import io
import json
import logging
import signal
import socket
import subprocess
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest

from harborcal import ConfigurationError
from harborcal.cli.agent_tables import AgentSettings
from harborcal.cli.logs import logging_to
from harborcal.cli.notify import notify
from harborcal.cli.reporting import ReportingByAgent
from harborcal.cli.state import prepare_state
from harborcal.cli.survivors import LOOK_EVERY, Survivors
from harborcal.envelope import WakeEnvelope
from harborcal.hosts.callback import log_to_logging
from harborcal.hosts.records import RunRecord
from tests.world import World

# --- commands that outlived an earlier daemon -----------------------------------------------------------------------


def survivor_of(world: World, folder: Path, command: "subprocess.Popen[bytes]") -> Survivors:
    """Have a command's record be found by a daemon that begins now."""
    (wake,) = world.host.wakes
    record = RunRecord(folder, "dev", wake.wake_id, "20260105T090000.000000")
    record.prepare(keep=5)
    record.begin(command.pid)
    (written,) = folder.glob("*/*.json")  # as of a process that is gone
    written.write_text(json.dumps(json.loads(written.read_text()) | {"host": [1, "another"]}))
    return Survivors(folder, world.scheduler, world.clock, world.host.log)


def test_the_life_of_a_command_that_outlived_its_daemon_renews_the_lease(folder: Path) -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    lease_until = world.scheduler.status().active[0].lease_until
    assert lease_until is not None
    with subprocess.Popen(["sleep", "1000"]) as command:
        survivors = survivor_of(world, folder, command)
        world.clock.advance(600)
        survivors.look()
        (active,) = world.scheduler.status().active
        assert active.heard_at == world.clock.now()
        assert active.lease_until is not None
        assert (active.lease_until - lease_until).total_seconds() == pytest.approx(600)
        command.kill()
    world.clock.advance(LOOK_EVERY)
    survivors.look()
    assert world.scheduler.status().active[0].heard_at == active.heard_at, "it is gone: nobody was heard"


def test_its_life_is_not_enough_for_ever_and_its_end_is_nobodys_fault(folder: Path) -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    with subprocess.Popen(["sleep", "1000"]) as command:
        survivors = survivor_of(world, folder, command)
        world.clock.advance(LOOK_EVERY)
        world.scheduler.complete("dev")
        survivors.look()  # its slot is settled
        world.add()
        world.scheduler.tick()
        world.clock.advance(LOOK_EVERY)
        survivors.look()
        assert world.scheduler.status().active[0].heard_at is None, "that is another slot's"
        command.kill()


def test_once_its_slot_has_ended_it_may_go_on_for_a_while_and_is_ended_then(folder: Path) -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    with subprocess.Popen(
        ["/bin/sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"], start_new_session=True
    ) as command:
        survivors = survivor_of(world, folder, command)
        survivors.look()
        world.scheduler.complete("dev")
        for _ in range(2):
            world.clock.advance(LOOK_EVERY)
            survivors.look()
            assert command.poll() is None
        world.clock.advance(LOOK_EVERY)
        survivors.look()
        assert command.wait(20) == -signal.SIGKILL


def test_after_an_hour_the_lease_alone_decides(folder: Path) -> None:
    world = World()
    world.add()
    world.scheduler.tick()
    with subprocess.Popen(["sleep", "1000"]) as command:
        survivors = survivor_of(world, folder, command)
        survivors.look()
        heard_at = world.scheduler.status().active[0].heard_at
        world.clock.advance(3_601)
        survivors.look()
        command.kill()
    active = world.scheduler.status().active
    assert not active or active[0].heard_at == heard_at


# --- how agents are told to report ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "settings", "told", "untold"),
    [
        ("command", {}, "exit code 0", "POST"),
        ("command", {"reports_by_exit": False}, "complete", "exit code"),
        ("webhook", {}, "/v1/agents/dev/complete at report.HARBORCAL_CONTROL", "exit code"),
        ("callback", {}, "wake.report.complete", "POST"),
    ],
    ids=["command", "command without exit codes", "webhook", "function"],
)
def test_agents_are_told_the_way_of_reporting_that_they_have(
    host: str, settings: dict[str, object], told: str, untold: str
) -> None:
    agent = AgentSettings(id="dev", host=host, settings=MappingProxyType(settings))
    world = World()
    world.add()
    world.scheduler.tick()
    (wake,) = world.host.wakes
    text = WakeEnvelope(zone=ZoneInfo("UTC"), reporting=ReportingByAgent({"dev": agent}))(wake)
    assert told in text
    assert untold not in text


# --- lines of log ---------------------------------------------------------------------------------------------------


def test_what_is_logged_stays_on_its_line() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log_to_logging("warn", "slot settled", {"agent": "dev", "reason": "no\nway \x1b[31m", "empty": ""})
        try:
            raise ValueError("of\nits own")
        except ValueError:
            logging.getLogger("elsewhere").exception("something failed")
    settled, failed = stream.getvalue().splitlines()
    assert settled.endswith('Z warn  slot settled agent=dev reason="no way [31m" empty=""')
    assert failed.endswith('Z error something failed error="ValueError: of its own"')


def test_in_json_the_fields_are_values_and_errors_have_their_traceback() -> None:
    stream = io.StringIO()
    with logging_to(stream, "json"):
        log_to_logging("info", "calendar tick", {"agents": 3})
        try:
            raise ValueError("of its own")
        except ValueError:
            logging.getLogger("elsewhere").exception("something failed")
    tick, failed = map(json.loads, stream.getvalue().splitlines())
    assert (tick["level"], tick["message"], tick["fields"]) == ("info", "calendar tick", {"agents": 3})
    assert "Traceback" in failed["traceback"]


def test_a_log_that_nobody_reads_any_more_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    with logging_to(stream):
        stream.close()
        log_to_logging("info", "calendar tick", {})
    assert capsys.readouterr().err == ""


# --- the state folder, systemd --------------------------------------------------------------------------------------


def test_a_state_folder_is_closed_to_others(folder: Path) -> None:
    state = folder / "deep" / "state"
    prepare_state(state, state.parent)
    state.chmod(0o755)
    (state / ".gitignore").write_text("mine\n")
    prepare_state(state, state.parent)
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / ".gitignore").read_text() == "mine\n"


def test_what_is_no_folder_is_refused(folder: Path) -> None:
    (folder / "state").write_text("a file")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        prepare_state(folder / "state", folder)


def test_a_service_manager_may_listen_at_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0harborcal-notify-test")
        manager.settimeout(10)
        assert notify({"NOTIFY_SOCKET": "@harborcal-notify-test"}, "READY=1", "STATUS=a\nb")
        assert manager.recv(100) == b"READY=1\nSTATUS=a b"


@pytest.mark.parametrize("address", ["", "relative", "/no/such/socket"])
def test_without_a_service_manager_nothing_is_told(address: str) -> None:
    assert not notify({"NOTIFY_SOCKET": address}, "READY=1")
