"""The single way out: what it refuses, that a refusal's reason stays at home, and that nothing else can be sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

from fl_liver.client import egress
from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConsentError, PrivacyError, ProtocolError, TrainingError
from fl_liver.messages import Done, Figures, Ready, Refusal, Sum, Totals, Update, from_record
from fl_liver.stats.conversation import Question
from fl_liver.study import Study

MakeSite = Callable[..., SiteConfig]
CANARY = "Ziegenpeter"
VECTOR = np.arange(4, dtype=np.float32)


@pytest.fixture(autouse=True)
def log_that_caplog_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual hospital's log does not propagate; a test before this one may have run one."""
    log = logging.getLogger("fl_liver.site")
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "level", logging.INFO)


def everything_in(record: RecordDict) -> bytes:
    """All that would go over the wire: every key, config value and array byte."""
    found = [repr(record.config_records).encode()]
    for name, arrays in record.array_records.items():
        for key, array in arrays.items():
            found += [name.encode(), key.encode(), array.dtype.encode(), bytes(array.data)]
    return b"|".join(found)


def update(**changes: Any) -> Update:
    return Update(**{"round": 1, "vector": VECTOR, "weight": 40, "loss": 0.5, **changes})


def test_an_update_in_order_goes_out_unchanged(make_site: MakeSite, table_study: Study) -> None:
    sent = from_record(egress.release_update(make_site(), table_study, update(), patients=40), (Update,))
    assert sent.vector.tobytes() == VECTOR.tobytes()
    assert (sent.round, sent.weight, sent.loss) == (1, 40, 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_with_one_value_that_is_not_finite_never_becomes_a_message(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(egress, "to_record", lambda _: pytest.fail("a message was made"))
    broken = VECTOR.copy()
    broken[2] = value
    with pytest.raises(TrainingError, match="site H01, round 1: 1 of 4 values are not finite; nothing sent"):
        egress.release_update(make_site(), table_study, update(vector=broken), patients=40)


def test_a_loss_that_is_not_finite_never_becomes_a_message(
    make_site: MakeSite, table_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "to_record", lambda _: pytest.fail("a message was made"))
    with pytest.raises(TrainingError, match="not finite"):
        egress.release_update(make_site(), table_study, update(loss=float("nan")), patients=40)


def test_an_external_hospital_never_sends_an_update(make_site: MakeSite, table_study: Study) -> None:
    with pytest.raises(PrivacyError, match="site H01: its role is 'external', it does not train"):
        egress.release_update(make_site(role="external"), table_study, update(), patients=40)


@pytest.mark.parametrize(
    ("own", "studys", "patients", "floor"), [(10, 6, 9, 10), (3, 20, 19, 20)], ids=["the site's", "the study's"]
)
def test_the_higher_floor_of_site_and_study_holds(
    make_site: MakeSite, table_study: Study, own: int, studys: int, patients: int, floor: int
) -> None:
    study, site = table_study.changed(privacy={"min_patients": studys}), make_site(min_patients=own)
    with pytest.raises(PrivacyError, match=f"{patients} patients would train, the floor is {floor}; nothing sent"):
        egress.release_update(site, study, update(), patients=patients)
    egress.release_update(site, study, update(), patients=floor)


def ask(purpose: Any, contributors: int, lengths: tuple[int, ...] = (2, 1)) -> Sum:
    return Sum("s", purpose, contributors, tuple(Question("q", {}, length) for length in lengths))


def test_a_masked_sum_needs_min_sites_hospitals(make_site: MakeSite, table_study: Study) -> None:
    sums = np.array([1, 2, 3])
    with pytest.raises(
        PrivacyError, match="a sum over 2 hospitals was asked, the floor is 3; fewer is a named release"
    ):
        egress.release_totals(make_site(release="named"), table_study, ask("masked", 2), sums)
    released = from_record(egress.release_totals(make_site("H02"), table_study, ask("masked", 3), sums), (Totals,))
    assert released.vector.tolist() == [1, 2, 3]


def test_a_named_sum_needs_the_sites_own_consent(make_site: MakeSite, table_study: Study) -> None:
    sums = np.array([1, 2, 3])
    with pytest.raises(ConsentError, match=r'its own figures were asked, but site\.toml says release = "none"'):
        egress.release_totals(make_site(), table_study, ask("named", 1), sums)
    egress.release_totals(make_site("H02", release="named"), table_study, ask("named", 1), sums)


@pytest.mark.parametrize("contributors", [1, 11])
def test_a_sum_of_another_purpose_is_refused(make_site: MakeSite, table_study: Study, contributors: int) -> None:
    """A word that is neither "masked" nor "named" must not slip past both checks."""
    with pytest.raises(ProtocolError, match="'opened'"):
        egress.release_totals(make_site(release="named"), table_study, ask("opened", contributors), np.array([1, 2, 3]))


@pytest.mark.parametrize("sums", [np.zeros(2, np.int64), np.zeros(4, np.int64), np.zeros((3, 1), np.int64)])
def test_a_sum_of_another_length_than_announced_is_refused(
    make_site: MakeSite, table_study: Study, sums: np.ndarray[Any, np.dtype[np.int64]]
) -> None:
    with pytest.raises(ProtocolError, match=rf"site H01: sum of length {sums.size}, announced 3"):
        egress.release_totals(make_site(), table_study, ask("masked", 3), sums)


def test_own_figures_need_consent(make_site: MakeSite) -> None:
    with pytest.raises(ConsentError, match="its own figures were asked"):
        egress.release_figures(make_site(), Figures({"n": 40}))
    sent = from_record(egress.release_figures(make_site("H02", release="named"), Figures({"n": 40})), (Figures,))
    assert sent.figures == {"n": 40}


def test_ready_with_counts_needs_consent(make_site: MakeSite) -> None:
    with pytest.raises(ConsentError, match="its own figures were asked"):
        egress.release_word(make_site(), Ready("H01", "0", "train", False, {"patients": 40}))
    egress.release_word(make_site("H02"), Ready("H02", "0", "train", False, None))
    egress.release_word(make_site("H03"), Done(0))


def test_the_reason_of_a_refusal_stays_in_the_sites_log(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    record = egress.refuse(make_site(), "DATA", f"series of {CANARY}: slice 14 is missing", count=14)
    assert CANARY in caplog.text
    assert CANARY.encode() not in everything_in(record)
    assert from_record(record, (Refusal,)) == Refusal("DATA", 14)


def test_the_canary_search_would_find_a_leak(make_site: MakeSite, table_study: Study) -> None:
    """A search that finds nothing must be one that can find something: in a config and in an array."""
    leaking = egress.release_figures(make_site(release="named"), Figures({"who": CANARY}))
    assert CANARY.encode() in everything_in(leaking)
    padded = np.frombuffer(CANARY.encode().ljust(16), np.float32)
    sent = egress.release_update(make_site("H02"), table_study, update(vector=padded), patients=100)
    assert CANARY.encode() in everything_in(sent)


def test_every_message_that_leaves_is_logged_with_its_size(
    make_site: MakeSite, table_study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fl_liver.site"):
        egress.release_update(make_site(), table_study, update(), patients=40)
        egress.release_word(make_site("H02"), Done(0))
    assert "site H01: Update leaves, 16 bytes of arrays" in caplog.text
    assert "site H02: Done leaves, 0 bytes of arrays" in caplog.text
