"""The admission: certificate and signed roster, from the coordinator to a hospital. No secret in it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fl_liver.consortium.paper import Paper
from fl_liver.consortium.signed_roster import SignedRoster
from fl_liver.study import SiteName


class Admission(Paper):
    """NAME.admission.toml, signed with the coordinator's key."""

    KIND: ClassVar[str] = "fl-liver admission"
    ABOUT: ClassVar[str] = "Certificate of one hospital and the signed roster. No secret in it."

    kind: Literal["fl-liver admission"] = "fl-liver admission"
    site: SiteName
    certificate: Annotated[str, Field(max_length=8000)]
    """PEM."""
    roster: SignedRoster
