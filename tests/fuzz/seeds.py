"""Small good files of every kind that the readers open, from which fuzzing and the damaged corpus start.

Every DICOM file names a made-up patient: a canary that must stand in no message.
"""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.client.cohort.conftest import CANARIES, ct_slice, save, still

FRAME_UID = "1.2.826.0.1.3680043.8.498.1"
MASKS = {"mask.nii", "mask.nii.gz", "mask.nrrd", "mask.mha"}
ROI = {"contours", "segmentation", "overlay"} | MASKS
COMPRESSED = {"ct_rle": RLELossless, "ct_jpeg_ls": JPEGLSLossless, "ct_j2k": JPEG2000Lossless}
UNCOMPRESSED = {
    "ct": ExplicitVRLittleEndian,
    "ct_implicit": ImplicitVRLittleEndian,
    "ct_big_endian": ExplicitVRBigEndian,
    "ct_deflated": DeflatedExplicitVRLittleEndian,
}
DICOM = (
    *(*UNCOMPRESSED, *COMPRESSED, "ct_jpeg_lossless", "us", "us_colour", "us_clip", "us_palette", "enhanced"),
    *("overlay", "contours", "segmentation"),
)
NAMES = (*DICOM, *sorted(MASKS))
_ORIGIN_MM = (-100.0, -120.0, 0.0)


def seeds() -> dict[str, bytes]:
    """Every kind of file by name; segmentations only where highdicom is installed."""
    made = {name: _written(_ct(), syntax) for name, syntax in UNCOMPRESSED.items()}
    made |= {name: _written(_compressed(syntax), syntax) for name, syntax in COMPRESSED.items()}
    made["ct_jpeg_lossless"] = _written(_jpeg_lossless(), JPEGLosslessSV1)
    made["us"] = _written(_us())
    made["us_colour"] = _written(still(CANARIES[1], 2, photometric="YBR_FULL"))
    made["us_clip"] = _written(still(CANARIES[1], 3, frames=4))
    made["us_palette"] = _written(_palette())
    made["enhanced"] = _written(_enhanced())
    made["overlay"] = _written(_with_overlay())
    made["contours"] = _written(_contours())
    made |= _masks()
    if find_spec("highdicom"):
        made["segmentation"] = _written(_segmentation())
    return made


def changed(seed: bytes, **values: Any) -> bytes:
    """A DICOM seed with other values; a byte string goes into the file as it stands, whatever the element's VR."""
    dataset = dcmread(BytesIO(seed))
    for keyword, value in values.items():
        if isinstance(value, bytes) and keyword != "PixelData":
            dataset[keyword] = _raw(keyword, value)
        else:
            setattr(dataset, keyword, value)
    return _bytes(dataset)


def changed_stream(seed: bytes, place: int, flip: int = 0xFF, cut: int | None = None) -> bytes:
    """A compressed seed whose codestream has one byte changed, or is cut short, in a file that is whole."""
    dataset = dcmread(BytesIO(seed))
    stream = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    stream[place % len(stream)] ^= flip
    dataset.PixelData = encapsulate([bytes(stream[:cut])])
    return _bytes(dataset)


def _raw(keyword: str, value: bytes) -> Any:
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    tag = Tag(tag_for_keyword(keyword) or 0)
    return RawDataElement(tag, dictionary_VR(tag).split(" ")[0], len(value), value, 0, False, True)


def _bytes(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer)  # as it stands, without another word on what it holds
    return buffer.getvalue()


def _written(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seed.dcm"
        save(dataset, path, syntax)
        return path.read_bytes()


def _ct() -> Dataset:
    dataset = ct_slice(1, 5.0, rows=32)  # JPEG 2000 wants that many
    dataset.AcquisitionTime, dataset.PatientAge, dataset.PatientSex = "101112.5", "062Y", "F"
    dataset.SeriesDescription, dataset.ContrastBolusAgent = "art thin", "yes"
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    dataset.add_new(0x0019100C, "IS", "800")
    return dataset


def _compressed(syntax: UID) -> Dataset:
    dataset = _ct()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def _jpeg_lossless() -> Dataset:
    """SimpleITK writes the codestream; no library that pydicom knows does."""
    import SimpleITK

    dataset = _ct()
    pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "jpeg.dcm"
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.SetFileName(str(path))
        writer.Execute(SimpleITK.GetImageFromArray(pixels[None]))
        dataset.PixelData = dcmread(path).PixelData
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _us() -> Dataset:
    dataset = still(CANARIES[1], 1)
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 8, 6
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 70, 50
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.03
    dataset.SequenceOfUltrasoundRegions = [region]
    return dataset


def _palette() -> Dataset:
    dataset = still(CANARIES[1], 4)
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", np.arange(256, dtype=np.uint16).tobytes())
    return dataset


def _enhanced() -> Dataset:
    dataset = _ct()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.NumberOfFrames, dataset.PixelData = 3, dataset.PixelData * 3
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.8], 5
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number in range(3):
        frame, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-100, -120, 5.0 * number]
        content.FrameAcquisitionNumber = number
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    return dataset


def _with_overlay() -> Dataset:
    dataset = _ct()
    plane = np.zeros((16, 16), np.uint8)
    plane[4:10, 4:10] = 1
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60000011, "US", 16)
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OB", np.packbits(plane, bitorder="little").tobytes())
    return dataset


def _contours() -> Dataset:
    dataset, roi, drawn, contour = _ct(), Dataset(), Dataset(), Dataset()
    del dataset.PixelData
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"
    roi.ROINumber = drawn.ReferencedROINumber = 1
    roi.ROIName, roi.ReferencedFrameOfReferenceUID = CANARIES[0], FRAME_UID
    corners = [(2, 2), (2, 9), (9, 9), (9, 2)]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(corners)
    contour.ContourData = [
        f"{one:.2f}" for row, column in corners for one in (_ORIGIN_MM[0] + column, _ORIGIN_MM[1] + row, 0.0)
    ]
    drawn.ContourSequence = [contour]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [roi], [drawn]
    return dataset


def _segmentation() -> Dataset:
    import highdicom
    from pydicom.sr.codedict import codes

    dataset = ct_slice(1, 0.0)
    dataset.FrameOfReferenceUID, dataset.SliceThickness = FRAME_UID, 5
    dataset.PatientSex, dataset.StudyID, dataset.SeriesNumber = "F", "1", 1
    dataset.StudyDate = dataset.StudyTime = dataset.ReferringPhysicianName = ""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    drawn = np.zeros((1, 16, 16), np.uint8)
    drawn[0, 4:9, 5:11] = 1
    description = highdicom.seg.SegmentDescription(
        1, "lesion", codes.SCT.Organ, codes.SCT.Liver, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    made: Dataset = highdicom.seg.Segmentation(
        [dataset], drawn, "BINARY", [description], "1.2.3.4", 1, "1.2.3.5", 1, "fl_liver", "seed", "1", "0"
    )
    return made


def _masks() -> dict[str, bytes]:
    import SimpleITK

    labels = np.zeros((3, 8, 9), np.uint8)
    labels[1, 2:6, 3:7] = 1
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((0.8, 0.7, 5.0))
    made = {}
    with TemporaryDirectory() as folder:
        for name in sorted(MASKS):
            SimpleITK.WriteImage(image, str(Path(folder) / name), name.endswith(".gz"))
            made[name] = (Path(folder) / name).read_bytes()
    return made
