"""Run AI agents by a calendar, from any synchronous Python program.

A `Scheduler` heartbeats every agent against the calendar behind a `Transport`, picks the most urgent due slot, wakes
the agent through a `Host`, and follows the slot until the agent reports. What is supported is what ``__all__`` lists
here and in `harborcal.testing`.
"""

from harborcal.clock import Clock, SystemClock, Timer
from harborcal.errors import (
    CalendarError,
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    HostError,
    ICalendarError,
    LifecycleError,
    MalformedAnswerError,
    MissingExtraError,
    NoActiveSlotError,
    NotSentError,
    SlotMismatchError,
    TransportError,
    TransportTimeoutError,
    UpdateRefusedError,
)
from harborcal.host import Host, Report, WakeRequest
from harborcal.hosts.callback import CallbackHost
from harborcal.model import (
    ActiveSlot,
    ActiveState,
    Agent,
    AgentStatus,
    EventType,
    Heartbeat,
    HistoryEntry,
    Lifecycle,
    PluginInfo,
    Problem,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotKind,
    SlotStatus,
    SlotType,
    SlotUpdate,
    Status,
    TickReport,
    UnreadableSlot,
    UpdateReceipt,
    Verdict,
    VerdictReason,
)
from harborcal.prompt import build_wake_message
from harborcal.runner import Runner, Task, ThreadRunner
from harborcal.scheduler import Scheduler
from harborcal.transport import (
    ClaimingTransport,
    DayReader,
    DeferredDelivery,
    DeliveryListener,
    Transport,
    find,
)
from harborcal.transports.embedded import EmbeddedTransport
from harborcal.transports.http import HttpTransport
from harborcal.transports.retrying import RetryingTransport
from harborcal.version import __version__

__all__ = [
    "ActiveSlot",
    "ActiveState",
    "Agent",
    "AgentStatus",
    "CalendarError",
    "CalendarRefusedError",
    "CalendarUnavailableError",
    "CallbackHost",
    "ClaimingTransport",
    "Clock",
    "ConfigurationError",
    "DayReader",
    "DeferredDelivery",
    "DeliveryListener",
    "EmbeddedTransport",
    "EventType",
    "HarborcalError",
    "Heartbeat",
    "HistoryEntry",
    "Host",
    "HostError",
    "HttpTransport",
    "ICalendarError",
    "Lifecycle",
    "LifecycleError",
    "MalformedAnswerError",
    "MissingExtraError",
    "NoActiveSlotError",
    "NotSentError",
    "PluginInfo",
    "Problem",
    "Report",
    "RetryingTransport",
    "Runner",
    "Scheduler",
    "SchedulerConfig",
    "Slot",
    "SlotKey",
    "SlotKind",
    "SlotMismatchError",
    "SlotStatus",
    "SlotType",
    "SlotUpdate",
    "Status",
    "SystemClock",
    "Task",
    "ThreadRunner",
    "TickReport",
    "Timer",
    "Transport",
    "TransportError",
    "TransportTimeoutError",
    "UnreadableSlot",
    "UpdateReceipt",
    "UpdateRefusedError",
    "Verdict",
    "VerdictReason",
    "WakeRequest",
    "__version__",
    "build_wake_message",
    "find",
]
