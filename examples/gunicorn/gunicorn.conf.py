"""Four workers; each waits for its turn to schedule once it is forked."""

from typing import Any

bind = "127.0.0.1:8000"
workers = 4
threads = 4
chdir = str(__import__("pathlib").Path(__file__).parent)


def post_worker_init(worker: Any) -> None:
    """Begin after the fork: a scheduler does not survive one."""
    from service import Duty  # type: ignore[import-not-found] # noqa: PLC0415 - gunicorn reads this file before the folder is on the path

    worker.duty = Duty()
    worker.duty.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Let what is under way come to its end, and the next worker have its turn."""
    worker.duty.stop()
