"""The power goes at any moment: what a journal has acknowledged is there afterwards, and no half of anything."""

from pathlib import Path
from random import Random

from harborcal.journal import Journal
from harborcal.testing import FakeClock
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.storage import Disk, folder, journal_on, lay_out
from tests.campaigns.storage_acts import Picture, Recording, picture, record, short_memory

_ACTS = 12
_CUTS = 20
"""How many moments of one run of acts are tried."""


def _cut_again(path: Path, left: dict[str, bytes], random: Random) -> dict[str, bytes]:
    """Let the power go once more, while the journal is opened."""
    disk = Disk(left, random=random)
    journal = journal_on(disk, path, clock=FakeClock())
    steps = list(disk.steps)
    journal.close()
    return Recording(left, steps, []).left_after(random.randrange(len(steps) + 1), random)


def _found(path: Path, clock: FakeClock) -> Picture:
    journal = Journal(path, clock=clock, patience=0.0)
    try:
        return picture(journal)
    finally:
        journal.close()


def _starts(path: Path, seed: int) -> list[dict[str, bytes]]:
    """Make journals to begin with: a new one, and those that have seen something."""
    Journal(path, clock=FakeClock()).close()
    files = [{str(path): path.read_bytes()}]
    for number in range(3):
        files.append(record(path, files[-1], Random(f"{seed} start {number}"), 15).seen_after())
    return files


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    with folder() as place, short_memory():
        path, cut_path = place / "journal", place / "cut"
        starts = _starts(path, seed)
        for number in range(-(-count // _CUTS)):
            random = Random(f"{seed} run {number}")
            try:
                run = record(path, random.choice(starts), random, _ACTS)
            except Exception as error:  # without any power cut
                outcome.failures.append(f"seed {seed}, run {number}, no power cut: {error!r}")
                continue
            for _ in range(min(_CUTS, count - number * _CUTS)):
                cut = random.randrange(len(run.steps) + 1)
                if random.random() < 0.3:  # just when a write becomes true
                    cut = max(0, random.choice(run.told)[0] - random.randrange(3))
                where = f"seed {seed}, run {number}, cut after step {cut} of {len(run.steps)}"
                outcome.counts["power cuts"] += 1
                try:
                    left = run.left_after(cut, random)
                    if random.random() < 0.25:
                        outcome.counts["cut again while opening"] += 1
                        left = _cut_again(path, left, random)
                    lay_out(left, path, cut_path)
                    found = _found(cut_path, FakeClock())
                except Exception as error:  # whatever it is, a power cut must not lead to it
                    outcome.failures.append(f"{where}: {error!r}")
                    continue
                allowed = run.allowed_after(cut)
                if found not in allowed.values():
                    outcome.failures.append(f"{where}: what is found is neither of {', '.join(allowed)}")
                else:
                    is_last = found == next(iter(allowed.values()))
                    outcome.counts["the last acknowledged state" if is_last else "with the write under way"] += 1
    return outcome


CAMPAIGN = Campaign(
    name="power-cuts",
    promise="after a power cut a journal tells all that it acknowledged, and no half of a write",
    small=150,
    full=10_000,
    run=_run,
)
