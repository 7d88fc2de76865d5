"""Shared by several rooms: a small study of tables, hospitals that hold such a table, and a Grid inside the test."""

from __future__ import annotations

import csv
import tomllib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():
    # flwr imports typer, which imports a name that click 8.5 deprecates; only our own warnings are errors.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flwr.app import Message
    from flwr.serverapp import Grid

from fl_liver.client.site import SiteConfig
from fl_liver.study import Study
from fl_liver.toml_file import parse

MakeSite = Callable[..., SiteConfig]
AskSites = Callable[[dict[str, SiteConfig]], Any]

TABLE_STUDY = """
name = "tiny_table"
title = "Two numbers and a diagnosis"
seed = 7
[task]
modality = "table"
classes = { benign = "0", malignant = "1" }
positive = ["malignant"]
size_mm = "size_mm"
[model]
name = "clinical"
[sites]
train = ["H01", "H02", "H03", "H04"]
external = ["H05"]
[training]
rounds = 2
local_epochs = 1
batch_size = 8
learning_rate = 0.2
precision = "float32"
round_timeout_s = 60.0
[analysis]
min_cell = 3
[privacy]
min_patients = 6
[[factor]]
name = "age"
column = "age_years"
center = 50.0
scale = 10.0
label = "Age"
[[factor]]
name = "hepatitis"
column = "hepatitis"
label = "Hepatitis"
"""


class LocalGrid(Grid):
    """A Grid whose sites are one function, message → reply or None (not yet, or never). Keeps what was pushed."""

    def __init__(self, answer: Callable[[Message], Message | None]) -> None:
        self.answer = answer
        self.sent: dict[str, Message] = {}

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        pushed: list[str] = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"m{len(self.sent)}"
            self.sent[message.metadata.message_id] = message
            pushed.append(message.metadata.message_id)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = [self.answer(self.sent[message_id]) for message_id in message_ids]
        return [reply for reply in replies if reply is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError


@pytest.fixture(autouse=True, scope="session")
def outside_a_flower_process() -> None:
    """Flower makes a Message only for a known task; in a deployment it is the SuperNode that says which."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


@pytest.fixture
def local_grid() -> type[LocalGrid]:
    return LocalGrid


@pytest.fixture(scope="session")
def table_study() -> Study:
    return parse(tomllib.loads(TABLE_STUDY), Study, "tiny_table")


@pytest.fixture
def make_site(tmp_path: Path, table_study: Study) -> MakeSite:
    """make_site("H01", patients=40, **site.toml keys) → a hospital with a table that approved `table_study`."""

    def make(
        name: str = "H01", patients: int = 40, study: Study = table_study, place: str = "", **keys: Any
    ) -> SiteConfig:
        folder = tmp_path / place / name
        write_table(folder, patients, seed=int(name[1:]))
        site = SiteConfig(site=name, data=folder, work=folder / "work", **{"role": study.role_of(name), **keys})
        approval = site.approval_path(study.sha256)
        approval.parent.mkdir(parents=True)
        approval.write_text(study.to_toml(), encoding="utf-8")
        return site

    return make


def write_table(folder: Path, patients: int, seed: int) -> None:
    """Every second patient has a malignant lesion; they are older and have hepatitis more often."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    with (folder / "clinical.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", "malignant", "age_years", "hepatitis", "size_mm"])
        for number in range(patients):
            label = number % 2
            age, hepatitis = draw.normal(50 + 10 * label, 8), draw.random() < 0.3 + 0.3 * label
            writer.writerow([f"P{number:03d}", label, f"{age:.1f}", int(hepatitis), f"{draw.uniform(5, 60):.1f}"])


@pytest.fixture
def ask_sites() -> AskSites:
    """ask_sites({name: SiteConfig}) → an Exchange behind which these hospitals answer, one after the other."""
    from fl_liver.client.respond import respond
    from fl_liver.messages import Combine, Fit, Incoming, Named, Prepare, Score, Sum, from_record
    from fl_liver.server.exchange import Exchange

    def exchange(sites: dict[str, SiteConfig]) -> Exchange:
        nodes = {name: number for number, name in enumerate(sites, start=11)}
        names = {node: name for name, node in nodes.items()}

        def answer(message: Message) -> Message:
            kinds: tuple[type[Incoming], ...] = (Prepare, Fit, Score, Combine, Sum, Named)
            question: Incoming = from_record(message.content, kinds)
            site = sites[names[message.metadata.dst_node_id]]
            return Message(respond(site, question, "cpu"), reply_to=message)

        return Exchange(LocalGrid(answer), nodes, poll_s=0.0)

    return exchange
