import contextlib
import copy
import dataclasses
import datetime as dt
import enum
import json
import pickle
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborcal import wire
from harborcal.codecs import freeze, thaw
from harborcal.errors import ConfigurationError, MalformedAnswerError
from harborcal.model import (
    MAX_REAL_ID,
    AgentStatus,
    EventType,
    Heartbeat,
    Slot,
    SlotKey,
    SlotKind,
    SlotStatus,
    SlotType,
    SlotUpdate,
    UnreadableSlot,
    UpdateReceipt,
)

GOLDEN = Path(__file__).parent / "golden"
DAY = dt.date(2026, 1, 5)
STATUSES = "status is one of not_started deferred ongoing paused skipped finished aborted"


slot_fields = list(Slot.__dataclass_fields__)


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def answer_of(*slots: object, **more: object) -> bytes:
    return json.dumps({"slots": slots, **more}).encode()


def slot_with(**fields: object) -> dict[str, object]:
    return {"id": 7, "status": "not_started", **fields}


def read_one(**fields: object) -> Slot:
    """Decode a heartbeat of one slot with these fields, which must be readable."""
    answer = wire.decode_heartbeat(answer_of(slot_with(**fields)))
    assert answer.unreadable == ()
    (slot,) = answer.slots
    return slot


def reason_of(slot: object) -> str:
    """Decode a heartbeat of this one slot, which must be unreadable, and tell why it is."""
    answer = wire.decode_heartbeat(answer_of(slot))
    assert answer.slots == ()
    (unreadable,) = answer.unreadable
    return unreadable.reason


# --- requests


def test_a_heartbeat_is_written_as_its_golden_file() -> None:
    assert wire.encode_heartbeat("claw-1", "dev") == golden("heartbeat_request")


@pytest.mark.parametrize(
    ("name", "update"),
    [
        ("ongoing", SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 5, 7))),
        ("resumed", SlotUpdate(status=SlotStatus.ONGOING)),
        ("paused", SlotUpdate(status=SlotStatus.PAUSED)),
        ("finished", SlotUpdate(status=SlotStatus.FINISHED, actual_duration=17)),
        ("aborted", SlotUpdate(status=SlotStatus.ABORTED)),
        ("deferred", SlotUpdate(status=SlotStatus.DEFERRED)),
        ("skipped", SlotUpdate(status=SlotStatus.SKIPPED)),
    ],
)
def test_each_kind_of_update_is_written_as_its_golden_file(name: str, update: SlotUpdate) -> None:
    assert wire.encode_update(update) == golden(f"update_{name}_request")


def test_a_start_is_written_to_the_second_without_fractions_and_zone() -> None:
    update = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(0, 0, 1, 999_999, tzinfo=dt.UTC))
    assert json.loads(wire.encode_update(update))["started_at"] == "00:00:01"


@pytest.mark.parametrize("minutes", [1, 65_535])
def test_the_ends_of_the_range_of_a_duration_are_written(minutes: int) -> None:
    update = SlotUpdate(status=SlotStatus.FINISHED, actual_duration=minutes)
    assert json.loads(wire.encode_update(update))["actual_duration"] == minutes


@pytest.mark.parametrize("minutes", [0, -1, 65_536, True, 1.5, "7", pytest.param(10**5_000, id="huge")])
def test_a_duration_out_of_range_or_of_another_type_is_never_sent(minutes: Any) -> None:
    with pytest.raises(ConfigurationError, match="actual_duration"):
        wire.encode_update(SlotUpdate(status=SlotStatus.FINISHED, actual_duration=minutes))


def test_a_status_or_start_of_another_type_is_never_sent() -> None:
    with pytest.raises(ConfigurationError, match="SlotStatus"):
        wire.encode_update(SlotUpdate(status="finished"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="time of day"):
        wire.encode_update(SlotUpdate(status=SlotStatus.ONGOING, started_at="09:00:00"))  # type: ignore[arg-type]


def test_ids_that_could_break_a_header_or_path_are_never_sent() -> None:
    with pytest.raises(ConfigurationError, match="agent id"):
        wire.encode_heartbeat("claw", "dev\r\nX-Evil: 1")
    with pytest.raises(ConfigurationError, match="claw identifier"):
        wire.encode_heartbeat("..", "dev")
    with pytest.raises(ConfigurationError, match="virtual slot id"):
        wire.update_path(SlotKey.virtual("../../admin"))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (SlotKey.real(0), "/calendar/slots/0/agent-update"),
        (SlotKey.real(MAX_REAL_ID), f"/calendar/slots/{MAX_REAL_ID}/agent-update"),
        (SlotKey.virtual("plan-3-2026-01-05"), "/calendar/slots/virtual/plan-3-2026-01-05/agent-update"),
        (SlotKey.virtual("7"), "/calendar/slots/virtual/7/agent-update"),
    ],
)
def test_each_kind_of_slot_has_its_path(key: SlotKey, path: str) -> None:
    assert wire.update_path(key) == path


@pytest.mark.parametrize("slot_id", [-1, MAX_REAL_ID + 1, True, "7", "7/../8"])
def test_a_real_key_that_was_made_by_hand_is_checked_before_it_reaches_a_path(slot_id: Any) -> None:
    with pytest.raises(ConfigurationError, match="real slot id"):
        wire.update_path(SlotKey(SlotKind.REAL, slot_id))


