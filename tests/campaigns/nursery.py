"""Programs by the thousand: each is forked off one that has imported what it needs, and ends as any program does.

``python -m tests.campaigns.nursery <module>`` reads orders from its input, one JSON object a line, forks a child for
each, has it carry out the module's ``live``, and answers how it ended.
"""

import dataclasses
import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
AT_ONCE = 4
"""How many programs live side by side: mostly they wait."""


class Nursery:
    """A program that forks others, each to live for ``patience`` seconds at most."""

    def __init__(self, module: str, *, patience: float) -> None:
        self._patience = patience
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.nursery", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def have(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Have some programs live; tell each one's exit ``code``, how many ``seconds`` it lived, and its ``errors``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"patience": self._patience, "orders": orders}) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        assert isinstance(answers, list)
        return answers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=2 * self._patience)
        finally:
            self._process.kill()


@dataclasses.dataclass
class _Child:
    """A program that lives."""

    number: int
    errors: IO[bytes]
    began: float
    is_hung: bool = False


def _serve(module: str) -> dict[str, Any] | None:
    """Fork a child for each order; return the order in the child, and None in the parent at its end."""
    importlib.import_module(module)
    for line in sys.stdin:
        asked = json.loads(line)
        answers: dict[int, dict[str, Any]] = {}
        children: dict[int, _Child] = {}
        left = list(enumerate(asked["orders"]))
        while left or children:
            if left and len(children) < AT_ONCE:
                number, order = left.pop(0)
                errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when its program has ended
                child = os.fork()
                if child == 0:
                    _be_born(errors.fileno(), asked["patience"])
                    return dict(order)
                children[child] = _Child(number, errors, time.monotonic())
            else:
                answers |= dict(_see_off(children, asked["patience"]))
                time.sleep(0.001)
        sys.stdout.write(json.dumps([answers[number] for number in sorted(answers)]) + "\n")
        sys.stdout.flush()
    return None


def _be_born(errors: int, patience: float) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(errors, 2)
    signal.alarm(int(2 * patience))  # nobody is left behind


def _see_off(children: dict[int, _Child], patience: float) -> Iterator[tuple[int, dict[str, Any]]]:
    """See who has ended, and end who takes too long."""
    for process, child in tuple(children.items()):
        seconds = time.monotonic() - child.began
        if seconds > patience and not child.is_hung:
            child.is_hung = True
            os.kill(process, signal.SIGABRT)  # it then says where its threads are
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            del children[process]
            with child.errors as errors:
                errors.seek(0)
                said = errors.read().decode("utf-8", "replace")[-4_000:]
            code = "hung" if child.is_hung else os.waitstatus_to_exitcode(status)
            yield child.number, {"code": code, "seconds": seconds, "errors": said}


if __name__ == "__main__":
    born = _serve(sys.argv[1])
    if born is not None:
        faulthandler.enable()
        importlib.import_module(sys.argv[1]).live(**born)
