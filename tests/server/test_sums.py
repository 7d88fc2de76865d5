"""Which sums a run makes: masked over the pinned roster, or in the clear where the study says so; never by accident."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, PrivacyError
from fl_liver.identity import read_roster, write_roster
from fl_liver.models.registry import study_layout
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.masked_rounds import MaskedRounds
from fl_liver.server.rounds import PlainRounds
from fl_liver.server.sums import Sums
from fl_liver.study import Study
from fl_liver.update_code import update_code

MakeSite = Callable[..., SiteConfig]
AskSites = Callable[[dict[str, SiteConfig]], Exchange]
TRAIN = ("H01", "H02", "H03", "H04")


@pytest.fixture
def sums(make_site: MakeSite, ask_sites: AskSites, tmp_path: Path) -> Callable[..., Sums]:
    def of(study: Study, place: str = "", **changes: Any) -> Sums:
        sites = {name: make_site(name, study=study, place=place) for name in study.every_site}
        roster = changes.get("roster", sites["H01"].roster)
        return Sums.of_run(ask_sites(sites), study, tmp_path / place / "run", roster)

    return of


def test_a_masked_study_masks_its_sums_and_its_rounds(
    sums: Callable[..., Sums], table_study: Study, tmp_path: Path
) -> None:
    made = sums(table_study)
    assert made.summer(TRAIN, "masked").method == "masked"
    assert isinstance(made.rounds(TRAIN, "train", Journal(tmp_path / "journal.jsonl")), MaskedRounds)


def test_a_plain_study_adds_in_the_clear_and_says_so(
    sums: Callable[..., Sums], plain_study: Study, tmp_path: Path
) -> None:
    """It needs no roster: nobody's identity is asked."""
    made = sums(plain_study, roster=tmp_path / "none.toml")
    assert made.roster is None
    assert made.summer(TRAIN, "masked").method == "plain"
    assert isinstance(made.rounds(TRAIN, "train", Journal(tmp_path / "journal.jsonl")), PlainRounds)


def test_a_masked_study_without_a_roster_is_not_begun(
    sums: Callable[..., Sums], table_study: Study, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        sums(table_study, roster=tmp_path / "none.toml")
    assert not (tmp_path / "run" / "sums.json").exists()


def test_a_roster_without_one_of_the_studys_hospitals_is_told_before_anybody_is_asked(
    sums: Callable[..., Sums], table_study: Study, make_site: MakeSite, tmp_path: Path
) -> None:
    """Also an external one: its figures are sums as well."""
    everybody = read_roster(make_site("H01", place="elsewhere").roster).identity
    write_roster(tmp_path / "short.toml", {name: key for name, key in everybody.items() if name != "H05"})
    with pytest.raises(ConfigError, match=r"roster\.toml has no identity of H05; add it after comparing fingerprints"):
        sums(table_study, roster=tmp_path / "short.toml")


def test_a_named_sum_is_not_masked_and_a_masked_one_is_never_over_two(
    sums: Callable[..., Sums], table_study: Study
) -> None:
    made = sums(table_study)
    assert made.summer(("H05",), "named").method == "plain"
    with pytest.raises(PrivacyError, match=r"over 2 hospitals \(H01, H02\) is refused, the floor is 3"):
        made.summer(("H01", "H02"), "masked")


def test_a_run_keeps_its_name_when_it_goes_on(sums: Callable[..., Sums], table_study: Study, tmp_path: Path) -> None:
    first = sums(table_study)
    again = Sums.of_run(first.exchange, table_study, tmp_path / "run", tmp_path / "H01" / "roster.toml")
    assert again.record.run == first.record.run


@pytest.mark.parametrize("rows", ["train", "not-fold-1"])
def test_masked_and_plain_rounds_of_the_same_hospitals_open_the_same_bits(
    sums: Callable[..., Sums], table_study: Study, tmp_path: Path, rows: str
) -> None:
    """Training and all: only what the server could have seen on the way is another."""
    folded = table_study.changed(cohort={"folds": 2, "calibration": 0.0})
    opened = {}
    for mode in ("masked", "plain"):
        study = folded.changed(privacy={"secure_sum": mode})
        made = sums(study, place=mode)
        rounds = made.rounds(TRAIN, rows, Journal(tmp_path / "journal.jsonl"))
        code = update_code(study, study_layout(study))
        told: list[str] = []
        opened[mode] = rounds.ask(1, np.zeros(code.size, np.float32), code, told.append)
        assert sorted(told) == sorted(TRAIN)
    assert opened["masked"].total.tobytes() == opened["plain"].total.tobytes()
    assert opened["masked"].answered == opened["plain"].answered == TRAIN
    assert opened["masked"].missing == opened["plain"].missing == ()
