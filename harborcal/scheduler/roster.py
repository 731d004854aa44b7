"""The agents that are known, and when each one's next heartbeat is due."""

import datetime as dt
import heapq
import threading
from collections.abc import Iterable

from harborcal.model import Agent, Heartbeat, Verdict, VerdictReason
from harborcal.policy import next_beat, phase
from harborcal.scheduler.dispatch import Wake

HANDFUL = 8
"""How many agents may be new at once before their first heartbeats are spread."""


class Record:
    """What is known of one agent.

    Guarded by the roster's lock, save what belongs to whoever runs the agent's heartbeat: there is at most one.
    """

    __slots__ = (
        "agent",
        "ask_day_at",
        "asleep",
        "coming",
        "current",
        "due",
        "failures",
        "gone_since",
        "last_heartbeat_at",
        "look_at",
        "queued_for",
        "said",
        "said_at",
        "verdicts",
        "wanted_at",
    )

    def __init__(self, agent: Agent, now: float) -> None:
        self.agent = agent
        self.due = now  # by the cadence
        self.wanted_at: float | None = None  # before that, for a slot's time; written by the heartbeat under way
        self.queued_for: float | None = None
        self.gone_since: float | None = None  # None while it is listed
        self.current: Beat | None = None  # the heartbeat under way
        self.last_heartbeat_at: dt.datetime | None = None
        self.verdicts: tuple[Verdict, ...] = ()
        # Of the heartbeat under way.
        self.failures = 0
        self.asleep = ""  # why it is not to be woken, by its last answer
        self.look_at = 0.0  # when its days are looked at next
        self.ask_day_at: float | None = None  # when its day is asked for next, None before its first answer
        self.coming: tuple[dt.datetime, ...] = ()  # when slots of its day are due, by what was asked last
        self.said: object = None
        self.said_at = 0.0

    @property
    def listed(self) -> bool:
        """Whether the last list names it."""
        return self.gone_since is None

    @property
    def next_at(self) -> float:
        """When its next heartbeat is due."""
        return self.due if self.wanted_at is None else min(self.due, self.wanted_at)


class Beat:
    """One heartbeat of one agent. Once it is no longer its record's current one it has ended, or was given up."""

    __slots__ = ("answer", "failed", "record", "wake")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.answer: tuple[Heartbeat, int] | None = None  # what a batch has brought, and its question's mark
        self.failed = False
        self.wake: Wake | None = None

    @property
    def owner(self) -> str:
        """On whose behalf it is made."""
        return self.record.agent.id


