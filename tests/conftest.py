"""Shared by several rooms: a small study of tables, hospitals that hold such a table, and a Grid inside the test.

Sums are masked, as in every study that does not say otherwise; `plain_study` is for tests that look into one answer.
"""

from __future__ import annotations

import csv
import hashlib
import signal
import tomllib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import settings

with warnings.catch_warnings():
    # flwr imports typer, which imports a name that click 8.5 deprecates; only our own warnings are errors.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flwr.app import Message
    from flwr.serverapp import Grid

from fl_liver.client.approval import write_approval
from fl_liver.client.site import SiteConfig
from fl_liver.identity import write_roster
from fl_liver.study import Study
from fl_liver.toml_file import parse

# A law holds however slow the machine is: on a busy one, 200 ms an example are soon over.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

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
def ctrl_c_is_heard() -> None:
    """A shell starts its background jobs deaf to it, and so every process of these tests: `make test &` is one."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def plain_study(table_study: Study) -> Study:
    """The same study with sums in the clear: what stands in one hospital's answer can be read."""
    return table_study.changed(privacy={"secure_sum": "plain"})


def identity_of(name: str) -> Ed25519PrivateKey:
    """The key of a hospital of these tests. It follows from the name: a roster can be written before the keys are."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def write_identity(folder: Path, name: str, everybody: Iterable[str]) -> dict[str, Path]:
    """A hospital's `identity.pem`, and its `roster.toml` of everybody; returns both paths as site.toml's keys."""
    keys = {"identity": folder / "identity.pem", "roster": folder / "roster.toml"}
    pem = identity_of(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keys["identity"].touch(mode=0o600)
    keys["identity"].write_bytes(pem)
    write_roster(keys["roster"], {one: identity_of(one).public_key().public_bytes_raw().hex() for one in everybody})
    return keys


@pytest.fixture
def make_site(tmp_path: Path, table_study: Study) -> MakeSite:
    """make_site("H01", patients=40, **site.toml keys) → a hospital with a table that approved `table_study`.

    It has an identity and everybody's roster, and allows sums in the clear where its study has them.
    """

    def make(
        name: str = "H01", patients: int = 40, study: Study = table_study, place: str = "", **keys: Any
    ) -> SiteConfig:
        folder = tmp_path / place / name
        write_table(folder, patients, seed=int(name[1:]))
        own: dict[str, Any] = {**write_identity(folder, name, study.every_site)}
        own |= {"role": study.role_of(name), "plain_sums": study.privacy.secure_sum == "plain", **keys}
        site = SiteConfig(site=name, data=folder, work=folder / "work", **own)
        write_approval(site, study, who="test")
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
    from fl_liver.messages import Incoming
    from fl_liver.server.exchange import Exchange
    from fl_liver.wire import from_record

    def exchange(sites: dict[str, SiteConfig]) -> Exchange:
        nodes = {name: number for number, name in enumerate(sites, start=11)}
        names = {node: name for name, node in nodes.items()}

        def answer(message: Message) -> Message:
            question: Incoming = from_record(message.content, get_args(Incoming))
            site = sites[names[message.metadata.dst_node_id]]
            return Message(respond(site, question, "cpu"), reply_to=message)

        return Exchange(LocalGrid(answer), nodes, poll_s=0.0)

    return exchange
