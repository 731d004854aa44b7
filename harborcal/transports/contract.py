"""The contract's three calls, and the manners of whoever makes them over HTTP, whatever carries the bytes."""

import abc
import datetime as dt
import functools
import socket
from typing import NamedTuple

from harborcal import net, wire
from harborcal.clock import Clock
from harborcal.errors import ConfigurationError, HarborcalError, MalformedAnswerError, TransportTimeoutError
from harborcal.grammar import check_id, claw_of, clean
from harborcal.model import Heartbeat, PluginInfo, Slot, SlotKey, SlotUpdate, UpdateReceipt, check_seconds

SUCCESS = frozenset({200, 201, 204})
"""The statuses of an answer that is one."""

ERROR_BODY = 64 * 1024
"""How many bytes of an error's body are read for its detail."""


SHORT = 512
"""Bytes up to which an answer counts as short: an idle agent's, which is the same for all of them."""

_decode_short = functools.lru_cache(maxsize=256)(wire.decode_heartbeat)


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Read a heartbeat's answer; a short one that was read before is not read again.

    Raises:
        MalformedAnswerError: It is none.
    """
    return _decode_short(body) if len(body) <= SHORT else wire.decode_heartbeat(body)


class Request(NamedTuple):
    """One call of the contract, ready to be sent. ``body`` is None for one that posts nothing."""

    method: str
    url: str
    agent_id: str
    body: bytes | None
    idempotency_key: str = ""


class ContractTransport(abc.ABC):
    """A way to a HarborForge calendar over HTTP: what it asks and how it reads the answer. A `DayReader`.

    Those who derive from it make one exchange, in `_exchange`; arguments and errors are told where they are made.
    """

    def __init__(
        self,
        base_url: str,
        claw_identifier: str | None,
        *,
        timeout: float,
        max_body_size: int,
        api_key: str | None,
        plugin: PluginInfo,
        clock: Clock,
    ) -> None:
        self._base_url = net.check_origin(base_url, has_secret=api_key is not None)
        self._claw_identifier = check_id(
            "claw_identifier", claw_of(socket.gethostname()) if claw_identifier is None else claw_identifier
        )
        self._timeout = check_seconds("timeout", timeout)
        if self._timeout <= 0.0:
            raise ConfigurationError(f"timeout is more than 0 seconds, not {timeout!r}")
        if type(max_body_size) is not int or max_body_size < 1:
            raise ConfigurationError(f"max_body_size is a whole number of bytes, at least 1, not {max_body_size!r}")
        self._max_body_size = max_body_size
        self._secret = None if api_key is None else net.check_header("api_key", api_key)
        self._clock = clock
        self._heartbeat_url = self._url_of(wire.HEARTBEAT_PATH)
        self._headers = {
            "X-Claw-Identifier": self._claw_identifier,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": net.user_agent(plugin),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r}, {self._claw_identifier!r})"

    # --- the calls

    def heartbeat(self, agent_id: str) -> Heartbeat:
        """Ask for one agent's pending slots, best first.

        Raises:
            TransportError: There was no usable answer.
            CalendarRefusedError: The calendar said no: 404 where it does not know the agent.
            ConfigurationError: The agent's id could not stand in a header.
            LifecycleError: The transport is closed.
        """
        return decode_heartbeat(self._exchange(self._heartbeat_request(agent_id)))

    def _heartbeat_request(self, agent_id: str) -> Request:
        return Request("POST", self._heartbeat_url, agent_id, wire.encode_heartbeat(self._claw_identifier, agent_id))

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        """Tell the calendar where a slot stands.

        Raises:
            TransportError: There was no usable answer; the calendar may have the update all the same.
            CalendarRefusedError: The calendar said no.
            ConfigurationError: An id could not stand in a header or a path.
            LifecycleError: The transport is closed.
        """
        check_id("agent_id", agent_id)
        path, body = wire.update_path(slot), wire.encode_update(update)
        key = check_id("idempotency_key", update.idempotency_key) if update.idempotency_key else ""
        return wire.decode_update(self._exchange(Request("PATCH", self._url_of(path), agent_id, body, key)), slot)

    def day(self, agent_id: str, date: dt.date) -> tuple[Slot, ...]:
        """List the agent's slots of that UTC date as the calendar has them, by time.

        Slots that cannot be read are left out.

        Raises:
            TransportError: There was no usable answer.
            CalendarRefusedError: The calendar said no: 404 where it does not know the agent, 404 or 405 where it cannot
                list days at all.
            ConfigurationError: The agent's id could not stand in a header, or ``date`` is no date.
            LifecycleError: The transport is closed.
        """
        check_id("agent_id", agent_id)
        url = f"{self._url_of(wire.DAY_PATH)}?{wire.day_query(date)}"
        return wire.decode_day(self._exchange(Request("GET", url, agent_id, None)))

    def _url_of(self, path: str) -> str:
        return net.check_url(self._base_url, path)

    @abc.abstractmethod
    def _exchange(self, request: Request) -> bytes:
        """Make one exchange, within the deadline, and return the body of an answer that is one of `SUCCESS`."""

    # --- reading answers

    def _check_content(self, kind: str, encoding: str, length: str) -> None:
        """Refuse what is no answer of a calendar by its headers; an empty one is missing.

        Raises:
            MalformedAnswerError: It is a web page, encoded, or too long.
        """
        if kind.lower().startswith(("text/html", "application/xhtml")):
            raise MalformedAnswerError("the answer is a web page: is there a login page or a proxy in between?")
        if encoding.strip().lower() not in {"", "identity"}:
            raise MalformedAnswerError("the answer is encoded although none was asked for")
        if length.isdecimal() and int(length[:20]) > self._max_body_size:
            raise self._too_long()

    def _too_long(self) -> MalformedAnswerError:
        return MalformedAnswerError(f"the answer is longer than {self._max_body_size} bytes")

    def _refusal(self, status: int, body: bytes, *, location: str, retry_after: str | None) -> HarborcalError:
        """Make the error that an answer means whose status is no success."""
        if not 400 <= status <= 599:
            return net.error_for_status(status, clean(location, 200))
        detail = self._redact(net.detail_of(body))
        return net.error_for_status(status, detail, net.parse_retry_after(retry_after, self._clock.now()))

    def _late(self) -> TransportTimeoutError:
        return TransportTimeoutError(f"no answer from {self._base_url} within {self._timeout:g} s")

    def _redact(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret is not None else text


def check_framing(lengths: set[str]) -> None:
    """Let an answer that is not chunked say where it ends: otherwise it may have been cut short (RFC 9112, 6.3).

    Args:
        lengths: The different values of its ``Content-Length``.

    Raises:
        MalformedAnswerError: There is not one, or it is no length.
    """
    if len(lengths) != 1:
        raise MalformedAnswerError(f"the answer has {len(lengths) or 'no'} Content-Length and is not chunked")
    (length,) = lengths
    if not (length.isascii() and length.isdecimal() and len(length) <= 19):
        raise MalformedAnswerError(f"the answer's Content-Length is no length: {clean(length, 40)!r}")
