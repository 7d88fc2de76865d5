"""What the daemon remembers over a restart: every message that was taken and not answered, and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fl_liver.client.answers_journal import FILE, AnswersJournal
from fl_liver.errors import AuditError


def test_a_message_without_an_end_is_unanswered_after_a_restart(tmp_path: Path) -> None:
    journal = AnswersJournal(tmp_path)
    journal.taken("a", b"\x00head", "train")
    journal.taken("b", b"other", "query")
    journal.closed("b", "answered")
    assert AnswersJournal(tmp_path).unanswered == {"a": b"\x00head"}


def test_half_a_line_of_a_power_cut_hides_nothing_before_it(tmp_path: Path) -> None:
    journal = AnswersJournal(tmp_path)
    journal.taken("a", b"head", "train")
    with (tmp_path / FILE).open("a") as file:
        file.write('{"event": "clos')
    again = AnswersJournal(tmp_path)
    assert again.unanswered == {"a": b"head"}
    again.closed("a", "LOST")
    assert AnswersJournal(tmp_path).unanswered == {}


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    journal = AnswersJournal(tmp_path)
    for number in range(30):
        journal.taken(str(number), b"x" * 60_000, "train")
        journal.closed(str(number), "answered")
    assert (tmp_path / FILE).stat().st_size < 2 << 20
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_message_that_could_not_be_written_down_is_not_taken(tmp_path: Path) -> None:
    """As on a full disk: the daemon answers it with a code instead of working on it."""
    journal = AnswersJournal(tmp_path)
    (tmp_path / FILE).unlink(missing_ok=True)
    (tmp_path / FILE).symlink_to("/dev/full")
    with pytest.raises(AuditError, match=r"daemon\.jsonl: cannot be written \(No space left on device\)"):
        journal.taken("m1", b"head", "train")
    assert journal.unanswered == {}


def test_half_a_line_does_not_swallow_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk became full in the middle of a line; there is room again."""
    journal = AnswersJournal(tmp_path)
    write = os.write

    def half(file: int, content: bytes) -> int:
        if len(content) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content[: len(content) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(AuditError):
            journal.taken("m1", b"head", "train")
    journal.taken("m2", b"head", "train")
    assert list(AnswersJournal(tmp_path).unanswered) == ["m2"]
