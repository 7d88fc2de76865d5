"""Heat maps and the like of an external hospital's phantom patients, for the report of a finished run.

What each paper shows is shown of its system (`explanation_figures.published`). Phantom patients only: of real ones,
also of public data sets, nothing leaves a hospital as a picture. Heavy things are imported inside: the coordinator's
process loads no torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from simulation.phantom.write import MARKER

if TYPE_CHECKING:
    from fl_liver.server.report.style import Rendered

MOST_PATIENTS = 80
"""t-SNE of their images takes seconds."""
SHOWN = 12


def explanations(study_file: str, hospital: str, model: str) -> tuple[list[Rendered], list[str]]:
    """The figures of one hospital; runs in a worker.

    Args:
        study_file: the run's study.toml.
        hospital: folder of a phantom hospital; of any other nothing is drawn.
        model: the run's `model.safetensors`.
    Returns:
        Figures for the report, named "explained_…", each caption saying whose patients they are, and why there is none
        of each that could not be drawn; nothing for a study of tables.
    """
    import numpy as np

    from fl_liver.client.cohort.load import load_cohort
    from fl_liver.client.explain.explained import explain_cohort
    from fl_liver.client.site import load_site
    from fl_liver.explanation_figures import explanation_figures, published
    from fl_liver.parameters import load_vector
    from fl_liver.server.report.explanations import NOT_PATIENTS
    from fl_liver.server.report.style import render
    from fl_liver.study import Study
    from fl_liver.toml_file import read_toml

    study, folder = read_toml(Path(study_file), Study), Path(hospital)
    if study.task.modality == "table" or not (folder / MARKER).is_file():
        return [], []
    wanted = published(study)
    cohort = load_cohort(load_site(folder / "site.toml"), study)
    vector, layout = load_vector(Path(model))
    explained = explain_cohort(
        study,
        cohort,
        vector,
        layout,
        patients=np.arange(min(MOST_PATIENTS, len(cohort.patients))),
        methods=wanted.methods,
        shown=SHOWN if study.task.background is None else SHOWN // 2,
    )
    drawings, missing = explanation_figures(study, cohort, explained, wanted)
    whose = f"External hospital {folder.name}. {NOT_PATIENTS}"
    named = [replace(one, name=f"explained_{one.name}", caption=f"{one.caption} {whose}") for one in drawings]
    return [render(one) for one in named], missing
