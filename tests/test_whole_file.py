from __future__ import annotations

import os
from pathlib import Path

import pytest

from fl_liver.whole_file import READABLE, instead_of, write_whole


def test_what_is_written_replaces_the_old_file_with_its_own_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old", mode=READABLE)
    write_whole(path, b"new", durable=True)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def fail() -> None:
        with instead_of(path) as part:
            part.write_text("half")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_mode_is_the_asked_one_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a", "x", mode=READABLE)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == READABLE


def test_a_folder_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a", "x")
