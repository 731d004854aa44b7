import datetime as dt
from typing import Any

import pytest

from harborcal.calendar import Recurrence
from harborcal.model import SlotKey
from tests.server.world import MONDAY, TUESDAY, Answer, World

SLOTS, PLANS = "/calendar/slots", "/calendar/plans"
AS_OPS = {"X-Agent-ID": "ops"}
ANYBODY: dict[str, str] = {}


@pytest.fixture
def world() -> World:
    return World()


def add_slot(world: World, headers: object = ANYBODY, **fields: Any) -> Answer:
    return world.ask("POST", SLOTS, {"date": str(MONDAY), "scheduled_at": "10:00"} | fields, headers)


# --- new slots


def test_a_new_slot_is_answered_with_itself_and_warnings(world: World) -> None:
    content = {"slot_type": "on_call", "priority": 7, "event_type": "job", "event_data": {"code": "T"}, "user_id": 0}
    answer = add_slot(world, agent_id="dev", estimated_duration=50, **content)
    assert (answer.status, answer.body.pop("warnings")) == (201, [])
    assert answer.body["id"] == 1
    assert {name: answer.body[name] for name in content} == content
    slot = world.calendar.slot(SlotKey.real(1))
    assert (slot.date, slot.scheduled_at, slot.estimated_duration) == (MONDAY, dt.time(10), 50)


def test_a_new_slot_has_the_calendars_defaults(world: World) -> None:
    slot = add_slot(world, agent_id="dev", scheduled_at="10:00:30").body
    assert (slot["estimated_duration"], slot["slot_type"], slot["priority"]) == (30, "work", 0)
    assert (slot["scheduled_at"], slot["event_data"], slot["is_admin_locked"]) == ("10:00:30", None, False)


def test_a_new_slots_agent_stands_in_the_header_or_in_the_body(world: World) -> None:
    assert add_slot(world, AS_OPS).status == 201
    assert add_slot(world, AS_OPS, agent_id="ops", scheduled_at="11:00").status == 201
    assert len(world.calendar.day("ops", MONDAY)) == 2
    assert add_slot(world).complaints == [("body.agent_id", "missing")]
    assert add_slot(world, AS_OPS, agent_id="dev").complaints == [("body.agent_id", "value_error")]
    assert add_slot(world, agent_id="nobody").body == {"detail": "Agent not found"}


@pytest.mark.parametrize("field", ["is_admin_locked", "special_slot_id", "status", "id", "owner"])
def test_users_set_nothing_that_is_not_theirs(world: World, field: str) -> None:
    answer = add_slot(world, agent_id="dev", **{field: 1})
    assert (answer.status, answer.complaints) == (422, [(f"body.{field}", "extra_forbidden")])
    assert world.ask("PATCH", f"{SLOTS}/{world.add()}", {field: 1}).complaints == [(f"body.{field}", "extra_forbidden")]


def test_every_problem_of_a_body_is_told_at_once(world: World) -> None:
    answer = add_slot(world, agent_id="dev", date=None, scheduled_at="25:00", priority=True, mood="good")
    assert sorted(answer.complaints) == [
        ("body.date", "value_error"),
        ("body.mood", "extra_forbidden"),
        ("body.priority", "value_error"),
        ("body.scheduled_at", "value_error"),
    ]


def test_overlaps_and_past_dates_are_refused(world: World) -> None:
    add_slot(world, agent_id="dev")
    overlap = add_slot(world, agent_id="dev", scheduled_at="10:20")
    assert (overlap.status, overlap.body["detail"]) == (
        409,
        "overlaps slot 1 (2026-01-05 10:00 to 2026-01-05 10:30 UTC)",
    )
    past = add_slot(world, agent_id="dev", date="2026-01-04")
    assert (past.status, past.body["detail"]) == (409, "2026-01-04 is over: past dates are immutable")


def test_only_slots_of_the_system_are_longer_than_50_minutes(world: World) -> None:
    assert add_slot(world, agent_id="dev", estimated_duration=51).status == 422
    assert add_slot(world, agent_id="dev", estimated_duration=180, slot_type="system").status == 201
    assert add_slot(world, agent_id="ops", estimated_duration=181, slot_type="system").complaints == [
        ("body.estimated_duration", "value_error")
    ]


# --- changes of slots


