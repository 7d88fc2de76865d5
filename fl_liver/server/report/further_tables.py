"""Tables about more than one question or training: endpoints, cross-validation, tasks, repeats, points of a grid."""

from __future__ import annotations

from collections.abc import Sequence

from fl_liver.server.report.number_text import count, fraction, p_value
from fl_liver.server.report.pieces import Estimate, Missing, Summary, estimate, find, number, records, table, triple
from fl_liver.server.report.pieces import text as words
from fl_liver.server.report.style import PARTS, look_of
from fl_liver.server.report.tables import Cell, TextTable, cell, interval_cell, models_in_order, or_empty

COMPOSITE = "Composite of all"
_NONE = Cell("–", absent=True)
MEAN_TITLE = "Their mean probability, for patients tested in all of them"


def endpoints_table(summary: Summary) -> TextTable | None:
    """AUC of every model for every further endpoint, and the composite; None where the study has one question."""
    names = models_in_order(or_empty(table(summary, "models")))
    answered = [(look_of(name).label, [table(summary, "models", name, part) for part in PARTS]) for name in names]
    return _endpoints("Model", summary, answered)


def task_endpoints_table(summary: Summary) -> TextTable | None:
    """The same of every variant, and of the means of those that ask the same; None where only one was run."""
    lines = [(words(line, "task"), line) for line in _listed(summary, "tasks")]
    lines += [(_mean_of(line), line) for line in _listed(summary, "task_ensembles")]
    return _endpoints("Task", summary, [(name, [table(line, part) for part in PARTS]) for name, line in lines])


def _endpoints(
    head: str, summary: Summary, answered: Sequence[tuple[str, Sequence[Summary | Missing]]]
) -> TextTable | None:
    """Who answered, with the figures of each part; a line of a part without the endpoint is left out."""
    titles = {words(one, "name"): words(one, "title") for one in _listed(summary, "endpoints")}
    rows: list[tuple[Cell, ...]] = []
    for label, parts in answered if titles else ():
        for endpoint, title in titles.items():
            found = [part if isinstance(part, Missing) else table(part, "endpoints", endpoint) for part in parts]
            if all(isinstance(one, Missing) and one.released for one in found):
                continue
            aucs = [one if isinstance(one, Missing) else estimate(one, "auc") for one in found]
            last = found[-1]
            n = _NONE if isinstance(last, Missing) else cell(number(last, "n"), count)
            rows.append((Cell(label), Cell(title), *map(interval_cell, aucs), n))
        composed = [part if isinstance(part, Missing) else number(part, "composite") for part in parts]
        if any(isinstance(one, float) for one in composed):
            cells = [cell(one, lambda value: fraction(value, 3)) for one in composed]
            rows.append((Cell(label), Cell(COMPOSITE), *cells, _NONE))
    names = (head, "Endpoint", "Internal AUC [95 %]", "External AUC [95 %]", "External n")
    return TextTable(names, tuple(rows), names=2) if rows else None


def cross_validation_table(summary: Summary) -> TextTable | None:
    """Each fold by the federation that did not see it, then all together; None without folds."""
    whole = table(summary, "cross_validation")
    if isinstance(whole, Missing):
        return None
    folds = _listed(whole, "folds")
    names = list(folds[0]) if folds else []
    rows = [
        (Cell(f"Fold {place}"), *(cell(number(fold, name), lambda auc: fraction(auc, 3)) for name in names))
        for place, fold in enumerate(folds, start=1)
    ]
    together = [interval_cell(_of(whole, name)) if name != "composite" else _number(whole, name) for name in names]
    head = ("Patients", *(_heading(summary, name) for name in names))
    return TextTable(head, (*rows, (Cell("All, each scored unseen"), *together)), total_rows=1) if rows else None


def tasks_table(summary: Summary) -> TextTable | None:
    """One row a variant of the study, then the means of those that ask the same; None where only one was run.

    Accuracy has columns where some variant has more than two classes.
    """
    lines = [(words(line, "task"), words(line, "title"), line) for line in _listed(summary, "tasks")]
    lines += [(_mean_of(line), MEAN_TITLE, line) for line in _listed(summary, "task_ensembles")]
    rows = [
        (Cell(name), Cell(title), *(interval_cell(_of(line, part)) for part in PARTS)) for name, title, line in lines
    ]
    head: tuple[str, ...] = ("Task", "Question", "Internal AUC [95 %]", "External AUC [95 %]")
    accuracies = [tuple(_accuracy(line, part) for part in PARTS) for _, _, line in lines]
    if any(one != _NONE for both in accuracies for one in both):
        rows = [(*row, *both) for row, both in zip(rows, accuracies, strict=True)]
        head = (*head, "Internal accuracy", "External accuracy")
    return TextTable(head, tuple(rows), names=2) if rows else None


