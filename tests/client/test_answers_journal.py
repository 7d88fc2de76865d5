"""What the daemon remembers over a restart: every message that was taken and not answered, and nothing else."""

from __future__ import annotations

from pathlib import Path

from fl_liver.client.answers_journal import FILE, AnswersJournal


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
