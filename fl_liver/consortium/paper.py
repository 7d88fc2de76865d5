"""A paper: a TOML file that one side signs and sends to the other, by mail or on a stick.

Signed is its canonical JSON without the signatures; the kind of paper is part of it, so that a signature under one kind
is none under another. Every paper may be read by anybody, but for the invitation, which holds a secret.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import tomli_w
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AfterValidator, Field

from fl_liver.consortium.safe_file import PUBLIC, write_whole
from fl_liver.errors import ConfigError, ProtocolError
from fl_liver.toml_file import Section, parse

LARGEST_BYTES = 1_000_000
"""A roster of a thousand hospitals has 150 kB; more is no paper of ours."""

Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _shown(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("wanted printable characters without spaces at the ends")
    return name


ConsortiumName = Annotated[str, Field(min_length=2, max_length=48), AfterValidator(_shown)]


class Paper(Section):
    """What all papers share; `signature` is made with an Ed25519 key."""

    KIND: ClassVar[str]
    ABOUT: ClassVar[str]
    """First line of the file, for the person who opens it."""
    UNSIGNED: ClassVar[frozenset[str]] = frozenset({"signature"})

    kind: str
    consortium: ConsortiumName
    signature: str = ""

    def statement(self) -> bytes:
        """The bytes that are signed."""
        return canonical(self.model_dump(mode="json", exclude=set(self.UNSIGNED), exclude_none=True))

    def signed(self, key: Ed25519PrivateKey) -> Self:
        return self.model_copy(update={"signature": key.sign(self.statement()).hex()})

    def check_signature(self, public_key: str, whose: str) -> None:
        """Raises ProtocolError unless `public_key` (64 hex digits) signed it."""
        if not verified(public_key, self.signature, self.statement()):
            raise ProtocolError(
                f"this {self.KIND} is not signed with {whose}; it was changed on its way or made by somebody else, ask"
                " for it again"
            )

    def write(self, path: Path, mode: int = PUBLIC) -> None:
        body = self.model_dump(mode="json", exclude_none=True)
        write_whole(path, f"# {self.ABOUT}\n" + tomli_w.dumps(body, multiline_strings=True), mode)


P = TypeVar("P", bound=Paper)


def read_paper(path: Path, kind: type[P]) -> P:
    """Read a paper; its signature is not checked here.

    Raises:
        ConfigError: no such file, or not a paper of this kind.
    """
    raw = read_raw(path)
    if raw.get("kind") != kind.KIND:
        found = raw.get("kind")
        what = f"a {found!r:.40}" if found else "no paper of fl_liver"
        raise ConfigError(f"{path}: {what}, wanted a {kind.KIND}; give the other file")
    return parse(raw, kind, str(path))


def read_raw(path: Path) -> dict[str, Any]:
    """The TOML of a paper whose kind is not known yet. Raises ConfigError."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigError(f"{path}: larger than {LARGEST_BYTES} bytes; that is no paper of fl_liver")
        # utf-8-sig and universal newlines: what mail programs add
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); give the path of the file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML ({error}); ask for the file again, unchanged") from error


def canonical(body: object) -> bytes:
    """The same bytes for the same content, whatever the order and the spaces of the file."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def verified(public_key: str, signature: str, statement: bytes) -> bool:
    """Whether a signature in hex is that of an Ed25519 key in hex."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public half as 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()
