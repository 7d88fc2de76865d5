"""What a hospital installs holds the template, as a file."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_holds_the_template_of_sites(tmp_path: Path) -> None:
    """In a checkout the package has a link; an installed package has no `sites/` to follow it to."""
    build = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("fl_liver-*.whl"))) as wheel:
        content = wheel.read("fl_liver/consortium/site_template.toml")
    assert content == (ROOT / "sites/template.toml").read_bytes()
