"""``[agents.NAME]`` and ``[defaults]``: who is woken, and how. A host's own keys are the host's to check."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from harborcal.cli.sources import Sources
from harborcal.cli.values import Value, flag_shown
from harborcal.errors import ConfigurationError
from harborcal.grammar import check_id, clean

_OWN = ("host", "model")
_SECRET = re.compile(r"(secret|token|password|passphrase|credential|key)s?$", re.IGNORECASE)
_VEILED = frozenset({"environment", "env", "headers"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """An agent of the file.

    Attributes:
        id: Who.
        host: The name of the host that wakes it; empty where none is named.
        settings: The host's own keys, those of ``[defaults]`` included; not shown, for there may be secrets in them.
        model: What the program may know of it.
    """

    id: str
    host: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    model: str = ""


def read_agents(sources: Sources) -> dict[str, AgentSettings]:
    """Read the agents of the file, by id, in its order.

    Raises:
        ConfigurationError: An id does not match the grammar of ids, or a table is none.
    """
    usual = sources.table("defaults")
    agents = {}
    for agent_id, own in sources.table("agents").items():
        check_id(f"{sources.name}: an agent's id", agent_id)
        if not isinstance(own, Mapping):
            raise ConfigurationError(f"{sources.name}: agents.{agent_id} is a table ([agents.{agent_id}])")
        merged = _merged(usual, own)
        texts = {name: _text(sources, f"agents.{agent_id}.{name}", merged.pop(name, "")) for name in _OWN}
        agents[agent_id] = AgentSettings(id=agent_id, settings=MappingProxyType(merged), **texts)
    return agents


def shown_agents(agents: Iterable[AgentSettings], sources: Sources) -> list[Value]:
    """Tell each agent's values and where they stand; what may be a secret is only told to be there."""
    own = sources.table("agents")
    told = []
    for agent in agents:
        said = {"host": agent.host or "(not set)"} | ({"model": agent.model} if agent.model else {})
        shown = {**said, **{name: _shown(name, value) for name, value in agent.settings.items()}}
        for name, text in shown.items():
            table = f"agents.{agent.id}" if name in own[agent.id] else "defaults"
            is_there = table != "defaults" or name in sources.table("defaults")
            origin = sources.in_file(f"{table}.{name}", None).origin if is_there else "default"
            told.append(Value(name=f"agents.{agent.id}.{name}", shown=text, origin=origin))
    return told


def _merged(usual: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put an agent's own keys over those of all; of tables that both have, key by key."""
    merged = {**usual, **own}
    for name, value in own.items():
        if isinstance(value, Mapping) and isinstance(usual.get(name), Mapping):
            merged[name] = {**usual[name], **value}
    return merged


def _text(sources: Sources, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{sources.name}: {key} is a text, not {clean(repr(value), 60)}")
    return value


def _shown(name: str, value: object) -> str:
    if _SECRET.search(name):
        return "(set)"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} = {'(set)' if name in _VEILED else _shown(str(key), item)}" for key, item in value.items()
        )
    if isinstance(value, list):
        return " ".join(_shown(name, item) for item in value)
    return flag_shown(value)
