"""A hospital's part in masked sums on its disk: answered once, never backwards, over the roster that was approved.

Every step is taken by a new `SiteSums`, as after a restart or in another worker process.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_liver.client import sums as sums_module
from fl_liver.client.sums import SiteSums
from fl_liver.errors import ConfigError, PrivacyError, ProtocolError
from fl_liver.identity import write_roster
from fl_liver.securesum.encoding import encode_integers
from fl_liver.securesum.site import SiteSum
from fl_liver.study import Study
from tests.securesum.on_disk import OnDisk
from tests.securesum.wards import Ward

TRAIN = ("H01", "H02", "H03", "H04")
Kind = Callable[[Ward], OnDisk]
BOTH = pytest.mark.parametrize("kind", [OnDisk.training, OnDisk.statistics], ids=["training", "statistics"])


@pytest.fixture
def ward(tmp_path: Path, table_study: Study, local_grid: Any) -> Ward:
    return Ward.of(tmp_path, table_study, local_grid)


def files(ward: Ward, site: str) -> dict[str, bytes]:
    folder = ward.sites[site].study_folder(ward.study.sha256) / "sums"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


@BOTH
def test_a_sum_over_restarted_hospitals_is_exact(ward: Ward, kind: Kind) -> None:
    one = kind(ward)
    one.until("release" if one.slot.recovers else "mask")
    assert one.opened() == one.expected()


def test_a_sum_over_the_survivors_is_exact(ward: Ward) -> None:
    one = OnDisk.training(ward).until("release", without=("H02",))
    assert one.opened() == one.expected("H01", "H03", "H04")


@BOTH
def test_the_same_question_gets_the_same_bytes_again_whatever_would_be_computed_now(ward: Ward, kind: Kind) -> None:
    """Training on a GPU gives other bits each time. The difference of two answers under one mask would be theirs."""
    one = kind(ward).until("mask")
    for _ in range(2):
        again = one.answer("H01", np.array([7, 7, 7]))
        assert again.tobytes() == one.masked["H01"].tobytes()
        direct = ward.sums("H01").mask(one.context, one.server.announced, encode_integers(np.array([8, 8, 8]), 32))
        assert direct.tobytes() == one.masked["H01"].tobytes()


@BOTH
def test_another_question_for_the_same_slot_is_refused(ward: Ward, kind: Kind) -> None:
    one = kind(ward).until("mask")
    asked = OnDisk(ward, one.slot, one.sites, "8" * 64)
    asked.server = one.server
    for act in (asked.answer, lambda site: asked.answer(site, np.array([1, 2, 3]))):
        with pytest.raises(PrivacyError, match="a second sum with the same masks was asked"):
            act("H01")
    vector = encode_integers(np.array([1, 2, 3]), 32)
    with pytest.raises(PrivacyError, match="a second sum with the same masks was asked"):
        ward.sums("H01").mask(asked.context, one.server.announced, vector)
    assert vector[:3].tolist() == [1, 2, 3], "it was not masked"


def test_the_same_slot_over_fewer_participants_is_refused(ward: Ward) -> None:
    one = OnDisk.training(ward).until("mask")
    fewer = {site: one.server.announced[site] for site in TRAIN[:3]}
    with pytest.raises(PrivacyError, match="a second sum with the same masks was asked"):
        one.answer("H01", announced=fewer)


@BOTH
def test_two_processes_that_are_asked_at_once_give_one_answer(
    ward: Ward, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found as a hole: both read "not answered", and both put the same masks on what each had computed."""
    one = kind(ward)
    one.announce()
    if one.slot.recovers:
        one.share()
    keys, found = one.server.begin(one.context), list[NDArray[Any]]()

    def mask(value: int) -> None:
        vector = encode_integers(np.full(3, value), 32)
        found.append(ward.sums("H01").mask(one.context, keys, vector).copy())

    second = threading.Thread(target=mask, args=(2,))
    real = SiteSum.mask

    def slowly(self: SiteSum, *arguments: Any) -> None:
        if second.ident is None:
            second.start()
            second.join(0.4)
        real(self, *arguments)

    monkeypatch.setattr(SiteSum, "mask", slowly)
    mask(1)
    second.join()
    assert found[0].tobytes() == found[1].tobytes()


