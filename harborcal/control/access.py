"""What one agent may see and say: the same in the scheduler's process and over its control API."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from harborcal.errors import ConfigurationError
from harborcal.grammar import clean

TEXT_LIMIT = 2_000
"""How many characters of a summary or a reason are taken."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fence:
    """Which of an agent's slots a report means; refused if the agent holds another by now.

    Attributes:
        slot: The slot's ident: its real id in decimal, or its virtual id. Empty where any is meant.
        wake_id: The wake that is reported of, which is stricter: another attempt of the same slot is another wake.

    Raises:
        ConfigurationError: One of them is no text.
    """

    slot: str = ""
    wake_id: str = ""

    def __post_init__(self) -> None:
        for name in ("slot", "wake_id"):
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f"{name} is a text, not {type(getattr(self, name)).__name__}")

    def __bool__(self) -> bool:
        return bool(self.slot or self.wake_id)

    def __str__(self) -> str:
        return clean(" of ".join(filter(None, (self.slot, self.wake_id and f"wake {self.wake_id}"))), 200)


class AgentAccess(Protocol):
    """What one agent may see and say, of its own slots only. Answers are plain values that JSON can write.

    Reports answer ``{"agent_id", "slot", "status", "changed", "detail"}``: ``status`` is what the slot is now;
    ``changed`` is False where it was so already (an agent that reports twice is told so, and no error). They raise what
    the scheduler's method of the same name raises; over the control API `ControlError` besides. Summaries and reasons
    are cleaned, and cut after `TEXT_LIMIT` characters.
    """

    @property
    def agent_id(self) -> str:
        """Whose slots."""

    def status(self) -> Mapping[str, Any]:
        """Tell of it: ``agent_id``, ``active``, ``history``, ``last_heartbeat_at``, ``last_error``, ``problems``."""

    def today(self) -> Mapping[str, Any]:
        """List the agent's slots of today (UTC): ``agent_id``, ``date``, ``slots``."""

    def why(self) -> Mapping[str, Any]:
        """Tell why each slot was or was not dispatched: ``agent_id``, ``last_heartbeat_at``, ``verdicts``."""

    def complete(self, summary: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work is done."""

    def abort(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work will not be done."""

    def pause(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work rests."""

    def resume(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the work goes on."""

    def renew(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        """Report that the agent is alive, and nothing else."""


def check_words(what: str, text: object) -> str:
    """Clean a summary or a reason, and cut what is longer than `TEXT_LIMIT`.

    Raises:
        ConfigurationError: It is no text.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} is a text, not {type(text).__name__}")
    return clean(text, TEXT_LIMIT)
