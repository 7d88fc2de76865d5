"""The single way out of a hospital: every answer is checked here, logged here, and only here becomes a message.

It is in the audit log before it leaves. The architecture test shows that nothing else in `client` calls
`wire.to_record`.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from fl_liver.client import audit
from fl_liver.client.alarms import write_alarm
from fl_liver.client.site import SiteConfig
from fl_liver.client.sums import SiteSums
from fl_liver.errors import ConsentError, NotFiniteError, PrivacyError, ProtocolError, UnsaidError
from fl_liver.messages import (
    Abandoned,
    Announced,
    Done,
    Endorsed,
    Figures,
    Fit,
    Incoming,
    Outgoing,
    Ready,
    Refusal,
    RefusalCode,
    Released,
    Sealed,
    Sum,
    Totals,
    Update,
    Vector,
)
from fl_liver.securesum.context import Context, Slot
from fl_liver.securesum.encoding import LOSS_RANGE, UpdateCode, bits_for, check_words, encode_integers, words
from fl_liver.study import Study
from fl_liver.wire import question_digest, to_record

log = logging.getLogger("fl_liver.site")
_asked: ContextVar[Incoming | None] = ContextVar("asked", default=None)


@dataclass(frozen=True, slots=True)
class Trained:
    """What local training gave: parameters (absolute, float32), mean loss, and how many patients were behind it."""

    vector: Vector
    loss: float
    patients: int


@contextmanager
def answering(question: Incoming) -> Iterator[None]:
    """While this lasts, what leaves is written down as the answer to `question`."""
    token = _asked.set(question)
    try:
        yield
    finally:
        _asked.reset(token)


def update_context(study: Study, fit: Fit, code: UpdateCode) -> Context:
    """What a round's masks are bound to. Hashes the model that was received: made once a round."""
    return Context(fit.slot, code.length, 32, question_digest(fit), study.privacy.keystream)


def release_update(
    site: SiteConfig,
    study: Study,
    fit: Fit,
    trained: Trained,
    code: UpdateCode,
    masking: tuple[SiteSums, Context] | None,
) -> RecordDict:
    """An update of a site that may train, with enough patients behind it: finite, clipped, encoded, masked.

    What is not finite or out of range never leaves. In a masked sum the received model goes back in its place, with
    the largest loss that can be told, so that nobody but this hospital knows: see `UnsaidError`.

    Args:
        masking: the site's part in masked sums and the round's `update_context`; None where sums are plain.
    Raises:
        PrivacyError: the site's role is external, fewer patients than the floor trained, or plain sums here.
        NotFiniteError: a value is not finite or out of range, and sums are plain; nothing is sent.
        ProtocolError, PrivacyError: see `SiteSums.mask`.
    """
    if site.role != "train":
        raise PrivacyError(f"site {site.site}: its role is '{site.role}', it does not train")
    floor = max(site.min_patients, study.privacy.min_patients)
    if trained.patients < floor:
        raise PrivacyError(
            f"site {site.site}: {trained.patients} patients would train, the floor is {floor}; nothing sent"
        )
    weight = min(trained.patients, study.training.max_weight)
    try:
        coded, factor = code.encode(trained.vector, fit.vector, weight, trained.loss)
    except NotFiniteError as error:
        if masking is None:
            raise NotFiniteError(f"site {site.site}, round {fit.round}: {error}") from error
        log.error("site %s, round %d: %s; the received model goes back unchanged", site.site, fit.round, error)
        write_alarm(site.study_folder(study.sha256), "not-finite", f"round {fit.round}: {error}")
        coded, factor = code.encode(fit.vector, fit.vector, weight, LOSS_RANGE)[0], 0.0
    if 0 < factor < 1:
        log.info("site %s, round %d: update clipped, × %.3f", site.site, fit.round, factor)
    ahead = b""
    if masking is None:
        require_sums_allowed(site, study)
    else:
        sums, context = masking
        with sums.one_message():
            coded = sums.mask(context, fit.announced, coded)
            ahead = _keys_ahead(study, fit, sums)
    return _send(site, Update(fit.round, coded, ahead), clip=round(factor, 6), floor=floor)


