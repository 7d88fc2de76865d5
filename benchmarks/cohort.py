"""Speed and strictness of the cohort: headers, decoding into the cache, the cache, a hospital looked at again.

    python -m benchmarks.cohort [--json FILE] [--only headers ingest warm recheck memory defects]

Peers on the same files: pydicom's decoders alone, SimpleITK's series reader, and MONAI and highdicom where they are
installed. `defects` shows what each of them makes of thirteen damaged series. Times are the best of several turns.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from benchmarks.cohort_files import ROWS, compressed, ct_slices, write_hospital, write_series
from benchmarks.cohort_readers import installed, pydicom_alone, verdict
from benchmarks.table import Row, Table, parser
from fl_liver.client.cohort.cache import read_arrays, store_arrays
from fl_liver.client.cohort.check.check import CheckOptions, check_folder
from fl_liver.client.cohort.pseudonym import random_pseudonyms
from fl_liver.client.cohort.read.folder import list_files
from fl_liver.client.cohort.series.survey import Place, survey
from fl_liver.client.cohort.series.volume import read_volume
from simulation.phantom.damage import THIRTEEN, Damage

PARTS = ("headers", "ingest", "warm", "recheck", "memory", "defects")
SLICES = 200
TURNS = {"raw": 9, "JPEG-LS": 3, "J2K": 1}
CLEAN = Damage("(clean)", "")
_CHECK = """
import resource, sys
from pathlib import Path
from benchmarks.process import peak_mb
from fl_liver.client.cohort.check.check import check_folder
check_folder(Path(sys.argv[1]))
print(peak_mb())
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)
"""


def seconds(work: Callable[[], object], turns: int) -> float:
    """The least of some turns."""
    best = float("inf")
    for _ in range(turns):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def headers(table: Table, raw: Path) -> None:
    def ours() -> None:
        survey(list_files(raw), Place(raw, random_pseudonyms()))

    table.rows.append(Row(name=f"header check, {SLICES} slices", measured=seconds(ours, 15), unit="s", target=0.2))


def ingest(table: Table, folders: dict[str, Path], work: Path) -> None:
    """Files → checked, sorted, rescaled, stored volume, against the bare decoding of the same files."""
    for name, folder in folders.items():

        def ours(folder: Path = folder) -> None:
            (series,) = survey(list_files(folder), Place(folder, random_pseudonyms())).series
            store_arrays(work / "cache" / "volume.safetensors", {"volume": read_volume(series).values}, {})

        turns = TURNS[name]
        times = {"ours": float("inf"), "pydicom": float("inf")}
        for _ in range(turns):
            times["pydicom"] = min(times["pydicom"], seconds(lambda folder=folder: pydicom_alone(folder), 1))  # type: ignore[misc]
            times["ours"] = min(times["ours"], seconds(ours, 1))
        peers = {
            f"{peer} s": seconds(lambda read=read, folder=folder: read(folder), 1)  # type: ignore[misc]
            for peer, read in installed().items()
        }
        ratio = times["ours"] / times["pydicom"]
        peers = {"ours s": times["ours"], "pydicom s": times["pydicom"], **peers}
        table.rows.append(Row(name=f"ingest to cache, {name}", measured=ratio, unit="×", target=1.3, peers=peers))


def warm(table: Table, work: Path) -> None:
    """100 MiB out of the page cache, every byte touched."""
    volume = np.random.default_rng(0).integers(0, 4096, (SLICES, ROWS, ROWS)).astype(np.int16)
    np.save(work / "volume.npy", volume)
    store_arrays(work / "warm" / "volume.safetensors", {"volume": volume}, {})

    def ours() -> object:
        return np.array(read_arrays(work / "warm" / "volume.safetensors")[0]["volume"])

    best = {"ours": float("inf"), "np.load": float("inf")}
    for _ in range(7):
        best["np.load"] = min(best["np.load"], seconds(lambda: np.load(work / "volume.npy"), 1))
        best["ours"] = min(best["ours"], seconds(ours, 1))
    peers = {"ours ms": 1e3 * best["ours"], "np.load ms": 1e3 * best["np.load"]}
    ratio = best["ours"] / best["np.load"]
    table.rows.append(Row(name="warm read of 100 MiB", measured=ratio, unit="× np.load", target=2.0, peers=peers))


def recheck(table: Table, work: Path) -> None:
    """1,000 patients looked at for the first time, then again with nothing changed."""
    hospital = write_hospital(work / "recheck", 1000)
    first = seconds(lambda: check_folder(hospital), 1)
    again = seconds(lambda: check_folder(hospital), 3)
    peers = {"first check s": first}
    table.rows.append(Row(name="1,000 patients again", measured=again, unit="s", target=5.0, peers=peers))


def memory(table: Table, work: Path) -> None:
    """Peak memory of a first check, of the process and of its largest decoder, at 100 and 1,000 patients."""
    peaks = {}
    for patients in (100, 1000):
        hospital = write_hospital(work / f"memory{patients}", patients)
        done = subprocess.run(
            [sys.executable, "-c", _CHECK, str(hospital)], capture_output=True, text=True, check=True, timeout=600
        )
        peaks[patients] = [float(word) for word in done.stdout.split()]
    grown = max(peaks[1000][0] / peaks[100][0], peaks[1000][1] / peaks[100][1])
    peers = {f"{n} patients MB": peaks[n][0] for n in peaks} | {f"{n} decoder MB": peaks[n][1] for n in peaks}
    table.rows.append(Row(name="memory, 1,000 over 100 patients", measured=grown, unit="×", target=1.2, peers=peers))


def defects(table: Table, work: Path) -> None:
    """Which of the thirteen each reader lets through; the table of verdicts stands in the notes."""
    through = dict.fromkeys(("ours", *installed()), 0)
    lines = []
    for number, damage in enumerate((CLEAN, *THIRTEEN)):
        slices = ct_slices(20, 128)
        if damage.change is not None:
            damage.change(slices)
        folder = write_series(slices, work / f"defect{number}")
        if damage.spoil is not None:
            damage.spoil(sorted(folder.iterdir())[3])
        report = check_folder(folder, options=CheckOptions(pixels=False))
        codes = " ".join(one.code for one in report.findings)
        through["ours"] += codes != damage.code
        told = {}
        for name, read in installed().items():
            told[name] = verdict(read, folder, len(slices))
            through[name] += told[name].startswith("volume") and damage is not CLEAN
        lines.append(
            f"{damage.name}: ours {codes or 'no finding'}" + "".join(f" | {name} {said}" for name, said in told.items())
        )
    peers = {name: float(count) for name, count in through.items() if name != "ours"}
    table.rows.append(
        Row(name="of 13 defects, without its code", measured=through["ours"], unit="", target=0, peers=peers)
    )
    table.notes += lines


def main() -> int:
    arguments = parser(__doc__, PARTS).parse_args()
    wanted = arguments.only or PARTS
    table = Table("The cohort: from files to tensors")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if {"headers", "ingest"} & set(wanted):
            raw = write_series(ct_slices(SLICES), work / "raw")
        if "headers" in wanted:
            headers(table, raw)
        if "ingest" in wanted:
            others = {"JPEG-LS": JPEGLSLossless, "J2K": JPEG2000Lossless}
            made = {name: compressed(raw, syntax, work / name) for name, syntax in others.items()}
            ingest(table, {"raw": raw, **made}, work)
        for name, part in (("warm", warm), ("recheck", recheck), ("memory", memory), ("defects", defects)):
            if name in wanted:
                part(table, work)
    return table.finish(arguments.json)


if __name__ == "__main__":
    sys.exit(main())
