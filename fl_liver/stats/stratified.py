"""One analysis for each level of a column (tumour size bands, liver background), all in the same exchanges.

Every level must hold nobody or at least `min_cell` patients before anything finer is asked. If the floor forbids one
level's answer, none is given: with a total known from elsewhere, the one that is missing could be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fl_liver.errors import DataError
from fl_liver.stats.compose import Withheld, together, within
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.levels import learn_levels


@dataclass(frozen=True, slots=True)
class Stratified:
    """The result of each level of column `by`, in level order; `Withheld` where that level's data allow none."""

    by: str
    strata: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """{"by": column, "strata": {level: result}}."""
        return {"by": self.by, "strata": {level: result.to_json() for level, result in self.strata.items()}}


def stratified(
    by: str, columns: Sequence[str], analysis: Callable[[], Conversation[Any]], *, min_cell: int = 5
) -> Conversation[Stratified]:
    """Run `analysis` once within each level of `by`.

    Args:
        columns: what the analysis reads; levels are learned among the rows that have all of them.
        analysis: makes a fresh conversation.
    Raises:
        PrivacyError: a level, or a group inside one, is below the floor.
        DataError: nobody has a level, or there are too many levels to be a grouping.
    """
    levels = yield from learn_levels([by], columns, min_cell=min_cell)
    if not levels:
        raise DataError(f"strata of '{by}': no site has a complete row")
    results = yield from together([within(_unless_no_data(analysis()), where={by: level}) for level in levels])
    return Stratified(by, dict(zip(levels, results, strict=True)))


def _unless_no_data(talk: Conversation[Any]) -> Conversation[Any]:
    try:
        return (yield from talk)
    except DataError as error:
        return Withheld(str(error))
