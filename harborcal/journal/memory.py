"""What a journal holds in memory: its records, and how to find them. Guarded by the journal's lock."""

import itertools
from collections.abc import Iterable, Iterator

from harborcal.journal.records import Attempt, AttemptState, Letter, LetterState
from harborcal.model import DeadLetter, SlotKey

ATTEMPTS_KEPT = 1_000
"""How many settled attempts are remembered, so that a stale answer after a restart does not start one again."""

LOOKS = 16
"""How many of them are looked at with each write."""

LETTERS_KEPT = 1_000
"""How many delivered letters are remembered, for whoever wants to know what was told."""

DEAD_LETTERS_KEPT = 1_000
"""How many dead letters wait to be looked at; beyond that the oldest are dropped, and counted."""


class Attempts:
    """Attempts, unfinished ones and the latest settled ones, oldest first."""

    def __init__(self) -> None:
        self._unfinished: dict[int, Attempt] = {}
        self._settled: dict[int, Attempt] = {}
        self._numbers: dict[tuple[str, SlotKey], dict[int, int]] = {}  # attempts' numbers by id, by slot

    def __iter__(self) -> Iterator[Attempt]:
        yield from sorted((*self._unfinished.values(), *self._settled.values()), key=lambda attempt: attempt.id)

    def get(self, attempt_id: int) -> Attempt | None:
        """Find an attempt; None where it is remembered no more."""
        return self._unfinished.get(attempt_id) or self._settled.get(attempt_id)

    def put(self, attempt: Attempt) -> None:
        """Remember an attempt, as it is now."""
        is_settled = attempt.state is AttemptState.SETTLED
        (self._unfinished if is_settled else self._settled).pop(attempt.id, None)
        (self._settled if is_settled else self._unfinished)[attempt.id] = attempt
        for key in attempt.keys:
            self._numbers.setdefault((attempt.agent_id, key), {})[attempt.id] = attempt.number

    def remove(self, attempt_id: int) -> None:
        """Forget an attempt."""
        attempt = self._unfinished.pop(attempt_id, None) or self._settled.pop(attempt_id, None)
        if attempt is None:
            return
        for key in attempt.keys:
            numbers = self._numbers[attempt.agent_id, key]
            del numbers[attempt_id]
            if not numbers:
                del self._numbers[attempt.agent_id, key]

    def last_number(self, agent_id: str, keys: Iterable[SlotKey]) -> int:
        """Tell the number of the last attempt at a slot; 0 where none is remembered."""
        return max((number for key in keys for number in self._numbers.get((agent_id, key), {}).values()), default=0)

    def latest_of(self, agent_id: str, keys: Iterable[SlotKey]) -> Attempt | None:
        """Find the last attempt at a slot that is remembered."""
        return self.get(max((number for key in keys for number in self._numbers.get((agent_id, key), ())), default=0))

    def unfinished(self, agent_id: str) -> list[Attempt]:
        """List an agent's attempts that have not ended."""
        return [attempt for attempt in self._unfinished.values() if attempt.agent_id == agent_id]

    def unfinished_of(self, agent_id: str, keys: Iterable[SlotKey]) -> Attempt | None:
        """Find the attempt at a slot that has not ended."""
        meant = frozenset(keys)
        for attempt in self._unfinished.values():
            if attempt.agent_id == agent_id and not meant.isdisjoint(attempt.keys):
                return attempt
        return None

    def surplus(self, awaited: "Letters") -> list[int]:
        """Tell which settled ones to forget: the oldest, but none whose slot's letters are still on their way.

        Only a few are looked at each time; those that are spared come last the next time.
        """
        beyond = len(self._settled) - ATTEMPTS_KEPT
        if beyond <= 0:
            return []
        surplus: list[int] = []
        for attempt_id in list(itertools.islice(self._settled, LOOKS)):
            attempt = self._settled[attempt_id]
            if any(awaited.is_pending(attempt.agent_id, key) for key in attempt.keys):
                self._settled[attempt_id] = self._settled.pop(attempt_id)
            elif len(surplus) < beyond:
                surplus.append(attempt_id)
        return surplus


