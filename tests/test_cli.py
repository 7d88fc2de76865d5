"""The command line: one line and the right exit status for whatever a person can mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import typer
import typer.main
from typer.testing import CliRunner

from fl_liver import errors
from fl_liver.cli import USAGE, app, guarded, run_app
from fl_liver.errors import FLLiverError
from fl_liver.parameters import load_vector
from fl_liver.study_files import load_study, shipped_studies

EVERY_ERROR = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FLLiverError)]


def raises(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_is_one_line_and_its_own_exit_status(
    kind: type[FLLiverError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raises(kind("study x: found 3, wanted 4"))) == kind.exit_code
    captured = capsys.readouterr()
    assert captured.err == f"{kind.__name__}: study x: found 3, wanted 4\n"
    assert captured.out == ""


def test_the_exit_statuses_are_those_of_the_drawn_tree() -> None:
    drawn = dict(
        line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()[:2]
        for line in str(errors.__doc__).splitlines()
        if "Error " in line and any(f"{kind.__name__} " in line for kind in EVERY_ERROR)
    )
    assert {name: int(code) for name, code in drawn.items()} == {kind.__name__: kind.exit_code for kind in EVERY_ERROR}


def test_a_defect_keeps_its_traceback() -> None:
    """Only errors raised on purpose are shortened; a bug must be findable."""
    with pytest.raises(ZeroDivisionError):
        guarded(raises(ZeroDivisionError()))


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raises(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (75, 75), ("text", 0)])
def test_what_a_command_returns_is_the_exit_status(result: object, status: int) -> None:
    assert guarded(lambda: result) == status


def test_typers_exit_is_the_exit_status() -> None:
    application = typer.Typer()

    @application.command()
    def leave() -> None:
        raise typer.Exit(1)

    assert run_app(application, []) == 1


@pytest.mark.parametrize("arguments", [["study", "chek"], ["--nonsense"], ["study", "check"], ["site", "check"]])
def test_a_wrong_command_line_is_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, arguments) == USAGE
    assert "Traceback" not in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["--help"]) == 0
    assert "Not a medical device" in capsys.readouterr().out


def test_studies_are_listed_by_name_and_title(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["study", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == shipped_studies()
    assert "mri_clinical:G" in [line.split()[0] for line in lines], "variants stand below their study"
    assert all(load_study(line.split()[0]).title in line for line in lines)


def test_checking_a_study_writes_its_first_weights_and_their_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["study", "check", "clinical", "--out", str(tmp_path / "study")]) == 0
    checked = load_study(tmp_path / "study" / "study.toml")
    vector, layout = load_vector(tmp_path / "study" / "initial.safetensors")
    assert checked.initial is not None
    assert checked.initial.layout == layout.fingerprint
    assert len(vector) == layout.size
    assert checked.sha256 in capsys.readouterr().out


def line_of(label: str, text: str) -> str:
    (found,) = [line.removeprefix(label).strip() for line in text.splitlines() if line.startswith(label)]
    return found


@pytest.mark.parametrize("secure_sum", ["masked", "plain"])
def test_checking_a_study_says_how_its_sums_are_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], secure_sum: str
) -> None:
    path = tmp_path / "changed.toml"
    path.write_text(load_study("clinical").changed(privacy={"secure_sum": secure_sum, "min_sites": 4}).to_toml())
    assert run_app(app, ["study", "check", str(path), "--out", str(tmp_path / "study")]) == 0
    assert line_of("sums", capsys.readouterr().out) == f"{secure_sum}, at least 4 hospitals"


def test_a_study_whose_updates_cannot_be_added_is_refused_before_it_is_sent_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "heavy.toml"
    path.write_text(load_study("clinical").changed(training={"max_weight": 10**9}).to_toml())
    assert run_app(app, ["study", "check", str(path), "--out", str(tmp_path / "out")]) == 78
    assert "lower training.max_weight or update_norm" in capsys.readouterr().err
    assert not (tmp_path / "out" / "study.toml").exists()


def test_checking_twice_gives_the_same_weights(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run_app(app, ["study", "check", "clinical", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a" / "study.toml").read_bytes() == (tmp_path / "b" / "study.toml").read_bytes()
    assert load_vector(tmp_path / "a" / "initial.safetensors")[0].tobytes() == (
        load_vector(tmp_path / "b" / "initial.safetensors")[0].tobytes()
    )


def test_a_checked_study_whose_weights_do_not_follow_from_its_seed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = load_study("lesion_us_fusion").changed(model={"width": 4, "image_px": 32})
    wrong = study.with_top(initial={"sha256": "0" * 64, "layout": "0" * 64})
    path = tmp_path / "wrong.toml"
    path.write_text(wrong.to_toml(), encoding="utf-8")
    assert run_app(app, ["study", "check", str(path), "--out", str(tmp_path / "out")]) == 78
    assert "[initial] says 000000000000, its model and seed give" in capsys.readouterr().err
    assert not (tmp_path / "out" / "initial.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "match"),
    [("lesion_us", "study 'lesion_us': not one of clinical, "), ("none.toml", "none.toml: cannot be read")],
)
def test_an_unknown_study_is_one_line_that_lists_the_known_ones(
    name: str, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["study", "check", name]) == 78
    captured = capsys.readouterr()
    assert match in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("ConfigError: ")


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = run_app(app, ["site", "check", str(tmp_path / "none")])
    captured = capsys.readouterr()
    assert status in {2, 78}
    assert str(tmp_path / "none") in captured.err + captured.out
    assert "Traceback" not in captured.err


def commands(group: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with its words."""
    if not isinstance(group, click.Group):
        yield path, group
        return
    for name, command in group.commands.items():
        yield from commands(command, *path, name)


def test_every_positional_argument_is_explained_in_the_help_of_its_command() -> None:
    """Click 8.5 with the typer that flwr wants shows their names alone; hence the bound in pyproject.toml."""
    seen = 0
    for path, command in commands(typer.main.get_command(app)):
        shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        words = " ".join(shown.replace("│", " ").split())
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                said = str(getattr(parameter, "help", None) or "")
                assert said, (path, parameter.name)
                assert " ".join(said.split()[:4]) in words, (path, parameter.name)
                seen += 1
    assert seen >= 10
