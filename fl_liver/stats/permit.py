"""What a hospital lets a plan ask of it: the questions of its analyses, each of the columns that the analysis names.

A `Permit` follows from what the hospital approved: a study, whose statistics are fixed, or a plan of analyses. `guard`
holds every question against it. A question names the columns of one analysis, each in its own place, and is about
exactly the patients of that analysis; so a plan with the ROC of one score says nothing of another column, and a
threshold belongs to the score that it was named for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fl_liver.errors import ProtocolError
from fl_liver.stats.allowed import Allowed
from fl_liver.stats.asked import asked_of
from fl_liver.stats.conversation import Question
from fl_liver.stats.patients import PATIENTS, counted_of
from fl_liver.stats.plan import Plan
from fl_liver.stats.plan_private import noise_of


@dataclass(frozen=True, slots=True)
class Permit:
    """What may be asked in one batch.

    min_cell   smallest pooled group; the larger of the plan's and the hospital's own
    analyses   what may be asked of the patients who have a value in exactly these columns
    noise      (ε, honest hospitals) of noised histograms; None where they may not be asked
    by_patient a patient may have several rows: a count that a floor is held against comes with its patients
    """

    min_cell: int
    analyses: Callable[[frozenset[str]], Sequence[Allowed]]
    noise: tuple[float, int] | None = None
    by_patient: bool = False

    def allowing(self, question: Question) -> list[Allowed]:
        """The analyses that ask this question; never none.

        Raises:
            ProtocolError: no analysis asks it of these columns and patients.
            AttributeError, KeyError, TypeError, ValueError: its arguments are not as its kind has them.
        """
        asked = asked_of(counted_of(question) if question.kind == PATIENTS else question)
        found = [one for one in self.analyses(asked.present) if asked in one.questions]
        if not found:
            raise ProtocolError(f"question '{question.kind}' is not in the plan: no analysis there asks it of {asked}")
        return found


def permit_of_plan(plan: Plan, *, min_cell: int) -> Permit:
    """What an analysis plan may ask, and nothing that it does not name."""
    permitted = tuple(one.permitted() for one in plan.analyses)
    return Permit(min_cell, lambda _: permitted, noise_of(plan.analyses), by_patient=plan.patient is not None)
