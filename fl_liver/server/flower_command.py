"""Flower's command line, run as a person would: hospitals' nodes, runs. JSON comes back."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from fl_liver.errors import FLLiverError, FlowerCommandError
from fl_liver.server.server_folder import CONNECTION, ServerFolder

_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class FlowerCommand:
    """`flwr` for the SuperLink of one coordinator's folder. Raises FlowerCommandError where it says no."""

    folder: ServerFolder

    def register(self, public_key: Path, name: str) -> int:
        """The new node's id."""
        return int(self._call("supernode", "register", str(public_key), CONNECTION, "--name", name)["node-id"])

    def unregister(self, node: int) -> None:
        self._call("supernode", "unregister", str(node), CONNECTION)

    def nodes(self) -> dict[int, str]:
        """Node → "registered" (never seen), "online" or "offline"."""
        found = self._call("supernode", "list", CONNECTION)["nodes"]
        return {int(node["node-id"]): str(node["status"]) for node in found}

    def run(self, app: Path, config: dict[str, Any], scratch: Path) -> int:
        """Submit an app; returns the run's id. `scratch` is a file for the configuration, kept for whoever looks."""
        scratch.write_text(tomli_w.dumps(config), encoding="utf-8")
        return int(self._call("run", str(app), CONNECTION, "--run-config", str(scratch))["run-id"])

    def status(self, run: int) -> str:
        """ "pending", "starting", "running", "finished:completed", "finished:failed" or "finished:stopped"."""
        runs = self._call("list", CONNECTION, "--run-id", str(run))["runs"]
        return str(runs[0]["status"]) if runs else "unknown"

    def stop(self, run: int) -> None:
        self._call("stop", str(run), CONNECTION)

    def _call(self, *arguments: str) -> dict[str, Any]:
        what = " ".join(("flwr", *arguments[:2]))
        try:
            done = subprocess.run(
                ["flwr", *arguments, "--format", "json"],
                env=self.folder.environment(),
                cwd=self.folder.folder,
                capture_output=True,
                text=True,
                timeout=_WAIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FlowerCommandError(f"{what}: no answer within {_WAIT_S:.0f} s; is the server up?") from error
        except OSError as error:
            raise FLLiverError(f"{what}: cannot be started ({error}); install flwr beside fl_liver") from error
        said = done.stdout + done.stderr
        try:
            answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        except ValueError as error:
            raise FlowerCommandError(f"{what}: {_last_line(said)}") from error
        if done.returncode or not answer.get("success", True):
            raise FlowerCommandError(f"{what}: {answer.get('error-message') or _last_line(said)}")
        return answer


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
