"""What one agent may see and say: the same in the scheduler's process and over the control API."""

import contextlib
import datetime as dt
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harborcal import (
    Agent,
    CalendarUnavailableError,
    ConfigurationError,
    ControlError,
    HarborcalError,
    JournalError,
    LifecycleError,
    NoActiveSlotError,
    Scheduler,
    SlotMismatchError,
    SlotStatus,
    TransportError,
    TransportTimeoutError,
)
from harborcal.control import AgentAccess, ControlClient, Fence, SchedulerAccess, Tokens
from harborcal.server import ControlServer, create_control_app
from harborcal.testing import CallerRunner, FakeClock, InMemoryCalendar, RecordingHost

TOKENS = Tokens(b"s" * 32)


class Office:
    """Two agents of one scheduler, and both ways to reach them."""

    def __init__(self, address: str) -> None:
        self.clock = FakeClock()
        self.calendar = InMemoryCalendar(self.clock, agents=["ada", "ben"])
        self.host = RecordingHost()
        self.scheduler = Scheduler(
            self.calendar,
            self.host,
            lambda: [Agent(id="ada"), Agent(id="ben")],
            clock=self.clock,
            runner=CallerRunner(),
        )
        app = create_control_app(self.scheduler, TOKENS, day=self.calendar)
        self.server = ControlServer(app, address)
        self._serving = threading.Thread(target=self.server.run)
        self._serving.start()

    def client(self, token: str | None = None) -> ControlClient:
        return ControlClient(self.server.address, TOKENS.operator if token is None else token)

    def wake(self, agent_id: str = "ada") -> tuple[Any, Any]:
        key = self.calendar.add_slot(agent_id, event_type="job", event_data={"code": "T-1"})
        self.scheduler.tick()
        return key, self.host.wakes[-1]

    def close(self) -> None:
        self.scheduler.stop()
        self.server.close()
        self._serving.join()


