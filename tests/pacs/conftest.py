"""A hospital that fetches, and the archives that it fetches from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fl_liver.client.cohort.pacs.fetch import Choice, Outcome, fetch
from fl_liver.client.cohort.pacs.show import Lines
from fl_liver.client.cohort.pacs.wanted import Wanted, one_patient
from fl_liver.client.site import SiteConfig, load_site
from tests.pacs.dicom_objects import PATIENT, ct_slice
from tests.pacs.orthanc import PASSWORD, USER
from tests.pacs.tiny_archive import TinyArchive

MakeSite = Callable[..., SiteConfig]
Fetch = Callable[..., Outcome]


@pytest.fixture
def make_site(tmp_path: Path) -> MakeSite:
    """make_site(url, **keys of [pacs]) → a hospital with an empty `data`, a user and a password."""

    def make(url: str, **keys: Any) -> SiteConfig:
        folder = tmp_path / "H01"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for name, text in (("user", USER), ("password", PASSWORD)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text + "\n")
        given = {"url": url, "user_file": "user", "password_file": "password", "free_gb": 0, "timeout_s": 5.0, **keys}
        lines = [f"{name} = {_toml(value)}" for name, value in given.items() if value is not None]
        text = "\n".join(['site = "H01"', 'data = "data"', "[pacs]", *lines])
        (folder / "site.toml").write_text(text + "\n")
        return load_site(folder / "site.toml")

    return make


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    return repr(str(value)) if isinstance(value, str | Path) else str(value)


@pytest.fixture
def fetch_all() -> Fetch:
    """fetch_all(site, *rows) → Outcome, for one patient where no row is given; lines go to stdout."""

    def run(site: SiteConfig, *rows: Wanted, choice: Choice | None = None) -> Outcome:
        return fetch(site, rows or [one_patient(PATIENT)], choice or Choice(), Lines(Console(width=200)))

    return run


@pytest.fixture
def archive() -> Iterator[TinyArchive]:
    """Eight slices of one series."""
    one = TinyArchive([ct_slice(number) for number in range(8)])
    yield one
    one.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr("fl_liver.client.cohort.pacs.archive.Archive.wait", lambda *_: None)
