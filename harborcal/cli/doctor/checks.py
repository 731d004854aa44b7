"""The doctor's checks, one after the other. Each tells what it finds; none changes anything before it is asked to."""

from collections.abc import Callable

from harborcal.cli.doctor.calendars import calendar, lost_slots
from harborcal.cli.doctor.daemons import control_socket, daemon
from harborcal.cli.doctor.examination import Examination
from harborcal.cli.doctor.findings import Findings
from harborcal.cli.doctor.journals import dead_letters, journal
from harborcal.cli.doctor.surroundings import clock, configuration, state_folder
from harborcal.cli.doctor.work import orphaned_commands, stuck_leases

Check = tuple[str, Callable[[Examination], Findings]]

CHECKS: tuple[Check, ...] = (
    ("configuration", configuration),
    ("state folder", state_folder),
    ("daemon", daemon),
    ("control socket", control_socket),
    ("calendar", calendar),
    ("journal", journal),
    ("dead letters", dead_letters),
    ("stuck leases", stuck_leases),
    ("lost slots", lost_slots),
    ("orphaned commands", orphaned_commands),
    ("clock", clock),
)
"""All checks, in their order: each may count on what those before it have seen to."""
