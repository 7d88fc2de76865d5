"""Two command lines, three hospitals and a coordinator: what is printed is enough to get to the end."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fl_liver.cli import USAGE, app, run_app
from fl_liver.consortium import keeping
from fl_liver.consortium.pinned import require_confirmed
from fl_liver.errors import FLLiverError, PrivacyError

SITES = ("H01", "H02", "H03")
INIT = ["coordinator", "init", "liver", "--name", "Liver Consortium", "--address", "fl.example.org:8443"]


class Desk:
    """A person at a terminal, in a folder of the person's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.folder, self._patch = folder, monkeypatch
        self.screen: str = ""

    def run(self, command: str | list[str], typed: str = "", status: int = 0) -> str:
        """Run a line as it was printed; returns (and keeps) what it prints."""
        arguments = shlex.split(command) if isinstance(command, str) else command
        arguments = arguments[1:] if arguments[0] == "fl-liver" else arguments
        self._patch.chdir(self.folder)
        result = CliRunner().invoke(app, arguments, input=typed or None)
        error: BaseException | None = result.exception
        shown: str = result.output
        found = error.exit_code if isinstance(error, FLLiverError) else result.exit_code
        assert found == status, (arguments, result.output, error)
        self.screen = shown + (str(error) if isinstance(error, FLLiverError) else "")
        return self.screen

    def hint(self, part: str) -> str:
        """The first command on the screen that holds `part`."""
        return str(next(line for line in re.findall(r"fl-liver [^`\n]*", self.screen) if part in line)).strip()

    def words(self, label: str) -> str:
        """What stands behind a label on the screen."""
        found = re.search(rf"^ *{label}:? +((?:[a-z]+ ){{7}}[a-z]+)", self.screen, re.MULTILINE)
        assert found is not None, self.screen
        return found[1]

    def receives(self, *paths: Path) -> None:
        for path in paths:
            shutil.copy(path, self.folder)


@pytest.fixture
def desks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Desk]:
    monkeypatch.delenv("FL_LIVER_CONSORTIUM", raising=False)
    return {name: Desk(tmp_path / name, monkeypatch) for name in ("office", *SITES)}


@pytest.fixture
def admitted(desks: dict[str, Desk]) -> dict[str, Desk]:
    """Three hospitals are in, each with the newest roster in its folder DESK/NAME."""
    desks["office"].run(INIT)
    for site in SITES:
        _let_in(desks, site)
    for site in SITES:
        desks[site].receives(desks["office"].folder / "liver/roster.signed.toml")
        desks[site].run(f"site roster {site} --new roster.signed.toml")
    return desks


def _let_in(desks: dict[str, Desk], site: str) -> None:
    office, desk = desks["office"], desks[site]
    office.run(f"coordinator enrol {site} -C liver")
    desk.receives(office.folder / f"liver/{site}.invitation.toml")
    desk.run(f"site init {site}.invitation.toml")
    words = desk.words("identity")
    office.receives(desk.folder / site / f"{site}.reply.toml")
    office.run(["coordinator", "approve", site, f"{site}.reply.toml", "-C", "liver", "--yes", "--fingerprint", words])
    desk.receives(office.folder / f"liver/{site}.admission.toml")
    desk.run(f"site admit {site}.admission.toml {site}")


def _own_words(desk: Desk, site: str) -> str:
    desk.run(f"site roster {site}")
    return desk.words(rf"{site} +this hospital")


def test_a_reader_who_follows_what_is_printed_gets_to_the_end(desks: dict[str, Desk]) -> None:
    """Every command but the first is taken from the screen; files go where the screen says."""
    office = desks["office"]
    office.run(INIT)
    told, enrol = office.words("coordinator's words"), office.hint("enrol NAME")
    for site in SITES:
        desk = desks[site]
        office.run(enrol.replace("NAME", site))
        join, approve = office.hint("site init"), office.hint("coordinator approve")
        desk.receives(office.folder / f"liver/{site}.invitation.toml")
        desk.run(join)
        assert desk.words("coordinator") == told
        words, admit = desk.words("identity"), desk.hint("site admit")
        sent = re.search(r"send (\S+) to the coordinator", desk.screen)
        assert sent is not None
        office.receives(desk.folder / sent[1])
        office.run(approve, typed="y\n")
        assert words in office.screen
        desk.receives(office.folder / f"liver/{site}.admission.toml")
        if "site roster" in office.screen:
            update = office.hint("site roster")
            for earlier in SITES[: SITES.index(site)]:
                desks[earlier].receives(office.folder / "liver/roster.signed.toml")
                desks[earlier].run(update.replace("DIR", earlier))
        desk.run(admit)
    own = {site: _own_words(desks[site], site) for site in SITES}
    for site in SITES:
        desk = desks[site]
        with pytest.raises(PrivacyError, match="wanted 2 at least"):
            require_confirmed(desk.folder / site, 3)
        desk.run(f"site roster {site}")
        while "next: telephone" in desk.screen:
            command = desk.hint("site confirm")
            desk.run(command, typed=own[shlex.split(command)[3]] + "\n")
        assert "every other hospital on the roster is confirmed here" in desk.screen
        assert len(require_confirmed(desk.folder / site, 3)) == 2


