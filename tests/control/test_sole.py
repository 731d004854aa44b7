"""One process at a time, however the one before it ended."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harborcal import ConfigurationError
from harborcal.control import SoleProcess

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys\nfrom harborcal.control import SoleProcess\nsole = SoleProcess(sys.argv[1])\n"
    "print(sole.acquire(), flush=True)\nsys.stdin.read()\n"
)


def holder(path: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_of_two_one_holds_it_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process, SoleProcess(path) as sole:
        assert not sole.acquire()
        assert not sole.is_held
        assert sole.holder() == process.pid
        process.kill()
        process.wait()
        assert sole.holder() is None
        assert sole.acquire()
        assert sole.acquire(), "once more changes nothing"
        assert sole.holder() == os.getpid()
    with SoleProcess(path) as later:
        assert later.acquire()


def test_looking_who_holds_it_does_not_let_it_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with SoleProcess(path) as sole, SoleProcess(path) as other:
        assert sole.acquire()
        assert other.holder() == os.getpid()
        assert not other.acquire()
        other.release()
        with SoleProcess(path) as third:
            assert not third.acquire()


def test_a_forked_child_neither_holds_it_nor_keeps_it_from_others(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    sole = SoleProcess(path)
    assert sole.acquire()
    child = os.fork()
    if child == 0:
        if sole.is_held:
            os._exit(1)
        time.sleep(60)
        os._exit(0)
    try:
        sole.release()
        with SoleProcess(path) as other:
            assert other.acquire()
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it lives, and holds nothing"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_cannot_be_locked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SoleProcess(tmp_path / "no" / "folder").acquire()


def test_a_file_system_without_locks_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigurationError, match="cannot be had: No locks available"):
        SoleProcess(tmp_path / "lock").acquire()


def test_a_disk_that_is_full_keeps_nobody_from_the_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    sole = SoleProcess(tmp_path / "lock")
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", refuse)
        assert sole.acquire()
    other = SoleProcess(tmp_path / "lock")
    assert not other.acquire()
    assert other.holder() is None
    sole.release()
    assert SoleProcess(tmp_path / "lock").acquire()


def test_a_child_that_outlives_its_parent_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, sys, time\nfrom harborcal.control import SoleProcess\nsole = SoleProcess(sys.argv[1])\n"
        "assert sole.acquire()\ntold, tell = os.pipe()\nchild = os.fork()\n"
        "if child == 0:\n    os.write(tell, b'x')\n    os.close(1)\n    time.sleep(60)\n    os._exit(0)\n"
        "os.read(told, 1)\nprint(child, flush=True)\nos._exit(0)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    told = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    try:
        with SoleProcess(path) as other:
            assert other.acquire()
    finally:
        os.kill(int(told.stdout), signal.SIGKILL)
