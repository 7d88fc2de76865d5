"""From an invitation to an approved study: the folder that `site init` makes is the one the operator's commands use."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl_liver.cli import app, run_app
from fl_liver.client.approval import require_approval
from fl_liver.client.connection import read_connection
from fl_liver.client.requests import note_request
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.consortium.folder import make_consortium
from fl_liver.errors import NotApprovedError
from fl_liver.messages import Prepare
from fl_liver.study import Study
from tests.conftest import write_table
from tests.consortium.town import NOW, Town

SITES = ("H01", "H02", "H03", "H04", "H05")


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """Five admitted hospitals; nobody has telephoned yet."""
    consortium = make_consortium(tmp_path / "liver", "liver", "127.0.0.1:9443", (), NOW)
    town = Town(tmp_path, consortium)
    for site in SITES:
        town.let_in(site)
    town.spread_roster()
    return town


@pytest.fixture
def site(town: Town, table_study: Study) -> SiteConfig:
    """H01, with a table and a study that the server asked about."""
    folder = town.hospitals["H01"].path
    write_table(folder / "cohort", 40, seed=1)
    config = folder / "site.toml"
    config.write_text(config.read_text().replace('data = "."', 'data = "cohort"'), encoding="utf-8")
    site = load_site(config)
    note_request(site, Prepare(table_study.sha256, table_study.to_toml()))
    return site


def run(site: SiteConfig, *words: str) -> int:
    return run_app(app, ["site", *words, "--dir", str(site.connection)])


def test_a_study_is_approved_after_telephoning_freezing_and_reading(
    town: Town, site: SiteConfig, table_study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    short = table_study.sha256[:10]
    assert run(site, "approve", short, "--yes") == 77
    assert "0 other hospitals confirmed by telephone, wanted 2" in capsys.readouterr().err
    for other in ("H02", "H03"):
        town.telephone("H01", other)
    assert run(site, "approve", short, "--yes") == 78
    assert "0 cohorts are frozen here (none); `fl-liver site cohort freeze NAME` first" in capsys.readouterr().err
    assert run(site, "cohort", "freeze", "spring") == 0
    assert run(site, "approve", short, "--yes") == 0
    said = capsys.readouterr().out
    assert f"H02: trains; {town.words_of('H02')} (confirmed)" in said
    assert f"H04: trains; {town.words_of('H04')} (not confirmed)" in said
    assert "approved" in said
    assert require_approval(site, table_study.sha256).cohort == "spring"


def test_one_more_confirmed_hospital_of_the_study_is_another_approval(
    town: Town, site: SiteConfig, table_study: Study
) -> None:
    for other in ("H02", "H03"):
        town.telephone("H01", other)
    run(site, "cohort", "freeze", "spring")
    assert run(site, "approve", table_study.sha256, "--yes") == 0
    town.telephone("H01", "H04")
    with pytest.raises(NotApprovedError, match=r"identities in roster.toml are no longer"):
        require_approval(site, table_study.sha256)


def test_a_second_study_is_shown_against_the_first(
    town: Town, site: SiteConfig, table_study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    for other in SITES[1:]:
        town.telephone("H01", other)
    run(site, "cohort", "freeze", "spring")
    assert run(site, "approve", table_study.sha256, "--yes") == 0
    longer = table_study.changed(training={"rounds": 9})
    note_request(site, Prepare(longer.sha256, longer.to_toml()))
    capsys.readouterr()
    assert run(site, "requests", longer.sha256[:10]) == 0
    assert "  training.rounds: 2 → 9" in capsys.readouterr().out
    assert run(site, "deny", table_study.sha256[:10]) == 0
    with pytest.raises(NotApprovedError):
        require_approval(site, table_study.sha256)


def test_the_folder_of_an_admitted_hospital_is_a_whole_connection(town: Town, site: SiteConfig) -> None:
    connection = read_connection(site.connection)
    connection.tls()
    assert connection.address == "127.0.0.1:9443"
    assert connection.has_certificate
    assert min(connection.days_left().values()) > 300