@pytest.mark.parametrize(("date", "query"), [(DAY, "date=2026-01-05"), (dt.date(33, 4, 3), "date=0033-04-03")])
def test_a_day_is_asked_for_by_its_date(date: dt.date, query: str) -> None:
    assert wire.day_query(date) == query


@pytest.mark.parametrize("date", [dt.datetime(2026, 1, 5, tzinfo=dt.UTC), "2026-01-05", None, 20260105])
def test_what_is_no_date_is_never_asked_for(date: Any) -> None:
    with pytest.raises(ConfigurationError, match="a day is a date"):
        wire.day_query(date)


# --- the heartbeat's answer, as a whole


def test_a_full_answer_is_read_field_by_field() -> None:
    assert wire.decode_heartbeat(golden("heartbeat_answer")) == Heartbeat(
        slots=(
            Slot(
                id=7,
                user_id=3,
                date=DAY,
                slot_type=SlotType.WORK,
                estimated_duration=30,
                scheduled_at=dt.time(9),
                event_type=EventType.JOB,
                event_data=freeze({"type": "Task", "code": "TASK-42", "working_sessions": ["s1", {"n": 2}]}),
                priority=50,
                status=SlotStatus.NOT_STARTED,
                created_at=dt.datetime(2026, 1, 4, 8, 0, 0, 123456, tzinfo=dt.UTC),
                updated_at=dt.datetime(2026, 1, 4, 8, tzinfo=dt.UTC),
            ),
            Slot(
                virtual_id="plan-3-2026-01-05",
                user_id=3,
                date=DAY,
                slot_type=SlotType.ON_CALL,
                estimated_duration=50,
                scheduled_at=dt.time(10, 30),
                event_type=EventType.SYSTEM_EVENT,
                event_data=freeze({"event": "ScheduleToday"}),
                status=SlotStatus.DEFERRED,
                plan_id=3,
                is_admin_locked=True,
                special_slot_id=9,
            ),
        ),
        agent_status=AgentStatus.IDLE,
        message="good morning",
    )


def test_a_settled_slot_with_id_0_is_read() -> None:
    (slot,) = wire.decode_heartbeat(golden("heartbeat_answer_settled")).slots
    assert (slot.key, slot.status, slot.started_at) == (SlotKey.real(0), SlotStatus.FINISHED, dt.time(8, 15))
    assert (slot.actual_duration, slot.attended, slot.event_data, slot.priority) == (12, True, None, 99)


def test_an_answer_without_slots_is_read() -> None:
    assert wire.decode_heartbeat(golden("heartbeat_answer_empty")) == Heartbeat(agent_status=AgentStatus.OFFLINE)


def test_an_id_and_a_status_are_enough_for_a_slot() -> None:
    assert wire.decode_heartbeat(golden("heartbeat_answer_minimal")) == Heartbeat(
        slots=(Slot(id=0), Slot(virtual_id="plan-1-2026-01-05", status=SlotStatus.PAUSED))
    )


def test_odd_slots_are_named_and_their_neighbours_are_served() -> None:
    answer = wire.decode_heartbeat(golden("heartbeat_answer_odd"))
    assert [slot.key for slot in answer.slots] == [SlotKey.real(7), SlotKey.real(8), SlotKey.virtual("7")]
    assert answer.unreadable == (
        UnreadableSlot(ident="1", reason=f"{STATUSES}, not 'NotStarted'"),
        UnreadableSlot(ident="#1", reason=f"id is a whole number in 0..{MAX_REAL_ID}, not '2'"),
        UnreadableSlot(ident="#2", reason="calendar: slot has neither real id nor virtual id"),
        UnreadableSlot(ident="4", reason="priority is a whole number in 0..99, not True"),
        UnreadableSlot(ident="#4", reason="a slot is an object, not a string"),
        UnreadableSlot(ident="8", reason="listed twice"),
        UnreadableSlot(ident="9", reason="listed twice with different content"),
        UnreadableSlot(ident="9", reason="listed twice with different content"),
    )
    assert (answer.agent_status, answer.message) == (None, "")


@pytest.mark.parametrize("status", ["Idle", None, 7, ["idle"], {}])
def test_an_agent_status_that_is_not_known_is_none(status: object) -> None:
    assert wire.decode_heartbeat(answer_of(agent_status=status)).agent_status is None


def test_a_message_that_is_no_text_is_empty() -> None:
    assert wire.decode_heartbeat(answer_of(message=["hello"])).message == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>please sign in</html>", "no JSON"),
        (b"\xef\xbb\xbf" + b'{"slots": []}', "no JSON"),
        ('{"slots": []}'.encode("utf-16"), "not UTF-8"),
        (b'{"slots": [], "message": "\xff"}', "not UTF-8"),
        (b'{"slots": [], "message": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"slots": [], "x": NaN}', "NaN is no JSON number"),
        (b'{"slots": [], "x": -Infinity}', "-Infinity is no JSON number"),
        (b'{"slots": [], "x": 1e999}', "too large"),
        (b'{"slots": [], "x": ' + b"9" * 5_000 + b"}", "no JSON"),
        (b'{"slots": [], "slots": []}', "a key twice"),
        (b'{"slots": [{"id": 7, "id": 8, "status": "not_started"}]}', "a key twice"),
        (b"[" * 200_000, "nests too deep"),
        (b'{"slots": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nests too deep"),
        (b"[]", "an object, not a list"),
        (b"null", "an object, not null"),
        (b"7", "an object, not a number"),
        (b'"slots"', "an object, not a string"),
        (b"true", "an object, not true or false"),
        (b"{}", "a list, not missing"),
        (b'{"slots": null}', "a list, not null"),
        (b'{"slots": 3}', "a list, not a number"),
        (b'{"slots": {}}', "a list, not an object"),
        (b'{"slots": []} trailing', "no JSON"),
    ],
)
def test_what_is_no_answer_of_this_contract_is_malformed(body: bytes, words: str) -> None:
    with pytest.raises(MalformedAnswerError, match=words):
        wire.decode_heartbeat(body)


