"""A carried calendar over HTTP, in a process of its own."""

import argparse
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

from bench.serving import ROOT
from harborcal.calendar import Calendar
from harborcal.server import Server


@contextlib.contextmanager
def serving_calendar(url: str) -> Iterator[str]:
    """Serve a calendar with `harborcal.server`, its defaults and waitress, until the end of the block; yield its URL.

    Args:
        url: The calendar's own URL.
    """
    command = [sys.executable, "-m", "bench.calendar.server", url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(20)


def _main() -> None:
    parser = argparse.ArgumentParser(description="The carried calendar that the bench asks over HTTP.")
    parser.add_argument("url", help="the calendar's")
    # Of 32 clients at 16 threads half always wait, and waitress would say so at each request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    with Calendar(parser.parse_args().url) as calendar, Server(calendar, port=0) as server:
        runs = threading.Thread(target=server.run)
        runs.start()
        print(server.url, flush=True)
        sys.stdin.read()  # ends at the latest when the parent does
        server.close()
        runs.join()


if __name__ == "__main__":
    _main()
