"""The file that a journal lives in: who may have it, what is refused, and what failures leave behind."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from harborcal.errors import ConfigurationError, JournalError
from harborcal.journal import Journal
from harborcal.journal import file as file_module
from harborcal.journal.file import VERSION, JournalFile
from harborcal.journal.journal import _TABLES, _TOTALS
from harborcal.model import Slot, SlotKey, SlotStatus, SlotUpdate
from harborcal.testing import FakeClock
from tests.campaigns.storage import Disk, Fault, StoredFile, journal_on, lay_out
from tests.campaigns.storage_acts import attempt_at, picture

ROOT = Path(__file__).parents[2]
KEY = SlotKey.real(7)
ONGOING = SlotUpdate(status=SlotStatus.ONGOING)
PATIENCE = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@contextlib.contextmanager
def opened(path: Path, *, patience: float = 0.0) -> Iterator[Journal]:
    journal = Journal(path, clock=FakeClock(), patience=patience)
    with contextlib.closing(journal):
        yield journal


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def written(path: Path) -> None:
    """Make a journal with something in it."""
    with opened(path) as journal:
        journal.open_attempt(attempt_at(Slot(id=7), "dev"))
        for number in range(3):
            journal.accept("dev", SlotKey.real(number), ONGOING)


def remains_of(path: Path) -> Path:
    return path.with_name(path.name + "-journal")


def run_python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, cwd=ROOT)


def refused(path: Path, why: str) -> None:
    """See that a journal is refused, by its name, and left as it is."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(JournalError, match=why) as refusal:
        Journal(path, clock=FakeClock(), patience=0.0)
    assert str(path) in str(refusal.value)
    assert before is None or path.read_bytes() == before


# --- where it lies, and whose it is


def test_a_new_journal_is_for_its_owner_only(path: Path) -> None:
    written(path)
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {
        "journal": 0o600,
        "journal-journal": 0o600,
    }


def test_a_journal_that_others_could_read_is_closed_to_them(path: Path) -> None:
    written(path)
    path.chmod(0o644)
    remains_of(path).chmod(0o664)
    with opened(path):
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_relative_path_is_of_the_moment_of_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path("here")) as journal:
        monkeypatch.chdir("/")
        journal.accept("dev", KEY, ONGOING)
        assert journal.path == tmp_path / "here"
    assert repr(journal) == f"Journal({str(tmp_path / 'here')!r})"


@pytest.mark.parametrize("path", ["", "a\0b", None, b"journal", 7], ids=repr)
def test_what_names_no_file_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="names a file"):
        Journal(path)


@pytest.mark.parametrize("patience", [-1, float("nan"), float("inf"), "5", 1e9])
def test_patience_is_a_number_of_seconds(path: Path, patience: float) -> None:
    with pytest.raises(ConfigurationError, match="patience"):
        Journal(path, patience=patience)
    assert not path.exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    refused(tmp_path / "no" / "journal", "cannot be used")
    assert not (tmp_path / "no").exists()


def test_links_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "target")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "folder", "pipe"):
        refused(tmp_path / name, "no regular file")
    assert not (tmp_path / "nothing").exists()


def test_a_link_in_the_place_of_what_is_left_of_a_write_is_refused(path: Path) -> None:
    written(path)
    remains_of(path).unlink()
    remains_of(path).symlink_to(path.parent / "elsewhere")
    refused(path, "no regular file")


def test_another_users_journal_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    refused(path, "belongs to another user")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_another_user_left_of_a_write_is_not_believed(path: Path) -> None:
    written(path)
    os.chown(remains_of(path), 12345, -1)
    refused(path, "belongs to another user")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = tmp_path / "far away"
    folder.mkdir()
    mounts = tmp_path / "mounts"
    place = str(folder.resolve()).replace(" ", "\\040")
    mounts.write_text(
        f"22 1 0:21 / / rw - ext4 /dev/sda rw\n36 22 0:31 / {place} rw shared:1 - {kind} server:/x rw\n\n"
    )
    monkeypatch.setattr(file_module, "_MOUNTS", mounts)
    refused(folder / "journal", f"network file system \\({kind}\\)")
    assert list(folder.iterdir()) == []
    with opened(tmp_path / "near"):
        pass