def test_a_slot_keeps_what_a_change_does_not_name(world: World) -> None:
    key = world.add(1, priority=3, event_type="job", event_data={"code": "T"})
    moved = world.ask("PATCH", f"{SLOTS}/{key}", {"scheduled_at": "15:00"}).body
    assert (moved["date"], moved["scheduled_at"], moved["priority"]) == (str(MONDAY), "15:00:00", 3)
    moved = world.ask("PATCH", f"{SLOTS}/{key}", {"date": str(TUESDAY), "priority": 4}).body
    assert (moved["date"], moved["scheduled_at"], moved["priority"]) == (str(TUESDAY), "15:00:00", 4)
    cleared = world.ask("PATCH", f"{SLOTS}/{key}", {"event_type": None, "event_data": None}).body
    assert (cleared["event_type"], cleared["event_data"], cleared["scheduled_at"]) == (None, None, "15:00:00")


def test_a_change_of_nothing_is_not_valid(world: World) -> None:
    world.plan()
    answer = world.ask("PATCH", f"{SLOTS}/virtual/plan-1-{MONDAY}", {})
    assert (answer.status, answer.complaints) == (422, [("body", "missing")])
    assert world.calendar.day("dev", MONDAY)[0].id is None


def test_a_virtual_slot_that_is_changed_becomes_real(world: World) -> None:
    world.plan()
    answer = world.ask("PATCH", f"{SLOTS}/virtual/plan-1-{MONDAY}", {"scheduled_at": "21:00"}, ANYBODY)
    assert (answer.status, answer.body["id"], answer.body["scheduled_at"]) == (200, 1, "21:00:00")


def test_a_slot_is_cancelled_by_skipping_or_aborting_it(world: World) -> None:
    pending, begun = world.add(1), world.add(2)
    world.update(begun, status="ongoing")
    assert world.ask("POST", f"{SLOTS}/{pending}/cancel", headers=ANYBODY).body["status"] == "skipped"
    assert world.ask("POST", f"{SLOTS}/{begun}/cancel").body["status"] == "aborted"
    assert world.ask("POST", f"{SLOTS}/{begun}/cancel").status == 200
    world.plan()
    virtual = world.ask("POST", f"{SLOTS}/virtual/plan-1-{MONDAY}/cancel")
    assert (virtual.status, virtual.body["status"], virtual.body["id"]) == (200, "skipped", 3)


def test_a_cancellation_needs_no_body_and_looks_at_none(world: World) -> None:
    assert world.ask("POST", f"{SLOTS}/{world.add(1)}/cancel", b"{]", content_type="text/plain").status == 200


def test_whoever_names_an_agent_reaches_only_its_slots(world: World) -> None:
    key = world.add()
    world.plan()
    for path in f"{SLOTS}/{key}", f"{SLOTS}/virtual/plan-1-{MONDAY}":
        for answer in (
            world.ask("PATCH", path, {"priority": 1}, AS_OPS),
            world.ask("PATCH", path, {"scheduled_at": "22:00"}, AS_OPS),
            world.ask("POST", f"{path}/cancel", None, AS_OPS),
        ):
            assert (answer.status, answer.body) == (404, {"detail": "Slot not found"})


def test_a_locked_slot_is_not_changed(world: World) -> None:
    key = world.add(is_admin_locked=True)
    assert world.ask("PATCH", f"{SLOTS}/{key}", {"priority": 1}).status == 423
    assert world.ask("POST", f"{SLOTS}/{key}/cancel").status == 423


@pytest.mark.parametrize("slot", ["x", "-1", "1.0", "9223372036854775808", "٣", "01", "9" * 400, "virtual"])
def test_what_names_no_real_slot_is_not_valid(world: World, slot: str) -> None:
    answer = world.ask("POST", f"{SLOTS}/{slot}/cancel")
    assert (answer.status, answer.complaints) == (422, [("path.slot_id", "value_error")])


@pytest.mark.parametrize(
    "slot", ["0", "9223372036854775807", "virtual/plan-1-2026-02-30", "virtual/plan-9-2026-01-05", "virtual/x"]
)
def test_a_slot_that_there_is_not_is_not_found(world: World, slot: str) -> None:
    assert world.ask("POST", f"{SLOTS}/{slot}/cancel").body == {"detail": "Slot not found"}


# --- plans


