"""Every slot that was ever seen, and what became of it: the sums always agree."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from harborcal.model import Account, AccountLine, Slot, SlotFate, SlotKey, SlotStatus, Verdict, VerdictReason

KEPT = 4_096
"""How many slots whose fate is sealed are remembered one by one; older ones are only counted."""

_SEALED = frozenset({SlotFate.SETTLED, SlotFate.REFUSED, SlotFate.WITHDRAWN})


class _Line:
    """One slot of one agent. Guarded by the book's lock."""

    __slots__ = ("agent_id", "ended", "fate", "ident", "names", "reason", "status")

    def __init__(self, agent_id: str, ident: str) -> None:
        self.agent_id = agent_id
        self.ident = ident
        self.names: set[SlotKey | str] = set()
        self.fate = SlotFate.WAITING
        self.reason = ""
        self.status = ""  # how it was settled
        self.ended = 0  # when, in the order of the ledger's questions: an older answer knows nothing of it

    @property
    def column(self) -> tuple[SlotFate, str]:
        return self.fate, self.status


class Book:
    """Keeps a line for every slot: at any time each has one fate, so that all fates add up to the slots seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[tuple[str, SlotKey | str], _Line] = {}  # guarded by _lock; by agent and each name
        self._waiting: dict[str, set[_Line]] = {}  # guarded by _lock; by agent
        self._sealed: OrderedDict[int, _Line] = OrderedDict()  # guarded by _lock; by identity, oldest first
        self._columns: Counter[tuple[SlotFate, str]] = Counter()  # guarded by _lock; how many have which fate
        self._seen = 0  # guarded by _lock

    def listed(self, agent_id: str, slots: Sequence[Slot], verdicts: Sequence[Verdict], *, asked: int) -> None:
        """Enter what a heartbeat's answer lists, and the verdict on each; what it lists no more was withdrawn.

        Args:
            agent_id: Whose.
            slots: The slots that could be read.
            verdicts: The verdicts on them, in their order, then those on slots that could not be read.
            asked: The mark of the question whose answer that is.
        """
        if not verdicts and agent_id not in self._waiting:  # a lone read; the usual case costs no lock
            return
        with self._lock:
            missing = set(self._waiting.get(agent_id, ()))
            for index, verdict in enumerate(verdicts):
                slot = slots[index] if index < len(slots) else None
                if slot is not None and (slot.id is not None or slot.virtual_id is not None):
                    line = self._line_of(agent_id, slot.keys, verdict.ident)
                else:  # one without any id has nothing but its place in the answer
                    line = self._line_of(agent_id, (verdict.ident or f"no id, {index}",), verdict.ident)
                missing.discard(line)
                is_over = line.ended > asked or (
                    verdict.reason is VerdictReason.SETTLED and line.fate is not SlotFate.WAITING
                )
                if line.fate is not SlotFate.ACTIVE and not is_over:
                    refused = verdict.reason is VerdictReason.UNREADABLE
                    self._move(line, SlotFate.REFUSED if refused else SlotFate.WAITING, _reason_of(verdict))
            for line in missing:
                self._move(line, SlotFate.WITHDRAWN, "the calendar lists it no more")

    def _line_of(self, agent_id: str, names: Iterable[SlotKey | str], ident: str) -> _Line:
        every = tuple(names)
        line = next((self._lines[agent_id, name] for name in every if (agent_id, name) in self._lines), None)
        if line is None and not isinstance(every[0], str):
            line = self._once_unreadable(agent_id, ident)
        if line is None:
            line = _Line(agent_id, ident)
            self._seen += 1
            self._columns[line.column] += 1
            self._waiting.setdefault(agent_id, set()).add(line)
        for name in every:
            line.names.add(name)
            self._lines.setdefault((agent_id, name), line)
        return line

    def _once_unreadable(self, agent_id: str, ident: str) -> _Line | None:
        """Find the line of a slot that could not be read until now, and so was known by its ident only."""
        line = self._lines.pop((agent_id, ident), None)
        if line is not None:
            line.names.discard(ident)
        return line

    def _move(self, line: _Line, fate: SlotFate, reason: str, status: str = "") -> None:
        self._columns[line.column] -= 1
        line.fate, line.reason, line.status = fate, reason, status
        self._columns[line.column] += 1
        waiting = self._waiting.setdefault(line.agent_id, set())
        waiting.discard(line)
        self._sealed.pop(id(line), None)
        if fate is SlotFate.WAITING:
            waiting.add(line)
        elif fate in _SEALED:
            self._sealed[id(line)] = line
            if len(self._sealed) > KEPT:
                self._forget(self._sealed.popitem(last=False)[1])
        if not waiting:
            del self._waiting[line.agent_id]

    def _forget(self, line: _Line) -> None:
        for name in line.names:
            if self._lines.get((line.agent_id, name)) is line:
                del self._lines[line.agent_id, name]

    def began(self, agent_id: str, keys: Iterable[SlotKey], ident: str) -> None:
        """Enter that a slot is active."""
        with self._lock:
            self._move(self._line_of(agent_id, keys, ident), SlotFate.ACTIVE, "")

    def waits_again(self, agent_id: str, keys: Iterable[SlotKey], ident: str, reason: str) -> None:
        """Enter that a slot is active no more, and will be tried again."""
        with self._lock:
            self._move(self._line_of(agent_id, keys, ident), SlotFate.WAITING, reason)

    def settled(
        self,
        agent_id: str,
        keys: Iterable[SlotKey],
        ident: str,
        status: SlotStatus,
        *,
        reason: str,
        refused: bool,
        asked: int,
    ) -> None:
        """Enter how a slot ended; ``asked`` marks when, among the questions to the calendar."""
        with self._lock:
            line = self._line_of(agent_id, keys, ident)
            line.ended = asked
            if refused:
                self._move(line, SlotFate.REFUSED, reason)
            else:
                self._move(line, SlotFate.SETTLED, reason, str(status))

    def forget(self, agent_id: str) -> None:
        """Enter that an agent is gone, and what waited for it with it."""
        with self._lock:
            for line in tuple(self._waiting.get(agent_id, ())):
                self._move(line, SlotFate.WITHDRAWN, "its agent is gone")

    def account(self) -> Account:
        """Add up."""
        with self._lock:
            waiting = [line for lines in self._waiting.values() for line in lines]
            active = {id(line): line for line in self._lines.values() if line.fate is SlotFate.ACTIVE}
            refused = [line for line in self._sealed.values() if line.fate is SlotFate.REFUSED]
            told = tuple(
                AccountLine(agent_id=line.agent_id, ident=line.ident, fate=line.fate, reason=line.reason)
                for line in (*active.values(), *waiting, *refused)
            )
            columns, seen = dict(self._columns), self._seen
        by_fate: Counter[SlotFate] = Counter()
        for (fate, _), count in columns.items():
            by_fate[fate] += count
        return Account(
            seen=seen,
            active=by_fate[SlotFate.ACTIVE],
            waiting=by_fate[SlotFate.WAITING],
            settled={status: count for (fate, status), count in sorted(columns.items()) if status and count},
            refused=by_fate[SlotFate.REFUSED],
            withdrawn=by_fate[SlotFate.WITHDRAWN],
            lines=tuple(sorted(told, key=lambda line: (line.agent_id, line.fate, line.ident))),
        )


def _reason_of(verdict: Verdict) -> str:
    return f"{verdict.reason}: {verdict.detail}" if verdict.detail else str(verdict.reason)
