"""`fl-liver site requests|approve|deny|cohort …`: a person decides what is answered. Heavy imports are inside."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fl_liver.site_run_cli import Dir, site_file

if TYPE_CHECKING:
    from fl_liver.client.site import SiteConfig
    from fl_liver.study import Study

app = typer.Typer()
cohort_app = typer.Typer(no_args_is_help=True, help="Frozen cohorts: which patients a study is approved for.")
app.add_typer(cohort_app, name="cohort")
Hash = Annotated[str, typer.Argument(help="The study's hash, or its first 8 digits or more.")]


@app.command(
    "requests",
    epilog="Example:  fl-liver site requests    fl-liver site requests 3f9ac1d2 --toml   "
    "Exit status: 0 done · 78 folder.",
)
def site_requests(
    study_hash: Annotated[str, typer.Argument(metavar="[HASH]", help="Show this one in full.")] = "",
    folder: Dir = Path(),
    toml: Annotated[bool, typer.Option("--toml", help="Its text instead of the description.")] = False,
) -> None:
    """Studies that the coordinator asked about; with HASH, in plain language and against the last approved one."""
    from fl_liver.client.requests import read_request, requests
    from fl_liver.client.site import load_site

    site = load_site(site_file(folder))
    if study_hash:
        request = read_request(site, study_hash)
        typer.echo(request.study.to_toml() if toml else _described(site, request.study))
        return
    found = requests(site)
    for one in found:
        state = "denied" if one.asked.denied else "open"
        last = datetime.fromtimestamp(one.asked.last).strftime("%Y-%m-%d %H:%M")
        typer.echo(f"{one.study.sha256[:12]}  {state:7s} asked {one.asked.times}×, last {last}  {one.study.title}")
    if not found:
        typer.echo("no study waits for a decision")


@app.command(
    "approve",
    epilog="Example:  fl-liver site approve 3f9ac1d2 --cohort 2026-spring   "
    "Exit status: 0 approved · 77 too few hospitals confirmed by telephone · 78 no such request or cohort.",
)
def site_approve(
    study_hash: Hash,
    cohort: Annotated[str, typer.Option(help="The frozen cohort; may be left out where there is one only.")] = "",
    folder: Dir = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for a person who has read it already.")] = False,
) -> None:
    """Approve a study with this version, these identities and this frozen cohort. Shows it first."""
    from fl_liver.client.approval import write_approval
    from fl_liver.client.frozen import read_frozen, require_unchanged
    from fl_liver.client.requests import read_request
    from fl_liver.client.site import load_site
    from fl_liver.consortium.pinned import require_confirmed

    site = load_site(site_file(folder))
    study = read_request(site, study_hash).study
    confirmed = require_confirmed(site.connection, study.privacy.min_sites, study.every_site)
    frozen = read_frozen(site, cohort or _only_cohort(site))
    require_unchanged(site, frozen, frozen.digest)
    typer.echo(_described(site, study))
    typer.echo(f"{'cohort':15s}{frozen.name}, frozen {frozen.made[:10]}, {len(frozen.patients)} patients")
    typer.echo(f"{'confirmed':15s}{', '.join(confirmed)}")
    if not yes:
        typer.confirm("Approve?", abort=True)
    approval = write_approval(site, study, frozen.name)
    typer.echo(f"approved {study.sha256[:12]} with cohort {approval.cohort}, fl_liver {approval.version}")


@app.command("deny", epilog="Example:  fl-liver site deny 3f9ac1d2   Also takes an approval back, at once.")
def site_deny(study_hash: Hash, folder: Dir = Path()) -> None:
    """Say no to a study, also to one that was approved: nothing is answered on it from now on."""
    from fl_liver.client.approval import withdraw
    from fl_liver.client.requests import deny
    from fl_liver.client.site import load_site
    from fl_liver.errors import ConfigError

    site = load_site(site_file(folder))
    approved = [path.stem for path in (site.work / "approved").glob("*.toml") if path.stem.startswith(study_hash)]
    if len(approved) == 1 and len(study_hash) >= 8:
        withdraw(site, approved[0])
        typer.echo(f"approval of {approved[0][:12]} taken back")
    try:
        typer.echo(f"denied {deny(site, study_hash).study.sha256[:12]}")
    except ConfigError:
        if not approved:
            raise


@cohort_app.command("freeze", epilog="Example:  fl-liver site cohort freeze 2026-spring")
def cohort_freeze(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, hyphens; never used before.")],
    folder: Dir = Path(),
) -> None:
    """Write down which patients there are now, and a hash of each one's data. Never changed afterwards."""
    from fl_liver.client.frozen import freeze
    from fl_liver.client.site import load_site

    frozen = freeze(load_site(site_file(folder)), name)
    typer.echo(
        f"cohort {name}: {len(frozen.patients)} patients, {len(frozen.files)} files; digest {frozen.digest[:12]}"
    )


