"""Tokens for hosts that ask what is new: which day they know, up to which revision, and how far an answer got.

A token is opaque to its holder. One of another calendar, of another day, or that cannot be read is worth nothing: then
the whole plan is told again.
"""

import dataclasses
import datetime as dt
import re

from harborcal.grammar import is_id

_TOKEN = re.compile(r"([0-9a-f]{12})\.([0-9]{8})\.([0-9]{1,18})\.([0-9]{1,18})\.([A-Za-z0-9._:@-]{0,128})")
_FROM_NOTHING = -1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """How far somebody knows a calendar.

    Attributes:
        identity: Which calendar's it is.
        date: Which day is known.
        since: The revision up to which schedules are known; -1 for nothing at all.
        until: The revision up to which they are known once the answer is whole.
        after: The last agent that was told of in an answer that was cut; empty between answers.
    """

    identity: str
    date: dt.date
    since: int
    until: int
    after: str = ""

    def __str__(self) -> str:
        return f"{self.identity[:12]}.{self.date:%Y%m%d}.{self.since + 1}.{self.until}.{self.after}"


def start(identity: str, date: dt.date, revision: int) -> Token:
    """Make the token of somebody who knows nothing yet."""
    return Token(identity=identity, date=date, since=_FROM_NOTHING, until=revision)


def read(text: str | None, identity: str, date: dt.date, revision: int, forgotten: int) -> Token:
    """Read a token as far as it is worth something today.

    Args:
        text: The token, None for none.
        identity: This calendar's.
        date: Today.
        revision: The calendar's revision now.
        forgotten: What was told up to this revision must be told anew.
    """
    fresh = start(identity, date, revision)
    found = None if text is None else _TOKEN.fullmatch(text)
    if found is None:
        return fresh
    since, until, after = int(found[3]) - 1, int(found[4]), found[5]
    if found[1] != identity[:12] or found[2] != f"{date:%Y%m%d}" or not since <= until <= revision:
        return fresh
    if after:
        return dataclasses.replace(fresh, since=since, until=until, after=after) if is_id(after) else fresh
    return fresh if until < forgotten else dataclasses.replace(fresh, since=until)


def is_full(token: Token) -> bool:
    """Tell whether an answer to this token begins a whole plan."""
    return token.since == _FROM_NOTHING and not token.after


def next_of(token: Token, last_told: str) -> Token:
    """Make the token to ask with next; ``last_told`` names the agent where an answer was cut, else it is empty."""
    return dataclasses.replace(token, after=last_told)
