"""The daemon: a scheduler with all that belongs to it, put together from settings, in one process.

Only one daemon at a time has a state folder. What it holds is opened in this order and let go in the opposite one: the
folder's lock, the calendar, the journal and the way to the calendar, the hosts, the scheduler, the control API.
"""

import contextlib
import os
from collections.abc import Mapping
from typing import Self

from harborcal.cli.calendars import backend_of, open_calendar
from harborcal.cli.news import AnnouncingHost, Log, News
from harborcal.cli.notify import notify
from harborcal.cli.reporting import ReportingByAgent
from harborcal.cli.settings import Settings
from harborcal.cli.signals import Bell, stop_signals
from harborcal.cli.state import prepare_state
from harborcal.cli.survivors import Survivors
from harborcal.clock import Clock, SystemClock
from harborcal.control import CONTROL, TOKEN, SoleProcess, Tokens
from harborcal.envelope import WakeEnvelope
from harborcal.errors import ConfigurationError, LifecycleError
from harborcal.host import Host
from harborcal.hosts import HostContext, HostsByAgent, host_named
from harborcal.hosts.callback import log_to_logging
from harborcal.journal import Journal
from harborcal.model import Account, Agent, PluginInfo, Status
from harborcal.runner import Task, ThreadRunner
from harborcal.scheduler import Scheduler
from harborcal.server import ControlServer, create_control_app
from harborcal.transport import DayReader, Transport, find
from harborcal.transports.embedded import EmbeddedTransport
from harborcal.transports.outbox import OutboxTransport
from harborcal.transports.retrying import RetryingTransport
from harborcal.version import __version__

HOSTS_END_WITHIN = 10.0
"""Seconds that woken commands have to end when the daemon stops; more where the grace of one asks for it."""

STOP_WITHIN = 10.0
"""Seconds that heartbeats, wakes and reports under way have to end after that."""

_LOOK_EVERY = 0.25
_CONTROL_ENDS_WITHIN = 6.0


