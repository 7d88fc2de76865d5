"""What is drawn, where, and what each paper's report shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fl_liver import explanation_figures as explanation_figures_module
from fl_liver.client.explain.physical import middle_one
from fl_liver.errors import DataError
from fl_liver.explanation_figures import EVERYTHING, Wanted, explanation_figures, published
from fl_liver.models.registry import initial_vector
from fl_liver.parameters import save_vector
from fl_liver.server.report.explanations import (
    Heat,
    Rate,
    draw_embedding,
    draw_heat_maps,
    draw_hit_rates,
    draw_physical,
)
from fl_liver.server.report.sample_images import grey
from fl_liver.server.report.style import render
from fl_liver.study import Study
from fl_liver.study_files import load_study
from simulation.explanations import explanations
from simulation.phantom.registry import phantom_of
from simulation.phantom.write import MARKER, write_hospitals
from tests.client.explain.test_explained import Make, explain, nodules, planted_cohort, study

__all__ = ["explain", "study"]  # fixtures


def heat(shape: tuple[int, int] = (8, 8)) -> Heat:
    image = np.full(shape, 90, np.uint8)
    mask = np.zeros(shape, np.float32)
    mask[2:5, 2:5] = 1
    return Heat("one", image, mask, {"Grad-CAM": np.linspace(0, 1, image.size, dtype=np.float32).reshape(shape)})


def test_a_map_is_mixed_into_its_image_and_leaves_it_where_it_is_zero() -> None:
    """An opacity for every pixel is lost in an SVG: the picture itself must hold the mixture."""
    drawn = draw_heat_maps("maps", [heat()], "c")
    images = [axes.images[0].get_array() for axes in drawn.figure.axes]
    assert len(images) == 2
    plain, mixed = (np.asarray(one) for one in images)
    assert plain.shape == mixed.shape == (8, 8, 3)
    assert (plain == 90).all()
    assert (mixed[0, 0] == 90).all()
    assert mixed[7, 7].astype(int).max() - mixed[7, 7].astype(int).min() > 50


def test_a_figure_holds_twelve_images_and_says_so() -> None:
    drawn = draw_heat_maps("maps", [heat()] * 30, "c")
    assert "12 images" in drawn.alt
    assert len(drawn.figure.axes) == 24


def test_images_that_are_not_grey_and_maps_of_another_shape_are_refused() -> None:
    good = heat()
    with pytest.raises(DataError, match="wanted 2-D uint8"):
        draw_heat_maps("m", [Heat("one", good.image[None], None, {})], "c")
    with pytest.raises(DataError, match="another shape"):
        draw_heat_maps("m", [Heat("one", good.image, np.zeros((4, 4), np.float32), {})], "c")
    with pytest.raises(DataError, match="no image"):
        draw_heat_maps("m", [], "c")


def test_each_thumbnail_stands_at_its_place_in_its_classes_frame() -> None:
    """The image with the largest x and y lies top right; its frame is the second class's colour."""
    places = np.array([[0.0, 0.0], [10.0, 10.0]])
    thumbnails = np.stack([np.full((4, 4), 30, np.uint8), np.full((4, 4), 200, np.uint8)])
    drawn = draw_embedding("t", places, thumbnails, np.array([0, 1]), ["benign", "malignant"], "c")
    canvas = np.asarray(drawn.figure.axes[0].images[0].get_array())
    assert (canvas[40, -40] == 200).all()
    assert (canvas[-40, 40] == 30).all()
    assert canvas[0, -1].tolist() == [0xD5, 0x5E, 0x00]
    assert canvas[-1, 0].tolist() == [0x00, 0x72, 0xB2]
    with pytest.raises(DataError, match="wanted as many each"):
        draw_embedding("t", places, thumbnails[:1], np.array([0, 1]), ["a", "b"], "c")


def test_box_plots_show_the_medians_of_each_group_and_leave_nan_out() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan, 10.0, 20.0])
    drawn = draw_physical("p", {"Area": values}, [("Truth", np.array([0, 0, 0, 1, 1, 1]), ("b", "m"))], {}, "c")
    lines = [line for line in drawn.figure.axes[0].lines if line.get_color() == "#1b1b1b"]
    medians = [float(np.asarray(line.get_ydata())[0]) for line in lines]
    assert medians == [2.0, 15.0]
    with pytest.raises(DataError, match="no features or no groups"):
        draw_physical("p", {}, [], {}, "c")


