"""Write the check page: one file that needs nothing else, for hospital IT to mend and a radiologist to tick off.

It shows images of patients: mode 0600 from the first byte, nothing loaded from elsewhere, nothing sent. Cases are
written one by one, so that memory does not grow with the hospital; what stands above them on the page is known last,
so they wait in a nameless file until `close`.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from fl_liver.client.cohort.check import figures
from fl_liver.client.cohort.check.contact_sheet import CaseSheet
from fl_liver.client.cohort.check.drawn_tile import DrawnTile, draw_tile
from fl_liver.client.cohort.check.fingerprint import Fingerprint
from fl_liver.client.cohort.check.flow import Step, adds_up
from fl_liver.client.cohort.check.page_tables import (
    EXIT_MEANING,
    VERDICT_CLASS,
    finding_groups,
    series_rows,
    short_findings,
    verdict_in_words,
)
from fl_liver.client.cohort.check.report import CheckReport
from fl_liver.client.cohort.cohort import Finding
from fl_liver.errors import DataError, FLLiverError
from fl_liver.whole_file import instead_of

LEFT_OUT_HERE = "E_EXCLUDED_HERE"
_CARDS = Markup("<!-- the cases -->")


class PageWriter:
    """Writes the page at `path` when `close` is called; without it there is no page, and nothing is left behind.

    with PageWriter(path, "North hospital", made) as page:
        for sheet in sheets:
            page.case(sheet)
        page.close(report, flow, fingerprints)

    Args:
        title: the heading, and what ticks in the browser are kept under: a page made again under the same title keeps
            the ticks of cases that look as before.
        made: shown as it is; equal arguments give equal bytes.
        excluded: pseudonym → reason of the hospital's exclude.csv (`table.exclude.read_excluded`): they start as left
            out with their reasons, so that the list that the page exports takes nobody back.
    Raises:
        OSError: the folder is missing, full or not writable.
    """

    def __init__(self, path: Path, title: str, made: datetime, excluded: Mapping[str, str] | None = None) -> None:
        self._path, self._title, self._made = path, title, made
        self._excluded = dict(excluded or {})
        self._environment = _environment()
        self._card = self._environment.get_template("card.html.jinja")
        self._places: dict[str, int] = {}
        self._usable = 0
        self._codes: Counter[str] = Counter()
        self._closed = False
        # No name in the folder: a process that is killed leaves no images behind.
        self._cards = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  closed in `__exit__`

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cards.close()
        if kind is None and not self._closed:
            raise FLLiverError(f"{self._path}: the page was not closed, so it was not written")

    def case(self, sheet: CaseSheet) -> None:
        """Add the next case.

        Raises:
            DataError: a case of this pseudonym is there already.
        """
        if sheet.case in self._places:
            raise DataError(f"case {sheet.case}: is on the page already")
        self._places[sheet.case] = len(self._places) + 1
        self._usable += sheet.usable
        codes = sorted({one.code for one in sheet.findings})
        self._codes.update(codes)
        tiles = [draw_tile(tile) for tile in sheet.tiles]
        card = self._card.render(
            sheet=sheet,
            place=self._places[sheet.case],
            codes=codes,
            found=short_findings(sheet.findings),
            left_out=sheet.case in self._excluded or LEFT_OUT_HERE in codes,
            reason=self._excluded.get(sheet.case, ""),
            tiles=tiles,
            digest=_digest(sheet, tiles),
        )
        self._cards.write(_encoded(card))

    def close(self, report: CheckReport, flow: Sequence[Step], fingerprints: Sequence[Fingerprint]) -> None:
        """Write the page; it takes the place of an older one in one step.

        Raises:
            OSError: the disk is full, or the folder no longer writable. An older page stays as it was.
        """
        page = self._environment.get_template("page.html.jinja").render(self._contents(report, flow, fingerprints))
        top, _, end = page.partition(_CARDS)
        self._cards.seek(0)
        with instead_of(self._path) as part, part.open("wb") as file:
            file.write(_encoded(top.lstrip()))
            shutil.copyfileobj(self._cards, file)
            file.write(_encoded(end))
        self._closed = True

    def _contents(
        self, report: CheckReport, flow: Sequence[Step], fingerprints: Sequence[Fingerprint]
    ) -> dict[str, Any]:
        script = _own_text("page.js")
        return {
            "title": self._title,
            "page_id": hashlib.sha256(_encoded(self._title)).hexdigest()[:16],
            "made": self._made.isoformat(" ", "minutes"),
            "css": Markup(_own_text("page.css")),  # noqa: S704  our own file
            "script": Markup(script),  # noqa: S704  our own file
            "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            "report": report,
            "verdict": self._verdict(report),
            "verdict_class": VERDICT_CLASS[report.exit_code],
            "exit_meaning": EXIT_MEANING[report.exit_code],
            "chart": figures.flow_chart(flow),
            "flow_adds_up": adds_up(flow),
            "box_width": figures.BOX_WIDTH,
            "box_height": figures.BOX_HEIGHT,
            "side_left": figures.SIDE_LEFT,
            "side_width": figures.SIDE_WIDTH,
            "strip_width": figures.STRIP_WIDTH,
            "groups": finding_groups(report.findings),
            "series_rows": series_rows(report.series),
            "fingerprints": figures.fingerprint_rows(fingerprints),
            "anchors": self._places,
            "codes": dict(sorted(self._codes.items())),
            "earlier": self._left_out_before(report.findings),
            "cards": _CARDS,
        }

    def _verdict(self, report: CheckReport) -> str:
        """Of all patients with images; of the sheets where the report knows none."""
        if not report.patients:
            return verdict_in_words(len(self._places), self._usable)
        return verdict_in_words(len(report.patients), len(set(report.patients) - report.excluded))

    def _left_out_before(self, findings: Sequence[Finding]) -> list[tuple[str, str]]:
        """Pseudonym and reason of patients of exclude.csv who have no sheet."""
        before = {one.case: "" for one in findings if one.code == LEFT_OUT_HERE} | self._excluded
        return [(case, reason) for case, reason in sorted(before.items()) if case not in self._places]


def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_own_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _own_text(name: str) -> str:
    return (resources.files("fl_liver.client.cohort.check") / name).read_text(encoding="utf-8")


def _encoded(text: str) -> bytes:
    """A name that is no Unicode (a file system's) is shown with its bytes written out."""
    return text.encode("utf-8", "backslashreplace")


def _digest(sheet: CaseSheet, tiles: Sequence[DrawnTile]) -> str:
    """Changes when what a person looks at changes: then a tick made on an earlier page no longer counts."""
    shown = [(tile.title, tile.uri, tile.outline, tile.other) for tile in tiles]
    codes = sorted((one.code, one.cause) for one in sheet.findings if one.code != LEFT_OUT_HERE)
    return hashlib.sha256(_encoded(repr((shown, codes)))).hexdigest()[:12]
