"""Invitation, reply, admission: what was changed on its way, used twice or made by somebody else is refused."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from fl_liver.client.connection import read_connection
from fl_liver.client.site import load_site
from fl_liver.consortium import authority as ca
from fl_liver.consortium.admitting import examine, invite
from fl_liver.consortium.folder import make_consortium, open_consortium
from fl_liver.consortium.invitation import read_invitation
from fl_liver.consortium.joining import join
from fl_liver.consortium.reply import make_reply
from fl_liver.errors import ConfigError, ProtocolError
from fl_liver.identity import load_identity
from tests.consortium.town import NOW, Town, changed, gateway_tls, handshake, other_hex

# -- the way that works ------------------------------------------------------------------------------------------------


def test_a_hospital_that_was_let_in_has_what_the_daemon_reads(town: Town) -> None:
    hospital = town.let_in("H02")
    site = load_site(hospital.at("site.toml"))
    assert (site.site, site.role, site.release, site.plain_sums) == ("H02", "train", "none", False)
    connection = read_connection(site.connection)
    assert connection.address == "127.0.0.1:8443"
    assert connection.has_certificate
    assert handshake(gateway_tls(town.consortium), connection.tls()).name == "H02"
    assert connection.days_left(NOW)["client.crt"] >= ca.CERTIFICATE_DAYS


def test_the_server_is_told_the_node_key_that_the_hospital_has(town: Town) -> None:
    hospital = town.let_in("H02")
    said = hospital.at("node.pub").read_text().strip()
    assert town.reopened().node_keys() == {"H02": said}
    assert (town.consortium.folder / "nodes/H02.pub").read_text().strip() == said
    assert said.startswith("ecdsa-sha2-nistp384 ")


def test_papers_survive_a_mail_program(town: Town) -> None:
    """Line ends become CRLF and a byte order mark appears; no byte that is signed changes."""

    def mailed(path: Path) -> Path:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        return path

    joined = join(read_invitation(mailed(town.invited("H02")), NOW), town.folder / "H02")
    application = examine(town.consortium, "H02", mailed(joined.reply_file), NOW)
    assert application.words == joined.words
    assert application.words["identity"] == next(iter(application.words.values()))


def test_init_run_again_keeps_the_keys(town: Town) -> None:
    """A crash half way, or a reply that was lost, costs nothing."""
    path = town.invited("H02")
    before = join(read_invitation(path, NOW), town.folder / "H02")
    (town.folder / "H02/site.toml").write_text((town.folder / "H02/site.toml").read_text().replace("= 10", "= 12"))
    (town.folder / "H02/client.csr").unlink()
    again = join(read_invitation(path, NOW), town.folder / "H02")
    assert (before.keys_kept, again.keys_kept) == (False, True)
    assert again.words == before.words
    assert load_site(town.folder / "H02/site.toml").min_patients == 12
    town.approved("H02", again.reply_file)


def test_an_external_hospital_gets_its_role(town: Town) -> None:
    join(read_invitation(town.invited("H05"), NOW), town.folder / "H05", role="external")
    assert load_site(town.folder / "H05/site.toml").role == "external"


def test_a_filled_site_file_still_explains_every_key(town: Town) -> None:
    join(read_invitation(town.invited("H05"), NOW), town.folder / "H05")
    text = (town.folder / "H05/site.toml").read_text(encoding="utf-8")
    template = Path(__file__).parents[2] / "sites/template.toml"
    assert [line for line in text.splitlines() if line.startswith("#")][2:] == [
        line for line in template.read_text(encoding="utf-8").splitlines() if line.startswith("#")
    ][2:]
    assert 'site = "H05"' in text


# -- the invitation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "evil.example.org:8443"),
        ("site", "H03"),
        ("consortium", "Other"),
        ("coordinator", other_hex),
        ("secret", other_hex),
        ("expires", "2099-01-01T00:00:00Z"),
        ("authority", lambda pem: pem.replace("A", "B", 1)),
        ("signature", other_hex),
    ],
)
def test_a_changed_invitation_is_refused(town: Town, key: str, value: object) -> None:
    with pytest.raises(ProtocolError, match=r"invitation is not signed with the coordinator's key"):
        read_invitation(changed(town.invited("H02"), key, value), NOW)


def test_an_invitation_ends(town: Town) -> None:
    path = town.invited("H02")
    read_invitation(path, NOW + timedelta(days=29))
    with pytest.raises(ProtocolError, match=r"the invitation ended on .*; ask the coordinator to run"):
        read_invitation(path, NOW + timedelta(days=30))


def test_a_reply_after_the_invitation_ended_is_refused(town: Town) -> None:
    reply = town.joined("H02")
    with pytest.raises(ProtocolError, match=r"its invitation ended"):
        examine(town.consortium, "H02", reply, NOW + timedelta(days=31))


def test_a_folder_of_another_consortium_is_left_alone(town: Town) -> None:
    town.let_in("H02")
    other = make_consortium(town.folder / "other", "Liver Consortium", "127.0.0.1:1", (), NOW)
    path = invite(other, "H02", 30, NOW)[0]
    with pytest.raises(ConfigError, match=r"is H02 of 'Liver Consortium' already, or its coordinator's key changed"):
        join(read_invitation(path, NOW), town.folder / "H02")


def test_the_coordinators_folder_does_not_become_a_hospital(town: Town) -> None:
    with pytest.raises(ConfigError, match=r"belongs to something else|coordinator's folder"):
        join(read_invitation(town.invited("H02"), NOW), town.consortium.folder)
    open_consortium(town.consortium.folder)


@pytest.mark.parametrize("name", ["H", "h 2", "../H02", "H" * 21, "H02/", ""])
def test_an_impossible_name_is_not_invited(town: Town, name: str) -> None:
    before = sorted(town.folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"coordinator enrol: "):
        town.invited(name)
    assert sorted(town.folder.rglob("*")) == before


def test_names_that_differ_in_capitals_only_are_refused(town: Town) -> None:
    town.invited("Mainz")
    with pytest.raises(ConfigError, match=r"'MAINZ' and 'Mainz' would be taken for each other"):
        town.invited("MAINZ")


def test_a_hospital_that_is_in_is_not_invited_again(town: Town) -> None:
    town.let_in("H02")
    with pytest.raises(ConfigError, match=r"H02 is approved already"):
        town.invited("H02")


# -- the reply ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["identity", "node_key", "request", "proof", "signature"])
def test_a_changed_reply_is_refused(town: Town, key: str) -> None:
    """Each key is taken from another hospital's valid reply, so that only the proofs can tell."""
    reply, stranger = town.joined("H02"), town.joined("H03")
    forged = changed(reply, key, tomllib.loads(stranger.read_text())[key])
    with pytest.raises(ProtocolError, match=r"not made with the one-time secret|not signed with the identity"):
        examine(town.consortium, "H02", forged, NOW)
    assert town.reopened().register.hospitals["H02"].status == "invited"