def test_hit_rates_are_written_out_beside_their_lines() -> None:
    drawn = draw_hit_rates("h", [Rate("Grad-CAM", 8, 11, (0.39, 0.94)), Rate("SMOE", 0, 0, (0, 0))], 0.2, "c")
    words = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert words == [".727 [.390, .940]  8 of 11", "no lesion drawn"]
    assert drawn.alt == "Hit rates: Grad-CAM 8 of 11; SMOE 0 of 0."


def test_equal_figures_are_equal_bytes() -> None:
    assert render(draw_heat_maps("m", [heat()], "c")) == render(draw_heat_maps("m", [heat()], "c"))


def test_images_of_any_scale_are_shown_from_their_darkest_to_their_brightest_percentile() -> None:
    assert grey(np.array([[0.0, 0.5, 1.0]])).tolist() == [[0, 127, 255]]
    assert grey(np.array([[-1.0, 0.0, 9.0]])).tolist() == [[0, 25, 255]], "of (0 + 0.98) / (8.82 + 0.98)"


def test_everything_is_drawn_of_ct_nodules_and_what_cannot_be_is_said(explain: Make, study: Study) -> None:
    cohort, _ = nodules(20)
    drawn, missing = explanation_figures(study, cohort, explain([[40.0, 0.0]], cohort), EVERYTHING)
    assert [one.name for one in drawn] == ["heat_maps_1", "heat_maps_2", "hit_rates", "t_sne", "physical_features"]
    assert not missing
    few = planted_cohort()
    drawn, missing = explanation_figures(
        study, few, explain([[40.0, 0.0]], few, patients=np.array([1])), titled=lambda patient: few.patients[patient]
    )
    assert [one.name for one in drawn] == ["heat_maps_1", "hit_rates"]
    assert ["t-SNE wants 4 images" in missing[0], "1 drawn nodules" in missing[1]] == [True, True]


def test_a_neighbour_in_the_patch_is_not_the_nodule() -> None:
    mask = np.zeros((16, 16))
    mask[6:9, 6:9] = 1
    mask[9, 9] = 1  # touches by a corner
    mask[0:3, 0:9] = 1
    kept = middle_one(mask)
    assert kept.sum() == 10
    assert kept[:4].sum() == 0
    assert middle_one(np.zeros((4, 4))).sum() == 0


def test_each_system_shows_what_its_paper_shows() -> None:
    shown = {name: published(load_study(name)) for name in ("nodule_ct", "mri_clinical", "hcc_ct")}
    assert (shown["nodule_ct"].methods, shown["nodule_ct"].physical, shown["nodule_ct"].embedding) == ((), True, True)
    assert (shown["mri_clinical"].methods, shown["mri_clinical"].embedding) == (("saliency",), True)
    assert (shown["hcc_ct"].methods, shown["hcc_ct"].physical) == (("SMOE",), False)
    assert published(load_study("lesion_us_fusion")).methods == ("Grad-CAM",)
    assert published(load_study("lesion_us_attention")).methods == ("attention",)


def test_a_run_draws_phantom_patients_and_never_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker that the phantom's writer leaves is the proof; without it nothing is drawn."""
    asked = load_study("lesion_us_fusion").changed(model={"width": 4}, cohort={"masks": True, "views": 1})
    hospital = phantom_of(asked, scale=0.01)[-1]
    write_hospitals([hospital], tmp_path)
    (tmp_path / "study.toml").write_text(asked.to_toml(), encoding="utf-8")
    save_vector(tmp_path / "model.safetensors", *initial_vector(asked))
    folder = tmp_path / hospital.name
    given = (str(tmp_path / "study.toml"), str(folder), str(tmp_path / "model.safetensors"))
    figures, missing = explanations(*given)
    assert not missing
    assert [one.name for one in figures] == ["explained_heat_maps_1", "explained_hit_rates"]
    assert all(one.png and one.caption.endswith("not images of patients.") for one in figures)
    assert not [one for one in (folder / "dicom").iterdir() if any(one.name in f.svg.decode() for f in figures)]
    monkeypatch.setattr(explanation_figures_module, "published", lambda _: Wanted((), embedding=False))
    figures, missing = explanations(*given)
    assert (figures, len(missing), "physical features" in missing[0]) == ([], 1, True), "why there is none is handed on"
    (folder / MARKER).unlink()
    assert explanations(*given) == ([], [])
