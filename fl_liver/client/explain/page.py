"""What a hospital keeps of its explanations: one page with pictures of patients, and a table of hits. Nothing is sent.

The folder is mode 0700, files 0600. The page loads nothing from elsewhere; patients have their pseudonyms.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.explain.explained import Explained
from fl_liver.errors import DataError
from fl_liver.whole_file import write_whole

PAGE, TABLE = "explain.html", "explain.csv"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as a data URI, with words for who cannot see it."""

    uri: str = field(repr=False)
    alt: str
    caption: str
    width_px: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands above the figures. `missing`: why a figure is not there."""

    title: str
    site: str
    study_sha256: str
    made: str
    patients: int
    """Or lesions, where they are the study's unit; `unit` says which."""
    unit: str
    images: int
    whom: str
    missing: tuple[str, ...] = ()


def private_folder(folder: Path) -> Path:
    """`folder`, made mode 0700.

    Raises:
        DataError: it is there and others may look into it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        raise DataError(
            f"{folder}: others can look into it, and images of patients would lie there; run chmod 700, or give a"
            " folder that does not exist yet"
        )
    return folder


def write_page(folder: Path, facts: Facts, pictures: Sequence[Picture]) -> Path:
    """`folder/explain.html`, mode 0600; equal arguments give equal bytes."""
    text = (resources.files("fl_liver.client.explain") / "page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    path = folder / PAGE
    write_whole(path, environment.from_string(text).render(facts=facts, pictures=pictures))
    return path


def hit_columns(explained: Explained) -> list[str]:
    """Columns of the table, one a method: "hit:Grad-CAM"."""
    return [f"hit:{method}" for method in explained.hits]


def write_table(folder: Path, cohort: Cohort, explained: Explained) -> Path:
    """`folder/explain.csv`, mode 0600: pseudonym, then 1 or 0 a method, by the patient's image with the largest lesion.

    Empty where no lesion is drawn.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["pseudonym", *hit_columns(explained)])
    for patient, image in zip(explained.patients, explained.chosen, strict=True):
        hit = [found[image, 0] for found in explained.hits.values()]
        table.writerow([cohort.patients[patient], *("" if np.isnan(one) else int(one) for one in hit)])
    path = folder / TABLE
    write_whole(path, text.getvalue())
    return path
