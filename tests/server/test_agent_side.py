from typing import Any

import pytest

from harborcal.calendar import ExhaustReason
from harborcal.model import AgentStatus, SlotStatus, SlotType, SlotUpdate
from harborcal.testing import MONDAY_MORNING
from harborcal.transports.embedded import EmbeddedTransport
from tests.server.world import CALLER, MONDAY, World

STATUS = "/calendar/agent/status"
SPEAKER = {"claw_identifier": "claw", "agent_id": "dev"}


@pytest.fixture
def world() -> World:
    return World()


# --- heartbeats


def test_a_heartbeat_lists_pending_slots_by_priority_as_the_contract_writes_them(world: World) -> None:
    world.add(1, priority=3, event_type="job", event_data={"type": "Task", "code": "T-1"})
    world.add(2, priority=9)
    world.plan("20:00", priority=5)
    answer = world.beat()
    assert (answer.status, answer.body["agent_status"]) == (200, "idle")
    first, virtual, last = answer.body["slots"]
    assert (first["id"], first["virtual_id"], first["priority"]) == (2, None, 9)
    assert (virtual["id"], virtual["virtual_id"], virtual["plan_id"]) == (None, f"plan-1-{MONDAY}", 1)
    assert (last["event_type"], last["event_data"], last["scheduled_at"]) == (
        "job",
        {"type": "Task", "code": "T-1"},
        "10:00:00",
    )


def test_a_heartbeat_ends_an_agents_silence(world: World) -> None:
    world.clock.advance(121)
    assert world.calendar.agent("dev").status is AgentStatus.OFFLINE
    assert world.beat().body["agent_status"] == "idle"


def test_an_agent_that_is_not_registered_is_not_found(world: World) -> None:
    answer = world.beat("nobody")
    assert (answer.status, answer.body) == (404, {"detail": "Agent not found"})


@pytest.mark.parametrize("field", ["claw_identifier", "agent_id"])
def test_the_body_of_a_heartbeat_agrees_with_its_headers(world: World, field: str) -> None:
    answer = world.ask("POST", "/calendar/agent/heartbeat", SPEAKER | {field: "other"})
    assert (answer.status, answer.complaints) == (422, [(f"body.{field}", "value_error")])


@pytest.mark.parametrize("header", list(CALLER))
def test_every_call_of_an_agent_names_agent_and_host(world: World, header: str) -> None:
    headers = {name: value for name, value in CALLER.items() if name != header}
    for method, path in ("POST", "/calendar/agent/heartbeat"), ("GET", STATUS), ("GET", f"/calendar/day?date={MONDAY}"):
        answer = world.ask(method, path, SPEAKER if method == "POST" else None, headers)
        assert (answer.status, answer.complaints) == (422, [(f"header.{header}", "missing")])


def test_hosts_of_later_versions_may_say_more(world: World) -> None:
    assert world.ask("POST", "/calendar/agent/heartbeat", SPEAKER | {"mood": [1, {"a": None}]}).status == 200


def test_an_agent_that_is_bound_to_another_host_is_refused(world: World) -> None:
    world.calendar.bind_agent("dev", "elsewhere")
    key = world.add()
    answers = [
        world.beat(),
        world.update(key, status="ongoing"),
        world.ask("GET", STATUS),
        world.ask("POST", STATUS, SPEAKER | {"status": "busy"}),
        world.ask("GET", f"/calendar/day?date={MONDAY}"),
    ]
    assert {answer.status for answer in answers} == {403}
    assert {answer.body["detail"] for answer in answers} == {"agent dev is bound to another claw identifier"}


# --- updates


def test_an_update_answers_with_the_slot(world: World) -> None:
    key = world.add()
    answer = world.update(key, status="ongoing", started_at="09:00:07")
    assert (answer.status, answer.body["id"], answer.body["status"]) == (200, 1, "ongoing")
    assert (answer.body["started_at"], answer.body["attended"]) == ("09:00:07", True)
    assert world.update(key, status="finished", actual_duration=12).body["actual_duration"] == 12
    assert world.beat().body["slots"] == []


def test_the_same_update_again_changes_nothing(world: World) -> None:
    key = world.add()
    world.update(key, status="finished", actual_duration=5)
    again = world.update(key, status="finished", actual_duration=9)
    assert (again.status, again.body["actual_duration"]) == (200, 5)
    assert world.update(key, status="aborted").status == 409


