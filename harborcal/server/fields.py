"""What values and objects in a request are: what reads them also describes them.

A `Kind` carries a JSON Schema and a reader. Requests are read by the readers and the OpenAPI document is written from
the schemas, so that neither says what the other does not. Types are exact: ``true`` is no number and ``"7"`` is not 7.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from harborcal.grammar import clean

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request, as FastAPI tells it: where, in words, and of which type."""

    path: Path
    message: str
    type: str = "value_error"

    def to_json(self) -> dict[str, object]:
        """Write the problem as one entry of a 422's ``detail``."""
        path = [clean(step, 80) if isinstance(step, str) else step for step in self.path]
        return {"loc": path, "msg": clean(self.message), "type": self.type}


class InvalidError(Exception):
    """A request, or a part of one, is not valid: a 422 with a list."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems)
        self.problems = problems

    @classmethod
    def at(cls, *path: str | int, message: str, type: str = "value_error") -> Self:  # noqa: A002 - FastAPI's word
        """Tell of one problem."""
        return cls(Problem(path, message, type))


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    Attributes:
        schema: What it is as JSON Schema.
        read: Reads a JSON value of it; raises `InvalidError` with paths that begin at the value.
    """

    schema: Schema
    read: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A member of an object.

    Attributes:
        kind: What its value is.
        is_required: Whether it must be there.
        is_nullable: Whether it may be null.
        told: What it means, for the document.
    """

    kind: Kind
    is_required: bool = False
    is_nullable: bool = False
    told: str = ""

    @property
    def schema(self) -> Schema:
        """What the member's value is as JSON Schema."""
        schema: dict[str, Any] = dict(self.kind.schema)
        if self.is_nullable:
            schema = {"anyOf": [schema, {"type": "null"}]}
        return schema | ({"description": self.told} if self.told else {})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """An object with known members.

    Attributes:
        name: What the document calls it.
        fields: Its members.
        is_open: Whether unknown members are ignored; else they are a problem.
        is_empty_allowed: Whether it may have no member at all.
    """

    name: str
    fields: Mapping[str, Field]
    is_open: bool = False
    is_empty_allowed: bool = True

    @property
    def schema(self) -> Schema:
        """What the object is as JSON Schema."""
        required = [name for name, field in self.fields.items() if field.is_required]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: field.schema for name, field in self.fields.items()},
            "additionalProperties": self.is_open,
        }
        if required:
            schema["required"] = required
        return schema if self.is_empty_allowed else schema | {"minProperties": 1}

    def read(self, value: Any) -> dict[str, Any]:
        """Read the members that are there.

        Raises:
            InvalidError: With every problem that there is.
        """
        if type(value) is not dict:
            raise InvalidError.at(message=f"an object is needed, not {type_of(value)}")
        problems = [
            Problem((name,), "Field required", "missing")
            for name, field in self.fields.items()
            if field.is_required and name not in value
        ]
        read = {}
        for name, item in value.items():
            try:
                if name in self.fields:
                    read[name] = self._read_member(name, item)
                elif not self.is_open:
                    raise InvalidError.at(message="no such field can be set", type="extra_forbidden")
            except InvalidError as error:
                problems += [dataclasses.replace(found, path=(name, *found.path)) for found in error.problems]
        if not value and not self.is_empty_allowed:
            problems.append(Problem((), "there is nothing to change", "missing"))
        if problems:
            raise InvalidError(*problems)
        return read

    def _read_member(self, name: str, item: Any) -> Any:
        field = self.fields[name]
        return None if item is None and field.is_nullable else field.kind.read(item)


# --- words for errors -----------------------------------------------------------------------------------------------

_TYPES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def type_of(value: Any) -> str:
    """Name the type of a JSON value."""
    return _TYPES.get(type(value), "a number")


def shown(value: Any) -> str:
    """Show a JSON value, cleaned and short."""
    if type(value) is str:
        return repr(clean(value, 40))
    is_short = type(value) is float or (type(value) is int and value.bit_length() <= 128)
    return str(value) if is_short else type_of(value)
