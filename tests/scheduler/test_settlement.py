"""DESIGN 4.2, points 2, 3, 4, 7, 8: order, one settlement, identity, lost updates, take-up."""

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from harborcal import (
    Agent,
    CalendarRefusedError,
    ConfigurationError,
    DeliveryStatus,
    Heartbeat,
    LifecycleError,
    NoActiveSlotError,
    NotSentError,
    Slot,
    SlotKey,
    SlotMismatchError,
    SlotStatus,
    SlotUpdate,
    TransportError,
    TransportTimeoutError,
    UpdateReceipt,
    UpdateRefusedError,
    VerdictReason,
    WakeRequest,
)
from harborcal.ledger import STALE_FOR
from harborcal.testing import InMemoryCalendar
from harborcal.transport import DeliveryListener
from tests.world import World


class Layer:
    """A transport around the calendar in memory, to be overridden where a test needs a stranger one."""

    def __init__(self, inner: InMemoryCalendar) -> None:
        self.inner = inner

    def heartbeat(self, agent_id: str) -> Heartbeat:
        return self.inner.heartbeat(agent_id)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        return self.inner.update_slot(agent_id, slot, update)

    def close(self) -> None:
        self.inner.close()


class Scripted(Layer):
    """Lists what it is told to list, whatever the calendar would."""

    def __init__(self, inner: InMemoryCalendar) -> None:
        super().__init__(inner)
        self.listed: tuple[Slot, ...] | None = None
        self.answer: Heartbeat | None = None
        self.refusal: CalendarRefusedError | None = None
        self.tried: list[SlotStatus] = []

    def heartbeat(self, agent_id: str) -> Heartbeat:
        answer = self.inner.heartbeat(agent_id)
        if self.answer is not None:
            return self.answer
        return answer if self.listed is None else Heartbeat(slots=self.listed)

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        self.tried.append(update.status)
        if self.refusal is not None:
            raise self.refusal
        return super().update_slot(agent_id, slot, update)


def scripted_world() -> tuple[World, Scripted]:
    layers: list[Scripted] = []

    def wrap(calendar: InMemoryCalendar) -> Scripted:
        layers.append(Scripted(calendar))
        return layers[0]

    world = World(wrap=wrap)
    return world, layers[0]


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["complete", "abort"])
def test_nothing_follows_a_terminal_update_sent_from_inside_the_wake(verb: str) -> None:
    world = World(on_wake=lambda wake: getattr(wake.report, verb)("done at once"))
    key = world.add()
    world.scheduler.tick()
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing"), ("dev", "finished" if verb == "complete" else "aborted")]
    assert world.calendar.slot(key).started_at == dt.time(9, 0)
    assert not world.scheduler.status().active


def test_a_pause_from_inside_the_wake_is_told_after_the_start_and_stays() -> None:
    world = World(on_wake=lambda wake: wake.report.pause("not yet"))
    key = world.add()
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing"), ("dev", "paused")]
    assert world.state(key) is SlotStatus.PAUSED
    assert world.scheduler.status().active[0].state == "paused"


def test_a_wake_that_raises_after_its_agent_completed_does_not_undo_the_completion() -> None:
    def on_wake(wake: WakeRequest) -> None:
        wake.report.complete("quick")
        raise RuntimeError("too late to complain")

    world = World(on_wake=on_wake)
    world.add()
    world.scheduler.tick()
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.summary) == ("finished", "quick")
    assert world.sent == [("dev", "ongoing"), ("dev", "finished")]


@pytest.mark.parametrize(("locked", "status"), [(False, "deferred"), (True, "aborted")])
def test_a_wake_that_raises_after_the_calendar_was_told_gives_the_slot_back(locked: bool, status: str) -> None:
    def on_wake(wake: WakeRequest) -> None:
        wake.report.pause()
        raise RuntimeError("after all")

    world = World(on_wake=on_wake)
    world.add(is_admin_locked=locked)
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing"), ("dev", "paused"), ("dev", status)]
    assert world.scheduler.status().history[-1].reason == "wake failed: after all"