def test_finite_floats_in_unknown_keys_do_no_harm() -> None:
    assert wire.decode_heartbeat(b'{"slots": [], "load": 1.5e3}') == Heartbeat()


# --- one slot


def test_the_real_id_counts_where_both_are_set() -> None:
    slot = read_one(virtual_id="plan-3-2026-01-05")
    assert (slot.key, slot.virtual_id) == (SlotKey.real(7), "plan-3-2026-01-05")


@pytest.mark.parametrize("slot_id", [0, 1, MAX_REAL_ID])
def test_every_real_id_in_range_is_read(slot_id: int) -> None:
    assert read_one(id=slot_id).key == SlotKey.real(slot_id)


@pytest.mark.parametrize("slot_id", [-1, MAX_REAL_ID + 1, True, "7", 7.0, [], {}])
def test_a_real_id_out_of_range_or_of_another_type_makes_a_slot_unreadable(slot_id: object) -> None:
    assert reason_of(slot_with(id=slot_id)).startswith("id is a whole number")


@pytest.mark.parametrize("virtual_id", ["", "..", "a/b", "a b", "x" * 129, "plan-٣", 7, True, []])
def test_a_virtual_id_outside_the_grammar_makes_a_slot_unreadable(virtual_id: object) -> None:
    assert reason_of({"virtual_id": virtual_id, "status": "not_started"}).startswith(
        "virtual_id is a letter or digit followed by "
    )


@pytest.mark.parametrize(("sent", "read"), [(0, 0), (99, 99), (None, 0)])
def test_a_priority_is_0_to_99_and_0_where_there_is_none(sent: object, read: int) -> None:
    assert read_one(priority=sent).priority == read
    assert read_one().priority == 0


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("priority", [-1, 100, True, "5", 5.0, 10**4_000]),
        ("estimated_duration", [0, -1, 1_441, False, "30"]),
        ("actual_duration", [-1, 65_536, True, "30"]),
        ("plan_id", [-1, "3", True]),
        ("special_slot_id", ["9", 1.5]),
        ("user_id", ["3", {}]),
    ],
)
def test_numbers_out_of_range_or_of_another_type_make_a_slot_unreadable(field: str, bad: list[object]) -> None:
    for value in bad:
        assert reason_of(slot_with(**{field: value})).startswith(f"{field} is a whole number in")


@pytest.mark.parametrize("field", ["status", "slot_type", "event_type"])
@pytest.mark.parametrize("value", ["Ongoing", "", 7, ["work"], {"a": 1}, True])
def test_an_unknown_enum_makes_a_slot_unreadable_and_is_named(field: str, value: object) -> None:
    reason = reason_of(slot_with(**{field: value}))
    assert reason.startswith(f"{field} is one of ")
    if isinstance(value, str):
        assert reason.endswith(f", not {value!r}")


def test_foreign_words_in_a_reason_are_cleaned_and_short() -> None:
    assert reason_of(slot_with(status="a\u202e\nb")) == f"{STATUSES}, not 'a b'"
    assert len(reason_of(slot_with(status="x" * 10_000))) < 150


@pytest.mark.parametrize("fields", [{}, {"status": None}])
def test_a_slot_without_a_status_is_unreadable(fields: dict[str, object]) -> None:
    assert reason_of({"id": 7, **fields}) == f"{STATUSES}, not null"


@pytest.mark.parametrize("field", ["slot_type", "event_type", "event_data", "date", "scheduled_at", "started_at"])
def test_a_field_that_is_null_or_missing_is_none(field: str) -> None:
    assert getattr(read_one(**{field: None}), field) is None
    assert getattr(read_one(), field) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("00:00", dt.time(0)),
        ("09:05", dt.time(9, 5)),
        ("23:59:59", dt.time(23, 59, 59)),
        ("19:00:07", dt.time(19, 0, 7)),
    ],
)
@pytest.mark.parametrize("field", ["scheduled_at", "started_at"])
def test_times_of_day_are_read_with_and_without_seconds(field: str, text: str, time: dt.time) -> None:
    assert getattr(read_one(**{field: text}), field) == time


@pytest.mark.parametrize("field", ["scheduled_at", "started_at"])
@pytest.mark.parametrize(
    "value",
    [
        *(
            "9:00",
            "24:00",
            "23:60",
            "09:00:60",
            "0900",
            "09",
            "T09:00",
            "09:00Z",
            "09:00+01:00",
            "09:00:00.5",
            "09:00\n",
        ),
        *("", "٠٩:٠٠", 9, True, ["09:00"], {}),
    ],
)
def test_other_times_make_a_slot_unreadable(field: str, value: object) -> None:
    assert reason_of(slot_with(**{field: value})).startswith(f"{field} is HH:MM or HH:MM:SS, not ")


