"""What a person at this hospital must look at: a file in the study's folder, there until that person removes it.

Nothing of it is told to the server.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fl_liver.whole_file import write_whole

ALARMS = {
    "false-totals": "the server showed totals that cannot be true; no sum of the study is answered with this hospital's"
    " numbers",
    "not-finite": "training gave numbers that are not finite; this hospital's patients were not learnt from",
}
"""Name of the file → what it means."""


def write_alarm(study_folder: Path, name: str, found: str) -> None:
    """Note what was found first; a later time is in the log only."""
    path = study_folder / name
    if path.is_file():
        return
    study_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, f"{datetime.now(UTC).isoformat(timespec='seconds')} {found}")


def read_alarm(study_folder: Path, name: str) -> str:
    """What was found; empty where there is no such alarm."""
    path = study_folder / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def alarms(work: Path) -> list[str]:
    """Every alarm of every study in a hospital's `work`, each as a sentence with the file to remove."""
    found = [(path, name) for name in ALARMS for path in sorted((work / "studies").glob(f"*/{name}"))]
    return [f"{ALARMS[name]} ({read_alarm(path.parent, name)}); then remove {path}" for path, name in found]
