"""R's answers on public tables, split over 3, 7 and 13 hospitals, through the whole of `analyse`.

The cases and the comparison are those of `check.py` in the shared folder beside the repository; only its call of the
command line is replaced by a call in this process.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest

from fl_liver.analyse import analyse
from fl_liver.errors import FLLiverError
from fl_liver.stats import hcc_risk_score

ORACLES = Path(__file__).resolve().parents[2] / "../shared/oracles"
needs_oracles = pytest.mark.skipif(
    not (ORACLES / "check.py").exists(), reason="the shared folder is not beside the clone"
)


def checker(monkeypatch: pytest.MonkeyPatch, sums: Literal["plain", "masked"] = "plain") -> ModuleType:
    """`check.py` with its subprocess replaced by a call of `analyse` in this process."""
    spec = importlib.util.spec_from_file_location("oracle_check", ORACLES / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec.loader.exec_module(module)

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        options = dict(pairwise(command))
        sites = [value for option, value in pairwise(command) if option == "--site"]
        try:
            out, floor = Path(options["--json"]), int(options["--min-cell"])
            code = analyse(Path(command[2]), sites, out, min_cell=floor, sums=sums)
        except FLLiverError as error:
            return subprocess.CompletedProcess(command, error.exit_code, "", str(error))
        return subprocess.CompletedProcess(command, code, "", "")

    monkeypatch.setattr(module, "subprocess", type("inside", (), {"run": staticmethod(run)}))
    return module


@needs_oracles
@pytest.mark.parametrize(("sites", "sums"), [(3, "plain"), (7, "masked"), (13, "plain")])
def test_every_reference_case_agrees_over(
    sites: int,
    sums: Literal["plain", "masked"],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = checker(monkeypatch, sums)
    monkeypatch.setattr(sys, "argv", ["check.py", "--sites", str(sites)])
    status = module.main()
    told = capsys.readouterr().out.splitlines()
    assert status == 0, [line for line in told if "expected" in line or "no result" in line or "failed" in line]
    assert told[-1].endswith(" passed, 0 failed")


@needs_oracles
def test_hcc_risk_score_of_every_patient_equals_r() -> None:
    case = next(
        one for one in json.loads((ORACLES / "reference.json").read_text())["cases"] if one["stat"] == "hcc_risk_score"
    )
    rows = np.genfromtxt(ORACLES / "data" / case["data"], delimiter=",", names=True)
    found = [hcc_risk_score(rows["p"][rows["patient"] == one]) for one in np.unique(rows["patient"])]
    assert found == pytest.approx(case["expected"]["score"], rel=1e-10)
