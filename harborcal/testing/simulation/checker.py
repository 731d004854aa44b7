"""What must be true of every history: looks at events only, and knows nothing of the code that made them.

The rules, by their names:

- ``one-at-a-time``: an agent has at most one live attempt, and so has a slot. An attempt lives from its wake until it
  may have ended: its wake raised or hung, and its agent was not heard since; its agent reported its end (or may have);
  the calendar was told so; a user or the calendar changed the slot under it; or its agent was silent for two leases.
- ``wakes``: the wake of one attempt is entered once, and once more after each crash where ``on_unknown`` is
  ``repeat``, and never before its slot's time; its agent is reminded at most once per silence, and not before that has
  lasted for a lease; a number names one attempt of a slot only.
- ``order``: what the calendar applies is legal, and nothing but the same again follows a terminal update, unless the
  calendar forgot it or a user changed the slot.
- ``no-invention``: the calendar is told ``finished`` only after the slot's agent said so; ``aborted`` only after its
  agent said so, after two leases of silence, or where a locked slot cannot be given back otherwise; ``skipped`` only
  where the slot is later than ``misfire_grace``, or would be, had a user not moved it moments ago.
- ``no-loss``: where an agent was told that its completion is accepted, the slot ends as finished; or the completion is
  shown as late, if it came after two leases of silence; or a user cancelled or moved the slot since the calendar last
  took its start, and the calendar has taken the completion, or has refused it and the status names it as dead.
- ``no-deafness``: an agent whose attempt lives is not told that it holds no slot, whatever it reports.
- ``no-surprise``: a report raises nothing but errors of harborcal's.
- ``durations``: the minutes that the calendar is told are those from the wake to the report, without pauses; it is told
  minutes with every finish.
- ``no-block``: an attempt ends within two leases of its agent's last sign of life, or of a call that a crash cut off,
  not counting outages, crashes and pauses.
- ``progress``: some time after all faults have stopped nothing is active, nothing is on its way, and every due slot of
  a living agent has ended, unless its calendar has forgotten that it was cancelled; where nothing ever goes wrong no
  slot waits for long while its agent is free.
- ``sums``: at every look the sums agree.
- ``agreement``: what the journal says was delivered last is what the calendar says in the end.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

from harborcal.testing.simulation.history import Event, EventKind

_SLACK = 900.0
"""Seconds that an end may take beyond the leases: heartbeats, back-off and the pace after an outage."""

_HAIR = 5.0

_TERMINAL = frozenset({"finished", "aborted", "skipped"})
_ENDS = frozenset({*_TERMINAL, "deferred"})
_UNDER_WAY = frozenset({"ongoing", "paused"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Violation:
    """Something that must never be, and was.

    Attributes:
        rule: Which rule was broken (see this module).
        text: How.
        event: Where it was noticed.
        story: The events that concern its agent and its slot, and all crashes.
        seed: Which rehearsal shows it again.
    """

    rule: str
    text: str
    event: Event
    story: tuple[Event, ...] = ()
    seed: int | None = None

    def __str__(self) -> str:
        head = f"{self.rule}: {self.text}" + ("" if self.seed is None else f" (seed {self.seed})")
        return "\n".join((head, *(f"  {event}" for event in self.story)))


def check(events: Iterable[Event]) -> tuple[Violation, ...]:
    """Find what must not be in a history, in the order of its events.

    Args:
        events: A whole history, in order.
    """
    history = tuple(events)
    found = [violation for rule in _RULES for violation in rule(history)]
    found.sort(key=lambda violation: violation.event.elapsed)
    return tuple(dataclasses.replace(violation, story=_story(history, violation.event)) for violation in found)


_GLOBAL = frozenset(
    {
        EventKind.STARTED,
        EventKind.CRASHED,
        EventKind.HEALED,
        EventKind.FELL_ILL,
        EventKind.OUTAGE_BEGAN,
        EventKind.OUTAGE_ENDED,
        EventKind.CLOCK_SET,
    }
)


def _story(history: Sequence[Event], where: Event) -> tuple[Event, ...]:
    """Pick what concerns a violation: its slot's events, its agent's wakes and deaths, and what concerns everybody."""
    concerned = [event for event in history if _concerns(event, where)]
    own = [event.elapsed for event in concerned if event.kind not in _GLOBAL]
    first = min(own, default=where.elapsed) - 60.0
    last = max(where.elapsed, max(own, default=where.elapsed)) + 60.0
    return tuple(event for event in concerned if first <= event.elapsed <= last)


def _concerns(event: Event, where: Event) -> bool:
    if event is where or event.kind in _GLOBAL:
        return True
    if where.slot and event.slot == where.slot:
        return True
    is_agents = bool(where.agent_id) and event.agent_id == where.agent_id
    return is_agents and event.kind in {EventKind.WAKE_ENTERED, EventKind.DIED, EventKind.RETURNED}


def _break(rule: str, event: Event, text: str) -> Violation:
    return Violation(rule=rule, text=text, event=event)


# --- live attempts --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Attempt:
    """An attempt as the doors saw it."""

    agent_id: str
    slot: str
    number: object
    wake_id: object
    lease: float | None
    sign_at: float  # when its agent was heard last, or woken
    perhaps_at: float = 0.0  # when a call of its agent was cut off, which may have been noted all the same
    grace: float = 0.0  # what crashes, outages and set clocks since then may add to a lease, or take from it
    may_be_forgotten: bool = False  # its last sign of life: those of a quarter of a lease are written as one
    had_expired: bool = False  # before its agent was heard again
    is_reminded: bool = False  # its latest call was a reminder, on which nothing hangs
    was_heard: bool = False  # by our process as it is now
    has_failed: bool = False  # its wake has, and nothing was heard since
    may_be_over: bool = False  # its end was told to somebody
    is_over: bool = False  # and surely arrived
    may_rest: bool = False

    def surely_lives(self, elapsed: float) -> bool:
        """Tell whether nothing can have ended it by now."""
        return not self.may_be_over and not self.has_failed and not self.may_have_expired(elapsed)

    def may_have_expired(self, elapsed: float) -> bool:
        """Tell whether its agent may have been given up by now."""
        return self.lease is not None and elapsed >= self._known_at() + 2 * self.lease - self.grace - _HAIR

    def _known_at(self) -> float:
        """Tell since when, at the earliest, our process thinks it silent."""
        return self.sign_at - (self.lease or 0.0) / 4 * self.may_be_forgotten

    def may_be_reminded(self, elapsed: float) -> bool:
        """Tell whether its agent may have been silent for a lease by now."""
        return self.lease is not None and elapsed >= self._known_at() + self.lease - self.grace - _HAIR

    @property
    def latest_at(self) -> float:
        """When, at the latest, our process may think that its agent was heard."""
        return max(self.sign_at, self.perhaps_at)

    def is_overdue(self, elapsed: float, delays: float) -> bool:
        """Tell whether its agent should have been given up by now."""
        if self.lease is None or self.may_rest:
            return False
        return elapsed > self.latest_at + 2 * self.lease + self.grace + delays + _SLACK


class _Attempts:
    """Follows every attempt through a history."""

    def __init__(self) -> None:
        self.every: list[_Attempt] = []
        self.delays: list[tuple[float, float]] = []  # when our process or the calendar was down
        self._down_since: float | None = None
        self._outage_since: float | None = None
        self._edited: set[str] = set()  # slots that a user has cancelled or moved since they were begun
        self._hung: set[object] = set()  # wakes that were not back in time: what they raise later is no news

    def follow(self, event: Event) -> None:
        """Enter what an event says of attempts."""
        handler = self._HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event)

    def live(self, elapsed: float) -> list[_Attempt]:
        """List the attempts that surely live."""
        return [one for one in self.every if one.surely_lives(elapsed)]

    def open(self) -> list[_Attempt]:
        """List the attempts that have not surely ended."""
        return [one for one in self.every if not one.is_over]

    def delay_between(self, since: float, elapsed: float) -> float:
        """Tell for how long somebody was down between two moments; who is down now, is so until the second."""
        now = [(start, elapsed) for start in (self._down_since, self._outage_since) if start is not None]
        return sum(max(0.0, end - max(start, since)) for start, end in (*self.delays, *now))

    def _of(self, event: Event) -> list[_Attempt]:
        return [one for one in self.every if one.agent_id == event.agent_id and one.slot == event.slot]

    def _entered(self, event: Event) -> None:
        known = next((one for one in self.every if one.wake_id == event.details["wake_id"]), None)
        if known is not None:
            known.is_reminded = bool(event.details["reminder"])
            return
        for earlier in self.every:
            if earlier.agent_id == event.agent_id or earlier.slot == event.slot:
                earlier.may_be_over = earlier.is_over = True
        lease = event.details["lease"]
        was_found = bool(event.details["reminder"])
        # It may be gone since it was begun: a look at the day will tell, of which the calendar is told nothing.
        is_gone = was_found and event.slot in self._edited
        self.every.append(
            _Attempt(
                event.agent_id,
                event.slot,
                event.details["attempt"],
                event.details["wake_id"],
                float(lease) if isinstance(lease, int | float) else None,
                # Whose first wake is a reminder was found at work, and has been silent for a lease.
                event.elapsed - (float(lease) if was_found and isinstance(lease, int | float) else 0.0),
                may_be_over=is_gone,
                is_over=is_gone,
            )
        )

    def _left(self, event: Event) -> None:
        if event.details["outcome"] == "raised" and event.details["wake_id"] not in self._hung:
            self._failed(event)

    def _failed(self, event: Event) -> None:
        hangs = event.kind is EventKind.WAKE_HUNG
        if hangs:
            self._hung.add(event.details["wake_id"])
        for one in self.every:
            if one.wake_id == event.details["wake_id"] and not one.is_reminded:
                # What is given back is told to the calendar afterwards. A call that hangs has reached who has reported.
                one.has_failed |= not (hangs and one.was_heard)

    def _answered(self, event: Event) -> None:
        what, outcome = event.details["what"], event.details["outcome"]
        if outcome == "refused":
            for one in self._of(event):
                one.is_over = True  # nobody is held by what it is told to hold no more
            return
        for one in self._of(event):
            if outcome == "accepted":
                one.was_heard, one.has_failed = True, False  # its wake has reached it, whatever becomes of the call
                one.had_expired |= one.may_have_expired(event.elapsed)
                one.sign_at, one.grace, one.may_be_forgotten = event.elapsed, 0.0, False
            if outcome == "unknown":
                one.perhaps_at = event.elapsed
            if what in {"complete", "abort"}:
                one.may_be_over = True
                one.is_over |= outcome == "accepted"
            if what == "pause":
                one.may_rest = True
            if what == "resume" and outcome == "accepted":
                one.may_rest = False

    def _updated(self, event: Event) -> None:
        outcome, status = event.details["outcome"], event.details["status"]
        if status == "ongoing" and outcome == "applied":
            self._edited.discard(event.slot)
        for one in self._of(event):
            if outcome == "refused" or (status in _ENDS and outcome in {"applied", "repeated"}):
                one.may_be_over = True
                one.is_over |= status in _ENDS or outcome == "refused"

    def _changed(self, event: Event) -> None:
        if event.kind is EventKind.CHANGED and event.details["what"] in {"cancelled", "moved"}:
            self._edited.add(event.slot)
        for one in self.every:
            if one.slot == event.slot:
                one.may_be_over = True
                # What a user has cancelled ends with a look at the day, of which the calendar is told nothing.
                one.is_over |= event.kind is EventKind.CHANGED

    def _crashed(self, event: Event) -> None:
        self._down_since = event.elapsed
        for one in self.every:
            one.grace += 60.0
            one.may_be_forgotten = True
            one.was_heard = False

    def _started(self, event: Event) -> None:
        if self._down_since is not None:
            self.delays.append((self._down_since, event.elapsed))
            self._down_since = None

    def _outage_began(self, event: Event) -> None:
        if self._outage_since is None:
            self._outage_since = event.elapsed

    def _outage_ended(self, event: Event) -> None:
        if self._outage_since is not None:
            self.delays.append((self._outage_since, event.elapsed))
            self._outage_since = None

    def _clock_set(self, event: Event) -> None:
        seconds = event.details["seconds"]
        for one in self.every:
            one.grace += abs(float(seconds)) if isinstance(seconds, int | float) else 0.0

    _HANDLERS: ClassVar[dict[EventKind, Callable[["_Attempts", Event], None]]] = {
        EventKind.WAKE_ENTERED: _entered,
        EventKind.WAKE_HUNG: _failed,
        EventKind.WAKE_LEFT: _left,
        EventKind.ANSWERED: _answered,
        EventKind.UPDATED: _updated,
        EventKind.CHANGED: _changed,
        EventKind.FORGOTTEN: _changed,
        EventKind.CRASHED: _crashed,
        EventKind.STARTED: _started,
        EventKind.OUTAGE_BEGAN: _outage_began,
        EventKind.OUTAGE_ENDED: _outage_ended,
        EventKind.CLOCK_SET: _clock_set,
    }


def _one_at_a_time(history: Sequence[Event]) -> Iterator[Violation]:
    attempts = _Attempts()
    for event in history:
        if event.kind is EventKind.WAKE_ENTERED:
            for other in attempts.live(event.elapsed):
                if other.wake_id == event.details["wake_id"]:
                    continue
                if other.agent_id == event.agent_id:
                    yield _break("one-at-a-time", event, f"{other.agent_id} is woken while it is at slot {other.slot}")
                elif other.slot == event.slot:
                    yield _break("one-at-a-time", event, f"slot {other.slot} is woken while {other.agent_id} has it")
        attempts.follow(event)


def _no_block(history: Sequence[Event]) -> Iterator[Violation]:
    attempts = _Attempts()
    told: set[int] = set()
    for event in history:
        for one in attempts.open():
            if id(one) not in told and one.is_overdue(
                event.elapsed, attempts.delay_between(one.latest_at, event.elapsed)
            ):
                told.add(id(one))
                where = dataclasses.replace(event, agent_id=one.agent_id, slot=one.slot)
                yield Violation(
                    rule="no-block",
                    text=f"{one.agent_id} is held by slot {one.slot}, silent since {one.latest_at:.0f} s",
                    event=event if event.agent_id == one.agent_id else where,
                )
        attempts.follow(event)


# --- wakes ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Wakes:
    entered: int = 0
    crashes_before: int = 0
    is_reminded: bool = False


def _wakes(history: Sequence[Event]) -> Iterator[Violation]:
    by_id: dict[object, _Wakes] = {}
    attempts = _Attempts()
    jumps = 0.0
    names: dict[tuple[str, str, object], object] = {}
    slots: dict[tuple[str, str], list[_Wakes]] = defaultdict(list)
    crashes, repeats = 0, False
    for event in history:
        if event.kind is EventKind.STARTED:
            repeats = event.details.get("on_unknown") == "repeat"
        elif event.kind is EventKind.CRASHED:
            crashes += 1
        elif event.kind is EventKind.ANSWERED and event.details["outcome"] != "refused":
            for wakes in slots[event.agent_id, event.slot]:
                wakes.is_reminded = False
        elif event.kind is EventKind.WAKE_ENTERED:
            wake_id = event.details["wake_id"]
            if wake_id not in by_id:
                slots[event.agent_id, event.slot].append(by_id.setdefault(wake_id, _Wakes()))
            yield from _enter(event, by_id[wake_id], crashes=crashes, repeats=repeats)
            yield from _untimely(event, attempts, jumps)
            name = (event.agent_id, event.slot, event.details["attempt"])
            if names.setdefault(name, wake_id) != wake_id:
                yield _break("wakes", event, f"attempt {event.details['attempt']} of slot {event.slot} is another one")
        elif event.kind is EventKind.CLOCK_SET:
            jumps += abs(_number(event, "seconds"))
        attempts.follow(event)


def _untimely(event: Event, attempts: _Attempts, jumps: float) -> Iterator[Violation]:
    late = event.details.get("late")
    if not event.details["reminder"]:
        if isinstance(late, int | float) and late < -_HAIR - jumps:
            yield _break(
                "wakes", event, f"{event.agent_id} is woken {-late:.0f} s before the time of slot {event.slot}"
            )
        return
    known = next((one for one in attempts.every if one.wake_id == event.details["wake_id"]), None)
    if known is not None and not known.may_be_reminded(event.elapsed):
        yield _break(
            "wakes", event, f"{event.agent_id} is reminded of slot {event.slot}, and was not silent for a lease"
        )


def _enter(event: Event, wakes: _Wakes, *, crashes: int, repeats: bool) -> Iterator[Violation]:
    if event.details["reminder"]:
        if wakes.is_reminded:
            yield _break("wakes", event, f"{event.agent_id} is reminded twice of slot {event.slot}")
        wakes.is_reminded = True
        return
    if wakes.entered and not (repeats and crashes > wakes.crashes_before):
        yield _break("wakes", event, f"{event.agent_id} is woken twice for one attempt at slot {event.slot}")
    wakes.entered += 1
    wakes.crashes_before = crashes


# --- what the calendar was told -------------------------------------------------------------------------------------


def _order(history: Sequence[Event]) -> Iterator[Violation]:
    settled: dict[str, str] = {}
    unsure: set[str] = set()
    for event in history:
        if event.kind in {EventKind.CHANGED, EventKind.FORGOTTEN}:
            settled.pop(event.slot, None)
            unsure.add(event.slot)
        elif event.kind is EventKind.UPDATED and event.details["outcome"] != "failed":
            status, was = str(event.details["status"]), str(event.details["was"])
            last = settled.get(event.slot)
            if last is not None and status != last:
                yield _break("order", event, f"slot {event.slot} is told {status} after {last}")
            if event.details["outcome"] == "refused":
                continue
            is_early = status in {"paused", "finished"} and was not in {"ongoing", "paused", status}
            if is_early and event.slot not in unsure:
                yield _break("order", event, f"slot {event.slot} is told {status} while it is {was}")
            if status in _TERMINAL:
                settled[event.slot] = status


def _no_invention(history: Sequence[Event]) -> Iterator[Violation]:
    ends = _Ends()
    for event in history:
        is_told = event.kind is EventKind.UPDATED and event.details["outcome"] == "applied"
        if is_told and not ends.was_told(event) and not ends.has_ground(event):
            text = f"slot {event.slot} is {event.details['status']}, and nobody and nothing has said so"
            yield _break("no-invention", event, text)
        ends.follow(event)


class _Ends:
    """Knows what a slot may end by."""

    def __init__(self) -> None:
        self._attempts = _Attempts()
        self._said: set[tuple[str, str, object]] = set()
        self._told: dict[str, object] = {}  # the last status of each slot, since its latest wake
        self._returned: set[str] = set()  # slots whose latest wake has returned in time
        self._hung: set[object] = set()  # wakes that have not: they have failed, whatever becomes of them later
        self._moved: dict[str, tuple[float, float | None]] = {}  # when a user last moved each slot, and how late it was
        self._grace: float | None = None
        self._jumps = 0.0
        self._has_crashed = False

    def was_told(self, event: Event) -> bool:
        """Tell whether the calendar was told the same before, of the same attempt: it has forgotten."""
        return self._told.get(event.slot) == event.details["status"]

    def has_ground(self, event: Event) -> bool:
        """Tell whether there is a reason for what the calendar is told."""
        status = event.details["status"]
        if status == "finished":
            return (event.agent_id, event.slot, "complete") in self._said
        if status == "skipped":
            return self._is_missed(event)
        if status != "aborted" or (event.agent_id, event.slot, "abort") in self._said:
            return True
        own = [one for one in self._attempts.every if one.slot == event.slot]
        if not own and self._has_crashed:
            return True  # its wake, and its reminder, were cut off before anybody was called
        if any(one.had_expired or one.may_have_expired(event.elapsed) for one in own):
            return True
        # A locked one cannot be given back, nor skipped, in any other way.
        is_locked = bool(event.details.get("locked"))
        return is_locked and (self._is_missed(event) or event.slot not in self._returned)

    def _is_missed(self, event: Event) -> bool:
        if self._grace is None:
            return False
        late = [event.details.get("late")]
        moved_at, was_late = self._moved.get(event.slot, (0.0, None))
        if was_late is not None and event.elapsed - moved_at <= _SLACK:  # what is skipped had been listed before that
            late.append(was_late + event.elapsed - moved_at)
        return any(isinstance(one, int | float) and one > self._grace - self._jumps - _HAIR for one in late)

    def follow(self, event: Event) -> None:
        """Enter what happened."""
        self._attempts.follow(event)
        self._has_crashed |= event.kind is EventKind.CRASHED
        if event.kind is EventKind.STARTED:
            grace = event.details.get("misfire_grace")
            self._grace = float(grace) if isinstance(grace, int | float) else None
        elif event.kind is EventKind.REPORTED:
            self._said.add((event.agent_id, event.slot, event.details["what"]))
        elif event.kind is EventKind.CHANGED and event.details["what"] == "moved":
            late = event.details.get("late")
            self._moved[event.slot] = (event.elapsed, float(late) if isinstance(late, int | float) else None)
        elif event.kind is EventKind.CLOCK_SET:
            self._jumps += abs(_number(event, "seconds"))
        elif event.kind is EventKind.UPDATED and event.details["outcome"] != "refused":
            self._told[event.slot] = event.details["status"]
        else:
            self._follow_wake(event)

    def _follow_wake(self, event: Event) -> None:
        if event.kind is EventKind.WAKE_ENTERED:
            self._told.pop(event.slot, None)
            if not event.details["reminder"]:  # one that fails gives nothing back
                self._returned.discard(event.slot)
        elif event.kind is EventKind.WAKE_LEFT and event.details["outcome"] == "returned":
            if event.details["wake_id"] not in self._hung:
                self._returned.add(event.slot)
        elif event.kind is EventKind.WAKE_HUNG:
            self._hung.add(event.details["wake_id"])


def _no_loss(history: Sequence[Event]) -> Iterator[Violation]:
    attempts = _Attempts()
    accepted: set[str] = set()
    taken: set[str] = set()  # slots whose completion the calendar has taken, and may have forgotten
    may_be_late: set[str] = set()
    changed: set[str] = set()
    for event in history:
        is_completion = event.kind is EventKind.ANSWERED and event.details["what"] == "complete"
        if is_completion and event.details["outcome"] == "accepted":
            accepted.add(event.slot)
            own = [one for one in attempts.every if one.slot == event.slot]
            if any(one.may_have_expired(event.elapsed) for one in own):
                may_be_late.add(event.slot)
        elif event.kind is EventKind.CHANGED and event.details["what"] in {"cancelled", "moved"}:
            changed.add(event.slot)
        elif event.kind is EventKind.UPDATED and event.details["outcome"] != "refused":
            # A wake proves nothing: the answer that it came from may be older than the change.
            if event.details["status"] == "ongoing":
                changed.discard(event.slot)
            elif event.details["status"] == "finished":
                taken.add(event.slot)
        elif event.kind is EventKind.ENDED and event.slot in accepted:
            status = event.details["status"]
            is_late = event.details["is_late"] and event.slot in may_be_late
            is_told = event.slot in taken or bool(event.details.get("is_dead"))
            if status != "finished" and not is_late and not (is_told and event.slot in changed):
                yield _break("no-loss", event, f"slot {event.slot} was completed, and ended as {status}")
        attempts.follow(event)


_DEAF = frozenset({"NoActiveSlotError", "SlotMismatchError"})


def _no_deafness(history: Sequence[Event]) -> Iterator[Violation]:
    attempts = _Attempts()
    for event in history:
        is_answer = event.kind is EventKind.ANSWERED
        if is_answer and event.details["outcome"] == "refused" and event.details.get("why") in _DEAF:
            for one in attempts.live(event.elapsed):
                if (one.agent_id, one.slot) == (event.agent_id, event.slot):
                    text = f"{one.agent_id} is at slot {one.slot}, and its {event.details['what']} is refused"
                    yield _break("no-deafness", event, text)
        attempts.follow(event)


def _no_surprise(history: Sequence[Event]) -> Iterator[Violation]:
    for event in history:
        if event.kind is EventKind.ANSWERED and event.details["outcome"] == "raised":
            words = f"{event.details['why']}: {event.details.get('error')}"
            yield _break("no-surprise", event, f"{event.details['what']} of slot {event.slot} raised {words}")


@dataclasses.dataclass(slots=True)
class _Stint:
    """The time that an agent spends on one attempt."""

    wake_id: object
    woken_at: float
    claimed_by: float  # when its claim was made at the latest
    is_unsure: bool = False
    has_failed: bool = False  # its wake: the next attempt may begin, and its wake be cut off before anybody sees it
    rested: float = 0.0
    paused_at: float | None = None
    worked: set[tuple[int, int]] = dataclasses.field(default_factory=set)  # least and most minutes, by completion

    def follow(self, event: Event) -> None:
        """Enter what happens to its slot."""
        if event.kind in {EventKind.CHANGED, EventKind.FORGOTTEN}:
            self.is_unsure = True
        elif event.kind is EventKind.ANSWERED:
            self._hear(event)
        elif event.kind is EventKind.REPORTED and event.details["what"] == "complete":
            self._complete(event.elapsed)
        elif event.kind is EventKind.UPDATED:
            self.is_unsure |= event.details["status"] == "deferred"
            self.has_failed &= event.details["status"] != "ongoing"  # whichever attempt it is, it has begun
        elif event.kind in {EventKind.WAKE_HUNG, EventKind.WAKE_LEFT} and event.details["wake_id"] == self.wake_id:
            self.has_failed |= event.kind is EventKind.WAKE_HUNG or event.details["outcome"] == "raised"

    def _complete(self, elapsed: float) -> None:
        resting = 0.0 if self.paused_at is None else elapsed - self.paused_at
        until = elapsed - self.rested - resting
        least, most = (max(1, int((until - since) // 60)) for since in (self.claimed_by, self.woken_at))
        self.worked.add((least, most))

    def _hear(self, event: Event) -> None:
        what, outcome = event.details["what"], event.details["outcome"]
        if what not in {"pause", "resume"} or outcome == "refused":
            return
        if outcome != "accepted":
            self.is_unsure = True
        elif what == "pause" and self.paused_at is None:
            self.paused_at = event.elapsed
        elif what == "resume" and self.paused_at is not None:
            self.rested += event.elapsed - self.paused_at
            self.paused_at = None

    def crash(self, elapsed: float) -> None:
        """Enter a crash: what was heard of a wake that failed may count for an attempt that was just being made."""
        if self.has_failed:
            self.claimed_by = elapsed

    def allows(self, minutes: int) -> bool:
        """Tell whether its agent may have worked for so long, give or take a minute."""
        return any(least - 1 <= minutes <= most + 1 for least, most in self.worked)


def _durations(history: Sequence[Event]) -> Iterator[Violation]:
    stints: dict[tuple[str, str], _Stint] = {}
    wakes: set[object] = set()
    down_at = -_SLACK
    for event in history:
        place = (event.agent_id, event.slot)
        if event.kind in {EventKind.CRASHED, EventKind.STARTED, EventKind.OUTAGE_ENDED}:
            down_at = event.elapsed
        if event.kind is EventKind.CRASHED:
            for every in stints.values():
                every.crash(event.elapsed)
        elif event.kind is EventKind.CLOCK_SET:
            for every in stints.values():
                every.is_unsure = True
        elif event.kind is EventKind.WAKE_ENTERED and event.details["wake_id"] not in wakes:
            wakes.add(event.details["wake_id"])
            # Just after a crash, or an outage that follows it, the claim may be older than the wake, and so it is where
            # the wake was lost in the crash.
            is_unsure = event.elapsed - down_at < _SLACK or bool(event.details["reminder"])
            stints[place] = _Stint(event.details["wake_id"], event.elapsed, event.elapsed, is_unsure=is_unsure)
        elif place in stints:
            stints[place].follow(event)
            if event.kind is EventKind.UPDATED and not stints[place].is_unsure:
                yield from _compare(event, stints[place])


def _compare(event: Event, stint: _Stint) -> Iterator[Violation]:
    minutes = event.details.get("minutes", 0)
    if minutes is None and event.details["outcome"] != "refused":
        yield _break("durations", event, f"slot {event.slot} is finished, and the calendar is told no minutes")
    if isinstance(minutes, int) and minutes and not stint.allows(minutes):
        told = " or ".join(str(most) if least == most else f"{least} to {most}" for least, most in sorted(stint.worked))
        yield _break("durations", event, f"slot {event.slot} took {told} minutes, and the calendar is told {minutes}")


# --- the end --------------------------------------------------------------------------------------------------------


_LOST_CANCELLATION = (
    (EventKind.CHANGED, "what", "cancelled"),
    (EventKind.UPDATED, "outcome", "refused"),
    (EventKind.FORGOTTEN, "status", "not_started"),
)
"""What ends a slot for its user and for us, one after the other, and leaves it open at a calendar."""


def _lost_cancellations(history: Sequence[Event]) -> set[str]:
    """Tell which slots were cancelled, as we were told by a refusal, and open again for a calendar that forgot it."""
    stages: dict[str, int] = defaultdict(int)
    for event in history:
        if event.kind in {EventKind.CHANGED, EventKind.UPDATED, EventKind.FORGOTTEN, EventKind.WAKE_ENTERED}:
            stage = stages[event.slot]
            kind, name, value = _LOST_CANCELLATION[stage % len(_LOST_CANCELLATION)]
            is_next = event.kind is kind and event.details.get(name) == value
            stages[event.slot] = stage + 1 if is_next and stage < len(_LOST_CANCELLATION) else 0
    return {slot for slot, stage in stages.items() if stage == len(_LOST_CANCELLATION)}


def _progress(history: Sequence[Event]) -> Iterator[Violation]:
    lost = _lost_cancellations(history)
    for event in history:
        if event.kind is EventKind.WAITED:
            yield _break("progress", event, f"slot {event.slot} is due, {event.agent_id} is free, and is not woken")
        elif event.kind is EventKind.ENDED and event.details["is_live"]:
            status = str(event.details["status"])
            if status in _UNDER_WAY:
                yield _break("progress", event, f"slot {event.slot} is {status} for ever")
            elif status not in _TERMINAL and event.details["is_due"] and event.slot not in lost:
                yield _break("progress", event, f"slot {event.slot} is due, and still {status}")
        elif event.kind is EventKind.OVER:
            for name in ("active", "pending"):
                if event.details[name]:
                    yield _break("progress", event, f"in the end there are {name}: {event.details[name]}")


def _sums(history: Sequence[Event]) -> Iterator[Violation]:
    for event in history:
        if event.kind is EventKind.LOOKED:
            accepted, *parts = (_number(event, name) for name in ("accepted", "delivered", "pending", "dead"))
            if accepted != sum(parts):
                yield _break("sums", event, f"{accepted} updates were accepted, and became {sum(parts)}")
            if not event.details["is_balanced"]:
                yield _break("sums", event, "the account is not balanced")


def _number(event: Event, name: str) -> float:
    value = event.details[name]
    return value if isinstance(value, int | float) else 0


def _agreement(history: Sequence[Event]) -> Iterator[Violation]:
    changed: set[str] = set()
    for event in history:
        if event.kind is EventKind.CHANGED:
            changed.add(event.slot)
        elif event.kind is EventKind.ENDED and event.slot not in changed:
            told, status = event.details["told"], event.details["status"]
            if told is not None and told != status:
                yield _break("agreement", event, f"slot {event.slot} was told {told} last, and is {status}")


_RULES: tuple[Callable[[Sequence[Event]], Iterator[Violation]], ...] = (
    _one_at_a_time,
    _wakes,
    _order,
    _no_invention,
    _no_loss,
    _no_deafness,
    _no_surprise,
    _durations,
    _no_block,
    _progress,
    _sums,
    _agreement,
)
