"""Datasets put together from keywords, as headers with nested sequences are written most readably."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def group(**elements: object) -> Dataset:
    """A dataset from keywords; a nested dataset becomes a sequence of one item, a list of them one of several.

    >>> group(PixelMeasuresSequence=group(SliceThickness=5)).PixelMeasuresSequence[0].SliceThickness == 5
    True
    """
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, Sequence([value]) if isinstance(value, Dataset) else value)
    return dataset


def coded(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    """A code sequence item; SNOMED CT unless `scheme` says otherwise."""
    return group(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def merged(*datasets: Dataset) -> Dataset:
    """One dataset with the elements of several; later ones win."""
    whole = Dataset()
    for one in datasets:
        whole.update(one)
    return whole
