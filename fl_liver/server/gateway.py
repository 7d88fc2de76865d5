"""The door of the coordinator: TLS with client certificates in front of a SuperLink that listens on loopback only.

A SuperLink lets anybody who reaches its port start runs and read logs. So nothing of it is reachable but what a
hospital's daemon asks for, and `/health`, and only for a certificate of the consortium that is not revoked. Which node
speaks is proved to the SuperLink itself, by the node's key; here it is decided who may knock, how much and how often.
What the SuperLink need not be asked for is answered here (`shortcuts`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fl_liver.consortium.folder import Consortium, open_consortium
from fl_liver.errors import ConfigError
from fl_liver.server.clocks import FAR_S, HEADER, Clocks
from fl_liver.server.clocks import FILE as CLOCKS_FILE
from fl_liver.server.guests import Guests, Visitor
from fl_liver.server.server_folder import ServerFolder
from fl_liver.server.shortcuts import Shortcuts

log = logging.getLogger("fl_liver.gateway")
BODY_BYTES = 8 << 20
"""Largest request; Flower's parts have 5 MiB."""
FLEET = "/v1/fleet/"
ASKED = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "pull-object",
    "push-object",
    "confirm-message-received",
)
"""All that a hospital's daemon asks for. Nodes are registered by the coordinator, and bundles go to nobody."""
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade host expect content-length date server".split()
)
"""Not forwarded, either way: they belong to one connection, or each side writes its own."""
_NOT_BACK = _HOP_BY_HOP | {b"content-encoding"}
"""httpx has unpacked what was packed."""
_PROTOBUF = "application/protobuf"
_ANSWER_S = 60.0
_LOOK_AGAIN_S = 5.0


class CertificateProtocol(HttpToolsProtocol):
    """Puts the visitor into the state of every request of a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "visitor": _visitor(transport.get_extra_info("ssl_object"))}


def _visitor(channel: ssl.SSLObject | None) -> Visitor | None:
    about: dict[str, Any] = (channel.getpeercert() or {}) if channel is not None else {}
    names = [value for part in about.get("subject", ()) for key, value in part if key == "commonName"]
    if len(names) != 1 or "serialNumber" not in about:
        return None
    return Visitor(int(about["serialNumber"], 16), str(names[0]))


class Gateway:
    """The ASGI application: who may, how much, and on to the SuperLink."""

    def __init__(self, guests: Guests, upstream: str, authority: Path, database: Path | None = None) -> None:
        """`database` is the SuperLink's, where that is on this machine."""
        self._guests, self._refused = guests, dict[str, float]()
        self._shortcuts = Shortcuts(database)
        self._clocks = Clocks(None if database is None else database.with_name(CLOCKS_FILE))
        trust = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(authority))
        # No connection limit of its own: every guest is known and counted at the door.
        self._client = httpx.AsyncClient(
            base_url=upstream,
            verify=trust,
            trust_env=False,
            timeout=_ANSWER_S,
            limits=httpx.Limits(max_connections=None),
        )

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with self._client:
                yield

        routes = [
            Route("/health", self._pass, methods=["GET", "HEAD"]),
            *(Route(FLEET + what, self._pass, methods=["POST"]) for what in ASKED),
        ]
        app = Starlette(routes=routes, lifespan=lifespan)
        app.router.redirect_slashes = False
        return app

    async def _pass(self, request: Request) -> Response:
        visitor: Visitor | None = getattr(request.state, "visitor", None)
        why = self._guests.refusal(visitor)
        if why is not None or visitor is None:
            self._say(visitor, why or "")
            return _plain(403, f"refused: {why}")
        ahead_s = self._clocks.note(visitor.name, request.headers.get(HEADER))
        if ahead_s is not None and abs(ahead_s) > FAR_S:
            self._say(visitor, f"its clock is {ahead_s:+.0f} s against this one; at most 5 s ahead is let in")
        if not self._guests.may_ask(visitor):
            self._say(visitor, "too many requests")
            return _plain(429, "too many requests", {"retry-after": "1"})
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_BYTES:
            self._say(visitor, f"a request of {length[:20]} bytes")
            return _plain(413, f"at most {BODY_BYTES} bytes")
        return await self._forward(request, visitor)

    async def _forward(self, request: Request, visitor: Visitor) -> Response:
        what = request.url.path.removeprefix(FLEET)
        try:
            body = await _limited(request.stream())
            if what == "pull-messages" and await self._shortcuts.nothing_to_do(body, request.is_disconnected):
                return Response(b"", media_type=_PROTOBUF)
            if what == "pull-object" and (part := self._shortcuts.part(body)) is not None:
                return Response(part, media_type=_PROTOBUF)
            return await self._ask(request, body)
        except _TooLargeError:
            self._say(visitor, "a request without an end")
            return _plain(413, f"at most {BODY_BYTES} bytes")
        except (ClientDisconnect, ConnectionError):
            return _plain(499, "gone")
        except httpx.TransportError as error:
            self._say(None, f"the SuperLink does not answer ({type(error).__name__})")
            return _plain(502, "the server behind the gateway is away")

    async def _ask(self, request: Request, body: bytes) -> Response:
        """The SuperLink's answer; at most one of Flower's parts, so that it is taken whole."""
        headers = [(key, value) for key, value in request.headers.raw if key.lower() not in _HOP_BY_HOP]
        sent = self._client.build_request(request.method, request.url.path, content=body, headers=headers)
        answer = await self._client.send(sent)
        back = [(key, value) for key, value in answer.headers.raw if key.lower() not in _NOT_BACK]
        response = Response(answer.content, answer.status_code)
        response.raw_headers = [*back, (b"content-length", str(len(answer.content)).encode())]
        return response

    def _say(self, visitor: Visitor | None, why: str) -> None:
        """One line a minute for each visitor and reason."""
        who = f"{visitor.name} ({visitor.serial:x})" if visitor else "-"
        line, now = f"{who}: {why}", time.monotonic()
        if now - self._refused.get(line, -60.0) >= 60:
            self._refused[line] = now
            log.warning("%s", line)


