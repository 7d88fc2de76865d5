"""After training: ROC, interval, cut-off and calibration of every model, from sums over hospitals.

Internal figures are masked sums over the training hospitals. Fewer than `min_sites` external hospitals make no sum that
hides one of them, so their figures are named releases: each by its own consent, the pair's only with both. A study with
`histogram_epsilon` has one noised sum instead of all this (`noised`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fl_liver.errors import PrivacyError
from fl_liver.messages import Figures, Named, Purpose
from fl_liver.server.enrolment import Participants
from fl_liver.server.figures import (
    Figured,
    Heard,
    Talks,
    about_centres,
    about_cutoffs,
    about_endpoints,
    about_models,
    about_pairs,
    about_thresholds,
    composite,
    fitting_rows,
    out_of_training,
    read_centres,
    read_cutoffs,
    read_endpoints,
    read_models,
    read_pairs,
)
from fl_liver.server.journal import Journal
from fl_liver.server.noised import NOT_EXACT, ROWS, ask_noised, noised_model, once
from fl_liver.server.summing import BatchSummer
from fl_liver.server.sums import Sums
from fl_liver.stats.conversation import Conversation, Summer, converse, over


class Evaluation:
    """Asks for figures of stored scores; `scores` maps a model's name in the report to its score at the sites."""

    def __init__(self, sums: Sums, participants: Participants, journal: Journal) -> None:
        self._sums, self._exchange, self._study = sums, sums.exchange, sums.study
        self._participants, self._journal = participants, journal
        self._batches: list[tuple[str, BatchSummer]] = []

    def of_models(self, scores: Mapping[str, str], cutoffs: bool = True) -> dict[str, dict[str, Any]]:
        """model → {internal, external, per_site, cutoff?}, JSON values in the form of `summary.json`."""
        return self.whole(scores, cutoffs=cutoffs).models

    def whole(
        self,
        scores: Mapping[str, str],
        pairs: Sequence[tuple[str, str]] = (),
        *,
        cutoffs: bool = True,
        between_centres: bool = False,
        kept: Path | None = None,
    ) -> Figured:
        """Everything that a report says of these scores.

        What the same hospitals are asked travels together, whatever part of their patients it is about: with
        thirteen of them an exchange takes more than a second.

        pairs: scores a and b, compared by DeLong's paired test, internal and external.
        between_centres: within-centre AUC and the spread between the training hospitals, which is another question than
            the pooled AUC.
        kept: file of noised figures, which hospitals give once; a run that is resumed finds them there.
        """
        self._journal.write("phase", name=f"evaluation: {', '.join(scores)}")
        if self._study.histogram_noise is not None:
            return self._noised(scores, pairs, between_centres=between_centres, kept=kept)
        study, fitted = self._study, fitting_rows(self._study)
        inside = {"internal": self._asked(scores) | about_pairs(study, pairs)}
        outside = {"external": self._asked(scores) | about_pairs(study, pairs)}
        if between_centres:
            inside["internal"] |= about_centres(study, scores)
        if cutoffs:
            inside[fitted] = about_cutoffs(study, scores)
        heard = self._heard("internal", inside) | self._heard("external", outside)
        models = read_models(heard["internal"], heard["external"], scores)
        for rows in ("internal", "external"):
            for name, found in read_endpoints(study, heard[rows], scores).items():
                if study.endpoint and not isinstance(heard[rows], str):
                    models[name][rows] |= {"endpoints": found, "composite": composite(study, models[name][rows], found)}
        for name, per_site in self._per_site(scores).items():
            models[name]["per_site"] = per_site
        if cutoffs:
            for name, cutoff in self._cutoffs(scores, heard[fitted]).items():
                models[name]["cutoff"] = cutoff
        comparisons = [line for rows in ("internal", "external") for line in read_pairs(heard[rows], rows, pairs)]
        return Figured(models, comparisons, read_centres(heard["internal"], scores) if between_centres else {})

    def cross_validated(self, score: str) -> dict[str, Any]:
        """Figures of the training patients by the federations that did not see them: together, and fold by fold.

        `endpoints` and `composite` as in a model's figures; `folds`: AUCs of each fold, "main" and by endpoint.
        """
        study, unseen = self._study, {"": out_of_training(self._study, score)}
        parts = ["training", *(f"fold-{fold}" for fold in range(study.cohort.folds))]
        heard = self._heard("training", {rows: self._asked(unseen) for rows in parts})
        if isinstance(whole := heard["training"], str):
            return {"not_released": whole}
        figured = [self._cross_validated_part(heard[rows], unseen) for rows in parts]
        return figured[0] | {"folds": [_aucs(one) for one in figured[1:]]}

    def _cross_validated_part(self, heard: Heard, unseen: Mapping[str, str]) -> dict[str, Any]:
        part: dict[str, Any] = read_models(heard, heard, unseen)[""]["internal"]
        endpoints = read_endpoints(self._study, heard, unseen)[""]
        return part | {"endpoints": endpoints, "composite": composite(self._study, part, endpoints)}

    def _asked(self, scores: Mapping[str, str]) -> Talks:
        return about_models(self._study, scores) | about_endpoints(self._study, scores)

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """DeLong's paired test of scores a and b, internal and external: difference a − b, interval, p."""
        lines = []
        for rows in ("internal", "external"):
            lines += read_pairs(self._heard(rows, {rows: about_pairs(self._study, pairs)})[rows], rows, pairs)
        return lines

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
        return self.ask_all(rows, {name: over(rows, talk) for name, talk in talks.items()})

    def ask_all(self, rows: str, talks: Mapping[str, Conversation[Any]]) -> dict[str, Any]:
        """As `ask`, each conversation over its own part of the cohorts, of the hospitals that have `rows`.

        Raises:
            PrivacyError: see `summer`.
        """
        return converse(talks, self.summer(rows))

    def _heard(self, rows: str, parts: Mapping[str, Talks]) -> dict[str, Heard]:
        """Part of the cohorts → results by name, or the reason why the hospitals that have `rows` may not be asked."""
        talks = {f"{part}: {name}": over(part, talk) for part, named in parts.items() for name, talk in named.items()}
        try:
            found = self.ask_all(rows, talks)
        except PrivacyError as error:
            return dict.fromkeys(parts, str(error))
        return {part: {name: found[f"{part}: {name}"] for name in named} for part, named in parts.items()}

    def _batch(self, rows: str, sites: Sequence[str], purpose: Purpose) -> BatchSummer:
        summer = self._sums.summer(sites, purpose)
        self._batches.append((rows, summer))
        return summer

    def _noised(
        self,
        scores: Mapping[str, str],
        pairs: Sequence[tuple[str, str]],
        *,
        between_centres: bool,
        kept: Path | None,
    ) -> Figured:
        study, participants = self._study, self._participants
        sites = participants.training(study)
        per_site = dict.fromkeys(sites, ROWS) | dict.fromkeys(participants.external(study), "external")

        def models() -> dict[str, dict[str, Any]]:
            found = ask_noised(study, sites, scores, lambda: self._batch(ROWS, sites, "masked"))
            return {name: noised_model(result, per_site) for name, result in found.items()}

        return Figured(
            models() if kept is None else once(kept, study, models),
            [line for rows in ("internal", "external") for line in read_pairs(NOT_EXACT, rows, pairs)],
            read_centres(NOT_EXACT, scores) if between_centres else {},
        )

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

    def _cutoffs(self, scores: Mapping[str, str], fitted: Heard) -> dict[str, Any]:
        """Youden's cut-off on patients that the network was not trained on, and what it does elsewhere."""
        cut, thresholds = read_cutoffs(fitted, fitting_rows(self._study), scores)
        for rows in ("internal", "external"):
            talks = about_thresholds(self._study, scores, thresholds)
            if thresholds:
                heard = self._heard(rows, {rows: talks})[rows]
                for name in thresholds:
                    cut[name][rows] = {"not_released": heard} if isinstance(heard, str) else heard[name].to_json()
        return cut


def _aucs(figured: Mapping[str, Any]) -> dict[str, float | None]:
    """ "main", each endpoint and the composite → one number."""
    by_endpoint = {name: one.get("auc") for name, one in figured["endpoints"].items()}
    composed = {} if figured["composite"] is None else {"composite": figured["composite"]}
    return {"main": figured.get("auc")} | by_endpoint | composed
