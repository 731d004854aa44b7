"""All campaigns."""

import importlib

from tests.campaigns.campaign import Campaign, Outcome

MODULES = (
    "simulated_days",
    "kills",
    "power_cuts",
    "failing_disk",
    "damage",
    "interleavings",
    "signals",
    "forks",
    "soak",
)

CAMPAIGNS: tuple[Campaign, ...] = tuple(
    importlib.import_module(f"tests.campaigns.{module}").CAMPAIGN for module in MODULES
)


def run_share(name: str, count: int, seed: int) -> Outcome:
    """Run a part of a campaign, in whichever process this is."""
    campaign = next(campaign for campaign in CAMPAIGNS if campaign.name == name)
    return campaign.run(count, seed)
