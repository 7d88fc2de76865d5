"""A minute of coverage-guided fuzzing: no file makes a reader crash, hang, write, or say more than a code."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz import seeds

SECONDS = 20
CORPORA = {"header": set(seeds.DICOM), "pixels": set(seeds.DICOM) - {"contours"}, "roi": seeds.ROI}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="the extra fuzz (atheris) is not installed")
@pytest.mark.parametrize("target", CORPORA)
def test_no_file_makes_a_reader_do_more_than_read(target: str, tmp_path: Path) -> None:
    """What is found lies in the corpus; `targets.TARGETS[target](path)` repeats it."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, data in seeds.seeds().items():
        if name in CORPORA[target]:
            (corpus / name).write_bytes(data)
    command = [sys.executable, "-m", "tests.fuzz.harness", target, str(corpus), str(SECONDS)]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, timeout=240, check=False)
    said = run.stderr.decode(errors="replace").splitlines()
    found = sorted(path.name for path in corpus.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-")))
    telling = [line[:300] for line in said if not line.startswith(("#", "INFO", "** ERROR: nifti"))]
    assert run.returncode == 0, "\n".join([*found, *telling[-25:]])
    assert any("DONE" in line for line in said), "\n".join(telling[-25:])
