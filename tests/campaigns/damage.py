"""Files are damaged in every way: a journal is refused, or tells what was written; it never tells anything else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from random import Random

from harborcal.errors import JournalError
from harborcal.journal import Journal
from harborcal.testing import FakeClock
from tests.campaigns.campaign import Campaign, Outcome
from tests.campaigns.storage import folder, lay_out
from tests.campaigns.storage_acts import Acts, Picture, picture, record, short_memory

_PAGE = 4096


@dataclasses.dataclass(frozen=True)
class _Specimen:
    """A journal's file, what else lies there, and what may be told of it."""

    name: str
    content: bytes
    remains: bytes  # of a write that was under way
    allowed: tuple[Picture, ...]
    earlier: bytes  # what the file was some time before
    before: Picture  # and what it told then: where all its pages are brought back nothing can tell


# --- kinds of damage ------------------------------------------------------------------------------------------------


def _flip_bits(content: bytearray, random: Random, _: bytes) -> None:
    for _number in range(random.choice((1, 1, 2, 8))):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _change_bytes(content: bytearray, random: Random, _: bytes) -> None:
    start = random.randrange(len(content))
    for place in range(start, min(len(content), start + random.choice((1, 2, 4, 16)))):
        content[place] = random.randrange(256)


def _blank(content: bytearray, random: Random, _: bytes) -> None:
    start = random.randrange(len(content))
    if random.random() < 0.5:
        start -= start % 512
    length = min(random.choice((1, 8, 512, _PAGE, random.randrange(1, 3 * _PAGE))), len(content) - start)
    content[start : start + length] = bytes([random.choice((0, 0, 255))]) * length


def _cut_short(content: bytearray, random: Random, _: bytes) -> None:
    length = random.randrange(len(content))
    if random.random() < 0.5:
        length -= length % random.choice((512, _PAGE))
    del content[length:]


