"""The coordinator's ServerApp. `context.run_config` says where the study, its first weights and the run's folder are.

Keys: `study` (path of the checked study.toml, with initial.safetensors beside it), `folder` (the run's folder), `nodes`
(JSON, site → Flower node id), `poll_s`.
"""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal, Listener
from fl_liver.server.run import run_study


def make_app(*listeners: Listener) -> ServerApp:
    """A ServerApp whose journal is also told to `listeners`."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        config = context.run_config
        folder = Path(str(config["folder"]))
        nodes = {str(site): int(node) for site, node in json.loads(str(config["nodes"])).items()}
        exchange = Exchange(grid, nodes, float(config.get("poll_s", 0.2)))
        run_study(exchange, Path(str(config["study"])), folder, Journal(folder / "journal.jsonl", *listeners))

    return app
