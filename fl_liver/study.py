"""A study: everything that hospitals agree on before a round is run, in one TOML file.

Its canonical SHA-256 is what a hospital approves and what every message carries. What a hospital decides alone (paths,
consents, its own floor) stands in its `site.toml` (`fl_liver.client.site`), never here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, field_validator, model_validator

from fl_liver.errors import ConfigError
from fl_liver.study_cohort import CohortRules, Column, Factor
from fl_liver.study_training import Augmentation, Model, Norm, PrivateTraining, Selection, Training
from fl_liver.toml_file import Count, Fraction, Section, parse

__all__ = ["Norm", "PrivateTraining", "Selection", "Study", "Training"]

SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{1,19}$")]
LEAST_EPSILON = 2.0
"""Of a noised histogram, as `stats.private_roc` has it."""


class Task(Section):
    """What is read and what is decided."""

    modality: Literal["US", "CT", "MR", "table"]
    outcome: str = "malignant"
    """Column of the clinical table that holds the diagnosis."""
    classes: dict[str, str]
    """Class name → code in the outcome column, in the order of the model's outputs."""
    positive: tuple[str, ...]
    """Classes that count as disease for the two-class ROC."""
    background: str | None = None
    """Column that holds the kind of liver background, where the model is taught it."""
    background_classes: dict[str, str] = Field(default_factory=dict)
    size_mm: str | None = None
    """Column that holds the lesion's largest diameter in mm."""
    lesion_free: tuple[str, ...] = ()
    """Classes of patients without a lesion: their images need no box and no mask."""
    not_asked: tuple[str, ...] = ()
    """Codes of the outcome column whose patients this study is not about; they are left out without a fault."""

    @field_validator("background", "size_mm")
    @classmethod
    def _none_if_empty(cls, column: str | None) -> str | None:
        """TOML has no null; a variant takes a column away with an empty name."""
        return column or None

    @model_validator(mode="after")
    def _classes_make_sense(self) -> Self:
        if len(self.classes) < 2 or len(set(self.classes.values())) != len(self.classes):
            raise ValueError("at least two classes with different codes are wanted")
        unknown = [name for name in self.positive if name not in self.classes]
        if unknown or not self.positive or len(self.positive) == len(self.classes):
            raise ValueError(f"positive must be some but not all of {list(self.classes)}")
        if strange := [name for name in self.lesion_free if name not in self.classes]:
            raise ValueError(f"lesion_free names no class: {', '.join(strange)}")
        if both := sorted(set(self.not_asked) & set(self.classes.values())):
            raise ValueError(f"not_asked holds codes of classes: {', '.join(both)}")
        return self


class Endpoint(Section):
    """A further question that the study's one network answers, with ROC figures of its own.

    Patients of other classes than `among` are not asked about. With `positive` it is a two-class question, without it
    which of `among`. The network answers it by its readout of that name (`models.lesion_model`).
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,15}$")]
    title: str
    among: tuple[str, ...]
    positive: tuple[str, ...] = ()


class Sites(Section):
    """Who takes part, and how. A hospital is in exactly one list."""

    train: tuple[SiteName, ...]
    external: tuple[SiteName, ...] = ()

    @model_validator(mode="after")
    def _no_site_twice(self) -> Self:
        names = (*self.train, *self.external)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return self


class Analysis(Section):
    """What is computed after training."""

    fusion: tuple[str, ...] = ()
    """Names of the factors offered to the fused model; screened one by one, then together."""
    screening_p: Fraction = 0.05
    curve_every: Count = 3
    """The learning curve shows the internal AUC of every third round, and of the last."""
    calibration_groups: Annotated[int, Field(ge=2, le=20)] = 10
    snapshots: bool = False
    """Each endpoint is answered by the model of the round that answered it best for the calibration patients, and not
    by the last one (Schmauch 2019)."""
    composite: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """Weights of one score over all endpoints, "main" for the study's own question; of more than two classes the mean
    one-against-rest AUC counts."""
    min_cell: Annotated[int, Field(ge=3)] = 5
    """Smallest group that a published number may describe, over all hospitals of a sum."""


class Privacy(Section):
    """How sums are protected."""

    secure_sum: Literal["masked", "plain"] = "masked"
    """`plain` adds in the clear, for debugging: the server sees every hospital's vectors."""
    keystream: Literal["chacha20", "aes-256-ctr"] = "chacha20"
    """The cipher that makes the masks; AES is the faster one where the processor has it."""
    min_sites: Annotated[int, Field(ge=3)] = 3
    """A sum over fewer hospitals is never opened."""
    min_patients: Count = 10
    """A hospital with fewer usable patients sits out."""
    training: PrivateTraining | None = None
    histogram_epsilon: float | None = None
    """AUCs from histograms with discrete Laplace noise, once for all models, and nothing exact about these patients."""

    @field_validator("histogram_epsilon")
    @classmethod
    def _noise_is_worth_it(cls, epsilon: float | None) -> float | None:
        if epsilon is not None and epsilon < LEAST_EPSILON:
            raise ValueError(
                f"wanted {LEAST_EPSILON:g} or more for all models together, or no key for exact figures; below it the"
                " noise is larger than the sampling error"
            )
        return epsilon

    @model_validator(mode="after")
    def _no_share_of_noise_stands_alone(self) -> Self:
        if self.histogram_epsilon is not None and self.secure_sum == "plain":
            raise ValueError(
                'histogram_epsilon wants secure_sum = "masked": in the clear the server would see each hospital\'s'
                " counts under that hospital's own share of the noise alone, which is less than epsilon needs"
            )
        return self


