"""How an agent is told to report: what fits the host that wakes it."""

import shlex
import shutil
import sys
from collections.abc import Mapping

from harborcal.cli.settings import AgentSettings
from harborcal.control import CONTROL, TOKEN
from harborcal.envelope import Reporting
from harborcal.host import WakeRequest

_FUNCTION = Reporting(
    complete='wake.report.complete("what was done")',
    abort='wake.report.abort("why not")',
    pause='wake.report.pause("why")',
    resume="wake.report.resume()",
)


class ReportingByAgent:
    """Tells of each wake how its agent reports: commands by the command line, others through what they were given."""

    def __init__(self, agents: Mapping[str, AgentSettings]) -> None:
        command = command_line()
        self._told = {agent_id: _told_to(agent, command) for agent_id, agent in agents.items()}

    def __call__(self, wake: WakeRequest) -> Reporting:
        """Tell how the agent of a wake reports."""
        return self._told.get(wake.agent_id, _FUNCTION)


def _told_to(agent: AgentSettings, command: str) -> Reporting:
    if agent.host == "command":
        return commands_reporting(command, by_exit=bool(agent.settings.get("reports_by_exit", True)))
    return webhooks_reporting(agent.id) if agent.host == "webhook" else _FUNCTION


def webhooks_reporting(agent_id: str) -> Reporting:
    """Tell how whoever takes an agent's webhook reports."""
    where = f"to /v1/agents/{agent_id}/{{}} at report.{CONTROL}"
    return Reporting(
        complete=f'POST {{"summary": "what was done"}} {where.format("complete")}',
        abort=f'POST {{"reason": "why not"}} {where.format("abort")}',
        pause=f'POST {{"reason": "why"}} {where.format("pause")}',
        resume=f"POST {{}} {where.format('resume')}",
        token=f"report.{TOKEN} of the request that brought this, as a bearer token",
    )


def commands_reporting(command: str, *, by_exit: bool = False) -> Reporting:
    """Tell how a woken command reports.

    Args:
        command: How it calls harborcal.
        by_exit: Whether its end reports for it as well.
    """
    done = " (or end with exit code 0: your last line of output is the summary)" if by_exit else ""
    failed = " (or end with another exit code: the end of stderr is the reason)" if by_exit else ""
    return Reporting(
        complete=f'run: {command} complete "what was done"{done}',
        abort=f'run: {command} abort "why not"{failed}',
        pause=f'run: {command} pause "why"',
        resume=f"run: {command} resume",
        token=f"in the environment variable {TOKEN}, where {command} finds it",
    )


def command_line() -> str:
    """Tell how a shell calls harborcal: by its name where it is on the path, else by this very interpreter."""
    return "harborcal" if shutil.which("harborcal") else f"{shlex.quote(sys.executable)} -m harborcal"