def test_what_has_no_value_may_be_null(world: World) -> None:
    key = world.add()
    assert world.update(key, status="deferred", started_at=None, actual_duration=None).status == 200


def test_a_virtual_slots_first_update_makes_it_real_once(world: World) -> None:
    world.plan()
    virtual = f"virtual/plan-1-{MONDAY}"
    first = world.update(virtual, status="ongoing", started_at="20:00")
    assert (first.status, first.body["id"], first.body["virtual_id"], first.body["plan_id"]) == (200, 1, None, 1)
    assert world.update(virtual, status="finished", actual_duration=3).body["id"] == 1
    assert len(world.calendar.day("dev", MONDAY)) == 1


def test_an_admins_lock_holds(world: World) -> None:
    key = world.add(is_admin_locked=True)
    answer = world.update(key, status="deferred")
    assert (answer.status, answer.body["detail"]) == (423, "slot is locked by an admin and cannot be deferred")


def test_another_agents_slot_is_not_found(world: World) -> None:
    key = world.add(agent_id="ops")
    assert world.update(key, status="ongoing").body == {"detail": "Slot not found"}


def test_what_the_calendar_refuses_as_invalid_stands_in_a_list_in_its_own_words(world: World) -> None:
    key = world.add()
    world.update(key, status="deferred")
    answer = world.update(key, status="not_started")
    assert answer.status == 422
    assert answer.body["detail"] == [{"loc": [], "msg": "no update makes a slot not_started", "type": "value_error"}]


# --- who holds what


def test_a_slot_that_was_begun_over_http_is_left_alone_by_schedulers_in_process(world: World) -> None:
    key, other = world.add(0), world.add(0.75)
    embedded = EmbeddedTransport(world.calendar, "claw")
    world.update(key, status="ongoing", started_at="09:00:00")
    for _ in range(5):
        world.clock.advance(60)
        world.beat()
        assert [slot.key for slot in embedded.heartbeat("dev").slots] == [other]
        assert embedded.claim("dev", key, MONDAY_MORNING) is None
        assert embedded.claim("dev", other, MONDAY_MORNING) is None


def test_what_a_silent_host_left_behind_is_taken_up_by_schedulers_in_process(world: World) -> None:
    key = world.add(0)
    embedded = EmbeddedTransport(world.calendar, "claw")
    world.update(key, status="ongoing", started_at="09:00:00")
    world.clock.advance(121)
    assert [slot.key for slot in embedded.heartbeat("dev").slots] == [key]
    assert embedded.claim("dev", key, MONDAY_MORNING) is not None


def test_what_a_scheduler_in_process_holds_is_not_taken_away_over_http(world: World) -> None:
    key = world.add(0)
    EmbeddedTransport(world.calendar, "claw").claim("dev", key, MONDAY_MORNING)
    assert world.update(key, status="aborted").status == 409
    assert world.calendar.slot(key).status is SlotStatus.ONGOING


def test_work_under_way_is_not_listed_over_http_whoever_left_it(world: World) -> None:
    key, other = world.add(0), world.add(1)
    EmbeddedTransport(world.calendar, "claw").claim("dev", key, MONDAY_MORNING)
    world.clock.advance(121)
    assert [slot["id"] for slot in world.beat().body["slots"]] == [other.id]


# --- the agent's status


def test_reading_a_status_changes_nothing(world: World) -> None:
    assert world.ask("GET", STATUS).body == {"agent_id": "dev", "status": "idle"}
    assert world.calendar.agent("dev").last_heartbeat_at is None


def test_exhaustion_is_told_with_its_reason_and_end(world: World) -> None:
    body = SPEAKER | {"status": "exhausted", "reason": "billing", "recovery_at": "2026-01-05T13:00:00+02:00"}
    assert world.ask("POST", STATUS, body).body == {"ok": True}
    assert world.ask("GET", STATUS).body == {
        "agent_id": "dev",
        "status": "exhausted",
        "exhaust_reason": "billing",
        "recovery_at": "2026-01-05T11:00:00Z",
    }
    assert world.calendar.agent("dev").exhaust_reason is ExhaustReason.BILLING


def test_exhaustion_without_a_reason_names_none(world: World) -> None:
    world.ask("POST", STATUS, SPEAKER | {"status": "exhausted"})
    assert world.ask("GET", STATUS).body == {
        "agent_id": "dev",
        "status": "exhausted",
        "recovery_at": "2026-01-05T14:00:00Z",
    }


