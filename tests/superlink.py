"""A real SuperLink on loopback for tests: TLS, node keys, its own FLWR_HOME; stopped by pid.

`run` submits a ServerApp whose body is a script of the test, so that a test says what the coordinator does.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BIN = Path(sys.executable).parent
SERVER_APP = """
import json
from pathlib import Path
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
app = ServerApp()
@app.main()
def main(grid: Grid, context: Context) -> None:
    script = Path(str(context.run_config["script"]))
    given = json.loads(script.with_suffix(".json").read_text())
    code = compile(script.read_text(), str(script), "exec")
    exec(code, {"grid": grid, "context": context, "given": given})
"""
CLIENT_APP = "from flwr.clientapp import ClientApp\napp = ClientApp()\nraise SystemExit('code of the server ran')\n"
PYPROJECT: dict[str, Any] = {
    "project": {
        "name": "thin",
        "version": "0.1.0",
        "license": {"file": "LICENSE"},
        "dependencies": ["flwr>=1.41.0,<1.43"],
    },
    "tool": {
        "flwr": {
            "app": {
                "publisher": "fl",
                "fab-format-version": 1,
                "flwr-version-target": "1.41.0",
                "components": {"serverapp": "thin.server_app:app", "clientapp": "thin.client_app:app"},
                "config": {"script": ""},
            }
        }
    },
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())


@dataclass
class Authority:
    """A self-made CA that signs what a test asks for."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    name: x509.Name = field(default_factory=lambda: common_name("test CA"))

    def certificate(self) -> bytes:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(self.name, self.key.public_key(), 365).add_extension(usage, True)
        return self._signed(builder.add_extension(x509.BasicConstraints(True, 0), True))

    def issue(self, name: str, key: ec.EllipticCurvePrivateKey, days: float = 90, *, client: bool = False) -> bytes:
        use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = self._builder(common_name(name), key.public_key(), days)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(x509.BasicConstraints(False, None), True)
        return self._signed(builder.add_extension(x509.ExtendedKeyUsage([use]), False))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self.key, hashes.SHA256()).public_bytes(ser.Encoding.PEM)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class SuperLink:
    """flower-superlink with node authentication, as the coordinator runs it but for the gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.authority = Authority()
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",  # it starts flower-superexec by its bare name
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "home").mkdir(parents=True)
        self._write_certificates()
        self._write_app()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when /health answers."""
        certificates = {"ca-certfile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key"}
        command = [str(BIN / "flower-superlink"), "--host", "127.0.0.1", "--port", str(self.port)]
        command += [part for key, name in certificates.items() for part in (f"--ssl-{key}", str(self.folder / name))]
        command += ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
        command += ["--database", str(self.folder / "state.db")]
        with (self.folder / "superlink.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"https://{self.address}/health", verify=self.trust(), trust_env=False).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError((self.folder / "superlink.log").read_text()[-2000:])

    def trust(self) -> Any:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(str(self.folder / "ca.crt"))
        return context

    def kill(self) -> None:
        """As a power cut; `start` brings it back with the same database."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def hospital(self, name: str, address: str = "") -> Path:
        """A new folder with the keys of a hospital, registered here."""
        folder = self.folder / name
        folder.mkdir()
        write_connection(folder, address or self.address, (self.folder / "ca.crt").read_bytes())
        self._flwr("supernode", "register", str(folder / "node.pub"), "--name", name, "test")
        return folder

    def run(self, script: str, **given: object) -> int:
        """Submit a run whose ServerApp executes `script` with `grid`, `context` and `given`. Returns its id."""
        number = len(list(self.folder.glob("script-*.py")))
        path = self.folder / f"script-{number}.py"
        path.write_text(script, encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(given), encoding="utf-8")
        said = self._flwr(
            "run", str(self.folder / "app"), "test", "--format", "json", "--run-config", f"script='{path}'"
        )
        answer = json.loads(said[said.index("{") :])
        if "run-id" not in answer:
            raise RuntimeError(said)
        return int(answer["run-id"])

    def stop_run(self, run_id: int) -> None:
        self._flwr("stop", str(run_id), "test")

    def log(self) -> str:
        return (self.folder / "superlink.log").read_text(encoding="utf-8", errors="replace")

    def _flwr(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(BIN / "flwr"), *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def _write_certificates(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        (self.folder / "ca.crt").write_bytes(self.authority.certificate())
        (self.folder / "server.crt").write_bytes(self.authority.issue("superlink", key))
        (self.folder / "server.key").write_bytes(pem(key))

    def _write_app(self) -> None:
        package = self.folder / "app" / "thin"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "server_app.py").write_text(SERVER_APP, encoding="utf-8")
        (package / "client_app.py").write_text(CLIENT_APP, encoding="utf-8")
        (package.parent / "LICENSE").write_text("Apache-2.0\n", encoding="utf-8")
        (package.parent / "pyproject.toml").write_text(tomli_w.dumps(PYPROJECT), encoding="utf-8")
        connection = {"address": self.address, "root-certificates": str(self.folder / "ca.crt")}
        config = {"superlink": {"default": "test", "test": connection}}
        (self.folder / "home" / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")


def write_connection(folder: Path, address: str, authority: bytes) -> None:
    """What `fl-liver site init` makes: address, CA and a node key."""
    key = ec.generate_private_key(ec.SECP384R1())
    (folder / "consortium.toml").write_text(f'name = "test"\naddress = "{address}"\n', encoding="utf-8")
    (folder / "ca.crt").write_bytes(authority)
    private = key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.OpenSSH, ser.NoEncryption())
    public = key.public_key().public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH)
    (folder / "node.key").touch(mode=0o600)
    (folder / "node.key").write_bytes(private)
    (folder / "node.pub").write_bytes(public + b"\n")
