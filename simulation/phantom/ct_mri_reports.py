"""What contrast-enhanced CT or MRI said of a lesion that ultrasound found: malignant or benign, where one was made.

Yang et al., EBioMedicine 56 (2020) 102777 print an accuracy of 84.7 % for CT and of 87.9 % for MRI; sensitivity and
specificity stand in a table (S8) that we do not have. Here one column holds whichever was made, right as often as the
mean of the two where six of ten lesions are malignant, as in the phantom. CT and MRI see other things than ultrasound
does: whether a report is right does not depend on what ultrasound shows. Whether there is one does: who looks
malignant is sent there more often. That share is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulation.phantom.subtypes import MALIGNANT
from simulation.phantom.virtual import Opinion, Unit

SENSITIVITY, SPECIFICITY = 0.88, 0.84
SENT = {True: 0.80, False: 0.60}
"""Share of patients with a report, of those who look malignant in ultrasound and of others."""


def _report(unit: Unit, _: Sequence[int], random: np.random.Generator) -> list[str]:
    """1 malignant, 0 benign, empty without a report."""
    sent, right = random.random(2).tolist()
    if sent >= SENT[unit.evidence > 0]:
        return [""]
    malignant = unit.truth in MALIGNANT
    return [str(int(malignant == (right < (SENSITIVITY if malignant else SPECIFICITY))))]


CT_MRI = Opinion(("ct_mri",), _report)