@pytest.fixture(params=["unix", "tcp"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    address = f"unix:{tmp_path / 'c.sock'}" if request.param == "unix" else "http://127.0.0.1:0"
    with contextlib.closing(Office(address)) as one:
        yield one


@pytest.fixture(params=["in process", "over the control API"])
def ada(request: pytest.FixtureRequest, office: Office) -> AgentAccess:
    if request.param == "in process":
        return SchedulerAccess(office.scheduler, "ada", day=office.calendar, clock=office.clock)
    return office.client(TOKENS.for_agent("ada")).agent("ada")


def test_an_agent_sees_its_own_slot_and_nothing_of_others(office: Office, ada: AgentAccess) -> None:
    office.wake("ben")
    assert ada.status()["active"] is None
    office.wake("ada")
    status = ada.status()
    assert status["active"]["agent_id"] == "ada"
    assert "ben" not in str(status)
    assert ada.why()["agent_id"] == "ada"


def test_a_completion_reaches_the_calendar_and_once_more_changes_nothing(office: Office, ada: AgentAccess) -> None:
    key, wake = office.wake()
    told = ada.complete("merged", fence=Fence(wake_id=wake.wake_id))
    assert told == {"agent_id": "ada", "slot": str(key), "status": "finished", "changed": True, "detail": ""}
    assert office.calendar.slot(key).status is SlotStatus.FINISHED
    for fence in (Fence(slot=str(key), wake_id=wake.wake_id), Fence(slot=str(key)), None):
        again = ada.complete("merged", fence=fence)
        assert (again["changed"], again["detail"]) == (False, "it was complete already")
    with pytest.raises(NoActiveSlotError):
        ada.abort("no", fence=Fence(slot=str(key)))
    assert ada.status()["history"][-1]["summary"] == "merged"


def test_pausing_twice_changes_nothing_the_second_time(office: Office, ada: AgentAccess) -> None:
    office.wake()
    assert ada.pause("lunch")["changed"]
    assert not ada.pause("lunch")["changed"]
    assert ada.status()["active"]["pause_reason"] == "lunch"
    assert ada.resume()["status"] == "ongoing"
    assert not ada.resume()["changed"]
    assert ada.renew()["status"] == "ongoing"


def test_a_report_of_an_earlier_wake_does_not_touch_the_slot_of_now(office: Office, ada: AgentAccess) -> None:
    first, earlier = office.wake()
    ada.complete("one")
    second, _ = office.wake()
    for fence in (Fence(wake_id=earlier.wake_id), Fence(slot="999"), Fence(slot=str(second), wake_id=earlier.wake_id)):
        with pytest.raises(SlotMismatchError):
            ada.abort("no", fence=fence)
    assert not ada.complete("one", fence=Fence(slot=str(first), wake_id=earlier.wake_id))["changed"]
    assert office.calendar.slot(second).status is SlotStatus.ONGOING


def test_a_late_report_of_an_earlier_attempt_does_not_touch_a_later_one_of_the_same_slot(
    office: Office, ada: AgentAccess
) -> None:
    key, first = office.wake()
    ada.abort("the first fails")
    office.clock.advance(200)
    office.calendar.set_slot(key, status="not_started")
    office.scheduler.tick()
    second = office.host.wakes[-1]
    assert (first.attempt, second.attempt) == (1, 2)
    for report in (ada.complete, ada.pause):
        with pytest.raises(SlotMismatchError):
            report("of the first", fence=Fence(slot=str(key), wake_id=first.wake_id))
    for _ in range(10):  # nobody reports of the second, which is given up
        office.clock.advance(1000)
        office.scheduler.tick()
    assert ada.status()["active"] is None
    with pytest.raises(NoActiveSlotError):
        ada.complete("of the first", fence=Fence(slot=str(key), wake_id=first.wake_id))
    assert not ada.status()["history"][-1]["late"]
    office.wake()
    assert ada.complete("of the second", fence=Fence(slot=str(key), wake_id=second.wake_id))["changed"]
    assert ada.status()["history"][-1]["summary"] == "of the second"
    assert ada.status()["active"] is not None


def test_a_wake_that_nobody_knows_is_not_taken_for_the_last_one(office: Office, ada: AgentAccess) -> None:
    office.wake()
    ada.complete("merged")
    with pytest.raises(NoActiveSlotError):
        ada.complete("merged", fence=Fence(wake_id="another"))


def test_what_is_reported_after_an_agent_was_given_up_is_noted_and_told_so(office: Office, ada: AgentAccess) -> None:
    key, wake = office.wake()
    for _ in range(10):
        office.clock.advance(1000)
        office.scheduler.tick()
    fence = Fence(slot=str(key), wake_id=wake.wake_id)
    late = ada.complete("done after all", fence=fence)
    assert (late["status"], late["changed"]) == ("aborted", True)
    assert "given up" in late["detail"]
    again = ada.complete("done after all", fence=fence)
    assert (again["status"], again["changed"]) == ("aborted", False)
    assert "noted already" in again["detail"]
    entry = ada.status()["history"][-1]
    assert (entry["summary"], entry["late"], entry["wake_id"]) == ("done after all", True, wake.wake_id)


@pytest.mark.parametrize("names", ["slot and wake", "slot", "wake"])
def test_a_late_report_counts_although_the_history_has_forgotten_its_slot(
    office: Office, ada: AgentAccess, names: str
) -> None:
    key, wake = office.wake()
    for _ in range(10):
        office.clock.advance(1000)
        office.scheduler.tick()
    for _ in range(40):  # more than the history keeps
        office.wake("ben")
        office.scheduler.complete("ben", "done")
    assert ada.status()["history"] == []
    fence = Fence(slot=str(key) if "slot" in names else "", wake_id=wake.wake_id if "wake" in names else "")
    late = ada.complete("done after all", fence=fence)
    assert (late["status"], late["changed"]) == ("aborted", True)
    assert "given up" in late["detail"]
    with pytest.raises(NoActiveSlotError):
        ada.complete("done after all", fence=fence)
    office.wake()
    for other in (Fence(slot="999999999999999999999"), Fence(slot="plan-1-2026-01-05"), fence):
        with pytest.raises(SlotMismatchError):
            ada.complete("done after all", fence=other)


def test_resuming_what_was_just_woken_changes_nothing(office: Office, ada: AgentAccess) -> None:
    told: list[Any] = []
    office.host.on_wake = lambda _: told.extend((ada.resume(), ada.renew()))
    office.wake()
    assert [(answer["status"], answer["changed"], answer["detail"]) for answer in told] == [
        ("waking", False, "it was so already"),
        ("waking", False, ""),
    ]


@pytest.mark.parametrize("text", [7, None, ["done"]])
def test_words_that_are_none_are_refused(office: Office, ada: AgentAccess, text: Any) -> None:
    office.wake()
    with pytest.raises(ConfigurationError, match="summary is a text"):
        ada.complete(text)
    with pytest.raises(ConfigurationError, match="reason is a text"):
        ada.pause(text)
    with pytest.raises(ConfigurationError, match="slot is a text"):
        Fence(slot=text)
    assert ada.status()["active"]["state"] == "ongoing"


def test_who_holds_nothing_is_told_so(ada: AgentAccess) -> None:
    for report in (ada.complete, ada.abort, ada.pause, ada.resume, ada.renew):
        with pytest.raises(NoActiveSlotError):
            report()


def test_an_outage_is_told_as_one_and_changes_nothing(office: Office, ada: AgentAccess) -> None:
    key, _ = office.wake()
    with office.calendar.outage(), pytest.raises(CalendarUnavailableError):
        ada.complete("merged")
    assert ada.status()["active"] is not None
    assert ada.complete("merged")["changed"]
    assert office.calendar.slot(key).status is SlotStatus.FINISHED


def test_after_the_end_reports_are_refused(office: Office, ada: AgentAccess) -> None:
    office.wake()
    office.scheduler.stop()
    with pytest.raises(LifecycleError):
        ada.complete("merged")


def test_long_and_invisible_texts_are_cut_and_cleaned(office: Office, ada: AgentAccess) -> None:
    office.wake()
    ada.complete("a\u202eb\x07" + "ü" * 100_000)
    summary = ada.status()["history"][-1]["summary"]
    assert summary.startswith("ab")
    assert len(summary) <= 2_000


def test_today_lists_the_day(office: Office) -> None:
    office.calendar.add_slot("ada", date=office.clock.now().date(), scheduled_at=dt.time(23, 50))
    access = SchedulerAccess(office.scheduler, "ada", day=office.calendar, clock=office.clock)
    assert [slot["scheduled_at"][:5] for slot in access.today()["slots"]] == ["23:50"]
    with pytest.raises(ConfigurationError):
        SchedulerAccess(office.scheduler, "ada").today()


# --- who may --------------------------------------------------------------------------------------------------------


def test_an_agents_token_reaches_its_own_slots_only(office: Office) -> None:
    office.wake("ben")
    client = office.client(TOKENS.for_agent("ada"))
    for agent_id in ("ben", "nobody"):
        with pytest.raises(ControlError, match="its own agent's slots only") as refused:
            client.agent(agent_id).complete("stolen")
        assert refused.value.status == 403
    for ask in (client.status, client.account, lambda: client.retry_dead_letter(1)):
        with pytest.raises(ControlError, match="operator"):
            ask()


def test_an_id_that_is_none_reaches_nobody(office: Office) -> None:
    line = office.client(TOKENS.for_agent("ada"))
    with pytest.raises(ControlError, match="its own agent's slots only"):
        line.exchange("GET", "/v1/agents/.../status")
    with pytest.raises(ConfigurationError, match="agent_id"):
        office.client().exchange("GET", "/v1/agents/.../status")
    with pytest.raises(ConfigurationError, match="whole number"):
        office.client().drop_dead_letter(True)
    with pytest.raises(ConfigurationError, match="whole number"):
        office.client().retry_dead_letter(10**5_000)


def test_what_agents_are_told_of_an_unusable_file_names_no_place(office: Office) -> None:
    office.wake()
    error = JournalError("/var/lib/secret/journal is damaged", True)
    office.calendar.before_update = raising(error)
    with pytest.raises(JournalError, match="its log says why") as told:
        office.client(TOKENS.for_agent("ada")).agent("ada").complete("merged")
    assert told.value.damaged
    with pytest.raises(JournalError, match="/var/lib/secret"):
        office.client().agent("ada").complete("merged")


def test_without_a_right_token_nobody_is_told_anything(office: Office) -> None:
    for token in ("wrong", Tokens(b"t" * 32).operator, TOKENS.operator + "x", TOKENS.for_agent("ada")[:-1]):
        with pytest.raises(ControlError) as refused:
            office.client(token).status()
        assert refused.value.status in {401, 403}
        assert token not in str(refused.value)
    assert office.client("wrong").health() == {"ok": True, "lifecycle": "new"}


def test_the_operator_sees_all_and_reports_for_anybody(office: Office) -> None:
    office.wake("ada")
    office.wake("ben")
    assert {one["agent_id"] for one in office.client().status()["active"]} == {"ada", "ben"}
    assert office.client().account()["active"] == 2
    assert office.client().agent("ben").abort("enough")["status"] == "aborted"
    with pytest.raises(ControlError, match="without an outbox"):
        office.client().drop_dead_letter(1)


def test_two_completions_at_once_are_one(office: Office) -> None:
    key, wake = office.wake()
    answers: list[dict[str, Any]] = []
    both = threading.Barrier(2)

    def complete() -> None:
        both.wait()
        answers.append(dict(office.client().agent("ada").complete("merged", fence=Fence(wake_id=wake.wake_id))))

    threads = [threading.Thread(target=complete) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["changed"] for answer in answers) == [False, True]
    assert office.calendar.slot(key).status is SlotStatus.FINISHED


def raising(error: HarborcalError) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


class SlowError(TransportTimeoutError):
    """What a program's own transport raises."""


class OddError(TransportTimeoutError):
    """Another one, which is not made of its words."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing within {seconds:g} s")
        self.args = (seconds,)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SlowError("slow"), TransportTimeoutError),
        (TransportError(OSError("gone")), TransportError),
        (OddError(3.0), TransportTimeoutError),
    ],
)
def test_a_programs_own_error_is_told_as_the_one_of_ours_that_it_is(
    office: Office, ada: AgentAccess, error: HarborcalError, kind: type[HarborcalError]
) -> None:
    office.wake()
    office.calendar.before_update = raising(error)
    with pytest.raises(kind, match=re.escape(str(error))):
        ada.complete("merged")
