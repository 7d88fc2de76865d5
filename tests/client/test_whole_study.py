"""A masked study over real daemons and a real SuperLink gives the numbers of the same hospitals in one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_liver.client import audit
from fl_liver.client.approval import write_approval
from fl_liver.client.frozen import freeze
from fl_liver.client.requests import requests
from fl_liver.client.site import SiteConfig, load_site
from fl_liver.first_weights import check_study
from fl_liver.identity import write_roster
from fl_liver.parameters import load_vector
from fl_liver.server.journal import Journal
from fl_liver.server.run import run_study
from fl_liver.study import Study
from tests.conftest import identity_of
from tests.hospital import Hospital
from tests.superlink import SuperLink

MakeHospital = Callable[..., Hospital]
RUN = """
import json, traceback
from pathlib import Path
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal
from fl_liver.server.run import run_study
folder = Path(given["folder"])
try:
    run_study(Exchange(grid, given["nodes"]), Path(given["study"]), folder, Journal(folder / "journal.jsonl"))
    end = "done"
except Exception:
    end = traceback.format_exc()
(folder / "end").write_text(end)
"""


def ended(one: Hospital, folder: Path) -> str:
    one.until((folder / "end").exists, "end of the run", 240)
    return (folder / "end").read_text()


@pytest.mark.slow
def test_daemons_of_five_hospitals_give_the_numbers_of_one_process(
    superlink: SuperLink, hospital: MakeHospital, table_study: Study, tmp_path: Path, ask_sites: Callable[..., Any]
) -> None:
    """First nobody has approved it: every hospital has it as a request then. The SuperLink holds keys of nobody."""
    study = check_study(table_study, tmp_path / "study")
    every = {name: identity_of(name).public_key().public_bytes_raw().hex() for name in study.every_site}
    write_roster(tmp_path / "study" / "roster.toml", every)
    wards = {name: hospital(name, study=table_study) for name in study.every_site}
    for one in wards.values():
        one.start()
    nodes = {name: one.node() for name, one in wards.items()}
    given = {"nodes": nodes, "study": str(tmp_path / "study" / "study.toml")}

    (tmp_path / "first").mkdir()
    superlink.run(RUN, folder=str(tmp_path / "first"), **given)
    some = wards["H01"]
    assert "NOT_APPROVED" in ended(some, tmp_path / "first")
    sites = {name: load_site(one.folder / "site.toml") for name, one in wards.items()}
    for site in sites.values():
        assert [one.study for one in requests(site)] == [study]
        freeze(site, "spring")
        write_approval(site, study, "spring")

    (tmp_path / "second").mkdir()
    superlink.run(RUN, folder=str(tmp_path / "second"), **given)
    assert ended(some, tmp_path / "second") == "done"
    summary = json.loads((tmp_path / "second" / "summary.json").read_text())
    assert summary["incomplete"] is None

    alone = in_one_process(dict(sites), tmp_path / "alone", study, ask_sites, tmp_path / "study" / "study.toml")
    assert np.array_equal(
        load_vector(tmp_path / "second" / "model.safetensors")[0],
        load_vector(tmp_path / "alone" / "model.safetensors")[0],
    )
    assert summary["models"] == alone["models"]
    for name, site in sites.items():
        kinds = {line["kind"] for line in audit.entries(site.work)}
        assert {"Ready", "Totals"} <= kinds
        assert ("Update" in kinds) == (name in study.sites.train)
        updates = [line for line in audit.entries(site.work) if line["kind"] == "Update"]
        assert {(line["round"], line["purpose"]) for line in updates} <= {(1, "training/train"), (2, "training/train")}
        assert all(line["clip"] <= 1 and line["floor"] == 10 for line in updates)
        audit.verify(site.work)


def in_one_process(
    sites: dict[str, SiteConfig], folder: Path, study: Study, ask_sites: Callable[..., Any], study_file: Path
) -> dict[str, Any]:
    """The same tables, identities and approvals, with a work folder of their own."""
    for name, site in sites.items():
        sites[name] = site.model_copy(update={"work": folder / name / "work"})
        freeze(sites[name], "spring")
        write_approval(sites[name], study, "spring")
    return run_study(ask_sites(sites), study_file, folder, Journal(folder / "journal.jsonl"))
