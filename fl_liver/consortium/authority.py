"""The consortium's certificate authority: who may open a TLS connection to the coordinator, and until when.

EC P-384 throughout. The authority signs a server certificate for the gateway and one client certificate for each
hospital, from a request whose private half stays at the hospital. Every date follows from the `now` that is given.
TLS says who may knock; who is believed in a sum is decided by the identities that people confirm (`signed_roster`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl_liver.errors import ConfigError, ProtocolError

AUTHORITY_DAYS = 3652
CERTIFICATE_DAYS = 365
WARN_DAYS = 30
_MARGIN = timedelta(hours=1)
"""Clocks differ: a certificate is good a little before it was made, and a little more than its days."""

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority with its private key."""

    certificate: x509.Certificate
    key: Key


def make_key() -> Key:
    return ec.generate_private_key(ec.SECP384R1())


def make_authority(consortium: str, now: datetime) -> Authority:
    """A self-signed authority that may sign certificates of hospitals and of the server, and no further authority."""
    key = make_key()
    name = _name(f"{consortium} CA", consortium)
    builder = _builder(name, name, key.public_key(), now, now + timedelta(days=AUTHORITY_DAYS) + _MARGIN)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    return Authority(builder.sign(key, hashes.SHA384()), key)


def server_certificate(
    authority: Authority, public: ec.EllipticCurvePublicKey, names: Iterable[str], now: datetime
) -> x509.Certificate:
    """For the gateway, under the host names and IP addresses that hospitals know it by; the first is its CN."""
    hosts = tuple(dict.fromkeys(names))
    builder = _issued(authority, _name(hosts[0][:64], _organisation(authority)), public, now)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
    )
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(authority.key, hashes.SHA384())


def make_request(key: Key, site: str) -> bytes:
    """A hospital's request for a certificate (PKCS #10, PEM)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA384())
    return request.public_bytes(Encoding.PEM)


def read_request(pem: str, site: str) -> ec.EllipticCurvePublicKey:
    """The public key of a request. Its name is checked; extensions that it asks for are not looked at.

    Raises:
        ProtocolError: no request, not signed with its own key, another name than `site`, or no key on P-384.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        names = [item.value for item in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key, signed = request.public_key(), request.is_signature_valid
    except ValueError as error:
        raise ProtocolError(f"{site}: its certificate request cannot be read; ask for its reply again") from error
    if not signed:
        raise ProtocolError(f"{site}: its certificate request is not signed with its own key; ask for its reply again")
    if names != [site]:
        raise ProtocolError(f"{site}: its certificate request is for {names!r:.60}; ask for its reply again")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ProtocolError(
            f"{site}: its certificate request has no key on P-384; run `fl-liver site init` there again"
        )
    return key


def client_certificate(authority: Authority, request: str, site: str, now: datetime) -> x509.Certificate:
    """A hospital's certificate, CN = its name, for TLS clients only. Raises ProtocolError as `read_request` does."""
    public = read_request(request, site)
    builder = _issued(authority, _name(site, _organisation(authority)), public, now)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(authority.key, hashes.SHA384())


def check_client_certificate(pem: str, authority: bytes, key: Key, site: str, now: datetime) -> x509.Certificate:
    """What a hospital looks at before it installs a certificate.

    Raises:
        ProtocolError: another authority signed it, it is another hospital's or another key's, or it is not valid now.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ProtocolError(f"{site}: the consortium's authority did not sign the certificate; refused") from error
    if site_of(certificate) != site:
        raise ProtocolError(f"{site}: the certificate is for '{site_of(certificate)}'; ask for this hospital's")
    if certificate.public_key() != key.public_key():
        raise ProtocolError(f"{site}: the certificate belongs to another key than client.key; ask for a new invitation")
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise ProtocolError(
            f"{site}: the certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to"
            f" {certificate.not_valid_after_utc:%Y-%m-%d}, here it is {now:%Y-%m-%d %H:%M}Z; set the clock or ask for a"
            " new one"
        )
    return certificate


def revocation_list(authority: Authority, revoked: Iterable[tuple[int, datetime]], now: datetime) -> bytes:
    """The CRL in PEM, valid as long as the authority: it lies beside the gateway and is written anew at each change."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(now - _MARGIN).next_update(authority.certificate.not_valid_after_utc)
    builder = builder.add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
    builder = builder.add_extension(_authority_identifier(authority), critical=False)
    for serial, when in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, hashes.SHA384()).public_bytes(Encoding.PEM)


def site_of(certificate: x509.Certificate) -> str:
    """The hospital that a certificate names."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def days_left(expires: datetime, now: datetime) -> int:
    """Whole days until `expires`; negative when it is over."""
    return (expires - now) // timedelta(days=1)


def read_certificate(path: Path) -> x509.Certificate:
    """Raises ConfigError where there is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no readable certificate ({type(error).__name__})") from error


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def key_pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(content: bytes, where: str) -> Key:
    """Raises ConfigError unless it is an EC key in PEM."""
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: not a private key in PEM without passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{where}: a {type(key).__name__}, wanted an EC key")
    return key


def public_der(public: ec.EllipticCurvePublicKey) -> bytes:
    """The bytes whose fingerprint people compare."""
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _issued(
    authority: Authority, subject: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    """What the certificates of servers and clients share; none outlives the authority."""
    until = min(now + timedelta(days=CERTIFICATE_DAYS) + _MARGIN, authority.certificate.not_valid_after_utc)
    if now >= until:
        raise ConfigError(
            f"the consortium's authority ended on {until:%Y-%m-%d}; make a new consortium, invite the hospitals again"
        )
    builder = _builder(subject, authority.certificate.subject, public, now, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
    return builder.add_extension(_authority_identifier(authority), critical=False)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now.astimezone(UTC) - _MARGIN).not_valid_after(until.astimezone(UTC))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_identifier(authority: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _organisation(authority: Authority) -> str:
    return str(authority.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def _name(common: str, organisation: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
