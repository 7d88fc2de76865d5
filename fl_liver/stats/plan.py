"""A plan of analyses: read from TOML, checked before any hospital is asked, and answered as one batch.

    [[analysis]]
    id = "fused"
    kind = "roc"
    score = "p_fused"
    label = "malignant"

Columns that the hospitals' tables lack but that follow from theirs, row by row, are [[column]] tables (`derived`).
All conversations of a plan run side by side, so that what can be asked together is asked together. An analysis that a
floor or its data forbid ends as `Refused`, which names the rule; the others go on.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from fl_liver.errors import ConfigError, DataError, PrivacyError
from fl_liver.stats.conversation import Conversation, Summer, Table, converse
from fl_liver.stats.derived import HOWS, Derived, derive, sources
from fl_liver.stats.patients import PatientFloors, patients_of
from fl_liver.stats.plan_description import (
    CohenKappa,
    FleissKappa,
    KruskalWallis,
    McNemar,
    Proportion,
    RankSum,
    TableOne,
)
from fl_liver.stats.plan_entry import Analysis
from fl_liver.stats.plan_performance import (
    Calibration,
    CompareJoint,
    ComparePaired,
    CompareUnpaired,
    DecisionCurve,
    Diagnostic,
    HosmerLemeshow,
    LowConfidence,
    Multiclass,
    ReaderMean,
    Readers,
    ReadersWithAi,
    Roc,
)
from fl_liver.stats.plan_private import PrivateRoc, check_private
from fl_liver.stats.plan_regression import Logistic, Nomogram
from fl_liver.toml_file import Section, parse

DEFAULT_MIN_CELL = 5
S = TypeVar("S", bound=Section)

KINDS: Sequence[type[Analysis]] = (
    Roc,
    ComparePaired,
    CompareJoint,
    CompareUnpaired,
    Diagnostic,
    Proportion,
    McNemar,
    CohenKappa,
    FleissKappa,
    RankSum,
    KruskalWallis,
    Logistic,
    HosmerLemeshow,
    Calibration,
    DecisionCurve,
    Nomogram,
    TableOne,
    Multiclass,
    Readers,
    ReadersWithAi,
    ReaderMean,
    LowConfidence,
    PrivateRoc,
)
"""In the order of the contract, then what it does not list."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The analyses of a plan, in its order, with unique ids, and the columns that it makes."""

    analyses: tuple[Analysis, ...]
    derived: tuple[Derived, ...] = ()

    def columns(self) -> list[str]:
        """Every column that a hospital's table must have, in order of first use."""
        return sources(self._read(), self.derived)[0]

    def completed(self, table: Table) -> Table:
        """A hospital's table with the columns that the plan makes and some analysis reads, and with whose its rows are.

        Raises:
            DataError: as `derive`, or a row has no patient.
        """
        made = derive(table, sources(self._read(), self.derived)[1])
        return made if self.patient is None else replace(made, patients=patients_of(made, self.patient))

    @property
    def patient(self) -> str | None:
        """The column that says whose a row is; None where every row is a patient."""
        return next((one.patient for one in self.analyses if one.patient is not None), None)

    def _read(self) -> list[str]:
        read = dict.fromkeys(name for one in self.analyses for name in one.read())
        return [*read, *([self.patient] if self.patient is not None and self.patient not in read else [])]


@dataclass(frozen=True, slots=True)
class Refused:
    """An analysis without an answer, the rule or reason, and the exit status that belongs to it."""

    reason: str
    exit_code: int

    def to_json(self) -> dict[str, Any]:
        """`{"not_released": reason}`, as result files hold it."""
        return {"not_released": self.reason}


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigError: no such file, not TOML, an unknown kind or key (with a did-you-mean), an impossible value,
            a second private_roc, one beside exact answers about its columns, or one where rows are not patients.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); give the path of a plan") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML ({error})") from error
    return parse_plan(raw, str(path))


