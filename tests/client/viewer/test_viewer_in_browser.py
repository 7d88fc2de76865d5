"""The viewer's page as a person has it: a file is chosen, a button pressed, score and picture appear. A real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from fl_liver.client.site import SiteConfig
from fl_liver.client.viewer.app import HOST
from tests.client.cohort.check_page_browser import Browser, started
from tests.client.viewer.test_viewer import TOKEN, files_of, hospital, in_process, site, us_study, viewer_of, zipped

__all__ = ["hospital", "in_process", "site"]  # fixtures


@pytest.fixture
def address(site: SiteConfig, tmp_path: Path, in_process: None) -> Iterator[str]:
    """Of a server in a thread, on loopback."""
    with socket.socket() as door:
        door.bind((HOST, 0))
        server = uvicorn.Server(uvicorn.Config(viewer_of(us_study(), site, tmp_path), log_level="critical", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield f"http://{HOST}:{door.getsockname()[1]}/{TOKEN}/"
        server.should_exit = True
        thread.join(20)


def look(browser: Browser, address: str, upload: Path) -> str:
    """What the page says in the end."""
    browser.call("Page.navigate", url=address)
    browser.wait_for("document.readyState === 'complete' && document.getElementById('read') !== null")
    browser.choose_file("#files", upload)
    browser.evaluate("document.getElementById('read').click()")
    time.sleep(0.2)
    browser.wait_for("document.getElementById('read').disabled === false")
    return str(browser.evaluate("document.getElementById('said').textContent"))


def test_a_chosen_zip_shows_its_score_and_picture_and_a_bad_one_its_reason(
    hospital: Path, address: str, tmp_path: Path
) -> None:
    (tmp_path / "study.zip").write_bytes(zipped(files_of(hospital)))
    (tmp_path / "letter.txt").write_text("Dear colleague")
    with started(tmp_path) as browser:
        assert look(browser, address, tmp_path / "study.zip").startswith("Done.")
        assert browser.evaluate("document.querySelectorAll('#answer img').length") == 1
        assert browser.evaluate("document.querySelector('.score').textContent").endswith("% malignant")
        assert "no DICOM file was uploaded" in look(browser, address, tmp_path / "letter.txt")
        assert browser.evaluate("document.querySelectorAll('.score').length") == 0
        # The page's own policy refused nothing that it needs.
        assert not [one for one in browser.events if one.get("method") == "Log.entryAdded" and "422" not in str(one)]
