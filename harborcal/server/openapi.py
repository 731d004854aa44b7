"""The OpenAPI document, written from the tables that requests are read by."""

from collections.abc import Iterable
from typing import Any

from harborcal.server.fields import Shape
from harborcal.server.operations import Operation, Parameter
from harborcal.server.writing import SCHEMAS, JsonObject
from harborcal.version import __version__

_REFUSALS = {
    400: "The request is no sound HTTP.",
    401: "No API key, or another one.",
    403: "The agent is bound to another host, or a page in a browser asks without an API key.",
    404: "The agent, slot or plan is not known.",
    405: "Another method is needed.",
    409: "It contradicts what is: an overlap, a past date, a state that nothing may follow.",
    411: "The body's length is not known.",
    413: "The body is too long.",
    415: "The body is not JSON in UTF-8 by its own account.",
    422: "The request is not valid.",
    423: "An admin locked the slot.",
    503: "The calendar cannot answer now.",
}
_OF_BODIES = frozenset({411, 413, 415})
_HEADERS = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    405: {"Allow": {"required": True, "schema": {"type": "string"}}},
    503: {
        "Retry-After": {"required": True, "description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
    },
}


def document(operations: Iterable[Operation], *, has_key: bool) -> JsonObject:
    """Write the document.

    Args:
        operations: All that can be asked.
        has_key: Whether an API key is needed.
    """
    listed = tuple(operations)
    shapes = {operation.body.name: operation.body for operation in listed if operation.body is not None}
    components: dict[str, Any] = {
        "schemas": dict(SCHEMAS) | {name: shape.schema for name, shape in shapes.items()},
        "responses": {_name_of(status): _refusal(status) for status in _REFUSALS},
    }
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    written: JsonObject = {
        "openapi": "3.1.0",
        "info": {
            "title": "harborcal",
            "version": __version__,
            "description": "A calendar of agents, slots and plans, after the HarborForge contract. All times are UTC.",
        },
        "paths": paths,
        "components": components,
    }
    if has_key:
        components["securitySchemes"] = {"api_key": {"type": "http", "scheme": "bearer"}}
        written["security"] = [{"api_key": []}]
    return written


def _operation(operation: Operation) -> dict[str, Any]:
    refusals = [status for status in _REFUSALS if operation.body is not None or status not in _OF_BODIES]
    written: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {
            str(operation.status): {"description": "Done.", "content": _json(operation.answer)},
            **{str(status): {"$ref": f"#/components/responses/{_name_of(status)}"} for status in refusals},
        },
    }
    if operation.body is not None:
        written["requestBody"] = _body(operation.body)
    return written


def _parameter(parameter: Parameter) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required,
        "schema": parameter.kind.schema,
    }
    return written | ({"description": parameter.told} if parameter.told else {})


def _body(shape: Shape) -> dict[str, Any]:
    return {"required": True, "content": _json(shape.name)}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _name_of(status: int) -> str:
    return f"Refusal{status}"


def _refusal(status: int) -> dict[str, Any]:
    written: dict[str, Any] = {
        "description": _REFUSALS[status],
        "content": _json("ValidationError" if status == 422 else "Error"),
    }
    return written | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
