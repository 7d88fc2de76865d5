"""Peak memory: this process and its children, each shared page once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simulation.memory import PeakMemory, tree_pss_kb

needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no /proc on this system")


@needs_proc
def test_a_large_array_shows_in_the_peak_after_it_is_gone() -> None:
    """In a process of its own: workers that other tests left behind end while this one measures."""
    code = """
import time
import numpy as np
from simulation.memory import PeakMemory, tree_pss_kb
before = tree_pss_kb() * 1024 / 1_000_000
memory = PeakMemory(period_s=0.05)
block = np.ones(20_000_000)  # 160 MB
time.sleep(0.3)
del block
time.sleep(0.2)
print(memory.stop() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) == pytest.approx(160, abs=40)


@needs_proc
def test_a_childs_memory_counts() -> None:
    before = tree_pss_kb()
    code = "import sys; block = b'x' * 120_000_000; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if child.stdout is None or child.stdin is None:
            pytest.fail("no pipes")
        child.stdout.readline()
        during = tree_pss_kb()
        child.stdin.close()
    assert during - before > 110_000
    assert tree_pss_kb() - before < 60_000


def test_where_the_system_tells_nothing_the_processs_own_peak_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.memory.tree_pss_kb", lambda: 0)
    assert PeakMemory(period_s=0.01).stop() > 10
