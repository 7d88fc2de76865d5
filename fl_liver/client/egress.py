"""The single way out of a hospital: every answer is checked here, logged here, and only here becomes a message.

The architecture test shows that nothing else in `client` calls `messages.to_record`.
"""

from __future__ import annotations

import logging

import numpy as np
from flwr.app import ArrayRecord, RecordDict

from fl_liver.client.site import SiteConfig
from fl_liver.errors import ConsentError, PrivacyError, ProtocolError, TrainingError
from fl_liver.messages import Done, Figures, Outgoing, Ready, Refusal, RefusalCode, Sum, Totals, Update, to_record
from fl_liver.study import Study

log = logging.getLogger("fl_liver.site")


def release_update(site: SiteConfig, study: Study, update: Update, patients: int) -> RecordDict:
    """An update of a site that may train, with enough patients behind it, all of it finite.

    Raises:
        PrivacyError: the site's role is external, or fewer patients than the floor trained.
        TrainingError: a value is not finite; nothing is sent.
    """
    if site.role != "train":
        raise PrivacyError(f"site {site.site}: its role is '{site.role}', it does not train")
    floor = max(site.min_patients, study.privacy.min_patients)
    if patients < floor:
        raise PrivacyError(f"site {site.site}: {patients} patients would train, the floor is {floor}; nothing sent")
    wrong = int(np.size(update.vector) - np.count_nonzero(np.isfinite(update.vector)))
    if wrong or not np.isfinite(update.loss):
        raise TrainingError(
            f"site {site.site}, round {update.round}: {wrong} of {update.vector.size} values are not finite;"
            " nothing sent, the last good model is kept"
        )
    return _send(site, update)


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
    site: SiteConfig, study: Study, question: Sum, vector: np.ndarray, commitment: str = ""
) -> RecordDict:
    """Integer sums of a permitted purpose, with this hospital's commitment to its cohort.

    Raises:
        PrivacyError, ConsentError, ProtocolError: see `require_purpose`.
        ProtocolError: the vector is not the announced length.
    """
    require_purpose(site, study, question)
    wanted = sum(one.length for one in question.questions)
    if vector.shape != (wanted,):
        raise ProtocolError(f"site {site.site}: sum of length {vector.size}, announced {wanted}")
    return _send(site, Totals(vector, commitment))


def release_figures(site: SiteConfig, figures: Figures) -> RecordDict:
    """This hospital's own figures. Raises ConsentError without its consent."""
    require_consent(site)
    return _send(site, figures)


def release_word(site: SiteConfig, word: Ready | Done) -> RecordDict:
    """An answer that says only that something was done; a site's counts only with its consent."""
    if isinstance(word, Ready) and word.figures is not None:
        require_consent(site)
    return _send(site, word)


def refuse(site: SiteConfig, code: RefusalCode, reason: str, count: int = 0) -> RecordDict:
    """The reason goes to the site's log; a code and a count leave."""
    log.warning("site %s refused: %s: %s", site.site, code, reason)
    return _send(site, Refusal(code, count))


def require_consent(site: SiteConfig) -> None:
    """Raises ConsentError unless `site.toml` says release = "named"."""
    if site.release != "named":
        raise ConsentError(
            f'site {site.site}: its own figures were asked, but site.toml says release = "{site.release}"'
        )


def _send(site: SiteConfig, message: Outgoing) -> RecordDict:
    record = to_record(message)
    size = sum(
        len(array.data) for arrays in record.values() if isinstance(arrays, ArrayRecord) for array in arrays.values()
    )
    log.info("site %s: %s leaves, %d bytes of arrays", site.site, type(message).__name__, size)
    return record
