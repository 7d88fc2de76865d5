"""The same rounds with Flower as it is: stock SuperNodes, FedAvg, plain sums; on the SuperLink of our deployment.

Flower is given its best: the model as one flat array (a state dict of 122 takes ten times as long), a client that only
adds a number, no gateway, no client certificate. A SuperNode starts a Python process for every message.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.deployed_town import DeployedTown
from fl_liver.errors import FLLiverError
from fl_liver.server.child_process import die_with_parent
from fl_liver.server.flower_command import FlowerCommand
from simulation.deployed_server import free_port
from simulation.program import loopback_environment

_SERVER = """
import json, time
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
app = ServerApp()

class Timed(FedAvg):
    began, seconds = 0.0, []
    def configure_train(self, *given, **named):
        self.began = time.time()
        return super().configure_train(*given, **named)
    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        if any(reply.has_error() for reply in replies) or len(replies) < self.wanted:
            raise RuntimeError(f"{len(replies)} replies, errors {[r.error for r in replies if r.has_error()]}")
        mean = super().aggregate_train(server_round, replies)
        self.seconds.append(time.time() - self.began)
        return mean

@app.main()
def main(grid, context):
    config = context.run_config
    nodes = int(config["nodes"])
    vector = np.random.default_rng(0).random(int(config["floats"]), dtype=np.float32)
    plan = Timed(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    plan.wanted = nodes
    plan.start(grid=grid, initial_arrays=ArrayRecord({"vector": Array(vector)}), num_rounds=int(config["rounds"]))
    out = Path(str(config["out"]))
    out.with_suffix(".part").write_text(json.dumps(plan.seconds))
    out.with_suffix(".part").rename(out)
"""
_CLIENT = """
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()

@app.train()
def train(message, context):
    vector = message.content["arrays"]["vector"].numpy()
    moved = vector + np.float32(np.random.default_rng(context.node_id).random())  # every hospital another one
    record = RecordDict({"arrays": ArrayRecord({"vector": Array(moved)}), "metrics": MetricRecord({"num-examples": 1})})
    return Message(record, reply_to=message)
"""
_PACKAGE = "stock"


def measure(town: DeployedTown, names: tuple[str, ...], floats: int, rounds: int, timeout_s: float) -> list[float]:
    """Seconds of each round with a SuperNode for each of `names`, whose daemons have been stopped.

    Raises:
        FLLiverError: the run did not end within `timeout_s`, or failed.
    """
    out, flower = town.folder / "stock.json", FlowerCommand(town.flower())
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        nodes.extend(_node(town, name) for name in names)
        _until_online(flower, len(names), timeout_s)
        config = {"out": str(out), "floats": floats, "rounds": rounds, "nodes": len(names)}
        run = flower.run(_write_app(town.folder / "stock-app", config), config, town.folder / "stock-config.toml")
        deadline = time.monotonic() + timeout_s
        while not out.is_file():
            status = flower.status(run)
            if status.startswith("finished") and not out.is_file():
                log = town.flower().log("superexec").read_text(encoding="utf-8", errors="replace")
                raise FLLiverError("\n".join([f"stock Flower: the run is {status}", *log.splitlines()[-12:]]))
            if time.monotonic() > deadline:
                raise FLLiverError(f"stock Flower: no end within {timeout_s:.0f} s; see {town.folder}")
            time.sleep(2)
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
    seconds: list[float] = json.loads(out.read_text(encoding="utf-8"))
    return seconds


def _node(town: DeployedTown, name: str) -> subprocess.Popen[bytes]:
    folder, server = town.hospitals[name].folder, town.flower()
    port = town.server.state()["ports"]["superlink"]
    command = [str(Path(sys.executable).with_name("flower-supernode")), "--superlink", f"127.0.0.1:{port}"]
    command += ["--root-certificates", str(server.authority)]
    command += ["--auth-supernode-private-key", str(folder / "node.key")]
    command += ["--host", "127.0.0.1", "--port", str(free_port())]
    path = f"{Path(sys.executable).parent}:{loopback_environment().get('PATH', '')}"
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    own = {**loopback_environment(), **quiet, "PATH": path, "FLWR_HOME": str(folder / "flwr")}
    with (folder / "supernode.log").open("ab") as log:
        return subprocess.Popen(command, env=own, stdout=log, stderr=log, preexec_fn=die_with_parent)


def _until_online(flower: FlowerCommand, wanted: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while sum(state == "online" for state in flower.nodes().values()) < wanted:
        if time.monotonic() > deadline:
            raise FLLiverError(f"stock Flower: {flower.nodes()} after {timeout_s:.0f} s, wanted {wanted} online")
        time.sleep(1)


def _write_app(folder: Path, config: dict[str, Any]) -> Path:
    package = folder / _PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "server_app.py").write_text(_SERVER, encoding="utf-8")
    (package / "client_app.py").write_text(_CLIENT, encoding="utf-8")
    (folder / "LICENSE").write_text("Apache-2.0\n", encoding="utf-8")
    components = {"serverapp": f"{_PACKAGE}.server_app:app", "clientapp": f"{_PACKAGE}.client_app:app"}
    app = {"publisher": "fl", "fab-format-version": 1, "flwr-version-target": "1.41.0", "components": components}
    project = {"name": _PACKAGE, "version": "0.1.0", "license": {"file": "LICENSE"}, "dependencies": ["flwr>=1.41.0"]}
    body = {"project": project, "tool": {"flwr": {"app": {**app, "config": config}}}}
    (folder / "pyproject.toml").write_text(tomli_w.dumps(body), encoding="utf-8")
    return folder
