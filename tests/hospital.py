"""A hospital as IT starts it, for tests: a folder, a daemon process on it, and a coordinator that asks it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import tomli_w
from flwr.app import ArrayRecord, ConfigRecord

from fl_liver.client.approval import write_approval
from fl_liver.client.site import load_site
from fl_liver.messages import Fit, Incoming
from fl_liver.study import Study
from fl_liver.wire import to_record
from tests.conftest import write_identity, write_table
from tests.processes import Process
from tests.superlink import BIN, SuperLink

ASK = """
import base64, json, pickle, time
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
out = Path(given["out"])
for number, asked in enumerate(given["asked"]):
    record = RecordDict({"message": ConfigRecord(asked["message"])})
    if asked["bytes"] is not None:
        data = base64.b64decode(asked["bytes"])
        if asked["packed"]:
            record["arrays"] = ArrayRecord({"bytes": Array("|u1", (len(data),), "little-endian", data)})
        else:
            record["message"]["bytes"] = data
    node, kind = given["node"], asked["kind"]
    sent = list(grid.push_messages([Message(record, node, kind, ttl=given["ttl"])]))
    until, got = time.time() + given["ttl"], []
    while not got and time.time() < until:
        got = list(grid.pull_messages(sent))
        time.sleep(given["look_s"])
    seen = "none"
    if got:
        word = {} if got[0].has_error() else got[0].content["message"]
        seen = f"error {got[0].error.code}" if got[0].has_error() else {name: word[name] for name in ("kind", "json")}
    part = out.with_suffix(".part")
    part.write_text(json.dumps(seen)); part.rename(out.with_name(f"{out.name}-{number}"))
"""


class Hospital:
    """A folder, a daemon process on it, and a coordinator that asks it."""

    def __init__(self, link: SuperLink, folder: Path, study: Study) -> None:
        self.link, self.folder, self.study = link, folder, study
        self.process: subprocess.Popen[bytes] | None = None
        self.runs = 0

    def start(self, *, wait: bool = True) -> float:
        """Seconds until it is registered."""
        started = time.monotonic()
        before = self.log().count("registered as node")
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen([str(BIN / "fl-liver"), "site", "run", str(self.folder)], stderr=log)
        self.until(lambda: not wait or self.log().count("registered as node") > before, "registered", 60)
        return time.monotonic() - started

    def stop(self) -> float:
        """Seconds until a polite SIGTERM has ended it."""
        assert self.process is not None
        started = time.monotonic()
        self.process.terminate()
        assert self.process.wait(20) == 0
        return time.monotonic() - started

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, *questions: Incoming, ttl: float = 60.0, look_s: float = 0.05) -> Path:
        """Start a run that asks these, one after the other; `said` waits for an answer.

        look_s: how often the run looks for it.
        """
        out = self.folder / f"answers-{self.runs}"
        self.runs += 1
        asked = [as_json(question) for question in questions]
        self.link.run(ASK, node=self.node(), asked=asked, ttl=ttl, look_s=look_s, out=str(out))
        return out

    def said(self, out: Path, number: int = 0) -> str:
        """ "Ready {…}" or "error 13"."""
        path = out.with_name(f"{out.name}-{number}")
        self.until(path.exists, f"answer {number}", 50)
        seen = json.loads(path.read_text())
        return seen if isinstance(seen, str) else f"{seen['kind']} {seen['json']}"

    def node(self) -> int:
        (line,) = [line for line in self.log().splitlines() if "registered as node" in line][-1:]
        return int(line.split("node ")[1].split(",")[0])

    def log(self) -> str:
        path = self.folder / "daemon.log"
        return path.read_text() if path.exists() else ""

    def child(self) -> Process:
        """The compute process."""
        assert self.process is not None
        mine = Process(self.process.pid)
        self.until(lambda: bool(mine.children), "compute process", 30)
        return mine.children[0]

    def until(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, (
                f"no {what} within {seconds} s\n{self.log()[-2000:]}{self.link.log()[-2000:]}"
            )
            time.sleep(0.05)


def as_json(question: Incoming) -> dict[str, object]:
    record = to_record(question)
    head, packed = record["message"], record.get("arrays")
    assert isinstance(head, ConfigRecord)
    assert isinstance(packed, ArrayRecord | None)
    data = head.get("bytes") if packed is None else packed["bytes"].data
    return {
        "message": {key: value for key, value in head.items() if key != "bytes"},
        "packed": packed is not None,
        "bytes": None if data is None else base64.b64encode(bytes(data)).decode(),  # type: ignore[arg-type]
        "kind": "train" if isinstance(question, Fit) else "query",
    }


def make_hospital(link: SuperLink, folder: str, name: str, study: Study, **keys: object) -> Hospital:
    """A folder with a table and site.toml; registered with the SuperLink, the study approved, not started."""
    path = link.hospital(folder)
    write_table(path / "cohort", 40, seed=int(name[1:]))
    write_identity(path, name, study.every_site)
    role, plain = study.role_of(name), study.privacy.secure_sum == "plain"
    own = {"site": name, "role": role, "data": "cohort", "release": "named", "plain_sums": plain, "gpu": "none"}
    site = {**own, **keys}
    (path / "site.toml").write_text(tomli_w.dumps(site), encoding="utf-8")
    write_approval(load_site(path / "site.toml"), study, who="test")
    return Hospital(link, path, study)
