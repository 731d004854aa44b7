"""A figure to reach."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A figure to reach, and what was reached in the worst of its scenes."""

    name: str
    value: float
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of the limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit
