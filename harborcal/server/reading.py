"""Requests: what WSGI passes, read by an operation's table into values, or refused with what is wrong."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import flask

from harborcal.errors import MalformedAnswerError
from harborcal.server.fields import InvalidError, Problem
from harborcal.server.operations import Ask, Operation, Parameter
from harborcal.wire import load

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)


class UnreadableError(Exception):
    """A body is not read at all; ``status`` is 411, 413 or 415."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def read(operation: Operation, request: flask.Request, max_body_size: int) -> Ask:
    """Read all that an operation asks for.

    Raises:
        UnreadableError: The body is too long, of unknown length, or no JSON by its own account.
        InvalidError: A parameter or the body is not as it should be.
    """
    raw = None if operation.body is None else _raw_body(request, max_body_size)
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for parameter in operation.parameters:
        problems += _collect(values, parameter.key, (parameter.place, parameter.name), _reader(parameter, request))
    body: dict[str, Any] = {}
    if operation.body is not None and raw is not None:
        shape = operation.body
        problems += _collect(body, "body", ("body",), lambda: shape.read(_load(raw)))
    if problems:
        raise InvalidError(*problems)
    return Ask(values, body.get("body", {}))


def _collect(
    values: dict[str, Any], key: str, place: tuple[str, ...], read_value: Callable[[], Any]
) -> tuple[Problem, ...]:
    """Enter a value that is there; return what is wrong with it."""
    try:
        value = read_value()
    except InvalidError as error:
        return tuple(dataclasses.replace(found, path=(*place, *found.path)) for found in error.problems)
    if value is not None:
        values[key] = value
    return ()


# --- parameters -----------------------------------------------------------------------------------------------------


def _reader(parameter: Parameter, request: flask.Request) -> Callable[[], Any]:
    return lambda: _read_parameter(parameter, _texts(parameter, request))


def _texts(parameter: Parameter, request: flask.Request) -> list[str]:
    if parameter.place == "query":
        return request.args.getlist(parameter.name)
    if parameter.place == "header":
        return [request.headers[parameter.name]] if parameter.name in request.headers else []
    return [str((request.view_args or {})[parameter.name])]


def _read_parameter(parameter: Parameter, texts: list[str]) -> Any:
    if not texts:
        if parameter.is_required:
            raise InvalidError.at(message="Field required", type="missing")
        return None
    if len(texts) > 1:
        raise InvalidError.at(message=f"one value is needed, not {len(texts)}")
    text: Any = texts[0]
    if parameter.kind.schema["type"] == "integer" and _NUMBER.fullmatch(text):
        text = int(text)
    return parameter.kind.read(text)


# --- the body -------------------------------------------------------------------------------------------------------


def _raw_body(request: flask.Request, max_body_size: int) -> bytes:
    _check_type(request)
    length = request.environ.get("CONTENT_LENGTH") or ""
    if not _LENGTH.fullmatch(length):
        raise UnreadableError(411, "Length Required")
    if int(length) > max_body_size:
        raise UnreadableError(413, f"a body has at most {max_body_size} bytes")
    body: bytes = request.environ["wsgi.input"].read(int(length))
    return body


def _check_type(request: flask.Request) -> None:
    """Let through what is JSON in UTF-8, or does not say what it is."""
    named = (request.content_type or "").strip()
    is_json = request.mimetype == "application/json"
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if named and not (is_json and charset in {"utf-8", "utf8"}):
        raise UnreadableError(415, "a body is application/json in UTF-8")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UnreadableError(415, "a body is not encoded")


def _load(raw: bytes) -> Any:
    try:
        return load(raw)
    except MalformedAnswerError as error:
        raise InvalidError.at(message=str(error).removeprefix("calendar: "), type="json_invalid") from error
