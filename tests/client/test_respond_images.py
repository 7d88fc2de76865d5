"""A hospital that is asked to score keeps what the network says of each image, for its own table of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fl_liver.client import respond as responding
from fl_liver.client.table import cohort_columns
from fl_liver.client.train import pick_device, score_images
from fl_liver.messages import Done, Score
from fl_liver.models.registry import initial_vector
from tests.client.probe import probe_study, probed
from tests.client.test_respond import answer
from tests.client.test_train import cohort_of
from tests.conftest import MakeSite


def test_images_are_kept_beside_the_patients_that_a_network_scores(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only of those who were asked; no column of a sum has them."""
    probed(monkeypatch)
    study = probe_study()
    site, cohort = make_site(study=study), replace(cohort_of(), part=np.arange(24, dtype=np.int8) % 3)
    monkeypatch.setitem(responding._read, (site, study.sha256), (study, cohort))
    vector = initial_vector(study)[0] + np.float32(0.5)
    assert answer(site, Score(study.sha256, "a", "internal", "", vector)) == Done(0)
    assert answer(site, Score(study.sha256, "a", "external", "", vector)) == Done(0), "nobody, and nobody is lost"
    store = responding._store(site, study.sha256, cohort)
    rows, found = cohort.rows("internal"), store.images("a")
    images, logits = score_images(study, cohort, vector, rows=rows, device=pick_device("cpu"))
    assert 0 < len(images) < len(cohort.owner)
    assert found is not None
    np.testing.assert_array_equal(found[images], logits)
    assert np.isnan(np.delete(found, images)).all()
    assert "image" not in str(list(cohort_columns(cohort, study, store)))
