"""Every campaign, small: the full counts are run by ``make campaign``."""

import json

import pytest

from tests.campaigns import page
from tests.campaigns.campaign import Campaign
from tests.campaigns.registry import CAMPAIGNS


@pytest.mark.parametrize("campaign", CAMPAIGNS, ids=lambda campaign: campaign.name)
def test_a_campaign_finds_nothing_that_should_not_be(campaign: Campaign) -> None:
    outcome = campaign.run(campaign.small, 20_260_105)
    assert outcome.failures == []
    assert sum(outcome.counts.values()) > 0


def test_the_page_of_guarantees_tells_what_the_evidence_says() -> None:
    text = page.PAGE.read_text("utf-8")
    evidence = json.loads(page.EVIDENCE.read_text("utf-8"))
    assert page.BEGIN + page.render(evidence) + page.END in text
    assert set(evidence) == {campaign.name for campaign in CAMPAIGNS}
    assert all(f"`{campaign.name}`" in text for campaign in CAMPAIGNS)
