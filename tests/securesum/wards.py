"""Hospitals with folders, tables, identities and an approved study, behind an Exchange that an adversary can tap."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from fl_liver.client.approval import write_approval
from fl_liver.client.respond import respond
from fl_liver.client.site import SiteConfig
from fl_liver.client.sums import SiteSums
from fl_liver.client.train import FitResult
from fl_liver.identity import RosterFile, ensure_identity, read_roster, write_roster
from fl_liver.messages import Incoming, Outgoing
from fl_liver.models.registry import initial_vector
from fl_liver.parameters import Layout, Vector
from fl_liver.securesum.context import Slot
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.masked_rounds import MaskedRounds
from fl_liver.server.run_record import RunRecord
from fl_liver.study import Study
from fl_liver.wire import from_record, to_record

INCOMING: tuple[type[Incoming], ...] = get_args(Incoming)
OUTGOING: tuple[type[Outgoing], ...] = get_args(Outgoing)
Question = Callable[[str, Any], Any]
Reply = Callable[[str, Any, Any], Any]
MakeGrid = Callable[[Callable[[Message], Message | None]], Grid]
PATIENT = "Ziegenpeter-{site}-{number:03d}"


def write_hospital(folder: Path, site: str, patients: int) -> None:
    """A table with a diagnosis, an age, hepatitis and a size; the patients' names can be searched for."""
    draw = np.random.default_rng(int(site[1:]))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clinical.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", "malignant", "age_years", "hepatitis", "size_mm"])
        for number in range(patients):
            label = number % 2
            age, hepatitis = draw.normal(50 + 10 * label, 8), int(draw.random() < 0.3 + 0.3 * label)
            name = PATIENT.format(site=site, number=number)
            writer.writerow([name, label, f"{age:.1f}", hepatitis, f"{draw.uniform(5, 60):.1f}"])


def settle(root: Path, study: Study, patients: int = 40, **keys: Any) -> dict[str, SiteConfig]:
    """Every hospital of the study in a folder of its own, introduced to the others; the coordinator's roster too."""
    sites: dict[str, SiteConfig] = {}
    for name in study.every_site:
        folder = root / name
        write_hospital(folder, name, patients)
        paths = {"data": folder, "work": folder / "work", "identity": folder / "identity.pem"}
        role = study.role_of(name)
        sites[name] = SiteConfig(site=name, role=role, roster=folder / "roster.toml", **paths, **keys)
    identities = {name: ensure_identity(site.identity) for name, site in sites.items()}
    for path in (root / "roster.toml", *(site.roster for site in sites.values())):
        write_roster(path, identities)
    for site in sites.values():
        write_approval(site, study, who="test")
    return sites


@dataclass
class Ward:
    """A study's hospitals behind one Exchange. Between the server and a hospital stands whoever holds the hooks.

    asks      what a hospital is really asked, given what the server meant to ask; None where it never arrives
    replies   what the server really hears, given the answer; None where it is lost
    """

    root: Path
    study: Study
    grid: MakeGrid
    sites: dict[str, SiteConfig]
    asks: Question = lambda _site, question: question
    replies: Reply = lambda _site, _question, word: word
    heard: list[tuple[str, Any]] = field(default_factory=list)
    """What each hospital was asked, in order."""
    said: list[tuple[str, Any]] = field(default_factory=list)
    """What each hospital answered, whether it arrived or not."""
    left: list[tuple[str, bytes]] = field(default_factory=list)
    """Every byte that left a hospital."""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    """Of scores that a test had made."""

    @staticmethod
    def of(root: Path, study: Study, grid: MakeGrid, **keys: Any) -> Ward:
        return Ward(root, study, grid, settle(root, study, **keys))

    @property
    def nodes(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.sites, start=11)}

    def exchange(self) -> Exchange:
        named = {node: name for name, node in self.nodes.items()}

        def answer(message: Message) -> Message:
            site = named[message.metadata.dst_node_id]
            question = self.asks(site, from_record(message.content, INCOMING))
            word = None if question is None else self.ask(site, question)
            word = None if word is None else self.replies(site, question, word)
            if word is None:
                return Message(Error(code=14, reason="lost"), reply_to=message)
            return Message(to_record(word), reply_to=message)

        return Exchange(self.grid(answer), self.nodes, poll_s=0.0)

    def ask(self, site: str, question: Incoming) -> Any:
        """One hospital's answer, as the real hospital gives it."""
        self.heard.append((site, question))
        record = respond(self.sites[site], question, "cpu")
        self.left.append((site, b"|".join(everything_in(record))))
        word: Outgoing = from_record(record, OUTGOING)
        self.said.append((site, word))
        return word

    def sums(self, site: str) -> SiteSums:
        """A hospital's part in masked sums, as a process that was just started reads it from the disk."""
        return SiteSums(self.sites[site], self.study)

    @property
    def roster(self) -> RosterFile:
        return read_roster(self.root / "roster.toml")

    def journal(self) -> Journal:
        return Journal(self.root / "run" / "journal.jsonl", lambda event, details: self.events.append((event, details)))

    def record(self) -> RunRecord:
        """The coordinator's memory of the run; read anew, as after a restart."""
        return RunRecord(self.root / "run" / "sums.json")

    def rounds(self, rows: str = "train") -> MaskedRounds:
        train = self.study.sites.train
        pinned = self.roster.only(train)
        return MaskedRounds(self.exchange(), self.study, train, rows, pinned, self.record(), self.journal())

    def initial(self) -> tuple[Vector, Layout]:
        return initial_vector(self.study)

    def slot(self, number: int = 1, attempt: int = 0, purpose: str = "training/train", **more: Any) -> Slot:
        """A slot of the study; `sum=` for statistics."""
        return Slot(self.study.sha256, more.pop("run", "run-a"), purpose, number, more.pop("sum", 0), attempt)

    def warnings(self) -> list[str]:
        return [details["text"] for event, details in self.events if event == "warning"]

    def words(self, kind: type[Any]) -> list[tuple[str, Any]]:
        """All answers of one kind, with who gave them."""
        return [(site, word) for site, word in self.said if isinstance(word, kind)]


def cheap_fit(study: Study, cohort: Any, start: Vector, **named: Any) -> FitResult:
    """The model moved by a little that is the hospital's and the round's own."""
    number, first = named["round_number"], int(named["seed_key"][1:])
    step = np.float32(0.001 * number) * np.arange(first, first + len(start))
    return FitResult((start * np.float32(0.9) + step).astype(np.float32), 1 / number, len(named["rows"]), 1)


def train_cheaply(patch: pytest.MonkeyPatch) -> None:
    """Hospitals do not train."""
    patch.setattr("fl_liver.client.respond.fit", cheap_fit)


def everything_in(record: RecordDict) -> Iterator[bytes]:
    """All that goes over the wire: every key, config value and array byte."""
    yield repr(record.config_records).encode()
    yield from (value for config in record.config_records.values() for value in config.values() if type(value) is bytes)
    for name, arrays in record.array_records.items():
        for key, array in arrays.items():
            yield f"{name}/{key}/{array.dtype}/{array.shape}/".encode() + bytes(array.data)
