"""The commented file that ``harborcal init`` writes."""

import json
from collections.abc import Iterable, Mapping

from harborcal.cli.settings import Settings

_HEAD = """\
# What harborcal goes by in this folder; `harborcal config show` tells each value and where it came from.
# Options and HARBORCAL_* variables go before what stands here. Relative paths begin at this file.

# The time zone that times are read and shown in.
zone = {zone}

# Where the daemon keeps its journal, its lock, its control socket and the output of woken commands.
{state}

[calendar]
# The calendar that harborcal carries, one SQLite file, or a HarborForge backend: one of the two.
{calendar}
# What this host is called at the calendar; the machine's name by default.
# claw_identifier = "desk"
# The backend's key is in HARBORCAL_API_KEY, or in the first line of a file.
# api_key_file = "api-key"

[control]
# Where the daemon listens for `harborcal status`, `complete` and the like: a Unix socket or a loopback address.
{control}

[serve]
# Where `harborcal serve` serves the carried calendar over HTTP. Its clients' key: HARBORCAL_SERVE_KEY, or a file.
# host = "127.0.0.1"
# port = 8000
# key_file = "serve-key"

[scheduler]
# Durations are seconds, or texts such as "30s" and "5m".
# heartbeat_interval = 30
# How long a woken agent may be silent before it is reminded, and then given up; "never" lets it.
# lease = "30m"
# How late a slot may begin before it is skipped; "never" lets it be late for ever.
# misfire_grace = "never"

# What holds for all agents that do not say otherwise.
[defaults]
# host = "command"
"""

_AGENT = """\

[agents.{name}]
# A command is run for each wake: its message comes on standard input. Exit code 0 completes the slot, with the last
# line as summary; any other aborts it.
host = "command"
command = ["cat"]
"""

_EXAMPLE = """\

# An agent, and how it is woken. A command is run for each wake: its message comes on standard input. Exit code 0
# completes the slot, with the last line as summary; any other aborts it.
# [agents.reviewer]
# host = "command"
# command = ["cat"]

# A webhook is posted to.
# [agents.writer]
# host = "webhook"
# url = "http://127.0.0.1:9000/wake"
"""


def written(options: Mapping[str, str | None], settings: Settings, agents: Iterable[str]) -> str:
    """Write the file: what was said is a value in it, what was not is a comment that shows the default."""
    names = list(dict.fromkeys(agents))
    if options.get("backend") is not None:
        calendar = f"backend = {_text(str(settings.backend))}"
    else:
        url = settings.calendar_url if options.get("calendar") is not None else "sqlite:///calendar.db"
        calendar = f'url = {_text(str(url))}\n# backend = "https://harborforge.example"'
    head = _HEAD.format(
        zone=_text(settings.zone.key),
        state=_said("state", str(settings.state), ".harborcal", is_said=options.get("state") is not None),
        calendar=calendar,
        control=_said(
            "listen", settings.control, "unix:.harborcal/control.sock", is_said=options.get("control") is not None
        ),
    )
    return head + ("".join(_AGENT.format(name=_key(name)) for name in names) or _EXAMPLE)


def _said(key: str, value: str, usual: str, *, is_said: bool) -> str:
    return f"{key} = {_text(value)}" if is_said else f"# {key} = {_text(usual)}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else _text(name)
