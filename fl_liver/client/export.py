"""The hospital's own table for `fl-liver analyse`: a row a patient (or lesion), under a pseudonym. It stays here.

    case, patient          pseudonyms of the row and of its patient; the same where rows are patients
    part, fold             as the study dealt them; `test` is the part of those who were never trained on
    class, label           the class's name; 1 for disease. With further endpoints also class_NAME and label_NAME
    score_X, p_X           log-odds and probability of each stored score X; of several classes also score_X_CLASS
    risk_X                 Wang's risk score, of studies with `model.patient` "risk" or "risk_printed", where the score
                           was made from a patient's images: a fusion and an ensemble have none
    background, size_mm    as the study reads them, and its factors by their names
    ...                    columns of the clinical table, of readers.csv and of the table of explanations, as they
                           stand: those that `export_columns` takes, and no others

A missing value is an empty field. `image_table` is the table of single images, under the same pseudonyms.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_liver.client.cohort.cohort import PARTS, Cohort
from fl_liver.client.cohort.pseudonym import Pseudonyms, site_pseudonyms
from fl_liver.client.cohort.table.lesion_rows import LESION_COLUMN, numbered
from fl_liver.client.cohort.table.source import read_clinical_table
from fl_liver.client.cohort.table.tables import read_table, require_columns
from fl_liver.client.export_columns import Columns, choice
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import SiteConfig
from fl_liver.client.table import cohort_columns, positive_classes
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study
from fl_liver.whole_file import PRIVATE, write_whole

if TYPE_CHECKING:
    import pandas as pd

READERS_FILE = "readers.csv"
"""In a hospital's data folder: patient_id, `lesion` where rows are lesions, and what each reader said of the row."""
CLINICAL = "clinical table"


@dataclass(frozen=True, slots=True)
class OwnTable:
    """{column: a text for each row of the cohort}; {table: its columns} that were taken, and that were left out."""

    columns: Columns
    taken: dict[str, list[str]]
    left_out: dict[str, list[str]]


def site_table(
    site: SiteConfig,
    study: Study,
    cohort: Cohort,
    explained: Path | None = None,
    *,
    plan: Iterable[str] = (),
    named: Sequence[str] = (),
) -> OwnTable:
    """The hospital's own table.

    Args:
        explained: explain.csv of `fl-liver site explain`.
        plan, named: columns that a plan reads, and that the hospital names, see `export_columns`.
    Raises:
        ConfigError: the hospital names a column that no table has, an id or a date.
        DataError: a table cannot be read, lacks what names its rows or a row of the cohort, has a row twice, a column
            that is there already, or a date in a column that is taken.
    """
    names, wanted = site_pseudonyms(site.work), choice(study, plan, named)
    clinical, patients = _by_case(read_clinical_table(site.data, site.sql), study, names)
    columns: Columns = {
        "case": list(cohort.patients),
        "patient": _patients(cohort, patients, names),
        **_dealt(cohort),
        **_of_study(site, study, cohort),
    }
    raw = {name: values for name, values in _at(clinical, cohort).items() if name not in columns}
    columns |= wanted.of_clinical(raw, CLINICAL)
    if (site.data / READERS_FILE).is_file():
        readers, _ = _by_case(_keyed(site.data / READERS_FILE, study), study, names)
        _add(columns, wanted.of_readers(_at(readers, cohort), READERS_FILE), READERS_FILE)
    if explained is not None:
        _add(columns, wanted.of_explained(_at(_explained(explained), cohort), explained.name), explained.name)
    wanted.require_found(columns)
    return OwnTable(columns, wanted.taken, wanted.left_out)


def _patients(cohort: Cohort, owner: Mapping[str, str], names: Pseudonyms) -> list[str]:
    """The pseudonym of each row's patient.

    Raises:
        DataError: rows of the cohort that the clinical table has no more: strangers would become one patient.
    """
    gone = sum(case not in owner for case in cohort.patients)
    if gone:
        raise DataError(
            f"{gone} of {len(cohort.patients)} rows of the cohort are not in the {CLINICAL} any more; put them back as"
            " they were when the study was run, or have the study run again"
        )
    return [names.patient(owner[case]) for case in cohort.patients]


def image_table(site: SiteConfig, study: Study, cohort: Cohort) -> Columns:
    """{column: a text for each image of the cohort}: case, patient, part, test and label of its row; visible, where the
    study keeps masks: 1 where a lesion was drawn in it; score_X and p_X of each stored score of two classes.

    Raises:
        DataError: a table study, scores of other images than the cohort's, a table that cannot be read, or that lacks
            a row of the cohort.
    """
    if study.task.modality == "table":
        raise DataError(f"study {study.name} reads a table; it has no images to list")
    names = site_pseudonyms(site.work)
    _, patients = _by_case(read_clinical_table(site.data, site.sql), study, names)
    label = np.isin(cohort.label, positive_classes(study)).astype(np.float64)
    rows: Columns = {
        "case": list(cohort.patients),
        "patient": _patients(cohort, patients, names),
        **_dealt(cohort),
        "label": _texts(label),
    }
    del rows["fold"]
    columns = {name: [values[row] for row in cohort.owner.tolist()] for name, values in rows.items()}
    if study.cohort.masks:
        columns["visible"] = ["1" if mask.any() else "0" for mask in cohort.images["mask"]]
    return columns | _of_images(ScoreStore(site.study_folder(study.sha256), len(cohort.patients)), cohort)


