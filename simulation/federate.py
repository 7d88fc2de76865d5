"""One federation on an engine: virtual hospitals behind a Grid, the deployment's ServerApp in front of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict

from fl_liver.server.app import make_app
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Listener
from simulation.engine import Engine
from simulation.grid import SimulationGrid
from simulation.worker import VirtualSite

FIRST_NODE = 1001


class VirtualFederation:
    """The hospitals of one run as Flower nodes."""

    def __init__(self, engine: Engine, folders: dict[str, Path], device: str) -> None:
        self._nodes = {name: FIRST_NODE + index for index, name in enumerate(folders)}
        self._sites = [VirtualSite(self._nodes[name], str(folder), device) for name, folder in folders.items()]
        self._grid = SimulationGrid(engine, self._sites)

    def exchange(self) -> Exchange:
        """For questions beyond the ServerApp's own: those about baselines."""
        return Exchange(self._grid, self._nodes, poll_s=0.0)

    def run(self, study_file: Path, folder: Path, *listeners: Listener) -> dict[str, Any]:
        """Run the ServerApp; returns the summary that it wrote into `folder`."""
        config: dict[str, bool | float | int | str] = {
            "study": str(study_file),
            "folder": str(folder),
            "nodes": json.dumps(self._nodes),
            "poll_s": 0.0,
        }
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config)
        make_app(*listeners)(self._grid, context)
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return summary
