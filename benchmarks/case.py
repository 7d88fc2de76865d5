"""One measurement in a process of its own: `python -m benchmarks.case '{"what": ..., ...}'` prints one line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def _loop(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.loops import measure

    return measure(case["kind"], case["workers"])


def _ours(case: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.ours import measure

    return measure(**case)


CASES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"loop": _loop, "ours": _ours}


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
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
