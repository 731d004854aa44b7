"""What is measured, by name."""

from collections.abc import Callable, Mapping

from bench.calendar.expansion import measure_expansion
from bench.calendar.hammer import measure_hammer
from bench.calendar.heartbeats import measure_doors, measure_embedded
from bench.codecs import measure_decode, measure_encode
from bench.heartbeats import measure_heartbeats, measure_tick
from bench.journal import measure_journal
from bench.lateness import measure_lateness
from bench.own import measure_memory, measure_own
from bench.plan import Plan
from bench.soak import measure_soak
from bench.tls import measure_tls

MEASUREMENTS: Mapping[str, Callable[[Plan], object]] = {
    "decode": measure_decode,
    "encode": measure_encode,
    "own": measure_own,
    "memory": measure_memory,
    "heartbeats": measure_heartbeats,
    "tick": measure_tick,
    "tls": measure_tls,
    "lateness": measure_lateness,
    "soak": measure_soak,
    "journal": measure_journal,
    "embedded": measure_embedded,
    "doors": measure_doors,
    "expansion": measure_expansion,
    "hammer": measure_hammer,
}
"""All of them, in the order in which they run; each returns its figures."""
