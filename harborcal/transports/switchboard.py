"""Many exchanges on one thread: libcurl's multi handle, and the sockets that it waits for.

libcurl speaks HTTP and keeps the connections; which socket has something to say is asked here, so that a turn costs
what it finds and not how many exchanges are under way, and so that another thread can end the waiting.
"""

import contextlib
import enum
import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

from harborcal.carrier.manners import Request
from harborcal.errors import MissingExtraError
from harborcal.transports import readiness

try:
    import pycurl
except ImportError as missing:
    raise MissingExtraError("harborcal.transports.curl", "curl") from missing

_TIMING = re.compile(r" after [0-9]+ ms")  # a repeating fault reads the same each time
_LONGEST_WAIT = 3_600_000
"""Milliseconds: libcurl says when it wants to be called; this is for when it does not."""


class Settings(NamedTuple):
    """What all exchanges of one transport have in common."""

    headers: tuple[str, ...]
    timeout: float
    max_body_size: int
    ca_file: str
    max_connections: int


class Trouble(enum.Enum):
    """Why there is no answer."""

    LATE = enum.auto()
    CUT = enum.auto()
    TOO_LONG = enum.auto()
    MALFORMED = enum.auto()
    TLS = enum.auto()
    BROKEN = enum.auto()


class Failure(NamedTuple):
    """An exchange that has no answer.

    ``is_sent`` says whether anything of it may have arrived; ``is_stale`` that it failed over a connection that was
    kept from earlier, before anything came back: it may have been closed at the other end while it was idle.
    """

    trouble: Trouble
    words: str
    is_sent: bool
    is_stale: bool = False


class Answer:
    """A whole answer: its status, its head as it came, and its body."""

    __slots__ = ("body", "head", "status")

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.head = head
        self.body = body

    def headers(self) -> dict[str, list[str]]:
        """Read the head: each header's values, by its name in lower case; those of interim answers are left out."""
        lines = self.head.replace(b"\r\n", b"\n").rstrip(b"\n").rpartition(b"\n\n")[2].decode("latin-1").split("\n")
        headers: dict[str, list[str]] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        return headers


