"""The file that a calendar lives in: who may read it, who may share it, and what it survives."""

import contextlib
import datetime as dt
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harborcal.calendar import Calendar
from harborcal.errors import (
    CalendarError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    LifecycleError,
    MissingExtraError,
)
from harborcal.model import SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.calendar.conftest import TODAY

ROOT = Path(__file__).parents[2]
VERSION_1 = (ROOT / "tests" / "golden" / "calendar_v1.sql").read_text(encoding="utf-8")


@contextlib.contextmanager
def opened(path: Path, clock: FakeClock | None = None, patience: float = 10.0) -> Iterator[Calendar]:
    calendar = Calendar(f"sqlite:///{path}", clock=clock or FakeClock(), patience=patience)
    with contextlib.closing(calendar):
        yield calendar


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def run_python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, cwd=ROOT)


# --- where it lives


def test_a_calendar_is_there_again_after_it_was_closed(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as calendar:
        calendar.register_agent("dev")
        slot = calendar.add_slot("dev", clock.now())
    with opened(path, clock) as calendar:
        assert calendar.day("dev", TODAY) == (slot,)


def test_a_new_file_is_for_its_owner_only(path: Path) -> None:
    with opened(path) as calendar:
        calendar.register_agent("dev")
        assert [stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()] == [0o600] * len(
            list(path.parent.iterdir())
        )


def test_a_file_behind_a_link_is_for_its_owner_only_too(tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "target.db")
    with opened(link):
        assert stat.S_IMODE((tmp_path / "target.db").stat().st_mode) == 0o600


def test_relative_paths_are_of_the_moment_of_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Calendar("sqlite:///here.db", clock=FakeClock())) as calendar:
        monkeypatch.chdir("/")
        calendar.register_agent("dev")
    assert (tmp_path / "here.db").exists()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_calendar_in_memory_serves_several_threads(url: str, clock: FakeClock) -> None:
    with contextlib.closing(Calendar(url, clock=clock)) as calendar:
        calendar.register_agent("dev")
        heard: list[int] = []
        threads = [
            threading.Thread(target=lambda: heard.append(len(calendar.heartbeat("dev").slots))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert heard == [0] * 8


@pytest.mark.parametrize(
    "url",
    [
        "calendar.db",
        "/tmp/calendar.db",
        "",
        "mysql://host/db",
        "sqlite://host/db",
        "sqlite:///x.db?mode=ro",
        "sqlite:///what?/x.db",
        "sqlite:///a\0b",
        None,
        Path("calendar.db"),
    ],
    ids=repr,
)
def test_a_url_that_names_no_file_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("sqlite:///calendar.db")):
        Calendar(url)


@pytest.mark.parametrize("patience", [0, -1, float("nan"), float("inf"), "1"])
def test_a_patience_that_is_no_time_is_refused(path: Path, patience: float) -> None:
    with pytest.raises(ConfigurationError, match="patience"):
        Calendar(f"sqlite:///{path}", patience=patience)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CalendarError, match="cannot be created"), opened(tmp_path / "nowhere" / "calendar.db"):
        pass
    with pytest.raises(CalendarError, match="is no file"), opened(tmp_path):
        pass


def test_nothing_is_done_after_a_close(path: Path) -> None:
    with opened(path) as calendar:
        calendar.register_agent("dev")
        calendar.close()
        calls: list[Callable[[], object]] = [
            lambda: calendar.agents(),
            lambda: calendar.heartbeat("dev"),
            lambda: calendar.register_agent("ops"),
        ]
        for call in calls:
            with pytest.raises(LifecycleError):
                call()


# --- versions


