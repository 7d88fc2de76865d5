"""What a report's first sentence separates: classes by their names, or lesions from livers without any."""

from __future__ import annotations

import pytest

from fl_liver.server.run import question_in_words
from fl_liver.study_files import load_study


@pytest.mark.parametrize(
    ("name", "positive", "negative"),
    [
        ("lesion_us_attention", ["lesion"], ["lesion-free"]),
        ("hcc_ct", ["hcc"], ["non_hcc"]),
        ("mri_clinical:C", ["malignant"], ["benign"]),
        ("mri_clinical:A", ["hcc", "metastasis", "other_malignant"], ["cyst", "hemangioma", "fnh", "other_benign"]),
    ],
)
def test_a_report_separates_classes_or_lesions_from_none(name: str, positive: list[str], negative: list[str]) -> None:
    assert question_in_words(load_study(name)) == {"positive": positive, "negative": negative}