class _TooLargeError(Exception):
    pass


async def _limited(parts: AsyncIterator[bytes]) -> bytes:
    """The whole body, at most 8 MiB: the length that a client names may be a lie."""
    whole, size = list[bytes](), 0
    async for part in parts:
        whole.append(part)
        size += len(part)
        if size > BODY_BYTES:
            raise _TooLargeError
    return b"".join(whole)


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status, headers)


def serve(folder: Path, host: str, port: int, upstream: str, authority: Path) -> None:
    """Until SIGTERM. `upstream` is "https://127.0.0.1:PORT", believed by the `authority` certificate alone.

    Raises:
        ConfigError: no consortium in `folder`, or its server certificate is of no use.
    """
    consortium = open_consortium(folder)
    config = uvicorn.Config(
        Gateway(Guests(folder), upstream, authority, ServerFolder.of(folder).database).app(),
        host=host,
        port=port,
        http=CertificateProtocol,
        ws="none",
        lifespan="on",
        ssl_certfile=str(consortium.server_certificate),
        ssl_keyfile=str(consortium.server_key),
        ssl_ca_certs=str(consortium.authority_certificate),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
        server_header=False,
        access_log=False,
        log_config=None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{consortium.server_certificate}: cannot be used ({error}); renew it with --server"
        ) from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        config.ssl.verify_flags |= ssl.VERIFY_X509_STRICT
        threading.Thread(target=_show_renewed, args=(config.ssl, consortium), name="certificate", daemon=True).start()
    log.info("gateway on %s:%d", host, port)
    uvicorn.Server(config).run()


def _show_renewed(context: ssl.SSLContext, consortium: Consortium) -> None:
    """New connections see a renewed server certificate without a restart."""
    shown = consortium.server_certificate.stat().st_mtime_ns
    while True:
        time.sleep(_LOOK_AGAIN_S)
        try:
            stamp = consortium.server_certificate.stat().st_mtime_ns
            if stamp != shown:
                context.load_cert_chain(str(consortium.server_certificate), str(consortium.server_key))
                shown = stamp
                log.info("the renewed server certificate is shown from now on")
        except (OSError, ssl.SSLError) as error:
            log.error("the renewed server certificate cannot be used: %s", error)


def main() -> None:
    """`python -m fl_liver.server.gateway FOLDER HOST PORT SUPERLINK_PORT AUTHORITY`: as `coordinator up` starts it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder, host, port, superlink_port, authority = sys.argv[1:]
    try:
        serve(Path(folder), host, int(port), f"https://127.0.0.1:{superlink_port}", Path(authority))
    except ConfigError as error:
        sys.exit(f"ConfigError: {error}")


if __name__ == "__main__":
    main()
