"""Patients of a public data set as a reader hands them over: rows and images, with leaks taken out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from simulation.public.images import PublicImages
from simulation.public.question import Question

_NEAR = 0.8
"""Likeness of two names above which one is taken for a slip of the other: 0.93 of wash_out and washout."""


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
    images             None: a table alone
    question           what it can be asked instead, where it cannot answer a study's own question
    """

    name: str
    clinical: pd.DataFrame
    outcomes: tuple[str, ...]
    partition_columns: dict[str, NDArray[np.str_]]
    refused: dict[str, str]
    notes: tuple[str, ...] = ()
    images: PublicImages | None = None
    question: Question | None = None

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
            ConfigError: the images that it reads, the outcome, a factor's, a schema's, the background's or the size
                column is not there; a factor reads a refused column or an outcome. The reason is in the message.
        """
        if study.task.modality != "table":
            if self.images is None:
                raise ConfigError(
                    f"study {study.name} reads {study.task.modality} images, {self.name} is a table without images;"
                    " choose a study with modality 'table'"
                )
            self.images.check(study, self.name)
        if study.task.outcome not in self.outcomes:
            raise ConfigError(
                f"study {study.name}: outcome '{study.task.outcome}' is not in {self.name};"
                f" wanted one of {', '.join(self.outcomes)}"
            )
        for factor in study.factor:
            self._check_factor(factor.column, f"study {study.name}, factor '{factor.name}'")
        wanted = {"size_mm": study.task.size_mm, "background": study.task.background}
        wanted |= {"[[column]]": next((one.name for one in study.column if one.name not in self.clinical), None)}
        for key, column in wanted.items():
            if column is not None and column not in self.clinical:
                raise ConfigError(f"study {study.name}: {key} '{column}' is not in {self.name}")

    def of(self, rows: NDArray[np.int64], *notes: str) -> PublicCohort:
        """The same with some of the patients, by index, in order."""
        return replace(
            self,
            clinical=self.clinical.iloc[rows].reset_index(drop=True),
            partition_columns={name: texts[rows] for name, texts in self.partition_columns.items()},
            notes=(*self.notes, *notes),
        )

    def knows_nothing_of(self, column: str) -> bool:
        """Whether a column is neither there, nor refused, nor spelled nearly as one that is there."""
        near = difflib.get_close_matches(column, [str(name) for name in self.clinical], n=1, cutoff=_NEAR)
        return not near and _plain(column) not in {_plain(name) for name in self.refused}

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
        near = difflib.get_close_matches(column, known, n=1, cutoff=_NEAR)
        return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def answering(cohort: PublicCohort, study: Study, patients: Collection[str] | None = None) -> PublicCohort:
    """Only the patients whom `study` asks about: the outcome is known and asked for, and images are there.

    Args:
        patients: ids of those with images; None where the study reads none.
    Raises:
        ConfigError: nobody is left.
    """
    given = cohort.clinical[study.task.outcome]
    known = given.notna() & ~given.astype(str).isin(("", *study.task.not_asked))
    seen = known if patients is None else known & cohort.clinical["patient_id"].isin(list(patients))
    notes = [
        f"{count} of {len(given)} patients are left out: {why}"
        for count, why in (
            (int((~known).sum()), f"{study.task.outcome} is not known or not asked about"),
            (int((known & ~seen).sum()), "no images, or no lesion drawn on them"),
        )
        if count
    ]
    if not seen.any():
        raise ConfigError(f"study {study.name}: nobody in {cohort.name} can be used ({'; '.join(notes)})")
    return cohort if seen.all() else cohort.of(np.flatnonzero(seen.to_numpy()), *notes)


def _plain(name: str) -> str:
    """Lower case, runs of other signs as one underscore: the one form in which column names are compared."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
