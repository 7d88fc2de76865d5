"""The page's web server: loopback only, behind a random token, one study at a time, nothing kept.

Whoever knows the token may upload; it stands in the address that the command prints and nowhere else. Requests that
name another host than this machine are refused, so that a page of the internet cannot be made to point here.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fl_liver.client.viewer.reading import Answer, Viewer
from fl_liver.client.viewer.upload import Upload
from fl_liver.errors import DataError, FLLiverError

log = logging.getLogger("fl_liver.viewer")
HOST = "127.0.0.1"
_HOSTS = frozenset({HOST, "localhost"})
Endpoint = Callable[[Request], Awaitable[Response]]


class Desk:
    """The study that is being uploaded; a new one takes the place of one that was left lying."""

    def __init__(self, most_bytes: int, below: Path | None = None) -> None:
        self._most_bytes, self._below = most_bytes, below
        self._guard = threading.Lock()
        self._uploads: dict[str, Upload] = {}
        self.reading = threading.Lock()

    def begin(self) -> str:
        """A name for it that nobody can guess."""
        name = secrets.token_urlsafe(16)
        with self._guard:
            self._drop()
            self._uploads[name] = Upload(self._most_bytes, self._below)
        return name

    def open(self, name: str) -> Upload:
        """Raises DataError where another upload was begun since, or it was read already."""
        with self._guard:
            if name not in self._uploads:
                raise DataError("this upload is no longer there: another was begun, or it was read; start again")
            return self._uploads[name]

    def take(self, name: str) -> Upload:
        """As `open`, once."""
        upload = self.open(name)
        with self._guard:
            self._uploads.pop(name, None)
        return upload

    def drop(self, name: str) -> None:
        """Remove this upload, and none that was begun since."""
        with self._guard:
            upload = self._uploads.pop(name, None)
        if upload is not None:
            upload.close()

    def close(self) -> None:
        """Remove everything."""
        with self._guard:
            self._drop()

    def _drop(self) -> None:
        for upload in self._uploads.values():
            upload.close()
        self._uploads.clear()


def viewer_app(viewer: Viewer, token: str, most_bytes: int, below: Path | None = None) -> Starlette:
    """The server. Paths: /TOKEN/ the page, POST /TOKEN/new, /TOKEN/ID/file (header X-Name) and /TOKEN/ID/read.

    Args:
        below: where uploads lie while they are read.
    """
    desk = Desk(most_bytes, below)
    script, page = _page(viewer)
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{script}'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def show(_request: Request) -> Response:
        return HTMLResponse(page)

    async def begin(_request: Request) -> Response:
        return PlainTextResponse(desk.begin())

    async def add(request: Request) -> Response:
        name = request.path_params["upload"]
        upload = desk.open(name)
        try:
            await upload.add(unquote(request.headers.get("x-name", "")), request.stream())
        except FileNotFoundError:
            desk.open(name)  # says so where another was begun meanwhile, which removed this one's folder
            raise
        except Exception:
            desk.drop(name)
            raise
        return Response(status_code=204)

    async def read(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_answered, viewer, desk, request.path_params["upload"]))

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            response = await _answer(endpoint, request, token)
            response.headers.update(_HEADERS | {"Content-Security-Policy": policy})
            return response

        return answer

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            desk.close()

    routes = [
        Route("/{token}/", guarded(show)),
        Route("/{token}/new", guarded(begin), methods=["POST"]),
        Route("/{token}/{upload}/file", guarded(add), methods=["POST"]),
        Route("/{token}/{upload}/read", guarded(read), methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


async def _answer(endpoint: Endpoint, request: Request, token: str) -> Response:
    """What the endpoint says; a stranger gets 404, a reason that a person can mend 422, and a defect of ours 500."""
    host = (request.url.hostname or "").lower()
    known = secrets.compare_digest(request.path_params["token"].encode(), token.encode())
    if not known or host not in _HOSTS:
        return PlainTextResponse("not found", 404)
    try:
        return await endpoint(request)
    except FLLiverError as error:
        return PlainTextResponse(str(error), 422)
    except ClientDisconnect:
        return PlainTextResponse("gone", 400)
    except Exception as error:  # foreign files are opened by guarded readers, so that this is none of theirs
        log.exception("the viewer failed")
        return PlainTextResponse(
            f"the viewer failed ({type(error).__name__}): a defect of fl_liver or of this machine, not of the upload;"
            " the terminal that it was started from says where. Other studies can still be uploaded",
            500,
        )


def _answered(viewer: Viewer, desk: Desk, name: str) -> dict[str, Any]:
    """One study at a time; in a thread, so that the page goes on answering."""
    upload = desk.take(name)
    with desk.reading:
        return as_json(viewer, viewer.answer(upload))


def as_json(viewer: Viewer, answer: Answer) -> dict[str, Any]:
    """What the page's script shows."""
    return {
        "question": ", ".join(viewer.study.task.positive),
        "rows": [
            {"name": name, "probability": round(p, 4), "classes": [[each, round(value, 4)] for each, value in classes]}
            for name, p, classes in answer.rows
        ],
        "notes": list(answer.notes),
        "pictures": [{"uri": one.uri, "alt": one.alt, "caption": one.caption} for one in answer.pictures],
    }


def _page(viewer: Viewer) -> tuple[str, str]:
    """The hash of its script, and the page."""
    room = resources.files("fl_liver.client.viewer")
    script, text = ((room / name).read_text(encoding="utf-8") for name in ("page.js", "page.html.jinja"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(text).render(
        study=viewer.study,
        site=viewer.site.site,
        lesion_needed=viewer.lesion_needed,
        script=Markup(script),  # noqa: S704  our own file
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"sha256-{digest}", page
