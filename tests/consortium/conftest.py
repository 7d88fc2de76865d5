"""A consortium, empty or with three hospitals in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl_liver.consortium.folder import make_consortium
from tests.consortium.town import NOW, Town


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """A consortium that nobody is in."""
    made = make_consortium(tmp_path / "liver", "Liver Consortium", "127.0.0.1:8443", ("localhost",), NOW)
    return Town(tmp_path, made)


@pytest.fixture
def three(town: Town) -> Town:
    """H01, H02 and H03 are in and have the same roster; nobody has telephoned."""
    for site in ("H01", "H02", "H03"):
        town.let_in(site)
    town.spread_roster()
    return town
