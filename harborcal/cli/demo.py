"""Three agents on one calendar, in a folder of their own: what a daemon does, in ten seconds."""

import dataclasses
import datetime as dt
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from harborcal.calendar import Calendar
from harborcal.cli.daemon import Daemon
from harborcal.cli.settings import Settings, load_settings
from harborcal.cli.signals import stop_signals
from harborcal.clock import Clock, SystemClock
from harborcal.model import Account

SECONDS = 20.0
"""How long it takes at most."""

_FIRST_AFTER = 2.0
_APART = 2.5

_REPORTING = """\
echo "woken for slot $HARBORCAL_SLOT"
{harborcal} pause "waiting for the tests" || exit 1
sleep 2
{harborcal} resume || exit 1
{harborcal} complete "three findings, all mended" || exit 1
"""
_BY_EXIT = """\
echo "reading the inbox"
sleep 2
echo "12 letters answered"
"""
_DYING = """\
sleep 2
echo "the disk is full" >&2
kill -KILL $$
"""

_SCRIPTS: Mapping[str, tuple[str, str]] = {
    "reviewer": (_REPORTING, "REVIEW-7"),
    "secretary": (_BY_EXIT, "INBOX"),
    "archivist": (_DYING, "ARCHIVE-2"),
}
"""Each agent's shell script, and the job it is planned for."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        account: What became of every slot.
        stopped_by: The signal that stopped it early; empty where none did.
    """

    account: Account
    stopped_by: str


class Demo:
    """The demonstration: writes its configuration, plans its slots, and runs the real daemon over them.

    Args:
        folder: A folder of its own, empty.
        say: Takes a line of the timeline.
        clock: Where time comes from.
    """

    def __init__(self, folder: Path, say: Say, *, clock: Clock | None = None) -> None:
        self._folder = folder
        self._say = say
        self._clock = clock if clock is not None else SystemClock()
        self._began = self._clock.monotonic()

    def run(self) -> Outcome:
        """Run it.

        Raises:
            HarborcalError: Something that no demonstration should show.
        """
        settings = self._write()
        self._plan(settings)
        self._began = self._clock.monotonic()
        daemon = Daemon(settings, environ={}, log=self._tell)
        with stop_signals(daemon.request_stop) as signals, daemon:
            daemon.run(seconds=SECONDS, until_idle=True)
            return Outcome(account=daemon.account(), stopped_by=signals.name)

    def _write(self) -> Settings:
        """Write what somebody else would write by hand."""
        harborcal = f"{shlex.quote(sys.executable)} -m harborcal"
        lines = ['zone = "UTC"', "[scheduler]", "heartbeat_interval = 1.0", "[defaults]", 'host = "command"']
        lines += ['inherit = ["PYTHONPATH"]']
        for agent_id, (script, _) in _SCRIPTS.items():
            path = self._folder / f"{agent_id}.sh"
            path.write_text(script.format(harborcal=harborcal), encoding="utf-8")
            lines += [f"[agents.{agent_id}]", f'command = ["/bin/sh", "{path.name}"]']
        file = self._folder / "harborcal.toml"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return load_settings({"config": str(file)}, {}, self._folder)

    def _plan(self, settings: Settings) -> None:
        first = self._clock.now() + dt.timedelta(seconds=_FIRST_AFTER)
        with Calendar(settings.calendar_url or "", clock=self._clock) as calendar:
            for number, (agent_id, (_, code)) in enumerate(_SCRIPTS.items()):
                calendar.register_agent(agent_id)
                starts_at = first + dt.timedelta(seconds=number * _APART)
                job = {"type": "Task", "code": code}
                slot = calendar.add_slot(agent_id, starts_at, 5, event_type="job", event_data=job)
                self._say(f"         {agent_id:9}  slot {slot.ident} is planned for {starts_at:%H:%M:%S} UTC: {code}")

    def _tell(self, _level: str, message: str, fields: Mapping[str, object]) -> None:
        """Tell what matters to somebody who watches."""
        told = _TOLD.get(message)
        if told is not None:
            at = self._clock.monotonic() - self._began
            self._say(f"{at:6.1f} s  {fields.get('agent', ''):9}  {told(fields)}")


def _end_of(fields: Mapping[str, object]) -> str:
    said = fields.get("summary") or fields.get("reason") or ""
    return f"slot {fields['slot']} is {fields['status']}" + (f": {said}" if said else "")


_TOLD: Mapping[str, Callable[[Mapping[str, object]], str]] = {
    "harborcal is ready": lambda fields: f"the daemon is ready, for {str(fields['agents']).replace(',', ', ')}",
    "agent woken": lambda fields: f"is woken for slot {fields['slot']}",
    "slot paused": lambda fields: f"rests: {fields['reason']}",
    "slot resumed": lambda _: "goes on",
    "slot settled": _end_of,
    "harborcal is stopping": lambda _: "the daemon stops",
}
