"""Private training as a hospital is asked for it: each round is noted before it trains, and max_epsilon ends it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fl_liver.accountant import training_epsilon
from fl_liver.client.respond import respond
from fl_liver.client.site import SiteConfig
from fl_liver.messages import Fit, Prepare, Ready, Refusal, Update
from fl_liver.models.registry import initial_vector, study_layout
from fl_liver.securesum.context import Slot
from fl_liver.study import Study
from fl_liver.update_code import update_code
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]


@pytest.fixture(scope="module")
def study(plain_study: Study) -> Study:
    """Two rounds fit into `max_epsilon`, three do not. Sums in the clear: what is asked again is trained again."""
    section = {
        "noise_multiplier": 1.2,
        "patient_clip_norm": 1.0,
        "sampling_rate": 0.25,
        "expected_patients": 5.0,
        "max_epsilon": 1e3,
    }
    changes: dict[str, Any] = {"training": {"max_weight": 1, "triplet_weight": 0}, "privacy": {"training": section}}
    roomy = plain_study.changed(**changes)
    two, three = (training_epsilon(roomy, {"train": rounds}) for rounds in (2, 3))
    assert two == training_epsilon(roomy) < three
    return roomy.changed(privacy={"training": section | {"max_epsilon": (two + three) / 2}})


def ask(site: SiteConfig, study: Study, number: int) -> Any:
    slot = Slot(study.sha256, "run-1", "training/train", number, 0)
    return from_record(respond(site, Fit(slot, initial_vector(study)[0], {}, {}), "cpu"), (Update, Refusal))


def test_every_round_is_accounted_for_and_the_one_beyond_max_epsilon_is_refused(
    make_site: MakeSite, study: Study, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fl_liver.site"), "propagate", True)
    site = make_site(study=study)
    account = site.study_folder(study.sha256) / "training-account.jsonl"
    assert isinstance(from_record(respond(site, Prepare(study.sha256), "cpu"), (Ready,)), Ready)
    assert not account.exists(), "nothing is spent before training"
    first, again = (ask(site, study, 1) for _ in range(2))
    assert first.vector.tobytes() != again.vector.tobytes(), "noise is drawn anew, and each draw tells something"
    assert ask(site, study, 2) == Refusal("BELOW_FLOOR", 0)
    assert "max_epsilon" in caplog.text
    noted = [json.loads(line)["round"] for line in account.read_text().splitlines()]
    assert noted == [1, 1, 2]


def test_an_update_of_private_training_tells_neither_loss_nor_number_of_patients(
    make_site: MakeSite, study: Study
) -> None:
    """Neither is noised. Hospitals of 40 and of 70 patients say the same of themselves."""
    code = update_code(study, study_layout(study))
    for name, patients in (("H01", 40), ("H02", 70)):
        update = ask(make_site(name, patients, study=study), study, 1)
        vector, loss = code.decode(update.vector, initial_vector(study)[0], 1)
        assert (loss, int(update.vector[code.size])) == (0, 1)
        assert np.isfinite(vector).all()


def test_a_study_that_plans_more_than_its_max_epsilon_is_not_prepared(make_site: MakeSite, study: Study) -> None:
    greedy = study.changed(training={"rounds": 3})
    assert from_record(respond(make_site(study=greedy), Prepare(greedy.sha256), "cpu"), (Refusal,)) == Refusal(
        "BELOW_FLOOR", 0
    )
