"""What a journal holds in memory: its records, and how to find them. Guarded by the journal's lock."""

from collections.abc import Iterable, Iterator

from harborcal.journal.records import Attempt, AttemptState, Letter, LetterState
from harborcal.model import DeadLetter, SlotKey

ATTEMPTS_KEPT = 1_000
"""How many settled attempts are remembered, so that a stale answer after a restart does not start one again."""

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

    def unfinished_of(self, agent_id: str, keys: Iterable[SlotKey]) -> Attempt | None:
        """Find the attempt at a slot that has not ended."""
        meant = frozenset(keys)
        for attempt in self._unfinished.values():
            if attempt.agent_id == agent_id and not meant.isdisjoint(attempt.keys):
                return attempt
        return None

    def surplus(self, awaited: "Letters") -> list[int]:
        """Tell which settled ones to forget: the oldest, but none whose slot's letters are still on their way."""
        beyond = len(self._settled) - ATTEMPTS_KEPT
        if beyond <= 0:
            return []
        spared = (
            attempt_id
            for attempt_id, attempt in self._settled.items()
            if not any(awaited.is_pending(attempt.agent_id, key) for key in attempt.keys)
        )
        return [attempt_id for attempt_id, _ in zip(spared, range(beyond), strict=False)]


class Letters:
    """Letters by state, oldest first, and the latest one of every slot."""

    def __init__(self) -> None:
        self._by_state: dict[LetterState, dict[int, Letter]] = {state: {} for state in LetterState}
        self._latest: dict[tuple[str, SlotKey], Letter] = {}
        self._waiting: dict[tuple[str, SlotKey], int] = {}  # how many pending ones, by slot
        self._lanes: dict[int, set[int]] = {}  # the numbers of the pending ones, by lane
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
        known = self._forget_waiting(letter.number)
        if known is not None and known.state is not letter.state:
            self._take_out(known)
        letters = self._by_state[letter.state]
        comes_back = letter.state is LetterState.PENDING and bool(letters) and letter.number < next(reversed(letters))
        letters[letter.number] = letter
        if comes_back and known is not None and known.state is LetterState.DEAD:
            self._by_state[letter.state] = dict(sorted(letters.items()))
        for name in _names(letter):
            if name not in self._latest or self._latest[name].number <= letter.number:
                self._latest[name] = letter
            if letter.state is LetterState.PENDING:
                self._waiting[name] = self._waiting.get(name, 0) + 1
        if letter.state is LetterState.PENDING:
            self._lanes.setdefault(letter.lane, set()).add(letter.number)
        elif letter.state is LetterState.DEAD:
            self._picture_dead()

    def remove(self, number: int) -> None:
        """Forget a letter."""
        letter = self._forget_waiting(number)
        if letter is None:
            return
        self._take_out(letter)
        for name in _names(letter):
            if self._latest.get(name) is letter:
                del self._latest[name]

    def _take_out(self, letter: Letter) -> None:
        del self._by_state[letter.state][letter.number]
        if letter.state is LetterState.DEAD:
            self._picture_dead()

    def _forget_waiting(self, number: int) -> Letter | None:
        letter = self.get(number)
        if letter is None:
            return None
        if letter.state is LetterState.PENDING:
            self._lanes[letter.lane].discard(number)
            if not self._lanes[letter.lane]:
                del self._lanes[letter.lane]
            for name in _names(letter):
                self._waiting[name] -= 1
                if not self._waiting[name]:
                    del self._waiting[name]
        return letter

    def latest_of(self, agent_id: str, key: SlotKey) -> Letter | None:
        """Find the latest letter of a slot."""
        return self._latest.get((agent_id, key))

    def is_pending(self, agent_id: str, key: SlotKey) -> bool:
        """Tell whether letters of a slot are on their way."""
        return (agent_id, key) in self._waiting

    def following(self, letter: Letter) -> list[Letter]:
        """List the pending letters of a letter's lane that come after it."""
        pending = self._by_state[LetterState.PENDING]
        return [pending[number] for number in sorted(self._lanes.get(letter.lane, ())) if number > letter.number]

    def has_later(self, letter: Letter) -> bool:
        """Tell whether a later letter of its lane was, or will be, sent."""
        return any(
            other.lane == letter.lane and other.number > letter.number
            for state in (LetterState.PENDING, LetterState.DELIVERED)
            for other in self._by_state[state].values()
        )

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
        return self._latest.get((letter.agent_id, letter.key)) is letter

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
