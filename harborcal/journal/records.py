"""What a journal remembers: attempts at slots, and letters, the updates that were accepted for the calendar.

Each is written as JSON, and read back, field by field: a record is written several times for every slot.
"""

import dataclasses
import datetime as dt
import enum
import json
from collections.abc import Mapping
from typing import Any, Self

from harborcal.codecs import format_instant, parse_instant
from harborcal.model import Slot, SlotKey, SlotKind, SlotStatus, SlotUpdate
from harborcal.wire import decode_slot, encode_slot


class AttemptState(enum.StrEnum):
    """How far an attempt has come. What is written is always written before the act it speaks of."""

    CLAIMING = "claiming"
    """The calendar may be asked for the slot; no wake has been entered."""
    WAKING = "waking"
    """The wake may have been entered; whether it reached the agent is not known."""
    ONGOING = "ongoing"
    PAUSED = "paused"
    SETTLED = "settled"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """The n-th wake of a slot, from its claim to its settlement.

    Attributes:
        id: Its place in the journal.
        agent_id: Whose slot.
        slot: The slot as the calendar listed it.
        key: The key that updates go to now.
        number: Which wake of this slot it is, counted from 1.
        wake_id: The idempotency key of the wake.
        state: How far it has come.
        claimed_at: When it was claimed.
        started_at: When its work began.
        is_claimed: Whether the calendar gave the slot to this scheduler alone.
        is_taken_up: Whether it was found under way, and not woken here.
        heard_at: When its agent last gave a sign of life, as far as that was written.
        reminded_at: When its agent was reminded, just before that.
        paused_at: Since when it rests.
        pause_reason: Why it rests.
        rested: Seconds of pauses that are over.
        settled_at: When it ended.
        status: How it ended.
        reason: Why, where it did not end well.
        summary: What the agent said of it.
        actual_duration: Minutes, as told to the calendar.
        told: The status of the terminal update that ended it, if one did.
        refusal: The calendar's refusal, where that ended it.
        letters_from: The number from which on letters are of this attempt.
        is_expired: Whether it ended because its agent fell silent.
        is_late: Whether its agent reported after that.
        count: How many failed wakes of its slot in a row it is the last of.
    """

    id: int
    agent_id: str
    slot: Slot
    key: SlotKey
    number: int
    wake_id: str
    state: AttemptState
    claimed_at: dt.datetime
    started_at: dt.datetime
    is_claimed: bool = False
    is_taken_up: bool = False
    heard_at: dt.datetime | None = None
    reminded_at: dt.datetime | None = None
    paused_at: dt.datetime | None = None
    pause_reason: str = ""
    rested: float = 0.0
    settled_at: dt.datetime | None = None
    status: SlotStatus | None = None
    reason: str = ""
    summary: str = ""
    actual_duration: int | None = None
    told: SlotStatus | None = None
    refusal: str = ""
    letters_from: int = 0
    is_expired: bool = False
    is_late: bool = False
    count: int = 1

    @property
    def keys(self) -> frozenset[SlotKey]:
        """All keys that mean its slot."""
        return frozenset((*self.slot.keys, self.key))

    def encode(self) -> str:
        """Write it as JSON."""
        return _dump(
            {
                "id": self.id,
                "agent_id": self.agent_id,
                "slot": encode_slot(self.slot),
                "key": _encode_key(self.key),
                "number": self.number,
                "wake_id": self.wake_id,
                "state": str(self.state),
                "claimed_at": _encode_instant(self.claimed_at),
                "started_at": _encode_instant(self.started_at),
                "is_claimed": self.is_claimed,
                "is_taken_up": self.is_taken_up,
                "heard_at": _encode_instant(self.heard_at),
                "reminded_at": _encode_instant(self.reminded_at),
                "paused_at": _encode_instant(self.paused_at),
                "pause_reason": self.pause_reason,
                "rested": self.rested,
                "settled_at": _encode_instant(self.settled_at),
                "status": None if self.status is None else str(self.status),
                "reason": self.reason,
                "summary": self.summary,
                "actual_duration": self.actual_duration,
                "told": None if self.told is None else str(self.told),
                "refusal": self.refusal,
                "letters_from": self.letters_from,
                "is_expired": self.is_expired,
                "is_late": self.is_late,
                "count": self.count,
            }
        )

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote.

        Raises:
            ValueError, LookupError, TypeError, HarborcalError: It is no attempt.
        """
        fields = json.loads(text)
        return cls(
            **fields
            | {name: _decode_instant(fields[name]) for name in _INSTANTS & fields.keys()}
            | {
                "slot": decode_slot(fields["slot"]),
                "key": _decode_key(fields["key"]),
                "state": AttemptState(fields["state"]),
                "status": None if fields["status"] is None else SlotStatus(fields["status"]),
                "told": None if fields["told"] is None else SlotStatus(fields["told"]),
            }
        )


class LetterState(enum.StrEnum):
    """Where a letter is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Refused for good."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """An update that was accepted for the calendar.

    Attributes:
        number: Its place in the journal; later letters have higher ones.
        lane: The number of the first letter of its slot: letters of one lane leave one after another.
        agent_id: Whose slot.
        key: The slot as the sender named it.
        real_key: The slot's key at the calendar since one of its lane was delivered.
        update: What to tell, with its idempotency key.
        accepted_at: When it was accepted.
        state: Where it is.
        tries: How often it was sent, or may have been.
        error: What went wrong the last time; for a dead letter, the refusal.
        ended_at: When it was delivered or refused.
    """

    number: int
    lane: int
    agent_id: str
    key: SlotKey
    real_key: SlotKey | None = None
    update: SlotUpdate
    accepted_at: dt.datetime
    state: LetterState = LetterState.PENDING
    tries: int = 0
    error: str = ""
    ended_at: dt.datetime | None = None

    @property
    def address(self) -> SlotKey:
        """The key to send it to."""
        return self.real_key or self.key

    def encode(self) -> str:
        """Write it as JSON."""
        return _dump(
            {
                "number": self.number,
                "lane": self.lane,
                "agent_id": self.agent_id,
                "key": _encode_key(self.key),
                "real_key": None if self.real_key is None else _encode_key(self.real_key),
                "update": {
                    "status": str(self.update.status),
                    "started_at": None if self.update.started_at is None else self.update.started_at.isoformat(),
                    "actual_duration": self.update.actual_duration,
                    "idempotency_key": self.update.idempotency_key,
                },
                "accepted_at": _encode_instant(self.accepted_at),
                "state": str(self.state),
                "tries": self.tries,
                "error": self.error,
                "ended_at": _encode_instant(self.ended_at),
            }
        )

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote.

        Raises:
            ValueError, LookupError, TypeError, HarborcalError: It is no letter.
        """
        fields = json.loads(text)
        update = fields["update"]
        began = update["started_at"]
        return cls(
            **fields
            | {name: _decode_instant(fields[name]) for name in _INSTANTS & fields.keys()}
            | {
                "key": _decode_key(fields["key"]),
                "real_key": None if fields["real_key"] is None else _decode_key(fields["real_key"]),
                "state": LetterState(fields["state"]),
                "update": SlotUpdate(
                    status=SlotStatus(update["status"]),
                    started_at=None if began is None else dt.time.fromisoformat(began),
                    actual_duration=update["actual_duration"],
                    idempotency_key=update["idempotency_key"],
                ),
            }
        )


# --- JSON -----------------------------------------------------------------------------------------------------------

_INSTANTS = frozenset(
    {"claimed_at", "started_at", "heard_at", "reminded_at", "paused_at", "settled_at", "accepted_at", "ended_at"}
)


def _dump(fields: Mapping[str, object]) -> str:
    return json.dumps(fields, separators=(",", ":"))


def _encode_key(key: SlotKey) -> list[int | str]:
    return [str(key.kind), key.id]


def _decode_key(pair: Any) -> SlotKey:
    kind, name = pair
    return SlotKey.real(name) if SlotKind(kind) is SlotKind.REAL else SlotKey.virtual(name)


def _encode_instant(instant: dt.datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _decode_instant(text: object) -> dt.datetime | None:
    return None if text is None else parse_instant(text)
