"""The log of what left: nothing can be changed in it unseen, and nothing leaves that is not in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_liver.client import audit, egress
from fl_liver.client.site import SiteConfig
from fl_liver.errors import AuditError
from fl_liver.messages import Done, Prepare

Change = Callable[[list[bytes]], list[bytes]]


def written(work: Path, count: int = 5) -> Path:
    for number in range(count):
        audit.append(work, kind="Done", bytes=number)
    return work / audit.LOG_FILE


def test_a_log_that_nobody_touched_is_whole(tmp_path: Path) -> None:
    written(tmp_path, 5)
    head = audit.verify(tmp_path)
    assert (head.entries, [line["bytes"] for line in audit.entries(tmp_path)]) == (5, [0, 1, 2, 3, 4])
    assert (tmp_path / audit.LOG_FILE).stat().st_mode & 0o777 == 0o600


def swap(lines: list[bytes]) -> list[bytes]:
    return [*lines[:1], lines[2], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda lines: [lines[0].replace(b'"bytes": 0', b'"bytes": 9'), *lines[1:]], "line 2 does not follow"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3 does not follow"),
        (swap, "line 2 does not follow"),
        (lambda lines: lines[1:], "line 1 does not follow"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3 does not follow"),
        (lambda lines: lines[:-1], "4 lines, but 5 were written; the end was cut off"),
        (lambda lines: [], "0 lines, but 5 were written"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b'"bytes": 4', b'"bytes": 7')], "its last line is not the one"),
        (lambda lines: [*lines[:1], b"rubbish", *lines[2:]], "line 2 does not follow"),
    ],
)
def test_every_change_is_found(tmp_path: Path, change: Change, match: str) -> None:
    path = written(tmp_path)
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    with pytest.raises(AuditError, match=match):
        audit.verify(tmp_path)


def test_a_log_written_anew_is_found_by_a_head_that_was_noted_elsewhere(tmp_path: Path) -> None:
    """Somebody who may write both files can make a log that is whole in itself."""
    written(tmp_path, 3)
    noted = audit.verify(tmp_path).text
    written(tmp_path, 2)
    assert audit.verify(tmp_path, noted).entries == 5
    (tmp_path / audit.LOG_FILE).unlink()
    (tmp_path / audit.HEAD_FILE).unlink()
    written(tmp_path, 5)
    audit.verify(tmp_path)
    with pytest.raises(AuditError, match="line 3 is not the one that was noted"):
        audit.verify(tmp_path, noted)


def test_a_removed_log_is_found(tmp_path: Path) -> None:
    written(tmp_path).unlink()
    with pytest.raises(AuditError, match="0 lines, but 5 were written"):
        audit.verify(tmp_path)


def test_nothing_leaves_after_the_log_was_shortened(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    site = SiteConfig(site="H01", work=tmp_path)
    with pytest.raises(AuditError, match="20 bytes shorter than when it was last written"):
        egress.release_word(site, Done(0))


def test_half_a_line_of_a_power_cut_is_removed_and_a_whole_one_counts(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 6, "ti')
    audit.append(tmp_path, kind="Done", bytes=5)
    assert audit.verify(tmp_path).entries == 6
    head = (tmp_path / audit.HEAD_FILE).read_bytes()
    audit.append(tmp_path, kind="Done", bytes=6)
    (tmp_path / audit.HEAD_FILE).write_bytes(head)  # the power went between the line and its head
    assert audit.verify(tmp_path).entries == 7
    audit.append(tmp_path, kind="Done", bytes=7)
    assert audit.verify(tmp_path).entries == 8


def test_on_a_full_disk_nothing_leaves(tmp_path: Path) -> None:
    """/dev/full is the kernel's own full disk."""
    (tmp_path / audit.LOG_FILE).symlink_to("/dev/full")
    with pytest.raises(AuditError, match=r"cannot be written .No space left on device.; nothing leaves until it can"):
        egress.release_word(SiteConfig(site="H01", work=tmp_path), Done(0))


def test_a_disk_that_becomes_full_leaves_the_log_whole(tmp_path: Path) -> None:
    """Half of a line fits; what was written of it is taken back, and the log goes on when there is room again."""
    written(tmp_path, 2)
    size = (tmp_path / audit.LOG_FILE).stat().st_size
    code = (
        "import resource, signal, sys; from pathlib import Path; from fl_liver.client import audit;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 40}, -1));"
        f"audit.append(Path({str(tmp_path)!r}), kind='Done', bytes=2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AuditError" in done.stderr
    assert (tmp_path / audit.LOG_FILE).stat().st_size == size
    audit.append(tmp_path, kind="Done", bytes=2)
    assert audit.verify(tmp_path).entries == 3


def test_several_processes_write_one_chain(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from fl_liver.client import audit;"
        f"[audit.append(Path({str(tmp_path)!r}), kind='Done', bytes=i) for i in range(40)]"
    )
    many = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [one.wait() for one in many] == [0, 0, 0]
    assert audit.verify(tmp_path).entries == 120


def test_what_leaves_is_in_the_log_with_its_occasion(tmp_path: Path) -> None:
    site = SiteConfig(site="H01", work=tmp_path)
    with egress.answering(Prepare("ab" * 32)):
        egress.refuse(site, "NOT_APPROVED", "because")
    (line,) = audit.entries(tmp_path)
    assert (line["kind"], line["code"], line["study"]) == ("Refusal", "NOT_APPROVED", "ab" * 32)
    assert "because" not in json.dumps(line)


def test_a_simulation_may_leave_it_off(tmp_path: Path) -> None:
    egress.release_word(SiteConfig(site="H01", work=tmp_path, audit=False), Done(0))
    assert not (tmp_path / audit.LOG_FILE).exists()