def test_where_nobody_knows_the_file_systems_a_journal_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "_MOUNTS", path.parent / "nothing")
    with opened(path) as journal:
        assert journal.accept("dev", KEY, ONGOING).number == 1


# --- creation


def test_a_creation_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        refused(path, "No space left")
    assert list(path.parent.iterdir()) == []
    with opened(path):
        pass


def test_of_two_that_create_a_journal_at_once_both_find_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def come_second(source: str, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", come_second)
    with opened(path) as journal:
        journal.accept("dev", KEY, ONGOING)
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal", "journal-journal"]


def test_the_folder_is_synced_before_anything_is_acknowledged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path)
    synced: list[bool] = []
    fsync = os.fsync

    def watch(handle: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    with opened(path):
        assert synced == [True]


def test_what_is_left_of_a_journal_that_is_gone_is_not_begun_anew(path: Path) -> None:
    remains_of(path).write_bytes(b"something")
    with pytest.raises(JournalError, match=re.escape(f"{path} is gone, but {remains_of(path)} is left")):
        Journal(path, patience=0.0)
    assert not path.exists()
    remains_of(path).write_bytes(b"")
    with opened(path):
        pass


# --- what is refused


@pytest.mark.parametrize("content", [b"", b"a letter to my grandmother\n" * 40, bytes(4096), b"SQLite format 3\0"])
def test_a_file_that_is_no_journal_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, "damaged")


def test_only_a_file_that_is_not_what_was_written_is_called_damaged(path: Path) -> None:
    with opened(path), pytest.raises(JournalError, match="in use") as in_use:
        Journal(path, clock=FakeClock(), patience=0.0)
    assert not in_use.value.damaged
    with raw(path) as connection:
        connection.execute("DELETE FROM proof")
    with pytest.raises(JournalError, match="its proof is gone") as damage:
        Journal(path, clock=FakeClock(), patience=0.0)
    assert damage.value.damaged
    path.write_bytes(b"")
    with pytest.raises(JournalError, match="it is empty") as emptied:
        Journal(path, clock=FakeClock(), patience=0.0)
    assert emptied.value.damaged


def test_another_programs_database_is_refused(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    refused(path, "no journal of harborcal's")


def change(*statements: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        with raw(path) as connection:
            for statement in statements:
                connection.execute(statement)

    return act


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (change(f"PRAGMA user_version = {VERSION + 1}"), "from a newer harborcal"),
        (change("PRAGMA user_version = 0"), "its version is 0"),
        (change("PRAGMA application_id = 1"), "no journal of harborcal's"),
        (change("CREATE TABLE more (text)"), "its tables are not a journal's"),
        (change("DROP TABLE letters"), "its tables are not a journal's"),
        (change("CREATE TRIGGER t AFTER INSERT ON letters BEGIN DELETE FROM letters; END"), "its tables are not"),
        (change("UPDATE letters SET state = 'delivered' WHERE id = 2"), "row 2 of letters is not what was written"),
        (change("UPDATE letters SET id = 9 WHERE id = 2"), "row 9 of letters is not what was written"),
        (change("DELETE FROM letters WHERE id = 2"), "rows are missing"),
        (change("DELETE FROM attempts"), "rows are missing"),
        (change("UPDATE proof SET accepted = 9"), "rows are missing"),
        (change("DELETE FROM proof"), "its proof is gone"),
        (
            change(
                "UPDATE letters SET id = 99 WHERE id = 1",
                "UPDATE letters SET id = 1 WHERE id = 2",
                "UPDATE letters SET id = 2 WHERE id = 99",
            ),
            "not what was written",
        ),
    ],
)
def test_a_journal_that_was_changed_behind_its_back_is_refused(
    path: Path, damage: Callable[[Path], None], why: str
) -> None:
    written(path)
    damage(path)
    refused(path, why)


