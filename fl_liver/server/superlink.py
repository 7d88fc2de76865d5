"""`fl-liver coordinator up`: the SuperLink, its executor and the gateway, started, watched and stopped together.

Only the gateway can be reached from outside. The SuperLink listens on loopback with a database in a file and its runs
in processes of their own (`--isolation process`), so that it may be killed and started again under a running study.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from fl_liver.consortium.folder import REGISTER, Consortium, open_consortium
from fl_liver.errors import ConfigError, FLLiverError, FlowerCommandError
from fl_liver.server.child_process import ChildProcess
from fl_liver.server.registrations import Registrar
from fl_liver.server.server_folder import ServerFolder

log = logging.getLogger("fl_liver.up")
_TICK_S = 1.0
_COUNT_EVERY_S = 60.0
_WAIT_FOR_HEALTH_S = 90.0
SUPERLINK, EXECUTOR, GATEWAY = "superlink", "superexec", "gateway"


@dataclass(frozen=True, slots=True)
class Ports:
    """`gateway` None: another program (nginx) is the door. `superlink` 0: any free one."""

    host: str
    gateway: int | None
    superlink: int


class Server:
    """Everything that runs at the coordinator. `run` returns when `stop` was called."""

    def __init__(self, consortium: Consortium, ports: Ports, say: Callable[[str], None]) -> None:
        """Raises ConfigError where a port is taken or the folder cannot be written."""
        self._consortium, self._say = consortium, say
        self.folder = ServerFolder.of(consortium.folder)
        self._superlink_port = _free(ports.superlink)
        self._host, self._gateway_port = ports.host, ports.gateway
        if ports.gateway is not None:
            _require_free(ports.host, ports.gateway)
        self.folder.prepare()
        self.folder.connect(self._superlink_port)
        self._trust = ssl.create_default_context(cafile=str(self.folder.authority))
        self._children = self._make()
        self._registrar = Registrar(self.folder)
        self._stopping = threading.Event()
        self._stamp, self._counted, self._pending, self._line = (0, 0), 0.0, True, ""

    def stop(self, *_: object) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Until `stop`. Every process is gone when it returns.

        Raises:
            FLLiverError: the SuperLink does not come up at all; its log says why.
        """
        try:
            self._children[SUPERLINK].start()
            self._wait_for_health()
            for name, child in self._children.items():
                if name != SUPERLINK and not self._stopping.is_set():
                    child.start()
            while not self._stopping.wait(_TICK_S):
                for child in self._children.values():
                    child.look()
                if self._children[SUPERLINK].ok:
                    self._register()
                self._show()
        finally:
            for child in reversed(self._children.values()):
                child.stop()
            self._say("stopped")

    def _make(self) -> dict[str, ChildProcess]:
        at, port = self.folder, str(self._superlink_port)
        superlink = [
            sys.executable,
            "-P",
            "-m",
            "fl_liver.server.superlink_process",
            "--host",
            "127.0.0.1",
            "--port",
            port,
        ]
        superlink += ["--ssl-ca-certfile", str(at.authority), "--ssl-certfile", str(at.certificate)]
        superlink += ["--ssl-keyfile", str(at.key), "--database", str(at.database), "--isolation", "process"]
        superlink += ["--superexec-auth-secret-file", str(at.secret)]
        superlink += ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
        executor = ["flower-superexec", "--runtime-api-address", f"127.0.0.1:{port}"]
        executor += ["--root-certificates", str(at.authority), "--superexec-auth-secret-file", str(at.secret)]
        children = {SUPERLINK: (superlink, self._superlink_answers), EXECUTOR: (executor, lambda: True)}
        if self._gateway_port is not None:
            folder = str(self._consortium.folder.resolve())
            gateway = [sys.executable, "-m", "fl_liver.server.gateway", folder, self._host, str(self._gateway_port)]
            children[GATEWAY] = ([*gateway, port, str(at.authority)], self._gateway_answers)
        environment = at.environment()
        return {
            name: ChildProcess(name, command, environment, at.log(name), healthy)
            for name, (command, healthy) in children.items()
        }

    def _wait_for_health(self) -> None:
        superlink, deadline = self._children[SUPERLINK], time.monotonic() + _WAIT_FOR_HEALTH_S
        while not self._stopping.wait(0.1):
            if self._superlink_answers():
                superlink.ok = True
                return
            if superlink.pid is None or time.monotonic() > deadline:
                raise FLLiverError(f"the SuperLink does not come up; its last lines:\n{_tail(superlink.log_file)}")

    def _register(self) -> None:
        """Bring the SuperLink in line with the register, one hospital a tick."""
        now = time.monotonic()
        try:
            about = (self._consortium.folder / REGISTER).stat()
            stamp = (about.st_mtime_ns, about.st_ino)
            if stamp != self._stamp:
                self._consortium, self._stamp, self._pending = open_consortium(self._consortium.folder), stamp, True
            if self._pending or now - self._counted > _COUNT_EVERY_S:
                if now - self._counted > _COUNT_EVERY_S or not self._counted:
                    self._registrar.refresh()
                    self._counted = now
                self._pending = self._registrar.step(self._consortium)
        except (FlowerCommandError, ConfigError, OSError) as error:
            self._counted = now  # again in a minute
            self._pending = False
            log.error("hospitals are not registered: %s", error)

    def _show(self) -> None:
        """One line whenever something changed, and `up.json` for the other commands."""
        parts = []
        for name, child in self._children.items():
            again = f", {child.restarts} restarts" if child.restarts else ""
            parts.append(f"{name} {'ok' if child.ok else 'NOT OK'}{again}")
        known, states = self._registrar.known, self._registrar.states
        online = sum(states.get(one.node) == "online" for one in known.values())
        parts.append(f"hospitals {len(known)} registered, {online} online")
        where = f"{self._host}:{self._gateway_port}" if self._gateway_port is not None else "no gateway"
        line = f"{self._consortium.register.name} at {where}: " + " · ".join(parts)
        if line != self._line:
            self._line = line
            processes = {name: child.pid for name, child in self._children.items()}
            ports = {"gateway": self._gateway_port, "superlink": self._superlink_port}
            # Before the line is said: who reads it asks for the rest at once.
            self.folder.write_state({"pid": os.getpid(), "line": line, "processes": processes, "ports": ports})
            self._say(line)

    def _superlink_answers(self) -> bool:
        url = f"https://127.0.0.1:{self._superlink_port}/health"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(url, verify=self._trust, trust_env=False, timeout=5).is_success
        return False

    def _gateway_answers(self) -> bool:
        """It shakes hands; what it says to somebody without a certificate is no."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host  # noqa: S104
        context = ssl.create_default_context(cafile=str(self._consortium.authority_certificate))
        context.check_hostname = False
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, self._gateway_port or 0), 5) as raw,
            context.wrap_socket(raw),
        ):
            return True
        return False


def up(folder: Path, ports: Ports, say: Callable[[str], None]) -> None:
    """Run the coordinator's server in the foreground until SIGTERM or SIGINT.

    Raises:
        ConfigError: no consortium, a port that is taken, or a server that runs on this folder already.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.umask(0o077)
    consortium = open_consortium(folder)
    with _alone(consortium.folder):
        server = Server(consortium, ports, say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.stop)
        server.run()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{folder}: a server runs on this folder already; stop it first") from error
        yield
    finally:
        os.close(lock)


def _free(port: int) -> int:
    """The port, or any free one on loopback for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"port {port} on 127.0.0.1 is taken ({error.strerror}); name another") from error
        return int(probe.getsockname()[1])


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"{host}:{port} cannot be listened on ({error.strerror}); name another --port") from error


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
