"""A host whose agents sit behind a webhook: a signed POST per wake."""

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote_plus, urlsplit

from harborcal import net
from harborcal.carrier.manners import SUCCESS, Request
from harborcal.carrier.over_requests import RequestsCarrier
from harborcal.clock import Clock, SystemClock
from harborcal.errors import ConfigurationError, HarborcalError, HostError
from harborcal.grammar import clean
from harborcal.host import WakeRequest
from harborcal.hosts.callback import LogCallback, log_to_logging
from harborcal.model import PluginInfo, Slot

SIGNATURE = "X-Harborcal-Signature"
"""The header with the signature: ``t=<seconds since 1970>,v1=<hex>``, an HMAC-SHA256 of ``<t>.<body>``."""

TOLERANCE = 300.0
"""Seconds by which a signature may be old, or early, unless said otherwise."""

VERSION = 1
"""The version of the body."""

_ANSWER = 64 * 1024
_SHORTEST_SECRET = 16
_SHORTEST_HIDDEN = 8


class WebhookHost:
    """Wakes agents by a POST to a URL, with the manners of `HttpTransport`: a total deadline, no redirects, no proxies.

    The body is JSON: ``version``, ``agent_id``, ``wake_id``, ``attempt``, ``reminder``, ``source``, ``message``,
    ``slot``, ``woken_at``, ``due_at``, ``deadline_at``, and ``report`` with what ``credentials`` say.
    ``Idempotency-Key`` is the ``wake_id``, with ``-reminder`` for a reminder: whoever is given one twice has been asked
    for the same. 200, 201, 202 and 204 take the wake; anything else is a failed wake, which is tried again later.

    Args:
        url: Where to post; https, or loopback, where there is a secret or a token to be sent.
        secret: Signs each request (see `verify_signature`); it appears in no error and no repr.
        credentials: Tells what one agent may report with, such as address and token.
        timeout: Seconds that one exchange may take as a whole.
        ca_file: The authorities to trust instead of certifi's, a PEM file.
        headers: More headers to send.
        log: Takes ``(level, message, fields)`` instead of the standard library's logging.
        clock: Tells the time of signatures, and measures deadlines.

    Raises:
        ConfigurationError: An argument makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        credentials: Callable[[str], Mapping[str, str]] | None = None,
        timeout: float = 10.0,
        ca_file: str | None = None,
        headers: Mapping[str, str] | None = None,
        log: LogCallback | None = None,
        clock: Clock | None = None,
    ) -> None:
        if secret is not None:
            _check_secret(secret)
        _check_url(url, has_secret=secret is not None or credentials is not None)
        self._secret = None if secret is None else secret.encode()
        self._url = url
        self._credentials = credentials
        self._log = log if log is not None else log_to_logging
        self._clock = clock if clock is not None else SystemClock()
        self._carrier = _Postman(
            url, timeout=timeout, ca_file=ca_file, headers={} if headers is None else headers, clock=self._clock
        )
        self._sent = [*_parts_of_url(url), *_words_of_headers(headers or {})]  # the receiver's keys may be among it

    def __repr__(self) -> str:
        return f"{type(self).__name__}({urlsplit(self._url)._replace(path='', query='').geturl()!r})"

    def wake_agent(self, wake: WakeRequest) -> None:
        """Post the wake.

        Raises:
            HostError: It was not taken, or nobody knows whether it was.
        """
        report = {} if self._credentials is None else dict(self._credentials(wake.agent_id))
        body = json.dumps(body_of(wake, report), separators=(",", ":")).encode()
        key = f"{wake.wake_id}-reminder" if wake.reminder else wake.wake_id
        signed = [] if self._secret is None else [(SIGNATURE, sign(self._secret, body, self._clock.now()))]
        try:
            self._carrier.post(Request("POST", self._url, wake.agent_id, body, key, tuple(signed)))
        except HarborcalError as error:
            # A receiver may repeat what it was sent; errors end up in logs, and tokens must not. What is short guards
            # nothing, and may be part of any word.
            secrets = (value for value in (*report.values(), *self._sent) if len(value) >= _SHORTEST_HIDDEN)
            words = net.redact(str(error), secrets)
            raise HostError(f"the webhook did not take the wake: {words}") from None  # a cause may quote the URL

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        """Pass the line on."""
        self._log(level, message, fields)

    def close(self, timeout: float = 10.0) -> None:  # noqa: ARG002 - as every host that can be closed
        """Close the connections, and cut short what is under way."""
        self._carrier.close()


class _Postman(RequestsCarrier):
    """Posts wakes."""

    _success = SUCCESS | {202}  # a wake that was accepted is one that was handed over
    _reads_answers = False  # a wake that was taken must not count as failed, and be repeated, for how that was said

    def __init__(
        self, url: str, *, timeout: float, ca_file: str | None, headers: Mapping[str, str], clock: Clock
    ) -> None:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        super().__init__(origin, timeout=timeout, max_body_size=_ANSWER, secret=None, clock=clock)
        if not isinstance(headers, Mapping):
            raise ConfigurationError(f"headers holds texts by name, and {type(headers).__name__} is no such thing")
        own = {net.check_header("header", name): net.check_header("header", value) for name, value in headers.items()}
        usual = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": net.user_agent(PluginInfo()),
        }
        self._open(headers=usual | own, ca_file=ca_file)

    def _refusal(self, status: int, body: bytes, *, location: str, retry_after: str | None) -> HarborcalError:  # noqa: ARG002
        """Tell what it answered, in words that are not the calendar's."""
        words = net.detail_of(body) or clean(location, 200)
        return HostError(f"it answered {status}{': ' if words else ''}{words}")

    def post(self, request: Request) -> None:
        """Make one exchange; what the answer says beyond its status does not matter."""
        self._exchange(request)