@BOTH
def test_an_answer_is_on_the_disk_before_it_leaves(ward: Ward, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a hospital whose power fails would have answered, and not know it."""
    one = kind(ward)
    one.announce()
    if one.slot.recovers:
        one.share()
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    one.answer("H01", announced=one.server.begin(one.context))
    assert len(synced) == 4, "the answer and the state, and each time the folder that names it"


@BOTH
def test_an_answer_that_was_not_noted_before_a_crash_is_not_taken_for_the_one_before(
    ward: Ward, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found as a hole: round 2's answer lay where round 1's is looked for; both left under round 2's masks."""
    first = kind(ward).until("mask")
    later = OnDisk.training(ward, number=2) if first.slot.recovers else OnDisk.statistics(ward, step=1)
    later.announce()
    if later.slot.recovers:
        later.share()
    keys = later.server.begin(later.context)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sums_module._Channel, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        later.answer("H01", announced=keys)
    monkeypatch.undo()
    assert first.answer("H01").tobytes() == first.masked["H01"].tobytes()
    answered = later.answer("H01", np.array([5, 5, 5]), keys)
    assert later.answer("H01", np.array([6, 6, 6]), keys).tobytes() == answered.tobytes()
    assert len([name for name in files(ward, "H01") if name.endswith(".npy")]) == 1, "older answers are gone"


@BOTH
def test_an_earlier_slot_is_refused(ward: Ward, kind: Kind) -> None:
    first = kind(ward).announce()
    later = OnDisk.training(ward, number=2) if first.slot.recovers else OnDisk.statistics(ward, step=1)
    later.until("mask")
    for act in (
        lambda: ward.sums("H01").announce(first.slot, first.sites if not first.slot.recovers else ()),
        lambda: first.answer("H01"),
        lambda: ward.sums("H01").mask(first.context, first.server.announced, encode_integers(first.vector("H01"), 32)),
        lambda: ward.sums("H01").abandon(first.slot),
    ):
        with pytest.raises(ProtocolError, match=r"was asked, but round ., sum ., attempt 0 was answered already"):
            act()
    with pytest.raises(ProtocolError, match=r"keys are gone or never were|recovers nothing"):
        ward.sums("H01").share(first.slot, first.server.announced)


def test_keys_of_a_slot_that_was_answered_are_not_made_anew(ward: Ward) -> None:
    one = OnDisk.training(ward).until("mask")
    with pytest.raises(ProtocolError, match=r"keys for .* were asked, it was answered already"):
        ward.sums("H01").announce(one.slot)
    pending = OnDisk.training(ward, number=2).announce()
    assert ward.sums("H01").announce(pending.slot) == pending.server.announced["H01"]


def test_of_slots_that_were_not_answered_only_the_last_two_are_remembered(ward: Ward) -> None:
    """A hospital that announced keys and was cut off for some rounds has keys for the round in which it is back."""
    for number in (1, 2, 3, 4):
        OnDisk.training(ward, number=number).announce()
    (content,) = (json.loads(text) for name, text in files(ward, "H01").items() if name.endswith(".json"))
    assert [order for order, _ in content["slots"]] == [[3, 0, 0], [4, 0, 0]]


def test_secrets_are_gone_from_the_disk_when_they_were_used_sworn_off_or_overtaken(ward: Ward) -> None:
    def secrets_on_disk(site: str) -> set[str]:
        texts = [json.loads(text) for name, text in files(ward, site).items() if name.endswith(".json")]
        held = [state["secrets"] for text in texts for _, state in text["slots"] if state["secrets"]]
        return {one[key] for one in held for key in ("mask_key", "seal_key", "own")}

    one = OnDisk.training(ward).until("endorse", without=("H04",))
    first = secrets_on_disk("H01")
    assert len(first) == 3
    one.release()
    assert not secrets_on_disk("H01")
    assert not [name for name in files(ward, "H01") if name.endswith(".npy")]
    assert secrets_on_disk("H04"), "it was not asked for shares"
    OnDisk.training(ward, number=2).until("mask")
    overtaken = secrets_on_disk("H04")
    assert len(overtaken) == 3
    ward.sums("H04").abandon(ward.slot(2))
    assert not secrets_on_disk("H04")


def test_what_is_on_the_disk_is_for_its_owner_alone(ward: Ward) -> None:
    OnDisk.training(ward).until("mask")
    folder = ward.sites["H01"].study_folder(ward.study.sha256) / "sums"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != "lock"} == {0o600}
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_hospital_needs_its_own_identity_in_its_roster(ward: Ward) -> None:
    site = ward.sites["H01"]
    pinned = dict(ward.roster.identity)
    write_roster(site.roster, {**pinned, "H01": pinned["H02"]})
    with pytest.raises(ProtocolError, match=r"roster\.toml pins another identity for it than its own key"):
        SiteSums(site, ward.study)
    site.roster.unlink()
    with pytest.raises(ConfigError, match=r"roster\.toml"):
        SiteSums(site, ward.study)
    site.identity.chmod(0o640)
    with pytest.raises(ConfigError, match="others than its owner may read it"):
        SiteSums(site, ward.study)
