"""Speed of the statistics, as ratios to other programs in one run, and what a federated ROC costs a hospital.

    python -m benchmarks.statistics [--json FILE] [--only local histogram federated memory]

Peers: scikit-learn's `roc_auc_score` (the AUC alone; it has no variance), `np.sort` of the same scores, and R's pROC
(`roc` and `var`) where `Rscript` and pROC are installed. Times are the best of several runs that take turns.
"""

from __future__ import annotations

import shutil
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.table import Row, Table, parser
from fl_liver.securesum.encoding import bits_for, check_words, decode_integers, encode_integers, words
from fl_liver.stats import conversation, delong
from fl_liver.stats.compare import compare
from fl_liver.stats.conversation import Question, Totals, answer, converse
from fl_liver.stats.keys import Key
from fl_liver.stats.local_auc import auc_delong, paired_delong
from fl_liver.stats.refine import BINARY_LEVELS, bins_question

PARTS = ("local", "histogram", "federated", "memory")
LEAST_RATIO = {1_000: 5.0, 10_000: 5.0, 100_000: 2.5, 1_000_000: 5.0}
"""How many times faster than `roc_auc_score` an AUC with its DeLong variance must be, by the number of patients."""
LARGEST = 1_000_000
HOSPITALS = (620, 420, 310, 220, 160, 110, 90, 75, 60, 40, 25, 12, 1)
"""2143 patients, as many as in Yang 2020; the last three hospitals have one class each."""
MALIGNANT = (0.83, 0.79, 0.86, 0.74, 0.88, 0.70, 0.80, 0.92, 0.65, 0.90, 1.0, 0.0, 1.0)
PROC = """
suppressMessages(library(pROC)); set.seed(1); n <- {n}
y <- as.integer(runif(n) < 0.4); s <- rnorm(n) + y
best <- Inf
for (i in 1:{runs}) {{
  t <- system.time(v <- var(roc(y, s, levels = c(0, 1), direction = "<", quiet = TRUE)))[["elapsed"]]
  best <- min(best, t)
}}
cat(1000 * best)
"""


def best_ms(works: Sequence[Callable[[], Any]], runs: int) -> list[float]:
    """Milliseconds of each work: the least of `runs`, taken in turns so that a busy machine slows all alike."""
    for work in works:
        work()
    best = [float("inf")] * len(works)
    for _ in range(runs):
        for place, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[place] = min(best[place], time.perf_counter() - start)
    return [1000.0 * seconds for seconds in best]