class Letters:
    """Letters by state, oldest first, and by slot."""

    def __init__(self) -> None:
        self._by_state: dict[LetterState, dict[int, Letter]] = {state: {} for state in LetterState}
        self._by_slot: dict[tuple[str, SlotKey], dict[int, Letter]] = {}  # under each of a slot's names; few each
        self.dead: tuple[DeadLetter, ...] = ()

    def __iter__(self) -> Iterator[Letter]:
        every = (letter for letters in self._by_state.values() for letter in letters.values())
        yield from sorted(every, key=lambda letter: letter.number)

    def get(self, number: int) -> Letter | None:
        """Find a letter; None where it is remembered no more."""
        return next((letters[number] for letters in self._by_state.values() if number in letters), None)

    def in_state(self, state: LetterState) -> tuple[Letter, ...]:
        """List the letters in one state."""
        letters = self._by_state[state].values()
        return tuple(sorted(letters, key=lambda letter: letter.number))

    def put(self, letter: Letter) -> None:
        """Remember a letter, as it is now."""
        known = self.get(letter.number)
        if known is not None:
            self._take_out(known, stays=letter.state)
        letters = self._by_state[letter.state]
        letters[letter.number] = letter
        if known is not None and known.state is LetterState.DEAD:  # it is sent again, before those that came later
            self._by_state[letter.state] = dict(sorted(letters.items()))
        for name in _names(letter):
            self._by_slot.setdefault(name, {})[letter.number] = letter
        if LetterState.DEAD in {letter.state, letter.state if known is None else known.state}:
            self._picture_dead()

    def remove(self, number: int) -> None:
        """Forget a letter."""
        letter = self.get(number)
        if letter is None:
            return
        self._take_out(letter)
        if letter.state is LetterState.DEAD:
            self._picture_dead()

    def _take_out(self, letter: Letter, stays: LetterState | None = None) -> None:
        if letter.state is not stays:  # else it keeps its place
            del self._by_state[letter.state][letter.number]
        for name in _names(letter):
            del self._by_slot[name][letter.number]
            if not self._by_slot[name]:
                del self._by_slot[name]

    def latest_of(self, agent_id: str, key: SlotKey) -> Letter | None:
        """Find the latest letter of a slot."""
        letters = self._by_slot.get((agent_id, key), {})
        return letters[max(letters)] if letters else None

    def is_pending(self, agent_id: str, key: SlotKey) -> bool:
        """Tell whether letters of a slot are on their way."""
        letters = self._by_slot.get((agent_id, key), {})
        return any(letter.state is LetterState.PENDING for letter in letters.values())

    def first_pending(self, letter: Letter) -> Letter:
        """Find the pending letter of a letter's lane that was accepted first."""
        others = [
            other
            for name in _names(letter)
            for other in self._by_slot.get(name, {}).values()
            if other.lane == letter.lane and other.state is LetterState.PENDING
        ]
        return min(others, key=lambda other: other.number, default=letter)

    def following(self, letter: Letter) -> list[Letter]:
        """List the pending letters of a letter's lane that come after it."""
        return [other for other in self._later_than(letter) if other.state is LetterState.PENDING]

    def has_later(self, letter: Letter) -> bool:
        """Tell whether a later letter of its lane was, or will be, sent."""
        return any(other.state is not LetterState.DEAD for other in self._later_than(letter))

    def _later_than(self, letter: Letter) -> list[Letter]:
        others = {
            number: other
            for name in _names(letter)
            for number, other in self._by_slot.get(name, {}).items()
            if number > letter.number and other.lane == letter.lane
        }
        return [others[number] for number in sorted(others)]

    def count(self, state: LetterState) -> int:
        """Tell how many are in one state."""
        return len(self._by_state[state])

    @property
    def oldest_pending(self) -> Letter | None:
        """The pending letter that was accepted first."""
        return next(iter(self._by_state[LetterState.PENDING].values()), None)

    def surplus(self) -> tuple[list[int], list[int]]:
        """Tell which delivered and which dead ones to forget: the oldest.

        Spared is what keeps a dead one of its slot from being sent after it.
        """
        delivered = self._beyond(LetterState.DELIVERED, LETTERS_KEPT)
        if delivered:
            refused = {letter.lane for letter in self._by_state[LetterState.DEAD].values()}
            letters = self._by_state[LetterState.DELIVERED]
            delivered = [
                number
                for number in delivered
                if letters[number].lane not in refused or not self._is_latest(letters[number])
            ]
        return delivered, self._beyond(LetterState.DEAD, DEAD_LETTERS_KEPT)

    def _is_latest(self, letter: Letter) -> bool:
        return self.latest_of(letter.agent_id, letter.key) is letter

    def _beyond(self, state: LetterState, most: int) -> list[int]:
        letters = self._by_state[state]
        return list(letters)[: len(letters) - most] if len(letters) > most else []

    def _picture_dead(self) -> None:
        self.dead = tuple(
            DeadLetter(
                number=letter.number,
                agent_id=letter.agent_id,
                key=letter.address,
                status=letter.update.status,
                accepted_at=letter.accepted_at,
                error=letter.error,
            )
            for letter in self.in_state(LetterState.DEAD)
        )


def _names(letter: Letter) -> set[tuple[str, SlotKey]]:
    return {(letter.agent_id, letter.key), (letter.agent_id, letter.address)}
