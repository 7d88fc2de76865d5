"""The printed nginx configuration, in a real nginx: the same door as the built-in gateway."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fl_liver.client.connection import read_connection
from fl_liver.client.fleet import Fleet
from fl_liver.consortium.keeping import revoke
from fl_liver.server.gateway import BODY_BYTES
from fl_liver.server.nginx import nginx_configuration
from tests.consortium.town import NOW
from tests.coordinator import Coordinator, command, until
from tests.superlink import SuperLink

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
_AROUND = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/fl-liver.conf;
}}
"""


class Nginx:
    """A real one, in a folder of the test."""

    def __init__(self, coordinator: Coordinator, link: SuperLink) -> None:
        self.folder = coordinator.folder / "nginx"
        self.folder.mkdir()
        text = nginx_configuration(coordinator.consortium, coordinator.port, link.port, link.folder / "ca.crt")
        (self.folder / "fl-liver.conf").write_text(text)
        (self.folder / "nginx.conf").write_text(_AROUND.format(folder=self.folder))
        self.process = subprocess.Popen([str(NGINX), *self._options()], stderr=subprocess.DEVNULL)

    def _options(self) -> list[str]:
        return ["-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "error.log")]

    def reload(self) -> None:
        subprocess.run([str(NGINX), *self._options(), "-s", "reload"], check=True, stderr=subprocess.DEVNULL)

    def log(self) -> str:
        return (self.folder / "error.log").read_text()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Coordinator, Nginx]]:
    link = SuperLink(tmp_path_factory.mktemp("behind"))
    link.start()
    coordinator = Coordinator(tmp_path_factory.mktemp("nginx"))
    for site in ("H01", "H02"):
        coordinator.town.let_in(site)
    key = str(coordinator.folder / "nodes" / "H01.pub")
    link._flwr("supernode", "register", key, "--name", "H01", "test")
    nginx = Nginx(coordinator, link)
    try:
        until(lambda: _answers(coordinator, "H01") == 200, "nginx", 20, nginx.log)
        yield coordinator, nginx
    finally:
        nginx.process.terminate()
        nginx.process.wait(10)
        link.stop()


def _answers(coordinator: Coordinator, site: str) -> int:
    try:
        with coordinator.client(site) as client:
            return client.get("/health").status_code
    except httpx.TransportError:
        return 0


def test_a_daemons_connection_goes_through_nginx(door: tuple[Coordinator, Nginx]) -> None:
    hospital = door[0].town.hospitals["H01"]
    with Fleet(read_connection(hospital.path)) as fleet:
        assert fleet.take() is None
        assert fleet.clock_skew_s is not None


def test_nginx_forwards_the_fleet_and_health_and_nothing_else(door: tuple[Coordinator, Nginx]) -> None:
    with door[0].client("H01") as client:
        for path in ("/docs", "/v1/control/start-run", "/v1/fleet/register-node", "/v1/fleet/../control/list-runs"):
            assert client.post(path, content=b"").status_code == 404, path
        assert client.get("/v1/fleet/pull-messages").status_code == 403
        assert client.post("/v1/fleet/push-object", content=bytes(BODY_BYTES + 1)).status_code == 413


def test_nginx_lets_nobody_in_without_a_certificate(door: tuple[Coordinator, Nginx]) -> None:
    """TLS itself is done without one; nginx says so over it."""
    context = ssl.create_default_context(cafile=str(door[0].folder / "ca.crt"))
    with httpx.Client(verify=context, trust_env=False) as client:
        assert client.get(f"https://127.0.0.1:{door[0].port}/health").status_code == 400


def test_a_revoked_hospital_is_refused_by_nginx_after_a_reload(door: tuple[Coordinator, Nginx]) -> None:
    coordinator, nginx = door
    assert _answers(coordinator, "H02") == 200
    revoke(coordinator.consortium, "H02", "its laptop was stolen", NOW)
    nginx.reload()
    until(lambda: _answers(coordinator, "H02") in (0, 400), "refusal", 10, nginx.log)
    assert _answers(coordinator, "H01") == 200


def test_up_prints_a_configuration_that_nginx_takes(tmp_path: Path) -> None:
    coordinator = Coordinator(tmp_path)
    text = command("coordinator", "up", "-C", coordinator.folder, "--print-nginx", "--superlink-port", "9123")
    assert re.search(r"proxy_pass https://127\.0\.0\.1:9123;", text)
    (tmp_path / "fl-liver.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(_AROUND.format(folder=tmp_path))
    done = subprocess.run(
        [str(NGINX), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