def test_giving_back_that_fails_is_tried_again_with_the_next_heartbeat() -> None:
    def on_wake(wake: WakeRequest) -> None:
        wake.report.pause()
        world.calendar.fail_next(TransportError("gone"), on="update")
        raise RuntimeError("after all")

    world = World(on_wake=on_wake)
    key = world.add()
    world.scheduler.tick()
    assert world.scheduler.status().problems["dev"]["update"].message == "gone"
    assert world.state(key) is SlotStatus.PAUSED
    world.scheduler.tick()
    assert world.state(key) is SlotStatus.DEFERRED
    assert not world.scheduler.status().active
    assert world.scheduler.status().history[-1].reason == "wake failed: after all"


@pytest.mark.parametrize("verb", ["complete", "abort", "pause"])
def test_re_entering_a_slots_lane_from_inside_its_update_is_an_error_not_a_deadlock(verb: str) -> None:
    caught: list[LifecycleError] = []

    class Reentrant(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if update.status is SlotStatus.ONGOING:
                try:
                    getattr(world.scheduler, verb)(agent_id)
                except LifecycleError as error:
                    caught.append(error)
            return super().update_slot(agent_id, slot, update)

    world = World(wrap=Reentrant)
    world.add()
    world.scheduler.tick()
    assert len(caught) == 1
    assert world.sent == [("dev", "ongoing")]


def test_status_and_tick_may_be_called_from_inside_an_update() -> None:
    seen: list[object] = []

    class Curious(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            seen.append(world.scheduler.status().active[0].agent_id)
            seen.append(world.scheduler.tick().agents)
            return super().update_slot(agent_id, slot, update)

    world = World(wrap=Curious)
    world.add()
    world.scheduler.tick()
    assert seen == ["dev", ("dev",)]


# --- one settlement -------------------------------------------------------------------------------------------------


def test_a_late_report_of_an_earlier_attempt_cannot_touch_the_next_slot() -> None:
    world = World()
    world.add(id=1)
    world.scheduler.tick()
    late = world.host.wakes[0].report
    world.scheduler.complete("dev", "first")
    world.add(id=2)
    world.scheduler.tick()
    for call in (late.complete, late.abort, late.pause, late.resume, late.renew):
        with pytest.raises(NoActiveSlotError):
            call()
    assert world.scheduler.status().active[0].ident == "2"
    assert world.sent[-1] == ("dev", "ongoing")


def test_the_fence_refuses_another_slot_than_the_active_one() -> None:
    world = World()
    world.add(id=1)
    world.scheduler.tick()
    with pytest.raises(SlotMismatchError, match="holds slot 1, not real 2") as caught:
        world.scheduler.complete("dev", slot=SlotKey.real(2))
    assert caught.value.agent_id == "dev"
    with pytest.raises(SlotMismatchError):
        world.scheduler.abort("dev", slot=SlotKey.virtual("1"))
    world.scheduler.pause("dev", slot=SlotKey.real(1))
    world.scheduler.resume("dev", slot=world.host.wakes[0].slot)
    world.scheduler.renew("dev", slot=SlotKey.real(1))
    world.scheduler.complete("dev", slot=SlotKey.real(1))
    assert world.sent[-1] == ("dev", "finished")


def test_the_fence_of_a_wake_refuses_a_later_attempt_of_the_same_slot() -> None:
    world = World()
    world.add(id=1)
    world.scheduler.tick()
    (first,) = world.host.wakes
    world.scheduler.abort("dev", "no", wake_id=first.wake_id)
    world.clock.advance(200)
    world.calendar.set_slot(SlotKey.real(1), status="not_started")  # somebody opens it again
    world.scheduler.tick()
    second = world.host.wakes[-1]
    assert (second.slot.key, second.attempt) == (first.slot.key, 2)
    fence: dict[str, Any] = {"slot": first.slot, "wake_id": first.wake_id}
    for call in ("complete", "abort", "pause", "resume", "renew"):
        with pytest.raises(SlotMismatchError, match=f"not real 1 of wake {first.wake_id}"):
            getattr(world.scheduler, call)("dev", **fence)
    with pytest.raises(SlotMismatchError, match=f"not wake {first.wake_id}"):
        world.scheduler.complete("dev", wake_id=first.wake_id)
    for call in ("pause", "resume", "renew", "complete"):
        getattr(world.scheduler, call)("dev", wake_id=second.wake_id)
    assert [entry.wake_id for entry in world.scheduler.status().history] == [first.wake_id, second.wake_id]
    with pytest.raises(ConfigurationError, match="wake_id is a string"):
        world.scheduler.complete("dev", wake_id=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("fence", ["1", 1, object()])
def test_a_fence_that_is_no_slot_is_refused(fence: object) -> None:
    world = World()
    world.add(id=1)
    world.scheduler.tick()
    with pytest.raises(ValueError, match="slot is a SlotKey or a Slot"):
        world.scheduler.complete("dev", slot=fence)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an agent id is a string"):
        world.scheduler.complete(7)  # type: ignore[arg-type]


def test_a_slot_settled_here_is_not_taken_from_an_answer_that_was_asked_for_before() -> None:
    """The agent completes while a heartbeat is under way whose answer still lists its slot."""
    done: list[None] = []

    class Slow(Layer):
        def heartbeat(self, agent_id: str) -> Heartbeat:
            stale = Heartbeat(slots=(world.calendar.slot(key),))
            if world.scheduler.single_active_agent_id() and not done:
                done.append(None)
                world.scheduler.complete(agent_id)
            return stale if done == [None] else super().heartbeat(agent_id)

    world = World(wrap=Slow)
    key = world.add(id=1)
    world.scheduler.tick()
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)  # the calendar never heard of the start
    world.scheduler.tick()
    assert done
    assert world.host.woken == [("dev", "1")]
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED


def test_a_slot_that_is_opened_again_on_purpose_is_woken_again() -> None:
    world = World()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.clock.advance(1)
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "1"), ("dev", "1")]


