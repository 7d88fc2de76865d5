"""Numbers of the page: who leaves where and why, and what the hospital's series look like."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_liver.client.cohort.check.figures import fingerprint_rows, flow_chart
from fl_liver.client.cohort.check.fingerprint import Intensity, fingerprints, spread
from fl_liver.client.cohort.check.flow import UNLISTED, adds_up, flow_of
from fl_liver.client.cohort.check.page_tables import finding_groups, series_rows, short_findings
from fl_liver.client.cohort.codes import finding, in_fixed_order
from tests.client.cohort.check_page_cases import series_of

WITHOUT_IMAGES = ("E_NO_IMAGES", "E_NO_PATIENT_ID", "E_DUPLICATE_ROW")
WITH_IMAGES = ("E_ROI_MISSING", "E_MISSING_SEQUENCE", "E_AGE_SEX_DISAGREE", "W_LOSSY", "W_PHASE_GUESSED")
codes = st.lists(st.sampled_from(WITH_IMAGES + WITHOUT_IMAGES), max_size=5)


@given(st.lists(codes, max_size=30), st.integers(0, 4))
def test_every_patient_of_the_table_is_used_or_left_out_once(patients: list[list[str]], noise: int) -> None:
    """Whatever the mixture of findings; those of files, of the folder and of images without a row do not count."""
    findings = [finding(code, f"p{n}", "") for n, many in enumerate(patients) for code in many]
    findings += [finding("E_UNREADABLE", f"file-{n}", "") for n in range(noise)]
    findings += [finding("E_NO_CLINICAL_ROW", f"stranger {n}", "") for n in range(noise)]
    findings += [finding("E_ROI_MISSING", f"stranger {n}", "") for n in range(noise)]
    findings += [finding("E_NOT_DICOM", "", "") for _ in range(noise)]
    excluded = [any(code[0] == "E" for code in many) for many in patients]
    with_images = [not any(code in WITHOUT_IMAGES for code in many) for many in patients]
    usable = len(patients) - sum(excluded)
    steps = flow_of(len(patients), sum(with_images), in_fixed_order(findings), usable)
    assert steps[-1].count == usable
    assert adds_up(steps)
    reasons = Counter(code for step in steps for code, n in step.left for _ in range(n))
    firsts = Counter(min(c for c in many if c[0] == "E") for many in patients if any(c[0] == "E" for c in many))
    assert reasons == firsts


def test_a_patient_leaves_under_the_first_code_of_the_report() -> None:
    findings = [finding("E_ROI_MISSING", "a", ""), finding("E_DATE_ORDER", "a", ""), finding("W_LOSSY", "b", "")]
    assert flow_of(2, 2, findings, 1)[1].left == (("E_ROI_MISSING", 1),)
    assert flow_of(2, 2, in_fixed_order(findings), 1)[1].left == (("E_DATE_ORDER", 1),)


def test_a_finding_of_one_series_of_a_patient_who_is_used_is_no_reason() -> None:
    findings = [finding("E_LOCALIZER", "a", "", "s1"), finding("E_ROI_EMPTY", "b", "")]
    assert flow_of(2, 2, findings, 1, excluded={"b"})[1].left == (("E_ROI_EMPTY", 1),)


def test_who_is_gone_without_a_finding_is_counted_as_such() -> None:
    steps = flow_of(10, 8, [], 8)
    assert steps[0].left == ((UNLISTED, 2),)
    assert adds_up(steps)
    side = flow_chart(steps).boxes[0].side
    assert side is not None
    assert side.lines == (("no finding says why", 2),)


def test_more_reasons_than_patients_are_not_made_to_fit() -> None:
    """The page then says that they do not add up."""
    steps = flow_of(2, 2, [finding("E_ROI_EMPTY", case, "") for case in "abc"], 1)
    assert steps[1].left == (("E_ROI_EMPTY", 3),)
    assert not adds_up(steps)


def test_without_a_clinical_table_the_chart_starts_with_the_images() -> None:
    assert [step.label for step in flow_of(0, 5, [], 5)] == ["with images", "usable"]


def test_boxes_of_the_chart_do_not_overlap() -> None:
    steps = flow_of(40, 39, [finding(code, f"{n}{code}", "") for n, code in enumerate(sorted(WITH_IMAGES[:3]))], 36)
    chart = flow_chart(steps)
    for one, following in zip(chart.boxes, chart.boxes[1:], strict=False):
        assert one.arrow_to == following.y
        assert one.side is None or one.y + 54 < one.side.y < one.side.y + one.side.height < following.y
    assert chart.boxes[-1].y + 54 < chart.height
    assert flow_chart(()).boxes == ()


def test_a_fingerprint_holds_the_usable_series_of_a_kind() -> None:
    series = [
        series_of("a", "MR T2", 0, slices=20, spacing_mm=(0.7, 0.8, 7.0)),
        series_of("b", "MR T2", 1, slices=30, spacing_mm=(0.6, 0.6, None)),
        series_of("c", "MR T2", 2, slices=99, usable=False),
        series_of("d", "ultrasound", 3, spacing_mm=None, slices=1),
    ]
    levels = {series[0].id: [Intensity("lesion", 1, 2, 3)], series[1].id: [Intensity("lesion", 3, 4, 5)]}
    t2, stills = fingerprints(series, levels)
    assert (t2.what, t2.n, t2.slices) == ("MR T2", 2, spread([20, 30]))
    assert (t2.row_mm, t2.column_mm, t2.slice_mm) == (spread([0.6, 0.7]), spread([0.6, 0.8]), spread([7.0]))
    assert t2.makers == (("GE", 1), ("Siemens", 1))
    assert t2.intensity == (("lesion", (spread([1, 3]), spread([2, 4]), spread([3, 5]))),)
    assert (stills.n, stills.row_mm, stills.intensity) == (1, None, ())


def test_dots_stand_at_their_values_and_count_every_series() -> None:
    """Axis from 1 to 5 mm between pixels 7 and 169: 3 mm lies at 88."""
    series = [series_of(str(n), "CT", 0, spacing_mm=(0.7, 0.7, mm)) for n, mm in enumerate([1, 1, 1, 3, 5])]
    (row,) = fingerprint_rows(fingerprints(series))
    assert row.slice_mm is not None
    (line,) = row.slice_mm.lines
    assert [(dot.x, dot.n) for dot in line.dots] == [(7.0, 3), (88.0, 1), (169.0, 1)]
    assert line.median_x == 7.0
    assert line.words == "1 · 1 · 5"
    assert row.in_plane_mm is not None
    assert [line.label for line in row.in_plane_mm.lines] == [""]


def test_thousands_of_series_are_a_few_dots() -> None:
    series = [series_of(str(n), "CT", 0, slices=n) for n in range(5000)]
    (row,) = fingerprint_rows(fingerprints(series))
    assert row.slices is not None
    assert len(row.slices.lines[0].dots) <= 44
    assert sum(dot.n for dot in row.slices.lines[0].dots) == 5000


@pytest.mark.parametrize("values", [[], [None], [float("nan"), None]])
def test_a_spread_of_nothing_is_none(values: list[float | None]) -> None:
    assert spread(values) is None


def test_findings_are_grouped_by_code_what_stops_first() -> None:
    found = [finding("W_LOSSY", c, "x") for c in "abc"]
    found += [
        finding("E_ROI_EMPTY", "a", "one"),
        finding("E_ROI_EMPTY", "a", "two"),
        finding("E_ROI_EMPTY", "b", "two"),
    ]
    found += [finding("F_LOG_HAS_PHI", "", "a canary")]
    groups = finding_groups(found)
    assert [(g.code, g.cases, g.times) for g in groups] == [
        ("F_LOG_HAS_PHI", 0, 1),
        ("E_ROI_EMPTY", 2, 3),
        ("W_LOSSY", 3, 3),
    ]
    assert (groups[1].cause, groups[1].other_causes) == ("two", 1)
    assert [(s.code, s.cause, s.more) for s in short_findings(found[3:5])] == [("E_ROI_EMPTY", "one", 1)]


def test_series_are_counted_by_kind_with_median_and_range() -> None:
    series = [series_of(str(n), "MR T2", n, slices=20 + n, spacing_mm=(0.7, 0.7, 7.0)) for n in range(3)]
    series.append(series_of("x", "MR T2", 0, usable=False, spacing_mm=(0.7, 0.7, 3.5), orientation="coronal"))
    (row,) = series_rows(series)
    assert (row.kind, row.n, row.usable, row.orientations) == ("MR T2", 4, 3, "axial 3, coronal 1")
    assert (row.in_plane_mm, row.slice_mm, row.slices) == ("0.7 × 0.7", "7 [3.5, 7]", "21.5 [20, 24]")