def test_inside_the_folder_no_folder_is_named(admitted: dict[str, Desk]) -> None:
    office, desk = admitted["office"], admitted["H01"]
    desk.folder, office.folder = desk.folder / "H01", office.folder / "liver"
    assert "H02         not confirmed" in desk.run("site roster")
    assert "next: telephone H02, H03" in desk.screen
    assert desk.hint("site confirm") == "fl-liver site confirm H02"
    assert "roster version 3" in office.run("coordinator roster")


def test_the_environment_names_the_coordinators_folder(
    admitted: dict[str, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FL_LIVER_CONSORTIUM", str(admitted["office"].folder / "liver"))
    assert "roster version 3" in admitted["H01"].run("coordinator roster")


def test_machines_read_the_rosters(admitted: dict[str, Desk]) -> None:
    shown = json.loads(admitted["office"].run("coordinator roster -C liver --json"))
    assert (shown["consortium"], shown["version"]) == ("Liver Consortium", 3)
    assert [(it["name"], it["status"], it["certificate_days"]) for it in shown["hospitals"]] == [
        (site, "approved", 365) for site in SITES
    ]
    words = _own_words(admitted["H02"], "H02")
    admitted["H01"].run(["site", "confirm", "H02", "H01", "--words", words])
    seen = json.loads(admitted["H01"].run("site roster H01 --json"))
    assert [it["state"] for it in seen["hospitals"]] == ["this hospital", "confirmed", "not confirmed"]
    assert seen["hospitals"][1]["words"] == words == shown["hospitals"][1]["words"]
    assert seen["changes"] == [{"name": "H02", "kind": "new"}, {"name": "H03", "kind": "new"}]


def test_yes_without_words_is_refused(desks: dict[str, Desk]) -> None:
    """`--yes` in a script would admit whoever answered."""
    office = desks["office"]
    office.run(INIT)
    office.run("coordinator enrol H01 -C liver")
    desks["H01"].receives(office.folder / "liver/H01.invitation.toml")
    desks["H01"].run("site init H01.invitation.toml")
    office.receives(desks["H01"].folder / "H01/H01.reply.toml")
    approve = ["coordinator", "approve", "H01", "H01.reply.toml", "-C", "liver"]
    assert "--yes stands for words that were compared" in office.run([*approve, "--yes"], status=78)
    office.run([*INIT[:2], "other", *INIT[3:]])
    words = office.words("coordinator's words")
    assert "not those of the key here" in office.run([*approve, "--yes", "--fingerprint", words], status=76)
    assert "words not confirmed; nothing was changed" in office.run(approve, typed="n\n", status=76)
    assert "H01         invited" in office.run("coordinator roster -C liver")


def test_the_coordinators_words_are_checked_before_anything_is_made(desks: dict[str, Desk]) -> None:
    office, desk = desks["office"], desks["H01"]
    office.run(INIT)
    right = office.words("coordinator's words")
    office.run("coordinator enrol H01 -C liver")
    desk.receives(office.folder / "liver/H01.invitation.toml")
    wrong = " ".join(reversed(right.split()))
    assert "the coordinator: the words heard" in desk.run(
        ["site", "init", "H01.invitation.toml", "--words", wrong], status=76
    )
    assert not (desk.folder / "H01").exists()
    assert "(as heard)" in desk.run(["site", "init", "H01.invitation.toml", "--words", right])


def test_a_rotation_goes_round(admitted: dict[str, Desk]) -> None:
    office, old = admitted["office"], _own_words(admitted["H02"], "H02")
    for speaker in ("H02", "H03"):
        heard = _own_words(admitted[speaker], speaker)
        admitted["H01"].run(["site", "confirm", speaker, "H01", "--words", heard])
    desk = admitted["H02"]
    desk.run("site rotate H02")
    new, approve, update = desk.words("new identity"), desk.hint("coordinator approve"), desk.hint("site roster")
    assert new != old == _own_words(desk, "H02")
    office.receives(desk.folder / "H02/H02.rotation.toml")
    office.run(f"{approve} -C liver", typed="y\n")
    assert new in office.screen
    for site in ("H02", "H01"):
        admitted[site].receives(office.folder / "liver/roster.signed.toml")
    desk.run(update, typed="y\n")
    assert _own_words(desk, "H02") == new
    other = admitted["H01"]
    assert "not installed; everything is as it was" in other.run(
        "site roster H01 --new roster.signed.toml", typed="n\n", status=76
    )
    assert "H02         confirmed" in other.run("site roster H01")
    shown = other.run("site roster H01 --new roster.signed.toml --accept-changes")
    assert "!! H02: NEW KEY, signed with its old one; confirm its words again by telephone" in shown
    assert "H02         CHANGED KEY" in shown
    assert "not those of the key here" in other.run(["site", "confirm", "H02", "H01", "--words", old], status=76)
    other.run(["site", "confirm", "H02", "H01", "--words", new])


def test_a_revocation_says_what_must_follow(admitted: dict[str, Desk]) -> None:
    office = admitted["office"]
    revoke = ["coordinator", "revoke", "H02", "-C", "liver", "--reason", "laptop stolen"]
    assert "nothing was changed" in office.run(revoke, typed="n\n", status=76)
    shown = office.run(revoke, typed="y\n")
    for step in (
        "`fl-liver coordinator up` reads it within seconds",
        "roster.signed.toml to every other hospital",
        "studies with H02",
    ):
        assert step in shown
    assert "2 hospitals are too few" in shown
    assert "H02         revoked" in office.run("coordinator roster -C liver")
    admitted["H01"].receives(office.folder / "liver/roster.signed.toml")
    assert "NO LONGER ON THE ROSTER" in admitted["H01"].run("site roster H01 --new roster.signed.toml")


def test_a_certificate_is_renewed_and_the_end_is_announced(
    admitted: dict[str, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    office, real = admitted["office"], keeping.rows
    later = datetime.now(UTC) + timedelta(days=350)
    monkeypatch.setattr(keeping, "rows", lambda consortium, now: real(consortium, later))
    shown = office.run("coordinator roster -C liver")
    assert "!! H01: certificate ends in 15 days; run `fl-liver coordinator renew H01`" in shown
    monkeypatch.setattr(keeping, "rows", real)
    assert "H01: 365 days before, 365 days now" in office.run(f"{office.hint('renew H01')} -C liver")
    admitted["H01"].receives(office.folder / "liver/H01.admission.toml")
    assert "certificate good for 365 days" in admitted["H01"].run("site admit H01.admission.toml H01")
    assert "server certificate: 365 days before, 365 days now" in office.run("coordinator renew --server -C liver")
    for arguments in ("coordinator renew -C liver", "coordinator renew H01 --server -C liver"):
        assert "one of the two" in office.run(arguments, status=78)


def test_nothing_printed_is_a_secret(admitted: dict[str, Desk]) -> None:
    """Every screen of the whole way: no one-time secret, no private key, no hex of 32 bytes at all."""
    office = admitted["office"]
    shown = [desk.screen for desk in admitted.values()]
    shown += [office.run(line) for line in ("coordinator enrol H09 -C liver", "coordinator roster -C liver --json")]
    shown += [admitted["H01"].run(line) for line in ("site roster H01 --json", "site rotate H01")]
    secret = (office.folder / "liver/secrets/H09").read_text()
    for screen in shown:
        assert secret not in screen
        assert "PRIVATE" not in screen
        assert not re.search("[0-9a-f]{64}", screen)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("coordinator roster -C nowhere", 78),
        ("coordinator enrol H01 -C nowhere", 78),
        ("site roster nowhere", 78),
        ("site confirm H02 nowhere --words x", 78),
        ("site admit none.toml nowhere", 78),
        ("site init none.toml", 78),
        ("site rotate nowhere", 78),
        ("coordinator enrol", USAGE),
        ("coordinator revoke H01", USAGE),
        ("site init", USAGE),
    ],
)
def test_what_a_person_can_mend_is_one_line(
    command: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(app, shlex.split(command)) == status
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert status == USAGE or shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [f"coordinator {name}" for name in ("init", "enrol", "approve", "roster", "revoke", "renew")]
    + [f"site {name}" for name in ("init", "admit", "roster", "confirm", "rotate")],
)
def test_every_command_has_an_example_and_its_exit_statuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, [*command.split(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Example: fl-liver {command}" in shown
    assert "Exit status: 0" in shown
