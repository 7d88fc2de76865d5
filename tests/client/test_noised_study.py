"""A hospital in a study with `histogram_epsilon`: it answers the noised histogram once, and nothing exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fl_liver.client.permit import require_exact_figures, study_permit
from fl_liver.client.respond import read_cohort, respond
from fl_liver.client.scores import ScoreStore
from fl_liver.client.site import SiteConfig
from fl_liver.errors import PrivacyError, ProtocolError
from fl_liver.messages import Announced, Figures, Keys, Named, Outgoing, Prepare, Ready, Refusal, Sum, Totals
from fl_liver.stats.coarse import coarse_auc
from fl_liver.stats.conversation import Conversation, Question, over
from fl_liver.stats.private_roc import noised_histogram
from fl_liver.stats.roc import roc
from fl_liver.study import Study
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]
WithKeys = Callable[[Sum], Sum]
SITES = ("H01", "H02", "H03", "H04", "H05", "H06", "H07")
SCORE = "score:federated"
NOISED = noised_histogram([SCORE], "label", epsilon=4.0, honest=5)


@pytest.fixture
def study(table_study: Study) -> Study:
    """Seven hospitals, of which five must be honest."""
    return table_study.changed(sites={"train": SITES, "external": []}, privacy={"histogram_epsilon": 4.0})


@pytest.fixture
def site(make_site: MakeSite, study: Study) -> SiteConfig:
    """One of them, with scores."""
    made = make_site(study=study)
    _, cohort = read_cohort(made, study.sha256)
    everyone = np.arange(len(cohort.patients))
    store = ScoreStore(made.study_folder(study.sha256), len(everyone))
    store.keep("federated", everyone, np.linspace(-3, 3, len(everyone))[:, None])
    return made


@pytest.fixture
def with_keys(make_site: MakeSite, site: SiteConfig, study: Study) -> WithKeys:
    """with_keys(Sum) → the same with the keys of its hospitals, by which `site` masks its answer."""
    others = {name: make_site(name, study=study) for name in SITES[1:]}

    def keyed(asked: Sum) -> Sum:
        announced = {}
        for name in asked.sites:
            word = from_record(
                respond({"H01": site, **others}[name], Keys(asked.slot, asked.sites), "cpu"), (Announced,)
            )
            announced[name] = word.keys
        return replace(asked, announced=announced)

    return keyed


def first(talk: Conversation[object]) -> tuple[Question, ...]:
    return tuple(next(over("internal", talk)))


def ask(study: Study, questions: tuple[Question, ...], batch: str = "b1", sites: tuple[str, ...] = SITES) -> Sum:
    return Sum(study.sha256, "masked", len(sites), questions, batch, 0, sites, run="r1")


def noised(question: Question = NOISED) -> tuple[Question, ...]:
    return (replace(question, arguments={**question.arguments, "rows": "internal"}),)


def answer(site: SiteConfig, asked: Sum) -> Outgoing:
    words: tuple[type[Outgoing], ...] = (Totals, Refusal)
    word: Outgoing = from_record(respond(site, asked, "cpu"), words)
    return word


def test_the_permit_is_the_noised_histogram_and_nothing_else(study: Study, table_study: Study) -> None:
    permit = study_permit(study, 3)
    assert permit.noise == (4.0, 5)
    assert permit.allowing(NOISED)
    exact = study_permit(table_study, 3)
    assert exact.noise is None
    with pytest.raises(ProtocolError, match="question 'noised_histogram' is not in the plan"):
        exact.allowing(NOISED)


@pytest.mark.parametrize("talk", [roc(SCORE, "label"), coarse_auc(SCORE, "label", key="logit32")], ids=["roc", "curve"])
def test_an_exact_question_is_refused(site: SiteConfig, study: Study, talk: Conversation[object]) -> None:
    assert answer(site, ask(study, first(talk))) == Refusal("PROTOCOL", 0)


def test_an_exact_question_beside_the_noised_one_is_refused(site: SiteConfig, study: Study) -> None:
    assert answer(site, ask(study, (*noised(), *first(roc(SCORE, "label"))))) == Refusal("PROTOCOL", 0)


def test_the_noised_histogram_is_answered_once_and_repeated_bit_for_bit(
    site: SiteConfig, study: Study, with_keys: WithKeys
) -> None:
    asked = with_keys(ask(study, noised()))
    word = answer(site, asked)
    assert isinstance(word, Totals)
    again = answer(site, asked)
    assert isinstance(again, Totals)
    np.testing.assert_array_equal(again.vector, word.vector)
    assert answer(site, ask(study, noised(), batch="b2")) == Refusal("BELOW_FLOOR", 0)


def test_an_answer_that_a_crash_lost_is_not_drawn_again(site: SiteConfig, study: Study, with_keys: WithKeys) -> None:
    """It may have left: with new noise there would be two."""
    asked = with_keys(ask(study, noised()))
    assert isinstance(answer(site, asked), Totals)
    (site.study_folder(study.sha256) / "batches" / "b1" / "0000.npz").unlink()
    assert answer(site, asked) == Refusal("PROTOCOL", 0)
    assert answer(site, ask(study, noised(), batch="b2")) == Refusal("BELOW_FLOOR", 0)


@pytest.mark.parametrize(("epsilon", "honest"), [(5.0, 5), (4.0, 6), (4.0, 4)])
def test_other_noise_than_the_studys_is_refused(site: SiteConfig, study: Study, epsilon: float, honest: int) -> None:
    other = noised_histogram([SCORE], "label", epsilon=epsilon, honest=honest)
    assert answer(site, ask(study, noised(other))) == Refusal("PROTOCOL", 0)


def test_fewer_hospitals_than_the_noise_needs_are_refused(site: SiteConfig, study: Study, with_keys: WithKeys) -> None:
    """Shares of four hospitals are less noise than was agreed, although a sum over four may be opened."""
    assert answer(site, ask(study, noised(), sites=SITES[:4])) == Refusal("BELOW_FLOOR", 0)
    assert isinstance(answer(site, with_keys(ask(study, noised(), sites=SITES[:5]))), Totals)


def test_neither_its_counts_nor_its_own_figures_leave_a_hospital_that_consents_to_both(
    make_site: MakeSite, study: Study
) -> None:
    named = make_site("H02", study=study, release="named")
    words: tuple[type[Outgoing], ...] = (Ready, Figures, Refusal)
    ready: Outgoing = from_record(respond(named, Prepare(study.sha256), "cpu"), words)
    assert isinstance(ready, Ready)
    assert (ready.named, ready.figures) == (False, None)
    own: Outgoing = from_record(respond(named, Named(study.sha256, "internal", ("federated",)), "cpu"), words)
    assert own == Refusal("BELOW_FLOOR", 0)


def test_a_hospitals_own_figures_are_exact_and_not_for_this_study(study: Study, table_study: Study) -> None:
    require_exact_figures("H01", table_study)
    with pytest.raises(PrivacyError, match="histogram_epsilon = 4: figures leave in the one noised sum"):
        require_exact_figures("H01", study)