def test_a_slot_that_is_listed_as_it_was_before_its_claim_is_not_woken_again_but_told_again() -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    before = world.calendar.slot(key)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.listed = (before,)  # a fail-over to a copy that has not seen any of it
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].detail == "settled just now: the calendar may be behind"
    assert world.sent[2:] == []
    world.clock.advance(STALE_FOR)
    world.scheduler.tick()
    assert world.sent[2:] == [("dev", "finished")]
    assert world.host.woken == [("dev", "1")]


def test_a_slot_that_was_taken_up_is_not_woken_for_where_the_calendar_is_behind_that() -> None:
    world, layer = scripted_world()
    key = world.add(id=1, status="ongoing", started_at="09:00:00")
    begun = world.calendar.slot(key)
    world.clock.advance(10)
    given_back = dataclasses.replace(begun, status=SlotStatus.DEFERRED, updated_at=world.clock.now())
    world.clock.advance(10)
    layer.listed = (begun,)
    world.scheduler.tick()
    assert world.scheduler.status().active[0].taken_up
    world.scheduler.complete("dev")
    layer.listed = (given_back,)  # as it was after its start, and before it was taken up
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].detail == "settled just now: the calendar may be behind"
    assert not world.host.wakes


def test_a_virtual_slot_that_is_listed_as_virtual_again_is_told_again_and_not_woken() -> None:
    world, layer = scripted_world()
    key = world.calendar.add_virtual_slot("dev", 3, updated_at=None)
    before = world.calendar.slot(key)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.listed = (before,)
    world.clock.advance(STALE_FOR)
    world.scheduler.tick()
    assert [status for _, status in world.sent] == ["ongoing", "finished", "finished"]
    assert len(world.host.wakes) == 1


