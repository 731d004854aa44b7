"""Exchanges over requests: one attempt per call, within a total deadline, over connections that are kept warm."""

import copy
import http.client
import http.cookiejar
import os
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from harborcal import net
from harborcal.carrier.manners import ERROR_BODY, Manners, Request
from harborcal.carrier.punctual import Cert, Line, PunctualAdapter, Verify, make_context
from harborcal.errors import (
    ConfigurationError,
    HarborcalError,
    LifecycleError,
    MalformedAnswerError,
    NotSentError,
    TransportError,
    TransportTimeoutError,
)
from harborcal.grammar import clean

_CHUNK = 64 * 1024
_FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)


# --- sessions -------------------------------------------------------------------------------------------------------


class _Bearer(AuthBase):
    """The calendar's key; as an ``auth``, so that requests does not look into netrc."""

    def __init__(self, api_key: str) -> None:
        self._value = f"Bearer {api_key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


class _Channel:
    """A session, used by one thread at a time, and the request that all of its own are copies of."""

    def __init__(self, session: requests.Session, template: requests.Request, verify: Verify, line: Line) -> None:
        url = str(template.url)
        self.line = line
        self._session = session
        self._auth = None if template.auth else session.auth
        if self._auth is not None:
            template.auth = _leave_unsigned
        self._template = session.prepare_request(template)
        # Afterwards, so that cookies that came with the session are in the template; none are kept from now on.
        session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        # Read once: per request it would look through the whole environment.
        self._settings = session.merge_environment_settings(url, {}, stream=True, verify=verify, cert=None)
        if self._settings["verify"] is False and url.startswith("https:"):
            raise ConfigurationError("the session does not verify certificates: name the authority with ca_file")

    def prepare(self, call: Request) -> requests.PreparedRequest:
        request = copy.copy(self._template)
        request.method, request.url, request.body = call.method, call.url, call.body
        request.headers = self._template.headers.copy()
        request.headers["X-Agent-ID"] = call.agent_id
        request.headers.update(call.more)
        if call.idempotency_key:
            request.headers["Idempotency-Key"] = call.idempotency_key
        if call.body is None:
            request.headers.pop("Content-Length", None)  # the template posts nothing, and says so
        else:
            request.headers["Content-Length"] = str(len(call.body))
        if self._auth is not None:
            request.hooks = {event: list(hooks) for event, hooks in self._template.hooks.items()}
            request.prepare_auth(self._auth)
        return request

    def send(self, request: requests.PreparedRequest, deadline: net.Deadline) -> requests.Response:
        """Send once; again at once where an idle connection turns out to be gone before the answer's first byte."""
        self.line.begin(deadline)
        try:
            return self._send(request, deadline)
        except requests.ConnectionError:
            if not self.line.is_stale:
                raise
        return self._send(request, deadline)

    def _send(self, request: requests.PreparedRequest, deadline: net.Deadline) -> requests.Response:
        return self._session.send(request, timeout=deadline.remaining(), allow_redirects=False, **self._settings)

    def close(self) -> None:
        self._session.close()


def _leave_unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand in for a session's auth on the template: some sign each body, or listen for each answer."""
    return request


def _no_redirect(_: requests.Response) -> None:
    """Stand in for `Session.get_redirect_target`: requests would read a redirect's whole body, unbounded."""


# --- the carrier ----------------------------------------------------------------------------------------------------


