"""`fl-liver site run|audit|…`: the daemon and what an operator asks of it. Heavy things are imported inside."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

Dir = Annotated[Path, typer.Option("--dir", help="The hospital's folder, with site.toml in it.")]
Folder = Annotated[Path, typer.Argument(help="The hospital's folder, with site.toml in it.", show_default="this one")]


def site_file(folder: Path) -> Path:
    """site.toml of a hospital's folder, or the file itself."""
    return folder if folder.suffix == ".toml" else folder / "site.toml"


@app.command(
    "run",
    epilog="Example:  fl-liver site run /etc/fl-liver   Runs until SIGTERM. Outbound HTTPS only; opens no port. "
    "Exit status: 0 stopped · 78 configuration.",
)
def site_run(folder: Folder = Path()) -> None:
    """The daemon: take messages of approved studies, answer them, for months."""
    from fl_liver.client.run_site import run_daemon

    run_daemon(site_file(folder).resolve())


class AuditAction(StrEnum):
    """What to do with the audit log."""

    SHOW = "show"
    VERIFY = "verify"


@app.command(
    "audit",
    epilog="Example:  fl-liver site audit --last 20    fl-liver site audit verify --head 1042:9f3c…   "
    "Exit status: 0 whole · 74 changed, cut or not writable.",
)
def site_audit(
    action: Annotated[AuditAction, typer.Argument(help="show lines, or verify the whole log.")] = AuditAction.SHOW,
    folder: Dir = Path(),
    last: Annotated[int, typer.Option(help="How many lines to show.")] = 50,
    head: Annotated[str, typer.Option(help="A head that was noted before (ENTRIES:SHA256), to verify against.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Lines as they are in the file.")] = False,
) -> None:
    """Everything that left this hospital, oldest first; `verify` finds any edit, removed line or cut-off end."""
    import json
    from collections import deque

    from fl_liver.client import audit
    from fl_liver.client.site import load_site

    work = load_site(site_file(folder)).work
    if action is AuditAction.SHOW:
        for line in deque(audit.entries(work), maxlen=max(last, 1)):
            typer.echo(json.dumps(line) if as_json else _audit_line(line))
    whole = audit.verify(work, head)
    typer.echo(f"{whole.entries} entries, whole. Head to note elsewhere: {whole.text}", err=as_json)


def _audit_line(line: dict[str, object]) -> str:
    occasion = [
        f"{name} {line[name]}" for name in ("run", "purpose", "round", "step") if line.get(name) not in (None, "")
    ]
    limits = [f"{name} {line[name]}" for name in ("clip", "floor", "code", "release") if name in line]
    study = f"study {str(line['study'])[:12]}" if "study" in line else ""
    said = ", ".join(one for one in (study, *occasion, *limits) if one)
    sha = str(line.get("sha256", ""))[:12]
    time = str(line["time"])[:19].replace("T", " ")
    return f"{line['n']:>7} {time}  {line['kind']!s:10s} {line['bytes']:>11} bytes  {sha:12s}  {said}"


@app.command(
    "status",
    epilog="Example:  fl-liver site status    fl-liver site status --json   "
    "Exit status: 0 green · 75 a check fails · 78 no daemon runs here.",
)
def site_status(
    folder: Dir = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for a monitoring system.")] = False,
    look: Annotated[bool, typer.Option(help="Also compare frozen cohorts with the data now.")] = True,
) -> None:
    """Green only if registered, approved, certificates valid, frozen cohorts intact and the last message answered."""
    import json

    from fl_liver.client.control import as_checks, call
    from fl_liver.client.site import load_site

    site = load_site(site_file(folder))
    if look:
        from fl_liver.client.frozen import compare, frozen_names, read_frozen

        for name in frozen_names(site):
            compare(site, read_frozen(site, name))
    status = call(site.work, "Status")
    if as_json:
        typer.echo(json.dumps(status, indent=1))
    else:
        typer.echo(f"{status['site']}: {'GREEN' if status['green'] else 'NOT GREEN'}   fl_liver {status['version']}")
        for check in as_checks(status):
            typer.echo(f"  {'ok  ' if check.ok else 'FAIL'}  {check.name:20s}{check.found}")
        typer.echo(f"  {status['answered']} messages answered, {status['failed']} not, since the daemon started")
    raise typer.Exit(0 if status["green"] else 75)


@app.command("pause", epilog="Example:  fl-liver site pause   Holds over a restart, until `fl-liver site resume`.")
def site_pause(folder: Dir = Path()) -> None:
    """Answer everything with BUSY; the daemon stays registered. A message that is being worked on is finished."""
    from fl_liver.client.control import call
    from fl_liver.client.site import load_site

    call(load_site(site_file(folder)).work, "Pause")
    typer.echo("paused")


@app.command("resume", epilog="Example:  fl-liver site resume")
def site_resume(folder: Dir = Path()) -> None:
    """Take part again after `pause`."""
    from fl_liver.client.control import call
    from fl_liver.client.site import load_site

    call(load_site(site_file(folder)).work, "Resume")
    typer.echo("resumed")


@app.command(
    "doctor",
    epilog="Example:  fl-liver site doctor    fl-liver site doctor --json   "
    "Exit status: 0 ok · 1 warnings · 2 a failure.",
)
def site_doctor(
    folder: Dir = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="For a monitoring system.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Warnings and failures only.")] = False,
) -> None:
    """Look at everything that the daemon needs, and say what to do about what is wrong."""
    import json
    from dataclasses import asdict

    from fl_liver.client.doctor import examine

    found = examine(site_file(folder))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
    for one in found if not as_json else ():
        if one.state != "ok" or not quiet:
            typer.echo(
                f"{one.state:5s} {one.name:18s}{one.found}" + (f"\n{'':24s}→ {one.remedy}" if one.remedy else "")
            )
    states = {one.state for one in found}
    raise typer.Exit(2 if "fail" in states else 1 if "warn" in states else 0)
