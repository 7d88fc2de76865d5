"""A paper's own tables and figures in a finished simulation: every hospital's table, and the plan that ships.

The plans are those of `study_files.shipped_plan`. They are answered with floors and masked sums, as between hospitals,
in this process. A hospital's own table holds what is asked for; here, of phantoms and public data, every column but
dates, for plans that somebody writes later. Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_liver.analyse import MIN_SITES, answers, read_tables, write_json, write_page
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.cohort.table.source import read_clinical_table
from fl_liver.client.cohort.table.tables import read_table
from fl_liver.client.export import READERS_FILE, image_table, site_table, write_table
from fl_liver.client.export_columns import ID, Columns, tells_a_date
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.errors import FLLiverError
from fl_liver.stats.plan import Plan, read_plan
from fl_liver.study import Study
from fl_liver.study_files import shipped_image_plan, shipped_plan

FOLDER, PAGE, RESULTS = "analysis", "paper.html", "paper.json"
EXPLAINED = "explained/explain.csv"
"""Below a hospital's folder, where `fl-liver site explain --out explained` writes it."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """A plan over one kind of table: what was asked, its answers and what has none, {id: why}."""

    plan: Plan
    written: dict[str, dict[str, Any]]
    refused: dict[str, str]
    left_out: dict[str, str]


def paper_analysis(study: Study, folder: Path, hospitals: Mapping[str, Path]) -> dict[str, Any]:
    """Write `folder/analysis/`: SITE.csv of every hospital, images-SITE.csv where a plan asks of single images,
    paper.html and paper.json.

    Args:
        folder: of the run.
        hospitals: folder of each hospital that took part, by name.
    Returns:
        {"plan", "answered": n, "refused": {id: why}, "left_out": {id: why}, "page", "results"}; left out is
        what reads a column that no hospital has. Empty where the study has no plan, or fewer than three hospitals.
    """
    plan_file, of_images = shipped_plan(study), shipped_image_plan(study)
    if plan_file is None or len(hospitals) < MIN_SITES:
        return {}
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    parts = [_answered(plan_file, {name: _table(study, home) for name, home in hospitals.items()}, place, "")]
    if of_images is not None:
        tables = {name: _image_table(study, home) for name, home in hospitals.items()}
        parts.append(_answered(of_images, tables, place, "images-"))
    written = {name: one for part in parts for name, one in part.written.items()}
    refused = {name: why for part in parts for name, why in part.refused.items()}
    left_out = {name: why for part in parts for name, why in part.left_out.items()}
    found: dict[str, Any] = {"plan": plan_file.stem, "left_out": left_out}
    if written:
        analyses = tuple(one for part in parts for one in part.plan.analyses)
        asked = Plan(analyses, tuple(one for part in parts for one in part.plan.derived))
        write_json(place / RESULTS, written)
        write_page(place / PAGE, f"{study.title}: the paper's tables", asked, written, list(hospitals), sums="masked")
        found |= {
            "answered": len(written) - len(refused),
            "refused": refused,
            "page": f"{FOLDER}/{PAGE}",
            "results": f"{FOLDER}/{RESULTS}",
        }
    return found


def _answered(plan_file: Path, tables: Mapping[str, Columns], place: Path, prefix: str) -> _Answered:
    files = _written(tables, place, prefix)
    plan, left_out = answerable(read_plan(plan_file), tables)
    if not plan.analyses:
        return _Answered(Plan(()), {}, {}, left_out)
    written, refused = answers(plan, read_tables(files, plan), sums="masked", for_page=True)
    return _Answered(plan, written, {name: one.reason for name, one in refused.items()}, left_out)


def answerable(plan: Plan, tables: Mapping[str, Columns]) -> tuple[Plan, dict[str, str]]:
    """(the plan's analyses whose columns some hospital has, {id of each other: why})."""
    there = {name for columns in tables.values() for name in columns}
    left_out: dict[str, str] = {}
    for entry in plan.analyses:
        absent = [name for name in Plan((entry,), plan.derived).columns() if name not in there]
        if absent:
            left_out[entry.id] = f"no hospital has a column '{absent[0]}'"
    return Plan(tuple(one for one in plan.analyses if one.id not in left_out), plan.derived), left_out


def _table(study: Study, home: Path) -> Columns:
    explained = home / EXPLAINED
    with _at(home) as site:
        cohort, named = load_cohort(site, study), _every_column(site, study)
        return site_table(site, study, cohort, explained if explained.is_file() else None, named=named).columns


def _every_column(site: SiteConfig, study: Study) -> list[str]:
    """Of clinical table and readers, but for ids and dates."""
    tables = [read_clinical_table(site.data, site.sql)]
    if (site.data / READERS_FILE).is_file():
        tables.append(read_table(site.data / READERS_FILE, or_empty=True))
    dates = {column.name for column in study.column if column.kind == "date"}
    filled = [table for table in tables if len(table)]
    found = [str(name) for table in filled for name in table if not any(map(tells_a_date, table[name]))]
    return [name for name in dict.fromkeys(found) if name not in dates | {ID}]


def _image_table(study: Study, home: Path) -> Columns:
    with _at(home) as site:
        return image_table(site, study, load_cohort(site, study))


@contextmanager
def _at(home: Path) -> Iterator[SiteConfig]:
    """The hospital, whose name errors begin with."""
    site = load_site(home / "site.toml")
    try:
        yield site
    except FLLiverError as error:
        raise type(error)(f"site {site.site}: {error}") from error


def _written(tables: Mapping[str, Columns], place: Path, prefix: str) -> dict[str, Path]:
    """One file a hospital, all with the same columns; what a hospital lacks is empty."""
    header = list(dict.fromkeys(name for columns in tables.values() for name in columns))
    files = {}
    for site, columns in tables.items():
        files[site] = place / f"{prefix}{site}.csv"
        empty = [""] * len(columns["case"])
        write_table(files[site], {name: columns.get(name, empty) for name in header})
    return files
