"""Fakes to build your own tests on: a calendar, a host, clocks and a runner, and the calendar on a loopback port.

They keep the doors' contracts, need no network beyond loopback, and never sleep::

    clock = FakeClock()
    calendar = InMemoryCalendar(clock, agents=["dev"])
    slot = calendar.add_slot("dev", event_type="job", event_data={"type": "Task", "code": "TASK-42"})
    host = RecordingHost(on_wake=lambda wake: wake.report.complete("done"))
    scheduler = Scheduler(calendar, host, lambda: [Agent(id="dev")], clock=clock, runner=CallerRunner())

    scheduler.tick()

    assert host.woken == [("dev", "1")]
    assert calendar.slot(slot).status is SlotStatus.FINISHED

Put your own host in the place of `RecordingHost`, or your own transport before `CalendarServer`, and the rest stays.

`simulate` rehearses whole days of a calendar in a moment: who is overbooked, what starves, what if an agent dies (see
`harborcal.testing.simulation`).
"""

from harborcal.testing.calendars import InMemoryCalendar, ReceivedUpdate
from harborcal.testing.clocks import MONDAY_MORNING, FakeClock, FrozenClock
from harborcal.testing.hosts import LogLine, RecordingHost
from harborcal.testing.runners import CallerRunner
from harborcal.testing.server import CalendarServer, Fault, SeenRequest, calendar_app
from harborcal.testing.simulation import Behaviour, Faults, Rehearsal, simulate

__all__ = [
    "MONDAY_MORNING",
    "Behaviour",
    "CalendarServer",
    "CallerRunner",
    "FakeClock",
    "Fault",
    "Faults",
    "FrozenClock",
    "InMemoryCalendar",
    "LogLine",
    "ReceivedUpdate",
    "RecordingHost",
    "Rehearsal",
    "SeenRequest",
    "calendar_app",
    "simulate",
]
