"""The floor: no group of an analysis may be smaller than `min_cell` patients over all hospitals, unless it is empty."""

from __future__ import annotations

from collections.abc import Mapping

from fl_liver.errors import DataError, PrivacyError


def require_floor(counts: Mapping[str, int], min_cell: int) -> None:
    """Refuse unless every group holds nobody or at least `min_cell` patients; 1 switches the floor off.

    Args:
        counts: patients over all hospitals, by the group's name as it stands in the refusal.
    Raises:
        PrivacyError: names the groups and the rule, not how many patients they hold.
    """
    small = [name for name, count in counts.items() if 0 < count < min_cell]
    if small:
        raise PrivacyError(
            f"min_cell: {', '.join(small)}: fewer than {min_cell} patients over all sites;"
            " merge it with a neighbour, leave the analysis out, or wait for more patients"
        )


def require_somebody(count: int, what: str) -> None:
    """Refuse an analysis that is about nobody.

    Raises:
        DataError: `count` is 0.
    """
    if count == 0:
        raise DataError(f"{what}: no site has a complete row; check the columns that the analysis names")