class Roster:
    """All known agents and the order in which their heartbeats are due. Every method is atomic and returns at once."""

    def __init__(self, interval: float, *, spread: bool = True) -> None:
        self._interval = interval
        self._spread = spread
        self._phases = 0  # guarded by _lock; how many agents were spread
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}  # guarded by _lock
        # Guarded by _lock; stale entries are skipped when they come up.
        self._heap: list[tuple[float, int, Record]] = []
        self._count = 0  # guarded by _lock; keeps agents of one instant in order

    def update(self, agents: Iterable[Agent], now: float) -> None:
        """Take the list of agents as it is now; missing ones are heartbeaten no more.

        New ones are due at once. More than a handful are spread over the interval, so that they do not all ask in the
        same moment, now and ever after.
        """
        with self._lock:
            missing = dict(self._records)
            new: list[Record] = []
            listed: list[Record] = []
            for agent in agents:
                missing.pop(agent.id, None)
                known = self._records.get(agent.id)
                if known is None:
                    known = self._records[agent.id] = Record(agent, now)
                    new.append(known)
                known.agent = agent
                known.gone_since = None
                listed.append(known)
            if self._spread and len(new) > HANDFUL:
                for known in new:
                    known.due += phase(self._phases) * self._interval
                    self._phases += 1
            for known in listed:
                self._queue(known)
            for record in missing.values():
                if record.gone_since is None:
                    record.gone_since = now

    def expect(self, agent: Agent, now: float) -> None:
        """Know of an agent that was there before a restart; where the next list leaves it out, it is gone from then."""
        with self._lock:
            self._records.setdefault(agent.id, Record(agent, now))

    def _queue(self, record: Record) -> None:
        at = record.next_at
        if record.queued_for != at and record.current is None:
            if len(self._heap) > 2 * len(self._records) + 16:
                self._sweep()
            self._count += 1
            record.queued_for = at
            heapq.heappush(self._heap, (at, self._count, record))

    def _sweep(self) -> None:
        """Drop the stale entries: where only `tick` is called and no timer runs, nobody else takes them out."""
        self._heap = [entry for entry in self._heap if entry[2].queued_for == entry[0]]
        heapq.heapify(self._heap)

    def take_due(self, now: float, ahead: float = 0.0) -> list[Beat]:
        """Begin a heartbeat for every listed agent that is due for one.

        Once somebody is, those join whose cadence brings them within ``ahead`` seconds: to come back for each alone
        would cost more than its heartbeat. Nobody is asked before a slot's time that it waits for.
        """
        beats: list[Beat] = []
        horizon = now
        with self._lock:
            while self._heap and self._heap[0][0] <= horizon:
                at, _, record = self._heap[0]
                if at > now and record.queued_for == at != record.due:
                    break
                heapq.heappop(self._heap)
                if record.queued_for != at:
                    continue
                record.queued_for = None
                if record.listed and record.current is None:
                    if record.due <= now + ahead:
                        record.due = next_beat(record.due, self._interval, now + ahead)
                    beats.append(self._begin(record))
                    horizon = now + ahead
        return beats

    @staticmethod
    def _begin(record: Record) -> Beat:
        record.wanted_at = None
        record.current = Beat(record)
        return record.current

    def take_all(self) -> tuple[list[Beat], list[Beat]]:
        """Begin a heartbeat for every listed agent, due or not; return the new ones and those already under way."""
        new, under_way = [], []
        with self._lock:
            for record in self._records.values():
                if record.current is not None:
                    under_way.append(record.current)
                elif record.listed:
                    new.append(self._begin(record))
        return new, under_way

    def is_current(self, beat: Beat) -> bool:
        """Tell whether a heartbeat is under way and was not given up."""
        return beat.record.current is beat  # a lone read, which is atomic

    def done(self, beat: Beat, now: float, delay: float | None = None) -> float | None:
        """End a heartbeat and plan the next: at its absolute cadence, or after ``delay`` seconds.

        Returns:
            When the agent's next heartbeat is due; None where this one was not under way any more.
        """
        record = beat.record
        with self._lock:
            if record.current is not beat:
                return None
            record.current = None
            if delay is not None:
                record.due = now + delay
            else:
                # At most an interval from now: a success ends whatever wait a failure had begun.
                record.due = min(next_beat(record.due, self._interval, now), now + self._interval)
            if record.listed:
                self._queue(record)
            return record.next_at

    def next_due(self) -> float | None:
        """Tell when the next heartbeat is due."""
        with self._lock:
            return self._heap[0][0] if self._heap else None

    def answered(self, record: Record, verdicts: tuple[Verdict, ...], now: dt.datetime) -> list[Verdict]:
        """Enter a heartbeat's success; return the verdicts worth telling.

        Those are the ones that differ from the last time, and new ones that somebody should look at.
        """
        record.last_heartbeat_at = now  # lone accesses: only the heartbeat under way writes these two
        if not verdicts and not record.verdicts:
            return []
        with self._lock:
            before = {verdict.ident: verdict.reason for verdict in record.verdicts}
            record.verdicts = verdicts
            return [
                verdict
                for verdict in verdicts
                if before.get(verdict.ident, _expected(verdict.reason)) is not verdict.reason
            ]

    def gone(self, now: float, after: float) -> list[Record]:
        """Tell which agents have not been listed for longer than ``after`` seconds."""
        with self._lock:
            return [
                record
                for record in self._records.values()
                if record.gone_since is not None and record.current is None and now - record.gone_since >= after
            ]

    def forget(self, record: Record) -> bool:
        """Forget an agent, unless it has been listed again; tell whether it is forgotten."""
        with self._lock:
            if record.listed or self._records.get(record.agent.id) is not record:
                return False
            record.queued_for = None
            del self._records[record.agent.id]
            return True

    def is_asleep(self, agent_id: str) -> bool:
        """Tell whether an agent was not to be woken when it was last heartbeaten."""
        with self._lock:
            record = self._records.get(agent_id)
            return record is not None and bool(record.asleep)

    def verdicts_of(self, agent_id: str) -> tuple[Verdict, ...]:
        """Tell the verdicts on an agent's last answer; none where it is not known."""
        with self._lock:
            record = self._records.get(agent_id)
            return () if record is None else record.verdicts

    def last_heartbeats(self) -> dict[str, dt.datetime]:
        """Copy the instants of the last successes, by agent."""
        with self._lock:
            return {
                agent_id: record.last_heartbeat_at
                for agent_id, record in sorted(self._records.items())
                if record.last_heartbeat_at is not None
            }

    @property
    def size(self) -> int:
        """How many agents are known."""
        return len(self._records)  # a lone read

    def counts(self) -> tuple[int, int]:
        """Tell how many agents are listed, and how many heartbeats are under way."""
        with self._lock:
            records = self._records.values()
            return sum(record.listed for record in records), sum(record.current is not None for record in records)


def _expected(reason: VerdictReason) -> VerdictReason | None:
    """Tell which first verdict on a slot is no news: any but one that somebody should look at."""
    return None if reason is VerdictReason.UNREADABLE else reason