def draw(n: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Labels (n,) of 0/1 with two in five positive, and two correlated scores (n,) float64."""
    rng = np.random.default_rng(n)
    y = (rng.random(n) < 0.4).astype(np.int64)
    a = rng.normal(size=n) + y
    return y, a, a + rng.normal(size=n)


def proc_ms(n: int) -> dict[str, float]:
    """{"pROC": milliseconds} of one curve and its variance in R; empty where R or pROC is not installed."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return {}
    program = PROC.format(n=n, runs=3 if n >= LARGEST else 5)
    done = subprocess.run([rscript, "-e", program], capture_output=True, text=True, timeout=300, check=False)
    return {"pROC": float(done.stdout)} if done.returncode == 0 else {}


def local() -> list[Row]:
    """One hospital's own figures, or the pooled oracle: all scores in one place."""
    rows: list[Row] = []
    for n, wanted in LEAST_RATIO.items():
        y, a, b = draw(n)
        works = (
            partial(auc_delong, y, a),
            partial(roc_auc_score, y, a),
            partial(np.sort, a),
            partial(paired_delong, y, a, b),
        )
        ours, theirs, sort, paired = best_ms(works, max(5, min(200, 2_000_000 // n)))
        peers = {"roc_auc_score": theirs, "np.sort": sort, **proc_ms(n)}
        rows += [
            Row(name=f"AUC + DeLong, n = {n}", measured=ours, unit="ms", peers=peers),
            Row(
                name="  times faster than roc_auc_score", measured=theirs / ours, unit="×", target=wanted, at_least=True
            ),
            Row(name="  times as long as np.sort", measured=ours / sort, unit="×"),
        ]
        last = n == LARGEST
        rows.append(
            Row(
                name="  paired DeLong, 2 models / one roc_auc_score",
                measured=paired / theirs,
                unit="×",
                target=1.0 if last else None,
            )
        )
    return rows


def histogram() -> list[Row]:
    """From the pooled class counts in 2¹⁶ bins of a million patients, and what a hospital does to count them."""
    y, a, _ = draw(LARGEST)
    question = bins_question("score", "label", BINARY_LEVELS, "logit32", np.zeros(1, np.uint64), 0, 16)
    table = conversation.Table({"score": a, "label": y.astype(np.float64)})
    h0, h1 = answer(question, table).reshape(2, -1)
    finish, count = best_ms((lambda: delong.auc_and_variance(h0, h1), lambda: answer(question, table)), 10)
    return [
        Row(name=f"AUC + DeLong from a 16-bit histogram of {LARGEST}", measured=finish, unit="ms", target=10.0),
        Row(name=f"  counting {LARGEST} patients into it, at a hospital", measured=count, unit="ms"),
    ]


class MeasuredSummer:
    """Adds in the clear what hospitals would mask; keeps seconds a site, bytes up from one, and exchanges."""

    method = "plain"

    def __init__(self, tables: Sequence[conversation.Table]) -> None:
        self.tables = tables
        self.seconds = np.zeros(len(tables))
        self.bytes_up = 0
        self.exchanges = 0

    def total(self, questions: Sequence[Question]) -> Totals:
        """The totals, as `TablesSummer` gives them, through the encoding of masked sums."""
        self.exchanges += 1
        bits = bits_for([question.bound for question in questions])
        ends = np.cumsum([question.length for question in questions])
        coded = np.zeros(int(ends[-1]) + check_words(bits), words(bits))
        for place, table in enumerate(self.tables):
            start = time.perf_counter()
            coded += encode_integers(np.concatenate([answer(question, table) for question in questions]), bits)
            self.seconds[place] += time.perf_counter() - start
        self.bytes_up += coded.nbytes
        return np.split(decode_integers(coded, bits, len(self.tables)), ends[:-1])


def hospitals() -> list[conversation.Table]:
    """13 hospitals with their own shift of the score; three correlated models in log-odds, one rounded to 2 digits."""
    rng = np.random.default_rng(3)
    tables = []
    for n, share in zip(HOSPITALS, MALIGNANT, strict=True):
        y = (rng.random(n) < share).astype(np.float64)
        shift, common = rng.normal(0.0, 0.9), rng.normal(size=n)
        logit = [
            2.2 * (1.45 * y + 0.55 * common + 0.85 * rng.normal(size=n)) - 1.2 + shift,
            2.4 * (1.62 * y + 0.60 * common + 0.78 * rng.normal(size=n)) - 1.3 + 0.8 * shift,
            2.6 * (1.75 * y + 0.62 * common + 0.72 * rng.normal(size=n)) - 1.2 + 0.5 * shift,
        ]
        p = np.clip(np.round(1.0 / (1.0 + np.exp(-logit[1])), 2), 0.001, 0.999)
        logit[1] = np.log(p / (1.0 - p))
        tables.append(conversation.Table({"label": y, **{f"score{i}": v for i, v in enumerate(logit)}}))
    return tables


def federated() -> list[Row]:
    """Exact AUCs and their covariance of three models over 13 hospitals, statistics only."""
    tables = hospitals()
    rows = []
    keys: dict[Key, str] = {"logit32": "log-odds", "float64": "any score"}
    for key, where in keys.items():
        runs = []
        for _ in range(5):
            summer = MeasuredSummer(tables)
            converse({"it": compare([f"score{i}" for i in range(3)], "label", key=key)}, summer)
            runs.append(summer)
        best = min(runs, key=lambda one: float(one.seconds.max()))
        promised = key == "logit32"
        rows += [
            Row(
                name=f"3 models, 13 hospitals, 2143 patients ({where}): a hospital",
                measured=1000.0 * float(best.seconds.max()),
                unit="ms",
                target=20.0,
            ),
            Row(
                name="  payload up from a hospital",
                measured=best.bytes_up / 1000.0,
                unit="kB",
                target=110.0 if promised else None,
            ),
            Row(name="  exchanges", measured=float(best.exchanges), unit=""),
        ]
    return rows


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most memory that Python and numpy held during `work`, beyond what they held before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def memory() -> list[Row]:
    """Bytes a patient at 1e5 and 1e6: their ratio shows O(n)."""
    rows = []
    tenth, whole = draw(LARGEST // 10), draw(LARGEST)
    works: dict[str, Callable[..., Any]] = {
        "AUC + DeLong": lambda y, a, _: auc_delong(y, a),
        "paired DeLong": paired_delong,
    }
    for name, work in works.items():
        small = peak_bytes(partial(work, *tenth)) / len(tenth[0])
        large = peak_bytes(partial(work, *whole)) / len(whole[0])
        rows += [
            Row(name=f"{name}: memory at 1e6", measured=large, unit="B a patient"),
            Row(name="  as a multiple of that at 1e5", measured=large / small, unit="×", target=1.1),
        ]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, print the table; exit status 1 if a target was missed."""
    chosen = parser(__doc__, PARTS).parse_args(arguments)
    parts: dict[str, Callable[[], list[Row]]] = {
        "local": local,
        "histogram": histogram,
        "federated": federated,
        "memory": memory,
    }
    table = Table("Statistics: one process, times are the best of several runs")
    for name in chosen.only or PARTS:
        table.rows += parts[name]()
    table.notes.append(
        "payload: the encoded vectors with their check words, as they are masked; keys and transport apart"
    )
    return table.finish(chosen.json)


if __name__ == "__main__":
    raise SystemExit(main())