def test_a_reply_of_another_hospital_is_refused(town: Town) -> None:
    town.invited("H02")
    with pytest.raises(ProtocolError, match=r"the reply is of H03 in 'Liver Consortium', wanted H02"):
        examine(town.consortium, "H02", town.joined("H03"), NOW)


def test_somebody_without_the_secret_cannot_answer_an_invitation(town: Town) -> None:
    """An attacker who saw everything but the invitation makes keys of its own and signs them properly."""
    reply = town.joined("H02")
    attacker = town.let_in("H09")
    forged = make_reply(
        "Liver Consortium",
        "H02",
        "0" * 64,
        identity=load_identity(attacker.identity),
        node_key=attacker.at("node.pub").read_text().strip(),
        request=ca.make_request(attacker.client_key(), "H02").decode(),
    )
    forged.write(reply)
    with pytest.raises(ProtocolError, match=r"not made with the one-time secret of its latest invitation"):
        examine(town.consortium, "H02", reply, NOW)


def test_a_one_time_secret_works_once(town: Town) -> None:
    reply = town.joined("H02")
    town.approved("H02", reply)
    assert not town.consortium.secret_path("H02").exists()
    with pytest.raises(ProtocolError, match=r"its one-time secret was used already, the hospital is approved"):
        examine(town.reopened(), "H02", reply, NOW)


def test_a_second_reply_with_the_same_secret_is_refused(town: Town) -> None:
    """Whoever copied the invitation makes other keys with it, after the hospital was approved."""
    path = town.invited("H02")
    first = join(read_invitation(path, NOW), town.folder / "H02")
    second = join(read_invitation(path, NOW), town.folder / "copied")
    assert second.words != first.words
    town.approved("H02", first.reply_file)
    with pytest.raises(ProtocolError, match=r"was used already"):
        examine(town.consortium, "H02", second.reply_file, NOW)


