"""What went wrong between here and the archive, as one line: which thing, what was found, what was wanted, what to do.

Addresses that were asked for hold patients' ids: no text of the HTTP library and no answer's body is quoted.
"""

from __future__ import annotations

import socket
import ssl

import httpx

from fl_liver.client.cohort.pacs.config import PacsConfig
from fl_liver.errors import ConfigError, FLLiverError, ProtocolError, UnreachableError

_BUSY = frozenset({429, 502, 503, 504})


class NoWayError(UnreachableError):
    """There is no way to the archive, and asking again would not find one: its name, its certificate."""


class FailsThereError(UnreachableError):
    """The archive is there and fails on one thing (500): worth a second try, and no reason to give up on the rest."""


class NotDeliveredError(ProtocolError):
    """The archive does not hand out one study, series or object."""


def lost(error: httpx.TransportError, pacs: PacsConfig) -> UnreachableError:
    """What a connection that failed becomes. `NoWayError` where a second try would not help."""
    where, causes = pacs.where, _causes(error)
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            name = where.rpartition(":")[0] or where
            return NoWayError(f"{where}: the name {name} is not found; correct pacs.url, or ask for it to be resolved")
        if isinstance(cause, ssl.SSLError):
            return NoWayError(f"{where}: {_tls(cause, pacs)}")
        if isinstance(cause, ConnectionRefusedError):
            return UnreachableError(
                f"{where}: refuses connections; is the archive up, and is the port in pacs.url right?"
            )
    if isinstance(error, httpx.ConnectTimeout):
        return UnreachableError(
            f"{where}: no connection within {pacs.connect_timeout_s:g} s; is the archive up,"
            " does a firewall stand between?"
        )
    if isinstance(error, httpx.TimeoutException):
        return UnreachableError(silent(pacs))
    if isinstance(error, httpx.ProxyError):
        return UnreachableError(f'{where}: the proxy does not let through; ask for it, or set pacs.proxy = "none"')
    if isinstance(error, httpx.ConnectError):
        why = next((one.strerror for one in causes if isinstance(one, OSError) and one.strerror), "no route")
        return UnreachableError(f"{where}: no connection ({why}); ask the network team what stands between")
    return UnreachableError(broken_off(pacs))


def silent(pacs: PacsConfig) -> str:
    return (
        f"{pacs.where}: silent for {pacs.timeout_s:g} s (pacs.timeout_s); is the archive overloaded or frozen?"
        " what is here is kept, run it again"
    )


def broken_off(pacs: PacsConfig) -> str:
    return f"{pacs.where}: broke off in the middle of an answer; what is here is kept, run it again"


def refused(status: int, what: str, pacs: PacsConfig) -> FLLiverError:
    """What an answer that is no success becomes.

    Args:
        what: such as "the list of studies"; names nobody.
    """
    where = pacs.where
    if status == 401:
        said = "user_file and password_file" if pacs.user_file else "token_file" if pacs.token_file else "user or token"
        return ConfigError(f"{where}: the archive refused the user (401); correct {said} of [pacs]")
    if 300 <= status < 400:
        return ConfigError(
            f"{where}: redirects elsewhere ({status}), which is not followed; put the last address in pacs.url"
        )
    if status == 500:
        return FailsThereError(
            f"{where}: fails on {what} (500); the archive's own log says why, tell its administrator"
        )
    if status in _BUSY:
        return UnreachableError(f"{where}: answered {status} for {what}; the archive is busy or away; run it again")
    return NotDeliveredError(f"{where}: answered {status} for {what}, wanted 200; {_advice(status)}")


def no_root(status: int, pacs: PacsConfig) -> ConfigError:
    """The first question of all, /studies, was refused with 403 or 404."""
    if status == 403:
        return ConfigError(f"{pacs.where}: the archive does not let this user search (403); ask its administrator")
    return ConfigError(
        f"{pacs.where}: no DICOMweb under pacs.url ({status} for /studies); wanted its root, such as …/dicom-web"
    )


def _advice(status: int) -> str:
    if status == 403:
        return "the archive keeps it from this user; ask its administrator"
    if status in (404, 410):
        return "the archive lists it and does not hold it; tell its administrator"
    if status == 406:
        return "the archive does not hand out DICOM objects as they are stored; tell its administrator"
    return "tell its administrator"


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and len(found) < 10:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def _tls(error: ssl.SSLError, pacs: PacsConfig) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        trusted = f"one that {pacs.ca.name} vouches for" if pacs.ca else "one of an authority that this machine knows"
        return (
            f"the certificate is not believed ({error.verify_message}); wanted {trusted} and for this name;"
            " put the archive's authority in pacs.ca, or the name of the certificate in pacs.url"
        )
    reason = str(error.reason or "").lower().replace("_", " ")
    if "alert" in reason or "certificate required" in reason:
        return f"the archive ends TLS ({reason}); wants it a client certificate? see pacs.certificate"
    return f"no TLS 1.2 or newer there ({reason or 'no reason given'}); is the port in pacs.url the one for https?"
