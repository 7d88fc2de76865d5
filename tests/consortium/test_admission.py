"""What the coordinator sends back is installed only from the coordinator of the invitation, for this hospital's key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fl_liver.consortium import authority as ca
from fl_liver.consortium.admission import Admission
from fl_liver.consortium.admitted import install, read_admission
from fl_liver.consortium.admitting import Application, admit, invite
from fl_liver.consortium.folder import make_consortium
from fl_liver.consortium.keeping import renew
from fl_liver.consortium.paper import read_paper
from fl_liver.consortium.reply import Reply
from fl_liver.errors import ProtocolError
from tests.consortium.town import NOW, Town, changed, other_hex


@pytest.mark.parametrize(
    "key", ["certificate", "roster.identity.H02", "roster.version", "roster.signature", "signature", "site"]
)
def test_a_changed_admission_is_refused(town: Town, key: str) -> None:
    reply = town.joined("H02")
    admission = town.approved("H02", reply)
    value = {"roster.version": 7, "site": "H03"}.get(key, other_hex)
    hospital = town.hospitals["H02"]
    with pytest.raises(ProtocolError, match=r"admission is not signed with the coordinator's key of the invitation"):
        read_admission(hospital, changed(admission, key, value), NOW)
    assert not hospital.at("client.crt").exists()


def test_another_coordinators_admission_is_refused(town: Town) -> None:
    """Same name, same hospital, same request: only the key differs."""
    reply = town.joined("H02")
    false = make_consortium(town.folder / "false", "Liver Consortium", "127.0.0.1:8443", (), NOW)
    invite(false, "H02", 30, NOW)
    paper = read_paper(reply, Reply)
    admission = admit(false, "H02", Application(paper, {}), NOW)
    with pytest.raises(ProtocolError, match=r"not signed with the coordinator's key of the invitation"):
        read_admission(town.hospitals["H02"], admission, NOW)


def test_the_admission_of_another_hospital_is_refused(town: Town) -> None:
    town.let_in("H03")
    town.joined("H02")
    with pytest.raises(ProtocolError, match=r"admits H03 to 'Liver Consortium', this is H02"):
        read_admission(town.hospitals["H02"], town.consortium.outgoing("H03", "admission"), NOW)


def resigned(town: Town, path: Path, **update: object) -> Path:
    """The coordinator itself signs something wrong: by mistake, or because it is not honest."""
    paper = read_paper(path, Admission).model_copy(update=update).signed(town.consortium.signing_key())
    paper.write(path)
    return path


def test_a_certificate_for_another_key_is_refused(town: Town) -> None:
    admission = town.approved("H02", town.joined("H02"))
    request = ca.make_request(ca.make_key(), "H02").decode()
    other = ca.pem(ca.client_certificate(town.consortium.authority(), request, "H02", NOW))
    with pytest.raises(ProtocolError, match=r"the certificate belongs to another key than client.key"):
        read_admission(town.hospitals["H02"], resigned(town, admission, certificate=other), NOW)


def test_a_certificate_under_another_name_is_refused(town: Town) -> None:
    """The gateway would take this hospital for another one."""
    admission = town.approved("H02", town.joined("H02"))
    request = ca.make_request(town.hospitals["H02"].client_key(), "H03").decode()
    other = ca.pem(ca.client_certificate(town.consortium.authority(), request, "H03", NOW))
    with pytest.raises(ProtocolError, match=r"H02: the certificate is for 'H03'; ask for this hospital's"):
        read_admission(town.hospitals["H02"], resigned(town, admission, certificate=other), NOW)


def test_a_certificate_of_another_authority_is_refused(town: Town) -> None:
    admission = town.approved("H02", town.joined("H02"))
    request = town.hospitals["H02"].at("client.csr").read_text()
    other = ca.pem(ca.client_certificate(ca.make_authority("Liver Consortium", NOW), request, "H02", NOW))
    with pytest.raises(ProtocolError, match=r"the consortium's authority did not sign the certificate"):
        read_admission(town.hospitals["H02"], resigned(town, admission, certificate=other), NOW)


def test_a_certificate_that_is_over_is_refused_and_the_clock_is_named(town: Town) -> None:
    admission = town.approved("H02", town.joined("H02"))
    with pytest.raises(ProtocolError, match=r"the certificate is valid from .*; set the clock or ask for a new one"):
        read_admission(town.hospitals["H02"], admission, NOW + timedelta(days=400))


def test_an_older_admission_does_not_replace_a_newer_certificate(town: Town) -> None:
    admission = town.approved("H02", town.joined("H02"))
    first = town.folder / "first.toml"
    first.write_bytes(admission.read_bytes())
    hospital, later = town.hospitals["H02"], NOW + timedelta(days=100)
    paper, news = read_admission(hospital, renew(town.consortium, "H02", later)[0], later)
    install(hospital, news, paper.certificate)
    with pytest.raises(ProtocolError, match=r"its certificate ends before the one installed here"):
        read_admission(hospital, first, later)