def between_tasks_table(summary: Summary) -> TextTable | None:
    """Tasks that ask the same against each other, on the same patients, then each mean against the best of its tasks.

    None where only one was run.
    """
    means = [line for one in _listed(summary, "task_ensembles") for line in _listed(one, "against_best")]
    rows = [
        (
            Cell(f"{words(line, 'a')} − {words(line, 'b')}"),
            Cell(words(line, "class") or "–"),
            Cell(words(line, "rows")),
            interval_cell(why if isinstance(why := table(line), Missing) else estimate(line, "difference")),
            cell(number(line, "p"), p_value),
        )
        for line in (*_listed(summary, "task_comparisons"), *means)
    ]
    head = ("AUC of task … minus task …", "Class", "Patients", "Difference [95 %]", "p")
    return TextTable(head, tuple(rows), names=3) if rows else None


def repeats_table(summary: Summary) -> TextTable | None:
    """Mean (SD) over repeated cross-validation; None where it was not asked."""
    found = table(summary, "repeats")
    if isinstance(found, Missing):
        return None
    runs = _listed(found, "runs")
    rows = []
    for name in or_empty(table(found, "mean")):
        mean, sd = number(found, "mean", name), number(found, "sd", name)
        rows.append((Cell(_heading(summary, name)), cell(mean, _three), cell(sd, _three), Cell(count(len(runs)))))
    return TextTable(("AUC", "Mean", "SD", "Runs"), tuple(rows)) if rows else None


def grid_table(summary: Summary) -> TextTable | None:
    """The points that were tried before the run; None without a grid."""
    rows = []
    for line in _listed(summary, "grid"):
        point = ", ".join(f"{key} = {value}" for key, value in or_empty(table(line, "point")).items())
        chosen = "chosen" if words(line, "best") == "True" else ""
        aucs = [cell(number(line, f"{part}_auc"), _three) for part in ("calibration", "internal")]
        rows.append((Cell(point), Cell(chosen), *aucs))
    return TextTable(("Point", "", "Calibration AUC", "Internal AUC"), tuple(rows), names=2) if rows else None


def snapshots_in_words(summary: Summary) -> str:
    """Which round answered each endpoint; empty where all were answered by the last."""
    found = or_empty(table(summary, "snapshots"))
    said = [f"{_heading(summary, name)}: round {words(found, name, 'round')}" for name in found]
    return f"Each question is answered by the model of its best round: {'; '.join(said)}." if said else ""


def _mean_of(line: Summary) -> str:
    found = find(line, "of")
    return f"Mean of {', '.join(map(str, [] if isinstance(found, Missing) else found))}"


def _accuracy(line: Summary, part: str) -> Cell:
    """None of two classes, or where the part has no figures at all, which its AUC says. Of a task it is read off the
    confusion matrix and kept back with it, whose section says why."""
    share = triple(line, part, "accuracy")
    if not isinstance(share, Missing):
        return Cell(fraction(share.value, 3))
    figures = table(line, part)
    matrix = figures if isinstance(figures, Missing) else table(figures, "confusion")
    withheld = isinstance(matrix, Missing) and not matrix.released and matrix is not figures
    return Cell("not released", absent=True) if withheld else _NONE


def _of(tree: Summary, name: str) -> Estimate | Missing:
    found = tree if name == "main" else table(tree, name) if name in PARTS else table(tree, "endpoints", name)
    return found if isinstance(found, Missing) else estimate(found, "auc")


def _number(tree: Summary, name: str) -> Cell:
    return cell(number(tree, name), _three)


def _three(value: float) -> str:
    return fraction(value, 3)


def _heading(summary: Summary, name: str) -> str:
    """What people call an endpoint."""
    titles = {words(one, "name"): words(one, "title") for one in _listed(summary, "endpoints")}
    fixed = {"main": words(summary, "main_title") or "Main question", "composite": COMPOSITE}
    return fixed.get(name) or titles.get(name, name)


def _listed(tree: Summary, name: str) -> Sequence[Summary]:
    found = records(tree, name)
    return [] if isinstance(found, Missing) else found
