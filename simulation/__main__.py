"""`python -m simulation`: virtual hospitals train a model together on this machine; a report says how well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from click import Context, HelpFormatter
from typer.core import TyperCommand

from fl_liver.cli import run_app
from fl_liver.errors import ConfigError

EXAMPLE = """
Example, with what it prints at its end (seed 2020, 4 cores with bfloat16):

\b
  $ python -m simulation
    Focal liver lesions in B-mode ultrasound, 13 hospitals  (AUC, 95 % interval)
  ┏━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
  ┃ model      ┃ internal                         ┃ external                      ┃
  ┡━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
  │ federated  │ 0.887 [0.827, 0.947]  n = 138    │ 0.858 [0.808, 0.908]  n = 200 │
  │ fusion     │ 0.923 [0.878, 0.969]  n = 138    │ 0.922 [0.887, 0.957]  n = 200 │
  │ pooled     │ 0.927 [0.883, 0.971]  n = 138    │ 0.887 [0.842, 0.932]  n = 200 │
  │ local only │ 0.903  mean of 3 of 11 hospitals │ 0.766 [0.728, 0.804]  n = 200 │
  └────────────┴──────────────────────────────────┴───────────────────────────────┘
  report   runs/lesion_us_fusion-20261122-093930/report.html
  summary  runs/lesion_us_fusion-20261122-093930/summary.json
  paper    runs/lesion_us_fusion-20261122-093930/analysis/paper.html

The same numbers from a deployment rehearsed on this machine (see docs/researcher.md):

\b
  $ python -m simulation --deploy --sites 3 --quick

The other published systems, one task of one, and real patients of a public data set (see docs/models.md):

\b
  $ python -m simulation hcc_ct --quick
  $ python -m simulation mri_clinical:A
  $ python -m simulation nodule_ct --data DIR --reader crlm --partition by:scanner

Exit status: 0 done, 2 unusable data, 64 usage, 69 server or daemon, 75 interrupted or incomplete, 78 configuration.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class _WithDataSets(TyperCommand):
    """The data sets stand at the end of --help, and are only read for it."""

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        from simulation.public.registry import describe

        head = "Public data sets for --data DIR --reader NAME; nothing is downloaded:"
        formatter.write(f"\n{head}\n\n{describe()}\n")


@app.command(cls=_WithDataSets, help=__doc__, epilog=EXAMPLE)
def simulate(
    study: Annotated[
        str, typer.Argument(show_default=False, help="A shipped study's name or a .toml file.")
    ] = "lesion_us_fusion",
    data: Annotated[Path | None, typer.Option(help="Folder of a public data set instead of phantom patients.")] = None,
    reader: Annotated[str | None, typer.Option(help="Its reader; found by the folder's files if not given.")] = None,
    partition: Annotated[
        str, typer.Option(show_default=False, help="iid (default) | dirichlet:ALPHA | sizes:POWER | by:COLUMN")
    ] = "iid",
    hospitals: Annotated[int | None, typer.Option("--hospitals", "--sites", help="Hospitals in all.")] = None,
    external: Annotated[
        int | None, typer.Option(help="Of these, how many only test; by default the study's, while three train.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training.")] = None,
    seed: Annotated[int | None, typer.Option(help="Patients, split, weights and batches follow from it.")] = None,
    engine: Annotated[
        Literal["serial", "processes", "ray"],
        typer.Option(show_default=False, help="What runs the work; by default processes."),
    ] = "processes",
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.")] = None,
    device: Annotated[str, typer.Option(show_default=False, help="auto (default) | cpu | cuda:N")] = "auto",
    full: Annotated[bool, typer.Option("--full", help="The published size of network and images: for a GPU.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="7 small hospitals, 3 rounds: to see that all works.")] = False,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validation: a federation without each fold, unseen scores, an ensemble.")
    ] = None,
    repeats: Annotated[
        str | None, typer.Option(metavar="SPLITSxFOLDS", help="Cross-validate anew on several splits, such as 3x3.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="SECTION.KEY=V,V", help="Try these first, go on with the best; may be given again."),
    ] = None,
    all_tasks: Annotated[bool, typer.Option("--all-tasks", help="Also every variant of the study.")] = False,
    leave_one_centre_out: Annotated[
        bool, typer.Option("--leave-one-centre-out", help="Also one federation without each training hospital.")
    ] = False,
    baselines: Annotated[
        bool, typer.Option(show_default=False, help="Also train each hospital alone, and all pooled.")
    ] = True,
    plain_sums: Annotated[
        bool, typer.Option("--plain-sums", help="Add in the clear, for debugging; same result, unmasked.")
    ] = False,
    deploy: Annotated[
        bool,
        typer.Option("--deploy", help="Over a real server: a process for each hospital, TLS, approvals; loopback."),
    ] = False,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/<study>-<time>.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the study as it would run, and stop.")] = False,
) -> int:
    """Read the options, run, report."""
    from simulation.options import Options, load_options, new_folder, resolve_study, save_options

    if resume is not None:
        options, folder = load_options(resume), resume
    else:
        options = Options(
            study=study,
            data=str(data.resolve()) if data else None,
            reader=reader,
            partition=partition,
            hospitals=hospitals,
            external=external,
            rounds=rounds,
            seed=seed,
            engine=engine,
            device=device,
            workers=workers,
            full=full,
            quick=quick,
            folds=folds,
            repeats=repeats,
            grid=tuple(grid or ()),
            all_tasks=all_tasks,
            leave_one_centre_out=leave_one_centre_out,
            baselines=baselines,
            plain_sums=plain_sums,
            deploy=deploy,
        )
        resolved = resolve_study(options)
        if dry_run:
            typer.echo(resolved.to_toml())
            typer.echo(f"# SHA-256 without first weights: {resolved.sha256}")
            return 0
        folder = out or new_folder(resolved.name)
        if (folder / "run.json").exists():
            raise ConfigError(f"{folder}: holds a run already; go on with --resume {folder}, or give another --out")
        save_options(options, folder)
    from simulation.session import run_session

    return run_session(options, folder)


def main() -> None:
    """Entry point."""
    sys.exit(run_app(app))


if __name__ == "__main__":
    main()
