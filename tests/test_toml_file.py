"""TOML sections: what is wrong is named, with its place and the nearest known key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from fl_liver.errors import ConfigError
from fl_liver.toml_file import Section, parse, read_toml


class Inner(Section):
    width: int
    rate: float = 0.1


class Outer(Section):
    name: str
    inner: Inner
    many: tuple[Inner, ...] = ()
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5


RIGHT: dict[str, object] = {"name": "a", "inner": {"width": 3}}


def test_a_right_file_becomes_a_frozen_object(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\n[inner]\nwidth = 3\n', encoding="utf-8")
    found = read_toml(path, Outer)
    assert found == Outer(name="a", inner=Inner(width=3))
    with pytest.raises(ValidationError, match="frozen"):
        found.name = "b"  # type: ignore[misc]


def test_an_unknown_key_gets_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"^x\.toml: unknown key 'shar', did you mean 'share'\?$"):
        parse({**RIGHT, "shar": 0.1}, Outer, "x.toml")


def test_a_nested_unknown_key_gets_its_own_neighbours() -> None:
    """`name` is known at the top but not inside; hints come from where the key stands."""
    with pytest.raises(ConfigError, match=r"unknown key 'inner\.wdth', did you mean 'width'\?"):
        parse({"name": "a", "inner": {"width": 3, "wdth": 4}}, Outer, "x.toml")
    with pytest.raises(ConfigError, match=r"unknown key 'many\.0\.raet', did you mean 'rate'\?"):
        parse({**RIGHT, "many": [{"width": 3, "raet": 4}]}, Outer, "x.toml")


def test_an_unknown_key_without_a_neighbour_gets_the_list_of_known_keys() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'inner\.zzz', known: rate, width"):
        parse({"name": "a", "inner": {"width": 3, "zzz": 4}}, Outer, "x.toml")


def test_all_problems_of_a_file_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"inner": {"rate": "fast"}, "share": 2}, Outer, "x.toml")
    message = str(caught.value)
    assert "key 'name' is missing" in message
    assert "key 'inner.width' is missing" in message
    assert "'inner.rate'" in message
    assert "found 'fast'" in message
    assert "'share': Input should be less than 1 (found 2)" in message
    assert "\n" not in message


@pytest.mark.parametrize("value", ["3", True])
def test_a_number_is_not_made_from_text_or_a_truth_value(value: object) -> None:
    """A study hashes what it says; `width = "3"` is a mistake to be seen, not to be mended in silence."""
    with pytest.raises(ConfigError, match=r"inner\.width"):
        parse({"name": "a", "inner": {"width": value}}, Outer, "x.toml")


def test_infinity_and_nan_are_refused() -> None:
    for value in (float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=r"'inner\.rate': Input should be a finite number"):
            parse({"name": "a", "inner": {"width": 3, "rate": value}}, Outer, "x.toml")


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read \(FileNotFoundError\); give the path"):
        read_toml(tmp_path / "none.toml", Outer)


@pytest.mark.parametrize(("content", "match"), [(b"name = ", "not TOML"), (b"\xff\xfe\x00", "UnicodeDecodeError")])
def test_a_file_that_is_not_toml_is_one_line(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=match) as caught:
        read_toml(path, Outer)
    assert "\n" not in str(caught.value)
