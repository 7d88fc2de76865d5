"""What a person approved, and what ends it: another version, identity or cohort."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fl_liver.client import approval as approving
from fl_liver.client.approval import approvals, require_approval, withdraw, write_approval
from fl_liver.client.frozen import freeze
from fl_liver.client.respond import respond
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, NotApprovedError
from fl_liver.identity import read_roster, write_roster
from fl_liver.messages import Fit, Outgoing, Prepare, Ready, Refusal, Update
from fl_liver.models.registry import initial_vector
from fl_liver.securesum.context import Slot
from fl_liver.study import Study
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]


def prepared(site: SiteConfig, study: Study) -> Outgoing:
    kinds: tuple[type[Outgoing], ...] = (Ready, Refusal)
    word: Outgoing = from_record(respond(site, Prepare(study.sha256), "cpu"), kinds)
    return word


@pytest.fixture
def site(make_site: MakeSite, plain_study: Study) -> SiteConfig:
    return make_site(study=plain_study, plain_sums=True)


def test_an_approval_says_who_when_and_for_what(site: SiteConfig, plain_study: Study) -> None:
    found = require_approval(site, plain_study.sha256)
    assert (found.study, found.who, found.cohort) == (plain_study.sha256, "test", "")
    assert isinstance(prepared(site, plain_study), Ready)
    assert site.work.stat().st_mode & 0o777 == 0o700


def test_another_version_needs_another_approval(
    site: SiteConfig, plain_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approving, "__version__", "9.9.9")
    with pytest.raises(NotApprovedError, match=r"was approved for fl_liver \S+, this is 9.9.9"):
        require_approval(site, plain_study.sha256)
    assert prepared(site, plain_study) == Refusal("NOT_APPROVED", 0)


def test_another_identity_of_one_hospital_needs_another_approval(site: SiteConfig, plain_study: Study) -> None:
    """A key that the coordinator swapped after the approval adds nothing up."""
    identities = {name: f"{number:064x}" for number, name in enumerate(plain_study.every_site, start=1)}
    write_roster(site.roster, identities)
    write_approval(site, plain_study)
    require_approval(site, plain_study.sha256)
    write_roster(site.roster, {**read_roster(site.roster).identity, "H02": "ab" * 32})
    with pytest.raises(NotApprovedError, match="are no longer those it was approved with"):
        require_approval(site, plain_study.sha256)
    assert prepared(site, plain_study) == Refusal("NOT_APPROVED", 0)


def test_a_hospital_that_the_study_does_not_name_may_join_the_roster(site: SiteConfig, plain_study: Study) -> None:
    identities = {name: f"{number:064x}" for number, name in enumerate(plain_study.every_site, start=1)}
    write_roster(site.roster, identities)
    write_approval(site, plain_study)
    write_roster(site.roster, {**identities, "H99": "ab" * 32})
    require_approval(site, plain_study.sha256)


def test_a_study_file_without_its_approval_is_not_approved(site: SiteConfig, plain_study: Study) -> None:
    """Somebody who copies a study into the folder has approved nothing."""
    site.approval_path(plain_study.sha256).with_suffix(".json").unlink()
    assert prepared(site, plain_study) == Refusal("NOT_APPROVED", 0)


def test_an_approval_of_another_study_does_not_count(site: SiteConfig, plain_study: Study) -> None:
    other = plain_study.changed(training={"rounds": 3})
    write_approval(site, other)
    path = site.approval_path(plain_study.sha256).with_suffix(".json")
    path.write_bytes(site.approval_path(other.sha256).with_suffix(".json").read_bytes())
    with pytest.raises(NotApprovedError, match=f"its approval is of study {other.sha256[:12]}"):
        require_approval(site, plain_study.sha256)


def test_a_hash_that_leads_elsewhere_finds_no_approval(site: SiteConfig, plain_study: Study) -> None:
    """The path is made of what the server says."""
    sideways = f"../approved/{plain_study.sha256}"
    assert site.approval_path(sideways).is_file()
    with pytest.raises(NotApprovedError, match="was not approved here"):
        require_approval(site, sideways)


def test_a_withdrawn_approval_ends_at_once(site: SiteConfig, plain_study: Study) -> None:
    assert withdraw(site, plain_study.sha256)
    assert not withdraw(site, plain_study.sha256)
    assert prepared(site, plain_study) == Refusal("NOT_APPROVED", 0)


def test_training_that_is_told_to_stop_is_busy(site: SiteConfig, plain_study: Study) -> None:
    fit = Fit(Slot(plain_study.sha256, "run", "training/train", 1, 0), initial_vector(plain_study)[0], {}, {})
    kinds: tuple[type[Outgoing], ...] = (Update, Refusal)
    word: Outgoing = from_record(respond(site, fit, "cpu", lambda: True), kinds)
    assert word == Refusal("BUSY", 0)


def test_approvals_are_listed_with_what_ended_them(
    site: SiteConfig, plain_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert approvals(site) == {plain_study.sha256: ""}
    monkeypatch.setattr(approving, "__version__", "9.9.9")
    assert "this is 9.9.9" in approvals(site)[plain_study.sha256]


def test_a_study_that_does_not_name_this_hospital_is_not_approved(make_site: MakeSite, plain_study: Study) -> None:
    stranger = make_site(study=plain_study).model_copy(update={"site": "H77"})
    with pytest.raises(ConfigError, match="no site 'H77'"):
        write_approval(stranger, plain_study)


def test_a_cohort_that_was_removed_and_frozen_anew_is_another_one(
    site: SiteConfig, plain_study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    freeze(site, "spring")
    write_approval(site, plain_study, "spring")
    assert isinstance(prepared(site, plain_study), Ready)
    path: Path = site.work / "frozen" / "spring.json"
    table = site.data / "clinical.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    path.unlink()
    freeze(site, "spring")
    assert prepared(site, plain_study) == Refusal("DATA", 0)
