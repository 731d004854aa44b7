"""What it costs to read an answer and to write a request's body, beside what one would write without checks."""

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from bench.handwritten import read_slots
from bench.meter import interleave, measure, median_of, median_ratio
from bench.peers import CLAW
from bench.plan import Plan
from bench.server import answer_body
from harborcal import SlotStatus, SlotUpdate
from harborcal.wire import decode_heartbeat, encode_heartbeat, encode_update

US = "harborcal"

READERS: Mapping[str, Callable[[bytes], object]] = {
    "json": json.loads,
    "handwritten": read_slots,
    "harborcal": decode_heartbeat,
}
"""Those who read an answer: as bare JSON, as unchecked slots, and as a heartbeat."""

_FRESH_SLOTS = 5_000  # more than the dates and times that harborcal remembers


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadFigures:
    """What it costs to read one slot; the ratios are harborcal's figure over the other's."""

    json_us: float
    handwritten_us: float
    decode_us: float
    json_ratio: float
    handwritten_ratio: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeFigures:
    """What it costs to read an answer, per slot.

    ``again`` reads the same answer again and again, as most heartbeats do; ``fresh`` reads answers whose dates and
    times were not read lately, so that nothing that is remembered of them helps.
    """

    slots: int
    again: ReadFigures
    fresh: ReadFigures


def measure_decode(plan: Plan) -> DecodeFigures:
    """Read answers as bare JSON, by hand, and as heartbeats."""
    return DecodeFigures(
        slots=plan.decode,
        again=_measure_reading([answer_body(plan.decode)], plan),
        fresh=_measure_reading(fresh_answers(plan.decode, _FRESH_SLOTS // plan.decode), plan),
    )


def fresh_answers(slots: int, count: int) -> list[bytes]:
    """Write some answers with so many slots each, no two of which share a date, a time or an instant."""
    answers = [json.loads(answer_body(slots)) for _ in range(count)]
    start = dt.datetime(2020, 1, 1, 8, tzinfo=dt.UTC)
    for number, slot in enumerate(slot for answer in answers for slot in answer["slots"]):
        slot["date"] = f"{start + dt.timedelta(days=number):%Y-%m-%d}"
        slot["scheduled_at"] = f"{start + dt.timedelta(seconds=number):%H:%M:%S}"
        slot["created_at"] = f"{start + dt.timedelta(hours=number, microseconds=123_456):%Y-%m-%dT%H:%M:%S.%f}"
        slot["updated_at"] = f"{start + dt.timedelta(hours=number):%Y-%m-%dT%H:%M:%S}"
    return [json.dumps(answer, separators=(",", ":")).encode() for answer in answers]


def _measure_reading(bodies: Sequence[bytes], plan: Plan) -> ReadFigures:
    slots = plan.decode * len(bodies)
    repeat = max(1, 20_000 // slots)
    samples = interleave(
        {name: partial(measure, partial(_call, reader, bodies), slots, repeat) for name, reader in READERS.items()},
        plan.rounds,
    )
    ours = samples[US]
    return ReadFigures(
        json_us=median_of(samples["json"], lambda sample: sample.cpu_us),
        handwritten_us=median_of(samples["handwritten"], lambda sample: sample.cpu_us),
        decode_us=median_of(ours, lambda sample: sample.cpu_us),
        json_ratio=median_ratio(ours, samples["json"], lambda sample: sample.cpu_us),
        handwritten_ratio=median_ratio(ours, samples["handwritten"], lambda sample: sample.cpu_us),
    )


def _call(work: Callable[[Any], object], values: Sequence[Any]) -> int:
    """Work on each value; none of it can fail."""
    for value in values:
        work(value)
    return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class WriteFigures:
    """What it costs to write one request's body, and to write the same dict with bare ``json.dumps``."""

    json_us: float
    encode_us: float
    ratio: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodeFigures:
    """What it costs to write the bodies of requests; an update is by turns an ``ongoing`` and a ``finished``."""

    heartbeat: WriteFigures
    update: WriteFigures


HEARTBEAT = {"claw_identifier": CLAW, "agent_id": "agent-00001"}
UPDATES: Mapping[SlotUpdate, Mapping[str, object]] = {
    SlotUpdate(status=SlotStatus.ONGOING, started_at=dt.time(9, 5, 7)): {"status": "ongoing", "started_at": "09:05:07"},
    SlotUpdate(status=SlotStatus.FINISHED, actual_duration=17): {"status": "finished", "actual_duration": 17},
}
"""Updates, and the same as plain values."""


def measure_encode(plan: Plan) -> EncodeFigures:
    """Write requests with harborcal's checks, and the same dicts without."""
    return EncodeFigures(
        heartbeat=_measure_writing(lambda body: encode_heartbeat(**body), [HEARTBEAT], [HEARTBEAT], plan),
        update=_measure_writing(encode_update, list(UPDATES), list(UPDATES.values()), plan),
    )


def _measure_writing(
    write: Callable[[Any], bytes], values: Sequence[Any], bodies: Sequence[Mapping[str, object]], plan: Plan
) -> WriteFigures:
    repeat = max(1, plan.encode // len(values))
    samples = interleave(
        {
            "json": partial(measure, partial(_call, json.dumps, bodies), len(bodies), repeat),
            US: partial(measure, partial(_call, write, values), len(values), repeat),
        },
        plan.rounds,
    )
    return WriteFigures(
        json_us=median_of(samples["json"], lambda sample: sample.cpu_us),
        encode_us=median_of(samples[US], lambda sample: sample.cpu_us),
        ratio=median_ratio(samples[US], samples["json"], lambda sample: sample.cpu_us),
    )
