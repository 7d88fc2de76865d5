"""What is looked at after a fetch."""

from __future__ import annotations

from pathlib import Path

from fl_liver.client.cohort.pacs.fetch import Outcome
from fl_liver.client.site import SiteConfig


def files(site: SiteConfig) -> list[Path]:
    """Everything below `data`, hidden leftovers included."""
    return sorted(path for path in site.data.rglob("*") if path.is_file())


def only_result(outcome: Outcome) -> tuple[str, int, int, str]:
    """(state, objects fetched, objects refused, why) of a run of one series."""
    [(_, result)] = outcome.series
    return result.state, result.fetched, result.refused, result.why
