"""What the doctor says: what is well, what is not, and what it would do about that."""

import dataclasses
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Note:
    """Something that is as it may be.

    Attributes:
        text: What was looked at, and how it is.
    """

    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        what: What was found.
        remedy: What a repair would do, and what it would lose; or what somebody else has to do.
        repair: Does it, and tells what was done; None where the doctor cannot, or must not.
    """

    what: str
    remedy: str
    repair: Callable[[], str] | None = None


Findings = Iterator[Finding | Note]
"""What a check yields."""
