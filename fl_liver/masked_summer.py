"""Masked sums over tables in this process: every table is a hospital with an identity, keys and masks of its own.

For `fl-liver analyse --sums masked` and for tests: the same state machines as in a deployment, without the messages.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_liver.guarded_summer import GuardedTable
from fl_liver.securesum.context import Context, Roster, Slot
from fl_liver.securesum.encoding import bits_for, decode_integers, encode_integers
from fl_liver.securesum.keys import public_identity
from fl_liver.securesum.server import ServerSum
from fl_liver.securesum.site import SiteSum
from fl_liver.stats.conversation import Question, Table, Totals
from fl_liver.stats.permit import Permit


class MaskedSummer:
    """Adds masked vectors of named tables, none of which answers what its guard refuses."""

    method = "masked"

    def __init__(self, tables: Mapping[str, Table], permit: Permit) -> None:
        """Raises PrivacyError for fewer than three tables."""
        self._sites = {site: GuardedTable(site, table, permit) for site, table in tables.items()}
        self._identities = {site: Ed25519PrivateKey.generate() for site in tables}
        self._roster = Roster({site: public_identity(key) for site, key in self._identities.items()})
        self._slot = Slot("analyse", secrets.token_hex(8), "statistics/plan", 0, 0)

    def total(self, questions: Sequence[Question]) -> Totals:
        """One total a question over all hospitals; refused as a whole where one hospital refuses.

        Raises:
            ProtocolError, PrivacyError, DataError: as `GuardedTable` says it.
        """
        length = sum(question.length for question in questions)
        bits = bits_for([question.bound for question in questions])
        context = Context(self._slot, length, bits, _digest(questions))
        server = ServerSum(self._roster, self._slot)
        hospitals = {site: SiteSum(site, self._roster, self._slot) for site in self._sites}
        for site, hospital in hospitals.items():
            server.take_announcement(site, hospital.announcement(self._identities[site]))
        announced = server.begin(context)
        for site, hospital in hospitals.items():
            coded = encode_integers(np.concatenate(self._sites[site].answered(questions)), bits)
            hospital.mask(context, announced, coded)
            server.take_masked(site, coded)
        survivors = server.survivors()
        total = decode_integers(server.open(), bits, len(survivors))
        totals = np.split(total, np.cumsum([question.length for question in questions])[:-1])
        for table in self._sites.values():
            table.opened(totals)
        self._slot = replace(self._slot, sum=self._slot.sum + 1)
        return totals


def _digest(questions: Sequence[Question]) -> str:
    """SHA-256 of everything that is asked, as `wire.question_digest` takes it of a message."""
    digest = hashlib.sha256(json.dumps([question.head() for question in questions], sort_keys=True).encode())
    for question in questions:
        for name, array in sorted(question.arrays.items()):
            digest.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
