"""The arrows between the rooms, held by a test: who may import whom, who may touch Flower, how long a file may be."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOUNDATION = {"errors", "toml_file", "whole_file"}
SUMS = FOUNDATION | {"study", "study_cohort", "parameters", "securesum", "identity", "update_code", "messages", "wire"}
MAY_IMPORT = {
    "errors": set(),
    "toml_file": {"errors"},
    "whole_file": set(),
    "study_cohort": {"toml_file"},
    "study_training": {"toml_file"},
    "study": FOUNDATION | {"study_cohort", "study_training"},
    "study_files": {"errors", "study", "toml_file"},
    "parameters": {"errors", "whole_file"},
    "stats": {"errors", "toml_file"},
    "models": {"errors", "study", "study_training", "parameters"},
    "securesum": {"errors"},
    "identity": FOUNDATION | {"study", "securesum"},
    "update_code": {"parameters", "securesum", "study"},
    "messages": {"securesum", "stats"},
    "wire": {"errors", "messages", "stats"},
    "score_origin": {"messages", "stats", "wire"},
    "consortium": FOUNDATION | {"identity", "study"},
    "server": SUMS | {"stats", "accountant", "score_origin", "consortium"},
    "client": SUMS | {"stats", "models", "accountant", "score_origin"},
    "accountant": {"errors", "study"},
    "guarded_summer": {"errors", "stats"},
    "masked_summer": {"guarded_summer", "securesum", "stats"},
    "analyse": FOUNDATION | {"stats", "server", "guarded_summer", "masked_summer"},
    "explanation_figures": {"client", "errors", "server", "study"},
    "first_weights": {"accountant", "errors", "models", "parameters", "study", "study_files", "update_code"},
}
FLOWER = {
    "fl_liver/wire.py",
    "fl_liver/client/app.py",
    "fl_liver/client/compute.py",
    "fl_liver/client/egress.py",
    "fl_liver/client/fleet.py",
    "fl_liver/client/respond.py",
    "fl_liver/server/app.py",
    "fl_liver/server/exchange.py",
    "fl_liver/server/prompt_grid.py",
    "fl_liver/server/shortcuts.py",
    "fl_liver/server/superlink_process.py",
    "simulation/grid.py",
    "simulation/worker.py",
    "simulation/federate.py",
}
PRIVATE_FLOWER = {
    "fl_liver/client/fleet.py",
    "fl_liver/server/prompt_grid.py",
    "fl_liver/server/shortcuts.py",
    "fl_liver/server/superlink_process.py",
    "simulation/grid.py",
}
LONGEST = 400


def source_files() -> list[Path]:
    return sorted(path for folder in ("fl_liver", "simulation", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def package_files() -> list[Path]:
    return [path for path in source_files() if path.is_relative_to(ROOT / "fl_liver")]


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Every module named in an import statement, wherever it stands; `from a import b` counts as a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("fl_liver.")} - {"__version__"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_the_map_allows(room: str) -> None:
    folder = ROOT / "fl_liver" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert files
    for path in files:
        strangers = rooms(path) - MAY_IMPORT[room] - {room}
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


def test_every_room_stands_on_the_map() -> None:
    """But for the command lines, which bring rooms together."""
    found = {path.relative_to(ROOT / "fl_liver").parts[0].removesuffix(".py") for path in package_files()}
    command_lines = {name for name in found if name == "cli" or name.endswith("_cli")}
    assert found - command_lines - {"__init__", "__main__"} == set(MAY_IMPORT)


def test_no_room_of_the_package_imports_the_simulation() -> None:
    for path in (ROOT / "fl_liver").rglob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] in {"simulation", "benchmarks", "tests"}}, path


def test_flower_is_imported_only_where_the_map_says() -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in source_files()
        if "benchmarks" not in path.parts and any(name.split(".")[0] == "flwr" for name in imports(path))
    }
    assert users == FLOWER


def test_only_these_files_use_flowers_private_modules() -> None:
    public = {"flwr.app", "flwr.serverapp", "flwr.clientapp", "flwr"}
    for path in source_files():
        if "benchmarks" in path.parts:  # they run the peers as the peers are
            continue
        private = {
            name for name in imports(path) if name.startswith("flwr.") and ".".join(name.split(".")[:2]) not in public
        }
        assert not private or str(path.relative_to(ROOT)) in PRIVATE_FLOWER, (path, private)


def test_only_models_training_and_first_weights_import_torch() -> None:
    for path in (ROOT / "fl_liver").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if any(module.split(".")[0] == "torch" for module in imports(path)):
            assert name.startswith(("fl_liver/models/", "fl_liver/client/train", "fl_liver/client/explain/")), name


@pytest.mark.parametrize("module", ["fl_liver.server.app", "fl_liver.cli", "simulation.__main__"])
def test_importing_the_server_or_a_command_line_loads_no_torch(module: str) -> None:
    """The coordinator's host needs no torch, and `--help` must answer at once."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_message_leaves_a_hospital_only_through_egress() -> None:
    senders = {path.name for path in (ROOT / "fl_liver/client").rglob("*.py") if "to_record" in path.read_text()}
    assert senders == {"egress.py"}


def test_no_file_outgrows_its_room() -> None:
    for path in [*source_files(), *(ROOT / "tests").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, path


def test_package_code_raises_instead_of_asserting() -> None:
    """An assert vanishes under `python -O`; a guard must not."""
    for path in [*(ROOT / "fl_liver").rglob("*.py"), *(ROOT / "simulation").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Assert)], path
