"""A hospital changes its identity: the old key signs the new one, and everybody still telephones."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_liver.consortium.admitted import install, look_at, read_news, rotate
from fl_liver.consortium.admitting import examine
from fl_liver.consortium.paper import public_hex, read_paper
from fl_liver.consortium.pinned import read_trust, require_confirmed
from fl_liver.consortium.rotation import Rotation, leads_to, make_rotation
from fl_liver.consortium.signed_roster import changes
from fl_liver.consortium.words import fingerprint
from fl_liver.errors import ConfigError, ProtocolError
from fl_liver.identity import load_identity, read_roster
from tests.consortium.town import NOW, Town


@pytest.fixture
def called(three: Town) -> Town:
    """H01 confirmed both others."""
    for speaker in ("H02", "H03"):
        three.telephone("H01", speaker)
    return three


def test_the_old_key_is_used_until_the_roster_lists_the_new_one(called: Town) -> None:
    hospital = called.hospitals["H02"]
    before = hospital.own()
    path, rotation = rotate(hospital)
    assert hospital.own() == before == rotation.old
    called.approved("H02", path)
    assert hospital.own() == before
    install(hospital, read_news(hospital, called.consortium.roster_file))
    assert hospital.own() == rotation.new
    assert not hospital.next_identity.exists()
    assert before not in "".join(path.read_text() for path in hospital.path.glob("*.pem"))


def test_the_coordinator_is_shown_the_new_words(called: Town) -> None:
    path, rotation = rotate(called.hospitals["H02"])
    application = examine(called.consortium, "H02", path, NOW)
    assert application.words == {"new identity": fingerprint(bytes.fromhex(rotation.new))}
    assert application.identity == rotation.new


def test_others_see_a_rotation_and_confirm_again(called: Town) -> None:
    hospital = called.hospitals["H01"]
    called.approved("H02", rotate(called.hospitals["H02"])[0])
    news = read_news(hospital, called.consortium.roster_file)
    assert [(it.site, it.kind) for it in news.changes] == [("H02", "rotated")]
    assert news.stops == ["H02"]
    called.spread_roster()
    assert next(row.state for row in read_trust(hospital).rows() if row.site == "H02") == "CHANGED KEY"
    assert "H02" not in read_roster(hospital.roster).identity
    called.telephone("H01", "H02")
    assert require_confirmed(called.folder / "H01", 3) == ("H02", "H03")


def test_two_rotations_between_two_looks_are_still_a_rotation(called: Town) -> None:
    for _ in range(2):
        called.approved("H02", rotate(called.hospitals["H02"])[0])
        called.spread_roster("H01")
    news = read_news(called.hospitals["H01"], called.consortium.roster_file)
    assert [it.kind for it in news.changes] == ["rotated"]


def test_rotating_twice_before_it_is_taken_is_one_rotation(called: Town) -> None:
    """A second `site rotate` after a lost mail must not make a third key."""
    first, second = rotate(called.hospitals["H02"])[1], rotate(called.hospitals["H02"])[1]
    assert first.new == second.new


def test_a_crash_between_roster_and_key_is_mended_by_the_same_command(called: Town) -> None:
    hospital = called.hospitals["H02"]
    called.approved("H02", rotate(hospital)[0])
    news = read_news(hospital, called.consortium.roster_file)
    news.roster.write(hospital.signed_roster)  # what `install` does first
    with pytest.raises(ProtocolError, match=r"lists another identity for this hospital than identity.pem holds"):
        require_confirmed(called.folder / "H02", 3)
    install(hospital, read_news(hospital, called.consortium.roster_file))
    assert hospital.own() == news.roster.identity["H02"]


def test_a_rotation_counts_once(called: Town) -> None:
    path = rotate(called.hospitals["H02"])[0]
    called.approved("H02", path)
    with pytest.raises(
        ProtocolError, match=r"H02: the rotation starts from another identity than the one on the roster"
    ):
        examine(called.consortium, "H02", path, NOW)


def test_a_key_that_was_rotated_away_does_not_come_back(called: Town) -> None:
    hospital = called.hospitals["H02"]
    old = load_identity(hospital.identity)
    called.approved("H02", rotate(hospital)[0])
    called.spread_roster()
    back = make_rotation("Liver Consortium", "H02", load_identity(hospital.identity), old)
    back.write(hospital.at("back.toml"))
    with pytest.raises(ProtocolError, match=r"this identity was revoked or replaced before"):
        examine(called.consortium, "H02", hospital.at("back.toml"), NOW)


@pytest.mark.parametrize("key", ["site", "old", "new", "signature", "by_new", "consortium"])
def test_a_changed_rotation_is_refused(called: Town, key: str) -> None:
    path = rotate(called.hospitals["H02"])[0]
    other = make_rotation("Liver Consortium", "H02", Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate())
    raw = tomllib.loads(path.read_text())
    raw[key] = {"site": "H03", "consortium": "Other"}.get(key) or getattr(other, key)
    path.write_text(tomli_w.dumps(raw))
    with pytest.raises(ProtocolError, match=r"not signed with|did not sign|the rotation is of"):
        examine(called.consortium, "H02", path, NOW)


def test_somebody_without_the_old_key_cannot_rotate(called: Town, tmp_path: Path) -> None:
    make_rotation("Liver Consortium", "H02", Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()).write(
        tmp_path / "forged.toml"
    )
    with pytest.raises(ProtocolError, match=r"the rotation starts from another identity"):
        examine(called.consortium, "H02", tmp_path / "forged.toml", NOW)


def test_a_new_key_that_did_not_sign_is_refused(called: Town) -> None:
    """Otherwise a hospital could claim another's key as its own new one."""
    hospital = called.hospitals["H02"]
    old, stolen = load_identity(hospital.identity), called.hospitals["H03"].own()
    draft = Rotation(consortium="Liver Consortium", site="H02", old=public_hex(old), new=stolen, by_new="0" * 128)
    draft.signed(old).write(hospital.at("claim.toml"))
    with pytest.raises(ProtocolError, match=r"H02: the new identity did not sign its rotation"):
        examine(called.consortium, "H02", hospital.at("claim.toml"), NOW)


