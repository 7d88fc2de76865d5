"""The people of a consortium on one machine: they carry files to each other and telephone.

Each step is the function behind the command of that name (`fl-liver coordinator enrol`, `fl-liver site init`, …).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fl_liver.consortium.admitted import install, read_admission, read_news
from fl_liver.consortium.admitting import admit, examine, invite
from fl_liver.consortium.folder import Consortium, open_consortium
from fl_liver.consortium.hospital_folder import HospitalFolder
from fl_liver.consortium.invitation import read_invitation
from fl_liver.consortium.joining import join
from fl_liver.consortium.pinned import confirm
from fl_liver.consortium.words import fingerprint


def this_second() -> datetime:
    """The real clock: TLS looks at it too."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Town:
    """Hospitals' folders lie in `folder`, by name. `now` is everybody's clock."""

    folder: Path
    consortium: Consortium
    now: datetime = field(default_factory=this_second)
    hospitals: dict[str, HospitalFolder] = field(default_factory=dict)

    def reopened(self) -> Consortium:
        """What another process would read."""
        return open_consortium(self.consortium.folder)

    def invited(self, site: str) -> Path:
        return invite(self.consortium, site, 30, self.now)[0]

    def joined(self, site: str, role: str = "train") -> Path:
        """The hospital makes its folder; returns its reply."""
        joined = join(read_invitation(self.invited(site), self.now), self.folder / site, role=role)
        self.hospitals[site] = HospitalFolder(self.folder / site)
        return joined.reply_file

    def approved(self, site: str, reply: Path) -> Path:
        return admit(self.consortium, site, examine(self.consortium, site, reply, self.now), self.now)

    def let_in(self, site: str, role: str = "train") -> HospitalFolder:
        """From invitation to installed admission; what was done before an interruption is not done again."""
        hospital = self.hospitals[site] = HospitalFolder(self.folder / site)
        if site not in self.consortium.register.approved():
            self.approved(site, self.joined(site, role))
        if not hospital.at("client.crt").exists():
            paper, news = read_admission(hospital, self.consortium.outgoing(site, "admission"), self.now)
            install(hospital, news, paper.certificate)
        return hospital

    def spread_roster(self, *but: str) -> None:
        """Everybody but those named installs the newest roster."""
        self.consortium.roster(self.now)
        for site, hospital in self.hospitals.items():
            if site not in but:
                install(hospital, read_news(hospital, self.consortium.roster_file))

    def words_of(self, site: str) -> str:
        """What a person at that hospital reads from the own screen."""
        return fingerprint(bytes.fromhex(self.hospitals[site].own()))

    def telephone(self, listener: str, speaker: str) -> None:
        confirm(self.hospitals[listener], speaker, self.words_of(speaker), "anna", self.now)

    def conference(self) -> None:
        """One call of all hospitals: each reads its words, everybody else confirms them."""
        for speaker in self.hospitals:
            for listener in self.hospitals:
                if listener != speaker:
                    self.telephone(listener, speaker)
