"""A frozen cohort: never changed, blind to who came since, and a change of who is in it stops the study."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_liver.client.approval import write_approval
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.pseudonym import site_pseudonyms
from fl_liver.client.frozen import compare, freeze, frozen_names, read_frozen
from fl_liver.client.frozen_verdict import read_verdict
from fl_liver.client.respond import read_cohort, respond
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError
from fl_liver.messages import Outgoing, Prepare, Ready, Refusal
from fl_liver.study import Study
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]


@pytest.fixture
def site(make_site: MakeSite, plain_study: Study) -> SiteConfig:
    return make_site(study=plain_study, plain_sums=True, release="named")


def edit(site: SiteConfig, change: Callable[[list[str]], list[str]]) -> None:
    table = site.data / "clinical.csv"
    table.write_text("\n".join(change(table.read_text().splitlines())) + "\n", encoding="utf-8")


def prepared(site: SiteConfig, study: Study) -> Outgoing:
    kinds: tuple[type[Outgoing], ...] = (Ready, Refusal)
    word: Outgoing = from_record(respond(site, Prepare(study.sha256), "cpu"), kinds)
    return word


def test_an_untouched_folder_is_what_was_frozen(site: SiteConfig) -> None:
    frozen = freeze(site, "spring")
    assert len(frozen.patients) == 40
    assert compare(site, read_frozen(site, "spring")).reason == ""
    assert frozen_names(site) == ["spring"]
    assert read_verdict(site.work, "spring").reason == ""


def test_new_patients_are_counted_here_and_not_read(site: SiteConfig, plain_study: Study) -> None:
    """Their rows must not move anybody into another part of the split, nor change what the hospital committed to."""
    before = load_cohort(site, plain_study)
    freeze(site, "spring")
    write_approval(site, plain_study, "spring")
    edit(site, lambda lines: [*lines, "Z900,1,70.0,1,33.0", "Z901,0,44.0,0,12.0"])
    assert len(compare(site, read_frozen(site, "spring")).new) == 2
    word = prepared(site, plain_study)
    assert isinstance(word, Ready)
    assert word.figures is not None
    assert word.figures["patients"] == 40
    _, cohort = read_cohort(site, plain_study.sha256)
    assert cohort.patients == before.patients
    assert (cohort.part == before.part).all()


def test_a_mask_drawn_anew_and_a_patient_left_out_are_changes(site: SiteConfig) -> None:
    """Both change what a study would read of a patient whose row and images are as they were."""
    masks = site.data / "masks"
    masks.mkdir()
    (masks / "P001.nii.gz").write_bytes(b"one")
    (masks / "P002.nii.gz").write_bytes(b"two")
    freeze(site, "spring")
    assert compare(site, read_frozen(site, "spring")).changed == ()
    names = site_pseudonyms(site.work)
    (masks / "P002.nii.gz").write_bytes(b"drawn anew")
    (site.data / "exclude.csv").write_text(f"case,reason\n{names.patient('P003')},blurred\n")
    wanted = tuple(sorted(names.patient(patient) for patient in ("P002", "P003")))
    assert compare(site, read_frozen(site, "spring")).changed == wanted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(",", ",9", 2), *lines[4:]], r"1 changed \([0-9a-f]{12}\)"),
        (lambda lines: [*lines[:3], *lines[5:]], r"2 gone \([0-9a-f]{12}, [0-9a-f]{12}\)"),
        (lambda lines: [*lines[:2], *lines[3:], lines[2].replace("P001", "P900")], r"1 gone"),
    ],
)
def test_a_frozen_patient_who_changed_or_is_gone_stops_the_study(
    site: SiteConfig, plain_study: Study, change: Callable[[list[str]], list[str]], reason: str
) -> None:
    freeze(site, "spring")
    write_approval(site, plain_study, "spring")
    edit(site, change)
    with pytest.raises(DataError, match=f"frozen cohort 'spring' is not what it was: .*{reason}"):
        read_cohort(site, plain_study.sha256)
    assert prepared(site, plain_study) == Refusal("DATA", 0)
    assert "changed" in (told := read_verdict(site.work, "spring").reason) or "gone" in told


def test_a_column_that_came_later_is_no_change(site: SiteConfig) -> None:
    frozen = freeze(site, "spring")
    edit(site, lambda lines: [line + ("," + ("note" if number == 0 else "x")) for number, line in enumerate(lines)])
    assert compare(site, frozen).reason == ""


def test_images_count_by_content_and_not_by_their_time(site: SiteConfig) -> None:
    image = site.data / "dicom" / "P003" / "one.dcm"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"pixels")
    frozen = freeze(site, "spring")
    os.utime(image, ns=(1, 1))
    assert compare(site, frozen).reason == ""
    image.write_bytes(b"pixelz")
    assert compare(site, frozen).changed == (site_pseudonyms(site.work).patient("P003"),)
    shutil.rmtree(image.parent)
    assert len(compare(site, frozen).changed) == 1


def test_a_snapshot_is_never_written_twice(site: SiteConfig) -> None:
    freeze(site, "spring")
    with pytest.raises(ConfigError, match="cohort 'spring' is frozen already and is never changed"):
        freeze(site, "spring")
    assert (site.work / "frozen" / "spring.json").stat().st_mode & 0o777 == 0o400


def test_a_snapshot_that_was_edited_is_refused(site: SiteConfig) -> None:
    freeze(site, "spring")
    path = site.work / "frozen" / "spring.json"
    raw = json.loads(path.read_text())
    raw["patients"].popitem()
    path.chmod(0o600)
    path.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="was changed after it was frozen"):
        read_frozen(site, "spring")


@pytest.mark.parametrize("name", ["", "Spring", "../up", "a b", "x" * 41])
def test_names_stay_inside_the_folder(site: SiteConfig, name: str) -> None:
    with pytest.raises(ConfigError, match="wanted lower-case letters"):
        freeze(site, name)


def test_a_snapshot_names_nobody(site: SiteConfig) -> None:
    image = site.data / "dicom" / "P003" / "Sankt-Nimmerlein.dcm"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"pixels")
    freeze(site, "spring")
    text = Path(site.work / "frozen" / "spring.json").read_text()
    assert "P003" not in text
    assert "Nimmerlein" not in text
