"""After training: ROC, interval, cut-off and calibration of every model, from sums over hospitals.

Internal figures are masked sums over the training hospitals. Fewer than `min_sites` external hospitals make no sum that
hides one of them, so their figures are named releases: each by its own consent, the pair's only with both. A study with
`histogram_epsilon` has one noised sum instead of all this (`noised`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fl_liver.errors import PrivacyError
from fl_liver.messages import Figures, Named, Purpose
from fl_liver.server.enrolment import Participants
from fl_liver.server.journal import Journal
from fl_liver.server.noised import NOT_EXACT, ROWS, ask_noised, noised_model
from fl_liver.server.summing import BatchSummer
from fl_liver.server.sums import Sums
from fl_liver.stats.calibration import calibration
from fl_liver.stats.centres import centre_auc
from fl_liver.stats.compare import compare
from fl_liver.stats.compose import Withheld, or_withheld
from fl_liver.stats.conversation import Conversation, Summer, converse, over
from fl_liver.stats.diagnostic import diagnostic
from fl_liver.stats.multiclass import Multiclass, multiclass
from fl_liver.stats.roc import RocResult, roc
from fl_liver.study import Study


class Evaluation:
    """Asks for figures of stored scores; `scores` maps a model's name in the report to its score at the sites."""

    def __init__(self, sums: Sums, participants: Participants, journal: Journal) -> None:
        self._sums, self._exchange, self._study = sums, sums.exchange, sums.study
        self._participants, self._journal = participants, journal
        self._batches: list[tuple[str, BatchSummer]] = []

    def of_models(self, scores: Mapping[str, str], cutoffs: bool = True) -> dict[str, dict[str, Any]]:
        """model → {internal, external, per_site, cutoff?}, JSON values in the form of `summary.json`."""
        self._journal.write("phase", name=f"evaluation: {', '.join(scores)}")
        if self._study.histogram_noise is not None:
            return self._noised(scores)
        found: dict[str, dict[str, Any]] = {name: {} for name in scores}
        for rows in ("internal", "external"):
            for name, figures in self._pooled(rows, scores).items():
                if "calibration" in figures:
                    found[name].setdefault("calibration", {})[rows] = figures.pop("calibration")
                found[name][rows] = figures
        for name, per_site in self._per_site(scores).items():
            found[name]["per_site"] = per_site
        if cutoffs:
            for name, cutoff in self._cutoffs(scores).items():
                found[name]["cutoff"] = cutoff
        return found

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """DeLong's paired test of scores a and b, internal and external: difference a − b, interval, p."""
        floor = self._study.analysis.min_cell
        found: list[dict[str, Any]] = []
        for rows in ("internal", "external"):
            talks = {
                f"{a} − {b}": or_withheld(compare([f"score:{a}", f"score:{b}"], "label", key="logit32", min_cell=floor))
                for a, b in pairs
            }
            try:
                results = self.ask(rows, talks)
            except PrivacyError as error:
                why = {"rows": rows, "not_released": str(error)}
                found += [{"name": name, "a": a, "b": b} | why for name, (a, b) in zip(talks, pairs, strict=True)]
                continue
            for (a, b), name in zip(pairs, talks, strict=True):
                if isinstance(results[name], Withheld):
                    found.append({"name": name, "a": a, "b": b, "rows": rows} | results[name].to_json())
                    continue
                test = results[name].paired()
                found.append(
                    {"name": name, "a": a, "b": b, "rows": rows, "difference": test.difference}
                    | {"ci95": list(test.ci95), "p": test.p, "n": test.n_pos + test.n_neg}
                )
        return found

    def between_centres(self, scores: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Within-centre AUC and the spread between the training hospitals: another question than the pooled AUC."""
        talks = {
            f"within_centre_{name}": or_withheld(
                centre_auc(f"score:{score}", "label", min_cell=self._study.analysis.min_cell)
            )
            for name, score in scores.items()
        }
        try:
            results = self.ask("internal", talks)
        except PrivacyError as error:
            return {name: {"not_released": str(error), "rows": "internal"} for name in talks}
        return {name: result.to_json() | {"rows": "internal"} for name, result in results.items()}

    def summer(self, rows: str) -> Summer:
        """Who is asked about these rows, and how the answer may be opened.

        Raises:
            PrivacyError: too few hospitals for a sum, and not all of them consent to a named release; or a study whose
                figures are noised, where nothing else is asked.
        """
        if self._study.histogram_noise is not None:
            raise PrivacyError(NOT_EXACT)
        study, participants = self._study, self._participants
        sites = participants.external(study) if rows == "external" else participants.training(study)
        purpose: Purpose = "masked"
        if len(sites) < study.privacy.min_sites:
            purpose = "named"
            silent = [site for site in sites if site not in participants.named()]
            if silent or not sites:
                raise PrivacyError(
                    f"{rows} figures over {len(sites)} hospitals need the consent of each; without it: "
                    + (", ".join(silent) or "there is no such hospital")
                )
        return self._batch(rows, sites, purpose)

    def batches(self) -> list[dict[str, Any]]:
        """Every batch of sums that was asked, in order: rows, hospitals, steps, commitments, why it is incomplete."""
        return [{"rows": rows} | summer.record() for rows, summer in self._batches]

    def incomplete(self) -> str | None:
        """A line on batches that ended before their plan did."""
        reasons = [record["incomplete"] for record in self.batches() if record["incomplete"] is not None]
        return f"{len(reasons)} batches of sums are incomplete: {reasons[0]}" if reasons else None

    def ask(self, rows: str, talks: Mapping[str, Conversation[Any]]) -> dict[str, Any]:
        """Results of several conversations over one part of the cohorts, in the same exchanges."""
        return converse({name: over(rows, talk) for name, talk in talks.items()}, self.summer(rows))

    def _batch(self, rows: str, sites: Sequence[str], purpose: Purpose) -> BatchSummer:
        summer = self._sums.summer(sites, purpose)
        self._batches.append((rows, summer))
        return summer

    def _noised(self, scores: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        study, participants = self._study, self._participants
        sites = participants.training(study)
        found = ask_noised(study, sites, scores, lambda: self._batch(ROWS, sites, "masked"))
        per_site = dict.fromkeys(sites, ROWS) | dict.fromkeys(participants.external(study), "external")
        return {name: noised_model(result, per_site) for name, result in found.items()}

    def _pooled(self, rows: str, scores: Mapping[str, str]) -> dict[str, Any]:
        floor, groups = self._study.analysis.min_cell, self._study.analysis.calibration_groups
        talks: dict[str, Conversation[Any]] = {
            f"roc {name}": roc(f"score:{score}", "label", key="logit32", min_cell=floor)
            for name, score in scores.items()
        }
        if len(self._study.task.classes) > 2:
            talks |= {f"classes {name}": self._classes(score) for name, score in scores.items()}
        else:
            talks |= {
                f"calibration {name}": calibration(
                    "label", f"score:{score}", log_odds=True, groups=groups, min_cell=floor
                )
                for name, score in scores.items()
            }
        try:
            results = self.ask(rows, {name: or_withheld(talk) for name, talk in talks.items()})
        except PrivacyError as error:
            return {name: {"not_released": str(error)} for name in scores}
        pooled: dict[str, Any] = {}
        for name in scores:
            pooled[name] = figures(results[f"roc {name}"])
            if f"calibration {name}" in results:
                pooled[name]["calibration"] = results[f"calibration {name}"].to_json()
            if f"classes {name}" in results:
                pooled[name] |= class_figures(results[f"classes {name}"])
        return pooled

    def _classes(self, score: str) -> Conversation[Any]:
        columns = {name: f"score:{score}:{name}" for name in self._study.task.classes}
        return multiclass("class_name", columns, min_cell=self._study.analysis.min_cell)

    def _per_site(self, scores: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        per_site: dict[str, dict[str, Any]] = {name: {} for name in scores}
        study, participants = self._study, self._participants
        for rows, sites in (("internal", participants.training(study)), ("external", participants.external(study))):
            consenting = [site for site in sites if site in participants.named()]
            answers = self._exchange.ask(
                Named(study.sha256, rows, tuple(scores.values())),
                consenting,
                Figures,
                timeout_s=study.training.round_timeout_s,
            )
            for site in sites:
                own: dict[str, Any] = {"not_released": "no consent to named release"}
                if site in answers.answered:
                    own = answers.answered[site].figures
                elif site in consenting:
                    own = {"not_released": answers.why_not()}
                counts = {key: own.get(key) for key in ("n", "positives")}
                for name, score in scores.items():
                    per_site[name][site] = own.get(score, own) | counts | {"rows": rows}
        return per_site

    def _cutoffs(self, scores: Mapping[str, str]) -> dict[str, Any]:
        """Youden's cut-off on patients that the network was not trained on, and what it does elsewhere."""
        rows, floor = fitting_rows(self._study), self._study.analysis.min_cell
        talks = {
            name: or_withheld(
                roc(f"score:{out_of_training(self._study, score)}", "label", key="logit32", min_cell=floor)
            )
            for name, score in scores.items()
        }
        found = self.ask(rows, talks)
        cut: dict[str, Any] = {}
        thresholds: dict[str, float] = {}
        for name, result in found.items():
            cut[name] = {"rows": rows}
            if isinstance(result, Withheld):
                cut[name] |= result.to_json()
            elif result.youden is None or not math.isfinite(result.youden.threshold):
                cut[name] |= {"not_released": "no threshold separates anybody"}
            else:
                cut[name] |= {"n": result.n_pos + result.n_neg} | result.youden.to_json()
                thresholds[name] = result.youden.threshold
        for part in ("internal", "external"):
            for name, accuracy in self._at_thresholds(part, scores, thresholds).items():
                cut[name][part] = accuracy
        return cut

    def _at_thresholds(self, rows: str, scores: Mapping[str, str], thresholds: Mapping[str, float]) -> dict[str, Any]:
        floor = self._study.analysis.min_cell
        talks = {
            name: or_withheld(diagnostic(f"score:{scores[name]}", "label", threshold, min_cell=floor))
            for name, threshold in thresholds.items()
        }
        try:
            return {name: result.to_json() for name, result in self.ask(rows, talks).items()}
        except PrivacyError as error:
            return {name: {"not_released": str(error)} for name in talks}


def fitting_rows(study: Study) -> str:
    """The patients on which fusion and cut-off are fitted: never ones whose score the network was trained on."""
    return "training" if study.cohort.folds else "calibration"


def out_of_training(study: Study, score: str) -> str:
    """With cross-fitting, the score of training patients comes from the federation that did not see them."""
    return f"{score}_unseen" if study.cohort.folds else score


def figures(result: RocResult | Withheld) -> dict[str, Any]:
    """One ROC in the form of `summary.json`."""
    if isinstance(result, Withheld):
        return result.to_json()
    return result.to_json() | {"n": result.n_pos + result.n_neg, "positives": result.n_pos}


def class_figures(result: Multiclass | Withheld) -> dict[str, Any]:
    """Each class against the rest, and the confusion matrix, in the form of `summary.json`."""
    if isinstance(result, Withheld):
        return {"per_class": result.to_json(), "confusion": result.to_json()}
    body = result.to_json()
    return {
        "per_class": {
            name: {"auc": auc, "ci95": interval, "n": n}
            for name, auc, interval, n in zip(body["classes"], body["auc"], body["ci95"], body["n"], strict=True)
        },
        "confusion": {"labels": body["classes"], "counts": body["confusion"]},
    } | {key: body[key] for key in ("macro_auc", "micro_auc", "hand_till", "accuracy", "kappa")}
