"""Look through any folder of DICOM, or a hospital's whole cohort: what is there, what is wrong with it, what to do.

Used by `fl-liver site check DIR`. Series and cases carry pseudonyms, files their number in name order. Below a
`site.toml` the hospital's own key makes the names; elsewhere the key is the SHA-256 of the whole first DICOM file, so
that a second run gives the same names while nobody without the images can test a guess.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from fl_liver.client.cohort.cache import CACHE_FOLDER
from fl_liver.client.cohort.check.case import CASE_S, CaseFiles, CaseFound, blame, look_at
from fl_liver.client.cohort.check.fingerprint import Intensity
from fl_liver.client.cohort.check.people import people_findings
from fl_liver.client.cohort.check.privacy import privacy_findings
from fl_liver.client.cohort.check.remembered import Remembered
from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.codes import UnusableError, finding, in_fixed_order
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.layout import (
    DICOM_FOLDER,
    KNOWN_FILES,
    MASK_FOLDER,
    SITE_FILE,
    hospital_folder,
    is_hospital_folder,
)
from fl_liver.client.cohort.lesions.drawn import DRAWN
from fl_liver.client.cohort.load import lesion_free, load_cohort, studied_table
from fl_liver.client.cohort.pseudonym import Pseudonyms, random_pseudonyms, site_pseudonyms
from fl_liver.client.cohort.read.decoders import Decoders, decoders_for
from fl_liver.client.cohort.read.dicom import looks_like_dicom
from fl_liver.client.cohort.read.folder import Listed, list_files, meant_as_dicom
from fl_liver.client.cohort.read.index import INDEX_FILE, Index
from fl_liver.client.cohort.series.series import Series
from fl_liver.client.cohort.series.survey import Place, survey
from fl_liver.client.cohort.table.clinical import ClinicalTable
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from fl_liver.study_cohort import SequenceKind

_READING_ORDER: tuple[SequenceKind, ...] = get_args(SequenceKind)

OnProgress = Callable[[str, int, int], None]
"""(what is done, how many are, of how many)"""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """pixels: decode every image. study: also say what it would leave out, by reading the cohort as training does."""

    pixels: bool = True
    study: Study | None = None
    on_progress: OnProgress = field(default=lambda *_: None)


def check_folder(folder: Path, names: Pseudonyms | None = None, options: CheckOptions = CheckOptions()) -> CheckReport:
    """Read every header below `folder`, then every pixel in guarded processes.

    Args:
        names: makes the pseudonyms; by default as the module text says.
    Raises:
        DataError: no such folder, an empty one, or one without any DICOM file.
        ConfigError: a `site.toml` or `series.toml` lies in the folder and is wrong.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the DICOM files")
    site = load_site(folder / "site.toml") if (folder / "site.toml").is_file() else None
    if site is not None and not site.data.is_dir():
        raise DataError(f"{folder}: site.toml says the data lie in {site.data}; there is no such folder")
    here = (site.data if site else folder).resolve()
    listed = list_files(here, leave_out=(site.work,) if site else ())
    if not listed:
        raise DataError(f"{folder}: the folder is empty; wanted DICOM files, export at least one series into it")
    wanted = [one for one in listed if meant_as_dicom(one.path)]
    if not any(looks_like_dicom(one.path) for one in wanted):
        raise DataError(f"{folder}: {len(listed)} files, none of them DICOM; export at least one series into it")
    chosen = names or (site_pseudonyms(site.work) if site else _names_from(wanted))
    return _Check(here, site, chosen, options).run(listed, wanted)


