"""Ways to wake agents: a function, a command, a webhook.

`command.py` runs a command per wake (`running.py` is one that runs, `bounded.py` what it prints, `records.py` what a
later process knows of it), `webhook.py` posts wakes, `callback.py` calls a function. `by_agent.py` gives each agent its
own, `registry.py` finds them by name.
"""

from harborcal.hosts.by_agent import HostsByAgent
from harborcal.hosts.callback import CallbackHost
from harborcal.hosts.command import CommandHost
from harborcal.hosts.records import Orphan, orphans_in
from harborcal.hosts.registry import HostContext, HostFactory, host_named
from harborcal.hosts.webhook import WebhookHost, verify_signature

__all__ = [
    "CallbackHost",
    "CommandHost",
    "HostContext",
    "HostFactory",
    "HostsByAgent",
    "Orphan",
    "WebhookHost",
    "host_named",
    "orphans_in",
    "verify_signature",
]
