"""Rehearsals: simulated days of agents at work, in which anything may go wrong, and nothing may get lost.

Read in this order: `simulate` (the door), `run` (the parts put together), `process` (our process and its crashes),
`turns` (how its tasks run), `power` (how a crash is modelled), `backend` (the calendar and the line to it), `agents`,
`faults` (what goes wrong), `history` (what is written down), `checker` (what must be true of it), `rehearsal` (what is
told), `world` (calendars to rehearse).
"""

from harborcal.testing.simulation.checker import Violation, check
from harborcal.testing.simulation.faults import MIXED, STEADY, Behaviour, Faults
from harborcal.testing.simulation.history import Event, EventKind
from harborcal.testing.simulation.rehearsal import AgentStory, Rehearsal, SlotStory, Stretch
from harborcal.testing.simulation.simulate import simulate

__all__ = [
    "MIXED",
    "STEADY",
    "AgentStory",
    "Behaviour",
    "Event",
    "EventKind",
    "Faults",
    "Rehearsal",
    "SlotStory",
    "Stretch",
    "Violation",
    "check",
    "simulate",
]
