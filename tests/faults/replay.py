"""What the model must be: every round trained here, in the clear, and added over the hospitals that answered it.

No mask, no message and no server is involved: only the study, the tables, and who answered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.site import SiteConfig
from fl_liver.client.table import select_rows
from fl_liver.client.train import fit
from fl_liver.messages import Vector
from fl_liver.parameters import load_vector
from fl_liver.study import Study
from fl_liver.update_code import update_code


class Replay:
    """The federation of one study, one round at a time."""

    def __init__(self, study: Study, source: Path, tables: dict[str, Path], work: Path) -> None:
        """source: the folder of `study check`. tables: each hospital's data. work: for caches of this replay."""
        self._study, self._sites = study, study.sites.train
        self.vector, layout = load_vector(source / "initial.safetensors")
        self._code = update_code(study, layout)
        self.rounds = 0
        self._cohorts = {
            site: load_cohort(SiteConfig(site=site, data=tables[site], work=work / site), study) for site in self._sites
        }

    def follow(self, records: list[dict[str, Any]]) -> Vector:
        """The model after the rounds of `rounds.json`, each over those who answered."""
        for record in records[self.rounds :]:
            self.vector = self.after(record["round"], tuple(record["missing"]))
            self.rounds += 1
        return self.vector

    def after(self, number: int, missing: tuple[str, ...]) -> Vector:
        """The model that round `number` makes of the last one without these hospitals."""
        there = [site for site in self._sites if site not in missing]
        if not there:
            return self.vector
        total = sum((self._coded(site, number) for site in there), start=np.zeros(1, np.uint32))
        return self._code.decode(total, self.vector, len(there))[0]

    def _coded(self, site: str, number: int) -> Any:
        cohort = self._cohorts[site]
        rows = select_rows(cohort, "train")
        device = torch.device("cpu")
        done = fit(self._study, cohort, self.vector, rows=rows, round_number=number, seed_key=site, device=device)
        weight = min(len(rows), self._study.training.max_weight)
        return self._code.encode(done.vector, self.vector, weight, done.loss)[0]


def checkpoint(run: Path) -> tuple[list[dict[str, Any]], Vector]:
    """The history and the model of a run's last whole round, of one moment while the run goes on."""
    folder = run / "checkpoints" / "train"
    while True:
        records: list[dict[str, Any]] = json.loads((folder / "rounds.json").read_text())["rounds"]
        try:
            return records, load_vector(folder / f"round-{len(records):04d}.safetensors")[0]
        except FileNotFoundError:  # two rounds went by in between
            continue
