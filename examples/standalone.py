"""Three agents live through a working day in twenty seconds, by the calendar that harborcal carries.

Ada's and Linus's days are iCalendar files, as calendar applications export them; Grace answers support at one on
weekdays and is on call in the evening. It all lives in one SQLite file. The clock runs 1,800 times as fast as yours,
so that a second is half an hour. The agents work, pause and fail, one wake goes wrong at first, and an operator cancels
a slot at noon. At six the day is accounted for. Ctrl-C ends it early.
"""

import datetime as dt
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import harborcal as hc
from harborcal.calendar import Calendar, DayAccount, ImportReport, Recurrence

SPEED = 1_800.0
BERLIN = ZoneInfo("Europe/Berlin")
DAY = dt.date(2026, 3, 2)
AGENTS = ("ada", "linus", "grace")
CALENDARS = Path(__file__).with_name("calendars")

# What each piece of work comes to: minutes, then how it ends.
WORK = {
    "Plan the day": (12, "three tasks, one meeting"),
    "TASK-142": (38, "merged"),
    "Answer the mailing list": (25, "four answers"),
    "Review of the parser": (45, "approved"),
    "Check the backups": (9, "all there"),
    "DEPLOY-8": (18, "version 8 is live"),
    "Support": (41, "inbox is empty"),
}
FAILS = {"Move the database": (22, "the disk is full")}
NEEDS_A_BREAK = {"Review of the parser"}
STUMBLES = {"DEPLOY-8": "no shell on host web-3"}


def at(hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime.combine(DAY, dt.time(hour, minute), BERLIN)


def main() -> int:
    clock = FastClock(at(8, 25))
    with tempfile.TemporaryDirectory() as folder, Calendar(f"sqlite:///{folder}/calendar.db", clock=clock) as calendar:
        return live(clock, calendar)


def live(clock: "FastClock", calendar: Calendar) -> int:
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: signals.append(number))

    plan_the_day(calendar)
    team = Team(clock)
    scheduler = hc.Scheduler(
        hc.EmbeddedTransport(calendar, "standalone"),
        team,
        lambda: [hc.Agent(id=agent_id) for agent_id in AGENTS],
        config=hc.SchedulerConfig(  # in seconds of the fast clock: an hour is two of yours
            heartbeat_interval=60, heartbeat_timeout=7_200, wake_timeout=7_200, lister_timeout=7_200, gone_after=7_200
        ),
        clock=clock,
    )
    print(f"\nThe day, {DAY:%A %d %B %Y}; times are those of {BERLIN}\n", flush=True)
    with scheduler:
        clock.call_later((at(12) - clock.now()).total_seconds(), lambda: cancel_clean_up(clock, calendar))
        while not signals and (clock.now() < at(18) or not is_settled(calendar)) and clock.now() < at(23):
            time.sleep(0.05)
        team.go_home()
    balanced = sum_up(calendar)
    if signals:
        print(f"interrupted ({signal.Signals(signals[0]).name}): stopped before the day was over", flush=True)
        return 0
    print("the day went as expected" if balanced else "the day did NOT go as expected", flush=True)
    return 0 if balanced else 1


# --- the calendar ---------------------------------------------------------------------------------------------------


def plan_the_day(calendar: Calendar) -> None:
    """Register the agents, import two days, and plan the third one by hand."""
    for agent_id in AGENTS:
        calendar.register_agent(agent_id)
    for agent_id in ("ada", "linus"):
        tell_import(agent_id, calendar.import_ics(agent_id, CALENDARS / f"{agent_id}.ics"))
    weekdays = Recurrence.of(dt.datetime(2026, 1, 5, 13, tzinfo=BERLIN), "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR")
    support = {"type": "Support", "code": "Support"}
    plan = calendar.add_plan("grace", weekdays, 45, priority=20, event_type="job", event_data=support)
    slot = calendar.add_slot("grace", at(17, 30), 50, slot_type="on_call")
    print(f"grace   planned: support at 13:00 on weekdays (plan {plan.id}), on call at 17:30 (slot {slot.id})")


def tell_import(agent_id: str, report: ImportReport) -> None:
    for verb, items in (("took", report.added), ("LEFT OUT", report.left_out)):
        for item in items:
            became = f" as {item.became}" if item.became else ""
            print(f"{agent_id:<6}  {verb} {item.title!r}{became}{': ' if item.reason else ''}{item.reason}")


def cancel_clean_up(clock: "FastClock", calendar: Calendar) -> None:
    for slot in calendar.day("linus", DAY):
        if title_of(slot) == "Clean up the old servers":
            calendar.cancel_slot(slot.key)
            tell(clock, "linus", "-", f"an operator cancels {title_of(slot)!r}")


def is_settled(calendar: Calendar) -> bool:
    """Tell whether all has ended but for Grace's evening."""
    return all(account.open == (account.agent_id == "grace") for account in accounts(calendar))


def accounts(calendar: Calendar) -> list[DayAccount]:
    return [calendar.account(agent_id, DAY) for agent_id in AGENTS]