def test_an_older_copy_of_a_row_is_noticed(path: Path) -> None:
    with opened(path) as journal:
        journal.accept("dev", KEY, ONGOING)
    with raw(path) as connection:
        (older,) = connection.execute("SELECT * FROM letters").fetchall()
    with opened(path) as journal:
        journal.delivered(1, KEY)
    with raw(path) as connection:
        connection.execute("REPLACE INTO letters VALUES (?, ?, ?, ?, ?, ?)", older)
    refused(path, "rows are missing, or are not those that were written")


@pytest.mark.parametrize("record", ["", "{}", "[]", "null", '{"number": 1}', "not JSON"])
@pytest.mark.parametrize("table", ["attempts", "letters"])
def test_a_record_that_this_version_cannot_read_is_refused_and_the_file_let_go(
    path: Path, table: str, record: str
) -> None:
    def ignore(_: str) -> None:
        pass

    file = JournalFile(path, _TABLES, _TOTALS, patience=0.0, checkpoint=ignore)
    file.write({(table, 1): ("dev", "7", "pending", record)}, dict.fromkeys(_TOTALS, 1))
    file.close()
    for _ in range(2):
        with pytest.raises(JournalError, match=re.escape(f"{path} cannot be read")):
            Journal(path, patience=0.0)


def test_what_no_file_can_hold_is_refused_and_nothing_is_changed(path: Path) -> None:
    with opened(path) as journal:
        with pytest.raises(JournalError, match="cannot be used"):
            journal.accept("dev", SlotKey.virtual("\ud800"), ONGOING)
        assert journal.status().accepted == 0
        assert journal.error
        assert journal.accept("dev", KEY, ONGOING).number == 1
        assert not journal.error


# --- one owner at a time


def test_a_second_journal_of_one_process_is_refused(path: Path) -> None:
    with opened(path) as journal:
        with pytest.raises(JournalError, match=re.escape(f"the journal {path} is in use")):
            Journal(path, patience=0.0)
        assert journal.accept("dev", KEY, ONGOING).number == 1
    with opened(path) as journal:
        assert journal.status().accepted == 1


OPEN = """
    import sys
    from harborcal.errors import JournalError
    from harborcal.journal import Journal
    try:
        Journal(sys.argv[1], patience=0.0).close()
    except JournalError as error:
        sys.exit(str(error))
"""


def test_a_second_process_is_refused_until_the_first_lets_go(path: Path) -> None:
    with opened(path) as journal:
        assert "is in use by another process" in run_python(OPEN, path).stderr
        journal.accept("dev", KEY, ONGOING)
        assert "is in use by another process" in run_python(OPEN, path).stderr
    assert run_python(OPEN, path).returncode == 0


def test_a_patient_opener_waits_for_the_earlier_owner(path: Path) -> None:
    first = Journal(path, clock=FakeClock(), patience=0.0)
    found: list[int] = []

    def wait() -> None:
        with opened(path, patience=PATIENCE) as second:
            found.append(second.status().accepted)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    first.accept("dev", KEY, ONGOING)
    first.close()
    waiting.join(PATIENCE)
    assert found == [1]


def test_a_closed_journal_takes_nothing(path: Path) -> None:
    with opened(path) as journal:
        attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.accept("dev", KEY, ONGOING)
    journal.change(attempt.id, rested=1.0)
    assert journal.status().accepted == 0
    with opened(path) as journal:
        assert journal.attempts() == (attempt,)


# --- deleted and replaced files


def test_a_deleted_file_is_noticed_and_nothing_is_acknowledged(path: Path) -> None:
    with opened(path) as journal:
        journal.accept("dev", KEY, ONGOING)
        path.unlink()
        for _ in range(2):
            with pytest.raises(JournalError, match=re.escape(f"{path} was deleted or replaced")):
                journal.accept("dev", KEY, ONGOING)
        assert "deleted or replaced" in journal.error
        assert not path.exists()


