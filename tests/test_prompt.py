"""The text that wakes an agent, letter for letter."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborcal import EventType, MalformedAnswerError, Slot, build_wake_message

PLAIN = "[calendar slot 7] scheduled work — please proceed"


def slot(event_type: EventType | None, data: Any) -> Slot:
    return Slot(id=7, event_type=event_type, event_data=data)


@pytest.mark.parametrize(
    ("event_type", "data", "message"),
    [
        (EventType.SYSTEM_EVENT, {"event": "ScheduleToday"}, "[calendar system_event] ScheduleToday"),
        (EventType.SYSTEM_EVENT, {"event": ""}, PLAIN),
        (EventType.SYSTEM_EVENT, {"event": "  \n"}, PLAIN),
        (EventType.SYSTEM_EVENT, {"event": 7}, PLAIN),
        (EventType.SYSTEM_EVENT, {"code": "X"}, PLAIN),
        (EventType.SYSTEM_EVENT, None, PLAIN),
        (EventType.JOB, {"type": "Task", "code": "TASK-42"}, "[calendar job Task/TASK-42] please handle this"),
        (EventType.JOB, {"type": "Task", "task_code": "T-1"}, "[calendar job Task/T-1] please handle this"),
        (EventType.JOB, {"type": "Task", "code": "", "task_code": "T-1"}, "[calendar job Task/T-1] please handle this"),
        (EventType.JOB, {"type": "Task", "code": "A", "task_code": "B"}, "[calendar job Task/A] please handle this"),
        (EventType.JOB, {"code": "TASK-42"}, "[calendar job TASK-42] please handle this"),
        (EventType.JOB, {"type": "", "code": "TASK-42"}, "[calendar job TASK-42] please handle this"),
        (EventType.JOB, {"type": "Task"}, PLAIN),
        (EventType.JOB, {"code": None}, PLAIN),
        (EventType.ENTERTAINMENT, {"event": "film", "code": "F"}, PLAIN),
        (None, {"event": "x", "code": "y"}, PLAIN),
    ],
)
def test_the_message_tells_the_event_the_job_or_the_slot(event_type: EventType | None, data: Any, message: str) -> None:
    assert build_wake_message(slot(event_type, data)) == message


def test_a_virtual_slot_is_named_by_its_virtual_id() -> None:
    virtual = Slot(virtual_id="plan-3-2026-01-05", date=dt.date(2026, 1, 5))
    assert build_wake_message(virtual) == "[calendar slot plan-3-2026-01-05] scheduled work — please proceed"


def test_a_slot_without_an_id_has_no_message() -> None:
    with pytest.raises(MalformedAnswerError):
        build_wake_message(Slot())


def test_control_bidi_and_invisible_characters_are_taken_out() -> None:
    odd = "a\x00b\u202ec\u200bd\ufe0fe\u2066f\U000e0041g\u115fh\ni"
    assert build_wake_message(slot(EventType.SYSTEM_EVENT, {"event": odd})) == "[calendar system_event] abcdefgh i"


def test_the_length_is_capped() -> None:
    message = build_wake_message(slot(EventType.JOB, {"type": "T" * 9_999, "code": "C" * 9_999}))
    assert len(message) < 1_100


@given(st.text(), st.text())
def test_whatever_the_calendar_sends_the_message_stays_on_one_printable_line(kind: str, code: str) -> None:
    message = build_wake_message(slot(EventType.JOB, {"type": kind, "code": code}))
    assert message.isprintable()
    assert message.startswith("[calendar ")
