"""The coordinator's ServerApp. `context.run_config` says where the study, its first weights and the run's folder are.

Keys: `study` (path of the checked study.toml, with initial.safetensors beside it), `folder` (the run's folder), `nodes`
(JSON, site → Flower node id) or `nodes_file` (nodes.json of the running server, `registrations`, read at each
question), `poll_s`, `patience_s` (how long a hospital that was lost is asked again), `wait_s` (how long hospitals that
are not ready are waited for).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl_liver.errors import FLLiverError, IncompleteError
from fl_liver.server.app_process import AppProcess
from fl_liver.server.exchange import Exchange
from fl_liver.server.journal import Journal, Listener
from fl_liver.server.prompt_grid import POLL_S, fetch_promptly
from fl_liver.server.registrations import nodes_in
from fl_liver.server.run import run_study
from fl_liver.server.run_folder import RunFolder, stop_after_round
from fl_liver.server.server_folder import ServerFolder


def make_app(*listeners: Listener) -> ServerApp:
    """A ServerApp whose journal is also told to `listeners`."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        config = context.run_config
        folder = Path(str(config["folder"]))
        poll_s, patience_s = float(config.get("poll_s", 0.2)), float(config.get("patience_s", 0.0))
        if file := str(config.get("nodes_file", "")):
            if fetch_promptly(context.run_id, ServerFolder(Path(file).parent).database):
                poll_s = min(poll_s, POLL_S)
            exchange = Exchange(grid, partial(nodes_in, Path(file)), poll_s, patience_s)
        else:
            exchange = Exchange(grid, _nodes(json.loads(str(config["nodes"]))), poll_s, patience_s)
        journal = Journal(folder / "journal.jsonl", *listeners, stop_after_round(RunFolder(folder)))
        journal.write("started", **AppProcess.own().as_line())
        try:
            run_study(exchange, Path(str(config["study"])), folder, journal, float(config.get("wait_s", 0.0)))
        except FLLiverError as error:
            journal.write_last("failed", error=f"{type(error).__name__}: {error}", exit_code=error.exit_code)
            raise
        except OSError as error:
            journal.write_last("failed", error=_unwritten(folder, error), exit_code=IncompleteError.exit_code)
            raise
        except Exception as error:
            journal.write_last("failed", error=f"{type(error).__name__}, a defect; see the run's log", exit_code=70)
            raise

    return app


def _unwritten(folder: Path, error: OSError) -> str:
    """A full disk is no defect: what was whole before it stands."""
    return (
        f"{error.filename or folder}: {error.strerror or type(error).__name__}; the last whole round stands. Make room"
        " (or mend the disk), then `fl-liver study resume` goes on"
    )


def _nodes(body: Mapping[str, int | str]) -> dict[str, int]:
    return {str(site): int(node) for site, node in body.items()}
