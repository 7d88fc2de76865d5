"""`fl-liver coordinator up`: the server. Part of `coordinator_cli`; heavy things are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fl_liver.coordinator_trust_cli import Folder

app = typer.Typer()


@app.command(
    "up",
    epilog="Example:  fl-liver coordinator up --folder liver    fl-liver coordinator up --folder liver --print-nginx   "
    "Runs until SIGTERM. Exit status: 0 stopped · 70 the SuperLink does not start · 78 folder or port.",
)
def coordinator_up(
    folder: Folder = Path(),
    host: Annotated[str, typer.Option(help="Address that the gateway listens on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[
        int, typer.Option(help="Port that the gateway listens on.  [default: that of the consortium's address]")
    ] = 0,
    superlink_port: Annotated[int, typer.Option(help="Port of the SuperLink on 127.0.0.1; 0 takes a free one.")] = 0,
    gateway: Annotated[bool, typer.Option(help="Run the built-in gateway; not with nginx in front.")] = True,
    print_nginx: Annotated[
        bool, typer.Option("--print-nginx", help="Print the gateway as an nginx configuration, and end.")
    ] = False,
) -> None:
    """Run the coordinator's server: Flower's SuperLink on loopback, and the gateway that hospitals reach."""
    from datetime import datetime

    from fl_liver.consortium.folder import open_consortium
    from fl_liver.server.nginx import nginx_configuration
    from fl_liver.server.server_folder import ServerFolder
    from fl_liver.server.superlink import Ports, up

    consortium = open_consortium(folder)
    chosen = port or int(consortium.register.address.rpartition(":")[2])
    if print_nginx:
        inside = ServerFolder.of(folder)
        inside.prepare()
        typer.echo(nginx_configuration(consortium, chosen, superlink_port or 9070, inside.authority), nl=False)
        return

    def say(line: str) -> None:
        typer.echo(f"{datetime.now():%H:%M:%S} {line}")

    up(folder, Ports(host, chosen if gateway else None, superlink_port), say)
