"""``harborcal status`` and ``harborcal why``: what the daemon does, and why it does or does not wake somebody."""

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from harborcal.cli.arguments import AGENT as AGENT_ID
from harborcal.cli.context import settings_of
from harborcal.cli.failures import ExitCode
from harborcal.cli.output import Answer, Screen, json_option
from harborcal.cli.reaching import client_of_caller, named_agent
from harborcal.cli.settings import Settings
from harborcal.cli.zones import UTC
from harborcal.clock import SystemClock
from harborcal.control import AGENT, TOKEN
from harborcal.errors import CalendarError, CalendarUnavailableError, ConfigurationError, ControlError

_HISTORY_SHOWN = 10

Entries = Sequence[Mapping[str, Any]]


@click.command()
@json_option
@click.pass_context
def status(context: click.Context) -> Answer:
    """Show what the daemon does: who works at what, what was done, what is wrong, what is yet to be delivered.

    Inside a woken command it shows that agent's part. Where no daemon runs it says so, with what the carried calendar
    knows of today (exit code 4).
    """
    try:
        client = client_of_caller(context)
        if os.environ.get(TOKEN):
            mine = client.agent(named_agent(None)).status()
            return Answer(data=dict(mine), show=lambda screen: _show_agent(screen, mine, UTC))
        whole = client.status()
    except ControlError as error:
        if error.status:
            raise
        return _without_daemon(settings_of(context), error)
    zone = settings_of(context).zone
    return Answer(data={"running": True, **whole}, show=lambda screen: _show_status(screen, whole, zone))


@click.command()
@click.argument("agent", type=AGENT_ID, required=False)
@json_option
@click.pass_context
def why(context: click.Context, agent: str | None) -> Answer:
    """Tell why each slot of an agent's last heartbeat was or was not dispatched.

    Inside a woken command AGENT is known. Exit code 1 where nothing is known of the agent yet.
    """
    if agent is None and not os.environ.get(AGENT):
        raise click.UsageError("say whose slots are meant: harborcal why AGENT")
    told = client_of_caller(context).agent(named_agent(agent)).why()
    verdicts = told["verdicts"]
    is_known = told["last_heartbeat_at"] is not None

    def show(screen: Screen) -> None:
        if not is_known:
            screen.say(
                f"{told['agent_id']}: no heartbeat of it has been answered yet; harborcal status tells what failed"
            )
            return
        if not verdicts:
            screen.say(f"{told['agent_id']}: its last heartbeat listed no slot")
            return
        rows = [(one["ident"], str(one["reason"]).replace("_", " "), one.get("detail", "")) for one in verdicts]
        screen.table(("slot", "verdict", "because"), rows)

    return Answer(data=dict(told), show=show, exit_code=ExitCode.DONE if is_known else ExitCode.FAILED)


# --- with a daemon --------------------------------------------------------------------------------------------------


def _show_status(screen: Screen, status: Mapping[str, Any], zone: dt.tzinfo) -> None:
    every = f"heartbeat every {status['heartbeat_every']:g} s"
    tick = f", last tick at {_shown(status.get('last_tick_at'), zone)}" if status.get("last_tick_at") else ""
    screen.say(f"{status['lifecycle']}: {_count(status['agents'], 'agent')}, {every}{tick} ({zone})")
    _show_active(screen, status["active"], zone)
    _show_history(screen, status["history"], zone)
    _show_problems(screen, status)
    if status.get("delivery") is not None:
        _show_delivery(screen, status["delivery"])


def _show_agent(screen: Screen, status: Mapping[str, Any], zone: dt.tzinfo) -> None:
    active = status.get("active")
    entries = active if isinstance(active, list) else [active] if active else []
    screen.say(f"{status['agent_id']}: last heartbeat at {_shown(status.get('last_heartbeat_at'), zone)} ({zone})")
    _show_active(screen, entries, zone)
    _show_history(screen, status.get("history") or [], zone)