def test_a_calendar_that_tells_no_changes_is_believed_to_be_behind_for_a_while_then_to_have_opened_the_slot() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    layer.listed = (Slot(id=1),)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.clock.advance(STALE_FOR - 1)
    world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED
    world.clock.advance(1)
    world.scheduler.tick()
    assert len(world.host.wakes) == 2


@pytest.mark.parametrize("listed", [SlotStatus.ONGOING, SlotStatus.PAUSED])
def test_a_settled_slot_that_is_still_listed_as_under_way_gets_its_terminal_update_again(listed: SlotStatus) -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.calendar.set_slot(key, status=listed)  # a fail-over has forgotten the last write
    layer.listed = (world.calendar.slot(key),)
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing"), ("dev", "finished"), ("dev", "finished")]
    assert world.calendar.updates[-1].update.actual_duration == 1
    assert world.host.woken == [("dev", "1")]
    assert not world.scheduler.status().active


def test_sending_the_terminal_update_again_backs_off_and_ends_with_a_refusal() -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    assert world.state(key) is SlotStatus.FINISHED
    layer.tried.clear()
    for _ in range(4):
        world.scheduler.tick()
    assert len(layer.tried) == 2, "at once, with the next answer, then it rests"
    world.clock.advance(31)
    layer.refusal = CalendarRefusedError(410, "gone")
    world.scheduler.tick()
    assert len(layer.tried) == 3
    world.clock.advance(900)
    world.scheduler.tick()
    assert len(layer.tried) == 3
    assert world.scheduler.explain("dev")[0].detail == "calendar refused (410): gone"


def test_sending_the_terminal_update_again_survives_a_failing_calendar() -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    layer.listed = (Slot(id=1, status=SlotStatus.ONGOING),)
    world.calendar.fail_next(TransportError("down"), on="update")
    world.scheduler.tick()
    assert world.scheduler.status().problems["dev"]["update"].message == "down"
    world.scheduler.tick()
    assert world.sent[-1] == ("dev", "finished")


# --- updates that are delivered later -------------------------------------------------------------------------------


class Later(Layer):
    """Accepts terminal updates now and delivers them when told to."""

    def __init__(self, inner: InMemoryCalendar) -> None:
        super().__init__(inner)
        self.listeners: list[DeliveryListener] = []
        self.kept: list[Callable[[], UpdateReceipt]] = []

        self.accepted = 0
        self.latest: SlotUpdate | None = None

    def subscribe(self, listener: DeliveryListener) -> None:
        self.listeners.append(listener)

    def replace(self, number: int, update: SlotUpdate) -> bool:
        raise AssertionError("no test here reports late")

    def delivery_status(self) -> DeliveryStatus:
        return DeliveryStatus(accepted=self.accepted, pending=len(self.kept), delivered=self.accepted - len(self.kept))

    def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
        self.kept.append(lambda: self.inner.update_slot(agent_id, slot, update))
        self.accepted += 1
        self.latest = update
        return UpdateReceipt(slot=slot, delivered=False, number=self.accepted)

    def deliver(self, key: SlotKey) -> None:
        receipt = UpdateReceipt(slot=key)
        while self.kept:
            receipt = self.kept.pop(0)()
        self.listeners[0].delivered(key, receipt.slot, self.accepted)

    def refuse(self, key: SlotKey, refusal: CalendarRefusedError) -> None:
        """Have the calendar refuse the latest update, after it has taken those before it."""
        self.kept.clear()
        latest = self.latest or SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 0))
        self.listeners[0].refused(key, latest, refusal, self.accepted)


def later_world(**options: Any) -> tuple[World, Later]:
    layers: list[Later] = []

    def wrap(calendar: InMemoryCalendar) -> Layer:
        layers.append(Later(calendar))
        return Layer(layers[0])  # type: ignore[arg-type] # found through the wrapper all the same

    return World(wrap=wrap, **options), layers[0]


