"""What the doctor sees of the daemon, its lock and its socket."""

from pathlib import Path

from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Finding, Findings, Note


def daemon(visit: Examination) -> Findings:
    """See whether a daemon runs, and whether it answers."""
    settings = visit.settings
    if visit.lock_trouble:
        yield Finding(
            what=visit.lock_trouble, remedy="the daemon refuses to start so: see what is there, and take it away"
        )
    elif visit.is_running and visit.daemon is None:
        holder = f"process {visit.sole.holder()}" if visit.sole.holder() else "a process"
        yield Finding(
            what=f"{holder} holds {settings.lock}, but is not reached at {settings.control}: {visit.trouble}",
            remedy="if it does not answer in a minute, end it and start it again: its journal is kept",
        )
    elif visit.daemon is not None:
        yield Note(text=f"process {visit.sole.holder() or '?'} runs and answers at {settings.control}")
    else:
        yield Note(text="no daemon runs")


def control_socket(visit: Examination) -> Findings:
    """See that no socket of a daemon that is gone is left."""
    address = visit.settings.control
    if not address.startswith("unix:"):
        yield Note(text=f"{address}: no socket file")
        return
    path = Path(address.removeprefix("unix:"))
    if not visit.is_running and (path.exists() or path.is_symlink()) and not path.is_socket():
        yield Finding(
            what=f"{path} is no socket", remedy="the daemon refuses to start so: name another, or move it away"
        )
        return
    if visit.is_running or not path.is_socket():
        yield Note(text=f"{path}: {'in use' if visit.is_running else 'none is left over'}")
        return

    def take_away() -> str:
        visit.need_ours()
        path.unlink()
        return "it is gone; it held nothing"

    yield Finding(
        what=f"{path} is the socket of a daemon that is gone",
        remedy="would take it away: a socket holds nothing, and the next daemon makes its own",
        repair=take_away,
    )
