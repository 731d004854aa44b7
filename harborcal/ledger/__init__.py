"""Who is doing what, and what was done: `ledger.py` is the state under its one lock, `claim.py` what it is made of."""

from harborcal.ledger.claim import Claim, Sentence, Settled
from harborcal.ledger.ledger import FORGET_FAILURES_AFTER, SETTLED_MEMORY, STALE_FOR, Ledger

__all__ = ["FORGET_FAILURES_AFTER", "SETTLED_MEMORY", "STALE_FOR", "Claim", "Ledger", "Sentence", "Settled"]
