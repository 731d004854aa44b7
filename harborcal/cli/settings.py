"""What the command line goes by: options before ``HARBORCAL_*`` variables, before the TOML file, before defaults."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from harborcal.cli.agent_tables import AgentSettings, read_agents, shown_agents
from harborcal.cli.scheduler_table import FIELDS as SCHEDULER_FIELDS
from harborcal.cli.scheduler_table import read_scheduler
from harborcal.cli.secret import Secret
from harborcal.cli.sources import Found, Sources
from harborcal.cli.values import (
    DEFAULT,
    Value,
    address_of,
    file_of_url,
    flag_shown,
    masked,
    path_of,
    port_of,
    sqlite_url_of,
    text_of,
    url_of_file,
)
from harborcal.cli.zones import system_zone, zone_named
from harborcal.errors import ConfigurationError
from harborcal.grammar import check_id
from harborcal.model import SchedulerConfig

__all__ = ["AgentSettings", "Secret", "Settings", "Value", "load_settings"]

Kind = TypeVar("Kind")

USUAL_CALENDAR = "calendar.db"
TABLES: Mapping[str, tuple[str, ...]] = {
    "calendar": ("url", "backend", "claw_identifier", "api_key_file"),
    "control": ("listen",),
    "serve": ("host", "port", "key_file"),
    "scheduler": SCHEDULER_FIELDS,
}
"""The keys of each table of the file but ``defaults`` and ``agents``, whose keys are their hosts' own."""

TOP = ("zone", "state", *TABLES, "defaults", "agents")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a command goes by.

    Attributes:
        file: The TOML file; None where there is none.
        folder: Where relative paths begin: the file's folder, else the working directory.
        calendar_url: The carried calendar, with an absolute path; None where a backend is meant.
        backend: The HarborForge backend's URL; None where the calendar is carried.
        claw_identifier: What this host is called at the calendar; None for the machine's name.
        api_key: The backend's key.
        zone: What times are read and shown in.
        state: Where the daemon keeps what outlives it.
        control: Where the daemon listens: ``unix:/path`` or ``http://127.0.0.1:PORT``.
        scheduler: How the scheduler is set.
        agents: The agents that the file names, by id.
        serve_host: Where the carried calendar is served.
        serve_port: And on which port.
        serve_key: What its clients must know.
    """

    file: Path | None
    folder: Path
    calendar_url: str | None
    backend: str | None
    claw_identifier: str | None
    api_key: Secret | None
    zone: ZoneInfo
    state: Path
    control: str
    scheduler: SchedulerConfig
    agents: Mapping[str, AgentSettings]
    serve_host: str
    serve_port: int
    serve_key: Secret | None
    origins: tuple[Value, ...] = dataclasses.field(default=(), repr=False)

    @property
    def calendar_file(self) -> Path | None:
        """Where the carried calendar is; None where a backend is meant."""
        return None if self.calendar_url is None else file_of_url(self.calendar_url)

    @property
    def usual_calendar(self) -> Path:
        """Where the carried calendar lies unless another place is named."""
        return self.folder / USUAL_CALENDAR

    @property
    def is_bare(self) -> bool:
        """Whether nobody has said anything of a calendar: there is no file, and no option or variable names one."""
        named = {value.name for value in self.origins if value.origin != DEFAULT}
        return self.file is None and not named & {"calendar.url", "calendar.backend"}

    @property
    def journal(self) -> Path:
        """Where the daemon's journal lies."""
        return self.state / "journal"

    @property
    def secret(self) -> Path:
        """Where the secret lies that the control API's tokens are made from."""
        return self.state / "secret"

    @property
    def lock(self) -> Path:
        """The file that one daemon holds at a time."""
        return self.state / "lock"

    @property
    def runs(self) -> Path:
        """Where the output of woken commands is kept."""
        return self.state / "runs"

    def values(self) -> tuple[Value, ...]:
        """Tell each value and where it came from; secrets as ``(set)``."""
        return self.origins


def load_settings(
    options: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path, *, without_file: bool = False
) -> Settings:
    """Put the settings together.

    Args:
        options: ``config``, ``calendar``, ``backend``, ``zone``, ``state``, ``control``; None for what was not given.
        environ: The environment.
        cwd: The working directory: where the file is looked for, and where paths of options and variables begin.
        without_file: Whether to go by options and variables alone.

    Raises:
        ConfigurationError: The file cannot be read, has an unknown key, or a value makes no sense; it says which, and
            where it came from.
    """
    if without_file:
        sources = Sources(options=options, environ=environ, cwd=cwd, file=None, tree={})
    else:
        sources = Sources.of(options, environ, cwd)
    sources.table("", TOP)
    for name, keys in TABLES.items():
        sources.table(name, keys)
    return _Reader(sources).settings()