def test_a_slot_is_not_taken_again_while_its_terminal_update_is_undelivered() -> None:
    world, later = later_world()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev", "long done")
    for _ in range(3):
        world.clock.advance(600)
        world.scheduler.tick()
    assert world.host.woken == [("dev", "1")]
    assert world.scheduler.explain("dev")[0].detail == "its last update is still on its way"
    later.deliver(key)
    assert world.state(key) is SlotStatus.FINISHED
    world.scheduler.tick()
    assert world.host.woken == [("dev", "1")]


def test_a_virtual_slot_that_became_real_on_delivery_is_still_known() -> None:
    world, later = later_world()
    key = world.calendar.add_virtual_slot("dev", 3, dt.date(2026, 1, 5))
    world.scheduler.tick()
    later.deliver(key)
    [active] = world.scheduler.status().active
    assert active.key.kind == "real"
    world.scheduler.complete("dev", slot=active.key)
    later.deliver(active.key)
    world.scheduler.tick()
    assert len(world.host.wakes) == 1


def test_an_undeliverable_update_settles_the_slot_with_the_refusal() -> None:
    world, later = later_world()
    key = world.add(id=1)
    world.scheduler.tick()
    later.refuse(key, CalendarRefusedError(410, "gone"))
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason) == ("aborted", "calendar refused (410): gone")


def test_an_undeliverable_terminal_update_keeps_the_slot_settled_until_it_changes() -> None:
    world, later = later_world()
    key = world.add(id=1)
    world.scheduler.tick()
    world.scheduler.complete("dev")
    later.refuse(key, CalendarRefusedError(422, "no such minute"))
    world.scheduler.tick()
    world.scheduler.tick()
    assert len(world.host.wakes) == 1
    world.calendar.set_slot(key, priority=50)
    world.scheduler.tick()
    assert len(world.host.wakes) == 2


# --- identity -------------------------------------------------------------------------------------------------------


def test_real_seven_and_virtual_seven_are_two_slots() -> None:
    world, layer = scripted_world()
    world.agents.append(Agent(id="ops"))
    world.calendar.add_agent("ops")
    world.add(id=7)
    layer.listed = (Slot(id=7),)
    world.scheduler.tick()
    layer.listed = (Slot(virtual_id="7"),)
    world.scheduler.tick()
    assert [(agent, key.kind) for agent, key in ((w.agent_id, w.slot.key) for w in world.host.wakes)] == [
        ("dev", "real"),
        ("ops", "virtual"),
    ]


def test_a_slot_held_for_one_agent_is_taken_for_every_other() -> None:
    world, layer = scripted_world()
    world.agents.append(Agent(id="ops"))
    world.calendar.add_agent("ops")
    world.add(id=7)
    layer.listed = (Slot(id=7),)
    world.scheduler.tick()
    assert world.host.woken == [("dev", "7")]
    assert world.scheduler.explain("ops")[0].reason is VerdictReason.TAKEN
    assert world.scheduler.explain("ops")[0].detail == "held by dev"


def test_after_the_first_update_of_a_virtual_slot_its_real_key_is_known_too() -> None:
    world = World()
    key = world.calendar.add_virtual_slot("dev", 3, dt.date(2026, 1, 5))
    world.scheduler.tick()
    [active] = world.scheduler.status().active
    assert (active.ident, active.key.kind) == ("plan-3-2026-01-05", "real")
    world.scheduler.pause("dev", slot=key)
    world.scheduler.resume("dev", slot=active.key)
    world.scheduler.complete("dev", slot=active.key)
    assert world.calendar.updates[-1].slot == active.key


def test_a_real_slot_of_a_plan_is_also_the_plans_virtual_slot_of_its_date() -> None:
    world, layer = scripted_world()
    world.add(id=7)
    layer.listed = (Slot(id=7, plan_id=3, date=dt.date(2026, 1, 5)),)
    world.scheduler.tick()
    layer.listed = (Slot(virtual_id="plan-3-2026-01-05"),)
    world.scheduler.tick()
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.TAKEN
    world.scheduler.complete("dev", slot=SlotKey.virtual("plan-3-2026-01-05"))


