"""Values: frozen, keyword-only, honest about their types, and whole after a round trip through JSON."""

import copy
import dataclasses
import datetime as dt
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborcal import (
    Agent,
    AgentStatus,
    CalendarRefusedError,
    CalendarUnavailableError,
    ConfigurationError,
    HistoryEntry,
    JournalError,
    NoActiveSlotError,
    PluginInfo,
    SchedulerConfig,
    Slot,
    SlotKey,
    SlotMismatchError,
    SlotStatus,
    SlotUpdate,
    Status,
    UpdateRefusedError,
    Verdict,
    VerdictReason,
)
from harborcal.codecs import format_instant, freeze, parse_instant, thaw
from harborcal.model import Lifecycle


@pytest.mark.parametrize("slot_id", [-1, 2**63, True, 1.0, "7", None, pytest.param(10**5000, id="huge")])
def test_a_real_key_is_an_integer_from_zero_to_two_to_the_sixty_three(slot_id: int) -> None:
    with pytest.raises(ConfigurationError, match="a real slot id"):
        SlotKey.real(slot_id)


@pytest.mark.parametrize("slot_id", ["", 7, None])
def test_a_virtual_key_is_a_string(slot_id: str) -> None:
    with pytest.raises(ConfigurationError, match="a virtual slot id"):
        SlotKey.virtual(slot_id)


def test_real_seven_and_virtual_seven_differ_though_they_read_alike() -> None:
    assert SlotKey.real(7) != SlotKey.virtual("7")
    assert str(SlotKey.real(7)) == str(SlotKey.virtual("7")) == "7"


@pytest.mark.parametrize(
    ("slot", "virtual_id"),
    [
        (Slot(id=7, plan_id=3, date=dt.date(2026, 1, 5)), "plan-3-2026-01-05"),
        (Slot(id=0, plan_id=0, date=dt.date(2026, 1, 5)), "plan-0-2026-01-05"),
        (Slot(id=7, plan_id=3), None),
        (Slot(id=7, date=dt.date(2026, 1, 5)), None),
        (Slot(id=7), None),
    ],
)
def test_a_real_slot_that_names_no_virtual_id_is_its_plans_slot_of_its_date(slot: Slot, virtual_id: str | None) -> None:
    virtual = () if virtual_id is None else (SlotKey.virtual(virtual_id),)
    assert slot.id is not None
    assert slot.keys == (SlotKey.real(slot.id), *virtual)


@pytest.mark.parametrize("virtual_id", ["plan-3-2026-01-04", "plan-3-2026-01-05-2", "plan-3-2026-01-05"])
def test_a_real_slot_that_names_its_virtual_id_is_no_other_slot_of_its_plan(virtual_id: str) -> None:
    slot = Slot(id=7, virtual_id=virtual_id, plan_id=3, date=dt.date(2026, 1, 5))
    assert slot.keys == (SlotKey.real(7), SlotKey.virtual(virtual_id))


def test_a_virtual_slot_has_the_one_key_that_it_names() -> None:
    slot = Slot(virtual_id="plan-3-2026-01-04", plan_id=3, date=dt.date(2026, 1, 5))
    assert slot.keys == (SlotKey.virtual("plan-3-2026-01-04"),)


def test_values_cannot_be_changed() -> None:
    slot = Slot(id=1, event_data=freeze({"a": {"b": [1]}}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        slot.id = 2  # type: ignore[misc]
    assert slot.event_data is not None
    with pytest.raises(TypeError):
        slot.event_data["a"]["b"] = 1
    with pytest.raises(TypeError):
        Slot(1)  # type: ignore[call-arg]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_frozen_json_thaws_to_what_it_was(value: object) -> None:
    assert thaw(freeze(value)) == value


@given(st.datetimes(timezones=st.timezones()))
def test_instants_come_back_whole_and_in_utc(instant: dt.datetime) -> None:
    try:
        text = format_instant(instant)
    except OverflowError:
        return  # beyond what the calendar of datetime can say in UTC
    assert text.endswith("Z")
    assert parse_instant(text) == instant.astimezone(dt.UTC)


@pytest.mark.parametrize("text", ["2026-01-05T09:00:00", "yesterday", ""])
def test_an_instant_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|Invalid isoformat"):
        parse_instant(text)
    with pytest.raises(TypeError, match="an instant is a string"):
        parse_instant(7)


@pytest.mark.parametrize(
    "value",
    [
        Slot(id=0, date=dt.date(2026, 1, 5), scheduled_at=dt.time(9, 30), event_data=freeze({"x": [1, None]})),
        HistoryEntry(
            ident="1",
            agent_id="a",
            status=SlotStatus.FINISHED,
            resolved_at=dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC),
            key=SlotKey.real(1),
        ),
        Agent(id="a", model="m", state=AgentStatus.OFFLINE),
        PluginInfo(name="p", version="1", backend="b"),
        Verdict(ident="1", reason=VerdictReason.BUSY, detail="d"),
        SchedulerConfig(heartbeat_interval=5),
        Status(enabled=False, lifecycle=Lifecycle.NEW, heartbeat_every=30.0),
    ],
)
def test_what_users_serialise_comes_back_whole(value: Slot) -> None:
    assert type(value).from_json(value.to_json()) == value
    assert type(value).from_dict(value.to_dict()) == value


def test_a_seed_is_a_whole_number() -> None:
    with pytest.raises(ConfigurationError, match="seed"):
        SchedulerConfig(seed="lucky")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        NoActiveSlotError("dev"),
        SlotMismatchError("dev", "real 1", "2"),
        CalendarUnavailableError("down", 503, 7.5),
        CalendarRefusedError(409, "conflict", True),
        UpdateRefusedError(404, "Slot not found"),
        JournalError("the journal is damaged", damaged=True),
    ],
)
def test_errors_survive_being_copied_and_pickled(error: Exception) -> None:
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_a_refusal_without_words_says_so() -> None:
    assert str(CalendarRefusedError(403)) == "calendar refused (403): no detail given"


def test_an_update_serialises_to_its_requests_body_without_what_is_absent() -> None:
    assert SlotUpdate(status=SlotStatus.PAUSED).to_dict() == {"status": "paused"}
    start = SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 5))
    assert start.to_dict() == {"status": "ongoing", "started_at": "09:05:00"}
    assert SlotUpdate.from_dict({"status": "finished", "actual_duration": 3}).actual_duration == 3
