"""One measurement in a process of its own: `python -m benchmarks.case '{"what": ..., ...}'` prints `result {...}`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

MARK = "result "
"""Begins the line that is the result: frameworks print much else."""


def _loop(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.loops import measure

    return measure(case["kind"], case["workers"])


def _ours(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.ours import measure

    return measure(**case)


def _overhead(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.overhead import measure

    return measure(case["workers"])


def _flower(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.peers_flower import measure

    return measure(case["kind"], case["workers"])


def _pfl(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.peers_pfl import measure

    return measure(case["kind"])


def _nvflare(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.peers_nvflare import measure

    return measure(case["kind"])


CASES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "loop": _loop,
    "ours": _ours,
    "overhead": _overhead,
    "flower": _flower,
    "pfl": _pfl,
    "nvflare": _nvflare,
}


def main(text: str) -> None:
    """Run the case; with "weigh" its memory is sampled, which slows it, so its times are then not to be used."""
    case = json.loads(text)
    run, weigh = CASES[case.pop("what")], case.pop("weigh", False)
    if weigh:
        from benchmarks.weigh import PeakWeight

        with PeakWeight() as weight:
            result = run(case)
        result["peak_mb"] = weight.peak_mb
    else:
        result = run(case)
    print(f"\n{MARK}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
