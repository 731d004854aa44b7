"""The manners of whoever makes an exchange over HTTP, whatever carries the bytes: how an answer is read, or refused."""

from typing import NamedTuple

from harborcal import net
from harborcal.clock import Clock
from harborcal.errors import ConfigurationError, HarborcalError, MalformedAnswerError, TransportTimeoutError
from harborcal.grammar import clean
from harborcal.model import check_seconds

SUCCESS = frozenset({200, 201, 204})
"""The statuses of an answer that is one."""

ERROR_BODY = 64 * 1024
"""How many bytes of an error's body are read for its detail."""


class Request(NamedTuple):
    """One call, ready to be sent. ``body`` is None for one that posts nothing; ``more`` are headers of its own."""

    method: str
    url: str
    agent_id: str
    body: bytes | None
    idempotency_key: str = ""
    more: tuple[tuple[str, str], ...] = ()


class Manners:
    """How an exchange with one origin is made: its deadline, how much is read, what is no answer.

    Args:
        base_url: The origin, perhaps with a path.
        timeout: Seconds that one exchange may take.
        max_body_size: The most bytes of an answer that are read.
        secret: What is sent as a bearer token; it appears in no error.
        clock: Where deadlines and ``Retry-After`` take their time from.

    Raises:
        ConfigurationError: An argument is out of range.
    """

    _success = SUCCESS
    _reads_answers = True  # whether what a success says is read; otherwise its status is all that matters

    def __init__(self, base_url: str, *, timeout: float, max_body_size: int, secret: str | None, clock: Clock) -> None:
        self._base_url = net.check_origin(base_url, has_secret=secret is not None)
        self._timeout = check_seconds("timeout", timeout)
        if self._timeout <= 0.0:
            raise ConfigurationError(f"timeout is more than 0 seconds, not {timeout!r}")
        if type(max_body_size) is not int or max_body_size < 1:
            raise ConfigurationError(f"max_body_size is a whole number of bytes, at least 1, not {max_body_size!r}")
        self._max_body_size = max_body_size
        self._secret = None if secret is None else net.check_header("api_key", secret)
        self._clock = clock

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
        return net.redact(text, () if self._secret is None else [self._secret])


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
