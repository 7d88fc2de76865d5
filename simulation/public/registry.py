"""The public data sets that `--data DIR --reader NAME` can read, each with where to get it and on what terms."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fl_liver.errors import ConfigError, DataError
from simulation.public import crlm, hcc_tace_seg, lits, liver_us, lld_mmri, mct_ltdiag, organ_mnist, tcga_lihc
from simulation.public.cohort import PublicCohort
from simulation.public.tables import listing

__all__ = ["READERS", "PublicCohort", "Reader", "describe", "read_public"]


@dataclass(frozen=True, slots=True)
class Reader:
    """One data set: the files by which its folder is known, and what a user must know before using it."""

    name: str
    title: str
    obtain: str
    licence: str
    files: tuple[str, ...]
    """Globs below the folder, each of which must find something; `|` parts what will do as well."""
    read: Callable[[Path], PublicCohort]
    serves: str = ""


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader(
            name="mct_ltdiag",
            title="MCT-LTDiag: 517 patients with one of five focal liver lesions, CT findings, 4-phase CT volumes",
            obtain="Harvard Dataverse doi 10.7910/DVN/S3RW15; the tables alone also in meta/ of"
            " github.com/Hoyant-Su/Multi-phase_LT_Benchmark",
            licence="CC0 1.0 as others state it; the repository has no licence file, look at the Dataverse page",
            files=mct_ltdiag.FILES,
            read=mct_ltdiag.read,
            serves="table studies with the tables; CT studies where the volumes lie below the same folder",
        ),
        Reader(
            name="crlm",
            title="Colorectal-Liver-Metastases: portal venous CT of 197 patients, each metastasis drawn, follow-up",
            obtain="The Cancer Imaging Archive, doi 10.7937/QXK2-QG03: DICOM by the NBIA Data Retriever, and the"
            " clinical workbook into the same folder",
            licence="CC BY 4.0 as the archive's page is quoted by others; look there",
            files=("CRLM-CT-*|*/CRLM-CT-*|*/*/CRLM-CT-*",),
            read=crlm.read,
            serves="CT studies of the portal venous phase; no benign lesion: asked is whether the liver relapses",
        ),
        Reader(
            name="hcc_tace_seg",
            title="HCC-TACE-Seg: CT of 105 patients with HCC before chemoembolisation, masses drawn, follow-up",
            obtain="The Cancer Imaging Archive, doi 10.7937/TCIA.5FNA-0924: DICOM by the NBIA Data Retriever, and the"
            " clinical workbook into the same folder",
            licence="CC BY 4.0 as the archive's page is quoted by others; look there",
            files=("HCC_[0-9]*|*/HCC_[0-9]*|*/*/HCC_[0-9]*",),
            read=hcc_tace_seg.read,
            serves="CT studies; everybody has HCC: asked is whether it progresses",
        ),
        Reader(
            name="msd_liver",
            title="Medical Segmentation Decathlon, Task03 Liver: 131 CT volumes with liver and tumours drawn",
            obtain="medicaldecathlon.com, Task03_Liver.tar",
            licence="CC BY-SA 4.0, as the decathlon's licence file says",
            files=("imagesTr/liver_*.nii*", "labelsTr/liver_*.nii*"),
            read=lits.read_msd,
            serves="CT studies of whole slices: is there a tumour; of what kind is not stated",
        ),
        Reader(
            name="lits",
            title="LiTS: 131 CT volumes with liver and tumours drawn, the same patients as msd_liver",
            obtain="the LiTS challenge at competitions.codalab.org/competitions/17094",
            licence="not known to this reader; look at the challenge's page",
            files=("volume-*.nii*|*/volume-*.nii*", "segmentation-*.nii*|*/segmentation-*.nii*"),
            read=lits.read_lits,
            serves="CT studies of whole slices: is there a tumour; of what kind is not stated",
        ),
        Reader(
            name="lld_mmri",
            title="LLD-MMRI (2023): MR of 498 patients in eight series, seven kinds of lesion in boxes",
            obtain="on application, see github.com/LMMMEng/LLD-MMRI2023; the folder with images/ and labels/",
            licence="research only, no commercial use, as the challenge's page says",
            files=(lld_mmri.ANNOTATION,),
            read=lld_mmri.read,
            serves="MR studies: T2, diffusion and dynamic T1; lesions are cuboids",
        ),
        Reader(
            name="liver_us",
            title="Annotated B-mode ultrasound of the liver: 735 images, benign, malignant or no mass, polygons",
            obtain="Zenodo, doi 10.5281/zenodo.7272660: Benign.zip, Malignant.zip and Normal.zip into one folder",
            licence="not known to this reader; look at the Zenodo page",
            files=("Benign/image", "Malignant/image", "Normal/image"),
            read=liver_us.read,
            serves="ultrasound studies; one image a patient, no clinical factors, no kind of background",
        ),
        Reader(
            name="tcga_lihc",
            title="TCGA-LIHC: clinical tables of patients with resected HCC, and CT without drawn lesions",
            obtain="clinical_patient_lihc.txt of TCGA (NCI GDC); images from The Cancer Imaging Archive, doi"
            " 10.7937/K9/TCIA.2016.IMMQW8UQ",
            licence="images CC BY 3.0 as the archive has it for TCGA; tables open access; look there",
            files=("*clinical_patient_lihc.txt|*/*clinical_patient_lihc.txt",),
            read=tcga_lihc.read,
            serves="table studies; CT studies for patients whose lesions you drew into masks/",
        ),
        Reader(
            name="organ_mnist",
            title="MedMNIST OrganA/C/SMNIST: 28×28 crops of eleven organs, a demonstration (liver or not)",
            obtain="Zenodo, doi 10.5281/zenodo.6496656, organamnist.npz",
            licence="CC BY 4.0, as MedMNIST says",
            files=(organ_mnist.PATTERN,),
            read=organ_mnist.read,
            serves="table studies: 49 mean greys in the place of factors; no lesions, no patients",
        ),
    )
}


def read_public(name: str | None, folder: Path) -> PublicCohort:
    """Read a public data set.

    Args:
        name: A key of READERS, or None: the reader whose files all lie in `folder`.
    Raises:
        ConfigError: unknown reader, or no folder.
        DataError: no reader knows the folder, or the tables cannot be used.
    """
    if name is not None and name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(READERS)}"
        raise ConfigError(f"reader '{name}': unknown, {hint}")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the folder that holds the data set with --data")
    return (_detect(folder) if name is None else READERS[name]).read(folder)


def _detect(folder: Path) -> Reader:
    for reader in READERS.values():
        if all(any(_holds(folder, glob) for glob in file.split("|")) for file in reader.files):
            return reader
    wanted = "; ".join(f"{name}: {', '.join(_shown(reader))}" for name, reader in READERS.items())
    raise DataError(f"{folder}: no known data set (found {listing(folder)}; wanted {wanted}); give another folder")


def _holds(folder: Path, glob: str) -> bool:
    return next(folder.glob(glob), None) is not None


def _shown(reader: Reader) -> list[str]:
    return [file.partition("|")[0] for file in reader.files]


def describe() -> str:
    """Text for `--help`: per data set its name, content, source and licence."""
    blocks = [
        f"{reader.name}\n  {reader.title}\n  files    {', '.join(_shown(reader))}\n"
        f"  serves   {reader.serves}\n  from     {reader.obtain}\n  licence  {reader.licence}"
        for reader in READERS.values()
    ]
    return "\n".join(blocks)
