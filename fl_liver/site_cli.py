"""`fl-liver site`: what a hospital runs on its own data. Heavy things are imported inside the commands."""

from __future__ import annotations

import typer

from fl_liver import (
    site_check_cli,
    site_explain_cli,
    site_fetch_cli,
    site_run_cli,
    site_study_cli,
    site_table_cli,
    site_trust_cli,
    site_viewer_cli,
)

app = typer.Typer(no_args_is_help=True, help="What a hospital runs on its own data.")
for part in (
    site_trust_cli,
    site_fetch_cli,
    site_check_cli,
    site_study_cli,
    site_run_cli,
    site_explain_cli,
    site_table_cli,
    site_viewer_cli,
):
    app.add_typer(part.app)
