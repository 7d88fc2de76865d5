"""`site.toml` and the studies that a site approved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fl_liver.client.site import SiteConfig, load_site
from fl_liver.errors import ConfigError, ProtocolError
from fl_liver.study import Study

MakeSite = Callable[..., SiteConfig]


def write(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir("/")
    site = load_site(write(tmp_path / "etc", 'site = "H01"\ndata = "../cohort"\nwork = "/srv/work"\n'))
    assert site.data == (tmp_path / "cohort").resolve()
    assert site.work == Path("/srv/work")


def test_the_defaults_release_nothing(tmp_path: Path) -> None:
    site = load_site(write(tmp_path, 'site = "H01"\n'))
    assert (site.release, site.role, site.min_patients, site.min_cell) == ("none", "train", 10, 5)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('site = "H01"\nmin_patient = 3\n', "unknown key 'min_patient', did you mean 'min_patients'"),
        ('site = "H01"\nrelease = "all"\n', "'release': Input should be 'named' or 'none'"),
        ('site = "H01"\nmin_cell = 2\n', "'min_cell': Input should be greater than or equal to 3"),
        ('site = "St. Nimmerlein"\n', "'site'"),
        ("role = 'train'\n", "key 'site' is missing"),
    ],
)
def test_a_wrong_site_file_is_one_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        load_site(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_an_approved_study_is_found_by_its_hash(make_site: MakeSite, table_study: Study) -> None:
    assert make_site().approved(table_study.sha256) == table_study


def test_a_study_that_was_not_approved_is_refused(make_site: MakeSite) -> None:
    with pytest.raises(ProtocolError, match="site H01: study abababababab is not approved here; approve it first"):
        make_site().approved("ab" * 32)


def test_an_approved_file_that_was_changed_is_refused(make_site: MakeSite, table_study: Study) -> None:
    site = make_site()
    path = site.approval_path(table_study.sha256)
    path.write_text(path.read_text().replace("rounds = 2", "rounds = 200"), encoding="utf-8")
    with pytest.raises(
        ProtocolError,
        match=rf"hashes to [0-9a-f]{{12}}, wanted {table_study.sha256[:12]}; it was changed after approval",
    ):
        site.approved(table_study.sha256)


def test_each_study_has_its_own_folder(make_site: MakeSite, table_study: Study) -> None:
    site = make_site()
    other = table_study.changed(training={"rounds": 3})
    assert site.study_folder(table_study.sha256) != site.study_folder(other.sha256)