def release_again(site: SiteConfig, study: Study, fit: Fit, sums: SiteSums, context: Context) -> RecordDict | None:
    """The masked update that was already made for this round; None where there is none yet."""
    kept = sums.kept(context, fit.announced)
    return None if kept is None else _send(site, Update(fit.round, kept, _keys_ahead(study, fit, sums)))


def require_purpose(site: SiteConfig, study: Study, question: Sum) -> None:
    """Integer sums leave masked over enough hospitals, or named with this hospital's consent.

    Raises:
        PrivacyError: a masked sum over fewer hospitals than `min_sites`; ConsentError: a named one without consent.
        ProtocolError: another purpose.
    """
    if question.purpose == "masked" and question.contributors < study.privacy.min_sites:
        raise PrivacyError(
            f"site {site.site}: a sum over {question.contributors} hospitals was asked, the floor is"
            f" {study.privacy.min_sites}; fewer is a named release"
        )
    if question.purpose == "named":
        require_consent(site)
    elif question.purpose != "masked":
        raise ProtocolError(f"site {site.site}: a sum for '{question.purpose}' was asked, wanted masked or named")


def release_totals(
    site: SiteConfig,
    study: Study,
    question: Sum,
    vector: NDArray[np.int64],
    commitment: str,
    sums: SiteSums | None,
) -> RecordDict:
    """Integer sums of a permitted purpose, encoded and masked, with this hospital's commitment to its cohort.

    Args:
        sums: the site's part in masked sums; None where the study's sums are plain.
    Raises:
        PrivacyError, ConsentError, ProtocolError: see `require_purpose`.
        ProtocolError: the vector is not the announced length; see also `SiteSums.mask`.
    """
    require_purpose(site, study, question)
    wanted = sum(one.length for one in question.questions)
    if vector.shape != (wanted,):
        raise ProtocolError(f"site {site.site}: sum of length {vector.size}, announced {wanted}")
    _require_bits(site, question)
    try:
        coded = encode_integers(vector, question.bits)
    except UnsaidError as error:
        return release_noise(site, study, question, commitment, sums, error)
    return _release_coded(site, study, question, coded, commitment, sums)