def _swap_pages(content: bytearray, random: Random, _: bytes) -> None:
    one, other = (_PAGE * random.randrange(max(1, len(content) // _PAGE)) for _number in range(2))
    first, second = bytes(content[one : one + _PAGE]), bytes(content[other : other + _PAGE])
    content[one : one + _PAGE] = second
    content[other : other + _PAGE] = first


def _bring_back_page(content: bytearray, random: Random, earlier: bytes) -> None:
    """Lose a write: the page is what it was."""
    start = _PAGE * random.randrange(max(1, min(len(content), len(earlier)) // _PAGE))
    content[start : start + _PAGE] = earlier[start : start + _PAGE]


def _append(content: bytearray, random: Random, _: bytes) -> None:
    length = random.choice((1, 512, _PAGE, 3 * _PAGE))
    content += random.randbytes(length) if random.random() < 0.5 else bytes(length)


def _insert(content: bytearray, random: Random, _: bytes) -> None:
    place = random.randrange(len(content))
    content[place:place] = random.randbytes(random.choice((1, 4, 512)))


def _change_header(content: bytearray, random: Random, _: bytes) -> None:
    """Change the file's own header, or a page's: what all else is found by."""
    start = random.choice((0, 0, _PAGE * random.randrange(max(1, len(content) // _PAGE))))
    place = min(start + random.randrange(112 if not start else 40), len(content) - 1)
    content[place] = random.choice((0, 1, 2, 255, content[place] ^ 1, random.randrange(256)))


def _swap_pairs(content: bytearray, random: Random, _: bytes) -> None:
    """Swap two neighbours of two bytes each near a page's beginning: where its rows are."""
    start = _PAGE * random.randrange(max(1, len(content) // _PAGE)) + 8 + 2 * random.randrange(20)
    if start + 4 <= len(content):
        content[start : start + 4] = content[start + 2 : start + 4] + content[start : start + 2]


_KINDS: tuple[Callable[[bytearray, Random, bytes], None], ...] = (
    _flip_bits,
    _change_bytes,
    _blank,
    _cut_short,
    _swap_pages,
    _bring_back_page,
    _append,
    _insert,
    _change_header,
    _swap_pairs,
)


# --- specimens ------------------------------------------------------------------------------------------------------


def _specimens(path: Path, seed: int) -> list[_Specimen]:
    """Make journals: some at rest, some with a write under way."""
    Journal(path, clock=FakeClock()).close()
    files = {str(path): path.read_bytes()}
    specimens = []
    for number in range(4):
        random = Random(f"{seed} specimen {number}")
        earlier = files[str(path)]
        recording = record(path, files, random, (6, 12, 25, 50)[number])
        files = recording.seen_after()
        before, at_rest = recording.told[0][2], recording.told[-1][2]
        specimens.append(_Specimen(f"at rest {number}", files[str(path)], b"", (at_rest,), earlier, before))
        under_way = [
            cut
            for cut, step in enumerate(recording.steps, 1)
            if step.name == str(path) and step.kind in {"write", "sync"}
        ]
        for cut in random.sample(under_way, 3):
            seen = recording.seen_after(cut)
            specimens.append(
                _Specimen(
                    f"under way {number} at {cut}",
                    seen[str(path)],
                    seen.get(f"{path}-journal", b""),
                    tuple(recording.allowed_after(cut).values()),
                    earlier,
                    before,
                )
            )
    return specimens


# --- rehearsals -----------------------------------------------------------------------------------------------------


def _damaged(specimen: _Specimen, random: Random) -> tuple[str, bytes, bytes]:
    """Damage a file, or what lies beside it, once or more."""
    content, remains = bytearray(specimen.content), bytearray(specimen.remains)
    kinds = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        kind = random.choice(_KINDS)
        victim = remains if remains and random.random() < 0.6 else content
        if victim:
            kind(victim, random, specimen.earlier)
            kinds.append(f"{kind.__name__.strip('_')}{' beside it' if victim is remains else ''}")
    return ", ".join(kinds), bytes(content), bytes(remains)


def _judge(path: Path, specimen: _Specimen, content: bytes, random: Random, outcome: Outcome) -> str:
    """Open what is there; tell what is wrong with the answer, or nothing."""
    try:
        journal = Journal(path, clock=FakeClock(), patience=0.0)
    except JournalError as error:
        outcome.counts["refused"] += 1
        if str(path) not in str(error):
            return f"the refusal does not name the file: {error}"
        if not specimen.remains and path.read_bytes() != content:
            return f"it was refused, but not left as it is: {error}"
        return ""
    try:
        outcome.counts["opened"] += 1
        found = picture(journal)
        if found == specimen.before and found not in specimen.allowed:
            outcome.counts["older files as a whole"] += 1
        elif found not in specimen.allowed:
            return "it tells what was not written"
        told = _go_on(journal, random)
    finally:
        journal.close()
    journal = Journal(path, clock=FakeClock(), patience=0.0)
    try:
        return "" if picture(journal) == told else "what was written after that is not there"
    finally:
        journal.close()


def _go_on(journal: Journal, random: Random) -> Picture:
    """Write on, until it is refused: that is no wrong answer. Tell what was told before."""
    acts = Acts(random)
    told = picture(journal)
    for _ in range(3):
        try:
            acts.act(journal)
        except JournalError:
            break
        if journal.error:
            break
        told = picture(journal)
    return told


def _run(count: int, seed: int) -> Outcome:
    outcome = Outcome()
    with folder() as place, short_memory():
        path = place / "journal"
        try:
            specimens = _specimens(place / "specimen", seed)
        except Exception as error:  # without any damage
            outcome.failures.append(f"seed {seed}, nothing was damaged: {error!r}")
            return outcome
        for number in range(count):
            random = Random(f"{seed} case {number}")
            specimen = random.choice(specimens)
            kinds, content, remains = _damaged(specimen, random)
            lay_out({str(path): content, **({f"{path}-journal": remains} if remains else {})}, path, path)
            outcome.counts["damaged files"] += 1
            try:
                fault = _judge(path, specimen, content, random, outcome)
            except Exception as error:  # whatever it is, damage must not lead to it
                fault = repr(error)
            if fault:
                outcome.failures.append(f"seed {seed}, case {number}, {specimen.name}, {kinds}: {fault}")
    return outcome


CAMPAIGN = Campaign(
    name="damage",
    promise="a damaged journal is refused, or tells what was written, and nothing else",
    small=300,
    full=100_000,
    run=_run,
)