@pytest.mark.parametrize("is_copy", [True, False])
def test_a_replaced_file_is_noticed(path: Path, is_copy: bool) -> None:
    other = path.with_name("other")
    written(other)
    written(path)
    if is_copy:
        shutil.copy(path, other)
    with opened(path) as journal:
        before = picture(journal)
        other.rename(path)
        for _ in range(2):
            with pytest.raises(JournalError, match="was deleted or replaced"):
                journal.accept("dev", KEY, ONGOING)
        assert picture(journal) == before
    with opened(path) as journal:
        assert journal.status().accepted == 3


def test_a_file_that_comes_back_is_used_again(path: Path) -> None:
    with opened(path) as journal:
        journal.accept("dev", KEY, ONGOING)
        path.rename(path.with_name("away"))
        with pytest.raises(JournalError, match="was deleted or replaced"):
            journal.accept("dev", KEY, ONGOING)
        path.with_name("away").rename(path)
        assert journal.accept("dev", KEY, ONGOING).number == 2
    with opened(path) as journal:
        assert journal.status().accepted == 2


def test_a_link_that_takes_the_files_place_is_not_followed(path: Path) -> None:
    with opened(path) as journal:
        path.rename(path.with_name("away"))
        path.symlink_to(path.with_name("away"))
        with pytest.raises(JournalError, match="no regular file"):
            journal.accept("dev", KEY, ONGOING)


# --- crashes


KILLED = """
    import os, signal, sys
    from harborcal.journal import Journal
    from harborcal.model import SlotKey, SlotStatus, SlotUpdate
    is_last = False
    def checkpoint(step):
        if is_last and step == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)
    journal = Journal(sys.argv[1], checkpoint=checkpoint)
    for number in range(3):
        is_last = number == 2
        journal.accept("dev", SlotKey.real(number), SlotUpdate(status=SlotStatus.ONGOING))
"""


@pytest.mark.parametrize(("step", "found"), [("accept.begun", 2), ("accept.written", 2), ("accept.committed", 3)])
def test_a_killed_process_leaves_all_that_it_acknowledged(path: Path, step: str, found: int) -> None:
    assert run_python(KILLED, path, step).returncode == -signal.SIGKILL
    with opened(path) as journal:
        assert journal.status().accepted == len(journal.letters()) == found


def disk_with(path: Path, fault: Fault | None = None) -> Disk:
    """Put a journal onto a disk that can fail."""
    with opened(path):
        pass
    return Disk({str(path): path.read_bytes()}, fault=fault)


def found_elsewhere(disk: Disk, path: Path) -> int:
    """Tell how many updates somebody finds who opens what lies on the disk now."""
    lay_out(disk.as_seen(), path, path.with_name("elsewhere"))
    with opened(path.with_name("elsewhere")) as journal:
        assert journal.status().accepted == len(journal.letters())
        return journal.status().accepted


def test_a_half_made_write_is_rolled_back_by_the_next_owner(path: Path) -> None:
    disk = disk_with(path)
    journal = journal_on(disk, path, clock=FakeClock())
    journal.accept("dev", KEY, ONGOING)
    steps = len(disk.steps)
    journal.accept("dev", KEY, ONGOING)
    journal.close()
    kinds = [(step.kind, step.name) for step in disk.steps]
    half = max(number for number in range(steps, len(kinds)) if kinds[number] == ("write", str(path)))
    again = Disk({str(path): path.read_bytes()})
    for step in disk.steps[: half + 1]:
        again.do(step)
    assert again.as_seen()[f"{path}-journal"]
    assert found_elsewhere(again, path) == 1
    assert found_elsewhere(disk, path) == 2


# --- failing disks


