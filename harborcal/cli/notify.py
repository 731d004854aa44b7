"""Telling systemd where the daemon is (``Type=notify``); without systemd nothing is told."""

import contextlib
import socket
from collections.abc import Mapping

NOTIFY_SOCKET = "NOTIFY_SOCKET"
"""The variable that names the socket to tell it to."""


def notify(environ: Mapping[str, str], *lines: str) -> bool:
    """Send ``READY=1``, ``STOPPING=1`` or ``STATUS=...`` to the service manager; tell whether that worked.

    Args:
        environ: The environment, which says where.
        lines: What to send; line breaks in them become spaces.
    """
    address = environ.get(NOTIFY_SOCKET, "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return False
    place = "\0" + address[1:] if address[0] == "@" else address
    message = "\n".join(line.replace("\n", " ") for line in lines).encode()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1.0)  # a manager that does not read must not keep the daemon from working
        sender.sendto(message, place)
        return True
    return False
