"""`fl-liver site viewer`: a web page on this machine, for one study at a time. Heavy things are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fl_liver.site_run_cli import Dir, site_file

if TYPE_CHECKING:
    from fl_liver.client.cohort.cohort import Cohort
    from fl_liver.client.explain.explained import Explained
    from fl_liver.client.explain.page import Picture
    from fl_liver.study import Study

app = typer.Typer()


@app.command(
    "viewer",
    epilog="Example:  fl-liver site viewer 3f9ac1d2 --model model.safetensors   Prints an address; open it on this "
    "machine, and end with Ctrl-C. Exit status: 0 ended · 78 model of another study, or configuration.",
)
def site_viewer(
    study: Annotated[
        str, typer.Argument(help="An approved study's hash (first 8 digits or more), or the run's study.toml.")
    ],
    model: Annotated[Path, typer.Option(help="model.safetensors, as the coordinator published it with the run.")],
    folder: Dir = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    most_mib: Annotated[int, typer.Option(min=1, help="Largest upload, unpacked.")] = 2048,
) -> None:
    """Upload a patient's images on this machine, see score and heat maps; nothing is kept, nothing is sent."""
    import secrets
    import socket

    import uvicorn

    from fl_liver.client.explain.study_model import approved_here, final_model
    from fl_liver.client.site import load_site
    from fl_liver.client.viewer.app import HOST, viewer_app
    from fl_liver.client.viewer.reading import Viewer, require_viewable
    from fl_liver.client.viewer.upload import uploads_folder
    from fl_liver.errors import ConfigError
    from fl_liver.study_files import load_study

    site = load_site(site_file(folder))
    asked = approved_here(site, study) or load_study(study)
    require_viewable(asked)
    vector, layout = final_model(site, asked, model)
    token = secrets.token_urlsafe(24)
    below = uploads_folder(site.work)
    application = viewer_app(Viewer(site, asked, vector, layout, _draw), token, most_mib << 20, below)
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"port {port} of this machine is taken ({type(error).__name__}); give another") from error
        typer.echo(f"http://{HOST}:{door.getsockname()[1]}/{token}/")
        typer.echo("open this address on this machine; whoever has it can upload. Ctrl-C ends it.", err=True)
        # No access log: it would hold the token.
        config = uvicorn.Config(application, log_level="warning", access_log=False, server_header=False, ws="none")
        uvicorn.Server(config).run(sockets=[door])


def _draw(_study: Study, cohort: Cohort, explained: Explained) -> list[Picture]:
    from fl_liver.client.explain.page import Picture
    from fl_liver.explanation_figures import heat_figures
    from fl_liver.server.report.style import render_svg

    def title(place: int, number: int) -> str:
        return f"{cohort.patients[place]}, image {number}"

    drawn = [render_svg(one) for one in heat_figures(explained, titled=title)]
    return [Picture(one.svg_uri, one.alt, one.caption, one.width_px) for one in drawn]
