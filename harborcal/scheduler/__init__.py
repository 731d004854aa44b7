"""The only room that knows all doors.

Read `scheduler.py` first: it puts the parts together. Then, from the timer down to the agent:

- ``wheel``: one timer for everything that happens at an instant.
- ``beats``: the loop; whose heartbeat is due. ``listing``, ``roster`` and ``departures`` tell who there is, ``batches``
  asks many at once.
- ``answers``: what a heartbeat's answer means. ``outlook``: what is coming up.
- ``dispatch``: claim, wake, tell the calendar; what a restart has found goes on here. ``attempts`` keeps the ledger and
  the journal in step, ``book`` adds up what became of every slot.
- ``leases``: agents that fall silent. ``misses``: slots whose time is over. ``days``: what the calendar's day says.
- ``reports``: complete, abort, pause, resume. ``updates`` and ``lanes`` carry them to the calendar in order.
- ``crew``, ``place``: threads that may hang, and who may wait for whom.
- ``lifecycle``, ``troubles``, ``voice``: beginning and end, faults counted, the host's log.
- ``context``: what all of them share.
"""

from harborcal.scheduler.scheduler import Scheduler

__all__ = ["Scheduler"]
