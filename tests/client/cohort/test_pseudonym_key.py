"""The key of the pseudonyms: made once, for one user, and the only thing that names depend on."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fl_liver.client.cohort.pseudonym import Pseudonyms, random_pseudonyms, site_pseudonyms
from fl_liver.errors import ConfigError, PrivacyError


def test_the_key_is_made_once_and_for_its_user_only(tmp_path: Path) -> None:
    first = site_pseudonyms(tmp_path / "work")
    assert site_pseudonyms(tmp_path / "work").key == first.key
    assert stat.S_IMODE((tmp_path / "work" / "pseudonym.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "work").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["pseudonym.key"]


def test_many_first_uses_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = {one.key for one in pool.map(site_pseudonyms, [tmp_path / "work"] * 16)}
    assert len(keys) == 1


def test_names_depend_on_key_kind_and_input_only() -> None:
    """The value is HMAC-SHA256 of "fl-liver/v1\\0patient\\0P1" under 32 zero bytes, by OpenSSL's `dgst -mac HMAC`."""
    names = Pseudonyms(bytes(32))
    assert names.patient("P1") == names.patient(" P1 ") == "491366959673"
    assert len({names.patient("P1"), names.series("P1"), names.file("P1"), names.patient("P2")}) == 4
    assert Pseudonyms(b"\1" * 32).patient("P1") != names.patient("P1")
    assert random_pseudonyms().key != random_pseudonyms().key


def test_the_key_is_not_in_its_repr() -> None:
    assert repr(Pseudonyms(b"secret" * 6)) == "Pseudonyms()"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    site_pseudonyms(tmp_path)
    (tmp_path / "pseudonym.key").chmod(0o644)
    with pytest.raises(PrivacyError, match="other users can read the key of the pseudonyms; run chmod 600"):
        site_pseudonyms(tmp_path)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    site_pseudonyms(tmp_path)
    (tmp_path / "pseudonym.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match="5 bytes, wanted 32; restore it"):
        site_pseudonyms(tmp_path)


def test_a_work_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(ConfigError, match="make 'work' writable"):
        site_pseudonyms(tmp_path / "work")
