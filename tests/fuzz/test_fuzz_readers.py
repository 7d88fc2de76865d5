"""A minute of coverage-guided fuzzing: no file makes a reader crash, hang, write, or say more than a code."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz import seeds

SECONDS = 20
ROOT = Path(__file__).parents[2]
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
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, check=False)
    said = run.stdout.decode(errors="replace").splitlines()
    found = sorted(path.name for path in corpus.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-")))
    telling = [line[:300] for line in said if not line.startswith(("#", "INFO", "** ERROR: nifti"))]
    assert run.returncode == 0, "\n".join([*found, *telling[-25:]])
    assert any("DONE" in line for line in said), "\n".join(telling[-25:])


FORBIDDEN = (
    "path.with_name('beside').write_text('x')",
    "path.unlink()",
    "subprocess.run(['true'])",
    "socket.create_connection(('127.0.0.1', 9))",
)
PROGRAM = """
import contextlib, pathlib, socket, subprocess, sys
from tests.fuzz.harness import one_input
def target(path):
    with contextlib.suppress(Exception):
        {act}
test = one_input(target, lambda data: "", pathlib.Path(sys.argv[1]), [])
try:
    test(b"x")
except PermissionError:
    sys.exit(7)
"""


@pytest.mark.parametrize(("act", "status"), [*((act, 7) for act in FORBIDDEN), ("path.read_bytes()", 0)])
def test_the_harness_sees_what_a_reader_may_not_do(act: str, status: int, tmp_path: Path) -> None:
    """Also where the reader's own broad catch swallows the alarm."""
    program = [sys.executable, "-c", PROGRAM.format(act=act), str(tmp_path)]
    assert subprocess.run(program, cwd=ROOT, check=False, timeout=60).returncode == status