def test_a_new_invitation_ends_the_one_before(town: Town) -> None:
    reply = town.joined("H02")
    _, replaced = invite(town.consortium, "H02", 30, NOW)
    assert replaced
    with pytest.raises(ProtocolError, match=r"answers an older invitation"):
        examine(town.consortium, "H02", reply, NOW)


@pytest.mark.parametrize("borrowed", ["identity", "node_key"])
def test_two_hospitals_with_one_key_are_refused(town: Town, borrowed: str) -> None:
    """A copied folder, or one hospital posing as two: a sum over both would be a sum over one."""
    first = town.let_in("H02")
    invitation = read_invitation(town.invited("H03"), NOW)
    joined = join(invitation, town.folder / "H03")
    identity = first.identity if borrowed == "identity" else town.folder / "H03/identity.pem"
    node = first.at("node.pub") if borrowed == "node_key" else town.folder / "H03/node.pub"
    make_reply(
        invitation.consortium,
        "H03",
        invitation.secret,
        identity=load_identity(identity),
        node_key=node.read_text().strip(),
        request=joined.reply.request,
    ).write(joined.reply_file)
    with pytest.raises(ProtocolError, match=r"H03: H02 has the same key"):
        examine(town.consortium, "H03", joined.reply_file, NOW)


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (lambda: ca.make_request(ca.make_key(), "H03"), r"certificate request is for \['H03'\]"),
        (lambda: b"-----BEGIN NOTHING-----", "certificate request cannot be read"),
    ],
)
def test_a_request_that_is_no_use_is_refused(town: Town, fault: Callable[[], bytes], match: str) -> None:
    """The hospital itself signs it, so that only the look into the request can tell."""
    invitation = read_invitation(town.invited("H02"), NOW)
    joined = join(invitation, town.folder / "H02")
    identity, node_key = load_identity(town.folder / "H02/identity.pem"), joined.reply.node_key
    reply = make_reply(
        "Liver Consortium", "H02", invitation.secret, identity=identity, node_key=node_key, request=fault().decode()
    )
    reply.write(joined.reply_file)
    with pytest.raises(ProtocolError, match=match):
        examine(town.consortium, "H02", joined.reply_file, NOW)


def test_a_request_signed_by_another_key_is_refused(town: Town) -> None:
    pem = ca.make_request(ca.make_key(), "H02").decode()
    body = pem.splitlines()
    tail = body[-2]
    body[-2] = ("A" if tail[0] != "A" else "B") + tail[1:]
    with pytest.raises(ProtocolError, match=r"H02: its certificate request"):
        ca.read_request("\n".join(body) + "\n", "H02")


def test_the_wrong_file_is_named(town: Town) -> None:
    town.invited("H02")
    with pytest.raises(ConfigError, match=r"a 'fl-liver invitation', wanted a fl-liver reply; give the other file"):
        examine(town.consortium, "H02", town.consortium.outgoing("H02", "invitation"), NOW)


def test_a_hospital_that_was_never_invited_is_named(town: Town) -> None:
    reply = town.joined("H02")
    with pytest.raises(ConfigError, match=r"'H07' is not in this consortium \(invited so far: H02\)"):
        examine(town.consortium, "H07", reply, NOW)


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_private_files_are_private_and_nothing_sent_holds_a_private_key(three: Town) -> None:
    private = {"ca.key", "server.key", "coordinator.pem", "identity.pem", "node.key", "client.key", "site.toml"}
    folders = [three.consortium.folder, *(three.folder / name for name in three.hospitals)]
    found = set()
    for folder in folders:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.rglob("*"):
            if path.name in private or path.name.endswith(".invitation.toml"):
                found.add(path.name)
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            elif path.is_file():
                assert "PRIVATE KEY" not in path.read_text(), path
    assert private <= found


def test_no_paper_but_the_invitation_holds_the_secret(town: Town) -> None:
    invitation = town.invited("H02")
    secret = re.search('secret = "([0-9a-f]{64})"', invitation.read_text())
    assert secret is not None
    town.approved("H02", join(read_invitation(invitation, NOW), town.folder / "H02").reply_file)
    holding = {path for path in town.folder.rglob("*") if path.is_file() and secret[1] in path.read_text()}
    assert holding == {invitation}