def _of_images(store: ScoreStore, cohort: Cohort) -> Columns:
    found: Columns = {}
    for name in store.names():
        logits = store.images(name)
        if logits is None or logits.shape[1] > 1:
            continue
        if len(logits) != len(cohort.owner):
            raise DataError(
                f"scores '{name}' are of {len(logits)} images, the cohort has {len(cohort.owner)}; have the study run"
                " again, or put the images back as they were"
            )
        found |= {f"score_{name}": _texts(logits[:, 0]), f"p_{name}": _texts(_probability(logits[:, 0]))}
    return found


def table_text(columns: Mapping[str, Sequence[str]]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def write_table(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    """`path`, mode 0600. Raises ConfigError where it cannot be written."""
    try:
        write_whole(path, table_text(columns), mode=PRIVATE)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({type(error).__name__}); give another --out path") from error


def _dealt(cohort: Cohort) -> Columns:
    parts = [PARTS[part] for part in cohort.part.tolist()]
    return {
        "part": parts,
        "test": [part if part in ("internal", "external") else "" for part in parts],
        "fold": ["" if fold < 0 else str(fold) for fold in cohort.fold.tolist()],
    }


def _of_study(site: SiteConfig, study: Study, cohort: Cohort) -> Columns:
    """What the study reads and what its models said, in the order of this module's docstring."""
    store = ScoreStore(site.study_folder(study.sha256), len(cohort.patients))
    found: Columns = {}
    for name, values in cohort_columns(cohort, study, store).items():
        shown = "class" if name == "class_name" else name.replace(":", "_")
        found[shown] = _texts(values)
        if name.startswith("score:"):
            found[f"p_{shown.removeprefix('score_')}"] = _texts(_probability(values))
            stored = name.removeprefix("score:")
            if study.model.patient != "mean" and ":" not in stored and store.images(stored) is not None:
                found[f"risk_{shown.removeprefix('score_')}"] = _texts(_risk(values))
    kinds = ["", *study.task.background_classes]
    found["background"] = [kinds[index + 1] for index in cohort.background.tolist()]
    return {name: found[name] for name in sorted(found, key=lambda name: not name.startswith(("class", "label")))}


def _probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        found: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
    return found


def _risk(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """r of the log-odds log(10ʳ − 1), as `models.patient_score` stores it."""
    with np.errstate(invalid="ignore"):  # who was not scored stays NaN
        found: NDArray[np.float64] = np.logaddexp(0.0, log_odds) / np.log(10.0)
    return found


def _texts(values: NDArray[Any]) -> list[str]:
    """Numbers in their shortest form that reads back as the same; NaN is empty."""
    if values.dtype == object:
        return [str(value) for value in values]
    return ["" if np.isnan(x) else str(int(x)) if x == int(x) and abs(x) < 2**53 else repr(x) for x in values.tolist()]


def _by_case(table: pd.DataFrame, study: Study, names: Pseudonyms) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """({pseudonym of the row: its cells by column}, {pseudonym: the patient's own id})."""
    owner: dict[str, str] = {}
    if study.cohort.unit == "lesion":
        table, rows, _ = numbered(table, names)
        owner = {names.patient(row): patient for row, (patient, _) in rows.items()}
    cells: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        patient_id = str(row.pop("patient_id"))
        case = names.patient(patient_id)
        owner.setdefault(case, patient_id)
        cells[case] = {str(name): str(value) for name, value in row.items()}
    return cells, owner


def _keyed(path: Path, study: Study) -> pd.DataFrame:
    """A table of what readers said, every row of which has a name of its own."""
    table = read_table(path, or_empty=True)
    keys = ["patient_id", LESION_COLUMN] if study.cohort.unit == "lesion" else ["patient_id"]
    require_columns(table, keys, path)
    twice = int(table.duplicated(keys).sum())
    if twice:
        raise DataError(f"{path}: {twice} rows name a patient or lesion that an earlier row names; keep one of each")
    return table if study.cohort.unit == "lesion" else table.drop(columns=LESION_COLUMN, errors="ignore")


def _explained(path: Path) -> dict[str, dict[str, str]]:
    table = read_table(path, or_empty=True)
    require_columns(table, ["pseudonym"], path)
    rows = table.rename(columns=lambda name: str(name).replace(":", "_")).to_dict("records")
    return {str(row.pop("pseudonym")): {str(name): str(value) for name, value in row.items()} for row in rows}


def _at(cells: Mapping[str, Mapping[str, str]], cohort: Cohort) -> Columns:
    """Columns in the cohort's order; empty for a row that the table does not have."""
    header = list(dict.fromkeys(name for row in cells.values() for name in row))
    return {name: [cells.get(case, {}).get(name, "") for case in cohort.patients] for name in header}


def _add(columns: Columns, more: Columns, where: str) -> None:
    for name, values in more.items():
        if name in columns:
            raise DataError(f"{where}: column '{name}' is in the table already; give it another name")
        columns[name] = values
