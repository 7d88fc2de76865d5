"""Is this hospital taking part? Named checks, each with what was found; green only if all of them hold.

"Healthy" here means registered, approved, certificates valid, frozen cohorts intact and the last message answered; a
process that runs is not enough.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from fl_liver.client.alarms import alarms
from fl_liver.client.approval import approvals, read_approval
from fl_liver.client.connection import Connection
from fl_liver.client.daemon import Daemon, State
from fl_liver.client.frozen_verdict import read_verdict
from fl_liver.client.hours import is_open
from fl_liver.client.site import SiteConfig

_WARN_DAYS = 14
_SILENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """One condition."""

    name: str
    ok: bool
    found: str


def checks(daemon: Daemon) -> list[Check]:
    """Everything that green means, in the order in which it is mended."""
    site = daemon.site
    found = [
        _registered(daemon.state, daemon.fleet.last_heard if daemon.fleet else 0.0),
        _certificates(daemon.connection),
        *_approved(site),
        _last_round(daemon.state),
        _alarms(site),
        Check("not paused", not daemon.paused, "paused here; `fl-liver site resume`" if daemon.paused else "no"),
    ]
    if site.allowed_hours and not is_open(site.allowed_hours):
        found.append(Check("allowed hours", True, f"outside {', '.join(site.allowed_hours)}: answers that it is busy"))
    return found


def _registered(state: State, heard: float) -> Check:
    if state.registered_since is None:
        return Check("registered", False, state.trouble)
    silent = time.time() - heard
    if silent > _SILENT_S and not state.working_on:
        return Check("registered", False, f"nothing heard from the server for {silent:.0f} s")
    return Check("registered", True, f"as node {state.node_id}")


def _certificates(connection: Connection) -> Check:
    days = connection.days_left()
    ended = [name for name, left in days.items() if left <= 0]
    if ended:
        return Check("certificates", False, f"{', '.join(ended)} ended; ask the coordinator to renew")
    soon = [f"{name} ends in {left:.0f} days" for name, left in days.items() if left < _WARN_DAYS]
    return Check("certificates", True, "; ".join(soon) or f"valid for {min(days.values()):.0f} days or more")


def _approved(site: SiteConfig) -> list[Check]:
    known = approvals(site)
    good = [sha256 for sha256, why in known.items() if not why]
    if not known:
        return [Check("approved", False, "no study was approved here; `fl-liver site requests`")]
    lapsed = "; ".join(why for why in known.values() if why)
    found = [Check("approved", bool(good), f"{len(good)} studies" if good else lapsed)]
    cohorts = {read_approval(site, sha256).cohort for sha256 in good} - {""}
    for cohort in sorted(cohorts):
        verdict = read_verdict(site.work, cohort)
        found.append(Check(f"cohort {cohort}", not verdict.reason, verdict.reason or "as it was frozen"))
    return found


def _alarms(site: SiteConfig) -> Check:
    found = alarms(site.work)
    return Check("alarms", not found, "; ".join(found) or "none")


def _last_round(state: State) -> Check:
    if state.last_lost:
        return Check("last message", False, state.last_lost)
    if state.working_on:
        return Check("last message", True, f"works on {state.working_on}")
    if state.last_message is None:
        return Check("last message", True, "none yet")
    ago = time.time() - state.last_message
    return Check("last message", True, f"answered with {state.last_answer}, {ago:.0f} s ago")
