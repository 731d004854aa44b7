"""The calendar over HTTP, carried by requests."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from harborcal.carrier.over_requests import RequestsCarrier
from harborcal.clock import Clock, SystemClock
from harborcal.model import PluginInfo
from harborcal.transports.contract import ContractTransport

if TYPE_CHECKING:
    import requests


class HttpTransport(RequestsCarrier, ContractTransport):
    """Reach a HarborForge calendar over HTTP. One attempt per call; safe to call from many threads.

    An exchange ends within ``timeout`` as a whole: connecting to any of the host's addresses, the TLS handshake, the
    request, the status line, the headers and the body. Only the name look-up cannot be cut short. Redirects are not
    followed, cookies not kept, answers over ``max_body_size`` not read. A connection that the calendar closed while it
    was idle is replaced without a word: every call is harmless to repeat (contract). It is a `DayReader`.

    Args:
        base_url: Where the calendar lives: ``http`` or ``https``, a host, perhaps a port and a path.
        claw_identifier: This host instance (contract: ``X-Claw-Identifier``). None means the host name.
        timeout: Seconds that one exchange may take.
        max_body_size: The most bytes of an answer that are read.
        session_factory: Makes a `requests.Session` for each concurrent call. Its headers, auth, hooks, proxies,
            authorities and client certificate are honoured; of its cookies those that it comes with. An adapter of the
            session's own is kept: then ``timeout`` holds for each wait, and is checked between reads, but a server
            that drips its headers can exceed it, and ``close`` does not cut calls short.
        api_key: Sent as a bearer token, over https or loopback only. Appears in no error and no repr.
        ca_file: The authorities to trust instead of certifi's, a PEM file. Verification cannot be turned off.
        trust_env: Whether proxies, netrc and CA bundles named in the environment count. They are read when a
            session is made. Through SOCKS, or a proxy spoken to over TLS, ``timeout`` holds for each wait only.
        plugin: The program that drives the agents, named in the User-Agent.
        clock: Where deadlines and ``Retry-After`` take their time from.

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
        session_factory: "Callable[[], requests.Session] | None" = None,
        api_key: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        trust_env: bool = False,
        plugin: PluginInfo = PluginInfo(),  # noqa: B008 - frozen
        clock: Clock = SystemClock(),  # noqa: B008 - stateless
    ) -> None:
        ContractTransport.__init__(
            self,
            base_url,
            claw_identifier,
            timeout=timeout,
            max_body_size=max_body_size,
            api_key=api_key,
            plugin=plugin,
            clock=clock,
        )
        self._open(headers=self._headers, session_factory=session_factory, ca_file=ca_file, trust_env=trust_env)
