"""What a heartbeat's answer means, and what follows from it."""

from harborcal.ledger import Claim
from harborcal.model import Heartbeat, Slot
from harborcal.policy import NOTHING, Choice, asleep_of, choose, wake_delay
from harborcal.scheduler.context import Context
from harborcal.scheduler.days import Days
from harborcal.scheduler.dispatch import Dispatch
from harborcal.scheduler.misses import AT_ONCE, Misses
from harborcal.scheduler.outlook import Outlook
from harborcal.scheduler.roster import Beat, Record, Roster
from harborcal.scheduler.troubles import HEARTBEAT, QUIET_EVERY
from harborcal.scheduler.updates import Updates

MANY = 100
"""How many agents are too many to say of each, now and then, that nothing has changed."""

HAIR = 0.001
"""Seconds after a slot's time at which it is looked at: timers are exact, and clocks drift while one waits."""

SOONEST = 0.05
"""Seconds between two looks at least, however near a slot's time is."""


class Answers:
    """Reconciles what the calendar lists with what the ledger holds, then dispatches what is due."""

    def __init__(
        self,
        context: Context,
        *,
        roster: Roster,
        dispatch: Dispatch,
        updates: Updates,
        misses: Misses,
        days: Days,
        outlook: Outlook,
    ) -> None:
        self._roster = roster
        self._dispatch = dispatch
        self._updates = updates
        self._misses = misses
        self._days = days
        self._outlook = outlook
        self._grace = context.config.misfire_grace
        self._book = context.book
        self._interval = context.config.heartbeat_interval
        self._clock = context.clock
        self._ledger = context.ledger
        self._lifespan = context.lifespan
        self._troubles = context.troubles
        self._voice = context.voice

    def handle(self, beat: Beat, heartbeat: Heartbeat, asked: int) -> None:
        """Follow up on an answer, calling whoever is to be called.

        Args:
            beat: Whose heartbeat.
            heartbeat: The answer.
            asked: The ledger's mark of the question.
        """
        record, agent_id = beat.record, beat.owner
        self._note(record, heartbeat)
        claim = self._ledger.active_of(agent_id)
        is_found = claim is not None and self._ledger.is_found(claim)
        if is_found:  # before anything of it is told, or done again: it may have been cancelled or moved meanwhile
            self._days.look(record)
        if claim is not None:
            self._follow(claim, beat, heartbeat, asked)
        if not is_found:
            self._days.look(record)
        self._remind_of_settled(heartbeat.slots, asked)
        if self._outlook.may_ask(record):
            self._outlook.ask(record)
        choice = self._choose(record, heartbeat, asked)
        self._enter(record, heartbeat, choice, asked)
        self._act(beat, choice, asked)

    def handle_at_once(self, beat: Beat, heartbeat: Heartbeat, asked: int) -> bool:
        """Follow up on an answer that asks for nothing but to be looked at; False for any other, which is left alone.

        That is most of them. It calls nobody, so it may be done where others wait: arguments are those of `handle`.
        """
        record = beat.record
        if not self._is_quiet(record, heartbeat):
            return False
        is_idle = not heartbeat.slots and not heartbeat.unreadable
        choice = NOTHING if is_idle else self._choose(record, heartbeat, asked)
        if choice.dispatch is not None or choice.missed:
            return False
        self._note(record, heartbeat)
        self._enter(record, heartbeat, choice, asked)
        return True

    def _is_quiet(self, record: Record, heartbeat: Heartbeat) -> bool:
        """Tell whether an answer is about nothing that anybody here is at, or was at."""
        agent_id, slots = record.agent.id, heartbeat.slots
        return (
            self._ledger.active_of(agent_id) is None
            and not self._days.may_look(record)
            and not self._outlook.may_ask(record)
            and (not slots or (all(slot.status.is_pending for slot in slots) and not self._ledger.knows_any(slots)))
        )

    def _note(self, record: Record, heartbeat: Heartbeat) -> None:
        """Enter that there was an answer, and what it says of its agent."""
        record.failures = 0
        self._troubles.clear(record.agent.id, HEARTBEAT)
        self._say_ok(record, heartbeat)
        self._note_unreadable(record.agent.id, heartbeat)
        record.asleep = asleep_of(heartbeat, record.agent.state)

    def _enter(self, record: Record, heartbeat: Heartbeat, choice: Choice, asked: int) -> None:
        """Enter what was decided of each slot, and say what has changed."""
        agent_id = record.agent.id
        self._book.listed(agent_id, heartbeat.slots, choice.verdicts, asked=asked)
        if heartbeat.slots or record.coming:
            self._look_again(record, heartbeat, choice)
        for verdict in self._roster.answered(record, choice.verdicts, self._clock.now()):
            self._voice.info(
                "calendar slot verdict",
                agent=agent_id,
                slot=verdict.ident,
                reason=str(verdict.reason),
                detail=verdict.detail,
            )

    def _look_again(self, record: Record, heartbeat: Heartbeat, choice: Choice) -> None:
        """Have the agent's next heartbeat made when its next slot is due, where that is sooner.

        A look, not the wake itself: until then the slot may be cancelled or moved, or the clock be set.
        """
        now = self._clock.now()
        self._outlook.saw(heartbeat, now)
        looks = [] if choice.next_due is None else [choice.next_due]
        if record.coming and not record.asleep and self._ledger.active_of(record.agent.id) is None:
            is_served = choice.dispatch is not None or choice.take_up is not None
            coming = self._outlook.next_due(record, now, is_served=is_served)
            looks += [] if coming is None else [coming]
        if looks:
            wait = (min(looks) - now).total_seconds() + HAIR
            record.wanted_at = self._clock.monotonic() + max(SOONEST, wait)

    def _choose(self, record: Record, heartbeat: Heartbeat, asked: int) -> Choice:
        agent_id = record.agent.id
        at = self._clock.monotonic()
        standings = self._ledger.standings(agent_id, heartbeat.slots, asked=asked, at=at)
        claim = self._ledger.active_of(agent_id)
        return choose(
            heartbeat,
            standings,
            now=self._clock.now(),
            at=at,
            interval=self._interval,
            host_state=record.agent.state,
            busy=f"the agent holds slot {claim.ident}" if claim is not None else self._dispatch.hindrance(agent_id),
            misfire_grace=self._grace,
        )

    def _act(self, beat: Beat, choice: Choice, asked: int) -> None:
        # What came before may have taken long: the heartbeat may have been given up, or the agent have left.
        if not (self._lifespan.may_begin and beat.record.listed and self._roster.is_current(beat)):
            return
        for slot, reason in choice.missed[:AT_ONCE]:
            self._misses.skip(beat.owner, slot, reason, asked=asked)
        if choice.take_up is not None:
            self._dispatch.take_up(beat.owner, choice.take_up, asked=asked)
        elif choice.dispatch is not None:
            beat.wake = self._dispatch.dispatch(beat.owner, choice.dispatch, asked=asked)

    def _follow(self, claim: Claim, beat: Beat, heartbeat: Heartbeat, asked: int) -> None:
        """Bring what an agent holds and what the calendar lists together."""
        slots = heartbeat.slots
        for slot in slots:
            if slot.status.is_terminal and claim.born < asked and self._ledger.lists(claim, slot):
                self._dispatch.settle_as_listed(claim, slot.status)
        if self._ledger.is_found(claim):
            self._days.notice_move(claim, slots)
        if self._ledger.is_found(claim) and self._lifespan.may_begin and beat.record.listed:
            beat.wake = self._dispatch.find_again(claim, asleep=beat.record.asleep)
        self._dispatch.release_if_condemned(claim)
        self._ledger.owe_again(claim, slots, asked=asked)
        if self._ledger.owes(claim):
            self._updates.flush(claim)

    def _remind_of_settled(self, slots: tuple[Slot, ...], asked: int) -> None:
        if not slots:
            return
        at = self._clock.monotonic()
        for settled in self._ledger.unheeded(slots, asked=asked, at=at):
            if not settled.failures or settled.failed_at + wake_delay(settled.failures, self._interval) <= at:
                self._updates.resend(settled)

    def _say_ok(self, record: Record, heartbeat: Heartbeat) -> None:
        """Log a success when something has changed, and at a slow pace otherwise, unless they are many."""
        at = self._clock.monotonic()
        news = (len(heartbeat.slots), heartbeat.agent_status)
        if record.said == news and (at - record.said_at < QUIET_EVERY or self._roster.size > MANY):
            return
        record.said = news
        record.said_at = at
        status = "" if heartbeat.agent_status is None else str(heartbeat.agent_status)
        self._voice.info(
            "calendar heartbeat ok", agent=record.agent.id, slots=len(heartbeat.slots), agent_status=status
        )

    def _note_unreadable(self, agent_id: str, heartbeat: Heartbeat) -> None:
        if not heartbeat.unreadable:
            self._troubles.clear(agent_id, "slots")
            return
        named = "; ".join(f"{slot.ident}: {slot.reason}" for slot in heartbeat.unreadable[:3])
        self._voice.fault(agent_id, "slots", named, "calendar slots unreadable", agent=agent_id, err=named)
