"""The calendar over HTTP through libcurl: one exchange at the cost of a C client, or thousands on one thread."""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import certifi

from harborcal.carrier.manners import ERROR_BODY, SUCCESS, Request, check_framing
from harborcal.clock import Clock, SystemClock
from harborcal.errors import (
    ConfigurationError,
    HarborcalError,
    LifecycleError,
    MalformedAnswerError,
    NotSentError,
    TransportError,
)
from harborcal.grammar import clean
from harborcal.model import Heartbeat, PluginInfo
from harborcal.transports.contract import ContractTransport, decode_heartbeat
from harborcal.transports.switchboard import Answer, Failure, Settings, Switchboard, Trouble

HEADS = 256
"""How many heads are remembered; with a ``Date`` in them, those of the last second or so."""

HEAD_SIZE = 4096
"""Bytes up to which a head is remembered."""

MAX_CONNECTIONS = 1_024
"""The most connections that one batch may be given."""


class CurlTransport(ContractTransport):
    """Reach a HarborForge calendar through libcurl (extra ``curl``): `HttpTransport`'s contract, manners and errors.

    One attempt per call; safe to call from many threads. It is a `BatchTransport`: a batch of heartbeats runs on the
    calling thread alone, over at most ``max_connections`` connections, which are kept for the next one. It is a
    `DayReader` as well.

    An exchange ends within ``timeout`` as a whole, the name look-up included. Redirects are not followed, cookies not
    kept, answers over ``max_body_size`` not read, nothing of the environment counts. A connection that the calendar
    closed while it was idle is replaced without a word. HTTP/1.1 is spoken. For proxies, client certificates and
    signatures of one's own there is `HttpTransport`.

    Args:
        base_url: Where the calendar lives: ``http`` or ``https``, a host, perhaps a port and a path.
        claw_identifier: This host instance (contract: ``X-Claw-Identifier``). None means the host name.
        timeout: Seconds that one exchange may take; in a batch they count from when an agent is asked.
        max_body_size: The most bytes of an answer that are read.
        max_connections: How many exchanges of one batch are under way at once, 1..1,024.
        api_key: Sent as a bearer token, over https or loopback only. Appears in no error and no repr.
        ca_file: The authorities to trust instead of certifi's, a PEM file. Verification cannot be turned off.
        plugin: The program that drives the agents, named in the User-Agent.
        clock: Where a ``Retry-After`` that names a date takes its time from. Deadlines are libcurl's own.

    Raises:
        ConfigurationError: An argument is out of range, or the CA file cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        claw_identifier: str | None = None,
        *,
        timeout: float = 10.0,
        max_body_size: int = 1024 * 1024,
        max_connections: int = 128,
        api_key: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        plugin: PluginInfo = PluginInfo(),  # noqa: B008 - frozen
        clock: Clock = SystemClock(),  # noqa: B008 - stateless
    ) -> None:
        super().__init__(
            base_url,
            claw_identifier,
            timeout=timeout,
            max_body_size=max_body_size,
            api_key=api_key,
            plugin=plugin,
            clock=clock,
        )
        if type(max_connections) is not int or not 1 <= max_connections <= MAX_CONNECTIONS:
            raise ConfigurationError(f"max_connections is a whole number in 1..{MAX_CONNECTIONS}")
        self._max_connections = max_connections
        headers = {**self._headers, **({} if self._secret is None else {"Authorization": f"Bearer {self._secret}"})}
        self._settings = Settings(
            headers=(*(f"{name}: {value}" for name, value in headers.items()), "Expect:"),
            timeout=self._timeout,
            max_body_size=self._max_body_size,
            ca_file=certifi.where() if ca_file is None else _check_authorities(ca_file),
            max_connections=max_connections,
        )
        self._sound: set[bytes] = set()  # heads that were found sound: they hardly differ, and are not read again
        self._lock = threading.Lock()
        self._is_closed = False  # guarded by _lock
        # Guarded by _lock; the warmest last. Batches have their own: there their connections are.
        self._idle: dict[bool, list[Switchboard]] = {True: [], False: []}
        self._busy: set[Switchboard] = set()  # guarded by _lock

    def heartbeats(self, agent_ids: Sequence[str]) -> Iterator[tuple[str, Heartbeat | HarborcalError]]:
        """Ask for the pending slots of each agent, and give each answer as it comes.

        An agent that is named twice is asked once. Errors are answers: those of `heartbeat`, each its agent's own.

        Raises:
            LifecycleError: The transport is closed; whoever is under way then has a `TransportError` for an answer.
        """
        waiting = iter(dict.fromkeys(agent_ids))
        with self._switchboard(for_batch=True) as switchboard:
            ended: list[tuple[Request, Answer | Failure]] = []
            while True:
                # First whoever waits is asked, so that the calendar is at work while these answers are looked at.
                for agent_id in itertools.islice(waiting, self._max_connections - switchboard.under_way):
                    try:
                        switchboard.send(self._heartbeat_request(agent_id))
                    except HarborcalError as error:
                        yield agent_id, error
                for request, outcome in ended:
                    yield request.agent_id, self._heartbeat_of(outcome)
                if not switchboard.under_way:
                    return
                ended = list(switchboard.turn())

    def _heartbeat_of(self, outcome: Answer | Failure) -> Heartbeat | HarborcalError:
        try:
            return decode_heartbeat(self._body_of(outcome))
        except HarborcalError as error:
            return error

    def close(self) -> None:
        """Close every connection and cut short the calls that are under way. Idempotent."""
        with self._lock:
            self._is_closed = True
            busy, idle = tuple(self._busy), [*self._idle[True], *self._idle[False]]
            self._idle = {True: [], False: []}
        for switchboard in busy:
            switchboard.cut()
        for switchboard in idle:
            switchboard.close()

    # --- one exchange

    def _exchange(self, request: Request) -> bytes:
        with self._switchboard(for_batch=False) as switchboard:
            switchboard.send(request)
            while True:
                for _, outcome in switchboard.turn():
                    return self._body_of(outcome)

    @contextlib.contextmanager
    def _switchboard(self, *, for_batch: bool) -> Iterator[Switchboard]:
        """Have a switchboard to oneself for a while, the one that was used last if any is free."""
        with self._lock:
            idle = self._idle[for_batch]
            switchboard = idle.pop() if idle else None
        if switchboard is None:
            switchboard = Switchboard(self._settings)
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._busy.add(switchboard)
        if is_closed:
            switchboard.close()
            raise LifecycleError("the transport is closed")
        try:
            yield switchboard
        finally:
            switchboard.drop()
            with self._lock:
                self._busy.discard(switchboard)
                is_closed = self._is_closed
                if not is_closed:
                    self._idle[for_batch].append(switchboard)
            if is_closed:
                switchboard.close()

    def _body_of(self, outcome: Answer | Failure) -> bytes:
        """Return an answer's body, or raise what the answer, or its lack, means."""
        if isinstance(outcome, Failure):
            raise self._error_of(outcome)
        if outcome.status == 200 and outcome.head in self._sound:
            return outcome.body
        headers = outcome.headers()

        def header(name: str) -> str:
            return headers.get(name, [""])[-1]

        if outcome.status not in SUCCESS:
            raise self._refusal(
                outcome.status,
                outcome.body if len(outcome.body) <= ERROR_BODY else b"",
                location=header("location"),
                retry_after=header("retry-after") or None,
            )
        self._check_content(header("content-type"), header("content-encoding"), header("content-length"))
        if outcome.status != 204 and "chunked" not in header("transfer-encoding").lower():
            check_framing(set(headers.get("content-length", ())))
        if len(outcome.head) <= HEAD_SIZE:
            if len(self._sound) >= HEADS:
                self._sound.clear()
            self._sound.add(outcome.head)
        return outcome.body

    def _error_of(self, failure: Failure) -> TransportError:
        words = self._redact(clean(failure.words, 200))
        match failure.trouble:
            case Trouble.LATE:
                return self._late()
            case Trouble.CUT:
                return TransportError("the transport was closed during the exchange")
            case Trouble.TOO_LONG:
                return self._too_long()
            case Trouble.MALFORMED:
                return MalformedAnswerError(f"the answer of {self._base_url} is not HTTP as it should be ({words})")
            case Trouble.TLS:
                kind, what = TransportError, f"TLS with {self._base_url} failed"
            case Trouble.BROKEN:
                kind, what = TransportError, f"no answer from {self._base_url}"
        return (kind if failure.is_sent else NotSentError)(f"{what} ({words})")


def _check_authorities(ca_file: str | os.PathLike[str]) -> str:
    try:
        path = os.fsdecode(ca_file)
        has_any = b"-----BEGIN CERTIFICATE-----" in Path(path).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(f"ca_file holds no authorities: {clean(str(error), 200)}") from error
    if not has_any:
        raise ConfigurationError("ca_file holds no authorities: no certificate in it")
    return path
