"""Every code that the cohort may give to a patient, series or file, each with the sentence that says what to do.

E leaves the case out, W keeps it, F stops the hospital. A code never changes its meaning; causes are written where the
defect is found.
"""

from __future__ import annotations

from fl_liver.client.cohort.cohort import Finding
from fl_liver.errors import DataError, FLLiverError

_EXPORT_AGAIN = "export the series again from the archive"
_CORRECT_BOX = "correct the row in lesions.csv"

REMEDIES: dict[str, str] = {
    # a file
    "E_DECODE_CRASH": "the file ends the decoder's process; export it again, uncompressed",
    "E_DECODE_FAILED": "export the file again, uncompressed or as JPEG-LS or JPEG 2000",
    "E_DECODE_TIMEOUT": "the file keeps the decoder busy beyond its time; export it again, uncompressed",
    "E_DUPLICATE_UID": "two different files carry one SOPInstanceUID; keep the right one",
    "E_NOT_DICOM": "remove the file, or export it again as DICOM",
    "E_NOT_REGULAR": "replace the pipe, device or broken link by a plain file",
    "E_NO_PIXELS": "export the image with its pixel data",
    "E_TOO_LARGE": "export fewer frames a file, or without deflate compression",
    "E_TRUNCATED": "the file was cut short in transfer; copy it again",
    "E_TS_NO_DECODER": "export the file uncompressed, or as JPEG-LS or JPEG 2000",
    "E_TS_UNSUPPORTED": "export the file in a standard transfer syntax",
    "E_UNREADABLE": "export the file again; if it still fails, leave it out",
    "W_DICOMDIR_IGNORED": "nothing to do; the files themselves are read",
    "W_DUPLICATE_FILE": "nothing to do; one of the identical files is used",
    "W_NOT_AN_IMAGE": "nothing to do; reports and plans are not read as images",
    "W_OTHER_FILES": "nothing to do, unless one of them should be DICOM",
    "W_SYMLINK_OUTSIDE_ROOT": "the link is not followed; copy the file into the folder if it belongs to the cohort",
    # a series
    "E_DUPLICATE_POSITION": "remove the second slice at the same position",
    "E_GANTRY_TILT": "use a series without gantry tilt, or have it resampled at the scanner",
    "E_LOCALIZER": "remove the localizer images from the series",
    "E_MATRIX_VARIES": _EXPORT_AGAIN,
    "E_MISSING_SLICES": "a slice is probably missing; " + _EXPORT_AGAIN,
    "E_MIXED_FRAME": "the slices lie in different frames of reference; " + _EXPORT_AGAIN,
    "E_MIXED_ORIENTATION": "split the series by orientation",
    "E_MIXED_PATIENT": "find out whose images these are before anything else",
    "E_MIXED_PHOTOMETRIC": _EXPORT_AGAIN,
    "E_MIXED_STUDY": "one series belongs to one study; " + _EXPORT_AGAIN,
    "E_MONOCHROME1": "export with photometric interpretation MONOCHROME2",
    "E_MULTI_PHASE": "export the phases as series of their own, or allow the split in series.toml",
    "E_NONUNIFORM_SPACING": "use a reconstruction with even slice gaps",
    "E_NO_GEOMETRY": "export with position, orientation and pixel spacing",
    "E_SECONDARY_CAPTURE": "use the original images, not screenshots",
    "E_SPACING_VARIES": "the pixel spacing differs between slices; " + _EXPORT_AGAIN,
    "E_TOO_FEW_SLICES": "a volume wants at least three slices; " + _EXPORT_AGAIN,
    "W_BURNED_IN": "look whether the text names a patient; only the image region is used",
    "W_ENHANCED_MULTIFRAME": "nothing to do; each frame is read as a slice",
    "W_HU_RANGE": "look at the series: its Hounsfield units are not those of a body in air",
    "W_LOSSY": "nothing to do, unless the study asks for uncompressed images",
    "W_NON_AXIAL": "nothing to do, unless the study asks for axial series",
    "W_MAPPING_UNUSED": "correct the entry of series.toml, or remove it",
    "W_RESCALE_VARIES": "nothing to do; slope and intercept are applied slice by slice",
    "W_SERIES_PASSED_OVER": "nothing to do, unless it is the right one; then name it in series.toml",
    "W_THICKNESS_NE_SPACING": "look whether every second slice was left out of the export",
    # an ultrasound image
    "E_BURNED_IN": "text is burned in and no image region is described; export without annotation",
    "E_US_NO_CROP": "export with SequenceOfUltrasoundRegions, or crop the image to the scan",
    "W_US_CINE": "nothing to do; of a clip only frames with a box are used",
    "W_US_DOPPLER": "use a B-mode image without colour, if there is one",
    "W_US_NO_PIXEL_SIZE": "nothing to do; sizes in mm are not known for this image",
    # a patient
    "E_AGE_SEX_DISAGREE": "the images and the clinical row may be of two people; find out before anything else",
    "E_AMBIGUOUS_IMAGE": "two patients' folders hold the same image; remove it from the wrong one",
    "E_DATE_ORDER": "correct the dates in the clinical table, or leave the patient out",
    "E_DUPLICATE_PATIENT": "one patient stands under two ids; give both rows and folders one id",
    "E_DUPLICATE_ROW": "keep one row for the patient in the clinical table",
    "E_EXCLUDED_HERE": "nothing to do; a person here left the patient out (exclude.csv)",
    "E_LABEL_UNKNOWN": "correct the diagnosis in the clinical table, or leave the patient out",
    "E_LESION_NOT_DRAWN": "none of the patient's rows names a drawn lesion; draw them, or correct the column 'lesion'",
    "E_LESION_UNEXPECTED": "the diagnosis says that there is no lesion, but one is drawn; correct one of them",
    "E_MISSING_SEQUENCE": "export the missing series, or name it in series.toml if it is there under another name",
    "E_NO_CLINICAL_ROW": "add the patient to the clinical table",
    "E_NO_IMAGES": "export the patient's images into dicom/<patient_id>/",
    "E_NO_LESION_NUMBER": "fill 'lesion' in the clinical table with the lesion's label in the mask: 1, 2, …",
    "E_NO_PATIENT_ID": "fill patient_id in the clinical table",
    "E_VALUE_MISSING": "fill the value in the clinical table; the study wants it of every patient",
    "W_VALUE_OUT_OF_RANGE": "correct the value or its unit in the clinical table; it counts as missing",
    "E_WRONG_PATIENT": "the image names another patient of this hospital; find out whose it is",
    "W_BACKGROUND_UNKNOWN": "correct the liver background in the clinical table; it counts as unknown",
    "W_CLASS_COUNT_SMALL": "nothing to do; results for this class will be uncertain here",
    "W_EXCLUDED_UNKNOWN": "export exclude.csv again from the check page; its pseudonyms are of another key, or gone",
    "W_FEW_VIEWS": "nothing to do; the images that are there are used",
    "W_LESION_LEFT_OUT": "correct the lesion's row, or draw the lesion; the patient's other lesions are used",
    "W_LESION_NO_ROW": "add a row for the lesion to the clinical table; without it the lesion is not used",
    "W_MORE_VIEWS": "nothing to do; the first images, by instance number, are used",
    "W_PHASE_GUESSED": "look whether the series is what it was taken for; if not, name it in series.toml",
    "W_VALUE_UNREADABLE": "correct the value in the clinical table; it counts as missing",
    # a lesion
    "E_BOX_OUTSIDE": _CORRECT_BOX,
    "E_BOX_UNREADABLE": _CORRECT_BOX,
    "E_BOX_WITHOUT_IMAGE": "export the image that the box names, or remove the row from lesions.csv",
    "E_FLAT_IMAGE": "the crop has one grey value only; correct the box or the image",
    "E_NO_BACKGROUND_BOX": "draw a background box on an image that has a lesion box",
    "E_NO_LESION_BOX": "draw a lesion box in lesions.csv",
    "E_ROI_ANGLE": "the series is turned too far against the one the region was drawn on; use another series",
    "E_ROI_EMPTY": "draw the lesion; the mask has no voxel in it",
    "E_ROI_FRAME": "the series has another frame of reference than the region; register them, or draw the region again",
    "E_ROI_GRID_MISMATCH": "save the mask on the grid of the series that it was drawn on",
    "E_ROI_LABELS": "the mask holds other labels than the study has; correct them",
    "E_ROI_MISSING": "draw the lesion and save it as masks/<patient_id>.nii.gz, or as DICOM SEG beside the images",
    "E_ROI_OUT_OF_FOV": "the lesion lies outside the series; use one that covers it",
    "E_ROI_UNREADABLE": "save the mask again as NIfTI, NRRD, MHA or DICOM SEG",
    "E_ROI_VOLUME_CHANGED": "the lesion changes its volume when it is carried; draw it on thinner slices",
    "E_SEG_REFERENCES": "the segmentation was made on other images than are here; export those",
    "W_NO_BACKGROUND_BOX": "draw a background box; without it the image is not used",
    "W_ROI_ANGLE": "look at the contact sheet: the series is turned against the one the region was drawn on",
    "W_ROI_TOUCHES_EDGE": "look whether the lesion is drawn whole; it touches the edge of the image",
    "W_ROI_VOLUME": "look whether the region is one lesion; its diameter is below 5 or above 200 mm",
    # privacy
    "F_CACHE_WORLD_READABLE": "run chmod -R go= on the work folder",
    "F_LOG_HAS_PHI": "stop, and send the line of the log (not its patient values) to the makers of fl_liver",
    "W_PHI_IN_FILENAME": "rename: a folder or file is named after its patient, and backups list such names",
}


