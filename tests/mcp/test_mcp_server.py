"""The MCP server as its clients meet it: a subprocess on standard input and output, and the SDK's own client."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from harborcal import Agent, Scheduler, SlotStatus
from harborcal.control import Tokens
from harborcal.server import ControlServer, create_control_app
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost

TOKENS = Tokens(b"s" * 32)
ROOT = Path(__file__).parents[2]
LAUNCH = (
    "import os, sys\n"
    "from harborcal.control import ControlClient\n"
    "from harborcal.mcp_server import serve\n"
    "client = ControlClient.from_environment(os.environ)\n"
    "serve(client.agent(os.environ['HARBORCAL_AGENT']), read_only='--read-only' in sys.argv)\n"
)

pytestmark = pytest.mark.timeout(60)


class Office:
    """A scheduler with its control API, reached by subprocesses."""

    def __init__(self, folder: Path) -> None:
        clock = FakeClock()
        self.calendar = InMemoryCalendar(clock, agents=["ada", "ben"])
        self.host = RecordingHost()
        agents = [Agent(id="ada"), Agent(id="ben")]
        self.scheduler = Scheduler(self.calendar, self.host, lambda: agents, clock=clock, runner=CallerRunner())
        app = create_control_app(self.scheduler, TOKENS, day=self.calendar)
        self.server = ControlServer(app, f"unix:{folder / 'c.sock'}")
        self._serving = threading.Thread(target=self.server.run)
        self._serving.start()

    def wake(self, agent_id: str = "ada") -> Any:
        key = self.calendar.add_slot(agent_id, event_data={"code": "T-1"})
        self.scheduler.tick()
        return key

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "HARBORCAL_CONTROL": self.server.address,
            "HARBORCAL_TOKEN": TOKENS.for_agent("ada"),
            "HARBORCAL_AGENT": "ada",
            **more,
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", LAUNCH, *arguments]

    def ask(self, talk: Callable[[Client], Awaitable[Any]], *arguments: str, **more: str) -> Any:
        program, *rest = self.command(*arguments)
        parameters = StdioServerParameters(command=program, args=rest, env=self.environment(**more))

        async def session() -> Any:
            async with Client(parameters) as client:
                return await talk(client)

        return anyio.run(session)

    def close(self) -> None:
        self.scheduler.stop()
        self.server.close()
        self._serving.join()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with contextlib.closing(Office(tmp_path)) as one:
        yield one


def test_a_client_lists_the_tools_with_their_schemas(office: Office) -> None:
    listed = office.ask(lambda client: client.list_tools())
    tools = {tool.name: tool for tool in listed.tools}
    assert len(tools) == 7
    assert tools["harborforge_calendar_complete"].input_schema["additionalProperties"] is False
    assert tools["harborforge_calendar_status"].annotations.read_only_hint is True
    assert tools["harborforge_calendar_abort"].annotations.destructive_hint is True


def test_a_client_reports_for_its_own_agent(office: Office) -> None:
    key = office.wake()

    async def talk(client: Client) -> Any:
        status = await client.call_tool("harborforge_calendar_status", {})
        assert status.structured_content["active"]["agent_id"] == "ada"
        return await client.call_tool("harborforge_calendar_complete", {"summary": "merged"})

    done = office.ask(talk)
    assert not done.is_error
    assert done.structured_content["status"] == "finished"
    assert '"finished"' in done.content[0].text
    assert office.calendar.slot(key).status is SlotStatus.FINISHED


def test_bad_calls_are_answered_as_errors_that_a_model_can_read(office: Office) -> None:
    async def talk(client: Client) -> Any:
        return [
            await client.call_tool("harborforge_calendar_complete", {"agent_id": "ben"}),
            await client.call_tool("harborforge_calendar_complete", {"summary": "x"}),
            await client.call_tool("no_such_tool", {}),
        ]

    for result in office.ask(talk):
        assert result.is_error
        assert result.structured_content["advice"]


def test_a_session_of_an_earlier_wake_ends_nothing(office: Office) -> None:
    office.wake()
    earlier = office.host.wakes[-1].wake_id
    office.scheduler.complete("ada")
    office.wake()
    result = office.ask(
        lambda client: client.call_tool("harborforge_calendar_abort", {"reason": "late"}), HARBORCAL_WAKE_ID=earlier
    )
    assert result.is_error
    assert len(office.scheduler.status().active) == 1


def test_a_read_only_session_has_no_way_to_report(office: Office) -> None:
    office.wake()

    async def talk(client: Client) -> Any:
        listed = await client.list_tools()
        return [tool.name for tool in listed.tools], await client.call_tool("harborforge_calendar_complete", {})

    names, result = office.ask(talk, "--read-only")
    assert names == ["harborforge_calendar_status", "harborcal_calendar_today", "harborcal_calendar_why"]
    assert result.is_error
    assert office.scheduler.status().active


def test_a_token_of_another_agent_reaches_nothing(office: Office) -> None:
    office.wake("ben")
    result = office.ask(
        lambda client: client.call_tool("harborforge_calendar_status", {}), HARBORCAL_TOKEN=TOKENS.for_agent("ben")
    )
    assert result.is_error
    assert "ben" not in str(result.structured_content)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(office: Office, number: signal.Signals) -> None:
    hello = (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
        b'"clientInfo":{"name":"test","version":"1"}}}\n'
    )
    with subprocess.Popen(
        office.command(), env=office.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(hello)
        process.stdin.flush()
        assert b'"harborcal"' in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(10) == -number


def test_it_ends_when_its_client_goes(office: Office) -> None:
    ended = subprocess.run(
        office.command(), env=office.environment(), input=b"", capture_output=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, b"")
