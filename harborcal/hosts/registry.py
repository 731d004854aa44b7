"""Hosts by name: those that come with harborcal, and those that other packages bring."""

import dataclasses
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harborcal.errors import ConfigurationError, HarborcalError
from harborcal.grammar import clean
from harborcal.host import Host
from harborcal.hosts.callback import CallbackHost
from harborcal.hosts.command import CommandHost
from harborcal.hosts.webhook import WebhookHost

ENTRY_POINTS = "harborcal.hosts"
"""The group of entry points that name factories of hosts: ``factory(settings, context) -> Host``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostContext:
    """What a factory of hosts knows besides an agent's settings.

    Attributes:
        agent_id: Whose host it is to be.
        folder: What relative paths in the settings count from.
        output: Where output may be kept; None where nothing is.
        credentials: Tells with what one agent may report: variables by name, such as address and token.
    """

    agent_id: str
    folder: Path
    output: Path | None = None
    credentials: Callable[[str], Mapping[str, str]] | None = None


HostFactory = Callable[[Mapping[str, Any], HostContext], Host]


def host_named(name: str, settings: Mapping[str, Any], context: HostContext) -> Host:
    """Make the host of that name: ``command``, ``webhook``, ``callback``, or one that an entry point brings.

    Args:
        name: Its name.
        settings: What it is made with: the arguments of its class.
        context: For whom it is.

    Raises:
        ConfigurationError: The name is unknown, or the settings are not what it takes.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"agent {context.agent_id}: host is the name of one, not {name!r}")
    try:
        factory = _BUILT_IN.get(name) or _brought(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"agent {context.agent_id}: {error}") from error
    try:
        return factory(settings, context)
    except HarborcalError as error:
        raise ConfigurationError(f"agent {context.agent_id}: host {name}: {error}") from error
    except (TypeError, ValueError, LookupError, OSError) as error:
        words = clean(str(error), 300)
        raise ConfigurationError(f"agent {context.agent_id}: host {name} cannot be made: {words}") from error


def _brought(name: str) -> HostFactory:
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    found = next((point for point in points if point.name == name), None)
    if found is None:
        known = sorted({*_BUILT_IN, *(point.name for point in points)})
        raise ConfigurationError(f"there is no host {clean(str(name), 80)!r}; there are {', '.join(known)}")
    try:
        factory = found.load()
    except Exception as error:  # whatever a foreign package raises while it is imported
        raise ConfigurationError(f"host {name} cannot be loaded: {clean(str(error), 200)}") from error
    if not callable(factory):
        raise ConfigurationError(f"host {name} is no factory: {found.value}")
    return factory  # type: ignore[no-any-return] # what it makes is checked by whoever uses it


def make_command_host(settings: Mapping[str, Any], context: HostContext) -> Host:
    """Make a `CommandHost` from an agent's settings; it runs in the folder of the settings unless they say where."""
    _check("command", settings, CommandHost)
    given = {**settings, "directory": _path_in(context.folder, "directory", settings.get("directory", "."))}
    return CommandHost(**given, output=context.output, credentials=context.credentials)


def make_webhook_host(settings: Mapping[str, Any], context: HostContext) -> Host:
    """Make a `WebhookHost` from an agent's settings; ``secret_file`` names a file that holds the secret."""
    given = dict(settings)
    secret_file = given.pop("secret_file", None)
    _check("webhook", given, WebhookHost, also=("secret_file",))
    if secret_file is not None:
        if "secret" in given:
            raise ConfigurationError("secret and secret_file are two ways to say one thing: give one of them")
        given["secret"] = _read(_path_in(context.folder, "secret_file", secret_file))
    if "ca_file" in given:
        given["ca_file"] = str(_path_in(context.folder, "ca_file", given["ca_file"]))
    return WebhookHost(**given, credentials=context.credentials)


def _path_in(folder: Path, key: str, value: object) -> Path:
    if not isinstance(value, str | Path):
        raise ConfigurationError(f"{key} is a path, not {value!r}")
    return folder / Path(value).expanduser()


def _read(secret_file: Path) -> str:
    try:
        return secret_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise ConfigurationError(f"secret_file {secret_file} cannot be read: {words}") from error


def make_callback_host(settings: Mapping[str, Any], context: HostContext) -> Host:  # noqa: ARG001 - as every factory
    """Make a `CallbackHost` of the function that ``function = "module:name"`` names."""
    if set(settings) != {"function"} or not isinstance(settings["function"], str):
        raise ConfigurationError('a callback host takes function = "module:name", and nothing else')
    module, _, name = settings["function"].partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a foreign module raises while it is imported
        raise ConfigurationError(f"function {settings['function']!r} cannot be had: {error}") from error
    return CallbackHost(function)


_BUILT_IN: Mapping[str, HostFactory] = {
    "command": make_command_host,
    "webhook": make_webhook_host,
    "callback": make_callback_host,
}

_NOT_SETTINGS = frozenset({"self", "output", "credentials", "log", "clock"})


def _check(name: str, settings: Mapping[str, Any], kind: type, also: tuple[str, ...] = ()) -> None:
    known = {*inspect.signature(kind).parameters, *also} - _NOT_SETTINGS
    if strange := sorted(set(settings) - known):
        raise ConfigurationError(f"unknown: {', '.join(strange)}; a {name} host takes {', '.join(sorted(known))}")
    required = [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is parameter.empty and parameter.name not in settings
    ]
    if required:
        raise ConfigurationError(f"{required[0]} is missing")