class Daemon:
    """A scheduler that runs by itself: a context manager that is ready once it is entered, and stops when it is left.

    Args:
        settings: What to run.
        environ: The environment; systemd says in it whom to tell that the daemon is ready.
        clock: Where time comes from.
        log: Takes ``(level, message, fields)``.

    Raises:
        ConfigurationError: On entering: no agent is configured, or something in the settings makes no sense.
        LifecycleError: On entering: another daemon has the state folder.
        JournalError, CalendarError: On entering: the journal or the calendar cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        log: Log = log_to_logging,
    ) -> None:
        if not settings.agents:
            raise ConfigurationError(f"no agent to run: {_where(settings)} has no [agents.NAME]")
        self._settings = settings
        self._environ = os.environ if environ is None else environ
        self._clock = clock if clock is not None else SystemClock()
        self._runner = ThreadRunner()
        self._log = log
        self._bell = Bell()
        self._failure = ""  # why the control API ended by itself
        self._held = contextlib.ExitStack()
        self._agents = tuple(Agent(id=agent.id, model=agent.model) for agent in settings.agents.values())
        self._tokens: Tokens
        self._hosts: HostsByAgent
        self._outbox: OutboxTransport
        self._scheduler: Scheduler
        self._server: ControlServer

    # --- beginning --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            self._open(opened)
            self._held = opened.pop_all()
        return self

    def _open(self, opened: contextlib.ExitStack) -> None:
        prepare_state(self._settings.state, self._settings.folder)
        self._take_lock(opened)
        self._tokens = Tokens.kept_in(self._settings.secret)
        way = self._way_to_calendar(opened)
        hosts: dict[str, Host] = {agent_id: self._host_of(agent_id) for agent_id in self._settings.agents}
        self._hosts = HostsByAgent(hosts, log=self._log)
        self._outbox = OutboxTransport(way, Journal(self._settings.journal, clock=self._clock), clock=self._clock)
        # Until the scheduler has it; afterwards it is closed already, which changes nothing.
        opened.callback(self._outbox.close)
        self._scheduler = Scheduler(
            self._outbox,
            AnnouncingHost(self._hosts, self._log),
            lambda: self._agents,
            config=self._settings.scheduler,
            plugin=PluginInfo(name="harborcal", version=__version__, backend=self._settings.backend or "carried"),
            clock=self._clock,
            runner=self._runner,
            message=WakeEnvelope(zone=self._settings.zone, reporting=ReportingByAgent(self._settings.agents)),
        )
        opened.callback(self._scheduler.stop, STOP_WITHIN)
        opened.callback(self._close_hosts)
        app = create_control_app(self._scheduler, self._tokens, day=find(self._outbox, DayReader), outbox=self._outbox)
        self._server = ControlServer(app, self._settings.control)
        opened.callback(self._server.close)

    def _take_lock(self, opened: contextlib.ExitStack) -> None:
        sole = SoleProcess(self._settings.lock)
        if not sole.acquire():
            holder = f" (process {sole.holder()})" if sole.holder() else ""
            raise LifecycleError(f"another harborcal runs with the state folder {self._settings.state}{holder}")
        opened.callback(sole.release)

    def _way_to_calendar(self, opened: contextlib.ExitStack) -> Transport:
        settings = self._settings
        if settings.backend is not None:
            return RetryingTransport(backend_of(settings))
        calendar = opened.enter_context(open_calendar(settings))
        return EmbeddedTransport(calendar, settings.claw_identifier)

    def _host_of(self, agent_id: str) -> Host:
        agent = self._settings.agents[agent_id]
        context = HostContext(
            agent_id=agent_id,
            folder=self._settings.folder,
            output=self._settings.runs,
            credentials=self._credentials_of,
        )
        if not agent.host:
            raise ConfigurationError(f"agents.{agent_id}.host is missing: command, webhook or callback")
        return host_named(agent.host, agent.settings, context)

    def _credentials_of(self, agent_id: str) -> Mapping[str, str]:
        """Tell what lets one agent reach the control API, for itself alone."""
        return {CONTROL: self._server.address, TOKEN: self._tokens.for_agent(agent_id)}

    # --- while it runs ----------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where the control API listens."""
        return self._server.address

    def account(self) -> Account:
        """Tell what became of every slot seen; also after it has stopped."""
        return self._scheduler.account()

    def request_stop(self) -> None:
        """Let nothing new begin, and let `run` return. Takes no lock: this is the one for signal handlers."""
        self._bell.ring()
        scheduler = getattr(self, "_scheduler", None)
        if scheduler is not None:
            scheduler.request_stop()

    def run(self, *, seconds: float | None = None, until_idle: bool = False) -> None:
        """Run until somebody asks to stop.

        Args:
            seconds: Stop by itself after so long.
            until_idle: Stop by itself once nothing is under way, nothing waits to be delivered, and no slot that the
                calendar lists waits for its time.

        Raises:
            LifecycleError: The control API has ended by itself.
        """
        news = News(self._scheduler.status(), self._log)
        survivors = Survivors(self._settings.runs, self._scheduler, self._clock, self._log)
        if self._bell.is_rung:
            self._scheduler.request_stop()  # asked before there was one
        self._held.callback(self._end_serving, self._runner.spawn("control", self._serve))
        self._scheduler.start()
        survivors.look()
        self._say_ready()
        ends_at = None if seconds is None else self._clock.monotonic() + seconds
        while not self._bell.wait(_LOOK_EVERY):
            status = self._scheduler.status()
            news.tell(status)
            survivors.look()
            if (until_idle and self._is_idle(status)) or (ends_at is not None and self._clock.monotonic() >= ends_at):
                break
        self.request_stop()
        notify(self._environ, "STOPPING=1")
        self._end(news, survivors)
        if self._failure:
            raise LifecycleError(f"the control API has ended: {self._failure}")

    def _serve(self) -> None:
        try:
            self._server.run()
        except BaseException as error:  # noqa: BLE001 - a daemon that nobody can reach ends, so that it is begun anew
            self._failure = f"{type(error).__name__}: {error}"
        self._bell.ring()

    def _end_serving(self, serving: Task) -> None:
        """See the answers that are under way off, and the socket taken away."""
        self._server.close()
        self._runner.wait([serving], _CONTROL_ENDS_WITHIN)

    def _say_ready(self) -> None:
        where = self._settings.backend or self._settings.calendar_url
        fields = {"control": self.address, "calendar": where, "agents": ",".join(self._settings.agents)}
        self._log("info", "harborcal is ready", fields | {"pid": os.getpid()})
        notify(self._environ, "READY=1", f"STATUS={len(self._agents)} agents, control API at {self.address}")

    def _is_idle(self, status: Status) -> bool:
        account = self._scheduler.account()
        delivery = self._outbox.delivery_status()
        answered = {*status.last_heartbeats, *self._refused(status)}
        is_heard = all(agent.id in answered for agent in self._agents)
        is_quiet = not (status.active or status.wakes_under_way or account.waiting or delivery.pending)
        return is_heard and is_quiet

    @staticmethod
    def _refused(status: Status) -> set[str]:
        """Tell whose heartbeats the calendar refuses: of them no slot can be waited for."""
        return {name for name, error in status.last_errors.items() if "calendar refused" in error.message}

    # --- ending -----------------------------------------------------------------------------------------------------

    def _end(self, news: News, survivors: Survivors) -> None:
        """End what was woken, while its reports can still be taken; then the rest."""
        self._log("info", "harborcal is stopping", {"active": len(self._scheduler.status().active)})
        self._close_hosts()
        survivors.end()
        self._scheduler.stop(STOP_WITHIN)
        status = self._scheduler.status()
        news.tell(status)
        self._held.close()
        pending = self._outbox.delivery_status().pending
        self._log("info", "harborcal has stopped", {"active": len(status.active), "undelivered": pending})

    def _close_hosts(self) -> None:
        self._hosts.close(max(HOSTS_END_WITHIN, self._hosts.closing_time))

    def __exit__(self, *_error: object) -> None:
        self._held.close()


def run_daemon(settings: Settings, *, seconds: float | None = None, until_idle: bool = False) -> None:
    """Run a daemon until a signal asks it to stop (see `stop_signals`); a second one ends the process at once.

    Args:
        settings: What to run.
        seconds: As `Daemon.run`.
        until_idle: As `Daemon.run`.

    Raises:
        ConfigurationError, LifecycleError, JournalError, CalendarError: As `Daemon`.
    """
    daemon = Daemon(settings)
    with stop_signals(daemon.request_stop), daemon:
        daemon.run(seconds=seconds, until_idle=until_idle)


def _where(settings: Settings) -> str:
    return "the configuration" if settings.file is None else str(settings.file)
