"""The site files that people copy are read by the code that reads theirs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fl_liver.client.site import SiteConfig, load_site
from fl_liver.errors import ConfigError

SITES = Path(__file__).resolve().parents[2] / "sites"


@pytest.mark.parametrize("path", sorted(SITES.rglob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_site_file_is_valid(path: Path) -> None:
    assert load_site(path).site


def test_the_template_explains_every_key() -> None:
    """A key that the template does not show is a key that hospital IT does not know."""
    text = (SITES / "template.toml").read_text(encoding="utf-8")
    shown = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE)) | set(
        re.findall(r"^# \[(\w+)\]$", text, re.MULTILINE)
    )
    assert set(SiteConfig.model_fields) <= shown
    assert {line.split("=")[0].strip() for line in text.splitlines() if "=" in line and line[0] != "#"} <= shown


def test_the_template_releases_nothing_named() -> None:
    """A hospital that copies the template without reading it gives its own figures to nobody."""
    assert load_site(SITES / "template.toml").release == "none"


def test_a_misspelt_key_is_refused_with_the_right_one(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('site = "H01"\nmin_patient = 12\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'min_patient', did you mean 'min_patients'"):
        load_site(path)
