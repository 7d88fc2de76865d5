"""`exclude.csv`: the patients whom a person left out on the check page, by pseudonym.

The reason is free text of a person; it stays in the file and on the page and comes into no finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from fl_liver.client.cohort.codes import counted, finding
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.table.tables import read_table, require_columns
from fl_liver.errors import DataError

EXCLUDE_FILE = "exclude.csv"
COLUMNS = ("case", "reason")
_PSEUDONYM = re.compile(r"[0-9a-f]{12}")


def read_excluded(path: Path) -> dict[str, str]:
    """Pseudonym → reason, in order of pseudonym; {} where there is no such file.

    Raises:
        DataError: not a table with columns case and reason, or a case that is no pseudonym.
    """
    if not path.is_file():
        return {}
    table = read_table(path, or_empty=True)
    require_columns(table, COLUMNS, path)
    # A spreadsheet may turn 4711e0123456 into a number; a hospital may write its own ids.
    odd = [number for number, case in table["case"].items() if not _PSEUDONYM.fullmatch(case)]
    if odd:
        raise DataError(
            f"{path}: 'case' in row {odd[0]} is not a pseudonym (12 hex digits); export the file from the check page"
            " and do not save it from a spreadsheet"
        )
    return dict(sorted(zip(table["case"], table["reason"], strict=True)))


def excluded_findings(excluded: Mapping[str, str], everybody: Collection[str]) -> list[Finding]:
    """E_EXCLUDED_HERE for each excluded patient of this hospital, and one W_EXCLUDED_UNKNOWN that counts the others.

    Args:
        excluded: as `read_excluded` gives it.
        everybody: pseudonyms of all patients here, usable or not.
    """
    here = sorted(set(excluded) & set(everybody))
    findings = [finding("E_EXCLUDED_HERE", case, f"left out by a person, see {EXCLUDE_FILE}") for case in here]
    unknown = len(excluded) - len(here)
    if unknown:
        cause = f"{EXCLUDE_FILE} names {counted(unknown, 'patient')} of {len(excluded)} who are not here"
        findings.append(finding("W_EXCLUDED_UNKNOWN", "", cause))
    return findings