def test_a_coordinator_cannot_pass_a_swap_off_as_a_rotation(called: Town) -> None:
    """It makes a rotation with keys of its own, or leaves out the old key's signature; both read CHANGED KEY."""
    own_keys = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    roster = called.consortium.roster(NOW)
    real = roster.identity["H02"]
    forged = make_rotation("Liver Consortium", "H02", *own_keys).model_copy(update={"old": real})
    swapped = roster.model_copy(
        update={"version": 9, "identity": {**roster.identity, "H02": public_hex(own_keys[1])}, "rotation": (forged,)}
    ).signed(called.consortium.signing_key())
    assert [it.kind for it in changes(roster.identity, swapped)] == ["changed"]
    assert look_at(called.hospitals["H01"], swapped).changes[0].kind == "changed"


def test_a_rotation_in_another_consortium_does_not_count_here(called: Town) -> None:
    """A hospital that is in two with one key may have rotated in the other alone."""
    old, new = load_identity(called.hospitals["H02"].identity), Ed25519PrivateKey.generate()
    elsewhere = make_rotation("Lung Consortium", "H02", old, new)
    roster = called.consortium.roster(NOW)
    identity = {**roster.identity, "H02": public_hex(new)}
    swapped = roster.model_copy(update={"version": 9, "identity": identity, "rotation": (elsewhere,)})
    assert [it.kind for it in changes(roster.identity, swapped)] == ["changed"]


def test_steps_in_a_circle_end() -> None:
    a, b, c = (Ed25519PrivateKey.generate() for _ in range(3))
    circle = [make_rotation("Liver", "H02", a, b), make_rotation("Liver", "H02", b, a)]
    assert not leads_to(circle, "H02", public_hex(a), public_hex(c))
    assert leads_to(circle, "H02", public_hex(b), public_hex(a))
    assert not leads_to(circle, "H03", public_hex(a), public_hex(b))


def test_only_an_admitted_hospital_rotates(town: Town) -> None:
    town.joined("H02")
    with pytest.raises(ConfigError, match=r"not admitted yet"):
        rotate(town.hospitals["H02"])


def test_the_register_keeps_the_rotation_for_those_who_look_later(called: Town) -> None:
    path, rotation = rotate(called.hospitals["H02"])
    called.approved("H02", path)
    assert called.reopened().register.rotation == (read_paper(path, Rotation),)
    assert rotation.old in called.reopened().register.spent
