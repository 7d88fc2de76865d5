"""What a hospital does with each question of the server. Only on studies that it approved."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

import fl_liver.stats.site_functions  # noqa: F401 - registers what this hospital can answer
from fl_liver import __version__
from fl_liver.accountant import require_affordable
from fl_liver.client import egress
from fl_liver.client.approval import require_approval
from fl_liver.client.batches import Batches
from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.cohort.floors import require_trainable
from fl_liver.client.cohort.load import load_cohort
from fl_liver.client.commitment import commit
from fl_liver.client.frozen import read_frozen, require_unchanged
from fl_liver.client.local_layers import LocalLayers
from fl_liver.client.one_at_a_time import one_at_a_time
from fl_liver.client.permit import require_exact_figures, study_permit
from fl_liver.client.requests import note_request
from fl_liver.client.scores import ImageLogits, ScoreStore, mean_probability, weighted_sum
from fl_liver.client.selection import keep_visible, load_visible
from fl_liver.client.site import SiteConfig
from fl_liver.client.sums import SiteSums
from fl_liver.client.table import SELECTION, SiteTables, select_rows
from fl_liver.client.train import fit, pick_device, score_both, score_images
from fl_liver.client.train_device import claim_device
from fl_liver.client.training_account import TrainingAccount
from fl_liver.errors import (
    ConfigError,
    ConsentError,
    DataError,
    FLLiverError,
    IncompleteError,
    NotApprovedError,
    NotFiniteError,
    OneClassError,
    PrivacyError,
    ProtocolError,
    TrainingError,
    UnsaidError,
)
from fl_liver.messages import (
    Abandon,
    Abandoned,
    Announced,
    Average,
    Combine,
    Done,
    Endorsed,
    Figures,
    Fit,
    Incoming,
    Keys,
    Look,
    Named,
    Open,
    Prepare,
    Ready,
    RefusalCode,
    Released,
    Score,
    Sealed,
    Shares,
    Sum,
    Survivors,
)
from fl_liver.models.registry import study_layout
from fl_liver.parameters import vector_sha256
from fl_liver.score_origin import made_by, score_names
from fl_liver.stats.conversation import TablesSummer, answer, converse
from fl_liver.stats.patients import PatientFloors, count_patients
from fl_liver.stats.roc import roc
from fl_liver.study import Study
from fl_liver.update_code import update_code

log = logging.getLogger("fl_liver.site")

SITE_DEVICE = "site"
"""The device that site.toml names, if it is free."""
_CODES: dict[type, RefusalCode] = {
    ConfigError: "CONFIG",
    ConsentError: "CONSENT",
    DataError: "DATA",
    IncompleteError: "BUSY",
    NotApprovedError: "NOT_APPROVED",
    OneClassError: "ONE_CLASS",
    PrivacyError: "BELOW_FLOOR",
    ProtocolError: "PROTOCOL",
    TrainingError: "TRAINING",
}


_read: dict[tuple[SiteConfig, str], tuple[Study, Cohort]] = {}


def read_cohort(site: SiteConfig, study_sha256: str) -> tuple[Study, Cohort]:
    """Read once per process and study; `Prepare` reads anew."""
    key = (site, study_sha256)
    if key not in _read:
        study = site.approved(study_sha256)
        approval = require_approval(site, study_sha256)
        only: frozenset[str] | None = None
        if approval.cohort:
            only = require_unchanged(site, read_frozen(site, approval.cohort), approval.cohort_digest)
        _read[key] = study, load_cohort(site, study, only)
    return _read[key]


def respond(
    site: SiteConfig, question: Incoming, device: str = "auto", should_stop: Callable[[], bool] = lambda: False
) -> RecordDict:
    """The site's answer, already through egress. A reason to refuse is a Refusal; a defect is not.

    Args:
        device: a word of `pick_device`, or SITE_DEVICE.
        should_stop: asked before every batch of training; True abandons the round as BUSY.
    Raises:
        AuditError: the answer cannot be written down, so it must not leave.
    """
    with egress.answering(question):
        return _respond(site, question, device, should_stop)


def _respond(site: SiteConfig, question: Incoming, device: str, should_stop: Callable[[], bool]) -> RecordDict:
    try:
        if isinstance(question, Prepare):
            note_request(site, question)
        require_approval(site, question.study_sha256)
        if device == SITE_DEVICE:
            device = claim_device(site, question)
        match question:
            case Prepare():
                return _prepare(site, question)
            case Fit():
                return _fit(site, question, device, should_stop)
            case Score():
                return _score(site, question, device)
            case Look():
                return _look(site, question, device)
            case Combine():
                return _combine(site, question)
            case Average():
                return _average(site, question)
            case Sum():
                return _sum(site, question)
            case Named():
                return _named(site, question)
            case _:
                return _around_a_sum(site, question)
    except FLLiverError as error:
        code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), None)
        if code is None:
            raise
        return egress.refuse(site, code, str(error))


def _prepare(site: SiteConfig, question: Prepare) -> RecordDict:
    _read.pop((site, question.study_sha256), None)
    study, cohort = read_cohort(site, question.study_sha256)
    role = study.role_of(site.site)
    if role == "train" and site.role != "train":
        return egress.refuse(site, "ROLE", f"the study wants it to train, site.toml says '{site.role}'")
    require_trainable(cohort, study, site)
    egress.require_sums_allowed(site, study)
    require_affordable(study)
    _sums(site, study)  # a missing identity or roster is told now, not at the first round
    named = site.release == "named" and study.histogram_noise is None
    positive = np.isin(cohort.label, [i for i, name in enumerate(study.task.classes) if name in study.task.positive])
    figures = {
        "patients": len(cohort.people),
        "lesions": len(cohort.patients),
        "positives": int(positive.sum()),
        "excluded": len({finding.case for finding in cohort.findings if finding.severity == "E"}),
        "images": len(cohort.owner),
    }
    return egress.release_word(site, Ready(site.site, __version__, role, named, figures if named else None))


def _fit(site: SiteConfig, question: Fit, device: str, should_stop: Callable[[], bool]) -> RecordDict:
    study, cohort = read_cohort(site, question.study_sha256)
    if study.role_of(site.site) != "train" or site.role != "train":
        return egress.refuse(site, "ROLE", "an external hospital was asked to train")
    sums, code = _sums(site, study), update_code(study, study_layout(study))
    masking = None
    if sums is not None:
        sums.admit(question.slot, question.announced, question.abandoned)
        masking = sums, egress.update_context(study, question, code)
        again = egress.release_again(site, study, question, *masking)
        if again is not None:
            return again
    rows = select_rows(cohort, question.rows)
    people = len(np.unique(cohort.group[rows]))
    initial = study.initial
    if question.round == 1 and initial is not None and vector_sha256(question.vector) != initial.sha256:
        raise ProtocolError(f"site {site.site}: round 1 begins with other weights than those of the approved study")
    folder = site.study_folder(question.study_sha256)
    TrainingAccount(folder, study).begin(question.rows, question.round)
    layers = LocalLayers(folder, study, question.rows)
    start = layers.restore(question.vector, before_round=question.round)
    try:
        result = fit(
            study,
            cohort,
            start,
            rows=rows,
            round_number=question.round,
            seed_key=site.site,
            stage="selection" if question.rows.startswith(SELECTION) else "train",
            visible=_seen(site, study, question),
            device=pick_device(device),
            should_stop=should_stop,
        )
        layers.keep(result.vector, question.round)
        trained = egress.Trained(result.vector, result.loss, people)
    except NotFiniteError as error:
        if masking is None:
            raise
        log.error("%s", error)
        trained = egress.Trained(question.vector, math.nan, people)
    return egress.release_update(site, study, question, trained, code, masking)


def _around_a_sum(site: SiteConfig, question: Keys | Shares | Survivors | Open | Abandon) -> RecordDict:
    """Keys, shares and signatures of a masked sum: no patient is in them."""
    study = site.approved(question.study_sha256)
    if question.slot.recovers and (study.role_of(site.site) != "train" or site.role != "train"):
        return egress.refuse(site, "ROLE", "an external hospital was asked for keys to train with")
    sums, slot = SiteSums(site, study), question.slot
    match question:
        case Keys():
            return egress.release_word(site, Announced(sums.announce(slot, question.sites)))
        case Shares():
            return egress.release_word(site, Sealed(sums.share(slot, question.announced)))
        case Survivors():
            ahead = replace(slot, round=slot.round + 1, attempt=0)
            with sums.one_message():
                signature = sums.endorse(slot, question.survivors)
                sealed = sums.share(ahead, question.ahead) if question.ahead else {}
            return egress.release_word(site, Endorsed(signature, sealed))
        case Open():
            return egress.release_word(site, Released(sums.release(slot, question.endorsements, question.sealed)))
        case Abandon():
            return egress.release_word(site, Abandoned(sums.abandon(slot)))


def _sums(site: SiteConfig, study: Study) -> SiteSums | None:
    return SiteSums(site, study) if study.privacy.secure_sum == "masked" else None


def _score(site: SiteConfig, question: Score, device: str) -> RecordDict:
    study, cohort = read_cohort(site, question.study_sha256)
    rows = select_rows(cohort, question.rows)
    vector = question.vector
    if question.layers:
        select_rows(cohort, question.layers)  # refuses a foreign word before it is part of a path
        layers = LocalLayers(site.study_folder(question.study_sha256), study, question.layers)
        vector = layers.restore(vector, before_round=None)
    scored = score_both(study, cohort, vector, rows=rows, device=pick_device(device), endpoint=question.endpoint)
    made = {question.rows: made_by(question)}
    reads_images = study.task.modality != "table"
    images = ImageLogits(scored.images, scored.logits, len(cohort.owner)) if reads_images else None
    with _scores_alone(site, study):
        store = _store(site, question.study_sha256, cohort)
        store.keep(question.name, rows, scored.patients, made, question.endpoint, images)
    return egress.release_word(site, Done(0))


def _look(site: SiteConfig, question: Look, device: str) -> RecordDict:
    study, cohort = read_cohort(site, question.study_sha256)
    if study.selection is None or study.role_of(site.site) != "train":
        raise ProtocolError(f"site {site.site}: the study selects no images here")
    patients = select_rows(cohort, question.rows)  # before the word is part of a path
    folder, rows = site.study_folder(question.study_sha256), SELECTION + question.rows
    vector = LocalLayers(folder, study, rows).restore(question.vector, before_round=None)
    images, logits = score_images(study, cohort, vector, rows=patients, device=pick_device(device))
    keep_visible(folder, question.rows, images, logits[:, 0], len(cohort.owner))
    return egress.release_word(site, Done(0))


def _seen(site: SiteConfig, study: Study, question: Fit) -> NDArray[np.float64] | None:
    """Where a lesion was seen by the federation before, if the study has one; None while that is trained."""
    if study.selection is None or question.rows.startswith(SELECTION):
        return None
    return load_visible(site.study_folder(question.study_sha256), question.rows)


def _average(site: SiteConfig, question: Average) -> RecordDict:
    study, cohort = read_cohort(site, question.study_sha256)
    store = _store(site, question.study_sha256, cohort)
    if len(question.of) < 2:
        raise ProtocolError(f"site {site.site}: an average of {len(question.of)} scores was asked, wanted two or more")
    with _scores_alone(site, study):
        total = mean_probability(store.load_alike(question.of))
        made = {"all": made_by(question, store.origins(question.of))}
        store.keep(question.name, np.arange(len(cohort.patients)), total, made, store.endpoint(question.of[0]))
    return egress.release_word(site, Done(0))


def _combine(site: SiteConfig, question: Combine) -> RecordDict:
    study, cohort = read_cohort(site, question.study_sha256)
    store = _store(site, question.study_sha256, cohort)
    strangers = sorted(set(question.factors) - {factor.name for factor in study.factor})
    if strangers:
        raise ProtocolError(f"site {site.site}: '{strangers[0][:50]}' is no factor of the study; it joins no score")
    with _scores_alone(site, study):
        tables = SiteTables(cohort, study, store).table("all")
        beta = {f"score:{question.base}": question.base_beta, **question.factors}
        total = weighted_sum(question.intercept, [(one, tables[name]) for name, one in beta.items()])
        made = {"all": made_by(question, store.origins([question.base]))}
        store.keep(question.name, np.arange(len(cohort.patients)), total[:, None], made)
    return egress.release_word(site, Done(0))


def _sum(site: SiteConfig, question: Sum) -> RecordDict:
    study, cohort = read_cohort(site, question.study_sha256)
    egress.require_purpose(site, study, question)
    with _scores_alone(site, study):
        return _sum_alone(site, question, study, cohort)


def _sum_alone(site: SiteConfig, question: Sum, study: Study, cohort: Cohort) -> RecordDict:
    store = _store(site, question.study_sha256, cohort)
    tables = SiteTables(cohort, study, store)
    made = store.origins(score_names(question.questions))
    if made != question.scores:
        differs = sorted(name for name in {**made, **question.scores} if made.get(name) != question.scores.get(name))
        raise ProtocolError(
            f"site {site.site}: score '{differs[0]}' was made by another question here than the server says"
        )
    promise = commit(site.work, cohort, tables.own_columns(), store.origins(store.names()))
    permit = study_permit(study, site.min_cell)
    batches = Batches(site.site, study, site.study_folder(question.study_sha256), permit)
    vector = np.zeros(sum(one.length for one in question.questions), np.int64)
    try:
        batches.admit(question, promise, cohort.people)
        before = batches.answered(question)
        parts = [answer(one, tables.for_question(one)) for one in question.questions] if before is None else [before]
        vector = np.concatenate(parts) if parts else vector
        record = egress.release_totals(site, study, question, vector, promise, _sums(site, study))
    except UnsaidError as error:
        record = egress.release_noise(site, study, question, promise, _sums(site, study), error)
    batches.keep(question, vector, promise, cohort.people)
    return record


def _scores_alone(site: SiteConfig, study: Study) -> AbstractContextManager[None]:
    """Nobody else of this hospital makes a score, or answers a sum.

    Two batches that are asked at once would each be held against a ledger without the other, and a score that is made
    anew between two looks would not be the one that the question names.
    """
    return one_at_a_time(site.study_folder(study.sha256) / "batches.lock")


def _named(site: SiteConfig, question: Named) -> RecordDict:
    egress.require_consent(site)
    study, cohort = read_cohort(site, question.study_sha256)
    require_exact_figures(site.site, study)
    table = SiteTables(cohort, study, _store(site, question.study_sha256, cohort)).table(question.rows)
    floor = max(site.min_cell, study.analysis.min_cell)
    positives = int(table["label"].sum())
    figures: dict[str, Any] = {"n": len(table), "positives": positives}
    if min(count_patients(table.patients, table["label"] == one) for one in (0.0, 1.0)) < floor:
        return egress.release_figures(site, Figures({"not_released": f"a class has fewer than {floor} patients"}))
    cluster = study.cohort.cluster
    talks = {name: roc(f"score:{name}", "label", min_cell=floor, cluster=cluster) for name in question.scores}
    results = converse(talks, PatientFloors(TablesSummer([table]), floor))
    figures |= {name: result.to_json() for name, result in results.items()}
    return egress.release_figures(site, Figures(figures))


def _store(site: SiteConfig, study_sha256: str, cohort: Cohort) -> ScoreStore:
    return ScoreStore(site.study_folder(study_sha256), len(cohort.patients))
