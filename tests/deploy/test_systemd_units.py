"""systemd itself reads our units: no unknown key, and little left for an attacker who got in."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).resolve().parents[2] / "deploy" / "systemd").glob("*.service"))
MOST_EXPOSED = 2.0
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def runnable(unit: Path, folder: Path) -> Path:
    """The unit with programs that this machine has: `verify` looks whether they can be run."""
    text = re.sub(r"^(Exec\w+=)(\S+)", r"\1/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
    copy = folder / unit.name
    copy.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    return copy


def analyse(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_there_is_a_unit_for_the_hospital_and_one_for_the_coordinator() -> None:
    assert [unit.name for unit in UNITS] == ["fl-liver-coordinator.service", "fl-liver-site.service"]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    done = analyse("verify", "--man=no", str(runnable(unit, tmp_path)))
    said = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, [])


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_leaves_little_to_an_attacker(unit: Path, tmp_path: Path) -> None:
    """Exposure from 0 (nothing) to 10, as `systemd-analyze security` counts it."""
    done = analyse("security", "--offline=true", str(runnable(unit, tmp_path)))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found.group(1)) <= MOST_EXPOSED, done.stdout


@needs_systemd
def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    """The check itself can fail."""
    unit = runnable(UNITS[0], tmp_path)
    unit.write_text(unit.read_text().replace("NoNewPrivileges", "NoNewPriviliges"))
    done = analyse("verify", "--man=no", str(unit))
    assert "NoNewPriviliges" in done.stdout + done.stderr
