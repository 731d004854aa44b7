"""Three agents live through a lively half minute, woken by their calendar over real HTTP.

A calendar server on loopback holds the day of `day.json`. A scheduler asks it every second what is due, wakes the
agents through a host of ours, and tells the calendar what becomes of each slot. The agents work, pause, fail and
finish, one wake goes wrong at first, and for a moment the calendar is out of order. Ctrl-C ends it all early.
"""

import dataclasses
import datetime as dt
import io
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import harborcal as hc
from harborcal.testing import CalendarServer, InMemoryCalendar, calendar_app

LONGEST = 45.0
"""Seconds after which the run gives up on slots that are still open."""


def main() -> int:
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: signals.append(number))

    day = json.loads(Path(__file__).with_name("day.json").read_text(encoding="utf-8"))
    agents = [hc.Agent(**agent) for agent in day["agents"]]
    calendar = InMemoryCalendar(agents=[agent.id for agent in agents])
    plan = write_down(calendar, [Entry(**entry) for entry in day["slots"]])
    team = Team(plan)
    with CalendarServer(overheard(calendar_app(calendar))) as server:
        transport = hc.RetryingTransport(hc.HttpTransport(server.url, "standalone"))
        scheduler = hc.Scheduler(transport, team, lambda: agents, config=hc.SchedulerConfig(heartbeat_interval=1.0))
        print(f"{len(agents)} agents, {len(plan)} slots, calendar at {server.url}, times in UTC\n", flush=True)
        with scheduler:
            outage = plan_outage(calendar, **day["outage"])
            give_up_at = time.monotonic() + LONGEST
            while not signals and time.monotonic() < give_up_at and not all_ended(calendar, plan):
                carry_over(calendar, plan)
                time.sleep(0.1)
            outage.cancel()
            team.go_home()

    sum_up(calendar, plan, scheduler.status())
    if signals:
        print(f"interrupted ({signal.Signals(signals[0]).name}): stopped before the day was over", flush=True)
        return 0
    as_expected = all(calendar.slot(key).status is entry.ends for key, entry in plan.items())
    print("every slot ended as expected" if as_expected else "NOT every slot ended as expected", flush=True)
    return 0 if as_expected else 1


# --- the day --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A slot of `day.json`: whose, how many seconds after the start, as what, and what its agent will do."""

    agent: str
    after: float
    slot: Mapping[str, Any]
    does: Sequence[Sequence[Any]]
    plan: int | None = None
    stumbles: str = ""

    @property
    def ends(self) -> hc.SlotStatus:
        """How the slot must stand at the calendar in the end."""
        return hc.SlotStatus.ABORTED if self.does[-1][0] == "abort" else hc.SlotStatus.FINISHED


def write_down(calendar: InMemoryCalendar, entries: Iterable[Entry]) -> dict[hc.SlotKey, Entry]:
    """Put the entries into the calendar, each due so many seconds from now."""
    start = dt.datetime.now(dt.UTC)
    plan: dict[hc.SlotKey, Entry] = {}
    for entry in entries:
        due = (start + dt.timedelta(seconds=entry.after)).replace(microsecond=0)
        fields = {**entry.slot, "date": due.date(), "scheduled_at": due.time()}
        if entry.plan is None:
            key = calendar.add_slot(entry.agent, **fields)
        else:
            key = calendar.add_virtual_slot(entry.agent, entry.plan, **fields)
        plan[key] = entry
    return plan


def carry_over(calendar: InMemoryCalendar, keys: Iterable[hc.SlotKey]) -> None:
    """At midnight move what is left to the new day: a calendar lists nothing but today's slots."""
    today = dt.datetime.now(dt.UTC).date()
    for key in keys:
        slot = calendar.slot(key)
        if slot.status.is_pending and slot.date is not None and slot.date < today:
            calendar.set_slot(key, date=today, scheduled_at=dt.time())


def plan_outage(calendar: InMemoryCalendar, after: float, heartbeats: int) -> threading.Timer:
    """Have the calendar refuse so many heartbeats in a row; what is retried counts too."""
    error = hc.CalendarUnavailableError("the calendar restarts", 503)
    timer = threading.Timer(after, lambda: calendar.fail_next(error, heartbeats, on="heartbeat"))
    timer.start()
    return timer


def all_ended(calendar: InMemoryCalendar, keys: Iterable[hc.SlotKey]) -> bool:
    return all(calendar.slot(key).status.is_terminal for key in keys)


