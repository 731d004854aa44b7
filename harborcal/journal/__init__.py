"""Durable memory: attempts and the updates on their way to the calendar, written before the act they describe.

`journal.py` is the journal itself, `records.py` what it remembers, `file.py` how that survives crashes, power cuts and
failing disks.
"""

from harborcal.journal.journal import Journal, JournalKeeper
from harborcal.journal.records import Attempt, AttemptState, Letter, LetterState

__all__ = ["Attempt", "AttemptState", "Journal", "JournalKeeper", "Letter", "LetterState"]
