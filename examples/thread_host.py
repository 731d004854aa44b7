"""A plain host: every wake starts a thread that does the work and reports through ``wake.report``.

Run it: two agents work off a calendar in memory, then the last one asks the scheduler to stop.
"""

import threading
from collections.abc import Callable, Mapping

from harborcal import Agent, HarborcalError, Scheduler, SchedulerConfig, WakeRequest
from harborcal.testing import InMemoryCalendar


class ThreadHost:
    """Runs ``work`` in a thread: what it returns is the summary, what it raises aborts the slot; then ``after``."""

    def __init__(self, work: Callable[[WakeRequest], str], after: Callable[[], object]) -> None:
        self._work = work
        self._after = after

    def wake_agent(self, wake: WakeRequest) -> None:
        """Start the work and return at once, as a host must."""
        threading.Thread(target=self._run, args=(wake,), name=f"agent-{wake.agent_id}", daemon=True).start()

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Show warnings only."""
        if level == "warn":
            print(message, dict(fields))

    def _run(self, wake: WakeRequest) -> None:
        report: Callable[[str], None] = wake.report.complete
        try:
            text = self._work(wake)
        except Exception as error:  # noqa: BLE001 -- whatever stops the work, the calendar is to know
            report, text = wake.report.abort, str(error)
        try:
            report(text)
        except HarborcalError as error:
            print(f"{wake.agent_id} cannot report: {error}")
        self._after()


def work(wake: WakeRequest) -> str:
    pages = (wake.slot.event_data or {})["pages"]
    return f"{60 // pages} minutes a page"  # without pages: an error


if __name__ == "__main__":
    calendar = InMemoryCalendar(agents=["ada", "grace"])
    keys = [calendar.add_slot(agent, event_data={"pages": n}) for agent, n in (("ada", 3), ("ada", 0), ("grace", 5))]

    def after() -> None:
        if all(calendar.slot(key).status.is_terminal for key in keys):
            scheduler.request_stop()

    agents, config = [Agent(id="ada"), Agent(id="grace")], SchedulerConfig(heartbeat_interval=0.2)
    scheduler = Scheduler(calendar, ThreadHost(work, after), lambda: agents, config=config)
    scheduler.run()
    for entry in scheduler.status().history:
        print(f"{entry.agent_id}, slot {entry.ident}: {entry.status}, {entry.summary or entry.reason}")
