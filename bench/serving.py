"""A handle on the calendar that answers: starts it, gives it orders, counts what it did."""

import contextlib
import datetime as dt
import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent

SERVERS = 2
"""Processes that answer where many heartbeats are asked for at once: more only take the client's own cores."""


class Server:
    """A handle on a running server.

    Attributes:
        url: The calendar's base URL.
        ca_file: The authority that signed its certificate, a PEM file; None without TLS.
    """

    def __init__(self, url: str, ca_file: str | None, control_ports: Sequence[int]) -> None:
        self.url = url
        self.ca_file = ca_file
        self._control_ports = control_ports

    def set(self, *, latency: float = 0.0, slots: int = 0) -> None:
        """Answer after ``latency`` seconds, with so many slots that are not due."""
        self._order("answered", latency=latency, slots=slots)

    def enter(self, slots: Iterable[tuple[str, int, dt.datetime]]) -> None:
        """List slots (agent, id, when due) until somebody updates them; of a server that is one process only.

        Raises:
            ValueError: It is several, which do not tell each other of updates.
        """
        if len(self._control_ports) > 1:
            raise ValueError("an agenda is one process's own")
        agenda = [(agent_id, number, f"{due:%Y-%m-%d}", f"{due:%H:%M:%S}") for agent_id, number, due in slots]
        self._order("answered", agenda=agenda)

    def drop(self, *, reset: bool = False) -> int:
        """Drop every connection, with a FIN or a reset; tell how many there were."""
        return self._order("dropped", drop=True, reset=reset)

    def answered(self) -> int:
        """Tell how many heartbeats have been answered so far."""
        return self._order("answered")

    def opened(self) -> int:
        """Tell how many connections have been opened so far."""
        return self._order("opened")

    def _order(self, wanted: str, **order: object) -> int:
        """Give an order to each process; tell the sum of what was wanted to know."""
        return sum(_ask(port, order)[wanted] for port in self._control_ports)


def _ask(port: int, order: dict[str, object]) -> dict[str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/control", json.dumps(order))
        return cast(dict[str, int], json.loads(connection.getresponse().read()))
    finally:
        connection.close()


@contextlib.contextmanager
def serving(*, tls: bool = False, processes: int = 1) -> Iterator[Server]:
    """Run a server until the end of the block, in processes of its own that share one port."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ca_file, certificate = _make_certificates(folder) if tls else (None, None)
        port, control_ports = 0, []
        for _ in range(processes):
            port, control_port = stack.enter_context(_process(port, certificate))
            control_ports.append(control_port)
        yield Server(f"{'https' if tls else 'http'}://127.0.0.1:{port}", ca_file, control_ports)


@contextlib.contextmanager
def _process(port: int, certificate: str | None) -> Iterator[tuple[int, int]]:
    """Run one process on a port, or on any where it is 0; yield that port and the one for orders."""
    command = [sys.executable, "-m", "bench.server", f"--port={port}"]
    if certificate is not None:
        command.append(f"--certificate={certificate}")
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            shared, control_port = map(int, process.stdout.readline().split())
            yield shared, control_port
        finally:
            process.stdin.close()
            process.wait(10)


def _make_certificates(folder: Path) -> tuple[str, str]:
    """Write an authority's certificate, and one for loopback with its key that the authority has signed."""
    import trustme  # noqa: PLC0415 - only TLS needs it

    authority = trustme.CA()
    ca_file, certificate = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    return str(ca_file), str(certificate)
