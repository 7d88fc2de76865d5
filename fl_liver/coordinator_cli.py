"""`fl-liver coordinator`: a consortium and its server. Heavy things are imported inside the commands."""

from __future__ import annotations

import typer

from fl_liver import coordinator_trust_cli, coordinator_up_cli

app = typer.Typer(no_args_is_help=True, help="A consortium of hospitals, and its server.")
app.add_typer(coordinator_trust_cli.app)
app.add_typer(coordinator_up_cli.app)
