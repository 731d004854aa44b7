"""The agents' tools: the session tells who calls, what is asked is checked, what is answered is short and clean."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborcal import Agent, ConfigurationError, Scheduler, SlotStatus
from harborcal.control import Fence, SchedulerAccess
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost
from harborcal.tools import ANSWER_LIMIT, AgentTools, sole_agent_of

GOLDEN = Path(__file__).parents[1] / "golden" / "tools.json"
READING = ["harborforge_calendar_status", "harborcal_calendar_today", "harborcal_calendar_why"]


class Office:
    """Two agents of one scheduler, and tools for one of them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.calendar = InMemoryCalendar(self.clock, agents=["ada", "ben"])
        self.host = RecordingHost()
        agents = [Agent(id="ada"), Agent(id="ben")]
        self.scheduler = Scheduler(self.calendar, self.host, lambda: agents, clock=self.clock, runner=CallerRunner())

    def tools(self, agent_id: str = "ada", **given: Any) -> AgentTools:
        access = SchedulerAccess(self.scheduler, agent_id, day=self.calendar, clock=self.clock)
        return AgentTools(access, clock=self.clock, **given)

    def wake(self, *agent_ids: str) -> list[Any]:
        keys = [self.calendar.add_slot(agent_id, event_data={"code": "T-1"}) for agent_id in agent_ids]
        self.scheduler.tick()
        return keys


@pytest.fixture
def office() -> Iterator[Office]:
    one = Office()
    yield one
    one.scheduler.stop()


