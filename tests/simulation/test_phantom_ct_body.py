"""The body behind CT and MR phantoms: lesions of exact volume and centre, organs in place, partial volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage

from fl_liver.client.cohort.series.grid import Grid
from simulation.phantom.anatomy import Tissue
from simulation.phantom.body import Appearance, Body, lesion_mask, paint, sample, sections
from simulation.phantom.dicom import new_object, save, save_alike, set_pixels
from simulation.phantom.lesion import SolidLesion, Zone, draw_lobes
from simulation.phantom.volumes import body_grid, cut_at_lesion, draw_body, imaged_patient

SMOOTH = SolidLesion(centre_mm=(10.0, -20.0, 30.0), radii_mm=(12.0, 16.0, 20.0))


def lobed(seed: int, irregularity: float = 0.3) -> SolidLesion:
    return replace(SMOOTH, lobes=draw_lobes(np.random.default_rng(seed), irregularity))


def fine_grid(step_mm: float, centre: tuple[float, float, float] = SMOOTH.centre_mm) -> Grid:
    count = round(70 / step_mm)
    origin = [one - (count - 1) / 2 * step_mm for one in centre]
    return Grid(
        (count, count, count), (origin[0], origin[1], origin[2]),
        (0, 0, step_mm), (0, step_mm, 0), (step_mm, 0, 0),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_a_lobed_lesion_has_the_volume_and_the_centre_that_it_states(seed: int) -> None:
    """Counted on a grid of 0.7 mm; 4/3 π · 12 · 16 · 20 is 16085 mm³."""
    lesion, grid = lobed(seed), fine_grid(0.7)
    mask = lesion_mask(Body(lesions=(lesion,)), grid)
    assert lesion.volume_mm3 == pytest.approx(16085, abs=0.5)
    assert mask.sum() * grid.voxel_mm3 == pytest.approx(16085, rel=0.003)
    assert grid.position_mm(np.argwhere(mask)).mean(0) == pytest.approx(lesion.centre_mm, abs=0.05)
    smooth = lesion_mask(Body(lesions=(SMOOTH,)), grid)
    assert np.mean((mask != smooth)[smooth > 0]) > 0.02, "lobes must show"


def test_depth_is_one_on_an_ellipsoids_surface_and_reach_holds_all_of_a_lobed_one() -> None:
    on_surface = np.array([[22.0, -20, 30], [10, -4, 30], [10, -20, 10]], np.float32)
    assert SMOOTH.depth(*on_surface.T) == pytest.approx([1, 1, 1], abs=1e-6)
    lesion, grid = lobed(3), fine_grid(1.0)
    found = grid.position_mm(np.argwhere(lesion_mask(Body(lesions=(lesion,)), grid)))
    assert (np.abs(found - lesion.centre_mm) < np.asarray(lesion.reach_mm)).all()


def test_the_mask_of_a_turned_grid_holds_the_same_volume() -> None:
    body = Body(lesions=(lobed(2),))
    for oblique_deg in (0.0, 8.0, -30.0):
        grid = body_grid(
            replace(body, centre_mm=SMOOTH.centre_mm), pixel_mm=0.8, columns=80, gap_mm=1.0, slices=70,
            oblique_deg=oblique_deg,
        )  # fmt: skip
        assert lesion_mask(body, grid).sum() * grid.voxel_mm3 == pytest.approx(16085, rel=0.01)


def test_zones_fill_the_lesion_from_core_to_rim() -> None:
    lesion, grid = replace(lobed(1), kind="hemangioma"), fine_grid(1.0)
    x, y, z = np.moveaxis(grid.position_mm(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0).astype(np.float32)
    depth, zones = lesion.depth(x, y, z), lesion.zones(x, y, z)
    assert ((zones >= 0) == (depth <= 1)).all()
    assert depth[zones == Zone.CORE].max() < depth[zones == Zone.NODULE].min()
    shares = [float((zones == zone).sum() / (zones >= 0).sum()) for zone in Zone]
    assert shares[Zone.CORE] == pytest.approx(0.35**3, abs=0.005)
    assert all(0.1 < shares[zone] < 0.7 for zone in (Zone.BULK, Zone.RIM, Zone.NODULE))
    assert Zone.NODULE not in replace(lesion, kind="hcc").zones(x, y, z)


def test_a_thick_slice_averages_what_it_cuts() -> None:
    """Four planes at −15, −5, 5 and 15 mm of a slice of 40 mm; a ball of 10 mm holds the middle two at its centre."""
    ball = SolidLesion(centre_mm=(0.0, 0.0, 0.0), radii_mm=(10.0, 10.0, 10.0))
    grid = Grid((1, 1, 1), (0.0, 0.0, 0.0), (0.0, 0.0, 40.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    look = Appearance(dict.fromkeys(Tissue, 20.0), (dict.fromkeys(Zone, 100.0),))
    body = Body(lesions=(ball,))
    assert sample(body, grid, look)[0, 0, 0] == 60
    assert sample(body, grid, look, thickness_mm=10)[0, 0, 0] == 100
    assert sample(replace(body, lesions=()), grid, look)[0, 0, 0] == 20


def test_lesions_are_counted_and_later_ones_lie_above() -> None:
    ball = SolidLesion(centre_mm=(0.0, 0.0, 0.0), radii_mm=(10.0, 10.0, 10.0))
    body = Body(lesions=(ball, replace(ball, centre_mm=(12.0, 0.0, 0.0))))
    grid = Grid((1, 1, 60), (-30.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    mask = lesion_mask(body, grid)[0, 0]
    assert mask[20:32].tolist() == [1] * 12
    assert mask[32:53].tolist() == [2] * 21


def test_organs_stand_where_they_belong() -> None:
    """Patient coordinates: liver to the right (x < 0), spleen to the left, spine behind, heart above."""
    body = draw_body(imaged_patient("P1", 4, "hcc"), "hcc", size_mm=20)
    grid = body_grid(body, pixel_mm=3, columns=128, gap_mm=5, slices=42)
    labels = sections(body, grid)[:, 1]
    centre = {one: grid.position_mm(np.argwhere(labels == one)).mean(0) - body.centre_mm for one in Tissue}
    assert centre[Tissue.LIVER][0] < -40
    assert centre[Tissue.SPLEEN][0] > 70
    assert centre[Tissue.CANAL][1] > 60
    assert centre[Tissue.HEART][2] > 60 > centre[Tissue.KIDNEY][2] + 100
    liver_ml = (labels == Tissue.LIVER).sum() * grid.voxel_mm3 / 1000
    assert 1200 < liver_ml < 2000
    assert (labels[:, 0] == Tissue.AIR).all()


def test_lesions_lie_in_the_liver_and_apart() -> None:
    for seed in range(12):
        body = draw_body(imaged_patient("P1", seed, "metastasis"), "metastasis", lesions=3, size_mm=30)
        grid = body_grid(body, pixel_mm=3, columns=128, gap_mm=4, slices=50)
        mask = lesion_mask(body, grid)
        bare = sections(replace(body, lesions=()), grid)[:, 1]
        inside = np.isin(bare[mask > 0], [Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN])
        assert inside.mean() > 0.93, seed
        for number, lesion in enumerate(body.lesions, start=1):
            counted = (mask == number).sum() * grid.voxel_mm3  # the smallest hold a dozen voxels
            assert counted == pytest.approx(lesion.volume_mm3, rel=0.05, abs=300), (seed, number)


def test_one_seed_is_one_body_and_its_person_the_ultrasounds() -> None:
    patient = imaged_patient("P1", 4, "hcc")
    assert draw_body(patient, "hcc") == draw_body(imaged_patient("P1", 4, "hcc"), "hcc")
    assert draw_body(patient, "hcc") != draw_body(imaged_patient("P1", 5, "hcc"), "hcc")
    assert patient.subtype == "hcc"
    assert imaged_patient("P1", 4, "other_malignant").subtype == "icc"
    assert imaged_patient("P1", 4, "cyst").subtype == "other_benign"


def test_a_cut_grid_ends_at_the_lesions_centre_and_keeps_its_longer_part() -> None:
    body = draw_body(imaged_patient("P1", 4, "hcc"), "hcc", size_mm=30)
    whole = body_grid(body, pixel_mm=3, columns=64, gap_mm=5, slices=40)
    for z in (-40.0, 40.0):
        lesion = replace(body.lesions[0], centre_mm=(0.0, 0.0, body.centre_mm[2] + z))
        part = cut_at_lesion(whole, lesion)
        ends = (part.origin_mm[2], part.position_mm([part.shape[0] - 1, 0, 0])[2])
        assert part.shape[0] >= 20
        assert min(abs(end - lesion.centre_mm[2]) for end in ends) <= 5
        assert {tuple(whole.index_of(part.origin_mm).round(3) % 1)} == {(0.0, 0.0, 0.0)}


def test_files_written_alike_are_those_that_pydicom_writes(tmp_path: Path) -> None:
    """The quick writer encodes shared elements once; not a byte may differ."""
    patient = imaged_patient("P1", 4, "hcc")
    template = new_object(patient, "H01", "CT", CTImageStorage, 1, series="portal")
    set_pixels(template, np.arange(9, dtype=np.int16).reshape(3, 3), "MONOCHROME2", bits_stored=12)
    template.add_new("PixelPaddingValue", "SS", -2000)
    template.SeriesDescription = "portalvenös"
    template.ReferencedImageSequence = [Dataset()]
    template.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", 800)
    own: dict[str, str | bytes] = {
        "SOPInstanceUID": "1.2.345", "InstanceNumber": "7", "ImagePositionPatient": "-1.5\\2.0\\30.25",
        "PixelData": bytes(range(18)),
    }  # fmt: skip
    save_alike(template, [own], [tmp_path / "quick.dcm"])
    template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = UID("1.2.345")
    template.InstanceNumber, template.ImagePositionPatient = 7, [-1.5, 2.0, 30.25]
    template.PixelData = bytes(range(18))
    save(template, tmp_path / "slow.dcm")
    assert (tmp_path / "quick.dcm").read_bytes() == (tmp_path / "slow.dcm").read_bytes()


def test_painting_needs_no_lesion() -> None:
    grid = body_grid(Body(), pixel_mm=20, columns=20, gap_mm=50, slices=3)
    image = paint(sections(Body(), grid), Appearance({Tissue.AIR: -1000.0, Tissue.LIVER: 60.0}))
    assert image.shape == (3, 20, 20)
    assert image.min() == -1000
