"""What the doctor may touch: a running daemon through its control API, or else what that daemon has left behind."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from harborcal.cli.reaching import tokens_in
from harborcal.cli.settings import Settings
from harborcal.clock import Clock, SystemClock
from harborcal.control import ControlClient, SoleProcess
from harborcal.errors import ConfigurationError, ControlError, HarborcalError, JournalError
from harborcal.journal import Journal

if TYPE_CHECKING:
    from harborcal.calendar import Calendar


class Examination:
    """One visit of the doctor: while no daemon runs it holds the daemon's lock, so that none begins meanwhile.

    Args:
        settings: What the daemon goes by.
        clock: Tells what time it is.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock if clock is not None else SystemClock()
        self.sole = SoleProcess(settings.lock)
        self.is_running = False
        """Whether a daemon holds its lock, as far as that can be told."""
        self.daemon: ControlClient | None = None
        self.trouble = ""
        """Why a daemon is not reached."""
        self.lock_trouble = ""
        """Why its lock cannot be looked at."""
        self.journal: Journal | None = None
        self._calendar: Calendar | None = None
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self.settings.state.is_dir():
            self._look_for_daemon()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    def _look_for_daemon(self) -> None:
        try:
            self.is_running = not self.sole.acquire()
        except ConfigurationError as error:
            self.is_running, self.lock_trouble = True, str(error)  # then nothing that may be a daemon's is touched
            return
        if not self.is_running:
            self._held.callback(self.sole.release)
            return
        try:
            daemon = ControlClient(self.settings.control, tokens_in(self.settings).operator)
            daemon.health()
        except HarborcalError as error:
            self.trouble = str(error)
        else:
            self.daemon = daemon

    def status(self) -> dict[str, Any]:
        """Ask the daemon what it does.

        Raises:
            ControlError: There is none to ask.
        """
        if self.daemon is None:
            raise ControlError("no daemon is reached")
        return dict(self.daemon.status())

    def open_journal(self) -> Journal | None:
        """Open the journal that a daemon has left behind; None where there is none, or where it is a running one's.

        Raises:
            JournalError: It cannot be used.
        """
        if self.journal is None and not self.is_running and self.settings.journal.exists():
            self.journal = Journal(self.settings.journal, clock=self.clock, patience=0.0)
            self._held.callback(self.journal.close)
        return self.journal

    def readable_journal(self) -> Journal | None:
        """Open the journal where it can be; that it cannot be is what the check of the journal says."""
        try:
            return self.open_journal()
        except JournalError:
            return None

    def need_journal(self) -> Journal:
        """Open the journal to write to it.

        Raises:
            ConfigurationError: A daemon runs, or there is no journal.
            JournalError: It cannot be used.
        """
        self.need_ours()
        kept = self.open_journal()
        if kept is None:
            raise ConfigurationError("there is no journal")
        return kept

    @property
    def calendar_file(self) -> Path | None:
        """Where the carried calendar is; None where a backend is meant."""
        return self.settings.calendar_file

    def open_calendar(self) -> "Calendar | None":
        """Open the carried calendar; None where there is none yet, or a backend is meant.

        Raises:
            CalendarError: It cannot be used.
        """
        from harborcal.calendar import Calendar

        file = self.calendar_file
        if self._calendar is None and file is not None and file.exists():
            self._calendar = self._held.enter_context(
                Calendar(self.settings.calendar_url or "", clock=self.clock, patience=5.0)
            )
        return self._calendar

    def claw_identifier(self) -> str:
        """Tell what this host is called at the calendar."""
        import socket

        from harborcal.grammar import claw_of

        return self.settings.claw_identifier or claw_of(socket.gethostname())

    def need_ours(self) -> None:
        """See that no daemon can begin while something of its own is mended.

        Raises:
            ConfigurationError: A daemon runs.
        """
        if self.is_running:
            raise ConfigurationError("a daemon may run: stop it first")
