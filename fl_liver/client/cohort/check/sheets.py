"""The check page of a report: every case's pictures made anew in guarded processes and written one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from fl_liver.client.cohort.check.case import CASE_S, CaseFiles, CaseFound, look_at
from fl_liver.client.cohort.check.check import OnProgress
from fl_liver.client.cohort.check.contact_sheet import CaseSheet
from fl_liver.client.cohort.check.fingerprint import fingerprints
from fl_liver.client.cohort.check.flow import Step, flow_of
from fl_liver.client.cohort.check.page import PageWriter
from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.codes import UnusableError
from fl_liver.client.cohort.cohort import Finding
from fl_liver.client.cohort.read.decoders import decoders_for


def write_check_page(
    report: CheckReport,
    path: Path,
    *,
    title: str,
    made: datetime,
    decoders: int | Literal["auto"],
    excluded: Mapping[str, str],
    on_progress: OnProgress,
) -> None:
    """Write the page; cases that cannot be used come first, since they are what people look for.

    Args:
        excluded: case → reason of those whom a person left out already, so that a new export keeps them.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    by_case: dict[str, list[Finding]] = defaultdict(list)
    for one in report.findings:
        by_case[one.case].append(one)
    out = report.excluded
    cases = sorted(report.cases, key=lambda files: (files.case not in out, files.case))
    with PageWriter(path, title, made, excluded) as page:
        for done, (files, found) in enumerate(_pictures(cases, decoders), start=1):
            told = tuple(by_case[files.case])
            page.case(CaseSheet(files.case, found.tiles, told, files.case not in out, found.notes))
            on_progress("pictures", done, len(cases))
        for case in sorted(set(report.patients) - {files.case for files in cases}):
            page.case(CaseSheet(case, (), tuple(by_case[case]), usable=False))
        page.close(report, flow_of_report(report), fingerprints(report.series, report.intensities))


def _pictures(cases: list[CaseFiles], workers: int | Literal["auto"]) -> Iterator[tuple[CaseFiles, CaseFound]]:
    with decoders_for(workers, seconds=CASE_S) as decoders:
        shown = decoders.map(look_at, [replace(files, shown=True) for files in cases])
        for files, found in zip(cases, shown, strict=True):
            # What stops a decoder is among the findings already; the card has no pictures then.
            yield files, CaseFound() if isinstance(found, UnusableError) else found


def flow_of_report(report: CheckReport) -> tuple[Step, ...]:
    """Of the table where there is one, else of those with images."""
    excluded = report.excluded
    images = set(report.patients)
    without_row = {one.case for one in report.findings if one.code == "E_NO_CLINICAL_ROW"}
    known = images - without_row if report.rows is not None else images
    usable = len(known - excluded)
    told = [one for one in report.findings if one.case in excluded]
    return flow_of(report.rows or 0, len(known), told, usable, not_asked=len(report.not_asked))
