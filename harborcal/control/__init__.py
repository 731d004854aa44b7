"""Reaching a running scheduler from elsewhere: what one agent may see and say, with which token, and over which line.

`access.py` is what may be asked and said of one agent's slots, whoever carries it: `local.py` in the scheduler's own
process, `client.py` over its control API (which `harborcal.server` answers), on the connections of `line.py`.
`failures.py` is how errors pass over it. `tokens.py` knows who may; `addresses.py` where it is; `sole.py` lets exactly
one process be the one that is reached.
"""

from harborcal.control.access import AgentAccess, Fence
from harborcal.control.addresses import Address
from harborcal.control.client import AGENT, CONTROL, SLOT, TOKEN, WAKE_ID, ControlClient
from harborcal.control.local import SchedulerAccess, status_of
from harborcal.control.sole import SoleProcess
from harborcal.control.tokens import Caller, Tokens

__all__ = [
    "AGENT",
    "CONTROL",
    "SLOT",
    "TOKEN",
    "WAKE_ID",
    "Address",
    "AgentAccess",
    "Caller",
    "ControlClient",
    "Fence",
    "SchedulerAccess",
    "SoleProcess",
    "Tokens",
    "status_of",
]