class Initial(Section):
    """The first weights, made beforehand by `fl-liver study check`."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    layout: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Study(Section):
    """A whole study."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    source: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 2020
    task: Task
    model: Model
    sites: Sites
    cohort: CohortRules = CohortRules()
    training: Training = Training()
    augmentation: Augmentation = Augmentation()
    selection: Selection | None = None
    analysis: Analysis = Analysis()
    privacy: Privacy = Privacy()
    column: tuple[Column, ...] = ()
    factor: tuple[Factor, ...] = ()
    endpoint: tuple[Endpoint, ...] = ()
    initial: Initial | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        columns = [column.name for column in self.column]
        if len(set(columns)) != len(columns):
            raise ValueError("two [[column]] sections have one name")
        known = [factor.name for factor in self.factor]
        if len(set(known)) != len(known):
            raise ValueError("two factors have one name")
        missing = [name for name in self.analysis.fusion if name not in known]
        if missing:
            raise ValueError(f"analysis.fusion names no [[factor]]: {', '.join(missing)}")
        if (self.task.modality == "table" or self.model.clinical) and not known:
            what = "model.clinical = true" if self.model.clinical else "a table study"
            raise ValueError(f"{what} needs at least one [[factor]]")
        return self

    @model_validator(mode="after")
    def _endpoints_make_sense(self) -> Self:
        names = [one.name for one in self.endpoint]
        if len(set(names)) != len(names):
            raise ValueError("two [[endpoint]] sections have one name")
        for one in self.endpoint:
            if len(one.among) < 2 or len(set(one.among)) != len(one.among) or set(one.among) - set(self.task.classes):
                raise ValueError(f"endpoint {one.name}: among wants two or more of {list(self.task.classes)}")
            if len(one.among) == 2 and not one.positive:
                raise ValueError(f"endpoint {one.name}: of two classes one is positive; say which")
            if set(one.positive) - set(one.among) or len(set(one.positive)) == len(one.among):
                raise ValueError(f"endpoint {one.name}: positive must be some but not all of {list(one.among)}")
        return self

    @model_validator(mode="after")
    def _figures_follow_from_the_study(self) -> Self:
        strange = sorted(set(self.analysis.composite) - {"main", *(one.name for one in self.endpoint)})
        if strange:
            raise ValueError(f"analysis.composite names no [[endpoint]]: {', '.join(strange)}")
        if self.analysis.snapshots and not (self.cohort.calibration or self.cohort.folds):
            raise ValueError("analysis.snapshots are chosen on calibration patients: set cohort.calibration above 0")
        return self

    @model_validator(mode="after")
    def _lesions_are_known_where_they_are_used(self) -> Self:
        if not self.cohort.masks and (self.selection is not None or self.training.attention_weight):
            raise ValueError("selection and training.attention_weight need the drawn lesions: set cohort.masks = true")
        return self

    @model_validator(mode="after")
    def _nothing_mixes_patients(self) -> Self:
        if self.training.strategy == "fedbn" and self.model.norm == "group":
            raise ValueError("strategy 'fedbn' keeps batch normalisation in the hospital; model.norm 'group' has none")
        wrong = _mixes_patients(self) if self.privacy.training is not None else []
        if wrong:
            raise ValueError("privacy.training needs a gradient that is one patient's own: " + "; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _nothing_exact_beside_noise(self) -> Self:
        wrong = _exact_figures(self) if self.privacy.histogram_epsilon is not None else []
        if wrong:
            raise ValueError(
                "privacy.histogram_epsilon spends privacy on noised counts, and exact ones of the same patients would"
                f" waste it: {'; '.join(wrong)}"
            )
        return self

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the canonical JSON: keys in this file's order, no spaces, shortest round-trip floats.

        Not sorted: the order of classes is the order of the model's outputs, and belongs to what is approved. The order
        of the other keys in the TOML file does not matter.
        """
        canonical = json.dumps(self.model_dump(mode="json"), separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Study:
        """As pydantic's, but hashed anew; `changed` also validates."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("sha256", None)
        return copy

    @property
    def histogram_noise(self) -> tuple[float, int] | None:
        """(ε of all models together, t hospitals whose noise alone reaches it); None where figures are exact.

        t is more than two thirds of the training hospitals, as many as a masked sum needs: ε holds where t of those in
        the sum keep to the protocol, whatever the others tell each other.
        """
        if self.privacy.histogram_epsilon is None:
            return None
        return self.privacy.histogram_epsilon, 2 * len(self.sites.train) // 3 + 1

    @property
    def asks_which_class(self) -> bool:
        """Whether the study's own question is which of several classes, and not only whether it is one of `positive`.

        With further endpoints it is never: which class is then an endpoint of its own, among those whom it concerns.
        """
        return len(self.task.classes) > 2 and not self.endpoint

    @property
    def every_site(self) -> tuple[str, ...]:
        return (*self.sites.train, *self.sites.external)

    def role_of(self, site: str) -> Literal["train", "external"]:
        """Raises ConfigError where the study does not name the site."""
        if site in self.sites.train:
            return "train"
        if site in self.sites.external:
            return "external"
        raise ConfigError(f"study {self.name}: no site '{site}' (sites: {', '.join(self.every_site)})")

    def changed(self, **sections: dict[str, object]) -> Study:
        """A copy with keys of some sections replaced, validated again: `changed(training={"rounds": 3})`."""
        raw = self.model_dump(mode="json", exclude_none=True)
        for section, keys in sections.items():
            raw[section] = {**raw.get(section, {}), **keys}
        return parse(raw, Study, f"study {self.name}")

    def with_top(self, **keys: object) -> Study:
        """A copy with top-level keys replaced (`seed`, `initial`), validated again."""
        return parse({**self.model_dump(mode="json", exclude_none=True), **keys}, Study, f"study {self.name}")

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _mixes_patients(study: Study) -> list[str]:
    """What in a study lets one patient's data into the part of another, or out without noise; empty where nothing."""
    training = study.training
    reasons = {
        "model.norm 'batch' normalises by the mean of several patients, wanted 'group'": study.model.norm == "batch"
        and study.task.modality != "table",
        f"training.triplet_weight {training.triplet_weight} compares pairs of patients, wanted 0": (
            training.triplet_weight > 0
        ),
        "training.strategy 'fedbn' is batch normalisation, wanted 'fedavg' or 'fedprox'": training.strategy == "fedbn",
        f"training.max_weight {training.max_weight} lets a hospital weigh by its number of patients, which is not"
        " noised, wanted 1": training.max_weight > 1,
        "training.precision 'bfloat16' is not there for gradients of single patients, wanted 'auto' or 'float32'": (
            training.precision == "bfloat16"
        ),
        f"training.mixup {training.mixup} mixes the images of two patients, wanted 0": training.mixup > 0,
        "training.balance 'oversample' draws images by how many the other patients have, wanted 'weights' or 'none'": (
            training.balance == "oversample"
        ),
        "selection looks at training patients without noise, drop it": study.selection is not None,
        "cohort.unit 'lesion' gives a patient a part and a gradient for each lesion, wanted 'patient'": (
            study.cohort.unit == "lesion"
        ),
    }
    return [reason for reason, applies in reasons.items() if applies]


def _exact_figures(study: Study) -> list[str]:
    """What a study asks for that is summed without noise; empty where nothing."""
    reasons = {
        f"analysis.fusion is a regression on exact sums, drop its {len(study.analysis.fusion)} factors": bool(
            study.analysis.fusion
        ),
        f"{len(study.task.classes)} classes are told apart by exact tables, wanted 2": len(study.task.classes) > 2,
        f"{len(study.endpoint)} further endpoints are read off exactly, wanted none": bool(study.endpoint),
        "analysis.snapshots are chosen by exact figures, wanted false": study.analysis.snapshots,
        "cohort.folds makes scores for fusion and cut-offs, which are exact, wanted 0": study.cohort.folds > 0,
    }
    return [reason for reason, applies in reasons.items() if applies]
