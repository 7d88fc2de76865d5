"""Where a study's rows are lesions, a hospital knows whose they are, and its own figures have floors of patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl_liver.client import respond as responding
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.respond import read_cohort, respond
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import SiteConfig
from fl_liver.client.table import SiteTables, select_rows
from fl_liver.messages import Figures, Named, Score
from fl_liver.models.registry import initial_vector
from fl_liver.study import Study
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]


def of_one_person(cohort: Cohort, rows: np.ndarray) -> Cohort:
    """The same cohort, in which these rows are of one patient and every other row is of its own."""
    return replace(cohort, group=np.where(rows, -1, np.arange(len(cohort.patients))))


def test_the_table_of_a_part_says_whose_its_rows_are(make_site: MakeSite, table_study: Study, tmp_path: Path) -> None:
    study, cohort = read_cohort(make_site(), table_study.sha256)
    whole = replace(cohort, group=np.arange(len(cohort.patients)) // 3)
    tables = SiteTables(whole, study, ScoreStore(tmp_path, len(cohort.patients)))
    for part in ("train", "internal", "all", "training"):
        patients = tables.table(part).patients
        assert patients is not None
        assert patients.tolist() == (select_rows(cohort, part) // 3).tolist()


@pytest.mark.parametrize("label", [0, 1])
def test_figures_of_a_class_of_one_patient_are_not_released(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch, label: int
) -> None:
    """Rows enough, one person: neither AUC nor curve leaves."""
    site, sha256 = make_site(release="named", min_cell=3), table_study.sha256
    respond(site, Score(sha256, "federated", "all", "", initial_vector(table_study)[0]), "cpu")
    asked = Named(sha256, "internal", ("federated",))
    before = from_record(respond(site, asked, "cpu"), (Figures,)).figures
    assert "auc" in before["federated"]
    assert min(before["positives"], before["n"] - before["positives"]) >= 3
    monkeypatch.setattr(
        responding,
        "read_cohort",
        lambda *_: (table_study, of_one_person(cohort := read_cohort(site, sha256)[1], cohort.label == label)),
    )
    word = from_record(respond(site, asked, "cpu"), (Figures,))
    assert word == Figures({"not_released": f"a class has fewer than {table_study.analysis.min_cell} patients"})
