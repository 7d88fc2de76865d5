"""`fl-liver site init|admit|roster|confirm|rotate`: how a hospital joins and whom it trusts. Part of `site_cli`."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fl_liver.errors import ProtocolError

if TYPE_CHECKING:
    from fl_liver.consortium.admitted import News
    from fl_liver.consortium.hospital_folder import HospitalFolder
    from fl_liver.consortium.pinned import Row

app = typer.Typer()
_PANEL = "Joining a consortium"
_LOUD: dict[str, dict[str, Any]] = {"CHANGED KEY": {"fg": "red", "bold": True}, "not confirmed": {"fg": "yellow"}}

Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder that `site init` made.")]
Accept = Annotated[
    bool, typer.Option("--accept-changes", help="Do not ask where a key in use changes or a hospital goes.")
]


@app.command(
    "init",
    rich_help_panel=_PANEL,
    epilog="Example:  fl-liver site init H02.invitation.toml /srv/fl-liver/H02   "
    "Exit status: 0 made · 76 the invitation is not right · 78 the folder is in use by something else.",
)
def site_init(
    invitation: Annotated[Path, typer.Argument(help="NAME.invitation.toml, from the coordinator.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder to make, mode 0700.  [default: ./NAME]")
    ] = None,
    role: Annotated[
        Literal["train", "external"], typer.Option(help="external: this hospital only tests and never trains.")
    ] = "train",
    words: Annotated[
        str | None, typer.Option(help="The coordinator's eight words, heard by telephone; checked before all else.")
    ] = None,
) -> None:
    """Make this hospital's keys, site.toml and the reply. Private halves never leave the folder."""
    from fl_liver.consortium.invitation import read_invitation
    from fl_liver.consortium.joining import join
    from fl_liver.consortium.words import check_words, fingerprint

    invited = read_invitation(invitation, datetime.now(UTC))
    coordinator = bytes.fromhex(invited.coordinator)
    if words is not None:
        check_words(words, coordinator, "the coordinator")
    typer.echo(f"{invited.site} is invited to '{invited.consortium}' at {invited.address}")
    typer.echo(f"  coordinator  {fingerprint(coordinator)}" + ("   (as heard)" if words is not None else ""))
    joined = join(invited, folder or Path(invited.site), role=role)
    made = "kept the keys of" if joined.keys_kept else "made"
    typer.echo(f"{made} {joined.reply_file.parent} for {invited.site}; its fingerprints:")
    for what, eight in joined.words.items():
        typer.echo(f"  {what:13s}{eight}")
    typer.echo(f"next: send {joined.reply_file} to the coordinator; there is no secret in it")
    if words is None:
        typer.echo("      by telephone: the coordinator reads its words to you, they must be those above;")
        typer.echo("      then you read yours (identity) to the coordinator")
    else:
        typer.echo("      by telephone: read your words (identity) to the coordinator")
    typer.echo(f"      read {joined.reply_file.parent / 'site.toml'}: what this hospital decides for itself")
    typer.echo(f"      what comes back:  fl-liver site admit {invited.site}.admission.toml {joined.reply_file.parent}")
    typer.echo(f"      then the invitation is of no more use; remove {invitation}")


@app.command(
    "admit",
    rich_help_panel=_PANEL,
    epilog="Example:  fl-liver site admit H02.admission.toml /srv/fl-liver/H02   "
    "Exit status: 0 installed · 76 not from this coordinator, or changed · 78 not an admission.",
)
def site_admit(
    admission: Annotated[Path, typer.Argument(help="NAME.admission.toml, from the coordinator.")],
    folder: Folder = Path(),
    accept: Accept = False,
) -> None:
    """Install the certificate and the signed roster, after checking who signed them."""
    from fl_liver.consortium.admitted import install, read_admission
    from fl_liver.consortium.authority import days_left, read_certificate

    now = datetime.now(UTC)
    with _changing(folder) as hospital:
        paper, news = read_admission(hospital, admission, now)
        _show_news(news, accept=accept)
        install(hospital, news, paper.certificate)
        ends = read_certificate(hospital.at("client.crt")).not_valid_after_utc
        typer.echo(f"{paper.site} is admitted to '{paper.consortium}'")
        typer.echo(f"  certificate good for {days_left(ends, now)} days, roster version {news.roster.version}")
        _show_missing(hospital, folder)
        _show_start(hospital, folder)


