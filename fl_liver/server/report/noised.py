"""The section of a study with `privacy.histogram_epsilon`: its figures, the noise in them, and what is left out."""

from __future__ import annotations

from dataclasses import replace

from fl_liver.server.report.analysis.content import Content
from fl_liver.server.report.analysis.private_roc import noised_aucs
from fl_liver.server.report.pieces import Missing, Summary, number, table, text
from fl_liver.server.report.style import look_of

LEFT_OUT = (
    "Left out, because an exact count of the same patients would undo the noise: learning and ROC curves, calibration, "
    "cut-offs, comparisons, AUC within hospitals, hospitals' own figures, and external hospitals."
)
MODEL = "ε is about these figures. What the trained model itself tells of its training patients is another matter."
PLAIN = (
    "Sums were added in the clear: whoever adds them sees each hospital's counts under that hospital's share of the "
    "noise alone; ε holds towards those who see the sum only."
)


def noised_section(summary: Summary) -> Content | None:
    """Every model with a noised AUC; None in a study without noise, or where nothing of it was released."""
    honest, sites = number(summary, "noised", "honest"), number(summary, "noised", "sites")
    models = table(summary, "models")
    if isinstance(honest, Missing) or isinstance(sites, Missing) or isinstance(models, Missing):
        return None
    parts = {look_of(name).label: table(models, name, "internal") for name in models}
    found = {name: part for name, part in parts.items() if not isinstance(part, Missing)}
    if not found:
        return None
    content = noised_aucs("Model", found, honest=int(honest), sites=int(sites))
    plain = (PLAIN,) if text(summary, "secure_sum") == "plain" else ()
    return replace(content, notes=(*content.notes, LEFT_OUT, MODEL, *plain))