@pytest.mark.parametrize(
    "value",
    ["2026-1-5", "20260105", "2026-W01-1", "2026-02-30", "0000-01-01", "2026-01-05T00:00", "٢٠٢٦-01-05", 20260105, []],
)
def test_other_dates_make_a_slot_unreadable(value: object) -> None:
    assert reason_of(slot_with(date=value)).startswith("date is YYYY-MM-DD, not ")


def test_a_leap_day_is_a_date() -> None:
    assert read_one(date="2028-02-29").date == dt.date(2028, 2, 29)


@pytest.mark.parametrize("field", ["attended", "is_admin_locked"])
def test_flags_are_true_or_false_and_false_where_null(field: str) -> None:
    assert getattr(read_one(**{field: True}), field) is True
    assert getattr(read_one(**{field: False}), field) is False
    assert getattr(read_one(**{field: None}), field) is False
    odd: tuple[object, ...] = (0, 1, "true", [])
    for value in odd:
        assert reason_of(slot_with(**{field: value})).startswith(f"{field} is true or false, not ")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-04T08:00:00", dt.datetime(2026, 1, 4, 8, tzinfo=dt.UTC)),
        ("2026-01-04T08:00:00Z", dt.datetime(2026, 1, 4, 8, tzinfo=dt.UTC)),
        ("2026-01-04 08:00:00.5-02:00", dt.datetime(2026, 1, 4, 10, 0, 0, 500_000, tzinfo=dt.UTC)),
        ("0001-01-01T00:00:00+05:00", None),
        ("yesterday", None),
        ("2026-01-04T08:00:00" + "0" * 100, None),
        (1_767_513_600, None),
        (None, None),
        ([], None),
    ],
)
def test_advisory_instants_are_read_as_utc_or_left_out(text: object, instant: dt.datetime | None) -> None:
    slot = read_one(created_at=text, updated_at=text)
    assert (slot.created_at, slot.updated_at) == (instant, instant)


def test_of_several_fields_that_cannot_be_read_the_first_is_named() -> None:
    bad: dict[str, object] = dict.fromkeys(wire.encode_slot(Slot(id=7)), -1)
    in_order = [name for name in slot_fields if name not in {"created_at", "updated_at"}]
    for name in in_order:
        assert reason_of(bad).startswith(f"{name} is ")
        del bad[name]
        bad |= {"id": 7} if name == "id" else {"status": "ongoing"} if name == "status" else {}
    assert wire.decode_heartbeat(answer_of(bad)).slots == (Slot(id=7, status=SlotStatus.ONGOING),)


def test_a_slot_that_was_read_is_a_slot_like_any_other() -> None:
    (slot,) = wire.decode_heartbeat(golden("heartbeat_answer_settled")).slots
    made = Slot(**{name: getattr(slot, name) for name in slot_fields})
    assert type(slot) is Slot
    assert (slot, hash(slot), repr(slot), slot.to_json()) == (made, hash(made), repr(made), made.to_json())
    assert pickle.loads(pickle.dumps(slot)) == copy.copy(slot) == copy.deepcopy(slot) == slot
    assert dataclasses.replace(slot, priority=3) == dataclasses.replace(made, priority=3)


def test_nothing_of_a_slot_that_was_read_can_be_changed() -> None:
    slot = read_one()
    for name in slot_fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(slot, name, 8)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(slot, name)
    assert slot == read_one()


def test_keys_that_are_not_known_are_ignored() -> None:
    assert read_one(colour="red", nested={"id": 8}) == read_one()


# --- event data


def test_event_data_is_frozen_through_and_through() -> None:
    data = read_one(event_data={"a": {"b": [1, {"c": "d"}]}, "e": "f"}).event_data
    assert data is not None
    assert thaw(data) == {"a": {"b": [1, {"c": "d"}]}, "e": "f"}
    with pytest.raises(TypeError):
        data["a"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        data["a"]["b"][1]["c"] = 1


@pytest.mark.parametrize("value", [[], "text", 7, True])
def test_event_data_that_is_no_object_makes_a_slot_unreadable(value: object) -> None:
    assert reason_of(slot_with(event_data=value)).startswith("event_data is an object, not ")


@pytest.mark.parametrize(
    "data",
    [
        {"text": "x" * 17_000},
        {"text": "ü" * 8_500},
        {"x" * 17_000: 1},
        {"list": ["x" * 10] * 1_700},
        {"numbers": [10**4_000] * 15},
        {"constants": [None] * 5_000},
        {str(number): True for number in range(2_000)},
        {"inner": {"ü" * 8_500: 1.5}},
    ],
    ids=lambda data: str(next(iter(data)))[:10],
)
def test_event_data_over_16_kib_makes_a_slot_unreadable(data: object) -> None:
    assert reason_of(slot_with(event_data=data)) == "event_data is larger than 16384 bytes"


def test_event_data_just_below_16_kib_is_read() -> None:
    data = {"text": "x" * 16_000, "flag": True, "number": 1.5}
    assert thaw(read_one(event_data=data).event_data) == data


def nested(depth: int, wrap: Any) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: {"k": value}, lambda value: [value]], ids=["objects", "lists"])
def test_event_data_nests_16_deep_and_no_deeper(wrap: Any) -> None:
    assert read_one(event_data={"k": nested(15, wrap)}).event_data is not None
    assert reason_of(slot_with(event_data={"k": nested(16, wrap)})) == "event_data nests deeper than 16"


