"""Where the coordinator's gateway is: "host:port", with brackets around an IPv6 address."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def checked_host(host: str) -> str:
    """A DNS name or an IP address, without brackets. Raises ValueError.

    >>> checked_host("fl.example.org"), checked_host("[::1]")
    ('fl.example.org', '::1')
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if len(bare) > 253 or not _NAME.fullmatch(bare) or bare.rpartition(".")[2].isdecimal():
            raise ValueError(f"'{host:.60}' is no host name or IP address") from None
        return bare


def host_of(address: str) -> str:
    """The host of "host:port".

    >>> host_of("[2001:db8::7]:8443")
    '2001:db8::7'
    """
    return checked_host(address.rpartition(":")[0])


def checked_address(address: str) -> str:
    """Raises ValueError unless it is host:port."""
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"'{address:.60}' is not host:port, as in fl.example.org:8443")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"'{address:.60}': an IPv6 address is written in brackets, as in [2001:db8::7]:8443")
    checked_host(host)
    return address


Address = Annotated[str, AfterValidator(checked_address)]
