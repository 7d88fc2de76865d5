"""`up/` in the coordinator's folder: what the running server keeps there, and how its parts find each other.

loopback-ca.crt loopback.crt loopback.key   TLS between the parts on this machine, made anew before it ends
superexec.secret                            what flower-superexec shows to the SuperLink
state.db                                    Flower's: registrations, runs, messages
flwr/                                       Flower's own folder (FLWR_HOME)
nodes.json                                  hospital → its node at the SuperLink (`registrations`)
up.json                                     processes and ports while it runs
*.log                                       one for each process
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomli_w

from fl_liver.consortium import authority as ca
from fl_liver.consortium.safe_file import PUBLIC, SECRET, write_whole
from fl_liver.errors import ConfigError

CONNECTION = "consortium"
"""The SuperLink's name in Flower's configuration."""
_RENEW_DAYS = 180
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
_MEMORY = {"MALLOC_ARENA_MAX": "2"}
"""For glibc: forty threads that each have a heap of their own keep gigabytes of what is gone."""


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """Paths; `prepare` writes what must be there before anything is started."""

    folder: Path

    @staticmethod
    def of(consortium: Path) -> ServerFolder:
        return ServerFolder(consortium.resolve() / "up")

    @property
    def authority(self) -> Path:
        return self.folder / "loopback-ca.crt"

    @property
    def certificate(self) -> Path:
        return self.folder / "loopback.crt"

    @property
    def key(self) -> Path:
        return self.folder / "loopback.key"

    @property
    def secret(self) -> Path:
        return self.folder / "superexec.secret"

    @property
    def database(self) -> Path:
        return self.folder / "state.db"

    @property
    def home(self) -> Path:
        return self.folder / "flwr"

    @property
    def nodes(self) -> Path:
        return self.folder / "nodes.json"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def environment(self) -> dict[str, str]:
        """Of every process of Flower: nothing calls home, its folder is here, our programs are found by name."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, **QUIET, **_MEMORY, "PATH": path, "FLWR_HOME": str(self.home)}

    def prepare(self) -> None:
        """Raises ConfigError where the folder cannot be written."""
        for folder in (self.folder, self.home):
            folder.mkdir(mode=0o700, exist_ok=True)
        now = datetime.now(UTC)
        if not self.certificate.is_file() or ca.days_left(_ends(self.certificate), now) < _RENEW_DAYS:
            # The authority's key is forgotten: nobody can make a second certificate that the parts believe.
            authority, key = ca.make_authority("loopback", now), ca.make_key()
            certificate = ca.server_certificate(authority, key.public_key(), ("localhost", "127.0.0.1"), now)
            write_whole(self.authority, ca.pem(authority.certificate), PUBLIC)
            write_whole(self.key, ca.key_pem(key), SECRET)
            write_whole(self.certificate, ca.pem(certificate), PUBLIC)
        write_whole(self.secret, secrets.token_bytes(32), SECRET)

    def connect(self, port: int) -> None:
        """Tell Flower's command line where the SuperLink is."""
        where = {"address": f"127.0.0.1:{port}", "root-certificates": str(self.authority)}
        body = {"superlink": {"default": CONNECTION, CONNECTION: where}}
        write_whole(self.home / "config.toml", tomli_w.dumps(body), SECRET)

    def write_state(self, state: dict[str, Any]) -> None:
        write_whole(self.folder / "up.json", json.dumps(state, indent=1) + "\n", PUBLIC)

    def state(self) -> dict[str, Any]:
        """What `up` wrote last.

        Raises:
            ConfigError: it was never started here, or is not running.
        """
        path = self.folder / "up.json"
        try:
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            os.kill(int(state["pid"]), 0)
        except PermissionError:
            return state
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.folder.parent}: the server is not running; start it with `fl-liver coordinator up`"
            ) from error
        return state


def _ends(certificate: Path) -> datetime:
    return ca.read_certificate(certificate).not_valid_after_utc
