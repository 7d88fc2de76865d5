"""Virtual hospitals as folders on disk, written by several processes.

A folder appears under its name only when it is complete: patients go to a hidden folder beside it, which is renamed at
the end. So an interrupted run leaves nothing half-written under a name that a site would open.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from fl_liver.errors import ConfigError
from simulation.phantom.readers import READERS_FILE, calls_of, draw_readings, reader_header
from simulation.phantom.virtual import PatientRows, VirtualHospital

GENERATOR_VERSION = 4
"""Raise when equal parameters give other bytes, so that old folders are made again."""
MARKER = "phantom.json"
"""In a complete folder: the generator's version, a hash of the hospital's parameters, and its device."""
_PATIENTS_PER_TASK = 8

OnPatient = Callable[[str], None]


def write_hospitals(
    hospitals: Sequence[VirtualHospital], root: Path, workers: int = 1, on_patient: OnPatient | None = None
) -> None:
    """Write each hospital's folder `root/<name>`; one that is already complete is left as it is.

    Args:
        hospitals: as `phantom_hospitals` and the like make them; names must differ.
        root: made if absent.
        workers: processes, ≥ 1; 1 works in this process.
        on_patient: called in this process with the id of every patient after it was written, in no fixed order.
    Raises:
        ConfigError: fewer than 1 worker, a name twice, or a folder that this generator did not write.
    """
    names = [hospital.name for hospital in hospitals]
    if workers < 1 or len(set(names)) < len(names):
        raise ConfigError(f"phantom: {workers} workers for {', '.join(names)}; wanted at least 1 and no name twice")
    missing = [hospital for hospital in hospitals if not is_complete(hospital, root)]
    for hospital in missing:
        _start(hospital, root)
    if workers == 1:
        for hospital in missing:
            records = [
                record for task in _tasks(hospital) for record in _told(_write(hospital, root, task), on_patient)
            ]
            _finish(hospital, root, records)
    elif missing:
        _write_in_parallel(missing, root, workers, on_patient)


def is_complete(hospital: VirtualHospital, root: Path) -> bool:
    """Whether `root/<name>` holds exactly this hospital. A folder that this generator did not write is refused."""
    folder = root / hospital.name
    if not folder.exists():
        return False
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return (found["generator"], found["parameters"]) == (GENERATOR_VERSION, parameters_hash(hospital))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder}: exists but has no valid {MARKER}; give a folder without {hospital.name}"
        ) from error


def parameters_hash(hospital: VirtualHospital) -> str:
    """SHA-256 over every parameter of the hospital."""
    return hashlib.sha256(json.dumps(hospital.parameters(), sort_keys=True).encode()).hexdigest()


def _write_in_parallel(
    hospitals: list[VirtualHospital], root: Path, workers: int, on_patient: OnPatient | None
) -> None:
    records: dict[str, list[PatientRows]] = {hospital.name: [] for hospital in hospitals}
    by_name = {hospital.name: hospital for hospital in hospitals}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending = {
            pool.submit(_write, hospital, root, task): hospital for hospital in hospitals for task in _tasks(hospital)
        }
        try:
            for done in as_completed(pending):
                name = pending[done].name
                records[name] += _told(done.result(), on_patient)
                if len(records[name]) == by_name[name].patients:
                    _finish(by_name[name], root, records.pop(name))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _tasks(hospital: VirtualHospital) -> list[range]:
    last = hospital.patients
    return [range(first, min(first + _PATIENTS_PER_TASK, last)) for first in range(0, last, _PATIENTS_PER_TASK)]


def _write(hospital: VirtualHospital, root: Path, indices: range) -> list[PatientRows]:
    """Write some patients' images; runs in a worker."""
    return [hospital.write_patient(index, _unfinished(hospital, root)) for index in indices]


def _told(records: list[PatientRows], on_patient: OnPatient | None) -> list[PatientRows]:
    if on_patient is not None:
        for record in records:
            on_patient(record.patient_id)
    return records


def _unfinished(hospital: VirtualHospital, root: Path) -> Path:
    return root / f".{hospital.name}.unfinished"


def _start(hospital: VirtualHospital, root: Path) -> None:
    """An empty hidden folder; what an interrupted run left there goes."""
    folder = _unfinished(hospital, root)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _finish(hospital: VirtualHospital, root: Path, records: list[PatientRows]) -> None:
    """Add tables, `site.toml` and marker, then give the folder its name in place of an older version."""
    folder, final, old = _unfinished(hospital, root), root / hospital.name, root / f".{hospital.name}.old"
    records.sort(key=lambda record: record.patient_id)
    for table, header in hospital.tables.items():
        _write_table(folder / table, header, (row for record in records for row in record.rows.get(table, [])))
    of_lesions = "lesion" in hospital.tables["clinical.csv"]
    readings = (row for record in records for row in _readings(hospital, record, of_lesions))
    _write_table(folder / READERS_FILE, reader_header(hospital.opinions, of_lesions=of_lesions), readings)
    role = "external" if hospital.external else "train"
    (folder / "site.toml").write_text(
        f"# Virtual hospital: {hospital.device}. Nobody in it is real.\n"
        f'site = "{hospital.name}"\nrole = "{role}"\ndata = "."\nwork = "work"\nrelease = "named"\n'
        "plain_sums = true\naudit = false\ndurable = false\ndecoders = 0\n",
        encoding="utf-8",
    )
    marker = {
        "generator": GENERATOR_VERSION,
        "parameters": parameters_hash(hospital),
        "device": hospital.device,
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
    if old.exists():
        shutil.rmtree(old)
    if final.exists():
        final.rename(old)
    folder.rename(final)
    if old.exists():
        shutil.rmtree(old)


def _readings(hospital: VirtualHospital, record: PatientRows, of_lesions: bool) -> list[list[str]]:
    """What simulated readers say of each unit of a patient, then each opinion; all from streams of their own."""
    rows, parameters = [], parameters_hash(hospital)

    def stream(*purpose: object) -> np.random.Generator:
        seed = hashlib.sha256(":".join(map(str, purpose)).encode())
        return np.random.default_rng(int.from_bytes(seed.digest()[:8], "big"))

    for place, unit in enumerate(record.units, start=1):
        of_unit = (hospital.name, record.patient_id, place, parameters)
        row = draw_readings(record.patient_id, place if of_lesions else 0, unit.evidence, stream(*of_unit))
        calls = calls_of(row)
        for opinion in hospital.opinions:
            row += opinion.draw(unit, calls, stream(*of_unit, opinion.columns[0]))
        rows.append(row)
    return rows


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
