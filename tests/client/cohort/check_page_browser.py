"""A headless Chromium driven through a pipe: a page as a person has it, keys and downloads included, no network."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PATIENCE_S = 60.0
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe"),
)


def chromium() -> str:
    """The browser's path; skips where there is none."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found:
        pytest.skip("no Chromium on this machine")
    return found


class Browser:
    """One page in one browser; `evaluate` runs in the page, past its content security policy as a debugger does."""

    def __init__(self, commands: int, answers: int, folder: Path) -> None:
        self._out, self._in = os.fdopen(commands, "wb", buffering=0), os.fdopen(answers, "rb")
        self._number, self._session = 0, ""
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its answer; events on the way are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, page: Path) -> None:
        """Load a file and wait until it is there."""
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self._until(lambda: self._loaded() and self._at(page))

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """One key, as from a keyboard."""
        text = {"Enter": "\r"}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")

    def choose_file(self, selector: str, path: Path) -> None:
        """What a person does in a file dialogue."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def downloaded(self, name: str) -> bytes:
        """A file that the page has saved, once it is whole."""
        path = self.folder / name
        self._until(lambda: path.is_file() and not list(self.folder.glob("*.crdownload")))
        content = path.read_bytes()
        path.unlink()
        return content

    def wait_for(self, script: str) -> None:
        """Until an expression in the page is true."""
        self._until(lambda: bool(self.evaluate(script)))

    def screenshot(self, path: Path, width: int, height: int, *, dark: bool = False) -> None:
        """What a window of this size shows."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        time.sleep(0.3)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _at(self, page: Path) -> bool:
        return bool(self.evaluate("location.href").split("#")[0] == page.as_uri())

    def _loaded(self) -> bool:
        return bool(self.evaluate("true")) and any(one["method"] == "Page.loadEventFired" for one in self.events)

    def _next(self) -> dict[str, Any]:
        read = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "the browser ended"
            read += byte
        return dict(json.loads(read))

    def _until(self, true: Any) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not true():
            assert time.monotonic() < end, "the page did not come so far in time"
            time.sleep(0.05)

    def close(self) -> None:
        self._out.close()
        self._in.close()


@contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; `folder` takes its downloads."""
    program = chromium()
    (folder / "downloads").mkdir()
    pipes = [*os.pipe(), *os.pipe()]
    # The browser reads from 3 and writes to 4; high numbers first, so that none is in the way of another.
    commands_in, commands_out, answers_in, answers_out = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in pipes)
    for end in pipes:
        os.close(end)
    command = f'exec "$@" 3<&{commands_in} 4>&{answers_out} {commands_in}<&- {answers_out}>&-'
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        pass_fds=(commands_in, answers_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_in)
    os.close(answers_out)
    browser = Browser(commands_out, answers_in, folder / "downloads")
    try:
        yield browser
        browser.call("Browser.close")
    finally:
        browser.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
