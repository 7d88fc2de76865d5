"""What a study that a hospital approved lets the server ask of its rows."""

from __future__ import annotations

from fl_liver.stats.permit import Permit, permit_for
from fl_liver.study import Study

STATISTICS = ("roc", "coarse_auc", "centre_auc", "compare_paired", "calibration", "diagnostic", "logistic")
"""Curve of a round, figures of every model, comparisons, cut-offs, fusion: what `server.run` asks in every study."""


def study_permit(study: Study, min_cell: int) -> Permit:
    """The statistics of a study, with the larger of its floor and the hospital's own.

    A cut-off is found on the way (Youden's), so one threshold for each score and part of the rows is allowed.
    """
    classes = ("multiclass",) if len(study.task.classes) > 2 else ()
    return permit_for(
        (*STATISTICS, *classes),
        min_cell=max(min_cell, study.analysis.min_cell),
        cutoffs=1,
        groups=frozenset({study.analysis.calibration_groups}),
    )
