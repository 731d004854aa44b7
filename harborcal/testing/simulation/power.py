"""The power of our process: once it is off, nothing that the process does has any effect outside of it."""

from collections.abc import Callable

from harborcal.clock import Clock, Timer


class PowerCutError(BaseException):
    """The process is gone. No `Exception`: nobody is to catch it, and who does gets no further than the next door."""


class Power:
    """One process's power. Every door and the journal ask it at each of their points.

    The scheduler survives whatever a door raises, so a cut stays cut: until the process is thrown away, each door that
    it tries refuses.
    """

    def __init__(self, strikes: Callable[[str], bool], on_cut: Callable[[str], None]) -> None:
        self.is_on = True
        self.is_buried = False
        self._strikes = strikes
        self._on_cut = on_cut

    def reach(self, point: str) -> None:
        """Go past a point, unless the power is off or goes off here.

        Raises:
            PowerCutError: It is, or does.
        """
        if self.is_buried:
            return  # what is left of the process is only being cleared away
        if self.is_on and self._strikes(point):
            self.cut(point)
        if not self.is_on:
            raise PowerCutError(point)

    def cut(self, point: str) -> None:
        """Turn the power off."""
        self.is_on = False
        self._on_cut(point)


class ProcessClock:
    """A clock whose timers die with their process."""

    def __init__(self, inner: Clock, power: Power) -> None:
        self._inner = inner
        self._power = power
        self.now = inner.now
        self.monotonic = inner.monotonic

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back, if the process is still there then."""

        def call() -> None:
            if self._power.is_on:
                try:
                    callback()
                except PowerCutError:
                    return

        return self._inner.call_later(delay, call)