def test_an_older_calendar_is_brought_up_to_date_with_all_that_is_in_it(path: Path, clock: FakeClock) -> None:
    with raw(path) as connection:
        connection.executescript(VERSION_1)
    with opened(path, clock) as calendar:
        assert [agent.id for agent in calendar.agents()] == ["dev", "ops"]
        slot = calendar.slot(SlotKey.real(1))
        assert (slot.status, slot.started_at, slot.actual_duration) == (SlotStatus.FINISHED, dt.time(9, 0, 7), 12)
        assert [slot.ident for slot in calendar.day("dev", TODAY)] == ["1", "plan-1-2026-01-05"]
        assert [slot.ident for slot in calendar.day("dev", dt.date(2026, 1, 7))] == ["2"]
        assert calendar.import_ics("dev", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n").added == ()
        assert calendar.check() == ()


def test_a_process_that_dies_while_it_migrates_leaves_the_older_calendar(path: Path, clock: FakeClock) -> None:
    with raw(path) as connection:
        connection.executescript(VERSION_1)
    died = run_python(
        """
        import os, sys
        import sqlalchemy as sa
        from harborcal.calendar import Calendar

        @sa.event.listens_for(sa.Engine, "after_cursor_execute")
        def die(connection, cursor, statement, parameters, context, executemany):
            if "CREATE INDEX imports_of_slot" in statement:
                cursor.connection.execute("PRAGMA cache_spill = 1")
                os._exit(9)

        Calendar(f"sqlite:///{sys.argv[1]}")
        """,
        path,
    )
    assert died.returncode == 9, died.stderr
    with raw(path) as connection:
        assert connection.execute("SELECT schema_version FROM harborcal").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'imports'").fetchone() == (0,)
    with opened(path, clock) as calendar:
        assert calendar.slot(SlotKey.real(1)).status is SlotStatus.FINISHED


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        ("UPDATE harborcal SET schema_version = 99", "version 99.*use a newer one"),
        ("DELETE FROM harborcal", "damaged"),
        ("DROP TABLE harborcal", "another program's"),
    ],
)
def test_a_file_that_is_not_ours_to_use_is_refused_and_left_as_it_is(path: Path, prepare: str, told: str) -> None:
    with opened(path) as calendar:
        calendar.register_agent("dev")
    with raw(path) as connection:
        connection.execute(prepare)
    before = path.read_bytes()
    with pytest.raises(CalendarError, match=told), opened(path):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look at" * 50, b"SQLite format 3\0" * 90]
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CalendarError, match="cannot be used"), opened(path):
        pass
    assert path.read_bytes() == content