def test_a_full_disk_is_told_and_work_goes_on_when_there_is_room(path: Path) -> None:
    disk = disk_with(path)
    journal = journal_on(disk, path, clock=FakeClock())
    attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
    disk.fault = Fault("write", 0, 10**6, apsw.SQLITE_FULL)
    with pytest.raises(JournalError, match="cannot be used"):
        journal.accept("dev", KEY, ONGOING)
    journal.change(attempt.id, rested=2.0)
    assert journal.error
    assert journal.status().journal_error == journal.error
    assert (journal.status().accepted, journal.attempts()[0].rested) == (0, 2.0)
    disk.fault = None
    assert journal.accept("dev", SlotKey.real(9), ONGOING).number == 1
    assert journal.error == ""
    told = picture(journal)
    journal.close()
    lay_out(disk.as_seen(), path, path.with_name("elsewhere"))
    with opened(path.with_name("elsewhere")) as again:
        assert picture(again) == told


def failed_commit(path: Path, times: int) -> tuple[Disk, Journal]:
    """Have the very last sync of a write fail, and so many steps altogether: the write is on disk all the same."""
    disk = disk_with(path)
    journal = journal_on(disk, path, clock=FakeClock())
    before = len([step for step in disk.steps if step.kind == "sync"])
    journal.accept("dev", KEY, ONGOING)
    syncs = len([step for step in disk.steps if step.kind == "sync"]) - before
    disk.met = 0
    disk.fault = Fault("sync", syncs - 1, times, apsw.SQLITE_IOERR_FSYNC)
    with pytest.raises(JournalError, match="cannot be used"):
        journal.accept("dev", KEY, ONGOING)
    disk.fault = None
    return disk, journal


def test_a_commit_that_failed_at_its_very_end_is_undone_at_once(path: Path) -> None:
    disk, journal = failed_commit(path, 1)
    assert found_elsewhere(disk, path) == 1
    assert journal.accept("dev", KEY, ONGOING).number == 2
    journal.close()
    assert found_elsewhere(disk, path) == 2


def test_a_commit_that_failed_is_undone_before_the_next_write(path: Path) -> None:
    disk, journal = failed_commit(path, 10**6)
    assert found_elsewhere(disk, path) == 2
    journal.open_attempt(attempt_at(Slot(id=7), "dev"))
    assert found_elsewhere(disk, path) == 1
    journal.close()


def test_a_commit_that_failed_is_undone_at_the_end(path: Path) -> None:
    disk, journal = failed_commit(path, 10**6)
    journal.close()
    assert found_elsewhere(disk, path) == 1
    journal.close()


def another_owner(disk: Disk, path: Path, act: Callable[[Journal], object]) -> None:
    """Let another process open the journal, do something, and close it."""
    other = path.with_name("other")
    lay_out(disk.as_seen(), path, other)
    with opened(other) as journal:
        act(journal)
    for suffix in ("", "-journal"):
        held = other.with_name(other.name + suffix).read_bytes()
        disk.files[f"{path}{suffix}"] = StoredFile(bytearray(held), bytearray(held), is_durable=True)


def come_and_go(journal: Journal) -> None:
    journal.withdraw(journal.open_attempt(attempt_at(Slot(id=7), "dev")).id)


@pytest.mark.parametrize("act", [lambda journal: journal.accept("ops", KEY, ONGOING), come_and_go])
def test_what_another_owner_wrote_in_between_is_not_overwritten(path: Path, act: Callable[[Journal], object]) -> None:
    disk, journal = failed_commit(path, 10**6)
    another_owner(disk, path, act)
    for _ in range(2):
        with pytest.raises(JournalError, match="was changed by another program"):
            journal.accept("dev", KEY, ONGOING)
    journal.close()
    assert found_elsewhere(disk, path) >= 2


def test_another_owner_who_wrote_nothing_does_no_harm(path: Path) -> None:
    disk, journal = failed_commit(path, 10**6)
    another_owner(disk, path, lambda _: None)
    assert journal.accept("dev", KEY, ONGOING).number == 2
    journal.close()
    assert found_elsewhere(disk, path) == 2


