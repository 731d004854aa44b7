"""Checked by mypy only: what users write must type as they expect, and mistakes must not."""

from collections.abc import Iterator, Mapping
from typing import assert_type

from harborcal import (
    Agent,
    BatchTransport,
    CallbackHost,
    ClaimingTransport,
    DayReader,
    Heartbeat,
    Host,
    HttpTransport,
    RetryingTransport,
    Runner,
    Scheduler,
    SlotKey,
    SlotUpdate,
    Status,
    ThreadRunner,
    TickReport,
    Transport,
    UpdateReceipt,
    Verdict,
    WakeRequest,
    find,
)
from harborcal.clock import Clock, SystemClock
from harborcal.testing import CallerRunner, FakeClock, FrozenClock, InMemoryCalendar, RecordingHost


class MyHost:
    def wake_agent(self, wake: WakeRequest) -> None: ...

    def log(self, level: str, message: str, fields: Mapping[str, object]) -> None: ...


class MyTransport:
    def heartbeat(self, agent_id: str) -> Heartbeat:
        return Heartbeat()

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        return UpdateReceipt(slot=slot)

    def close(self) -> None: ...


def lister() -> Iterator[Agent]:
    yield Agent(id="a")


transports: list[Transport] = [
    MyTransport(),
    InMemoryCalendar(),
    HttpTransport("https://calendar.example"),
    RetryingTransport(MyTransport()),
]
hosts: list[Host] = [MyHost(), RecordingHost(), CallbackHost(print)]
clocks: list[Clock] = [SystemClock(), FakeClock(), FrozenClock()]
runners: list[Runner] = [ThreadRunner(), CallerRunner()]

scheduler = Scheduler(MyTransport(), MyHost(), lister)
Scheduler(MyTransport(), MyHost(), lambda: [Agent(id="a")], clock=FakeClock(), runner=CallerRunner())
with scheduler as entered:
    assert_type(entered, Scheduler)
assert_type(scheduler.tick(), TickReport)
assert_type(scheduler.status(), Status)
assert_type(scheduler.explain("a"), tuple[Verdict, ...])
assert_type(find(MyTransport(), DayReader), DayReader | None)
assert_type(find(MyTransport(), BatchTransport), BatchTransport | None)
assert_type(find(MyTransport(), ClaimingTransport), ClaimingTransport | None)

Scheduler(MyTransport(), MyHost())  # type: ignore[call-arg]
Scheduler(MyTransport(), MyHost(), lambda: ["a"])  # type: ignore[list-item]
Scheduler(MyHost(), MyTransport(), lister)  # type: ignore[arg-type]
scheduler.complete("a", slot="7")  # type: ignore[arg-type]
