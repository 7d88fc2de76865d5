"""`docs/statistics.md` says of every kind of analysis what leaves a hospital."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from fl_liver.stats.plan import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


# The two that no plan names: studies and pages ask them.
ASKED = {
    "centre_auc",
    "coarse_auc",
    *(str(kind) for one in KINDS for kind in get_args(one.model_fields["kind"].annotation)),
}


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_every_kind_of_analysis_has_a_row_in_the_page(kind: str) -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{kind}`")]
    assert rows, f"docs/statistics.md has no row for {kind}"


def test_the_page_can_be_read_in_one_go() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 300
