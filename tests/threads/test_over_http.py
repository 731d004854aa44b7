"""The whole of it over real HTTP: whatever the calendar answers, the loop lives, says so, and goes on."""

import threading
from collections.abc import Iterator

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    HttpTransport,
    RetryingTransport,
    Scheduler,
    SchedulerConfig,
    SlotStatus,
    TransportError,
    UpdateRefusedError,
)
from harborcal.testing import CalendarServer, Fault, InMemoryCalendar, RecordingHost
from harborcal.transports.curl import CurlTransport

pytestmark = pytest.mark.singly  # the transports here are real ones, and one of them asks in batches

DEADLINE = 0.6

ODD_ANSWERS = {
    "not JSON": Fault.garbage(),
    "a list": Fault.status(200, b"[]"),
    "no slots": Fault.status(200, b'{"slots": 7}'),
    "NaN": Fault.status(200, b'{"slots": [], "x": NaN}'),
    "a huge number": Fault.status(200, b'{"slots": [], "x": ' + b"9" * 5_000 + b"}"),
    "200,000 arrays": Fault.status(200, b"[" * 200_000),
    "1 GiB": Fault.huge(2**30),
    "one byte a second": Fault.drip(1.0),
    "silence": Fault.stall(),
    "a redirect": Fault.redirect("http://127.0.0.1:9/elsewhere"),
    "a reset in mid body": Fault.reset_mid_body(),
    "a dropped connection, twice": Fault.drop(),
    "401": Fault.status(401, b'{"detail": "who are you"}'),
    "404": Fault.status(404, b'{"detail": "Agent not found"}'),
    "409": Fault.status(409, b'{"detail": "conflict"}'),
    "422 with a list": Fault.status(422, b'{"detail": [{"loc": ["body", "agent_id"], "msg": "field required"}]}'),
    "423": Fault.status(423, b'{"detail": "locked"}'),
    "429, far too long": Fault.status(429, b"{}", {"Retry-After": "1e999"}),
    "429, nonsense": Fault.status(429, b"{}", {"Retry-After": "soon"}),
    "500 with a page": Fault.status(500, b"<html>oops</html>"),
    "503": Fault.status(503, b""),
}


@pytest.fixture
def calendar() -> InMemoryCalendar:
    return InMemoryCalendar(agents=["dev", "ops"])


@pytest.fixture
def server(calendar: InMemoryCalendar) -> Iterator[CalendarServer]:
    with CalendarServer(calendar) as server:
        yield server


@pytest.fixture(params=[HttpTransport, CurlTransport])
def scheduler(server: CalendarServer, request: pytest.FixtureRequest) -> Iterator[Scheduler]:
    transport = request.param(server.url, "claw", timeout=DEADLINE)
    config = SchedulerConfig(heartbeat_interval=3600)
    scheduler = Scheduler(transport, RecordingHost(), lambda: [Agent(id="dev")], config=config)
    yield scheduler
    scheduler.stop()


@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_whatever_a_heartbeat_is_answered_the_fault_is_told_and_the_next_one_works(
    answer: str, server: CalendarServer, scheduler: Scheduler, calendar: InMemoryCalendar
) -> None:
    scheduler.tick()  # from now on the connection is a warm one: dropped once, it is replaced without a word
    server.fault(ODD_ANSWERS[answer], times=2 if answer == "a dropped connection, twice" else 1)
    assert scheduler.tick().failed_heartbeats == ("dev",)
    assert scheduler.status().last_errors["dev"].count == 1
    assert not scheduler.status().scheduler_errors
    calendar.add_slot("dev", id=7)
    assert scheduler.tick().woken == ("dev",)
    assert not scheduler.status().last_errors


@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_whatever_a_completion_is_answered_only_documented_errors_come_out_and_nothing_is_lost(
    answer: str, server: CalendarServer, scheduler: Scheduler, calendar: InMemoryCalendar
) -> None:
    key = calendar.add_slot("dev", id=7)
    scheduler.tick()
    server.fault(ODD_ANSWERS[answer], times=2 if answer == "a dropped connection, twice" else 1)
    if answer in {"a list", "no slots"}:
        scheduler.complete("dev", "done")  # the answer to an update is opaque: any JSON will do
        assert scheduler.status().history[-1].status == "finished"
        return
    with pytest.raises((TransportError, CalendarRefusedError)) as caught:
        scheduler.complete("dev", "done")
    if isinstance(caught.value, UpdateRefusedError):
        assert scheduler.status().history[-1].summary == "done"
    else:
        scheduler.complete("dev", "done, again")
        assert calendar.slot(key).status is SlotStatus.FINISHED
    assert not scheduler.status().active


def test_a_lost_answer_to_a_completion_is_made_good_by_a_retrying_transport(
    server: CalendarServer, calendar: InMemoryCalendar
) -> None:
    key = calendar.add_slot("dev")
    transport = RetryingTransport(HttpTransport(server.url, "claw", timeout=DEADLINE), base_delay=0.001)
    scheduler = Scheduler(transport, RecordingHost(), lambda: [Agent(id="dev")])
    scheduler.tick()
    server.fault(Fault.reset_mid_body())
    scheduler.complete("dev", "once")
    assert calendar.slot(key).status is SlotStatus.FINISHED
    assert [update.status for _, _, update in calendar.updates if update.status.is_terminal] == [
        SlotStatus.FINISHED
    ] * 2
    scheduler.stop()


def test_a_stop_cuts_a_call_short_that_a_silent_calendar_holds_up(
    server: CalendarServer, calendar: InMemoryCalendar
) -> None:
    calendar.add_slot("dev")
    scheduler = Scheduler(HttpTransport(server.url, "claw", timeout=60), RecordingHost(), lambda: [Agent(id="dev")])
    scheduler.tick()
    before = len(server.requests)
    server.fault(Fault.stall())
    errors: list[BaseException] = []

    def complete() -> None:
        try:
            scheduler.complete("dev")
        except TransportError as error:
            errors.append(error)

    completing = threading.Thread(target=complete)
    completing.start()
    assert server.wait_for_requests(before + 1)
    scheduler.stop(timeout=0.05)
    completing.join(10)
    assert not completing.is_alive()
    assert "closed" in str(errors[0])
