"""`fl-liver coordinator init|enrol|approve|roster|revoke|renew`: who is in. Part of `coordinator_cli`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fl_liver.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from fl_liver.consortium.admitting import Application
    from fl_liver.consortium.folder import Consortium

app = typer.Typer()

Folder = Annotated[
    Path,
    typer.Option("--folder", "-C", envvar="FL_LIVER_CONSORTIUM", help="The folder that `coordinator init` made."),
]
Name = Annotated[str, typer.Argument(help="A hospital: 2 to 20 letters, digits or hyphens, as studies name it.")]


@app.command(
    "init",
    epilog="Example:  fl-liver coordinator init liver --name 'Liver Consortium' --address fl.example.org:8443   "
    "Exit status: 0 made · 78 the folder is in use, or a name is of no use.",
)
def coordinator_init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to make, mode 0700. Back it up: it is the trust.")
    ],
    name: Annotated[str, typer.Option(help="What the consortium is called, 2 to 48 characters.")],
    address: Annotated[str, typer.Option(help="host:port at which hospitals reach the gateway.")],
    also: Annotated[
        list[str] | None, typer.Option(help="A further host name or IP address of the gateway; may be repeated.")
    ] = None,
) -> None:
    """Make a consortium: certificate authority, server certificate, signing key."""
    from fl_liver.consortium.folder import make_consortium

    consortium = make_consortium(folder, name, address, tuple(also or ()), datetime.now(UTC))
    typer.echo(f"made {folder} for '{name}' at {address}")
    typer.echo(f"coordinator's words: {consortium.words}")
    typer.echo("next: read these words to each hospital on the telephone, and invite it with")
    typer.echo(f"      fl-liver coordinator enrol NAME --folder {folder}")


@app.command(
    "enrol",
    epilog="Example:  fl-liver coordinator enrol H02 --folder liver   writes liver/H02.invitation.toml   "
    "Exit status: 0 written · 78 an impossible name, or a hospital that is in already.",
)
def coordinator_enrol(
    name: Name,
    folder: Folder = Path(),
    days: Annotated[int, typer.Option(min=1, max=365, help="How long the invitation is good for.")] = 30,
) -> None:
    """Invite a hospital: one file with the address, the authority and a one-time secret."""
    from fl_liver.consortium.admitting import invite
    from fl_liver.consortium.folder import changing

    with changing(folder) as consortium:
        path, replaced = invite(consortium, name, days, datetime.now(UTC))
    if replaced:
        typer.echo(f"{name}: the earlier invitation is worth nothing from now on")
    typer.echo(f"wrote {path} (good for {days} days, holds a one-time secret)")
    typer.echo(f"next: send it to {name}, encrypted. There:  fl-liver site init {path.name} {name}")
    typer.echo(f"      what comes back:  fl-liver coordinator approve {name} {name}.reply.toml --folder {folder}")


@app.command(
    "approve",
    epilog="Example:  fl-liver coordinator approve H02 H02.reply.toml --folder liver   "
    "Exit status: 0 admitted · 76 a proof fails, or the words differ · 78 not a reply.",
)
def coordinator_approve(
    name: Name,
    reply_file: Annotated[Path, typer.Argument(help="NAME.reply.toml, or NAME.rotation.toml, from the hospital.")],
    folder: Folder = Path(),
    fingerprint: Annotated[
        str | None, typer.Option(help="The eight words of its identity, as the hospital read them to you.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; only together with --fingerprint.")] = False,
) -> None:
    """Admit a hospital, or its new identity, after comparing words on the telephone."""
    from fl_liver.consortium.admitting import admit, examine
    from fl_liver.consortium.folder import changing

    if yes and fingerprint is None:
        raise ConfigError("--yes stands for words that were compared: give them with --fingerprint 'eight words'")
    with changing(folder) as consortium:
        now = datetime.now(UTC)
        application = examine(consortium, name, reply_file, now)
        _compare(name, application, fingerprint, yes=yes)
        path = admit(consortium, name, application, now)
        _show_admitted(consortium, name, path)


@app.command(
    "roster",
    epilog="Example:  fl-liver coordinator roster --folder liver --json   Exit status: 0 shown · 78 no consortium.",
)
def coordinator_roster(
    folder: Folder = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sign the roster and show it: name, status, identity's words, days that certificates are good for."""
    from fl_liver.consortium.folder import changing
    from fl_liver.consortium.keeping import certificate_days, rows

    now = datetime.now(UTC)
    with changing(folder) as consortium:
        signed = consortium.roster(now) if consortium.register.approved() else None
        found, days, register = rows(consortium, now), certificate_days(consortium, now), consortium.register
        words = consortium.words
    if as_json:
        hospitals = [
            {"name": row.site, "status": row.status, "words": row.words, "certificate_days": row.certificate_days}
            for row in found
        ]
        body = {"consortium": register.name, "address": register.address, "version": signed.version if signed else 0}
        more = {"coordinator_words": words, "days": days, "hospitals": hospitals}
        typer.echo(json.dumps({**body, **more}, indent=1, ensure_ascii=False))
        return
    typer.echo(
        f"{register.name} at {register.address}, roster version {signed.version if signed else '0, nobody is in'}"
    )
    typer.echo(f"{'coordinator':12s}{'':10s}{'':>8s}  {words}")
    for row in found:
        left = "" if row.certificate_days is None else f"{row.certificate_days} d"
        typer.echo(f"{row.site:12s}{row.status:10s}{left:>8s}  {row.words or ''}")
    _warn(days, {row.site: row.certificate_days for row in found if row.ends_soon and row.certificate_days is not None})
    if signed is not None:
        typer.echo(f"signed: {consortium.roster_file}; every approved hospital installs it with")
        typer.echo(f"        fl-liver site roster DIR --new {consortium.roster_file.name}")


