"""The groups that a comparison is about and how many patients each has: counts come before any finer question."""

from __future__ import annotations

from collections.abc import Sequence

from fl_liver.errors import DataError
from fl_liver.stats.conversation import Conversation
from fl_liver.stats.cross_table import cross_table
from fl_liver.stats.floors import require_floor, require_somebody
from fl_liver.stats.levels import learn_levels


def groups_of(
    x: str, group: str, levels: Sequence[str] = (), *, min_cell: int
) -> Conversation[tuple[list[str], list[int]]]:
    """(levels, patients with a value of `x` in each); levels that the plan does not name are learned.

    Raises:
        PrivacyError: a group holds somebody, but fewer than `min_cell`.
        DataError: a named level has nobody, or nobody has a complete row.
    """
    known = list(levels) or (yield from learn_levels([group], [x], min_cell=min_cell))
    if not known:
        require_somebody(0, f"'{x}' by '{group}'")
    (total,) = yield [cross_table({group: known}, [x])]
    sizes = total.tolist()
    require_floor({f"{group} = {level}": size for level, size in zip(known, sizes, strict=True)}, min_cell)
    empty = [level for level, size in zip(known, sizes, strict=True) if size == 0]
    if empty:
        raise DataError(
            f"'{x}' by '{group}': no site has a patient with {group} = {empty[0]}; correct the plan's levels"
        )
    return known, sizes
