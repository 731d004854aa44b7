"""What the daemon logs: one line for each thing that happens, on stderr, with the time in UTC."""

import contextlib
import datetime as dt
import json
import logging
from collections.abc import Iterator, Mapping
from typing import TextIO

from harborcal.grammar import clean

FORMATS = ("text", "json")
"""How lines are written."""

LINE_LIMIT = 4_000
"""How many characters of a message, or of one field, reach the log."""

_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "error"}


class LineFormatter(logging.Formatter):
    """Writes a record as one line: time, level, message, then the fields as ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line; what would break it, or move a terminal's cursor, is taken out."""
        message, fields = _parts(record)
        told = " ".join(f"{key}={_shown(value)}" for key, value in fields.items())
        return f"{_at(record)} {_level(record):5} {message}{' ' if told else ''}{told}"


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: ``time``, ``level``, ``logger``, ``message`` and ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        message, fields = _parts(record)
        line: dict[str, object] = {"time": _at(record), "level": _level(record), "logger": record.name}
        line |= {"message": message}
        if fields:
            line["fields"] = dict(fields)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


@contextlib.contextmanager
def logging_to(stream: TextIO, form: str = "text", level: int = logging.INFO) -> Iterator[None]:
    """Have all that is logged in this process written to a stream, until the context ends.

    Args:
        stream: Where to; what cannot be written is lost, and stops nothing.
        form: One of `FORMATS`.
        level: What is less than this is left out.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter())
    handler.handleError = lambda record: None  # type: ignore[method-assign] # noqa: ARG005 - stderr is gone: nowhere to say so
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _parts(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """Tell a record's message and fields: those of harborcal's own lines come beside it, not inside it."""
    given = getattr(record, "harborcal", None)
    fields: dict[str, object] = dict(given) if isinstance(given, Mapping) else {}
    message = record.getMessage()
    if fields:
        written = " ".join(f"{key}={value!r}" for key, value in fields.items())
        message = message.removesuffix(f" {written}")
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        fields["error"] = f"{type(error).__name__}: {error}"
    return clean(message, LINE_LIMIT), fields


def _shown(value: object) -> str:
    text = clean(str(value), LINE_LIMIT)
    return json.dumps(text, ensure_ascii=False) if not text or any(one in text for one in ' "=\\') else text


def _level(record: logging.LogRecord) -> str:
    return _LEVELS.get(record.levelname, record.levelname.lower())


def _at(record: logging.LogRecord) -> str:
    at = dt.datetime.fromtimestamp(record.created, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
