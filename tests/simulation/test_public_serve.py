"""Which of the shipped studies each public set can serve, and how a folder is recognised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fl_liver.errors import ConfigError, DataError
from fl_liver.study_files import load_study
from simulation.public.cohort import PublicCohort
from simulation.public.registry import READERS, describe, read_public
from simulation.public.serve import serve
from tests.simulation.public_trees import aul_tree, crlm_tree
from tests.simulation.test_public_stills import organ_file
from tests.simulation.test_public_tcia import hcc_tree, tcga_tree
from tests.simulation.test_public_volumes import LLD, lld_tree, mct_tree, msd_tree

TREES: dict[str, Callable[[Path], object]] = {
    "mct_ltdiag": lambda root: mct_tree(root, "archives"),
    "crlm": crlm_tree,
    "hcc_tace_seg": hcc_tree,
    "msd_liver": msd_tree,
    "lld_mmri": lambda root: lld_tree(root, LLD),
    "liver_us": aul_tree,
    "tcga_lihc": tcga_tree,
    "organ_mnist": lambda root: organ_file(root),
}
OWN, ANOTHER = "its own question", "the set's question"
EXPECTED = {
    "mct_ltdiag": {"nodule_ct": OWN, "hcc_ct": OWN, "clinical": OWN, "mri_clinical": "MR images, mct_ltdiag has CT"},
    "crlm": {"nodule_ct": ANOTHER, "hcc_ct": ANOTHER, "lesion_us_fusion": "US images, crlm has CT"},
    "hcc_tace_seg": {"nodule_ct": ANOTHER, "hcc_ct": ANOTHER, "mri_clinical": "MR images, hcc_tace_seg has CT"},
    "msd_liver": {"nodule_ct": "crops lesions", "hcc_ct": ANOTHER},
    "lld_mmri": {"mri_clinical": OWN, "mri_clinical:A": OWN, "nodule_ct": "wants portal|CT images, lld_mmri has MR"},
    "liver_us": {"lesion_us_fusion": OWN, "lesion_us_attention": ANOTHER, "hcc_ct": "CT images, liver_us has US"},
    "tcga_lihc": {"clinical": ANOTHER, "hcc_ct": "is a table without images"},
    "organ_mnist": {"clinical": ANOTHER, "nodule_ct": "is a table without images"},
}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PublicCohort]:
    """Each tiny tree, read by the reader that its files tell."""
    pytest.importorskip("highdicom")
    found = {}
    for name, make in TREES.items():
        root = tmp_path_factory.mktemp(name)
        make(root)
        found[name] = read_public(None, root)
        assert found[name].name == name
    return found


@pytest.mark.parametrize(("name", "study"), [(name, study) for name, many in EXPECTED.items() for study in many])
def test_a_shipped_study_is_served_or_refused_with_the_reason(
    cohorts: dict[str, PublicCohort], name: str, study: str
) -> None:
    expected, asked = EXPECTED[name][study], load_study(study)
    if expected not in (OWN, ANOTHER):
        with pytest.raises(ConfigError, match=expected):
            serve(cohorts[name], asked)
        return
    served = serve(cohorts[name], asked)
    assert (served.study.task.classes == asked.task.classes) == (expected == OWN)
    assert (served.study.title == asked.title) == (expected == OWN)
    assert len(served.cohort.labels(served.study)) == len(served.cohort.clinical) > 0
    assert served.study.model == asked.model


def test_a_folder_of_nothing_known_is_told_what_each_reader_wants(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(
        DataError, match=r"no known data set .found holiday.jpg; wanted mct_ltdiag: meta_info_patient"
    ) as told:
        read_public(None, tmp_path)
    for name in READERS:
        assert f"{name}: " in str(told.value)


def test_the_help_says_of_each_set_where_it_is_obtained_and_on_what_terms() -> None:
    text = describe()
    for reader in READERS.values():
        assert reader.name in text
        assert reader.obtain in text
        assert reader.licence in text
    assert "10.7937/QXK2-QG03" in text
    assert text.count("not known to this reader") == 2
