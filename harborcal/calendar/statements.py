"""Statements about some agents: one, or many at once."""

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa


class OfAgents:
    """A statement about some agents, built once: to put a statement together costs as much as to run it.

    For one agent it has a form of its own, because a list of values is written out anew each time the statement is run,
    and one agent's heartbeat is made of several.
    """

    def __init__(
        self, agent_id: sa.ColumnElement[str], build: Callable[[sa.ColumnElement[bool]], sa.Executable]
    ) -> None:
        """Build both forms.

        Args:
            agent_id: The column that names the agent.
            build: Puts the statement together, given which rows are of the agents.
        """
        self._of_one = build(agent_id == sa.bindparam("agent_id"))
        self._of_many = build(agent_id.in_(sa.bindparam("agent_ids", expanding=True)))

    def execute(self, connection: sa.Connection, agent_ids: Collection[str], **values: Any) -> sa.CursorResult[Any]:
        """Run it for these agents."""
        if len(agent_ids) == 1:
            return connection.execute(self._of_one, {"agent_id": next(iter(agent_ids)), **values})
        return connection.execute(self._of_many, {"agent_ids": list(agent_ids), **values})
