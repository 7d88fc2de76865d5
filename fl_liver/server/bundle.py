"""The bundle that is handed to Flower: it names the code that is installed here, and holds none.

Flower sends a bundle to every hospital that asks for it; ours do not ask. What stands in it for hospitals raises.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w

from fl_liver import __version__

_SERVER = """\
\"\"\"The installed fl_liver is the server; this file only says so.\"\"\"

from fl_liver.server.app import make_app

app = make_app()
"""
_CLIENT = """\
\"\"\"Hospitals run their own installed fl_liver (`fl-liver site run`), never code from a bundle.\"\"\"

from flwr.clientapp import ClientApp

app = ClientApp()  # Flower looks for it before it takes a bundle
raise SystemExit("fl_liver: a hospital runs `fl-liver site run` and no code that a server sends; stop this SuperNode")
"""
_PACKAGE = "fl_liver_run"


def write_bundle(folder: Path, title: str) -> Path:
    """Write the app for one run; returns its folder."""
    package = folder / _PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "server_app.py").write_text(_SERVER, encoding="utf-8")
    (package / "client_app.py").write_text(_CLIENT, encoding="utf-8")
    (folder / "LICENSE").write_text("Apache-2.0\n", encoding="utf-8")
    (folder / "pyproject.toml").write_text(tomli_w.dumps(_pyproject(title)), encoding="utf-8")
    return folder


def _pyproject(title: str) -> dict[str, Any]:
    components = {"serverapp": f"{_PACKAGE}.server_app:app", "clientapp": f"{_PACKAGE}.client_app:app"}
    # Only keys that stand here may be given with a run.
    keys = {"study": "", "folder": "", "nodes_file": "", "poll_s": 0.2, "patience_s": 0.0, "wait_s": 0.0}
    app = {"publisher": "fl-liver", "fab-format-version": 1, "flwr-version-target": "1.41.0"}
    return {
        "project": {
            "name": _PACKAGE.replace("_", "-"),
            "version": __version__,
            "description": title[:200],
            "license": {"file": "LICENSE"},
            "dependencies": ["flwr>=1.41.0,<1.43"],
        },
        "tool": {"flwr": {"app": {**app, "components": components, "config": keys}}},
    }