class _Reader:
    """Reads value after value, and keeps where each came from."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._values: list[Value] = []

    def settings(self) -> Settings:
        file = self._sources.file
        self._tell("file", str(file) if file else "(none)", self._origin_of_file())
        url, backend = self._calendar()
        claw = self._optional("calendar.claw_identifier", self._found("calendar.claw_identifier"), _claw_of)
        api_key = self._secret("calendar.api_key", "HARBORCAL_API_KEY", "calendar.api_key_file")
        zone = self._zone()
        state = self._value("state", self._found("state", "state"), path_of, self._sources.folder / ".harborcal")
        found = self._found("control.listen", "control", "HARBORCAL_CONTROL")
        control = self._value("control.listen", found, address_of, f"unix:{state / 'control.sock'}")
        host = self._value("serve.host", self._found("serve.host"), text_of, "127.0.0.1")
        port = self._value("serve.port", self._found("serve.port"), port_of, 8000)
        serve_key = self._secret("serve.key", "HARBORCAL_SERVE_KEY", "serve.key_file")
        scheduler, told = read_scheduler(self._sources)
        self._values.extend(told)
        agents = read_agents(self._sources)
        self._values.extend(shown_agents(agents.values(), self._sources))
        return Settings(
            file=file,
            folder=self._sources.folder,
            calendar_url=url,
            backend=backend,
            claw_identifier=claw,
            api_key=api_key,
            zone=zone,
            state=state,
            control=control,
            scheduler=scheduler,
            agents=MappingProxyType(agents),
            serve_host=host,
            serve_port=port,
            serve_key=serve_key,
            origins=tuple(self._values),
        )

    # --- single ones

    def _calendar(self) -> tuple[str | None, str | None]:
        """Read which calendar is meant: of a carried one and a backend the one that was said with more weight."""
        url = self._found("calendar.url", "calendar")
        backend = self._found("calendar.backend", "backend")
        if url is not None and backend is not None:
            if url.rank == backend.rank:
                raise ConfigurationError(
                    f"{url.origin} and {backend.origin} contradict: a calendar is one or the other"
                )
            url, backend = (url, None) if url.rank < backend.rank else (None, backend)
        if backend is not None:
            text = text_of(backend)
            if not text.startswith(("http://", "https://")):
                raise ConfigurationError(f"{backend.origin}: a backend is an http or https URL, not {masked(text)!r}")
            self._tell("calendar.backend", masked(text), backend.origin)
            return None, text
        default = url_of_file(self._sources.folder / USUAL_CALENDAR)
        return self._value("calendar.url", url, sqlite_url_of, default), None

    def _zone(self) -> ZoneInfo:
        found = self._found("zone", "zone")
        if found is None:
            zone, origin = system_zone(self._sources.environ), "default, this machine's"
        else:
            zone, origin = zone_named(found.value, found.origin), found.origin
        self._tell("zone", zone.key, origin)
        return zone

    def _secret(self, name: str, variable: str, key: str) -> Secret | None:
        said = self._sources.find("", variable=variable)
        if said is not None:
            self._tell(name, "(set)", said.origin)
            return Secret(text_of(said))
        found = self._sources.find(key, variable=f"{variable}_FILE")
        if found is None:
            self._tell(name, "(not set)", DEFAULT)
            return None
        path = path_of(found)
        self._tell(name, "(set)", f"{found.origin} = {path}")
        return Secret.in_file(path, found.origin)

    # --- all of them

    def _found(self, key: str, option: str = "", variable: str = "") -> Found | None:
        usual = "HARBORCAL_" + key.upper().replace(".", "_")
        return self._sources.find(key, option=option, variable=variable or usual)

    def _value(self, name: str, found: Found | None, read: Callable[[Found], Kind], default: Kind) -> Kind:
        value = default if found is None else read(found)
        self._tell(name, flag_shown(value), DEFAULT if found is None else found.origin)
        return value

    def _optional(self, name: str, found: Found | None, read: Callable[[Found], str]) -> str | None:
        value = None if found is None else read(found)
        self._tell(name, "(not set)" if value is None else value, DEFAULT if found is None else found.origin)
        return value

    def _tell(self, name: str, shown: Any, origin: str) -> None:
        self._values.append(Value(name=name, shown=str(shown), origin=origin))

    def _origin_of_file(self) -> str:
        if self._sources.options.get("config") is not None:
            return "option --config"
        if self._sources.environ.get("HARBORCAL_CONFIG"):
            return "environment HARBORCAL_CONFIG"
        return DEFAULT


def _claw_of(found: Found) -> str:
    return check_id(f"{found.origin}: a claw identifier", text_of(found))
