"""What a person asked of a simulation, and the study that follows from it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from fl_liver.errors import ConfigError
from fl_liver.study import Study
from fl_liver.study_files import load_study

QUICK_SCALE = 0.35
"""Phantom hospitals of `--quick` have this share of their patients."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `python -m simulation`, validated by `resolve_study` and the readers."""

    study: str = "lesion_us_fusion"
    data: str | None = None
    reader: str | None = None
    partition: str = "iid"
    hospitals: int | None = None
    external: int | None = None
    rounds: int | None = None
    seed: int | None = None
    engine: str = "processes"
    device: str = "auto"
    workers: int | None = None
    full: bool = False
    quick: bool = False
    cross_fit: bool = False
    leave_one_centre_out: bool = False
    baselines: bool = True
    plain_sums: bool = False
    deploy: bool = False

    @property
    def computes_on(self) -> str:
        """The device for `pick_device`; daemons of a deployment on one machine would fight for a GPU."""
        return "cpu" if self.deploy else self.device

    @property
    def scale(self) -> float:
        """Factor on the patients of every phantom hospital."""
        return QUICK_SCALE if self.quick else 1.0


def resolve_study(options: Options) -> Study:
    """The study with the command line's changes in it.

    Raises:
        ConfigError: unknown study, or numbers that do not go together.
    """
    if options.full and options.quick:
        raise ConfigError("--full and --quick exclude each other; choose one")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", options.device):
        raise ConfigError(f"--device '{options.device}': wanted auto, cpu or cuda:N")
    study = load_study(options.study)
    if options.quick:
        study = study.changed(
            training={"rounds": 3, "local_epochs": 1}, sites=site_names(5, 2), privacy={"min_patients": 6}
        )
    if options.full:
        study = study.changed(model={"width": 64, "image_px": 224})
    if options.hospitals is not None or options.external is not None:
        hospitals = len(study.every_site) if options.hospitals is None else options.hospitals
        external = options.external
        if external is None:  # three train before the first one only tests
            external = max(0, min(len(study.sites.external), hospitals - study.privacy.min_sites))
        if hospitals - external < study.privacy.min_sites or external < 0:
            raise ConfigError(
                f"--hospitals {hospitals} --external {external}: {hospitals - external} would train, wanted at least"
                f" {study.privacy.min_sites} (a sum over fewer is never opened)"
            )
        study = study.changed(sites=site_names(hospitals - external, external))
    if options.rounds is not None:
        if options.rounds < 1:
            raise ConfigError(f"--rounds {options.rounds}: at least 1 is wanted")
        study = study.changed(training={"rounds": options.rounds})
    if options.seed is not None:
        study = study.with_top(seed=options.seed)
    if options.cross_fit:
        study = study.changed(cohort={"folds": 5, "calibration": 0.0})
    if options.plain_sums:
        study = study.changed(privacy={"secure_sum": "plain"})
    if options.deploy:
        _check_deployable(options)
    if options.leave_one_centre_out and study.histogram_noise is not None:
        raise ConfigError(
            "--leave-one-centre-out: each of its studies would spend privacy.histogram_epsilon ="
            f" {study.histogram_noise[0]:g} anew on the same patients; leave out the option or the key"
        )
    return study


def _check_deployable(options: Options) -> None:
    if options.leave_one_centre_out:
        raise ConfigError(
            "--deploy --leave-one-centre-out: a deployment runs one study, this wants one for each hospital; leave out"
            " one of the two"
        )
    if options.device not in ("auto", "cpu"):
        raise ConfigError(
            f"--deploy --device {options.device}: its daemons share this machine's processors; wanted cpu"
        )


def site_names(train: int, external: int) -> dict[str, object]:
    """Names of virtual hospitals, H01 on; the external ones come last."""
    names = [f"H{number:02d}" for number in range(1, train + external + 1)]
    return {"train": names[:train], "external": names[train:]}


def new_folder(study: str) -> Path:
    """`runs/<study>-<time>`."""
    return Path("runs") / f"{study}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def save_options(options: Options, folder: Path) -> None:
    """What `--resume` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(asdict(options), indent=1) + "\n", encoding="utf-8")


def load_options(folder: Path) -> Options:
    """The options of the run in `folder`.

    Raises:
        ConfigError: no run was begun there, or another version wrote it.
    """
    path = folder / "run.json"
    try:
        return Options(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path}: no run to resume ({type(error).__name__}); give the folder of an earlier run"
        ) from error
