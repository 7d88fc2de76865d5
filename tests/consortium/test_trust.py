"""Rosters and confirmations: what the coordinator signs is not believed until a person heard it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_liver.consortium.admitted import install, latest_changes, look_at, read_news
from fl_liver.consortium.keeping import revoke
from fl_liver.consortium.paper import public_hex, read_paper
from fl_liver.consortium.pinned import confirm, read_trust, require_confirmed, write_pinned
from fl_liver.consortium.signed_roster import SignedRoster
from fl_liver.consortium.words import fingerprint
from fl_liver.errors import ConfigError, PrivacyError, ProtocolError
from fl_liver.identity import read_roster
from tests.consortium.town import NOW, Town


def newest(town: Town) -> SignedRoster:
    return read_paper(town.consortium.roster_file, SignedRoster)


def signed(town: Town, **update: object) -> SignedRoster:
    """A roster that the coordinator signs although it is not true."""
    return newest(town).model_copy(update=update).signed(town.consortium.signing_key())


def swapped(town: Town, site: str, version: int = 9) -> tuple[SignedRoster, str]:
    """The coordinator puts a key of its own in place of a hospital's; returns the roster and that key's words."""
    key = public_hex(Ed25519PrivateKey.generate())
    roster = signed(town, version=version, identity={**newest(town).identity, site: key})
    return roster, fingerprint(bytes.fromhex(key))


def states(town: Town, site: str) -> dict[str, str]:
    return {row.site: row.state for row in read_trust(town.hospitals[site]).rows()}


def test_nobody_is_believed_before_the_telephone(three: Town) -> None:
    assert states(three, "H01") == {"H01": "this hospital", "H02": "not confirmed", "H03": "not confirmed"}
    assert set(read_roster(three.hospitals["H01"].roster).identity) == {"H01"}
    with pytest.raises(
        PrivacyError, match=r"H01: 0 other hospitals confirmed .*, wanted 2 at least; missing: H02, H03"
    ):
        require_confirmed(three.folder / "H01", 3)


def test_a_confirmed_hospital_is_pinned_with_the_key_that_it_has(three: Town) -> None:
    three.telephone("H01", "H02")
    with pytest.raises(
        PrivacyError, match=r"1 other hospitals confirmed .*missing: H03; telephone, then .*confirm H03"
    ):
        require_confirmed(three.folder / "H01", 3)
    three.telephone("H01", "H03")
    assert require_confirmed(three.folder / "H01", 3) == ("H02", "H03")
    pinned = read_roster(three.hospitals["H01"].roster).identity
    assert pinned == {site: hospital.own() for site, hospital in three.hospitals.items()}


def test_only_the_studys_hospitals_count(three: Town) -> None:
    """Four confirmed hospitals are of no use to a study whose others nobody called."""
    three.let_in("H04")
    three.spread_roster()
    for speaker in ("H02", "H03"):
        three.telephone("H01", speaker)
    assert require_confirmed(three.folder / "H01", 3) == ("H02", "H03")
    with pytest.raises(PrivacyError, match=r"1 other hospitals confirmed .*missing: H04"):
        require_confirmed(three.folder / "H01", 3, among=("H01", "H02", "H04"))


@pytest.mark.parametrize("min_sites", [4, 13])
def test_more_are_wanted_than_there_are(three: Town, min_sites: int) -> None:
    for speaker in ("H02", "H03"):
        three.telephone("H01", speaker)
    with pytest.raises(PrivacyError, match=r"the roster is too short"):
        require_confirmed(three.folder / "H01", min_sites)


def test_a_swapped_identity_is_found_on_the_telephone(three: Town) -> None:
    """The coordinator gives H01 a key of its own as H02's; H02's person reads the words of the real one."""
    three.let_in("H04")
    false, words = swapped(three, "H02")
    hospital = three.hospitals["H01"]
    install(hospital, look_at(hospital, false))
    assert next(row.words for row in read_trust(hospital).rows() if row.site == "H02") == words
    with pytest.raises(ProtocolError, match=r"H02: the words heard are not those of the key here"):
        three.telephone("H01", "H02")
    assert states(three, "H01")["H02"] == "not confirmed"
    assert "H02" not in read_roster(hospital.roster).identity


def test_a_swapped_own_identity_is_found_by_the_machine(three: Town) -> None:
    roster, _ = swapped(three, "H02")
    with pytest.raises(ProtocolError, match=r"SOMEBODY POSES AS THIS HOSPITAL"):
        look_at(three.hospitals["H02"], roster)


def test_a_changed_key_is_loud_unconfirmed_and_out_of_the_roster(three: Town) -> None:
    for speaker in ("H02", "H03"):
        three.telephone("H01", speaker)
    hospital = three.hospitals["H01"]
    roster, _ = swapped(three, "H02")
    news = look_at(hospital, roster)
    assert str(news.changes[0]).startswith("H02: CHANGED KEY, and the old key did not sign")
    assert news.stops == ["H02"]
    assert "H02" in read_roster(hospital.roster).identity  # looking changes nothing
    install(hospital, news)
    assert states(three, "H01")["H02"] == "CHANGED KEY"
    assert set(read_roster(hospital.roster).identity) == {"H01", "H03"}
    with pytest.raises(PrivacyError, match=r"missing: H02"):
        require_confirmed(three.folder / "H01", 3)
    assert [change.kind for change in latest_changes(hospital)] == ["changed"]


def test_a_revoked_hospital_leaves_the_roster_and_its_return_is_a_new_key(three: Town) -> None:
    for speaker in ("H02", "H03"):
        three.telephone("H01", speaker)
    hospital = three.hospitals["H01"]
    revoke(three.consortium, "H02", "key lost", NOW)
    three.spread_roster("H02")
    assert [change.kind for change in latest_changes(hospital)] == ["removed"]
    assert set(read_roster(hospital.roster).identity) == {"H01", "H03"}
    three.folder.joinpath("H02").rename(three.folder / "old-H02")
    three.let_in("H02")
    three.spread_roster()
    assert states(three, "H01")["H02"] == "CHANGED KEY"
    three.telephone("H01", "H02")
    assert require_confirmed(three.folder / "H01", 3) == ("H02", "H03")


def test_an_older_roster_is_never_installed(three: Town) -> None:
    hospital = three.hospitals["H01"]
    with pytest.raises(ProtocolError, match=r"the roster is version 1, this hospital has version 3 already"):
        look_at(hospital, signed(three, version=1))


def test_two_rosters_with_one_version_are_an_alarm(three: Town) -> None:
    """A coordinator that tells hospitals different things must give one of them a number twice."""
    roster, _ = swapped(three, "H02", version=newest(three).version)
    with pytest.raises(ProtocolError, match=r"two rosters with version 3 and different content, both signed"):
        look_at(three.hospitals["H01"], roster)


def test_the_same_roster_again_changes_nothing(three: Town) -> None:
    hospital = three.hospitals["H01"]
    files = {path: path.read_bytes() for path in hospital.path.iterdir()}
    install(hospital, read_news(hospital, three.consortium.roster_file))
    assert {path: path.read_bytes() for path in hospital.path.iterdir()} == files


@pytest.mark.parametrize("key", ["version", "made", "consortium", "identity"])
def test_a_changed_roster_is_refused(three: Town, key: str) -> None:
    raw = tomllib.loads(three.consortium.roster_file.read_text())
    other = {"version": 99, "made": "2099-01-01T00:00:00Z", "consortium": "Liver consortium"}
    raw[key] = other.get(key) or {**raw["identity"], "H04": "ab" * 32}
    path = three.folder / "changed.toml"
    path.write_text(tomli_w.dumps(raw))
    with pytest.raises(ProtocolError, match=r"roster is not signed with the coordinator's key of the invitation"):
        read_news(three.hospitals["H01"], path)


def test_a_roster_changed_in_the_hospitals_folder_is_found(three: Town) -> None:
    path = three.hospitals["H01"].signed_roster
    path.write_text(path.read_text().replace(three.hospitals["H02"].own(), "ab" * 32))
    with pytest.raises(ProtocolError, match=r"roster is not signed"):
        require_confirmed(three.folder / "H01", 3)


def test_one_identity_under_two_names_is_refused(three: Town) -> None:
    identity = newest(three).identity
    with pytest.raises(ProtocolError, match=r"the roster gives H02 and H03 one identity"):
        look_at(three.hospitals["H01"], signed(three, version=9, identity={**identity, "H03": identity["H02"]}))


def test_a_roster_of_another_consortium_with_the_same_coordinator_is_refused(three: Town) -> None:
    with pytest.raises(ProtocolError, match=r"the roster is of 'Lung Consortium', this hospital joined 'Liver"):
        look_at(three.hospitals["H01"], signed(three, version=9, consortium="Lung Consortium"))


def test_a_hospital_that_is_not_on_the_roster_is_told(three: Town) -> None:
    revoke(three.consortium, "H02", "left the consortium", NOW)
    with pytest.raises(ProtocolError, match=r"H02: this hospital is not on roster 4: it was revoked"):
        read_news(three.hospitals["H02"], three.consortium.roster_file)


def test_a_roster_edited_by_hand_counts_for_nothing(three: Town) -> None:
    hospital = three.hospitals["H01"]
    identities = {site: it.own() for site, it in three.hospitals.items()}
    hospital.roster.write_text(tomli_w.dumps({"identity": identities}))
    with pytest.raises(ConfigError, match=r"is not what was confirmed here; run `fl-liver site roster`"):
        require_confirmed(three.folder / "H01", 3)
    assert write_pinned(hospital, read_trust(hospital)) == ["H02", "H03"]
    assert set(read_roster(hospital.roster).identity) == {"H01"}


def test_who_confirmed_and_when_is_written_down(three: Town) -> None:
    three.telephone("H01", "H02")
    written = json.loads(three.hospitals["H01"].confirmed.read_text())["confirmed"]["H02"]
    assert written["by"] == "anna"
    assert written["identity"] == three.hospitals["H02"].own()


@pytest.mark.parametrize(
    ("name", "match"),
    [("H01", "H01 is this hospital itself"), ("H09", r"'H09' is not on the roster \(H01, H02, H03\)")],
)
def test_only_another_hospital_of_the_roster_can_be_confirmed(three: Town, name: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        confirm(three.hospitals["H01"], name, three.words_of("H02"), "anna", NOW)


def test_before_admission_there_is_nothing_to_confirm(town: Town) -> None:
    town.joined("H02")
    with pytest.raises(ConfigError, match=r"not admitted yet; send H02.reply.toml to the coordinator"):
        require_confirmed(town.folder / "H02", 3)


def test_a_folder_that_no_hospital_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no hospital's folder"):
        require_confirmed(tmp_path, 3)