class _Exchange:
    """One libcurl handle, and what came back over it."""

    __slots__ = ("_size", "_url", "body", "handle", "head", "is_again", "is_too_long", "request", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.handle = pycurl.Curl()
        self._url: tuple[str, str] | None = None
        self.head: list[bytes] = []
        self.body: list[bytes] = []
        self._size = 0
        self.is_too_long = self.is_again = False

    def prepare(self, request: Request) -> None:
        """Make the handle ready to send a request; what it shares with the one before is not set again."""
        self.request = request
        self.head.clear()
        self.body.clear()
        self._size = 0
        self.is_too_long = self.is_again = False
        if self._url != (request.method, request.url):
            self._aim(request)
        headers = [*self.settings.headers, "X-Agent-ID: " + request.agent_id]
        if request.idempotency_key:
            headers.append("Idempotency-Key: " + request.idempotency_key)
        self.handle.setopt(pycurl.HTTPHEADER, headers)
        if request.body is not None:
            self.handle.setopt(pycurl.POSTFIELDS, request.body)

    def _aim(self, request: Request) -> None:
        handle, settings = self.handle, self.settings
        handle.reset()
        for option, value in (
            (pycurl.URL, request.url),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROXY, ""),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.TIMEOUT_MS, max(1, round(settings.timeout * 1_000))),
            (pycurl.CONNECTTIMEOUT_MS, max(1, round(settings.timeout * 1_000))),
            (pycurl.CAINFO, settings.ca_file),
            (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
            (pycurl.TCP_NODELAY, 1),
            (pycurl.MAXFILESIZE_LARGE, settings.max_body_size),
            (pycurl.HEADERFUNCTION, self.head.append),
            (pycurl.WRITEFUNCTION, self._take_part),
        ):
            handle.setopt(option, value)
        if request.method == "GET":
            handle.setopt(pycurl.HTTPGET, 1)
        else:
            handle.setopt(pycurl.POST, 1)
            handle.setopt(pycurl.CUSTOMREQUEST, request.method)
        self._url = (request.method, request.url)

    def _take_part(self, part: bytes) -> int | None:
        self._size += len(part)
        if self._size > self.settings.max_body_size:
            self.is_too_long = True
            return -1  # libcurl ends the exchange then
        self.body.append(part)
        return None

    def answer(self) -> Answer:
        return Answer(self.handle.getinfo(pycurl.RESPONSE_CODE), b"".join(self.head), b"".join(self.body))

    def failure(self, code: int, words: str) -> Answer | Failure:
        status = self.handle.getinfo(pycurl.RESPONSE_CODE)
        trouble = self._trouble_of(code, words)
        if trouble not in {Trouble.LATE, Trouble.MALFORMED} and status >= 300:
            return Answer(status, b"".join(self.head), b"")  # the status line has said what matters
        is_sent = self.handle.getinfo(pycurl.REQUEST_SIZE) > 0
        is_kept = self.handle.getinfo(pycurl.NUM_CONNECTS) == 0 and not self.is_again
        is_stale = trouble is Trouble.BROKEN and code in _ENDS and is_kept and not self.head
        return Failure(trouble, _TIMING.sub("", words) or f"libcurl's error {code}", is_sent, is_stale)

    def again(self) -> None:
        """Make ready to send the same once more, over a connection of its own, in the time that is left."""
        spent = round(self.handle.getinfo(pycurl.TOTAL_TIME) * 1_000)
        self.prepare(self.request)
        self.is_again = True
        self._url = None  # whoever uses the handle next sets it up anew
        self.handle.setopt(pycurl.FRESH_CONNECT, 1)
        self.handle.setopt(pycurl.TIMEOUT_MS, max(1, round(self.settings.timeout * 1_000) - spent))

    def _trouble_of(self, code: int, words: str) -> Trouble:
        if self.is_too_long:
            return Trouble.TOO_LONG
        if code == pycurl.E_RECV_ERROR and words.startswith("Too large response headers"):
            return Trouble.MALFORMED
        return _TROUBLES.get(code, Trouble.BROKEN)