@pytest.mark.parametrize("data", [{"k": "\ud800"}, {"\ud800": 1}, {"k": ["\udfff"]}, {"k": {"\udc00": 1}}])
def test_half_a_character_in_event_data_makes_a_slot_unreadable(data: object) -> None:
    assert "lone surrogate" in reason_of(slot_with(event_data=data))


# --- the same slot twice


def test_of_identical_twins_the_first_is_served() -> None:
    answer = wire.decode_heartbeat(answer_of(slot_with(), slot_with(id=8), slot_with()))
    assert [slot.id for slot in answer.slots] == [7, 8]
    assert answer.unreadable == (UnreadableSlot(ident="7", reason="listed twice"),)


def test_twins_that_differ_are_all_dropped() -> None:
    answer = wire.decode_heartbeat(answer_of(slot_with(), slot_with(priority=1), slot_with(id=8), slot_with()))
    assert [slot.id for slot in answer.slots] == [8]
    assert [slot.ident for slot in answer.unreadable] == ["7", "7", "7"]
    assert "listed twice with different content" in {slot.reason for slot in answer.unreadable}


@pytest.mark.parametrize("is_bad_first", [True, False])
def test_a_slot_with_an_unreadable_twin_is_dropped_too(is_bad_first: bool) -> None:
    twins = [slot_with(status="bogus"), slot_with()]
    answer = wire.decode_heartbeat(answer_of(*(twins if is_bad_first else reversed(twins))))
    assert answer.slots == ()
    assert [slot.ident for slot in answer.unreadable] == ["7", "7"]


def test_virtual_twins_are_twins_too() -> None:
    twin = {"virtual_id": "plan-1-2026-01-05", "status": "not_started"}
    bad = {"virtual_id": "plan-2-2026-01-05", "status": "bogus"}
    answer = wire.decode_heartbeat(answer_of(twin, {**twin, "priority": 3}, bad))
    assert answer.slots == ()
    assert [slot.ident for slot in answer.unreadable] == ["plan-1-2026-01-05", "plan-2-2026-01-05", "plan-1-2026-01-05"]


def test_real_7_and_virtual_7_are_no_twins() -> None:
    answer = wire.decode_heartbeat(answer_of(slot_with(), {"virtual_id": "7", "status": "not_started"}))
    assert [slot.key for slot in answer.slots] == [SlotKey.real(7), SlotKey.virtual("7")]


def test_slots_beyond_the_first_thousand_are_counted() -> None:
    answer = wire.decode_heartbeat(answer_of(*(slot_with(id=number) for number in range(1_003))))
    assert [slot.id for slot in answer.slots] == list(range(1_000))
    assert answer.unreadable == (UnreadableSlot(ident="#1000", reason="3 slots beyond the first 1000 were not read"),)


# --- the update's answer


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (golden("update_answer_real"), SlotKey.real(41)),
        (golden("update_answer_opaque"), SlotKey.virtual("v")),
        (b"", SlotKey.virtual("v")),
        (b" \r\n", SlotKey.virtual("v")),
        (b'{"id": 0}', SlotKey.real(0)),
        (b'{"id": null}', SlotKey.virtual("v")),
        (b'{"id": "41"}', SlotKey.virtual("v")),
        (b'{"id": true}', SlotKey.virtual("v")),
        (b'{"id": -1}', SlotKey.virtual("v")),
        (b'{"id": 9223372036854775808}', SlotKey.virtual("v")),
        (b"[41]", SlotKey.virtual("v")),
        (b"null", SlotKey.virtual("v")),
        (b'"ok"', SlotKey.virtual("v")),
    ],
)
def test_an_updates_answer_is_opaque_but_for_the_id_of_a_slot_that_became_real(body: bytes, key: SlotKey) -> None:
    assert wire.decode_update(body, SlotKey.virtual("v")) == UpdateReceipt(slot=key)


def test_a_real_slot_keeps_its_key_whatever_the_answer_says() -> None:
    assert wire.decode_update(b'{"id": 8}', SlotKey.real(7)) == UpdateReceipt(slot=SlotKey.real(7))


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"\xff", b"{", b"[" * 200_000])
def test_an_updates_answer_that_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        wire.decode_update(body, SlotKey.real(7))


# --- a day's answer

A_DAY = (
    Slot(
        virtual_id="plan-3-2026-01-05",
        user_id=3,
        date=DAY,
        slot_type=SlotType.ON_CALL,
        estimated_duration=50,
        event_type=EventType.SYSTEM_EVENT,
        event_data=freeze({"event": "ScheduleToday"}),
        plan_id=3,
        is_admin_locked=True,
        special_slot_id=9,
    ),
    Slot(
        id=7,
        virtual_id="plan-4-2026-01-04",
        date=DAY,
        slot_type=SlotType.WORK,
        estimated_duration=30,
        scheduled_at=dt.time(9),
        started_at=dt.time(9, 5, 7),
        attended=True,
        event_type=EventType.JOB,
        event_data=freeze({"type": "Task", "code": "TASK-42", "working_sessions": ["s1", {"n": 2}]}),
        priority=50,
        status=SlotStatus.ONGOING,
        plan_id=4,
        created_at=dt.datetime(2026, 1, 4, 8, 0, 0, 123456, tzinfo=dt.UTC),
        updated_at=dt.datetime(2026, 1, 5, 9, 5, 7, tzinfo=dt.UTC),
    ),
    Slot(
        id=0,
        date=DAY,
        scheduled_at=dt.time(10, 30),
        started_at=dt.time(10, 31),
        attended=True,
        actual_duration=12,
        priority=99,
        status=SlotStatus.FINISHED,
    ),
)


