"""A host whose agents are programs: a command per wake."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from harborcal.clock import Clock, SystemClock
from harborcal.errors import ConfigurationError, HostError
from harborcal.grammar import clean
from harborcal.host import WakeRequest
from harborcal.hosts.callback import LogCallback, log_to_logging
from harborcal.hosts.records import RunRecord, orphans_of
from harborcal.hosts.running import Limits, Run
from harborcal.model import check_seconds

INHERITED = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
)
"""The variables that a command has from our own environment unless more are named."""

SECRETS = ("HARBORCAL_API_KEY", "HARBORCAL_API_KEY_FILE", "HARBORCAL_SERVE_KEY", "HARBORCAL_SERVE_KEY_FILE")
"""Variables that no command gets from our environment, whatever is inherited."""

MAX_ARGUMENT = 100_000
"""Bytes of a message that is given as an argument: systems take little more in one."""

_DATA_LIMIT = 64_000
_FOR_REPORTS = 3.0  # seconds of the time for closing: to end what does not end by itself, and to report of it
_OURS = "HARBORCAL_"
_OPERATIONS = ("killpg", "waitid", "set_blocking")


class CommandHost:
    """Wakes agents by running a command; no shell is involved.

    The command finds its message on standard input, or as an argument, and the slot's facts in ``HARBORCAL_*``
    variables. Its exit code reports for its agent, unless that reported itself: 0 is complete, with the last line of
    standard output as summary; anything else is abort, with the tail of standard error as reason. A wake whose slot is
    settled by somebody else, a command over its time limit, and `close` end the command's whole process group. While a
    command with a time limit runs, its life renews its slot's lease.

    Args:
        command: The program and its arguments; ``{message}`` in one of them is where the message goes.
        message: How the command is told: ``stdin`` or ``argument``.
        directory: Where it runs; here by default.
        environment: Variables of its own.
        inherit: Which of our variables it has besides `INHERITED`; True means all but ``HARBORCAL_*``, of which it has
            those that are its own. Those of `SECRETS` it gets in no way.
        time_limit: Seconds after which it is ended and its slot aborted; None lets the lease decide.
        grace: Seconds between asking its group to end and ending it.
        linger: Seconds that it may go on once its slot is settled.
        reports_by_exit: Whether the exit code reports for its agent.
        output: The folder for what commands print (``<agent>/<when>-<wake id>.out`` and ``.err``, mode 0600) and for
            records of what runs; None keeps neither.
        max_output: Bytes of each output that are kept, the head and the tail.
        keep: How many runs of an agent are kept.
        credentials: Tells variables with which one agent's command may report, such as address and token.
        log: Takes ``(level, message, fields)`` instead of the standard library's logging.
        clock: Measures time.

    Raises:
        ConfigurationError: An argument makes no sense, the program or the directory is not there, or this system has
            no process groups (Windows).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        message: str = "stdin",
        directory: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
        inherit: Iterable[str] | bool = (),
        time_limit: float | None = 3_600.0,
        grace: float = 5.0,
        linger: float = 5.0,
        reports_by_exit: bool = True,
        output: str | Path | None = None,
        max_output: int = 1024 * 1024,
        keep: int = 50,
        credentials: Callable[[str], Mapping[str, str]] | None = None,
        log: LogCallback | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not all(hasattr(os, name) for name in _OPERATIONS):
            raise ConfigurationError("commands run on systems with process groups only, and this is none")
        if message not in ("stdin", "argument"):  # no set: it may be something without a hash
            raise ConfigurationError(f"message is 'stdin' or 'argument', not {message!r}")
        self._directory = None if directory is None else _directory(directory)
        self._environment = _environment({} if environment is None else environment, inherit)
        self._command = _command(command, self._directory, self._environment.get("PATH"))
        self._is_argument = message == "argument"
        self._limits = Limits(
            time_limit=None if time_limit is None else _positive("time_limit", time_limit),
            grace=max(0.0, check_seconds("grace", grace)),
            linger=max(0.0, check_seconds("linger", linger)),
            output=_count("max_output", max_output),
            reports_by_exit=_flag("reports_by_exit", reports_by_exit),
        )
        self._output = None if output is None else Path(output)
        self._keep = _count("keep", keep)
        self._credentials = credentials
        self._log = log if log is not None else log_to_logging
        self._clock = clock if clock is not None else SystemClock()
        self._lock = threading.Condition()
        self._starting: set[str] = set()  # guarded by _lock; whose commands are being started
        self._runs: dict[str, Run] = {}  # guarded by _lock; by agent
        self._kill_by: float | None = None  # guarded by _lock; once it is closed, when what is still there is killed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._command[0]!r})"

    def wake_agent(self, wake: WakeRequest) -> None:
        """Start the command, and return; a reminder of one that still runs starts no second one.

        Raises:
            HostError: It cannot be started, or the agent's last command is still being ended.
        """
        with self._lock:
            if self._kill_by is not None:
                raise HostError("the host is closed")
            if wake.agent_id in self._starting:
                raise HostError(f"a command of {wake.agent_id} is being started")
            run = self._runs.get(wake.agent_id)
            if run is None:
                self._starting.add(wake.agent_id)
        if run is not None:
            if run.wake.wake_id == wake.wake_id:
                return
            raise HostError(f"the last command of {wake.agent_id} has not ended yet")
        try:
            if self._output is None or not self._goes_on(self._output, wake):
                self._start(wake)
        finally:
            with self._lock:
                self._starting.discard(wake.agent_id)
                self._lock.notify_all()

    def _goes_on(self, folder: Path, wake: WakeRequest) -> bool:
        """Tell whether a command of an earlier process is at this very wake; end those of other wakes."""
        goes_on = False
        for orphan in orphans_of(folder, wake.agent_id):
            if orphan.wake_id == wake.wake_id:
                goes_on = True
            else:
                orphan.end(at_once=True)
        return goes_on

    def _start(self, wake: WakeRequest) -> None:
        command = self._told(wake.message) if self._is_argument else self._command
        environment = self._environment | facts_of(wake) | dict(self._own(wake.agent_id))
        record = self._record(wake)
        try:
            run = Run(
                wake,
                command,
                message=b"" if self._is_argument else wake.message.encode(),
                directory=self._directory,
                environment=environment,
                record=record,
                limits=self._limits,
                clock=self._clock,
                on_end=self._ended,
            )
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise HostError(f"{self._command[0]} cannot be started: {clean(words, 200)}") from error
        with self._lock:
            try:
                run.start()
            except RuntimeError as error:
                raise HostError(f"{self._command[0]} cannot be followed: {clean(str(error), 200)}") from error
            self._runs[wake.agent_id] = run
            if self._kill_by is not None:
                run.close(self._kill_by)

    def _record(self, wake: WakeRequest) -> RunRecord | None:
        if self._output is None:
            return None
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%S.%f")
        record = RunRecord(self._output, wake.agent_id, wake.wake_id, stamp)
        try:
            record.prepare(self._keep)
        except OSError as error:
            raise HostError(f"the folder for outputs cannot be made: {error.strerror}") from error
        return record

    def _told(self, message: str) -> list[str]:
        if len(message.encode()) > MAX_ARGUMENT:
            raise HostError(f"the message is longer than {MAX_ARGUMENT} bytes: let the command read it from stdin")
        if not any("{message}" in part for part in self._command[1:]):
            return [*self._command, message]
        return [self._command[0], *(part.replace("{message}", message) for part in self._command[1:])]

    def _own(self, agent_id: str) -> Mapping[str, str]:
        return {} if self._credentials is None else self._credentials(agent_id)

    def _ended(self, run: Run) -> None:
        with self._lock:
            if self._runs.get(run.wake.agent_id) is run:
                del self._runs[run.wake.agent_id]

    @property
    def running(self) -> tuple[str, ...]:
        """Whose commands run."""
        with self._lock:
            return tuple(sorted(self._runs))

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Pass the line on."""
        self._log(level, message, fields)

    @property
    def closing_time(self) -> float:
        """Seconds that `close` should be given, so that each command has its grace, and is reported of after it."""
        return self._limits.grace + _FOR_REPORTS

    def begin_close(self, timeout: float = 10.0) -> None:
        """Start nothing more, and have all commands ended within so many seconds, without waiting for that."""
        patience = max(0.0, check_seconds("timeout", timeout))
        with self._lock:
            if self._kill_by is None:
                self._kill_by = self._clock.monotonic() + patience - min(_FOR_REPORTS, 0.3 * patience)
            kill_by, runs = self._kill_by, list(self._runs.values())
        for run in runs:
            run.close(kill_by)

    def close(self, timeout: float = 10.0) -> None:
        """Start nothing more, end all commands, and report ``abort`` for them; wait for that at most so long.

        What is there still when most of the time is over has no more grace, so that nothing outlives us unreported;
        given `closing_time`, each has all of its grace.
        To be called before the scheduler stops: afterwards it takes no report.
        """
        self.begin_close(timeout)
        patience = max(0.0, check_seconds("timeout", timeout))
        end = self._clock.monotonic() + patience
        with self._lock:
            # One that is just being started ends too: its slot must not be left to a process that is gone.
            self._lock.wait_for(lambda: not self._starting, patience)
            runs = list(self._runs.values())
        for run in runs:
            run.wait(max(0.0, end - self._clock.monotonic()))


def facts_of(wake: WakeRequest) -> dict[str, str]:
    """Write a wake's facts as variables of an environment; what is not known is not set."""
    slot = wake.slot
    data = slot.event_data or {}
    code = data.get("code") or data.get("task_code") or ""
    encoded = json.dumps(slot.to_dict()["event_data"] or {})
    facts = {
        "AGENT": wake.agent_id,
        "SLOT": slot.ident,
        "SLOT_KIND": str(slot.key.kind),
        "WAKE_ID": wake.wake_id,
        "ATTEMPT": str(wake.attempt),
        "REMINDER": "1" if wake.reminder else "0",
        "DATE": "" if slot.date is None else slot.date.isoformat(),
        "SCHEDULED_AT": "" if slot.scheduled_at is None else slot.scheduled_at.isoformat(),
        "MINUTES": "" if slot.estimated_duration is None else str(slot.estimated_duration),
        "PRIORITY": str(slot.priority),
        "EVENT_TYPE": "" if slot.event_type is None else str(slot.event_type),
        "EVENT_DATA": encoded if len(encoded) <= _DATA_LIMIT else "",
        "CODE": clean(code, 500) if isinstance(code, str) else "",
        "DUE_AT": "" if wake.due_at is None else wake.due_at.isoformat(timespec="seconds"),
        "DEADLINE_AT": "" if wake.deadline_at is None else wake.deadline_at.isoformat(timespec="seconds"),
    }
    return {f"HARBORCAL_{name}": value for name, value in facts.items() if value}