def test_where_a_slot_has_both_ids_the_real_one_counts() -> None:
    world, layer = scripted_world()
    world.add(id=0)
    layer.listed = (Slot(id=0, virtual_id="plan-1-2026-01-05"),)
    world.scheduler.tick()
    assert world.host.wakes[0].source == "calendar:0"
    assert world.calendar.updates[0].slot == SlotKey.real(0)


def test_a_slot_without_an_id_is_refused_and_named_and_its_neighbours_are_served() -> None:
    world, layer = scripted_world()
    world.add(id=2)
    layer.listed = (Slot(priority=99), Slot(id=2, status=SlotStatus.FINISHED), Slot(id=2))
    world.scheduler.tick()
    assert world.host.woken == [("dev", "2")]
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.UNREADABLE
    assert "neither real id nor virtual id" in world.scheduler.explain("dev")[0].detail
    with pytest.raises(TransportError, match=r"^calendar: slot has neither real id nor virtual id$"):
        _ = Slot().key


# --- lost updates and refusals --------------------------------------------------------------------------------------


def test_a_lost_ongoing_is_sent_again_with_its_first_start_while_the_slot_is_active() -> None:
    world = World()
    key = world.add()
    world.calendar.fail_next(TransportError("down"), times=2, on="update")
    world.scheduler.tick()
    assert world.scheduler.status().active[0].unsent == "ongoing"
    assert world.scheduler.status().problems["dev"]["update"].count == 1
    world.clock.advance(300)
    world.scheduler.tick()
    world.clock.advance(300)
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing")]
    assert world.calendar.slot(key).started_at == dt.time(9, 0)
    assert world.scheduler.status().active[0].unsent is None
    assert not world.scheduler.status().problems
    assert len(world.host.wakes) == 1


def test_a_lost_ongoing_goes_out_before_the_end_and_never_after_it() -> None:
    world = World()
    world.add()
    world.calendar.fail_next(TransportError("down"), on="update")
    world.scheduler.tick()
    world.scheduler.complete("dev")
    world.scheduler.tick()
    assert world.sent == [("dev", "ongoing"), ("dev", "finished")]


def test_a_lost_ongoing_goes_out_before_a_pause() -> None:
    world = World()
    world.add()
    world.calendar.fail_next(TransportError("down"), on="update")
    world.scheduler.tick()
    world.scheduler.pause("dev")
    assert world.sent == [("dev", "ongoing"), ("dev", "paused")]


def test_what_the_calendar_has_forgotten_is_told_again() -> None:
    world = World()
    key = world.add()
    world.scheduler.tick()
    world.scheduler.pause("dev", "lunch")
    world.calendar.set_slot(key, status=SlotStatus.NOT_STARTED, started_at=None)  # restored from an old backup
    world.scheduler.tick()
    assert world.sent[-2:] == [("dev", "ongoing"), ("dev", "paused")]
    assert world.state(key) is SlotStatus.PAUSED
    assert world.calendar.slot(key).started_at == dt.time(9, 0)
    assert len(world.host.wakes) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 410, 422, 423])
def test_a_final_refusal_of_a_report_settles_the_slot_and_says_so(status: int) -> None:
    world, layer = scripted_world()
    world.add(id=1)
    world.scheduler.tick()
    layer.refusal = CalendarRefusedError(status, "not like this")
    with pytest.raises(UpdateRefusedError, match=f"calendar refused \\({status}\\): not like this") as caught:
        world.scheduler.complete("dev", "all done")
    assert (caught.value.status, caught.value.detail) == (status, "not like this")
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.summary) == ("aborted", "all done")
    assert entry.reason == f"calendar refused ({status}): not like this"
    assert not world.scheduler.status().active