def test_a_failed_journal_does_not_take_a_file_that_took_its_files_place(path: Path) -> None:
    disk, journal = failed_commit(path, 10**6)
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)
    with pytest.raises(JournalError, match="was deleted or replaced"):
        journal.accept("dev", KEY, ONGOING)
    journal.close()
    assert found_elsewhere(disk, path) == 2


# --- forks


FORKED = """
    import os, sys, threading
    from harborcal.errors import LifecycleError
    from harborcal.journal import Journal
    from harborcal.model import Slot, SlotKey, SlotStatus, SlotUpdate
    from tests.campaigns.storage_acts import attempt_at
    update, key = SlotUpdate(status=SlotStatus.ONGOING), SlotKey.real(7)
    forked, reached = threading.Event(), threading.Event()
    def checkpoint(step):
        if hangs and step == "accept.written":
            reached.set()
            assert forked.wait(10)
    hangs = False
    def in_child(act):
        child = os.fork()
        if not child:
            try:
                act()
            except BaseException as error:
                print(repr(error))
                os._exit(1)
            sys.exit(0)  # with all that an exit does
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    journal = Journal(sys.argv[1], patience=0.0, checkpoint=checkpoint)
    attempt = journal.open_attempt(attempt_at(Slot(id=7), "dev"))
"""


def run_forked(program: str, path: Path) -> None:
    done = run_python(textwrap.dedent(FORKED) + textwrap.dedent(program), path)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_a_childs_copy_is_inert_and_says_so(path: Path) -> None:
    program = """
        def act():
            for call in (
                lambda: journal.accept("dev", key, update),
                lambda: journal.open_attempt(attempt),
                lambda: journal.enter(attempt.id),
                lambda: journal.change(attempt.id, rested=1.0),
                lambda: journal.change(attempt.id, can_wait=True, rested=1.0),
                lambda: journal.withdraw(attempt.id),
                lambda: journal.drop(1),
            ):
                try:
                    call()
                except LifecycleError as error:
                    assert "after the fork" in str(error)
                else:
                    raise AssertionError("it was taken")
            assert journal.status().accepted == 0 and journal.attempts() == (attempt,)
            journal.close()
        in_child(act)
        assert journal.accept("dev", key, update).number == 1
        journal.close()
        print("done")
    """
    run_forked(program, path)
    with opened(path) as journal:
        assert journal.status().accepted == 1


def test_a_child_that_is_forked_in_the_middle_of_a_write_cannot_roll_it_back(path: Path) -> None:
    program = """
        sys.addaudithook(lambda name, _: forked.set() if name == "os.fork" else None)
        hangs = True
        writer = threading.Thread(target=journal.accept, args=("dev", key, update))
        writer.start()
        assert reached.wait(10)
        def act():
            assert not journal._file._connection.in_transaction
        in_child(act)
        writer.join()
        assert journal.accept("dev", key, update).number == 2
        journal.close()
        print("done")
    """
    run_forked(program, path)
    with opened(path) as journal:
        assert journal.status().accepted == 2


def test_threads_that_fork_at_once_leave_the_journal_usable(path: Path) -> None:
    program = """
        def fork_often():
            for _ in range(15):
                in_child(lambda: None)
        second = Journal(sys.argv[1] + "2", patience=0.0)
        threads = [threading.Thread(target=fork_often) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert journal.accept("dev", key, update).number == 1
        assert second.accept("dev", key, update).number == 1
        journal.close()
        second.close()
        print("done")
    """
    run_forked(program, path)


@pytest.mark.parametrize("content", [b'[harborcal]\nname = "dev"\n' * 9, b""], ids=["a text", "nothing"])
def test_what_is_no_journal_keeps_its_mode_too(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
    with pytest.raises(JournalError):
        Journal(path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (content, 0o644)


def test_a_database_of_another_program_keeps_its_mode_too(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
        connection.commit()
    path.chmod(0o664)
    with pytest.raises(JournalError, match="no journal of harborcal's"):
        Journal(path)
    assert path.stat().st_mode & 0o777 == 0o664