class Switchboard:
    """Exchanges that are under way side by side. Used by one thread at a time, except for `cut`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sockets = readiness.make_readiness()
        self._known: set[int] = set()
        self._ear, self._mouth = socket.socketpair()  # what ends the waiting
        self._mouth.settimeout(0)
        self._sockets.register(self._ear.fileno(), readiness.READ)
        self._ear_number = self._ear.fileno()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_MAXCONNECTS, settings.max_connections)
        self._under_way: dict[pycurl.Curl, _Exchange] = {}
        self._spare: list[_Exchange] = []
        self._is_cut = False  # written once, to True, by any thread

    @property
    def under_way(self) -> int:
        """How many exchanges have not ended."""
        return len(self._under_way)

    def send(self, request: Request) -> None:
        """Begin an exchange; `turn` tells of its end."""
        exchange = self._spare.pop() if self._spare else _Exchange(self._settings)
        exchange.prepare(request)
        self._multi.add_handle(exchange.handle)
        self._under_way[exchange.handle] = exchange

    def turn(self) -> Iterator[tuple[Request, Answer | Failure]]:
        """Wait until something happens, and tell which exchanges have ended by it; perhaps none."""
        if not self._is_cut:  # nothing is begun after that
            self._wait()
        if self._is_cut:
            for exchange in list(self._under_way.values()):
                self._end(exchange)
                yield exchange.request, Failure(Trouble.CUT, "", is_sent=True)
            return
        more = 1
        while more:
            more, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                exchange = self._under_way[handle]
                outcome: Answer | Failure = exchange.answer()
                self._end(exchange)
                yield exchange.request, outcome
            for handle, code, words in failed:
                exchange = self._under_way[handle]
                outcome = exchange.failure(code, words)
                if isinstance(outcome, Failure) and outcome.is_stale:
                    self._repeat(exchange)
                else:
                    self._end(exchange)
                    yield exchange.request, outcome

    def _repeat(self, exchange: _Exchange) -> None:
        """Send once more what a connection took with it: every call is harmless to repeat (contract)."""
        self._multi.remove_handle(exchange.handle)
        exchange.again()
        self._multi.add_handle(exchange.handle)

    def _end(self, exchange: _Exchange) -> None:
        self._multi.remove_handle(exchange.handle)
        del self._under_way[exchange.handle]
        self._spare.append(exchange)

    def _wait(self) -> None:
        act = self._multi.socket_action
        wait = self._multi.timeout()
        events = self._sockets.poll((_LONGEST_WAIT if wait < 0 else wait) / 1_000)
        for number, happened in events:
            if number != self._ear_number:
                act(number, _bits(happened))
        if not events or self._multi.timeout() == 0:
            act(pycurl.SOCKET_TIMEOUT, 0)

    def _watch(self, what: int, number: int, _multi: object, _data: object) -> None:
        """Follow what libcurl wants to know of a socket."""
        wanted = _MASKS.get(what)
        is_known = number in self._known
        if wanted is None:
            self._known.discard(number)
            if is_known:
                self._sockets.unregister(number)
        elif is_known:
            self._sockets.modify(number, wanted)
        else:
            self._known.add(number)
            self._sockets.register(number, wanted)

    def cut(self) -> None:
        """End all exchanges, from any thread: whoever waits in `turn` is told so at once."""
        self._is_cut = True
        with contextlib.suppress(OSError):  # it is full, and wakes anyway; or it is closed
            self._mouth.send(b"!")

    def drop(self) -> None:
        """Forget the exchanges that are under way, and their connections with them."""
        for exchange in list(self._under_way.values()):
            self._end(exchange)

    def close(self) -> None:
        """Close every connection."""
        self.drop()
        self._multi.close()
        for exchange in self._spare:
            exchange.handle.close()
        self._spare.clear()
        self._sockets.close()
        self._ear.close()
        self._mouth.close()


_MASKS = {
    pycurl.POLL_IN: readiness.READ,
    pycurl.POLL_OUT: readiness.WRITE,
    pycurl.POLL_INOUT: readiness.READ | readiness.WRITE,
}


def _bits(happened: int) -> int:
    """Put what has happened to a socket into libcurl's words."""
    return (
        (pycurl.CSELECT_IN if happened & readiness.READ else 0)
        | (pycurl.CSELECT_OUT if happened & readiness.WRITE else 0)
        | (pycurl.CSELECT_ERR if happened & readiness.ENDED else 0)
    )


_ENDS = frozenset({pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING})
_WEIRD_SERVER_REPLY, _TOO_LARGE = 8, 100  # libcurl's numbers, for which pycurl has no names
_TROUBLES = {
    pycurl.E_OPERATION_TIMEDOUT: Trouble.LATE,
    pycurl.E_FILESIZE_EXCEEDED: Trouble.TOO_LONG,
    **dict.fromkeys(
        (pycurl.E_UNSUPPORTED_PROTOCOL, _WEIRD_SERVER_REPLY, _TOO_LARGE, pycurl.E_BAD_CONTENT_ENCODING),
        Trouble.MALFORMED,
    ),
    **dict.fromkeys(
        (
            pycurl.E_SSL_CONNECT_ERROR,
            pycurl.E_PEER_FAILED_VERIFICATION,
            pycurl.E_SSL_CACERT_BADFILE,
            pycurl.E_SSL_CERTPROBLEM,
            pycurl.E_SSL_CIPHER,
            pycurl.E_SSL_ISSUER_ERROR,
            pycurl.E_SSL_INVALIDCERTSTATUS,
        ),
        Trouble.TLS,
    ),
}
