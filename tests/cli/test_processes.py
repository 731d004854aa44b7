"""The command line as programs and people meet it: real processes, pipes, signals, terminals, shells."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TOML

ROOT = Path(__file__).parent.parent.parent
PROGRAM = [sys.executable, "-m", "harborcal"]


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR", "HARBORCAL_INSTALLED"}
    }
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more}


@pytest.fixture
def harbor_folder(folder: Path) -> Path:
    (folder / "harborcal.toml").write_text(TOML, encoding="utf-8")
    return folder


def run(folder: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=folder,
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_python_m_harborcal_answers_on_stdout_and_ends_with_zero(harbor_folder: Path) -> None:
    done = run(harbor_folder, "add", "reviewer", "tomorrow 09:30", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["agent_id"] == "reviewer"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["agents", "remove", "writer"], 1),
        (["add", "reviewer"], 2),
        (["--config", "absent.toml", "today"], 3),
        (["add", "stranger", "in 5m"], 5),
        (["--calendar", "absent/calendar.db", "today"], 6),
    ],
)
def test_exit_codes_tell_scripts_what_went_wrong(harbor_folder: Path, words: list[str], code: int) -> None:
    done = run(harbor_folder, *words)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert (done.stdout == "") is (code != 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(harbor_folder: Path) -> None:
    harbor_folder.chmod(0o500)
    try:
        assert run(harbor_folder, "init", "sub").returncode == 1
        assert run(harbor_folder, "today").returncode == 6
    finally:
        harbor_folder.chmod(0o700)


def test_an_error_that_nobody_foresaw_is_one_line_unless_debugged(harbor_folder: Path) -> None:
    (harbor_folder / "icalendar.py").write_text("raise OverflowError('too much')", encoding="utf-8")
    broken = {"PYTHONPATH": f"{harbor_folder}:{ROOT}"}
    done = run(harbor_folder, "today", **broken)
    assert done.returncode == 1
    assert (
        done.stderr
        == "harborcal: this should not have happened: OverflowError: too much (HARBORCAL_DEBUG=1 shows where)\n"
    )
    assert "Traceback" in run(harbor_folder, "today", HARBORCAL_DEBUG="1", **broken).stderr


@pytest.mark.parametrize(("package", "extra"), [("click", "cli"), ("rich", "cli"), ("icalendar", "calendar")])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    harbor_folder: Path, package: str, extra: str
) -> None:
    starter = (
        "import sys, importlib.abc\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {package!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "sys.argv = ['harborcal', 'today']\n"
        "from harborcal.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", starter],
        cwd=harbor_folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"pip install 'harborcal[{extra}]'" in done.stderr


def test_whoever_stops_reading_hears_no_complaint(harbor_folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [*PROGRAM, "config", "show"],
            cwd=harbor_folder,
            env=environment(),
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_told(harbor_folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, "config", "show"],
            cwd=harbor_folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


def test_ctrl_c_ends_with_130_and_without_a_traceback(harbor_folder: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "import", "-", "--agent", "reviewer"],
        cwd=harbor_folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    with process:
        # It takes more than a pipe holds only once it reads: then it is in its command, and waits for the rest.
        process.stdin.write(b" " * 300_000)
        process.stdin.flush()
        for _ in range(20):
            # One that comes between two reads is only seen after the next: people press again, too.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                break
        assert process.returncode == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"harborcal: interrupted\n"


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_everything_works_in_the_plainest_locale(harbor_folder: Path, locale: str) -> None:
    assert (
        run(harbor_folder, "add", "reviewer", "tomorrow 09:30", "--text", "Grüße an 世界", LC_ALL=locale).returncode
        == 0
    )
    for more in ({}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}):
        done = run(harbor_folder, "day", "tomorrow", LC_ALL=locale, **more)
        assert done.returncode == 0, done.stderr
        assert "09:30-10:00" in done.stdout
        assert run(harbor_folder, "day", "tomorrow", "--json", LC_ALL=locale, **more).returncode == 0
        assert run(harbor_folder, "--help", LC_ALL=locale, **more).returncode == 0


# --- terminals --------------------------------------------------------------------------------------------------------


def on_terminal(folder: Path, *words: str, **environ: str) -> str:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *words], cwd=folder, env=environment(**environ), stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        parts: list[bytes] = []
        with contextlib.suppress(OSError):  # the line is closed when the process ends
            while part := os.read(leader, 65_536):
                parts.append(part)
        os.close(leader)
        assert process.wait(30) == 0, parts
    return b"".join(parts).decode()


def test_colours_are_for_terminals_that_want_them(harbor_folder: Path) -> None:
    run(harbor_folder, "add", "reviewer", "tomorrow 09:30")
    words = ("day", "tomorrow")
    assert "\x1b" not in run(harbor_folder, *words).stdout
    assert "\x1b[1m" in on_terminal(harbor_folder, *words)
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        told = on_terminal(harbor_folder, *words, **plain)
        assert "\x1b" not in told
        assert "09:30-10:00" in told


def test_progress_is_shown_on_a_terminal_only(harbor_folder: Path) -> None:
    assert "rehearsing 1 day(s)" in on_terminal(harbor_folder, "simulate")
    done = run(harbor_folder, "simulate")
    assert (done.returncode, done.stderr) == (0, "")


# --- completion -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(folder: Path) -> Path:
    """A folder for PATH in which `harborcal` is."""
    there = folder / "bin"
    there.mkdir()
    script = there / "harborcal"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harborcal "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return there


def shell(name: str, folder: Path, command: Path, script: str) -> str:
    where = shutil.which(name)
    if where is None:
        pytest.skip(f"there is no {name} here")
    done = subprocess.run(
        [where, "-c", script],
        cwd=folder,
        env=environment(PATH=f"{command}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def bash_completes(folder: Path, command: Path, line: str) -> set[str]:
    words = " ".join(f"'{word}'" for word in line.split(" "))
    script = (
        'eval "$(harborcal completion bash)"\n'
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        "_harborcal_completion harborcal\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return set(shell("bash", folder, command, script).split())


def test_bash_completes_commands_options_and_agents(harbor_folder: Path, command: Path) -> None:
    assert bash_completes(harbor_folder, command, "harborcal pla") == {"plan", "plans"}
    assert bash_completes(harbor_folder, command, "harborcal add ") == {"reviewer", "writer"}
    assert bash_completes(harbor_folder, command, "harborcal add rev") == {"reviewer"}
    assert bash_completes(harbor_folder, command, "harborcal export --agent w") == {"writer"}
    assert bash_completes(harbor_folder, command, "harborcal simulate --d") == {"--days"}
    assert bash_completes(harbor_folder, command, "harborcal completion z") == {"zsh"}


def test_agents_of_the_calendar_are_completed_too_and_completing_changes_nothing(
    harbor_folder: Path, command: Path
) -> None:
    bash_completes(harbor_folder, command, "harborcal add ")
    assert not (harbor_folder / "calendar.db").exists()
    run(harbor_folder, "agents", "add", "tester")
    assert bash_completes(harbor_folder, command, "harborcal add te") == {"tester"}


def test_a_wrong_configuration_completes_to_nothing_and_says_nothing(harbor_folder: Path, command: Path) -> None:
    (harbor_folder / "harborcal.toml").write_text("zone = ", encoding="utf-8")
    assert bash_completes(harbor_folder, command, "harborcal add ") == set()
    assert bash_completes(harbor_folder, command, "harborcal --config absent.toml add r") == set()


def test_completion_goes_by_the_options_before_the_command(harbor_folder: Path, command: Path) -> None:
    (harbor_folder / "other.toml").write_text("[agents.rower]\n", encoding="utf-8")
    assert bash_completes(harbor_folder, command, "harborcal --config other.toml add r") == {"rower"}


def test_zsh_takes_its_script(harbor_folder: Path, command: Path) -> None:
    script = 'autoload -U compinit; compinit -u -D; eval "$(harborcal completion zsh)"; print $_comps[harborcal]'
    assert shell("zsh", harbor_folder, command, script).strip() == "_harborcal_completion"


def test_fish_completes_agents(harbor_folder: Path, command: Path) -> None:
    script = 'harborcal completion fish | source; complete -C "harborcal add rev"'
    assert shell("fish", harbor_folder, command, script).split() == ["reviewer"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_script_is_printed_also_where_its_shell_is_not_installed(harbor_folder: Path, name: str) -> None:
    done = run(harbor_folder, "completion", name, PATH="/nowhere")
    assert done.returncode == 0, done.stderr
    assert "_HARBORCAL_COMPLETE" in done.stdout
