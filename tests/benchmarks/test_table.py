"""The printer that all benchmarks share, and its exit status. No time is measured here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.table import Row, Table, number, parser


def table(*rows: Row) -> Table:
    return Table("a title", list(rows), ["a note"], {"cores": 4})


@pytest.mark.parametrize(
    ("measured", "target", "at_least", "verdict"),
    [
        (1.2, 1.3, False, "met"),
        (1.3, 1.3, False, "met"),
        (1.31, 1.3, False, "MISSED"),
        (0.99, 0.98, True, "met"),
        (0.97, 0.98, True, "MISSED"),
        (None, 1.3, False, "MISSED"),
        (math.nan, 1.3, False, "MISSED"),
        (math.inf, 1.3, True, "MISSED"),
        (99.0, None, False, ""),
        (None, None, False, ""),
    ],
)
def test_a_target_is_met_up_to_its_own_value(
    measured: float | None, target: float | None, at_least: bool, verdict: str
) -> None:
    assert Row(name="x", measured=measured, unit="s", target=target, at_least=at_least).verdict == verdict


def test_exit_status_is_1_where_one_target_of_many_is_missed() -> None:
    good = Row(name="good", measured=1.0, unit="s", target=2.0)
    bad = Row(name="bad", measured=3.0, unit="s", target=2.0)
    assert table(good, good).exit_status == 0
    assert table(good, bad, good).exit_status == 1
    assert table(good, bad, good).missed == ["bad"]


def test_a_row_without_target_never_fails() -> None:
    assert table(Row(name="shown", measured=1e9, unit="s")).exit_status == 0


def test_measured_target_and_peers_stand_in_one_line() -> None:
    row = Row(name="round", measured=0.25, unit="s", target=0.3, peers={"Flower": 0.78, "pfl": 0.33})
    line = next(line for line in table(row).text().splitlines() if line.startswith("round"))
    assert line.split() == ["round", "0.25", "s", "≤", "0.3", "met", "Flower", "0.78,", "pfl", "0.33"]


def test_columns_are_aligned() -> None:
    rows = [Row(name="a", measured=1.0, unit="s", target=2.0), Row(name="longer", measured=100.0, unit="MB", target=50)]
    short, long = (line for line in table(*rows).text().splitlines() if "≤" in line)
    assert short.index("met") == long.index("MISSED")
    assert short.index(" s ") + len(" s") == long.index(" MB ") + len(" MB")


def test_a_failed_measurement_is_named_as_failed() -> None:
    assert "failed" in table(Row(name="x", measured=None, unit="s", target=1.0)).text()


def test_finish_prints_writes_json_and_returns_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new folder" / "result.json"
    rows = [
        Row(name="bad", measured=3.0, unit="s", target=2.0, peers={"loop": 1.5}),
        Row(name="nan", measured=math.nan, unit="s"),
    ]
    assert table(*rows).finish(file) == 1
    printed = capsys.readouterr().out
    assert "a title" in printed
    assert "note: a note" in printed
    assert "missed: bad" in printed
    read = json.loads(file.read_text(encoding="utf-8"))
    assert read["missed"] == ["bad"]
    assert read["machine"] == {"cores": 4}
    assert read["rows"][0] == {
        "name": "bad",
        "measured": 3.0,
        "unit": "s",
        "target": 2.0,
        "at_least": False,
        "verdict": "MISSED",
        "peers": {"loop": 1.5},
    }
    assert read["rows"][1]["measured"] is None


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert table(Row(name="x", measured=1.0, unit="s", target=1.0)).finish(None) == 0
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_part_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = parser("d", ("echo", "cnn"))
    assert arguments.parse_args(["--only", "cnn", "--json", "f"]).only == ["cnn"]
    with pytest.raises(SystemExit, match="2"):
        arguments.parse_args(["--only", "ecco"])
    assert "echo" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (-0.5, "-0.5"), (99.96, "100"), (1.0, "1"), (math.inf, "inf")])
def test_numbers_keep_three_digits(value: float, text: str) -> None:
    assert number(value) == text