# --- arguments ------------------------------------------------------------------------------------------------------


def _command(command: Sequence[str], directory: Path | None, path: str | None) -> list[str]:
    if not _are_texts(command) or not command or "\0" in "".join(command):
        raise ConfigurationError('a command is a list of texts: ["program", "argument", ...]')
    program = command[0]
    where = str(directory / program) if directory is not None and os.sep in program else program
    if shutil.which(where, path=path) is None:
        raise ConfigurationError(f"the program {clean(program, 200)!r} is not there, or cannot be run")
    return list(command)


def _directory(directory: str | Path) -> Path:
    if not isinstance(directory, str | Path):
        raise ConfigurationError(f"directory is the path of a folder, not {directory!r}")
    path = Path(directory).absolute()
    if not path.is_dir():
        raise ConfigurationError(f"the directory {path} is not there")
    return path


def _environment(own: Mapping[str, str], inherit: Iterable[str] | bool) -> dict[str, str]:
    if not isinstance(own, Mapping):
        raise ConfigurationError(f"environment holds texts by name, and {type(own).__name__} is no such thing")
    for name, value in own.items():
        if not all(isinstance(text, str) for text in (name, value)) or not name or "=" in name or "\0" in name + value:
            raise ConfigurationError(f"environment holds texts by name, and {name!r} is none")
    return _inherited(inherit) | dict(own)


def _inherited(inherit: Iterable[str] | bool) -> dict[str, str]:
    if inherit is True:
        names = {name for name in os.environ if not name.startswith(_OURS)}
    else:
        named = list(inherit) if isinstance(inherit, Iterable) and not isinstance(inherit, str | bytes) else inherit
        if named is not False and not _are_texts(named):
            raise ConfigurationError("inherit is a list of names, or true")
        names = {*INHERITED, *(named or ())}
    return {name: os.environ[name] for name in names - set(SECRETS) if name in os.environ}


def _are_texts(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)


def _positive(name: str, value: float) -> float:
    seconds = check_seconds(name, value)
    if seconds <= 0:
        raise ConfigurationError(f"{name} is more than 0 seconds, or none at all; not {value!r}")
    return seconds


def _count(name: str, value: int) -> int:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} is a whole number, at least 1, not {value!r}")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is true or false, not {value!r}")
    return value
