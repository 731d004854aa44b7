"""Days on which everything goes wrong now and then: nothing gets lost, nobody is woken twice, and all of it ends."""

from harborcal.testing.simulation import simulate
from tests.campaigns.campaign import Campaign, Outcome

_SMALL = 4
"""Days among the tests: there it is enough to know that there is something to find."""

_LONG_EVERY = 10
"""One rehearsal in so many takes three days, on one journal."""


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    number = 0
    while outcome.counts["days"] < count:
        days = 3 if number % _LONG_EVERY == _LONG_EVERY - 1 and count - outcome.counts["days"] >= 3 else 1
        # Far apart, so that campaigns of neighbouring seeds share no rehearsal.
        rehearsal = simulate(seed=seed * 1_000_000 + number, days=days)
        number += 1
        outcome.counts["days"] += days
        outcome.counts.update(rehearsal.counts)
        if rehearsal.violations and not outcome.failures and count > _SMALL:
            rehearsal = rehearsal.shrink()  # the first one is looked at most
        if rehearsal.violations:
            outcome.failures.append(str(rehearsal))
    return outcome


CAMPAIGN = Campaign(
    name="simulated-days",
    promise="five agents' days with crashes, outages and confused calendars lose nothing and wake nobody twice",
    small=_SMALL,
    full=10_000,
    run=_run,
)
