"""One host for many: each agent's wakes go to its own."""

from collections.abc import Callable, Iterator, Mapping

from harborcal.clock import Clock, SystemClock
from harborcal.errors import ConfigurationError, HostError
from harborcal.grammar import clean
from harborcal.host import Host, WakeRequest
from harborcal.hosts.callback import LogCallback, log_to_logging


class HostsByAgent:
    """Routes wakes by their agent.

    Args:
        hosts: The host of each agent, by its id.
        log: Takes ``(level, message, fields)`` instead of the standard library's logging.
        clock: Measures the time for closing.

    Raises:
        ConfigurationError: One of them is no host.
    """

    def __init__(
        self, hosts: Mapping[str, Host], *, log: LogCallback | None = None, clock: Clock | None = None
    ) -> None:
        for agent_id, host in hosts.items():
            if isinstance(host, type) or not callable(getattr(host, "wake_agent", None)):
                raise ConfigurationError(f"the host of {agent_id} has no method wake_agent: {type(host).__name__}")
        self._hosts = dict(hosts)
        self._log = log if log is not None else log_to_logging
        self._clock = clock if clock is not None else SystemClock()

    def wake_agent(self, wake: WakeRequest) -> object:
        """Hand the wake to its agent's host.

        Raises:
            HostError: The agent has none; or whatever its host raises.
        """
        host = self._hosts.get(wake.agent_id)
        if host is None:
            raise HostError(f"agent {wake.agent_id} has no host")
        return host.wake_agent(wake)

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Take a line of the scheduler's log."""
        self._log(level, message, fields)

    @property
    def closing_time(self) -> float:
        """Seconds that `close` should be given: the most that one of the hosts asks for by its own ``closing_time``."""
        return max((float(getattr(host, "closing_time", 0.0)) for host in self._hosts.values()), default=0.0)

    def close(self, timeout: float = 10.0) -> None:
        """Close those hosts that can be closed, each of them once, and all of them within the time together.

        What one of them raises is logged, and keeps none of the others.
        """
        ends_at = self._clock.monotonic() + timeout
        for begin in self._methods("begin_close"):
            self._call(begin, timeout)
        for close in self._methods("close"):
            self._call(close, max(0.0, ends_at - self._clock.monotonic()))

    def _methods(self, name: str) -> Iterator[Callable[..., object]]:
        for host in {id(host): host for host in self._hosts.values()}.values():
            method = getattr(host, name, None)
            if callable(method):
                yield method

    def _call(self, method: Callable[..., object], *arguments: object) -> None:
        try:
            method(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever a host raises
            self._log("warn", "a host could not be closed", {"error": f"{type(error).__name__}: {clean(str(error))}"})
