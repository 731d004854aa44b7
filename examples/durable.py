"""A program that is killed while its agent works, and the same one afterwards: nothing is lost, nobody is woken twice.

``python examples/durable.py`` runs both in a directory of its own. The second finds on disk what the first was at.
"""

import datetime as dt
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harborcal import Agent, CallbackHost, EmbeddedTransport, Journal, OutboxTransport, Scheduler, WakeRequest
from harborcal.calendar import Calendar


def make_scheduler(folder: Path, wake_agent: CallbackHost) -> tuple[Scheduler, Calendar]:
    calendar = Calendar(f"sqlite:///{folder / 'calendar.db'}")
    outbox = OutboxTransport(EmbeddedTransport(calendar), Journal(folder / "journal"))
    return Scheduler(outbox, wake_agent, lambda: [Agent(id="ada")]), calendar


def run_until_killed(folder: Path) -> None:
    def wake_agent(wake: WakeRequest) -> None:
        print(f"first run: {wake.agent_id} is woken: {wake.message}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)  # no goodbye: nothing after this line happens in this process

    scheduler, calendar = make_scheduler(folder, CallbackHost(wake_agent))
    calendar.register_agent("ada")
    job = {"type": "Task", "code": "T-1"}
    calendar.add_slot("ada", dt.datetime.now(dt.UTC), 25, event_type="job", event_data=job)
    scheduler.run()


def run_afterwards(folder: Path) -> None:
    def wake_agent(wake: WakeRequest) -> None:
        print(f"second run: {wake.agent_id} is woken again: that should not be")

    scheduler, calendar = make_scheduler(folder, CallbackHost(wake_agent))
    (active,) = scheduler.status().active
    print(f"second run: {active.agent_id} is at slot {active.ident}, attempt {active.attempt}; it is not woken again")
    scheduler.tick()
    scheduler.complete("ada", "done, although the program died in between")
    scheduler.stop()  # delivers what is accepted; what it could not deliver, the next run would
    print(f"second run: the calendar says {calendar.slot(active.slot.key).status}")
    calendar.close()


def main() -> None:
    if len(sys.argv) > 1:
        run_until_killed(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        killed = subprocess.run([sys.executable, __file__, name], check=False)
        print(f"first run: killed by signal {-killed.returncode}")
        run_afterwards(Path(name))


if __name__ == "__main__":
    main()