def test_a_day_is_read_from_its_golden_file() -> None:
    assert wire.decode_day(golden("day_answer")) == A_DAY


def test_a_day_may_be_a_bare_list() -> None:
    assert wire.decode_day(json.dumps(json.loads(golden("day_answer"))["slots"]).encode()) == A_DAY


@pytest.mark.parametrize("body", [b"[]", b'{"slots": []}', b'{"slots": [], "date": "2026-01-05"}'])
def test_a_day_may_be_free(body: bytes) -> None:
    assert wire.decode_day(body) == ()


def test_a_day_is_sorted_by_date_and_time_whatever_its_order_was() -> None:
    listed = [
        {"id": 1, "date": "2026-01-05", "scheduled_at": "09:30"},
        {"id": 2, "date": "2026-01-05", "scheduled_at": "00:00"},
        {"id": 3, "date": "2026-01-05", "scheduled_at": "09:00:01"},
        {"id": 4, "date": "2026-01-05", "scheduled_at": "09:00"},
        {"id": 5, "date": "2026-01-06", "scheduled_at": "08:00"},
        {"id": 6, "date": "2026-01-05"},
        {"id": 7, "date": "2026-01-05", "scheduled_at": "09:00", "priority": 99},
        {"id": 8, "date": "2026-01-06"},
        {"id": 9, "scheduled_at": "23:00"},
        {"id": 10, "date": "0001-01-01", "scheduled_at": "00:00"},
    ]
    body = json.dumps([{**slot, "status": "ongoing"} for slot in listed]).encode()
    assert [slot.id for slot in wire.decode_day(body)] == [9, 10, 6, 2, 4, 7, 3, 1, 8, 5]


def test_of_a_day_only_what_can_be_read_is_told() -> None:
    odd = json.loads(golden("heartbeat_answer_odd"))["slots"]
    expected = [SlotKey.real(7), SlotKey.real(8), SlotKey.virtual("7")]
    for answer in (odd, {"slots": odd}):
        assert [slot.key for slot in wire.decode_day(json.dumps(answer).encode())] == expected


def test_of_a_day_a_thousand_slots_are_read() -> None:
    body = json.dumps([slot_with(id=number) for number in range(1_003)]).encode()
    assert [slot.id for slot in wire.decode_day(body)] == list(range(1_000))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"<html>please sign in</html>", "no JSON"),
        (b"\xef\xbb\xbf[]", "no JSON"),
        (b"[NaN]", "NaN is no JSON number"),
        (b'[{"id": 7, "id": 8, "status": "ongoing"}]', "a key twice"),
        (b"[" * 200_000, "nests too deep"),
        (b"null", "a day's answer is an object, not null"),
        (b"7", "a day's answer is an object, not a number"),
        (b'"slots"', "a day's answer is an object, not a string"),
        (b"{}", "a day's slots are a list, not missing"),
        (b'{"slots": null}', "a day's slots are a list, not null"),
        (b'{"slots": {}}', "a day's slots are a list, not an object"),
        (b'{"detail": "Not Found"}', "a day's slots are a list, not missing"),
    ],
)
def test_what_is_no_day_is_malformed(body: bytes, words: str) -> None:
    with pytest.raises(MalformedAnswerError, match=words):
        wire.decode_day(body)


# --- strict JSON


@pytest.mark.parametrize("value", [{"a": [1, 1.5, None, True, "ü"]}, [], "text", 0, None])
def test_strict_json_is_loaded(value: object) -> None:
    assert wire.load(json.dumps(value, ensure_ascii=False).encode()) == value


# --- what a calendar writes


def test_slots_are_written_as_their_golden_file_key_by_key() -> None:
    written = [wire.encode_slot(slot) for slot in A_DAY]
    expected = json.loads(golden("day_answer"))["slots"]
    assert written == expected
    assert [list(slot) for slot in written] == [list(slot) for slot in expected], "in the contract's order"


def test_a_slot_is_written_in_plain_values_that_its_reader_may_change() -> None:
    slot = A_DAY[1]
    written: Any = wire.encode_slot(slot)
    assert {type(value) for value in written.values()} == {int, str, bool, dict, type(None)}
    written["event_data"]["working_sessions"].append("more")
    assert wire.encode_slot(slot) != written


def test_times_of_day_are_written_without_fractions() -> None:
    written = wire.encode_slot(Slot(id=1, scheduled_at=dt.time(9, 0, 1, 999_999), started_at=dt.time(0, 0, 0, 1)))
    assert (written["scheduled_at"], written["started_at"]) == ("09:00:01", "00:00:00")


@pytest.mark.parametrize("name", ["heartbeat_answer", "heartbeat_answer_settled", "heartbeat_answer_empty"])
def test_a_heartbeats_answer_is_read_back_as_it_was(name: str) -> None:
    heartbeat = wire.decode_heartbeat(golden(name))
    written = wire.encode_heartbeat_answer(heartbeat)
    assert wire.decode_heartbeat(json.dumps(written).encode()) == heartbeat


