"""`fl-liver site explain` on a phantom hospital's folder, with a model that was drawn and not trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fl_liver import cli
from fl_liver.client.approval import write_approval
from fl_liver.client.site import load_site
from fl_liver.models.registry import initial_vector
from fl_liver.parameters import save_vector
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation.phantom.hospitals import phantom_hospitals
from simulation.phantom.write import write_hospitals


class Place(NamedTuple):
    """A hospital's folder, the run's study.toml and model.safetensors."""

    hospital: Path
    study: Study
    study_file: Path
    model: Path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("explain")
    study = load_study("lesion_us_fusion").changed(model={"width": 4}, cohort={"masks": True, "views": 2})
    hospital = phantom_hospitals(study.seed, scale=0.01)[-1]
    write_hospitals([hospital], root)
    (root / "study.toml").write_text(study.to_toml(), encoding="utf-8")
    save_vector(root / "model.safetensors", *initial_vector(study), {"study_sha256": study.sha256})
    return Place(root / hospital.name, study, root / "study.toml", root / "model.safetensors")


@pytest.fixture
def run(place: Place, capsys: pytest.CaptureFixture[str]) -> Run:
    def explain(*words: str, study: str = "", model: Path | None = None) -> tuple[int, str, str]:
        fixed = ["site", "explain", study or str(place.study_file), "--model", str(model or place.model)]
        status = cli.run_app(cli.app, [*fixed, "--dir", str(place.hospital), *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return explain


def test_it_writes_a_private_page_and_a_table_with_pseudonyms_only(place: Place, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, said, _ = run("--out", str(out), "--shown", "3")
    assert status == 0, said
    page, table = (out / "explain.html").read_text(), (out / "explain.csv").read_text().splitlines()
    assert table[0] == "pseudonym,hit:Grad-CAM,hit:saliency,hit:SMOE"
    assert len(table) == 13
    assert (out / "explain.html").stat().st_mode & 0o777 == 0o600
    assert out.stat().st_mode & 0o777 == 0o700
    patients = [one.name for one in (place.hospital / "dicom").iterdir()]
    assert len(patients) == 12
    assert not [one for one in patients if one in page or one in "\n".join(table)]
    assert page.count("<figure>") == 3  # heat maps, hit rates, t-SNE
    assert "physical features are of CT patches" in page


def test_named_patients_alone_are_explained(run: Run, tmp_path: Path) -> None:
    run("--out", str(tmp_path / "all"), "--shown", "1")
    first = (tmp_path / "all" / "explain.csv").read_text().splitlines()[1].partition(",")[0]
    assert run("--out", str(tmp_path / "one"), "--patients", first)[0] == 0
    assert [row.partition(",")[0] for row in (tmp_path / "one" / "explain.csv").read_text().splitlines()[1:]] == [first]


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    status, said, _ = run("--out", str(tmp_path / "out"), "--dry-run")
    assert status == 0
    assert "would explain 12 patients, 24 images" in said
    assert not (tmp_path / "out").exists()


def test_an_approved_study_is_found_by_the_beginning_of_its_hash(place: Place, run: Run, tmp_path: Path) -> None:
    write_approval(load_site(place.hospital / "site.toml"), place.study, who="test")
    assert run("--out", str(tmp_path / "out"), "--dry-run", study=place.study.sha256[:8])[0] == 0
    status, _, error = run("--out", str(tmp_path / "out"), "--dry-run", study="0123abcd")
    assert (status, "0 approved studies here begin so" in error) == (78, True)


def test_a_patient_who_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    status, _, error = run("--out", str(tmp_path / "out"), "--patients", "48cc1ddf1e5d,external")
    assert status == 2
    assert "1 of the named patients are not among the 12 usable ones here: 48cc1ddf1e5d" in error
    assert not (tmp_path / "out").exists()


def test_nobody_of_a_part_is_an_error_too(run: Run, tmp_path: Path) -> None:
    status, _, error = run("--out", str(tmp_path / "out"), "--patients", "train")
    assert (status, "nobody of the 12 usable patients" in error) == (2, True)


def test_the_model_of_another_study_is_refused(place: Place, run: Run, tmp_path: Path) -> None:
    other = place.study.changed(training={"rounds": 3})
    save_vector(tmp_path / "other.safetensors", *initial_vector(other), {"study_sha256": other.sha256})
    status, _, error = run("--out", str(tmp_path / "out"), model=tmp_path / "other.safetensors")
    assert status == 78
    assert f"the model is of study {other.sha256[:12]}, wanted {place.study.sha256[:12]}" in error


def test_the_model_of_another_network_under_this_studys_name_is_refused(place: Place, run: Run, tmp_path: Path) -> None:
    wider = place.study.changed(model={"width": 8})
    save_vector(tmp_path / "wide.safetensors", *initial_vector(wider), {"study_sha256": place.study.sha256})
    status, _, error = run("--out", str(tmp_path / "out"), model=tmp_path / "wide.safetensors")
    assert (status, "its tensors are not those of network" in error) == (78, True)


def test_a_file_that_is_no_model_and_one_that_is_absent_are_refused(place: Place, run: Run, tmp_path: Path) -> None:
    for path in (place.study_file, tmp_path / "absent.safetensors"):
        status, _, error = run("--out", str(tmp_path / "out"), model=path)
        assert (status, "no safetensors file that can be read" in error) == (78, True)


def test_a_study_of_tables_has_nothing_to_draw_over(run: Run, tmp_path: Path) -> None:
    status, _, error = run("--out", str(tmp_path / "out"), study="clinical")
    assert (status, "reads a table, no images" in error) == (78, True)


def test_a_folder_without_images_says_what_is_missing(place: Place, tmp_path: Path, run: Run) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "clinical.csv").write_bytes((place.hospital / "clinical.csv").read_bytes())
    (bare / "site.toml").write_text(f'site = "{place.hospital.name}"\nrole = "external"\ndata = "."\n')
    status, _, error = run("--out", str(tmp_path / "out"), "--dir", str(bare))
    assert (status, "export the images into dicom/" in error) == (2, True)


def test_an_open_folder_is_not_filled_with_images_of_patients(run: Run, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    status, _, error = run("--out", str(tmp_path / "open"))
    assert (status, "others can look into it" in error) == (2, True)
    assert not list((tmp_path / "open").iterdir())