def _check_secret(secret: object) -> None:
    if not isinstance(secret, str) or len(secret) < _SHORTEST_SECRET:
        raise ConfigurationError(f"secret is a text of at least {_SHORTEST_SECRET} characters")


def _check_url(url: str, *, has_secret: bool) -> None:
    address, _, _ = str(url).partition("?")
    net.check_origin(address, has_secret=has_secret, name="url", credential="secret or token")
    if "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError("the url of a webhook has no fragment, and what is special in it is quoted")


def _parts_of_url(url: str) -> Iterator[str]:
    """List what may be a key in a URL: long parts of its path; its query's values, as they are sent and as meant."""
    parts = urlsplit(url)
    yield from (part for part in parts.path.split("/") if len(part) >= _SHORTEST_SECRET)
    for part in parts.query.split("&"):
        name, _, value = part.partition("=")
        yield value or name
        yield unquote_plus(value or name)


def _words_of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """List what may be repeated of headers: each value, and its last word, as in ``Bearer <key>``."""
    for value in headers.values():
        yield value
        yield value.rpartition(" ")[2]


def body_of(wake: WakeRequest, report: Mapping[str, str]) -> dict[str, object]:
    """Write what is posted for a wake."""
    return {
        "version": VERSION,
        "agent_id": wake.agent_id,
        "wake_id": wake.wake_id,
        "attempt": wake.attempt,
        "reminder": wake.reminder,
        "source": wake.source,
        "message": wake.message,
        "slot": _slot(wake.slot),
        "woken_at": _instant(wake.woken_at),
        "due_at": _instant(wake.due_at),
        "deadline_at": _instant(wake.deadline_at),
        "report": dict(report),
    }


def sign(secret: bytes, body: bytes, at: dt.datetime) -> str:
    """Write a signature of a body at an instant."""
    stamp = str(int(at.timestamp()))
    return f"t={stamp},v1={_mark(secret, stamp, body)}"


def verify_signature(
    secret: str, body: bytes, signature: str | None, *, now: dt.datetime, tolerance: float = TOLERANCE
) -> bool:
    """Tell whether a request was signed with this secret, not long ago: for whoever receives wakes.

    Args:
        secret: What both sides know.
        body: The body as it came, byte for byte.
        signature: The value of the header `SIGNATURE`; None where there is none.
        now: The receiver's time, aware.
        tolerance: Seconds by which it may be old, or early; what is older may be a repetition by somebody else.
    """
    parts = dict(part.partition("=")[::2] for part in (signature or "").split(","))
    stamp, mark = parts.get("t", ""), parts.get("v1", "")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12 and mark.isascii()):
        return False
    is_right = hmac.compare_digest(_mark(secret.encode(), stamp, body), mark)
    return is_right and abs(now.timestamp() - int(stamp)) <= tolerance


def _mark(secret: bytes, stamp: str, body: bytes) -> str:
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _slot(slot: Slot) -> dict[str, object]:
    return {"ident": slot.ident, "kind": str(slot.key.kind), **slot.to_dict()}


def _instant(at: dt.datetime | None) -> str | None:
    return None if at is None else at.isoformat()