# --- the host -------------------------------------------------------------------------------------------------------


class Team:
    """The host: every wake gives its agent a thread, in which it does what the day says."""

    def __init__(self, plan: Mapping[hc.SlotKey, Entry]) -> None:
        self._plan = plan
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def wake_agent(self, wake: hc.WakeRequest) -> None:
        """Begin the agent's work and return."""
        again = f" (attempt {wake.attempt})" if wake.attempt > 1 else ""
        tell(wake.agent_id, "woken", f"for slot {wake.slot.ident}: {wake.message}{again}")
        entry = self._plan[wake.slot.key]
        if entry.stumbles and wake.attempt == 1:
            tell(wake.agent_id, "FAILED", f"cannot be woken: {entry.stumbles}")
            raise RuntimeError(entry.stumbles)
        thread = threading.Thread(target=self._work, args=(wake, entry.does), daemon=True)
        thread.start()
        self._threads.append(thread)

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Show what the scheduler warns of."""
        if level == "warn":
            details = ", ".join(f"{name}={value}" for name, value in fields.items() if name != "agent")
            tell(str(fields.get("agent", "-")), "warning", f"{message}: {details}")

    def go_home(self) -> None:
        """Have the agents drop what they do; slots that they hold stay open at the calendar."""
        self._closing.set()
        for thread in self._threads:
            thread.join(5.0)

    def _work(self, wake: hc.WakeRequest, steps: Sequence[Sequence[Any]]) -> None:
        try:
            for step in steps:
                if not self._closing.is_set():
                    self._take(wake, step)
        except hc.HarborcalError as error:
            tell(wake.agent_id, "FAILED", f"cannot report on slot {wake.slot.ident}: {error}")

    def _take(self, wake: hc.WakeRequest, step: Sequence[Any]) -> None:
        match step:
            case ["work", seconds]:
                self._closing.wait(seconds)
            case ["pause", reason, seconds]:
                tell(wake.agent_id, "pauses", reason)
                wake.report.pause(reason)
                if not self._closing.wait(seconds):
                    tell(wake.agent_id, "resumes", f"slot {wake.slot.ident}")
                    wake.report.resume()
            case ["finish", summary]:
                tell(wake.agent_id, "finishes", summary)
                wake.report.complete(summary)
            case ["abort", reason]:
                tell(wake.agent_id, "ABORTS", reason)
                wake.report.abort(reason)


# --- what is shown --------------------------------------------------------------------------------------------------


def tell(agent_id: str, what: str, text: str) -> None:
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S}  {agent_id:<6}  {what:<9} {text}\n", end="", flush=True)


def overheard(app: WSGIApplication) -> WSGIApplication:
    """Listen in on the wire: tell of every update that reaches the calendar, and of all that it does not answer."""

    def listen(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)

        def answer(status: str, headers: list[tuple[str, str]], *_trace: Any) -> Any:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            if method == "PATCH" or not status.startswith("200"):
                tell(environ.get("HTTP_X_AGENT_ID", "-"), method, f"{path} {body.decode()} -> {status[:3]}")
            return start_response(status, headers)

        return app(environ, answer)

    return listen


def sum_up(calendar: InMemoryCalendar, plan: Mapping[hc.SlotKey, Entry], status: hc.Status) -> None:
    said = {entry.ident: entry.summary or entry.reason for entry in status.history}  # of each slot the latest
    said |= {active.ident: active.pause_reason for active in status.active}
    row = "{:<22}  {:<5}  {:<8}  {:>4}  {:<11}  {:>7}  {}".format
    print("\n" + row("slot", "agent", "due", "prio", "state", "minutes", "summary or reason"))
    for key, entry in plan.items():
        slot = calendar.slot(key)
        ident = f"{key} -> {slot.key}" if slot.key != key else str(key)
        due, minutes, text = str(slot.scheduled_at), slot.actual_duration or "-", said.get(str(key), "")
        print(row(ident, entry.agent, due, slot.priority, slot.status, minutes, text))
    states = [calendar.slot(key).status for key in plan]
    finished, aborted = states.count(hc.SlotStatus.FINISHED), states.count(hc.SlotStatus.ABORTED)
    print(f"\n{len(plan)} planned = {finished} finished + {aborted} aborted + {len(plan) - finished - aborted} open")
    print(f"{len(calendar.heartbeats)} heartbeats answered, {len(calendar.updates)} updates taken")


if __name__ == "__main__":
    sys.exit(main())
