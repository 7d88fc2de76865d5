"""Studies that a server asks about: kept as text, shown in plain language, answered after a person decided."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w

from fl_liver.cli import app, run_app
from fl_liver.client.approval import approvals, withdraw, write_approval
from fl_liver.client.description import describe_study, differences
from fl_liver.client.requests import MOST, deny, read_request, requests
from fl_liver.client.respond import respond
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError
from fl_liver.messages import Prepare, Refusal
from fl_liver.study import Study
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]


@pytest.fixture
def site(make_site: MakeSite, plain_study: Study) -> SiteConfig:
    """It has approved nothing."""
    site = make_site(study=plain_study, plain_sums=True)
    withdraw(site, plain_study.sha256)
    return site


def asked(site: SiteConfig, sha256: str, toml: str) -> Refusal:
    word: Refusal = from_record(respond(site, Prepare(sha256, toml), "cpu"), (Refusal,))
    return word


def test_an_unknown_study_is_kept_for_a_person_and_refused(site: SiteConfig, plain_study: Study) -> None:
    for _ in range(3):
        assert asked(site, plain_study.sha256, plain_study.to_toml()) == Refusal("NOT_APPROVED", 0)
    (one,) = requests(site)
    assert one.study == plain_study
    assert (one.asked.times, one.asked.denied) == (3, False)


@pytest.mark.parametrize(
    "text",
    ["", "name = ", 'name = "other"', "x = 1\n" * 60_000],
    ids=["none", "broken", "no study", "too long"],
)
def test_text_that_is_no_study_is_not_kept(site: SiteConfig, plain_study: Study, text: str) -> None:
    assert asked(site, plain_study.sha256, text) == Refusal("NOT_APPROVED", 0)
    assert requests(site) == []


def test_a_text_with_another_hash_is_not_kept(site: SiteConfig, plain_study: Study) -> None:
    """Otherwise a person would read one study and approve another."""
    other = plain_study.changed(training={"rounds": 3})
    assert asked(site, plain_study.sha256, other.to_toml()) == Refusal("NOT_APPROVED", 0)
    assert asked(site, "../../x", other.to_toml()) == Refusal("NOT_APPROVED", 0)
    assert asked(site, "a" * 5000, other.to_toml()) == Refusal("NOT_APPROVED", 0)  # longer than any file's name
    assert requests(site) == []


def test_a_study_of_other_hospitals_is_not_kept(site: SiteConfig, plain_study: Study) -> None:
    other = plain_study.changed(sites={"train": ["H02", "H03", "H04"], "external": ["H05"]})
    asked(site, other.sha256, other.to_toml())
    assert requests(site) == []


def test_a_server_cannot_fill_the_disk(site: SiteConfig, plain_study: Study) -> None:
    for seed in range(MOST + 5):
        other = plain_study.with_top(seed=seed)
        asked(site, other.sha256, other.to_toml())
    assert len(requests(site)) == MOST


def test_a_denied_study_is_marked_and_still_refused(site: SiteConfig, plain_study: Study) -> None:
    asked(site, plain_study.sha256, plain_study.to_toml())
    assert deny(site, plain_study.sha256[:8]).asked.denied
    assert asked(site, plain_study.sha256, plain_study.to_toml()) == Refusal("NOT_APPROVED", 0)
    assert requests(site)[0].asked.denied


def test_a_request_that_was_edited_here_is_refused(site: SiteConfig, plain_study: Study) -> None:
    asked(site, plain_study.sha256, plain_study.to_toml())
    path = site.work / "requests" / f"{plain_study.sha256}.toml"
    path.write_text(path.read_text().replace("rounds = 2", "rounds = 200"))
    with pytest.raises(ConfigError, match="it was changed here; remove it"):
        read_request(site, plain_study.sha256)


def test_an_approved_study_is_no_request_any_more(site: SiteConfig, plain_study: Study) -> None:
    asked(site, plain_study.sha256, plain_study.to_toml())
    write_approval(site, plain_study)
    assert requests(site) == []


def test_the_description_says_what_is_read_and_what_leaves(site: SiteConfig, plain_study: Study) -> None:
    masked = plain_study.changed(privacy={"secure_sum": "masked"})
    said = "\n".join(f"{label}: {text}" for label, text in describe_study(masked, site, {"H02": "eight words"}))
    for wanted in (
        "Two numbers and a diagnosis",
        masked.sha256,
        "reads columns: patient_id, malignant (diagnosis), size_mm (size), age_years (Age), hepatitis (Hepatitis)",
        "reads images: none",
        "2 model updates (1 × 2 rounds), each clipped to norm 20; masked: readable only as a sum over at least 3",
        "with: H02: trains; eight words",
        "with: H05: tests only",
        "no differential privacy in training",
        "NOT FIXED",
    ):
        assert wanted in said
    assert "IN THE CLEAR" not in said


def test_the_description_warns_of_sums_in_the_clear_and_of_named_figures(site: SiteConfig, plain_study: Study) -> None:
    named = site.model_copy(update={"release": "named"})
    said = "\n".join(text for _, text in describe_study(plain_study, named))
    assert "IN THE CLEAR: the server reads this hospital's vectors" in said
    assert "this hospital's OWN figures, with its name" in said


def test_a_difference_is_one_line_a_setting(plain_study: Study) -> None:
    other = plain_study.changed(training={"rounds": 5}, privacy={"min_sites": 4})
    assert differences(plain_study, other) == ["training.rounds: 2 → 5", "privacy.min_sites: 3 → 4"]
    assert differences(plain_study, plain_study) == []


def test_a_factor_that_was_added_is_seen(plain_study: Study) -> None:
    raw = plain_study.model_dump(mode="json", exclude_none=True)
    extra = {"name": "afp", "column": "afp_ng_ml", "label": "AFP", "log10": True}
    other = plain_study.with_top(factor=[*raw["factor"], extra])
    assert "factor[afp].column: — → afp_ng_ml" in differences(plain_study, other)


def test_an_operator_sees_freezes_and_is_stopped_without_confirmed_hospitals(
    site: SiteConfig, plain_study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    """`approve` needs a roster that people confirmed; a folder that was never admitted has none."""
    asked(site, plain_study.sha256, plain_study.to_toml())
    folder: Path = site.data
    config = {"site": site.site, "data": str(site.data), "work": str(site.work), "plain_sums": True}
    (folder / "site.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    at = ["--dir", str(folder)]
    short = plain_study.sha256[:8]
    assert run_app(app, ["site", "requests", *at]) == 0
    assert short in capsys.readouterr().out
    assert run_app(app, ["site", "requests", short, *at]) == 0
    assert "Two numbers and a diagnosis" in capsys.readouterr().out
    assert run_app(app, ["site", "cohort", "freeze", "spring", *at]) == 0
    assert "40 patients" in capsys.readouterr().out
    assert run_app(app, ["site", "cohort", "list", *at]) == 0
    assert "0 new since  intact" in capsys.readouterr().out
    assert run_app(app, ["site", "approve", short, "--yes", *at]) == 78
    assert approvals(site) == {}
    assert run_app(app, ["site", "deny", short, *at]) == 0
    assert run_app(app, ["site", "requests", *at]) == 0
    assert "denied" in capsys.readouterr().out
