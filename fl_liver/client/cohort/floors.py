"""Whether a hospital may take part: enough patients to answer, two classes to train.

Patients count, also where rows are lesions: ten lesions of one patient hide nobody.
"""

from __future__ import annotations

import numpy as np

from fl_liver.client.cohort.cohort import Cohort
from fl_liver.client.site import SiteConfig
from fl_liver.errors import OneClassError, PrivacyError
from fl_liver.study import Study


def require_enough_patients(cohort: Cohort, study: Study, site: SiteConfig) -> None:
    """Raises PrivacyError where fewer patients are usable than the study's or the site's own floor."""
    floor = max(study.privacy.min_patients, site.min_patients)
    patients = len(np.unique(cohort.group))
    if patients < floor:
        excluded = len({one.case for one in cohort.findings if one.severity == "E"})
        raise PrivacyError(
            f"site {site.site}: {patients} usable patients ({excluded} excluded), at least {floor} wanted;"
            " the site sits out, run 'fl-liver site check'"
        )


def require_trainable(cohort: Cohort, study: Study, site: SiteConfig) -> None:
    """`require_enough_patients`, and two classes in the training part of a hospital that trains.

    Raises:
        PrivacyError: too few patients.
        OneClassError: the training part holds one class only, or nobody; the message has the counts.
    """
    require_enough_patients(cohort, study, site)
    if site.role == "external" or study.role_of(site.site) == "external":
        return
    counts = np.bincount(cohort.label[cohort.rows("train")], minlength=len(study.task.classes))
    if np.count_nonzero(counts) < 2:
        found = ", ".join(f"{count} {name}" for name, count in zip(study.task.classes, counts, strict=True))
        raise OneClassError(
            f"site {site.site}: one class in the training part ({found}), at least two wanted;"
            " the site sits out of training, check the diagnosis column"
        )
    training, patients = len(np.unique(cohort.group[cohort.rows("train")])), len(np.unique(cohort.group))
    floor = max(study.privacy.min_patients, site.min_patients)
    if training < floor:
        raise PrivacyError(
            f"site {site.site}: {training} of its {patients} patients would train, at least {floor} wanted;"
            " the site sits out"
        )
