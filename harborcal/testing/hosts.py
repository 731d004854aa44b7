"""A host that wakes nobody and remembers everything."""

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Mapping

from harborcal.errors import ConfigurationError
from harborcal.host import WakeRequest


@dataclasses.dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a scheduler logged."""

    level: str
    message: str
    fields: Mapping[str, object]


class RecordingHost:
    """A host that records wakes and log lines, for tests with or without threads.

    Attributes:
        on_wake: What to do inside ``wake_agent``: complete through ``wake.report``, raise, block. No lock is held
            meanwhile.
        wakes: All wakes so far, failed ones too.
        logs: All log lines so far.
    """

    def __init__(self, on_wake: Callable[[WakeRequest], None] | None = None) -> None:
        self.on_wake = on_wake
        self.wakes: list[WakeRequest] = []  # guarded by _changed
        self.logs: list[LogLine] = []  # guarded by _changed
        self._failures: deque[BaseException] = deque()  # guarded by _changed
        self._changed = threading.Condition()

    def wake_agent(self, wake: WakeRequest) -> None:
        """Record the wake, then fail if the test asked for it, else do what `on_wake` says."""
        with self._changed:
            self.wakes.append(wake)
            failure = self._failures.popleft() if self._failures else None
            self._changed.notify_all()
        if failure is not None:
            raise failure
        if self.on_wake is not None:
            self.on_wake(wake)

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Record the line, with a copy of its fields."""
        with self._changed:
            self.logs.append(LogLine(level, message, dict(fields)))
            self._changed.notify_all()

    def fail_next(self, error: BaseException, times: int = 1) -> None:
        """Let the next wakes fail with this error; `on_wake` is not called for them.

        Raises:
            ConfigurationError: ``times`` is less than 1.
        """
        if times < 1:
            raise ConfigurationError(f"times is at least 1, not {times!r}")
        with self._changed:
            self._failures.extend([error] * times)

    @property
    def woken(self) -> list[tuple[str, str]]:
        """Who was woken for which slot: ``(agent_id, ident)`` of every wake, in order."""
        with self._changed:
            return [(wake.agent_id, wake.slot.ident) for wake in self.wakes]

    def lines(self, message: str) -> list[LogLine]:
        """List the log lines with this very message."""
        with self._changed:
            return [line for line in self.logs if line.message == message]

    def wait_for_wakes(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until there were that many wakes, at most ``timeout`` real seconds; tell whether there were."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.wakes) >= count, timeout)

    def wait_for_lines(self, message: str, count: int = 1, timeout: float = 5.0) -> bool:
        """Wait until this message was logged that often, at most ``timeout`` real seconds; tell whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: sum(line.message == message for line in self.logs) >= count, timeout)
