"""What the doctor looks at, what it finds, and how it mends that without deleting anything.

`examination.py` is what may be touched: with a daemon, only what the control API gives; without one, the journal under
the daemon's own lock. `checks.py` lists the checks in their order; they are in `surroundings.py`, `daemons.py`,
`calendars.py`, `journals.py` and `work.py`, and `findings.py` is what they say.
"""

from harborcal.cli.doctor.checks import CHECKS, Check
from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Finding, Note

__all__ = ["CHECKS", "Check", "Examination", "Finding", "Note"]