def parse_plan(raw: Mapping[str, Any], where: str) -> Plan:
    """A plan from a mapping {"patient": column, "analysis": [{id, kind, …}, …], "column": [{name, how, of, …}, …]}.

    patient: says whose a row is, where a patient may have several; all floors then count patients.
    where: names it in errors.

    Raises:
        ConfigError: as in `read_plan`.
    """
    stray = sorted(set(raw) - {"analysis", "column", "patient"})
    if stray:
        raise ConfigError(
            f"{where}: unknown key '{stray[0]}'; a plan is a list of [[analysis]] and [[column]] tables, and 'patient'"
            " where rows are not patients"
        )
    entries = raw.get("analysis", [])
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{where}: no [[analysis]]; a plan holds one or more")
    patient = raw.get("patient")
    if patient is not None and (not isinstance(patient, str) or not patient):
        raise ConfigError(f"{where}: patient = {patient!r}; wanted the name of the column that says whose a row is")
    analyses = tuple(_entry(entry, patient, place, where) for place, entry in enumerate(entries, start=1))
    ids = [analysis.id for analysis in analyses]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise ConfigError(f"{where}: two analyses have the id '{twice[0]}'; ids name the results and must differ")
    derived = _derived(raw.get("column", []), where)
    check_private(analyses, derived, where)
    return Plan(analyses, derived)


def run_plan(plan: Plan, summer: Summer, *, min_cell: int = DEFAULT_MIN_CELL) -> dict[str, Any]:
    """Answer every analysis of a plan through `summer`.

    Returns:
        {id: result}, where a result has `to_json`; an analysis that may not or cannot be answered is a `Refused`.
    Raises:
        ConfigError: min_cell below 1.
        DataError, ProtocolError: a hospital could not answer a question; there is no result then.
    """
    if min_cell < 1:
        raise ConfigError(f"min_cell = {min_cell}: wanted 1 (public data, no floor) or more")
    talks = {analysis.id: _or_refused(analysis.answer(min_cell)) for analysis in plan.analyses}
    return converse(talks, summer if plan.patient is None else PatientFloors(summer, min_cell))


def refusals(results: Mapping[str, Any]) -> dict[str, Refused]:
    """The analyses of a batch that have no answer."""
    return {name: result for name, result in results.items() if isinstance(result, Refused)}


def _derived(entries: Any, where: str) -> tuple[Derived, ...]:
    if not isinstance(entries, list):
        raise ConfigError(f"{where}: 'column' is not a list of [[column]] tables")
    hows: dict[str, type[Derived]] = {_literal(one, "how"): one for one in HOWS}
    found: list[Derived] = []
    for place, entry in enumerate(entries, start=1):
        one: Derived = _parsed(entry, hows, "how", f"{where}: column {place}", "name")
        names = [before.name for before in found]
        if one.name in names:
            raise ConfigError(f"{where}: two columns have the name '{one.name}'; rename one")
        later = {other.get("name") for other in entries[place - 1 :] if isinstance(other, dict)}
        if early := [name for name in one.of if name in later]:
            raise ConfigError(f"{where}: column '{one.name}' is made of '{early[0]}', which does not stand before it")
        found.append(one)
    return tuple(found)


def _entry(entry: Any, patient: str | None, place: int, where: str) -> Analysis:
    kinds: dict[str, type[Analysis]] = {_literal(one, "kind"): one for one in KINDS}
    if isinstance(entry, dict) and "patient" in entry:
        raise ConfigError(f"{where}: analysis {place}: 'patient' is a key of the plan; write it before the analyses")
    one: Analysis = _parsed(entry, kinds, "kind", f"{where}: analysis {place}", "id")
    return one if patient is None else one.model_copy(update={"patient": patient})


def _parsed(entry: Any, known: Mapping[str, type[S]], key: str, where: str, title: str) -> S:
    """A table of the section that its `key` names."""
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} is not a table")
    name = f"{where} ('{entry.get(title, f'no {title}')}')"
    kind = str(entry.get(key))
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"{name}: unknown {key} '{kind}', {hint}")
    return parse(entry, known[kind], name)


def _literal(of: type[Section], key: str) -> str:
    (name,) = of.model_fields[key].annotation.__args__  # type: ignore[union-attr]
    return str(name)


def _or_refused(talk: Conversation[Any]) -> Conversation[Any]:
    try:
        return (yield from talk)
    except (ConfigError, DataError, PrivacyError) as error:
        return Refused(str(error), error.exit_code)
