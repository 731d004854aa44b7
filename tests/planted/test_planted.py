"""The known bugs still fit the code; ``make planted`` shows that each is noticed."""

import shutil
from pathlib import Path

import pytest

from tests.campaigns.registry import CAMPAIGNS
from tests.planted.fault import CODE, Fault
from tests.planted.faults import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_known_bug_can_be_planted(fault: Fault, tmp_path: Path) -> None:
    target = tmp_path / "harborcal" / fault.file
    target.parent.mkdir(parents=True)
    shutil.copy(CODE / fault.file, target)
    fault.plant(tmp_path)
    compile(target.read_text("utf-8"), fault.file, "exec")
    assert {campaign.name for campaign in CAMPAIGNS} >= set(fault.caught_by)


def test_there_are_thirty_of_them() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30
