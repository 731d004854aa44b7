"""Asking a running scheduler, over its control API: with one agent's token, or the operator's."""

import contextlib
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from harborcal.control.access import AgentAccess, Fence, check_words
from harborcal.control.addresses import Address
from harborcal.control.failures import made_again
from harborcal.control.line import Line
from harborcal.errors import ConfigurationError, ControlError
from harborcal.grammar import check_id, clean
from harborcal.model import check_seconds
from harborcal.net import Deadline, check_header

CONTROL, TOKEN, AGENT = "HARBORCAL_CONTROL", "HARBORCAL_TOKEN", "HARBORCAL_AGENT"
SLOT, WAKE_ID = "HARBORCAL_SLOT", "HARBORCAL_WAKE_ID"
"""The variables of a woken command's environment: where to report, as whom, and of what."""

ANSWER_LIMIT = 16 * 1024 * 1024
"""How many bytes of an answer are read."""

_NUMBERS = 2**63


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
        return cls(environment[CONTROL], environment[TOKEN], timeout=timeout, fence=fence or None)

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
        self._settle_dead_letter(number, "retry")

    def drop_dead_letter(self, number: int) -> None:
        """Have a dead letter forgotten; see `OutboxTransport.drop_dead_letter`."""
        self._settle_dead_letter(number, "drop")

    def _settle_dead_letter(self, number: int, act: str) -> None:
        if type(number) is not int or not 0 <= number < _NUMBERS:
            raise ConfigurationError("a dead letter's number is a whole number that a journal gave")
        self.exchange("POST", f"/v1/dead-letters/{number}/{act}", {})

    # --- one exchange -----------------------------------------------------------------------------------------------

    def exchange(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Ask once, within one total deadline.

        Raises:
            ControlError: Nobody answered there, or the caller was refused.
            HarborcalError: What the scheduler raised, by its own class.
        """
        status, answered = self._ask(method, path, None if body is None else json.dumps(body).encode())
        answer = _decoded(answered)
        if status != http.HTTPStatus.OK:
            raise made_again(status, answer)
        if answer is None:
            raise ControlError(f"{self._address} gave an answer that is none of harborcal's", status)
        return answer

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        line = Line(self._address, Deadline(self._timeout, time.monotonic))
        try:
            with self._failing("nobody answers at {}"):
                line.connect()
            # From here on it may have been heard. Whoever says the same again is told whether it counted.
            with self._failing("{} gave no whole answer"):
                line.request(method, path, body, self._headers(has_body=body is not None))
                return _read(line.getresponse())
        finally:
            line.close()

    @contextlib.contextmanager
    def _failing(self, words: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise ControlError(f"no answer from {self._address} within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ControlError(f"{words.format(self._address)}: {clean(why, 200)}") from error

    def _headers(self, *, has_body: bool) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "Connection": "close"}
        return headers | ({"Content-Type": "application/json"} if has_body else {})


def _read(response: http.client.HTTPResponse) -> tuple[int, bytes]:
    body = response.read(ANSWER_LIMIT + 1)
    if len(body) > ANSWER_LIMIT:
        raise ControlError(f"an answer of over {ANSWER_LIMIT} bytes is not read")
    if response.length:  # read with a limit does not say itself that the rest did not come
        raise http.client.IncompleteRead(body, response.length)
    return response.status, body


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
        return self._report("complete", fence, summary=check_words("summary", summary))

    def abort(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        return self._report("abort", fence, reason=check_words("reason", reason))

    def pause(self, reason: str = "", *, fence: Fence | None = None) -> Mapping[str, Any]:
        return self._report("pause", fence, reason=check_words("reason", reason))

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
