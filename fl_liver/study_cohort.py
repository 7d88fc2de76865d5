"""What a study wants of a hospital's cohort: which series, which columns with which units and codes, which factors.

Parts of the study's TOML (`fl_liver.study`): what a hospital approves says what is read of its patients.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fl_liver.toml_file import Count, Fraction, Positive, Section

SequenceKind = Literal["t2", "dwi", "t1_pre", "plain", "arterial", "portal", "equilibrium", "delayed"]
"""MR: T2, diffusion, T1 before contrast, late arterial, portal venous, equilibrium. CT: plain, arterial, portal venous,
delayed."""


class Column(Section):
    """What one column of the clinical table may hold. Columns without a schema are taken as they are."""

    name: str
    kind: Literal["number", "code", "age", "date"]
    """`age` also as DICOM writes it, "062Y"; `date` as YYYY-MM-DD or YYYYMMDD."""
    unit: str = ""
    """As it should stand in the hospital's table; shown to people, never converted."""
    at_least: float | None = None
    at_most: float | None = None
    """A number outside is a wrong unit or a slip: it counts as missing and is listed."""
    codes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Markers of a missing value besides the usual ones ("", "NA", "?", "[Not Available]", …)."""
    required: bool = False
    """A patient without a usable value is left out."""
    days_from_imaging: tuple[int, int] | None = None
    """A `date` must lie between so many days after the images were made, negative for before."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.codes and self.kind != "code":
            raise ValueError(f"column {self.name}: codes belong to kind 'code', this is '{self.kind}'")
        if self.kind == "code" and not self.codes:
            raise ValueError(f"column {self.name}: kind 'code' wants its codes")
        if (self.at_least is not None or self.at_most is not None) and self.kind not in ("number", "age"):
            raise ValueError(f"column {self.name}: a range belongs to a number or an age, this is '{self.kind}'")
        if self.days_from_imaging is not None and self.kind != "date":
            raise ValueError(f"column {self.name}: days_from_imaging belongs to a date, this is '{self.kind}'")
        return self


class Factor(Section):
    """One clinical or sonographic factor as a number, made from one column of the site's clinical table.

    With `at_least`, `above`, `below` or `equals` it is 0/1; `at_least` and `below` together are a band. Otherwise the
    column is taken as a number (binary columns may hold 0/1, Y/N, yes/no, M/F via `equals`), after `log10` if asked,
    then (x − center) / scale.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    column: str
    label: str
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    equals: str | None = None
    missing: float | None = None
    """Value of the factor where the column is empty; without it such a patient is left out of analyses that name it."""
    log10: bool = False
    center: float = 0.0
    scale: Positive = 1.0


class CohortRules(Section):
    """What is taken of each patient, and how a training hospital's patients are parted.

    Parts go by patient, within class, from a hash of the patient's id.
    """

    views: Count = 4
    """Images of one lesion that are used: stills by instance number, slices of a volume by the lesion's area."""
    internal_validation: Fraction = 0.2
    calibration: Fraction = 0.25
    """Share of the training part kept from the network for fusion and cut-off; 0 with `folds`."""
    folds: Annotated[int, Field(ge=0, le=10)] = 0
    """Cross-fitting: federations trained without one fold each, so that every training patient gets an unseen score."""
    unit: Literal["patient", "lesion"] = "patient"
    """What has a diagnosis, a score and a row of the clinical table: a patient, or each drawn lesion, which the column
    `lesion` names by its label in the mask. All lesions of a patient go to one part and fold."""
    crops: Literal["lesion", "whole"] = "lesion"
    """Lesion: a square round it. Whole: all of the picture; in ultrasound the scan with its brightness rescaled
    (Schmauch 2019), in CT and MR whole slices (Wang 2021)."""
    lesion_margin: Positive = 1.45
    """Side of the square crop over the longer side of the lesion's box."""
    patch_mm: Positive | None = None
    """CT and MR: side of the square crop in mm, about the lesion's middle, in the place of `lesion_margin` (Khalili
    2020)."""
    free_views: Annotated[int, Field(ge=0)] = 0
    """CT and MR, whole: slices of each patient without a lesion, evenly spaced over the liver's height."""
    masks: bool = False
    """Keep where the lesion was drawn, as one more image beside each: attention is taught with it, heat maps are
    measured against it. Ultrasound: the boxes."""
    sequences: tuple[SequenceKind, ...] = ()
    """CT and MR: the series that every patient must have, in the order of the network's input channels."""
    drawn_on: SequenceKind | None = None
    """The one of them that lesions are drawn on; by default the first. The lesion is carried to the others."""
    spacing_mm: tuple[Positive, Positive, Positive] | None = None
    """Slice, row and column distance to which volumes are resampled; by default that of the series drawn on."""
    window_hu: tuple[float, float] | None = None
    """CT: Hounsfield units that become 0 and 1; by default each crop is standardised by itself."""
    other_frames: bool = False
    """Carry a lesion also to series with another frame of reference. No registration is made."""

    @property
    def cluster(self) -> str | None:
        """What statistics of these rows take as `cluster`: "" where lesions go by patient, as the table knows them."""
        return "" if self.unit == "lesion" else None

    @model_validator(mode="after")
    def _series_agree(self) -> Self:
        if len(set(self.sequences)) != len(self.sequences):
            raise ValueError("sequences names one kind twice")
        if self.drawn_on is not None and self.drawn_on not in self.sequences:
            raise ValueError(f"drawn_on '{self.drawn_on}' is none of sequences {list(self.sequences)}")
        if self.free_views and self.crops != "whole":
            raise ValueError('free_views are whole slices without a lesion; they go with crops = "whole"')
        if self.patch_mm is not None and self.crops == "whole":
            raise ValueError('patch_mm is a crop; it goes with crops = "lesion"')
        if self.window_hu is not None and not self.window_hu[0] < self.window_hu[1]:
            raise ValueError("window_hu wants its lower end first")
        return self
