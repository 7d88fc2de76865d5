"""The virtual hospitals of a run as folders: phantom patients, or real ones of a public data set dealt out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fl_liver.client.approval import write_approval
from fl_liver.client.site import load_site
from fl_liver.identity import ensure_identity, write_roster
from fl_liver.study import Study
from simulation.engine import available_cores
from simulation.options import Options
from simulation.partition import parse_partition, partition
from simulation.phantom.registry import phantom_of
from simulation.phantom.write import write_hospitals
from simulation.public.hospital_folders import write_virtual_hospitals
from simulation.public.registry import read_public
from simulation.public.serve import serve


@dataclass(frozen=True, slots=True)
class Hospitals:
    """Folders by site name, what stands in the report of each one's device, and the study with their names in it."""

    study: Study
    folders: dict[str, Path]
    devices: dict[str, str]
    notes: tuple[str, ...] = ()


def make_hospitals(study: Study, options: Options, root: Path, on_patient: Callable[[int, int], None]) -> Hospitals:
    """Write the hospitals of a run below `root`; those that are complete are left as they are.

    `on_patient` is told patients done and patients in all.

    Raises:
        ConfigError: a model without a phantom and no `--data`; see also the readers and `partition`.
    """
    if options.data is not None:
        return _public(study, options, root, on_patient)
    return _phantom(study, options, root, on_patient)


def _phantom(study: Study, options: Options, root: Path, on_patient: Callable[[int, int], None]) -> Hospitals:
    hospitals = phantom_of(study, scale=options.scale, least=options.least_patients)
    total = sum(hospital.patients for hospital in hospitals)
    done = 0

    def count(_: str) -> None:
        nonlocal done
        done += 1
        on_patient(done, total)

    write_hospitals(hospitals, root, workers=options.workers or available_cores(), on_patient=count)
    folders = {hospital.name: root / hospital.name for hospital in hospitals}
    return Hospitals(study, folders, {hospital.name: hospital.device for hospital in hospitals})


def _public(study: Study, options: Options, root: Path, on_patient: Callable[[int, int], None]) -> Hospitals:
    served = serve(read_public(options.reader, Path(str(options.data))), study)
    study, cohort = served.study, served.cohort
    labels = cohort.labels(study)
    assignment = partition(
        parse_partition(options.partition),
        labels,
        cohort.partition_columns,
        hospitals=len(study.every_site),
        external=len(study.sites.external),
        seed=study.seed,
        min_patients=study.privacy.min_patients,
    )
    names = [name for name, _ in assignment]
    train = len(names) - len(study.sites.external)
    named = study.changed(sites={"train": names[:train], "external": names[train:]})
    faults: list[str] = []
    folders = write_virtual_hospitals(
        cohort, assignment, root, names[train:], named, on_patient=on_patient, on_fault=faults.append
    )
    notes = (
        *served.notes,
        *cohort.notes,
        *faults,
        *(f"column '{column}' is refused as a factor: {why}" for column, why in cohort.refused.items()),
    )
    return Hospitals(named, dict(zip(names, folders, strict=True)), {}, notes)


def introduce(folders: dict[str, Path], roster: Path) -> None:
    """Give every virtual hospital an identity, and all of them and the coordinator the same roster.

    In a deployment people compare fingerprints by telephone before a roster is written.
    """
    sites = {name: load_site(folder / "site.toml") for name, folder in folders.items()}
    identities = {name: ensure_identity(site.identity) for name, site in sites.items()}
    for path in (roster, *(site.roster for site in sites.values())):
        write_roster(path, identities)


def approve_everywhere(study: Study, folders: dict[str, Path]) -> None:
    """Every virtual hospital approves the study, as an operator would with `fl-liver site approve`."""
    for folder in folders.values():
        write_approval(load_site(folder / "site.toml"), study, who="simulation")
