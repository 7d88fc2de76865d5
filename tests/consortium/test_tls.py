"""The certificates under a real TLS library: who gets through the gateway's door, and who does not."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from fl_liver.consortium import authority as ca
from fl_liver.consortium.address import checked_address, checked_host
from fl_liver.consortium.folder import make_consortium
from fl_liver.consortium.keeping import renew_server, revoke
from fl_liver.consortium.safe_file import read_private, write_whole
from tests.consortium.town import NOW, Town, gateway_tls, handshake, site_tls


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_admitted_hospital_gets_through_and_is_seen_by_its_name_and_serial(town: Town, host: str) -> None:
    hospital = town.let_in("H02")
    met = handshake(gateway_tls(town.consortium), site_tls(hospital), host)
    assert met.open, met
    assert met.name == "H02"
    assert f"{met.serial:x}" == town.reopened().register.hospitals["H02"].serial


def test_a_server_under_another_name_is_refused(town: Town) -> None:
    met = handshake(gateway_tls(town.consortium), site_tls(town.let_in("H02")), "gateway.elsewhere.org")
    assert "Hostname mismatch" in met.client


def test_a_hospital_of_another_consortium_is_refused(town: Town) -> None:
    """The same name, made in the same way, under another authority."""
    other = Town(town.folder / "b", make_consortium(town.folder / "b/x", "Liver Consortium", "127.0.0.1:1", (), NOW))
    stranger = other.let_in("H02")
    met = handshake(gateway_tls(town.consortium), site_tls(stranger, authority=town.consortium.authority_certificate))
    assert not met.open
    assert "verify failed" in met.server or "unable to get local issuer" in met.server


def test_a_gateway_of_another_consortium_is_refused(town: Town) -> None:
    hospital = town.let_in("H02")
    false = make_consortium(town.folder / "false", "Liver Consortium", "127.0.0.1:8443", (), NOW)
    assert "verify failed" in handshake(gateway_tls(false), site_tls(hospital)).client


def test_without_a_certificate_nobody_gets_through(town: Town) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cafile=str(town.consortium.authority_certificate))
    assert not handshake(gateway_tls(town.consortium), client).open


def test_an_expired_client_certificate_is_refused(town: Town) -> None:
    town.now = NOW - timedelta(days=ca.CERTIFICATE_DAYS + 2)
    hospital = town.let_in("H02")
    renew_server(town.consortium, NOW)
    met = handshake(gateway_tls(town.consortium), site_tls(hospital))
    assert "certificate has expired" in met.server


def test_an_expired_server_certificate_is_refused(town: Town) -> None:
    hospital = town.let_in("H02")
    town.consortium.write_server_certificate(NOW - timedelta(days=ca.CERTIFICATE_DAYS + 2))
    assert "certificate has expired" in handshake(gateway_tls(town.consortium), site_tls(hospital)).client


def test_a_certificate_of_tomorrow_is_refused_today(town: Town) -> None:
    town.consortium.write_server_certificate(NOW + timedelta(days=1))
    assert "not yet valid" in handshake(gateway_tls(town.consortium), site_tls(town.let_in("H02"))).client


def test_a_revoked_certificate_is_known_by_serial_and_by_the_list(town: Town) -> None:
    """Two ways for the gateway: ours compares serials, nginx and OpenSSL read the list. Others still get through."""
    lost, kept = town.let_in("H02"), town.let_in("H03")
    serial = certificate(lost.at("client.crt")).serial_number
    assert serial not in town.reopened().revoked_serials()
    assert handshake(gateway_tls(town.consortium, crl=True), site_tls(lost)).open
    revoke(town.consortium, "H02", "key lost", NOW)
    assert town.reopened().revoked_serials() == {serial}
    assert handshake(gateway_tls(town.consortium), site_tls(lost)).serial == serial
    assert "certificate revoked" in handshake(gateway_tls(town.consortium, crl=True), site_tls(lost)).server
    assert handshake(gateway_tls(town.consortium, crl=True), site_tls(kept)).open


def test_a_hospitals_certificate_cannot_stand_in_for_the_server(town: Town) -> None:
    """Otherwise any hospital could pose as the gateway to the others."""
    thief, victim = town.let_in("H02"), town.let_in("H03")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(str(thief.at("client.crt")), str(thief.at("client.key")))
    client = site_tls(victim)
    client.check_hostname = False  # so that it is the key's purpose that is refused, not only the name
    assert "unsuitable certificate purpose" in handshake(server, client).client


def test_a_hospital_cannot_sign_certificates(town: Town) -> None:
    """A certificate made with a hospital's key, under its certificate, leads to no authority."""
    thief = town.let_in("H02")
    forged = ca.Authority(certificate(thief.at("client.crt")), thief.client_key())
    key = ca.make_key()
    chain = ca.pem(ca.client_certificate(forged, ca.make_request(key, "H03").decode(), "H03", NOW))
    write_whole(thief.at("forged.crt"), chain + thief.at("client.crt").read_text())
    write_whole(thief.at("forged.key"), ca.key_pem(key))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cafile=str(thief.at("ca.crt")))
    client.load_cert_chain(str(thief.at("forged.crt")), str(thief.at("forged.key")))
    assert "verify failed" in handshake(gateway_tls(town.consortium), client).server


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("purpose", "what"), [("sslclient", "client"), ("sslserver", "server")])
def test_openssl_finds_nothing_to_say_about_the_certificates(town: Town, purpose: str, what: str) -> None:
    made = town.let_in("H02").at("client.crt") if what == "client" else town.consortium.server_certificate
    trust = ["-CAfile", str(town.consortium.authority_certificate), "-crl_check"]
    trust += ["-CRLfile", str(town.consortium.revocation_list)]
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", purpose, *trust, str(made)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_extensions_are_those_of_the_purpose(town: Town) -> None:
    authority = certificate(town.consortium.authority_certificate).extensions
    client = certificate(town.let_in("H02").at("client.crt")).extensions
    server = certificate(town.consortium.server_certificate).extensions
    basic = authority.get_extension_for_class(x509.BasicConstraints)
    assert (basic.value.ca, basic.value.path_length, basic.critical) == (True, 0, True)
    usage = authority.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    for leaf, purpose in ((client, ExtendedKeyUsageOID.CLIENT_AUTH), (server, ExtendedKeyUsageOID.SERVER_AUTH)):
        assert list(leaf.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
        assert leaf.get_extension_for_class(x509.BasicConstraints).value.ca is False
    names = server.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["127.0.0.1", "localhost"]


def test_a_request_gets_its_name_and_key_and_nothing_else_that_it_asks_for(town: Town) -> None:
    """A hospital that asks to be an authority, or the server, stays a client."""
    authority, key = town.consortium.authority(), ca.make_key()
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "H02")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("fl.example.org")]), critical=False)
        .sign(key, hashes.SHA384())
    )
    signed = ca.client_certificate(authority, request.public_bytes(Encoding.PEM).decode(), "H02", NOW)
    assert signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    with pytest.raises(x509.ExtensionNotFound):
        signed.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_no_certificate_outlives_its_authority(town: Town) -> None:
    authority = town.consortium.authority()
    late = authority.certificate.not_valid_after_utc - timedelta(days=5)
    request = ca.make_request(ca.make_key(), "H02").decode()
    assert ca.client_certificate(authority, request, "H02", late).not_valid_after_utc == late + timedelta(days=5)
    with pytest.raises(Exception, match=r"the consortium's authority ended on"):
        ca.client_certificate(authority, request, "H02", late + timedelta(days=6))


def test_days_left_are_whole_days() -> None:
    assert [ca.days_left(NOW + timedelta(hours=h), NOW) for h in (49, 24, 23, 0, -1)] == [2, 1, 0, 0, -1]


@pytest.mark.parametrize("address", ["fl.example.org:8443", "10.0.0.7:1", "[2001:db8::7]:65535", "gateway:443"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert checked_address(address) == address


@pytest.mark.parametrize(
    "address",
    ["fl.example.org", "fl.example.org:", ":8443", "a b:1", "https://fl.example.org:8443", "fl..org:1", "fl:0",
     "fl:65536", "2001:db8::7:8443", "10.0.0:80", "-a:80", "fl:8443/x"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"no host name|not host:port|in brackets"):
        checked_address(address)


def test_a_host_in_brackets_loses_them() -> None:
    assert checked_host("[::1]") == "::1"


def test_keys_of_the_folder_are_on_p384(town: Town) -> None:
    for name in ("ca.key", "server.key"):
        key = ca.load_key(read_private(town.consortium.folder / name), name)
        assert key.curve.name == "secp384r1"
