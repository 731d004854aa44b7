"""One host for many: each agent's wakes go to its own."""

from collections.abc import Mapping

from harborcal.errors import ConfigurationError, HostError
from harborcal.host import Host, WakeRequest
from harborcal.hosts.callback import LogCallback, log_to_logging


class HostsByAgent:
    """Routes wakes by their agent.

    Args:
        hosts: The host of each agent, by its id.
        log: Takes ``(level, message, fields)`` instead of the standard library's logging.

    Raises:
        ConfigurationError: One of them is no host.
    """

    def __init__(self, hosts: Mapping[str, Host], *, log: LogCallback | None = None) -> None:
        for agent_id, host in hosts.items():
            if isinstance(host, type) or not callable(getattr(host, "wake_agent", None)):
                raise ConfigurationError(f"the host of {agent_id} has no method wake_agent: {type(host).__name__}")
        self._hosts = dict(hosts)
        self._log = log if log is not None else log_to_logging

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

    def close(self, timeout: float = 10.0) -> None:
        """Close those hosts that can be closed, each of them once, side by side as far as they let it."""
        for host in {id(host): host for host in self._hosts.values()}.values():
            begin = getattr(host, "begin_close", None)
            if callable(begin):
                begin()
        for host in {id(host): host for host in self._hosts.values()}.values():
            close = getattr(host, "close", None)
            if callable(close):
                close(timeout)
