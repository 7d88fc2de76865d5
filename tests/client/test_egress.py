"""The single way out: what it refuses, that a refusal's reason stays at home, and that nothing else can be sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

from fl_liver.client import egress
from fl_liver.client.egress import Trained
from fl_liver.client.site import SiteConfig
from fl_liver.client.sums import SiteSums
from fl_liver.errors import ConsentError, OutOfRangeError, PrivacyError, ProtocolError, TrainingError
from fl_liver.messages import Announced, Done, Figures, Fit, Ready, Refusal, Sum, Totals, Update
from fl_liver.parameters import Entry, Layout
from fl_liver.securesum.context import Slot
from fl_liver.securesum.encoding import UpdateCode
from fl_liver.stats.conversation import Question
from fl_liver.study import Study
from fl_liver.update_code import update_code
from fl_liver.wire import from_record

MakeSite = Callable[..., SiteConfig]
CANARY = "Ziegenpeter"
VECTOR = np.arange(4, dtype=np.float32)
LAYOUT = Layout((Entry("w", (4,)),))
SUMS = np.array([1, 2, 3])


@pytest.fixture(autouse=True)
def log_that_caplog_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual hospital's log does not propagate; a test before this one may have run one."""
    log = logging.getLogger("fl_liver.site")
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "level", logging.INFO)


def everything_in(record: RecordDict) -> bytes:
    """All that would go over the wire: every key, config value and array byte."""
    found = [repr(record.config_records).encode()]
    found += [value for config in record.config_records.values() for value in config.values() if type(value) is bytes]
    for name, arrays in record.array_records.items():
        for key, array in arrays.items():
            found += [name.encode(), key.encode(), array.dtype.encode(), bytes(array.data)]
    return b"|".join(found)


def fit_in(study: Study, number: int = 1) -> Fit:
    return Fit(Slot(study.sha256, "run-1", "training/train", number, 0), np.zeros(4, np.float32), {}, {})


def release(site: SiteConfig, study: Study, **changes: Any) -> RecordDict:
    """An update of four parameters, moved from 0 to VECTOR by 40 patients, of a study whose sums are plain."""
    trained = Trained(**{"vector": VECTOR, "loss": 0.5, "patients": 40, **changes})
    return egress.release_update(site, study, fit_in(study), trained, update_code(study, LAYOUT), None)


def decoded(code: UpdateCode, record: RecordDict) -> tuple[np.ndarray[Any, Any], float, int]:
    """Parameters, loss and weight of one update in the clear."""
    sent = from_record(record, (Update,))
    vector, loss = code.decode(sent.vector, np.zeros(4, np.float32), 1)
    return vector, loss, int(sent.vector[4])


def test_an_update_in_order_goes_out_as_what_was_trained(make_site: MakeSite, plain_study: Study) -> None:
    code = update_code(plain_study, LAYOUT)
    record = release(make_site(study=plain_study), plain_study)
    vector, loss, weight = decoded(code, record)
    np.testing.assert_allclose(vector, VECTOR, atol=code.step / 40)
    assert (loss, weight) == (0.5, 40)
    sent = from_record(record, (Update,))
    assert (sent.round, sent.announced) == (1, b"")


def test_a_hospital_weighs_at_most_max_weight(make_site: MakeSite, plain_study: Study) -> None:
    study = plain_study.changed(training={"max_weight": 7})
    assert decoded(update_code(study, LAYOUT), release(make_site(study=study), study))[2] == 7