def release_noise(
    site: SiteConfig,
    study: Study,
    question: Sum,
    commitment: str,
    sums: SiteSums | None,
    reason: UnsaidError,
) -> RecordDict:
    """Random words in the place of an answer that this hospital's own counts forbid.

    They look like every masked vector, and the masks of the sum do not cancel. A refusal would tell the server how its
    made-up totals, scales or bounds compare with the numbers of this one hospital.

    Raises:
        UnsaidError: `reason`, where the sum is not masked.
        ProtocolError: see `release_totals`, whose other refusals do not depend on this hospital's numbers.
    """
    require_purpose(site, study, question)
    _require_bits(site, question)
    if sums is None or question.purpose != "masked":
        raise reason
    log.error("site %s: random numbers leave in the place of an answer: %s", site.site, reason)
    length = sum(one.length for one in question.questions) + check_words(question.bits)
    coded = np.frombuffer(secrets.token_bytes(length * question.bits // 8), words(question.bits)).copy()
    return _release_coded(site, study, question, coded, commitment, sums)


def _require_bits(site: SiteConfig, question: Sum) -> None:
    bits = bits_for([one.bound for one in question.questions])
    if question.bits != bits:
        raise ProtocolError(f"site {site.site}: sums modulo 2^{question.bits} were asked, the bounds say 2^{bits}")


def _release_coded(
    site: SiteConfig,
    study: Study,
    question: Sum,
    coded: NDArray[Any],
    commitment: str,
    sums: SiteSums | None,
) -> RecordDict:
    ahead = b""
    if question.purpose == "masked" and sums is None:
        require_sums_allowed(site, study)
    elif question.purpose == "masked" and sums is not None:
        if set(question.announced) != set(question.sites):
            raise ProtocolError(
                f"site {site.site}: batch {question.batch} names {len(question.sites)} hospitals, but keys of"
                f" {len(question.announced)} came; wanted the keys of exactly those"
            )
        wanted = len(coded) - check_words(question.bits)
        context = Context(question.slot, wanted, question.bits, question_digest(question), study.privacy.keystream)
        with sums.one_message():
            coded = sums.mask(context, question.announced, coded)
            ahead = sums.announce(replace(question.slot, sum=question.step + 1))
    return _send(site, Totals(coded, commitment, ahead), floor=max(site.min_cell, study.analysis.min_cell))


def release_figures(site: SiteConfig, figures: Figures) -> RecordDict:
    """This hospital's own figures. Raises ConsentError without its consent."""
    require_consent(site)
    return _send(site, figures, floor=site.min_cell)


def release_word(
    site: SiteConfig, word: Ready | Done | Announced | Sealed | Endorsed | Released | Abandoned
) -> RecordDict:
    """An answer without a patient in it: that something was done, or keys, signatures and shares of a masked sum.

    A site's counts only with its consent.
    """
    if isinstance(word, Ready) and word.figures is not None:
        require_consent(site)
    return _send(site, word)


def refuse(site: SiteConfig, code: RefusalCode, reason: str, count: int = 0) -> RecordDict:
    """The reason goes to the site's log; a code and a count leave."""
    log.warning("site %s refused: %s: %s", site.site, code, reason)
    return _send(site, Refusal(code, count))


def require_sums_allowed(site: SiteConfig, study: Study) -> None:
    """Raises PrivacyError where the study adds in the clear and `site.toml` does not allow that."""
    if study.privacy.secure_sum == "plain" and not site.plain_sums:
        raise PrivacyError(
            f"site {site.site}: the study adds in the clear, which site.toml does not allow here (plain_sums = false);"
            ' have the study say secure_sum = "masked"'
        )


def require_consent(site: SiteConfig) -> None:
    """Raises ConsentError unless `site.toml` says release = "named"."""
    if site.release != "named":
        raise ConsentError(
            f'site {site.site}: its own figures were asked, but site.toml says release = "{site.release}"'
        )


def _keys_ahead(study: Study, fit: Fit, sums: SiteSums) -> bytes:
    """Keys for the next round travel with this one; none after the last."""
    if fit.round >= study.training.rounds:
        return b""
    return sums.announce(replace(fit.slot, round=fit.round + 1, attempt=0))


def _send(site: SiteConfig, message: Outgoing, **limits: float) -> RecordDict:
    """limits: what was applied, for the audit log. Raises AuditError where that cannot be written."""
    record = to_record(message)
    content = _content(record)
    size, kind = sum(len(data) for _, data in content), type(message).__name__
    if site.audit:
        word = {"code": message.code} if isinstance(message, Refusal) else {}
        audit.append(site.work, kind=kind, **word, bytes=size, sha256=_digest(content), **limits, **_occasion())
    log.info("site %s: %s leaves, %d bytes", site.site, kind, size)
    return record


def _content(record: RecordDict) -> list[tuple[bytes, bytes]]:
    """Everything in it, each with what it is."""
    found: list[tuple[bytes, bytes]] = []
    for part in record.values():
        if isinstance(part, ArrayRecord):
            found += [(f"\0{name} {one.dtype} {one.shape}\0".encode(), one.data) for name, one in part.items()]
        elif isinstance(part, ConfigRecord):
            found += [(b"", str(part["json"]).encode()), (b"", bytes(part.get("bytes", b"")))]  # type: ignore[arg-type]
    return found


def _digest(content: list[tuple[bytes, bytes]]) -> str:
    digest = hashlib.sha256()
    for what, data in content:
        digest.update(what)
        digest.update(data)
    return digest.hexdigest()


def _occasion() -> dict[str, str | int]:
    """What was asked: study, run, round and purpose, as far as the question has them."""
    asked = _asked.get()
    if asked is None:
        return {}
    about: dict[str, str | int] = {"question": type(asked).__name__, "study": asked.study_sha256[:64]}
    slot = _slot_of(asked)
    if slot is not None:
        about |= {"run": slot.run, "purpose": slot.purpose, "round": slot.round, "step": slot.sum}
    if isinstance(asked, Sum):
        about["release"] = asked.purpose
    return about


def _slot_of(asked: Incoming) -> Slot | None:
    """The place of the sum that was asked; None where the question is about none, or names none that there could be."""
    try:
        return getattr(asked, "slot", None)
    except ProtocolError:
        return None