def test_a_slot_settled_by_a_refusal_is_not_started_again_while_the_calendar_lists_it_unchanged() -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    layer.refusal = CalendarRefusedError(422, "no")
    world.scheduler.tick()
    assert not world.scheduler.status().active
    for _ in range(5):
        world.clock.advance(1200)
        world.scheduler.tick()
    assert len(world.host.wakes) == 1
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.SETTLED
    layer.refusal = None
    world.calendar.set_slot(key, priority=7)
    world.scheduler.tick()
    assert len(world.host.wakes) == 2


@pytest.mark.parametrize("status", [401, 403, 405])
def test_any_other_refusal_is_raised_and_leaves_the_slot_active(status: int) -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    layer.refusal = CalendarRefusedError(status, "not you")
    with pytest.raises(CalendarRefusedError) as caught:
        world.scheduler.complete("dev")
    assert not isinstance(caught.value, UpdateRefusedError)
    assert len(world.scheduler.status().active) == 1


@pytest.mark.parametrize("status", [409, 423])
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_conflict_over_a_pause_or_a_resume_only_raises(status: int, verb: str) -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    if verb == "resume":
        world.scheduler.pause("dev")
    before = world.scheduler.status().active[0].state
    layer.refusal = CalendarRefusedError(status, "locked")
    with pytest.raises(CalendarRefusedError, match="locked"):
        getattr(world.scheduler, verb)("dev")
    assert world.scheduler.status().active[0].state == before


def test_a_pause_that_is_refused_for_good_settles_the_slot() -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    layer.refusal = CalendarRefusedError(404, "Slot not found")
    with pytest.raises(UpdateRefusedError):
        world.scheduler.pause("dev")
    assert not world.scheduler.status().active


def test_agent_not_found_speaks_of_the_agent_not_of_the_slot() -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    layer.refusal = CalendarRefusedError(404, "Agent not found")
    with pytest.raises(CalendarRefusedError) as caught:
        world.scheduler.complete("dev")
    assert not isinstance(caught.value, UpdateRefusedError)
    assert len(world.scheduler.status().active) == 1


@pytest.mark.parametrize("verb", ["complete", "abort"])
def test_already_so_is_success_after_an_unknown_outcome(verb: str) -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    world.calendar.lose_next_answer()
    with pytest.raises(TransportTimeoutError):
        getattr(world.scheduler, verb)("dev", "well")
    layer.refusal = CalendarRefusedError(409, "conflict")
    getattr(world.scheduler, verb)("dev", "well")
    [entry] = world.scheduler.status().history
    assert entry.status == ("finished" if verb == "complete" else "aborted")


def test_a_conflict_is_no_success_when_it_names_another_end() -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    world.calendar.fail_next(TransportError("down"), on="update")
    with pytest.raises(TransportError):
        world.scheduler.complete("dev")
    layer.refusal = CalendarRefusedError(409, "slot is already aborted")
    with pytest.raises(UpdateRefusedError):
        world.scheduler.complete("dev")


def test_a_refusal_that_a_retrying_transport_calls_repeated_counts_as_already_so() -> None:
    world, layer = scripted_world()
    world.add()
    world.scheduler.tick()
    layer.refusal = CalendarRefusedError(409, "slot is already finished", repeated=True)
    world.scheduler.complete("dev")
    assert world.scheduler.status().history[-1].status == "finished"


def test_whatever_else_a_transport_raises_becomes_a_transport_error() -> None:
    class Broken(Layer):
        def update_slot(self, agent_id: str, slot: SlotKey, update: SlotUpdate) -> UpdateReceipt:
            if update.status is SlotStatus.FINISHED:
                raise KeyError("oops")
            return super().update_slot(agent_id, slot, update)

    world = World(wrap=Broken)
    world.add()
    world.scheduler.tick()
    with pytest.raises(TransportError, match="oops") as caught:
        world.scheduler.complete("dev")
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(world.scheduler.status().active) == 1