@app.command(
    "revoke",
    epilog="Example:  fl-liver coordinator revoke H02 --reason 'laptop with its keys was stolen' --folder liver   "
    "Exit status: 0 revoked · 76 not confirmed · 78 not in this consortium, or revoked already.",
)
def coordinator_revoke(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, in one line; kept in the register.")],
    folder: Folder = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put a hospital out: certificate revoked, off the roster. It cannot be undone, only invited anew."""
    from fl_liver.consortium.admitting import known
    from fl_liver.consortium.folder import changing
    from fl_liver.consortium.keeping import revoke

    with changing(folder) as consortium:
        status = known(consortium, name).status
        if not yes and not typer.confirm(f"revoke {name} ({status})? This cannot be undone"):
            raise ProtocolError(f"{name}: not confirmed; nothing was changed")
        left = revoke(consortium, name, reason, datetime.now(UTC))
    if status == "invited":
        typer.echo(
            f"{name}: its invitation is worth nothing from now on; it was never admitted, so nothing must follow"
        )
        return
    typer.echo(f"{name} is revoked; {left} hospitals are left")
    install = f"fl-liver site roster DIR --new {consortium.roster_file.name}"
    typer.echo("this must follow:")
    typer.echo(
        "  1. `fl-liver coordinator up` reads it within seconds; an nginx of yours must be reloaded (revoked.crl.pem)"
    )
    typer.echo(f"  2. send {consortium.roster_file} to every other hospital:  {install}")
    typer.echo(f"  3. studies with {name} stop where the new roster is installed; make one without it, approved anew")
    if left < 3:
        typer.echo(f"  !! {left} hospitals are too few: no sum is opened over fewer than 3")


@app.command(
    "renew",
    epilog="Example:  fl-liver coordinator renew H02 --folder liver   or:  fl-liver coordinator renew --server   "
    "Exit status: 0 renewed · 78 not an approved hospital.",
)
def coordinator_renew(
    name: Annotated[str | None, typer.Argument(help="A hospital; leave it out with --server.")] = None,
    server: Annotated[bool, typer.Option("--server", help="Renew the gateway's certificate instead.")] = False,
    folder: Folder = Path(),
) -> None:
    """Make a new certificate for the same key; days to expiry before and after are shown."""
    from fl_liver.consortium.folder import changing
    from fl_liver.consortium.keeping import certificate_days, renew, renew_server, rows

    if (name is None) == (not server):
        raise ConfigError("give a hospital's name or --server, one of the two")
    now = datetime.now(UTC)
    with changing(folder) as consortium:
        if name is None:
            before: int | None = certificate_days(consortium, now)["server"]
            after = renew_server(consortium, now)[1]
            typer.echo(f"server certificate: {before} days before, {after} days now ({consortium.server_certificate})")
            typer.echo("next: restart `fl-liver coordinator up` so that the gateway shows it")
        else:
            before = next((row.certificate_days for row in rows(consortium, now) if row.site == name), None)
            path, after = renew(consortium, name, now)
            typer.echo(
                f"{name}: {before} days before, {after} days now; the certificate before stays good until it ends"
            )
            typer.echo(f"next: send {path} to {name}. There:  fl-liver site admit {path.name} DIR")
        _warn(certificate_days(consortium, now), {})
        if after < 300:
            typer.echo(f"!! only {after} days: the authority itself ends then; plan a new consortium")


def _compare(name: str, application: Application, heard: str | None, *, yes: bool) -> None:
    """Raises ProtocolError unless a person says that the words are the same."""
    from fl_liver.consortium.words import check_words

    typer.echo(f"{name}: every proof in the file is right. Its fingerprints, the first to be compared by telephone:")
    for what, words in application.words.items():
        typer.echo(f"  {what:13s}{words}")
    if len(application.words) > 1:
        typer.echo("  (the other keys are signed with the identity: comparing its words is enough)")
    if heard is not None:
        check_words(heard, bytes.fromhex(application.identity), name)
        typer.echo("the words given are those of the identity")
    if not yes and not typer.confirm(f"did {name} read the same words to you, on a number that you knew before?"):
        raise ProtocolError(f"{name}: words not confirmed; nothing was changed")


def _show_admitted(consortium: Consortium, name: str, path: Path) -> None:
    others = [site for site in consortium.register.approved() if site != name]
    hospital, version = consortium.register.hospitals[name], consortium.register.roster_version
    if path == consortium.roster_file:
        typer.echo(f"{name} has its new identity in roster version {version}")
        typer.echo(f"next: send {path} to every hospital, {name} first:  fl-liver site roster DIR --new {path.name}")
        typer.echo(f"      the others confirm {name} again; studies approved with the old key are approved anew")
        return
    typer.echo(f"{name} is approved: certificate to {hospital.expires:%Y-%m-%d}, roster version {version}")
    typer.echo(f"next: send {path} to {name}. There:  fl-liver site admit {path.name} DIR")
    if others:
        typer.echo(f"      send {consortium.roster_file} to {', '.join(others)}. There:")
        typer.echo(f"      fl-liver site roster DIR --new {consortium.roster_file.name}")
    typer.echo("      (DIR is the hospital's folder; inside it, leave it out)")


def _warn(days: dict[str, int], hospitals: dict[str, int]) -> None:
    from fl_liver.consortium.authority import WARN_DAYS

    for site, left in hospitals.items():
        typer.echo(f"!! {site}: certificate {_ends(left)}; run `fl-liver coordinator renew {site}`")
    if days["server"] < WARN_DAYS:
        typer.echo(f"!! the server's certificate {_ends(days['server'])}; run `fl-liver coordinator renew --server`")
    if days["authority"] < WARN_DAYS:
        typer.echo(f"!! the authority {_ends(days['authority'])}; make a new consortium and invite the hospitals again")


def _ends(days: int) -> str:
    return f"ends in {days} days" if days >= 0 else f"ended {-days} days ago"
