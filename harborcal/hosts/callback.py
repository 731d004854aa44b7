"""The plainest host: a function that wakes an agent."""

import logging
from collections.abc import Callable, Mapping

from harborcal.errors import ConfigurationError
from harborcal.host import WakeRequest

LogCallback = Callable[[str, str, Mapping[str, object]], None]

_LEVELS = {"info": logging.INFO, "warn": logging.WARNING}


class CallbackHost:
    """Wakes agents by calling a function, and logs to the standard library's ``harborcal`` logger.

    Args:
        wake: Hands a wake to its agent and returns; what it raises says that the wake failed.
        log: Takes ``(level, message, fields)`` instead of the standard library's logging.

    Raises:
        ConfigurationError: An argument cannot be called.
    """

    def __init__(self, wake: Callable[[WakeRequest], object], *, log: LogCallback | None = None) -> None:
        for name, function in (("wake", wake), ("log", log or wake)):
            if not callable(function):
                raise ConfigurationError(f"{name} is a function, not {function!r}")
        self._wake = wake
        self._log = log if log is not None else log_to_logging

    def wake_agent(self, wake: WakeRequest) -> object:
        """Call the function.

        What it returns is passed on, so that a coroutine function is found out instead of never being awaited.
        """
        return self._wake(wake)

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Pass the line on."""
        self._log(level, message, fields)


def log_to_logging(level: str, message: str, fields: Mapping[str, object]) -> None:
    """Log a line with the standard library: the fields follow the message as ``key=value``.

    They are also the record's ``harborcal`` attribute, for handlers that write structured logs.
    """
    text = " ".join([message, *(f"{key}={value!r}" for key, value in fields.items())])
    logging.getLogger("harborcal").log(_LEVELS.get(level, logging.INFO), "%s", text, extra={"harborcal": dict(fields)})
