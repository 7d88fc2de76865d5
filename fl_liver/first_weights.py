"""Round 0's weights, made beforehand: `fl-liver study check` writes them, the server only loads the array.

The SHA-256 of the vector and the fingerprint of its layout then stand in the study that hospitals approve.
"""

from __future__ import annotations

from pathlib import Path

from fl_liver.accountant import require_affordable, training_epsilon
from fl_liver.errors import ConfigError
from fl_liver.models.registry import first_vector
from fl_liver.parameters import load_vector, read_metadata, save_vector, vector_sha256
from fl_liver.study import Study
from fl_liver.study_files import load_study
from fl_liver.update_code import update_code


def check_study(study: Study, folder: Path) -> Study:
    """Write `initial.safetensors` and `study.toml` (with `[initial]` filled in) into `folder`; return that study.

    Of `model.weights` the study keeps the file's name: a hospital never opens it, and has no use for a path.

    Raises:
        ConfigError: the study already states other first weights than its seed and checkpoint give, the checkpoint is
            not its network's, or its updates have no encoding that is fine enough (`update_code`).
        PrivacyError: its private training would spend more than `max_epsilon`.
    """
    require_affordable(study)
    vector, layout, report = first_vector(study)
    update_code(study, layout)
    initial = {"sha256": vector_sha256(vector), "layout": layout.fingerprint}
    if study.initial is not None and study.initial.model_dump() != initial:
        raise ConfigError(
            f"study {study.name}: [initial] says {study.initial.sha256[:12]}, its model and seed give"
            f" {initial['sha256'][:12]}; remove [initial] and check again, or restore the seed"
        )
    checked = study.changed(model={"weights": Path(study.model.weights).name}).with_top(initial=initial)
    metadata = {"study_sha256": checked.sha256, "weights": report.sentence() if report else ""}
    folder.mkdir(parents=True, exist_ok=True)
    save_vector(folder / "initial.safetensors", vector, layout, metadata)
    (folder / "study.toml").write_text(checked.to_toml(), encoding="utf-8")
    return checked


def check_study_file(name_or_path: str, folder: Path) -> str:
    """`check_study` by name; returns the study's SHA-256. For a worker process, so that a server needs no torch."""
    return check_study(load_study(name_or_path), folder).sha256


def describe(study: Study, folder: Path) -> list[tuple[str, str]]:
    """What a coordinator wants to see of a checked study, as label and value."""
    _, layout = load_vector(folder / "initial.safetensors")
    task = study.task
    return [
        ("study", f"{study.name}: {study.title}"),
        ("source", study.source or "—"),
        ("SHA-256", study.sha256),
        ("hospitals", f"{len(study.sites.train)} train, {len(study.sites.external)} external"),
        ("task", f"{task.modality}, {' / '.join(task.classes)}; disease is {', '.join(task.positive)}"),
        ("model", f"{study.model.name}, {study.model.size}, {layout.size:,} parameters"),
        (
            "training",
            f"{study.training.strategy}, {study.training.rounds} rounds × {study.training.local_epochs} epochs",
        ),
        ("sums", f"{study.privacy.secure_sum}, at least {study.privacy.min_sites} hospitals"),
        ("private", _privacy(study)),
        ("first weights", f"{study.initial.sha256 if study.initial else '—'}"),
        ("checkpoint", read_metadata(folder / "initial.safetensors").get("weights") or "none, drawn from the seed"),
        ("files", f"{folder / 'study.toml'}, {folder / 'initial.safetensors'}"),
    ]


def _privacy(study: Study) -> str:
    if (private := study.privacy.training) is None:
        return "training is not (no [privacy.training])"
    return (
        f"training spends epsilon {training_epsilon(study):.3g} of {private.max_epsilon:g} at delta {private.delta:g}"
    )
