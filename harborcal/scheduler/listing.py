"""Asking the program who its agents are, without trusting the answer."""

import itertools
from collections.abc import Callable, Iterable

from harborcal.grammar import clean, is_id
from harborcal.model import Agent
from harborcal.policy import describe
from harborcal.scheduler.place import Place
from harborcal.scheduler.troubles import Troubles
from harborcal.scheduler.voice import Voice

MAX_AGENTS = 100_000
"""How many agents of one list are read, so that an endless generator ends."""

Lister = Callable[[], Iterable[Agent]]


class Listing:
    """Calls the program's lister and sorts out what cannot be served: doubles, and what is no agent."""

    def __init__(self, lister: Lister, place: Place, troubles: Troubles, voice: Voice) -> None:
        self._lister = lister
        self._place = place
        self._troubles = troubles
        self._voice = voice

    def ask(self) -> list[Agent] | None:
        """Tell the agents, each once, in the lister's order; None where it failed, and the last list stands."""
        try:
            with self._place.inside("lister"):
                listed = list(itertools.islice(self._lister(), MAX_AGENTS + 1))
        except BaseException as error:  # noqa: BLE001 - whatever a lister raises, the loop goes on
            self._voice.fault("", "agents", error, "calendar agents cannot be listed", err=describe(error))
            return None
        self._troubles.clear("", "agents")
        agents: dict[str, Agent] = {}
        refused = [reason for item in listed[:MAX_AGENTS] if (reason := _admit(item, agents))]
        if len(listed) > MAX_AGENTS:
            refused.append(f"more than {MAX_AGENTS} agents: the rest is left out")
        self._tell(refused)
        return list(agents.values())

    def _tell(self, refused: list[str]) -> None:
        if not refused:
            self._troubles.clear("", "listed")
            return
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        reason = f"{refused[0]}{more}"
        self._voice.fault("", "listed", reason, "calendar agents refused", err=reason)


def _admit(item: object, agents: dict[str, Agent]) -> str:
    """Enter an item of the list as an agent; say why where it cannot be one."""
    if not isinstance(item, Agent):
        return f"not an Agent: {type(item).__name__}"
    if not is_id(item.id):
        return f"not an agent id: {clean(repr(item.id), 60)}"
    if item.id in agents:
        return f"listed twice: {item.id}"
    agents[item.id] = item
    return ""
