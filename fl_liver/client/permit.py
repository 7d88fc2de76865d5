"""What a study that a hospital approved lets the server ask of its rows."""

from __future__ import annotations

from fl_liver.errors import PrivacyError
from fl_liver.stats.permit import Permit, permit_for
from fl_liver.study import Study

STATISTICS = ("roc", "coarse_auc", "centre_auc", "compare_paired", "calibration", "diagnostic", "logistic")
"""Curve of a round, figures of every model, comparisons, cut-offs, fusion: what `server.run` asks in every study."""


def study_permit(study: Study, min_cell: int) -> Permit:
    """The statistics of a study, with the larger of its floor and the hospital's own.

    A cut-off is found on the way (Youden's), so one threshold for each score and part of the rows is allowed. A study
    with `histogram_epsilon` may ask for the noised histogram, with the noise that follows from it, and nothing else.
    """
    floor = max(min_cell, study.analysis.min_cell)
    if study.histogram_noise is not None:
        return permit_for(("private_roc",), min_cell=floor, noise=study.histogram_noise)
    classes = ("multiclass",) if len(study.task.classes) > 2 else ()
    return permit_for(
        (*STATISTICS, *classes),
        min_cell=floor,
        cutoffs=1,
        groups=frozenset({study.analysis.calibration_groups}),
    )


def require_exact_figures(site: str, study: Study) -> None:
    """Raises PrivacyError where the study promises that nothing exact leaves: this hospital's own figures would."""
    if study.histogram_noise is not None:
        raise PrivacyError(
            f"site {site}: its own figures were asked, but the study says privacy.histogram_epsilon ="
            f" {study.histogram_noise[0]:g}: figures leave in the one noised sum, and no exact one beside it"
        )