def test_a_heartbeats_answer_has_a_message_only_where_there_is_one() -> None:
    assert wire.encode_heartbeat_answer(Heartbeat()) == {"slots": [], "agent_status": None}
    heartbeat = Heartbeat(slots=(Slot(id=1),), agent_status=AgentStatus.BUSY, message="good morning")
    assert wire.encode_heartbeat_answer(heartbeat) == {
        "slots": [wire.encode_slot(Slot(id=1))],
        "agent_status": "busy",
        "message": "good morning",
    }


# --- event data from elsewhere


class Colour(enum.StrEnum):
    RED = "red"


def refusal_of(data: Any) -> str:
    """Check event data that must not pass, and tell why it does not."""
    with pytest.raises(ValueError) as caught:
        wire.check_event_data(data)
    return str(caught.value)


def test_no_event_data_is_none() -> None:
    assert wire.check_event_data(None) is None


def test_checked_event_data_is_a_frozen_copy() -> None:
    data: dict[str, Any] = {"a": {"b": [1, {"c": "d"}]}, "e": ["f"], "g": (2.5, None, True)}
    before = copy.deepcopy(data)
    checked = wire.check_event_data(data)
    assert checked is not None
    assert data == before, "what the caller holds stays as it was"
    assert type(data["a"]) is dict
    data["a"]["b"].append("later")
    data["e"].append("later")
    assert thaw(checked) == {"a": {"b": [1, {"c": "d"}]}, "e": ["f"], "g": [2.5, None, True]}
    with pytest.raises(TypeError):
        checked["a"]["b"][1]["c"] = 1
    with pytest.raises(TypeError):
        checked["a"] = 1  # type: ignore[index]


@pytest.mark.parametrize("data", [freeze({"a": [{"b": 1}]}), OrderedDict(a=[MappingProxyType({"b": 1})])])
def test_frozen_event_data_and_other_mappings_pass(data: Any) -> None:
    assert thaw(wire.check_event_data(data)) == {"a": [{"b": 1}]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "event_data is an object, not a list"),
        ("text", "event_data is an object, not a string"),
        (7, "event_data is an object, not a number"),
        (True, "event_data is an object, not true or false"),
        ({"a", "b"}, "event_data is an object, not a Python set"),
        ({"k": {"a"}}, "event_data holds a Python set, which is no JSON"),
        ({"k": b"a"}, "event_data holds a Python bytes, which is no JSON"),
        ({"k": [DAY]}, "event_data holds a Python date, which is no JSON"),
        ({"k": Colour.RED}, "event_data holds a Python Colour, which is no JSON"),
        ({"k": object()}, "event_data holds a Python object, which is no JSON"),
        ({7: 1}, "event_data has a key that is a number, not a string"),
        ({"k": [{None: 1}]}, "event_data has a key that is null, not a string"),
        ({Colour.RED: 1}, "event_data has a key that is a Python Colour, not a string"),
        ({"k": float("nan")}, "event_data holds a number that is not finite"),
        ({"k": [float("-inf")]}, "event_data holds a number that is not finite"),
        ({"k": 10**4_300}, "event_data holds a number of more than 4300 digits"),
        ({"k": "\ud800"}, "event_data holds half a character (a lone surrogate)"),
        ({"k": [{"\udfff": 1}]}, "event_data holds half a character (a lone surrogate)"),
        ({"k": "x" * 17_000}, "event_data is larger than 16384 bytes"),
        ({"k": [None] * 5_000}, "event_data is larger than 16384 bytes"),
        ({"k": range}, "event_data holds a Python type, which is no JSON"),
    ],
)
def test_event_data_that_could_not_be_read_back_is_refused(data: object, words: str) -> None:
    assert refusal_of(data) == words


@pytest.mark.parametrize("sign", [1, -1])
def test_the_longest_number_that_can_be_written_passes(sign: int) -> None:
    data = {"k": sign * (10**4_300 - 1)}
    assert wire.check_event_data(data) == read_one(event_data=data).event_data
    assert "more than 4300 digits" in refusal_of({"k": sign * 10**4_300})


@pytest.mark.parametrize("wrap", [lambda value: {"k": value}, lambda value: [value], lambda value: (value,)])
def test_checked_event_data_nests_16_deep_and_no_deeper(wrap: Any) -> None:
    assert wire.check_event_data({"k": nested(15, wrap)}) is not None
    assert refusal_of({"k": nested(16, wrap)}) == "event_data nests deeper than 16"


def test_event_data_that_holds_itself_is_refused() -> None:
    data: dict[str, Any] = {}
    data["k"] = [data]
    assert refusal_of(data) == "event_data nests deeper than 16"


def test_event_data_that_unfolds_into_billions_of_values_is_refused_at_once() -> None:
    value: list[Any] = []
    for _ in range(14):
        value = [value] * 100
    assert refusal_of({"k": value}) == "event_data is larger than 16384 bytes"


# --- whatever comes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
likely = st.sampled_from(["not_started", "work", "job", "09:00", "2026-01-05", "plan-1-2026-01-05", 7, 0, True, None])
slot_values = st.dictionaries(st.sampled_from(slot_fields), likely | json_values, max_size=19)


