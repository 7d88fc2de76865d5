"""What the viewer says when the disk or fl_liver itself fails, and when one upload takes the place of another."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fl_liver.client.explain.page import Picture
from fl_liver.client.site import SiteConfig
from fl_liver.client.viewer.app import viewer_app
from fl_liver.client.viewer.reading import Viewer
from fl_liver.client.viewer.upload import Upload
from fl_liver.errors import DataError
from fl_liver.models.registry import initial_vector
from tests.client.viewer.test_viewer import (
    HOME,
    MOST,
    TOKEN,
    Browser,
    below,
    client,
    files_of,
    hospital,
    in_process,
    site,
    upload,
    us_study,
    zipped,
)

__all__ = ["below", "client", "hospital", "in_process", "site"]  # fixtures


def failing_with(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, "as planted")

    return fail


@pytest.mark.parametrize("step", ["_count", "_copy"], ids=["a file", "unpacking a ZIP"])
def test_a_full_disk_is_said_and_blamed_on_no_file(
    client: Browser, below: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = client.post(HOME + "new").text
    monkeypatch.setattr(Upload, step, failing_with(errno.ENOSPC))
    reply = client.post(f"{HOME}{name}/file", content=zipped({"a.dcm": b"x"}), headers={"X-Name": "a.zip"})
    assert (reply.status_code, "is full (as planted); free some room" in reply.text) == (422, True)
    assert not list(below.iterdir()), "what was written goes at once, it fills the disk"


@pytest.mark.parametrize("step", ["_count", "_copy"], ids=["a file", "unpacking a ZIP"])
def test_a_disk_that_cannot_be_written_is_in_the_log_and_no_fault_of_the_upload(
    client: Browser, below: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    name = client.post(HOME + "new").text
    monkeypatch.setattr(Upload, step, failing_with(errno.EIO))
    reply = client.post(f"{HOME}{name}/file", content=zipped({"a.dcm": b"x"}), headers={"X-Name": "a.zip"})
    assert (reply.status_code, "the viewer failed (OSError): a defect" in reply.text) == (500, True)
    assert "as planted" in caplog.text
    assert "Traceback" in caplog.text
    assert not list(below.iterdir())


def test_a_defect_while_reading_is_in_the_log_and_the_page_stays_up(
    hospital: Path, site: SiteConfig, below: Path, in_process: None, caplog: pytest.LogCaptureFixture
) -> None:
    study = us_study()

    def draw(*_: object) -> list[Picture]:
        raise KeyError("no such method")

    with Browser(viewer_app(Viewer(site, study, *initial_vector(study), draw), TOKEN, MOST, below)) as client:
        reply = client.post(f"{HOME}{upload(client, files_of(hospital))}/read")
        assert (reply.status_code, "the viewer failed (KeyError): a defect" in reply.text) == (500, True)
        assert reply.headers["cache-control"] == "no-store"
        assert client.get(HOME).status_code == 200
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "no such method" in caplog.text
    assert not list(below.iterdir())


@pytest.mark.parametrize("error", [None, DataError("too large")], ids=["its folder is gone", "it is too large"])
def test_an_upload_that_another_replaces_midway_says_so_and_leaves_the_other(
    client: Browser, monkeypatch: pytest.MonkeyPatch, error: DataError | None
) -> None:
    add, begun = Upload.add, []

    async def while_another_begins(self: Upload, name: str, chunks: AsyncIterator[bytes]) -> None:
        begun.append((await client._ask("POST", HOME + "new", b"", None)).text)
        if error is not None:
            raise error
        await add(self, name, chunks)

    name = client.post(HOME + "new").text
    monkeypatch.setattr(Upload, "add", while_another_begins)
    reply = client.post(f"{HOME}{name}/file", content=b"x", headers={"X-Name": "a.dcm"})
    assert (reply.status_code, ("no longer there" if error is None else "too large") in reply.text) == (422, True)
    monkeypatch.setattr(Upload, "add", add)
    assert client.post(f"{HOME}{begun[0]}/file", content=b"x", headers={"X-Name": "a.dcm"}).status_code == 204
