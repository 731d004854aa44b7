"""The contract's three calls, and the manners of whoever makes them over HTTP, whatever carries the bytes."""

import abc
import datetime as dt
import functools
import socket

from harborcal import net, wire
from harborcal.carrier.manners import Manners, Request
from harborcal.clock import Clock
from harborcal.grammar import check_id, claw_of
from harborcal.model import Heartbeat, PluginInfo, Slot, SlotKey, SlotUpdate, UpdateReceipt

SHORT = 512
"""Bytes up to which an answer counts as short: an idle agent's, which is the same for all of them."""

_decode_short = functools.lru_cache(maxsize=256)(wire.decode_heartbeat)


def decode_heartbeat(body: bytes) -> Heartbeat:
    """Read a heartbeat's answer; a short one that was read before is not read again.

    Raises:
        MalformedAnswerError: It is none.
    """
    return _decode_short(body) if len(body) <= SHORT else wire.decode_heartbeat(body)


class ContractTransport(Manners, abc.ABC):
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
        super().__init__(base_url, timeout=timeout, max_body_size=max_body_size, secret=api_key, clock=clock)
        self._claw_identifier = check_id(
            "claw_identifier", claw_of(socket.gethostname()) if claw_identifier is None else claw_identifier
        )
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
        """Make one exchange, within the deadline, and return the body of an answer that is a success."""
