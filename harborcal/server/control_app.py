"""The control API: what a running scheduler answers to its agents and to its operator."""

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import flask
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from harborcal.control import Caller, Fence, SchedulerAccess, Tokens
from harborcal.control.failures import refused, told
from harborcal.errors import (
    CalendarError,
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HarborcalError,
    JournalError,
    LifecycleError,
    NoActiveSlotError,
    SlotMismatchError,
    TransportError,
)
from harborcal.grammar import clean
from harborcal.scheduler import Scheduler
from harborcal.transport import DayReader
from harborcal.transports.outbox import OutboxTransport

MAX_CONTROL_BODY = 64 * 1024
"""How many bytes of a request's body are read."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_REPORTS: Mapping[str, str] = {"complete": "summary", "abort": "reason", "pause": "reason", "resume": "", "renew": ""}
_LOOKS = ("status", "today", "why")
_HEALTH = "/v1/health"

_log = logging.getLogger("harborcal.control")


@dataclasses.dataclass(frozen=True)
class _RefusedError(Exception):
    """What is answered before the scheduler is asked."""

    status: int
    detail: str


def create_control_app(
    scheduler: Scheduler, tokens: Tokens, *, day: DayReader | None = None, outbox: OutboxTransport | None = None
) -> flask.Flask:
    """Build the WSGI application by which agents and operators reach a scheduler of this process.

    Each call needs ``Authorization: Bearer <token>``: an agent's token reaches its own slots only, the operator's all.
    ``GET /v1/health`` needs none, and tells nothing but whether the scheduler runs. An error is ``{"detail", "error",
    "arguments"}``: its class and what it was made of, from which `ControlClient` makes it again; a request that is
    refused before the scheduler is asked is a ``ControlError``, without arguments.

    Args:
        scheduler: The scheduler; it stays the program's own.
        tokens: Who may speak.
        day: Where agents' days can be read, for ``today``.
        outbox: Whose dead letters the operator may retry and drop.
    """
    app = flask.Flask("harborcal.control", static_folder=None, template_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_CONTROL_BODY  # under whatever server, and however a body is framed
    app.url_map.merge_slashes = False
    routes = _Routes(scheduler, tokens, day, outbox)
    for rule, method, view in routes.table():
        app.add_url_rule(rule, f"{method} {rule}", view, methods=[method])
    app.before_request(_no_pages)
    app.after_request(_finish)
    app.register_error_handler(Exception, _answer_to)
    return app


class _Routes:
    """One method per thing that can be asked; each checks first who asks."""

    def __init__(
        self, scheduler: Scheduler, tokens: Tokens, day: DayReader | None, outbox: OutboxTransport | None
    ) -> None:
        self._scheduler = scheduler
        self._tokens = tokens
        self._day = day
        self._outbox = outbox

    def table(self) -> list[tuple[str, str, Callable[..., flask.Response]]]:
        looks = [(f"/v1/agents/<agent_id>/{what}", "GET", self._look(what)) for what in _LOOKS]
        reports = [(f"/v1/agents/<agent_id>/{verb}", "POST", self._report(verb)) for verb in _REPORTS]
        return [
            (_HEALTH, "GET", self.health),
            ("/v1/status", "GET", self.status),
            ("/v1/account", "GET", self.account),
            ("/v1/dead-letters/<int:number>/<any(retry, drop):act>", "POST", self.dead_letter),
            *looks,
            *reports,
        ]

    def health(self) -> flask.Response:
        lifecycle = self._scheduler.status().lifecycle
        return _response(200, {"ok": True, "lifecycle": str(lifecycle)})

    def status(self) -> flask.Response:
        self._operator()
        return _response(200, self._scheduler.status().to_dict())

    def account(self) -> flask.Response:
        self._operator()
        return _response(200, self._scheduler.account().to_dict())

    def dead_letter(self, number: int, act: str) -> flask.Response:
        self._operator()
        _body(())
        if self._outbox is None:
            raise _RefusedError(404, "this scheduler delivers without an outbox")
        (self._outbox.retry_dead_letter if act == "retry" else self._outbox.drop_dead_letter)(number)
        return _response(200, {"number": number})

    def _look(self, what: str) -> Callable[..., flask.Response]:
        def view(agent_id: str) -> flask.Response:
            return _response(200, getattr(self._access(agent_id), what)())

        return view

    def _report(self, verb: str) -> Callable[..., flask.Response]:
        word = _REPORTS[verb]

        def view(agent_id: str) -> flask.Response:
            access = self._access(agent_id)
            body = _body((*([word] if word else []), "slot", "wake_id"))
            fence = Fence(slot=body.get("slot", ""), wake_id=body.get("wake_id", ""))
            words = [body.get(word, "")] if word else []
            report = getattr(access, verb)
            return _response(200, report(*words, fence=fence or None))

        return view

    # --- who asks ---------------------------------------------------------------------------------------------------

    def _caller(self) -> Caller:
        scheme, _, token = flask.request.headers.get("Authorization", "").partition(" ")
        caller = self._tokens.caller_of(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise _RefusedError(401, "a token is needed, and this is none of this scheduler's")
        flask.g.is_operator = caller.is_operator
        return caller

    def _operator(self) -> None:
        if not self._caller().is_operator:
            raise _RefusedError(403, "that needs the operator's token")

    def _access(self, agent_id: str) -> SchedulerAccess:
        # The same answer for agents that are there, that are not, and that cannot be: a token tells nothing of others.
        if not self._caller().may_reach(agent_id):
            raise _RefusedError(403, "this token reaches its own agent's slots only")
        return SchedulerAccess(self._scheduler, agent_id, day=self._day)


def _body(known: tuple[str, ...]) -> dict[str, str]:
    """Read a report's body: an object of texts, and nothing that is not known."""
    raw = flask.request.get_data(cache=False)
    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=_object) if raw else {}
    except (ValueError, RecursionError):
        raise _RefusedError(400, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise _RefusedError(422, "the body is an object")
    if strange := sorted(set(body) - set(known)):
        shown = clean(", ".join(strange), 200)
        raise _RefusedError(422, f"unknown: {shown}; known are {', '.join(known) or 'no keys'}")
    for name, value in body.items():
        if not isinstance(value, str):
            raise _RefusedError(422, f"{name} is a text")
    return body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Take each key once: of two the one who checks and the one who acts may see different ones."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RefusedError(422, "a key stands there twice")
    return members


def _no_pages() -> None:
    """Refuse what a page in a browser sends: it reaches loopback, too, and browsers say whose page it is."""
    if "Origin" in flask.request.headers:
        raise _RefusedError(403, "pages in a browser are not answered")


# --- answers --------------------------------------------------------------------------------------------------------


def _response(status: int, body: Mapping[str, Any]) -> flask.Response:
    return flask.Response(json.dumps(body, separators=(",", ":")), status, mimetype="application/json")


def _finish(response: flask.Response) -> flask.Response:
    response.headers.update(_HEADERS)
    return response


def _answer_to(error: Exception) -> flask.Response:
    if isinstance(error, _RefusedError):
        response = _response(error.status, refused(error.detail))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if isinstance(error, RequestEntityTooLarge):
        return _response(413, refused(f"a body has at most {MAX_CONTROL_BODY} bytes"))
    if isinstance(error, HTTPException):
        return _response(error.code or 500, refused(error.name))
    if isinstance(error, HarborcalError):
        return _response(_status_of(error), told(_for_the_caller(error)))
    _log.error("an error that nobody foresaw", exc_info=error)
    return _response(500, refused("Internal Server Error"))


def _for_the_caller(error: HarborcalError) -> HarborcalError:
    """Keep from agents what an unusable file's error says of this machine; the log and the operator get all of it."""
    if not isinstance(error, JournalError | CalendarError):
        return error
    _log.error("a file cannot be used", exc_info=error)
    if flask.g.get("is_operator", False):
        return error
    if isinstance(error, JournalError):
        return JournalError("the scheduler's journal cannot be used; its log says why", error.damaged)
    return CalendarError("the calendar cannot be used; the scheduler's log says why")


def _status_of(error: HarborcalError) -> int:
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


_STATUSES: tuple[tuple[type[HarborcalError], int], ...] = (
    (NoActiveSlotError, 409),
    (SlotMismatchError, 409),
    (CalendarRefusedError, 409),
    (CalendarUnavailableError, 503),
    (TransportError, 503),
    (JournalError, 503),
    (CalendarError, 503),
    (LifecycleError, 503),
    (ConfigurationError, 422),
    (HarborcalError, 500),
)