def sum_up(calendar: Calendar) -> bool:
    """Print what became of the day; tell whether it went as it should."""
    row = "{:<6}  {:<6}  {:<5}  {:<8}  {:>4}  {:<11}  {:>7}  {}".format
    print("\n" + row("agent", "slot", "due", "began", "prio", "state", "minutes", "what"))
    for agent_id in AGENTS:
        for slot in calendar.day(agent_id, DAY, everything=True):
            due, began = slot.scheduled_at, slot.started_at or "-"
            minutes = slot.actual_duration or "-"
            print(
                row(
                    agent_id,
                    slot.ident,
                    f"{due:%H:%M}",
                    str(began),
                    slot.priority,
                    slot.status,
                    minutes,
                    title_of(slot),
                )
            )
    print("(times in UTC)\n")
    for account in accounts(calendar):
        parts = (
            f"{account.finished} finished + {account.aborted} aborted + {account.skipped} skipped + {account.open} open"
        )
        print(f"{account.agent_id:<6}  {account.planned} planned = {parts}")
    exported = sum(calendar.export_ics(agent_id, DAY).count(b"BEGIN:VEVENT") for agent_id in AGENTS)
    print(
        f"{exported} events exported for other calendars; the file is {'sound' if not calendar.check() else 'DAMAGED'}"
    )
    went = [(account.finished, account.aborted, account.skipped, account.open) for account in accounts(calendar)]
    return went == [(5, 0, 0, 0), (1, 1, 1, 0), (1, 0, 0, 1)]


def title_of(slot: hc.Slot) -> str:
    return str((slot.event_data or {}).get("code", "on call"))


# --- the agents -----------------------------------------------------------------------------------------------------


class Team:
    """The host: every wake begins an agent's work, which ends some minutes of the fast clock later."""

    def __init__(self, clock: "FastClock") -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._is_closing = False  # guarded by _lock

    def wake_agent(self, wake: hc.WakeRequest) -> None:
        """Begin the agent's work and return."""
        title = title_of(wake.slot)
        again = f" (attempt {wake.attempt})" if wake.attempt > 1 else ""
        tell(self._clock, wake.agent_id, wake.slot.ident, f"woken: {wake.message}{again}")
        if wake.attempt == 1 and title in STUMBLES:
            tell(self._clock, wake.agent_id, wake.slot.ident, f"CANNOT BE WOKEN: {STUMBLES[title]}")
            raise RuntimeError(STUMBLES[title])
        if title in NEEDS_A_BREAK:
            self._later(10, wake, lambda: self._pause(wake))
        if title in FAILS:
            minutes, reason = FAILS[title]
            self._later(minutes, wake, lambda: self._end(wake, f"aborts: {reason}", lambda: wake.report.abort(reason)))
        elif title in WORK:
            minutes, summary = WORK[title]
            self._later(
                minutes, wake, lambda: self._end(wake, f"done: {summary}", lambda: wake.report.complete(summary))
            )

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Show what the scheduler warns of."""
        if level == "warn":
            details = ", ".join(f"{name}={value}" for name, value in fields.items() if name != "agent")
            tell(self._clock, str(fields.get("agent", "-")), "-", f"WARNING {message}: {details}")

    def go_home(self) -> None:
        """Report nothing any more: what an agent still holds stays open."""
        with self._lock:
            self._is_closing = True

    def _later(self, minutes: float, wake: hc.WakeRequest, act: Callable[[], None]) -> None:
        def unless_closing() -> None:
            with self._lock:
                if self._is_closing:
                    return
            try:
                act()
            except hc.HarborcalError as error:
                tell(self._clock, wake.agent_id, wake.slot.ident, f"CANNOT REPORT: {error}")

        self._clock.call_later(minutes * 60, unless_closing)

    def _pause(self, wake: hc.WakeRequest) -> None:
        tell(self._clock, wake.agent_id, wake.slot.ident, "pauses for ten minutes")
        wake.report.pause("the others are late")
        self._later(10, wake, wake.report.resume)

    def _end(self, wake: hc.WakeRequest, what: str, report: Callable[[], None]) -> None:
        report()
        tell(self._clock, wake.agent_id, wake.slot.ident, what)


def tell(clock: "FastClock", agent_id: str, ident: str, text: str) -> None:
    print(f"{clock.now().astimezone(BERLIN):%H:%M}  {agent_id:<6}  {ident:<17}  {text}\n", end="", flush=True)


# --- the clock ------------------------------------------------------------------------------------------------------


class FastClock:
    """A clock that starts when you say and runs fast: what a `Clock` is for."""

    def __init__(self, start: dt.datetime) -> None:
        self._start = start.astimezone(dt.UTC)
        self._clock = hc.SystemClock()
        self._began = self._clock.monotonic()

    def now(self) -> dt.datetime:
        """Tell the fast day's time."""
        return self._start + dt.timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Tell how many fast seconds have passed."""
        return (self._clock.monotonic() - self._began) * SPEED

    def call_later(self, delay: float, callback: Callable[[], None]) -> hc.Timer:
        """Call back after so many fast seconds."""
        return self._clock.call_later(delay / SPEED, callback)


if __name__ == "__main__":
    sys.exit(main())
