"""The reply: a hospital's public keys, from the hospital to the coordinator. It holds no secret and may be sent openly.

Three proofs: the HMAC with the invitation's one-time secret says that whoever was invited wrote it; the signature with
the identity binds the node key and the certificate request to the words that people compare; the request signs itself.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, ClassVar, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from pydantic import Field

from fl_liver.consortium.authority import public_der, read_request
from fl_liver.consortium.paper import Hex32, Paper, public_hex
from fl_liver.consortium.words import fingerprint
from fl_liver.errors import ProtocolError
from fl_liver.study import SiteName

OpenSSHKey = Annotated[str, Field(max_length=400, pattern=r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+$")]


class Reply(Paper):
    """NAME.reply.toml, signed with the hospital's identity."""

    KIND: ClassVar[str] = "fl-liver reply"
    ABOUT: ClassVar[str] = "Public keys of one hospital, for the coordinator. No secret in it."
    UNSIGNED: ClassVar[frozenset[str]] = frozenset({"signature", "proof"})

    kind: Literal["fl-liver reply"] = "fl-liver reply"
    site: SiteName
    identity: Hex32
    node_key: OpenSSHKey
    request: Annotated[str, Field(max_length=8000)]
    """Certificate request (PKCS #10, PEM) for client.key."""
    proof: str = ""
    """HMAC-SHA256 of all of the above with the invitation's one-time secret."""


def make_reply(
    consortium: str, site: str, secret: str, *, identity: Ed25519PrivateKey, node_key: str, request: str
) -> Reply:
    """Fill in, sign and prove."""
    reply = Reply(
        consortium=consortium, site=site, identity=public_hex(identity), node_key=node_key, request=request
    ).signed(identity)
    return reply.model_copy(update={"proof": _proof(reply, secret)})


def check_reply(reply: Reply, consortium: str, site: str, secret: str) -> None:
    """All that a reply says about itself.

    Raises:
        ProtocolError: of another consortium or hospital, not made with this secret, changed, or with unusable keys.
    """
    if (reply.consortium, reply.site) != (consortium, site):
        raise ProtocolError(
            f"the reply is of {reply.site} in '{reply.consortium}', wanted {site} in '{consortium}'; give its file"
        )
    if not hmac.compare_digest(_proof(reply, secret), reply.proof):
        raise ProtocolError(
            f"{site}: the reply was not made with the one-time secret of its latest invitation; it was changed on its"
            " way, or answers an older invitation: ask for the reply to the newest one"
        )
    reply.check_signature(reply.identity, "the identity that it names")
    node_public(reply.node_key, site)
    read_request(reply.request, site)


def node_public(openssh: str, site: str) -> ec.EllipticCurvePublicKey:
    """The node key. Raises ProtocolError unless it is one on P-384 (the server takes no Ed25519)."""
    try:
        key = load_ssh_public_key(openssh.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ProtocolError(f"{site}: its node key cannot be read; ask for its reply again") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ProtocolError(f"{site}: its node key is a {type(key).__name__}, wanted EC P-384")
    return key


def fingerprints(reply: Reply) -> dict[str, str]:
    """What is signed → its eight words; the identity, which vouches for the others, comes first."""
    return {
        "identity": fingerprint(bytes.fromhex(reply.identity)),
        "node key": fingerprint(public_der(node_public(reply.node_key, reply.site))),
        "TLS key": fingerprint(public_der(read_request(reply.request, reply.site))),
    }


def _proof(reply: Reply, secret: str) -> str:
    return hmac.new(bytes.fromhex(secret), reply.statement(), hashlib.sha256).hexdigest()