# --- take-up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("listed", "state"), [(SlotStatus.ONGOING, "ongoing"), (SlotStatus.PAUSED, "paused")])
def test_a_slot_that_is_listed_as_under_way_is_taken_up_without_a_wake(listed: SlotStatus, state: str) -> None:
    world, layer = scripted_world()
    key = world.add(id=1, status=listed)
    layer.listed = (Slot(id=1, status=listed, started_at=dt.time(8, 30), date=dt.date(2026, 1, 5)),)
    world.scheduler.tick()
    [active] = world.scheduler.status().active
    assert (active.state, active.taken_up) == (state, True)
    assert active.started_at == dt.datetime(2026, 1, 5, 8, 30, tzinfo=dt.UTC)
    assert not world.host.wakes
    assert not layer.tried
    assert world.scheduler.explain("dev")[0].reason is VerdictReason.TAKEN_UP
    if state == "paused":
        world.scheduler.resume("dev")
    world.scheduler.complete("dev")
    assert world.state(key) is SlotStatus.FINISHED
    assert world.scheduler.status().history[-1].actual_duration == 30


def test_what_is_under_way_is_taken_up_before_anything_is_woken() -> None:
    world, layer = scripted_world()
    layer.listed = (
        Slot(id=1, priority=99),
        Slot(id=2, status=SlotStatus.ONGOING),
        Slot(id=3, status=SlotStatus.PAUSED),
    )
    world.scheduler.tick()
    assert world.scheduler.status().active[0].ident == "2"
    assert not world.host.wakes
    assert [verdict.reason for verdict in world.scheduler.explain("dev")] == ["outranked", "taken_up", "outranked"]


@pytest.mark.parametrize("listed", [SlotStatus.FINISHED, SlotStatus.ABORTED, SlotStatus.SKIPPED])
def test_an_active_slot_that_is_listed_as_over_is_settled_so(listed: SlotStatus) -> None:
    world, layer = scripted_world()
    key = world.add(id=1)
    world.scheduler.tick()
    world.calendar.set_slot(key, status=listed)
    layer.listed = (world.calendar.slot(key),)
    world.scheduler.tick()
    [entry] = world.scheduler.status().history
    assert (entry.status, entry.reason) == (listed, f"the calendar lists it as {listed}")
    assert not world.scheduler.status().active
    assert world.sent == [("dev", "ongoing")]


@pytest.mark.parametrize("jump", [7_200, -7_200])
def test_a_wall_clock_that_is_set_just_before_the_report_changes_no_duration(jump: float) -> None:
    world = World()
    key = world.add()
    world.scheduler.tick()
    world.clock.advance(600)
    world.clock.jump(jump)
    world.scheduler.complete("dev")
    assert world.calendar.slot(key).actual_duration == 10


def test_a_wall_clock_that_is_set_during_a_pause_changes_no_duration() -> None:
    world = World()
    key = world.add()
    world.scheduler.start()
    world.clock.advance(1_800)
    world.scheduler.pause("dev")
    world.clock.advance(61)
    world.clock.jump(3_600)
    world.scheduler.resume("dev")
    world.clock.advance(1_800)
    world.scheduler.complete("dev")
    assert world.calendar.slot(key).actual_duration == 60


def test_the_summary_is_kept_where_the_calendar_refuses_the_start_that_it_was_owed() -> None:
    world = World()
    world.add()
    world.calendar.fail_next(NotSentError("not now"), on="update")
    world.scheduler.tick()
    world.calendar.fail_next(CalendarRefusedError(404, "Slot not found"), on="update")
    with pytest.raises(UpdateRefusedError):
        world.scheduler.complete("dev", "important words")
    [entry] = world.scheduler.status().history
    assert entry.summary == "important words"


def test_attempts_are_counted_on_whether_they_failed_or_were_given_back() -> None:
    world = World()
    world.add()
    world.host.fail_next(RuntimeError("no"), times=2)
    world.scheduler.start()
    world.clock.advance(200)
    agents, world.agents = world.agents, []
    world.clock.advance(300)
    world.agents = agents
    world.host.fail_next(RuntimeError("no"))
    world.clock.advance(200)
    assert [wake.attempt for wake in world.host.wakes] == [1, 2, 3, 4, 5]