def test_a_status_follows_the_contracts_rules(world: World) -> None:
    assert world.ask("POST", STATUS, SPEAKER | {"status": "busy"}).body == {"ok": True}
    assert world.ask("POST", STATUS, SPEAKER | {"status": "busy"}).body == {"ok": True, "no_change": True}
    refused = world.ask("POST", STATUS, SPEAKER | {"status": "on_call"})
    assert (refused.status, refused.body) == (
        409,
        {"detail": "agent is busy: only an idle agent can become on_call"},
    )


# --- days


def test_a_day_lists_real_and_virtual_slots_by_time_with_what_is_ongoing(world: World) -> None:
    world.add(3, slot_type=SlotType.ON_CALL)
    world.calendar.apply_update("dev", world.add(1), SlotUpdate(status=SlotStatus.ONGOING))
    world.calendar.cancel_slot(world.add(2))
    world.plan("11:30")
    answer = world.ask("GET", f"/calendar/day?date={MONDAY}&x=1")
    assert (answer.status, answer.body["agent_id"], answer.body["date"]) == (200, "dev", str(MONDAY))
    assert [(slot["scheduled_at"], slot["status"]) for slot in answer.body["slots"]] == [
        ("10:00:00", "ongoing"),
        ("11:30:00", "not_started"),
        ("12:00:00", "not_started"),
    ]
    assert answer.body["slots"][1]["virtual_id"] == f"plan-1-{MONDAY}"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?x=1",
        "?date=",
        "?date=2026-1-5",
        "?date=20260105",
        "?date=2026-02-30",
        "?date=2026-01-05T00:00",
        "?date=0000-01-01",
        "?date=%D9%A2%D9%A0%D9%A2%D9%A6-01-05",
        "?date=%FF",
        "?date=2026-01-05%0A",
        "?date=2026-01-05&date=2026-01-06",
    ],
)
def test_a_day_without_one_good_date_is_not_valid(world: World, query: str) -> None:
    answer = world.ask("GET", f"/calendar/day{query}")
    assert (answer.status, [where for where, _ in answer.complaints]) == (422, ["query.date"])


# --- what is new


def test_sync_tells_everything_first_and_then_what_has_changed(world: World) -> None:
    world.add(1)
    whole = world.ask("GET", "/calendar/sync?claw_identifier=claw", headers={})
    assert (whole.status, whole.body["full"], whole.body["more"]) == (200, True, False)
    assert {agent_id: len(slots) for agent_id, slots in whole.body["schedules"].items()} == {"dev": 1, "ops": 0}
    world.add(2, agent_id="ops")
    later = _sync(world, since=whole.body["syncToken"])
    assert (later["full"], list(later["schedules"])) == (False, ["ops"])
    assert _sync(world, since=later["syncToken"])["schedules"] == {}


def test_sync_in_pages_tells_of_everybody(world: World) -> None:
    first = _sync(world, limit=1)
    assert (first["full"], list(first["schedules"]), first["more"]) == (True, ["dev"], True)
    second = _sync(world, limit=1, since=first["syncToken"])
    assert (second["full"], list(second["schedules"]), second["more"]) == (False, ["ops"], False)


@pytest.mark.parametrize("since", ["", "nonsense", "%00", "%F0%9F%98%80" * 50])
def test_a_token_that_is_worth_nothing_gives_everything(world: World, since: str) -> None:
    assert _sync(world, since=since)["full"]


def test_sync_leaves_other_hosts_agents_out(world: World) -> None:
    world.calendar.bind_agent("ops", "elsewhere")
    assert list(_sync(world)["schedules"]) == ["dev"]


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("", "query.claw_identifier"),
        ("?claw_identifier=", "query.claw_identifier"),
        ("?claw_identifier=other", "query.claw_identifier"),
        ("?claw_identifier=claw&limit=0", "query.limit"),
        ("?claw_identifier=claw&limit=501", "query.limit"),
        ("?claw_identifier=claw&limit=+5", "query.limit"),
        ("?claw_identifier=claw&limit=1&limit=2", "query.limit"),
    ],
)
def test_a_sync_that_makes_no_sense_is_not_valid(world: World, query: str, where: str) -> None:
    answer = world.ask("GET", f"/calendar/sync{query}")
    assert (answer.status, [found for found, _ in answer.complaints]) == (422, [where])


def _sync(world: World, **query: Any) -> Any:
    parts = "".join(f"&{name}={value}" for name, value in query.items())
    return world.ask("GET", f"/calendar/sync?claw_identifier=claw{parts}").body
