"""Every error that harborcal raises on purpose.

HarborcalError
├── ConfigurationError (ValueError)      an argument is out of range, or contradicts another
├── LifecycleError (RuntimeError)        started twice, used after stop, re-entered where it cannot be
├── NoActiveSlotError (LookupError)      the agent holds no slot
├── SlotMismatchError                    the agent holds another slot than the one named
├── TransportError                       no usable answer: may be tried again
│   ├── TransportTimeoutError            the total deadline passed
│   ├── NotSentError                     nothing left this machine: surely not applied
│   ├── CalendarUnavailableError         408, 425, 429 or 5xx; carries retry_after
│   └── MalformedAnswerError             an answer, but not this contract's
├── CalendarRefusedError                 any other 4xx: carries status and detail; not retried
│   └── UpdateRefusedError               an update refused for good; the slot is settled
├── JournalError                         the journal cannot be used, or could not be written: nothing happened
├── CalendarError                        the carried calendar's file or database cannot be used
├── ICalendarError                       a file that is no calendar
├── MissingExtraError (ImportError)      a part of harborcal needs packages that are not installed
├── ControlError                         a running scheduler's control API was not reached, or refused the caller
└── HostError                            a ready-made host could not wake the agent

Foreign exceptions are translated in one place each, always ``from`` the original.
"""


class HarborcalError(Exception):
    """Be the root of the tree: catch this to catch all of harborcal's own errors."""


class ConfigurationError(HarborcalError, ValueError):
    """An argument is out of range, of the wrong type, or contradicts another."""


class LifecycleError(HarborcalError, RuntimeError):
    """Something was started twice, used after its stop, or re-entered where it cannot be."""


class NoActiveSlotError(HarborcalError, LookupError):
    """The agent holds no slot, or the slot that was meant is already settled."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(agent_id)
        self.agent_id = agent_id

    def __str__(self) -> str:
        return f"calendar: no active slot for agent {self.agent_id}"


class SlotMismatchError(HarborcalError):
    """The agent holds another slot than the one that the caller named, or holds it by another wake."""

    def __init__(self, agent_id: str, named: str, held: str) -> None:
        super().__init__(agent_id, named, held)
        self.agent_id = agent_id
        self.named = named
        self.held = held

    def __str__(self) -> str:
        return f"calendar: agent {self.agent_id} holds slot {self.held}, not {self.named}"


class TransportError(HarborcalError):
    """The calendar gave no usable answer; the same request may be tried again.

    For an update the outcome is mostly unknown: the calendar may have applied it before the answer was lost.
    """

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the calendar may have applied what it was asked, although its answer did not say so."""
        return True


class TransportTimeoutError(TransportError):
    """The total deadline of one exchange passed before its answer was whole."""


class NotSentError(TransportError):
    """No byte of the request left this machine, so the calendar cannot have applied it."""

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the calendar may have applied it: never."""
        return False


class CalendarUnavailableError(TransportError):
    """The calendar said that it cannot answer now: 408, 425, 429 or a 5xx.

    Attributes:
        status: The HTTP status, or 0 where the transport has none.
        retry_after: Seconds the calendar asked to be left alone, or None.
        untouched: Whether the calendar is known to be as it was: it gave up before it changed anything.
    """

    def __init__(
        self, message: str, status: int = 0, retry_after: float | None = None, untouched: bool = False
    ) -> None:
        super().__init__(message, status, retry_after, untouched)
        self.status = status
        self.retry_after = retry_after
        self.untouched = untouched

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether the calendar may have applied it: not where it says that it has not begun (408, 425, 429)."""
        return not self.untouched and self.status not in {408, 425, 429}

    def __str__(self) -> str:
        return str(self.args[0])


class MalformedAnswerError(TransportError):
    """An answer came, but it is not one of this contract's."""


class CalendarRefusedError(HarborcalError):
    """The calendar understood and said no; trying the same again will not help.

    Attributes:
        status: The HTTP status (the contract's 4xx codes), also from transports without HTTP.
        detail: The calendar's own words, cleaned and capped.
        repeated: Whether an earlier try of this very request may have reached the calendar, so that
            the refusal may only mean that the first try was applied.
    """

    def __init__(self, status: int, detail: str = "", repeated: bool = False) -> None:
        super().__init__(status, detail, repeated)
        self.status = status
        self.detail = detail
        self.repeated = repeated

    def __str__(self) -> str:
        return f"calendar refused ({self.status}): {self.detail or 'no detail given'}"


class UpdateRefusedError(CalendarRefusedError):
    """The calendar refused an update for good; the slot is settled locally and the agent is free."""


class JournalError(HarborcalError):
    """The journal is damaged, in use or full. What was to be written was not, and what it speaks of was not done.

    Attributes:
        damaged: Whether the file itself is not what was written: no patience helps, and a new one has to be begun.
    """

    def __init__(self, message: str, damaged: bool = False) -> None:
        super().__init__(message, damaged)
        self.damaged = damaged

    def __str__(self) -> str:
        return str(self.args[0])


class CalendarError(HarborcalError):
    """The carried calendar's database cannot be used: damaged, full, not harborcal's, or from a newer version."""


class ICalendarError(HarborcalError):
    """A file that should be a calendar after RFC 5545 is none, or is larger than what is read."""


class MissingExtraError(HarborcalError, ImportError):
    """A part of harborcal needs packages that are not installed; the message names the command that installs them."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(part, extra)
        self.part = part
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.part} needs packages that are not installed: pip install 'harborcal[{self.extra}]'"


class ControlError(HarborcalError):
    """The control API of a running scheduler could not be reached, or refused the caller.

    Attributes:
        status: The HTTP status of the refusal; 0 where nobody answered.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


class HostError(HarborcalError):
    """A ready-made host could not wake the agent."""