def test_a_damaged_file_is_told_and_not_written_over(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as calendar:
        calendar.register_agent("dev")
        for number in range(30):
            calendar.add_slot("dev", clock.now() + dt.timedelta(hours=number))
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(bytes(content))
    with pytest.raises(CalendarError), opened(path, clock) as calendar:
        calendar.heartbeat("dev")
    assert path.read_bytes() == bytes(content)


def test_a_check_tells_what_is_wrong(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as calendar:
        calendar.register_agent("dev")
        calendar.add_slot("dev", clock.now())
        assert calendar.check() == ()
    with raw(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        stricter = "replace(sql, 'claw_identifier TEXT', 'claw_identifier TEXT NOT NULL')"
        connection.execute(f"UPDATE sqlite_master SET sql = {stricter} WHERE name = 'agents'")
    with opened(path, clock) as calendar:
        assert calendar.check() == ("NULL value in agents.claw_identifier",)


# --- while it is in use


@pytest.mark.parametrize("act", ["deleted", "replaced"])
def test_a_file_that_is_deleted_or_replaced_while_in_use_is_told(path: Path, clock: FakeClock, act: str) -> None:
    with opened(path, clock) as calendar:
        calendar.register_agent("dev")
        path.unlink()
        if act == "replaced":
            with opened(path, clock):
                pass
        for call in (lambda: calendar.heartbeat("dev"), lambda: calendar.register_agent("ops"), calendar.agents):
            with pytest.raises(CalendarError, match="deleted or replaced"):
                call()


def test_who_waits_too_long_for_another_writer_is_told_so_and_nothing_has_changed(path: Path, clock: FakeClock) -> None:
    with opened(path, clock, patience=0.05) as calendar:
        calendar.register_agent("dev")
        slot = calendar.add_slot("dev", clock.now())
        with raw(path) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            for call in (
                lambda: calendar.heartbeat("dev"),
                lambda: calendar.apply_update("dev", slot.key, SlotUpdate(status=SlotStatus.ONGOING)),
                lambda: calendar.agents(),
            ):
                with pytest.raises(CalendarUnavailableError) as caught:
                    call()
                assert not caught.value.is_outcome_unknown
                assert caught.value.retry_after == 1.0
            connection.execute("ROLLBACK")
        assert calendar.day("dev", TODAY) == (slot,)
        calendar.heartbeat("dev")


def test_a_reader_that_lingers_does_not_stop_a_writer_for_good(path: Path, clock: FakeClock) -> None:
    with opened(path, clock, patience=10) as calendar:
        calendar.register_agent("dev")
        with raw(path) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT * FROM agents").fetchall()
            writer = threading.Thread(target=lambda: calendar.register_agent("ops"))
            writer.start()
            assert connection.execute("SELECT count(*) FROM agents").fetchone() == (1,)
            connection.execute("COMMIT")
        writer.join()
        assert len(calendar.agents()) == 2


def test_a_full_disk_is_told_and_what_was_there_stays(path: Path) -> None:
    done = run_python(
        """
        import datetime as dt, resource, sys
        from pathlib import Path
        from harborcal.calendar import Calendar
        from harborcal.errors import CalendarError
        from harborcal.testing import FakeClock

        clock = FakeClock()
        calendar = Calendar(f"sqlite:///{sys.argv[1]}", clock=clock)
        calendar.register_agent("dev")
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (Path(sys.argv[1]).stat().st_size + 40_000, hard))
        added = 0
        try:
            while added < 5_000:
                starts_at = clock.now() + dt.timedelta(hours=added)
                calendar.add_slot("dev", starts_at, event_data={"text": "x" * 2_000})
                added += 1
        except CalendarError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        calendar.add_slot("dev", clock.now() + dt.timedelta(hours=added))
        days = {clock.now().date() + dt.timedelta(days=number) for number in range(added // 24 + 2)}
        print(sum(len(calendar.day("dev", day)) for day in days) - added, calendar.check())
        """,
        path,
    )
    assert done.returncode == 0, done.stderr
    told, left = done.stdout.splitlines()
    assert "cannot be used" in told
    assert left == "1 ()"


# --- several processes


HAMMER = """
    import datetime as dt, sys
    from harborcal.calendar import Calendar
    from harborcal.model import SlotKey, SlotStatus, SlotUpdate
    from harborcal.testing import FakeClock

    calendar = Calendar(f"sqlite:///{sys.argv[1]}", clock=FakeClock())
    for number in range(int(sys.argv[3])):
        calendar.heartbeat("dev")
        calendar.apply_update("dev", SlotKey.real(1), SlotUpdate(status=SlotStatus.DEFERRED))
        calendar.apply_update("dev", SlotKey.real(1), SlotUpdate(status=SlotStatus.PAUSED))
        calendar.add_slot(sys.argv[2], calendar.clock.now() + dt.timedelta(hours=number))
    print("done")
"""


def test_processes_that_share_a_file_lose_no_update(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as calendar:
        names = ["a", "b", "c"]
        for name in ("dev", *names):
            calendar.register_agent(name)
        calendar.add_slot("dev", clock.now())
        command = [sys.executable, "-c", textwrap.dedent(HAMMER), str(path)]
        programs = [
            subprocess.Popen([*command, name, "12"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
            for name in names
        ]
        for program in programs:
            out, err = program.communicate(timeout=50)
            assert (program.returncode, out.strip()) == (0, b"done"), err
        with raw(path) as connection:
            assert connection.execute("SELECT count(*) FROM slots").fetchone() == (1 + 3 * 12,)
        assert calendar.check() == ()


def test_what_was_acknowledged_is_there_after_a_kill(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as calendar:
        calendar.register_agent("dev")
    program = """
        import datetime as dt, sys
        from harborcal.calendar import Calendar
        from harborcal.testing import FakeClock

        calendar = Calendar(f"sqlite:///{sys.argv[1]}", clock=FakeClock())
        number = 0
        while True:
            slot = calendar.add_slot("dev", calendar.clock.now() + dt.timedelta(hours=number))
            print(slot.id, flush=True)
            number += 1
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1] if line]
    with opened(path, clock) as calendar:
        for number in acknowledged:
            calendar.slot(SlotKey.real(number))
        assert calendar.check() == ()


def test_a_child_after_a_fork_opens_the_file_for_itself(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as calendar:
        calendar.register_agent("dev")
        child = os.fork()
        if child == 0:
            try:
                calendar.register_agent("child")
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [agent.id for agent in calendar.agents()] == ["child", "dev"]


def test_a_calendar_in_memory_says_that_a_fork_has_no_part_in_it(clock: FakeClock) -> None:
    with contextlib.closing(Calendar("sqlite://", clock=clock)) as calendar:
        child = os.fork()
        if child == 0:
            try:
                calendar.agents()
                os._exit(1)
            except LifecycleError:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_calendar_in_memory_is_not_closed_under_who_uses_it(clock: FakeClock) -> None:
    calendar = Calendar("sqlite://", clock=clock)
    calendar.register_agent("dev")
    ended: list[bool] = []

    def use() -> None:
        with pytest.raises(LifecycleError):
            while True:
                calendar.heartbeat("dev")
        ended.append(True)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    calendar.close()
    for thread in threads:
        thread.join()
    assert ended == [True] * 3


def test_a_row_that_cannot_be_read_is_told(path: Path, clock: FakeClock) -> None:
    with opened(path, clock) as calendar:
        calendar.register_agent("dev")
        calendar.add_slot("dev", clock.now())
        with raw(path) as connection:
            connection.execute("UPDATE slots SET status = 'weird'")
        with pytest.raises(CalendarError, match="cannot be read"):
            calendar.heartbeat("dev")


# --- what it needs


def test_without_its_packages_the_calendar_names_the_command_that_installs_them() -> None:
    told = run_python(
        """
        import sys
        sys.modules["sqlalchemy"] = None
        import harborcal
        harborcal.EmbeddedTransport
        try:
            import harborcal.calendar
        except harborcal.MissingExtraError as error:
            assert isinstance(error, ImportError)
            print(error)
        """
    )
    assert told.stdout.strip() == (
        "harborcal.calendar needs packages that are not installed: pip install 'harborcal[calendar]'"
    ), told.stderr
    assert issubclass(MissingExtraError, HarborcalError)
