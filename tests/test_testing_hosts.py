import threading
from typing import cast

import pytest

from harborcal.errors import ConfigurationError, HostError
from harborcal.host import Report, WakeRequest
from harborcal.model import Slot
from harborcal.testing import LogLine, RecordingHost


def wake_of(agent_id: str, slot_id: int = 1) -> WakeRequest:
    return WakeRequest(
        agent_id=agent_id,
        message="please",
        source=f"calendar:{slot_id}",
        slot=Slot(id=slot_id),
        attempt=1,
        wake_id="w",
        report=cast(Report, None),
    )


def test_wakes_are_recorded_in_order() -> None:
    host = RecordingHost()
    first, second = wake_of("dev", 0), wake_of("ops", 7)
    host.wake_agent(first)
    host.wake_agent(second)
    assert host.wakes == [first, second]
    assert host.woken == [("dev", "0"), ("ops", "7")]


def test_on_wake_runs_inside_the_wake_without_a_lock() -> None:
    seen: list[int] = []

    def look(wake: WakeRequest) -> None:
        host.log("info", "woken", {})
        seen.append(len(host.woken))

    host = RecordingHost(on_wake=look)
    host.wake_agent(wake_of("dev"))
    assert (seen, len(host.logs)) == ([1], 1)


def test_what_on_wake_raises_escapes() -> None:
    def refuse(wake: WakeRequest) -> None:
        raise HostError(wake.agent_id)

    host = RecordingHost(on_wake=refuse)
    with pytest.raises(HostError, match="dev"):
        host.wake_agent(wake_of("dev"))
    assert host.woken == [("dev", "1")]


def test_the_next_wakes_fail_on_demand_and_are_recorded_all_the_same() -> None:
    handled: list[WakeRequest] = []
    host = RecordingHost(on_wake=handled.append)
    host.fail_next(HostError("asleep"), times=2)
    for _ in range(2):
        with pytest.raises(HostError, match="asleep"):
            host.wake_agent(wake_of("dev"))
    host.wake_agent(wake_of("dev"))
    assert (len(host.wakes), len(handled)) == (3, 1)


def test_a_number_of_failures_is_at_least_one() -> None:
    with pytest.raises(ConfigurationError):
        RecordingHost().fail_next(HostError("asleep"), times=0)


def test_log_lines_are_recorded_with_a_copy_of_their_fields() -> None:
    host = RecordingHost()
    fields: dict[str, object] = {"agent": "dev"}
    host.log("info", "calendar tick", fields)
    host.log("warn", "calendar heartbeat failed", {})
    fields["agent"] = "ops"
    assert host.logs[1] == LogLine("warn", "calendar heartbeat failed", {})
    assert host.lines("calendar tick") == [LogLine("info", "calendar tick", {"agent": "dev"})]


def test_a_test_can_wait_for_what_other_threads_do() -> None:
    host = RecordingHost()

    def work() -> None:
        host.wake_agent(wake_of("dev"))
        host.log("info", "done", {})

    thread = threading.Thread(target=work)
    thread.start()
    assert host.wait_for_wakes(1)
    assert host.wait_for_lines("done")
    thread.join()


def test_waiting_for_what_does_not_happen_ends_with_the_timeout() -> None:
    host = RecordingHost()
    host.wake_agent(wake_of("dev"))
    host.log("info", "once", {})
    assert not host.wait_for_wakes(2, timeout=0.0)
    assert not host.wait_for_lines("once", count=2, timeout=0.0)
