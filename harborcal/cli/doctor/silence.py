"""How long an agent may be silent before the doctor speaks of it."""

import datetime as dt

from harborcal.cli.doctor.examination import Examination
from harborcal.model import SchedulerConfig, Slot
from harborcal.policy import lease_of

SILENT_FOR = 3.0
"""How many leases of silence are far too many: by the second one the daemon has given a slot up."""

_USUAL_LEASE = SchedulerConfig().lease


def lease_at(visit: Examination, slot: Slot) -> float:
    """Tell a slot's lease, in seconds; the usual one where the configuration has none."""
    return lease_of(slot, visit.settings.scheduler.lease or _USUAL_LEASE) or 0.0


def is_silent(visit: Examination, slot: Slot, since: dt.datetime) -> bool:
    """Tell whether nothing was heard of a slot for far too long."""
    return (visit.clock.now() - since).total_seconds() > SILENT_FOR * lease_at(visit, slot)
