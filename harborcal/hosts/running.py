"""One command that runs for one wake: fed, listened to, kept within its limits, and reported of at its end."""

import contextlib
import dataclasses
import math
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from harborcal.clock import Clock
from harborcal.errors import HarborcalError, LifecycleError, NoActiveSlotError, UpdateRefusedError
from harborcal.grammar import clean
from harborcal.host import WakeRequest
from harborcal.hosts.bounded import BoundedFile
from harborcal.hosts.processes import has_others, is_there
from harborcal.hosts.records import RunRecord

TURN = 0.5
"""Seconds between two looks whether the slot is still active, and the time not over."""

RENEW_EVERY = 60.0
"""Seconds between two renewals of a lease at most; a third of a lease that is short."""

WORDS = 500
"""How many characters of what a command said are reported."""

_DRAIN = 1.0  # seconds to read on after the end: what grandchildren still say is not waited for
_CHUNK = 64 * 1024
_SLOWEST = 60.0  # seconds between two tries to report


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How a command is run.

    Attributes:
        time_limit: Seconds after which it is ended; None lets its slot's lease decide.
        grace: Seconds between asking it to end and ending it.
        linger: Seconds that it may go on once its slot is settled.
        output: How many bytes of each of its outputs are kept.
        reports_by_exit: Whether its exit code reports for its agent.
    """

    time_limit: float | None
    grace: float
    linger: float
    output: int
    reports_by_exit: bool


class Run:
    """A command under way; its thread ends when the command has ended and its agent's report is taken.

    Args:
        wake: What it is for.
        command: The program and its arguments.
        message: What it finds on its standard input.
        directory: Where it runs.
        environment: All of its environment.
        record: What is written of it; None where nothing is.
        limits: How it is run.
        clock: Measures its time.
        on_end: Called at the very end, on its thread.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        wake: WakeRequest,
        command: Sequence[str],
        *,
        message: bytes,
        directory: Path | None,
        environment: Mapping[str, str],
        record: RunRecord | None,
        limits: Limits,
        clock: Clock,
        on_end: Callable[["Run"], None],
    ) -> None:
        self.wake = wake
        self._limits = limits
        self._clock = clock
        self._record = record
        self._on_end = on_end
        self._is_closing = threading.Event()
        self._kill_by = math.inf  # written once, before _is_closing is set: when it has no more grace
        self._settled_at: float | None = None  # when its slot was first seen to be settled
        self._kill_at: float | None = None  # when its group is ended that was asked to end
        self._ended_at: float | None = None  # when it was first seen to have ended
        self._is_reaped = False  # whether something else has taken its remains away
        self._reason = ""  # why it is ended before its time; what the agent is reported with
        self._to_send = memoryview(message)
        with contextlib.ExitStack() as undo:  # of one that cannot be started nothing is left
            if record is not None:
                undo.callback(record.discard)
            self._out = BoundedFile(None if record is None else record.out, limits.output)
            undo.callback(self._out.close)
            self._err = BoundedFile(None if record is None else record.err, limits.output)
            undo.callback(self._err.close)
            self._selector = undo.enter_context(
                selectors.DefaultSelector()
            )  # later nobody could be told that it failed
            self._process = subprocess.Popen(  # noqa: S603 - the program's own command, and no shell
                list(command),
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a group of its own, which ends with it
                bufsize=0,
            )
            undo.pop_all()
        if record is not None:
            record.begin(self._process.pid)
        self._began = clock.monotonic()
        self._thread = threading.Thread(target=self._follow, name=f"harborcal command {wake.agent_id}", daemon=True)

    def start(self) -> None:
        """Begin to follow it.

        Raises:
            RuntimeError: There is no thread to be had; then it is ended.
        """
        try:
            self._thread.start()
        except RuntimeError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._selector.close()
        self._out.close()
        self._err.close()
        if self._record is not None:
            self._record.discard()

    def close(self, kill_by: float) -> None:
        """Have it ended, and its slot aborted; `wait` waits for that.

        Args:
            kill_by: The clock's monotonic time at which it has no more grace.
        """
        self._kill_by = kill_by
        self._is_closing.set()

    def wait(self, timeout: float) -> bool:
        """Wait until all is done; tell whether it is."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- its thread -------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        try:
            code = self._attend_or_end()
            if self._record is not None:
                self._record.end(f"{self._reason or 'ended'}, exit code {'unknown' if code is None else code}")
            self._report(code)
        finally:
            self._on_end(self)

    def _attend_or_end(self) -> int | None:
        """See it through; where that fails it is ended, so that its slot is not left without a word."""
        try:
            return self._attend()
        except Exception as error:  # noqa: BLE001 - whatever a system has run out of
            self._reason = self._reason or f"could not be followed: {clean(str(error), 200)}"
            self._signal(signal.SIGKILL)
            return self._take_exit_code()

    def _attend(self) -> int | None:
        """Feed it and listen to it until it has ended; return its exit code, if that is to be had."""
        with self._selector as selector:
            for stream, event, attend in (
                (self._process.stdin, selectors.EVENT_WRITE, self._feed),
                (self._process.stdout, selectors.EVENT_READ, self._listen(self._out)),
                (self._process.stderr, selectors.EVENT_READ, self._listen(self._err)),
            ):
                if stream is not None:
                    os.set_blocking(stream.fileno(), False)
                    selector.register(stream, event, attend)
            try:
                self._turn_until_it_ends(selector)
                self._kill_rest()
            finally:
                for key in list(selector.get_map().values()):
                    self._let_go(selector, key.fileobj)  # type: ignore[arg-type] # it was registered as a file
                self._out.close()
                self._err.close()
        return self._take_exit_code()

    def _turn_until_it_ends(self, selector: selectors.BaseSelector) -> None:
        renew_every = _renew_every(self.wake)
        renew_at = self._began + renew_every
        while self._is_awaited(selector):
            # Where nothing is to be heard any more its end alone is waited for, which wakes no selector.
            is_ending = self._kill_at is not None or self._ended_at is not None or not selector.get_map()
            for key, _ in selector.select(TURN / 5 if is_ending else TURN):
                if key.data(key.fileobj):
                    self._let_go(selector, key.fileobj)  # type: ignore[arg-type]
            now = self._clock.monotonic()
            if self._kill_at is not None:
                self._kill_at = min(self._kill_at, self._kill_by)
                if now >= self._kill_at:
                    self._signal(signal.SIGKILL)
            elif self._has_ended():
                continue
            elif self._must_end(now):
                self._signal(signal.SIGTERM)
                self._kill_at = now + self._limits.grace
            elif self._limits.time_limit is not None and now >= renew_at:
                renew_at = now + renew_every
                with contextlib.suppress(HarborcalError):
                    self.wake.report.renew()

    def _is_awaited(self, selector: selectors.BaseSelector) -> bool:
        """Tell whether it runs; or what it said is not all read; or its group was asked to end, and has time to."""
        if not self._has_ended():
            return True
        now = self._clock.monotonic()
        self._ended_at = now if self._ended_at is None else self._ended_at
        if self._kill_at is not None and now < self._kill_at and has_others(self._process.pid):
            return True
        return bool(selector.get_map()) and now < self._ended_at + _DRAIN

    def _must_end(self, now: float) -> bool:
        """Find out whether its time is over, and why."""
        limit = self._limits.time_limit
        if self._is_closing.is_set():
            self._reason = "ended with its host"
        elif limit is not None and now - self._began >= limit:
            self._reason = f"over its time limit of {limit:g} s"
        elif not self.wake.report.is_active:
            self._settled_at = now if self._settled_at is None else self._settled_at
            if now - self._settled_at >= self._limits.linger:
                self._reason = "its slot is settled"
        return bool(self._reason)

    def _has_ended(self) -> bool:
        """Look whether it has ended, and leave its remains: while they are there, its number is nobody else's."""
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # SIGCHLD is ignored, or something else in this process waits for all children
            self._is_reaped = True
            return True

    def _take_exit_code(self) -> int | None:
        """Take its remains away; return its exit code, negative for a signal, or None where others had it."""
        try:
            _, status = os.waitpid(self._process.pid, 0)
        except ChildProcessError:
            code = None
        else:
            code = os.waitstatus_to_exitcode(status)
        self._process.returncode = 0 if code is None else code  # otherwise it would ask again
        return code

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole group."""
        if self._is_reaped and is_there(self._process.pid):
            return  # the number is somebody else's by now; while it is nobody's, such a group is what is left of ours
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, number)

    def _kill_rest(self) -> None:
        """End what is left of its group, if it was ended itself; one that ended well may leave something behind."""
        if self._reason or not self._has_ended():
            self._signal(signal.SIGKILL)

    def _feed(self, stream: IO[bytes]) -> bool:
        """Write some of the message; tell whether that is all."""
        try:
            written = os.write(stream.fileno(), self._to_send[:_CHUNK]) if self._to_send else 0
        except BlockingIOError:
            return False
        except OSError:
            return True  # it does not read, which is its own affair
        self._to_send = self._to_send[written:]
        return not self._to_send

    def _listen(self, output: BoundedFile) -> Callable[[IO[bytes]], bool]:
        def listen(stream: IO[bytes]) -> bool:
            try:
                data = os.read(stream.fileno(), _CHUNK)
            except BlockingIOError:
                return False
            except OSError:
                return True
            output.write(data)
            return not data

        return listen

    @staticmethod
    def _let_go(selector: selectors.BaseSelector, stream: IO[bytes]) -> None:
        selector.unregister(stream)
        with contextlib.suppress(OSError):
            stream.close()

    # --- its report -------------------------------------------------------------------------------------------------

    def _report(self, code: int | None) -> None:
        """Report for its agent, unless that has reported itself, until the report is taken."""
        if not self._limits.reports_by_exit and not self._reason:
            return
        delay = 1.0
        while self.wake.report.is_active:
            try:
                self._say(code)
            except (NoActiveSlotError, LifecycleError, UpdateRefusedError):
                return  # settled, or stopped
            except HarborcalError:  # no answer, or one for now alone, such as a key that is not accepted just then
                if self._is_closing.wait(delay):
                    return  # the slot stays active, and its lease goes on after a restart
                delay = min(2 * delay, _SLOWEST)
            else:
                return

    def _say(self, code: int | None) -> None:
        if self._reason:
            self.wake.report.abort(self._reason)
        elif code == 0:
            self.wake.report.complete(_last_line(self._out.tail(4 * WORDS)))
        else:
            how = _how_it_ended(code)
            said = clean(self._err.tail(4 * WORDS).strip(), 4 * WORDS)[-WORDS:]
            self.wake.report.abort(f"{how}: {said}" if said else how)


def _renew_every(wake: WakeRequest) -> float:
    if wake.woken_at is None or wake.deadline_at is None:
        return RENEW_EVERY
    return min(RENEW_EVERY, (wake.deadline_at - wake.woken_at).total_seconds() / 3)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return clean(lines[-1], 4 * WORDS)[-WORDS:] if lines else ""


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "ended, with an exit code that something else in this process has taken"
    return f"exit code {code}" if code > 0 else f"killed by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