@given(st.binary())
def test_any_bytes_are_an_answer_or_malformed(body: bytes) -> None:
    for decode in (wire.decode_heartbeat, wire.decode_day, lambda body: wire.decode_update(body, SlotKey.virtual("v"))):
        with contextlib.suppress(MalformedAnswerError):
            decode(body)


@given(json_values, json_values)
def test_any_json_is_an_answer_or_malformed(whole: object, slots: object) -> None:
    for value in (whole, {"slots": slots, "agent_status": whole, "message": slots}):
        with contextlib.suppress(MalformedAnswerError):
            assert isinstance(wire.decode_heartbeat(json.dumps(value).encode()), Heartbeat)
        with contextlib.suppress(MalformedAnswerError):
            assert isinstance(wire.decode_day(json.dumps(value).encode()), tuple)


@given(st.lists(slot_values | json_values, max_size=6))
def test_a_day_tells_the_slots_that_a_heartbeat_would(slots: list[object]) -> None:
    body = answer_of(*slots)
    try:
        heartbeat = wire.decode_heartbeat(body)
    except MalformedAnswerError:
        return
    assert wire.decode_day(body) == tuple(sorted(heartbeat.slots, key=wire.day_order))


real_ids = st.integers(0, MAX_REAL_ID)
virtual_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}", fullmatch=True)
times = st.times().map(lambda time: time.replace(microsecond=0))
instants = st.datetimes(timezones=st.just(dt.UTC))
finite_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
event_data = st.dictionaries(st.text(max_size=8), finite_json, max_size=4)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def readable_slots(draw: st.DrawFn) -> Slot:
    is_real, is_virtual = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    return Slot(
        id=draw(real_ids) if is_real else None,
        virtual_id=draw(virtual_ids) if is_virtual else None,
        status=draw(st.sampled_from(SlotStatus)),
        priority=draw(st.integers(0, 99)),
        date=draw(maybe(st.dates())),
        scheduled_at=draw(maybe(times)),
        estimated_duration=draw(maybe(st.integers(1, 1_440))),
        slot_type=draw(maybe(st.sampled_from(SlotType))),
        event_type=draw(maybe(st.sampled_from(EventType))),
        event_data=freeze(draw(maybe(event_data))),
        started_at=draw(maybe(times)),
        attended=draw(st.booleans()),
        actual_duration=draw(maybe(st.integers(0, 65_535))),
        plan_id=draw(maybe(real_ids)),
        is_admin_locked=draw(st.booleans()),
        special_slot_id=draw(maybe(real_ids)),
        user_id=draw(maybe(real_ids)),
        created_at=draw(maybe(instants)),
        updated_at=draw(maybe(instants)),
    )


@given(st.dictionaries(st.sampled_from(slot_fields), likely | finite_json, max_size=19) | finite_json)
def test_a_slot_alone_is_read_as_a_heartbeat_reads_it(raw: Any) -> None:
    heartbeat = wire.decode_heartbeat(answer_of(raw))
    try:
        slot = wire.decode_slot(raw)
    except MalformedAnswerError as error:
        assert [f"not a slot: {unreadable.reason}" for unreadable in heartbeat.unreadable] == [str(error)]
    else:
        assert heartbeat.slots == (slot,)


@given(readable_slots())
def test_what_is_written_of_a_slot_is_read_back_as_it_was(slot: Slot) -> None:
    written = wire.encode_slot(slot)
    assert set(written) == set(slot_fields)
    assert wire.decode_heartbeat(answer_of(written)) == Heartbeat(slots=(slot,))
    assert wire.decode_day(json.dumps([written]).encode()) == (slot,)


def is_read_back(data: object) -> bool:
    try:
        answer = wire.decode_heartbeat(answer_of(slot_with(event_data=data)))
    except (TypeError, MalformedAnswerError):
        return False
    return [thaw(slot.event_data) for slot in answer.slots] == [data]


@given(st.dictionaries(st.text(max_size=8) | st.integers(), json_values | st.sets(st.integers()), max_size=4))
def test_event_data_passes_just_where_it_is_read_back_as_it_was(data: dict[Any, Any]) -> None:
    before = repr(data)
    try:
        checked = wire.check_event_data(data)
    except ValueError:
        assert not is_read_back(data)
    else:
        assert is_read_back(data)
        assert checked == freeze(data)
    assert repr(data) == before


@given(st.lists(slot_values | json_values, max_size=6))
def test_every_slot_of_an_answer_is_accounted_for(slots: list[object]) -> None:
    try:
        answer = wire.decode_heartbeat(answer_of(*slots))
    except MalformedAnswerError:
        return
    assert len(answer.slots) + len(answer.unreadable) == len(slots)
    for slot in answer.slots:
        assert slot.key in slot.keys
        assert Slot.from_dict(slot.to_dict()) == slot


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n"])
def test_an_empty_answer_to_a_heartbeat_lists_nothing_and_is_flagged(body: bytes) -> None:
    heartbeat = wire.decode_heartbeat(body)
    assert heartbeat.slots == ()
    assert [slot.reason for slot in heartbeat.unreadable] == ["the answer is empty"]


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}", fullmatch=True))
def test_every_id_of_the_grammar_arrives_as_it_is(agent_id: str) -> None:
    assert json.loads(wire.encode_heartbeat("claw-1", agent_id)) == {"claw_identifier": "claw-1", "agent_id": agent_id}
