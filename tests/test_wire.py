import contextlib
import datetime as dt
import json
from pathlib import Path
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


# --- whatever comes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
slot_fields = list(Slot.__dataclass_fields__)
likely = st.sampled_from(["not_started", "work", "job", "09:00", "2026-01-05", "plan-1-2026-01-05", 7, 0, True, None])
slot_values = st.dictionaries(st.sampled_from(slot_fields), likely | json_values, max_size=19)


@given(st.binary())
def test_any_bytes_are_an_answer_or_malformed(body: bytes) -> None:
    for decode in (wire.decode_heartbeat, lambda body: wire.decode_update(body, SlotKey.virtual("v"))):
        with contextlib.suppress(MalformedAnswerError):
            decode(body)


@given(json_values, json_values)
def test_any_json_is_an_answer_or_malformed(whole: object, slots: object) -> None:
    for value in (whole, {"slots": slots, "agent_status": whole, "message": slots}):
        with contextlib.suppress(MalformedAnswerError):
            assert isinstance(wire.decode_heartbeat(json.dumps(value).encode()), Heartbeat)


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