@cohort_app.command("list", epilog="Example:  fl-liver site cohort list   Exit status: 0 all intact · 2 one is not.")
def cohort_list(folder: Dir = Path()) -> None:
    """Every frozen cohort, whether it still is what it was, and how many patients came since (for your eyes only)."""
    from fl_liver.client.frozen import compare, frozen_names, read_frozen
    from fl_liver.client.site import load_site

    site, broken = load_site(site_file(folder)), 0
    for name in frozen_names(site):
        frozen = read_frozen(site, name)
        now = compare(site, frozen)
        broken += bool(now.reason)
        state = f"CHANGED: {now.reason}" if now.reason else "intact"
        typer.echo(
            f"{name:24s}{frozen.made[:10]}  {len(frozen.patients):5d} patients  {len(now.new)} new since  {state}"
        )
    raise typer.Exit(2 if broken else 0)


@cohort_app.command("purge", epilog="Example:  fl-liver site cohort purge   What was frozen and approved stays.")
def cohort_purge(folder: Dir = Path()) -> None:
    """Remove everything that was made of images and headers (work/cache); it is made anew when it is needed."""
    from fl_liver.client.cohort.cache import purge_cache
    from fl_liver.client.site import load_site

    typer.echo(f"{purge_cache(load_site(site_file(folder)).work)} files removed from the cache")


@cohort_app.command("whois", epilog="Example:  fl-liver site cohort whois 48cc1ddf1e5d")
def cohort_whois(
    case: Annotated[str, typer.Argument(help="A pseudonym, as a check or a log shows it.")], folder: Dir = Path()
) -> None:
    """Which patient a pseudonym is. For people here: what is printed names a patient."""
    from fl_liver.client.cohort.layout import hospital_folder
    from fl_liver.client.cohort.pseudonym import site_pseudonyms
    from fl_liver.client.cohort.table.source import read_clinical_table
    from fl_liver.client.site import load_site
    from fl_liver.errors import DataError

    site = load_site(site_file(folder))
    names, everybody = site_pseudonyms(site.work), set(hospital_folder(site.data).patients)
    everybody |= set(read_clinical_table(site.data, site.sql)["patient_id"])
    found = [patient for patient in sorted(everybody) if names.patient(patient) == case]
    if not found:
        wanted = "wanted the 12 hex digits that a check or the log shows"
        raise DataError(f"case {case:.20}: nobody of the {len(everybody)} patients here; {wanted}")
    typer.echo(found[0])


def _only_cohort(site: SiteConfig) -> str:
    from fl_liver.client.frozen import frozen_names
    from fl_liver.errors import ConfigError

    names = frozen_names(site)
    if len(names) != 1:
        raise ConfigError(
            f"{len(names)} cohorts are frozen here ({', '.join(names) or 'none'}); "
            + ("say which: --cohort NAME" if names else "`fl-liver site cohort freeze NAME` first")
        )
    return names[0]


def _described(site: SiteConfig, study: Study) -> str:
    from fl_liver.client.approval import approvals, read_approval
    from fl_liver.client.description import describe_study, differences

    lines = [f"{label:15s}{text}" for label, text in describe_study(study, site, _words(site))]
    earlier = [sha256 for sha256, why in approvals(site).items() if sha256 != study.sha256 and not why]
    if earlier:
        last = max(earlier, key=lambda sha256: read_approval(site, sha256).when)
        lines.append(f"Different from {last[:12]}, approved {read_approval(site, last).when[:10]}:")
        lines += [f"  {line}" for line in differences(site.approved(last), study)] or ["  nothing"]
    return "\n".join(lines)


def _words(site: SiteConfig) -> dict[str, str]:
    """Hospital → its fingerprint in words, and whether a person here confirmed it; empty before the admission."""
    from fl_liver.consortium.hospital_folder import HospitalFolder
    from fl_liver.consortium.pinned import read_trust
    from fl_liver.errors import FLLiverError

    try:
        return {row.site: f"{row.words} ({row.state})" for row in read_trust(HospitalFolder(site.connection)).rows()}
    except FLLiverError:
        return {}
