"""Which columns of a hospital's own tables go into the table of `client.export`, and that none of them tells a date.

Nothing is taken because it is there: under any heading a clinical table may hold a name, a number or a date of a
person. What is taken, by its name:

    of the clinical table  what the study names (outcome, background, size, [[column]], [[factor]], `lesion` where rows
                           are lesions), what the plan reads
    of readers.csv         reader_N_diagnosis, _confidence, _ai_diagnosis, _ai_confidence, _class, _malignant_class,
                           ct_mri, and what the plan reads
    of explain.csv         hit:METHOD
    of any of them         what the hospital names (`fl-liver site table --column NAME`)

patient_id and what the study calls a date ([[column]] of kind "date") are never taken. A column that is taken and holds
a date all the same is an error: the hospital decides what becomes of it, nobody guesses.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fl_liver.client.cohort.table.lesion_rows import LESION_COLUMN
from fl_liver.errors import ConfigError, DataError
from fl_liver.study import Study

Columns = dict[str, list[str]]
ID = "patient_id"
_READERS = re.compile(r"reader_[1-9]\d?_((ai_)?(diagnosis|confidence)|(malignant_)?class)|ct_mri")
_HIT = re.compile(r"hit_.+")
"""As `client.export` writes "hit:METHOD"."""

_YEAR = r"(?:19|20)\d\d"
_MONTHS = (
    r"(?:jan(?:uary?)?|feb(?:ruary?)?|mar(?:ch)?|märz?|mrz|apr(?:il)?|may|mai|jun[ei]?|jul[iy]?|aug(?:ust)?"
    r"|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)(?![a-zä])\.?"
)
_YEAR_FIRST = re.compile(rf"(?<!\d){_YEAR}(?P<by>[-/.])\s?(\d\d?)(?P=by)\s?(\d\d?)(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d\d?)(?P<by>[-/.])\s?(\d\d?)(?P=by)\s?(?:\d{4}|\d\d)(?!\d)")
_COMPACT = re.compile(rf"(?<![\d.,]){_YEAR}(\d\d)(\d\d)(?:\d{{6}}(?:\.\d+)?)?(?!\d)")
_WITH_A_NAME = re.compile(
    rf"(?<!\d)\d\d?[-.\s]*{_MONTHS}[-,.\s]*(?:\d{{4}}|\d\d)(?!\d)|\b{_MONTHS}\s*\d\d?,?\s+\d{{4}}(?!\d)", re.IGNORECASE
)
_MONTH_ALONE = re.compile(
    rf"{_YEAR}[-/](?:0?[1-9]|1[0-2])|(?:0?[1-9]|1[0-2])[-/]{_YEAR}|{_MONTHS}\s*{_YEAR}", re.IGNORECASE
)


@dataclass(slots=True)
class Choice:
    """What one table takes; it remembers what it took and what it left out, {table: [column]}, for the hospital to see.

    study, dates  what the study names of the clinical table, and what it calls a date
    plan          what a plan reads, of the clinical table or of readers.csv
    named         by the hospital, of any table
    """

    study: frozenset[str]
    dates: frozenset[str]
    plan: frozenset[str]
    named: tuple[str, ...]
    taken: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def of_clinical(self, found: Mapping[str, list[str]], where: str) -> Columns:
        """The columns that are taken of the clinical table."""
        return self._of(found, where, self.study | self.plan)

    def of_readers(self, found: Mapping[str, list[str]], where: str) -> Columns:
        """The columns that are taken of what readers said; `lesion` there only says of which row."""
        said = {name: values for name, values in found.items() if name != LESION_COLUMN}
        return self._of(said, where, self.plan | {name for name in said if _READERS.fullmatch(name)})

    def of_explained(self, found: Mapping[str, list[str]], where: str) -> Columns:
        """The columns that are taken of the table of explanations."""
        return self._of(found, where, {name for name in found if _HIT.fullmatch(name)})

    def require_found(self, made: Iterable[str]) -> None:
        """Raises ConfigError where the hospital named a column that no table has, nor is among those that are made."""
        own = [*self.taken.values(), *self.left_out.values()]
        there = [*made, *(name for names in own for name in names)]
        for name in self.named:
            if name not in there:
                near = difflib.get_close_matches(name, there, n=1)
                hint = f" (there is '{near[0]}')" if near else ""
                raise ConfigError(f"--column {name}: none of this hospital's tables has it{hint}; correct the name")

    def _of(self, found: Mapping[str, list[str]], where: str, allowed: Collection[str]) -> Columns:
        wanted = (frozenset(allowed) | set(self.named)) - self.dates - {ID}
        columns = {name: values for name, values in found.items() if name in wanted}
        for name, values in columns.items():
            _require_no_date(name, values, where)
        self.taken[where] = list(columns)
        self.left_out[where] = [name for name in found if name not in wanted and name != ID]
        return columns


def choice(study: Study, plan: Iterable[str] = (), named: Sequence[str] = ()) -> Choice:
    """What a table of this study takes.

    Args:
        plan: columns that the plan reads which the table is for (`stats.plan.Plan.columns`).
        named: further ones, by the hospital.
    Raises:
        ConfigError: the hospital named an id or what the study calls a date.
    """
    dates = frozenset(column.name for column in study.column if column.kind == "date")
    if wrong := [name for name in named if name in dates | {ID}]:
        raise ConfigError(
            f"--column {wrong[0]}: ids and dates do not go into this table, patients stand there under pseudonyms;"
            " leave it out"
        )
    task = study.task
    own = {task.outcome, task.background, task.size_mm, *(column.name for column in study.column)}
    own |= {factor.column for factor in study.factor} | ({LESION_COLUMN} if study.cohort.unit == "lesion" else set())
    return Choice(frozenset(name for name in own if name), dates, frozenset(plan), tuple(named))


def tells_a_date(text: str) -> bool:
    """Whether a cell holds a date anywhere, day or month first, with or without a time, or a month of a year.

    >>> all(map(tells_a_date, ["1960-05-04", "04/05/1960", "1960/05/04", "4.5.60", "19600504", "4 May 1960"]))
    True
    >>> [tells_a_date(one) for one in ("seen 4.5.60", "05/2019", "62", "1960", "3.5", "T2/3", "1.234.567")]
    [True, True, False, False, False, False, False]
    """
    pairs = [found.group(1, 3) for found in _YEAR_LAST.finditer(text)]
    pairs += [found.group(2, 3) for found in _YEAR_FIRST.finditer(text)]
    pairs += [found.group(1, 2) for found in _COMPACT.finditer(text)]
    if any(_day_and_month(int(a), int(b)) for a, b in pairs):
        return True
    return bool(_WITH_A_NAME.search(text) or _MONTH_ALONE.fullmatch(text.strip()))


def _day_and_month(a: int, b: int) -> bool:
    low, high = sorted((a, b))
    return 1 <= low <= 12 and high <= 31


def _require_no_date(name: str, values: Sequence[str], where: str) -> None:
    dates = sum(map(tells_a_date, values))
    if dates:
        raise DataError(
            f"{where}: column '{name}' holds a date in {dates} of {len(values)} rows, and dates of patients do not go"
            " into this table; put years, or days since an event, in their place, or correct the cells"
        )
