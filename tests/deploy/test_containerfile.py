"""The Containerfile as it is read by a builder: nobody is root, nothing is fetched from somewhere, nothing secret."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from typer.testing import CliRunner

from fl_liver.cli import app

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("site", "coordinator")
Instruction = tuple[str, str]


def read() -> dict[str, list[Instruction]]:
    """Stage → its instructions with what follows them; those of the stage that it begins from come first."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.partition(" ")
        if name == "FROM":
            source, _, stage = rest.partition(" AS ")
            current = stages[stage] = list(stages.get(source, []))
        current.append((name, rest.strip()))
    return stages


def values(stage: str, name: str) -> list[str]:
    return [rest for instruction, rest in read()[stage] if instruction == name]


def words(stage: str, name: str) -> list[str]:
    """The last of these, in its JSON form."""
    found: list[str] = json.loads(values(stage, name)[-1].partition("CMD ")[2] or values(stage, name)[-1])
    return found


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_only_known_instructions_are_used() -> None:
    known = {"FROM", "ARG", "LABEL", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD", "USER", "VOLUME", "EXPOSE"}
    used = {name for stage in read().values() for name, _ in stage}
    assert used <= known | {"HEALTHCHECK", "STOPSIGNAL"}


def test_nothing_is_fetched_but_by_pip_from_its_index() -> None:
    """ADD takes addresses; and what a script fetches is nobody's to check."""
    runs = [rest for stage in read().values() for name, rest in stage if name == "RUN"]
    assert runs
    assert not [run for run in runs if re.search(r"https?://|curl|wget|apt-get|git ", run)]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_does_not_run_as_root(image: str) -> None:
    (user,) = values(image, "USER")
    made = " ".join(values(image, "RUN"))
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert f"--uid {user.partition(':')[0]} " in made
    last = [name for name, _ in read()[image]]
    assert "RUN" not in last[last.index("USER") :]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_the_projects_version_and_a_python_that_it_wants(image: str) -> None:
    (version,) = values(image, "ARG")
    assert version == f'VERSION="{PROJECT["version"]}"'
    bases = {rest.partition(" AS ")[0] for stage in read().values() for name, rest in stage if name == "FROM"}
    pythons = {found[1] for base in bases if (found := re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", base))}
    assert len(pythons) == 1, "one, and a slim one with a name that stays"
    assert all(version + ".0" in SpecifierSet(PROJECT["requires-python"]) for version in pythons)
    assert f"fl-liver-{image}:{PROJECT['version']}" in (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_only_the_package_is_copied_and_no_key_or_configuration() -> None:
    """A COPY of the folder would take a hospital's keys along that lie beside it."""
    copied = [path for rest in values("build", "COPY") for path in shlex.split(rest)[:-1]]
    assert sorted(copied) == ["LICENSE", "README.md", "fl_liver", "pyproject.toml"]
    assert all((ROOT / path).exists() for path in copied)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert wheel["wheel"]["packages"] == ["fl_liver"]
    for image in IMAGES:
        assert list(values(image, "COPY")) == ["--from=build /opt/fl-liver /opt/fl-liver"]
        said = " ".join(rest for name, rest in read()[image] if name in ("ENV", "ARG", "LABEL"))
        assert not re.search(r"(?i)secret|password|token|BEGIN|_KEY", said)


@pytest.mark.parametrize("image", IMAGES)
def test_what_an_image_runs_is_a_command_of_ours_with_options_that_it_has(image: str) -> None:
    assert words(image, "ENTRYPOINT") == ["fl-liver"]
    health = words(image, "HEALTHCHECK")
    for command in (words(image, "CMD"), *([health[1:]] if health[0] == "fl-liver" else [])):
        said = CliRunner().invoke(app, [*command[:2], "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert said.exit_code == 0
        assert all(option in said.output for option in command if option.startswith("--")), command


@pytest.mark.parametrize(("image", "folder"), [("site", "/site"), ("coordinator", "/consortium")])
def test_everything_that_an_image_writes_is_in_its_volume_or_in_tmp(image: str, folder: str) -> None:
    """So that its root may be read-only."""
    assert json.loads(values(image, "VOLUME")[-1]) == [folder]
    assert folder in words(image, "CMD")
    environment = dict(pair.split("=", 1) for rest in values(image, "ENV") for pair in shlex.split(rest))
    written = {name: environment[name] for name in ("HOME", "FLWR_HOME", "MPLCONFIGDIR")}
    assert all(path == "/tmp" or path.startswith("/tmp/") for path in written.values()), written  # noqa: S108
    assert (environment["FLWR_TELEMETRY_ENABLED"], environment["FLWR_DISABLE_UPDATE_CHECK"]) == ("0", "1")
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_hospitals_image_opens_no_port_and_the_coordinators_one() -> None:
    assert values("site", "EXPOSE") == []
    assert values("coordinator", "EXPOSE") == ["8443"]
    assert words("coordinator", "CMD")[-2:] == ["--port", "8443"]
