"""x"""
from __future__ import annotations
import time
def test_a(simulate, hospitals_in, tmp_path) -> None:
    t=time.time()
    hospitals_in(tmp_path/"run")
    r = simulate(tmp_path/"run")
    print(r.out, r.err, r.status, time.time()-t, r.summary["seconds"], list(r.numbers))
    t=time.time()
    hospitals_in(tmp_path/"run2")
    r = simulate(tmp_path/"run2", "--baselines", "--rounds","2")
    print(r.out, r.err, r.status, time.time()-t, r.summary["seconds"])
