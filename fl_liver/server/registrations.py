"""Which node at the SuperLink is which hospital. The register is the truth: it is registered there, or put out.

The SuperLink never takes a node key twice, not even of a node that was put out, and does not tell whose key a node has:
so what was registered is written down here at once.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from fl_liver.consortium.folder import Consortium
from fl_liver.consortium.safe_file import PUBLIC, write_whole
from fl_liver.errors import ConfigError, FlowerCommandError
from fl_liver.server.flower_command import FlowerCommand
from fl_liver.server.server_folder import ServerFolder

log = logging.getLogger("fl_liver.up")


@dataclass(frozen=True, slots=True)
class Registration:
    """A hospital's node and the key it was registered with."""

    node: int
    key: str


def read_registrations(folder: ServerFolder) -> dict[str, Registration]:
    """Raises ConfigError where the file is damaged."""
    return _read(folder.nodes)


def nodes_in(path: Path) -> dict[str, int]:
    """Hospital → node, of nodes.json; empty where there is none."""
    return {site: one.node for site, one in _read(path).items()}


class Registrar:
    """Brings the SuperLink in line with the register, one node at a call."""

    def __init__(self, folder: ServerFolder) -> None:
        """Raises ConfigError as `read_registrations`."""
        self._folder, self._flower = folder, FlowerCommand(folder)
        self.known = read_registrations(folder)
        self.states: dict[int, str] = {}
        """Node → "registered", "online" or "offline", when it was last asked."""

    def refresh(self) -> None:
        """Ask the SuperLink. Raises FlowerCommandError."""
        self.states = self._flower.nodes()

    def step(self, consortium: Consortium) -> bool:
        """Do one thing that is to be done; False where there is none. Call `refresh` before the first.

        Raises:
            ConfigError: the SuperLink has a key under a node that is not written down here.
            FlowerCommandError: it does not answer.
        """
        wanted = consortium.node_keys()
        for site, one in self.known.items():
            if wanted.get(site) != one.key:
                self._put_out(site, one)
                return True
        for site, key in wanted.items():
            one_known = self.known.get(site)
            if one_known is None or one_known.node not in self.states:
                self._register(consortium, site, key)
                return True
        for node in self.states.keys() - {one.node for one in self.known.values()}:
            self._flower.unregister(node)
            del self.states[node]
            log.warning("node %d is nobody's in the register; put out", node)
            return True
        return False

    def _put_out(self, site: str, one: Registration) -> None:
        if one.node in self.states:
            self._flower.unregister(one.node)
            del self.states[one.node]
        del self.known[site]
        self._save()
        log.info("%s: node %d put out", site, one.node)

    def _register(self, consortium: Consortium, site: str, key: str) -> None:
        try:
            node = self._flower.register(consortium.folder.resolve() / "nodes" / f"{site}.pub", site)
        except FlowerCommandError as error:
            if "already in use" in str(error):
                raise ConfigError(
                    f"{site}: the SuperLink has its key under another node; {_anew(self._folder.folder)}"
                ) from error
            raise
        self.known[site], self.states[node] = Registration(node, key), "registered"
        self._save()
        log.info("%s: registered as node %d", site, node)

    def _save(self) -> None:
        body = {site: asdict(one) for site, one in sorted(self.known.items())}
        write_whole(self._folder.nodes, json.dumps(body, indent=1) + "\n", PUBLIC)


def _read(path: Path) -> dict[str, Registration]:
    if not path.is_file():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return {str(site): Registration(int(one["node"]), str(one["key"])) for site, one in body.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: cannot be read; {_anew(path.parent)}") from error


def _anew(folder: Path) -> str:
    return (
        f"stop the server, remove {folder} and start it again: hospitals are registered anew, and studies are resumed"
        " from their run folders"
    )
