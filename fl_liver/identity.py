"""Who a hospital is: its Ed25519 key in `identity.pem`, and everybody's public half in `roster.toml`.

A roster is trusted by people: they compare fingerprints by telephone before they write it down. Both files stay where
they are; messages carry signatures only.

    [identity]
    H01 = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import tomli_w
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import Field

from fl_liver.errors import ConfigError
from fl_liver.securesum.context import Roster
from fl_liver.study import SiteName
from fl_liver.toml_file import Section, read_toml
from fl_liver.whole_file import READABLE, write_whole

PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RosterFile(Section):
    """`roster.toml`."""

    identity: dict[SiteName, PublicKey]

    def only(self, sites: Iterable[str]) -> Roster:
        """The hospitals of one sum.

        Raises:
            ConfigError: one of them is not in the file. PrivacyError: fewer than three, or one identity twice.
        """
        named = list(sites)
        missing = [site for site in named if site not in self.identity]
        if missing:
            raise ConfigError(
                f"roster.toml has no identity of {', '.join(missing)}; add it after comparing fingerprints"
            )
        return Roster({site: bytes.fromhex(self.identity[site]) for site in named})


def read_roster(path: Path) -> RosterFile:
    """Raises ConfigError where the file is missing or wrong."""
    return read_toml(path, RosterFile)


def write_roster(path: Path, identities: Mapping[str, str]) -> None:
    """Public identities (64 hex digits) by hospital."""
    write_whole(path, tomli_w.dumps({"identity": dict(sorted(identities.items()))}), mode=READABLE)


def ensure_identity(path: Path) -> str:
    """The public half (64 hex digits) of the key in `path`; makes the key, mode 0600, where there is none."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_whole(path, content, durable=True)
    return load_identity(path).public_key().public_bytes_raw().hex()


def load_identity(path: Path) -> Ed25519PrivateKey:
    """This hospital's key.

    Raises:
        ConfigError: no such file, one that others may read, or no Ed25519 key in it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others than its owner may read it; run `chmod 600` on it")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"{path}: no identity key ({type(error).__name__}); it is made with the site's folder"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: not a private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: a {type(key).__name__}, wanted an Ed25519 key")
    return key