PASSING = frozenset({"E_DECODE_CRASH", "E_DECODE_TIMEOUT"})
"""What a busy or short machine may cause too: found anew each time, never remembered."""


class UnusableError(DataError):
    """One file, series or patient that cannot be used; `str(error)` is "CODE: cause"."""

    @property
    def code(self) -> str:
        """A key of `REMEDIES`."""
        return str(self).partition(": ")[0]

    @property
    def cause(self) -> str:
        """What was found, for the hospital's own eyes."""
        return str(self).partition(": ")[2]

    def finding(self, case: str, series: str = "") -> Finding:
        """The finding that this error becomes; `case` and `series` are pseudonyms."""
        return finding(self.code, case, self.cause, series)


def unusable(code: str, cause: str) -> UnusableError:
    """The error for `code`; `cause` says what was found and never quotes a tag's value."""
    _remedy(code)
    return UnusableError(f"{code}: {cause}")


def finding(code: str, case: str, cause: str, series: str = "") -> Finding:
    """A finding with the remedy that belongs to `code`."""
    return Finding(code=code, case=case, cause=cause, remedy=_remedy(code), series=series)


def counted(number: int, noun: str) -> str:
    """A number with its noun, which takes an s in the plural.

    >>> counted(1, "slice"), counted(2, "slice")
    ('1 slice', '2 slices')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_fixed_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors before warnings, then by code, case, series and cause."""
    return tuple(sorted(findings, key=lambda one: (one.code, one.case, one.series, one.cause)))


def _remedy(code: str) -> str:
    if code not in REMEDIES:
        raise FLLiverError(f"code '{code}' stands in no catalogue; add it to cohort/codes.py")
    return REMEDIES[code]