def test_an_update_of_more_than_the_norm_is_cut_to_it_and_the_site_is_told(
    make_site: MakeSite, plain_study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    study = plain_study.changed(training={"update_norm": 1.0})
    code = update_code(study, LAYOUT)
    with caplog.at_level(logging.INFO, logger="fl_liver.site"):
        vector, _, _ = decoded(code, release(make_site(study=study), study))
    np.testing.assert_allclose(vector, VECTOR / np.linalg.norm(VECTOR), atol=code.step / 40 + 1e-6)
    assert "site H01, round 1: update clipped, × 0.267" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_with_one_value_that_is_not_finite_never_becomes_a_message(
    make_site: MakeSite, plain_study: Study, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(egress, "to_record", lambda _: pytest.fail("a message was made"))
    broken = VECTOR.copy()
    broken[2] = value
    with pytest.raises(
        TrainingError, match="site H01, round 1: 1 of 4 values of the update are not finite; nothing is sent"
    ):
        release(make_site(study=plain_study), plain_study, vector=broken)


def test_a_loss_that_is_not_finite_never_becomes_a_message(
    make_site: MakeSite, plain_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "to_record", lambda _: pytest.fail("a message was made"))
    with pytest.raises(TrainingError, match="site H01, round 1: the loss is not finite; nothing is sent"):
        release(make_site(study=plain_study), plain_study, loss=float("nan"))


def test_an_external_hospital_never_sends_an_update(make_site: MakeSite, plain_study: Study) -> None:
    with pytest.raises(PrivacyError, match="site H01: its role is 'external', it does not train"):
        release(make_site(study=plain_study, role="external"), plain_study)


@pytest.mark.parametrize(
    ("own", "studys", "patients", "floor"), [(10, 6, 9, 10), (3, 20, 19, 20)], ids=["the site's", "the study's"]
)
def test_the_higher_floor_of_site_and_study_holds(
    make_site: MakeSite, plain_study: Study, own: int, studys: int, patients: int, floor: int
) -> None:
    study = plain_study.changed(privacy={"min_patients": studys})
    site = make_site(study=study, min_patients=own)
    with pytest.raises(PrivacyError, match=f"{patients} patients would train, the floor is {floor}; nothing sent"):
        release(site, study, patients=patients)
    release(site, study, patients=floor)


def test_nothing_leaves_in_the_clear_where_the_site_does_not_allow_it(
    make_site: MakeSite, plain_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "to_record", lambda _: pytest.fail("a message was made"))
    site = make_site(study=plain_study, plain_sums=False)
    reason = r"site H01: the study adds in the clear, which site\.toml does not allow here \(plain_sums = false\)"
    with pytest.raises(PrivacyError, match=reason):
        release(site, plain_study)
    with pytest.raises(PrivacyError, match=reason):
        egress.release_totals(site, plain_study, ask("masked", 3), np.array([1, 2, 3]), "", None)


class Masked:
    """Four hospitals of a masked study that announced keys for the first round."""

    def __init__(self, make_site: MakeSite, study: Study) -> None:
        self.study, self.fit, self.code = study, fit_in(study), update_code(study, LAYOUT)
        self.sites = {name: make_site(name) for name in study.sites.train}
        self.sums = {name: SiteSums(site, study) for name, site in self.sites.items()}
        announced = {name: sums.announce(self.fit.slot) for name, sums in self.sums.items()}
        for sums in self.sums.values():
            sums.share(self.fit.slot, announced)
        self.fit = replace(self.fit, announced=announced)

    def release(self, name: str, number: int = 1, vector: Any = VECTOR) -> Update:
        trained = Trained(vector, 0.5, 40)
        fit = replace(self.fit, slot=replace(self.fit.slot, round=number))
        masking = self.sums[name], egress.update_context(self.study, fit, self.code)
        return from_record(
            egress.release_update(self.sites[name], self.study, fit, trained, self.code, masking), (Update,)
        )

    def again(self, name: str, fit: Fit) -> RecordDict | None:
        context = egress.update_context(self.study, fit, self.code)
        return egress.release_again(self.sites[name], self.study, fit, self.sums[name], context)


def test_a_masked_update_shows_neither_parameters_nor_weight_and_brings_the_keys_of_the_next_round(
    make_site: MakeSite, table_study: Study
) -> None:
    room = Masked(make_site, table_study)
    coded, _ = room.code.encode(VECTOR, np.zeros(4, np.float32), 40, 0.5)
    sent = room.release("H01")
    assert sent.vector.shape == coded.shape
    assert not (sent.vector == coded).any()
    assert len(sent.announced) == 128
    assert sent.announced != room.fit.announced["H01"]


def test_after_the_last_round_no_keys_travel_ahead(make_site: MakeSite, table_study: Study) -> None:
    assert table_study.training.rounds == 2
    room = Masked(make_site, table_study)
    slot = replace(room.fit.slot, round=2)
    announced = {name: sums.announce(slot) for name, sums in room.sums.items()}
    room.fit = replace(room.fit, announced=announced)
    assert room.release("H01", number=2).announced == b""


def test_a_round_that_is_asked_again_gets_the_same_bytes_whatever_would_be_trained_now(
    make_site: MakeSite, table_study: Study
) -> None:
    """Two vectors under the same masks would show their difference."""
    room = Masked(make_site, table_study)
    assert room.again("H01", room.fit) is None
    first = room.release("H01")
    again = room.again("H01", room.fit)
    assert again is not None
    for second in (from_record(again, (Update,)), room.release("H01", vector=2 * VECTOR)):
        assert second.vector.tobytes() == first.vector.tobytes()
        assert second.announced == first.announced
    with pytest.raises(PrivacyError, match="a second sum with the same masks was asked"):
        room.again("H01", replace(room.fit, vector=VECTOR))


def ask(purpose: Any, contributors: int, lengths: tuple[int, ...] = (2, 1)) -> Sum:
    return Sum("s", purpose, contributors, tuple(Question("q", {}, length) for length in lengths))


def released(site: SiteConfig, study: Study, asked: Sum, sums: np.ndarray[Any, Any] = SUMS) -> list[int]:
    """Totals in the clear, without their check word."""
    sent = from_record(egress.release_totals(site, study, asked, sums, "cd" * 32, None), (Totals,))
    assert (sent.commitment, sent.announced) == ("cd" * 32, b"")
    assert sent.vector[-1] == 1
    return [int(one) for one in sent.vector[:-1]]


def test_a_masked_sum_needs_min_sites_hospitals(make_site: MakeSite, plain_study: Study) -> None:
    with pytest.raises(
        PrivacyError, match="a sum over 2 hospitals was asked, the floor is 3; fewer is a named release"
    ):
        released(make_site(study=plain_study, release="named"), plain_study, ask("masked", 2))
    assert released(make_site("H02", study=plain_study), plain_study, ask("masked", 3)) == [1, 2, 3]


def test_a_named_sum_needs_the_sites_own_consent_and_is_in_the_clear(make_site: MakeSite, table_study: Study) -> None:
    """Also in a study whose sums are masked: there is nobody to mask it with."""
    with pytest.raises(ConsentError, match=r'its own figures were asked, but site\.toml says release = "none"'):
        released(make_site(), table_study, ask("named", 1))
    assert released(make_site("H02", release="named"), table_study, ask("named", 1)) == [1, 2, 3]


@pytest.mark.parametrize("contributors", [1, 11])
def test_a_sum_of_another_purpose_is_refused(make_site: MakeSite, table_study: Study, contributors: int) -> None:
    """A word that is neither "masked" nor "named" must not slip past both checks."""
    with pytest.raises(ProtocolError, match="'opened'"):
        released(make_site(release="named"), table_study, ask("opened", contributors))


@pytest.mark.parametrize("sums", [np.zeros(2, np.int64), np.zeros(4, np.int64), np.zeros((3, 1), np.int64)])
def test_a_sum_of_another_length_than_announced_is_refused(
    make_site: MakeSite, plain_study: Study, sums: np.ndarray[Any, np.dtype[np.int64]]
) -> None:
    with pytest.raises(ProtocolError, match=rf"site H01: sum of length {sums.size}, announced 3"):
        released(make_site(study=plain_study), plain_study, ask("masked", 3), sums)


@pytest.mark.parametrize("bits", [16, 32])
def test_a_sum_that_its_announced_width_cannot_hold_is_refused(
    make_site: MakeSite, plain_study: Study, bits: Any
) -> None:
    """A wrapped count would be another count."""
    site = make_site(study=plain_study)
    asked = replace(ask("masked", 3), bits=bits, questions=(Question("q", {}, 3, bound=2**bits - 1),))
    for wrong in (np.array([1, 2, 2**bits]), np.array([-1, 2, 3])):
        with pytest.raises(OutOfRangeError, match=rf"does not fit sums modulo 2\^{bits}; the question's bound"):
            egress.release_totals(site, plain_study, asked, wrong, "", None)


def test_a_sum_of_another_width_than_its_bounds_say_is_refused(make_site: MakeSite, plain_study: Study) -> None:
    """The bounds are the question's; a server that chooses the width could have sums wrap."""
    asked = replace(ask("masked", 3), bits=16)
    with pytest.raises(ProtocolError, match=r"site H01: sums modulo 2\^16 were asked, the bounds say 2\^64"):
        egress.release_totals(make_site(study=plain_study), plain_study, asked, SUMS, "", None)


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
    egress.release_word(make_site("H04"), Announced(b"keys"))


def test_the_reason_of_a_refusal_stays_in_the_sites_log(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    record = egress.refuse(make_site(), "DATA", f"series of {CANARY}: slice 14 is missing", count=14)
    assert CANARY in caplog.text
    assert CANARY.encode() not in everything_in(record)
    assert from_record(record, (Refusal,)) == Refusal("DATA", 14)


def test_the_canary_search_would_find_a_leak(make_site: MakeSite, plain_study: Study) -> None:
    """A search that finds nothing must be one that can find something: in a config and in an array."""
    leaking = egress.release_figures(make_site(release="named"), Figures({"who": CANARY}))
    assert CANARY.encode() in everything_in(leaking)
    padded = np.frombuffer(CANARY.encode().ljust(24), np.int64)
    sent = egress.release_totals(make_site("H02", study=plain_study), plain_study, ask("masked", 3), padded, "", None)
    assert CANARY.encode() in everything_in(sent)


def test_every_message_that_leaves_is_logged_with_its_size(
    make_site: MakeSite, plain_study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fl_liver.site"):
        update = release(make_site(study=plain_study), plain_study)
        egress.release_word(make_site("H02"), Done(0))
    words = len(str(update.config_records["message"]["json"]))
    assert f"site H01: Update leaves, {words + 4 * (4 + 2 + 2)} bytes" in caplog.text
    assert "site H02: Done leaves, 12 bytes" in caplog.text, 'of {"count": 0}'
