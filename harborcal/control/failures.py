"""Errors on their way over the control API: told by class and by what they were made of, and made again from that."""

from collections.abc import Mapping, Sequence
from typing import Any

from harborcal import errors
from harborcal.errors import ControlError, HarborcalError
from harborcal.grammar import clean

_KINDS: Mapping[str, type[HarborcalError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HarborcalError) and kind is not ControlError
}


def told(error: HarborcalError) -> dict[str, Any]:
    """Write an error as ``detail``, ``error`` and ``arguments``.

    One of a class that is not known here, such as a transport's own, is told as the nearest of its bases that says the
    same, made of the same arguments or of its words.
    """
    detail = clean(str(error))
    for kind in type(error).__mro__:
        if _KINDS.get(kind.__name__) is kind:
            for arguments in (error.args, (str(error),)):
                if _says_the_same(kind, arguments, error):
                    return {"detail": detail, "error": kind.__name__, "arguments": list(arguments)}
    return refused(detail)


def refused(detail: str) -> dict[str, Any]:
    """Write what is no error of the scheduler: a request that was not understood, or not allowed."""
    return {"detail": detail, "error": ControlError.__name__}


def made_again(status: int, answer: Mapping[str, Any] | None) -> HarborcalError:
    """Make the error that an answer tells of; what tells of none that is known is a `ControlError`."""
    words = answer if answer is not None else {}
    detail = clean(str(words.get("detail") or "no reason given"))
    kind, arguments = _KINDS.get(str(words.get("error"))), words.get("arguments")
    if kind is None or not isinstance(arguments, list) or not _is_plain(arguments):
        return ControlError(detail, status)
    try:
        return kind(*(clean(one) if isinstance(one, str) else one for one in arguments))
    except (TypeError, ValueError):
        return ControlError(detail, status)


def _says_the_same(kind: type[BaseException], arguments: Sequence[object], error: HarborcalError) -> bool:
    if not _is_plain(arguments):
        return False
    try:
        return type(error) is kind or str(kind(*arguments)) == str(error)
    except (TypeError, ValueError):
        return False


def _is_plain(arguments: Sequence[object]) -> bool:
    return all(one is None or isinstance(one, str | int | float) for one in arguments)
