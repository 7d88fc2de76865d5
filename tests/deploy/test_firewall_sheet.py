"""What docs/firewall.md promises about ports, looked at in /proc while a real deployment runs on loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_liver.client.fleet import HEARTBEAT_S
from fl_liver.server.gateway import BODY_BYTES
from fl_liver.server.guests import BURST, PER_SECOND
from fl_liver.server.shortcuts import HOLD_S
from simulation.deployed_hospital import DeployedHospital
from tests.coordinator import Coordinator
from tests.joined import join
from tests.processes import Process

SHEET = (Path(__file__).resolve().parents[2] / "docs" / "firewall.md").read_text(encoding="utf-8")
LISTENS, CONNECTED = "0A", "01"
LOOPBACK = ("127.0.0.1", "::1")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Coordinator, DeployedHospital]]:
    coordinator = Coordinator(tmp_path_factory.mktemp("ports"))
    (hospital,) = join(coordinator, "H01").values()
    try:
        coordinator.start()
        hospital.start()
        hospital.until_registered()
        yield coordinator, hospital
    finally:
        hospital.stop()
        coordinator.stop()


def sockets(process: Process) -> list[tuple[str, str, str, int]]:
    """Of one process: (tcp, tcp6, udp or udp6; state; own address; own port)."""
    links = [path.readlink() for path in Path(f"/proc/{process.pid}/fd").iterdir() if path.is_symlink()]
    mine = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", str(link)))}
    found: list[tuple[str, str, str, int]] = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{process.pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in mine:
                address, port = fields[1].split(":")
                found.append((kind, fields[3], _address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """As people write it; the kernel writes words of four bytes from behind."""
    data = bytes.fromhex(text)
    if len(data) == 4:
        return ".".join(str(byte) for byte in data[::-1])
    return "::1" if data == bytes(12) + b"\x01\0\0\0" else "::" if not any(data) else data.hex()


def family(process: Process) -> list[Process]:
    return [process, *(one for child in process.children for one in family(child))]


def test_a_daemon_listens_on_nothing_and_is_connected_to_the_gateway_alone(
    deployment: tuple[Coordinator, DeployedHospital],
) -> None:
    _, hospital = deployment
    assert hospital.process is not None
    open_now = [one for process in family(Process(hospital.process.pid)) for one in sockets(process)]
    assert not [one for one in open_now if one[1] == LISTENS]
    assert not [one for one in open_now if one[0].startswith("udp")]
    assert [one for one in open_now if one[1] == CONNECTED], "this test would see sockets"
    assert (hospital.folder / "work" / "control.sock").stat().st_mode & 0o777 == 0o600


def test_only_the_gateway_listens_beyond_loopback_and_the_superlink_on_loopback(
    deployment: tuple[Coordinator, DeployedHospital],
) -> None:
    """The gateway is told 127.0.0.1 by this test, so that its port, not its address, is looked at."""
    coordinator, _ = deployment
    assert coordinator.process is not None
    state = coordinator.state()
    listening = {
        (one[2], one[3])
        for process in family(Process(coordinator.process.pid))
        for one in sockets(process)
        if one[1] == LISTENS or one[0].startswith("udp")
    }
    assert {port for _, port in listening} == {coordinator.port, state["ports"]["superlink"]}
    assert {address for address, port in listening if port == state["ports"]["superlink"]} <= set(LOOPBACK)


@pytest.mark.skipif(not all(map(shutil.which, ("curl", "openssl"))), reason="curl or openssl is not installed")
def test_the_commands_of_the_sheet_say_what_it_promises(deployment: tuple[Coordinator, DeployedHospital]) -> None:
    coordinator, hospital = deployment
    written = [line.strip().split("#")[0] for line in SHEET.splitlines()]
    asked = [line for line in written if line.startswith(("openssl s_client", "curl --cacert"))]
    assert len(asked) == 4

    def said(line: str) -> tuple[int, str]:
        command = line.replace("fl.example.org:8443", f"127.0.0.1:{coordinator.port}")
        done = subprocess.run(
            ["bash", "-c", command], cwd=hospital.folder, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    shake, health, bare, docs = (said(line) for line in asked)
    assert "Verification: OK" in shake[1], shake
    assert health[0] == 0, health
    assert bare[0] != 0, bare
    assert "Not Found" in docs[1], docs


def test_the_numbers_of_the_sheet_are_those_of_the_code() -> None:
    assert f"at most {BODY_BYTES >> 20} MiB" in SHEET
    assert f"more than {BURST:.0f} requests at once, or {PER_SECOND:.0f} a second" in SHEET
    assert HOLD_S < 5 < HEARTBEAT_S, "an answer begins within 5 s"


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_the_rules_of_the_sheet_can_be_read_by_nft(tmp_path: Path) -> None:
    rules = re.findall(r"(?ms)^    table inet .*?^    }", SHEET)
    assert len(rules) == 2
    for number, text in enumerate(rules):
        file = tmp_path / f"{number}.nft"
        file.write_text(text.replace('"fl-liver"', '"root"') + "\n", encoding="utf-8")
        done = subprocess.run(["nft", "--check", "--file", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr


def test_the_rules_of_the_sheet_close_what_they_do_not_open() -> None:
    rules = re.findall(r"(?ms)^    table inet .*?^    }", SHEET)
    assert len(rules) == 2
    for text in rules:
        assert text.count("{") == text.count("}")
        assert "policy drop" in text
        assert "8443" in text
