"""What a person asked of a simulation, and the study that follows from it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import product
from pathlib import Path

from fl_liver.errors import ConfigError
from fl_liver.study import Study
from fl_liver.study_files import at_published_size, load_study, tasks_of
from fl_liver.toml_file import Section

Point = dict[str, dict[str, object]]
"""One combination of a grid: section → key → value."""
QUICK_SCALE, QUICK_LEAST = 0.3, 22
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
    folds: int | None = None
    repeats: str | None = None
    grid: tuple[str, ...] = ()
    all_tasks: bool = False
    leave_one_centre_out: bool = False
    baselines: bool = True
    plain_sums: bool = False
    deploy: bool = False

    @property
    def computes_on(self) -> str:
        """The device for `pick_device`; daemons of a deployment on one machine would fight for a GPU."""
        return "cpu" if self.deploy else self.device

    @property
    def least_patients(self) -> int:
        """Of the smallest phantom hospital: with fewer than ten to train, a hospital sits out."""
        return QUICK_LEAST if self.quick else 0

    @property
    def scale(self) -> float:
        """Factor on the patients of every phantom hospital."""
        return QUICK_SCALE if self.quick else 1.0


def resolve_study(options: Options) -> Study:
    """The study with the command line's changes in it.

    Raises:
        ConfigError: unknown study, numbers that do not go together, or a grid with a value that the study cannot take.
    """
    if options.full and options.quick:
        raise ConfigError("--full and --quick exclude each other; choose one")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", options.device):
        raise ConfigError(f"--device '{options.device}': wanted auto, cpu or cuda:N")
    study = load_study(at_published_size(options.study) if options.full else options.study)
    if options.quick:
        study = _quick(study)
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
    if options.folds is not None:
        study = with_folds(study, options.folds)
    side_studies_asked(options)
    if options.plain_sums:
        study = study.changed(privacy={"secure_sum": "plain"})
    if options.deploy:
        _check_deployable(options)
    if options.leave_one_centre_out and study.histogram_noise is not None:
        raise ConfigError(
            "--leave-one-centre-out: each of its studies would spend privacy.histogram_epsilon ="
            f" {study.histogram_noise[0]:g} anew on the same patients; leave out the option or the key"
        )
    for point in grid_of(options):
        at_point(study, point)
    return study


def _quick(study: Study) -> Study:
    """Small and short, to see that all of it works."""
    warmup = min(study.training.warmup_rounds, 1)
    training: dict[str, object] = {"rounds": 3, "local_epochs": 1, "warmup_rounds": warmup}
    small = study.changed(training=training, sites=site_names(5, 2), privacy={"min_patients": 6})
    return small if study.selection is None else small.changed(selection={"rounds": 2})


def with_folds(study: Study, folds: int) -> Study:
    """Cross-fitting. Raises ConfigError for fewer than two folds."""
    if not 2 <= folds <= 10:
        raise ConfigError(f"--folds {folds}: wanted 2 to 10")
    return study.changed(cohort={"folds": folds, "calibration": 0.0})


def repeats_of(options: Options) -> tuple[int, int] | None:
    """(splits, folds) of `--repeats 3x3`. Raises ConfigError for anything else."""
    if options.repeats is None:
        return None
    found = re.fullmatch(r"(\d{1,2})x(\d{1,2})", options.repeats)
    splits, folds = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= splits <= 20 and 2 <= folds <= 10):
        raise ConfigError(f"--repeats '{options.repeats}': wanted SPLITSxFOLDS with 2 to 10 folds, such as 3x3")
    return splits, folds


def grid_of(options: Options) -> list[Point]:
    """Every combination of `--grid SECTION.KEY=VALUE,VALUE …` as changes of the study; none without a grid.

    Raises:
        ConfigError: another form, or a value that is no TOML value.
    """
    axes: list[list[tuple[str, str, object]]] = []
    for one in options.grid:
        found = re.fullmatch(r"([a-z]+)\.([a-z_]+)=(.+)", one)
        if found is None:
            raise ConfigError(f"--grid '{one}': wanted SECTION.KEY=VALUE,VALUE such as training.learning_rate=0.03,0.1")
        axes.append([(found[1], found[2], _value(text, one)) for text in found[3].split(",")])
    points: list[Point] = []
    for combination in product(*axes) if axes else ():
        point: Point = {}
        for section, key, value in combination:
            point.setdefault(section, {})[key] = value
        points.append(point)
    return points


def at_point(study: Study, point: Point) -> Study:
    """The study with the values of one combination of a grid.

    Raises:
        ConfigError: it has no such section or key, or cannot take the values together.
    """
    said = " ".join(f"{section}.{key}={value!r}" for section, keys in point.items() for key, value in keys.items())
    for section in point:
        if not isinstance(getattr(study, section, None), Section | None):
            raise ConfigError(f"--grid {said}: '{section}' is no section of a study; wanted SECTION.KEY")
    try:
        return study.changed(**point)
    except ConfigError as error:
        raise ConfigError(f"--grid {said}: {error}") from None


def _value(text: str, where: str) -> object:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"--grid '{where}': '{text}' is no TOML value; put words in quotes") from None


def side_studies_asked(options: Options) -> None:
    """Refuse options of further studies that cannot be met, before anything is written.

    Raises:
        ConfigError: a wrong form, a study without variants, or a deployment, which runs one study.
    """
    asked = {"--repeats": repeats_of(options), "--grid": grid_of(options), "--all-tasks": options.all_tasks}
    named = [name for name, found in asked.items() if found]
    if named and options.deploy:
        raise ConfigError(f"--deploy {named[0]}: a deployment runs one study; leave out one of the two")
    if options.all_tasks and not tasks_of(options.study):
        raise ConfigError(f"--all-tasks: study '{options.study}' has no [variant.NAME]; leave out the option")


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
    return Path("runs") / f"{study.replace(':', '-')}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


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
        found = json.loads(path.read_text(encoding="utf-8"))
        return Options(**found | {"grid": tuple(found["grid"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path}: no run to resume ({type(error).__name__}); give the folder of an earlier run"
        ) from error