def test_what_models_are_shown_does_not_change_unnoticed(office: Office) -> None:
    shown = [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": tool.input_schema,
            "is_read_only": tool.is_read_only,
        }
        for tool in office.tools().tools
    ]
    if os.environ.get("HARBORCAL_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    assert shown == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_an_agent_reports_and_says_so_five_times(office: Office) -> None:
    (key,) = office.wake("ada")
    tools = office.tools()
    first = tools.call("harborforge_calendar_complete", {"summary": "merged"})
    assert (first.is_error, first.data["status"], first.data["changed"]) == (False, "finished", True)
    for _ in range(4):
        again = tools.call("harborforge_calendar_complete", {"summary": "merged"})
        assert (again.is_error, again.data["changed"]) == (False, False)
    assert office.calendar.slot(key).status is SlotStatus.FINISHED


def test_the_wrong_order_is_answered_with_advice(office: Office) -> None:
    for name in ("complete", "abort", "pause", "resume"):
        result = office.tools().call(f"harborforge_calendar_{name}", {})
        assert result.is_error
        assert "no active slot" in result.data["error"]
        assert "nothing to report" in result.data["advice"]


def test_pause_resume_and_abort_do_what_they_say(office: Office) -> None:
    (key,) = office.wake("ada")
    tools = {tool.name.rpartition("_")[2]: tool.handler for tool in office.tools().tools}
    assert tools["pause"]({"reason": "lunch"}).data["status"] == "paused"
    assert tools["status"](None).data["active"]["pause_reason"] == "lunch"
    assert tools["resume"]({}).data["status"] == "ongoing"
    assert tools["abort"]({"reason": "no key"}).data["status"] == "aborted"
    assert office.calendar.slot(key).status is SlotStatus.ABORTED
    assert tools["why"]({}).data["agent_id"] == "ada"
    assert tools["today"]({}).data["agent_id"] == "ada"


@pytest.mark.parametrize(
    "arguments",
    [
        {"agent_id": "ben"},
        {"agent": "ben", "summary": "x"},
        {"summary": 7},
        {"summary": "x" * 2_001},
        {"slot": "1"},
        [],
        "x",
    ],
)
def test_arguments_that_are_none_are_refused_and_nothing_happens(office: Office, arguments: Any) -> None:
    office.wake("ada", "ben")
    result = office.tools().call("harborforge_calendar_complete", arguments)
    assert result.is_error
    assert "agent" not in result.data["error"] or "session" in result.data["error"]
    assert len(office.scheduler.status().active) == 2


def test_nobody_is_guessed(office: Office) -> None:
    tools = AgentTools(sole_agent_of(office.scheduler, day=office.calendar))
    assert "nobody is guessed" in tools.call("harborforge_calendar_complete", {}).data["error"]
    office.wake("ada")
    assert tools.call("harborforge_calendar_status").data["agent_id"] == "ada"
    office.wake("ben")
    result = tools.call("harborforge_calendar_complete", {"summary": "whose?"})
    assert result.is_error
    assert {active.agent_id for active in office.scheduler.status().active} == {"ada", "ben"}
    assert "nobody is guessed" in AgentTools(lambda: None).call("harborforge_calendar_status").data["error"]


def test_a_session_of_an_earlier_wake_does_not_end_the_slot_of_now(office: Office) -> None:
    office.wake("ada")
    earlier = office.host.wakes[-1]

    class Session(SchedulerAccess):
        def complete(self, summary: str = "", *, fence: Fence | None = None) -> Any:
            return super().complete(summary, fence=fence or Fence(wake_id=earlier.wake_id))

        def abort(self, reason: str = "", *, fence: Fence | None = None) -> Any:
            return super().abort(reason, fence=fence or Fence(wake_id=earlier.wake_id))

    office.tools().call("harborforge_calendar_complete", {"summary": "one"})
    office.wake("ada")
    tools = AgentTools(Session(office.scheduler, "ada"))
    again = tools.call("harborforge_calendar_complete", {"summary": "two"})
    assert (again.is_error, again.data["changed"]) == (False, False)
    late = tools.call("harborforge_calendar_abort", {"reason": "no"})
    assert late.is_error
    assert "Do not report for another one" in late.data["advice"]
    assert len(office.scheduler.status().active) == 1


def test_a_persons_assistant_can_only_look(office: Office) -> None:
    office.wake("ada")
    tools = office.tools(read_only=True)
    assert [tool.name for tool in tools.tools] == READING
    assert all(tool.is_read_only for tool in tools.tools)
    result = tools.call("harborforge_calendar_complete", {"summary": "x"})
    assert "there is no tool" in result.data["error"]
    assert office.scheduler.status().active


def test_a_flood_is_told_to_wait_and_then_answered_again(office: Office) -> None:
    tools = office.tools(calls_per_minute=3)
    for _ in range(3):
        assert not tools.call("harborforge_calendar_status").is_error
    refused = tools.call("harborforge_calendar_status")
    assert refused.data["advice"] == "Wait 60 seconds before the next one."
    office.clock.advance(60)
    assert not tools.call("harborforge_calendar_status").is_error
    with pytest.raises(ConfigurationError):
        office.tools(calls_per_minute=0)


def test_answers_are_cut_cleaned_and_say_so(office: Office) -> None:
    for number in range(60):
        office.calendar.add_slot(
            "ada", date=office.clock.now().date(), event_data={"t": f"{number}\u202e\x07" + "y" * 900}
        )
    result = office.tools().call("harborcal_calendar_today")
    assert not result.is_error
    (content,) = result.content
    assert content["type"] == "text"
    assert json.loads(content["text"]) == result.data
    assert len(json.dumps(result.data)) <= 17_000
    assert "items of slots" in result.data["note"]
    assert "\u202e" not in content["text"]


def test_what_nobody_foresaw_is_told_without_its_words(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SchedulerAccess):
        def status(self) -> Any:
            raise RuntimeError("/secret/path")

    result = AgentTools(Broken(office.scheduler, "ada")).call("harborforge_calendar_status")
    assert result.is_error
    assert "/secret/path" not in str(result.data)
    assert "/secret/path" in caplog.text


def test_an_outage_says_that_nothing_was_accepted(office: Office) -> None:
    office.wake("ada")
    with office.calendar.outage():
        result = office.tools().call("harborforge_calendar_complete", {"summary": "x"})
    assert "Nothing was accepted" in result.data["advice"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda each: st.lists(each) | st.dictionaries(st.text() | st.sampled_from(["summary", "agent_id"]), each),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text() | st.sampled_from([*READING, "harborforge_calendar_complete"]), arguments=anything)
def test_whatever_is_said_is_answered(office: Office, name: str, arguments: Any) -> None:
    result = office.tools().call(name, arguments)
    json.dumps(result.data)
    assert result.content[0]["text"]


def test_an_answer_is_within_its_limit_as_it_is_written(office: Office) -> None:
    for _ in range(20):
        office.calendar.add_slot("ada", event_data={"rows": [[0] * 10] * 5})
    result = office.tools().call("harborcal_calendar_today")
    assert len(result.content[0]["text"]) <= ANSWER_LIMIT
