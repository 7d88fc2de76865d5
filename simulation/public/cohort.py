"""Patients of a public data set as a reader hands them over, and the virtual hospitals written from them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tomli_w
from numpy.typing import NDArray

from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study


@dataclass(frozen=True, slots=True, eq=False)
class PublicCohort:
    """n real patients, leaks taken out.

    name               the reader's name
    clinical           n rows in order of `patient_id`; that column, then the outcomes, then the factors' columns.
                       Missing is NaN or pandas.NA.
    outcomes           columns of `clinical` that hold the diagnosis; the first is the finest
    partition_columns  name → (n,) texts, what `by:COLUMN` may part by
    refused            column, as the data set or a person may write it → why it must not be a factor
    notes              what the reader noticed, one sentence each
    images             None: tables only so far
    """

    name: str
    clinical: pd.DataFrame
    outcomes: tuple[str, ...]
    partition_columns: dict[str, NDArray[np.str_]]
    refused: dict[str, str]
    notes: tuple[str, ...] = ()
    images: None = field(default=None)

    def labels(self, study: Study) -> NDArray[np.int64]:
        """(n,) index into `study.task.classes`.

        Raises:
            ConfigError: as `check_study`.
            DataError: a patient's outcome is none of the study's classes.
        """
        self.check_study(study)
        codes = list(study.task.classes.values())
        values = self.clinical[study.task.outcome].astype(str)
        stray = sorted(set(values) - set(codes))
        if stray:
            raise DataError(
                f"{self.name}: {study.task.outcome} holds {', '.join(stray)}, study {study.name} knows"
                f" {', '.join(codes)}; name every diagnosis in task.classes"
            )
        return np.array([codes.index(value) for value in values], dtype=np.int64)

    def check_study(self, study: Study) -> None:
        """Refuse a study that this data set cannot serve, or that would learn a leak.

        Raises:
            ConfigError: images are wanted; the outcome, a factor's or the size column is not there; a factor reads a
                refused column or an outcome. The reason is in the message.
        """
        if study.task.modality != "table":
            raise ConfigError(
                f"study {study.name} reads {study.task.modality} images, {self.name} is a table without images;"
                " choose a study with modality 'table'"
            )
        if study.task.outcome not in self.outcomes:
            raise ConfigError(
                f"study {study.name}: outcome '{study.task.outcome}' is not in {self.name};"
                f" wanted one of {', '.join(self.outcomes)}"
            )
        for factor in study.factor:
            self._check_factor(factor.column, f"study {study.name}, factor '{factor.name}'")
        if study.task.size_mm is not None and study.task.size_mm not in self.clinical:
            raise ConfigError(f"study {study.name}: size_mm '{study.task.size_mm}' is not in {self.name}")

    def _check_factor(self, column: str, where: str) -> None:
        reasons = {_plain(name): reason for name, reason in self.refused.items()}
        if _plain(column) in reasons:
            raise ConfigError(f"{where}: column '{column}' is refused: {reasons[_plain(column)]}; take the factor out")
        if column in self.outcomes:
            raise ConfigError(f"{where}: column '{column}' is the diagnosis itself; take the factor out")
        if column not in self.clinical:
            raise ConfigError(f"{where}: no column '{column}' in {self.name}, {self._hint(column)}")

    def _hint(self, column: str) -> str:
        known = [str(name) for name in self.clinical if name not in ("patient_id", *self.outcomes)]
        near = difflib.get_close_matches(column, known, n=1, cutoff=0.6)
        return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def _plain(name: str) -> str:
    """Lower case, runs of other signs as one underscore: the one form in which column names are compared."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def write_virtual_hospitals(
    cohort: PublicCohort,
    assignment: Sequence[tuple[str, NDArray[np.int64]]],
    root: Path,
    external: Collection[str],
) -> tuple[Path, ...]:
    """Write one hospital folder per entry: `clinical.csv` and `site.toml`. Same input, same bytes.

    Args:
        assignment: (name, indices into the cohort) as `partition` returns them.
        root: Parent of the folders; made where it is not there. The two files are overwritten.
        external: Names of the hospitals that only test.
    Returns:
        The folders, in the order of `assignment`.
    Raises:
        ConfigError: a patient is in no hospital or in two, or `external` names a hospital that is not there.
    """
    owners = np.bincount(np.concatenate([rows for _, rows in assignment]), minlength=len(cohort.clinical))
    if len(owners) != len(cohort.clinical) or (owners != 1).any():
        raise ConfigError(
            f"{cohort.name}: {int((owners != 1).sum())} patients are in no hospital or in two; wanted one"
        )
    stray = sorted(set(external) - {name for name, _ in assignment})
    if stray:
        raise ConfigError(f"external hospitals {', '.join(stray)} are not among the virtual hospitals; name those")
    return tuple(_write_hospital(cohort, root / name, rows, name in external) for name, rows in assignment)


def _write_hospital(cohort: PublicCohort, folder: Path, rows: NDArray[np.int64], external: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cohort.clinical.iloc[rows].to_csv(folder / "clinical.csv", index=False, lineterminator="\n", encoding="utf-8")
    role: Literal["train", "external"] = "external" if external else "train"
    site = SiteConfig(site=folder.name, role=role, release="named", plain_sums=True, audit=False, durable=False)
    (folder / "site.toml").write_text(tomli_w.dumps(site.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return folder
