"""How this hospital reaches the coordinator: one folder with keys and certificates, made by `fl-liver site init`.

consortium.toml   address = "host:port" of the coordinator's gateway
ca.crt            the consortium's certificate authority; no other is believed
node.key          EC key in OpenSSH format, 0600: signs every request
client.crt/.key   this hospital's certificate for the gateway; absent where the server is reached without one
"""

from __future__ import annotations

import ssl
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fl_liver.errors import ConfigError

CONSORTIUM_FILE = "consortium.toml"
CA_FILE = "ca.crt"
NODE_KEY_FILE = "node.key"
CERTIFICATE_FILE = "client.crt"
CERTIFICATE_KEY_FILE = "client.key"


@dataclass(frozen=True, slots=True)
class Connection:
    """What is needed to reach the server, read and checked."""

    folder: Path
    address: str
    node_key: ec.EllipticCurvePrivateKey

    @property
    def has_certificate(self) -> bool:
        return (self.folder / CERTIFICATE_FILE).is_file()

    def tls(self) -> ssl.SSLContext:
        """Verifies the server against the consortium's authority alone; shows the client certificate if there is one.

        Raises:
            ConfigError: a file is missing or is no certificate or key, or the two do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(cafile=str(self.folder / CA_FILE))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self.folder / CA_FILE}: no readable certificate ({type(error).__name__})") from error
        if self.has_certificate:
            key = self.folder / CERTIFICATE_KEY_FILE
            require_private(key)
            try:
                context.load_cert_chain(str(self.folder / CERTIFICATE_FILE), str(key))
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"{self.folder / CERTIFICATE_FILE}: does not go with {CERTIFICATE_KEY_FILE}"
                    f" ({type(error).__name__}); store the admission again"
                ) from error
        return context

    def days_left(self, now: datetime | None = None) -> dict[str, float]:
        """Certificate file → days until it expires; negative when it has."""
        at = now or datetime.now(UTC)
        found: dict[str, float] = {}
        for name in (CA_FILE, CERTIFICATE_FILE):
            if (self.folder / name).is_file():
                found[name] = (expiry(self.folder / name) - at).total_seconds() / 86_400
        return found


def read_connection(folder: Path) -> Connection:
    """Raises ConfigError where a file is missing, wrong, or readable by others."""
    return Connection(folder, _address(folder / CONSORTIUM_FILE), _node_key(folder / NODE_KEY_FILE))


def expiry(path: Path) -> datetime:
    """When a certificate ends. Raises ConfigError where there is none in the file."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no readable certificate ({type(error).__name__})") from error


def require_private(path: Path) -> None:
    """Raises ConfigError unless only the owner may read the file."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); `fl-liver site init` makes it") from error
    if mode & 0o077:
        raise ConfigError(f"{path}: others than its owner may read it; run `chmod 600` on it")


def _address(path: Path) -> str:
    try:
        address = tomllib.loads(path.read_text(encoding="utf-8")).get("address")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); `fl-liver site init` makes it") from error
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f'{path}: address is {address!r:.60}, wanted "host:port"')
    return str(address)


def _node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    require_private(path)
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no key in OpenSSH format ({type(error).__name__})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path}: a {type(key).__name__}, wanted an EC key (P-384); the server takes no other")
    return key