@app.command(
    "roster",
    rich_help_panel=_PANEL,
    epilog="Example:  fl-liver site roster /srv/fl-liver/H02 --new roster.signed.toml   "
    "Exit status: 0 shown · 76 a roster that is not right · 78 not admitted yet.",
)
def site_roster(
    folder: Folder = Path(),
    new: Annotated[
        Path | None, typer.Option(help="Install this roster.signed.toml, from the coordinator, first.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    accept: Accept = False,
) -> None:
    """Show every hospital's identity as words: confirmed or not, and what changed last."""
    from fl_liver.consortium.admitted import install, latest_changes, read_news
    from fl_liver.consortium.pinned import read_trust, write_pinned

    with _changing(folder) as hospital:
        if new is not None:
            news = read_news(hospital, new)
            _show_news(news, accept=accept, quiet=as_json)
            install(hospital, news)
        trust = read_trust(hospital)
        mended = write_pinned(hospital, trust)
        last = latest_changes(hospital)
        if as_json:
            hospitals = [
                {
                    "name": row.site,
                    "state": row.state,
                    "words": row.words,
                    "heard": row.confirmed.when.isoformat() if row.confirmed else None,
                    "by": row.confirmed.by if row.confirmed else None,
                }
                for row in trust.rows()
            ]
            body = {"site": trust.site, "consortium": trust.signed.consortium, "version": trust.signed.version}
            more = {"hospitals": hospitals, "changes": [{"name": it.site, "kind": it.kind} for it in last]}
            typer.echo(json.dumps({**body, **more, "mended": mended}, indent=1, ensure_ascii=False))
            return
        signed = trust.signed
        typer.echo(f"'{signed.consortium}', roster version {signed.version} of {signed.made:%Y-%m-%d}")
        for row in trust.rows():
            typer.secho(f"{row.site:12s}{row.state:15s}{row.words}{_heard(row)}", **_LOUD.get(row.state, {}))
        for change in last:
            typer.echo(f"since the roster before: {change}")
        if mended:
            typer.echo(f"!! roster.toml was not what was confirmed here ({', '.join(mended)}); it is written anew")
        _show_missing(hospital, folder)


@app.command(
    "confirm",
    rich_help_panel=_PANEL,
    epilog="Example:  fl-liver site confirm H03 /srv/fl-liver/H02   and type the eight words that H03 reads to you   "
    "Exit status: 0 confirmed · 76 another key's words · 78 not on the roster, or mistyped.",
)
def site_confirm(
    name: Annotated[str, typer.Argument(help="The hospital that you have on the telephone.")],
    folder: Folder = Path(),
    words: Annotated[
        str | None, typer.Option(help="The eight words that it read to you; asked for without this.")
    ] = None,
) -> None:
    """Write down that you heard another hospital's words; only then sums are made with it."""
    from fl_liver.consortium.pinned import confirm, read_trust

    with _changing(folder) as hospital:
        if words is None:
            if name in read_trust(hospital).signed.identity:
                typer.echo(f"call {name} on a number that you knew before, and let it read its eight words to you")
            words = typer.prompt(f"words of {name}")
        trust = confirm(hospital, name, words, _person(), datetime.now(UTC))
        typer.echo(f"{name} is confirmed; confirmed so far: {', '.join(sorted(trust.others()))}")
        _show_missing(hospital, folder)
        _show_start(hospital, folder)


@app.command(
    "rotate",
    rich_help_panel=_PANEL,
    epilog="Example:  fl-liver site rotate /srv/fl-liver/H02   writes H02.rotation.toml   "
    "Exit status: 0 written · 78 not admitted, or identity.pem is not on the roster.",
)
def site_rotate(folder: Folder = Path()) -> None:
    """Make a new identity, signed with the old one. The old one is used until a roster lists the new one."""
    from fl_liver.consortium.admitted import rotate
    from fl_liver.consortium.words import fingerprint

    with _changing(folder) as hospital:
        path, rotation = rotate(hospital)
    typer.echo(
        f"{rotation.site} has a new identity, signed with the old one; the old one is used until a roster lists it"
    )
    typer.echo(f"  new identity {fingerprint(bytes.fromhex(rotation.new))}")
    typer.echo(f"next: send {path} to the coordinator and read the words above to it. There:")
    typer.echo(f"      fl-liver coordinator approve {rotation.site} {path.name}")
    typer.echo(f"      what comes back:  fl-liver site roster {folder} --new roster.signed.toml")


@contextmanager
def _changing(folder: Path) -> Iterator[HospitalFolder]:
    """The hospital's folder, with no other command in it meanwhile."""
    from fl_liver.consortium.hospital_folder import HospitalFolder
    from fl_liver.consortium.safe_file import locked

    hospital = HospitalFolder(folder)
    hospital.membership()  # so that no lock is left in a folder that is none
    with locked(folder):
        yield hospital


def _show_news(news: News, *, accept: bool, quiet: bool = False) -> None:
    """Loud where a key in use changes. Raises ProtocolError where a person does not want that."""
    for change in news.changes:
        if change.kind != "new":
            typer.secho(f"!! {change}", err=True, fg="red", bold=True)
        elif not quiet:
            typer.echo(f"   {change}")
    if news.stops and not accept:
        version = news.roster.version
        typer.echo(f"!! studies with {', '.join(news.stops)} stop here once roster {version} is installed", err=True)
        if not typer.confirm("install it now?", err=True):
            raise ProtocolError(f"roster {version}: not installed; everything is as it was")


def _show_missing(hospital: HospitalFolder, folder: Path) -> None:
    """Who has still to be confirmed, and how."""
    from fl_liver.consortium.pinned import read_trust

    trust = read_trust(hospital)
    own = next((row.words for row in trust.rows() if row.state == "this hospital"), "")
    missing = [row for row in trust.rows() if row.state in ("not confirmed", "CHANGED KEY")]
    if missing:
        names = ", ".join(row.site for row in missing)
        typer.echo(f"next: telephone {names}. They read their words to you, you read yours to them:")
        typer.echo(f"      {own}")
        typer.echo(f"      fl-liver site confirm {missing[0].site}{'' if folder == Path() else f' {folder}'}")
    elif len(trust.rows()) > 1:
        typer.echo("every other hospital on the roster is confirmed here")
    else:
        typer.echo("nobody else is on this roster yet. When the coordinator sends a newer one:")
        typer.echo(f"      fl-liver site roster{'' if folder == Path() else f' {folder}'} --new roster.signed.toml")


def _show_start(hospital: HospitalFolder, folder: Path) -> None:
    """What follows the joining, once nobody is left to be telephoned."""
    from fl_liver.consortium.pinned import read_trust

    if any(row.state in ("not confirmed", "CHANGED KEY") for row in read_trust(hospital).rows()):
        return
    named = folder != Path()
    typer.echo(f"next: say in {folder / 'site.toml'} where the patients are (data), then")
    typer.echo(f"      fl-liver site doctor{f' --dir {folder}' if named else ''}     what is still missing")
    typer.echo(f"      fl-liver site run{f' {folder}' if named else ''}     the daemon")


def _heard(row: Row) -> str:
    """When and by whom; empty unless this very key was confirmed."""
    if row.confirmed is None or row.state != "confirmed":
        return ""
    return f"   {row.confirmed.when:%Y-%m-%d} by {row.confirmed.by}"


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