def _show_active(screen: Screen, entries: Entries, zone: dt.tzinfo) -> None:
    screen.say()
    if not entries:
        screen.say("nobody is at work")
        return
    rows = [
        (
            one.get("agent_id"),
            one["ident"],
            one["state"],
            one["attempt"],
            _shown(one.get("started_at"), zone),
            _shown(one.get("lease_until"), zone) + (" (reminded)" if one.get("overdue") else ""),
            one.get("pause_reason", ""),
        )
        for one in entries
    ]
    screen.table(("agent", "slot", "is", "attempt", "since", "may be silent until", ""), rows)


def _show_history(screen: Screen, entries: Entries, zone: dt.tzinfo) -> None:
    if not entries:
        return
    screen.say()
    rows = [
        (
            _shown(one.get("resolved_at"), zone),
            one.get("agent_id"),
            one["ident"],
            one["status"] + (" (late)" if one.get("late") else ""),
            one.get("summary") or one.get("reason") or "",
        )
        for one in entries[-_HISTORY_SHOWN:]
    ]
    screen.table(("ended at", "agent", "slot", "as", "said"), rows)


def _show_problems(screen: Screen, status: Mapping[str, Any]) -> None:
    rows = [(agent, "heartbeat", one["count"], one["message"]) for agent, one in status["last_errors"].items()]
    for agent, sources in status["problems"].items():
        rows += [(agent, source, one["count"], one["message"]) for source, one in sources.items()]
    rows += [("", source, one["count"], one["message"]) for source, one in status["scheduler_errors"].items()]
    if rows:
        screen.say()
        screen.table(("agent", "fault", "times", "last"), rows)


def _show_delivery(screen: Screen, delivery: Mapping[str, Any]) -> None:
    screen.say()
    counts = f"{delivery['delivered']} delivered, {delivery['pending']} on their way, {delivery['dead']} refused"
    screen.say(f"{_count(delivery['accepted'], 'report')} for the calendar: {counts}")
    for name in ("last_error", "journal_error"):
        if delivery.get(name):
            screen.say(f"  {name.replace('_', ' ')}: {delivery[name]}", style="red")
    for letter in delivery["dead_letters"]:
        screen.say(f"  dead letter {letter['number']}: {letter['agent_id']}, {letter['status']}: {letter['error']}")


# --- without one ----------------------------------------------------------------------------------------------------


def _without_daemon(settings: Settings, error: ControlError) -> Answer:
    """Say that no daemon runs, and what may be read without one: the carried calendar, which is nobody's alone."""
    days, trouble = _days_of(settings)

    def show(screen: Screen) -> None:
        screen.note(f"no daemon is reached: {error}")
        if trouble:
            screen.note(f"the calendar cannot be read: {trouble}")
        if days:
            counts = ("planned", "finished", "aborted", "skipped", "open")
            rows = [(day["agent_id"], *(day[name] for name in counts)) for day in days]
            screen.say(f"the calendar's {days[0]['date']} (UTC):")
            screen.table(("agent", *counts), rows)

    data = {"running": False, "detail": str(error), "days": days} | ({"calendar_error": trouble} if trouble else {})
    return Answer(data=data, show=show, exit_code=ExitCode.NO_DAEMON)


def _days_of(settings: Settings) -> tuple[list[dict[str, Any]], str]:
    """Read today's accounts of the carried calendar, and why it cannot be read."""
    from harborcal.calendar import Calendar

    if settings.calendar_file is None or not settings.calendar_file.exists():  # a look must not make one
        return [], ""
    today = SystemClock().now().date()
    try:
        with Calendar(settings.calendar_url or "", patience=2.0) as calendar:
            accounts = [calendar.account(agent.id, today) for agent in calendar.agents()]
    except (CalendarError, CalendarUnavailableError, ConfigurationError) as error:
        return [], str(error)
    return [{**account.to_dict(), "planned": account.planned} for account in accounts], ""


# --- words ----------------------------------------------------------------------------------------------------------


def _shown(text: str | None, zone: dt.tzinfo) -> str:
    """Show an instant as a time of day in a zone, with its date where that is another day than today."""
    if not text:
        return ""
    at = dt.datetime.fromisoformat(text).astimezone(zone)
    today = SystemClock().now().astimezone(zone).date()
    return at.strftime("%H:%M:%S" if at.date() == today else "%Y-%m-%d %H:%M:%S")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
