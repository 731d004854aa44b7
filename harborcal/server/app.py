"""The WSGI application: one route for each operation, and one place where errors become answers."""

import hmac
import json
import logging
from collections.abc import Callable
from typing import Any

import flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from harborcal.calendar import Calendar
from harborcal.errors import (
    CalendarError,
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    LifecycleError,
)
from harborcal.net import check_header
from harborcal.server import agent_side, openapi, user_plans, user_side, writing
from harborcal.server.fields import InvalidError
from harborcal.server.operations import Operation
from harborcal.server.reading import UnreadableError, read
from harborcal.server.writing import Answer

MAX_BODY_SIZE = 64 * 1024
"""How many bytes of a request's body are read unless another limit is given."""

DOCUMENT_PATH = "/openapi.json"
"""Where the OpenAPI document is; it needs no key."""

OPERATIONS = (*agent_side.OPERATIONS, *user_side.OPERATIONS, *user_plans.OPERATIONS)
"""All that can be asked."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_SAFE_METHODS = frozenset({"GET", "HEAD"})

_log = logging.getLogger("harborcal.server")


def create_app(calendar: Calendar, *, api_key: str | None = None, max_body_size: int = MAX_BODY_SIZE) -> flask.Flask:
    """Build the WSGI application that speaks the HarborForge contract for a calendar.

    Agents' schedulers reach it with `HttpTransport`; ``/openapi.json`` describes all of it. Errors are
    ``{"detail": "text"}``, a request that is not valid is 422 with a list under ``detail`` (contract). Agents are
    registered with the calendar itself. It keeps no state, and any number of threads may call it.

    Args:
        calendar: The calendar. It stays the program's own.
        api_key: What clients must send as a bearer token. Without one, pages in a browser are refused to change
            anything: they reach loopback, too.
        max_body_size: The most bytes of a request's body.

    Raises:
        ConfigurationError: The key cannot stand in a header, or the limit is no positive number.
    """
    if type(max_body_size) is not int or max_body_size < 1:
        raise ConfigurationError(f"max_body_size is a whole number of bytes, at least 1, not {max_body_size!r}")
    secret = None if api_key is None else check_header("api_key", api_key).encode()
    app = flask.Flask("harborcal.server", static_folder=None, template_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # a path with two slashes is another path, and no reason to redirect
    document = openapi.document(OPERATIONS, has_key=secret is not None)
    app.add_url_rule(DOCUMENT_PATH, "openapi", lambda: _response(Answer(200, document)), methods=["GET"])
    for operation in OPERATIONS:
        rule = operation.path.replace("{", "<").replace("}", ">")
        view = _view(calendar, operation, max_body_size)
        app.add_url_rule(rule, operation.name, view, methods=[operation.method])
    app.before_request(_gate(secret))
    app.after_request(_finish)
    app.register_error_handler(Exception, lambda error: _response(_answer_to(error)))
    return app


def _view(calendar: Calendar, operation: Operation, max_body_size: int) -> Callable[..., flask.Response]:
    def view(**_path: str) -> flask.Response:  # the path's values are read with all the others
        ask = read(operation, flask.request, max_body_size)
        return _response(Answer(operation.status, operation.serve(calendar, ask)))

    return view


# --- who may ask ----------------------------------------------------------------------------------------------------


def _gate(secret: bytes | None) -> Callable[[], flask.Response | None]:
    def gate() -> flask.Response | None:
        request = flask.request
        if secret is None:
            # Without a key whoever reaches the server may use it; a page of another origin in a browser on the same
            # machine does, and browsers say so in what they send on its behalf.
            if "Origin" in request.headers and request.method not in _SAFE_METHODS:
                return _response(Answer(403, {"detail": "pages in a browser may change nothing without an API key"}))
            return None
        if request.path == DOCUMENT_PATH or _has_key(request, secret):
            return None
        return _response(Answer(401, {"detail": "an API key is needed"}, {"WWW-Authenticate": "Bearer"}))

    return gate


def _has_key(request: flask.Request, secret: bytes) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    is_right = hmac.compare_digest(token.strip().encode("utf-8", "surrogatepass"), secret)
    return is_right and scheme.lower() == "bearer"


# --- answers --------------------------------------------------------------------------------------------------------


def _response(answer: Answer) -> flask.Response:
    body = json.dumps(answer.body, separators=(",", ":"))
    return flask.Response(body, answer.status, dict(answer.headers), mimetype="application/json")


def _finish(response: flask.Response) -> flask.Response:
    response.headers.update(_HEADERS)
    return response


def _answer_to(error: Exception) -> Answer:
    """Turn whatever ended a request into an answer; what nobody foresaw is told to the log alone."""
    for kind, answer in _ANSWERS:
        if isinstance(error, kind):
            return answer(error)
    _log.error("an error that nobody foresaw", exc_info=error)
    return Answer(500, {"detail": "Internal Server Error"})


def _answer_to_unusable(error: CalendarError) -> Answer:
    _log.error("the calendar cannot be used", exc_info=error)  # its words name files of this machine
    return writing.unavailable("the calendar cannot be used")


def _answer_to_http(error: HTTPException) -> Answer:
    """Answer in the contract's shape what routing refused: unknown paths, other methods, a bad Host."""
    if isinstance(error, MethodNotAllowed):
        return Answer(405, {"detail": error.name}, {"Allow": ", ".join(sorted(error.valid_methods or ()))})
    return Answer(error.code or 500, {"detail": error.name})


_ANSWERS: tuple[tuple[type[Exception], Callable[[Any], Answer]], ...] = (
    (InvalidError, writing.invalid),
    (UnreadableError, lambda error: Answer(error.status, {"detail": error.detail})),
    (CalendarRefusedError, writing.refused),
    (CalendarUnavailableError, lambda error: writing.unavailable("the calendar is busy", error.retry_after)),
    (CalendarError, _answer_to_unusable),
    (LifecycleError, lambda _: writing.unavailable("the calendar is closed")),
    (HTTPException, _answer_to_http),
)