class _Check:
    """One run over one folder: headers, then pixels and drawn lesions, then people."""

    def __init__(self, here: Path, site: SiteConfig | None, names: Pseudonyms, options: CheckOptions) -> None:
        self._here, self._site, self._names, self._options = here, site, names, options
        self._hospital = hospital_folder(here) if is_hospital_folder(here) else None
        cache = site.work / CACHE_FOLDER if site else None
        self._index = Index(cache / INDEX_FILE) if cache else None
        self._remembered = Remembered(cache)
        self._table = self._studied()
        self._findings: list[Finding] = []
        self._intensities: dict[str, list[Intensity]] = defaultdict(list)

    def run(self, listed: list[Listed], wanted: list[Listed]) -> CheckReport:
        series = self._headers(wanted)
        read = {one.relative for one in wanted}
        passed_over = sum(one.relative not in read and not self._is_known(one) for one in listed)
        if passed_over:
            self._findings.append(finding("W_OTHER_FILES", "", f"{passed_over} of {len(listed)} files are not DICOM"))
        cases = self._cases(series)
        hashes = self._pixels(cases) if self._options.pixels else {}
        rows = None
        study = self._options.study
        if self._hospital is not None:
            rows, told = people_findings(self._hospital, self._site, self._names, hashes, study)
            self._findings += told
        not_asked = self._of_no_concern()
        if self._site is not None:
            self._findings += privacy_findings(self._site, series)
        if study is not None:
            self._findings += self._asked_by(study)
        for kept in (self._index, self._remembered):
            if kept is not None:
                kept.save()
        findings = in_fixed_order(self._findings)
        return CheckReport(
            files=len(listed),
            series=tuple(one.with_findings(findings) for one in series),
            findings=findings,
            names=self._names,
            rows=rows,
            cases=tuple(one for one in cases if one.case not in not_asked),
            intensities=self._intensities,
            not_asked=not_asked,
        )

    def _is_known(self, one: Listed) -> bool:
        """In a hospital's folder, tables, keys and settings beside dicom/, and drawn lesions, are no surprise."""
        beside = "/" not in one.relative or one.relative.startswith(f"{MASK_FOLDER}/")
        return beside if self._hospital is not None else one.relative in KNOWN_FILES

    def _headers(self, wanted: list[Listed]) -> list[Series]:
        """Every header, patient by patient in a hospital's folder, at once elsewhere."""
        read = self._index.examine if self._index is not None else None
        found: list[Series] = []
        places = list(self._places(wanted))
        for done, (place, files) in enumerate(places, start=1):
            told = survey(files, place, read)
            found += told.series
            self._findings += told.findings
            self._options.on_progress("headers", done, len(places))
        self._findings += self._mapping_findings(found)
        return found

    def _mapping_findings(self, series: list[Series]) -> list[Finding]:
        """Entries of series.toml that fit nothing: most often slips of the pen."""
        if self._hospital is None:
            return []
        root = self._hospital.dicom
        seen = {
            (one.header.acquisition.description, one.members[0].path.parent.relative_to(root).as_posix())
            for one in series
            if one.members[0].path.is_relative_to(root)
        }
        unused = self._hospital.mapping.unused(seen)
        return [finding("W_MAPPING_UNUSED", "", f"entry {number} of series.toml fits no series") for number in unused]

    def _places(self, wanted: list[Listed]) -> Iterator[tuple[Place, Sequence[Listed]]]:
        if self._hospital is None:
            yield Place(self._here, self._names), wanted
            return
        for patient, folder in self._hospital.patients.items():
            if folder.files:
                case = self._names.patient(patient)
                yield Place(self._here, self._names, case, 1, self._hospital.mapping), folder.files
        elsewhere = [one for one in wanted if not one.relative.startswith(f"{DICOM_FOLDER}/")]
        if elsewhere:
            yield Place(self._here, self._names), elsewhere

    def _studied(self) -> ClinicalTable | None:
        """The clinical table with the study's eyes."""
        if self._options.study is None:
            return None
        if self._site is None:
            raise ConfigError(f"{self._here}: has no {SITE_FILE}; a study is checked in a hospital's own folder")
        return studied_table(self._site, self._options.study, self._names)

    def _of_no_concern(self) -> frozenset[str]:
        """Those whom the study is not about; what was found of them goes, and empty masks of who has no lesion."""
        if self._table is None or self._options.study is None:
            return frozenset()
        free = {self._names.patient(one) for one in lesion_free(self._table, self._options.study)}
        not_asked = frozenset(self._names.patient(one) for one in self._table.not_asked)
        self._findings = [
            one
            for one in self._findings
            if one.case not in not_asked and not (one.code == "E_ROI_EMPTY" and one.case in free)
        ]
        return not_asked

    def _asked_by(self, study: Study) -> list[Finding]:
        """What training would find, less what is known."""
        if self._site is None:
            return []
        known = {(one.code, one.case) for one in self._findings}
        told = load_cohort(self._site, study, on_patient=lambda *at: self._options.on_progress("study", *at)).findings
        return [one for one in told if (one.code, one.case) not in known]

    def _pixels(self, cases: list[CaseFiles]) -> dict[str, frozenset[str]]:
        """Look at every patient in a guarded process; hashes of the pixels by case."""
        hashes: dict[str, frozenset[str]] = {}
        workers = self._site.decoders if self._site is not None else "auto"
        with decoders_for(workers, seconds=CASE_S) as decoders:
            for done, (files, found) in enumerate(self._looked_at(cases, decoders), start=1):
                hashes[files.case] = found.hashes
                self._findings += found.findings
                for series, intensity in found.intensities:
                    self._intensities[series].append(intensity)
                self._options.on_progress("images", done, len(cases))
        return hashes

    def _cases(self, series: list[Series]) -> list[CaseFiles]:
        by_case: dict[str, list[Series]] = defaultdict(list)
        for one in series:
            if one.usable or one.modality in DRAWN:
                by_case[one.case].append(one)
        folders = self._hospital.patients if self._hospital is not None else {}
        drawn = {self._names.patient(patient): folder for patient, folder in folders.items()}
        return [
            CaseFiles(
                case,
                tuple(sorted(by_case[case], key=_clinical_order)),
                tuple(one.path for one in drawn[case].masks) if case in drawn else (),
                drawn[case].boxes if case in drawn else (),
            )
            for case in sorted(by_case)
        ]

    def _looked_at(self, cases: list[CaseFiles], decoders: Decoders) -> Iterator[tuple[CaseFiles, CaseFound]]:
        """Remembered cases are not looked at again."""
        known = {files.case: self._remembered.get(files) for files in cases}
        fresh = decoders.map(look_at, [files for files in cases if known[files.case] is None])
        for files in cases:
            found = known.pop(files.case)
            if found is None:
                result = next(fresh)
                found = self._blamed(files, result, decoders) if isinstance(result, UnusableError) else result
                self._remembered.put(files, found)
            yield files, found

    def _blamed(self, files: CaseFiles, error: UnusableError, decoders: Decoders) -> CaseFound:
        """Which files stopped the process that looked at a patient; the patient himself where none does it alone."""
        slices = [(one, member) for one in files.series if one.header.is_image for member in one.members]
        singly = {member.path: (one, member) for one, member in slices}.values()
        told = [
            result.finding(files.case, one.id)
            for (one, _), result in zip(singly, decoders.map(blame, [member for _, member in singly]), strict=True)
            if isinstance(result, UnusableError)
        ]
        return CaseFound(tuple(told) or (error.finding(files.case),))


def _clinical_order(series: Series) -> tuple[int, float]:
    """As people read an examination; what is not recognised comes last, in the order of its files."""
    guess = series.guess
    if guess is None or guess.kind is None:
        return len(_READING_ORDER), 0.0
    return _READING_ORDER.index(guess.kind), guess.b_value or 0.0


def _names_from(wanted: list[Listed]) -> Pseudonyms:
    for one in wanted:
        if looks_like_dicom(one.path):
            with one.path.open("rb") as file:
                return Pseudonyms(hashlib.file_digest(file, "sha256").digest())
    return random_pseudonyms()
