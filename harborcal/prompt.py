"""From a slot to the text that wakes its agent."""

from collections.abc import Mapping
from typing import Any

from harborcal.grammar import clean
from harborcal.model import EventType, Slot

TEXT_LIMIT = 500
"""How many characters of one field of ``event_data`` reach the message."""


def build_wake_message(slot: Slot) -> str:
    """Write the message that wakes an agent for a slot.

    A system event is told by its ``event``, a job by its ``type`` and ``code`` (``task_code`` where that is missing);
    anything else by the slot's id. What the calendar sent is data: control, bidi and invisible characters are taken
    out of it, and its length is capped.

    Raises:
        MalformedAnswerError: The slot has no id.
    """
    data = slot.event_data or {}
    if slot.event_type is EventType.SYSTEM_EVENT and (event := _text(data, "event")):
        return f"[calendar system_event] {event}"
    if slot.event_type is EventType.JOB and (code := _text(data, "code") or _text(data, "task_code")):
        kind = _text(data, "type")
        return f"[calendar job {kind + '/' if kind else ''}{code}] please handle this"
    return f"[calendar slot {slot.ident}] scheduled work — please proceed"


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    text = clean(value, TEXT_LIMIT) if isinstance(value, str) else ""
    return text if text.strip() else ""