class RequestsCarrier(Manners):
    """Makes exchanges over requests, one attempt each; safe to use from many threads.

    An exchange ends within ``timeout`` as a whole; redirects are not followed, cookies not kept, proxies and netrc of
    the environment not asked unless told to. What each argument means is told by `harborcal.HttpTransport`.
    """

    def _open(
        self,
        *,
        headers: Mapping[str, str],
        session_factory: Callable[[], requests.Session] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        trust_env: bool = False,
    ) -> None:
        """Get ready to make exchanges; the headers go with all of them.

        Raises:
            ConfigurationError: The CA file cannot be used.
        """
        # requests would say keep-alive, which HTTP/1.1 means anyway.
        self._template_headers = {**headers, "Connection": None}
        self._session_factory = session_factory or requests.Session
        self._trust_env = trust_env
        self._lock = threading.Lock()
        self._is_closed = False  # guarded by _lock
        self._idle: list[_Channel] = []  # guarded by _lock; the warmest last
        self._busy: set[_Channel] = set()  # guarded by _lock
        self._contexts_lock = threading.Lock()
        self._contexts: dict[tuple[Verify, Cert], ssl.SSLContext] = {}  # guarded by _contexts_lock
        self._ca_file = None if ca_file is None else self._check_authorities(ca_file)

    def close(self) -> None:
        """Close every connection and cut short the calls that are under way. Idempotent."""
        with self._lock:
            self._is_closed = True
            busy, idle = tuple(self._busy), tuple(self._idle)
            self._idle.clear()
        for channel in busy:
            channel.line.cut()
        for channel in idle:
            channel.close()

    # --- one exchange

    def _exchange(self, request: Request) -> bytes:
        deadline = net.Deadline(self._timeout, self._clock.monotonic)
        handled = sys.exception()
        channel = self._take()
        try:
            answer = self._ask(channel, channel.prepare(request), deadline)
        except HarborcalError as error:
            if not deadline.expired:
                raise
            raise self._late() from error
        except _FOREIGN as error:
            raise self._translate(error, handled, channel, deadline) from error
        finally:
            self._give_back(channel)
        if deadline.expired:
            raise self._late()
        return answer

    def _ask(self, channel: _Channel, request: requests.PreparedRequest, deadline: net.Deadline) -> bytes:
        response = channel.send(request, deadline)
        try:
            headers = response.headers
            if response.status_code in self._success:
                if not self._reads_answers:
                    return b""
                self._check_content(
                    headers.get("Content-Type", ""),
                    headers.get("Content-Encoding", ""),
                    headers.get("Content-Length", ""),
                )
                return self._read(response, self._max_body_size, deadline)
            raise self._refusal(
                response.status_code,
                self._read_detail(response, deadline),
                location=headers.get("Location", ""),
                retry_after=headers.get("Retry-After"),
            )
        finally:
            response.close()

    def _read_detail(self, response: requests.Response, deadline: net.Deadline) -> bytes:
        if not 400 <= response.status_code <= 599:
            return b""
        try:
            return self._read(response, ERROR_BODY, deadline)
        except (HarborcalError, *_FOREIGN):
            return b""  # the status line has said what matters

    def _read(self, response: requests.Response, limit: int, deadline: net.Deadline) -> bytes:
        """Read a body as it comes over the wire, up to the limit."""
        parts: list[bytes] = []
        size = 0
        while part := response.raw.read1(min(_CHUNK, limit + 1), decode_content=False):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise self._too_long()
            if response.raw.length_remaining == 0:
                break  # the read that finds nothing more would cost as much as this one
            if deadline.expired:
                raise TimeoutError("the deadline of the exchange passed")
        return b"".join(parts)

    # --- sessions

    def _take(self) -> _Channel:
        with self._lock:
            channel = self._idle.pop() if self._idle else None
        if channel is None:
            channel = self._make_channel()  # without the lock: the factory is the program's own
        if not self._enlist(channel):
            channel.close()
            raise LifecycleError("the transport is closed")
        return channel

    def _enlist(self, channel: _Channel) -> bool:
        with self._lock:
            if not self._is_closed:
                self._busy.add(channel)
            return not self._is_closed

    def _give_back(self, channel: _Channel) -> None:
        with self._lock:
            self._busy.discard(channel)
            if not self._is_closed:
                self._idle.append(channel)
                return
        channel.close()

    def _make_channel(self) -> _Channel:
        session = self._session_factory()
        session.trust_env = self._trust_env
        session.get_redirect_target = _no_redirect  # type: ignore[method-assign, assignment]
        line = Line()
        if _is_plain(session.get_adapter(self._base_url)):
            session.mount(self._base_url, PunctualAdapter(line, self._context, must_be_framed=self._reads_answers))
        auth = _Bearer(self._secret) if self._secret is not None else None
        template = requests.Request("POST", self._base_url, headers=self._template_headers, auth=auth)
        try:
            return _Channel(session, template, self._ca_file, line)
        except requests.RequestException as error:
            raise ConfigurationError(f"the session cannot make requests: {type(error).__name__}") from error

    def _context(self, verify: Verify, cert: Cert) -> ssl.SSLContext:
        with self._contexts_lock:
            context = self._contexts.get((verify, cert))
            if context is None:
                context = self._contexts[verify, cert] = make_context(verify, cert)
            return context

    def _check_authorities(self, ca_file: str | os.PathLike[str]) -> str:
        try:
            path = os.fsdecode(ca_file)
            with Path(path).open("rb"):  # a directory would do for requests, and an empty one trusts nobody
                self._context(path, None)
        except (OSError, TypeError, ValueError) as error:
            raise ConfigurationError(f"ca_file holds no authorities: {clean(str(error), 200)}") from error
        return path

    # --- foreign errors

    def _translate(
        self, error: Exception, handled: BaseException | None, channel: _Channel, deadline: net.Deadline
    ) -> TransportError:
        """Turn what requests, urllib3, ssl, http.client or a socket raised into an error of harborcal's own."""
        if deadline.expired:
            return self._late()
        if channel.line.is_cut:
            return TransportError("the transport was closed during the exchange")
        causes = list(_causes(error, handled))
        words = self._redact(clean(_describe(causes), 200))
        if _holds(causes, TimeoutError, requests.Timeout, urllib3.exceptions.ReadTimeoutError):
            return TransportTimeoutError(f"no answer in time from {self._base_url} ({words})")
        if any(map(_is_malformed, causes)):
            return MalformedAnswerError(f"the answer of {self._base_url} is not HTTP as it should be ({words})")
        is_tls = _holds(causes, ssl.SSLError, urllib3.exceptions.SSLError)
        kind = NotSentError if channel.line.is_wired and not channel.line.is_sent else TransportError
        return kind(
            f"{f'TLS with {self._base_url} failed' if is_tls else f'no answer from {self._base_url}'} ({words})"
        )


def _is_plain(adapter: object) -> bool:
    return type(adapter) is HTTPAdapter and adapter.max_retries.total == 0


def _causes(error: BaseException | None, handled: BaseException | None) -> Iterator[BaseException]:
    """List an error and what it came from, outermost first.

    Contexts lead on to the error that the caller was handling when it called; that one is not ours.
    """
    while error is not None and error is not handled:
        yield error
        error = error.__cause__ or error.__context__


def _describe(causes: list[BaseException]) -> str:
    """Tell what went wrong below the wrappers, whose texts hold addresses of objects and differ from time to time."""
    wrappers = (requests.RequestException, urllib3.exceptions.HTTPError)
    cause = next((cause for cause in causes if not isinstance(cause, wrappers)), causes[-1])
    return f"{type(cause).__name__}: {cause}"


def _holds(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _is_malformed(cause: BaseException) -> bool:
    """Tell an answer that breaks HTTP's rules from one that was cut short, which is nobody's fault."""
    if isinstance(cause, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return False
    return isinstance(cause, http.client.HTTPException | urllib3.exceptions.InvalidHeader)
