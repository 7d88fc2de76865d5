"""A paper's own tables and figures in a finished simulation: every hospital's table, and the plan that ships.

The plan of a study is `fl_liver/studies/plans/NAME.toml`, or NAME-K.toml where the study has K classes and there is
such a one. It is answered with floors and masked sums, as between hospitals, in this process. Nothing here loads torch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from fl_liver.analyse import MIN_SITES, answers, read_tables, write_json, write_page
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.export import Columns, site_table, write_table
from fl_liver.client.site import load_site
from fl_liver.errors import FLLiverError
from fl_liver.stats.plan import Plan, read_plan
from fl_liver.study import Study

FOLDER, PAGE, RESULTS = "analysis", "paper.html", "paper.json"
EXPLAINED = "explained/explain.csv"
"""Below a hospital's folder, where `fl-liver site explain --out explained` writes it."""


def paper_analysis(study: Study, folder: Path, hospitals: Mapping[str, Path]) -> dict[str, Any]:
    """Write `folder/analysis/`: SITE.csv of every hospital, paper.html and paper.json.

    Args:
        folder: of the run.
        hospitals: folder of each hospital that took part, by name.
    Returns:
        {"plan", "answered": n, "refused": {id: why}, "left_out": {id: why}, "page", "results", "seconds"}; left out is
        what reads a column that no hospital has. Empty where the study has no plan, or fewer than three hospitals.
    """
    plan_file = shipped_plan(study)
    if plan_file is None or len(hospitals) < MIN_SITES:
        return {}
    began = time.monotonic()
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    tables = {name: _table(study, home) for name, home in hospitals.items()}
    files = _written(tables, place)
    plan, left_out = answerable(read_plan(plan_file), tables)
    found: dict[str, Any] = {"plan": plan_file.stem, "left_out": left_out}
    if plan.analyses:
        written, refused = answers(plan, read_tables(files, plan), sums="masked", for_page=True)
        write_json(place / RESULTS, written)
        write_page(place / PAGE, f"{study.title}: the paper's tables", plan, written, list(files), sums="masked")
        found |= {
            "answered": len(written) - len(refused),
            "refused": {name: one.reason for name, one in refused.items()},
            "page": f"{FOLDER}/{PAGE}",
            "results": f"{FOLDER}/{RESULTS}",
        }
    return found | {"seconds": round(time.monotonic() - began, 2)}


def shipped_plan(study: Study) -> Path | None:
    """The plan of the paper that the study is of; None where none ships."""
    plans = resources.files("fl_liver") / "studies" / "plans"
    for name in (f"{study.model.name}-{len(study.task.classes)}.toml", f"{study.model.name}.toml"):
        path = Path(str(plans / name))
        if path.is_file():
            return path
    return None


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
    site = load_site(home / "site.toml")
    explained = home / EXPLAINED
    try:
        return site_table(site, study, load_cohort(site, study), explained if explained.is_file() else None)
    except FLLiverError as error:
        raise type(error)(f"site {site.site}: {error}") from error


def _written(tables: Mapping[str, Columns], place: Path) -> dict[str, Path]:
    """One file a hospital, all with the same columns; what a hospital lacks is empty."""
    header = list(dict.fromkeys(name for columns in tables.values() for name in columns))
    files = {}
    for site, columns in tables.items():
        files[site] = place / f"{site}.csv"
        empty = [""] * len(columns["case"])
        write_table(files[site], {name: columns.get(name, empty) for name in header})
    return files
