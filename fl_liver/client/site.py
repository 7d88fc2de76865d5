"""What one hospital decides for itself: where its data lie, what it consents to. Nothing here leaves the site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fl_liver.client.cohort.pacs.config import PacsConfig
from fl_liver.client.cohort.table.sql_source import SqlSource
from fl_liver.errors import ProtocolError
from fl_liver.study import SiteName, Study
from fl_liver.toml_file import Section, read_toml

Window = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]


class SiteConfig(Section):
    """`site.toml`. Relative paths are taken from the folder that holds the file."""

    site: SiteName
    role: Literal["train", "external"] = "train"
    """`external` refuses to train, whatever the server says."""
    data: Path = Path()
    """Folder with `clinical.csv`, and `lesions.csv` and `dicom/` for image studies."""
    sql: SqlSource | None = None
    """The clinical table from a database, in place of `clinical.csv`."""
    work: Path = Path("work")
    """Cache, approved studies, scores and local layers; made mode 0700."""
    release: Literal["named", "none"] = "none"
    """`named`: this hospital's own figures (counts, AUC with interval, ROC merged to ≥ min_cell) may be published, and
    its part in a sum over fewer than three hospitals leaves as it is: unmasked histograms and terms of regressions.
    """
    identity: Path = Path("identity.pem")
    """This hospital's Ed25519 key, mode 0600; signs its keys for masked sums and never leaves."""
    roster: Path = Path("roster.toml")
    """Every hospital's public identity, as confirmed by people here; nothing that the server says changes it."""
    plain_sums: bool = False
    """Answer studies whose sums are added in the clear. For simulation and debugging; a deployment leaves it off."""
    connection: Path = Path()
    """Folder with consortium.toml, ca.crt, node.key, client.crt and client.key (`client.connection`)."""
    allowed_hours: tuple[Window, ...] = ()
    """When this machine may compute, local time; a window may pass midnight. Empty: always."""
    gpu: Annotated[str, Field(pattern=r"^(auto|none|GPU-[0-9a-fA-F-]{8,64}|MIG-[0-9a-fA-F-]{8,64})$")] = "auto"
    """The GPU to train on, by UUID; "auto" is the first one if there is one, "none" the processor."""
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of its memory that fl_liver may take; a round is refused as BUSY while less is free."""
    durable: bool = True
    """Force what this hospital must not forget of a sum to the disk before an answer leaves, against a power cut. A
    simulation may leave it off.
    """
    audit: bool = True
    """Write every answer into the audit log before it leaves. A simulation may leave it off."""
    decoders: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Processes of their own that open images, each with bounded memory and time, so that a damaged file costs itself
    and nothing else. "auto": as many as processors, four at most; 0 decodes in this process, for images that one has
    made oneself.
    """
    pacs: PacsConfig | None = None
    """The image archive that `fl-liver site fetch` asks, where the hospital has one that speaks DICOMweb."""
    min_patients: int = Field(default=10, ge=1)
    min_cell: int = Field(default=5, ge=3)

    def approved(self, study_sha256: str) -> Study:
        """The study that this site approved under that hash.

        Raises:
            ProtocolError: no such approval, or the approved file no longer has that hash.
        """
        path = self.approval_path(study_sha256)
        if not path.is_file():
            raise ProtocolError(f"site {self.site}: study {study_sha256[:12]} is not approved here; approve it first")
        study = read_toml(path, Study)
        if study.sha256 != study_sha256:
            raise ProtocolError(
                f"site {self.site}: {path.name} hashes to {study.sha256[:12]}, wanted {study_sha256[:12]};"
                " it was changed after approval, approve it again"
            )
        return study

    def approval_path(self, study_sha256: str) -> Path:
        return self.work / "approved" / f"{study_sha256}.toml"

    def study_folder(self, study_sha256: str) -> Path:
        """Where this site keeps what belongs to one study: scores, local layers."""
        return self.work / "studies" / study_sha256[:16]


_PATHS = ("data", "work", "identity", "roster", "connection")


def load_site(path: Path) -> SiteConfig:
    """Read a `site.toml`; its relative paths become absolute."""
    config = read_toml(path, SiteConfig)
    here = path.resolve().parent
    own = {name: (here / getattr(config, name)).resolve() for name in _PATHS}
    pacs = config.pacs.below(here) if config.pacs else None
    sql = config.sql.below(here) if config.sql else None
    return config.model_copy(update={**own, "pacs": pacs, "sql": sql})
