"""A real Orthanc in a network namespace of its own: nothing outside reaches it, and no port is taken twice."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "fl", "kaltes-klares-wasser"
HTTP_PORT, DICOM_PORT = 18042, 14242
URL = f"http://127.0.0.1:{HTTP_PORT}"
_CLONE_NEWNET = 0x40000000


def absent() -> str:
    """Why it cannot be started here, or ""."""
    lacking = [name for name in ("Orthanc", "unshare", "nsenter", "ip") if shutil.which(name) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed (Debian: orthanc, orthanc-dicomweb, util-linux, iproute2)"
    if not PLUGIN.exists():
        return f"no {PLUGIN} (Debian: orthanc-dicomweb)"
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        return "no right to make a network namespace (root has it)"
    return ""


class Orthanc:
    """Ready when made; `close` ends it.

    Args:
        folder: made here; configuration, storage and log lie in it.
        config: text of orthanc.json; "STORAGE" in it becomes a folder. Without it, ours.
        beside: another one, whose namespace this one shares.
        user: who may ask over HTTP, and the password.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        beside: Orthanc | None = None,
        url: str = URL,
        user: tuple[str, str] = (USER, PASSWORD),
    ) -> None:
        folder.mkdir(parents=True)
        file = folder / "orthanc.json"
        file.write_text((config or json.dumps(_config())).replace("STORAGE", str(folder / "storage")))
        self._log = (folder / "log").open("wb")
        alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec Orthanc "$0"', str(file)]
        self._process = subprocess.Popen(
            beside.command("Orthanc", str(file)) if beside else alone,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        self._wait_for_namespace()
        self._inside = ThreadPoolExecutor(max_workers=1, initializer=_enter, initargs=(self.pid,))
        self.http = httpx.Client(auth=user, base_url=url, trust_env=False)
        self._wait_until_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    def inside(self, call: Callable[[], T]) -> T:
        """Run `call` in a thread that lives in the namespace."""
        return self._inside.submit(call).result()

    def command(self, *words: str) -> list[str]:
        """A command line that runs in the namespace."""
        return ["nsenter", "-t", str(self.pid), "-n", *words]

    def push(self, objects: Iterable[bytes]) -> None:
        def store() -> None:
            for one in objects:
                self.http.post("/instances", content=one).raise_for_status()

        self.inside(store)

    def stored(self) -> int:
        """How many objects it holds."""
        return int(self.inside(lambda: self.http.get("/statistics").json()["CountInstances"]))

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self._inside.shutdown()
        self.http.close()
        self._process.kill()  # SIGTERM would take it 3.6 s
        self._process.wait()
        self._log.close()

    def _wait_for_namespace(self) -> None:
        mine = Path("/proc/self/ns/net").readlink()
        self._until(lambda: Path(f"/proc/{self.pid}/ns/net").readlink() != mine)

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            try:
                return self.http.get("/system").is_success
            except httpx.TransportError:
                return False

        self._until(lambda: self.inside(ready))

    def _until(self, fine: Callable[[], bool]) -> None:
        for _ in range(1000):
            if fine():
                return
            if self._process.poll() is not None:
                raise RuntimeError(f"Orthanc ended with {self._process.returncode}; see {self._log.name}")
            time.sleep(0.01)
        raise RuntimeError(f"Orthanc is not ready after 10 s; see {self._log.name}")


def _enter(pid: int) -> None:
    """Sockets that this thread opens from now on are in the namespace of `pid`."""
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def _config() -> dict[str, Any]:
    flsite = {"AET": "FLSITE", "Host": "127.0.0.1", "Port": 11113, "AllowEcho": True, "AllowStore": True}
    return {
        "Name": "SITE-PACS",
        "StorageDirectory": "STORAGE",
        "IndexDirectory": "STORAGE",
        "Plugins": [str(PLUGIN)],
        "HttpPort": HTTP_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomPort": DICOM_PORT,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"flsite": flsite},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "Host": "localhost", "Ssl": False},
        "OverwriteInstances": False,
        "StableAge": 5,
    }
