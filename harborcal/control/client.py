"""Asking a running scheduler, over its control API: with one agent's token, or the operator's."""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from harborcal import errors
from harborcal.control.access import AgentAccess, Fence
from harborcal.control.addresses import Address
from harborcal.errors import ConfigurationError, ControlError, HarborcalError, TransportTimeoutError
from harborcal.grammar import check_id, clean
from harborcal.model import check_seconds
from harborcal.net import check_header

CONTROL, TOKEN, AGENT = "HARBORCAL_CONTROL", "HARBORCAL_TOKEN", "HARBORCAL_AGENT"
SLOT, WAKE_ID = "HARBORCAL_SLOT", "HARBORCAL_WAKE_ID"
"""The variables of a woken command's environment: where to report, as whom, and of what."""

ANSWER_LIMIT = 16 * 1024 * 1024
"""How many bytes of an answer are read."""

_CHUNK = 64 * 1024


class ControlClient:
    """Reaches a running scheduler through its control API.

    One exchange is one connection; it may be used by several threads.

    Args:
        address: ``unix:/path/to/control.sock`` or ``http://127.0.0.1:PORT``.
        token: An agent's token, or the operator's.
        timeout: Seconds that one exchange may take in all.
        fence: What reports are about unless they say so themselves.

    Raises:
        ConfigurationError: An argument makes no sense.
    """

    def __init__(self, address: str, token: str, *, timeout: float = 10.0, fence: Fence | None = None) -> None:
        self._address = Address.of(address)
        self._token = check_header("token", token)
        self._timeout = check_seconds("timeout", timeout)
        if self._timeout <= 0:
            raise ConfigurationError(f"timeout is more than 0 seconds, not {timeout!r}")
        self._fence = fence

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r})"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, timeout: float = 10.0) -> "ControlClient":
        """Use what a woken command finds in its environment; its reports are fenced by its slot and its wake.

        Raises:
            ConfigurationError: Address or token is missing there.
        """
        for name in (CONTROL, TOKEN):
            if not environment.get(name):
                raise ConfigurationError(f"{name} is not set: this is no environment of a woken command")
        fence = Fence(slot=environment.get(SLOT, ""), wake_id=environment.get(WAKE_ID, ""))
        is_fenced = bool(fence.slot or fence.wake_id)
        return cls(environment[CONTROL], environment[TOKEN], timeout=timeout, fence=fence if is_fenced else None)

    # --- for agents -------------------------------------------------------------------------------------------------

    def agent(self, agent_id: str) -> "AgentAccess":
        """Reach one agent's slots.

        Raises:
            ConfigurationError: The id does not match the grammar of ids.
        """
        return _RemoteAccess(self, check_id("agent_id", agent_id), self._fence)

    # --- for operators ----------------------------------------------------------------------------------------------

    def health(self) -> Mapping[str, Any]:
        """Ask whether somebody is there: ``ok`` and ``lifecycle``. Needs no right token."""
        return self.exchange("GET", "/v1/health")

    def status(self) -> Mapping[str, Any]:
        """Ask for all of `Scheduler.status`, as its ``to_dict`` tells it."""
        return self.exchange("GET", "/v1/status")

    def account(self) -> Mapping[str, Any]:
        """Ask for `Scheduler.account`, as its ``to_dict`` tells it."""
        return self.exchange("GET", "/v1/account")

    def retry_dead_letter(self, number: int) -> None:
        """Have a dead letter delivered once more; see `OutboxTransport.retry_dead_letter`."""
        self.exchange("POST", f"/v1/dead-letters/{int(number)}/retry", {})

    def drop_dead_letter(self, number: int) -> None:
        """Have a dead letter forgotten; see `OutboxTransport.drop_dead_letter`."""
        self.exchange("POST", f"/v1/dead-letters/{int(number)}/drop", {})

    # --- one exchange -----------------------------------------------------------------------------------------------

    def exchange(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Ask once, within one total deadline.

        Raises:
            ControlError: Nobody answered there, or the caller was refused.
            HarborcalError: What the scheduler raised, by its own class.
        """
        sent = None if body is None else json.dumps(body).encode()
        try:
            status, answered = self._ask(method, path, sent)
        except TimeoutError as error:
            raise ControlError(f"no answer from {self._address} within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ControlError(f"nobody answers at {self._address}: {clean(words, 200)}") from error
        answer = _decoded(answered)
        if status != http.HTTPStatus.OK:
            raise _error_of(status, answer)
        if answer is None:
            raise ControlError(f"{self._address} gave an answer that is none of harborcal's", status)
        return answer

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._timeout
        connection = _Connection(self._address, self._timeout)
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, body, headers)
            _within(connection, deadline)
            response = connection.getresponse()
            read = bytearray()
            while True:
                _within(connection, deadline)
                chunk = response.read1(_CHUNK)
                if not chunk:
                    return response.status, bytes(read)
                read += chunk
                if len(read) > ANSWER_LIMIT:
                    raise ControlError(f"an answer of over {ANSWER_LIMIT} bytes is not read")
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over either kind of address; no proxies, whatever the environment says."""

    def __init__(self, address: Address, timeout: float) -> None:
        host = address.host if address.path is None else "localhost"
        super().__init__(host, address.port if address.path is None else 80, timeout=timeout)
        self._address = address

    def connect(self) -> None:
        if self._address.path is None:
            super().connect()
            return
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.settimeout(self.timeout)
            line.connect(str(self._address.path))
        except BaseException:
            line.close()
            raise
        self.sock = line


def _within(connection: _Connection, deadline: float) -> None:
    """Let the next wait last until the deadline at most; a server that drips bytes gets no more than that."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    if connection.sock is not None:
        connection.sock.settimeout(left)


class _RemoteAccess:
    """One agent's access, over the control API (see `AgentAccess`)."""

    def __init__(self, client: ControlClient, agent_id: str, fence: Fence | None) -> None:
        self._client = client
        self._agent_id = agent_id
        self._fence = fence

    def __repr__(self) -> str:
        return f"<access to {self._agent_id} through {self._client!r}>"

    @property
    def agent_id(self) -> str:
        return self._agent_id

    def status(self) -> Mapping[str, Any]:
        return self._client.exchange("GET", self._path("status"))

    def today(self) -> Mapping[str, Any]:
        return self._client.exchange("GET", self._path("today"))

    def why(self) -> Mapping[str, Any]:
        return self._client.exchange("GET", self._path("why"))

    def complete(self, summary: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        return self._report("complete", fence, summary=summary)

    def abort(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        return self._report("abort", fence, reason=reason)

    def pause(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        return self._report("pause", fence, reason=reason)

    def resume(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        return self._report("resume", fence)

    def renew(self, *, fence: Fence | None = None) -> Mapping[str, Any]:
        return self._report("renew", fence)

    def _report(self, verb: str, fence: Fence | None, **words: str) -> Mapping[str, Any]:
        meant = fence if fence is not None else self._fence
        named = {} if meant is None else {"slot": meant.slot, "wake_id": meant.wake_id}
        body = {key: value for key, value in {**words, **named}.items() if value}
        return self._client.exchange("POST", self._path(verb), body)

    def _path(self, what: str) -> str:
        return f"/v1/agents/{self._agent_id}/{what}"


def _decoded(body: bytes) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _error_of(status: int, answer: Mapping[str, Any] | None) -> HarborcalError:
    """Raise what the scheduler raised: the answer names its class, and what it was made of."""
    words = answer if answer is not None else {}
    detail = clean(str(words.get("detail") or "no reason given"), 500)
    arguments = words.get("arguments")
    kind = _RAISED.get(str(words.get("error")))
    if kind is None or not isinstance(arguments, list):
        return ControlError(detail, status)
    try:
        return kind(*arguments)
    except (TypeError, ValueError):
        return ControlError(detail, status)


_RAISED: Mapping[str, type[HarborcalError]] = {
    kind.__name__: kind
    for kind in (
        errors.NoActiveSlotError,
        errors.SlotMismatchError,
        errors.CalendarRefusedError,
        errors.UpdateRefusedError,
        errors.CalendarUnavailableError,
        errors.MalformedAnswerError,
        errors.NotSentError,
        TransportTimeoutError,
        errors.TransportError,
        errors.JournalError,
        errors.CalendarError,
        errors.LifecycleError,
        ConfigurationError,
    )
}