def test_a_plan_in_the_contracts_words_recurs_from_today_on(world: World) -> None:
    answer = world.ask("POST", PLANS, {"agent_id": "dev", "at_time": "10:00", "on_day": "tue"}, ANYBODY)
    assert answer.status == 201
    assert answer.body == {
        "id": 1,
        "agent_id": "dev",
        "at_time": "10:00",
        "on_day": "tue",
        "on_week": None,
        "on_month": None,
        "recurrence": {
            "start": "2026-01-05T10:00:00",
            "zone": "UTC",
            "rule": "FREQ=WEEKLY;BYDAY=TU",
            "until": None,
            "dates": [],
            "exceptions": [],
        },
        "estimated_duration": 30,
        "slot_type": "work",
        "priority": 0,
        "event_type": None,
        "event_data": None,
        "user_id": None,
        "is_active": True,
        "created_at": "2026-01-05T09:00:00Z",
        "updated_at": "2026-01-05T09:00:00Z",
        "warnings": [],
    }
    assert [slot.virtual_id for slot in world.calendar.day("dev", TUESDAY)] == [f"plan-1-{TUESDAY}"]


def test_a_plan_may_recur_by_rfc_5545(world: World) -> None:
    recurrence = {
        "start": "2026-01-05T08:00:00",
        "zone": "Europe/Berlin",
        "rule": "FREQ=DAILY",
        "until": "2026-12-31T23:59:59",
        "dates": ["2027-01-01T08:00:00"],
        "exceptions": ["2026-01-06T08:00:00"],
    }
    answer = world.ask("POST", PLANS, {"recurrence": recurrence}, AS_OPS)
    assert (answer.status, answer.body["recurrence"], answer.body["at_time"]) == (201, recurrence, None)
    assert world.calendar.plan(1).recurrence == Recurrence.from_dict(recurrence)


def test_a_new_plan_is_told_what_it_overlaps(world: World) -> None:
    world.add(1)
    answer = world.ask("POST", PLANS, {"at_time": "10:15"})
    assert answer.status == 201
    assert answer.body["warnings"] == ["plan-1-2026-01-05 overlaps slot 1 (2026-01-05 10:00 to 2026-01-05 10:30 UTC)"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body.at_time"),
        ({"on_day": "mon"}, "body.at_time"),
        ({"at_time": None}, "body.at_time"),
        ({"at_time": "10:00", "recurrence": {"start": "2026-01-05T08:00:00"}}, "body.recurrence"),
        ({"at_time": "10:00", "on_day": "Mon "}, "body.on_day"),
        ({"at_time": "10:00", "on_week": 2}, ""),
        ({"at_time": "10:00", "on_week": 5, "on_day": "mon"}, "body.on_week"),
        ({"recurrence": {"start": "2026-01-05T08:00:00+01:00"}}, "body.recurrence.start"),
        ({"recurrence": {"start": "2026-02-30T08:00:00"}}, "body.recurrence.start"),
        ({"recurrence": {"start": "1969-01-05T08:00:00"}}, "body.recurrence"),
        ({"recurrence": {"start": "2026-01-05T08:00:00", "zone": "../../etc/passwd"}}, "body.recurrence"),
        ({"recurrence": {"start": "2026-01-05T08:00:00", "rule": "FREQ=DAILY;COUNT=3"}}, "body.recurrence"),
        ({"recurrence": {"start": "2026-01-05T08:00:00", "dates": ["x"]}}, "body.recurrence.dates.0"),
        ({"recurrence": {"start": "2026-01-05T08:00:00", "start_at": 1}}, "body.recurrence.start_at"),
        ({"recurrence": {}}, "body.recurrence.start"),
        ({"at_time": "10:00", "estimated_duration": 51}, "body.estimated_duration"),
        ({"at_time": "10:00", "agent_id": "ops"}, "body.agent_id"),
    ],
)
def test_a_plan_that_makes_no_sense_is_not_valid(world: World, body: object, where: str) -> None:
    answer = world.ask("POST", PLANS, body)
    assert (answer.status, [found for found, _ in answer.complaints]) == (422, [where])
    assert world.calendar.plans("dev") == ()


def test_a_plan_keeps_what_a_change_does_not_name(world: World) -> None:
    world.ask("POST", PLANS, {"at_time": "10:00", "on_day": "tue", "on_week": 1, "priority": 5})
    changed = world.ask("PATCH", f"{PLANS}/1", {"at_time": "11:00:30", "estimated_duration": 10}).body
    assert (changed["at_time"], changed["on_day"], changed["on_week"]) == ("11:00:30", "tue", 1)
    assert (changed["priority"], changed["estimated_duration"]) == (5, 10)
    daily = world.ask("PATCH", f"{PLANS}/1", {"on_week": None, "on_day": None}).body
    assert (daily["at_time"], daily["recurrence"]["rule"]) == ("11:00:30", "FREQ=DAILY")


