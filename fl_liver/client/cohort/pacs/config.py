"""`[pacs]` in site.toml: where the hospital's image archive answers DICOMweb, and who asks. Imports nothing heavy.

Users, passwords and keys are named as files of their own (mode 0600), so that site.toml can be shown to a colleague.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from fl_liver.toml_file import Section

Modality = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,16}$")]
_FILES = ("user_file", "password_file", "token_file", "ca", "certificate", "certificate_key")


class PacsConfig(Section):
    """Relative paths are taken from the folder that holds site.toml."""

    url: str
    """Root of DICOMweb, such as https://pacs.hospital/dicom-web. Plain http only for an archive on this machine."""
    user_file: Path | None = None
    """One line, the user's name; mode 0600."""
    password_file: Path | None = None
    token_file: Path | None = None
    """One line, a bearer token, in place of user and password; mode 0600."""
    ca: Path | None = None
    """Certificate authority of the archive (PEM); then no other is believed. Without it, those of this machine."""
    certificate: Path | None = None
    """This client's own certificate (PEM), where the archive wants one, with `certificate_key` (mode 0600)."""
    certificate_key: Path | None = None
    proxy: Literal["none", "environment"] = "none"
    """`environment`: go through HTTPS_PROXY and NO_PROXY. By default straight to the archive."""
    timeout_s: Annotated[float, Field(ge=0.5, le=600)] = 30.0
    """Longest silence before a request counts as lost."""
    connect_timeout_s: Annotated[float, Field(ge=0.5, le=60)] = 5.0
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a lost request is made again, after 1, 2, 4 … seconds."""
    free_gb: Annotated[float, Field(ge=0)] = 10.0
    """Disk space that stays free (10⁹ bytes): no series is begun that would fall below."""
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)] = ("CT", "MR", "US", "SEG", "RTSTRUCT")
    """Series of other modalities are not fetched, unless the command asks for them."""

    @model_validator(mode="after")
    def _whole(self) -> PacsConfig:
        """A check of the model, not of the field: an address with a password in it is not quoted."""
        _check_url(self.url)
        if (self.user_file is None) != (self.password_file is None):
            raise ValueError("user_file and password_file go together; give both")
        if self.user_file and self.token_file:
            raise ValueError("give user_file and password_file, or token_file, not both")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key go together; give both")
        return self

    @property
    def root(self) -> str:
        """`url` without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    @property
    def is_encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    def below(self, folder: Path) -> PacsConfig:
        """The same with absolute paths; relative ones start at `folder`."""
        given = {name: getattr(self, name) for name in _FILES}
        return self.model_copy(update={name: (folder / path).resolve() for name, path in given.items() if path})


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("url is no address; wanted such as https://pacs.hospital/dicom-web") from None
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("url is no address of the web; wanted such as https://pacs.hospital/dicom-web")
    if "@" in parts.netloc:
        raise ValueError("url holds a user or a password; put them into user_file and password_file")
    if parts.query or parts.fragment:
        raise ValueError("url has a '?' or '#'; wanted the root of DICOMweb, such as https://pacs.hospital/dicom-web")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ValueError(f"url is plain http to {host}; wanted https, http only for an archive on this machine")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
