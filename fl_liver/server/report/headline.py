"""The result in plain words, and the warnings that stand above it."""

from __future__ import annotations

from fl_liver.server.report.number_text import count, listed, with_interval
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, find, number, records, table, text


def warnings_of(summary: Summary, *, phantom: bool) -> list[str]:
    """What a reader must know before any number: unfinished, not real patients, not masked. In that order."""
    warnings = []
    if incomplete := text(summary, "incomplete"):
        warnings.append(f"This run is incomplete: {incomplete} The figures below are of what was finished.")
    if phantom:
        warnings.append(
            "Phantom data. The hospitals, patients and images of this run were drawn by a program; nothing here was "
            "measured in real patients."
        )
    if text(summary, "secure_sum") == "plain":
        warnings.append(
            "Sums were added in the clear inside one process: nothing was masked. This run shows the arithmetic of a "
            "federation, not its protection."
        )
    if note := text(summary, "data_note"):
        warnings.append(note)
    return warnings


def sums_in_words(summary: Summary) -> str:
    """What "masked" means, in one line; empty where sums were not masked."""
    if text(summary, "secure_sum") != "masked":
        return ""
    return (
        "Sums were masked: each hospital's numbers were hidden before they left it, and only the sum over hospitals "
        "could be opened. Figures of single hospitals, and those over too few for a masked sum, are released by their "
        "own consent and were not masked."
    )


def rows_in_words(summary: Summary) -> str:
    """What n counts and which intervals go by patient where a row is a lesion; empty where it is a patient."""
    if text(summary, "unit") != "lesion":
        return ""
    return (
        "A row is a lesion: n counts lesions. Intervals of AUCs and tests between AUCs allow for several lesions of "
        "one patient (Obuchowski 1997). All others (bands of curves, one of several classes against the rest, AUC "
        "within hospitals, accuracy at a cut-off, calibration, odds ratios) take them as independent, which makes them "
        "too narrow."
    )


def result_in_words(summary: Summary) -> list[str]:
    """A few sentences: the federated AUC, what it should be held against, and what noise costs where there is any."""
    for part in ("external", "internal"):
        auc = _auc(summary, "federated", part)
        if isinstance(auc, Estimate):
            return [_main_sentence(summary, part, auc), *_beside(summary, part)]
    reasons = [
        found for part in ("external", "internal") if isinstance(found := _auc(summary, "federated", part), Missing)
    ]
    kept_back = [why for why in reasons if not why.released]
    return [f"The federated model has no AUC to report ({(kept_back or reasons)[0].reason})."]


def number_of_sites(summary: Summary, role: str) -> int | None:
    """Hospitals of a role ("train" or "external"); None where the summary does not list hospitals."""
    sites = records(summary, "sites")
    return None if isinstance(sites, Missing) else sum(text(site, "role") == role for site in sites)


def _main_sentence(summary: Summary, part: str, auc: Estimate) -> str:
    trained = number_of_sites(summary, "train")
    hospitals = f"{trained} hospitals" if trained and trained > 1 else "several hospitals"
    sentence = f"A model trained across {hospitals} without moving their data separates {_classes(summary)} cases"
    if part == "internal":
        n = number(summary, "models", "federated", "internal", "n")
        patients = "patients" if isinstance(n, Missing) else f"{count(n)} patients"
        sentence += f" among {patients} of the same hospitals whom it was not trained on"
    else:
        unseen = number_of_sites(summary, "external")
        places = "1 hospital" if unseen == 1 else f"{unseen} hospitals" if unseen else "hospitals"
        sentence += f" in {places} that it never saw"
    return f"{sentence} with an AUC of {with_interval(auc, 2)}."


def _beside(summary: Summary, part: str) -> list[str]:
    where = "there" if part == "external" else "on them"
    sentences = []
    local = _auc(summary, "local_only", part)
    if isinstance(local, Estimate):
        sentences.append(f"Each hospital's own model reaches {with_interval(local, 2)} {where} on average.")
    pooled = _auc(summary, "pooled", part)
    if isinstance(pooled, Estimate):
        sentences.append(
            f"Training on all data in one place, which only a simulation can do, gives {with_interval(pooled, 2)}."
        )
    fusion = _auc(summary, "fusion", part)
    if isinstance(fusion, Estimate):
        sentences.append(f"Together with clinical factors the federated model reaches {with_interval(fusion, 2)}.")
    if part == "internal" and isinstance(outside := _auc(summary, "federated", "external"), Missing):
        sentences.append(f"An AUC in hospitals that took no part in training is missing ({outside.reason}).")
    if cost := text(summary, "models", "federated", part, "cost"):
        sentences.append(f"Counts and AUC carry noise: {cost}.")
    return sentences


def _auc(summary: Summary, model: str, part: str) -> Estimate | Missing:
    measured = table(summary, "models", model, part)
    return measured if isinstance(measured, Missing) else estimate(measured, "auc")


def _classes(summary: Summary) -> str:
    """ "malignant from benign", from `task` {positive: [..], negative: [..]} where the summary holds it."""
    sides = []
    for side in ("positive", "negative"):
        names = find(summary, "task", side)
        names = [] if isinstance(names, Missing) else [names] if isinstance(names, str) else [str(n) for n in names]
        sides.append(listed(names, "or") or side)
    return " from ".join(sides)