def test_a_plans_change_of_nothing_is_not_valid(world: World) -> None:
    world.plan()
    answer = world.ask("PATCH", f"{PLANS}/1", {})
    assert (answer.status, answer.complaints) == (422, [("body", "missing")])


def test_a_plan_by_rfc_5545_takes_the_contracts_words_once_it_has_a_time(world: World) -> None:
    world.ask("POST", PLANS, {"recurrence": {"start": "2026-01-05T08:00:00", "zone": "Europe/Berlin"}})
    assert world.ask("PATCH", f"{PLANS}/1", {"on_day": "mon"}).complaints == [("body.at_time", "missing")]
    assert world.ask("PATCH", f"{PLANS}/1", {"on_day": "mon", "at_time": "08:00"}).body["on_day"] == "mon"
    both = world.ask("PATCH", f"{PLANS}/1", {"at_time": "08:00", "recurrence": {"start": "2026-01-05T08:00:00"}})
    assert both.complaints == [("body.recurrence", "value_error")]


def test_a_cancelled_plan_is_told_as_such_and_not_changed(world: World) -> None:
    world.plan()
    assert world.ask("POST", f"{PLANS}/1/cancel").body["is_active"] is False
    assert world.ask("POST", f"{PLANS}/1/cancel").status == 200
    assert world.ask("GET", f"{PLANS}/1").body["is_active"] is False
    assert world.ask("PATCH", f"{PLANS}/1", {"priority": 1}).body == {"detail": "plan is cancelled"}
    assert world.calendar.day("dev", TUESDAY) == ()


def test_plans_are_listed_by_pages(world: World) -> None:
    for hour in range(10, 15):
        world.plan(f"{hour}:00")
    world.plan(agent_id="ops")
    first = world.ask("GET", f"{PLANS}?limit=2").body
    assert ([plan["id"] for plan in first["plans"]], first["more"]) == ([1, 2], True)
    last = world.ask("GET", f"{PLANS}?limit=3&after=2").body
    assert ([plan["id"] for plan in last["plans"]], last["more"]) == ([3, 4, 5], False)
    assert world.ask("GET", f"{PLANS}?agent_id=ops", headers=ANYBODY).body["plans"][0]["id"] == 6


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("?limit=0", "query.limit"),
        ("?limit=501", "query.limit"),
        ("?limit=1e2", "query.limit"),
        ("?after=-1", "query.after"),
        ("?after=", "query.after"),
        ("?after=1&after=1", "query.after"),
        ("?agent_id=ops", "query.agent_id"),
    ],
)
def test_a_page_that_makes_no_sense_is_not_valid(world: World, query: str, where: str) -> None:
    answer = world.ask("GET", f"{PLANS}{query}")
    assert (answer.status, [found for found, _ in answer.complaints]) == (422, [where])


def test_whose_plans_to_list_must_be_said(world: World) -> None:
    assert world.ask("GET", PLANS, headers=ANYBODY).complaints == [("query.agent_id", "missing")]
    assert world.ask("GET", f"{PLANS}?agent_id=nobody", headers=ANYBODY).status == 404


def test_whoever_names_an_agent_reaches_only_its_plans(world: World) -> None:
    world.plan()
    answers = [
        world.ask("GET", f"{PLANS}/1", None, AS_OPS),
        world.ask("PATCH", f"{PLANS}/1", {"priority": 1}, AS_OPS),
        world.ask("POST", f"{PLANS}/1/cancel", None, AS_OPS),
        world.ask("GET", f"{PLANS}/2"),
    ]
    assert {(answer.status, answer.body["detail"]) for answer in answers} == {(404, "Plan not found")}
    assert world.ask("GET", f"{PLANS}/1", headers=ANYBODY).body["id"] == 1


def test_what_is_set_is_what_the_agents_scheduler_gets(world: World) -> None:
    data = {"code": "T-1", "nested": [{"a": [1, 2.5, None, True, "ü\u0000"]}]}
    add_slot(world, agent_id="dev", event_type="job", event_data=data)
    assert world.beat().body["slots"][0]["event_data"] == data
